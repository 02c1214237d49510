//! A bad policy and a restart: the last good policy serves, and without one sigma is alive and not ready.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::reload::hopeless;
use crate::site::{FULL, Site, accepted, node, placed, pod, policy, refused};
use crate::support::http;
use crate::support::process::{Sigma, run};
use crate::support::wait;

const ERRORS: &str = "sigma_policy_load_errors_total";
const STALE: &str = "sigma_policy_stale";
const CLOSED: &str = "sigma: pool is not open to the pod's class";

/// Ways in which the policy on disk can be none: its bytes, `None` for no file at all, and a part of what
/// is said of it.
fn broken() -> Vec<(&'static str, Option<Vec<u8>>, &'static str)> {
    let fault = policy("second", 50).replace("allocation", "alocation");
    let whole = policy("second", 50);
    let cut = whole.split_once("50%").expect("a limit").0.to_owned();
    let mut all = vec![
        ("a fault", Some(fault.into_bytes()), "policy.yaml:7:3: P0103"),
        ("cut off", Some(cut.into_bytes()), "policy.yaml:"),
        ("no file", None, "No such file"),
        ("empty", Some(Vec::new()), "empty"),
        ("blank", Some(b" \n\n".to_vec()), "empty"),
    ];
    all.extend(hopeless().into_iter().map(|(what, bytes, code)| (what, Some(bytes), code)));
    all
}

impl Site {
    fn put_policy(&self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.write_policy(bytes),
            // It may be gone already.
            None => drop(fs::remove_file(self.policy_file())),
        }
    }

    fn state_dir(&self) -> PathBuf {
        self.path("state")
    }

    fn state_file(&self) -> PathBuf {
        self.state_dir().join("policy.state")
    }

    fn start_with_state(&self) -> Sigma {
        let dir = self.state_dir();
        self.start(&["--state-dir", dir.to_str().expect("UTF-8")])
    }

    /// Waits until a policy is kept.
    fn wait_kept(&self, name: &str) {
        let part = format!("metadata: {{name: {name}}}");
        wait(&format!("{name} is kept"), || {
            fs::read(self.state_file()).is_ok_and(|it| String::from_utf8_lossy(&it).contains(&part))
        });
    }
}

fn source(sigma: &Sigma) -> Value {
    sigma.json("/api/v1/policy")["source"].clone()
}

fn source_metric(sigma: &Sigma) -> [f64; 3] {
    ["file", "state_dir", "none"]
        .map(|it| sigma.metric(&format!("sigma_policy_source{{source=\"{it}\"}}")))
}

/// Row 35, a restart while the policy on disk has a fault, is empty or is gone: the process starts from the last
/// good policy in `--state-dir`, and is ready. `sigma_policy_stale` is 1 and `sigma_policy_source` is `state_dir`
/// until a good policy is on disk.
#[test]
fn a_restart_beside_a_broken_policy_starts_from_the_last_good_one() {
    let site = Site::new();
    site.api.put("pods", placed("full", "2", "n1"));
    let sigma = site.start_with_state();
    sigma.wait_ready();
    assert_eq!((source(&sigma), source_metric(&sigma)), ("file".into(), [1.0, 0.0, 0.0]));
    site.wait_kept("first");
    let accepted_at = sigma.metric("sigma_policy_accepted_timestamp_seconds");
    assert!(accepted_at > 1.7e9, "{accepted_at}");
    drop(sigma);
    for (what, bytes, why) in broken() {
        println!("{what}");
        site.put_policy(bytes.as_deref());
        let events = site.api.writes("events").len();
        let sigma = site.start_with_state();
        sigma.wait_ready();
        assert_eq!(sigma.policy(), ("first".to_owned(), 1), "{what}");
        assert_eq!((source(&sigma), source_metric(&sigma)), ("state_dir".into(), [0.0, 1.0, 0.0]));
        assert_eq!((sigma.metric(STALE), sigma.metric(ERRORS)), (1.0, 1.0), "{what}");
        // It is as old as it was before the restart.
        assert_eq!(sigma.metric("sigma_policy_accepted_timestamp_seconds"), accepted_at);
        let page = sigma.get("/readyz?verbose").body;
        let line = "[-] policy: first generation 1; the one on disk is not in force: ";
        assert!(page.contains(line) && page.contains(why), "{what}: {page}");
        assert!(page.contains("; from the state dir, accepted "), "{what}: {page}");
        assert_eq!(refused(&sigma.filter(&pod("a", "1"), &["n1"])), FULL, "{what}");
        wait("an event", || site.api.writes("events").len() == events + 1);
        let event = &site.api.writes("events")[events].body;
        assert_eq!(event["reason"], "PolicyRejected");
        let said = event["message"].as_str().unwrap_or_default();
        assert!(said.contains("the last good one, \"first\", accepted"), "{said}");
    }
    // A good one is in force without a restart, and the next start begins with it.
    let sigma = site.start_with_state();
    site.write_policy(policy("second", 100));
    wait("the good one is in force", || sigma.policy() == ("second".to_owned(), 2));
    assert_eq!((source(&sigma), sigma.metric(STALE)), ("file".into(), 0.0));
    assert_eq!(accepted(&sigma.filter(&pod("a", "1"), &["n1"])), ["n1"]);
    site.wait_kept("second");
    drop(sigma);
    site.put_policy(None);
    assert_eq!(site.start_with_state().policy().0, "second");
    // One that changed while nobody looked wins over the one that was kept.
    site.write_policy(policy("third", 50));
    let sigma = site.start_with_state();
    assert_eq!((sigma.policy().0, source(&sigma)), ("third".to_owned(), "file".into()));
    assert_eq!(sigma.metric(STALE), 0.0);
    site.wait_kept("third");
}

