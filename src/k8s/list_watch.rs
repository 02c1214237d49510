//! What a watch does next: a state machine without I/O, clock or randomness; `driver` is its shell.
//!
//! ```text
//!            refused for good, or often
//!   Stream ───────────────────> Page ──┐ next page
//!     │ ▲                        │ ▲ <─┘
//!     │ └─ expired, refused ─┐   │ └─── expired
//!     └─ complete ──> Watch ─┘ <─┘ complete
//!                      └─┘ closed or broken: resume where it stood
//! ```
//!
//! Two rules keep the snapshot whole: a resource version is taken from an event only when the list
//! is complete (the objects of a streamed list arrive in no order), and a list that breaks off is
//! not reported as complete.

mod pauses;
mod refusals;

use std::time::Duration;

use self::pauses::{Expiry, ListBackoff, WantedList};
use self::refusals::{Quiet, WatchRefusals};
use crate::cluster::MAX_SILENCE_MS;

/// Times and sizes of a watch.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// Most objects on one page of a list.
    pub page_limit: u32,
    /// How long a page may take from request to last byte.
    pub page_timeout: Duration,
    /// How long the server is asked to keep a watch open. It sends a bookmark just before it
    /// closes, so this bounds how old the last sign of life of a quiet kind can be.
    pub watch_timeout: Duration,
    /// How much longer than `watch_timeout` we wait before we call a connection dead.
    pub silence_margin: Duration,
    /// A watch that has said nothing for so long may be dead: nothing that rests on its having told
    /// all is done until it speaks.
    pub silent_after: Duration,
    /// How long a streamed list may say nothing, or tell changes, before it says that it is complete.
    pub stream_patience: Duration,
    /// How long the server is asked to keep a streamed list open.
    pub stream_timeout: Duration,
    /// How long watches are refused before we list, since what they resume from may be to blame.
    pub refused_patience: Duration,
    /// Back-off after the first failure.
    pub backoff_min: Duration,
    /// Longest back-off.
    pub backoff_max: Duration,
    /// Longest back-off before a watch is resumed at a server that may be back at any moment. It costs
    /// the server next to nothing, unlike a list; and kube-scheduler binds as soon as it is back.
    pub resume_max: Duration,
    /// Time without failure after which the back-off starts anew.
    pub backoff_reset: Duration,
    /// How often an optional kind that is forbidden or not served is asked for again.
    pub absent_pause: Duration,
    /// A watch that was interrupted or silent is caught up when the server has paused for so long after a line.
    /// A busy server pauses for a moment between two events that it has long had: too short a pause ends
    /// holds of pods that are bound.
    pub caught_up_pause: Duration,
    /// A watch that goes on is closed for a list of ours when the server has paused for so long.
    pub relist_pause: Duration,
    /// Longest object. A watch skips a longer one, a list fails.
    pub max_object_bytes: usize,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            page_limit: 500,
            page_timeout: Duration::from_secs(60),
            watch_timeout: Duration::from_secs(45),
            silence_margin: Duration::from_secs(5),
            silent_after: Duration::from_millis(MAX_SILENCE_MS),
            stream_patience: Duration::from_secs(10),
            stream_timeout: Duration::from_secs(300),
            refused_patience: Duration::from_secs(30),
            backoff_min: Duration::from_millis(800),
            backoff_max: Duration::from_secs(30),
            resume_max: Duration::from_secs(3),
            backoff_reset: Duration::from_secs(120),
            absent_pause: Duration::from_secs(60),
            caught_up_pause: Duration::from_secs(2),
            relist_pause: Duration::from_millis(100),
            max_object_bytes: 8 << 20,
        }
    }
}

/// The next request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ListWatchRequest {
    /// A page of a list, the first one if `after` is `None`.
    Page { after: Option<Box<str>> },
    /// A list as a stream of events that goes on as a watch.
    Stream,
    /// A watch from a resource version.
    Watch { from: Box<str> },
}

