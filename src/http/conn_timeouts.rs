//! A connection that knows where its requests stand, and since when: it is ended when one takes too
//! long, or when it is dispensable and others have no place.
//!
//! ```text
//!          first byte           header complete
//!   idle ──────────────▶ header ────────────────▶ busy
//!     ▲                                             │ all answered
//!     └─────────────────────────────────────────────┘
//! ```
//!
//! hyper's own header timeout runs while a kept-alive connection is idle, so it would either cut
//! kube-scheduler's connections or let a header take two minutes. HTTP/2 has no `header` here: whoever
//! sends half a frame cannot answer hyper's PING, and is ended for that.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Where a connection's requests stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnPhase {
    Idle,
    Header,
    /// So many have a complete header and no answer.
    Busy(usize),
}

/// How one connection stands. It wakes its connection's task, and remembers when: what came while
/// others were being answered has waited since then, though it is read only now.
#[derive(Debug)]
pub(super) struct ConnState {
    state: Mutex<ConnPhaseState>,
    task: AtomicWaker,
}

#[derive(Debug)]
struct ConnPhaseState {
    phase: ConnPhase,
    /// When the phase began.
    since: Instant,
    /// Whether a request was ever answered.
    known: bool,
    /// When the task was woken, until it has its turn.
    woken: Option<Instant>,
    /// When it was woken for the turn that it has.
    turn: Instant,
}

/// How dispensable a connection is; of two, the smaller one is more so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnIdleness {
    known: bool,
    quiet_since: Instant,
}

impl ConnState {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let state = ConnPhaseState {
            phase: ConnPhase::Idle,
            since: now,
            known: false,
            woken: None,
            turn: now,
        };
        Self { state: Mutex::new(state), task: AtomicWaker::new() }
    }

    /// A header is complete.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        let mut state = self.state();
        let first_byte = match state.phase {
            ConnPhase::Header => state.since,
            // The bytes of a pipelined request came along with those of the one before, and those of
            // a stream in this turn.
            _ => state.turn,
        };
        let others = if let ConnPhase::Busy(others) = state.phase { others } else { 0 };
        (state.phase, state.since) = (ConnPhase::Busy(others + 1), first_byte);
        UnderWay { pace: self.clone(), first_byte }
    }

    /// How dispensable the connection is; `None`: not at all, a request is under way.
    pub(super) fn standing(&self) -> Option<ConnIdleness> {
        let state = self.state();
        let standing = ConnIdleness { known: state.known, quiet_since: state.since };
        (!matches!(state.phase, ConnPhase::Busy(_))).then_some(standing)
    }

    fn begin_turn(&self) {
        let mut state = self.state();
        state.turn = state.woken.take().unwrap_or_else(Instant::now);
    }

    fn bytes_came(&self) {
        let mut state = self.state();
        if state.phase == ConnPhase::Idle {
            (state.phase, state.since) = (ConnPhase::Header, state.turn);
        }
    }

    fn state(&self) -> MutexGuard<'_, ConnPhaseState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for ConnState {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.state().woken.get_or_insert_with(Instant::now);
        self.task.wake();
    }
}

/// A request under way: until it is answered, or nobody waits for the answer any more.
pub(super) struct UnderWay {
    pace: Arc<ConnState>,
    first_byte: Instant,
}

impl UnderWay {
    /// The moment of the request's first byte.
    pub(super) fn first_byte(&self) -> std::time::Instant {
        self.first_byte.into_std()
    }
}

impl Drop for UnderWay {
    /// After the last one the idle time begins, in which the answer must be taken, too.
    fn drop(&mut self) {
        let mut state = self.pace.state();
        state.phase = match state.phase {
            ConnPhase::Busy(others @ 2..) => ConnPhase::Busy(others - 1),
            _ => ConnPhase::Idle,
        };
        (state.since, state.known) = (Instant::now(), true);
    }
}

/// How long each phase may last; a busy one is bounded by whoever is busy.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnTimeouts {
    pub header: Duration,
    pub idle: Duration,
}

/// Polls a connection, and ends it when a phase lasts too long.
pub(super) struct Watchdog {
    pace: Arc<ConnState>,
    waker: Waker,
    limits: ConnTimeouts,
    timer: Pin<Box<Sleep>>,
}

