//! C06–C09 over TLS: HTTP/2 and HTTP/1.1, clients that are not believed, certificates that change.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use sigma::http::{ConnLimits, CurrentIdentity, IdentityNames, IdentityPem, TlsIdentity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::api::{Api, Stored};
use crate::client::Server;
use crate::pki::{Authority, EXPIRED, Issued};
use crate::site::{Site, request, settings, uid_text};
use crate::tls_client::{self as tls, Failure, H2, HOST, Http2};

const SHORT: Duration = Duration::from_millis(50);
/// Far more than any test here needs.
const LONG: Duration = Duration::from_secs(60);
/// The moment at which certificates are judged, in 2026.
const NOW: i64 = 1_800_000_000;
const CLIENT: &str = "system:kube-scheduler";

/// A server of its own authority, and a client of another.
struct Party {
    site: Site,
    server_ca: Authority,
    client_ca: Authority,
    client: Issued,
    identity: CurrentIdentity,
    server: Server,
}

impl Party {
    async fn new() -> Self {
        Self::on(Site::new().await, ConnLimits::default(), &[]).await
    }

    async fn on(site: Site, limits: ConnLimits, clients: &[&str]) -> Self {
        let (server_ca, client_ca) = (Authority::new("servers"), Authority::new("clients"));
        let identity = identity(&server_ca.issue("sigma", &[HOST]), &client_ca, clients);
        let identity = Arc::new(ArcSwap::from_pointee(identity));
        let server = Server::start_tls(&site, limits, identity.clone()).await;
        let client = client_ca.issue(CLIENT, &[]);
        Self { site, server_ca, client_ca, client, identity, server }
    }

    async fn connect(&self, protocol: &[u8]) -> TlsStream<TcpStream> {
        let client = Some(&self.client);
        let stream = tls::connect(self.server.address, &self.server_ca, client, protocol).await;
        stream.expect("a handshake")
    }

    async fn http2(&self) -> Http2 {
        Http2::over(self.connect(H2).await).await.expect("HTTP/2").0
    }

    /// Whether a client gets an answer over a new connection.
    async fn answers(&self, client: Option<&Issued>) -> bool {
        let posted = tls::post_once(self.server.address, &self.server_ca, client, &good()).await;
        posted.is_ok_and(|it| it.status() == 200)
    }

    fn refused(&self, why: &str) -> u64 {
        self.site.metrics.handshake_failures.with_label_values(&[why]).get()
    }

    async fn wait_refused(&self, why: &str) {
        let wait = async {
            while self.refused(why) == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LONG, wait).await.expect("it is counted");
    }

    fn dropped(&self, why: &str) -> u64 {
        self.site.metrics.connections_dropped.with_label_values(&[why]).get()
    }
}

pub(crate) fn identity(server: &Issued, client_ca: &Authority, clients: &[&str]) -> TlsIdentity {
    let pem = IdentityPem {
        certificate: server.cert.clone().into(),
        key: server.key.clone().into(),
        client_ca: client_ca.pem.clone().into(),
    };
    let clients = clients.iter().map(|it| (*it).to_owned()).collect();
    let names = IdentityNames { server: Some(HOST.to_owned()), clients };
    TlsIdentity::new(&pem, &names, NOW).expect("an identity")
}

fn good() -> String {
    request("f01").to_string()
}

#[tokio::test]
async fn c07_a_hundred_streams_on_one_connection() {
    let party = Party::new().await;
    let plain = party.site.post("/filter", good()).await.1;
    let client = party.http2().await;
    let mut tasks = Vec::new();
    for _ in 0..100 {
        let mut client = client.clone();
        tasks.push(tokio::spawn(async move { client.post("/filter", &good()).await }));
    }
    for task in tasks {
        let answer = task.await.expect("no panic").expect("an answer");
        assert_eq!((answer.status().as_u16(), &**answer.body()), (200, plain.as_bytes()));
        assert_eq!(answer.headers()["content-length"], plain.len().to_string());
        assert_eq!(answer.headers()["content-type"], "application/json");
    }
    assert_eq!(party.site.metrics.connections.get(), 1);
    assert_eq!(party.site.results("filter", "ok"), 101);
}

const H1: &[u8] = b"http/1.1";

/// Two requests over HTTP/1.1 on one connection; the second one's answer.
async fn post_http1_twice(
    stream: TlsStream<TcpStream>,
    body: &str,
) -> Result<Response<Bytes>, Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = || {
        let request = Request::post("/filter").header("host", HOST);
        request.body(Full::new(Bytes::from(body.to_owned())))
    };
    tls::read(sender.send_request(request()?).await?).await?;
    sender.ready().await?;
    tls::read(sender.send_request(request()?).await?).await
}

#[tokio::test]
async fn c07_http1_over_tls_is_kept_alive() {
    let party = Party::new().await;
    let plain = party.site.post("/filter", good()).await.1;
    let answer = post_http1_twice(party.connect(H1).await, &good()).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), &**answer.body()), (200, plain.as_bytes()));
    assert_eq!(party.site.results("filter", "ok"), 3);
}