/// A request or a connection that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WatchFailure {
    /// The HTTP status or the code of an ERROR event; `None` when the server did not answer.
    pub code: Option<u16>,
    /// What the server asks us to wait.
    pub retry_after: Option<Duration>,
    /// For people.
    pub text: String,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WatchEnd {
    /// As agreed: the time was up, and the server closed it.
    Closed { lived: Duration, num_lines: u64 },
    /// The time was up and the server has not closed it, though it had sent something: we have.
    Overdue,
    /// We were asked for a fresh list.
    Relist,
    /// Otherwise.
    Failed(WatchFailure),
}

/// Where a watch stands.
#[derive(Debug)]
pub(super) struct ListWatch {
    stage: ListWatchRequest,
    /// False once the server has refused to stream a list.
    can_stream: bool,
    /// Streamed lists that the server closed before they were complete.
    num_unfinished: u32,
    /// Streamed lists that failed otherwise, since one was complete.
    num_failed_streams: u32,
    refusals: WatchRefusals,
    quiet: Quiet,
    expiry: Expiry,
    /// A list that somebody asked for.
    wanted: WantedList,
    /// The watch to go back to if the list cannot even begin.
    fallback: Option<Box<str>>,
    /// The connection is a list that goes on as a watch.
    is_streamed: bool,
    /// The watch has got further on this connection.
    has_told: bool,
    resume_max: Duration,
    backoff: ListBackoff,
}

/// A server that closes this many streamed lists early does not know streamed lists. One that fails as many
/// is asked for pages.
const MAX_UNFINISHED: u32 = 3;
/// A healthy server sends a bookmark before it closes a watch, unless nothing at all has changed. One that
/// stays mute this often may be restored from a backup and wait for a version that lies in its future.
const MAX_QUIET: u32 = 8;
/// A connection that lives shorter is a failure, however politely it ends.
const MIN_LIFE: Duration = Duration::from_secs(1);
/// We do not let a server send us away for longer.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

impl ListWatch {
    pub(super) fn new(options: &WatchOptions) -> Self {
        Self {
            stage: ListWatchRequest::Stream,
            can_stream: true,
            num_unfinished: 0,
            num_failed_streams: 0,
            refusals: WatchRefusals::new(options),
            quiet: Quiet::new(options),
            expiry: Expiry::default(),
            wanted: WantedList::default(),
            fallback: None,
            is_streamed: false,
            has_told: false,
            resume_max: options.resume_max,
            backoff: ListBackoff::new(options),
        }
    }

    /// The next request.
    pub(super) fn next(&self) -> ListWatchRequest {
        self.stage.clone()
    }

    /// How often the server has refused since the watch last worked, and since when.
    pub(super) fn refused(&self) -> Option<(u64, Duration)> {
        self.refusals.all()
    }

    /// Somebody asks for a list, whatever the watch does.
    pub(super) fn want_list(&mut self) {
        self.wanted.at.get_or_insert(Duration::ZERO);
    }

    /// When the list that was asked for is to be tried; `None` if none was, or one is under way.
    pub(super) fn list_wanted_at(&self) -> Option<Duration> {
        self.wanted.at.filter(|_| matches!(self.stage, ListWatchRequest::Watch { .. }))
    }

    /// Goes over to the list that was asked for, if it is time.
    pub(super) fn begin_wanted_list(&mut self, now: Duration) {
        if self.list_wanted_at().is_some_and(|at| at <= now) {
            self.try_list();
        }
    }

    /// The server has begun to answer a list: what was known is compared with that from now on.
    pub(super) fn list_begun(&mut self) {
        self.fallback = None;
        self.is_streamed = self.stage == ListWatchRequest::Stream;
    }

    /// A page was read, the last one if `next` is `None`. True when the list is complete.
    pub(super) fn page_read(&mut self, version: &str, next: Option<&str>) -> bool {
        self.fallback = None;
        self.refusals.break_row();
        match next {
            Some(token) => self.stage = ListWatchRequest::Page { after: Some(token.into()) },
            None => self.complete(version),
        }
        next.is_none()
    }

