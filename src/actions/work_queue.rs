//! The queue of one kind: which action is carried out next, and when. Pure: whoever owns it tells the
//! time and does the writing.
//!
//! ```text
//!            submit                     next                    finish
//!   action ──────────▶ waiting ───────────────────▶ in flight ──────────▶ over
//!            │          │  ▲                           │
//!     replaced, full    │  └── back-off, Retry-After ◀─┘ again
//!                    expired
//! ```
//!
//! There are never two actions about one pod waiting, and never two in flight.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};

use super::backoff::Backoff;
use crate::model::{PodUid, Priority, Rate, Tick, TokenBucket};

/// The bounds of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WorkQueueLimits {
    /// Orders that may wait.
    pub(super) max_waiting: usize,
    /// Writes on their way.
    pub(super) max_in_flight: usize,
    /// How fast they begin.
    pub(super) pace: Rate,
    /// Attempts of one action.
    pub(super) max_attempts: u32,
    /// Between them.
    pub(super) backoff: Backoff,
    /// An action that is older is not begun any more.
    pub(super) max_age_ms: u64,
}

impl WorkQueueLimits {
    /// The same bounds with another pace: so many a second, and an eighth of that at once.
    pub(super) fn paced(self, per_second: u32) -> Self {
        let per_second = u64::from(per_second);
        let burst = (per_second / 8).max(1);
        Self { pace: Rate { tokens: per_second, period_ms: 1000, burst }, ..self }
    }
}

/// What is submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Submission<T> {
    pub(super) action: T,
    /// Its pod.
    pub(super) uid: PodUid,
    /// Its pod's; the highest is first.
    pub(super) priority: Priority,
    /// It must be carried out, however long that takes.
    pub(super) lasting: bool,
}

/// An action in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WorkItem<T> {
    pub(super) action: T,
    pub(super) uid: PodUid,
    priority: Priority,
    lasting: bool,
    /// When it was submitted.
    pub(super) since: Tick,
    /// Attempts begun.
    pub(super) attempts: u32,
    number: u64,
    /// Not before.
    due: Tick,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
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
pub(super) enum Submitted<T> {
    /// Nothing more.
    No,
    /// It has replaced an older one about the pod.
    Replaced(WorkItem<T>),
    /// It does not wait: there are too many.
    Full(WorkItem<T>),
    /// It does not wait: nothing begins now, and it may be given up.
    Closed(WorkItem<T>),
}

/// What to do about an attempt that did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is over, for good or ill.
    Over,
    /// Try again, but not before so many milliseconds are over.
    Again(u64),
}

/// How an action leaves the queue after an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finished<T> {
    /// It waits for another attempt.
    No,
    /// As its last attempt went.
    Over(WorkItem<T>),
    /// A newer action about the pod has come meanwhile.
    Replaced(WorkItem<T>),
}

/// The queue.
#[derive(Debug)]
pub(super) struct WorkQueue<T> {
    limits: WorkQueueLimits,
    bucket: TokenBucket,
    waiting: FxHashMap<PodUid, WorkItem<T>>,
    /// Those that may begin, in action.
    ready: BTreeSet<(Reverse<Priority>, u64, PodUid)>,
    /// Those that are not due.
    later: BTreeSet<(Tick, PodUid)>,
    /// When they become too old.
    ends: BTreeSet<(Tick, PodUid)>,
    in_flight: FxHashSet<PodUid>,
    paused_until: Tick,
    num_submitted: u64,
}

