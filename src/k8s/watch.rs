//! What a watch does next: a state machine without I/O, clock or randomness; `driver` is its shell.
//!
//! ```text
//!            refused for good
//!   Stream ───────────────────> Page ──┐ next page
//!     │ ▲                        │ ▲ <─┘
//!     │ └── expired ──┐          │ └─── expired
//!     └─ complete ──> Watch <────┘ complete
//!                      └─┘ closed or broken: resume where it stood
//! ```
//!
//! Two rules keep the picture whole: a resource version is taken from an event only when the list
//! is complete (the objects of a streamed list arrive in no order), and a list that breaks off is
//! not reported as complete.

use std::time::Duration;

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
    /// How long the server is asked to keep a streamed list open.
    pub stream_timeout: Duration,
    /// Back-off after the first failure.
    pub backoff_min: Duration,
    /// Longest back-off.
    pub backoff_max: Duration,
    /// Longest back-off before a watch is resumed at a server that may be back at any moment. It costs
    /// the server next to nothing, unlike a list; and kube-scheduler binds as soon as it is back.
    pub resume_max: Duration,
    /// Time without failure after which the back-off starts anew.
    pub backoff_reset: Duration,
    /// How often an optional kind that we may not list is asked for again.
    pub forbidden_pause: Duration,
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
            stream_timeout: Duration::from_secs(300),
            backoff_min: Duration::from_millis(800),
            backoff_max: Duration::from_secs(30),
            resume_max: Duration::from_secs(3),
            backoff_reset: Duration::from_secs(120),
            forbidden_pause: Duration::from_secs(60),
            caught_up_pause: Duration::from_secs(2),
            relist_pause: Duration::from_millis(100),
            max_object_bytes: 8 << 20,
        }
    }
}

/// The next request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// A page of a list, the first one if `after` is `None`.
    Page { after: Option<Box<str>> },
    /// A list as a stream of events that goes on as a watch.
    Stream,
    /// A watch from a resource version.
    Watch { from: Box<str> },
}

/// A request or a connection that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The HTTP status or the code of an ERROR event; `None` when the server did not answer.
    pub code: Option<u16>,
    /// What the server asks us to wait.
    pub retry_after: Option<Duration>,
    /// For people.
    pub text: String,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As agreed: the time was up, and the server closed it.
    Closed { lived: Duration, num_lines: u64 },
    /// The time was up and the server has not closed it, though it had sent something: we have.
    Overdue,
    /// We were asked for a fresh list.
    Relist,
    /// Otherwise.
    Failed(Failure),
}

/// Where a watch stands.
#[derive(Debug)]
pub(super) struct Course {
    stage: Ask,
    /// False once the server has refused to stream a list.
    can_stream: bool,
    /// Streamed lists that the server closed before they were complete.
    num_unfinished: u32,
    /// Watches refused, in a row, in a way that another attempt will not cure.
    num_refused: u32,
    /// Watches without a single line, in a row.
    num_quiet: u32,
    /// When a version was too old last.
    expired: Option<Duration>,
    resume_max: Duration,
    backoff: Backoff,
}

/// A server that closes this many streamed lists early does not know streamed lists.
const MAX_UNFINISHED: u32 = 3;
/// After this many refusals the resource version itself is suspect.
const MAX_REFUSED: u32 = 5;
/// A healthy server sends a bookmark before it closes a watch. One that stays mute this often may
/// be restored from a backup and wait for a version that lies in its future.
const MAX_QUIET: u32 = 8;
/// A connection that lives shorter is a failure, however politely it ends.
const MIN_LIFE: Duration = Duration::from_secs(1);
/// We do not let a server send us away for longer.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

impl Course {
    pub(super) fn new(options: &WatchOptions) -> Self {
        Self {
            stage: Ask::Stream,
            can_stream: true,
            num_unfinished: 0,
            num_refused: 0,
            num_quiet: 0,
            expired: None,
            resume_max: options.resume_max,
            backoff: Backoff::new(options),
        }
    }

    /// The next request.
    pub(super) fn next(&self) -> Ask {
        self.stage.clone()
    }

    /// A page was read, the last one if `next` is `None`. True when the list is complete.
    pub(super) fn page_read(&mut self, version: &str, next: Option<&str>) -> bool {
        match next {
            Some(token) => self.stage = Ask::Page { after: Some(token.into()) },
            None => self.stage = Ask::Watch { from: version.into() },
        }
        next.is_none()
    }

    /// The bookmark that ends a streamed list was read. True when that completes a list.
    pub(super) fn initial_events_end(&mut self, version: &str) -> bool {
        let completes = self.stage == Ask::Stream;
        self.stage = Ask::Watch { from: version.into() };
        self.num_unfinished = 0;
        completes
    }

