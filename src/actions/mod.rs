//! Everything that sigma writes to the cluster by itself, in one room: each means has a queue, bounded,
//! paced, coalesced by pod, retried with back-off, and leaves a record of every order.
//!
//! ```text
//!   doorbell ─┐                 ┌─ lane ─┐  next   ┌───────────────┐
//!   steer …  ─┴──▶ submit ─────▶│ (pure) │────────▶│ k8s::writes   │
//!                     ▲         └────▲───┘         └──────┬────────┘
//!               Tell ─┴── record ◀───┴──── finish ◀───────┘
//! ```
//!
//! Submitting takes a lock and no more: the request path may do it. Nothing here decides who is rung or
//! nominated, or where to. Not here: bindings, which kube-scheduler waits for, and events, which may
//! be lost.

mod backoff;
mod breaker;
mod requeue;
mod election;
mod not_honoured;
mod work_queue;
mod leadership;
mod obstacles;
mod action;
mod rights;
mod steers;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use self::breaker::{Breaker, Sign};
use self::not_honoured::NotHonoured;
use self::rights::Rights;
use self::work_queue::{Finished, Next, Submission, Submitted, Verdict, WorkItem, WorkQueue};
use crate::k8s::access::Right;
use crate::k8s::well_known;
use crate::k8s::writes::{PodRef, PodWrites, Wake, WriteOutcome};
use crate::metrics::Metrics;
use crate::model::{EquivalenceClass, Pod, PodUid, Tick};
use crate::writer::Clock;

pub use action::{Action, ActionKind, ActionOutcome, OnDone, Record, StillNeeded, WhyOff, Write};
pub use breaker::BreakerState;
pub use leadership::{Leadership, Leading};
pub use obstacles::{Ground, Obstacle, SteeringPart, SteeringState};
pub use requeue::answer as answer_the_door;
pub use rights::Inquiry;
pub use steers::order as steer_order;

/// Records kept of each means.
const MAX_RECORDS: usize = 256;
/// Rights and the lease come and go without a word: a lane is asked this often at least.
const LOOK: Duration = Duration::from_secs(1);
/// A server that throttles us is left alone for as long as it asks, within these bounds: a pod that
/// is woken late is better off than a server that drowns.
const BUSY_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Carries out orders.
pub struct Actor {
    writes: PodWrites,
    metrics: Arc<Metrics>,
    clock: Clock,
    queues: [Queue; ActionKind::ALL.len()],
    /// To write what all means write.
    rights: Rights,
    /// `None`: no lease is configured.
    leadership: Option<Arc<Leadership>>,
    /// Tells this process from the one before it.
    life: u64,
    num_orders: AtomicU64,
}

/// What one means consists of.
struct Queue {
    means: ActionKind,
    state: Mutex<QueueState>,
    /// Something has changed that the lane is to be asked about.
    changed: Notify,
}

struct QueueState {
    lane: WorkQueue<Action>,
    breaker: Breaker,
    in_vain: NotHonoured,
    switched_on: bool,
    /// Newest first.
    records: VecDeque<Record>,
}

/// How a means stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionKindState {
    /// Which one.
    pub means: ActionKind,
    /// Why it does not act; `None` when it does.
    pub why_off: Option<WhyOff>,
    /// Whether it was found to work.
    pub breaker: BreakerState,
    /// Equivalence classes of pods for which it does nothing at the moment, since it was in vain for some of them.
    pub paused_classes: usize,
    /// Orders that wait.
    pub waiting: usize,
    /// Writes on their way.
    pub in_flight: usize,
    /// The last orders that ended, newest first.
    pub records: Vec<Record>,
}