#[tokio::test]
async fn c07_a_body_too_large_for_any_window_is_a_413() {
    let party = Party::new().await;
    let mut client = party.http2().await;
    let answer = client.post("/filter", &" ".repeat(17 << 20)).await.expect("an answer");
    assert_eq!(answer.status(), 413);
    assert_eq!(client.post("/filter", &good()).await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn c08_streams_under_way_are_answered_and_then_the_connection_ends() {
    let api = Api::start().await;
    let site = Site::with(&settings(), |options| options.binder = Some(api.writes())).await;
    api.put("cart-1", Stored { uid: uid_text(1), ..Stored::default() });
    let mut party = Party::on(site, ConnLimits::default(), &[]).await;
    let (client, ended) = Http2::over(party.connect(H2).await).await.expect("HTTP/2");
    let held = api.hold().await;
    let mut busy = client.clone();
    let bind = tokio::spawn(async move { busy.post("/bind", &request("b01").to_string()).await });
    api.wait_for_posts(1).await;
    party.server.stop();
    while TcpStream::connect(party.server.address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // GOAWAY has come: a request that is sent from here on is not taken.
    let mut late = client;
    let refused =
        tokio::time::timeout(LONG, async { while late.post("/filter", &good()).await.is_ok() {} });
    refused.await.expect("the client is told");
    assert!(!party.server.task.is_finished());
    drop(held);
    let answer = bind.await.expect("no panic").expect("an answer");
    assert_eq!(&**answer.body(), br#"{"Error":""}"#);
    tokio::time::timeout(LONG, ended).await.expect("it ends").expect("no panic").expect("well");
    tokio::time::timeout(LONG, &mut party.server.task).await.expect("it ends").expect("well");
}

#[tokio::test]
async fn c09_only_clients_that_are_vouched_for_are_answered() {
    let party = Party::new().await;
    assert!(party.answers(Some(&party.client)).await);
    let stranger = Authority::new("clients").issue(CLIENT, &[]);
    let expired = party.client_ca.issue_for(CLIENT, &[], EXPIRED);
    assert!(!party.answers(None).await);
    assert!(!party.answers(Some(&stranger)).await);
    assert!(!party.answers(Some(&expired)).await);
    // One that has no TLS to say, one that hangs up.
    let mut plain = party.server.client().await;
    plain.send(b"POST /filter HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(plain.read().await.is_none());
    drop(TcpStream::connect(party.server.address).await);
    party.wait_refused("broken_off").await;
    let reasons = ["no_certificate", "untrusted", "expired", "no_tls", "broken_off"];
    assert_eq!(reasons.map(|why| party.refused(why)), [1; 5]);
    assert_eq!(party.site.results("filter", "ok"), 1);
}

#[tokio::test]
async fn c09_of_those_only_the_named_ones_where_names_are_given() {
    let names = ["spiffe://site/scheduler", "scheduler.site", CLIENT];
    let party = Party::on(Site::new().await, ConnLimits::default(), &names).await;
    assert!(party.answers(Some(&party.client)).await);
    for hosts in [["scheduler.site"], ["spiffe://site/scheduler"]] {
        let named = party.client_ca.issue("whoever", &hosts);
        assert!(party.answers(Some(&named)).await, "{hosts:?}");
    }
    let other = party.client_ca.issue("system:kube-controller-manager", &["scheduler.site.evil"]);
    assert!(!party.answers(Some(&other)).await);
    assert_eq!(party.refused("other_name"), 1);
}

#[tokio::test]
async fn c09_another_identity_counts_from_the_next_connection_on() {
    let party = Party::new().await;
    let mut before = party.http2().await;
    assert_eq!(before.post("/filter", &good()).await.expect("an answer").status(), 200);
    let (server_ca, client_ca) = (Authority::new("servers 2"), Authority::new("clients 2"));
    let new = identity(&server_ca.issue("sigma", &[HOST]), &client_ca, &[]);
    party.identity.store(Arc::new(new));
    let new_client = client_ca.issue(CLIENT, &[]);
    let address = party.server.address;
    let posted = tls::post_once(address, &server_ca, Some(&new_client), &good()).await;
    assert_eq!(posted.expect("an answer").status(), 200);
    // The former client, and a client that still believes in the former server.
    assert!(tls::post_once(address, &server_ca, Some(&party.client), &good()).await.is_err());
    assert!(!party.answers(Some(&new_client)).await);
    party.wait_refused("refused_by_client").await;
    assert_eq!(party.refused("untrusted"), 1);
    assert_eq!(before.post("/filter", &good()).await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn c06_a_handshake_that_does_not_come() {
    let limits = ConnLimits { header_timeout: SHORT, ..ConnLimits::default() };
    let party = Party::on(Site::new().await, limits, &[]).await;
    let mut silent = party.server.client().await;
    assert!(silent.read().await.is_none());
    // The first bytes of a ClientHello do not buy more time.
    let mut slow = party.server.client().await;
    slow.send(b"\x16\x03\x01\x02\x00\x01").await;
    assert!(slow.read().await.is_none());
    assert_eq!(party.refused("slow"), 2);
}

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
/// `:method: POST`, `:scheme: https`, `:path: /` by their places in HPACK's static table.
const HEAD: &[u8] = &[0x83, 0x87, 0x84];

/// A connection that has said hello in HTTP/2, and then something else.
async fn says(party: &Party, frames: &[u8]) -> TlsStream<TcpStream> {
    let mut stream = party.connect(H2).await;
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[]), frames].concat();
    stream.write_all(&hello).await.expect("it reads");
    stream.flush().await.expect("it reads");
    stream
}

/// Reads to the end of the connection; what came.
async fn to_the_end(mut stream: TlsStream<TcpStream>) -> Vec<u8> {
    let mut came = Vec::new();
    // A reset is as much of an end as a close.
    let ended = tokio::time::timeout(LONG, stream.read_to_end(&mut came)).await;
    let _ = ended.expect("it ends");
    came
}

#[tokio::test]
async fn c06_a_frame_that_drips_in_ends_the_connection() {
    let limits = ConnLimits { header_timeout: SHORT, ..ConnLimits::default() };
    let party = Party::on(Site::new().await, limits, &[]).await;
    // Half a frame's head; a header whose second part never comes; half a body, though it is begun.
    let body = [frame(HEADERS, END_HEADERS, 1, HEAD), frame(DATA, 0, 1, b"{")].concat();
    for frames in [vec![0, 0, 9], frame(HEADERS, 0, 1, HEAD), [body, vec![0, 0]].concat()] {
        to_the_end(says(&party, &frames).await).await;
    }
    assert_eq!(party.dropped("no_pong"), 3);
    // Who answers the PING may be silent otherwise.
    let mut client = party.http2().await;
    tokio::time::sleep(SHORT * 5).await;
    assert_eq!(client.post("/filter", &good()).await.expect("an answer").status(), 200);
    let limits = ConnLimits { idle_timeout: SHORT, ..ConnLimits::default() };
    let party = Party::on(Site::new().await, limits, &[]).await;
    to_the_end(says(&party, &[]).await).await;
    to_the_end(party.connect(H2).await).await;
    assert_eq!(party.dropped("idle"), 2);
}

#[tokio::test]
async fn frames_out_of_order_end_their_connection_and_no_other() {
    let party = Party::new().await;
    let mut good_one = party.http2().await;
    for frames in [
        frame(DATA, END_STREAM, 1, b"{}"),
        frame(CONTINUATION, END_HEADERS, 1, HEAD),
        frame(HEADERS, END_HEADERS, 0, HEAD),
        frame(HEADERS, END_HEADERS, 2, HEAD),
        [frame(HEADERS, 0, 1, HEAD), frame(PING, 0, 0, &[0; 8])].concat(),
        frame(SETTINGS, 0, 0, &[1, 2, 3]),
        frame(PING, 0, 0, &[0; 7]),
        frame(HEADERS, END_HEADERS, 1, &[0xff; 64]),
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
    ] {
        let came = to_the_end(says(&party, &frames).await).await;
        // GOAWAY, with a reason that is none of ours.
        let is_goaway = came.windows(9).any(|it| it[3] == 7 && it[4..9] == [0; 5]);
        assert!(is_goaway, "{frames:?}: {came:?}");
        assert_eq!(good_one.post("/filter", &good()).await.expect("an answer").status(), 200);
    }
    assert_eq!(party.site.metrics.panics.get(), 0);
}

#[tokio::test]
async fn ten_thousand_streams_at_once_are_refused_but_for_the_first() {
    let party = Party::new().await;
    let mut good_one = party.http2().await;
    // A client that sends without waiting for our SETTINGS, which allow 128.
    let opened: Vec<u8> =
        (0..10_000_u32).flat_map(|at| frame(HEADERS, END_HEADERS, at * 2 + 1, HEAD)).collect();
    let mut stream = party.connect(H2).await;
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let (mut reads, mut writes) = tokio::io::split(&mut stream);
    let write = async {
        // It is cut off before it has said all.
        let _ = writes.write_all(&[hello, opened].concat()).await;
        let _ = writes.flush().await;
    };
    let mut came = Vec::new();
    let _ = tokio::time::timeout(LONG, async { tokio::join!(write, reads.read_to_end(&mut came)) })
        .await
        .expect("it is ended");
    assert_eq!(good_one.post("/filter", &good()).await.expect("an answer").status(), 200);
    // One that waits for its streams to end has as many as it likes.
    for round in 0..80 {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..125 {
            let mut client = good_one.clone();
            tasks.spawn(async move { client.post("/nothing", "").await.map(|it| it.status()) });
        }
        for status in tasks.join_all().await {
            assert_eq!(status.expect("an answer"), 404, "{round}");
        }
    }
    assert_eq!(party.site.metrics.panics.get(), 0);
}