impl Watchdog {
    pub(super) fn new(pace: Arc<ConnState>, limits: ConnTimeouts) -> Self {
        let timer = Box::pin(sleep_until(Instant::now() + limits.idle));
        Self { waker: Waker::from(pace.clone()), pace, limits, timer }
    }

    /// The connection's end, or the name of the phase that lasted too long.
    pub(super) async fn watch<F: Future>(
        &mut self,
        mut connection: Pin<&mut F>,
    ) -> Result<F::Output, &'static str> {
        // A phase changes only while the connection is polled, so looking after each poll is enough.
        // The stream itself could not do this: hyper may wait for a request without reading again.
        poll_fn(|cx| {
            self.pace.task.register(cx.waker());
            self.pace.begin_turn();
            match connection.as_mut().poll(&mut Context::from_waker(&self.waker)) {
                Poll::Ready(ended) => Poll::Ready(Ok(ended)),
                Poll::Pending => self.poll_overdue().map(Err),
            }
        })
        .await
    }

    fn poll_overdue(&mut self) -> Poll<&'static str> {
        let (phase, since) = {
            let state = self.pace.state();
            (state.phase, state.since)
        };
        let (deadline, why) = match phase {
            ConnPhase::Idle => (since + self.limits.idle, "idle"),
            ConnPhase::Header => (since + self.limits.header, "slow_header"),
            ConnPhase::Busy(_) => return Poll::Pending,
        };
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(&mut Context::from_waker(&self.waker)).map(|()| why)
    }
}

/// A stream that tells its pace when bytes come.
pub(super) struct TimedStream<S> {
    stream: S,
    pace: Arc<ConnState>,
}

impl<S> TimedStream<S> {
    pub(super) fn new(stream: S, pace: Arc<ConnState>) -> Self {
        Self { stream, pace }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.pace.bytes_came();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::thread::sleep;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn what_waits_for_its_turn_grows_old() {
        let pace = Arc::new(ConnState::new());
        let limits = ConnTimeouts { header: MS, idle: 9999 * MS };
        let mut watchdog = Watchdog::new(pace.clone(), limits);
        let (wake, mut woken) = tokio::sync::oneshot::channel();
        let mut ages = Vec::new();
        let connection = poll_fn(|cx| {
            let polled = Pin::new(&mut woken).poll(cx);
            if polled.is_ready() {
                pace.bytes_came();
                let first = pace.begin();
                // Another one of the same turn: pipelined, or a stream.
                let second = pace.begin();
                ages.extend([&first, &second].map(|it| it.first_byte.elapsed()));
            }
            polled
        });
        let mut connection = Box::pin(connection);
        let mut watch = Box::pin(watchdog.watch(connection.as_mut()));
        assert!(futures_util::poll!(watch.as_mut()).is_pending());
        sleep(40 * MS);
        let before = Instant::now();
        assert_eq!(wake.send(()), Ok(()));
        // Somebody else is being answered.
        sleep(30 * MS);
        assert_eq!(watch.await, Ok(Ok(())));
        let most = before.elapsed();
        assert!(ages.len() == 2 && ages.iter().all(|it| (30 * MS..=most).contains(it)), "{ages:?}");
    }

    #[tokio::test]
    async fn who_was_never_answered_is_most_dispensable_and_who_is_busy_is_not() {
        let (busy, old) = (Arc::new(ConnState::new()), Arc::new(ConnState::new()));
        drop(old.begin());
        sleep(MS);
        let (stranger, fresh) = (Arc::new(ConnState::new()), Arc::new(ConnState::new()));
        drop(fresh.begin());
        stranger.bytes_came();
        let (first, second) = (busy.begin(), busy.begin());
        assert!(stranger.standing() < old.standing() && old.standing() < fresh.standing());
        drop(first);
        assert_eq!(busy.standing(), None);
        sleep(MS);
        drop(second);
        assert!(busy.standing() > fresh.standing());
        let mut watchdog = Watchdog::new(busy, ConnTimeouts { header: MS, idle: MS });
        assert_eq!(watchdog.watch(Box::pin(pending::<()>()).as_mut()).await, Err("idle"));
    }
}
