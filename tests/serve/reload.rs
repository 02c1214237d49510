//! The policy on disk: every way in which it can change, and every way in which it can be broken.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use crate::site::{FULL, Site, accepted, placed, pod, policy, refused};
use crate::support::process::Sigma;
use crate::support::wait;

const ERRORS: &str = "sigma_policy_load_errors_total";
const STALE: &str = "sigma_policy_stale";

/// Waits for a policy; it should be in force within two seconds.
fn wait_policy(sigma: &Sigma, name: &str, how: &str) {
    let took = wait(how, || sigma.policy().0 == name);
    println!("{how}: in force after {took:?}");
    // Twice what is promised, for a busy machine.
    assert!(took < Duration::from_secs(4), "{how}: {took:?}");
}

#[test]
fn a_policy_rewritten_in_place_or_renamed_over_is_in_force_soon() {
    let site = Site::new();
    let sigma = site.serve(&[]);
    assert_eq!(sigma.policy(), ("first".to_owned(), 1));
    site.write_policy(policy("second", 50));
    wait_policy(&sigma, "second", "rewritten in place");
    fs::write(site.path(".policy.swp"), policy("third", 50)).expect("written");
    fs::rename(site.path(".policy.swp"), site.policy_file()).expect("renamed");
    wait_policy(&sigma, "third", "renamed over");
    fs::rename(site.policy_file(), site.path("policy.yaml~")).expect("renamed");
    site.write_policy(policy("fourth", 50));
    wait_policy(&sigma, "fourth", "backed up and written anew");
    assert_eq!(sigma.policy().1, 4);
    assert_eq!(sigma.metric("sigma_policy_generation"), 4.0);
    assert_eq!((sigma.metric(ERRORS), sigma.metric(STALE)), (0.0, 0.0));
    // Touched, not changed: nothing happens.
    site.write_policy(policy("fourth", 50));
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(sigma.policy().1, 4);
}

#[test]
fn a_config_map_is_swapped_by_its_link() {
    let site = Site::new();
    let mount = site.path("mounted");
    let put = |version: &str, name: &str| {
        fs::create_dir_all(mount.join(version)).expect("a directory");
        fs::write(mount.join(version).join("policy.yaml"), policy(name, 50)).expect("written");
        symlink(version, mount.join("..data_tmp")).expect("a link");
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).expect("swapped");
    };
    put("..2026_11_10", "first");
    symlink("..data/policy.yaml", mount.join("policy.yaml")).expect("a link");
    let sigma = site.serve(&["--policy", mount.to_str().expect("UTF-8")]);
    put("..2026_11_11", "second");
    fs::remove_dir_all(mount.join("..2026_11_10")).expect("removed");
    wait_policy(&sigma, "second", "..data swapped");
    assert_eq!(sigma.metric(ERRORS), 0.0);
}

/// Row 36, a policy file that is not completely written: sigma uses a change after two checks in a row have read
/// the same bytes. So sigma does not report an incomplete file as a fault.
#[test]
fn a_policy_that_is_being_written_is_not_broken() {
    let site = Site::new();
    let sigma = site.serve(&[]);
    let mut rounds = 0;
    while rounds < 8 {
        let text = policy(&format!("round-{rounds}"), 50);
        let started = Instant::now();
        site.write_policy(&text[..text.len() / 2 + 3]);
        std::thread::sleep(Duration::from_millis(100 + rounds * 20));
        site.write_policy(&text);
        // Whoever slept for longer than a look and the next has shown a broken policy indeed.
        if started.elapsed() < Duration::from_millis(420) {
            rounds += 1;
        }
    }
    wait_policy(&sigma, "round-7", "written in two halves");
    assert_eq!(sigma.metric(ERRORS), 0.0, "{:?}", sigma.lines());
}

