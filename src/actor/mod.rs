//! Everything that sigma writes to the cluster by itself, in one room: each means has a queue, bounded,
//! paced, coalesced by pod, retried with back-off, and leaves a record of every order.
//!
//! ```text
//!   doorbell ─┐                 ┌─ lane ─┐  next   ┌───────────────┐
//!   …        ─┴──▶ submit ─────▶│ (pure) │────────▶│ k8s::writes   │
//!                     ▲         └────▲───┘         └──────┬────────┘
//!               Tell ─┴── record ◀───┴──── finish ◀───────┘
//! ```
//!
//! Submitting takes a lock and no more: the request path may do it. Nothing here decides who is rung or
//! nominated, or where to. Not here: bindings, which kube-scheduler waits for, and events, which may
//! be lost.

mod backoff;
mod doorbell;
mod lane;
mod order;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use self::lane::{Job, Lane, Left, Next, Turned, Verdict, Wanted};
use crate::k8s::writes::{PodRef, PodWrites, WriteOutcome};
use crate::metrics::Metrics;
use crate::model::{Pod, Tick};
use crate::writer::Clock;

pub use doorbell::answer as answer_the_door;
pub use order::{Means, Order, Outcome, Record, Tell, Write};

/// Records kept of each means.
const MAX_RECORDS: usize = 256;
/// Without the right to write, a means asks again this often.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(60);
/// A server that throttles us is left alone for as long as it asks, within these bounds: a pod that
/// is woken late is better off than a server that drowns.
const BUSY_PAUSES: (Duration, Duration) = (Duration::from_secs(1), FORBIDDEN_PAUSE);

/// Carries out orders.
pub struct Actor {
    writes: PodWrites,
    metrics: Arc<Metrics>,
    clock: Clock,
    queues: [Queue; Means::ALL.len()],
    /// Tells this process from the one before it.
    life: u64,
    num_writes: AtomicU64,
}

/// What one means consists of.
struct Queue {
    means: Means,
    state: Mutex<State>,
    /// Something has changed that the lane is to be asked about.
    changed: Notify,
}

struct State {
    lane: Lane<Order>,
    switched_on: bool,
    /// Newest first.
    records: VecDeque<Record>,
}

/// How a means stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeansState {
    /// Which one.
    pub means: Means,
    /// It acts.
    pub on: bool,
    /// Orders that wait.
    pub waiting: usize,
    /// Writes on their way.
    pub in_flight: usize,
    /// The last orders that ended, newest first.
    pub records: Vec<Record>,
}

impl Actor {
    /// An actor whose means are all switched off.
    pub fn new(writes: PodWrites, metrics: Arc<Metrics>, clock: Clock) -> Self {
        let queue = |means: Means| {
            let lane = Lane::new(means.limits(), clock.now());
            let state = State { lane, switched_on: false, records: VecDeque::new() };
            Queue { means, state: Mutex::new(state), changed: Notify::new() }
        };
        for (means, outcome) in
            Means::ALL.iter().flat_map(|it| Outcome::NAMES.map(|name| (it, name)))
        {
            metrics.actor.ended.with_label_values(&[means.name(), outcome]);
        }
        let (life, num_writes) = (fastrand::u64(..), AtomicU64::new(0));
        Self { writes, metrics, clock, queues: Means::ALL.map(queue), life, num_writes }
    }

    /// Switches a means on or off, at once. Orders that wait stay until it is on again, or they expire.
    pub fn switch(&self, means: Means, on: bool) {
        let queue = self.queue(means);
        queue.lock().switched_on = on;
        queue.changed.notify_one();
    }

    /// Takes an order. Whoever is to learn the outcome is told later, by a background task or, when the
    /// order ends at once, from within.
    pub fn submit(&self, order: Order) {
        let now = self.clock.now();
        let queue = self.queue(order.means);
        let (uid, priority, lasting) = (order.pod.uid, order.pod.priority, order.lasting);
        let wanted = Wanted { order, uid, priority, lasting };
        let ended = {
            let mut state = queue.lock();
            let open = state.switched_on;
            match state.lane.submit(wanted, open, now) {
                Turned::No => None,
                Turned::Replaced(job) => Some(state.end(job, Outcome::Replaced, now)),
                Turned::Full(job) => Some(state.end(job, Outcome::Full, now)),
                Turned::Closed(job) => Some(state.end(job, Outcome::Off, now)),
            }
        };
        queue.changed.notify_one();
        if let Some(ended) = ended {
            self.tell(queue, ended);
        }
    }

    /// How many orders of a means could begin right now, but for its pace.
    pub fn room(&self, means: Means) -> usize {
        let state = self.queue(means).lock();
        if state.switched_on { state.lane.room(self.clock.now()) } else { 0 }
    }

    /// How all means stand.
    pub fn state(&self) -> Vec<MeansState> {
        let shown = |queue: &Queue| {
            let state = queue.lock();
            MeansState {
                means: queue.means,
                on: state.switched_on,
                waiting: state.lane.num_waiting(),
                in_flight: state.lane.num_in_flight(),
                records: state.records.iter().cloned().collect(),
            }
        };
        self.queues.iter().map(shown).collect()
    }

