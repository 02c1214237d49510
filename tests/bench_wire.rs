//! `sigma-bench wire` from the outside: the rows it prints, and peers that are wrong, dead, or answer
//! otherwise. Nothing here looks at how long anything took.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// Runs the bench, on 100 nodes and for two blocks unless told otherwise; its exit code, stdout and stderr.
fn wire(args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sigma-bench"));
    command.args(["wire"]).args(args);
    for (flag, value) in [("--nodes", "100"), ("--blocks", "2")] {
        if !args.contains(&flag) {
            command.args([flag, value]);
        }
    }
    let out = command.stdin(Stdio::null()).output().expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (out.status.code().expect("no signal"), text(out.stdout), text(out.stderr))
}

fn rows(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

/// Verb and names of each row.
fn sizes(rows: &[Value]) -> Vec<(&str, u64)> {
    let size = |row: &Value| row["names"].as_u64().expect("a count");
    rows.iter().map(|row| (row["verb"].as_str().expect("a verb"), size(row))).collect()
}

fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().expect("a figure")
}

/// An extender of a few lines, which answers `calls` calls and is gone then.
struct Peer {
    addr: SocketAddr,
    /// Path and body of each call.
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Peer {
    /// `refuse` has the last characters of names that are not accepted.
    fn start(refuse: &'static str, calls: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let addr = listener.local_addr().expect("bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("the bench connects");
            // A client that has seen enough closes.
            let _ = serve(stream, refuse, calls, &noted);
        });
        Self { addr, asked }
    }

    fn url(&self) -> String {
        format!("http://{}/at/", self.addr)
    }
}

fn serve(
    mut stream: TcpStream,
    refuse: &str,
    calls: usize,
    asked: &Mutex<Vec<(String, Value)>>,
) -> io::Result<()> {
    let mut requests = BufReader::new(stream.try_clone()?);
    for _ in 0..calls {
        let (mut path, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if requests.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(rest) = line.strip_prefix("POST ") {
                path = rest.split(' ').next().unwrap_or("").to_owned();
            } else if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().expect("a number");
            } else if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        requests.read_exact(&mut body)?;
        let args: Value = serde_json::from_slice(&body)?;
        let names = args["NodeNames"].as_array().expect("names").iter();
        let answer = if path.ends_with("/filter") {
            let ends =
                |name: &&Value| name.as_str().expect("a name").ends_with(|it| refuse.contains(it));
            let accepted: Vec<&Value> = names.filter(|name| !ends(name)).collect();
            json!({"NodeNames": accepted, "Error": ""})
        } else {
            names.map(|name| json!({"Host": name, "Score": 0})).collect()
        };
        asked.lock().expect("no panic").push((path, args));
        let answer = answer.to_string();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len())?;
    }
    Ok(())
}

#[test]
fn alone_it_prints_a_row_for_each_verb_and_number_of_names() {
    let (code, stdout, stderr) = wire(&["--names", "1,50", "-o", "json"]);
    assert_eq!((code, &*stderr), (0, ""), "no progress bar without a terminal");
    let rows = rows(&stdout);
    let want = [("filter", 1), ("filter", 50), ("prioritize", 1), ("prioritize", 50)];
    assert_eq!(sizes(&rows), want);
    let keys = "verb names p50_us p99_us p99_over_p50 peer_p50_us ratio ratio_low ratio_high \
                aa_low aa_high handler_us handler_ratio events events_per_second";
    for row in &rows {
        let has: BTreeSet<&str> = row.as_object().expect("it").keys().map(String::as_str).collect();
        assert_eq!(has, keys.split(' ').collect());
        assert!(0.0 < number(row, "p50_us") && number(row, "p50_us") <= number(row, "p99_us"));
        assert!(number(row, "aa_low") <= number(row, "aa_high"));
        let over = number(row, "p99_us") / number(row, "p50_us");
        assert!((number(row, "p99_over_p50") - over).abs() < 0.01, "{row}");
        assert!(0.0 < number(row, "handler_us") && number(row, "events") == 0.0, "{row}");
        for nobody in ["peer_p50_us", "ratio", "ratio_low", "handler_ratio"] {
            assert!(row[nobody].is_null(), "{row}");
        }
    }
}

