//! A node that was not offered is judged as kube-scheduler's own plugins would: compared, from the JSON of
//! nodes and pods on, with what the Kubernetes documentation says, written as naively as possible.

#[path = "constraints/documented.rs"]
mod documented;
#[path = "constraints/objects.rs"]
mod objects;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use sigma::k8s::decode;
use sigma::k8s::kinds::{claims, namespaces, nodes, volumes};
use sigma::sim::Rng;

use self::documented::Cluster;
use crate::engine::NoTarget;
use crate::model::{CannotJudge, Change, NodeOrd, Pod, Tick};
use crate::policy::Settings;
use crate::testing::{TestReplica, seen_node, seen_pod};

fn pod(json: &Value) -> Pod {
    let read = serde_json::from_value(json.clone()).map_err(|it| it.to_string());
    read.and_then(|slim| decode::pod(&slim).map_err(|it| it.to_string())).expect("a pod")
}

/// The cluster as sigma sees it.
fn site(cluster: &Cluster) -> TestReplica {
    let mut site = TestReplica::new(&Settings::default());
    let namespaces = cluster.namespaces.iter().map(|json| {
        let slim = serde_json::from_value(json.clone()).expect("a namespace");
        Change::NamespaceSeen(namespaces::namespace(&slim).expect("a namespace"))
    });
    site.see(namespaces);
    site.see(cluster.nodes.iter().map(|json| {
        let slim = serde_json::from_value(json.clone()).expect("a node");
        seen_node(nodes::node(&slim).expect("a node"))
    }));
    site.see(cluster.pods.iter().map(|json| seen_pod(&pod(json))));
    site.see(cluster.claims.iter().map(claim_seen));
    site.see(cluster.volumes.iter().map(|json| {
        let slim = serde_json::from_value(json.clone()).expect("a volume");
        let (name, reach) = volumes::volume(&slim).expect("a volume");
        Change::seen(name, reach.map(Arc::new))
    }));
    site
}

fn claim_seen(json: &Value) -> Change {
    let slim = serde_json::from_value(json.clone()).expect("a claim");
    let (name, bound) = claims::claim(&slim).expect("a claim");
    Change::seen(name, bound)
}

/// What is made for the pod's ephemeral volume, as its controller does it.
fn furnish(rng: &mut Rng, cluster: &mut Cluster, site: &mut TestReplica, json: &Value) {
    let claim = objects::claim_of(rng, json);
    site.see([claim_seen(&claim)]);
    cluster.claims.retain(|it| it["metadata"]["name"] != claim["metadata"]["name"]);
    cluster.claims.push(claim);
}

#[test]
fn nodes_are_judged_as_documented() {
    let mut counts: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    let mut num_unjudged = 0;
    for seed in 0..1000 {
        let mut rng = Rng::new(seed, 0);
        let mut cluster = objects::cluster(&mut rng);
        let mut site = site(&cluster);
        for uid in 0..6 {
            let (kind, json) = objects::pending(&mut rng, uid);
            furnish(&mut rng, &mut cluster, &mut site, &json);
            let asked = pod(&json);
            let unjudged = (!cluster.knows_volumes(&json)).then_some(CannotJudge::Volumes);
            let found = site.view.snapshot.cannot_judge(&asked);
            assert_eq!(found, unjudged, "{json}\n{cluster:?}");
            if unjudged.is_some() {
                num_unjudged += 1;
                continue;
            }
            for (at, node) in cluster.nodes.iter().enumerate() {
                let name = node["metadata"]["name"].as_str().expect("a name");
                let ords = site.ords(&[name]);
                let got = site.decider.best_of(&site.view, &asked, &ords).is_some();
                let want = cluster.admits(&json, at);
                assert_eq!(got, want, "seed {seed}, {name}: {json}\n{cluster:?}");
                *counts.entry((kind, got)).or_default() += 1;
            }
        }
    }
    let kinds = objects::KINDS.iter().flat_map(|it| [(it.1, false), (it.1, true)]);
    for kind in kinds.filter(|it| *it != ("none", false)) {
        let count = counts.get(&kind).copied().unwrap_or(0);
        assert!(count > 250, "{kind:?}: {count} of {counts:?}");
    }
    assert!(num_unjudged > 250, "{num_unjudged}");
}

