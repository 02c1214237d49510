//! From narrow JSON types to the vocabulary. An object that makes no sense is refused here, with
//! the field that makes none; nothing is guessed.

use crate::model::{
    AppKey, Owner, Pod, PodStatusBits, PodUid, QosClaim, QuantityError, Reason, TaintEffect,
    TaintValue, Toleration, UnschedulableCondition, decimal,
};

use super::slim::{SlimCondition, SlimMeta, SlimPod, SlimPodMeta, SlimToleration};
use super::well_known::SlimMarks;
use super::{constraints, images, pod_volumes, preferences, resource_requests, well_known};

/// Why an object cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A resource amount is none.
    #[error("{field}: {why}")]
    Quantity {
        /// The field's path.
        field: String,
        /// What is wrong with it.
        why: QuantityError,
    },
    /// The object cannot be told from others without this field.
    #[error("{field}: missing")]
    Missing {
        /// The field's path.
        field: &'static str,
    },
    /// The text is no JSON, or a field has another type than the API gives it.
    #[error("unreadable: {0}")]
    Json(String),
}

impl From<serde_json::Error> for DecodeError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error.to_string())
    }
}

/// Makes a pod.
pub fn pod(slim: &SlimPod) -> Result<Pod, DecodeError> {
    let meta = &slim.metadata;
    let uid = PodUid::parse(&meta.uid).ok_or(DecodeError::Missing { field: "metadata.uid" })?;
    required(&meta.name, "metadata.name")?;
    required(&meta.namespace, "metadata.namespace")?;
    let (spec, status) = (&slim.spec, &slim.status);
    let labels = constraints::labels(slim);
    let tolerations: Box<[Toleration]> = spec.tolerations.iter().filter_map(toleration).collect();
    let is_unclear = tolerations.iter().any(|it| it.value == TaintValue::Unclear);
    Ok(Pod {
        uid,
        uid_text: meta.uid.as_str().into(),
        namespace: meta.namespace.as_str().into(),
        name: meta.name.as_str().into(),
        resource_version: number(&meta.resource_version),
        requests: resource_requests::requests(slim)?,
        priority: spec.priority,
        priority_class: spec.priority_class_name.as_str().into(),
        scheduler: spec.scheduler_name.as_str().into(),
        qos_claim: qos_claim(&meta.labels.marks),
        owner: owner(meta),
        tolerations,
        node: filled(&spec.node_name),
        nominated: filled(&status.nominated_node_name),
        condition: refusal(&status.conditions),
        status: status_bits(&status.conditions),
        terminal: matches!(status.phase.as_str(), "Succeeded" | "Failed"),
        terminating: meta.deletion_timestamp,
        gated: spec.num_scheduling_gates > 0,
        claims: pod_volumes::of_pod(slim),
        grouped: meta.labels.marks.group
            || meta.annotations.group
            || spec.scheduling_group
            || spec.workload_ref,
        never_preempts: spec.preemption_policy == "Never",
        annotated: meta.annotations.present,
        nominated_ahead: well_known::is_nominated_ahead(slim),
        preferences: preferences::of(spec),
        constraints: constraints::of(spec, &labels, is_unclear),
        host_ports: constraints::host_ports(spec),
        labels,
        images: images::of_pod(spec),
    })
}

pub(super) fn required(text: &str, field: &'static str) -> Result<(), DecodeError> {
    if text.is_empty() { Err(DecodeError::Missing { field }) } else { Ok(()) }
}

fn filled(text: &str) -> Option<Box<str>> {
    (!text.is_empty()).then(|| text.into())
}

/// Resource versions are opaque by contract, but every store in use writes an ascending number; 0
/// says "cannot tell", not an error.
pub(super) fn number(resource_version: &str) -> u64 {
    resource_version.parse().unwrap_or(0)
}

pub(super) fn labels(meta: &SlimMeta) -> Box<[(Box<str>, Box<str>)]> {
    // A BTreeMap yields them sorted by key.
    meta.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn qos_claim(labels: &SlimMarks) -> Option<QosClaim> {
    [&labels.koordinator, &labels.alibaba].into_iter().find_map(|level| match level.as_str() {
        "BE" => Some(QosClaim::Offline),
        "LS" | "LSR" | "LSE" | "SYSTEM" => Some(QosClaim::Online),
        _ => None,
    })
}

fn owner(meta: &SlimPodMeta) -> Option<Owner> {
    let owner = meta.owner_references.iter().find(|it| it.controller && !it.uid.is_empty())?;
    Some(Owner {
        kind: owner.kind.as_str().into(),
        name: owner.name.as_str().into(),
        app: AppKey::of_owner(&owner.uid),
    })
}

fn refusal(conditions: &[SlimCondition]) -> Option<UnschedulableCondition> {
    let scheduled = conditions.iter().find(|it| it.kind == "PodScheduled")?;
    (scheduled.status == "False")
        .then(|| UnschedulableCondition { reason: Reason::find_in(&scheduled.message) })
}

fn status_bits(conditions: &[SlimCondition]) -> PodStatusBits {
    PodStatusBits::of(conditions.iter().map(|it| (&*it.kind, &*it.status)))
}

/// `None` for a toleration that compares with something that is no number: it tolerates nothing.
fn toleration(slim: &SlimToleration) -> Option<Toleration> {
    let key = slim.key.as_str().into();
    if slim.others.0 {
        return Some(Toleration { key, value: TaintValue::Unclear, effect: None });
    }
    let value = match slim.operator.as_str() {
        "" | "Equal" => TaintValue::Equal(slim.value.as_str().into()),
        "Exists" => TaintValue::Any,
        "Gt" => TaintValue::Gt(decimal(&slim.value)?),
        "Lt" => TaintValue::Lt(decimal(&slim.value)?),
        _ => TaintValue::Unclear,
    };
    let effect = match slim.effect.as_str() {
        "" => None,
        text => match effect(text) {
            TaintEffect::Unclear => {
                return Some(Toleration { key, value: TaintValue::Unclear, effect: None });
            }
            known => Some(known),
        },
    };
    Some(Toleration { key, value, effect })
}

pub(super) fn effect(text: &str) -> TaintEffect {
    match text {
        "NoSchedule" => TaintEffect::NoSchedule,
        "PreferNoSchedule" => TaintEffect::PreferNoSchedule,
        "NoExecute" => TaintEffect::NoExecute,
        _ => TaintEffect::Unclear,
    }
}

#[cfg(test)]
mod tests;