impl Actor {
    /// An actor whose means are all switched off.
    pub fn new(
        writes: PodWrites,
        metrics: Arc<Metrics>,
        clock: Clock,
        leadership: Option<Arc<Leadership>>,
    ) -> Self {
        let queue = |means: ActionKind| {
            let lane = WorkQueue::new(means.limits(), clock.now());
            let breaker = Breaker::new(means.breaker_limits(), clock.now());
            let (in_vain, records) = (NotHonoured::new(means.breaker_limits()), VecDeque::new());
            let state = QueueState { lane, breaker, in_vain, switched_on: false, records };
            Queue { means, state: Mutex::new(state), changed: Notify::new() }
        };
        for (means, outcome) in
            ActionKind::ALL.iter().flat_map(|it| ActionOutcome::NAMES.map(|name| (it, name)))
        {
            metrics.actor.ended.with_label_values(&[means.name(), outcome]);
            metrics.actor.write_seconds.with_label_values(&[means.name()]);
        }
        let (verb, resource, subresource) = ("patch", "pods", "status");
        let right = Right { verb, resource, subresource, ..Right::default() };
        let (life, num_orders) = (fastrand::u64(..), AtomicU64::new(0));
        let (queues, rights) = (ActionKind::ALL.map(queue), Rights::new(vec![right]));
        Self { writes, metrics, clock, queues, rights, leadership, life, num_orders }
    }

    /// The same actor whose means writes at most so often a second.
    #[must_use]
    pub fn paced(self, means: ActionKind, per_second: u32) -> Self {
        let limits = means.limits().paced(per_second);
        self.queues[means as usize].lock().lane = WorkQueue::new(limits, self.clock.now());
        self
    }

    /// Switches a means on or off, at once. Orders that wait stay until it is on again, or they expire.
    pub fn switch(&self, means: ActionKind, on: bool) {
        let queue = self.queue(means);
        queue.lock().switched_on = on;
        queue.changed.notify_one();
        self.rights.ask();
    }

    /// Looks for the rights that are needed, for as long as the process runs.
    pub async fn follow_rights(self: Arc<Self>, inquiry: Inquiry) {
        let needed = || self.queues.iter().any(|queue| queue.lock().switched_on);
        self.rights.follow(inquiry, needed).await;
    }

    /// Takes an order. Whoever is to learn the outcome is told later, by a background task or, when the
    /// order ends at once, from within.
    pub fn submit(&self, order: Action) {
        let now = self.clock.now();
        let queue = self.queue(order.means);
        let number = self.num_orders.fetch_add(1, Ordering::Relaxed);
        let order = Action { number, ..order };
        let (uid, priority, lasting) = (order.pod.uid, order.pod.priority, order.lasting);
        let wanted = Submission { order, uid, priority, lasting };
        let ended = {
            let mut state = queue.lock();
            let open = self.why_closed(queue, &state).is_none();
            match state.lane.submit(wanted, open, now) {
                Submitted::No => None,
                Submitted::Replaced(job) => Some(state.end(job, ActionOutcome::Replaced, now)),
                Submitted::Full(job) => Some(state.end(job, ActionOutcome::Full, now)),
                Submitted::Closed(job) => Some(state.end(job, ActionOutcome::Off, now)),
            }
        };
        queue.changed.notify_one();
        if let Some(ended) = ended {
            self.tell(queue, ended);
        }
    }

    /// Why nothing of a means begins now, so that an order would not be taken; `None` when it may. Takes
    /// two locks and no more: the request path may ask.
    pub fn why_off(&self, means: ActionKind) -> Option<WhyOff> {
        let queue = self.queue(means);
        self.why_closed(queue, &queue.lock())
    }

    /// How many orders of a means could begin right now, but for its pace.
    pub fn room(&self, means: ActionKind) -> usize {
        let queue = self.queue(means);
        let state = queue.lock();
        let (now, on) = (self.clock.now(), self.why_closed(queue, &state).is_none());
        if on { state.lane.room(now).min(state.breaker.room(now)) } else { 0 }
    }

