//! The requeue, and the list that finds what no event told.

use std::time::Duration;

use serde_json::{Value, json};

use crate::site::{FULL, Site, accepted, placed, pod, policy, refused};
use crate::support::apiserver::Write;
use crate::support::process::Sigma;
use crate::support::wait;

/// A site with one node full to its allocation, and a pod that waits.
fn full() -> (Site, Value) {
    let site = Site::new();
    site.api.put("pods", placed("full", "2", "n1"));
    let waiting = pod("waiting", "1");
    site.api.put("pods", waiting.clone());
    (site, waiting)
}

fn refuse(sigma: &Sigma, pod: &Value) {
    assert_eq!(refused(&sigma.filter(pod, &["n1"])), FULL);
}

fn wait_ring(site: &Site, count: usize) -> Write {
    let took = wait("a ring", || site.api.writes("pods/status").len() >= count);
    println!("requeued after {took:?}");
    site.api.writes("pods/status")[count - 1].clone()
}

/// What a ring looks like; gives its value.
fn check_ring(ring: &Write, pod: &Value) -> String {
    assert_eq!((&*ring.verb, &*ring.key, ring.code), ("patch", "shop/waiting", 200));
    assert_eq!(ring.content_type, "application/strategic-merge-patch+json");
    let value = ring.body["metadata"]["annotations"]["sigma.io/requeue"].as_str().expect("a text");
    let uid = &pod["metadata"]["uid"];
    let want = json!({"metadata": {"uid": uid, "annotations": {"sigma.io/requeue": value}}});
    assert_eq!(ring.body, want);
    value.to_owned()
}

#[test]
fn a_deletion_rings_who_waited_for_it() {
    let (site, waiting) = full();
    let sigma = site.serve(&[]);
    refuse(&sigma, &waiting);
    wait("it is counted", || sigma.metric("sigma_unschedulable_pods") == 1.0);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(site.api.writes("pods/status"), []);
    site.api.delete("pods", "shop/full");
    check_ring(&wait_ring(&site, 1), &waiting);
    assert_eq!(accepted(&sigma.filter(&waiting, &["n1"])), ["n1"]);
    sigma.wait_metric("sigma_requeues_total{outcome=\"requeued\"}", 1.0);
    check_shown(&sigma, &waiting);
}

/// The ring is among the actions, and among the metrics.
fn check_shown(sigma: &Sigma, pod: &Value) {
    let requeue = sigma.json("/api/v1/actions")[0].take();
    let state = json!({"kind": requeue["kind"], "on": requeue["on"],
        "waiting": requeue["waiting"], "in_flight": requeue["in_flight"]});
    assert_eq!(state, json!({"kind": "requeue", "on": true, "waiting": 0, "in_flight": 0}));
    let mut ring = requeue["actions"][0].clone();
    let at = ring["at"].take();
    assert!(at.as_str().is_some_and(|it| it.len() == 24 && it.ends_with('Z')), "{at}");
    assert!(ring["took_ms"].take().is_u64());
    let want = json!({"at": null, "resource": "pods", "namespace": "shop", "name": "waiting", "uid": pod["metadata"]["uid"],
        "write": "requeue", "node": null, "cause": "AllocationLimit", "outcome": "written", "why": null, "attempts": 1,
        "took_ms": null});
    assert_eq!(ring, want);
    assert_eq!(sigma.metric("sigma_actions_total{kind=\"requeue\",outcome=\"written\"}"), 1.0);
    assert_eq!(sigma.metric("sigma_actions_open{kind=\"requeue\",stage=\"in_flight\"}"), 0.0);
}

#[test]
fn a_requeue_that_is_off_is_silent() {
    let (site, waiting) = full();
    let sigma = site.serve(&["--requeue=off"]);
    refuse(&sigma, &waiting);
    site.api.delete("pods", "shop/full");
    sigma.wait_status("pods", 0);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(accepted(&sigma.filter(&waiting, &["n1"])), ["n1"]);
    assert_eq!(site.api.writes("pods/status"), []);
    assert_eq!(sigma.json("/api/v1/actions")[0]["on"], false);
}

#[test]
fn a_policy_that_admits_rings() {
    let (site, waiting) = full();
    let sigma = site.serve(&[]);
    refuse(&sigma, &waiting);
    site.write_policy(policy("wider", 100));
    check_ring(&wait_ring(&site, 1), &waiting);
    assert_eq!(sigma.policy().0, "wider");
}

/// A pod with the condition that kube-scheduler writes after such an unschedulable answer.
fn refused_by(name: &str, why: &str) -> Value {
    let mut pod = pod(name, "1");
    let message = format!("0/2 nodes are available: 2 {why}. preemption: 0/2 nodes.");
    pod["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False",
        "reason": "Unschedulable", "message": message}]);
    pod
}

