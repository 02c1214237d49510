//! What becomes of steers behind the answers: they are counted, judged, and given up.

use super::{Actor, Means, Order};
use crate::engine::{Desk, SteerOutcome, SteerRecord, World};
use crate::metrics::Metrics;
use crate::model::{EquivalenceClass, Tick};

/// What there is to do about steers.
pub(super) struct Chores {
    /// Those that were given up although the nomination is there.
    stale: Vec<SteerRecord>,
    /// Those that have got an outcome.
    ended: Vec<SteerRecord>,
    num_open: usize,
}

impl Chores {
    /// Looks for them, while the desk is ours.
    pub(super) fn of(desk: &mut Desk, world: &World, now: Tick) -> Self {
        let stale = desk.expire_steers(world, now);
        Self { stale, ended: desk.take_steer_news(), num_open: desk.steers().num_open() }
    }

    /// Does them.
    pub(super) fn finish(self, actor: &Actor, metrics: &Metrics) {
        metrics.steer.open.set(self.num_open as i64);
        for SteerRecord { pod, cause, outcome, accepted_ms, .. } in self.ended {
            let Some(outcome) = outcome else { continue };
            let of_use = match outcome {
                SteerOutcome::Honoured => Some(true),
                SteerOutcome::NotHonoured => Some(false),
                _ => None,
            };
            actor.was_of_use(Means::Steer, (EquivalenceClass::of(&pod), pod.uid), of_use);
            metrics.steer.ended.with_label_values(&[cause.name(), outcome.name()]).inc();
            if let Some(ms) = accepted_ms {
                metrics.steer.accepted_seconds.observe(ms as f64 / 1000.0);
            }
        }
        for SteerRecord { pod, node, cause, .. } in self.stale {
            // Until it is taken back, it claims the node.
            actor.submit(Order::clear(Means::Steer, pod, &node, cause.name()).lasting());
        }
    }
}
