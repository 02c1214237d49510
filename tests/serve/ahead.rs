//! Nominating ahead, from the outside: an API server in memory, and nobody who schedules.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::site::{Site, accepted, node, pod};
use crate::support::process::Sigma;
use crate::support::{http, wait};

const LEASE: &str = "--lease-namespace=shop";

fn policy(steering: &str) -> String {
    format!(
        "apiVersion: sigma.io/v1alpha1\nkind: SchedulingPolicy\n\
         classes:\n- name: offline\n  grant: {{priorityClasses: [batch]}}\n\
         steering: {{nominateAhead: {steering}}}\n"
    )
}

/// Four nodes of four cores.
fn site(steering: &str) -> Site {
    let site = Site::new();
    site.write_policy(policy(steering));
    site.api.put("nodes", node("n3", "4"));
    site.api.put("nodes", node("n4", "4"));
    site
}

fn put(site: &Site, name: &str, cpu: &str, change: impl FnOnce(&mut Value)) {
    let mut pod = pod(name, cpu);
    change(&mut pod);
    site.api.put("pods", pod);
}

fn nominated(site: &Site, name: &str) -> Option<String> {
    let pod = site.api.object("pods", &format!("shop/{name}"))?;
    pod["status"]["nominatedNodeName"].as_str().map(str::to_owned)
}

/// Binds a pod, as kube-scheduler does.
fn bind(site: &Site, name: &str, node: &str) {
    let mut pod = site.api.object("pods", &format!("shop/{name}")).expect("a pod");
    pod["spec"]["nodeName"] = node.into();
    site.api.put("pods", pod);
}

fn standing(sigma: &Sigma, name: &str) -> Value {
    sigma.json(&format!("/api/v1/explain?namespace=shop&pod={name}"))["nominate_ahead"].take()
}

fn ended(sigma: &Sigma, end: &str) -> f64 {
    sigma.metric(&format!("sigma_nominator_targets_ended_total{{end=\"{end}\"}}"))
}

#[test]
fn a_backlog_is_nominated_within_what_there_is_and_who_cannot_be_judged_is_not() {
    let site = site("{minBacklog: 5}");
    let mut ssd = node("n5", "1");
    ssd["metadata"]["labels"]["disk"] = "ssd".into();
    site.api.put("nodes", ssd);
    let names: Vec<String> = (0..10).map(|at| format!("plain-{at}")).collect();
    names.iter().for_each(|name| put(&site, name, "2", |_| {}));
    put(&site, "first", "2", |pod| pod["spec"]["priority"] = 5.into());
    put(&site, "gated", "1", |pod| pod["spec"]["schedulingGates"] = json!([{"name": "g"}]));
    put(&site, "picky", "1", |pod| pod["spec"]["nodeSelector"] = json!({"disk": "ssd"}));
    let claim = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    put(&site, "claims", "1", |pod| pod["spec"]["volumes"] = claim);
    put(&site, "foreign", "1", |pod| pod["spec"]["schedulerName"] = "other".into());
    put(&site, "taken", "2", |pod| pod["status"]["nominatedNodeName"] = "n1".into());
    let sigma = site.serve(&[LEASE]);
    // Eight halves of a node, of which one was taken before.
    let num_nominated = || names.iter().filter(|name| nominated(&site, name).is_some()).count();
    wait("all that fit are nominated", || num_nominated() == 6);
    wait("none is open as an order", || {
        sigma.metric("sigma_actions_open{kind=\"nominate_ahead\",stage=\"in_flight\"}") == 0.0
    });
    let mut on_node: BTreeMap<String, usize> = BTreeMap::new();
    for name in names.iter().map(String::as_str).chain(["first", "taken"]) {
        if let Some(node) = nominated(&site, name) {
            *on_node.entry(node).or_default() += 1;
        }
    }
    assert!(on_node.len() == 4 && on_node.values().all(|count| *count == 2), "{on_node:?}");
    assert!(nominated(&site, "first").is_some(), "the highest priority is first");
    assert_eq!(nominated(&site, "taken").as_deref(), Some("n1"), "it is left alone");
    assert_eq!(nominated(&site, "picky").as_deref(), Some("n5"), "the one with that disk");
    for (name, want) in [("gated", "gated"), ("claims", "volumes"), ("foreign", "foreign")] {
        assert_eq!(nominated(&site, name), None);
        assert_eq!(standing(&sigma, name), json!({"state": want, "target": null}));
    }
    let why = |name: &str| sigma.json(&format!("/api/v1/explain?namespace=shop&pod={name}"));
    assert_eq!(
        (&why("picky")["nodes_left"], &why("picky")["cannot_judge"]),
        (&json!(1), &json!(null))
    );
    assert_eq!(why("claims")["cannot_judge"], "volumes");
    assert_eq!(why("first")["nodes_left"], json!(null));
    let target = nominated(&site, "first");
    assert_eq!(standing(&sigma, "first"), json!({"state": "target", "target": target}));
    assert_eq!(sigma.metric("sigma_nominator_unplanned_pods{reason=\"gated\"}"), 1.0);
    assert_eq!(sigma.metric("sigma_nominator_targets_open"), 8.0);

    // Its own nomination does not keep a pod off its target, and keeps others off.
    let target = target.expect("it is nominated");
    let first = site.api.object("pods", "shop/first").expect("a pod");
    assert_eq!(sigma.filter(&first, &[&target])["NodeNames"], json!([target]));
    let other = pod("other", "2");
    assert_eq!(sigma.filter(&other, &["n1", "n2", "n3", "n4"])["NodeNames"], json!([]));

    // One is bound where it was sent, and one elsewhere.
    bind(&site, "first", &target);
    wait("it is honoured", || ended(&sigma, "honoured") == 1.0);
    let some = names.iter().find(|name| nominated(&site, name).is_some()).expect("one");
    let elsewhere = if nominated(&site, some).as_deref() == Some("n1") { "n2" } else { "n1" };
    bind(&site, some, elsewhere);
    wait("it is missed", || ended(&sigma, "missed") == 1.0);
}