/// Those of a batch are judged as if those before them were on their targets.
#[test]
fn a_batch_is_judged_as_if_each_pod_were_placed() {
    let (mut num_targets, mut num_without, mut num_named, mut num_unjudged) = (0, 0, 0, 0);
    for seed in 5000..6000 {
        let mut rng = Rng::new(seed, 0);
        let mut cluster = objects::cluster(&mut rng);
        let mut site = site(&cluster);
        let mut batch: Vec<Value> = (0..12).map(|uid| objects::pending(&mut rng, uid).1).collect();
        if seed % 2 == 0 {
            // A controller makes many from one template.
            for at in 4..batch.len() {
                batch[at] = other_extender(&batch[at % 4], at as u64);
            }
        }
        for json in &batch {
            furnish(&mut rng, &mut cluster, &mut site, json);
        }
        let pods: Vec<Arc<Pod>> = batch.iter().map(|json| Arc::new(pod(json))).collect();
        let targets = site.decider.copy_of_holds().targets(&site.view, &pods);
        for ((json, pod), target) in batch.iter().zip(&pods).zip(&targets) {
            if *target == Err(NoTarget::Named) {
                num_named += 1;
                continue;
            }
            let unjudged = Err(NoTarget::Unjudged(CannotJudge::Volumes));
            assert_eq!(*target == unjudged, !cluster.knows_volumes(json), "seed {seed}: {json}");
            if *target == unjudged {
                num_unjudged += 1;
                continue;
            }
            let all = 0..cluster.nodes.len();
            let admitted: Vec<usize> = all.filter(|at| cluster.admits(json, *at)).collect();
            let place = target.ok().map(|best| best.node);
            let name = place.map(|node| site.view.snapshot.names.name(node).to_owned());
            let named = |at: &usize| cluster.nodes[*at]["metadata"]["name"].as_str();
            let is_in = name
                .as_deref()
                .is_some_and(|name| admitted.iter().any(|at| named(at) == Some(name)));
            assert_eq!(is_in, !admitted.is_empty(), "seed {seed}: {target:?}\n{json}\n{cluster:?}");
            // And it is the best of those.
            let ords: Vec<NodeOrd> = admitted
                .iter()
                .flat_map(|at| site.ords(&[named(at).unwrap_or_default()]))
                .collect();
            let best = site.decider.best_of(&site.view, pod, &ords).map(|best| best.node);
            assert_eq!(best, place, "seed {seed}: {json}\n{cluster:?}");
            if let Some(name) = name {
                num_targets += 1;
                cluster.pods.push(objects::bound(json, &name));
                site.see([seen_pod(&self::pod(&objects::bound(json, &name)))]);
            } else {
                num_without += 1;
            }
        }
    }
    let found = [num_targets, num_without, num_named, num_unjudged];
    let enough = num_targets > 4000 && num_without > 500 && num_named > 20 && num_unjudged > 100;
    assert!(enough, "{found:?}");
}

/// A pod of the same template.
fn other_extender(pod: &Value, uid: u64) -> Value {
    let mut it = pod.clone();
    let name = format!("p{uid}");
    it["metadata"]["uid"] = format!("uid-{uid}").into();
    it["metadata"]["labels"]["pod"] = name.as_str().into();
    it["metadata"]["name"] = name.into();
    it
}

