//! Writes that are refused, or of which nobody knows what became.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Spoiled;
use super::proxy::Fault;
use crate::site::{FULL, accepted, placed, pod, refused};
use crate::support::process::Sigma;
use crate::support::{http, wait};

/// Pods that wait for the place of `shop/full` on `n1`.
fn refuse_some(it: &Spoiled, sigma: &Sigma, count: usize) -> BTreeSet<String> {
    let wait_for_it = |at: usize| {
        let pod = pod(&format!("waiting-{at}"), "1");
        it.site.api.put("pods", pod.clone());
        sigma.wait_status("pending_pods", at + 1);
        assert_eq!(refused(&sigma.filter(&pod, &["n1"])), FULL);
        format!("shop/waiting-{at}")
    };
    (0..count).map(wait_for_it).collect()
}

/// The pods whose annotation was written.
fn requeued(it: &Spoiled) -> BTreeSet<String> {
    let writes = it.site.api.writes("pods/status");
    writes.into_iter().filter(|write| write.code == 200).map(|write| write.key).collect()
}

/// Row 48, the API server throttles (429): lists and watches wait as long as the server asks, at most a minute.
/// Requeues of all pods wait in the same way. Answers do not wait.
#[test]
fn r48_throttled() {
    let it = Spoiled::new();
    it.site.api.put("pods", placed("full", "2", "n1"));
    it.proxy.spoil("/pods?limit=", 1, Fault::Refused(429, 3));
    let started = Instant::now();
    let sigma = it.serve(&[]);
    assert!(started.elapsed() >= Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(it.proxy.asked("/pods?limit="), 2);

    let waiting = refuse_some(&it, &sigma, 6);
    it.proxy.spoil("PATCH ", 1, Fault::Refused(429, 6));
    it.site.api.delete("pods", "shop/full");
    wait("the first ring is refused", || sigma.logged("the requeue is off for 6s") > 0);
    // What is on its way already.
    std::thread::sleep(Duration::from_millis(300));
    let sent = it.proxy.asked("PATCH ");
    // A pod that was requeued, or was not, is requeued again after a second at other times.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(it.proxy.asked("PATCH "), sent);
    assert_eq!(accepted(&sigma.filter(&pod("cart", "1m"), &["n1"])), ["n1"]);
    wait("all are requeued", || requeued(&it) == waiting);
}

/// Row 51, the write of a requeue fails, or its answer is lost: sigma requeues the pod again after a second, and
/// doubles the pause each time. A second requeue of a pod has no effect except a second filter call.
#[test]
fn r51_requeues_that_fail() {
    let it = Spoiled::new();
    it.site.api.put("pods", placed("full", "2", "n1"));
    let sigma = it.serve(&[]);
    let waiting = refuse_some(&it, &sigma, 5);
    let faults = [
        Fault::Refused(500, 0),
        Fault::Refused(409, 0),
        Fault::Refused(503, 0),
        Fault::Reset,
        Fault::Half(10),
    ];
    faults.into_iter().for_each(|fault| it.proxy.spoil("PATCH ", 1, fault));
    it.site.api.delete("pods", "shop/full");
    wait("all are requeued", || requeued(&it) == waiting);
    sigma.wait_metric("sigma_requeues_total{outcome=\"failed\"}", 5.0);
    assert_eq!(sigma.logged("cannot requeue: "), 5, "{:?}", sigma.lines());
}

/// Row 11, a leader loses its connection, or is suspended: the leader stops by its own clock, ten seconds after its
/// last renewal. Another replica becomes leader five seconds later at the earliest. The first replica learns that
/// when it is back. The precondition on the pod rejects a write that comes later.
#[test]
fn r11_a_leader_that_is_cut_off() {
    let it = Spoiled::new();
    let cut_off = it.serve(&["--lease-namespace=shop"]);
    let leads = |sigma: &Sigma| sigma.json("/api/v1/status")["lease"]["is_leader"] == true;
    wait("it leads", || leads(&cut_off));
    it.proxy.freeze(true);
    // Its way to the server is its own.
    let command = it.site.command(&["--lease-namespace=shop"]);
    let other = Sigma::start(command);
    other.wait_ready();
    let both = || leads(&cut_off) && leads(&other);
    wait("the other leads", || {
        assert!(!both());
        leads(&other)
    });
    it.proxy.freeze(false);
    let holder = |sigma: &Sigma| sigma.json("/api/v1/status")["lease"]["holder"].take();
    wait("it is known", || holder(&cut_off) == holder(&other));
    assert!(!leads(&cut_off) && leads(&other));
    // One that stands still does not know for how long, until it looks at its clock.
    other.signal("STOP");
    wait("the first leads again", || leads(&cut_off));
    other.signal("CONT");
    assert!(!leads(&other));
}

fn bind(sigma: &Sigma, pod: &Value, node: &str) -> String {
    let (uid, name) = (&pod["metadata"]["uid"], &pod["metadata"]["name"]);
    let args = json!({"PodName": name, "PodNamespace": "shop", "PodUID": uid, "Node": node});
    let reply = http::post(sigma.verbs, "/bind", args.to_string().as_bytes());
    let reply: Value = serde_json::from_str(&reply.body).expect("JSON");
    reply["Error"].as_str().expect("a text").to_owned()
}

/// Row 13, a binding fails, or its answer is lost: sigma reads the pod to learn the result. The answer is success
/// only if the pod is on the requested node. If the result stays unknown, the answer is an error, and the next call
/// reads the pod again. No pod is bound twice.
#[test]
fn r13_bindings_that_fail() {
    let it = Spoiled::new();
    let sigma = it.serve(&["--bind=on"]);
    let faults = [
        ("error", Fault::Refused(500, 0), 2),
        ("reset", Fault::Reset, 2),
        ("throttled", Fault::Refused(429, 0), 2),
        ("half", Fault::Half(10), 1),
    ];
    for (name, fault, requests) in faults {
        let cart = pod(name, "10m");
        it.site.api.put("pods", cart.clone());
        it.proxy.spoil(&format!("/{name}/binding"), 1, fault);
        assert_eq!(bind(&sigma, &cart, "n1"), "", "{name}");
        assert_eq!(it.proxy.asked(&format!("/{name}/binding")), requests, "{name}");
    }
    // As many as one call sends.
    let (late, by) = (pod("late", "10m"), Duration::from_secs(3));
    it.site.api.put("pods", late.clone());
    it.proxy.spoil("/late/binding", 3, Fault::Late(by));
    let text = bind(&sigma, &late, "n1");
    assert!(text.contains("no answer in time"), "{text}");
    wait("it is bound", || bind(&sigma, &late, "n1").is_empty());
    let writes = |name: &str| {
        let key = format!("shop/{name}");
        let writes = it.site.api.writes("pods/binding").into_iter();
        writes.filter(|it| it.key == key).map(|it| it.code).collect::<Vec<_>>()
    };
    wait("what was late arrives", || writes("late").len() >= 2);
    for name in faults.map(|it| it.0).into_iter().chain(["late"]) {
        let bound = writes(name).into_iter().filter(|code| *code == 200);
        assert_eq!(bound.count(), 1, "{name}: {:?}", writes(name));
    }
}
