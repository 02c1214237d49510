//! A list/watch server on loopback. Its cluster is arithmetic ([`ObjectSource`]): pages and events are
//! written when they are asked for, so that half a million pods cost it neither memory nor much time.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use futures_util::stream::{self, Stream, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

use sigma::k8s::kinds::kinds;
use sigma::model::Kind;
use sigma::sim::{Event, Fleet};

/// Objects that are written, and sent, at once.
const CHUNK: usize = 16;
/// Room for one of them, at first.
const OBJECT_BYTES: usize = 9 << 10;
/// Most events that a watch sends at once.
const MAX_EVENTS: u64 = 1000;
/// A page's metadata come in its first bytes.
const HEAD_BYTES: usize = 400;
/// How far an encoder that was late may catch up: timers are coarse beside its chunks.
const CATCH_UP: Duration = Duration::from_millis(20);
/// Time of a watch that does not ask for one.
const WATCH_SECONDS: u64 = 300;

/// The server; ends when dropped.
pub(super) struct ApiServer {
    pub(super) addr: SocketAddr,
    shared: Arc<ServerState>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What is listed and watched. Versions are [`Fleet`]'s: the first event leads to the one after
/// [`Fleet::version`] of none.
pub(super) trait ObjectSource: Send + Sync + 'static {
    /// A version, not after `version`, at which a list can be taken.
    fn list_version(&self, version: u64) -> u64;
    /// The numbers of the objects that a list of this version has.
    fn numbers(&self, kind: Kind, list_version: u64) -> Range<u64>;
    /// Appends an object's JSON as a list has it.
    fn write_listed(&self, out: &mut Vec<u8>, kind: Kind, number: u64);
    /// Appends the event that leads to `version`, if it is one of this kind, by [`write_line`].
    fn write_event(&self, out: &mut Vec<u8>, kind: Kind, version: u64);
}

impl ObjectSource for Fleet {
    fn list_version(&self, version: u64) -> u64 {
        Self::list_version(version)
    }

    fn numbers(&self, kind: Kind, list_version: u64) -> Range<u64> {
        self.numbers(kind, list_version)
    }

    fn write_listed(&self, out: &mut Vec<u8>, kind: Kind, number: u64) {
        self.write_listed(out, kind, number);
    }

    fn write_event(&self, out: &mut Vec<u8>, kind: Kind, version: u64) {
        match (self.event(version), kind) {
            (Event::Pod(change, pod), Kind::PODS) => {
                write_line(out, change, |out| self.write_pod(out, &pod));
            }
            (Event::Node(node), Kind::NODES) => {
                write_line(out, "MODIFIED", |out| self.write_node(out, node, version));
            }
            _ => {}
        }
    }
}

struct ServerState {
    source: Box<dyn ObjectSource>,
    /// Lists are streamed when asked for, as by default since Kubernetes 1.34; else that is refused.
    streams_lists: bool,
    num_listed: AtomicU64,
    /// Bytes of lists that are encoded in a second, if that is to take time, and when that is done.
    encodes: Option<u64>,
    encoded: Mutex<Instant>,
    pace: watch::Sender<ChangeRate>,
    /// The last event of a pod that is not the source's.
    probe: watch::Sender<Bytes>,
}

/// When events happen.
#[derive(Clone, Copy, Debug)]
struct ChangeRate {
    since: Instant,
    per_second: u64,
}

