//! C06–C08: slow, many and lasting connections, and the end of the server.

use std::time::{Duration, Instant};

use sigma::http::ConnLimits;

use crate::api::{Api, Stored};
use crate::client::{Client, Server};
use crate::site::{Site, request, settings, uid_text};

/// Far more than any test here needs.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);

fn dropped(site: &Site, why: &str) -> u64 {
    site.metrics.connections_dropped.with_label_values(&[why]).get()
}

fn good() -> String {
    request("f01").to_string()
}

/// Row 43, a client that sends its request byte by byte: sigma closes the connection after 5 s
/// (`sigma_connections_dropped_total`).
#[tokio::test]
async fn c06_a_header_that_drips_in_is_cut_off() {
    let site = Site::new().await;
    let limits = ConnLimits { header_timeout: SHORT, ..ConnLimits::default() };
    let server = Server::start(&site, limits).await;
    // Half a header, from the first request on or after a good one, dripping or not.
    for good_ones in [0, 2] {
        let mut client = server.client().await;
        for _ in 0..good_ones {
            assert_eq!(client.post("/filter", &good()).await.status, 200);
        }
        client.send(b"POST /filter HTTP/1.1\r\nhost: x\r\nx: ").await;
        assert!(client.read().await.is_none());
    }
    assert_eq!(dropped(&site, "slow_header"), 2);
    assert_eq!(site.results("filter", "ok"), 2);
}

#[tokio::test]
async fn c06_every_byte_does_not_buy_more_time() {
    let site = Site::new().await;
    let limits = ConnLimits { header_timeout: SHORT, ..ConnLimits::default() };
    let server = Server::start(&site, limits).await;
    let mut stream = tokio::net::TcpStream::connect(server.address).await.expect("it listens");
    let mut sent = 0;
    loop {
        // One byte in a fifth of the limit: a timer that starts anew would never run out.
        if tokio::io::AsyncWriteExt::write_all(&mut stream, b"x").await.is_err() {
            break;
        }
        sent += 1;
        assert!(sent < 1000, "the connection lives on");
        tokio::time::sleep(SHORT / 5).await;
    }
    assert_eq!(dropped(&site, "slow_header"), 1);
}

#[tokio::test]
async fn c06_an_idle_connection_outlives_the_header_limit_and_ends_by_its_own() {
    let site = Site::new().await;
    let limits = ConnLimits { header_timeout: SHORT, ..ConnLimits::default() };
    let server = Server::start(&site, limits).await;
    let mut client = server.client().await;
    for _ in 0..3 {
        tokio::time::sleep(SHORT * 3).await;
        assert_eq!(client.post("/filter", &good()).await.status, 200);
    }
    let limits = ConnLimits { idle_timeout: SHORT, ..ConnLimits::default() };
    let server = Server::start(&site, limits).await;
    let mut client = server.client().await;
    assert_eq!(client.post("/filter", &good()).await.status, 200);
    assert!(client.read().await.is_none());
    assert!(server.client().await.read().await.is_none());
    assert_eq!((dropped(&site, "idle"), dropped(&site, "slow_header")), (2, 0));
}

#[tokio::test]
async fn c06_a_long_answer_is_no_idle_time() {
    let idle = Duration::from_secs(1);
    let api = Api::start().await;
    let site = Site::with(&settings(), |options| options.binder = Some(api.writes())).await;
    api.put("cart-1", Stored { uid: uid_text(1), ..Stored::default() });
    let limits = ConnLimits { idle_timeout: idle, header_timeout: SHORT, ..Default::default() };
    let server = Server::start(&site, limits).await;
    let mut client = server.client().await;
    let held = api.hold().await;
    client.send(Client::request("/bind", &request("b01").to_string()).as_bytes()).await;
    tokio::time::sleep(idle + SHORT).await;
    drop(held);
    assert_eq!(client.read().await.map(|reply| reply.status), Some(200));
    tokio::time::sleep(SHORT).await;
    assert_eq!(client.post("/filter", &good()).await.status, 200);
}

