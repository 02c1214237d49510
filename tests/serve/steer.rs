//! Steers: from the answer that sends a pod away to the one that names its target, and whatever the API
//! server makes of the write in between.

use std::time::Duration;

use serde_json::{Value, json};

use crate::faults::{Fault, Proxy};
use crate::site::{Site, accepted, node, placed, pod, refused};
use crate::support::apiserver::kubeconfig;
use crate::support::http;
use crate::support::process::{Sigma, run};
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
    sigma.wait_metric("sigma_action_enabled{kind=\"steer\"}", 1.0);
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
    assert_eq!(sigma.metric("sigma_unschedulable_answers_total{reason=\"Steered\"}"), 1.0);
    let key = "shop/cart";
    let nominated = || site.api.object("pods", key).expect("it is there");
    wait("the nomination", || nominated()["status"]["nominatedNodeName"] == "t");
    assert!(nominated()["metadata"]["annotations"]["sigma.io/requeue"].is_string());
    assert_eq!(accepted(&sigma.filter(&nominated(), &["t"])), ["t"]);
    sigma.wait_metric(&outcome("honoured"), 1.0);
    assert_eq!(sigma.metric("sigma_steer_duration_seconds_count"), 1.0);
    assert_eq!(sigma.metric("sigma_steered_pods"), 0.0);
    let mut bound = nominated();
    bound["spec"]["nodeName"] = "t".into();
    site.api.put("pods", bound);
    wait("nothing is held", || sigma.metric("sigma_holds") == 0.0);
    let mut steer = sigma.json("/api/v1/explain?namespace=shop&pod=cart")["steer"].take();
    for step in ["began_ms_ago", "written_ms", "accepted_ms", "bound_ms"] {
        assert!(steer[step].take().is_u64(), "{step}");
    }
    let want = json!({"cause": "elsewhere", "target": "t", "lead_pct": null, "outcome": "honoured",
        "requeue": false, "rounds": 1, "began_ms_ago": null, "written_ms": null, "accepted_ms": null, "bound_ms": null});
    assert_eq!(steer, want);
    assert_eq!(site.api.writes("pods/status").len(), 1);
}

