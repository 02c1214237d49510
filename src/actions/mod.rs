//! Everything that sigma writes to the cluster by itself, in one room: each kind has a queue, bounded,
//! paced, coalesced by pod, retried with back-off, and leaves a record of every action.
//!
//! ```text
//!   requeue ─┐                 ┌─ queue ─┐  next   ┌───────────────┐
//!   steer …  ─┴──▶ submit ─────▶│ (pure) │────────▶│ k8s::writes   │
//!                     ▲         └────▲───┘         └──────┬────────┘
//!               Tell ─┴── record ◀───┴──── finish ◀───────┘
//! ```
//!
//! Submitting takes a lock and no more: the request path may do it. Nothing here decides who is requeued or
//! nominated, or where to. Not here: bindings, which kube-scheduler waits for, and events, which may
//! be lost.

mod backoff;
mod breaker;
mod requeue;
mod election;
mod not_honoured;
mod work_queue;
mod leadership;
mod metrics;
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
use crate::model::{EquivalenceClass, Pod, PodUid, Tick};
use crate::writer::Clock;

pub use action::{Action, ActionKind, ActionOutcome, OnDone, Record, StillNeeded, WhyOff, Write};
pub use breaker::BreakerState;
pub use leadership::{Leadership, Leading};
pub use metrics::ActionMetrics;
pub use obstacles::{Ground, Obstacle, SteeringPart, SteeringState};
pub use requeue::answer as answer_the_door;
pub use rights::Inquiry;
pub use steers::action as steer_action;

/// Records kept of each kind.
const MAX_RECORDS: usize = 256;
/// Rights and the lease come and go without a word: a queue is asked this often at least.
const LOOK: Duration = Duration::from_secs(1);
/// A server that throttles us is left alone for as long as it asks, within these bounds: a pod that
/// is woken late is better off than a server that drowns.
const BUSY_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Carries out actions.
pub struct Actor {
    writes: PodWrites,
    metrics: Arc<ActionMetrics>,
    clock: Clock,
    queues: [Queue; ActionKind::ALL.len()],
    /// To write what all kind write.
    rights: Rights,
    /// `None`: no lease is configured.
    leadership: Option<Arc<Leadership>>,
    /// Tells this process from the one before it.
    life: u64,
    num_actions: AtomicU64,
}

/// What one kind consists of.
struct Queue {
    kind: ActionKind,
    state: Mutex<QueueState>,
    /// Something has changed that the queue is to be asked about.
    changed: Notify,
}

struct QueueState {
    queue: WorkQueue<Action>,
    breaker: Breaker,
    not_honoured: NotHonoured,
    switched_on: bool,
    /// Newest first.
    records: VecDeque<Record>,
}

/// How a kind stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionKindState {
    /// Which one.
    pub kind: ActionKind,
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
    /// The last actions that ended, newest first.
    pub records: Vec<Record>,
}

impl Actor {
    /// An actor whose kind are all switched off.
    pub fn new(
        writes: PodWrites,
        metrics: Arc<ActionMetrics>,
        clock: Clock,
        leadership: Option<Arc<Leadership>>,
    ) -> Self {
        let queue = |kind: ActionKind| {
            let queue = WorkQueue::new(kind.limits(), clock.now());
            let breaker = Breaker::new(kind.breaker_limits(), clock.now());
            let (not_honoured, records) =
                (NotHonoured::new(kind.breaker_limits()), VecDeque::new());
            let state = QueueState { queue, breaker, not_honoured, switched_on: false, records };
            Queue { kind, state: Mutex::new(state), changed: Notify::new() }
        };
        let (verb, resource, subresource) = ("patch", "pods", "status");
        let right = Right { verb, resource, subresource, ..Right::default() };
        let (life, num_actions) = (fastrand::u64(..), AtomicU64::new(0));
        let (queues, rights) = (ActionKind::ALL.map(queue), Rights::new(vec![right]));
        Self { writes, metrics, clock, queues, rights, leadership, life, num_actions }
    }

    /// The same actor whose kind writes at most so often a second.
    #[must_use]
    pub fn paced(self, kind: ActionKind, per_second: u32) -> Self {
        let limits = kind.limits().paced(per_second);
        self.queues[kind as usize].lock().queue = WorkQueue::new(limits, self.clock.now());
        self
    }

    /// Switches a kind on or off, at once. Orders that wait stay until it is on again, or they expire.
    pub fn switch(&self, kind: ActionKind, on: bool) {
        let queue = self.queue(kind);
        queue.lock().switched_on = on;
        queue.changed.notify_one();
        self.rights.ask();
    }

    /// Looks for the rights that are needed, for as long as the process runs.
    pub async fn follow_rights(self: Arc<Self>, inquiry: Inquiry) {
        let needed = || self.queues.iter().any(|queue| queue.lock().switched_on);
        self.rights.follow(inquiry, needed).await;
    }

