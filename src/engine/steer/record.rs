//! What a steer is told and tells: orders, outcomes, records.

use std::sync::Arc;

use crate::model::{Pod, Tick};
use crate::policy::Cause;

/// A nomination to be written, right after the answer that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteerAction {
    /// The pod as it was asked about: the write is fenced by its UID and nomination.
    pub pod: Arc<Pod>,
    /// The node's name.
    pub node: Box<str>,
    /// Why.
    pub cause: Cause,
    /// 1 for the first unschedulable answer of the steer, or for a requeue. After a later unschedulable answer only this write wakes
    /// the pod.
    pub round: u32,
}

/// What became of the write of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrote {
    /// The nomination is there.
    Done,
    /// It is not, and will not be.
    Failed,
    /// The pod's nomination is another one.
    Changed,
    /// The pod is gone, or another one has its name.
    Gone,
    /// The pod has a node.
    Bound,
}

/// How a steer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SteerOutcome {
    /// The target was offered, and accepted alone.
    Honoured,
    /// kube-scheduler looked at the target and did not offer it.
    NotHonoured,
    /// Our own rules refused the target when it was offered, or it is gone.
    Refused,
    /// Somebody else has nominated the pod.
    Overruled,
    /// The nomination could not be written.
    Failed,
    /// The nomination was not written yet when the pod came back, and offered nodes would do.
    Late,
    /// The pod came back without its nomination as often as it may, or where offered nodes would do; or
    /// it was bound without us, or answered without the rules.
    Lost,
    /// The pod did not come back.
    Expired,
    /// It was switched off, or the means did not act any more.
    Off,
    /// The pod is gone.
    Gone,
}

impl SteerOutcome {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Honoured,
        Self::NotHonoured,
        Self::Refused,
        Self::Overruled,
        Self::Failed,
        Self::Late,
        Self::Lost,
        Self::Expired,
        Self::Off,
        Self::Gone,
    ];

    /// As metrics and the admin API call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Honoured => "honoured",
            Self::NotHonoured => "not_honoured",
            Self::Refused => "refused",
            Self::Overruled => "overruled",
            Self::Failed => "failed",
            Self::Late => "late",
            Self::Lost => "lost",
            Self::Expired => "expired",
            Self::Off => "off",
            Self::Gone => "gone",
        }
    }
}

/// Why a pod that could have been steered is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsteered {
    /// The means does not act now.
    Off,
    /// Steers of its equivalence class were in vain lately.
    Paused,
    /// It belongs to a group that its scheduler places together.
    Grouped,
    /// It requires something of its node that only kube-scheduler judges.
    Constrained,
    /// It is gated, or on its way out.
    NotPending,
    /// It carries a nomination already.
    Nominated,
    /// Our snapshot is behind: the request names nodes that we do not know, or the watch of pods is
    /// interrupted, so that the pod may have been bound.
    Behind,
    /// It has been steered for this cause before.
    Spent,
    /// Its condition has our text already, so that refusing it again would wake nobody.
    SameText,
    /// It could preempt, and nothing proves that kube-scheduler would ask us first. Only for pods that
    /// some offered node would take: the others are refused anyway.
    MayPreempt,
    /// Its class or its app has enough pods under way.
    Budget,
    /// No node of the cluster would do.
    Nowhere,
}

impl Unsteered {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Off,
        Self::Paused,
        Self::Grouped,
        Self::Constrained,
        Self::NotPending,
        Self::Nominated,
        Self::Behind,
        Self::Spent,
        Self::SameText,
        Self::MayPreempt,
        Self::Budget,
        Self::Nowhere,
    ];

    /// As a metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Paused => "paused",
            Self::Grouped => "grouped",
            Self::Constrained => "constrained",
            Self::NotPending => "not_pending",
            Self::Nominated => "nominated",
            Self::Behind => "behind",
            Self::Spent => "spent",
            Self::SameText => "same_text",
            Self::MayPreempt => "may_preempt",
            Self::Budget => "budget",
            Self::Nowhere => "nowhere",
        }
    }
}

/// A steer, under way or over. Times are in milliseconds since it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteerRecord {
    /// The pod as it was asked about last.
    pub pod: Arc<Pod>,
    /// Why.
    pub cause: Cause,
    /// The target's name.
    pub node: Box<str>,
    /// By how much it led the best that was offered, of the most points that a node can have: 1000
    /// from a better pool. `None`: no offered node would do.
    pub lead_permille: Option<u32>,
    /// It began at a requeue, and not with an answer.
    pub is_requeue: bool,
    /// Writes ordered so far: one for each unschedulable answer, or for the requeue.
    pub rounds: u32,
    /// When the first one was answered.
    pub began: Tick,
    /// The first nomination was there.
    pub written_ms: Option<u64>,
    /// The target was accepted.
    pub accepted_ms: Option<u64>,
    /// A watch told where the pod is; to within the requeue's period.
    pub bound_ms: Option<u64>,
    /// `None`: under way.
    pub outcome: Option<SteerOutcome>,
}
