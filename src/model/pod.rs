//! Pods, reduced to what a placement depends on.

use std::sync::Arc;

use super::constraints::{Constraints, HostPort};
use super::ids::{AppKey, PodUid};
use super::image::ImageName;
use super::labels::LabelSet;
use super::node::{Taint, TaintEffect};
use super::pod_status::PodStatusBits;
use super::quantity::Requests;
use super::reason::Reason;
use super::volumes::PodClaim;

/// `spec.priority`.
pub type Priority = i32;

/// The values of a taint that a toleration covers. Source: `k8s.io/api/core/v1`, `Toleration.ToleratesTaint`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TaintValue {
    /// All: operator `Exists`.
    Any,
    /// This one: operator `Equal`.
    Equal(Box<str>),
    /// A whole number above this one: operator `Gt`.
    Gt(i64),
    /// A whole number below this one: operator `Lt`.
    Lt(i64),
    /// The toleration has an operator or an effect that this version does not know. It covers every value:
    /// a node that kube-scheduler has accepted is not refused for a word that only kube-scheduler knows. Of
    /// nodes that were not offered, such a pod [cannot be judged](super::CannotJudge::Unclear).
    Unclear,
}

impl TaintValue {
    fn covers(&self, value: &str) -> bool {
        match self {
            Self::Any | Self::Unclear => true,
            Self::Equal(it) => **it == *value,
            Self::Gt(bound) => decimal(value).is_some_and(|it| it > *bound),
            Self::Lt(bound) => decimal(value).is_some_and(|it| it < *bound),
        }
    }
}

/// A whole number in canonical form, as the operators `Gt` and `Lt` of tolerations read it: no plus sign, no
/// leading zeros. Source: `validate/content.IsDecimalInteger`.
pub fn decimal(text: &str) -> Option<i64> {
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// A toleration. An empty key tolerates every taint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Toleration {
    /// The taint's key, empty for all.
    pub key: Box<str>,
    /// The values that it covers.
    pub value: TaintValue,
    /// The effect it is limited to, `None` for all.
    pub effect: Option<TaintEffect>,
}

impl Toleration {
    /// True when a pod with this toleration may ignore `taint`.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.covers(&taint.key, &taint.value, taint.effect)
    }

    /// The same for a taint in its parts.
    pub fn covers(&self, key: &str, value: &str, effect: TaintEffect) -> bool {
        self.effect.is_none_or(|it| it == effect)
            && (self.key.is_empty() || *self.key == *key)
            && self.value.covers(value)
    }
}

/// The controller that owns a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// `ReplicaSet`, `StatefulSet`, `CloneSet`, `DaemonSet`, …
    pub kind: Box<str>,
    /// The owner's name.
    pub name: Box<str>,
    /// The owner's identity.
    pub app: AppKey,
}

/// What a pod's QoS label claims about it. A claim can only lower the class that policy grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QosClaim {
    /// Best effort: `koordinator.sh/qosClass: BE` or its Alibaba twin.
    Offline,
    /// Any latency-sensitive level: LS, LSR, LSE, SYSTEM.
    Online,
}

/// `PodScheduled=False`. The condition does not name its attempt: kube-scheduler may write it after the
/// next attempt has begun. So it never proves that an answer of ours is dead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct UnschedulableCondition {
    /// The reason of ours that the condition's message names, if it names one.
    pub reason: Option<Reason>,
}

/// What a pod would rather have, which kube-scheduler's own plugins score and we do not: a set of
/// bits. While one is set, an answer must leave kube-scheduler a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Preferences(pub u8);

impl Preferences {
    /// `topologySpreadConstraints` with `whenUnsatisfiable: ScheduleAnyway`.
    pub const SPREAD: Self = Self(1);
    /// `preferredDuringScheduling…` of `podAffinity` or `podAntiAffinity`.
    pub const POD_AFFINITY: Self = Self(1 << 1);
    /// `preferredDuringScheduling…` of `nodeAffinity`.
    pub const NODE_AFFINITY: Self = Self(1 << 2);

    /// Both sets together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True when any bit of `other` is set here.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// A pod as a watch event or a scheduler's request describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The pod's identity.
    pub uid: PodUid,
    /// The UID as the API server wrote it, for the writes that are fenced by it.
    pub uid_text: Box<str>,
    /// The pod's namespace.
    pub namespace: Box<str>,
    /// The pod's name.
    pub name: Box<str>,
    /// `metadata.resourceVersion` as a number, 0 when it is not one.
    pub resource_version: u64,
    /// What it asks of a node.
    pub requests: Requests,
    /// `spec.priority`, 0 when absent.
    pub priority: Priority,
    /// `spec.priorityClassName`, empty when absent.
    pub priority_class: Box<str>,
    /// `spec.schedulerName`.
    pub scheduler: Box<str>,
    /// What its QoS label claims.
    pub qos_claim: Option<QosClaim>,
    /// Its controller.
    pub owner: Option<Owner>,
    /// Its tolerations.
    pub tolerations: Box<[Toleration]>,
    /// `spec.nodeName`.
    pub node: Option<Box<str>>,
    /// `status.nominatedNodeName`.
    pub nominated: Option<Box<str>>,
    /// `PodScheduled=False`, if that is its condition.
    pub condition: Option<UnschedulableCondition>,
    /// The other conditions that decisions may ask about.
    pub status: PodStatusBits,
    /// Phase `Succeeded` or `Failed`: it holds nothing any more.
    pub terminal: bool,
    /// Has a `deletionTimestamp`: it holds its place but counts for no spread.
    pub terminating: bool,
    /// Has scheduling gates.
    pub gated: bool,
    /// The claims that it mounts while it has no node, by name: what they are bound to changes, and is looked
    /// up when the pod is judged.
    pub claims: Box<[PodClaim]>,
    /// One of a group that its scheduler places together (a gang, a pod group, a workload).
    pub grouped: bool,
    /// `spec.preemptionPolicy` is `Never`: nobody is evicted for it.
    pub never_preempts: bool,
    /// Has annotations: whoever writes one must know whether he adds to some or makes the first.
    pub annotated: bool,
    /// Its nomination was written ahead, by this replica or by one before it.
    pub nominated_ahead: bool,
    /// What it would rather have.
    pub preferences: Preferences,
    /// What it requires of its node, beside what any rule of ours asks; of a pod that has one, only from whom
    /// it must be apart, which binds others as well.
    pub constraints: Option<Arc<Constraints>>,
    /// The ports that it takes of its node, sorted.
    pub host_ports: Box<[HostPort]>,
    /// Its labels and its namespace, for the selectors of others.
    pub labels: LabelSet,
    /// The image of each container, init containers among them.
    pub images: Box<[ImageName]>,
}

