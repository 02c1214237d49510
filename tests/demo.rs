//! `sigma demo` from the outside: the binary, its output, its exit codes. Whoever doubts its
//! figures recounts them from `--bindings`, as this does.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};
use sigma::model::{Amounts, Node};
use sigma::rules::Share;
use sigma::sim;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn demo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sigma"));
    command.arg("demo").args(args).stdin(Stdio::null());
    command
}

fn output(args: &[&str]) -> Result<Output> {
    Ok(demo(args).output()?)
}

fn json(args: &[&str]) -> Result<Value> {
    let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
    let out = output(&args)?;
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    assert!(out.stderr.is_empty(), "no progress bar without a terminal");
    Ok(serde_json::from_slice(&out.stdout)?)
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().expect("a count is not negative, not null and not missing")
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// `pod → (node, cpu_milli, memory_bytes)`.
fn read_bindings(path: &Path) -> Result<BTreeMap<String, (String, i64, i64)>> {
    let text = std::fs::read_to_string(path)?;
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("pod,node,cpu_milli,memory_bytes"));
    let mut bindings = BTreeMap::new();
    for line in lines {
        let [pod, node, cpu, memory] = line.split(',').collect::<Vec<_>>()[..] else {
            return Err(format!("not four columns: {line}").into());
        };
        let before =
            bindings.insert(pod.to_owned(), (node.to_owned(), cpu.parse()?, memory.parse()?));
        assert!(before.is_none(), "{pod} is bound twice");
    }
    Ok(bindings)
}

#[test]
fn the_json_has_the_promised_shape() -> Result {
    let summary = json(&["--nodes", "100"])?;
    let want = "nodes pods bound unbound pools filter prioritize decisions_per_second rejected \
                checksum";
    assert_eq!(keys(&summary), want.split_whitespace().collect());
    assert_eq!(number(&summary, "nodes"), 100);
    let (bound, unbound) = (number(&summary, "bound"), number(&summary, "unbound"));
    assert_eq!(bound + unbound, number(&summary, "pods"));
    assert!(bound > 0 && unbound > 0, "the default load is a little more than there is room for");
    let pools = summary["pools"].as_array().ok_or("pools is no list")?;
    let want = "name nodes pods cpu_allocated_pct memory_allocated_pct";
    for pool in pools {
        assert_eq!(keys(pool), want.split_whitespace().collect());
        let elastic = pool["name"] == "eci";
        assert_eq!(pool["cpu_allocated_pct"].is_null(), elastic, "{pool}");
        assert_eq!(pool["memory_allocated_pct"].is_null(), elastic, "{pool}");
    }
    let names: Vec<&Value> = pools.iter().map(|pool| &pool["name"]).collect();
    assert_eq!(names, ["shenlong", "ecs", "eci"], "the pools of the built-in policy, in its order");
    for verb in ["filter", "prioritize"] {
        let row = &summary[verb];
        assert_eq!(keys(row), ["calls", "p50_us", "p99_us"].into());
        assert!(number(row, "p50_us") <= number(row, "p99_us") && number(row, "calls") > 0);
    }
    assert!(number(&summary["filter"], "calls") >= bound, "no binding without a filter call");
    assert!(summary["decisions_per_second"].as_f64() > Some(0.0));
    let rejected = summary["rejected"].as_array().ok_or("rejected is no list")?;
    assert!(rejected.iter().all(|row| keys(row) == ["reason", "count"].into()));
    assert_eq!(rejected.iter().map(|row| number(row, "count")).sum::<u64>(), unbound);
    let checksum = summary["checksum"].as_str().ok_or("checksum is no text")?;
    assert!(checksum.len() == 64 && checksum.bytes().all(|it| it.is_ascii_hexdigit()));
    Ok(())
}

#[test]
fn the_figures_can_be_recounted() -> Result {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("bindings.csv");
    let file = path.to_str().ok_or("the path is no text")?;
    let summary = json(&["--nodes", "300", "--seed", "5", "--bindings", file])?;
    let bindings = read_bindings(&path)?;
    assert_eq!(bindings.len() as u64, number(&summary, "bound"));
    let mut hash = Sha256::new();
    for (pod, (node, _, _)) in &bindings {
        hash.update(format!("{pod} {node}\n"));
    }
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(summary["checksum"], hex.as_str());
    recount(&summary, &bindings)
}

