//! Whether a pod needs a feature that only some nodes declare (plugin NodeDeclaredFeatures, on by default from
//! Kubernetes 1.36). Which nodes do is not read: such a pod is left to kube-scheduler.
//!
//! Source: `InferForScheduling` in `k8s.io/component-helpers/nodedeclaredfeatures/features` of 1.37.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::slim::{SlimContainer, SlimPodSpec, nullable};

/// A rule by which a container is started again.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimRestartRule {
    /// `action`.
    #[serde(deserialize_with = "nullable")]
    pub action: String,
}

/// Of a volume's mount, whether it has `bindMountOptions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlimMount(pub bool);

impl<'de> Deserialize<'de> for SlimMount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MountReader)
    }
}

/// Copies nothing: every pod has mounts, and hardly one has options.
struct MountReader;

#[derive(serde::Deserialize)]
#[serde(field_identifier)]
enum Field {
    #[serde(rename = "bindMountOptions")]
    Options,
    #[serde(other)]
    Other,
}

impl<'de> Visitor<'de> for MountReader {
    type Value = SlimMount;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a mount of a volume")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SlimMount, A::Error> {
        let mut mount = SlimMount(false);
        while let Some(field) = map.next_key::<Field>()? {
            match field {
                Field::Options => {
                    let options = map.next_value::<Option<Vec<IgnoredAny>>>()?;
                    mount.0 = options.is_some_and(|it| !it.is_empty());
                }
                Field::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(mount)
    }
}

/// True when some feature is needed, or a word may ask for one.
pub(super) fn needs_some(spec: &SlimPodSpec) -> bool {
    // RestartAllContainersOnContainerExits, UserNamespacesHostNetworkSupport, VolumeBindMountOptions.
    let restarts_others = |it: &SlimContainer| {
        it.restart_policy_rules.iter().any(|rule| !matches!(rule.action.as_str(), "" | "Restart"))
    };
    let mounts_so = |it: &SlimContainer| it.volume_mounts.contains(&SlimMount(true));
    let mut containers = spec.init_containers.iter().chain(&spec.containers);
    spec.host_network && spec.host_users == Some(false)
        || containers.any(|it| restarts_others(it) || mounts_so(it))
}
