//! Rings pods whose refusal no longer holds, and ends holds that lived too long (DESIGN §4).

use std::sync::Arc;
use std::time::Duration;

use super::steers::{self, Chores};
use super::{Actor, Means, Order, Outcome};
use crate::engine::{Desk, Nominates, Ring};
use crate::metrics::Metrics;
use crate::model::{Pod, Tick};
use crate::writer::Board;

/// How often refusals are looked at.
const PERIOD: Duration = Duration::from_millis(50);
/// Most pods rung at one look: 100 a second.
const MAX_RINGS: usize = 5;
/// (pod, node) pairs looked at while the desk is ours: a fraction of a millisecond.
const BUDGET: usize = 10_000;
/// For so long after a start, pods are adopted whose conditions name a reason of ours. kube-scheduler may
/// write the condition of an attempt that an earlier process has answered this late.
const ADOPT_FOR_MS: u64 = 60_000;
/// Between two looks for such pods.
const ADOPT_EACH_MS: u64 = 1000;

/// When to look for pods that an earlier process has refused.
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

/// Answers who waits at the door, for as long as the process runs. While the means is off, holds and
/// steers expire all the same, but nobody is rung.
pub async fn answer(board: Arc<Board>, metrics: Arc<Metrics>, actor: Arc<Actor>) {
    let mut adoption = Adoption::default();
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let ready = board.synced();
        let room = if ready { actor.room(Means::Doorbell).min(MAX_RINGS) } else { 0 };
        let acts = ready && actor.why_off(Means::Steer).is_none();
        let (rings, chores) = board.decide(|desk, world, now| {
            if ready && adoption.is_due(now) {
                let count = desk.adopt_refusals(world, now);
                if count > 0 {
                    tracing::info!(count, "restored unschedulable pods from their conditions");
                }
            }
            metrics.holds_expired.inc_by(desk.expire(world, now) as u64);
            metrics.assumed_pods.set(desk.holds().len() as i64);
            metrics.refused_pods.set(desk.refusals().len() as i64);
            // First, since whom it gives up is rung.
            let chores = Chores::of(desk, world, now);
            let is_paused = |pod: &Pod| actor.is_paused(Means::Steer, pod);
            let nominates = Nominates { acts, is_paused: &is_paused };
            let some = |desk: &mut Desk| desk.rings(world, nominates, now, room, BUDGET);
            (if room > 0 { some(desk) } else { Vec::new() }, chores)
        });
        chores.finish(&actor, &metrics);
        for Ring { pod, reason, steer } in rings {
            let metrics = metrics.clone();
            if steer.is_some() {
                actor.began(Means::Steer, &pod);
            }
            let order = match steer {
                Some(steer) => steers::order(&board, steer, move |outcome| {
                    count(&metrics, "nominated", outcome);
                }),
                None => {
                    let (board, uid) = (board.clone(), pod.uid);
                    Order::ring(pod, reason.name()).telling(move |outcome| {
                        if !matches!(outcome, Outcome::Written | Outcome::Gone) {
                            board.decide(|desk, _, now| desk.not_rung(uid, now));
                        }
                        count(&metrics, "rung", outcome);
                    })
                }
            };
            actor.submit(order);
        }
    }
}

fn count(metrics: &Metrics, written: &str, outcome: &Outcome) {
    let label = match outcome {
        Outcome::Written => written,
        Outcome::Gone => "gone",
        Outcome::Forbidden(_) => "forbidden",
        _ => "failed",
    };
    metrics.doorbells.with_label_values(&[label]).inc();
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