#[test]
fn a_condition_of_an_earlier_life_is_found_although_it_comes_after_the_start() {
    let site = Site::new();
    let plain = pod("waiting", "1");
    site.api.put("pods", plain.clone());
    let sigma = site.serve(&[]);
    let known = || sigma.get("/api/v1/explain?namespace=shop&pod=waiting").status == 200;
    wait("it is known without a condition", known);
    let mut waiting = refused_by("waiting", FULL);
    waiting["metadata"]["uid"] = plain["metadata"]["uid"].clone();
    site.api.put("pods", waiting.clone());
    check_ring(&wait_ring(&site, 1), &waiting);
}

#[test]
fn a_restarted_server_rings_whom_its_earlier_life_refused() {
    let site = Site::new();
    let waiting = refused_by("waiting", FULL);
    site.api.put("pods", waiting.clone());
    site.api.put("pods", refused_by("other", "Insufficient cpu"));
    let first = {
        let _sigma = site.serve(&[]);
        check_ring(&wait_ring(&site, 1), &waiting)
    };
    let requeued = site.api.writes("pods/status").len();
    let _sigma = site.serve(&[]);
    // Only a value that the pod did not have before wakes it.
    let second = check_ring(&wait_ring(&site, requeued + 1), &waiting);
    assert_ne!(first, second);
    let others = site.api.writes("pods/status");
    assert!(others.iter().all(|it| it.key == "shop/waiting"), "{others:?}");
}

/// A requeue that has lost its right, or never had it.
fn check_silent(sigma: &Sigma) {
    let why = "the right is missing to patch pods/status";
    wait("it is off", || sigma.json("/api/v1/actions")[0]["why_off"] == why);
    assert_eq!(sigma.json("/api/v1/actions")[0]["on"], false);
    sigma.wait_metric("sigma_right_missing{resource=\"pods\"}", 1.0);
    wait("it is said", || sigma.logged("sigma may not patch pods/status") == 1);
    sigma.wait_metric("sigma_action_enabled{kind=\"requeue\"}", 0.0);
    assert_eq!(sigma.get("/readyz").status, 200);
}

/// Row 53, the right to write to pods is missing: the kinds of action that need the right are off. The log, one
/// Event, `sigma_right_missing` and `/api/v1/actions` show that. sigma answers as usual, and checks the right every
/// minute.
#[test]
fn without_the_right_to_requeue_nobody_is_requeued_and_it_is_said_once() {
    let (site, waiting) = full();
    site.api.forbid("patch", "pods/status");
    let sigma = site.serve(&[]);
    check_silent(&sigma);
    refuse(&sigma, &waiting);
    site.api.delete("pods", "shop/full");
    sigma.wait_status("pods", 0);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(site.api.asked("patch", "pods/status"), 0);
    assert_eq!(site.api.asked("create", "selfsubjectaccessreviews"), 1);
    assert_eq!(accepted(&sigma.filter(&waiting, &["n1"])), ["n1"]);
    let events = site.api.writes("events");
    let told = events.iter().filter(|it| it.body["reason"] == "RightMissing");
    assert_eq!(told.count(), 1, "{events:?}");
}

#[test]
fn a_right_that_is_taken_away_is_noticed_by_the_first_refusal() {
    let (site, waiting) = full();
    let sigma = site.serve(&[]);
    for at in 0..5 {
        let more = pod(&format!("more-{at}"), "1");
        site.api.put("pods", more.clone());
        sigma.wait_status("pending_pods", at + 2);
        refuse(&sigma, &more);
    }
    refuse(&sigma, &waiting);
    site.api.forbid("patch", "pods/status");
    site.api.delete("pods", "shop/full");
    check_silent(&sigma);
    std::thread::sleep(Duration::from_millis(1500));
    let asked = site.api.asked("patch", "pods/status");
    assert!((1..=6).contains(&asked), "{asked}");
    assert_eq!(site.api.asked("create", "selfsubjectaccessreviews"), 2);
    sigma.wait_metric("sigma_requeues_total{outcome=\"forbidden\"}", asked as f64);
    assert_eq!(accepted(&sigma.filter(&waiting, &["n1"])), ["n1"]);
}

/// Row 7, no event reports a deletion: the list of the next audit (`--audit-interval`, 10 minutes) does not have
/// the object. sigma removes the object, frees its capacity, and requeues the pods that waited for that.
/// `sigma_lost_deletes_total` counts it.
#[test]
fn a_deletion_that_no_event_told_of_is_found_by_the_audit() {
    let (site, waiting) = full();
    let sigma = site.serve(&["--audit-interval=1s"]);
    refuse(&sigma, &waiting);
    let lost = "sigma_lost_deletes_total{resource=\"pods\"}";
    assert_eq!(sigma.metric(lost), 0.0);
    site.api.forget("pods", "shop/full");
    sigma.wait_metric(lost, 1.0);
    assert_eq!(sigma.json("/api/v1/status")["pods"], 0);
    assert_eq!(sigma.json("/api/v1/pools")[0]["requested"]["cpu_milli"], 0);
    check_ring(&wait_ring(&site, 1), &waiting);
    wait("it audits", || sigma.metric("sigma_audits_total") >= 1.0);
    for (series, count) in sigma.metrics() {
        assert!(!series.starts_with("sigma_audit_differences") || count == 0.0, "{series} {count}");
    }
}