/// Holds the summary's pools and the policy's limits against the bindings.
fn recount(summary: &Value, bindings: &BTreeMap<String, (String, i64, i64)>) -> Result {
    let plan = default_plan()?;
    let nodes = sim::cluster(300, 5).nodes;
    let mut used: BTreeMap<&str, Amounts> = BTreeMap::new();
    for (node, cpu_milli, memory_bytes) in bindings.values() {
        let (cpu_milli, memory_bytes) = (*cpu_milli, *memory_bytes);
        *used.entry(node).or_default() +=
            Amounts { cpu_milli, memory_bytes, ephemeral_bytes: 0, pods: 1 };
    }
    let used_on = |node: &Node| used.get(&*node.name).copied().unwrap_or_default();
    let known: BTreeSet<&str> = nodes.iter().map(|node| &*node.name).collect();
    assert!(used.keys().all(|node| known.contains(node)));
    for (at, pool) in plan.pools.iter().enumerate() {
        let row = &summary["pools"][at];
        assert_eq!(row["name"], pool.name.as_str());
        let first_match = |node: &&Node| {
            plan.pools.iter().position(|pool| pool.matcher.matches(node)) == Some(at)
        };
        let members: Vec<&Node> = nodes.iter().filter(first_match).collect();
        assert_eq!(number(row, "nodes"), members.len() as u64);
        let (mut sum, mut has) = (Amounts::default(), Amounts::default());
        for node in &members {
            sum += used_on(node);
            has += node.allocatable;
        }
        assert_eq!(number(row, "pods"), sum.pods as u64);
        if pool.elastic {
            let limit = pool.limit.ok_or("the built-in policy bounds its elastic pool")?;
            assert!(sum.cpu_milli <= limit.cpu_milli && sum.pods <= limit.pods);
            assert!(sum.memory_bytes <= limit.memory_bytes);
            assert!(sum.pods > 0, "some pods spill");
            continue;
        }
        let shares = plan.classes.iter().filter_map(|class| class.params.pools.get(at));
        let cpu_share = shares.clone().map(|it| it.allocation.cpu_permille).max().unwrap_or(1000);
        let memory_share = shares.map(|it| it.allocation.memory_permille).max().unwrap_or(1000);
        for node in &members {
            let (on, of) = (used_on(node), node.allocatable);
            assert!(on.cpu_milli <= Share::of(cpu_share, of.cpu_milli), "{}", node.name);
            assert!(on.memory_bytes <= Share::of(memory_share, of.memory_bytes), "{}", node.name);
            assert!(on.pods <= of.pods);
        }
        let percent = |used: i64, has: i64| used as f64 / has as f64 * 100.0;
        let cpu = percent(sum.cpu_milli, has.cpu_milli);
        let near =
            |key: &str, want: f64| row[key].as_f64().is_some_and(|told| (told - want).abs() < 0.01);
        assert!(near("cpu_allocated_pct", cpu), "{row}: {cpu}");
        assert!(near("memory_allocated_pct", percent(sum.memory_bytes, has.memory_bytes)));
        // The pool's own allocation is what a class without one of its own may fill.
        let default = plan.class(plan.default_class).params.pools.get(at).ok_or("no such pool")?;
        let full = f64::from(default.allocation.cpu_permille) / 10.0;
        assert!(cpu > full * 0.9, "{} is not full: {cpu} of {full}", pool.name);
    }
    Ok(())
}

#[test]
fn the_same_seed_gives_the_same_places_however_it_is_shown() -> Result {
    let small = ["--nodes", "120", "--seed", "9"];
    let first = json(&small)?;
    assert_eq!(first["checksum"], json(&small)?["checksum"]);
    let table = String::from_utf8(output(&small)?.stdout)?;
    assert!(table.contains(first["checksum"].as_str().ok_or("no checksum")?), "{table}");
    for word in ["shenlong", "ecs", "eci", "online", "offline", "filter", "prioritize", "p99"] {
        assert!(table.contains(word), "the table lacks {word}: {table}");
    }
    assert!(!table.contains('\u{1b}'), "no colours where nobody watches");
    let other = json(&["--nodes", "120", "--seed", "10"])?;
    assert_ne!(first["checksum"], other["checksum"]);
    Ok(())
}

