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
    /// How long the server is asked to keep a streamed list open.
    pub stream_timeout: Duration,
    /// Back-off after the first failure.
    pub backoff_min: Duration,
    /// Longest back-off.
    pub backoff_max: Duration,
    /// Time without failure after which the back-off starts anew.
    pub backoff_reset: Duration,
    /// How often an optional kind that we may not list is asked for again.
    pub forbidden_pause: Duration,
    /// A watch that goes on is caught up when the server has paused for so long after a line.
    pub caught_up_pause: Duration,
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
            stream_timeout: Duration::from_secs(300),
            backoff_min: Duration::from_millis(800),
            backoff_max: Duration::from_secs(30),
            backoff_reset: Duration::from_secs(120),
            forbidden_pause: Duration::from_secs(60),
            caught_up_pause: Duration::from_millis(100),
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
    /// As agreed: the server's time was up, or ours.
    Closed { lived: Duration, num_lines: u64 },
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
                if *lived >= MIN_LIFE { Duration::ZERO } else { self.backoff.delay(now, jitter) }
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
                self.after_failure(failure);
                let asked = failure.retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
                self.backoff.delay(now, jitter).max(asked)
            }
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

    /// The delay after a failure at `now`: half of it sure, half of it by lot.
    fn delay(&mut self, now: Duration, jitter: f64) -> Duration {
        if self.last_failure.is_some_and(|last| now.saturating_sub(last) >= self.reset) {
            self.step = 0;
        }
        self.last_failure = Some(now);
        let factor = 2_u32.saturating_pow(self.step);
        let full = self.min.saturating_mul(factor).min(self.max);
        self.step = self.step.saturating_add(1);
        full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(45);

    fn failed(code: impl Into<Option<u16>>) -> End {
        End::Failed(Failure { code: code.into(), retry_after: None, text: String::new() })
    }

    fn closed(num_lines: u64) -> End {
        End::Closed { lived: LONG, num_lines }
    }

    fn page(after: Option<&str>) -> Ask {
        Ask::Page { after: after.map(Into::into) }
    }

    fn watch(from: &str) -> Ask {
        Ask::Watch { from: from.into() }
    }

    fn course() -> Course {
        Course::new(&WatchOptions::default())
    }

    /// A course whose server does not stream lists.
    fn paging() -> Course {
        let mut course = course();
        assert_eq!(course.ended(&failed(422), Duration::ZERO, 1.0), Duration::ZERO);
        course
    }

    fn end(course: &mut Course, end: &End) -> Duration {
        course.ended(end, Duration::ZERO, 1.0)
    }

    #[test]
    fn a_streamed_list_becomes_a_watch_and_resumes() {
        let mut it = course();
        assert_eq!(it.next(), Ask::Stream);
        it.advanced("999");
        assert_eq!(it.next(), Ask::Stream, "objects of a streamed list come in no order");
        assert!(it.initial_events_end("10"));
        assert!(!it.initial_events_end("11"), "a list is complete once");
        it.advanced("12");
        it.advanced("");
        assert_eq!(end(&mut it, &closed(2)), Duration::ZERO);
        assert_eq!(it.next(), watch("12"));
        assert!(end(&mut it, &failed(None)) > Duration::ZERO);
        assert_eq!(it.next(), watch("12"));
    }

    #[test]
    fn a_refused_stream_is_never_asked_for_again() {
        for code in [400, 404, 405, 422] {
            let mut it = course();
            assert_eq!(end(&mut it, &failed(code)), Duration::ZERO);
            assert_eq!(it.next(), page(None));
            assert!(it.page_read("5", None));
            end(&mut it, &failed(410));
            assert_eq!(it.next(), page(None));
        }
        for code in [401, 403, 408, 410, 429, 500, 503] {
            let mut it = course();
            assert!(end(&mut it, &failed(code)) > Duration::ZERO);
            assert_eq!(it.next(), Ask::Stream, "{code}");
        }
        let mut it = course();
        for _ in 0..MAX_UNFINISHED {
            assert_eq!(it.next(), Ask::Stream);
            end(&mut it, &closed(7));
        }
        assert_eq!(it.next(), page(None));
    }

    #[test]
    fn pages_are_followed_retried_and_restarted() {
        let mut it = paging();
        assert!(!it.page_read("5", Some("t1")));
        assert_eq!(it.next(), page(Some("t1")));
        end(&mut it, &failed(503));
        assert_eq!(it.next(), page(Some("t1")));
        end(&mut it, &failed(410));
        assert_eq!(it.next(), page(None), "an expired token restarts the list");
        it.page_read("5", Some("garbled"));
        end(&mut it, &failed(400));
        assert_eq!(it.next(), page(None), "so does one that is refused");
        assert!(!it.page_read("6", Some("t2")));
        assert!(it.page_read("6", None));
        assert_eq!(it.next(), watch("6"));
    }

    #[test]
    fn an_expired_watch_relists() {
        let mut it = course();
        it.initial_events_end("10");
        assert!(end(&mut it, &failed(410)) > Duration::ZERO);
        assert_eq!(it.next(), Ask::Stream);
    }

    #[test]
    fn a_suspect_version_relists_but_an_unreachable_server_does_not() {
        let refuse = |code: Option<u16>| {
            let mut it = paging();
            it.page_read("10", None);
            for _ in 0..20 {
                end(&mut it, &failed(code));
            }
            it.next()
        };
        assert_eq!(refuse(Some(400)), page(None));
        assert_eq!(refuse(None), watch("10"));
        assert_eq!(refuse(Some(503)), watch("10"));
        assert_eq!(refuse(Some(403)), watch("10"));
        let mut it = paging();
        it.page_read("10", None);
        for at in 1..=MAX_QUIET {
            assert_eq!(it.next(), watch("10"), "quiet {at}");
            end(&mut it, &closed(0));
        }
        assert_eq!(it.next(), page(None));
    }

    #[test]
    fn back_off_doubles_is_jittered_and_resets_after_health() {
        let mut it = paging();
        let delays: Vec<_> = (0..8).map(|_| end(&mut it, &failed(None)).as_millis()).collect();
        assert_eq!(delays, [800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        let ms = |it: &mut Course, at, jitter| {
            it.ended(&failed(None), Duration::from_secs(at), jitter).as_millis()
        };
        assert_eq!(ms(&mut it, 119, 0.0), 15_000);
        assert_eq!(ms(&mut it, 239, 0.5), 600, "two minutes of health");
        assert_eq!(ms(&mut it, 240, f64::NAN.max(7.0)), 1600, "jitter is clamped");
    }

    #[test]
    fn retry_after_is_respected_within_reason() {
        let wait = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            let failure = Failure { code: Some(429), retry_after, text: String::new() };
            end(&mut paging(), &End::Failed(failure))
        };
        assert_eq!(wait(0), Duration::from_millis(800));
        assert_eq!(wait(7), Duration::from_secs(7));
        assert_eq!(wait(86_400), MAX_RETRY_AFTER);
    }

    #[test]
    fn a_server_that_closes_at_once_is_not_hammered() {
        let mut it = course();
        it.initial_events_end("10");
        let brief = End::Closed { lived: Duration::from_millis(3), num_lines: 1 };
        assert_eq!(end(&mut it, &brief), Duration::from_millis(800));
        assert_eq!(end(&mut it, &brief), Duration::from_millis(1600));
    }
}