impl ApiServer {
    /// Starts a server with a thread of its own.
    pub(super) fn start(
        source: impl ObjectSource,
        streams_lists: bool,
        encodes: Option<u64>,
    ) -> anyhow::Result<Self> {
        let shared = Arc::new(ServerState {
            source: Box::new(source),
            streams_lists,
            num_listed: AtomicU64::new(0),
            encodes,
            encoded: Mutex::new(Instant::now()),
            pace: watch::Sender::new(ChangeRate { since: Instant::now(), per_second: 0 }),
            probe: watch::Sender::new(Bytes::new()),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
        listener.set_nonblocking(true).context("cannot listen")?;
        let addr = listener.local_addr().context("cannot listen")?;
        let router = Router::new().route("/api/v1/{resource}", get(answer));
        let router = router.with_state(shared.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start a runtime")?;
        let serve = async move {
            let listener = TcpListener::from_std(listener)?;
            // Events that wait for each other's acknowledgement would be late through no fault of
            // who reads them.
            let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
            tokio::select! {
                served = axum::serve(listener, router) => served,
                _ = stopped => Ok(()),
            }
        };
        let thread = std::thread::spawn(move || {
            if let Err(error) = runtime.block_on(serve) {
                tracing::error!(%error, "the list/watch server ended");
            }
        });
        Ok(Self { addr, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// From now on so many events happen a second.
    pub(super) fn set_pace(&self, per_second: u64) {
        self.shared.pace.send_replace(ChangeRate { since: Instant::now(), per_second });
    }

    /// Modifies a pod that is not the source's, as one more event: the pod as it is at a version.
    pub(super) fn set_probe(&self, write: impl FnOnce(&mut Vec<u8>, u64)) {
        let (mut line, version) = (Vec::new(), self.shared.version());
        write_line(&mut line, "MODIFIED", |out| write(out, version));
        self.shared.probe.send_replace(line.into());
    }

    /// Objects listed so far, to anyone.
    pub(super) fn num_listed(&self) -> u64 {
        self.shared.num_listed.load(Ordering::Relaxed)
    }

    /// How long it takes to send all lists, in pages of 500 as sigma asks for them, to somebody who
    /// throws everything away; and how many bytes they are.
    pub(super) fn time_to_send(&self) -> anyhow::Result<(Duration, u64)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let started = std::time::Instant::now();
        let sent = runtime.block_on(read_all(self.addr)).context("cannot read the lists")?;
        Ok((started.elapsed(), sent))
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic in there was printed; one more while dropping would abort.
            let _ = thread.join();
        }
    }
}

/// Reads all lists, as fast as they come.
async fn read_all(addr: SocketAddr) -> anyhow::Result<u64> {
    let stream = TcpStream::connect(addr).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut num_bytes = 0;
    for kind in Kind::REQUIRED {
        let mut token = Some(String::new());
        while let Some(after) = token.take() {
            let uri = format!("/api/v1/{}?limit=500&continue={after}", kind.resource);
            let request = hyper::Request::get(uri).header("host", "bench");
            let mut body = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
            let mut head = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame?;
                let data = frame.data_ref().map_or(&[][..], |data| data);
                num_bytes += data.len() as u64;
                if head.len() < HEAD_BYTES {
                    head.extend_from_slice(&data[..data.len().min(HEAD_BYTES)]);
                }
            }
            let head = String::from_utf8_lossy(&head);
            let next =
                head.split_once("\"continue\":\"").and_then(|(_, rest)| rest.split_once('"'));
            token = next.map(|(token, _)| token.to_owned()).filter(|token| !token.is_empty());
        }
    }
    Ok(num_bytes)
}

async fn answer(
    State(shared): State<Arc<ServerState>>,
    Path(resource): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let kind = kinds().find(|kind| kind.resource == resource);
    let Some(kind) = kind else { return StatusCode::NOT_FOUND.into_response() };
    if !query.contains_key("watch") {
        return page(shared, kind, &query);
    }
    let seconds = query.get("timeoutSeconds").and_then(|it| it.parse().ok());
    let ends = Instant::now() + Duration::from_secs(seconds.unwrap_or(WATCH_SECONDS));
    if !query.contains_key("sendInitialEvents") {
        let seen = query.get("resourceVersion").and_then(|it| it.parse().ok());
        let seen = seen.unwrap_or_else(|| shared.version());
        return body(events(shared, kind, seen, ends));
    }
    if !shared.streams_lists {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    }
    let version = shared.source.list_version(shared.version());
    let numbers = shared.source.numbers(kind, version);
    let listed = objects(shared.clone(), kind, numbers, ("{\"type\":\"ADDED\",\"object\":", "}\n"));
    let end =
        stream::iter([bookmark(version, r#","annotations":{"k8s.io/initial-events-end":"true"}"#)]);
    body(listed.chain(end).chain(events(shared, kind, version, ends)))
}

fn body(chunks: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    Response::new(Body::from_stream(chunks.map(Ok::<_, Infallible>)))
}

/// A page of a list. The token is the version of the list and the number of the next object.
fn page(shared: Arc<ServerState>, kind: Kind, query: &HashMap<String, String>) -> Response {
    let token = query.get("continue").and_then(|token| {
        let (version, next) = token.split_once('.')?;
        Some((version.parse().ok()?, next.parse().ok()?))
    });
    let newest = || (shared.source.list_version(shared.version()), 0_u64);
    let (version, next) = token.unwrap_or_else(newest);
    let all = shared.source.numbers(kind, version);
    let start = next.max(all.start);
    let limit = query.get("limit").and_then(|it| it.parse().ok()).unwrap_or(u64::MAX);
    let end = all.end.min(start.saturating_add(limit));
    let (token, remaining) = match all.end - end {
        0 => (String::new(), String::new()),
        left => (format!("{version}.{end}"), format!(",\"remainingItemCount\":{left}")),
    };
    let head = format!(
        "{{\"kind\":\"List\",\"apiVersion\":\"v1\",\"metadata\":{{\"resourceVersion\":\"{version}\",\
         \"continue\":\"{token}\"{remaining}}},\"items\":["
    );
    let last = end.saturating_sub(1);
    let items = objects(shared.clone(), kind, start..last, ("", ","));
    let items = items.chain(objects(shared, kind, last.max(start)..end, ("", "")));
    let tail = stream::iter([Bytes::from_static(b"]}")]);
    body(stream::iter([Bytes::from(head)]).chain(items).chain(tail))
}

/// Listed objects between two texts each, in chunks.
fn objects(
    shared: Arc<ServerState>,
    kind: Kind,
    numbers: Range<u64>,
    around: (&'static str, &'static str),
) -> impl Stream<Item = Bytes> {
    let end = numbers.end;
    stream::iter(numbers.step_by(CHUNK)).then(move |first| {
        let shared = shared.clone();
        async move {
            let mut out = Vec::with_capacity(CHUNK * OBJECT_BYTES);
            for number in first..end.min(first + CHUNK as u64) {
                out.extend_from_slice(around.0.as_bytes());
                shared.source.write_listed(&mut out, kind, number);
                out.extend_from_slice(around.1.as_bytes());
                shared.num_listed.fetch_add(1, Ordering::Relaxed);
            }
            shared.encode(out.len()).await;
            out.into()
        }
    })
}

fn bookmark(version: u64, more: &str) -> Bytes {
    let object = format!("{{\"metadata\":{{\"resourceVersion\":\"{version}\"{more}}}}}");
    format!("{{\"type\":\"BOOKMARK\",\"object\":{object}}}\n").into()
}

/// A watch: the events after version `seen` when they happen, and a bookmark when its time is over.
fn events(
    shared: Arc<ServerState>,
    kind: Kind,
    seen: u64,
    ends: Instant,
) -> impl Stream<Item = Bytes> {
    let (pace, probe) = (shared.pace.subscribe(), shared.probe.subscribe());
    let follower = Follower { shared, kind, seen, ends, pace, probe, probed: Bytes::new() };
    stream::unfold(Some(follower), |follower| async {
        let mut follower = follower?;
        Some(match follower.next().await {
            Some(lines) => (lines, Some(follower)),
            None => (bookmark(follower.seen, ""), None),
        })
    })
}

/// Somebody who watches.
struct Follower {
    shared: Arc<ServerState>,
    kind: Kind,
    seen: u64,
    ends: Instant,
    pace: watch::Receiver<ChangeRate>,
    probe: watch::Receiver<Bytes>,
    /// What was sent of it.
    probed: Bytes,
}

impl Follower {
    /// The lines of what has happened; waits until something has. `None` when the time is over.
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        loop {
            let newest = self.shared.version().min(self.seen + MAX_EVENTS);
            for version in self.seen + 1..=newest {
                self.shared.source.write_event(&mut out, self.kind, version);
            }
            self.seen = self.seen.max(newest);
            let probe = self.probe.borrow_and_update().clone();
            if probe != self.probed && self.kind == Kind::PODS {
                out.extend_from_slice(&probe);
                self.probed = probe;
            }
            if !out.is_empty() {
                return Some(out.into());
            }
            let next = self.shared.due(self.seen + 1).unwrap_or(self.ends);
            tokio::select! {
                () = sleep_until(next.min(self.ends)) => {}
                // Both senders live as long as the server.
                _ = self.pace.changed() => {}
                _ = self.probe.changed() => {}
            }
            if Instant::now() >= self.ends {
                return None;
            }
        }
    }
}

impl ServerState {
    /// The version of the newest event that has happened.
    fn version(&self) -> u64 {
        let ChangeRate { since, per_second } = *self.pace.borrow();
        let elapsed_us = since.elapsed().as_micros() as u64;
        Fleet::version(elapsed_us.saturating_mul(per_second) / 1_000_000)
    }

    /// When the event that leads to `version` happens.
    fn due(&self, version: u64) -> Option<Instant> {
        let ChangeRate { since, per_second } = *self.pace.borrow();
        let nth_us = version.saturating_sub(Fleet::version(0)).saturating_mul(1_000_000);
        Some(since + Duration::from_micros(nth_us.checked_div(per_second)? + 1))
    }

    /// Waits as long as encoding so many bytes of a list takes; one encoder does it for all lists.
    async fn encode(&self, num_bytes: usize) {
        let Some(bytes_per_second) = self.encodes else { return };
        let takes = Duration::from_micros(num_bytes as u64 * 1_000_000 / bytes_per_second.max(1));
        let done = {
            let mut done = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
            *done = (*done).max(Instant::now() - CATCH_UP) + takes;
            *done
        };
        sleep_until(done).await;
    }
}

/// Appends an event of this type.
pub(super) fn write_line(out: &mut Vec<u8>, change: &str, object: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(format!("{{\"type\":\"{change}\",\"object\":").as_bytes());
    object(out);
    out.extend_from_slice(b"}\n");
}
