//! The verbs' listener: HTTP/1.1 in the clear, or HTTP/2 and HTTP/1.1 over TLS; bounded in connections
//! and in time, ended without cutting anyone off.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use prometheus::IntGauge;
use rustc_hash::FxHashMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{self, Runtime};
use tokio::sync::{Semaphore, watch};
use tokio::task::{self, AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::body::BodyLimits;
use super::conn_timeouts::{ConnState, ConnTimeouts, TimedStream, Watchdog};
use super::extender::Extender;
use super::tls::{self, TlsIdentity};

/// Bounds on connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnLimits {
    /// Most connections at one time. One more takes the place of one that was never answered, or else
    /// is idle for longest; while requests are under way on all, it is closed at once.
    pub max_connections: usize,
    /// From the first byte of a request to the end of its header.
    pub header_timeout: Duration,
    /// How long a connection may be idle. kube-scheduler closes its own after 90 s; whoever closes
    /// first must not be us, or a request may meet a closing connection.
    pub idle_timeout: Duration,
    /// How long requests may take to end once we are told to stop.
    pub grace: Duration,
    /// Bounds on bodies.
    pub body: BodyLimits,
}

impl Default for ConnLimits {
    fn default() -> Self {
        Self {
            max_connections: 256,
            header_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(130),
            grace: Duration::from_secs(10),
            body: BodyLimits::default(),
        }
    }
}

/// Longest header.
const MAX_HEADER_BYTES: usize = 16 << 10;
/// Pause after a connection could not be accepted: mostly there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Requests of one HTTP/2 connection at a time; kube-scheduler has one filter or preempt and one
/// prioritize, and a bind for each pod.
const MAX_STREAMS: u32 = 128;
/// What an HTTP/2 client may send ahead: a request with 10,000 names without a pause.
const WINDOW_BYTES: u32 = 1 << 20;

/// Tasks that have their turn before new requests are looked for. tokio's default, 61, would let 61
/// streams of one connection be decided before another connection is noticed.
const TASKS_BETWEEN_LOOKS: u32 = 4;

/// The runtime that [`serve`] is meant for. One thread: decisions take turns anyway, and handing a
/// request to another core costs more than answering it.
pub fn runtime() -> std::io::Result<Runtime> {
    runtime::Builder::new_current_thread().event_interval(TASKS_BETWEEN_LOOKS).enable_all().build()
}

/// The identity in force. Another one counts from the next connection on.
pub type CurrentIdentity = Arc<ArcSwap<TlsIdentity>>;

/// Serves `app` in the clear until `shutdown`, then ends: nothing new is accepted, requests under way
/// are answered with `Connection: close`, bindings under way are finished, all within the grace period.
///
/// Meant for a [`runtime()`] of its own.
pub async fn serve(
    listener: TcpListener,
    app: Arc<Extender>,
    limits: ConnLimits,
    shutdown: impl Future<Output = ()>,
) {
    accept(listener, Server { app, limits, identity: None }, shutdown).await;
}

/// Serves `app` as [`serve`] does, to clients with a certificate, over HTTP/2 or HTTP/1.1.
pub async fn serve_tls(
    listener: TcpListener,
    app: Arc<Extender>,
    limits: ConnLimits,
    identity: CurrentIdentity,
    shutdown: impl Future<Output = ()>,
) {
    accept(listener, Server { app, limits, identity: Some(identity) }, shutdown).await;
}

/// What every connection needs.
#[derive(Clone)]
struct Server {
    app: Arc<Extender>,
    limits: ConnLimits,
    identity: Option<CurrentIdentity>,
}

async fn accept(listener: TcpListener, server: Server, shutdown: impl Future<Output = ()>) {
    let (stop, stopping) = watch::channel(false);
    let mut connections = Connections::default();
    let mut shutdown = pin!(shutdown);
    let Server { app, limits, .. } = &server;
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(()) = connections.ended() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let dropped = |why| app.metrics.connections_dropped.with_label_values(&[why]);
                    match connections.make_room(limits.max_connections) {
                        Room::Free => {}
                        Room::Made => dropped("replaced").inc(),
                        Room::None => {
                            dropped("too_many").inc();
                            continue;
                        }
                    }
                    let pace = Arc::new(ConnState::new());
                    let connection = server.clone().connection(stream, pace.clone(), stopping.clone());
                    connections.begin(connection, pace);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    stop.send_replace(true);
    let ended = async {
        while connections.ended().await.is_some() {}
        app.confirmed().await;
    };
    if tokio::time::timeout(limits.grace, ended).await.is_err() {
        tracing::warn!(
            left = connections.open.len(),
            "the grace period is over, connections are cut"
        );
        connections.tasks.shutdown().await;
    }
}

/// The open connections.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    open: FxHashMap<task::Id, (AbortHandle, Arc<ConnState>)>,
}

/// Whether there is room for one more.
enum Room {
    Free,
    /// Another one had to go.
    Made,
    None,
}

impl Connections {
    fn begin(
        &mut self,
        connection: impl Future<Output = ()> + Send + 'static,
        pace: Arc<ConnState>,
    ) {
        let handle = self.tasks.spawn(connection);
        self.open.insert(handle.id(), (handle, pace));
    }