#[test]
fn fewer_pods_fill_the_same_nodes_less() -> Result {
    let percent = |pods: &str| -> Result<f64> {
        let summary = json(&["--nodes", "120", "--pods", pods])?;
        assert_eq!(number(&summary, "pods").to_string(), pods);
        let pools = summary["pools"].as_array().ok_or("pools is no list")?;
        Ok(pools.iter().filter_map(|pool| pool["cpu_allocated_pct"].as_f64()).sum())
    };
    let (none, few, more) = (percent("0")?, percent("50")?, percent("300")?);
    assert!(none == 0.0 && few > none && more > few, "{none} {few} {more}");
    Ok(())
}

#[test]
fn the_smallest_runs_work() -> Result {
    let summary = json(&["--pods", "0", "--nodes", "1"])?;
    assert_eq!(number(&summary, "pods") + number(&summary["filter"], "p99_us"), 0);
    assert_eq!(summary["checksum"], format!("{:x}", Sha256::digest(b"")).as_str());
    let summary = json(&["--nodes", "1"])?;
    assert_eq!((number(&summary, "nodes"), number(&summary["prioritize"], "calls")), (1, 0));
    assert!(number(&summary, "bound") > 0);
    Ok(())
}

/// Exit code and the one line on stderr; nothing on stdout.
fn failure(args: &[&str]) -> Result<(Option<i32>, String)> {
    let out = output(args)?;
    assert!(out.stdout.is_empty(), "{args:?}");
    let text = String::from_utf8(out.stderr)?;
    Ok((out.status.code(), text))
}

