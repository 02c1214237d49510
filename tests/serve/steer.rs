//! Steers: from the answer that sends a pod away to the one that names its target, and whatever the API
//! server makes of the write in between.

use std::time::Duration;

use serde_json::{Value, json};

use crate::faults::{Fault, Proxy};
use crate::site::{Site, accepted, node, placed, pod, refused};
use crate::support::apiserver::kubeconfig;
use crate::support::http;
use crate::support::process::Sigma;
use crate::support::wait;

const STEERED: &str = "sigma: sent to a node that was not offered";
const CLOSED: &str = "sigma: pool is not open to the pod's class";
/// What kube-scheduler offers: nodes of no pool.
const WINDOW: [&str; 2] = ["n1", "n2"];

/// `default` goes home only, where nobody is offered; with `more` about its steering.
fn policy(more: &str) -> String {
    format!(
        "apiVersion: sigma.io/v1alpha1\nkind: SchedulingPolicy\nmetadata: {{name: home}}\n\
         pools:\n- name: home\n  match: {{labels: {{home: \"yes\"}}}}\n\
         classes:\n- name: default\n  pools: [home]\n{more}"
    )
}

fn site() -> Site {
    let site = Site::new();
    site.write_policy(policy(""));
    let mut home = node("t", "4");
    home["metadata"]["labels"]["home"] = "yes".into();
    site.api.put("nodes", home);
    site
}

/// A pod for which nobody is evicted, so that nothing more must be proven.
fn mild(site: &Site, name: &str, cpu: &str) -> Value {
    let mut pod = pod(name, cpu);
    pod["spec"]["preemptionPolicy"] = "Never".into();
    site.api.put("pods", pod.clone());
    pod
}

fn wait_on(sigma: &Sigma) {
    sigma.wait_metric("sigma_means_on{means=\"steer\"}", 1.0);
}

fn outcome(name: &str) -> String {
    format!("sigma_steers_total{{cause=\"elsewhere\",outcome=\"{name}\"}}")
}

#[test]
fn a_pod_is_nominated_where_it_was_not_offered_and_accepted_there() {
    let site = site();
    let sigma = site.serve(&[]);
    wait_on(&sigma);
    let cart = mild(&site, "cart", "1");
    assert_eq!(refused(&sigma.filter(&cart, &WINDOW)), STEERED);
    assert_eq!(sigma.metric("sigma_refusals_total{reason=\"Steered\"}"), 1.0);
    let key = "shop/cart";
    let nominated = || site.api.object("pods", key).expect("it is there");
    wait("the nomination", || nominated()["status"]["nominatedNodeName"] == "t");
    assert!(nominated()["metadata"]["annotations"]["sigma.io/ring"].is_string());
    assert_eq!(accepted(&sigma.filter(&nominated(), &["t"])), ["t"]);
    sigma.wait_metric(&outcome("honoured"), 1.0);
    assert_eq!(sigma.metric("sigma_steer_duration_seconds_count"), 1.0);
    assert_eq!(sigma.metric("sigma_steered_pods"), 0.0);
    let mut bound = nominated();
    bound["spec"]["nodeName"] = "t".into();
    site.api.put("pods", bound);
    wait("nothing is held", || sigma.metric("sigma_assumed_pods") == 0.0);
    let mut steer = sigma.json("/api/v1/explain?namespace=shop&pod=cart")["steer"].take();
    for step in ["began_ms_ago", "written_ms", "accepted_ms", "bound_ms"] {
        assert!(steer[step].take().is_u64(), "{step}");
    }
    let want = json!({"cause": "elsewhere", "target": "t", "lead_pct": null, "outcome": "honoured",
        "rounds": 1, "began_ms_ago": null, "written_ms": null, "accepted_ms": null, "bound_ms": null});
    assert_eq!(steer, want);
    assert_eq!(site.api.writes("pods/status").len(), 1);
}