    /// An event or a bookmark with this resource version was read. True when the watch has got so
    /// far: the objects of a list have versions too, but none that may be resumed from.
    pub(super) fn advanced(&mut self, version: &str) -> bool {
        match &mut self.stage {
            Ask::Watch { from } if !version.is_empty() => {
                *from = version.into();
                self.num_refused = 0;
                true
            }
            _ => false,
        }
    }

    /// The connection ended. Returns how long to wait before [`Self::next`]; `jitter` is in 0..1.
    pub(super) fn ended(&mut self, end: &End, now: Duration, jitter: f64) -> Duration {
        match end {
            End::Closed { lived, num_lines } => {
                self.after_close(*num_lines);
                let brief = *lived < MIN_LIFE;
                if brief { self.backoff.delay(now, Duration::MAX, jitter) } else { Duration::ZERO }
            }
            End::Overdue => {
                self.num_quiet = 0;
                Duration::ZERO
            }
            End::Relist => {
                self.relist();
                Duration::ZERO
            }
            End::Failed(failure) => {
                if self.refused_streaming(failure) {
                    self.relist();
                    return Duration::ZERO;
                }
                if self.has_expired_anew(failure, now) {
                    self.backoff.forget();
                    self.relist();
                    return Duration::ZERO;
                }
                let max = self.longest_pause(failure);
                self.after_failure(failure);
                let asked = failure.retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
                self.backoff.delay(now, max, jitter).max(asked)
            }
        }
    }

    /// A server that calls our version too old is well, and has had events that we have missed: after
    /// an outage of a minute nobody must wait for another half. Unless it says so of every list.
    fn has_expired_anew(&mut self, failure: &Failure, now: Duration) -> bool {
        if failure.code != Some(410) || !matches!(self.stage, Ask::Watch { .. }) {
            return false;
        }
        let last = self.expired.replace(now);
        last.is_none_or(|last| now.saturating_sub(last) >= self.backoff.reset)
    }

    fn longest_pause(&self, failure: &Failure) -> Duration {
        // A server that starts refuses whom it knows before it has read its roles.
        match self.stage {
            Ask::Watch { .. } if !is_final(failure.code) && failure.code != Some(410) => {
                self.resume_max
            }
            _ => Duration::MAX,
        }
    }

    fn after_close(&mut self, num_lines: u64) {
        match self.stage {
            Ask::Stream => {
                self.num_unfinished += 1;
                self.can_stream &= self.num_unfinished < MAX_UNFINISHED;
                self.relist();
            }
            Ask::Watch { .. } => {
                self.num_quiet = if num_lines == 0 { self.num_quiet + 1 } else { 0 };
                if self.num_quiet >= MAX_QUIET {
                    self.relist();
                }
            }
            Ask::Page { .. } => {}
        }
    }

    fn after_failure(&mut self, failure: &Failure) {
        let expired = match self.stage {
            // A page that fails in another way is asked for again: its token is good for minutes.
            Ask::Page { .. } => failure.code == Some(410) || is_final(failure.code),
            Ask::Watch { .. } if is_final(failure.code) => {
                self.num_refused += 1;
                self.num_refused >= MAX_REFUSED
            }
            Ask::Stream | Ask::Watch { .. } => failure.code == Some(410),
        };
        if expired {
            self.relist();
        }
    }

    fn refused_streaming(&mut self, failure: &Failure) -> bool {
        let refused = self.stage == Ask::Stream && is_final(failure.code);
        self.can_stream &= !refused;
        refused
    }

    fn relist(&mut self) {
        self.num_refused = 0;
        self.num_quiet = 0;
        self.stage = if self.can_stream { Ask::Stream } else { Ask::Page { after: None } };
    }
}

/// True for an answer that says "this request is wrong", not "not now", "not you" or "too old".
fn is_final(code: Option<u16>) -> bool {
    code.is_some_and(|code| {
        (400..500).contains(&code) && !matches!(code, 401 | 403 | 408 | 409 | 410 | 429)
    })
}

/// Exponential back-off with jitter, so that a thousand clients do not return in one wave.
#[derive(Debug)]
struct Backoff {
    min: Duration,
    max: Duration,
    reset: Duration,
    step: u32,
    last_failure: Option<Duration>,
}

impl Backoff {
    fn new(options: &WatchOptions) -> Self {
        Self {
            min: options.backoff_min,
            max: options.backoff_max,
            reset: options.backoff_reset,
            step: 0,
            last_failure: None,
        }
    }

    /// The next failure is the first one again.
    fn forget(&mut self) {
        self.step = 0;
    }

    /// The delay after a failure at `now`, at most `max`: half of it sure, half of it by lot.
    fn delay(&mut self, now: Duration, max: Duration, jitter: f64) -> Duration {
        if self.last_failure.is_some_and(|last| now.saturating_sub(last) >= self.reset) {
            self.step = 0;
        }
        self.last_failure = Some(now);
        let factor = 2_u32.saturating_pow(self.step);
        let full = self.min.saturating_mul(factor).min(self.max).min(max);
        self.step = self.step.saturating_add(1);
        full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests;
