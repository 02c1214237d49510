//! The actor: takes actions, and carries each out when its turn comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;

use super::queue::{EndedAction, Queue, QueueState};
use super::rights::{Inquiry, Rights};
use super::{ActionMetrics, Leadership};
use crate::control::BreakerState;
use crate::control::PendingAction;
use crate::control::{ActionKindState, ActionOutcome, WhyOff};
use crate::control::{Next, Submission, Submitted};
use crate::k8s::writes::ObjectWrites;
use crate::model::{ACTION_KINDS, Action, ActionKind, BreakerLimits, STEER};
use crate::runtime::Clock;

/// Rights and the Lease change without notice: each queue is looked at this often at least.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// Carries out actions.
pub struct Actor {
    pub(super) writes: ObjectWrites,
    pub(super) metrics: Arc<ActionMetrics>,
    pub(super) clock: Clock,
    queues: Vec<Queue>,
    /// Takes actions of a kind that this actor was not made for, and ends them.
    unknown: Queue,
    /// `None`: no Lease is configured.
    leadership: Option<Arc<Leadership>>,
    /// Tells this process from the one before it.
    pub(super) life: u64,
    num_actions: AtomicU64,
}

/// The kind of the queue for actions of other kinds.
static UNKNOWN: ActionKind = ActionKind {
    name: "unknown",
    queue: STEER.queue,
    breaker: BreakerLimits::DEFAULT,
    rights: &[],
    needs_proof: true,
    is_cluster_wide: true,
};

impl Actor {
    /// An actor for every kind of action. All are switched off.
    pub fn new(
        writes: ObjectWrites,
        metrics: Arc<ActionMetrics>,
        clock: Clock,
        leadership: Option<Arc<Leadership>>,
    ) -> Self {
        Self::of_kinds(ACTION_KINDS, (writes, metrics), clock, leadership)
    }

    /// An actor for these kinds of action. All are switched off.
    pub fn of_kinds(
        kinds: &[&'static ActionKind],
        (writes, metrics): (ObjectWrites, Arc<ActionMetrics>),
        clock: Clock,
        leadership: Option<Arc<Leadership>>,
    ) -> Self {
        let mut queues: Vec<Queue> = Vec::with_capacity(kinds.len());
        for kind in kinds {
            let same = queues.iter().find(|it| it.kind.rights == kind.rights);
            let rights = same.map(|it| it.rights.clone());
            let rights = rights.unwrap_or_else(|| Arc::new(Rights::new(kind.rights.to_vec())));
            metrics.start_at_zero(kind);
            queues.push(Queue::new(kind, rights, clock.now()));
        }
        let unknown = Queue::new(&UNKNOWN, Arc::new(Rights::new(Vec::new())), clock.now());
        let (life, num_actions) = (fastrand::u64(..), AtomicU64::new(0));
        Self { writes, metrics, clock, queues, unknown, leadership, life, num_actions }
    }

    /// The same actor with so many writes a second, at most, of one kind.
    #[must_use]
    pub fn paced(self, kind: &'static ActionKind, per_second: u32) -> Self {
        self.queue(kind).bound(kind.queue.paced(per_second), self.clock.now());
        self
    }

    /// Switches a kind on or off, at once. Actions that wait stay until the kind is on again, or they expire.
    pub fn switch(&self, kind: &'static ActionKind, on: bool) {
        let queue = self.queue(kind);
        queue.lock().switched_on = on;
        queue.changed.notify_one();
        queue.rights.ask();
    }

    /// Stops the kinds of these names, as the policy says, and no others. What waits of them ends at once; a write that
    /// has begun goes on. Says in the log what has changed.
    pub fn stop(&self, names: &[&str]) {
        let (mut has_changed, now) = (false, self.clock.now());
        for queue in &self.queues {
            let stops = names.contains(&queue.kind.name);
            let ended: Vec<EndedAction> = {
                let mut state = queue.lock();
                has_changed |= std::mem::replace(&mut state.stopped, stops) != stops;
                let waiting = if stops { state.queue.take_waiting() } else { Vec::new() };
                let end = |job| state.end(job, ActionOutcome::Stopped, now);
                waiting.into_iter().map(end).collect()
            };
            ended.into_iter().for_each(|it| self.tell(queue, it));
            self.measure(queue);
            queue.changed.notify_one();
        }
        match names {
            _ if !has_changed => {}
            [] => tracing::info!("the policy stops no kind of action any more"),
            _ => tracing::warn!("the policy stops actions: {}", names.join(", ")),
        }
    }

    /// The names of the kinds that the policy stops.
    pub fn stopped(&self) -> Vec<&'static str> {
        let stopped = self.queues.iter().filter(|queue| queue.lock().stopped);
        stopped.map(|queue| queue.kind.name).collect()
    }

    /// Looks for the rights that are needed, for as long as the process runs.
    pub async fn follow_rights(self: Arc<Self>, inquiry: Inquiry) {
        let firsts = self.queues.iter().enumerate().filter(|(at, queue)| {
            self.queues.iter().take(*at).all(|it| !Arc::ptr_eq(&it.rights, &queue.rights))
        });
        let followed = firsts.map(|(_, first)| {
            let needed = || {
                let mut sharing =
                    self.queues.iter().filter(|it| Arc::ptr_eq(&it.rights, &first.rights));
                sharing.any(|queue| queue.lock().switched_on)
            };
            first.rights.follow(inquiry.clone(), needed)
        });
        join_all(followed).await;
    }

