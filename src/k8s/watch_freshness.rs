//! What may be said of a watch: whether it has told all that happened. A state machine without I/O
//! or clock; `driver` is its shell.
//!
//! ```text
//!          nothing heard for long,               the connection
//!          closed as agreed, or for a list       is lost
//!   Clear ────────────────────────> Silent ─────────────────────> Lost <── Clear
//!     ▲                               │                            │
//!     └────────── caught up ──────────┴────────────────────────────┘
//! ```
//!
//! A server that says nothing may have nothing to say, or be gone without a word: nobody can tell
//! before it speaks. What it says then may be old, even a bookmark, so one line is not enough: it has
//! caught up when it pauses, or after as long as it was silent.

use std::time::Duration;

use tokio::time::Instant;

use super::list_watch::{WatchEnd, WatchOptions};

/// What is to be said of the watch, since it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FreshnessChange {
    /// Nothing was heard for long, which may mean nothing.
    Silent,
    /// The server may know what we do not.
    Lost,
    /// All that happened was told.
    Back,
}

/// From good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Freshness {
    Clear,
    Silent,
    Lost,
}

/// What was said last, and what has been heard since.
#[derive(Debug)]
pub(super) struct WatchFreshness {
    state: Freshness,
    /// When it was last sure that all was told.
    sure: Instant,
    /// What was heard since it is not: when it has caught up if nothing more comes, and at the latest.
    catching_up: Option<(Instant, Instant)>,
    /// The last line was a bookmark.
    marked: bool,
    /// A list was complete once.
    listed: bool,
    silent_after: Duration,
    pause: Duration,
}

impl WatchFreshness {
    pub(super) fn new(options: &WatchOptions, now: Instant) -> Self {
        Self {
            state: Freshness::Clear,
            sure: now,
            catching_up: None,
            marked: false,
            listed: false,
            silent_after: options.silent_after,
            pause: options.caught_up_pause,
        }
    }

    /// Until when all counts as told, unless a line comes before.
    pub(super) fn clear_until(&self) -> Option<Instant> {
        (self.state == Freshness::Clear).then(|| self.sure + self.silent_after)
    }

    /// When [`Self::passed`] has something to say unless a line comes before.
    pub(super) fn next(&self) -> Option<Instant> {
        self.clear_until().or(self.catching_up.map(|(paused, _)| paused))
    }

    /// Time has passed, and the server has sent nothing that is still to be read.
    pub(super) fn passed(&mut self, now: Instant) -> Option<FreshnessChange> {
        if self.next().is_none_or(|next| now < next) {
            return None;
        }
        if self.state == Freshness::Clear {
            return self.doubt(Freshness::Silent);
        }
        if self.overslept(now) {
            self.catching_up = None;
            self.catch_up(now);
            return None;
        }
        self.back(now)
    }

    /// A watch was opened, or opened anew.
    pub(super) fn opened(&mut self, now: Instant) {
        // A list was read before, and what happened since is on its way.
        if self.catching_up.take().is_some() {
            self.catch_up(now);
        }
    }

    /// A line of a watch was read.
    pub(super) fn heard(&mut self, now: Instant, bookmark: bool) -> Option<FreshnessChange> {
        self.marked = bookmark;
        if self.overslept(now) {
            let said = self.doubt(self.state.max(Freshness::Silent));
            self.catch_up(now);
            return said;
        }
        if self.state == Freshness::Clear {
            self.sure = now;
            return None;
        }
        let by = self.catch_up(now);
        if now >= by { self.back(now) } else { None }
    }

    /// A list is complete, which shows how things stood when it began: what happened since is still to
    /// be told. Before the first one nothing was promised.
    pub(super) fn listed(&mut self, begun: Instant, now: Instant) -> Option<FreshnessChange> {
        if !std::mem::replace(&mut self.listed, true) {
            return self.back(now);
        }
        self.sure = self.sure.max(begun);
        self.catching_up = None;
        self.catch_up(now);
        None
    }

    /// The connection ended, or there is no page.
    pub(super) fn ended(&mut self, now: Instant, end: &WatchEnd) -> Option<FreshnessChange> {
        let marked = std::mem::take(&mut self.marked);
        let had_told = match end {
            // All, right after a bookmark; and it is asked again at once.
            WatchEnd::Closed { .. } => marked,
            // We have closed it, not for any doubt of it.
            WatchEnd::Relist => true,
            WatchEnd::Overdue | WatchEnd::Failed(_) => false,
        };
        if had_told && self.state == Freshness::Clear {
            self.sure = now;
            return self.doubt(Freshness::Silent);
        }
        self.doubt(Freshness::Lost)
    }

    /// Nobody looked for long: the process was stopped. What is read now may have waited for us, and
    /// more behind it.
    fn overslept(&self, now: Instant) -> bool {
        let looked = match self.state {
            Freshness::Clear => Some(self.sure),
            Freshness::Silent | Freshness::Lost => self.catching_up.map(|(paused, _)| paused),
        };
        looked.is_some_and(|looked| now - looked >= self.silent_after)
    }

    /// More may be on its way. Gives the moment by which it has caught up at the latest: what happened
    /// while nobody was sure does not take the server as long again to send.
    fn catch_up(&mut self, now: Instant) -> Instant {
        let latest = now + (now - self.sure).max(self.pause);
        let by = self.catching_up.map_or(latest, |(_, by)| by);
        self.catching_up = Some((now + self.pause, by));
        by
    }

    fn doubt(&mut self, state: Freshness) -> Option<FreshnessChange> {
        self.catching_up = None;
        let before = std::mem::replace(&mut self.state, state);
        let word =
            if state == Freshness::Lost { FreshnessChange::Lost } else { FreshnessChange::Silent };
        (before != state).then_some(word)
    }

    fn back(&mut self, now: Instant) -> Option<FreshnessChange> {
        (self.sure, self.catching_up) = (now, None);
        let before = std::mem::replace(&mut self.state, Freshness::Clear);
        (before != Freshness::Clear).then_some(FreshnessChange::Back)
    }
}

#[cfg(test)]
mod tests;