/// kube-scheduler's configuration, in which we are called at this port.
fn scheduler_config(site: &Site, port: u16, verbs: &str) -> String {
    let path = site.path("scheduler.yaml");
    let text = format!(
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n\
         extenders:\n- urlPrefix: http://127.0.0.1:{port}\n  filterVerb: filter\n{verbs}"
    );
    std::fs::write(&path, text).expect("it is written");
    format!("--scheduler-config={}", path.display())
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Without the flag, and where it says that kube-scheduler does not ask: the pod is refused anyway.
#[test]
fn who_might_preempt_is_steered_without_a_proof_that_we_are_asked() {
    let warning = "has no `preemptVerb` for sigma";
    for absent in [false, true] {
        let (site, port) = (site(), free_port());
        let config = scheduler_config(&site, port, "");
        let listen = format!("--listen=127.0.0.1:{port}");
        let sigma =
            if absent { site.serve(&["--listen", &listen[9..], &config]) } else { site.serve(&[]) };
        wait_on(&sigma);
        site.api.put("pods", placed("victim", "4", "n1"));
        let cart = pod("cart", "1");
        site.api.put("pods", cart.clone());
        assert_eq!(refused(&sigma.filter(&cart, &WINDOW)), STEERED);
        let victims = json!({"n1": {"Pods": [{"UID": "1"}]}});
        let args = json!({"Pod": cart, "NodeNameToMetaVictims": victims});
        let reply = http::post(sigma.verbs, "/preempt", args.to_string().as_bytes());
        let reply: Value = serde_json::from_str(&reply.body).expect("JSON");
        assert_eq!(reply["NodeNameToMetaVictims"], json!({}), "nobody dies for it");
        let nominated = || site.api.object("pods", "shop/cart").expect("it is there");
        wait("the nomination", || nominated()["status"]["nominatedNodeName"] == "t");
        if absent {
            wait("it is said once", || sigma.logged(warning) == 1);
        }
        assert_eq!(sigma.logged(warning), usize::from(absent));
    }
}

/// A pod whose only node was not offered, and whose steer was in vain, on a quiet cluster.
#[test]
fn a_pod_that_would_sleep_is_requeued_with_a_nomination_in_one_write() {
    let site = site();
    let sigma = site.serve(&[]);
    wait_on(&sigma);
    let mut cart = mild(&site, "cart", "1");
    let seen = || site.api.object("pods", "shop/cart").expect("it is there");
    let written = || {
        wait("it is nominated", || seen()["status"]["nominatedNodeName"] == "t");
        let why = || sigma.json("/api/v1/explain?namespace=shop&pod=cart");
        wait("that is known", || why()["steer"]["written_ms"].is_u64());
    };
    for round in 1..=3 {
        assert_eq!(refused(&sigma.filter(&cart, &WINDOW)), STEERED, "{round}");
        written();
        // The attempt that it came into clears it.
        cart = seen();
        cart["status"].as_object_mut().expect("a map").remove("nominatedNodeName");
        site.api.put("pods", cart.clone());
        wait("it is told", || sigma.metric("sigma_state_objects{kind=\"nominations\"}") == 0.0);
    }
    assert_eq!(refused(&sigma.filter(&cart, &WINDOW)), CLOSED, "it is lost");
    written();
    assert!(seen()["metadata"]["annotations"]["sigma.io/requeue"].is_string());
    assert_eq!(site.api.writes("pods/status").len(), 4, "one write does both");
    sigma.wait_metric("sigma_requeues_total{outcome=\"nominated\"}", 1.0);
    let why = sigma.json("/api/v1/explain?namespace=shop&pod=cart");
    assert_eq!((&why["steer"]["requeue"], &why["steer"]["target"]), (&json!(true), &json!("t")));
    assert_eq!(accepted(&sigma.filter(&seen(), &["t"])), ["t"]);
    sigma.wait_metric(&outcome("honoured"), 1.0);
    assert_eq!(sigma.metric(&outcome("lost")), 1.0);
}

/// Nor over one that comes while the write is being tried.
#[test]
fn nothing_is_written_over_anothers_nomination() {
    let (site, proxy, sigma) = spoiled();
    let cart = mild(&site, "cart", "1");
    proxy.spoil("PATCH ", 2, Fault::Refused(500, 0));
    let mut foreign = cart.clone();
    foreign["status"]["nominatedNodeName"] = "n2".into();
    assert_eq!(refused(&sigma.filter(&cart, &WINDOW)), STEERED);
    site.api.put("pods", foreign.clone());
    sigma.wait_metric(&outcome("overruled"), 1.0);
    // It is woken, since nobody knows what else would; and only that.
    wait("it is woken", || sigma.metric("sigma_requeues_total{outcome=\"requeued\"}") >= 1.0);
    let seen = site.api.object("pods", "shop/cart").expect("it is there");
    assert_eq!(seen["status"]["nominatedNodeName"], "n2");
    assert_eq!(refused(&sigma.filter(&seen, &WINDOW)), CLOSED);
    assert_eq!(sigma.metric("sigma_not_steered_total{reason=\"nominated\"}"), 1.0);
    let why = sigma.json("/api/v1/explain?namespace=shop&pod=cart");
    let off = &why["steering_off"][0];
    assert_eq!((&off["cause"], &off["turn_on"]), (&json!("pod"), &json!(null)), "{why}");
}

/// What is off is said everywhere, with what turns it on.
#[test]
fn whatever_keeps_pods_from_being_sent_elsewhere_is_named() {
    let better = "steering: {default: {steer: {better: {margin: 10%}}}}\n";
    let cases = [
        ("steering: off\n", false, None, "elsewhere", "policy", "`steering` in the policy"),
        ("", true, None, "elsewhere", "right", "deploy/base/rbac"),
        ("", false, Some("--requeue=off"), "requeue", "flag", "--requeue=on"),
        (better, false, None, "better", "flag", "--scheduler-config"),
    ];
    for (more, forbidden, flag, part, cause, turn_on) in cases {
        let site = site();
        site.write_policy(policy(more));
        if forbidden {
            site.api.forbid("patch", "pods/status");
        }
        site.api.put("pods", pod("cart", "1"));
        let sigma = site.serve(&flag.into_iter().collect::<Vec<_>>());
        let series = format!("sigma_steering_off{{cause=\"{cause}\",part=\"{part}\"}}");
        sigma.wait_metric(&series, 1.0);
        let line = format!("steering: {part} is off: ");
        let checks = || sigma.get("/readyz?verbose").body;
        wait("a check", || checks().contains(&line) && checks().contains(turn_on));
        wait("a line of the log", || sigma.logged(&line) == 1);
        let why = sigma.json("/api/v1/explain?namespace=shop&pod=cart");
        let off = why["steering_off"].as_array().expect("a list");
        let off = off.iter().find(|it| it["part"] == part).expect("it is named");
        assert_eq!(off["cause"], cause);
        assert!(off["turn_on"].as_str().expect("a text").contains(turn_on), "{off}");
        let admin = sigma.admin.to_string();
        let shown = run(&["why", "shop/cart", "--admin", &admin]).stdout;
        let shown = String::from_utf8_lossy(&shown);
        assert!(shown.contains("turn it on: ") && shown.contains(turn_on), "{shown}");
        assert_eq!(sigma.get("/readyz").status, 200, "never a reason to be out of service");
    }
    let site = site();
    let sigma = site.serve(&[]);
    wait_on(&sigma);
    wait("nothing is off", || sigma.get("/readyz?verbose").body.contains("[+] steering: on\n"));
    assert_eq!(sigma.logged("steering: "), 0);
}

#[test]
fn steering_is_switched_by_the_policy_with_pods_under_way() {
    let site = site();
    let sigma = site.serve(&[]);
    wait_on(&sigma);
    let cart = mild(&site, "cart", "1");
    assert_eq!(refused(&sigma.filter(&cart, &WINDOW)), STEERED);
    site.write_policy(policy("steering: off\n"));
    sigma.wait_metric("sigma_action_enabled{kind=\"steer\"}", 0.0);
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

/// Row 60, sigma cannot write the nomination of a steered pod: the condition that kube-scheduler writes has
/// requeued the pod by then, and the pod gets a normal answer. Otherwise sigma requeues the pod. The hold of the
/// steer ends. After a few failures the breaker of the kind opens, and sigma steers no pod
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
    for at in 0..1000 {
        let cart = mild(&site, &format!("cart-{at}"), "10m");
        if refused(&sigma.filter(&cart, &WINDOW)) == STEERED {
            num_steered += 1;
            // As kube-scheduler's own patch brings it back, whether the write is open or has failed.
            assert_eq!(refused(&sigma.filter(&cart, &WINDOW)), CLOSED);
        } else if sigma.metric("sigma_breaker_open{kind=\"steer\"}") == 1.0 {
            break;
        }
        // Else the rights are being looked at.
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!((2..100).contains(&num_steered), "{fault:?}: {num_steered}");
    assert!(sigma.metric("sigma_not_steered_total{reason=\"off\"}") >= 1.0);
    assert_eq!(sigma.metric("sigma_action_enabled{kind=\"steer\"}"), 0.0);
    let ended = |how| sigma.metric(&outcome(how));
    // The breaker may open between the two calls of one pod: its second finds the means off. And a pod may
    // have been requeued with a nomination since, which is a steer as well.
    wait("all have ended", || ended("failed") + ended("off") >= f64::from(num_steered));
    assert!(ended("failed") >= 1.0, "{fault:?}: {num_steered}");
    wait("nothing is held", || sigma.metric("sigma_holds") == 0.0);
}

/// Row 61, kube-scheduler does not accept the node of a steer: the pod gets a normal answer at once, and is not
/// steered again. After three such steers within 10 s sigma pauses the equivalence class of these pods, or the pods
/// of one controller with the same requests. The pause is 10 s to 2 minutes; then sigma tries one pod of the class
/// (`sigma_steers_total{outcome="not_honoured"}`, `sigma_not_steered_total{reason="paused"}`). Other pods are
/// steered as before. The breaker opens only after five such steers of pods of three unrelated applications. The
/// same holds for nominations ahead, with 20 instead of five.
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
    assert_eq!(sigma.metric("sigma_breaker_open{kind=\"steer\"}"), 0.0);
    let actions = sigma.json("/api/v1/actions");
    assert_eq!((&actions[1]["on"], &actions[1]["paused_classes"]), (&json!(true), &json!(1)));
    // … is not that of others, until several have it.
    assert!(is_steered("song", "20m") && is_steered("film", "30m"));
    sigma.wait_metric("sigma_breaker_open{kind=\"steer\"}", 1.0);
    assert!(!is_steered("book", "40m"));
    assert_eq!(sigma.json("/api/v1/actions")[1]["on"], false);
}
