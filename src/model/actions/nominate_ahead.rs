//! Nominate ahead: nominates nodes for pods of a backlog before kube-scheduler comes to them.

use super::{ActionKind, BreakerLimits, QueueLimits};
use crate::model::{Rate, Right};

/// The kind. As many writes at once as API priority and fairness lets one client have of a small control plane.
pub static NOMINATE_AHEAD: ActionKind = ActionKind {
    name: "nominate_ahead",
    queue: QueueLimits {
        max_waiting: 10_000,
        max_in_flight: 32,
        pace: Rate { tokens: 1000, period_ms: 1000, burst: 125 },
        max_attempts: 3,
        first_pause_ms: 200,
        most_pause_ms: 2000,
        max_age_ms: 30_000,
    },
    breaker: BreakerLimits::DEFAULT,
    rights: &[Right::PATCH_POD_STATUS],
    needs_proof: true,
    is_cluster_wide: true,
};
