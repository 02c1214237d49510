//! A plain HTTP/1.1 client over one socket, and a server to talk to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;

use serde_json::Value;
use sigma::http::{ConnLimits, CurrentIdentity, serve, serve_tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::site::Site;

/// The verbs' listener on a free port.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<()>,
}

/// Resolves when the server is to stop.
type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Server {
    pub(crate) async fn start(site: &Site, limits: ConnLimits) -> Self {
        let app = site.app.clone();
        Self::run(|listener, stop| serve(listener, app, limits, stop)).await
    }

    pub(crate) async fn start_tls(
        site: &Site,
        limits: ConnLimits,
        identity: CurrentIdentity,
    ) -> Self {
        let app = site.app.clone();
        Self::run(|listener, stop| serve_tls(listener, app, limits, identity, stop)).await
    }

    async fn run<S>(serve: impl FnOnce(TcpListener, Stop) -> S) -> Self
    where
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel::<()>();
        // A test that never stops its server drops the sender.
        let stopped: Stop = Box::pin(async { drop(stopped.await) });
        Self { address, stop: Some(stop), task: tokio::spawn(serve(listener, stopped)) }
    }

    pub(crate) async fn client(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.expect("the server listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Client { stream, buffer: Vec::new() }
    }

    pub(crate) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

impl Client {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the server reads");
    }

    /// As kube-scheduler sends it.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Reply {
        self.send(Self::request(path, body).as_bytes()).await;
        self.read().await.expect("an answer")
    }

    pub(crate) fn request(path: &str, body: &str) -> String {
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: sigma\r\nUser-Agent: Go-http-client/1.1\r\n\
             Content-Length: {length}\r\nContent-Type: application/json\r\n\
             Accept-Encoding: gzip\r\n\r\n{body}"
        )
    }

    /// The next response; `None` when the server has closed.
    pub(crate) async fn read(&mut self) -> Option<Reply> {
        let head_end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..head_end]).into_owned();
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers: HashMap<String, String> =
            headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        let length: usize = headers["content-length"].parse().expect("every reply has a length");
        while self.buffer.len() < head_end + 4 + length {
            self.more().await?;
        }
        let rest = self.buffer.split_off(head_end + 4 + length);
        let body = std::mem::replace(&mut self.buffer, rest).split_off(head_end + 4);
        Some(Reply { status, headers, body })
    }

    async fn more(&mut self) -> Option<()> {
        // A reset is as much of an end as a close.
        let count = self.stream.read_buf(&mut self.buffer).await.unwrap_or(0);
        (count > 0).then_some(())
    }
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("replies are UTF-8")
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        serde_json::from_slice(&self.body).expect("replies are JSON")
    }
}