#[test]
fn a_nomination_whose_node_is_gone_or_that_is_old_is_taken_back() {
    let site = site("{minBacklog: 1, ttlSeconds: 5}");
    put(&site, "one", "4", |_| {});
    put(&site, "two", "4", |_| {});
    let sigma = site.serve(&[LEASE]);
    wait("both are nominated", || {
        nominated(&site, "one").is_some() && nominated(&site, "two").is_some()
    });
    let (one, two) = (nominated(&site, "one"), nominated(&site, "two"));
    assert_ne!(one, two);
    site.api.delete("nodes", one.as_deref().expect("a node"));
    wait("it has another target", || {
        let now = nominated(&site, "one");
        now.is_some() && now != one && now != two
    });
    assert_eq!(ended(&sigma, "lost"), 1.0);
    let two = two.expect("a node");
    let mut cordoned = node(&two, "4");
    cordoned["spec"]["unschedulable"] = true.into();
    site.api.put("nodes", cordoned);
    wait("a cordoned target is lost, too", || {
        nominated(&site, "two").is_some_and(|now| now != two)
    });
    assert_eq!(ended(&sigma, "lost"), 2.0);
    wait("what is old is taken back", || ended(&sigma, "stale") >= 2.0);
    // Somebody else's is not.
    let mut pod = site.api.object("pods", "shop/one").expect("a pod");
    pod["status"]["nominatedNodeName"] = "n9".into();
    site.api.put("pods", pod);
    wait("the other one is nominated again", || nominated(&site, "two").is_some());
    wait("and is old again", || ended(&sigma, "stale") >= 3.0);
    assert_eq!(nominated(&site, "one").as_deref(), Some("n9"));
}

