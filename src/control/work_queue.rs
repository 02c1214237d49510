//! The queue of one kind: which action is carried out next, and when. Pure: the owner passes the time in and writes.
//!
//! ```text
//!            submit                     next                    finish
//!   action ──────────▶ waiting ───────────────────▶ in flight ──────────▶ over
//!            │          │  ▲                           │
//!     replaced, full    │  └── back-off, Retry-After ◀─┘ again
//!                    expired
//! ```
//!
//! At most one action about an object waits, and at most one is in flight.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};

use super::backoff::Backoff;
use crate::model::{ObjectKey, Priority, QueueLimits, Rate, Tick, TokenBucket};

/// What is submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission<T> {
    /// The action.
    pub action: T,
    /// Its object.
    pub key: ObjectKey,
    /// The highest is first.
    pub priority: Priority,
    /// It is tried until it is done.
    pub must_complete: bool,
}

/// An action in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkItem<T> {
    /// The action.
    pub action: T,
    /// The object that it is about.
    pub key: ObjectKey,
    priority: Priority,
    must_complete: bool,
    /// When it was submitted.
    pub since: Tick,
    /// Attempts begun.
    pub attempts: u32,
    number: u64,
    /// Not before.
    due: Tick,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// Carry this out, and tell [`WorkQueue::finish`].
    Start(WorkItem<T>),
    /// This has become too old.
    Expired(WorkItem<T>),
    /// Ask again then, or when something changes.
    At(Tick),
    /// Ask again when something changes.
    Idle,
}

/// What became of a submission, beside that it waits now.
#[derive(Debug, PartialEq, Eq)]
pub enum Submitted<T> {
    /// Nothing more.
    No,
    /// It has replaced an older one about the object.
    Replaced(WorkItem<T>),
    /// It does not wait: there are too many.
    Full(WorkItem<T>),
    /// It does not wait: nothing begins now, and it may be given up.
    Closed(WorkItem<T>),
}

/// What to do after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The action is over.
    Over,
    /// Try again, after so many milliseconds at the earliest.
    Again(u64),
}

/// How an action leaves the queue after an attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Finished<T> {
    /// It waits for another attempt.
    No,
    /// As its last attempt went.
    Over(WorkItem<T>),
    /// A newer action about the object has come meanwhile.
    Replaced(WorkItem<T>),
}

/// The queue.
#[derive(Debug)]
pub struct WorkQueue<T> {
    limits: QueueLimits,
    bucket: TokenBucket,
    waiting: FxHashMap<ObjectKey, WorkItem<T>>,
    /// Those that may begin, in order.
    ready: BTreeSet<(Reverse<Priority>, u64, ObjectKey)>,
    /// Those that are not due.
    later: BTreeSet<(Tick, ObjectKey)>,
    /// When they become too old.
    ends: BTreeSet<(Tick, ObjectKey)>,
    in_flight: FxHashSet<ObjectKey>,
    paused_until: Tick,
    num_submitted: u64,
}

impl<T> WorkQueue<T> {
    /// An empty queue with these bounds.
    pub fn new(limits: QueueLimits, now: Tick) -> Self {
        Self {
            limits,
            bucket: TokenBucket::new(limits.pace, now),
            waiting: FxHashMap::default(),
            ready: BTreeSet::new(),
            later: BTreeSet::new(),
            ends: BTreeSet::new(),
            in_flight: FxHashSet::default(),
            paused_until: now,
            num_submitted: 0,
        }
    }

    /// Actions that wait.
    pub fn num_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Actions whose write has begun.
    pub fn num_in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How many actions could begin at once, but for the pace.
    pub fn room(&self, now: Tick) -> usize {
        if now < self.paused_until {
            return 0;
        }
        let taken = self.in_flight.len() + self.waiting.len();
        self.limits.max_in_flight.saturating_sub(taken)
    }

    /// How many actions begin within so many milliseconds at its pace, beside those that wait. At least one if none waits.
    pub fn num_wanted_within(&self, within_ms: u64) -> usize {
        let Rate { tokens, period_ms, .. } = self.limits.pace;
        let begin = (tokens.saturating_mul(within_ms) / period_ms.max(1)).max(1) as usize;
        begin.saturating_sub(self.waiting.len())
    }

