//! A bad network between sigma and the API server: speaks plain HTTP to sigma and HTTPS with
//! sigma's own token to the server, delays pod events, and swallows chosen deletions. It may stand before
//! kube-scheduler, too, and delay what that writes of pods.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use futures_util::{AsyncBufReadExt, TryStreamExt, stream};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::api::Api;

/// How late writes of pods are, in milliseconds: each by another time within these bounds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Late {
    pub(crate) status_ms: (u64, u64),
    pub(crate) binding_ms: (u64, u64),
}

/// What is wrong with the network.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Every pod event arrives this much later.
    pub(crate) delay_ms: AtomicU64,
    /// Writes arrive this much later.
    pub(crate) late: Mutex<Late>,
    /// Writes that were late so far.
    num_late: AtomicU64,
    /// Pods whose deletion never arrives.
    pub(crate) lose_deletes_of: Mutex<HashSet<String>>,
    /// Deletions swallowed so far.
    pub(crate) lost: AtomicU64,
}

/// Listens until dropped.
pub(crate) struct Proxy {
    pub(crate) faults: Arc<Faults>,
    pub(crate) url: String,
    pub(crate) port: u16,
    task: JoinHandle<()>,
}

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

impl Proxy {
    /// A proxy that shows the server `upstream`'s credentials.
    pub(crate) async fn start(upstream: Api) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let url = format!("http://127.0.0.1:{port}");
        let faults = Arc::new(Faults::default());
        let shared = faults.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (upstream, faults) = (upstream.clone(), shared.clone());
                tokio::spawn(async move {
                    let service =
                        service_fn(move |it| forward(upstream.clone(), faults.clone(), it));
                    let builder = hyper::server::conn::http1::Builder::new();
                    // A connection that breaks is what a proxy is for.
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Self { faults, url, port, task })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(
    upstream: Api,
    faults: Arc<Faults>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let failed = |why: String| {
        let mut response = Response::new(
            Full::new(Bytes::from(why)).map_err(|never| match never {}).boxed_unsync(),
        );
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    };
    let (mut parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Ok(failed("no body".to_owned()));
    };
    let path = parts.uri.path_and_query().map_or("/", |it| it.as_str()).to_owned();
    let is_pod_watch = path.starts_with("/api/v1/pods") && path.contains("watch=");
    parts.headers.remove(header::HOST);
    parts.headers.remove(header::AUTHORIZATION);
    parts.headers.remove(header::ACCEPT_ENCODING);
    parts.uri = path.parse().unwrap_or_default();
    tokio::time::sleep(faults.delay_of(&parts.method, &path)).await;
    let request = Request::from_parts(parts, kube::client::Body::from(body.to_bytes()));
    let response = match upstream.0.send(request).await {
        Ok(response) => response,
        Err(error) => return Ok(failed(error.to_string())),
    };
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::TRANSFER_ENCODING);
    if is_pod_watch && parts.status.is_success() {
        parts.headers.remove(header::CONTENT_LENGTH);
        return Ok(Response::from_parts(parts, disturbed(body, faults)));
    }
    Ok(Response::from_parts(parts, BodyExt::boxed_unsync(body.map_err(std::io::Error::other))))
}

/// The lines of a watch, each after the delay that is set when it arrives; some never.
fn disturbed(body: kube::client::Body, faults: Arc<Faults>) -> Body {
    let (out, lines) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let stream = body.into_data_stream().map_err(std::io::Error::other);
        let mut lines = stream.into_async_read().lines();
        while let Ok(Some(mut line)) = lines.try_next().await {
            if faults.swallows(&line) {
                continue;
            }
            line.push('\n');
            let delay = Duration::from_millis(faults.delay_ms.load(Ordering::Relaxed));
            if out.send((Instant::now() + delay, line)).is_err() {
                return;
            }
        }
    });
    let frames = stream::unfold(lines, |mut lines| async move {
        let (due, line) = lines.recv().await?;
        sleep_until(due).await;
        Some((Ok(Frame::data(Bytes::from(line))), lines))
    });
    StreamBody::new(frames).boxed_unsync()
}

impl Faults {
    /// How late a request is.
    fn delay_of(&self, method: &Method, path: &str) -> Duration {
        let late = *self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let (least, most) = match *method {
            Method::PATCH if path.contains("/status") => late.status_ms,
            Method::POST if path.contains("/binding") => late.binding_ms,
            _ => return Duration::ZERO,
        };
        let draw = self.num_late.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9) >> 8;
        Duration::from_millis(least + draw % (most - least + 1))
    }

    fn swallows(&self, line: &str) -> bool {
        let chosen = self.lose_deletes_of.lock().unwrap_or_else(PoisonError::into_inner);
        if chosen.is_empty() || !line.starts_with("{\"type\":\"DELETED\"") {
            return false;
        }
        let event: Value = serde_json::from_str(line).unwrap_or_default();
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
        let swallows = chosen.contains(name);
        self.lost.fetch_add(u64::from(swallows), Ordering::Relaxed);
        swallows
    }
}
