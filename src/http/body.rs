//! Reading a request's body within bounds of size and time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Body;

/// Bounds on a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// Largest body.
    pub max_bytes: usize,
    /// Most that all bodies may take that are being read at one time.
    pub max_total_bytes: usize,
    /// From the end of the header to the end of the body.
    pub timeout: Duration,
}

impl Default for BodyLimits {
    fn default() -> Self {
        let timeout = Duration::from_secs(5);
        Self { max_bytes: 16 << 20, max_total_bytes: 128 << 20, timeout }
    }
}

/// Why there is no body: a status and what to say with it.
pub(super) type NoBody = (StatusCode, &'static str);

const TOO_LARGE: NoBody = (
    StatusCode::PAYLOAD_TOO_LARGE,
    "sigma: the body is too large; is nodeCacheCapable: true set for this extender?",
);
const TOO_SLOW: NoBody = (StatusCode::REQUEST_TIMEOUT, "sigma: the body did not arrive in time");
const CUT: NoBody = (StatusCode::BAD_REQUEST, "sigma: the body broke off");
const BUSY: NoBody = (StatusCode::SERVICE_UNAVAILABLE, "sigma: too many bodies at one time");

/// How long the rest of a body that is too large is read and thrown away.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// The bytes of all bodies that are being read or answered.
#[derive(Debug, Default)]
pub(super) struct Budget(AtomicUsize);

/// A share of the budget, given back when dropped.
pub(super) struct Taken<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Budget {
    pub(super) fn open(&self) -> Taken<'_> {
        Taken { budget: self, bytes: 0 }
    }
}

impl Taken<'_> {
    fn take(&mut self, bytes: usize, max: usize) -> bool {
        self.bytes += bytes;
        self.budget.0.fetch_add(bytes, Ordering::Relaxed) + bytes <= max
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Reads the whole body. It counts what arrives: a `Content-Length` is only a promise.
pub(super) async fn read<B: Body<Data = Bytes> + Unpin>(
    body: B,
    limits: &BodyLimits,
    taken: &mut Taken<'_>,
) -> Result<Bytes, NoBody> {
    let mut body = body;
    let announced_too_large = body.size_hint().lower() > limits.max_bytes as u64;
    let collected = async {
        if announced_too_large { Err(TOO_LARGE) } else { collect(&mut body, limits, taken).await }
    };
    let read = tokio::time::timeout(limits.timeout, collected).await;
    let read = read.unwrap_or(Err(TOO_SLOW));
    if read == Err(TOO_LARGE) {
        // Closing on unread bytes resets the connection, and the client may never see the answer.
        let _ = tokio::time::timeout(DRAIN_TIME, drain(body, limits.max_bytes)).await;
    }
    read
}

/// Reads on for a while without keeping anything.
async fn drain<B: Body<Data = Bytes> + Unpin>(mut body: B, mut most: usize) {
    while let Some(Ok(frame)) = body.frame().await {
        let Some(left) = most.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
        most = left;
    }
}

async fn collect<B: Body<Data = Bytes> + Unpin>(
    body: &mut B,
    limits: &BodyLimits,
    taken: &mut Taken<'_>,
) -> Result<Bytes, NoBody> {
    // A small body comes in one piece, which is then not copied.
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| CUT)?.into_data() else { continue };
        if first.len() + whole.len() + data.len() > limits.max_bytes {
            return Err(TOO_LARGE);
        }
        if !taken.take(data.len(), limits.max_total_bytes) {
            return Err(BUSY);
        }
        if first.is_empty() && whole.is_empty() {
            first = data;
            continue;
        }
        if whole.is_empty() {
            let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0);
            whole.reserve(first.len() + data.len() + expected.min(limits.max_bytes));
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}