    /// How many orders of a means begin within so long at its pace, beside those that wait already.
    pub fn appetite(&self, means: ActionKind, within_ms: u64) -> usize {
        let queue = self.queue(means);
        let state = queue.lock();
        let on = self.why_closed(queue, &state).is_none();
        if on { state.lane.appetite(within_ms) } else { 0 }
    }

    /// What was begun for a pod has ended: `Some` tells whether it had the effect that it is for, which a
    /// nomination has that was honoured. Counted by the pod's class first.
    pub fn was_of_use(
        &self,
        means: ActionKind,
        (class, uid): (EquivalenceClass, PodUid),
        of_use: Option<bool>,
    ) {
        let sign = match of_use {
            Some(true) => Sign::Good,
            Some(false) => Sign::Bad,
            None => Sign::None,
        };
        let now = self.clock.now();
        let queue = self.queue(means);
        let mut state = queue.lock();
        let before = state.in_vain.num_paused(now);
        let is_general = state.in_vain.end(&class, uid, sign, now);
        if state.in_vain.num_paused(now) > before {
            let means = means.name();
            tracing::warn!(means, "nominations of a class of pods are not honoured: it is paused");
        }
        if is_general {
            state.trip(means, now);
        }
    }

    /// Nothing is to be begun for pods of this class for a while. Costs a lock where nothing has failed lately.
    pub fn is_paused(&self, means: ActionKind, pod: &Pod) -> bool {
        let mut state = self.queue(means).lock();
        !state.in_vain.is_empty()
            && state.in_vain.is_paused(&EquivalenceClass::of(pod), self.clock.now())
    }

    /// Something is begun for a pod.
    pub fn began(&self, means: ActionKind, pod: &Pod) {
        let mut state = self.queue(means).lock();
        if !state.in_vain.is_empty() {
            state.in_vain.begin(&EquivalenceClass::of(pod), pod.uid, self.clock.now());
        }
    }

    /// How all means stand.
    pub fn state(&self) -> Vec<ActionKindState> {
        let shown = |queue: &Queue| {
            let state = queue.lock();
            ActionKindState {
                means: queue.means,
                why_off: self.why_closed(queue, &state),
                breaker: state.breaker.state(self.clock.now()),
                paused_classes: state.in_vain.num_paused(self.clock.now()),
                waiting: state.lane.num_waiting(),
                in_flight: state.lane.num_in_flight(),
                records: state.records.iter().cloned().collect(),
            }
        };
        self.queues.iter().map(shown).collect()
    }

    /// Carries out the orders of one means, for as long as the process runs.
    pub async fn run(self: Arc<Self>, means: ActionKind) {
        let queue = self.queue(means);
        loop {
            let now = self.clock.now();
            let next = {
                let mut state = queue.lock();
                let open = self.why_closed(queue, &state).is_none();
                let next = state.lane.next(now, open);
                let probes = matches!(next, Next::Start(_)) && state.breaker.begin();
                (next, probes)
            };
            match next {
                (Next::Start(job), probes) => {
                    tokio::spawn(Arc::clone(&self).carry_out(means, job, probes));
                }
                (Next::Expired(job), _) => {
                    let ended = queue.lock().end(job, ActionOutcome::Expired, now);
                    self.tell(queue, ended);
                }
                (Next::Idle, _) => queue.change_within(LOOK).await,
                (Next::At(at), _) => {
                    let pause = Duration::from_millis(at.since_ms(now));
                    queue.change_within(pause.min(LOOK)).await;
                }
            }
            self.measure(queue);
        }
    }

