//! Kubernetes objects as narrow as sigma needs them, read straight from JSON.
//!
//! A whole `k8s_openapi::Pod` costs 68 KB and 215 µs; what is here costs a few hundred bytes and
//! never outlives its watch event. Reading is lenient in form and strict in meaning: Go writes
//! `null` for an empty slice and anything may be absent, so absence and `null` are the same
//! everywhere; whether a text is a quantity is decided in `decode`, where the field can be named.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::constraints::{Others, SlimAffinity, SlimPort, SlimSpreadConstraint};
use super::features::{SlimMount, SlimRestartRule};
use super::images::SlimImageName;
use super::pod_volumes::SlimVolume;
use super::well_known::{SlimLabels, SlimMarks};

/// A pod: from a watch, a list, or the body of an extender call.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimPod {
    /// `metadata`.
    #[serde(deserialize_with = "nullable")]
    pub metadata: SlimPodMeta,
    /// `spec`.
    #[serde(deserialize_with = "nullable")]
    pub spec: SlimPodSpec,
    /// `status`.
    #[serde(deserialize_with = "nullable")]
    pub status: SlimPodStatus,
}

/// Metadata with all labels.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimMeta {
    /// `name`.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// `uid`.
    #[serde(deserialize_with = "nullable")]
    pub uid: String,
    /// `resourceVersion`.
    #[serde(deserialize_with = "nullable")]
    pub resource_version: String,
    /// `labels`.
    #[serde(deserialize_with = "pairs")]
    pub labels: Pairs,
}

/// A pod's metadata; of its annotations only a few, the rest is not even copied.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimPodMeta {
    /// `name`.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// `namespace`.
    #[serde(deserialize_with = "nullable")]
    pub namespace: String,
    /// `uid`.
    #[serde(deserialize_with = "nullable")]
    pub uid: String,
    /// `resourceVersion`.
    #[serde(deserialize_with = "nullable")]
    pub resource_version: String,
    /// What is looked for in `annotations`, and whether there are any.
    #[serde(deserialize_with = "nullable")]
    pub annotations: SlimMarks,
    /// Whether `deletionTimestamp` is set.
    #[serde(deserialize_with = "present")]
    pub deletion_timestamp: bool,
    /// `labels`.
    #[serde(deserialize_with = "nullable")]
    pub labels: SlimLabels,
    /// `ownerReferences`.
    #[serde(deserialize_with = "list")]
    pub owner_references: Vec<SlimOwner>,
}

/// An owner reference.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimOwner {
    /// `kind`.
    #[serde(deserialize_with = "nullable")]
    pub kind: String,
    /// `name`.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// `uid`.
    #[serde(deserialize_with = "nullable")]
    pub uid: String,
    /// `controller`.
    #[serde(deserialize_with = "nullable")]
    pub controller: bool,
}

/// A pod's spec.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimPodSpec {
    /// `nodeName`.
    #[serde(deserialize_with = "nullable")]
    pub node_name: String,
    /// `schedulerName`.
    #[serde(deserialize_with = "nullable")]
    pub scheduler_name: String,
    /// `priority`.
    #[serde(deserialize_with = "nullable")]
    pub priority: i32,
    /// `priorityClassName`.
    #[serde(deserialize_with = "nullable")]
    pub priority_class_name: String,
    /// `preemptionPolicy`.
    #[serde(deserialize_with = "nullable")]
    pub preemption_policy: String,
    /// `containers`.
    #[serde(deserialize_with = "list")]
    pub containers: Vec<SlimContainer>,
    /// `initContainers`.
    #[serde(deserialize_with = "list")]
    pub init_containers: Vec<SlimContainer>,
    /// `overhead`.
    #[serde(deserialize_with = "nullable")]
    pub overhead: SlimAmounts,
    /// `resources`, the pod-level ones.
    #[serde(deserialize_with = "nullable")]
    pub resources: SlimResources,
    /// `tolerations`.
    #[serde(deserialize_with = "list")]
    pub tolerations: Vec<SlimToleration>,
    /// How many `schedulingGates` there are.
    #[serde(rename = "schedulingGates", deserialize_with = "count")]
    pub num_scheduling_gates: usize,
    /// `volumes`.
    #[serde(deserialize_with = "list")]
    pub volumes: Vec<SlimVolume>,
    /// `topologySpreadConstraints`.
    #[serde(deserialize_with = "list")]
    pub topology_spread_constraints: Vec<SlimSpreadConstraint>,
    /// `affinity`.
    #[serde(deserialize_with = "nullable")]
    pub affinity: SlimAffinity,
    /// `nodeSelector`.
    #[serde(deserialize_with = "pairs")]
    pub node_selector: Pairs,
    /// How many `resourceClaims` there are.
    #[serde(rename = "resourceClaims", deserialize_with = "count")]
    pub num_resource_claims: usize,
    /// `hostNetwork`.
    #[serde(deserialize_with = "nullable")]
    pub host_network: bool,
    /// `hostUsers`.
    pub host_users: Option<bool>,
    /// Whether `schedulingGroup` is set (1.36).
    #[serde(deserialize_with = "present")]
    pub scheduling_group: bool,
    /// Whether `workloadRef` is set (1.35).
    #[serde(deserialize_with = "present")]
    pub workload_ref: bool,
}