/// A pod that tolerates every taint, and the same that must be apart from the others of its app.
fn plain(uid: u64) -> Value {
    let mut it = objects::replica(&mut Rng::new(7, 7), uid);
    it["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    it
}

fn apart_from_itself(uid: u64) -> Value {
    let mut it = plain(uid);
    let selector = json!({"matchLabels": {"app": it["metadata"]["labels"]["app"]}});
    let term = json!({"topologyKey": objects::KEYS[0], "labelSelector": selector});
    it["spec"]["affinity"]["podAntiAffinity"] = json!({objects::REQUIRED: [term]});
    it
}

/// A replica that was answered and is not seen yet is in the way of those that must be apart from it.
#[test]
fn replicas_on_their_way_are_in_the_way() {
    let mut rng = Rng::new(1, 0);
    let cluster = Cluster { pods: Vec::new(), ..objects::cluster(&mut rng) };
    let mut site = site(&cluster);
    let names: Vec<String> = cluster
        .nodes
        .iter()
        .map(|it| it["metadata"]["name"].as_str().unwrap_or("").into())
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let one = pod(&apart_from_itself(1));
    let before = site.decider.best_anywhere(&site.view, &one).expect("there is room").node;
    assert!(site.decider.hold_for(&site.view, &one, before, Tick(0)).is_some());
    let other = pod(&apart_from_itself(2));
    assert_eq!(site.decider.best_of(&site.view, &other, &[before]), None);
    assert!(
        site.decider.best_of(&site.view, &one, &[before]).is_some(),
        "it is not in its own way"
    );
    // Where it is to be spread by node, there is one on that node.
    let mut spread = plain(4);
    let selector = json!({"matchLabels": {"app": spread["metadata"]["labels"]["app"]}});
    spread["spec"]["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": objects::KEYS[0],
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}]);
    let open: Vec<bool> = names
        .iter()
        .map(|name| {
            let ords = site.ords(&[name]);
            site.decider.best_of(&site.view, &pod(&spread), &ords).is_some()
        })
        .collect();
    assert_eq!(open.iter().filter(|is_open| !**is_open).count(), 1, "{open:?}");
    let free = site.ords(&names).into_iter().filter(|ord| *ord != before);
    for ord in free.collect::<Vec<_>>() {
        let is_free = site.decider.best_of(&site.view, &other, &[ord]).is_some();
        assert_eq!(is_free, site.decider.best_of(&site.view, &pod(&plain(3)), &[ord]).is_some());
    }
}

/// A nomination is in the way of pods of its priority and below: by its port, by its labels, by its number.
#[test]
fn nominated_pods_are_in_the_way() {
    let mut rng = Rng::new(1, 0);
    let cluster = Cluster { pods: Vec::new(), ..objects::cluster(&mut rng) };
    let mut site = site(&cluster);
    let ords = site.ords(&["n0"]);
    let mut claims = plain(1);
    claims["spec"]["priority"] = 5.into();
    claims["spec"]["containers"][0]["ports"] = json!([{"hostPort": 80}]);
    claims["status"]["nominatedNodeName"] = "n0".into();
    let mut port = plain(2);
    port["spec"]["containers"][0]["ports"] = json!([{"hostPort": 80}]);
    let apart = apart_from_itself(3);
    let mut spread = plain(4);
    let selector = json!({"matchLabels": {"app": spread["metadata"]["labels"]["app"]}});
    spread["spec"]["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": objects::KEYS[0],
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}]);
    let mut together = plain(5);
    let term = apart["spec"]["affinity"]["podAntiAffinity"][objects::REQUIRED][0].clone();
    together["spec"]["affinity"] = json!({"podAffinity": {objects::REQUIRED: [term]}});
    let all = [&port, &apart, &spread, &together];
    let free = |site: &mut TestReplica, priority: i64| {
        all.map(|json| {
            let mut json = json.clone();
            json["spec"]["priority"] = priority.into();
            site.decider.best_of(&site.view, &pod(&json), &ords).is_some()
        })
    };
    assert_eq!(free(&mut site, 5), [true; 4]);
    site.see([seen_pod(&pod(&claims))]);
    // Nobody is with it before it is there: the first of a series may still go anywhere.
    assert_eq!(free(&mut site, 5), [false, false, false, true]);
    assert_eq!(free(&mut site, 6), [true; 4]);
}

/// A pod that must be apart from those that [`plain`] makes, and is none of them.
fn shy(key: &str) -> Value {
    let mut it = plain(20);
    let selector = json!({"matchLabels": {"app": it["metadata"]["labels"]["app"]}});
    let homes = json!([it["metadata"]["namespace"]]);
    let term = json!({"topologyKey": key, "labelSelector": selector, "namespaces": homes});
    it["spec"]["affinity"]["podAntiAffinity"] = json!({objects::REQUIRED: [term]});
    it["spec"]["priority"] = 5.into();
    it["metadata"]["labels"] = json!({"app": "hermit"});
    it["metadata"]["namespace"] = "bank".into();
    it["metadata"]["ownerReferences"][0]["uid"] = "hermit".into();
    it
}