    /// The bookmark that ends a streamed list was read. True when that completes a list.
    pub(super) fn initial_events_end(&mut self, version: &str) -> bool {
        let completes = self.stage == ListWatchRequest::Stream;
        self.complete(version);
        self.refusals.told(false);
        (self.num_unfinished, self.num_failed_streams) = (0, 0);
        completes
    }

    /// The list is complete at `now`: the version that it ends with is as new as can be.
    pub(super) fn listed(&mut self, now: Duration) {
        self.expiry.listed(now);
    }

    /// An event or a bookmark with this resource version was read. True when the watch has got so
    /// far: the objects of a list have versions too, but none that may be resumed from.
    pub(super) fn advanced(&mut self, version: &str) -> bool {
        match &mut self.stage {
            ListWatchRequest::Watch { from } if !version.is_empty() => {
                *from = version.into();
                self.has_told = true;
                self.refusals.told(!self.is_streamed);
                true
            }
            _ => false,
        }
    }

    /// True for the version of a bookmark that lies before where the watch stands, as after the server's
    /// store was restored. Bookmarks, unlike objects, come in order.
    pub(super) fn goes_back(&self, version: &str) -> bool {
        match &self.stage {
            ListWatchRequest::Watch { from } => is_before(version, from),
            ListWatchRequest::Page { .. } | ListWatchRequest::Stream => false,
        }
    }

    /// The kind is not served or forbidden: the version that the watch stood at is void.
    pub(super) fn begin_anew(&mut self) {
        self.complete("");
        (self.is_streamed, self.has_told) = (false, false);
        self.relist();
    }

    /// The connection ended. Returns how long to wait before [`Self::next`]; `jitter` is in 0..1.
    pub(super) fn ended(&mut self, end: &WatchEnd, now: Duration, jitter: f64) -> Duration {
        let has_told = std::mem::take(&mut self.has_told);
        self.is_streamed = false;
        match end {
            WatchEnd::Closed { lived, .. } => self.closed(*lived, has_told, now, jitter),
            WatchEnd::Overdue => {
                if self.quiet.ended(!has_told, None) {
                    self.try_list();
                }
                Duration::ZERO
            }
            WatchEnd::Relist => {
                self.try_list();
                Duration::ZERO
            }
            WatchEnd::Failed(failure) => self.failed(failure, now, jitter),
        }
    }

    fn closed(&mut self, lived: Duration, has_told: bool, now: Duration, jitter: f64) -> Duration {
        let is_brief = lived < MIN_LIFE;
        let mut max = Duration::MAX;
        match self.stage {
            ListWatchRequest::Stream => {
                self.num_unfinished += 1;
                self.can_stream &= self.num_unfinished < MAX_UNFINISHED;
                self.relist();
            }
            ListWatchRequest::Watch { .. } => {
                max = self.resume_max;
                let is_suspect = is_brief && !has_told && self.refusals.ended_at_once(now);
                if !is_brief {
                    self.refusals.told(false);
                    self.refusals.break_row();
                }
                if self.quiet.ended(!has_told, Some(lived)) || is_suspect {
                    self.try_list();
                }
            }
            ListWatchRequest::Page { .. } => {}
        }
        if is_brief { self.backoff.delay(now, max, jitter) } else { Duration::ZERO }
    }

    fn failed(&mut self, failure: &WatchFailure, now: Duration, jitter: f64) -> Duration {
        if self.refused_streaming(failure) {
            self.relist();
            return Duration::ZERO;
        }
        let asked = failure.retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
        let max = self.longest_pause(failure);
        let mut least = asked;
        if failure.code == Some(410) && matches!(self.stage, ListWatchRequest::Watch { .. }) {
            let Some(pause) = self.expiry.expired(&self.backoff, now, jitter) else {
                // A server that calls our version too old is well, and has had events that we have missed:
                // after an outage of a minute nobody must wait for another half.
                self.backoff.forget();
                self.relist();
                return Duration::ZERO;
            };
            least = least.max(pause);
        }
        self.after_failure(failure, now);
        self.backoff.delay(now, max, jitter).max(least)
    }