/// A container or an init container.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimContainer {
    /// `name`.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// `image`.
    pub image: Option<SlimImageName>,
    /// `ports`.
    #[serde(deserialize_with = "list")]
    pub ports: Vec<SlimPort>,
    /// `restartPolicy`; `Always` makes an init container a native sidecar.
    #[serde(deserialize_with = "nullable")]
    pub restart_policy: String,
    /// `restartPolicyRules`.
    #[serde(deserialize_with = "list")]
    pub restart_policy_rules: Vec<SlimRestartRule>,
    /// `volumeMounts`.
    #[serde(deserialize_with = "list")]
    pub volume_mounts: Vec<SlimMount>,
    /// `resources`.
    #[serde(deserialize_with = "nullable")]
    pub resources: SlimResources,
}

/// A `resources` block; limits take no part in scheduling once admission has defaulted requests.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimResources {
    /// `requests`.
    #[serde(deserialize_with = "nullable")]
    pub requests: SlimAmounts,
}

/// A toleration.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimToleration {
    /// `key`.
    #[serde(deserialize_with = "nullable")]
    pub key: String,
    /// `operator`; empty means `Equal`.
    #[serde(deserialize_with = "nullable")]
    pub operator: String,
    /// `value`.
    #[serde(deserialize_with = "nullable")]
    pub value: String,
    /// `effect`; empty means every effect.
    #[serde(deserialize_with = "nullable")]
    pub effect: String,
    /// `tolerationSeconds`: for how long a pod stays; of no concern here.
    #[serde(rename = "tolerationSeconds")]
    pub seconds: IgnoredAny,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub others: Others,
}

/// A pod's status.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimPodStatus {
    /// `phase`.
    #[serde(deserialize_with = "nullable")]
    pub phase: String,
    /// `nominatedNodeName`.
    #[serde(deserialize_with = "nullable")]
    pub nominated_node_name: String,
    /// `resize`: where Kubernetes before 1.33 said that a resize is infeasible.
    #[serde(deserialize_with = "nullable")]
    pub resize: String,
    /// `conditions`.
    #[serde(deserialize_with = "list")]
    pub conditions: Vec<SlimCondition>,
    /// `containerStatuses`.
    #[serde(deserialize_with = "list")]
    pub container_statuses: Vec<SlimContainerStatus>,
    /// `initContainerStatuses`.
    #[serde(deserialize_with = "list")]
    pub init_container_statuses: Vec<SlimContainerStatus>,
    /// `resources`: what the pod-level request is in fact, while it is being resized.
    pub resources: Option<SlimResources>,
    /// `allocatedResources` on the pod level.
    #[serde(deserialize_with = "nullable")]
    pub allocated_resources: SlimAmounts,
}

/// A condition of a pod or a node.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimCondition {
    /// `type`.
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub kind: String,
    /// `status`.
    #[serde(deserialize_with = "nullable")]
    pub status: String,
    /// `reason`.
    #[serde(deserialize_with = "nullable")]
    pub reason: String,
    /// `message`.
    #[serde(deserialize_with = "nullable")]
    pub message: String,
}