impl<T> WorkQueue<T> {
    pub(super) fn new(limits: WorkQueueLimits, now: Tick) -> Self {
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

    pub(super) fn num_waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn num_in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How many actions could begin at once, but for the pace.
    pub(super) fn room(&self, now: Tick) -> usize {
        if now < self.paused_until {
            return 0;
        }
        let taken = self.in_flight.len() + self.waiting.len();
        self.limits.max_in_flight.saturating_sub(taken)
    }

    /// How many actions begin within so long at its pace, beside those that wait; at least one if none does.
    pub(super) fn num_wanted_within(&self, within_ms: u64) -> usize {
        let Rate { tokens, period_ms, .. } = self.limits.pace;
        let begin = (tokens.saturating_mul(within_ms) / period_ms.max(1)).max(1) as usize;
        begin.saturating_sub(self.waiting.len())
    }

    /// Takes an action. Unless `open`, only one that must be carried out.
    pub(super) fn submit(&mut self, wanted: Submission<T>, open: bool, now: Tick) -> Submitted<T> {
        self.num_submitted += 1;
        let number = self.num_submitted;
        let Submission { action, uid, priority, lasting } = wanted;
        let mut job =
            WorkItem { action, uid, priority, lasting, since: now, attempts: 0, number, due: now };
        if !open && !lasting {
            return Submitted::Closed(job);
        }
        let older = self.remove(uid);
        if older.is_none() && self.waiting.len() >= self.limits.max_waiting {
            return Submitted::Full(job);
        }
        if let Some(older) = &older {
            // Whoever repeats an action does not get round its back-off, nor out of what must be done.
            job.due = now.max(older.due);
            job.lasting |= older.lasting;
        }
        self.wait(job);
        older.map_or(Submitted::No, Submitted::Replaced)
    }

    /// What to do now. Unless `open`, nothing begins.
    pub(super) fn next(&mut self, now: Tick, open: bool) -> Next<T> {
        let end = self.ends.first().copied();
        if let Some((at, uid)) = end
            && at <= now
            && let Some(job) = self.remove(uid)
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
        self.wake(now);
        let Some(&(.., uid)) = self.ready.first() else {
            return self.later.first().map_or(asleep, |(due, _)| or_end(*due));
        };
        if !self.bucket.take(now) {
            return or_end(self.bucket.next(now));
        }
        let Some(mut job) = self.remove(uid) else { return asleep };
        job.attempts += 1;
        self.in_flight.insert(uid);
        Next::Start(job)
    }

    /// An attempt has ended.
    pub(super) fn finish(
        &mut self,
        mut job: WorkItem<T>,
        verdict: Verdict,
        now: Tick,
    ) -> Finished<T> {
        self.in_flight.remove(&job.uid);
        let newer = self.remove(job.uid);
        let replaced = newer.is_some();
        if let Some(mut newer) = newer {
            newer.lasting |= job.lasting && verdict != Verdict::Over;
            self.wait(newer);
        }
        let Verdict::Again(after_ms) = verdict else { return Finished::Over(job) };
        if replaced {
            return Finished::Replaced(job);
        }
        let pause = self.limits.backoff.pause_ms(job.uid, job.attempts).max(after_ms);
        job.due = now.plus_ms(pause);
        let spent = job.attempts >= self.limits.max_attempts || job.due >= self.end_of(&job);
        if spent && !job.lasting {
            return Finished::Over(job);
        }
        self.wait(job);
        Finished::No
    }

    /// Nothing begins before. False when nothing begins now already.
    pub(super) fn pause(&mut self, until: Tick, now: Tick) -> bool {
        let is_news = self.paused_until <= now;
        self.paused_until = self.paused_until.max(until);
        is_news
    }

    fn end_of(&self, job: &WorkItem<T>) -> Tick {
        job.since.plus_ms(self.limits.max_age_ms)
    }

    fn wait(&mut self, job: WorkItem<T>) {
        if !job.lasting {
            self.ends.insert((self.end_of(&job), job.uid));
        }
        // One whose pod has a write under way waits for its end.
        if !self.in_flight.contains(&job.uid) {
            self.later.insert((job.due, job.uid));
        }
        self.waiting.insert(job.uid, job);
    }

    fn remove(&mut self, uid: PodUid) -> Option<WorkItem<T>> {
        let job = self.waiting.remove(&uid)?;
        self.ready.remove(&(Reverse(job.priority), job.number, uid));
        self.later.remove(&(job.due, uid));
        self.ends.remove(&(self.end_of(&job), uid));
        Some(job)
    }

    fn wake(&mut self, now: Tick) {
        while let Some(&(due, uid)) = self.later.first()
            && due <= now
        {
            self.later.remove(&(due, uid));
            if let Some(job) = self.waiting.get(&uid) {
                self.ready.insert((Reverse(job.priority), job.number, uid));
            }
        }
    }
}

#[cfg(test)]
mod tests;
