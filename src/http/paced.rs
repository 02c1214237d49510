//! A connection that knows where its requests stand, and is ended when one takes too long.
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
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Where a connection's requests stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Header,
    /// So many have a complete header and no answer.
    Busy(usize),
}

/// The phase of one connection, and when it began.
#[derive(Debug)]
pub(super) struct Pace(Mutex<(Phase, Instant)>);

impl Pace {
    pub(super) fn new() -> Self {
        Self(Mutex::new((Phase::Idle, Instant::now())))
    }

    /// A header is complete.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        let mut state = self.state();
        let first_byte = match *state {
            (Phase::Header, since) => since,
            // The bytes of a pipelined request came along with those of the one before, and those of
            // a stream have just been read.
            _ => Instant::now(),
        };
        let others = if let Phase::Busy(others) = state.0 { others } else { 0 };
        *state = (Phase::Busy(others + 1), first_byte);
        UnderWay { pace: self.clone(), first_byte }
    }

    fn bytes_came(&self) {
        let mut state = self.state();
        if state.0 == Phase::Idle {
            *state = (Phase::Header, Instant::now());
        }
    }

    fn state(&self) -> MutexGuard<'_, (Phase, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way: until it is answered, or nobody waits for the answer any more.
pub(super) struct UnderWay {
    pace: Arc<Pace>,
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
        state.0 = match state.0 {
            Phase::Busy(others @ 2..) => Phase::Busy(others - 1),
            _ => Phase::Idle,
        };
        state.1 = Instant::now();
    }
}

/// How long each phase may last; a busy one is bounded by whoever is busy.
#[derive(Clone, Copy, Debug)]
pub(super) struct PaceLimits {
    pub header: Duration,
    pub idle: Duration,
}

/// Polls a connection, and ends it when a phase lasts too long.
pub(super) struct Watchdog {
    pace: Arc<Pace>,
    limits: PaceLimits,
    timer: Pin<Box<Sleep>>,
}

impl Watchdog {
    pub(super) fn new(pace: Arc<Pace>, limits: PaceLimits) -> Self {
        let timer = Box::pin(sleep_until(Instant::now() + limits.idle));
        Self { pace, limits, timer }
    }

    /// The connection's end, or the name of the phase that lasted too long.
    pub(super) async fn watch<F: Future>(
        &mut self,
        mut connection: Pin<&mut F>,
    ) -> Result<F::Output, &'static str> {
        // A phase changes only while the connection is polled, so looking after each poll is enough.
        // The stream itself could not do this: hyper may wait for a request without reading again.
        poll_fn(|cx| match connection.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Ok(ended)),
            Poll::Pending => self.poll_overdue(cx).map(Err),
        })
        .await
    }

    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<&'static str> {
        let (phase, since) = *self.pace.state();
        let (deadline, why) = match phase {
            Phase::Idle => (since + self.limits.idle, "idle"),
            Phase::Header => (since + self.limits.header, "slow_header"),
            Phase::Busy(_) => return Poll::Pending,
        };
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(cx).map(|()| why)
    }
}

/// A stream that tells its pace when bytes come.
pub(super) struct Paced<S> {
    stream: S,
    pace: Arc<Pace>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, pace: Arc<Pace>) -> Self {
        Self { stream, pace }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
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