#[tokio::test]
async fn c06_an_idle_connection_ends_after_a_long_answer_too() {
    // hyper looks for the next request at once after a quick answer, but not after one that it had
    // to wait for.
    let api = Api::start().await;
    let site = Site::with(&settings(), |options| options.binder = Some(api.writes())).await;
    api.put("cart-1", Stored { uid: uid_text(1), ..Stored::default() });
    let limits = ConnLimits { idle_timeout: SHORT, ..ConnLimits::default() };
    let server = Server::start(&site, limits).await;
    let mut client = server.client().await;
    let held = api.hold().await;
    client.send(Client::request("/bind", &request("b01").to_string()).as_bytes()).await;
    api.wait_for_posts(1).await;
    tokio::time::sleep(SHORT).await;
    drop(held);
    assert_eq!(client.read().await.map(|reply| reply.status), Some(200));
    let end = tokio::time::timeout(LONG, client.read()).await;
    assert!(end.expect("the connection is closed").is_none());
}

#[tokio::test]
async fn c06_a_body_that_does_not_come_is_a_408() {
    let site = Site::new().await;
    let mut limits = ConnLimits::default();
    limits.body.timeout = SHORT;
    let server = Server::start(&site, limits).await;
    let mut client = server.client().await;
    client.send(b"POST /filter HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").await;
    assert_eq!(client.read().await.map(|reply| reply.status), Some(408));
    // A body that comes, but late, is answered with the degraded verdict.
    let late = Site::with(&settings(), |options| options.deadline = SHORT).await;
    let server = Server::start(&late, ConnLimits::default()).await;
    let mut client = server.client().await;
    let bytes = Client::request("/filter", &good()).into_bytes();
    client.send(&bytes[..200]).await;
    tokio::time::sleep(SHORT * 2).await;
    client.send(&bytes[200..]).await;
    assert_eq!(client.read().await.map(|reply| reply.status), Some(200));
    assert_eq!(late.results("filter", "degraded"), 1);
}

/// Row 43, more than 256 connections: sigma closes the next connection at once. It serves the open connections.
#[tokio::test]
async fn c06_connections_are_counted_and_bounded() {
    let site = Site::new().await;
    let limits = ConnLimits { max_connections: 2, ..ConnLimits::default() };
    let server = Server::start(&site, limits).await;
    let (mut one, mut two) = (server.client().await, server.client().await);
    for client in [&mut one, &mut two] {
        assert_eq!(client.post("/filter", &good()).await.status, 200);
    }
    assert_eq!(site.metrics.connections.get(), 2);
    // Requests are under way on both: there is no place.
    let bytes = Client::request("/filter", &good()).into_bytes();
    let (head, rest) = bytes.split_at(bytes.len() - 1);
    for client in [&mut one, &mut two] {
        client.send(head).await;
    }
    tokio::time::sleep(SHORT).await;
    assert!(server.client().await.read().await.is_none());
    assert_eq!((dropped(&site, "too_many"), dropped(&site, "replaced")), (1, 0));
    for client in [&mut one, &mut two] {
        client.send(rest).await;
        assert_eq!(client.read().await.map(|reply| reply.status), Some(200));
    }
    drop(two);
    while site.metrics.connections.get() == 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(server.client().await.post("/filter", &good()).await.status, 200);
}

#[tokio::test]
async fn c06_who_was_never_answered_makes_room_and_then_who_is_idle_for_longest() {
    let site = Site::new().await;
    let limits = ConnLimits { max_connections: 3, ..ConnLimits::default() };
    let server = Server::start(&site, limits).await;
    let (mut old, mut fresh) = (server.client().await, server.client().await);
    for client in [&mut old, &mut fresh] {
        assert_eq!(client.post("/filter", &good()).await.status, 200);
    }
    let mut half = server.client().await;
    half.send(b"POST /filter HTTP/1.1\r\nhost: x\r\nx: ").await;
    tokio::time::sleep(SHORT).await;
    let mut third = server.client().await;
    assert_eq!(third.post("/filter", &good()).await.status, 200);
    assert!(half.read().await.is_none());
    let mut fourth = server.client().await;
    assert_eq!(fourth.post("/filter", &good()).await.status, 200);
    assert!(old.read().await.is_none());
    for client in [&mut fresh, &mut third, &mut fourth] {
        assert_eq!(client.post("/filter", &good()).await.status, 200);
    }
    assert_eq!((dropped(&site, "too_many"), dropped(&site, "replaced")), (0, 2));
}

