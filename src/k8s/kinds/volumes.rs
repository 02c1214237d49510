//! Persistent volumes, reduced to the nodes that each can be used from.

use std::sync::Arc;

use super::{KindSpec, Version};
use crate::k8s::constraints::{SlimNodeSelector, node_term};
use crate::k8s::decode::{DecodeError, required};
use crate::k8s::objects::SlimObject;
use crate::k8s::slim::{Pairs, SlimMeta, nullable, present};
use crate::model::{Change, Kind, ObjectName, VolumeTopology, ZONE_LABELS, ZoneLabel};
use crate::policy::Plan;

/// Of use for pods that may go to nodes that were not offered.
pub const SPEC: KindSpec = KindSpec {
    wanted: Plan::chooses_anywhere,
    without: "pods that mount claims are left to kube-scheduler",
    ..KindSpec::watched::<SlimPersistentVolume>(Version::Fixed("v1"))
};

impl SlimObject for SlimPersistentVolume {
    const KIND: Kind = Kind::VOLUMES;

    fn into_version(self) -> String {
        self.metadata.resource_version
    }

    fn change(&self) -> Result<Change, DecodeError> {
        let (name, reach) = volume(self)?;
        Ok(Change::seen(name, reach.map(Arc::new)))
    }
}

/// Between the zones of a label that names several. Source: `k8s.io/cloud-provider/volume`.
const BETWEEN_ZONES: &str = "__";

/// A persistent volume.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimPersistentVolume {
    /// `metadata`.
    #[serde(deserialize_with = "nullable")]
    pub metadata: SlimMeta,
    /// `spec`.
    #[serde(deserialize_with = "nullable")]
    pub spec: SlimPersistentVolumeSpec,
}

/// A volume's spec. Of where it comes from only whether kube-scheduler takes it for the volume of a CSI
/// driver that took the old plugin's place: it then compares other labels, and by node. Source:
/// `csitrans.InTreePlugins`.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimPersistentVolumeSpec {
    /// `nodeAffinity`.
    #[serde(deserialize_with = "nullable")]
    pub node_affinity: SlimVolumeAffinity,
    /// Whether `awsElasticBlockStore` is set.
    #[serde(deserialize_with = "present")]
    pub aws_elastic_block_store: bool,
    /// Whether `gcePersistentDisk` is set.
    #[serde(deserialize_with = "present")]
    pub gce_persistent_disk: bool,
    /// Whether `cinder` is set.
    #[serde(deserialize_with = "present")]
    pub cinder: bool,
    /// Whether `azureDisk` is set.
    #[serde(deserialize_with = "present")]
    pub azure_disk: bool,
    /// Whether `azureFile` is set.
    #[serde(deserialize_with = "present")]
    pub azure_file: bool,
    /// Whether `vsphereVolume` is set.
    #[serde(deserialize_with = "present")]
    pub vsphere_volume: bool,
    /// Whether `portworxVolume` is set.
    #[serde(deserialize_with = "present")]
    pub portworx_volume: bool,
}

impl SlimPersistentVolumeSpec {
    fn is_migrated(&self) -> bool {
        [
            self.aws_elastic_block_store,
            self.gce_persistent_disk,
            self.cinder,
            self.azure_disk,
            self.azure_file,
            self.vsphere_volume,
            self.portworx_volume,
        ]
        .contains(&true)
    }
}

/// A volume's node affinity.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimVolumeAffinity {
    /// `required`.
    pub required: Option<SlimNodeSelector>,
}

/// What a volume is, and where it can be used; `None` when that is said in words that are not known here.
pub fn volume(
    slim: &SlimPersistentVolume,
) -> Result<(ObjectName, Option<VolumeTopology>), DecodeError> {
    let SlimPersistentVolume { metadata: meta, spec } = slim;
    required(&meta.name, "metadata.name")?;
    let terms = spec.node_affinity.required.as_ref().map(|it| &it.node_selector_terms);
    // kube-scheduler does not look at the name of a node that it asks a volume about.
    let by_name = terms.into_iter().flatten().any(|term| !term.match_fields.is_empty());
    let terms = terms.map(|terms| terms.iter().map(node_term).collect::<Result<Box<[_]>, _>>());
    let reach = match terms.transpose() {
        Ok(node_terms) if !by_name && !spec.is_migrated() => {
            Some(VolumeTopology { node_terms, zones: zones(&meta.labels) })
        }
        _ => None,
    };
    Ok((ObjectName::of("", &meta.name), reach))
}