/// Row 35, a policy with a fault: sigma refuses the whole policy, and the last good policy stays in force. The log,
/// an Event, `/readyz?verbose` and `/api/v1/policy` show the place of the fault. `sigma_policy_stale` is 1.
#[test]
fn an_invalid_policy_is_told_and_the_last_good_one_stays() {
    let site = Site::new();
    let sigma = site.serve(&[]);
    site.write_policy(policy("second", 50).replace("allocation", "alocation"));
    sigma.wait_metric(STALE, 1.0);
    assert_eq!(sigma.metric(ERRORS), 1.0);
    assert_eq!(sigma.policy(), ("first".to_owned(), 1));
    let page = sigma.get("/readyz?verbose");
    let line = "[-] policy: first generation 1; the one on disk is not in force: ";
    assert!(page.status == 200 && page.body.contains(line), "{page:?}");
    assert!(page.body.contains("policy.yaml:7:3: "), "{page:?}");
    let shown = sigma.json("/api/v1/policy");
    let fault = &shown["faults_on_disk"][0];
    assert_eq!((fault["line"].as_u64(), fault["column"].as_u64()), (Some(7), Some(3)), "{shown}");
    assert_eq!((&fault["severity"], shown["name"].as_str()), (&"error".into(), Some("first")));
    assert!(fault["hint"].as_str().is_some_and(|it| it.contains("allocation")), "{shown}");
    assert_eq!(sigma.json("/api/v1/status")["policy"]["stale"], true);
    // One event, though the file is looked at again and again.
    wait("an event", || !site.api.writes("events").is_empty());
    std::thread::sleep(Duration::from_millis(1500));
    let events = site.api.writes("events");
    assert_eq!(events.len(), 1, "{events:?}");
    let event = &events[0].body;
    assert_eq!((&event["reason"], &event["type"]), (&"PolicyRejected".into(), &"Warning".into()));
    assert!(event["message"].as_str().is_some_and(|it| it.contains("policy.yaml:7:3")), "{event}");
    assert_eq!((sigma.metric(ERRORS), sigma.logged("policy not loaded")), (1.0, 1));

    site.write_policy(policy("second", 50));
    wait_policy(&sigma, "second", "corrected");
    sigma.wait_metric(STALE, 0.0);
    assert_eq!(sigma.json("/api/v1/policy")["faults_on_disk"], serde_json::json!([]));
    assert_eq!(sigma.json("/api/v1/status")["policy"]["stale"], false);
    assert!(!sigma.get("/readyz?verbose").body.contains("not in force"));
    wait("an event", || site.api.writes("events").len() == 2);
}

#[test]
fn a_policy_that_was_cut_off_to_nothing_takes_no_limit_away() {
    let site = Site::new();
    let sigma = site.serve(&[]);
    site.write_policy("\n");
    sigma.wait_metric(ERRORS, 1.0);
    assert_eq!(sigma.json("/api/v1/policy")["name"], "first");
    assert!(sigma.get("/readyz?verbose").body.contains("has become empty"));
}

/// Row 36, the policy file is removed: the last good policy stays in force. `sigma_policy_stale` is 1 until the
/// file is back.
#[test]
fn a_policy_may_vanish_and_return() {
    let site = Site::new();
    let sigma = site.serve(&[]);
    // What was wrong with it before is no longer worth a word once it is gone.
    site.write_policy("pools: 7");
    sigma.wait_metric(ERRORS, 1.0);
    fs::remove_file(site.policy_file()).expect("removed");
    sigma.wait_metric(ERRORS, 2.0);
    assert_eq!(sigma.metric(STALE), 1.0);
    let shown = sigma.json("/api/v1/policy");
    assert_eq!(
        (&shown["name"], &shown["faults_on_disk"]),
        (&"first".into(), &serde_json::json!([]))
    );
    let why = shown["unreadable_on_disk"].as_str().unwrap_or_default();
    assert!(why.contains("policy.yaml") && why.contains("No such file"), "{shown}");
    assert_eq!(sigma.json("/api/v1/status")["policy"]["stale"], true);
    assert!(sigma.get("/readyz?verbose").body.contains("cannot read the policy"));
    site.write_policy(policy("first", 50));
    sigma.wait_metric(STALE, 0.0);
    assert_eq!(sigma.json("/api/v1/policy")["unreadable_on_disk"], serde_json::Value::Null);
    assert_eq!(sigma.metric(ERRORS), 2.0);
}

/// Files that are no policy, with a part of what is said of them.
pub(crate) fn hopeless() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let binary: Vec<u8> = (0..=255).cycle().take(4096).collect();
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for at in 1..12 {
        let aliases = vec![format!("*a{}", at - 1); 10].join(", ");
        bomb += &format!("a{at}: &a{at} [{aliases}]\n");
    }
    vec![
        ("binary", binary, "P0"),
        ("10 MB", b"# x\n".repeat(2_500_000), "P0001"),
        ("alias bomb", bomb.into_bytes(), "P0006"),
        ("100,000 levels", "[".repeat(100_000).into_bytes(), "P0006"),
    ]
}

/// Row 39, a policy file that is huge or binary, or whose aliases or levels never end: sigma refuses the file
/// within bounds of time and memory (1 MiB). The last good policy stays in force.
#[test]
fn hopeless_files_never_replace_a_good_policy() {
    let site = Site::new();
    site.api.put("pods", placed("full", "2", "n1"));
    let sigma = site.serve(&[]);
    for (count, (what, bytes, part)) in (1..).zip(hopeless()) {
        site.write_policy(&bytes);
        sigma.wait_metric(ERRORS, f64::from(count));
        let shown = sigma.json("/api/v1/policy");
        assert_eq!((&shown["name"], &shown["generation"]), (&"first".into(), &1.into()), "{what}");
        let code = shown["faults_on_disk"][0]["code"].as_str().unwrap_or_default().to_owned();
        assert!(code.starts_with(part), "{what}: {code}");
        assert_eq!(refused(&sigma.filter(&pod("a", "1"), &["n1"])), FULL, "{what}");
    }
    site.write_policy(policy("second", 100));
    wait_policy(&sigma, "second", "after four bad ones");
    assert_eq!(accepted(&sigma.filter(&pod("a", "1"), &["n1"])), ["n1"]);
}