impl Pod {
    /// The app whose replicas this pod spreads against.
    pub fn app(&self) -> Option<AppKey> {
        self.owner.as_ref().map(|owner| owner.app)
    }

    /// True when a DaemonSet, of whatever API group, owns it.
    pub fn is_daemon(&self) -> bool {
        self.owner.as_ref().is_some_and(|owner| &*owner.kind == "DaemonSet")
    }

    /// True when it asks for neither CPU nor memory (QoS class BestEffort, as far as requests tell).
    pub fn is_best_effort(&self) -> bool {
        self.requests.base.cpu_milli == 0 && self.requests.base.memory_bytes == 0
    }

    /// True when it would rather not be on a node with these taints (`PreferNoSchedule`).
    pub fn dislikes(&self, taints: &[Taint]) -> bool {
        let soft = taints.iter().filter(|taint| taint.effect == TaintEffect::PreferNoSchedule);
        soft.into_iter().any(|taint| !self.tolerations.iter().any(|it| it.tolerates(taint)))
    }

    /// True when some nodes may be out for it by kube-scheduler's own required constraints.
    pub fn is_constrained(&self) -> bool {
        self.constraints.is_some() || !self.host_ports.is_empty() || self.claims_volumes()
    }

    /// True when it has topology spread constraints of its own, hard or soft: a profile's do not apply to it.
    pub fn spreads_itself(&self) -> bool {
        self.preferences.intersects(Preferences::SPREAD)
            || self.constraints.as_ref().is_some_and(|it| !it.spread.is_empty())
    }

    /// What it requires, if it must be apart from somebody: who must then be apart from it.
    pub fn pod_anti_affinity(&self) -> Option<&Arc<Constraints>> {
        self.constraints.as_ref().filter(|it| !it.pod_anti_affinity.is_empty())
    }

    /// Mounts a PersistentVolumeClaim, whose binding may delay the pod's for minutes.
    pub fn claims_volumes(&self) -> bool {
        !self.claims.is_empty()
    }

    /// True when kube-scheduler may still place it.
    pub fn is_pending(&self) -> bool {
        self.node.is_none() && !self.terminal && !self.terminating
    }
}

/// An unbound pod's claim on a node (`status.nominatedNodeName`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nomination {
    /// Who claims.
    pub uid: PodUid,
    /// Pods of lower priority must respect the claim.
    pub priority: Priority,
    /// What it claims.
    pub requests: Requests,
    /// Its app, for domain shares.
    pub app: Option<AppKey>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_match_as_kubernetes_matches_them() {
        let taint = Taint { key: "k".into(), value: "v".into(), effect: TaintEffect::NoSchedule };
        let equal = |value: &str| TaintValue::Equal(value.into());
        let cases = [
            ("", TaintValue::Any, None, true),
            ("k", TaintValue::Any, None, true),
            ("k", equal("v"), None, true),
            ("k", equal("w"), None, false),
            ("other", TaintValue::Any, None, false),
            ("k", TaintValue::Any, Some(TaintEffect::NoSchedule), true),
            ("k", TaintValue::Any, Some(TaintEffect::NoExecute), false),
            ("k", TaintValue::Unclear, Some(TaintEffect::NoSchedule), true),
            ("other", TaintValue::Unclear, None, false),
            // The taint's value is no number.
            ("k", TaintValue::Gt(0), None, false),
            ("k", TaintValue::Lt(9), None, false),
        ];
        for (key, value, effect, want) in cases {
            let toleration = Toleration { key: key.into(), value, effect };
            assert_eq!(toleration.tolerates(&taint), want, "{toleration:?}");
        }
    }

    #[test]
    fn numbers_of_taints_are_compared_in_canonical_form() {
        let cases = [
            (TaintValue::Gt(5), "6", true),
            (TaintValue::Gt(5), "5", false),
            (TaintValue::Gt(-7), "-6", true),
            (TaintValue::Lt(5), "4", true),
            (TaintValue::Lt(5), "5", false),
            (TaintValue::Lt(i64::MAX), "-9223372036854775808", true),
            // Not what `IsDecimalInteger` calls a number.
            (TaintValue::Gt(5), "+6", false),
            (TaintValue::Gt(5), "06", false),
            (TaintValue::Gt(5), "6.0", false),
            (TaintValue::Lt(5), "-0", false),
            (TaintValue::Lt(5), "", false),
            (TaintValue::Gt(5), "9223372036854775808", false),
        ];
        for (covers, value, want) in cases {
            assert_eq!(covers.covers(value), want, "{covers:?} {value:?}");
        }
    }
}