/// The zones and regions that a volume's labels name. Source: `volumezone.getPVTopologies`.
fn zones(labels: &Pairs) -> Box<[ZoneLabel]> {
    let of_key = |key: &str| {
        let text = labels.get(key)?;
        let values: Box<[Box<str>]> =
            text.split(BETWEEN_ZONES).map(|it| it.trim().into()).collect();
        // A label that names none is as if it were not there.
        (!values.iter().any(|it| it.is_empty())).then(|| (key.into(), values))
    };
    ZONE_LABELS.iter().filter_map(|(key, _)| of_key(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LabelOperator, NodeTerm, Requirement};

    fn reach(labels: &str, spec: &str) -> Option<VolumeTopology> {
        let text = format!(r#"{{"metadata":{{"name":"pv","labels":{labels}}},"spec":{spec}}}"#);
        let slim = serde_json::from_str(&text).map_err(|error| format!("{text}: {error}"));
        let (name, reach) = volume(&slim.expect("a volume")).expect("a volume");
        assert_eq!(name, ObjectName::of("", "pv"));
        reach
    }

    #[test]
    fn a_volume_says_where_it_can_be_used() {
        let nowhere_special = [
            ("null", "null"),
            ("{}", r#"{"csi":{"driver":"d"},"nodeAffinity":null}"#),
            (r#"{"topology.kubernetes.io/rack":"r"}"#, r#"{"nodeAffinity":{"required":null}}"#),
            // A label with an empty value among them is as if it were not there.
            (r#"{"topology.kubernetes.io/zone":"a____b"}"#, r#"{"nfs":{"server":"s"}}"#),
            (r#"{"topology.kubernetes.io/zone":null}"#, "{}"),
        ];
        for (labels, spec) in nowhere_special {
            assert_eq!(reach(labels, spec), Some(VolumeTopology::default()), "{labels} {spec}");
        }
        let affinity = r#"{"local":{},"nodeAffinity":{"required":{"nodeSelectorTerms":[
            {"matchExpressions":[{"key":"disk","operator":"In","values":["ssd"]}],"matchFields":null}]}}}"#;
        let ssd = Requirement { key: "disk".into(), is: LabelOperator::In(["ssd".into()].into()) };
        let term = NodeTerm { labels: [ssd].into(), names: Box::default() };
        let labels = r#"{"topology.kubernetes.io/region":"r","app":"x",
            "failure-domain.beta.kubernetes.io/zone":"a__ b"}"#;
        let zones: [ZoneLabel; 2] = [
            ("failure-domain.beta.kubernetes.io/zone".into(), ["a".into(), "b".into()].into()),
            ("topology.kubernetes.io/region".into(), ["r".into()].into()),
        ];
        let want = VolumeTopology { node_terms: Some([term].into()), zones: zones.into() };
        assert_eq!(reach(labels, affinity), Some(want));
    }

    #[test]
    fn of_a_volume_that_is_not_understood_nothing_is_said() {
        let affinity = |terms: &str| {
            format!(r#"{{"nodeAffinity":{{"required":{{"nodeSelectorTerms":[{terms}]}}}}}}"#)
        };
        let mut unclear = vec![
            affinity(r#"{"matchExpressions":[{"key":"a","operator":"Near","values":["b"]}]}"#),
            affinity(r#"{"matchFields":[{"key":"metadata.name","operator":"In","values":["n"]}]}"#),
        ];
        for source in [
            "awsElasticBlockStore",
            "gcePersistentDisk",
            "cinder",
            "azureDisk",
            "azureFile",
            "vsphereVolume",
            "portworxVolume",
        ] {
            unclear.push(format!(r#"{{"{source}":{{}}}}"#));
            assert!(reach("{}", &format!(r#"{{"{source}":null}}"#)).is_some());
        }
        for spec in unclear {
            assert_eq!(reach("{}", &spec), None, "{spec}");
        }
    }
}
