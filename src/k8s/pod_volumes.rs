//! The claims that a pod mounts. Other volumes are read without a copy.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::slim::{SlimPod, nullable};
use crate::model::{ObjectName, PodClaim};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::decode;

    fn claims(namespace: &str, name: &str, volumes: &str) -> Box<[PodClaim]> {
        let text = format!(
            r#"{{"metadata":{{"uid":"u","name":"{name}","namespace":"{namespace}"}},"spec":{{{volumes}}}}}"#
        );
        decode::pod(&serde_json::from_str(&text).expect("a pod")).expect("a pod").claims
    }

    #[test]
    fn a_pod_mounts_claims_and_those_that_are_made_for_it() {
        let volumes = r#""volumes":[null,{"name":"tmp","emptyDir":{}},{"name":"a\n","emptyDir":null},
            {"name":"data","persistentVolumeClaim":{"claimName":"cart-data","readOnly":true}},
            {"ephemeral":{"volumeClaimTemplate":{"spec":{}}},"name":"scratch"},
            {"name":"none","persistentVolumeClaim":null,"ephemeral":null},
            {"name":null,"persistentVolumeClaim":{}}]"#;
        let claim =
            |name: &str, ephemeral| PodClaim { name: ObjectName::of("shop", name), ephemeral };
        let want = [claim("cart-data", false), claim("cart-0-scratch", true), claim("", false)];
        assert_eq!(*claims("shop", "cart-0", volumes), want);
        assert_eq!(*claims("shop", "cart-0", r#""volumes":null"#), []);
        let placed = format!(r#""nodeName":"n1",{volumes}"#);
        assert_eq!(
            *claims("shop", "cart-0", &placed),
            [],
            "where it may go is no question any more"
        );
    }
}