    async fn carry_out(self: Arc<Self>, means: ActionKind, job: WorkItem<Action>, probes: bool) {
        let (pod, write) = (Arc::clone(&job.order.pod), job.order.write.clone());
        let number = job.order.number;
        let stands = job.order.stands.clone();
        let this = Arc::clone(&self);
        // In a task of its own, so that the order ends even if writing it panics.
        let written = tokio::spawn(async move {
            // Asked again here: who was the leader when the order was taken may not be now.
            if this.why_not_leading(means).is_some() {
                return Err(ActionOutcome::Off);
            }
            if stands.is_some_and(|stands| !stands()) {
                return Err(ActionOutcome::Overtaken);
            }
            let timer = this.metrics.actor.write_seconds.with_label_values(&[means.name()]);
            let _timer = timer.start_timer();
            Ok(this.write(number, means, &pod, &write).await)
        });
        let written = written.await.unwrap_or_else(|_| {
            self.metrics.panics.inc();
            Ok(WriteOutcome::Failed("writing it panicked".to_owned()))
        });
        let Action { pod, write, cause, .. } = &job.order;
        let (namespace, name, what) = (&pod.namespace, &pod.name, write.name());
        tracing::debug!(%namespace, %name, cause, ?written, means = means.name(), "wrote: {what}");
        let queue = self.queue(means);
        // Whatever holds it up, what must be done will be.
        let again = if job.order.lasting { Verdict::Again(0) } else { Verdict::Over };
        let (outcome, verdict, sign) = match written {
            Err(ActionOutcome::Off) => (ActionOutcome::Off, again, Sign::None),
            Err(outcome) => (outcome, Verdict::Over, Sign::None),
            Ok(WriteOutcome::Written) => (ActionOutcome::Written, Verdict::Over, Sign::Good),
            Ok(WriteOutcome::Gone) => (ActionOutcome::Gone, Verdict::Over, Sign::Good),
            Ok(WriteOutcome::AlreadyBound) => {
                (ActionOutcome::AlreadyBound, Verdict::Over, Sign::Good)
            }
            Ok(WriteOutcome::Changed(to)) => {
                (ActionOutcome::Changed(to), Verdict::Over, Sign::Good)
            }
            Ok(WriteOutcome::Forbidden(why)) => {
                self.rights.doubt();
                (ActionOutcome::Forbidden(why), again, Sign::Bad)
            }
            Ok(WriteOutcome::Busy(asked, why)) => {
                let pause = asked.clamp(BUSY_PAUSES.0, BUSY_PAUSES.1);
                self.pause(queue, pause, &why);
                // It is the server who says for how long.
                (ActionOutcome::Failed(why), Verdict::Again(pause.as_millis() as u64), Sign::None)
            }
            Ok(WriteOutcome::Failed(why)) => {
                tracing::warn!(%namespace, %name, "cannot {what}: {why}");
                (ActionOutcome::Failed(why), Verdict::Again(0), Sign::Bad)
            }
        };
        let now = self.clock.now();
        let ended = {
            let mut state = queue.lock();
            state.judge(means, probes, sign, now);
            match state.lane.finish(job, verdict, now) {
                Finished::No => None,
                Finished::Over(job) => Some(state.end(job, outcome, now)),
                Finished::Replaced(job) => Some(state.end(job, ActionOutcome::Replaced, now)),
            }
        };
        queue.changed.notify_one();
        if let Some(ended) = ended {
            self.tell(queue, ended);
        }
    }

