//! Requeues pods whose unschedulable answer no longer holds, and ends holds that lived too long (DESIGN §4).

use std::sync::Arc;
use std::time::Duration;

use super::steers::{self, SteerFollowUp};
use super::{ActionMetrics, ActionOutcome, Actor, PendingAction};
use crate::engine::{Decider, Nominates, Requeue};
use crate::model::{Action, Pod, REQUEUE, STEER, Tick};
use crate::runtime::SharedState;

/// How often unschedulable pods are looked at.
const PERIOD: Duration = Duration::from_millis(50);
/// Most pods requeued at one look: 100 a second.
const MAX_REQUEUES: usize = 5;
/// Pairs of pod and node that are looked at under the decider's lock: a fraction of a millisecond.
const BUDGET: usize = 10_000;
/// For so long after a start, pods are adopted whose conditions name one of sigma's reasons. kube-scheduler may be this
/// late to write the condition of an attempt that an earlier process has answered.
const ADOPT_FOR_MS: u64 = 60_000;
/// Between two looks for such pods.
const ADOPT_EACH_MS: u64 = 1000;

/// When to look for unschedulable pods of an earlier process.
#[derive(Debug, Default)]
struct Adoption {
    began: Option<Tick>,
    looked: Option<Tick>,
}

impl Adoption {
    /// It is time to look. Call only when the first lists are in.
    fn is_due(&mut self, now: Tick) -> bool {
        let began = *self.began.get_or_insert(now);
        let is_due = now.since_ms(began) <= ADOPT_FOR_MS
            && self.looked.is_none_or(|looked| now.since_ms(looked) >= ADOPT_EACH_MS);
        if is_due {
            self.looked = Some(now);
        }
        is_due
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_looked_for_each_second_of_a_minute() {
        let mut adoption = Adoption::default();
        let looks = (0..4000).filter(|at| adoption.is_due(Tick(5000 + at * 50)));
        let looks: Vec<u64> = looks.collect();
        let want: Vec<u64> = (0..=60).map(|second| second * 20).collect();
        assert_eq!(looks, want);
    }
}
