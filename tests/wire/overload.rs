//! More than can be answered in time: everybody has a verdict, and everybody has a turn.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;
use sigma::http::ExtenderMetrics;
use sigma::http::{ConnLimits, CurrentIdentity, runtime, serve_tls};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::client::Server;
use crate::pki::Authority;
use crate::site::{OFFLINE, ONLINE, Site, accepted, args, pod_json, refused, request, settings};
use crate::tls::{DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, frame, identity};
use crate::tls_client::{self, H2, HOST, Http2};

const OVERLOADED: &str = "sigma: overloaded";

#[tokio::test]
async fn sixty_four_filters_at_once_have_a_verdict_each_in_time_or_not() {
    // Some are decided within the deadline and some are not, however fast the machine is.
    for deadline in [Duration::from_nanos(1), Duration::from_micros(500), Duration::from_secs(60)] {
        let site = Site::with(&settings(), |options| options.deadline = deadline).await;
        let server = Server::start(&site, ConnLimits::default()).await;
        let mut clients = Vec::new();
        for _ in 0..64 {
            clients.push(server.client().await);
        }
        let mut tasks = tokio::task::JoinSet::new();
        for (uid, mut client) in (1..).zip(clients) {
            tasks.spawn(async move {
                let online = uid % 2 == 0;
                let pod = pod_json(uid, if online { ONLINE } else { OFFLINE }, "100m");
                let names = ["m1", "e1", "v1"];
                (online, client.post("/filter", &args(&pod, &names).to_string()).await.json())
            });
        }
        let replies = tasks.join_all().await;
        for (online, reply) in &replies {
            // Online pods pass everywhere but on elastic nodes; offline ones wait, or have their pool.
            let names = accepted(reply);
            assert_eq!(reply["Error"], Value::from(""), "{reply}");
            match online {
                true => assert!(names.starts_with(&["m1".into()]), "{reply}"),
                false if names.is_empty() => {
                    let (_, text) = refused(reply).expect("a reason");
                    assert!(text.starts_with(OVERLOADED), "{reply}");
                }
                false => assert_eq!(names, ["e1"]),
            }
        }
        let (ok, degraded) = (site.results("filter", "ok"), site.results("filter", "degraded"));
        println!("{deadline:?}: {ok} decided by the rules, {degraded} by role");
        assert_eq!((ok + degraded, site.results("filter", "error")), (64, 0));
        match deadline.as_secs() {
            0 if deadline.as_nanos() == 1 => assert_eq!(ok, 0),
            60 => assert_eq!(degraded, 0),
            _ => {}
        }
    }
}

/// Streams of the one connection.
const STREAMS: u32 = 100;
/// How many of them may be decided before another connection has its turn: the verbs' runtime looks for
/// new requests after every few tasks, and a request is a handful of tasks.
const TURNS: usize = 16;

/// Counts decisions, and how many there were before the one on the other connection.
#[derive(Default)]
struct Order {
    metrics: OnceLock<Arc<ExtenderMetrics>>,
    decided: AtomicUsize,
    before_other: OnceLock<usize>,
}

impl Order {
    /// Called by the server before every decision; makes it last.
    fn note(&self) {
        std::thread::sleep(Duration::from_millis(2));
        let before = self.decided.fetch_add(1, Ordering::SeqCst);
        let metrics = self.metrics.get().expect("it is set");
        if metrics.names_offered.with_label_values(&["preempt"]).get() > 0 {
            self.before_other.get_or_init(|| before);
        }
    }
}

#[tokio::test]
async fn a_connection_with_a_hundred_streams_leaves_others_their_turn() {
    let order = Arc::new(Order::default());
    let noted = order.clone();
    let site = Site::with(&settings(), |options| {
        options.ready = Arc::new(move || {
            noted.note();
            true
        });
    })
    .await;
    assert!(order.metrics.set(site.metrics.clone()).is_ok());
    let (server_ca, client_ca) = (Authority::new("servers"), Authority::new("clients"));
    let identity = identity(&server_ca.issue("sigma", &[HOST]), &client_ca, &[]);
    let (address, _stop) = serve_apart(&site, Arc::new(ArcSwap::from_pointee(identity)));
    let client = client_ca.issue("system:kube-scheduler", &[]);
    let connect = || tls_client::connect(address, &server_ca, Some(&client), H2);
    let other = connect().await.expect("a handshake");
    let (mut other, _task) = Http2::over(other).await.expect("HTTP/2");
    assert_eq!(other.post("/nothing", "").await.expect("an answer").status(), 404);

    let mut many = connect().await.expect("a handshake");
    // All of it together within a window of 64 KiB, which is what a client may send at first.
    let body = args(&pod_json(1, ONLINE, "1m"), &["m1"]).to_string();
    let path = [&[0x83, 0x87, 0x04, 7], &b"/filter"[..]].concat();
    let streams = (0..STREAMS).flat_map(|at| {
        let id = at * 2 + 1;
        let head = frame(HEADERS, END_HEADERS, id, &path);
        [head, frame(DATA, END_STREAM, id, body.as_bytes())].concat()
    });
    let all: Vec<u8> =
        [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat().into_iter().chain(streams).collect();
    many.write_all(&all).await.expect("it reads");
    many.flush().await.expect("it reads");
    until(|| order.decided.load(Ordering::SeqCst) >= 8).await;
    let before = order.decided.load(Ordering::SeqCst);
    let answer = other.post("/preempt", &request("v01").to_string()).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let waited = *order.before_other.get().expect("it was decided") - before;
    println!("{waited} of {STREAMS} streams had their turn first");
    assert!(waited <= TURNS, "{waited} decisions came first");
    until(|| site.results("filter", "ok") == u64::from(STREAMS)).await;
}

async fn until(check: impl Fn() -> bool) {
    let wait = async {
        while !check() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it comes to that");
}

/// The verbs on their own runtime, on a thread of their own, as `sigma serve` has them.
fn serve_apart(site: &Site, identity: CurrentIdentity) -> (SocketAddr, oneshot::Sender<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("it is bound");
    let (stop, stopped) = oneshot::channel::<()>();
    let app = site.app.clone();
    std::thread::spawn(move || {
        runtime().expect("a runtime").block_on(async {
            let listener = TcpListener::from_std(listener).expect("a listener");
            let stopped = async { drop(stopped.await) };
            serve_tls(listener, app, ConnLimits::default(), identity, stopped).await;
        });
    });
    (address, stop)
}
