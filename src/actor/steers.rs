//! What becomes of steers behind the answers: they are counted, judged, and given up.

use std::sync::Arc;

use super::{Actor, Means, Order, Outcome};
use crate::engine::{Desk, SteerOrder, SteerOutcome, SteerRecord, World, Wrote};
use crate::metrics::Metrics;
use crate::model::{EquivalenceClass, Tick};
use crate::writer::Board;

/// What the actor is to do about a steer. The desk learns the outcome, and then `tell` does.
pub fn order(
    board: &Arc<Board>,
    steer: SteerOrder,
    tell: impl FnOnce(&Outcome) + Send + 'static,
) -> Order {
    let SteerOrder { pod, node, cause, round } = steer;
    let (board, uid) = (board.clone(), pod.uid);
    let order = Order::nominate(Means::Steer, pod, &node, cause.name());
    // The first refusal of a steer changes the pod's condition, which wakes it whatever becomes of
    // this. A later one does not. Where a requeue is not written, the next one is.
    let order = if round > 1 { order.lasting() } else { order };
    order.telling(move |outcome| {
        let wrote = wrote(outcome);
        board.decide(|desk, world, now| desk.steer_written(world, (uid, round), wrote, now));
        tell(outcome);
    })
}

fn wrote(outcome: &Outcome) -> Wrote {
    match outcome {
        Outcome::Written => Wrote::Done,
        Outcome::Gone => Wrote::Gone,
        Outcome::AlreadyBound => Wrote::Bound,
        Outcome::Changed(_) => Wrote::Changed,
        Outcome::Forbidden(_)
        | Outcome::Failed(_)
        | Outcome::Replaced
        | Outcome::Full
        | Outcome::Overtaken
        | Outcome::Expired
        | Outcome::Off => Wrote::Failed,
    }
}

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
