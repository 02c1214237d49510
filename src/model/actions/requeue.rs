//! Requeue: makes kube-scheduler try an unschedulable pod again, once its answer no longer holds.

use serde_json::json;

use super::{Action, ActionKind, BreakerLimits, QueueLimits};
use crate::model::{PatchFormat, Pod, Rate, Right, Write};

/// The annotation whose change makes kube-scheduler try a pending pod again.
pub const REQUEUE_ANNOTATION: &str = "sigma.io/requeue";

/// The kind. Few actions wait: the pod to requeue next is chosen anew at every look.
pub static REQUEUE: ActionKind = ActionKind {
    name: "requeue",
    queue: QueueLimits {
        max_waiting: 64,
        max_in_flight: 8,
        pace: Rate { tokens: 100, period_ms: 1000, burst: 5 },
        max_attempts: 1,
        first_pause_ms: 1000,
        most_pause_ms: 30_000,
        max_age_ms: 10_000,
    },
    // A pod that is not requeued may sleep for minutes, so a failed kind is soon tried again.
    breaker: BreakerLimits { pause_ms: 2_000, most_pause_ms: 10_000, ..BreakerLimits::DEFAULT },
    rights: &[Right::PATCH_POD_STATUS],
    needs_proof: false,
    is_cluster_wide: false,
};

impl Action {
    /// A requeue of this pod. `cause` is the name of the reason that no longer holds.
    ///
    /// A strategic merge creates the annotations where there are none, and adds to them where there are.
    pub fn requeue(pod: &Pod, cause: &'static str) -> Self {
        let write = Write::Patch {
            subresource: "status",
            format: PatchFormat::Strategic,
            body: json!({}),
            mark: Some(REQUEUE_ANNOTATION),
        };
        Self::on_pod(&REQUEUE, pod, write, ("requeue", cause))
    }
}