/// Of a container's status, what an in-place resize writes there.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimContainerStatus {
    /// `name`.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// `resources`; absent until the kubelet has reported.
    pub resources: Option<SlimResources>,
    /// `allocatedResources`.
    #[serde(deserialize_with = "nullable")]
    pub allocated_resources: SlimAmounts,
}

/// Just enough of any object to say which it is and where a watch stands.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimIdentity {
    /// `metadata`.
    #[serde(deserialize_with = "nullable")]
    pub metadata: SlimIdentityMeta,
}

/// The metadata of a [`SlimIdentity`].
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimIdentityMeta {
    /// `name`.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// `namespace`.
    #[serde(deserialize_with = "nullable")]
    pub namespace: String,
    /// `uid`.
    #[serde(deserialize_with = "nullable")]
    pub uid: String,
    /// `resourceVersion`.
    #[serde(deserialize_with = "nullable")]
    pub resource_version: String,
    /// The annotations that a bookmark carries.
    #[serde(deserialize_with = "nullable")]
    pub annotations: SlimBookmarkMarks,
}

/// The annotation on the bookmark that ends a streamed list.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimBookmarkMarks {
    /// `"true"` when the initial events are complete.
    #[serde(rename = "k8s.io/initial-events-end", deserialize_with = "nullable")]
    pub initial_events_end: String,
}

/// A resource list as written: name and quantity, in the order of the JSON text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlimAmounts(pub Vec<(Box<str>, SlimQuantity)>);

/// A quantity as written. Anything that is neither text, number nor `null` is kept as a text that
/// is no quantity, so that the error can name the field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlimQuantity(pub Box<str>);

impl<'de> Deserialize<'de> for SlimAmounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AmountsVisitor;
        impl<'de> Visitor<'de> for AmountsVisitor {
            type Value = SlimAmounts;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a map from resource name to quantity")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SlimAmounts, A::Error> {
                let mut amounts = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    amounts.push(entry);
                }
                Ok(SlimAmounts(amounts))
            }
        }
        deserializer.deserialize_map(AmountsVisitor)
    }
}

impl<'de> Deserialize<'de> for SlimQuantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Quantity;
        impl<'de> Visitor<'de> for Quantity {
            type Value = SlimQuantity;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a quantity")
            }
            fn visit_str<E>(self, text: &str) -> Result<SlimQuantity, E> {
                Ok(SlimQuantity(text.into()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<SlimQuantity, E> {
                Ok(SlimQuantity(number.to_string().into()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<SlimQuantity, E> {
                Ok(SlimQuantity(number.to_string().into()))
            }
            // Rust writes a float without an exponent, which can exceed what is read as a quantity.
            fn visit_f64<E>(self, number: f64) -> Result<SlimQuantity, E> {
                Ok(SlimQuantity(format!("{number:e}").into()))
            }
            fn visit_unit<E>(self) -> Result<SlimQuantity, E> {
                Ok(SlimQuantity("0".into()))
            }
            fn visit_bool<E>(self, value: bool) -> Result<SlimQuantity, E> {
                Ok(SlimQuantity(value.to_string().into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<SlimQuantity, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(SlimQuantity("[]".into()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SlimQuantity, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(SlimQuantity("{}".into()))
            }
        }
        deserializer.deserialize_any(Quantity)
    }
}

pub(super) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a list that may be `null` or hold `null`s; to Go a `null` element is the zero value.
pub(super) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    let items: Option<Vec<Option<T>>> = Option::deserialize(deserializer)?;
    Ok(items.unwrap_or_default().into_iter().map(Option::unwrap_or_default).collect())
}

pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let items: Option<Vec<IgnoredAny>> = Option::deserialize(deserializer)?;
    Ok(items.map_or(0, |items| items.len()))
}

pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::<IgnoredAny>::deserialize(deserializer)?.is_some())
}

pub(super) type Pairs = BTreeMap<Box<str>, Box<str>>;

pub(super) fn pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pairs, D::Error> {
    let pairs: Option<BTreeMap<Box<str>, Option<Box<str>>>> = Option::deserialize(deserializer)?;
    let pairs = pairs.unwrap_or_default();
    Ok(pairs.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect())
}