    async fn write(
        &self,
        number: u64,
        means: ActionKind,
        pod: &Pod,
        write: &Write,
    ) -> WriteOutcome {
        // Only a value that the pod did not have before wakes it. In a container every process has
        // the same number, so a life is told from the next one by lot. All attempts of an order write the
        // same value: so an attempt whose answer was lost is known again.
        let unique = format!("{:016x}-{number}", self.life);
        let value = match write.node().filter(|_| means == ActionKind::NominateAhead) {
            Some(node) => well_known::ahead(node, &unique),
            None => unique,
        };
        let wake = Wake { value: &value, annotated: pod.annotated };
        let pod = PodRef { namespace: &pod.namespace, name: &pod.name, uid: &pod.uid_text };
        match write {
            Write::Requeue => self.writes.ring(pod, &value).await,
            Write::Nominate { node } => self.writes.nominate(pod, node, wake).await,
            Write::Clear { node } => self.writes.clear_nomination(pod, node).await,
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

    fn tell(&self, queue: &Queue, (outcome, tell): (ActionOutcome, Option<OnDone>)) {
        self.metrics.actor.ended.with_label_values(&[queue.means.name(), outcome.name()]).inc();
        self.measure(queue);
        if let Some(tell) = tell {
            tell(&outcome);
        }
    }

    fn measure(&self, queue: &Queue) {
        let (waiting, in_flight, on, breaker) = {
            let state = queue.lock();
            let on = self.why_closed(queue, &state).is_none();
            let (lane, breaker) = (&state.lane, state.breaker.state(self.clock.now()));
            (lane.num_waiting(), lane.num_in_flight(), on, breaker)
        };
        let (means, is_open) = ([queue.means.name()], breaker != BreakerState::Closed);
        self.metrics.actor.on.with_label_values(&means).set(i64::from(on));
        self.metrics.actor.breaker_open.with_label_values(&means).set(i64::from(is_open));
        for (stage, count) in [("waiting", waiting), ("in_flight", in_flight)] {
            let gauge = self.metrics.actor.open.with_label_values(&[queue.means.name(), stage]);
            gauge.set(count as i64);
        }
    }

    fn why_closed(&self, queue: &Queue, state: &QueueState) -> Option<WhyOff> {
        if !state.switched_on {
            return Some(WhyOff::Switch);
        }
        if state.breaker.room(self.clock.now()) == 0 {
            return Some(WhyOff::Breaker);
        }
        let why = self.rights.why_off(queue.means.needs_proof());
        why.or_else(|| self.why_not_leading(queue.means))
    }

    /// Why this replica may not use a means; `None` when it may.
    fn why_not_leading(&self, means: ActionKind) -> Option<WhyOff> {
        match &self.leadership {
            _ if !means.is_cluster_wide() => None,
            None => Some(WhyOff::NoLease),
            Some(leadership) => leadership.why_not(),
        }
    }

    fn queue(&self, means: ActionKind) -> &Queue {
        &self.queues[means as usize]
    }
}

impl Queue {
    /// Waits until something has changed, but no longer than this.
    async fn change_within(&self, pause: Duration) {
        // Changed or not: the lane is asked again.
        let _ = tokio::time::timeout(pause, self.changed.notified()).await;
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    /// What a write tells of its means.
    fn judge(&mut self, means: ActionKind, probes: bool, sign: Sign, now: Tick) {
        let before = self.breaker.state(now);
        self.breaker.end(probes, sign, now);
        match (before, self.breaker.state(now)) {
            (BreakerState::Closed, BreakerState::Open) => {
                tracing::error!(means = means.name(), "too many writes failed: the breaker opens");
            }
            (BreakerState::HalfOpen, BreakerState::Closed) => {
                tracing::info!(means = means.name(), "a write has worked: the breaker closes");
            }
            _ => {}
        }
    }

    /// What was written had no effect for pods that have nothing to do with each other.
    fn trip(&mut self, means: ActionKind, now: Tick) {
        if self.breaker.state(now) == BreakerState::Closed {
            let means = means.name();
            tracing::error!(
                means,
                "nominations of several applications are not honoured: the breaker opens"
            );
        }
        self.breaker.trip(now);
    }

    /// Keeps a record, and gives whom to tell.
    fn end(
        &mut self,
        job: WorkItem<Action>,
        outcome: ActionOutcome,
        now: Tick,
    ) -> (ActionOutcome, Option<OnDone>) {
        let Action { pod, write, cause, tell, .. } = job.order;
        let (attempts, took_ms) = (job.attempts, now.since_ms(job.since));
        let record =
            Record { ended: now, pod, write, cause, outcome: outcome.clone(), attempts, took_ms };
        self.records.push_front(record);
        self.records.truncate(MAX_RECORDS);
        (outcome, tell)
    }
}

#[cfg(test)]
mod tests;