#[test]
fn nobody_is_nominated_while_few_wait_without_a_lease_or_against_the_policy() {
    let site = site("{minBacklog: 3}");
    put(&site, "one", "1", |_| {});
    put(&site, "two", "1", |_| {});
    let without = site.serve(&[]);
    let sigma = site.serve(&[LEASE]);
    wait("it leads", || sigma.json("/api/v1/status")["lease"]["is_leader"] == true);
    wait("it is on", || sigma.metric("sigma_action_enabled{kind=\"nominate_ahead\"}") == 1.0);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(nominated(&site, "one"), None);
    assert_eq!(standing(&sigma, "one"), json!({"state": "waits", "target": null}));
    site.write_policy(policy("off"));
    wait("it is off", || sigma.metric("sigma_action_enabled{kind=\"nominate_ahead\"}") == 0.0);
    assert_eq!(standing(&sigma, "one"), Value::Null);
    put(&site, "three", "1", |_| {});
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(nominated(&site, "three"), None);
    site.write_policy(policy("{minBacklog: 3}"));
    wait("it is on again", || nominated(&site, "three").is_some());
    assert_eq!(without.metric("sigma_nominator_targets_total"), 0.0);
    assert_eq!(http::get(sigma.admin, "/readyz").status, 200);
}

#[test]
fn whom_kube_scheduler_comes_to_first_no_nomination_is_written() {
    let site = site("{minBacklog: 1}");
    let names: Vec<String> = (0..12).map(|at| format!("pod-{at}")).collect();
    names.iter().for_each(|name| put(&site, name, "1", |_| {}));
    // One a second: the last has its turn long after it is asked about.
    let sigma = site.serve(&[LEASE, "--nominations-per-second=1"]);
    wait("all have targets", || sigma.metric("sigma_nominator_targets_total") == 12.0);
    wait("one is nominated", || names.iter().any(|name| nominated(&site, name).is_some()));
    let last = site.api.object("pods", "shop/pod-11").expect("a pod");
    assert!(sigma.filter(&last, &["n1"])["NodeNames"] != json!([]));
    wait("its target is given up", || ended(&sigma, "missed") == 1.0);
    assert_eq!(nominated(&site, "pod-11"), None);
    assert_eq!(ended(&sigma, "unwritten"), 0.0);
    assert!(sigma.metric("sigma_nominator_targets_open") >= 11.0, "the others have theirs");
}

#[test]
fn whom_kube_scheduler_comes_to_while_the_order_waits_no_nomination_is_written() {
    let site = site("{minBacklog: 1}");
    ["first", "second"].iter().for_each(|name| put(&site, name, "1", |_| {}));
    let sigma = site.serve(&[LEASE, "--nominations-per-second=1"]);
    wait("the second one waits for its turn", || {
        nominated(&site, "first").is_some()
            && sigma.metric("sigma_actions_open{kind=\"nominate_ahead\",stage=\"waiting\"}") == 1.0
    });
    let second = site.api.object("pods", "shop/second").expect("a pod");
    assert!(sigma.filter(&second, &["n1"])["NodeNames"] != json!([]));
    sigma.wait_metric("sigma_actions_total{kind=\"nominate_ahead\",outcome=\"overtaken\"}", 1.0);
    wait("its target is given up", || ended(&sigma, "missed") == 1.0);
    assert_eq!(nominated(&site, "second"), None);
}

/// Between the choice and its turn, and while the order waits for its turn.
#[test]
fn whom_somebody_else_nominates_meanwhile_is_left_alone() {
    for num_pods in [2, 12] {
        let site = site("{minBacklog: 1}");
        let names: Vec<String> = (0..num_pods).map(|at| format!("pod-{at}")).collect();
        names.iter().for_each(|name| put(&site, name, "1", |_| {}));
        // One a second, in the order in which they were made.
        let sigma = site.serve(&[LEASE, "--nominations-per-second=1"]);
        wait("all have targets", || {
            sigma.metric("sigma_nominator_targets_total") == f64::from(num_pods)
        });
        wait("one is nominated", || nominated(&site, "pod-0").is_some());
        let mut last =
            site.api.object("pods", &format!("shop/pod-{}", num_pods - 1)).expect("a pod");
        assert!(last["status"]["nominatedNodeName"].is_null());
        last["status"]["nominatedNodeName"] = "n9".into();
        site.api.put("pods", last);
        let is_over = || ended(&sigma, "overruled") + ended(&sigma, "unwritten") == 1.0;
        wait("its target is given up", is_over);
        let name = format!("pod-{}", num_pods - 1);
        assert_eq!(nominated(&site, &name).as_deref(), Some("n9"));
        assert_eq!(standing(&sigma, &name), json!({"state": "nominated", "target": null}));
    }
}