    /// Waits until one has ended; `None` when there is none.
    async fn ended(&mut self) -> Option<()> {
        let id = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => id,
            Err(error) => error.id(),
        };
        self.open.remove(&id);
        Some(())
    }

    fn make_room(&mut self, max: usize) -> Room {
        if self.open.len() < max {
            return Room::Free;
        }
        let standings =
            self.open.iter().filter_map(|(id, (_, pace))| Some((pace.standing()?, *id)));
        let Some((_, id)) = standings.min_by_key(|(standing, _)| *standing) else {
            return Room::None;
        };
        if let Some((handle, _)) = self.open.remove(&id) {
            handle.abort();
        }
        Room::Made
    }
}

impl Server {
    async fn connection(
        self,
        stream: TcpStream,
        pace: Arc<ConnState>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let _open = Open::new(&self.app.metrics.connections);
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let Some(identity) = self.identity.as_ref().map(|it| it.load_full()) else {
            return self.http1(stream, pace, stopping).await;
        };
        let greeted = tokio::select! {
            greeted = timeout(self.limits.header_timeout, identity.accept(stream)) => greeted,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        match greeted {
            Ok(Ok(stream)) => {
                let http2 = tls::speaks_http2(&stream);
                tracing::debug!(http2, "a client has shown its certificate");
                match http2 {
                    true => self.http2(stream, pace, stopping).await,
                    false => self.http1(stream, pace, stopping).await,
                }
            }
            Ok(Err(error)) => self.no_handshake(tls::failure(&error), &error.to_string()),
            Err(_) => self.no_handshake("slow", "the client took too long"),
        }
    }

    fn no_handshake(&self, why: &str, error: &str) {
        self.app.metrics.handshake_failures.with_label_values(&[why]).inc();
        tracing::info!(why, error, "no TLS handshake");
    }

    async fn http1<S>(&self, stream: S, pace: Arc<ConnState>, stopping: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let stream = TimedStream::new(stream, pace.clone());
        let service = service_fn(|request| {
            let under_way = pace.begin();
            async move {
                let Self { app, limits, .. } = self;
                let at = under_way.first_byte();
                Ok::<_, Infallible>(app.handle(request, at, &limits.body).await)
            }
        });
        let mut builder = http1::Builder::new();
        builder.header_read_timeout(None).max_header_size(MAX_HEADER_BYTES);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        self.see_through(connection, pace.clone(), stopping).await;
    }

    async fn http2(
        &self,
        stream: TlsStream<TcpStream>,
        pace: Arc<ConnState>,
        stopping: watch::Receiver<bool>,
    ) {
        let turns = Arc::new(Semaphore::new(1));
        let service = service_fn(|request: Request<Incoming>| {
            let (under_way, turns) = (pace.begin(), turns.clone());
            let Self { app, limits, .. } = self.clone();
            async move {
                let (at, request) = (under_way.first_byte(), request.map(|it| in_turn(it, turns)));
                Ok::<_, Infallible>(app.handle(request, at, &limits.body).await)
            }
        });
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(self.limits.header_timeout)
            .keep_alive_timeout(self.limits.header_timeout)
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_header_list_size(MAX_HEADER_BYTES as u32);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        self.see_through(connection, pace.clone(), stopping).await;
    }

    /// Keeps a connection going until it ends, is ended by its pace, or the server stops.
    async fn see_through<C>(
        &self,
        connection: C,
        pace: Arc<ConnState>,
        mut stopping: watch::Receiver<bool>,
    ) where
        C: GracefulConnection<Error = hyper::Error>,
    {
        let limits =
            ConnTimeouts { header: self.limits.header_timeout, idle: self.limits.idle_timeout };
        let mut watchdog = Watchdog::new(pace, limits);
        let mut connection = pin!(connection);
        let stop = async {
            let _ = stopping.wait_for(|stopping| *stopping).await;
        };
        let ended = tokio::select! {
            ended = watchdog.watch(connection.as_mut()) => Some(ended),
            () = stop => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                watchdog.watch(connection.as_mut()).await
            }
        };
        let dropped = &self.app.metrics.connections_dropped;
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.is_timeout() => {
                dropped.with_label_values(&["no_pong"]).inc();
            }
            // Clients hang up; that is theirs to do.
            Ok(Err(error)) => tracing::debug!(%error, "a connection broke off"),
            Err(why) => dropped.with_label_values(&[why]).inc(),
        }
    }
}

/// A body whose end waits for its turn among the bodies of one connection. What is decided is decided
/// when a body has ended, so of many requests on one connection one is decided, and then all other
/// connections have their turn.
fn in_turn(
    body: Incoming,
    turns: Arc<Semaphore>,
) -> impl Body<Data = Bytes, Error = hyper::Error> + Unpin {
    Box::pin(body.with_trailers(async move {
        let turn = turns.acquire_owned().await;
        // Given back by a task that queues behind everyone who is awake.
        tokio::spawn(async { drop(turn) });
        None
    }))
}

/// Counts a connection while it is open.
struct Open(IntGauge);

impl Open {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