#[test]
fn pod_events_reach_sigma_meanwhile_and_change_no_verdict() {
    for case in ["all", "mixed"] {
        // On a busy machine events are taken in later, not never: then it is measured for longer.
        let come = ["8", "80", "800"].iter().any(|blocks| {
            let args = ["--names", "50", "--case", case, "--events", "2000", "--blocks", blocks];
            let (code, stdout, stderr) = wire(&[&args[..], &["-o", "json"]].concat());
            assert_eq!((code, &*stderr), (0, ""), "every answer was as the case says");
            let come = |row| number(row, "events") > 20.0 && number(row, "events_per_second") > 0.0;
            rows(&stdout).iter().all(come)
        });
        assert!(come, "{case}: hardly any event in 800 blocks");
    }
}

#[test]
fn a_larger_cluster_is_asked_about_as_many_names() {
    let args = ["--nodes", "100,300", "--names", "50"];
    let (code, stdout, stderr) = wire(&[&args[..], &["-o", "json"]].concat());
    assert_eq!((code, &*stderr), (0, ""));
    for row in rows(&stdout) {
        assert!(number(&row, "ratio_low") <= number(&row, "ratio"), "{row}");
        assert!(number(&row, "handler_ratio") > 0.0 && number(&row, "handler_us") > 0.0, "{row}");
        assert_eq!(number(&row, "events"), 0.0);
    }
    let (_, stdout, _) = wire(&[&args[..], &["--events", "500"]].concat());
    for part in ["peer sigma with 300 nodes", "as long in the larger cluster", "applied beside 50"]
    {
        assert!(stdout.contains(part), "{part} in {stdout}");
    }
}

#[test]
fn with_a_shortlist_sigma_names_few_and_the_peer_still_all() {
    let peer = Peer::start("369", usize::MAX);
    let args = ["--names", "50", "--case", "mixed", "--shortlist", "--peer", &peer.url()];
    let (code, stdout, stderr) = wire(&[&args[..], &["-o", "json"]].concat());
    assert_eq!((code, &*stderr), (0, ""));
    assert_eq!(sizes(&rows(&stdout)), [("filter", 50), ("prioritize", 50)]);
    let asked = peer.asked.lock().expect("no panic");
    let of_peer = asked.iter().filter(|(path, _)| path.ends_with("prioritize"));
    let names = |(_, body): &(String, Value)| body["NodeNames"].as_array().map_or(0, Vec::len);
    assert!(of_peer.map(names).all(|it| it > 30), "the peer is asked about what it has named");
    drop(asked);
    // Where sigma names few, nobody may who is to do the same work.
    let few = Peer::start("012345678", usize::MAX);
    let (code, _, stderr) = wire(&["--names", "50", "--shortlist", "--peer", &few.url()]);
    assert_eq!(code, 1);
    assert!(stderr.contains("accepted other nodes"), "{stderr}");
}