/// Nodes without pods, the first and the second in one rack.
fn racks() -> Cluster {
    let cluster = objects::cluster(&mut Rng::new(3, 0));
    let mut cluster = Cluster { pods: Vec::new(), ..cluster };
    for (at, node) in cluster.nodes.iter_mut().enumerate() {
        node["metadata"]["labels"]["rack"] = if at < 2 { "1" } else { "2" }.into();
    }
    cluster
}

/// On which of the first three nodes this pod may be.
fn open_to(site: &mut TestReplica, json: &Value) -> [bool; 3] {
    ["n0", "n1", "n2"].map(|name| {
        let ords = site.ords(&[name]);
        site.decider.best_of(&site.view, &pod(json), &ords).is_some()
    })
}

/// Whoever must be apart from a pod keeps it off: placed, held or nominated, as long as it is.
#[test]
fn others_that_must_be_apart_from_a_pod_keep_it_off() {
    let mut site = site(&racks());
    let (guest, shy) = (plain(1), shy("rack"));
    let (everywhere, off) = ([true; 3], [false, false, true]);
    assert_eq!(open_to(&mut site, &guest), everywhere);
    let ord = site.ords(&["n0"])[0];
    let held = site.decider.hold_for(&site.view, &pod(&shy), ord, Tick(0)).expect("it holds none");
    assert_eq!(open_to(&mut site, &guest), off);
    assert!(site.decider.end_hold(pod(&shy).uid, held));
    assert_eq!(open_to(&mut site, &guest), everywhere);
    let mut nominated = shy.clone();
    nominated["status"]["nominatedNodeName"] = "n0".into();
    site.see([seen_pod(&pod(&nominated))]);
    for (priority, want) in [(5, off), (6, everywhere)] {
        let mut guest = guest.clone();
        guest["spec"]["priority"] = priority.into();
        assert_eq!(open_to(&mut site, &guest), want, "{priority}");
    }
    // Nor is one in its own way.
    let mut own = apart_from_itself(2);
    own["status"]["nominatedNodeName"] = "n2".into();
    site.see([seen_pod(&pod(&own))]);
    assert_eq!(open_to(&mut site, &own), off);
    site.see([Change::PodGone { uid: pod(&own).uid }]);
    let mut placed = objects::bound(&shy, "n1");
    site.see([seen_pod(&pod(&placed))]);
    assert_eq!(open_to(&mut site, &guest), off);
    // Whom no term means, nobody keeps off.
    let mut stranger = guest.clone();
    stranger["metadata"]["labels"]["app"] = "stranger".into();
    assert_eq!(open_to(&mut site, &stranger), everywhere);
    placed["metadata"]["deletionTimestamp"] = "2026-11-27T00:00:00Z".into();
    placed["metadata"]["resourceVersion"] = "10".into();
    site.see([seen_pod(&pod(&placed))]);
    assert_eq!(open_to(&mut site, &guest), off, "until it is gone");
    site.see([Change::PodGone { uid: pod(&shy).uid }]);
    assert_eq!(open_to(&mut site, &guest), everywhere);
}

/// A namespace that gets other labels is selected, or no more, from then on.
#[test]
fn a_namespace_is_looked_at_when_a_pod_is_judged() {
    let mut cluster = racks();
    let mut shy = shy("rack");
    let term = &mut shy["spec"]["affinity"]["podAntiAffinity"][objects::REQUIRED][0];
    term["namespaces"] = Value::Null;
    term["namespaceSelector"] = json!({"matchLabels": {"quiet": "yes"}});
    cluster.pods.push(objects::bound(&shy, "n0"));
    let mut site = site(&cluster);
    let guest = plain(1);
    for (labels, want) in [
        (json!({}), [true; 3]),
        (json!({"quiet": "yes"}), [false, false, true]),
        (json!({"quiet": "no"}), [true; 3]),
    ] {
        let json = json!({"metadata": {"name": guest["metadata"]["namespace"], "labels": labels}});
        let slim = serde_json::from_value(json).expect("a namespace");
        site.see([Change::NamespaceSeen(namespaces::namespace(&slim).expect("a namespace"))]);
        assert_eq!(open_to(&mut site, &guest), want, "{labels}");
    }
}