#[test]
fn who_might_preempt_is_steered_once_a_preempt_call_proves_that_we_are_asked() {
    let site = site();
    let sigma = site.serve(&[]);
    wait_on(&sigma);
    site.api.put("pods", placed("victim", "4", "n1"));
    let cart = pod("cart", "1");
    site.api.put("pods", cart.clone());
    assert_eq!(refused(&sigma.filter(&cart, &WINDOW)), CLOSED);
    assert_eq!(sigma.metric("sigma_not_steered_total{reason=\"may_preempt\"}"), 1.0);
    let victims = |node: &str| json!({node: {"Pods": [{"UID": "1"}]}});
    let preempt = |pod: &Value| {
        let args = json!({"Pod": pod, "NodeNameToMetaVictims": victims("n1")});
        let reply = http::post(sigma.verbs, "/preempt", args.to_string().as_bytes());
        serde_json::from_str::<Value>(&reply.body).expect("JSON")
    };
    preempt(&cart);
    assert_eq!(refused(&sigma.filter(&cart, &WINDOW)), STEERED);
    assert_eq!(preempt(&cart)["NodeNameToMetaVictims"], json!({}));
}

#[test]
fn steering_is_switched_by_the_policy_with_pods_under_way() {
    let site = site();
    let sigma = site.serve(&[]);
    wait_on(&sigma);
    let cart = mild(&site, "cart", "1");
    assert_eq!(refused(&sigma.filter(&cart, &WINDOW)), STEERED);
    site.write_policy(policy("steering: off\n"));
    sigma.wait_metric("sigma_means_on{means=\"steer\"}", 0.0);
    sigma.wait_metric(&outcome("off"), 1.0);
    assert_eq!(refused(&sigma.filter(&mild(&site, "book", "1"), &WINDOW)), CLOSED);
    site.write_policy(policy(""));
    wait_on(&sigma);
    assert_eq!(refused(&sigma.filter(&mild(&site, "song", "1"), &WINDOW)), STEERED);
}

#[test]
fn without_the_right_nobody_is_steered() {
    let site = site();
    site.api.forbid("patch", "pods/status");
    let sigma = site.serve(&[]);
    let cart = mild(&site, "cart", "1");
    assert_eq!(refused(&sigma.filter(&cart, &WINDOW)), CLOSED);
    assert_eq!(sigma.metric("sigma_not_steered_total{reason=\"off\"}"), 1.0);
    assert_eq!(sigma.metric("sigma_steered_pods"), 0.0);
}

/// Row 60, the nomination of a pod that was sent away cannot be written: the pod is awake by then, since
/// kube-scheduler has written its condition, and is answered as usual; else the doorbell rings it. What was
/// held for it is free. After a few failures the breaker of the means is open and nobody is sent away
/// (`sigma_steers_total{outcome="failed"}`).
#[test]
fn a_write_that_fails_ends_the_steer_and_many_open_the_breaker() {
    let late = Fault::Late(Duration::from_secs(20));
    let cases = [Fault::Refused(403, 0), Fault::Refused(500, 0), Fault::Refused(409, 0), late];
    std::thread::scope(|scope| {
        for fault in cases {
            scope.spawn(move || check_fault(fault));
        }
    });
}

/// A server behind a proxy, that steers.
fn spoiled() -> (Site, Proxy, Sigma) {
    let site = site();
    let proxy = Proxy::start(site.api.port);
    let command = site.command(&[]);
    kubeconfig(site.dir.path(), proxy.port);
    let sigma = Sigma::start(command);
    sigma.wait_ready();
    wait_on(&sigma);
    (site, proxy, sigma)
}

#[test]
fn a_second_refusal_is_written_however_often_that_fails() {
    let (site, proxy, sigma) = spoiled();
    let cart = mild(&site, "cart", "1");
    assert_eq!(refused(&sigma.filter(&cart, &WINDOW)), STEERED);
    let seen = || site.api.object("pods", "shop/cart").expect("it is there");
    wait("the nomination", || seen()["status"]["nominatedNodeName"] == "t");
    wait("it is told", || {
        sigma.json("/api/v1/explain?namespace=shop&pod=cart")["steer"]["written_ms"].is_u64()
    });
    // The attempt that it came into has cleared it, and the condition has our text by now.
    let mut cleared = seen();
    cleared["status"].as_object_mut().expect("a map").remove("nominatedNodeName");
    let message = format!("0/3 nodes are available: 1 {STEERED}.");
    cleared["status"]["conditions"] =
        json!([{"type": "PodScheduled", "status": "False", "message": message}]);
    site.api.put("pods", cleared.clone());
    // Other orders are given up after three attempts; a fifth failure would open the breaker.
    proxy.spoil("PATCH ", 4, Fault::Refused(500, 0));
    assert_eq!(refused(&sigma.filter(&cleared, &WINDOW)), STEERED);
    wait("the nomination again", || seen()["status"]["nominatedNodeName"] == "t");
    assert_eq!(proxy.asked("PATCH "), 6);
    assert_eq!(accepted(&sigma.filter(&seen(), &["t"])), ["t"]);
    sigma.wait_metric(&outcome("honoured"), 1.0);
}