    /// Carries out the orders of one means, for as long as the process runs.
    pub async fn run(self: Arc<Self>, means: Means) {
        let queue = self.queue(means);
        loop {
            let now = self.clock.now();
            let next = {
                let mut state = queue.lock();
                let on = state.switched_on;
                state.lane.next(now, on)
            };
            match next {
                Next::Start(job) => {
                    tokio::spawn(Arc::clone(&self).carry_out(means, job));
                }
                Next::Expired(job) => {
                    let ended = queue.lock().end(job, Outcome::Expired, now);
                    self.tell(queue, ended);
                }
                Next::Idle => queue.changed.notified().await,
                Next::At(at) => {
                    let pause = Duration::from_millis(at.since_ms(now));
                    // Over or not: the lane is asked again.
                    let _ = tokio::time::timeout(pause, queue.changed.notified()).await;
                }
            }
            self.measure(queue);
        }
    }

    async fn carry_out(self: Arc<Self>, means: Means, job: Job<Order>) {
        let (pod, write) = (Arc::clone(&job.order.pod), job.order.write.clone());
        let this = Arc::clone(&self);
        // In a task of its own, so that the order ends even if writing it panics.
        let written = tokio::spawn(async move { this.write(&pod, &write).await }).await;
        let written = written.unwrap_or_else(|_| {
            self.metrics.panics.inc();
            WriteOutcome::Failed("writing it panicked".to_owned())
        });
        let Order { pod, write, cause, .. } = &job.order;
        let (namespace, name, what) = (&pod.namespace, &pod.name, write.name());
        tracing::debug!(%namespace, %name, cause, ?written, means = means.name(), "wrote: {what}");
        let queue = self.queue(means);
        let now = self.clock.now();
        let (outcome, verdict) = match written {
            WriteOutcome::Written => (Outcome::Written, Verdict::Over),
            WriteOutcome::Gone => (Outcome::Gone, Verdict::Over),
            WriteOutcome::Forbidden(why) => {
                self.pause(queue, FORBIDDEN_PAUSE, &why);
                (Outcome::Forbidden(why), Verdict::Over)
            }
            WriteOutcome::Busy(asked, why) => {
                let pause = asked.clamp(BUSY_PAUSES.0, BUSY_PAUSES.1);
                self.pause(queue, pause, &why);
                (Outcome::Failed(why), Verdict::Again(pause.as_millis() as u64))
            }
            WriteOutcome::Failed(why) => {
                tracing::warn!(%namespace, %name, "cannot {what}: {why}");
                (Outcome::Failed(why), Verdict::Again(0))
            }
        };
        let ended = {
            let mut state = queue.lock();
            match state.lane.finish(job, verdict, now) {
                Left::No => None,
                Left::Over(job) => Some(state.end(job, outcome, now)),
                Left::Replaced(job) => Some(state.end(job, Outcome::Replaced, now)),
            }
        };
        queue.changed.notify_one();
        if let Some(ended) = ended {
            self.tell(queue, ended);
        }
    }

    async fn write(&self, pod: &Pod, write: &Write) -> WriteOutcome {
        // Only a value that the pod did not have before wakes it. In a container every process has
        // the same number, so a life is told from the next one by lot.
        let count = self.num_writes.fetch_add(1, Ordering::Relaxed);
        let value = format!("{:016x}-{count}", self.life);
        let pod = PodRef { namespace: &pod.namespace, name: &pod.name, uid: &pod.uid_text };
        match write {
            Write::Ring => self.writes.ring(pod, &value).await,
        }
    }

    /// Nothing of this means begins for a while. Said once a pause, however many orders are on their
    /// way.
    fn pause(&self, queue: &Queue, pause: Duration, why: &str) {
        let now = self.clock.now();
        if queue.lock().lane.pause(now.plus_ms(pause.as_millis() as u64), now) {
            tracing::error!("the {} is off for {pause:?}: {why}", queue.means.name());
        }
    }

    fn tell(&self, queue: &Queue, (outcome, tell): (Outcome, Option<Tell>)) {
        self.metrics.actor.ended.with_label_values(&[queue.means.name(), outcome.name()]).inc();
        self.measure(queue);
        if let Some(tell) = tell {
            tell(&outcome);
        }
    }

    fn measure(&self, queue: &Queue) {
        let (waiting, in_flight) = {
            let state = queue.lock();
            (state.lane.num_waiting(), state.lane.num_in_flight())
        };
        for (stage, count) in [("waiting", waiting), ("in_flight", in_flight)] {
            let gauge = self.metrics.actor.open.with_label_values(&[queue.means.name(), stage]);
            gauge.set(count as i64);
        }
    }

    fn queue(&self, means: Means) -> &Queue {
        &self.queues[means as usize]
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Keeps a record, and gives whom to tell.
    fn end(&mut self, job: Job<Order>, outcome: Outcome, now: Tick) -> (Outcome, Option<Tell>) {
        let Order { pod, write, cause, tell, .. } = job.order;
        let (attempts, took_ms) = (job.attempts, now.since_ms(job.since));
        let record =
            Record { ended: now, pod, write, cause, outcome: outcome.clone(), attempts, took_ms };
        self.records.push_front(record);
        self.records.truncate(MAX_RECORDS);
        (outcome, tell)
    }
}