    /// Takes an action.
    pub fn submit(&self, action: impl Into<PendingAction>) {
        let (now, action) = (self.clock.now(), action.into());
        let number = self.num_actions.fetch_add(1, Ordering::Relaxed);
        let action = PendingAction { number, ..action };
        let Action { kind, priority, must_complete, .. } = action.action;
        let (queue, key) = (self.queue(kind), action.action.target.key());
        let ended = {
            let mut state = queue.lock();
            let why_off = self.why_closed(queue, &state);
            // A stopped kind does not even keep what must be done.
            let is_stopped = why_off == Some(WhyOff::Stopped);
            let off = if is_stopped { ActionOutcome::Stopped } else { ActionOutcome::Off };
            let must_complete = must_complete && !is_stopped;
            let wanted = Submission { action, key, priority, must_complete };
            match state.queue.submit(wanted, why_off.is_none(), now) {
                Submitted::No => None,
                Submitted::Replaced(job) => Some(state.end(job, ActionOutcome::Replaced, now)),
                Submitted::Full(job) => Some(state.end(job, ActionOutcome::Full, now)),
                Submitted::Closed(job) => Some(state.end(job, off, now)),
            }
        };
        queue.changed.notify_one();
        if let Some(ended) = ended {
            self.tell(queue, ended);
        }
    }

    /// Why an action of this kind would not be taken now; `None` when it would. Takes two locks and no more: the
    /// request path may ask.
    pub fn why_off(&self, kind: &'static ActionKind) -> Option<WhyOff> {
        let queue = self.queue(kind);
        self.why_closed(queue, &queue.lock())
    }

    /// How many actions of a kind could begin right now, but for its pace.
    pub fn room(&self, kind: &'static ActionKind) -> usize {
        let queue = self.queue(kind);
        let state = queue.lock();
        let (now, on) = (self.clock.now(), self.why_closed(queue, &state).is_none());
        if on { state.queue.room(now).min(state.breaker.room(now)) } else { 0 }
    }

    /// How many actions of a kind begin within so long at its pace, beside those that wait already.
    pub fn num_wanted_within(&self, kind: &'static ActionKind, within_ms: u64) -> usize {
        let queue = self.queue(kind);
        let state = queue.lock();
        let on = self.why_closed(queue, &state).is_none();
        if on { state.queue.num_wanted_within(within_ms) } else { 0 }
    }

    /// How the kinds stand.
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
    pub async fn run(self: Arc<Self>, kind: &'static ActionKind) {
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
                (Next::Idle, _) => queue.change_within(LOOK_PERIOD).await,
                (Next::At(at), _) => {
                    let pause = Duration::from_millis(at.since_ms(now));
                    queue.change_within(pause.min(LOOK_PERIOD)).await;
                }
            }
            self.measure(queue);
        }
    }

    pub(super) fn tell(&self, queue: &Queue, (outcome, on_done): EndedAction) {
        self.metrics.ended.with_label_values(&[queue.kind.name, outcome.name()]).inc();
        self.measure(queue);
        if let Some(on_done) = on_done {
            on_done(&outcome);
        }
    }

    fn measure(&self, queue: &Queue) {
        let (waiting, in_flight, on, breaker) = {
            let state = queue.lock();
            let on = self.why_closed(queue, &state).is_none();
            let (queue, breaker) = (&state.queue, state.breaker.state(self.clock.now()));
            (queue.num_waiting(), queue.num_in_flight(), on, breaker)
        };
        let (kind, is_open) = ([queue.kind.name], breaker != BreakerState::Closed);
        self.metrics.enabled.with_label_values(&kind).set(i64::from(on));
        self.metrics.breaker_open.with_label_values(&kind).set(i64::from(is_open));
        for (stage, count) in [("waiting", waiting), ("in_flight", in_flight)] {
            let gauge = self.metrics.open.with_label_values(&[queue.kind.name, stage]);
            gauge.set(count as i64);
        }
    }

    fn why_closed(&self, queue: &Queue, state: &QueueState) -> Option<WhyOff> {
        if state.stopped {
            return Some(WhyOff::Stopped);
        }
        if !state.switched_on {
            return Some(WhyOff::Switch);
        }
        if state.breaker.room(self.clock.now()) == 0 {
            return Some(WhyOff::Breaker);
        }
        let why = queue.rights.why_off(queue.kind.needs_proof);
        why.or_else(|| self.why_not_leading(queue.kind))
    }

    /// Why this replica may not use a kind; `None` when it may.
    pub(super) fn why_not_leading(&self, kind: &ActionKind) -> Option<WhyOff> {
        match &self.leadership {
            _ if !kind.is_cluster_wide => None,
            None => Some(WhyOff::NoLease),
            Some(leadership) => leadership.why_not(),
        }
    }

    pub(super) fn queue(&self, kind: &ActionKind) -> &Queue {
        let same = |it: &&Queue| std::ptr::eq(it.kind, kind);
        self.queues.iter().find(same).unwrap_or(&self.unknown)
    }
}
