//! The queue of one kind of action, behind a lock: what waits, the breaker, and the records of what ended.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::rights::Rights;
use crate::control::NotHonoured;
use crate::control::{ActionOutcome, Record};
use crate::control::{Breaker, BreakerState, Sign};
use crate::control::{OnDone, PendingAction};
use crate::control::{WorkItem, WorkQueue};
use crate::model::{Action, ActionKind, QueueLimits, Tick};

/// Records kept of each kind.
const MAX_RECORDS: usize = 256;

/// The queue of one kind.
pub(super) struct Queue {
    pub(super) kind: &'static ActionKind,
    /// The rights that the kind needs. Kinds that need the same share them.
    pub(super) rights: Arc<Rights>,
    state: Mutex<QueueState>,
    /// Something has changed that concerns the queue.
    pub(super) changed: Notify,
}

pub(super) struct QueueState {
    pub(super) queue: WorkQueue<PendingAction>,
    pub(super) breaker: Breaker,
    pub(super) not_honoured: NotHonoured,
    pub(super) switched_on: bool,
    /// The policy stops the kind.
    pub(super) stopped: bool,
    /// Newest first.
    pub(super) records: VecDeque<Record>,
}

/// An action that has ended, and what learns of it.
pub(super) type EndedAction = (ActionOutcome, Option<OnDone>);

impl Queue {
    /// An empty queue of a kind that is switched off.
    pub(super) fn new(kind: &'static ActionKind, rights: Arc<Rights>, now: Tick) -> Self {
        let state = QueueState {
            queue: WorkQueue::new(kind.queue, now),
            breaker: Breaker::new(kind.breaker, now),
            not_honoured: NotHonoured::new(kind.breaker),
            switched_on: false,
            stopped: false,
            records: VecDeque::new(),
        };
        Self { kind, rights, state: Mutex::new(state), changed: Notify::new() }
    }

    /// Starts anew with these bounds.
    pub(super) fn bound(&self, limits: QueueLimits, now: Tick) {
        self.lock().queue = WorkQueue::new(limits, now);
    }

    /// Waits until something has changed, but no longer than this.
    pub(super) async fn change_within(&self, pause: Duration) {
        // Changed or not: the queue is looked at again.
        let _ = tokio::time::timeout(pause, self.changed.notified()).await;
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    /// Counts what a write says about its kind.
    pub(super) fn judge(&mut self, kind: &ActionKind, probes: bool, sign: Sign, now: Tick) {
        let before = self.breaker.state(now);
        self.breaker.end(probes, sign, now);
        match (before, self.breaker.state(now)) {
            (BreakerState::Closed, BreakerState::Open) => {
                tracing::error!(kind = kind.name, "too many writes failed: the breaker opens");
            }
            (BreakerState::HalfOpen, BreakerState::Closed) => {
                tracing::info!(kind = kind.name, "a write has worked: the breaker closes");
            }
            _ => {}
        }
    }

    /// Opens the breaker: writes had no effect for pods that have nothing in common.
    pub(super) fn trip(&mut self, kind: &ActionKind, now: Tick) {
        if self.breaker.state(now) == BreakerState::Closed {
            tracing::error!(
                kind = kind.name,
                "nominations of several applications are not honoured: the breaker opens"
            );
        }
        self.breaker.trip(now);
    }

    /// Keeps a record, and gives what learns of the end.
    pub(super) fn end(
        &mut self,
        job: WorkItem<PendingAction>,
        outcome: ActionOutcome,
        now: Tick,
    ) -> EndedAction {
        let PendingAction { action, on_done, .. } = job.action;
        let Action { target, write, verb, cause, .. } = action;
        let (attempts, took_ms) = (job.attempts, now.since_ms(job.since));
        let record = Record {
            ended: now,
            target,
            verb,
            write,
            cause,
            outcome: outcome.clone(),
            attempts,
            took_ms,
        };
        self.records.push_front(record);
        self.records.truncate(MAX_RECORDS);
        (outcome, on_done)
    }
}
