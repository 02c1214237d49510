//! Thousands of events at once beside requests: what is answered, what is applied, who still gets in.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::site::{Site, node, placed, pod};
use crate::stop::AtDrop;
use crate::support::process::Sigma;
use crate::support::wait;

/// Pods of a burst, three events each: more than the writer's queue holds (1,024), so that the watch
/// has to wait.
const BURST: usize = 500;
const BURSTS: usize = 4;
/// Pods of the storm that are there at a time, on two nodes.
const ALIVE: usize = 80;
/// Each pod comes, is modified, and goes, but for those that are still there; and one comes last.
const EVENTS: usize = 3 * BURSTS * BURST - ALIVE + 1;

/// Adds, modifies and deletes pods on `n2` and `n3`.
fn burst(site: &Site, pods: Range<usize>) {
    for at in pods {
        let mut pod = placed(&format!("storm-{at}"), "1m", ["n2", "n3"][at % 2]);
        site.api.put("pods", pod.clone());
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "2m".into();
        site.api.put("pods", pod);
        if let Some(gone) = at.checked_sub(ALIVE) {
            site.api.delete("pods", &format!("shop/storm-{gone}"));
        }
    }
}

/// What the rules say: `n1` is full, and what the storm has on `n2` is next to nothing.
fn by_rules(reply: &Value) -> bool {
    reply["NodeNames"] == json!(["n2"])
}

/// What is said past the deadline: a pod of this class keeps all its nodes.
fn by_role(reply: &Value) -> bool {
    reply["NodeNames"] == json!(["n1", "n2"])
}

/// Milli-cores and pods of a node.
fn requested(sigma: &Sigma, name: &str) -> Value {
    let nodes = sigma.json("/api/v1/nodes");
    let mut rows = nodes.as_array().expect("a list").iter();
    let row = rows.find(|row| row["name"] == name).expect("the node is known");
    json!([row["requested"]["cpu_milli"], row["requested"]["pods"]])
}

/// A storm beside three clients. Each answer must be `right`, and all of it is applied in the end. Gives
/// the server, and how many changes it had applied before.
fn storm(more: &[&str], right: fn(&Value) -> bool) -> (Site, Sigma, f64) {
    let site = Site::new();
    site.api.put("nodes", node("n3", "4"));
    site.api.put("pods", placed("full", "2", "n1"));
    let sigma = site.serve(more);
    let changes = sigma.metric("sigma_changes_total");
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        // A case that fails must end as well.
        let _over = AtDrop(&over);
        for client in 0..3 {
            let (sigma, over, answered) = (&sigma, &over, &answered);
            // Asked about again, it gives back what it held: three pods hold no more than that.
            let cart = pod(&format!("cart-{client}"), "100m");
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let reply = sigma.filter(&cart, &["n1", "n2"]);
                    assert!(right(&reply) && reply["Error"] == "", "{reply}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for first in (0..BURSTS).map(|it| it * BURST) {
            let before = answered.load(Ordering::Relaxed);
            burst(&site, first..first + BURST);
            assert_eq!((sigma.get("/readyz").status, sigma.get("/metrics").status), (200, 200));
            wait("filters are answered", || answered.load(Ordering::Relaxed) >= before + 20);
        }
        // Events come in order: who knows this one knows all.
        site.api.put("pods", placed("last", "700m", "n3"));
        wait("all of it is applied", || {
            requested(&sigma, "n3") == json!([ALIVE + 700, ALIVE / 2 + 1])
        });
    });
    assert_eq!(requested(&sigma, "n2"), json!([ALIVE, ALIVE / 2]));
    assert_eq!(requested(&sigma, "n1"), json!([2000, 1]));
    let count = |result| {
        sigma.metric(&format!("sigma_verb_results_total{{result=\"{result}\",verb=\"filter\"}}"))
    };
    let told = answered.load(Ordering::Relaxed) as f64;
    assert_eq!((count("ok") + count("degraded"), count("error")), (told, 0.0));
    println!("{told} filters beside {EVENTS} events, {} by role", count("degraded"));
    (site, sigma, changes)
}

/// Row 52, thousands of pod events at once: answers come first. Each answer follows the rules, or after the
/// deadline the role of the pod. No answer is an `Error`. Events wait in the socket of the watch, and sigma applies
/// all of them in the end. Probes and metrics come last, and are answered.
#[test]
fn a_storm_of_events_beside_filters() {
    let (_site, sigma, changes) = storm(&[], by_rules);
    assert!(sigma.metric("sigma_changes_total") >= changes + EVENTS as f64);
    // No list came to the aid of the watch.
    assert_eq!(sigma.metric("sigma_watch_relists_total{resource=\"pods\"}"), 0.0);
    let degraded = "sigma_verb_results_total{result=\"degraded\",verb=\"filter\"}";
    assert_eq!(sigma.metric(degraded), 0.0);
}

#[test]
fn a_storm_of_events_beside_filters_past_the_deadline_and_audits() {
    let more = ["--deadline=1ms", "--audit-interval=1s"];
    let (_site, sigma, _) = storm(&more, |reply| by_rules(reply) || by_role(reply));
    let audits = sigma.metric("sigma_audits_total");
    wait("an audit of what the storm left", || sigma.metric("sigma_audits_total") > audits + 1.0);
    for (series, count) in sigma.metrics() {
        let lost = series.starts_with("sigma_lost_deletes_total");
        let differs = series.starts_with("sigma_audit_differences_total");
        assert!(!(lost || differs) || count == 0.0, "{series} {count}");
    }
}
