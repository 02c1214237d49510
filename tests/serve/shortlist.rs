//! How many nodes are named, and who must have the whole choice.

use serde_json::{Value, json};

use crate::cannot_start::ends;
use crate::site::{Site, accepted, node, pod};
use crate::support::http;
use crate::support::process::Sigma;

/// Every node may take every pod of `default`, and is named to `offline` alone.
const POLICY: &str = "apiVersion: sigma.io/v1alpha1\nkind: SchedulingPolicy\n\
    classes:\n- name: offline\n  grant: {priorityClasses: [batch]}\n\
    steering: {default: {shortlist: 5}}\n";
const NUM_NODES: usize = 20;

fn site() -> Site {
    let site = Site::new();
    site.write_policy(POLICY);
    names().iter().for_each(|name| site.api.put("nodes", node(name, "8")));
    site
}

fn names() -> Vec<String> {
    (0..NUM_NODES).map(|at| format!("node-{at}")).collect()
}

/// How many of all nodes are named to a pod.
fn num_named(sigma: &Sigma, pod: &Value) -> usize {
    let names = names();
    accepted(&sigma.filter(pod, &names.iter().map(String::as_str).collect::<Vec<_>>())).len()
}

#[test]
fn the_best_are_named_and_prioritize_looks_up_what_filter_found() {
    let site = site();
    let sigma = site.serve(&[]);
    let pod = pod("cart", "1");
    // In the order in which kube-scheduler writes it.
    let post = |verb: &str, names: Value| -> Value {
        let args = format!("{{\"Pod\":{pod},\"Nodes\":null,\"NodeNames\":{names}}}");
        let reply = http::post(sigma.verbs, verb, args.as_bytes());
        serde_json::from_str(&reply.body).expect("JSON")
    };
    let reply = post("/filter", json!(names()));
    assert_eq!(accepted(&reply).len(), 5);
    let scores = post("/prioritize", reply["NodeNames"].clone());
    assert_eq!(scores.as_array().map(Vec::len), Some(5));
    let hits = "sigma_fast_path_names_total{path=\"memo\",result=\"hit\"}";
    assert_eq!(sigma.metric(hits), 5.0);
    assert_eq!(sigma.metric("sigma_shortlist_nodes_count"), 1.0);
    assert_eq!(sigma.metric("sigma_shortlist_nodes_sum"), 5.0);
    site.write_policy(POLICY.replace("{default: {shortlist: 5}}", "off"));
    crate::support::wait("the policy is in force", || num_named(&sigma, &pod) == NUM_NODES);
}

/// Each reason of `sigma_shortlist_off_total`, by a pod that gives it.
fn off_pods() -> Vec<(&'static str, Value)> {
    let with = |path: &str, value: Value| {
        let mut pod = pod("cart", "1");
        *pod.pointer_mut("/spec")
            .expect("a spec")
            .as_object_mut()
            .expect("an object")
            .entry(path)
            .or_insert(Value::Null) = value;
        pod
    };
    let term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "x"}}});
    let label = json!({"matchExpressions": [{"key": "disk", "operator": "Exists"}]});
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    let affinity = |kind: &str, wants: Value| json!({kind: {preferred: [wants]}});
    vec![
        (
            "soft_spread",
            with(
                "topologySpreadConstraints",
                json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]),
            ),
        ),
        (
            "pod_affinity",
            with(
                "affinity",
                affinity("podAffinity", json!({"weight": 1, "podAffinityTerm": term})),
            ),
        ),
        (
            "node_affinity",
            with("affinity", affinity("nodeAffinity", json!({"weight": 1, "preference": label}))),
        ),
        ("soft_taints", pod("cart", "1")),
    ]
}