#[test]
fn failures_are_one_line_and_have_their_exit_code() -> Result {
    let dir = tempfile::tempdir()?;
    let bad = dir.path().join("bad.yaml");
    std::fs::File::create(&bad)?.write_all(b"kind: SchedulingPolicy\npolls: []\n")?;
    let bad = bad.to_str().ok_or("the path is no text")?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let taken = taken.local_addr()?.to_string();
    let nowhere = dir.path().join("no/such/dir.csv");
    let nowhere = nowhere.to_str().ok_or("the path is no text")?;
    let cases: [(&[&str], i32, &str); 5] = [
        (&["--nodes", "9", "--listen", &taken], 1, &taken),
        (&["--nodes", "9", "--policy", bad], 1, "bad.yaml"),
        (&["--nodes", "9", "--policy", "/no/such.yaml"], 2, "cannot read /no/such.yaml"),
        (&["--nodes", "9", "--policy", "/"], 2, "cannot read /"),
        (&["--nodes", "9", "--bindings", nowhere], 2, "cannot create"),
    ];
    for (args, code, words) in cases {
        let (got, text) = failure(args)?;
        assert_eq!(got, Some(code), "{args:?}: {text}");
        assert!(text.starts_with("error: ") && text.contains(words), "{args:?}: {text}");
        if args.contains(&bad) {
            assert!(
                text.contains("bad.yaml:2:1") && text.contains("did you mean `pools`"),
                "{text}"
            );
            continue;
        }
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    for args in [&["--nodes", "0"][..], &["--nodes", "x"], &["--listen", "nowhere"], &["--what"]] {
        let (code, text) = failure(args)?;
        assert_eq!(code, Some(2), "{args:?}");
        assert!(text.starts_with("error: "), "{text}");
    }
    Ok(())
}

#[test]
fn a_reader_that_goes_away_is_no_failure() -> Result {
    let mut child = demo(&["--nodes", "9", "--pods", "20"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(child.stdout.take());
    let out = child.wait_with_output()?;
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    Ok(())
}

#[cfg(unix)]
#[test]
fn keep_listens_until_it_is_told_to_stop() -> Result {
    for signal in ["TERM", "INT"] {
        let mut child = demo(&["--nodes", "9", "--pods", "20", "-o", "json", "--keep"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut said = String::new();
        let stderr = child.stderr.take().ok_or("no stderr")?;
        BufReader::new(stderr).read_line(&mut said)?;
        let addr = said.split("http://").nth(1).and_then(|rest| rest.split(' ').next());
        let addr = addr.ok_or("it does not tell where it listens")?;
        let mut stream = std::net::TcpStream::connect(addr)?;
        let pod = r#"{"metadata":{"name":"p","namespace":"tools","uid":"u"}}"#;
        let body = format!(r#"{{"Pod":{pod},"Nodes":null,"NodeNames":["n-00000"]}}"#);
        write!(stream, "POST /filter HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")?;
        write!(
            stream,
            "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("n-00000"), "{answer}");
        let killed = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status()?;
        assert!(killed.success());
        let mut printed = String::new();
        child.stdout.take().ok_or("no stdout")?.read_to_string(&mut printed)?;
        assert!(serde_json::from_str::<Value>(&printed).is_ok(), "exactly one object: {printed}");
        assert_eq!(child.wait()?.code(), Some(0), "SIG{signal}");
    }
    Ok(())
}

/// What `--keep` says to try, after the line that says where it listens.
#[cfg(unix)]
fn commands(child: &mut std::process::Child) -> Result<Vec<String>> {
    let stderr = child.stderr.take().ok_or("no stderr")?;
    let lines = BufReader::new(stderr).lines().skip(1).take(4);
    let lines = lines.collect::<std::io::Result<Vec<_>>>()?;
    assert_eq!(lines.first().map(String::as_str), Some("try:"));
    Ok(lines[1..].to_vec())
}

#[cfg(unix)]
#[test]
fn what_keep_says_to_try_works_as_printed() -> Result {
    // Some pods without a node; none; and no pod at all.
    for pods in ["4000", "20", "0"] {
        let mut child = demo(&["--nodes", "9", "--pods", pods, "-o", "json", "--keep"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let commands = commands(&mut child)?;
        let ran = commands.iter().map(|it| Command::new("sh").args(["-c", it]).output());
        let ran = ran.collect::<std::io::Result<Vec<_>>>();
        child.kill()?;
        child.wait()?;
        let mut printed = Vec::new();
        for (out, command) in ran?.into_iter().zip(&commands) {
            assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
            printed.push(String::from_utf8(out.stdout)?);
        }
        let [why, metrics, policy] = &printed[..] else { return Err("not three commands".into()) };
        assert!(why.contains(": pending, class ") && why.contains("nodes would take it"), "{why}");
        assert!(metrics.contains("\nsigma_build_info{revision=\""), "{metrics}");
        let policy: Value = serde_json::from_str(policy)?;
        assert_eq!(policy["name"], "default");
        // A pod that found no node is asked about where there is one, else one that finds a node.
        let is_refused = why.contains("\n0 of 9 nodes") && why.contains(" > limit ");
        assert_eq!(is_refused, pods == "4000", "{why}");
    }
    Ok(())
}

#[test]
fn the_version_names_the_revision() -> Result {
    let run = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_sigma")).args(args).output();
    let out = run(&["version", "-o", "json"])?;
    let it: Value = serde_json::from_slice(&out.stdout)?;
    assert_eq!(keys(&it), BTreeSet::from(["revision", "version"]));
    assert_eq!(it["version"], env!("CARGO_PKG_VERSION"));
    let want = option_env!("SIGMA_REVISION").unwrap_or("unknown");
    assert_eq!(it["revision"], want);
    let text = format!("sigma {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(run(&["version"])?.stdout)?, text);
    Ok(())
}

#[test]
fn help_teaches() -> Result {
    let out = output(&["--help"])?;
    let text = String::from_utf8(out.stdout)?;
    for words in ["without a cluster", "Examples:", "--bindings", "Exit codes", "kube-scheduler"] {
        assert!(text.contains(words), "help lacks {words:?}");
    }
    Ok(())
}

fn default_plan() -> Result<std::sync::Arc<sigma::policy::Plan>> {
    let source = include_bytes!("../policies/default.yaml");
    let compiled = sigma::policy::compile("policies/default.yaml", source);
    Ok(compiled.map_err(|faults| format!("{faults:?}"))?.plan)
}