/// Replicas of one app, of which a term of another's means the one and not the other.
#[test]
fn replicas_whom_a_term_tells_apart_are_judged_by_their_own_labels() {
    let mut cluster = racks();
    let mut shy = shy("rack");
    let term = &mut shy["spec"]["affinity"]["podAntiAffinity"][objects::REQUIRED][0];
    term["labelSelector"] = json!({"matchLabels": {"pod": "p2"}});
    cluster.pods.push(objects::bound(&shy, "n0"));
    shy["metadata"]["uid"] = "other".into();
    shy["metadata"]["name"] = "other".into();
    cluster.pods.push(objects::bound(&shy, "n2"));
    for uids in [[1, 2], [2, 1]] {
        let mut site = site(&cluster);
        let batch = uids.map(|uid| Arc::new(pod(&apart_from_itself(uid))));
        let targets = site.decider.targets(&site.view, &batch);
        assert_eq!(targets.iter().map(Result::is_ok).collect::<Vec<_>>(), uids.map(|it| it == 1));
        let left = uids.map(|uid| {
            let all: Vec<_> = site.view.snapshot.live_nodes().collect();
            let pod = pod(&plain(uid));
            crate::engine::explain(&mut site.decider, &site.view, &pod, &all, 1).num_left
        });
        assert_eq!(
            left,
            uids.map(|it| (it == 2).then_some(0)),
            "it says why, and only of that one"
        );
    }
}

#[test]
fn replicas_with_other_ports_are_judged_by_their_own() {
    let mut rng = Rng::new(1, 0);
    let cluster = Cluster { pods: Vec::new(), ..objects::cluster(&mut rng) };
    let with_port = |uid: u64, port: u64| {
        let mut it = plain(uid);
        it["spec"]["containers"][0]["ports"] = json!([{"hostPort": port}]);
        it
    };
    let nodes = cluster.nodes.len() as u64;
    let mut site = site(&cluster);
    // As many as there are nodes of each port, by turns, and one more of each.
    let batch: Vec<Arc<Pod>> =
        (0..2 * nodes + 2).map(|at| Arc::new(pod(&with_port(at, 80 + at % 2)))).collect();
    let targets = site.decider.targets(&site.view, &batch);
    let given: Vec<bool> = targets.iter().map(Result::is_ok).collect();
    let want: Vec<bool> = (0..2 * nodes + 2).map(|at| at < 2 * nodes).collect();
    assert_eq!(given, want);
}

/// What is kept of the nodes' labels is forgotten when one has others.
#[test]
fn a_node_that_is_relabelled_is_in_another_domain() {
    let mut rng = Rng::new(3, 0);
    let mut cluster = Cluster { pods: Vec::new(), ..objects::cluster(&mut rng) };
    for (at, node) in cluster.nodes.iter_mut().enumerate() {
        node["metadata"]["labels"]["rack"] = if at == 0 { "1" } else { "2" }.into();
        node["metadata"]["resourceVersion"] = "1".into();
    }
    let mut near = apart_from_itself(1);
    near["spec"]["affinity"]["podAntiAffinity"][objects::REQUIRED][0]["topologyKey"] =
        "rack".into();
    cluster.pods.push(objects::bound(&plain(2), "n0"));
    let mut site = site(&cluster);
    let (asked, ords) = (pod(&near), site.ords(&["n1"]));
    assert!(site.decider.best_of(&site.view, &asked, &ords).is_some());
    let mut moved = cluster.nodes[1].clone();
    moved["metadata"]["labels"]["rack"] = "1".into();
    moved["metadata"]["resourceVersion"] = "2".into();
    let slim = serde_json::from_value(moved).expect("a node");
    site.see([seen_node(nodes::node(&slim).expect("a node"))]);
    assert_eq!(site.decider.best_of(&site.view, &asked, &ords), None);
    site.see([
        Change::NodeGone { name: "n1".into() },
        seen_node(crate::testing::node("new", &[("rack", "2")])),
    ]);
    let ords = site.ords(&["new"]);
    assert!(site.decider.best_of(&site.view, &asked, &ords).is_some());
}
