//! When refusals of a watch are a reason to list: what it resumes from may be what the server refuses.
//!
//! A list costs the server much, so it is never the answer to overload. Answers that ask us to wait, that
//! we are not known, or that we lack a right, and connections without an answer, break the row.

use std::time::Duration;

use super::{MAX_QUIET, WatchFailure, WatchOptions};

/// So many refusals in a row, at least.
const MIN_REFUSALS: u32 = 5;
/// Longest pause between two such lists.
const LONGEST_PATIENCE: Duration = Duration::from_secs(300);

/// As [`MAX_QUIET`], after a connection was lost, as it is when a server is restored.
const MAX_QUIET_AFTER_LOSS: u32 = 2;

/// The refusals of one watch since it last worked.
#[derive(Debug)]
pub(super) struct WatchRefusals {
    /// How long a row lasts, at least. Doubled with each list that did not help.
    patience: Duration,
    /// Those in a row that count.
    row: u32,
    /// When the row began.
    row_since: Option<Duration>,
    /// Lists that they were the reason for.
    num_lists: u32,
    /// All of them, and when the first one came.
    all: Option<(u64, Duration)>,
}

impl WatchRefusals {
    pub(super) fn new(options: &WatchOptions) -> Self {
        let patience = options.refused_patience;
        Self { patience, row: 0, row_since: None, num_lists: 0, all: None }
    }

    /// A request failed.
    pub(super) fn note(&mut self, failure: &WatchFailure, now: Duration) {
        if failure.code.is_some() {
            let (count, since) = self.all.unwrap_or((0, now));
            self.all = Some((count + 1, since));
        }
    }

    /// The same one, where a list may help. True when it is time for that.
    pub(super) fn are_enough(&mut self, failure: &WatchFailure, now: Duration) -> bool {
        if counts(failure) {
            return self.count(now);
        }
        self.break_row();
        false
    }

    /// A watch was granted and ended at once, without a word. True when it is time to list.
    pub(super) fn ended_at_once(&mut self, now: Duration) -> bool {
        self.count(now)
    }

    /// A watch was granted and is none of the bad ones. `is_resumed`: from the version that is suspected.
    pub(super) fn told(&mut self, is_resumed: bool) {
        self.all = None;
        if is_resumed {
            self.num_lists = 0;
            self.break_row();
        }
    }

    /// How many there were since the watch last worked, and when the first one came.
    pub(super) fn all(&self) -> Option<(u64, Duration)> {
        self.all
    }

    pub(super) fn break_row(&mut self) {
        (self.row, self.row_since) = (0, None);
    }

    fn count(&mut self, now: Duration) -> bool {
        self.row += 1;
        let since = *self.row_since.get_or_insert(now);
        let is_time = self.row >= MIN_REFUSALS
            && now.saturating_sub(since) >= doubled(self.patience, self.num_lists);
        if is_time {
            self.num_lists = self.num_lists.saturating_add(1);
            self.break_row();
        }
        is_time
    }
}

/// Doubled so many times, at most [`LONGEST_PATIENCE`].
pub(super) fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times)).min(LONGEST_PATIENCE)
}

/// True for an answer that waiting does not mend: not "who are you", "you may not" or "not now".
pub(super) fn counts(failure: &WatchFailure) -> bool {
    let is_asked_to_wait = failure.retry_after.is_some_and(|it| !it.is_zero());
    failure.code.is_some_and(|code| !matches!(code, 401 | 403 | 429)) && !is_asked_to_wait
}

/// Watches that ended without having told anything, in a row.
#[derive(Debug)]
pub(super) struct Quiet {
    /// How long they last together, at least: nearly two that end at their time.
    least: Duration,
    count: u32,
    lived: Duration,
    /// A connection was lost since the last list.
    was_lost: bool,
}

impl Quiet {
    pub(super) fn new(options: &WatchOptions) -> Self {
        let least = options.watch_timeout.mul_f64(1.75);
        Self { least, count: 0, lived: Duration::ZERO, was_lost: false }
    }

    /// A watch ended; true when it is time to list. `lived`: for how long, if not to the end.
    pub(super) fn ended(&mut self, is_quiet: bool, lived: Option<Duration>) -> bool {
        if !is_quiet {
            self.begin_anew();
            return false;
        }
        self.count += 1;
        self.lived += lived.unwrap_or(self.least);
        let most = if self.was_lost { MAX_QUIET_AFTER_LOSS } else { MAX_QUIET };
        self.count >= most && self.lived >= self.least
    }

    pub(super) fn begin_anew(&mut self) {
        (self.count, self.lived, self.was_lost) = (0, Duration::ZERO, false);
    }

    pub(super) fn lost(&mut self) {
        self.was_lost = true;
    }
}
