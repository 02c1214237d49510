//! `sigma-bench` at a size that takes a moment: what is measured is what it says, whatever the figure.

use std::ffi::OsStr;
use std::process::Output;

use serde_json::Value;

use crate::support::process::command_of;

/// Runs the bench to its end.
fn run<S: AsRef<OsStr>>(args: &[S]) -> Output {
    command_of(env!("CARGO_BIN_EXE_sigma-bench"), args).output().expect("the binary runs")
}

fn figures(args: &[&str]) -> Value {
    let size = ["--nodes=20", "--pods=400", "--seconds=1", "-o=json"];
    let out = run(&[args, &size].concat());
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{args:?}: {stderr}");
    assert_eq!(stderr, "", "nothing is wrong and nobody watches");
    serde_json::from_slice(&out.stdout).expect("one JSON object")
}

#[test]
fn memory_is_measured_on_the_whole_cluster() {
    for lists in [&[][..], &["--stream-lists"]] {
        let report = figures(&[&["memory"], lists].concat());
        assert_eq!(report["nodes"], 20);
        let pods = report["pods"].as_u64();
        assert!(pods.is_some_and(|pods| (398..=402).contains(&pods)), "{report}");
        let mb = |when: &str, what: &str| report[when][what].as_f64().expect("a number");
        assert!(mb("listed", "rss_mb") > 1.0, "{report}");
        assert!(mb("steady", "peak_mb") >= mb("listed", "peak_mb"), "{report}");
    }
}

#[test]
fn ingest_sees_events_become_visible() {
    let report = figures(&["ingest", "--events-per-second=500", "--encode-mb-per-second=50"]);
    let number = |name: &str| report[name].as_f64().expect("a number");
    assert!(number("probes") >= 2.0 && number("visible_p99_ms") >= number("visible_p50_ms"));
    assert!(number("changes_per_publication") >= 1.0 && number("publish_us") > 0.0, "{report}");
    // 400 pods of 8.6 KB, 20 nodes of 7 KB.
    assert!((3.0..5.0).contains(&number("list_mb")), "{report}");
    assert!(number("send_seconds") >= 0.04, "the server takes its time: {report}");
}

#[test]
fn regret_grows_as_the_list_shrinks_and_has_a_bound() {
    let args = ["regret", "--nodes=300", "--pods=600", "-o=json"];
    let (out, again) = (run(&args), run(&args));
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(out.stdout, again.stdout, "the seed decides alone");
    let report: Value = serde_json::from_slice(&out.stdout).expect("one JSON object");
    let rows = report["rows"].as_array().expect("rows");
    let number = |shortlist: &str, field: &str| {
        let row = rows.iter().find(|it| it["shortlist"] == shortlist && it["class"] == "all");
        row.and_then(|row| row[field].as_f64()).expect(field)
    };
    for at in ["policy", "1", "2", "4", "8", "16", "32", "64"] {
        assert!(number(at, "in_force_percent") >= 80.0, "{report}");
        let (of_pool, all) = (number(at, "regret_percent"), number(at, "regret_any_pool_percent"));
        assert!(of_pool <= all, "a pool is a part of all: {report}");
    }
    assert!(number("1", "regret_percent") >= number("64", "regret_percent"), "{report}");
    // In a cluster as small as this the policy's own is larger: a list of 1 for `offline`.
    assert!(number("16", "regret_percent") < 1.0, "{report}");
    assert!(number("policy", "regret_without_images_percent") < 1.0, "{report}");
    assert_eq!(number("1", "mean_named"), 1.0);
}

#[test]
fn help_has_examples_and_bad_flags_are_refused() {
    for verb in ["memory", "ingest"] {
        let help = run(&[verb, "--help"]);
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        let example = format!("sigma-bench {verb} --nodes 1000 --pods 50000");
        assert!(help.contains(&example), "{help}");
        assert_eq!(run(&[verb, "--pods=1"]).status.code(), Some(2));
    }
}
