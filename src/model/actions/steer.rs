//! Steer: sends a pod that was just refused to a node that was not offered.

use super::{ActionKind, BreakerLimits, QueueLimits};
use crate::model::{Rate, Right};

/// The kind. A steer ends when its pod comes back, so an attempt is soon too late.
pub static STEER: ActionKind = ActionKind {
    name: "steer",
    queue: QueueLimits {
        max_waiting: 256,
        max_in_flight: 16,
        pace: Rate { tokens: 200, period_ms: 1000, burst: 50 },
        max_attempts: 3,
        first_pause_ms: 50,
        most_pause_ms: 1000,
        max_age_ms: 2000,
    },
    breaker: BreakerLimits { failures: 5, ..BreakerLimits::DEFAULT },
    rights: &[Right::PATCH_POD_STATUS],
    needs_proof: true,
    is_cluster_wide: false,
};