/// Row 56, the leader is killed while it nominates ahead: the next leader recognizes written nominations by their
/// mark, and takes them back when they are old. It chooses new nodes for pods whose nomination was not written.
#[test]
fn the_next_leader_goes_on_where_the_last_one_was() {
    let site = site("{minBacklog: 4, window: 2, ttlSeconds: 5}");
    for at in 0..8 {
        put(&site, &format!("pod-{at}"), "2", |_| {});
    }
    let all = || (0..8).filter_map(|at| nominated(&site, &format!("pod-{at}"))).collect::<Vec<_>>();
    let mut first = site.serve(&[LEASE]);
    wait("the window is full", || all().len() == 2);
    let second = site.serve(&[LEASE]);
    first.signal("KILL");
    first.wait_exit();
    // Its lease must run out first.
    wait("the next one leads", || second.metric("sigma_leader") == 1.0);
    wait("it follows what it found", || second.metric("sigma_nominator_targets_open") == 2.0);
    wait("what is old is taken back", || ended(&second, "stale") == 2.0);
    wait("others are nominated", || {
        all().len() == 2 && second.metric("sigma_nominator_targets_total") > 1.0
    });
}

/// A filter call about each of these pods; gives how long their answers have waited, each.
fn waits(site: &Site, sigma: &Sigma, names: &[String]) -> Vec<f64> {
    let waited = || sigma.metric("sigma_nominator_filter_delay_seconds_total");
    let ask = |name: &String| {
        let before = waited();
        let pod = site.api.object("pods", &format!("shop/{name}")).expect("a pod");
        assert_eq!(accepted(&sigma.filter(&pod, &["n1", "n2"])), ["n1", "n2"]);
        waited() - before
    };
    names.iter().map(ask).collect()
}

#[test]
fn answers_wait_while_others_are_nominated_and_are_no_later_for_it() {
    let site = site("{minBacklog: 10, filterDelayMs: 20}");
    let names: Vec<String> = (0..60).map(|at| format!("pod-{at:02}")).collect();
    names.iter().for_each(|name| put(&site, name, "10m", |_| {}));
    put(&site, "foreign", "10m", |pod| pod["spec"]["schedulerName"] = "other".into());
    let sigma = site.serve(&[LEASE, "--nominations-per-second", "1", "--deadline", "90ms"]);
    let ok = || sigma.metric("sigma_verb_results_total{result=\"ok\",verb=\"filter\"}");
    let took = || sigma.metric("sigma_verb_duration_seconds_sum{verb=\"filter\"}");
    wait("all have a target", || sigma.metric("sigma_nominator_targets_open") == 60.0);
    assert!(waits(&site, &sigma, &["foreign".to_owned()])[0] < 0.001);
    // The clock of a busy machine may be later than the deadline once, not always.
    let is_in_time = |name: &String| {
        let (oks, began) = (ok(), took());
        let waited = waits(&site, &sigma, std::slice::from_ref(name))[0];
        waited > 0.09 && ok() > oks && took() - began < 0.09
    };
    assert!(names.iter().rev().take(8).any(is_in_time), "waiting is not lateness");
    let nominated: Vec<String> =
        names.iter().filter(|name| nominated(&site, name).is_some()).cloned().collect();
    assert!(waits(&site, &sigma, &nominated).iter().all(|waited| *waited < 0.001), "{nominated:?}");
}

#[test]
fn without_a_filter_delay_nobody_waits() {
    let site = site("{minBacklog: 10, filterDelayMs: 0}");
    let names: Vec<String> = (0..30).map(|at| format!("pod-{at:02}")).collect();
    names.iter().for_each(|name| put(&site, name, "10m", |_| {}));
    let sigma = site.serve(&[LEASE, "--nominations-per-second", "1"]);
    wait("all have a target", || sigma.metric("sigma_nominator_targets_open") == 30.0);
    assert!(waits(&site, &sigma, &names).iter().all(|waited| *waited < 0.001));
}
