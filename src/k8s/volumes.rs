//! Claims and volumes, and which claims a pod mounts. Read for one question: to which nodes a pod is bound
//! by volumes that are bound already. What does not answer it is not even copied.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::constraints::{SlimNodeSelector, node_term};
use super::decode::{DecodeError, required};
use super::slim::{Pairs, SlimMeta, SlimOwner, SlimPod, list, nullable, present};
use crate::model::{
    BoundClaim, ObjectName, PodClaim, PodUid, VolumeTopology, ZONE_LABELS, ZoneLabel, owner_of,
};

/// Between the zones of a label that names several. Source: `k8s.io/cloud-provider/volume`.
const BETWEEN_ZONES: &str = "__";

/// Of a pod's volume, the claim that stands behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SlimVolume {
    /// None does.
    #[default]
    Other,
    /// The one of this name.
    Claim(Box<str>),
    /// The one that is made for the volume of this name.
    Ephemeral(Box<str>),
    /// None does: the pod names a disk itself. Others on a node may use it, or a limit count it.
    Disk,
}

/// The volumes of a pod that plugins VolumeRestrictions and NodeVolumeLimits look at without a claim. Sources:
/// `volumerestrictions.needsRestrictionsCheck`, `csitrans.IsInlineMigratable`.
const DISKS: [&str; 9] = [
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "rbd",
    "iscsi",
    "azureDisk",
    "azureFile",
    "cinder",
    "portworxVolume",
    "vsphereVolume",
];

/// A text that is borrowed where the JSON text has it as it is.
#[derive(Default, serde::Deserialize)]
struct VolumeVisitor<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClaimSource {
    #[serde(deserialize_with = "nullable")]
    claim_name: Box<str>,
}

impl<'de> Deserialize<'de> for SlimVolume {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(VolumeReader)
    }
}

/// Copies the name only of a volume that needs it: every pod has some that do not.
struct VolumeReader;

impl<'de> Visitor<'de> for VolumeReader {
    type Value = SlimVolume;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a volume")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SlimVolume, A::Error> {
        let (mut name, mut claim, mut ephemeral) = (VolumeVisitor::default(), None, false);
        let mut is_disk = false;
        while let Some(VolumeVisitor(key)) = map.next_key()? {
            match &*key {
                "name" => name = map.next_value::<Option<VolumeVisitor<'_>>>()?.unwrap_or_default(),
                "persistentVolumeClaim" => claim = map.next_value::<Option<ClaimSource>>()?,
                "ephemeral" => ephemeral = map.next_value::<Option<IgnoredAny>>()?.is_some(),
                key if DISKS.contains(&key) => {
                    is_disk |= map.next_value::<Option<IgnoredAny>>()?.is_some();
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(match claim {
            Some(claim) => SlimVolume::Claim(claim.claim_name),
            None if ephemeral => SlimVolume::Ephemeral(name.0.into()),
            None if is_disk => SlimVolume::Disk,
            None => SlimVolume::Other,
        })
    }
}

/// The claims that a pod mounts; of one that has its node nobody asks.
pub(super) fn of_pod(pod: &SlimPod) -> Box<[PodClaim]> {
    if !pod.spec.node_name.is_empty() {
        return Box::default();
    }
    let (namespace, own) = (&*pod.metadata.namespace, &*pod.metadata.name);
    let claims = pod.spec.volumes.iter().filter_map(|it| match it {
        SlimVolume::Other | SlimVolume::Disk => None,
        SlimVolume::Claim(name) => {
            Some(PodClaim { name: ObjectName::of(namespace, name), ephemeral: false })
        }
        // Source: `ephemeral.VolumeClaimName`.
        SlimVolume::Ephemeral(volume) => {
            let name = ObjectName::of_parts(namespace, &[own, "-", volume]);
            Some(PodClaim { name, ephemeral: true })
        }
    });
    claims.collect()
}

/// A claim to a volume.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimClaim {
    /// `metadata`.
    #[serde(deserialize_with = "nullable")]
    pub metadata: SlimClaimMeta,
    /// `spec`.
    #[serde(deserialize_with = "nullable")]
    pub spec: SlimClaimSpec,
    /// `status`.
    #[serde(deserialize_with = "nullable")]
    pub status: SlimClaimStatus,
}

/// A claim's metadata.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimClaimMeta {
    /// `name`.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// `namespace`.
    #[serde(deserialize_with = "nullable")]
    pub namespace: String,
    /// `resourceVersion`.
    #[serde(deserialize_with = "nullable")]
    pub resource_version: String,
    /// Whether `deletionTimestamp` is set.
    #[serde(deserialize_with = "present")]
    pub deletion_timestamp: bool,
    /// `annotations`.
    #[serde(deserialize_with = "nullable")]
    pub annotations: SlimClaimMarks,
    /// `ownerReferences`.
    #[serde(deserialize_with = "list")]
    pub owner_references: Vec<SlimOwner>,
}

/// The annotation by which a binding is known to be complete.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimClaimMarks {
    /// Whether it is there.
    #[serde(rename = "pv.kubernetes.io/bind-completed", deserialize_with = "present")]
    pub bind_completed: bool,
}

/// A claim's spec.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimClaimSpec {
    /// `volumeName`.
    #[serde(deserialize_with = "nullable")]
    pub volume_name: String,
    /// `accessModes`.
    #[serde(deserialize_with = "list")]
    pub access_modes: Vec<String>,
}

/// A claim's status.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimClaimStatus {
    /// `phase`.
    #[serde(deserialize_with = "nullable")]
    pub phase: String,
}

/// What a claim is, and what it is bound to. A claim that is not bound, that is lost or being deleted, or
/// whose volume one pod alone may use, says nothing of where its pod may go.
pub fn claim(slim: &SlimClaim) -> Result<(ObjectName, Option<BoundClaim>), DecodeError> {
    let SlimClaim { metadata: meta, spec, status } = slim;
    required(&meta.name, "metadata.name")?;
    required(&meta.namespace, "metadata.namespace")?;
    let is_bound = !spec.volume_name.is_empty() && meta.annotations.bind_completed;
    let is_odd = status.phase == "Lost"
        || meta.deletion_timestamp
        || spec.access_modes.iter().any(|mode| mode == "ReadWriteOncePod");
    let owner = meta.owner_references.iter().find(|it| it.controller);
    let owner = owner.and_then(|it| PodUid::parse(&it.uid)).map_or(0, owner_of);
    let volume = ObjectName::of("", &spec.volume_name);
    let bound = (is_bound && !is_odd).then_some(BoundClaim { volume, owner });
    Ok((ObjectName::of(&meta.namespace, &meta.name), bound))
}

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
mod tests;
