//! What no honest client, cluster or operator would send, and what comes of it: a clear word, a
//! counter, and nothing lost.

use std::io::Write;

use serde_json::{Value, json};

use crate::site::{Site, accepted, node, placed, pod, refused};
use crate::support::http;
use crate::support::process::Sigma;
use crate::support::wait;

const BAD: &str = "sigma_bad_requests_total{verb=\"filter\"}";

fn works(sigma: &Sigma) {
    assert_eq!(accepted(&sigma.filter(&pod("fine", "100m"), &["n1", "n2"])), ["n1", "n2"]);
}

#[test]
fn bodies_that_make_no_sense_are_refused_and_counted() {
    let site = Site::new();
    let sigma = site.serve(&[]);
    let good = json!({"Pod": pod("cart", "1"), "Nodes": null, "NodeNames": ["n1"]}).to_string();
    let cut = &good[..good.len() - 4];
    let bodies =
        ["", "{", "null", "[]", "7", "\"x\"", cut, "\u{0}", "{\"Pod\":7,\"NodeNames\":[]}"];
    for (count, body) in (1..).zip(bodies) {
        let reply = http::post(sigma.verbs, "/filter", body.as_bytes());
        assert_eq!(reply.status, 400, "{body:?}: {reply:?}");
        assert!(reply.body.starts_with("sigma: malformed request: "), "{body:?}: {reply:?}");
        assert_eq!(sigma.metric(BAD), f64::from(count), "{body:?}");
    }
    // A body that breaks off: nobody is there any more to be answered.
    let mut stream = http::connect(sigma.verbs).expect("it listens");
    let whole = http::post_request("/filter", good.as_bytes(), "close");
    stream.write_all(&whole[..whole.len() - 9]).expect("it reads");
    stream.shutdown(std::net::Shutdown::Write).expect("a socket");
    drop(stream);
    works(&sigma);
    // A body larger than any that is meant.
    let huge = [good.as_bytes(), &b" ".repeat(17 << 20)].concat();
    let reply = http::post(sigma.verbs, "/filter", &huge);
    assert_eq!(reply.status, 413, "{reply:?}");
    assert!(reply.body.contains("nodeCacheCapable"), "{reply:?}");
    works(&sigma);
    // Go reads keys in any case, and so do we.
    let lower = good.replace("Pod", "pod").replace("NodeNames", "nodenames");
    let reply = http::post(sigma.verbs, "/filter", lower.as_bytes());
    assert_eq!(reply, http::post(sigma.verbs, "/filter", good.as_bytes()));
    assert_eq!(http::post(sigma.verbs, "/filters", b"{}").status, 404);
    assert_eq!(http::get(sigma.verbs, "/filter").status, 405);
    assert_eq!(sigma.metric("sigma_panics_total"), 0.0);
}

/// Row 50, absurd amounts (`1e30`, below zero, not a number): sigma refuses a value that is not an amount, and
/// names its field. A valid amount saturates, so it fits no node. Nothing overflows.
#[test]
fn names_and_pods_that_nobody_knows_are_answered() {
    let site = Site::new();
    let sigma = site.serve(&[]);
    let unknown = sigma.filter(&pod("cart", "1"), &["n9"]);
    assert_eq!(refused(&unknown), "sigma: node not in cache yet");
    assert_eq!(accepted(&sigma.filter(&pod("cart", "1"), &["n9", "n1"])), ["n1"]);
    assert_eq!(accepted(&sigma.filter(&pod("cart", "1"), &["n1", "n2", "n1"])), ["n1", "n2", "n1"]);
    let mut nameless = pod("cart", "1");
    nameless["metadata"]["uid"] = "".into();
    let reply = sigma.filter(&nameless, &["n1"]);
    let want = "sigma: the request's pod is unusable: metadata.uid: missing";
    assert_eq!(reply["Error"], want);
    assert_eq!(sigma.metric(BAD), 1.0);
    for cpu in ["abc", "-5"] {
        let reply = sigma.filter(&pod("cart", cpu), &["n1"]);
        let error = reply["Error"].as_str().unwrap_or_default();
        assert!(error.contains("spec.containers[0].resources.requests.cpu: "), "{reply}");
    }
    let huge = sigma.filter(&pod("cart", "1e30"), &["n1"]);
    assert_eq!(refused(&huge), "sigma: insufficient resources");
    works(&sigma);
}

fn undecodable(resource: &str) -> String {
    format!("sigma_undecodable_objects_total{{resource=\"{resource}\"}}")
}