#[tokio::test]
async fn c06_a_thousand_half_open_clients_lock_nobody_out() {
    let site = Site::new().await;
    let server = Server::start(&site, ConnLimits::default()).await;
    let mut known = server.client().await;
    assert_eq!(known.post("/filter", &good()).await.status, 200);
    let mut half_open = Vec::new();
    for at in 0..1000 {
        let mut client = server.client().await;
        if at % 2 == 0 {
            client.send(b"POST /filter HTTP/1.1\r\nhost: x\r\nx: ").await;
        }
        half_open.push(client);
        if at % 100 == 0 {
            // Somebody new is answered, and somebody known still is.
            assert_eq!(server.client().await.post("/filter", &good()).await.status, 200);
            assert_eq!(known.post("/filter", &good()).await.status, 200);
        }
    }
    let bound = ConnLimits::default().max_connections as i64;
    while site.metrics.connections.get() > bound {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(known.post("/filter", &good()).await.status, 200);
    assert_eq!(dropped(&site, "too_many"), 0);
}

#[tokio::test]
async fn c06_all_bodies_together_are_bounded() {
    let site = Site::new().await;
    let mut limits = ConnLimits::default();
    limits.body.max_total_bytes = 10_000;
    let server = Server::start(&site, limits).await;
    let head = b"POST /filter HTTP/1.1\r\nhost: x\r\ncontent-length: 9000\r\n\r\n";
    let (mut one, mut two) = (server.client().await, server.client().await);
    one.send(&[head.as_slice(), &[b' '; 8000]].concat()).await;
    // Either may be the one too many, but the sum is not exceeded.
    two.send(&[head.as_slice(), &[b' '; 8000]].concat()).await;
    let first = tokio::select! { reply = one.read() => reply, reply = two.read() => reply };
    assert_eq!(first.map(|reply| reply.status), Some(503));
    drop((one, two));
    while site.metrics.connections.get() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(server.client().await.post("/filter", &good()).await.status, 200);
}

#[tokio::test]
async fn c07_ten_thousand_calls_on_one_connection() {
    let site = Site::new().await;
    let server = Server::start(&site, ConnLimits::default()).await;
    let mut client = server.client().await;
    for at in 0..10_000 {
        let reply = client.post("/filter", &good()).await;
        assert_eq!(reply.status, 200, "{at}");
        assert_ne!(reply.headers.get("connection").map(String::as_str), Some("close"));
        assert_eq!(reply.headers["content-type"], "application/json");
    }
    assert_eq!(site.metrics.connections.get(), 1);
    assert_eq!(site.results("filter", "ok"), 10_000);
    // Two requests in one segment are two answers.
    let pair = Client::request("/filter", &good()).repeat(2);
    client.send(pair.as_bytes()).await;
    for _ in 0..2 {
        assert_eq!(client.read().await.map(|reply| reply.status), Some(200));
    }
}

#[tokio::test]
async fn c08_who_is_under_way_is_answered_and_then_it_ends() {
    let api = Api::start().await;
    let site = Site::with(&settings(), |options| options.binder = Some(api.writes())).await;
    api.put("cart-1", Stored { uid: uid_text(1), ..Stored::default() });
    let mut server = Server::start(&site, ConnLimits::default()).await;
    let (mut idle, mut busy) = (server.client().await, server.client().await);
    assert_eq!(idle.post("/filter", &good()).await.status, 200);
    let held = api.hold().await;
    busy.send(Client::request("/bind", &request("b01").to_string()).as_bytes()).await;
    api.wait_for_posts(1).await;
    server.stop();
    // The idle connection is closed, nothing new is accepted, the busy one waits.
    assert!(idle.read().await.is_none());
    while tokio::net::TcpStream::connect(server.address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!server.task.is_finished());
    drop(held);
    let reply = busy.read().await.expect("an answer");
    assert_eq!(
        (reply.headers["connection"].as_str(), reply.text().as_str()),
        ("close", r#"{"Error":""}"#)
    );
    assert!(busy.read().await.is_none());
    tokio::time::timeout(LONG, &mut server.task).await.expect("it ends").expect("well");
}

#[tokio::test]
async fn c08_the_grace_period_is_an_end_in_any_case() {
    let site = Site::new().await;
    let limits = ConnLimits { grace: SHORT, ..ConnLimits::default() };
    let mut server = Server::start(&site, limits).await;
    let mut client = server.client().await;
    client.send(b"POST /filter HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{").await;
    while site.metrics.connections.get() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let started = Instant::now();
    server.stop();
    tokio::time::timeout(LONG, &mut server.task).await.expect("it ends").expect("well");
    assert!(started.elapsed() < LONG);
    assert!(client.read().await.is_none());
}
