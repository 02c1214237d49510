//! Who sits where: packed records of placed pods, claims of nominated ones, sums per pool.

use std::ops::Deref;
use std::sync::Arc;

use crate::model::{
    Amounts, AppKey, Constraints, HostPort, NodeOrd, Nomination, ObjectName, Pod, PodAffinityTerm,
    PodStatusBits, PodUid, Priority, QosClaim,
};

/// Index of an extended resource in the snapshot's extended columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceOrd(pub u16);

/// Counts lists of a kind. Wide enough never to come round: lists that broke off leave old stamps
/// behind, and one of those must not look like the running list's.
pub type Stamp = u32;

/// What placed replicas of an app have in common: one copy serves all of their records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PodShape {
    /// The app, 0 for pods that have no controller.
    pub app: u128,
    /// The request on a node; `pods` is 1.
    pub requests: Amounts,
    /// Extended requests.
    pub extended: Box<[(ResourceOrd, i64)]>,
    /// The namespace.
    pub namespace: Option<Arc<str>>,
    /// The PriorityClass.
    pub priority_class: Option<Arc<str>>,
    /// `spec.priority`.
    pub priority: Priority,
    /// The QoS label's claim.
    pub qos_claim: Option<QosClaim>,
    /// Holds its place, but counts for no spread.
    pub terminating: bool,
    /// The ports that it takes of its node.
    pub host_ports: Box<[HostPort]>,
    /// From whom it must be apart, on its way out or not; `None` for most.
    pub existing_anti_affinity: Option<Arc<Constraints>>,
}

impl PodShape {
    /// The app whose share of a failure domain it counts for.
    pub fn spreading_app(&self) -> Option<u128> {
        (self.app != 0 && !self.terminating).then_some(self.app)
    }

    /// Its terms of required anti-affinity.
    pub fn anti_affinity_terms(&self) -> &[PodAffinityTerm] {
        self.existing_anti_affinity.as_ref().map_or(&[], |it| &it.pod_anti_affinity)
    }
}

/// A placed pod, reduced to what later decisions ask of it. 500,000 of these must stay small: a
/// `k8s_openapi::Pod` is 68 KB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRecord {
    /// The pod's UID.
    pub uid: u128,
    /// `metadata.resourceVersion` as of which it is here and of this shape.
    pub resource_version: u64,
    /// A hash of `namespace/name`, by which `why` finds it again.
    pub name_hash: u64,
    /// The part of its status that passes.
    pub status: PodStatusBits,
    /// All else.
    pub shape: Arc<PodShape>,
}

impl Deref for PodRecord {
    type Target = PodShape;

    fn deref(&self) -> &PodShape {
        &self.shape
    }
}

/// A nomination and the node that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nominee {
    /// The nominated node.
    pub node: NodeOrd,
    /// The claim.
    pub claim: Nomination,
    /// From whom the pod must be apart; `None` for most.
    pub existing_anti_affinity: Option<Arc<Constraints>>,
}

impl Nominee {
    /// A pending pod, nominated to this node.
    pub(super) fn new(pod: &Pod, node: NodeOrd) -> Self {
        Self {
            node,
            claim: claim_of(pod),
            existing_anti_affinity: pod.pod_anti_affinity().cloned(),
        }
    }
}

/// Sums over a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolUse {
    /// Σ requests of the pods on its nodes.
    pub used: Amounts,
    /// Σ allocatable of its nodes.
    pub allocatable: Amounts,
    /// Number of its nodes.
    pub nodes: u32,
}

/// A hash of `namespace/name` that is the same in every process.
pub(super) fn name_hash(namespace: &str, name: &str) -> u64 {
    ObjectName::of(namespace, name).0
}

/// Amounts that sums can be made of: a hostile `1e30` stays "more than any node has" (256 Ti), and
/// what is added can be taken away again exactly, which saturated sums could not promise.
pub(super) fn bounded(amounts: Amounts) -> Amounts {
    Amounts {
        cpu_milli: bounded_amount(amounts.cpu_milli),
        memory_bytes: bounded_amount(amounts.memory_bytes),
        ephemeral_bytes: bounded_amount(amounts.ephemeral_bytes),
        pods: bounded_amount(amounts.pods),
    }
}

/// One of them.
pub(super) fn bounded_amount(amount: i64) -> i64 {
    amount.clamp(0, 1 << 48)
}

/// The claim of a pending pod on its nominated node.
pub(super) fn claim_of(pod: &Pod) -> Nomination {
    Nomination {
        uid: pod.uid,
        priority: pod.priority,
        requests: pod.requests.clone(),
        app: pod.app(),
    }
}

/// The app of a pod as a record keeps it.
pub(super) fn app_of(pod: &Pod) -> u128 {
    pod.app().map_or(0, |AppKey(key)| key)
}

/// What only the writer needs to know of a pod, placed or pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KnownPod {
    /// Its node, [`NodeOrd::UNKNOWN`] while it is pending.
    pub(super) on: NodeOrd,
    /// What was heard of it last.
    pub(super) seen: ObjectVersion,
}

/// What a list or an event said last of an object that has a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ObjectVersion {
    /// Of the list that was the last to begin by then.
    pub(super) stamp: Stamp,
    /// `metadata.resourceVersion`, by which events that come late are known.
    pub(super) version: u64,
}

impl ObjectVersion {
    /// False for what is older than what was heard since the last list began. Versions from before that
    /// list say nothing: they may be those of a store that was restored since.
    pub(super) fn admits(self, version: u64, stamp: Stamp) -> bool {
        self.stamp != stamp || self.version <= version
    }

    /// The running list has the object, whatever its version.
    pub(super) fn is_listed(&mut self, stamp: Stamp) {
        if self.stamp != stamp {
            *self = Self { stamp, version: 0 };
        }
    }
}

/// Finds a record on a node.
pub(super) fn position(records: &[PodRecord], uid: PodUid) -> Option<usize> {
    records.iter().position(|record| record.uid == uid.0)
}