#[test]
fn a_peer_is_asked_the_same_as_sigma_and_as_kube_scheduler_asks() {
    let peer = Peer::start("369", usize::MAX);
    let args = ["--names", "50", "--case", "mixed", "--peer", &peer.url(), "-o", "json"];
    let (code, stdout, stderr) = wire(&args);
    assert_eq!((code, &*stderr), (0, ""));
    let rows = rows(&stdout);
    assert_eq!(sizes(&rows), [("filter", 50), ("prioritize", 50)]);
    for row in &rows {
        assert!(number(row, "ratio_low") <= number(row, "ratio"), "{row}");
        assert!(number(row, "ratio") <= number(row, "ratio_high"), "{row}");
        assert!(number(row, "peer_p50_us") > 0.0, "{row}");
    }
    let asked = peer.asked.lock().expect("no panic");
    assert_eq!(
        asked.len(),
        (3 + 2) * 2 * 10 * 2,
        "warm-up and rounds, two blocks, ten pods, two verbs"
    );
    for call in asked.chunks(2) {
        let ((filter, offered), (prioritize, candidates)) = (&call[0], &call[1]);
        assert_eq!((&**filter, &**prioritize), ("/at/filter", "/at/prioritize"));
        assert_eq!(offered["Pod"], candidates["Pod"], "prioritize follows the pod's own filter");
        assert!(offered["Nodes"].is_null() && candidates["Nodes"].is_null());
        let accepted = |name: &&Value| !name.as_str().expect("it").ends_with(['3', '6', '9']);
        let offered = offered["NodeNames"].as_array().expect("names");
        let want: Vec<&Value> = offered.iter().filter(accepted).collect();
        assert_eq!(
            candidates["NodeNames"].as_array().expect("names").iter().collect::<Vec<_>>(),
            want
        );
        assert!(offered.len() == 50 && want.len() < 50);
    }
}

#[test]
fn what_was_measured_before_a_peer_died_is_printed() {
    // All of one name, and some of fifty.
    let peer = Peer::start("", (3 + 2) * 2 * 10 * 2 + 30);
    let (code, stdout, stderr) = wire(&["--names", "1,50", "--peer", &peer.url(), "-o", "json"]);
    assert_eq!(code, 1);
    assert_eq!(sizes(&rows(&stdout)), [("filter", 1), ("prioritize", 1)]);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    let want = format!("error: the peer at {}: a call of /at/", peer.url());
    assert!(stderr.starts_with(&want), "{stderr}");
}

#[test]
fn a_peer_that_accepts_other_nodes_is_no_peer() {
    let peer = Peer::start("", usize::MAX);
    let (code, stdout, stderr) = wire(&["--names", "50", "--case", "mixed", "--peer", &peer.url()]);
    assert_eq!((code, &*stdout), (1, ""));
    assert!(
        stderr.contains("filter accepted other nodes than the case says: 50 of 50"),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn flags_that_make_no_sense_are_told_before_anything_is_measured() {
    let unused = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("loopback");
    let nobody = format!("http://{unused}");
    for (args, code, text) in [
        (["--peer", "127.0.0.1:8888"], 2, "not a URL such as http://127.0.0.1:8888"),
        (["--peer", "https://127.0.0.1:8888"], 2, "not a URL such as http://127.0.0.1:8888"),
        (["--peer", "http://"], 2, "invalid value 'http://' for '--peer <URL>'"),
        (["--peer", &nobody], 1, "cannot connect to the peer at http://127.0.0.1:"),
        (["--peer", "http://no.such.host.invalid"], 1, "cannot connect to the peer at"),
        (["--names", "101"], 2, "--names 101: there are only 100 --nodes"),
        (["--nodes", "100,49,200"], 2, "49 is not in 100..=100000"),
        (["--nodes", "100,200,300"], 2, "--nodes: 3 numbers, and two can be compared"),
        (["--events", "100001"], 2, "100001 is not in 0..=100000"),
        (["--names", "0"], 2, "0 is not in 1..=100000"),
        (["--without", "luck"], 2, "[possible values: cut, guess, blocks, memo, scan]"),
    ] {
        let (ended, stdout, stderr) = wire(&[["--names", "50"], args].concat());
        assert_eq!((ended, &*stdout), (code, ""), "{args:?}: {stderr}");
        assert!(stderr.contains(text), "{args:?}: {stderr}");
    }
}

#[test]
fn the_table_tells_what_it_rests_on() {
    let (code, stdout, stderr) = wire(&["--names", "50", "--without", "memo,guess,scan"]);
    assert_eq!((code, &*stderr), (0, ""));
    let rates = "cut 100.0 %, guess 0.0 %, scan 0.0 %, memo 0.0 %";
    for part in ["case all, peer none", "2 blocks A B B A", rates] {
        assert!(stdout.contains(part), "{part} in {stdout}");
    }
}