/// Nodes of a virtual kubelet, however it says so.
fn virtual_nodes() -> [(&'static str, Value); 3] {
    let taint = |value: &str| json!([{"key": "virtual-kubelet.io/provider", "value": value, "effect": "NoSchedule"}]);
    let labelled = json!({"type": "virtual-kubelet"});
    [("by-label", labelled.clone(), json!([])), ("by-taint", json!({}), taint("alibabacloud")), {
        ("by-both", labelled, taint(""))
    }]
    .map(|(name, labels, taints)| {
        let mut node = node(name, "1000");
        (node["metadata"]["labels"], node["spec"]["taints"]) = (labels, taints);
        (name, node)
    })
}

/// A pod that virtual nodes would take.
fn tolerant(name: &str) -> Value {
    let mut pod = pod(name, "1");
    pod["spec"]["tolerations"] =
        json!([{"key": "virtual-kubelet.io/provider", "operator": "Exists"}]);
    pod
}

fn owned_by(kind: &str, mut pod: Value) -> Value {
    pod["metadata"]["ownerReferences"] = json!([
        {"apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "u-1", "controller": true}
    ]);
    pod
}

fn in_kube_system(mut pod: Value) -> Value {
    pod["metadata"]["namespace"] = "kube-system".into();
    pod
}

/// Row 35, a start without any good policy: the process is alive, answers, and is not ready, so the old pods of a
/// rollout stay. sigma rejects only virtual nodes, for all pods except exempt pods and those of DaemonSets.
/// kube-scheduler decides everything else. `sigma_policy_source` is `none`. sigma becomes ready with a good policy.
#[test]
fn without_any_good_policy_it_answers_and_is_not_ready() {
    for (what, bytes, why) in broken() {
        println!("{what}");
        let site = Site::new();
        site.api.put("pods", placed("full", "2", "n1"));
        for (_, node) in virtual_nodes() {
            site.api.put("nodes", node);
        }
        site.put_policy(bytes.as_deref());
        let sigma = site.start(&[]);
        wait("the lists are in", || sigma.metric("sigma_watch_synced{resource=\"pods\"}") == 1.0);
        wait("nodes are in", || sigma.json("/api/v1/status")["nodes"] == 5);
        let page = sigma.get("/readyz");
        assert_eq!((page.status, sigma.get("/livez").status), (503, 200), "{what}");
        let line =
            "[-] policy: none, and virtual nodes are shut; the one on disk is not in force: ";
        assert!(page.body.contains(line) && page.body.contains(why), "{what}: {}", page.body);
        assert_eq!(page.body.matches("[-]").count(), 1, "{}", page.body);
        assert_eq!((source(&sigma), source_metric(&sigma)), ("none".into(), [0.0, 0.0, 1.0]));
        assert_eq!((sigma.metric(STALE), sigma.metric(ERRORS)), (1.0, 1.0), "{what}");
        assert_eq!(sigma.policy(), ("none".to_owned(), 0), "{what}");
        assert_eq!(sigma.json("/api/v1/policy")["age_seconds"], Value::Null);

        let all = ["n1", "by-label", "n2", "by-taint", "by-both"];
        // No limit of a pool binds: n1 is half full.
        assert_eq!(accepted(&sigma.filter(&tolerant("a"), &all)), ["n1", "n2"], "{what}");
        for it in ["by-label", "by-taint", "by-both"] {
            assert_eq!(refused(&sigma.filter(&tolerant("a"), &[it])), CLOSED, "{what}");
        }
        let replica = owned_by("ReplicaSet", tolerant("r"));
        assert_eq!(accepted(&sigma.filter(&replica, &all)), ["n1", "n2"], "{what}");
        let daemon = owned_by("DaemonSet", tolerant("d"));
        assert_eq!(accepted(&sigma.filter(&daemon, &all)), all, "{what}");
        let exempt = in_kube_system(tolerant("dns"));
        assert_eq!(accepted(&sigma.filter(&exempt, &all)), all, "{what}");
        // Prioritize has no opinion.
        let args = json!({"Pod": tolerant("b"), "Nodes": null, "NodeNames": ["n1", "n2"]});
        let reply = http::post(sigma.verbs, "/prioritize", args.to_string().as_bytes());
        let scores: Vec<Value> = serde_json::from_str(&reply.body).expect("JSON");
        assert!(scores.iter().all(|it| it["Score"] == scores[0]["Score"]), "{reply:?}");
        wait("an event", || site.api.writes("events").len() == 1);
        let event = &site.api.writes("events")[0].body;
        assert_eq!(
            (&event["reason"], &event["type"]),
            (&"PolicyRejected".into(), &"Warning".into())
        );

        site.write_policy(policy("first", 50));
        sigma.wait_ready();
        assert_eq!(sigma.policy(), ("first".to_owned(), 1), "{what}");
        assert_eq!((source(&sigma), sigma.metric(STALE)), ("file".into(), 0.0), "{what}");
        assert_eq!(refused(&sigma.filter(&pod("a", "1"), &["n1"])), FULL, "{what}");
    }
}

/// Row 36, `--policy` names a missing file or folder, or a folder without exactly one policy: the behaviour is the
/// same as without any good policy. The cause may be a mistake or a mount that comes later. sigma waits for the
/// policy, and shows the path in its messages.
#[test]
fn a_place_without_exactly_one_policy_is_waited_for() {
    let site = Site::new();
    let dir = site.path("later");
    let sigma = site.start(&["--policy", dir.to_str().expect("UTF-8")]);
    let says = |part: &str| {
        wait(part, || {
            let page = sigma.get("/readyz");
            page.status == 503 && page.body.contains(part)
        });
    };
    says("cannot read the policy");
    says("later: No such file");
    fs::create_dir(&dir).expect("a directory");
    fs::write(dir.join("a.yaml"), policy("a", 50)).expect("written");
    wait("it has come", || sigma.policy() == ("a".to_owned(), 1));
    sigma.wait_ready();
    drop(sigma);
    let starts_with = |parts: [&str; 2]| {
        let sigma = site.start(&["--policy", dir.to_str().expect("UTF-8")]);
        let page = sigma.get("/readyz");
        assert!(page.status == 503 && parts.iter().all(|it| page.body.contains(it)), "{page:?}");
    };
    fs::write(dir.join("b.yaml"), policy("b", 50)).expect("written");
    starts_with(["more than one policy", "a.yaml and b.yaml"]);
    for name in ["a.yaml", "b.yaml"] {
        fs::remove_file(dir.join(name)).expect("removed");
    }
    starts_with(["no *.yaml file", "later"]);
    // Nobody writes to the pipe, and sigma does not wait for that.
    let made = Command::new("mkfifo").arg(dir.join("pipe.yaml")).status().expect("mkfifo runs");
    assert!(made.success());
    starts_with(["pipe.yaml", "is not a file"]);
}

/// Row 36, the state directory is damaged, or sigma cannot write to it: sigma reports that and continues. It
/// renames an unusable file and creates a new one. A policy is in force even if sigma cannot save it
/// (`sigma_state_write_errors_total`).
#[test]
fn a_state_directory_of_no_use_harms_nobody() {
    let site = Site::new();
    drop(site.start_with_state());
    for (what, damage) in
        [("cut", &b"sigma-state 1 pol"[..]), ("foreign", b"\0\0\0"), ("empty", b"")]
    {
        fs::create_dir_all(site.state_dir()).expect("a directory");
        fs::write(site.state_file(), damage).expect("written");
        // Beside a good policy it costs a line in the log, and is put right.
        let sigma = site.start_with_state();
        sigma.wait_ready();
        assert_eq!(
            (sigma.policy().0, source(&sigma)),
            ("first".to_owned(), "file".into()),
            "{what}"
        );
        assert_eq!(sigma.logged("the last good policy is lost"), 1, "{:?}", sigma.lines());
        site.wait_kept("first");
        assert_eq!(fs::read(site.state_dir().join("policy.state.bad")).expect("aside"), damage);
        drop(sigma);
        // Beside a bad one there is none.
        fs::write(site.state_file(), damage).expect("written");
        site.put_policy(None);
        let sigma = site.start_with_state();
        assert_eq!((sigma.get("/readyz").status, source(&sigma)), (503, "none".into()), "{what}");
        site.write_policy(policy("first", 50));
        sigma.wait_ready();
        site.wait_kept("first");
    }
    fs::remove_dir_all(site.state_dir()).expect("removed");
    fs::write(site.state_dir(), "a file").expect("written");
    let sigma = site.start_with_state();
    sigma.wait_ready();
    sigma.wait_metric("sigma_state_write_errors_total", 1.0);
    let error = sigma.json("/api/v1/policy")["state_error"].clone();
    assert!(error.as_str().is_some_and(|it| it.contains("cannot write")), "{error}");
    assert!(sigma.get("/readyz?verbose").body.contains("; not kept: cannot write"));
    site.write_policy(policy("second", 50));
    wait("reloads go on", || sigma.policy().0 == "second");
}

/// The file of a sigma with these checks that had this policy in force.
fn kept_by(checks: u32, policy: &str) -> Vec<u8> {
    let payload = format!("checks {checks}\n{policy}");
    let head = format!("sigma-state 1 policy 1 1700000000 {}", payload.len());
    let sum = Sha256::new().chain_update(&head).chain_update(&payload).finalize();
    let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{head} {sum}\n{payload}").into_bytes()
}

/// Row 35, an upgrade to a version of sigma whose new checks find errors in the policy in force: a start accepts
/// the same bytes, and reports the findings as warnings. `sigma policy lint` and a reload refuse them.
#[test]
fn what_the_version_before_accepted_stays_in_force_at_a_start() {
    let site = Site::new();
    let odd = policy("odd", 50) + "pols: []\n";
    let change = |text: &str| site.write_policy(text);
    change(&odd);
    fs::create_dir(site.state_dir()).expect("a directory");
    // No check of this version was known to generation 0.
    fs::write(site.state_file(), kept_by(0, &odd)).expect("written");
    let sigma = site.start_with_state();
    sigma.wait_ready();
    assert_eq!((sigma.policy(), source(&sigma)), (("odd".to_owned(), 1), "file".into()));
    assert_eq!((sigma.metric(STALE), sigma.metric(ERRORS)), (0.0, 0.0));
    assert_eq!(sigma.metric("sigma_policy_accepted_timestamp_seconds"), 1.7e9);
    assert_eq!(sigma.logged("P0103 a policy has no field `pols`"), 1, "{:?}", sigma.lines());
    let file = site.policy_file();
    let lint = run(&["policy", "lint", file.to_str().expect("UTF-8")]);
    assert_eq!(lint.status.code(), Some(1));
    // Any other bytes are a change, which the new checks refuse.
    change(&format!("{odd}# a comment\n"));
    sigma.wait_metric(STALE, 1.0);
    assert_eq!((sigma.metric(ERRORS), sigma.policy()), (1.0, ("odd".to_owned(), 1)));
    // Back to what is in force: nothing is stale, and nothing changes.
    change(&odd);
    sigma.wait_metric(STALE, 0.0);
    assert_eq!((sigma.metric(ERRORS), sigma.policy()), (1.0, ("odd".to_owned(), 1)));
    drop(sigma);
    // The same beside a file that is gone; a policy that this version would have refused helps nobody.
    site.put_policy(None);
    assert_eq!(source(&site.start_with_state()), "state_dir");
    fs::write(site.state_file(), kept_by(1_000_000, &odd)).expect("written");
    assert_eq!(source(&site.start_with_state()), "none");
}

/// Two replicas on one machine may share a directory: each keeps what it accepts, and both start from it.
#[test]
fn two_processes_share_a_state_directory() {
    let site = Site::new();
    let both = [site.start_with_state(), site.start_with_state()];
    site.write_policy(policy("second", 50));
    for sigma in &both {
        wait("it is in force", || sigma.policy().0 == "second");
    }
    site.wait_kept("second");
    drop(both);
    site.put_policy(None);
    let by_variable = || {
        let mut command = site.command(&[]);
        command.env("SIGMA_STATE_DIR", site.state_dir());
        Sigma::start(command)
    };
    for sigma in [site.start_with_state(), by_variable()] {
        assert_eq!((sigma.policy().0, source(&sigma)), ("second".to_owned(), "state_dir".into()));
    }
}

/// An empty variable in a manifest means that it is not set.
#[test]
fn without_a_state_directory_nothing_is_kept() {
    let site = Site::new();
    for unset in [false, true] {
        let mut command = site.command(&[]);
        if !unset {
            command.env("SIGMA_STATE_DIR", "");
        }
        command.current_dir(site.dir.path());
        let sigma = Sigma::start(command);
        site.write_policy(policy(if unset { "second" } else { "third" }, 50));
        wait("it is in force", || sigma.policy().0 != "first");
        assert_eq!(sigma.json("/api/v1/policy")["state_error"], Value::Null);
    }
    let entries = fs::read_dir(site.dir.path()).expect("a directory");
    let kept = entries.flatten().filter(|it| it.file_name().to_string_lossy().contains("state"));
    assert_eq!(kept.count(), 0);
}