    /// Takes an action. Unless `open`, only one that must be carried out.
    pub fn submit(&mut self, wanted: Submission<T>, open: bool, now: Tick) -> Submitted<T> {
        self.num_submitted += 1;
        let number = self.num_submitted;
        let Submission { action, key, priority, must_complete } = wanted;
        let mut job = WorkItem {
            action,
            key,
            priority,
            must_complete,
            since: now,
            attempts: 0,
            number,
            due: now,
        };
        if !open && !must_complete {
            return Submitted::Closed(job);
        }
        let older = self.remove(key);
        if older.is_none() && self.waiting.len() >= self.limits.max_waiting {
            return Submitted::Full(job);
        }
        if let Some(older) = &older {
            // A repeated action does not get round the back-off, nor out of what must be done.
            job.due = now.max(older.due);
            job.must_complete |= older.must_complete;
        }
        self.wait(job);
        older.map_or(Submitted::No, Submitted::Replaced)
    }

    /// What to do now. Unless `open`, nothing begins.
    pub fn next(&mut self, now: Tick, open: bool) -> Next<T> {
        let end = self.ends.first().copied();
        if let Some((at, key)) = end
            && at <= now
            && let Some(job) = self.remove(key)
        {
            return Next::Expired(job);
        }
        let end = end.map(|(at, _)| at);
        let asleep = end.map_or(Next::Idle, Next::At);
        if !open || self.waiting.is_empty() || self.in_flight.len() >= self.limits.max_in_flight {
            return asleep;
        }
        let or_end = |at: Tick| Next::At(end.map_or(at, |end| end.min(at)));
        if now < self.paused_until {
            return or_end(self.paused_until);
        }
        self.ripen(now);
        let Some(&(.., key)) = self.ready.first() else {
            return self.later.first().map_or(asleep, |(due, _)| or_end(*due));
        };
        if !self.bucket.take(now) {
            return or_end(self.bucket.next(now));
        }
        let Some(mut job) = self.remove(key) else { return asleep };
        job.attempts += 1;
        self.in_flight.insert(key);
        Next::Start(job)
    }

    /// An attempt has ended.
    pub fn finish(&mut self, mut job: WorkItem<T>, verdict: Verdict, now: Tick) -> Finished<T> {
        self.in_flight.remove(&job.key);
        let newer = self.remove(job.key);
        let replaced = newer.is_some();
        if let Some(mut newer) = newer {
            newer.must_complete |= job.must_complete && verdict != Verdict::Over;
            self.wait(newer);
        }
        let Verdict::Again(after_ms) = verdict else { return Finished::Over(job) };
        if replaced {
            return Finished::Replaced(job);
        }
        let pause = self.backoff().pause_ms(job.key, job.attempts).max(after_ms);
        job.due = now.plus_ms(pause);
        let spent = job.attempts >= self.limits.max_attempts || job.due >= self.end_of(&job);
        if spent && !job.must_complete {
            return Finished::Over(job);
        }
        self.wait(job);
        Finished::No
    }

    /// Nothing begins before. False when nothing begins now already.
    pub fn pause(&mut self, until: Tick, now: Tick) -> bool {
        let is_news = self.paused_until <= now;
        self.paused_until = self.paused_until.max(until);
        is_news
    }

    /// Takes all actions that wait.
    pub fn take_waiting(&mut self) -> Vec<WorkItem<T>> {
        let mut waiting: Vec<WorkItem<T>> =
            std::mem::take(&mut self.waiting).into_values().collect();
        waiting.sort_by_key(|job| job.number);
        self.ready.clear();
        self.later.clear();
        self.ends.clear();
        waiting
    }

    fn backoff(&self) -> Backoff {
        let QueueLimits { first_pause_ms, most_pause_ms, .. } = self.limits;
        Backoff { first_ms: first_pause_ms, most_ms: most_pause_ms }
    }

    fn end_of(&self, job: &WorkItem<T>) -> Tick {
        job.since.plus_ms(self.limits.max_age_ms)
    }

    fn wait(&mut self, job: WorkItem<T>) {
        if !job.must_complete {
            self.ends.insert((self.end_of(&job), job.key));
        }
        // An action whose object has a write under way waits for its end.
        if !self.in_flight.contains(&job.key) {
            self.later.insert((job.due, job.key));
        }
        self.waiting.insert(job.key, job);
    }

    fn remove(&mut self, key: ObjectKey) -> Option<WorkItem<T>> {
        let job = self.waiting.remove(&key)?;
        self.ready.remove(&(Reverse(job.priority), job.number, key));
        self.later.remove(&(job.due, key));
        self.ends.remove(&(self.end_of(&job), key));
        Some(job)
    }

    fn ripen(&mut self, now: Tick) {
        while let Some(&(due, key)) = self.later.first()
            && due <= now
        {
            self.later.remove(&(due, key));
            if let Some(job) = self.waiting.get(&key) {
                self.ready.insert((Reverse(job.priority), job.number, key));
            }
        }
    }
}

#[cfg(test)]
mod tests;