#[test]
fn a_shortlist_is_counted_as_off_only_where_all_nodes_are_named() {
    let reasons = ["soft_spread", "pod_affinity", "node_affinity", "soft_taints", "other_extender"];
    let limits = "pools:\n- name: all\n  match: {labels: {kubernetes.io/os: linux}}\n  \
                  allocation: {cpu: 90%}\n";
    for (policy, want) in [(POLICY.to_owned(), NUM_NODES), (POLICY.to_owned() + limits, 16)] {
        for (why, pod) in off_pods() {
            let site = site();
            site.write_policy(&policy);
            for name in names() {
                let mut node = node(&name, "8");
                node["metadata"]["labels"]["kubernetes.io/os"] = "linux".into();
                if why == "soft_taints" {
                    node["spec"]["taints"] = json!([{"key": "old", "effect": "PreferNoSchedule"}]);
                }
                site.api.put("nodes", node);
            }
            let sigma = site.serve(&[]);
            assert_eq!(num_named(&sigma, &pod), want, "{why}");
            for reason in reasons {
                let metric = format!("sigma_shortlist_off_total{{reason=\"{reason}\"}}");
                let is_off = reason == why && want == NUM_NODES;
                assert_eq!(sigma.metric(&metric), f64::from(u8::from(is_off)), "{why} {reason}");
            }
        }
    }
}

#[test]
fn all_are_named_where_somebody_after_us_must_have_the_choice() {
    let site = site();
    let spread = |how: &str| {
        let mut pod = pod("cart", "1");
        pod["spec"]["topologySpreadConstraints"] =
            json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": how}]);
        pod
    };
    let mut gpu = pod("train", "1");
    gpu["spec"]["containers"][0]["resources"]["requests"]["example.com/gpu"] = "1".into();
    let config = site.path("kube-scheduler.yaml");
    let off = |sigma: &Sigma, why: &str| {
        sigma.metric(&format!("sigma_shortlist_off_total{{reason=\"{why}\"}}"))
    };

    let sigma = site.serve(&[]);
    assert_eq!(num_named(&sigma, &spread("DoNotSchedule")), 5);
    assert_eq!(num_named(&sigma, &spread("ScheduleAnyway")), NUM_NODES);
    assert_eq!((off(&sigma, "soft_spread"), off(&sigma, "other_extender")), (1.0, 0.0));

    let sigma = site.serve(&["--other-extenders=on"]);
    assert_eq!(num_named(&sigma, &pod("cart", "1")), NUM_NODES);
    assert_eq!(off(&sigma, "other_extender"), 1.0);

    // The port is not known before it listens, so it is taken from one that is not in use.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    let listen = port.expect("a free port").to_string();
    let extenders = |ours: &str| {
        format!(
            "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n\
             profiles: [{{schedulerName: sigma}}]\nextenders:\n\
             - {{urlPrefix: 'http://{ours}', filterVerb: filter, weight: 150}}\n\
             - {{urlPrefix: 'http://gpu:80', filterVerb: filter, weight: 1,\n   \
             managedResources: [{{name: example.com/gpu}}]}}\n"
        )
    };
    std::fs::write(&config, extenders(&listen)).expect("written");
    let path = config.display().to_string();
    let sigma = site.serve(&["--scheduler-config", &path, "--listen", &listen]);
    assert_eq!(num_named(&sigma, &pod("cart", "1")), 5);
    assert_eq!(num_named(&sigma, &gpu), NUM_NODES);
    assert_eq!(off(&sigma, "other_extender"), 1.0);

    // By another name, as behind a Service; and with a line that begins no document.
    let text = format!("---\n{}---\n", extenders("SIGMA.example:8443/offline/"));
    std::fs::write(&config, text).expect("written");
    let url = "http://sigma.example:8443";
    let sigma = site.serve(&["--scheduler-config", &path, "--extender-url", url]);
    assert_eq!((num_named(&sigma, &pod("cart", "1")), num_named(&sigma, &gpu)), (5, NUM_NODES));

    let said = format!("error: --scheduler-config {path}: none of its extenders has the port");
    let command = || site.command(&["--scheduler-config", &path]);
    ends(command(), 2, &[&said, "give one of http://sigma.example:8443/offline, http://gpu:80"]);
    for (url, part) in [("sigma:8443", "neither http:// nor https://"), ("http://:1", "no host")] {
        let mut command = command();
        command.env("SIGMA_EXTENDER_URL", url);
        ends(command, 2, &["error: --extender-url ", part]);
    }
}
