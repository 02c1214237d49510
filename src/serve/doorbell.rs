//! Rings pods whose refusal no longer holds, and ends holds that lived too long (DESIGN §4).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::engine::Ring;
use crate::k8s::writes::{PodRef, PodWrites, RingOutcome};
use crate::metrics::Metrics;
use crate::writer::Board;

/// How often refusals are looked at.
const PERIOD: Duration = Duration::from_millis(50);
/// Most pods rung at one look: 100 a second.
const MAX_RINGS: usize = 5;
/// (pod, node) pairs looked at while the desk is ours: a fraction of a millisecond.
const BUDGET: usize = 10_000;
/// Rings on their way.
const MAX_IN_FLIGHT: usize = 8;
/// Without the right to ring, we ask again this often.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(60);
/// A server that throttles us is left alone for as long as it asks, within these bounds: a pod that
/// is rung late is better off than a server that drowns.
const BUSY_PAUSES: (Duration, Duration) = (Duration::from_secs(1), FORBIDDEN_PAUSE);

/// Runs for as long as the process. With `on` false holds still expire, but nobody is rung.
pub(super) async fn run(board: Arc<Board>, metrics: Arc<Metrics>, writes: PodWrites, on: bool) {
    let bell = Arc::new(Bell {
        writes,
        metrics: metrics.clone(),
        in_flight: Semaphore::new(MAX_IN_FLIGHT),
        started: Instant::now(),
        life: fastrand::u64(..),
        silent_until_ms: AtomicU64::new(0),
        sequence: AtomicU64::new(0),
    });
    let mut adopted = false;
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let ready = board.synced();
        let may_ring = on && ready && bell.may_ring();
        let rings = board.decide(|desk, world, now| {
            if ready && !adopted {
                adopted = true;
                let count = desk.adopt_refusals(world, now);
                tracing::info!(count, "refusals of an earlier life are ours again");
            }
            metrics.holds_expired.inc_by(desk.expire(now) as u64);
            metrics.assumed_pods.set(desk.holds().len() as i64);
            metrics.refused_pods.set(desk.refusals().len() as i64);
            if may_ring { desk.rings(world, now, MAX_RINGS, BUDGET) } else { Vec::new() }
        });
        for ring in rings {
            tokio::spawn(bell.clone().ring(ring));
        }
    }
}

struct Bell {
    writes: PodWrites,
    metrics: Arc<Metrics>,
    in_flight: Semaphore,
    started: Instant,
    /// Tells this process from the one before it.
    life: u64,
    silent_until_ms: AtomicU64,
    sequence: AtomicU64,
}

impl Bell {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn may_ring(&self) -> bool {
        self.now_ms() >= self.silent_until_ms.load(Ordering::Relaxed)
            && self.in_flight.available_permits() > 0
    }

    /// Says so once a pause, however many rings are on their way.
    fn pause(&self, pause: Duration, why: &str) {
        let now = self.now_ms();
        let until = now + pause.as_millis() as u64;
        if self.silent_until_ms.fetch_max(until, Ordering::Relaxed) <= now {
            tracing::error!("the doorbell is off for {pause:?}: {why}");
        }
    }

    async fn ring(self: Arc<Self>, ring: Ring) {
        let Ok(_permit) = self.in_flight.acquire().await else {
            return;
        };
        let pod = &ring.pod;
        // Only a value that the pod did not have before wakes it. In a container every process has
        // the same number, so a life is told from the next one by lot.
        let count = self.sequence.fetch_add(1, Ordering::Relaxed);
        let value = format!("{:016x}-{count}", self.life);
        let pod_ref = PodRef { namespace: &pod.namespace, name: &pod.name, uid: &pod.uid_text };
        let outcome = self.writes.ring(pod_ref, &value).await;
        let (name, reason) = (&pod.name, ring.reason.name());
        tracing::debug!(namespace = %pod.namespace, %name, reason, ?outcome, "rang");
        let label = match outcome {
            RingOutcome::Rung => "rung",
            RingOutcome::Gone => "gone",
            RingOutcome::Failed(why) => {
                tracing::warn!(namespace = %pod.namespace, %name, "cannot ring: {why}");
                "failed"
            }
            RingOutcome::Busy(asked, why) => {
                self.pause(asked.clamp(BUSY_PAUSES.0, BUSY_PAUSES.1), &why);
                "failed"
            }
            RingOutcome::Forbidden(why) => {
                self.pause(FORBIDDEN_PAUSE, &why);
                "forbidden"
            }
        };
        self.metrics.doorbells.with_label_values(&[label]).inc();
    }
}