    fn longest_pause(&self, failure: &WatchFailure) -> Duration {
        // A server that starts refuses whom it knows before it has read its roles.
        match self.stage {
            _ if is_final(failure.code) || failure.code == Some(410) => Duration::MAX,
            ListWatchRequest::Watch { .. } => self.resume_max,
            // The watch goes on if this was the beginning of a list.
            ListWatchRequest::Page { .. } | ListWatchRequest::Stream if self.fallback.is_some() => {
                self.resume_max
            }
            ListWatchRequest::Page { .. } | ListWatchRequest::Stream => Duration::MAX,
        }
    }

    fn after_failure(&mut self, failure: &WatchFailure, now: Duration) {
        if failure.code.is_none() {
            self.quiet.lost();
        }
        self.refusals.note(failure, now);
        if let Some(from) = self.fallback.take() {
            return self.give_up_list(from, failure, now);
        }
        let is_expired = failure.code == Some(410);
        match &self.stage {
            ListWatchRequest::Stream => {
                // Whoever is refused for himself, or asked to wait, is so for pages too.
                let is_strange = failure.code.is_none() || refusals::counts(failure);
                self.num_failed_streams += u32::from(is_strange);
                if self.num_failed_streams >= MAX_UNFINISHED {
                    self.stage = ListWatchRequest::Page { after: None };
                }
            }
            // A page that fails in another way is asked for again: its token is good for minutes.
            ListWatchRequest::Page { after } => {
                let is_begun = after.is_some();
                let begins_anew = is_expired || is_final(failure.code);
                if begins_anew || is_begun && self.refusals.are_enough(failure, now) {
                    self.relist();
                }
            }
            ListWatchRequest::Watch { .. } if is_expired => self.relist(),
            ListWatchRequest::Watch { .. } => {
                if self.refusals.are_enough(failure, now) {
                    self.try_list();
                }
            }
        }
    }

    fn refused_streaming(&mut self, failure: &WatchFailure) -> bool {
        let refused = self.stage == ListWatchRequest::Stream && is_final(failure.code);
        self.can_stream &= !refused;
        refused
    }

    /// Lists although the watch could go on where it stands, and will if the list cannot begin: a server
    /// that is back after an outage must not be met by lists.
    fn try_list(&mut self) {
        if let ListWatchRequest::Watch { from } = &self.stage {
            self.fallback = Some(from.clone());
        }
        self.relist();
    }

    /// A list that was tried could not begin.
    fn give_up_list(&mut self, from: Box<str>, failure: &WatchFailure, now: Duration) {
        if self.stage == ListWatchRequest::Stream && refusals::counts(failure) {
            // A server that refuses watches refuses streamed lists too, and may give pages.
            self.stage = ListWatchRequest::Page { after: None };
            self.fallback = Some(from);
            return;
        }
        self.stage = ListWatchRequest::Watch { from };
        self.wanted.failed(self.backoff.min, now);
    }

    fn relist(&mut self) {
        self.refusals.break_row();
        self.quiet.begin_anew();
        self.stage = if self.can_stream {
            ListWatchRequest::Stream
        } else {
            ListWatchRequest::Page { after: None }
        };
    }

    fn complete(&mut self, version: &str) {
        self.stage = ListWatchRequest::Watch { from: version.into() };
        self.fallback = None;
        self.wanted = WantedList::default();
    }
}

/// True when both are numbers and the first is the lower one. Versions are opaque by contract, but every
/// store in use writes an ascending number.
pub(super) fn is_before(version: &str, other: &str) -> bool {
    let numbers = version.parse::<u64>().ok().zip(other.parse::<u64>().ok());
    numbers.is_some_and(|(version, other)| version < other)
}

/// True for an answer that says "this request is wrong", not "not now", "not you" or "too old".
fn is_final(code: Option<u16>) -> bool {
    code.is_some_and(|code| {
        (400..500).contains(&code) && !matches!(code, 401 | 403 | 408 | 409 | 410 | 429)
    })
}

#[cfg(test)]
mod tests;
