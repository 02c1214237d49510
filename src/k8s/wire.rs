//! Raw HTTP to the API server: requests, bounded bodies, lines of a watch, errors as text.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, header};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::value::RawValue;

use super::list_watch::{ListWatchRequest, WatchFailure, WatchOptions};
use super::plain;

/// One event of a watch, its object still unread.
#[derive(Debug, serde::Deserialize)]
pub(super) struct RawEvent<'a> {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    #[serde(rename = "type", borrow)]
    pub kind: std::borrow::Cow<'a, str>,
    /// The object, or a `Status`.
    #[serde(borrow)]
    pub object: &'a RawValue,
}

/// The object of an event that adds or modifies, in a line as Go writes it: what follows the object is
/// still to be looked at. Any other line is for [`RawEvent`].
pub(super) fn added_or_modified(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"{\"type\":\"")?;
    let rest = rest.strip_prefix(b"MODIFIED").or_else(|| rest.strip_prefix(b"ADDED"))?;
    rest.strip_prefix(b"\",\"object\":")
}

/// Metadata of a list.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RawPageMeta {
    /// The version of the whole list.
    pub resource_version: Option<String>,
    /// The token of the next page.
    pub r#continue: Option<String>,
}

/// The API server's `Status`, as far as we use it.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct RawStatus {
    /// For people.
    pub message: Option<String>,
    /// A word such as `Expired`.
    pub reason: Option<String>,
    /// As the HTTP status.
    pub code: Option<u16>,
    /// More of it.
    pub details: Option<RawDetails>,
}

/// What a `Status` says besides.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RawDetails {
    retry_after_seconds: Option<u64>,
    causes: Option<Vec<RawCause>>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct RawCause {
    reason: Option<String>,
}

impl RawStatus {
    /// How long we are asked to wait. No time mends a version that is too large: the server's store was
    /// restored.
    fn retry_after(&self) -> Option<Duration> {
        let details = self.details.as_ref()?;
        details.retry_after_seconds.filter(|_| !self.is_too_large()).map(Duration::from_secs)
    }

    fn is_too_large(&self) -> bool {
        let mut causes = self.details.iter().flat_map(|it| it.causes.iter().flatten());
        causes.any(|it| it.reason.as_deref() == Some("ResourceVersionTooLarge"))
    }

    /// The code of an ERROR event. A server that does not say is broken, not refusing.
    fn code_of_event(&self) -> u16 {
        match (self.code, self.reason.as_deref()) {
            (Some(code), _) if code != 0 => code,
            (_, Some("Expired" | "Gone")) => 410,
            (_, Some("TooManyRequests")) => 429,
            (_, Some("Unauthorized")) => 401,
            (_, Some("Forbidden")) => 403,
            _ => 500,
        }
    }
}

/// Longest error body that is read.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// The request for what a watch does next. `resource` is the path of the kind.
pub(super) fn request(
    resource: &str,
    ask: &ListWatchRequest,
    options: &WatchOptions,
) -> Request<Body> {
    let uri = match ask {
        ListWatchRequest::Page { after: None } => {
            format!("{resource}?limit={}", options.page_limit)
        }
        ListWatchRequest::Page { after: Some(token) } => {
            let token = percent_encoded(token);
            format!("{resource}?limit={}&continue={token}", options.page_limit)
        }
        ListWatchRequest::Stream => {
            let seconds = options.stream_timeout.as_secs().max(1);
            format!(
                "{resource}?watch=true&allowWatchBookmarks=true&sendInitialEvents=true\
                 &resourceVersionMatch=NotOlderThan&timeoutSeconds={seconds}"
            )
        }
        ListWatchRequest::Watch { from } => {
            let (from, seconds) = (percent_encoded(from), options.watch_timeout.as_secs().max(1));
            format!(
                "{resource}?watch=true&allowWatchBookmarks=true&resourceVersion={from}\
                 &timeoutSeconds={seconds}"
            )
        }
    };
    build(Method::GET, &uri, "application/json", Bytes::new())
}

/// A request with a path that we have made ourselves.
pub(super) fn build(method: Method, uri: &str, content_type: &str, body: Bytes) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(uri)
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, content_type)
        .body(Body::from(body))
        .expect("paths are percent-encoded and header values are constants")
}

/// Sends a request; any answer other than 2xx is a failure that names `what` was tried.
pub(super) async fn send(
    client: &Client,
    request: Request<Body>,
    what: &str,
) -> Result<Response<Body>, WatchFailure> {
    let response = client.send(request).await.map_err(|error| unanswered(what, &error))?;
    if response.status().is_success() {
        return Ok(response);
    }
    let code = response.status().as_u16();
    let header = response.headers().get(header::RETRY_AFTER).map(|value| {
        // A date is as good as a second: we have our own patience.
        let seconds = value.to_str().ok().and_then(|it| it.trim().parse().ok());
        Duration::from_secs(seconds.unwrap_or(1))
    });
    // The status line alone is enough to go on; a body that cannot be read only costs the message.
    let body = collect(response.into_body(), MAX_ERROR_BYTES).await.unwrap_or_default();
    let status: RawStatus = serde_json::from_slice(&body).unwrap_or_default();
    let retry_after = header.filter(|_| !status.is_too_large());
    Err(WatchFailure { code: Some(code), retry_after, text: text_of(what, code, &status) })
}

