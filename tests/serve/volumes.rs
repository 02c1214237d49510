//! Claims and volumes: watched where they are of use, done without where we may not, and no condition of
//! anything else.

use serde_json::{Value, json};

use crate::site::{Site, node, pod};
use crate::support::process::Sigma;
use crate::support::wait;

const ZONE: &str = "topology.kubernetes.io/zone";
const LEASE: &str = "--lease-namespace=shop";
const WATCHED: [&str; 2] = ["persistentvolumes", "persistentvolumeclaims"];

fn policy(steering: &str) -> String {
    format!(
        "apiVersion: sigma.io/v1alpha1\nkind: SchedulingPolicy\nmetadata: {{name: it}}\n\
         classes:\n- name: default\nsteering: {steering}\n"
    )
}

/// One more node in each of two zones.
fn site(steering: &str) -> Site {
    let site = Site::new();
    site.write_policy(policy(steering));
    for zone in ["a", "b"] {
        let mut node = node(zone, "4");
        node["metadata"]["labels"][ZONE] = zone.into();
        site.api.put("nodes", node);
    }
    site
}

/// A volume of zone `b`.
fn volume(name: &str) -> Value {
    let asked = json!({"key": ZONE, "operator": "In", "values": ["b"]});
    json!({
        "metadata": {"name": name},
        "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [asked]}]}}},
    })
}

fn claim(name: &str, volume: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "shop",
            "annotations": {"pv.kubernetes.io/bind-completed": "yes"},
        },
        "spec": {"volumeName": volume, "accessModes": ["ReadWriteOnce"]},
        "status": {"phase": "Bound"},
    })
}

fn put_pod(site: &Site, name: &str, claim: &str) {
    let mut it = pod(name, "1");
    it["spec"]["volumes"] =
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
    site.api.put("pods", it);
}

fn explained(sigma: &Sigma, name: &str) -> Value {
    sigma.json(&format!("/api/v1/explain?namespace=shop&pod={name}"))
}

fn nominated(site: &Site, name: &str) -> Option<String> {
    let pod = site.api.object("pods", &format!("shop/{name}"))?;
    pod["status"]["nominatedNodeName"].as_str().map(str::to_owned)
}

fn asked(site: &Site) -> usize {
    WATCHED.iter().map(|it| site.api.asked("watch", it) + site.api.asked("list", it)).sum()
}

#[test]
fn a_pod_is_nominated_where_its_volume_is_once_that_is_known() {
    let site = site("{nominateAhead: {minBacklog: 1}}");
    site.api.put(WATCHED[0], volume("pv-1"));
    site.api.put(WATCHED[1], claim("early", "pv-1"));
    let mut late = claim("late", "pv-2");
    late["metadata"]["annotations"] = json!({});
    site.api.put(WATCHED[1], late);
    put_pod(&site, "early", "early");
    put_pod(&site, "late", "late");
    let sigma = site.serve(&[LEASE]);
    wait("it is where its volume is", || nominated(&site, "early").as_deref() == Some("b"));
    let why = explained(&sigma, "early");
    assert_eq!((&why["nodes_left"], &why["cannot_judge"]), (&json!(1), &Value::Null));
    assert_eq!(sigma.metric("sigma_nominator_unplanned_pods{reason=\"volumes\"}"), 1.0);
    let why = explained(&sigma, "late");
    assert_eq!((&why["nodes_left"], &why["cannot_judge"]), (&json!(4), &json!("volumes")));
    assert_eq!(why["nominate_ahead"]["state"], "volumes");
    site.api.put(WATCHED[1], claim("late", "pv-2"));
    site.api.put(WATCHED[0], volume("pv-2"));
    wait("the other is, too", || nominated(&site, "late").as_deref() == Some("b"));
    sigma.wait_metric("sigma_state_objects{kind=\"volumes\"}", 2.0);
    assert_eq!(sigma.metric("sigma_state_objects{kind=\"bound_claims\"}"), 2.0);
    assert!(
        sigma.get("/readyz?verbose").body.contains("[+] watch persistentvolumes: list complete")
    );
}

/// Row 53, the right to read volumes and claims is missing: sigma leaves pods that mount claims to kube-scheduler,
/// and logs that once. Everything else works as usual. sigma checks the right every minute.
#[test]
fn without_the_right_all_else_is_as_ever() {
    let site = site("{nominateAhead: {minBacklog: 1}}");
    for verb in ["list", "watch"] {
        WATCHED.iter().for_each(|it| site.api.forbid(verb, it));
    }
    site.api.put(WATCHED[0], volume("pv-1"));
    site.api.put(WATCHED[1], claim("data", "pv-1"));
    put_pod(&site, "claims", "data");
    site.api.put("pods", pod("plain", "1"));
    let sigma = site.serve(&[LEASE]);
    wait("who claims nothing is nominated", || nominated(&site, "plain").is_some());
    wait("it is tried", || asked(&site) == 2);
    assert_eq!(explained(&sigma, "claims")["nominate_ahead"]["state"], "volumes");
    wait("it is shown", || sigma.get("/readyz?verbose").body.contains("forbidden: cannot "));
    let page = sigma.get("/readyz?verbose").body;
    assert!(page.contains("[-] watch persistentvolumeclaims: list not complete"), "{page}");
    assert_eq!((sigma.get("/readyz").status, nominated(&site, "claims")), (200, None));
    let failures = |it| sigma.metric(&format!("sigma_watch_failures_total{{resource=\"{it}\"}}"));
    assert_eq!(WATCHED.map(failures), [0.0; 2]);
    let absent = |it| sigma.metric(&format!("sigma_watch_absent{{resource=\"{it}\"}}"));
    wait("the gauges follow", || (WATCHED.map(absent), absent("pods")) == ([1.0; 2], 0.0));
    let logged = |it| sigma.logged(&format!("sigma may not list {it}, so pods that mount claims"));
    assert_eq!(WATCHED.map(logged), [1; 2]);
}

#[test]
fn a_kind_that_is_not_served_is_no_fault() {
    let site = site("{nominateAhead: {minBacklog: 1}}");
    site.api.serve("deviceclasses", false);
    let sigma = site.serve(&[LEASE]);
    let shown = "[+] watch deviceclasses: list complete";
    wait("it is shown", || sigma.get("/readyz?verbose").body.contains(shown));
    let page = sigma.get("/readyz?verbose").body;
    assert!(
        page.contains("; not served, looked for again: cannot watch deviceclasses: 404"),
        "{page}"
    );
    let label = "{resource=\"deviceclasses\"}";
    sigma.wait_metric(&format!("sigma_watch_absent{label}"), 1.0);
    assert_eq!(sigma.metric(&format!("sigma_watch_failures_total{label}")), 0.0);
    assert_eq!((sigma.get("/readyz").status, site.api.asked("watch", "deviceclasses")), (200, 1));
    assert_eq!(sigma.logged("the API server does not serve deviceclasses"), 1);
}

#[test]
fn where_nobody_is_sent_anywhere_neither_is_watched() {
    let site = site("off");
    let sigma = site.serve(&[]);
    std::thread::sleep(std::time::Duration::from_millis(1200));
    assert_eq!(asked(&site), 0);
    assert!(!sigma.get("/readyz?verbose").body.contains("persistentvolume"));
    site.write_policy(policy("{nominateAhead: {minBacklog: 3}}"));
    wait("both are", || {
        WATCHED.iter().all(|it| {
            sigma.get("/readyz?verbose").body.contains(&format!("watch {it}: list complete"))
        })
    });
}
