//! The verbs' listener: HTTP/1.1, bounded in connections and in time, ended without cutting anyone off.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prometheus::IntGauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::body::BodyLimits;
use super::extender::Extender;
use super::paced::{Pace, PaceLimits, Paced, Watchdog};

/// Bounds on connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnLimits {
    /// Most connections at one time; one more is closed at once.
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

/// Serves `app` until `shutdown`, then ends: nothing new is accepted, requests under way are answered
/// with `Connection: close`, bindings under way are finished, all within the grace period.
///
/// Meant for a runtime of its own with one thread: decisions take turns anyway.
pub async fn serve(
    listener: TcpListener,
    app: Arc<Extender>,
    limits: ConnLimits,
    shutdown: impl Future<Output = ()>,
) {
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < limits.max_connections => {
                    connections.spawn(connection(stream, app.clone(), limits, stopping.clone()));
                }
                Ok(_) => app.metrics.connections_dropped.with_label_values(&["too_many"]).inc(),
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
        while connections.join_next().await.is_some() {}
        app.settled().await;
    };
    if tokio::time::timeout(limits.grace, ended).await.is_err() {
        tracing::warn!(left = connections.len(), "the grace period is over, connections are cut");
        connections.shutdown().await;
    }
}

async fn connection(
    stream: TcpStream,
    app: Arc<Extender>,
    limits: ConnLimits,
    mut stopping: watch::Receiver<bool>,
) {
    let _open = Open::new(&app.metrics.connections);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let pace = Arc::new(Pace::new());
    let pace_limits = PaceLimits { header: limits.header_timeout, idle: limits.idle_timeout };
    let mut watchdog = Watchdog::new(pace.clone(), pace_limits);
    let stream = Paced::new(stream, pace.clone());
    let service = service_fn(|request| {
        let (app, pace) = (&app, &pace);
        async move {
            let response = app.handle(request, pace.begin(), &limits.body).await;
            pace.end();
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).max_header_size(MAX_HEADER_BYTES);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
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
    match ended {
        Ok(Ok(())) => {}
        // Clients hang up; that is theirs to do.
        Ok(Err(error)) => tracing::debug!(%error, "a connection broke off"),
        Err(why) => app.metrics.connections_dropped.with_label_values(&[why]).inc(),
    }
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