    /// Takes an action. Whoever is to learn the outcome is told later, by a background task or, when the
    /// action ends at once, from within.
    pub fn submit(&self, action: Action) {
        let now = self.clock.now();
        let queue = self.queue(action.kind);
        let number = self.num_actions.fetch_add(1, Ordering::Relaxed);
        let action = Action { number, ..action };
        let (uid, priority, lasting) = (action.pod.uid, action.pod.priority, action.lasting);
        let wanted = Submission { action, uid, priority, lasting };
        let ended = {
            let mut state = queue.lock();
            let open = self.why_closed(queue, &state).is_none();
            match state.queue.submit(wanted, open, now) {
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

    /// Why nothing of a kind begins now, so that an action would not be taken; `None` when it may. Takes
    /// two locks and no more: the request path may ask.
    pub fn why_off(&self, kind: ActionKind) -> Option<WhyOff> {
        let queue = self.queue(kind);
        self.why_closed(queue, &queue.lock())
    }

    /// How many actions of a kind could begin right now, but for its pace.
    pub fn room(&self, kind: ActionKind) -> usize {
        let queue = self.queue(kind);
        let state = queue.lock();
        let (now, on) = (self.clock.now(), self.why_closed(queue, &state).is_none());
        if on { state.queue.room(now).min(state.breaker.room(now)) } else { 0 }
    }

    /// How many actions of a kind begin within so long at its pace, beside those that wait already.
    pub fn num_wanted_within(&self, kind: ActionKind, within_ms: u64) -> usize {
        let queue = self.queue(kind);
        let state = queue.lock();
        let on = self.why_closed(queue, &state).is_none();
        if on { state.queue.num_wanted_within(within_ms) } else { 0 }
    }

    /// What was begun for a pod has ended: `Some` tells whether it had the effect that it is for, which a
    /// nomination has that was honoured. Counted by the pod's class first.
    pub fn was_of_use(
        &self,
        kind: ActionKind,
        (class, uid): (EquivalenceClass, PodUid),
        of_use: Option<bool>,
    ) {
        let (sign, now) = (Sign::of(of_use), self.clock.now());
        let mut state = self.queue(kind).lock();
        let before = state.not_honoured.num_paused(now);
        let is_general = state.not_honoured.end(&class, uid, sign, now);
        if state.not_honoured.num_paused(now) > before {
            let kind = kind.name();
            tracing::warn!(kind, "nominations of a class of pods are not honoured: it is paused");
        }
        if is_general {
            state.trip(kind, now);
        }
    }

    /// Nothing is to be begun for pods of this class for a while. Costs a lock where nothing has failed lately.
    pub fn is_paused(&self, kind: ActionKind, pod: &Pod) -> bool {
        let mut state = self.queue(kind).lock();
        !state.not_honoured.is_empty()
            && state.not_honoured.is_paused(&EquivalenceClass::of(pod), self.clock.now())
    }

    /// Something is begun for a pod.
    pub fn began(&self, kind: ActionKind, pod: &Pod) {
        let mut state = self.queue(kind).lock();
        if !state.not_honoured.is_empty() {
            state.not_honoured.begin(&EquivalenceClass::of(pod), pod.uid, self.clock.now());
        }
    }

    /// How all kind stand.
    pub fn state(&self) -> Vec<ActionKindState> {
        let shown = |queue: &Queue| {
            let state = queue.lock();
            ActionKindState {
                kind: queue.kind,
                why_off: self.why_closed(queue, &state),
                breaker: state.breaker.state(self.clock.now()),
                paused_classes: state.not_honoured.num_paused(self.clock.now()),
                waiting: state.queue.num_waiting(),
                in_flight: state.queue.num_in_flight(),
                records: state.records.iter().cloned().collect(),
            }
        };
        self.queues.iter().map(shown).collect()
    }

    /// Carries out the actions of one kind, for as long as the process runs.
    pub async fn run(self: Arc<Self>, kind: ActionKind) {
        let queue = self.queue(kind);
        loop {
            let now = self.clock.now();
            let next = {
                let mut state = queue.lock();
                let open = self.why_closed(queue, &state).is_none();
                let next = state.queue.next(now, open);
                let probes = matches!(next, Next::Start(_)) && state.breaker.begin();
                (next, probes)
            };
            match next {
                (Next::Start(job), probes) => {
                    tokio::spawn(Arc::clone(&self).carry_out(kind, job, probes));
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

    async fn carry_out(self: Arc<Self>, kind: ActionKind, job: WorkItem<Action>, probes: bool) {
        let (pod, write) = (Arc::clone(&job.action.pod), job.action.write.clone());
        let number = job.action.number;
        let stands = job.action.stands.clone();
        let this = Arc::clone(&self);
        // In a task of its own, so that the action ends even if writing it panics.
        let written = tokio::spawn(async move {
            // Asked again here: who was the leader when the action was taken may not be now.
            if this.why_not_leading(kind).is_some() {
                return Err(ActionOutcome::Off);
            }
            if stands.is_some_and(|stands| !stands()) {
                return Err(ActionOutcome::Overtaken);
            }
            let timer = this.metrics.write_seconds.with_label_values(&[kind.name()]);
            let _timer = timer.start_timer();
            Ok(this.write(number, kind, &pod, &write).await)
        });
        let written = written.await.unwrap_or_else(|_| {
            self.metrics.panics.inc();
            Ok(WriteOutcome::Failed("writing it panicked".to_owned()))
        });
        let Action { pod, write, cause, .. } = &job.action;
        let (namespace, name, what) = (&pod.namespace, &pod.name, write.name());
        tracing::debug!(%namespace, %name, cause, ?written, kind = kind.name(), "wrote: {what}");
        let queue = self.queue(kind);
        // Whatever holds it up, what must be done will be.
        let again = if job.action.lasting { Verdict::Again(0) } else { Verdict::Over };
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
            state.judge(kind, probes, sign, now);
            match state.queue.finish(job, verdict, now) {
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

    async fn write(&self, number: u64, kind: ActionKind, pod: &Pod, write: &Write) -> WriteOutcome {
        // Only a value that the pod did not have before wakes it. In a container every process has
        // the same number, so a life is told from the next one by lot. All attempts of an action write the
        // same value: so an attempt whose answer was lost is known again.
        let unique = format!("{:016x}-{number}", self.life);
        let value = match write.node().filter(|_| kind == ActionKind::NominateAhead) {
            Some(node) => well_known::ahead(node, &unique),
            None => unique,
        };
        let wake = Wake { value: &value, annotated: pod.annotated };
        let pod = PodRef { namespace: &pod.namespace, name: &pod.name, uid: &pod.uid_text };
        match write {
            Write::Requeue => self.writes.requeue(pod, &value).await,
            Write::Nominate { node } => self.writes.nominate(pod, node, wake).await,
            Write::Clear { node } => self.writes.clear_nomination(pod, node).await,
        }
    }

    /// Nothing of this kind begins for a while. Said once a pause, however many actions are on their
    /// way.
    fn pause(&self, queue: &Queue, pause: Duration, why: &str) {
        let now = self.clock.now();
        if queue.lock().queue.pause(now.plus_ms(pause.as_millis() as u64), now) {
            tracing::error!("the {} is off for {pause:?}: {why}", queue.kind.name());
        }
    }

    fn tell(&self, queue: &Queue, (outcome, tell): (ActionOutcome, Option<OnDone>)) {
        self.metrics.ended.with_label_values(&[queue.kind.name(), outcome.name()]).inc();
        self.measure(queue);
        if let Some(tell) = tell {
            tell(&outcome);
        }
    }

    fn measure(&self, queue: &Queue) {
        let (waiting, in_flight, on, breaker) = {
            let state = queue.lock();
            let on = self.why_closed(queue, &state).is_none();
            let (queue, breaker) = (&state.queue, state.breaker.state(self.clock.now()));
            (queue.num_waiting(), queue.num_in_flight(), on, breaker)
        };
        let (kind, is_open) = ([queue.kind.name()], breaker != BreakerState::Closed);
        self.metrics.enabled.with_label_values(&kind).set(i64::from(on));
        self.metrics.breaker_open.with_label_values(&kind).set(i64::from(is_open));
        for (stage, count) in [("waiting", waiting), ("in_flight", in_flight)] {
            let gauge = self.metrics.open.with_label_values(&[queue.kind.name(), stage]);
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
        let why = self.rights.why_off(queue.kind.needs_proof());
        why.or_else(|| self.why_not_leading(queue.kind))
    }

    /// Why this replica may not use a kind; `None` when it may.
    fn why_not_leading(&self, kind: ActionKind) -> Option<WhyOff> {
        match &self.leadership {
            _ if !kind.is_cluster_wide() => None,
            None => Some(WhyOff::NoLease),
            Some(leadership) => leadership.why_not(),
        }
    }

    fn queue(&self, kind: ActionKind) -> &Queue {
        &self.queues[kind as usize]
    }
}

impl Queue {
    /// Waits until something has changed, but no longer than this.
    async fn change_within(&self, pause: Duration) {
        // Changed or not: the queue is asked again.
        let _ = tokio::time::timeout(pause, self.changed.notified()).await;
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    /// What a write tells of its kind.
    fn judge(&mut self, kind: ActionKind, probes: bool, sign: Sign, now: Tick) {
        let before = self.breaker.state(now);
        self.breaker.end(probes, sign, now);
        match (before, self.breaker.state(now)) {
            (BreakerState::Closed, BreakerState::Open) => {
                tracing::error!(kind = kind.name(), "too many writes failed: the breaker opens");
            }
            (BreakerState::HalfOpen, BreakerState::Closed) => {
                tracing::info!(kind = kind.name(), "a write has worked: the breaker closes");
            }
            _ => {}
        }
    }

    /// What was written had no effect for pods that have nothing to do with each other.
    fn trip(&mut self, kind: ActionKind, now: Tick) {
        if self.breaker.state(now) == BreakerState::Closed {
            let kind = kind.name();
            tracing::error!(
                kind,
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
        let Action { pod, write, cause, tell, .. } = job.action;
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
