//! Requeues pods whose unschedulable answer no longer holds, and ends holds that lived too long (DESIGN §4).

use std::sync::Arc;
use std::time::Duration;

use super::steers::{self, SteerFollowUp};
use super::{ActionMetrics, Actor};
use crate::control::Adoption;
use crate::control::{ActionOutcome, PendingAction};
use crate::engine::{Decider, Nominates, Requeue};
use crate::model::{Action, Pod, REQUEUE, STEER};
use crate::runtime::SharedState;

/// How often unschedulable pods are looked at.
const PERIOD: Duration = Duration::from_millis(50);
/// Most pods requeued at one look: 100 a second.
const MAX_REQUEUES: usize = 5;
/// Pairs of pod and node that are looked at under the decider's lock: a fraction of a millisecond.
const BUDGET: usize = 10_000;
/// Requeues pods for as long as the process runs. While the kind is off, holds and steers expire all the same, but no
/// pod is requeued.
pub async fn run(shared: Arc<SharedState>, metrics: Arc<ActionMetrics>, actor: Arc<Actor>) {
    let mut adoption = Adoption::default();
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let ready = shared.synced();
        let room = if ready { actor.room(&REQUEUE).min(MAX_REQUEUES) } else { 0 };
        let acts = ready && actor.why_off(&STEER).is_none();
        let (requeues, follow_up) = shared.decide(|decider, view, now| {
            if ready && adoption.is_due(now) {
                let count = decider.adopt_conditions(view, now);
                if count > 0 {
                    tracing::info!(count, "restored unschedulable pods from their conditions");
                }
            }
            metrics.holds_expired.inc_by(decider.expire(view, now) as u64);
            metrics.holds.set(decider.holds().len() as i64);
            metrics.unschedulable_pods.set(decider.unschedulable().len() as i64);
            // First, since a steer that is given up leaves its pod to the requeue.
            let follow_up = SteerFollowUp::of(decider, view, now);
            let is_paused = |pod: &Pod| actor.is_paused(&STEER, pod);
            let nominates = Nominates { acts, is_paused: &is_paused };
            let some = |decider: &mut Decider| decider.requeues(view, nominates, now, room, BUDGET);
            (if room > 0 { some(decider) } else { Vec::new() }, follow_up)
        });
        follow_up.finish(&actor, &metrics);
        for Requeue { pod, reason, steer } in requeues {
            let metrics = metrics.clone();
            if steer.is_some() {
                actor.began(&STEER, &pod);
            }
            let action = match steer {
                Some(steer) => steers::action(&shared, steer, move |outcome| {
                    count(&metrics, "nominated", outcome);
                }),
                None => {
                    let (shared, uid) = (shared.clone(), pod.uid);
                    let action = Action::requeue(&pod, reason.name());
                    PendingAction::from(action).on_done(move |outcome| {
                        if !matches!(outcome, ActionOutcome::Written | ActionOutcome::Gone) {
                            shared.decide(|decider, _, now| decider.not_requeued(uid, now));
                        }
                        count(&metrics, "requeued", outcome);
                    })
                }
            };
            actor.submit(action);
        }
    }
}

fn count(metrics: &ActionMetrics, written: &str, outcome: &ActionOutcome) {
    let label = match outcome {
        ActionOutcome::Written => written,
        ActionOutcome::Gone => "gone",
        ActionOutcome::Forbidden(_) => "forbidden",
        _ => "failed",
    };
    metrics.requeues.with_label_values(&[label]).inc();
}