/// Row 8, sigma cannot decode an object: sigma skips the object and names it in the log and on `/readyz?verbose`.
/// `sigma_undecodable_objects_total` counts it. The last known state of the object stays. All other objects are
/// processed.
#[test]
fn objects_that_make_no_sense_are_named_and_the_others_live_on() {
    let site = Site::new();
    // One is in the list, the others come later.
    site.api.put("pods", placed("in-the-list", "abc", "n1"));
    site.api.put("pods", placed("fine", "1", "n1"));
    let sigma = site.serve(&[]);
    sigma.wait_metric(&undecodable("pods"), 1.0);
    let named = "skipped what cannot be read: pods shop/in-the-list";
    assert_eq!(sigma.logged(named), 1);
    assert_eq!(sigma.json("/api/v1/status")["pods"], 1);
    site.api.put("pods", placed("below-zero", "-5", "n1"));
    let mut anonymous = placed("anonymous", "1", "n1");
    anonymous["metadata"]["uid"] = "".into();
    site.api.put("pods", anonymous);
    // Absurd, but an amount: it fills its node, and nothing overflows.
    site.api.put("pods", placed("absurd", "1e30", "n2"));
    sigma.wait_metric(&undecodable("pods"), 3.0);
    sigma.wait_status("pods", 2);
    let page = sigma.get("/readyz?verbose").body;
    let line = "3 undecodable, last pods shop/anonymous (uid ): metadata.uid: missing";
    assert!(page.contains(line), "{page}");
    assert_eq!(accepted(&sigma.filter(&pod("cart", "1"), &["n1", "n2"])), ["n1"]);
    site.api.delete("pods", "shop/absurd");
    sigma.wait_status("pods", 1);
    assert_eq!(accepted(&sigma.filter(&pod("cart", "1"), &["n1", "n2"])), ["n1", "n2"]);

    site.api.put("nodes", node("n3", "abc"));
    site.api.put("nodes", node("n4", "-5"));
    site.api.put("nodes", node("n5", "1e30"));
    sigma.wait_metric(&undecodable("nodes"), 2.0);
    sigma.wait_status("nodes", 3);
    assert_eq!(accepted(&sigma.filter(&pod("cart", "100"), &["n3", "n4", "n5"])), ["n5"]);
    assert_eq!(sigma.get("/readyz").status, 200);
    assert_eq!(sigma.logged("skipped what cannot be read: nodes n3"), 1);
    // Once they make sense they are there.
    site.api.put("nodes", node("n3", "200"));
    sigma.wait_status("nodes", 4);
    assert_eq!(accepted(&sigma.filter(&pod("cart", "100"), &["n3"])), ["n3"]);
    assert_eq!(sigma.metric("sigma_panics_total"), 0.0);
}

fn shown(sigma: &Sigma, name: &str) -> Value {
    let nodes = sigma.json("/api/v1/nodes");
    let found = nodes.as_array().and_then(|all| all.iter().find(|it| it["name"] == name));
    found.cloned().unwrap_or_default()
}

fn wait_cpu(sigma: &Sigma, name: &str, milli: i64) {
    wait("the node's size", || shown(sigma, name)["allocatable"]["cpu_milli"] == milli);
}

/// Row 25, a new node has the name of an old one: sigma uses the size, labels and taints of the new node. The pods
/// that are bound to the name count on the new node.
#[test]
fn nodes_of_odd_sizes_and_nodes_that_return() {
    let site = Site::new();
    let sigma = site.serve(&[]);
    // Allocatable above capacity is what the scheduler counts with, and so do we.
    let mut above = node("above", "8");
    above["status"]["capacity"]["cpu"] = "4".into();
    site.api.put("nodes", above);
    wait_cpu(&sigma, "above", 8000);
    assert_eq!(accepted(&sigma.filter(&pod("cart", "3"), &["above"])), ["above"]);
    let mut bare = node("bare", "8");
    bare["status"].as_object_mut().expect("a map").remove("allocatable");
    bare["status"].as_object_mut().expect("a map").remove("capacity");
    site.api.put("nodes", bare);
    wait_cpu(&sigma, "bare", 0);
    assert_eq!(
        refused(&sigma.filter(&pod("cart", "1m"), &["bare"])),
        "sigma: insufficient resources"
    );

    site.api.put("pods", placed("here", "1", "n1"));
    sigma.wait_status("pods", 1);
    site.api.delete("nodes", "n1");
    wait("it is gone", || shown(&sigma, "n1").is_null());
    let reply = sigma.filter(&pod("cart", "1"), &["n1"]);
    assert_eq!(refused(&reply), "sigma: node not in cache yet");
    let mut again = node("n1", "64");
    again["metadata"]["uid"] = "another".into();
    site.api.put("nodes", again);
    wait_cpu(&sigma, "n1", 64_000);
    // The pod that is still bound to its name counts again.
    assert_eq!(shown(&sigma, "n1")["requested"]["cpu_milli"], 1000);
    assert_eq!(accepted(&sigma.filter(&pod("cart", "31"), &["n1"])), ["n1"]);
    assert_ne!(accepted(&sigma.filter(&pod("cart", "32"), &["n1"])), ["n1"]);
}

#[test]
fn rights_that_are_missing_are_named() {
    let site = Site::new();
    site.api.forbid("list", "pods");
    site.api.stream_lists(false);
    site.api.forbid("watch", "nodes");
    let sigma = site.start(&[]);
    for what in ["list pods", "watch nodes"] {
        let line = format!("forbidden: cannot {what}: ");
        wait(what, || sigma.get("/readyz?verbose").body.contains(&line));
        assert!(sigma.logged(&line) >= 1, "{:?}", sigma.lines());
    }
    assert_eq!(sigma.get("/readyz").status, 503);
    assert!(sigma.get("/readyz").body.contains("[+] watch namespaces"));
    assert_eq!(sigma.get("/livez").status, 200);
    wait("they are counted", || {
        sigma.metric("sigma_watch_failures_total{resource=\"nodes\"}") >= 1.0
    });
}
