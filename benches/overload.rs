//! Keep-alive requests beside half-open clients: how much later the slowest answers come. Told, never
//! judged: wall time on a shared machine. `benches/README.md` has the figures.

mod fixture;
#[path = "fixture/server.rs"]
mod server;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fixture::{NUM_NODES, SIZES, setting};
use server::{Server, args, names_in};
use sigma::http::{ConnLimits, runtime, serve};
use tokio::sync::oneshot;

const NUM_HALF_OPEN: usize = 1000;
/// Undisturbed and disturbed take turns, so that both meet the same machine.
const ROUNDS: usize = 20;
const PODS_A_ROUND: usize = 250;
/// A half-open client gives up, and another one comes, this often.
const REPLACED_EVERY: Duration = Duration::from_millis(1);

fn main() {
    let setting = setting();
    let server = Server::new(&setting);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("it is bound");
    let (stop, stopped) = oneshot::channel::<()>();
    let app = server.extender.clone();
    let verbs = std::thread::spawn(move || {
        runtime().expect("a runtime needs no rights").block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            let stopped = async { drop(stopped.await) };
            serve(listener, app, ConnLimits::default(), stopped).await;
        });
    });
    // As kube-scheduler asks: about a sample of the nodes, then about those that were returned.
    let sample = &setting.names[..SIZES[1]];
    let pods = [&setting.online, &setting.offline, &setting.exempt].map(|pod| {
        let filter = args(pod, sample);
        let returned = names_in(&server.ask("filter", &filter));
        [("filter", filter), ("prioritize", args(pod, &returned))]
    });
    let requests: Vec<Vec<u8>> = pods.iter().flatten().map(request).collect();
    assert_eq!(server.shared.view().snapshot.names.len(), NUM_NODES);
    let mut client = connect(address);
    // The first round pays for caches and connections.
    ask(&mut client, &requests, &mut Vec::new());
    let (mut undisturbed, mut disturbed, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (mut quiet, mut beside) = (Vec::new(), Vec::new());
        ask(&mut client, &requests, &mut quiet);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (opened, open) = std::sync::mpsc::channel();
            scope.spawn(|| half_open(address, &over, opened));
            open.recv().expect("they are open");
            ask(&mut client, &requests, &mut beside);
            over.store(true, Ordering::Relaxed);
        });
        ratios.push(micros(&mut beside, 99) / micros(&mut quiet, 99));
        undisturbed.append(&mut quiet);
        disturbed.append(&mut beside);
    }
    println!("{} requests each, on one connection kept alive", undisturbed.len());
    show("undisturbed", &mut undisturbed);
    show(&format!("beside {NUM_HALF_OPEN} half-open clients"), &mut disturbed);
    // What else the machine does meets some rounds and not others: the middle one counts.
    ratios.sort_by(f64::total_cmp);
    let [low, middle, high] = [1, 2, 3].map(|quarter| ratios[ROUNDS * quarter / 4]);
    println!(
        "p99 of a round, the latter ÷ the former: {middle:.2} (quartiles {low:.2}, {high:.2})"
    );
    assert!(server.names_returned("filter") > 0, "every answer was decided by the rules");
    assert!(server.num_remembered() > 0, "prioritize was answered from its filter");
    drop((stop, client));
    verbs.join().expect("no panic");
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    stream
}

/// Opens them all, then replaces one after the other. Every other one says half a header.
fn half_open(address: SocketAddr, over: &AtomicBool, opened: std::sync::mpsc::Sender<()>) {
    let open = |at: usize| {
        let mut stream = connect(address);
        if at.is_multiple_of(2) {
            stream.write_all(b"POST /filter HTTP/1.1\r\nhost: ").expect("it was accepted");
        }
        stream
    };
    let mut all: Vec<TcpStream> = (0..NUM_HALF_OPEN).map(open).collect();
    opened.send(()).expect("somebody waits");
    for at in (0..NUM_HALF_OPEN).cycle() {
        if over.load(Ordering::Relaxed) {
            return;
        }
        all[at] = open(at);
        std::thread::sleep(REPLACED_EVERY);
    }
}

fn request((verb, body): &(&str, Bytes)) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST /{verb} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// Asks filter and prioritize about one pod after the other; the time of each call.
fn ask(client: &mut TcpStream, requests: &[Vec<u8>], times: &mut Vec<Duration>) {
    let mut reply = vec![0; 1 << 20];
    for request in requests.iter().cycle().take(2 * PODS_A_ROUND) {
        let started = Instant::now();
        client.write_all(request).expect("it reads");
        let mut filled = 0;
        while !is_whole(&reply[..filled]) {
            let count = client.read(&mut reply[filled..]).expect("it answers");
            assert!(count > 0, "the connection was closed");
            filled += count;
        }
        times.push(started.elapsed());
    }
}

/// Whether a response is here in full; panics if it is no verdict.
fn is_whole(reply: &[u8]) -> bool {
    let Some(end) = reply.windows(4).position(|it| it == b"\r\n\r\n") else { return false };
    let head = std::str::from_utf8(&reply[..end]).expect("a head is text");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.and_then(|it| it.parse().ok()).expect("a length");
    reply.len() >= end + 4 + length
}

fn show(what: &str, times: &mut [Duration]) {
    let (p50, p99) = (micros(times, 50), micros(times, 99));
    println!("{what:<30} p50 {p50:>7.1} µs   p99 {p99:>7.1} µs");
}

/// A percentile, in microseconds.
fn micros(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    times[times.len() * percent / 100].as_secs_f64() * 1e6
}
