//! An API server for tests: real HTTP on the loop-back, one scripted answer per request, in order.
//! When the script is at its end it says nothing more, as a quiet watch does.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::{Client, Config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the server does with one request.
#[derive(Clone, Debug)]
pub(super) enum FakeAnswer {
    /// A whole answer.
    Whole { status: u16, headers: &'static str, body: String },
    /// A chunked answer, and what happens after its last chunk.
    Chunks(Vec<String>, After),
    /// Nothing is sent.
    Silence,
    /// The connection is cut before an answer.
    Cut,
}

/// How a chunked answer ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum After {
    /// Properly.
    End,
    /// The connection is cut in the middle.
    Cut,
    /// It stays open and nothing more comes.
    Hang,
}

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(super) struct SeenRequest {
    pub method: String,
    pub uri: String,
    pub head: String,
    pub body: String,
}

/// The server. Dropping it cuts every connection.
pub(super) struct Fake {
    port: u16,
    shared: Arc<FakeState>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct FakeState {
    script: Mutex<VecDeque<FakeAnswer>>,
    seen: Mutex<Vec<SeenRequest>>,
}

impl FakeAnswer {
    pub(super) fn json(status: u16, body: impl Into<String>) -> Self {
        Self::Whole { status, headers: "", body: body.into() }
    }

    /// A `Status` as the API server writes it.
    pub(super) fn refusal(code: u16, message: &str) -> Self {
        let message = message.replace('"', "\\\"");
        let body = format!(
            r#"{{"kind":"Status","status":"Failure","message":"{message}","code":{code}}}"#
        );
        Self::json(code, body)
    }

    /// Lines of a watch, a chunk each.
    pub(super) fn lines(lines: &[&str], after: After) -> Self {
        Self::Chunks(lines.iter().map(|line| format!("{line}\n")).collect(), after)
    }
}

impl Fake {
    pub(super) async fn start(script: Vec<FakeAnswer>) -> Self {
        Self::start_on(0, script).await
    }

    /// Starts on a given port, as a server does that was restarted.
    pub(super) async fn start_on(port: u16, script: Vec<FakeAnswer>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let shared =
            Arc::new(FakeState { script: Mutex::new(script.into()), ..FakeState::default() });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        Self { port, shared, tasks }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Cuts every connection and waits until the port is free.
    pub(super) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }

    pub(super) fn client(&self) -> Client {
        client_on(self.port)
    }

    pub(super) fn push(&self, answer: FakeAnswer) {
        lock(&self.shared.script).push_back(answer);
    }

    pub(super) fn seen(&self) -> Vec<SeenRequest> {
        lock(&self.shared.seen).clone()
    }

    /// Waits until `count` requests have come.
    pub(super) async fn wait_for(&self, count: usize) -> Vec<SeenRequest> {
        for _ in 0..1000 {
            let seen = self.seen();
            if seen.len() >= count {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        unreachable!("{count} requests were expected, these came: {:?}", self.seen());
    }
}

pub(super) fn client_on(port: u16) -> Client {
    let url = format!("http://127.0.0.1:{port}").parse().expect("a valid URL");
    let mut config = Config::new(url);
    config.default_retry = false;
    Client::try_from(config).expect("a plain client needs nothing")
}

async fn accept(listener: TcpListener, shared: Arc<FakeState>) {
    // Connections live and die with this task.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            // A client that hangs up is no concern of the server's.
            let _ = serve(stream, &shared).await;
        });
    }
}

async fn serve(mut stream: TcpStream, shared: &FakeState) -> std::io::Result<()> {
    let Some(request) = read_request(&mut stream).await? else { return Ok(()) };
    lock(&shared.seen).push(request);
    let answer = lock(&shared.script).pop_front().unwrap_or(FakeAnswer::Silence);
    match answer {
        FakeAnswer::Whole { status, headers, body } => {
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-type: application/json\r\n\
                 content-length: {length}\r\n{headers}\r\n"
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
        }
        FakeAnswer::Chunks(chunks, after) => {
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await?;
            for chunk in chunks {
                let frame = format!("{:x}\r\n{chunk}\r\n", chunk.len());
                stream.write_all(frame.as_bytes()).await?;
                stream.flush().await?;
            }
            match after {
                After::End => stream.write_all(b"0\r\n\r\n").await?,
                After::Cut => {}
                After::Hang => std::future::pending().await,
            }
        }
        FakeAnswer::Silence => std::future::pending().await,
        FakeAnswer::Cut => {}
    }
    stream.shutdown().await
}

async fn read_request(stream: &mut TcpStream) -> std::io::Result<Option<SeenRequest>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && body.len() >= content_length(head)
        {
            let mut words = head.split(' ');
            let method = words.next().unwrap_or_default().to_owned();
            let uri = words.next().unwrap_or_default().to_owned();
            let (head, body) = (head.to_owned(), body.to_owned());
            return Ok(Some(SeenRequest { method, uri, head, body }));
        }
        match stream.read(&mut chunk).await? {
            0 => return Ok(None),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

fn content_length(head: &str) -> usize {
    let head = head.to_ascii_lowercase();
    let line = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    line.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
