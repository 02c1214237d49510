//! What becomes of steers behind the answers: they are counted, judged, and given up.

use std::sync::Arc;

use super::{Action, ActionKind, ActionMetrics, ActionOutcome, Actor};
use crate::engine::{Decider, SteerAction, SteerOutcome, SteerRecord, View, Wrote};
use crate::model::{EquivalenceClass, Tick};
use crate::writer::SharedState;

/// What the actor is to do about a steer. The decider learns the outcome, and then `tell` does.
pub fn action(
    shared: &Arc<SharedState>,
    steer: SteerAction,
    tell: impl FnOnce(&ActionOutcome) + Send + 'static,
) -> Action {
    let SteerAction { pod, node, cause, round } = steer;
    let (shared, uid) = (shared.clone(), pod.uid);
    let action = Action::nominate(ActionKind::Steer, pod, &node, cause.name());
    // The first unschedulable answer of a steer changes the pod's condition, which wakes it whatever becomes of
    // this. A later one does not. Where a requeue is not written, the next one is.
    let action = if round > 1 { action.lasting() } else { action };
    action.telling(move |outcome| {
        let wrote = wrote(outcome);
        shared.decide(|decider, view, now| decider.steer_written(view, (uid, round), wrote, now));
        tell(outcome);
    })
}

fn wrote(outcome: &ActionOutcome) -> Wrote {
    match outcome {
        ActionOutcome::Written => Wrote::Done,
        ActionOutcome::Gone => Wrote::Gone,
        ActionOutcome::AlreadyBound => Wrote::Bound,
        ActionOutcome::Changed(_) => Wrote::Changed,
        ActionOutcome::Forbidden(_)
        | ActionOutcome::Failed(_)
        | ActionOutcome::Replaced
        | ActionOutcome::Full
        | ActionOutcome::Overtaken
        | ActionOutcome::Expired
        | ActionOutcome::Off => Wrote::Failed,
    }
}

/// What there is to do about steers.
pub(super) struct SteerFollowUp {
    /// Those that were given up although the nomination is there.
    stale: Vec<SteerRecord>,
    /// Those that have got an outcome.
    ended: Vec<SteerRecord>,
    num_open: usize,
}

impl SteerFollowUp {
    /// Looks for them, while the decider is ours.
    pub(super) fn of(decider: &mut Decider, view: &View, now: Tick) -> Self {
        let stale = decider.expire_steers(view, now);
        Self { stale, ended: decider.take_steer_news(), num_open: decider.steers().num_open() }
    }

    /// Does them.
    pub(super) fn finish(self, actor: &Actor, metrics: &ActionMetrics) {
        metrics.steers_open.set(self.num_open as i64);
        for SteerRecord { pod, cause, outcome, accepted_ms, .. } in self.ended {
            let Some(outcome) = outcome else { continue };
            let of_use = match outcome {
                SteerOutcome::Honoured => Some(true),
                SteerOutcome::NotHonoured => Some(false),
                _ => None,
            };
            actor.was_of_use(ActionKind::Steer, (EquivalenceClass::of(&pod), pod.uid), of_use);
            metrics.steers_ended.with_label_values(&[cause.name(), outcome.name()]).inc();
            if let Some(ms) = accepted_ms {
                metrics.steer_accepted_seconds.observe(ms as f64 / 1000.0);
            }
        }
        for SteerRecord { pod, node, cause, .. } in self.stale {
            // Until it is taken back, it claims the node.
            actor.submit(Action::clear(ActionKind::Steer, pod, &node, cause.name()).lasting());
        }
    }
}