/// The failure that an ERROR event of a watch is.
pub(super) fn error_event(what: &str, object: &RawValue) -> WatchFailure {
    let status: RawStatus = serde_json::from_str(object.get()).unwrap_or_default();
    let code = status.code_of_event();
    let text = text_of(what, code, &status);
    WatchFailure { code: Some(code), retry_after: status.retry_after(), text }
}

/// A failure before there was an answer.
pub(super) fn unanswered(what: &str, error: &kube::Error) -> WatchFailure {
    let text = format!("cannot {what}: {}", plain::of_error(error));
    WatchFailure { code: None, retry_after: None, text }
}

/// The text of a refusal; says what is missing when it is a right.
pub(super) fn text_of(what: &str, code: u16, status: &RawStatus) -> String {
    let message = status.message.as_deref().or(status.reason.as_deref()).unwrap_or("no message");
    let message = plain::of_text(message);
    match code {
        401 => format!("unauthorized: cannot {what}: {message}"),
        403 => format!("forbidden: cannot {what}: {message}"),
        _ => format!("cannot {what}: {code}: {message}"),
    }
}

/// Reads a whole body of at most `max` bytes.
pub(super) async fn collect(mut body: Body, max: usize) -> Result<Bytes, String> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| plain::of_error(&error))?;
        if let Some(data) = frame.data_ref() {
            if whole.len() + data.len() > max {
                return Err(format!("the answer exceeds {max} bytes"));
            }
            whole.extend_from_slice(data);
        }
    }
    Ok(whole.freeze())
}

/// A part of a path or a query, safe to paste into one.
pub(super) fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A line of a watch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its newline.
    Text(Bytes),
    /// Longer than allowed; its content was thrown away as it came.
    TooLong,
}

/// Splits a body into lines without ever holding more than one of them.
#[derive(Debug)]
pub(super) struct Lines {
    body: Body,
    buffer: BytesMut,
    num_searched: usize,
    skipping: bool,
    max: usize,
}

impl Lines {
    pub(super) fn new(body: Body, max: usize) -> Self {
        Self { body, buffer: BytesMut::new(), num_searched: 0, skipping: false, max }
    }

    /// The next whole line; `None` at the end. What follows the last newline is half an event: it
    /// is dropped, and the server sends it again to whoever resumes.
    pub(super) async fn next(&mut self) -> Result<Option<Line>, String> {
        loop {
            if let Some(line) = self.take_line() {
                return Ok(Some(line));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(plain::of_error(&error)),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
            }
        }
    }

    fn take_line(&mut self) -> Option<Line> {
        let Some(at) = memchr::memchr(b'\n', &self.buffer[self.num_searched..]) else {
            self.num_searched = self.buffer.len();
            if self.num_searched > self.max {
                self.skipping = true;
            }
            if self.skipping {
                self.buffer.clear();
                self.num_searched = 0;
            }
            return None;
        };
        let mut line = self.buffer.split_to(self.num_searched + at + 1);
        self.num_searched = 0;
        line.truncate(line.len() - 1);
        if std::mem::take(&mut self.skipping) || line.len() > self.max {
            return Some(Line::TooLong);
        }
        Some(Line::Text(line.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(chunks: &[&str], max: usize) -> Vec<Line> {
        let mut lines = Lines::new(Body::empty(), max);
        let mut taken = Vec::new();
        for chunk in chunks {
            lines.buffer.extend_from_slice(chunk.as_bytes());
            while let Some(line) = lines.take_line() {
                taken.push(line);
            }
        }
        taken
    }

    #[test]
    fn lines_are_cut_wherever_the_chunks_are() {
        let whole = "one\n\ntwo two\nhalf";
        let want = ["one", "", "two two"].map(|text| Line::Text(text.into()));
        assert_eq!(take_all(&[whole], 100), want);
        for at in 0..=whole.len() {
            let (head, tail) = whole.split_at(at);
            assert_eq!(take_all(&[head, tail], 100), want, "cut at {at}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_alone() {
        let want = [Line::Text("ok".into()), Line::TooLong, Line::Text("fine".into())];
        assert_eq!(take_all(&["ok\n123456789\nfine\n"], 4), want);
        assert_eq!(take_all(&["ok\n1234", "567", "89\nfi", "ne\n"], 4), want);
    }

    #[test]
    fn requests_carry_what_the_server_needs() {
        let uri = |ask: &ListWatchRequest| {
            request("/api/v1/pods", ask, &WatchOptions::default()).uri().to_string()
        };
        assert_eq!(uri(&ListWatchRequest::Page { after: None }), "/api/v1/pods?limit=500");
        let second = ListWatchRequest::Page { after: Some("a+b=".into()) };
        assert_eq!(uri(&second), "/api/v1/pods?limit=500&continue=a%2Bb%3D");
        let watch = uri(&ListWatchRequest::Watch { from: "7 7".into() });
        assert!(watch.contains("resourceVersion=7%207&timeoutSeconds=45"), "{watch}");
        let stream = uri(&ListWatchRequest::Stream);
        assert!(stream.contains("sendInitialEvents=true&resourceVersionMatch=NotOlderThan"));
    }
}