fn check_fault(fault: Fault) {
    let (site, proxy, sigma) = spoiled();
    proxy.spoil("PATCH ", 1000, fault);
    let mut num_steered = 0;
    while num_steered < 100 {
        let cart = mild(&site, &format!("cart-{num_steered}"), "10m");
        if refused(&sigma.filter(&cart, &WINDOW)) == CLOSED {
            break;
        }
        num_steered += 1;
        // As kube-scheduler's own patch brings it back, whether the write is open or has failed.
        assert_eq!(refused(&sigma.filter(&cart, &WINDOW)), CLOSED);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!((2..100).contains(&num_steered), "{fault:?}: {num_steered}");
    assert!(sigma.metric("sigma_not_steered_total{reason=\"off\"}") >= 1.0);
    assert_eq!(sigma.metric("sigma_means_on{means=\"steer\"}"), 0.0);
    let ended = |how| sigma.metric(&outcome(how));
    // The breaker may open between the two calls of one pod: its second finds the means off.
    wait("all have ended", || ended("failed") + ended("off") == f64::from(num_steered));
    assert!(ended("failed") >= 1.0 && ended("off") <= 1.0, "{fault:?}: {num_steered}");
    wait("nothing is held", || sigma.metric("sigma_assumed_pods") == 0.0);
}

/// Row 61, kube-scheduler does not want a node that a pod was sent to: the pod is answered as usual at
/// once, and not sent again. Three of these within 10 s pause the pods of this template, or of this
/// controller with the same requests, for 10 s to 2 minutes; then one of them is tried
/// (`sigma_steers_total{outcome="not_honoured"}`, `sigma_not_steered_total{reason="paused"}`). All others are
/// steered as before. Only when pods of three unrelated applications fail, five in all, is the breaker
/// open for all, as if writes had failed. The same holds for nominations ahead, with 20 in all.
#[test]
fn what_kube_scheduler_does_not_want_is_held_against_the_template_first() {
    let site = site();
    let sigma = site.serve(&[]);
    wait_on(&sigma);
    let mut num_unwanted = 0;
    let mut is_steered = |name: &str, cpu: &str| {
        let pod = mild(&site, name, cpu);
        let told = refused(&sigma.filter(&pod, &WINDOW));
        if told == CLOSED {
            return false;
        }
        assert_eq!(told, STEERED, "{name}");
        let seen = || site.api.object("pods", &format!("shop/{name}")).expect("it is there");
        wait("the nomination", || seen()["status"]["nominatedNodeName"] == "t");
        // It was evaluated alone and refused in-tree, so that all are offered.
        assert_eq!(refused(&sigma.filter(&seen(), &WINDOW)), CLOSED);
        num_unwanted += 1;
        sigma.wait_metric(&outcome("not_honoured"), f64::from(num_unwanted));
        true
    };
    // One template's bad luck …
    let carts: Vec<bool> = (0..8).map(|at| is_steered(&format!("cart-{at}"), "10m")).collect();
    assert_eq!(carts, [true, true, true, false, false, false, false, false]);
    assert_eq!(sigma.metric("sigma_not_steered_total{reason=\"paused\"}"), 5.0);
    assert_eq!(sigma.metric("sigma_breaker_open{means=\"steer\"}"), 0.0);
    let actions = sigma.json("/api/v1/actions");
    assert_eq!((&actions[1]["on"], &actions[1]["paused_classes"]), (&json!(true), &json!(1)));
    // … is not that of others, until several have it.
    assert!(is_steered("song", "20m") && is_steered("film", "30m"));
    sigma.wait_metric("sigma_breaker_open{means=\"steer\"}", 1.0);
    assert!(!is_steered("book", "40m"));
    assert_eq!(sigma.json("/api/v1/actions")[1]["on"], false);
}
