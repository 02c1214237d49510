//! Steers behind the answers: they are written, counted, judged, and given up.

use std::sync::Arc;

use super::{ActionMetrics, Actor};
use crate::control::{ActionOutcome, PendingAction};
use crate::engine::{Decider, SteerAction, SteerOutcome, SteerRecord, View, Wrote};
use crate::model::{Action, EquivalenceClass, STEER, Tick};
use crate::runtime::SharedState;

/// The action of a steer. The decider learns the outcome, and then `tell` does.
pub fn action(
    shared: &Arc<SharedState>,
    steer: SteerAction,
    tell: impl FnOnce(&ActionOutcome) + Send + 'static,
) -> PendingAction {
    let SteerAction { pod, node, cause, round } = steer;
    let (shared, uid) = (shared.clone(), pod.uid);
    let action = Action::nominate(&STEER, &pod, &node, cause.name());
    // The first unschedulable answer of a steer changes the pod's condition, so kube-scheduler tries the pod again even
    // if this is not written. A later answer does not. A requeue that is not written is followed by the next one.
    let action = if round > 1 { action.must_complete() } else { action };
    PendingAction::from(action).on_done(move |outcome| {
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
        | ActionOutcome::Off
        | ActionOutcome::Stopped => Wrote::Failed,
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
            actor.was_of_use(&STEER, (EquivalenceClass::of(&pod), pod.uid), of_use);
            metrics.steers_ended.with_label_values(&[cause.name(), outcome.name()]).inc();
            if let Some(ms) = accepted_ms {
                metrics.steer_accepted_seconds.observe(ms as f64 / 1000.0);
            }
        }
        for SteerRecord { pod, node, cause, .. } in self.stale {
            // Until it is taken back, it claims the node.
            actor.submit(Action::clear(&STEER, &pod, &node, cause.name()).must_complete());
        }
    }
}
