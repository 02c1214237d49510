//! Random clusters of a few nodes and pods that are awkward in every way that a constraint knows.

use serde_json::{Map, Value, json};
use sigma::sim::Rng;

use super::documented::Cluster;

/// What a pod asks for, by how often.
pub(crate) const KINDS: [(u32, &str); 10] = [
    (2, "none"),
    (3, "nodeSelector"),
    (4, "nodeAffinity"),
    (3, "hostPorts"),
    (4, "apart"),
    (4, "together"),
    (5, "spread"),
    (2, "namespaces"),
    (6, "volumes"),
    (3, "all"),
];

pub(crate) const KEYS: [&str; 3] =
    ["kubernetes.io/hostname", "topology.kubernetes.io/zone", "rack"];
const APPS: [&str; 4] = ["cart", "song", "mail", "shop"];
const VERSIONS: [&str; 3] = ["v1", "v2", "7"];
const NAMESPACES: [&str; 3] = ["shop", "mall", "bank"];

fn one<'a>(rng: &mut Rng, all: &[&'a str]) -> &'a str {
    all[rng.below(all.len() as u64) as usize]
}

/// Some nodes of three zones, not all of which say so, and placed pods of some apps.
pub(crate) fn cluster(rng: &mut Rng) -> Cluster {
    let nodes = (0..rng.between(3, 9)).map(|at| node(rng, at)).collect::<Vec<_>>();
    let namespaces = NAMESPACES.iter().map(|name| {
        let labels = if *name == "bank" { json!({"rich": "yes"}) } else { json!({"name": name}) };
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    });
    let mut pods = Vec::new();
    for uid in 0..rng.below(14) {
        let node = nodes[rng.below(nodes.len() as u64) as usize]["metadata"]["name"].clone();
        let mut it = replica(rng, 1000 + uid);
        if rng.percent(30) {
            it["spec"]["containers"][0]["ports"] = ports(rng);
        }
        if rng.percent(15) {
            let namespaced = rng.percent(30);
            let terms = (0..rng.between(1, 2)).map(|_| pod_term(rng, namespaced));
            it["spec"]["affinity"]["podAntiAffinity"] =
                json!({REQUIRED: terms.collect::<Vec<_>>()});
        }
        pods.push(bound(&it, node.as_str().unwrap_or_default()));
    }
    let claims = NAMESPACES.iter().flat_map(|namespace| (0..4).map(move |at| (*namespace, at)));
    let claims = claims.map(|(namespace, at)| claim(rng, namespace, &format!("data-{at}")));
    let claims = claims.collect::<Vec<_>>();
    let volumes = (0..6).map(|at| volume(rng, at)).collect();
    Cluster { nodes, namespaces: namespaces.collect(), pods, claims, volumes }
}

/// A claim, most often bound; to what need not exist.
fn claim(rng: &mut Rng, namespace: &str, name: &str) -> Value {
    let mut it = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": name, "namespace": namespace,
            "annotations": {"pv.kubernetes.io/bind-completed": "yes"},
        },
        "spec": {
            "volumeName": format!("pv-{}", rng.below(6)), "storageClassName": "",
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        },
        "status": {"phase": "Bound"},
    });
    match rng.below(36) {
        0 => it["metadata"]["annotations"] = json!({}),
        1 => it["metadata"]["deletionTimestamp"] = "2026-11-27T00:00:00Z".into(),
        2 => it["spec"]["accessModes"] = json!(["ReadWriteOncePod"]),
        3 => it["status"]["phase"] = "Lost".into(),
        4 => it["spec"]["volumeName"] = Value::Null,
        5 => it["spec"]["volumeName"] = "pv-none".into(),
        _ => {}
    }
    it
}

/// The claim that is made for a pod's volume `scratch`; now and then it is another's.
pub(crate) fn claim_of(rng: &mut Rng, pod: &Value) -> Value {
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    let mut it = claim(rng, text("namespace"), &format!("{}-scratch", text("name")));
    let uid = if rng.percent(10) { "another" } else { text("uid") };
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": text("name"), "uid": uid, "controller": true});
    it["metadata"]["ownerReferences"] = json!([owner]);
    it
}

/// A volume of some zones, by its labels, by its affinity, or by both, which may disagree.
fn volume(rng: &mut Rng, at: u64) -> Value {
    let mut labels = Map::new();
    for (key, percent) in
        [(KEYS[1], 40), ("failure-domain.beta.kubernetes.io/zone", 15), (REGION, 10)]
    {
        if rng.percent(percent) {
            let value = one(rng, &["a", "b", "c", "a__b", "b__c"]);
            labels.insert(key.into(), value.into());
        }
    }
    let mut spec = json!({"csi": {"driver": "disk", "volumeHandle": "x"}});
    if rng.percent(2) {
        spec = json!({"awsElasticBlockStore": {"volumeID": "x"}});
    }
    spec["capacity"] = json!({"storage": "1Gi"});
    spec["accessModes"] = json!(["ReadWriteOnce"]);
    if rng.percent(50) {
        let terms = (0..rng.between(1, 2)).map(|_| volume_term(rng)).collect::<Vec<_>>();
        spec["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": terms}});
    }
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": format!("pv-{at}"), "labels": labels}, "spec": spec,
    })
}

fn volume_term(rng: &mut Rng) -> Value {
    let values = json!([one(rng, &["a", "b", "c"]), one(rng, &["a", "b", "c"])]);
    let mut expressions = vec![json!({"key": KEYS[1], "operator": "In", "values": values})];
    if rng.percent(30) {
        expressions.push(json!({"key": "disk", "operator": one(rng, &["Exists", "DoesNotExist"])}));
    }
    json!({"matchExpressions": expressions})
}

const REGION: &str = "topology.kubernetes.io/region";

fn node(rng: &mut Rng, at: u64) -> Value {
    let name = format!("n{at}");
    let mut labels = Map::new();
    labels.insert("kubernetes.io/hostname".into(), name.clone().into());
    if rng.percent(90) {
        labels.insert("topology.kubernetes.io/zone".into(), one(rng, &["a", "b", "c"]).into());
    }
    if rng.percent(70) {
        labels.insert("rack".into(), one(rng, &["1", "2"]).into());
    }
    if rng.percent(15) {
        labels
            .insert("failure-domain.beta.kubernetes.io/zone".into(), one(rng, &["a", "b"]).into());
    }
    if rng.percent(30) {
        labels.insert(REGION.into(), one(rng, &["a", "b"]).into());
    }
    for key in ["disk", "size"] {
        if rng.percent(60) {
            labels.insert(key.into(), one(rng, &["ssd", "7", "12", "", "3"]).into());
        }
    }
    let taint =
        json!({"key": "old", "value": "", "effect": one(rng, &["NoSchedule", "NoExecute"])});
    let taints = if rng.percent(25) { json!([taint]) } else { Value::Null };
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "uid": name, "labels": labels},
        "spec": {"taints": taints},
        "status": {"allocatable": {"cpu": "64", "memory": "256Gi", "pods": "110"}},
    })
}

/// A replica of one of some apps: all of an app's have the same labels, but for one that names the pod.
pub(crate) fn replica(rng: &mut Rng, uid: u64) -> Value {
    let (app, namespace) = (one(rng, &APPS), one(rng, &NAMESPACES));
    let version = rng.percent(60).then(|| one(rng, &VERSIONS));
    let mut labels = json!({"app": app, "pod": format!("p{uid}")});
    if let Some(version) = version {
        labels["version"] = version.into();
    }
    let owner = format!("{namespace}/{app}/{}", version.unwrap_or_default());
    let tolerations =
        if rng.percent(50) { json!([{"key": "old", "operator": "Exists"}]) } else { Value::Null };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("p{uid}"), "namespace": namespace, "uid": format!("uid-{uid}"),
            "labels": labels,
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": app, "uid": owner, "controller": true}],
        },
        "spec": {
            "tolerations": tolerations,
            "containers": [{"name": "main", "image": "main", "resources": {"requests": {"cpu": "10m", "memory": "1Mi"}}}],
        },
        "status": {},
    })
}

/// The same pod on a node.
pub(crate) fn bound(pod: &Value, node: &str) -> Value {
    let mut it = pod.clone();
    it["spec"]["nodeName"] = node.into();
    it["metadata"]["resourceVersion"] = "9".into();
    it
}

pub(crate) const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// A pod that waits, and what kind of constraint it has.
pub(crate) fn pending(rng: &mut Rng, uid: u64) -> (&'static str, Value) {
    let mut pod = replica(rng, uid);
    let kind = *rng.pick(&KINDS).expect("there are kinds");
    let all = kind == "all";
    let spec = &mut pod["spec"];
    if kind == "nodeSelector" || all && rng.percent(30) {
        spec["nodeSelector"] = json!({one(rng, &["disk", "size"]): one(rng, &["ssd", "7"])});
    }
    if kind == "nodeAffinity" || all && rng.percent(40) {
        let terms = (0..rng.between(1, 2)).map(|_| node_term(rng)).collect::<Vec<_>>();
        spec["affinity"]["nodeAffinity"] = json!({REQUIRED: {"nodeSelectorTerms": terms}});
    }
    if kind == "hostPorts" || all && rng.percent(30) {
        spec["containers"][0]["ports"] = ports(rng);
    }
    if kind == "volumes" || all && rng.percent(30) {
        let mounted = |rng: &mut Rng, at: u64| match rng.below(5) {
            0 => json!({"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            }}}}),
            _ => {
                let claim = format!("data-{}", rng.below(4));
                json!({"name": format!("v{at}"), "persistentVolumeClaim": {"claimName": claim}})
            }
        };
        let mut volumes: Vec<Value> = (0..rng.between(1, 2)).map(|at| mounted(rng, at)).collect();
        volumes.push(json!({"name": "tmp", "emptyDir": {}}));
        spec["volumes"] = volumes.into();
    }
    let spread = kind == "spread" || all && rng.percent(50);
    for (kind_of, field) in [("apart", "podAntiAffinity"), ("together", "podAffinity")] {
        if kind == kind_of || kind == "namespaces" && rng.percent(60) || all && rng.percent(40) {
            let namespaced = kind == "namespaces" || rng.percent(20);
            let terms = (0..rng.between(1, 2)).map(|_| pod_term(rng, namespaced));
            pod["spec"]["affinity"][field] = json!({REQUIRED: terms.collect::<Vec<_>>()});
        }
    }
    if spread {
        let terms = (0..rng.between(1, 2)).map(|_| spread_term(rng)).collect::<Vec<_>>();
        pod["spec"]["topologySpreadConstraints"] = terms.into();
    }
    (kind, pod)
}

fn ports(rng: &mut Rng) -> Value {
    let one_port = |rng: &mut Rng| {
        json!({
            "containerPort": 1, "hostPort": rng.between(0, 3),
            "protocol": one(rng, &["TCP", "UDP", ""]),
            "hostIP": one(rng, &["", "0.0.0.0", "10.0.0.1", "10.0.0.2"]),
        })
    };
    (0..rng.between(1, 2)).map(|_| one_port(rng)).collect::<Vec<_>>().into()
}

fn node_term(rng: &mut Rng) -> Value {
    let mut term = json!({});
    if rng.percent(85) {
        let asked = |rng: &mut Rng| {
            let operator = one(rng, &["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]);
            let values = match operator {
                "In" | "NotIn" => json!([one(rng, &["ssd", "7"]), one(rng, &["12", ""])]),
                "Gt" | "Lt" => json!([one(rng, &["7", "8", "-5"])]),
                _ => Value::Null,
            };
            json!({"key": one(rng, &["disk", "size", "rack"]), "operator": operator, "values": values})
        };
        term["matchExpressions"] =
            (0..rng.between(1, 2)).map(|_| asked(rng)).collect::<Vec<_>>().into();
    }
    if rng.percent(20) {
        let operator = one(rng, &["In", "NotIn"]);
        term["matchFields"] = json!([{"key": "metadata.name", "operator": operator, "values": [one(rng, &["n0", "n1"])]}]);
    }
    term
}

fn selector(rng: &mut Rng) -> Value {
    let mut selector = json!({});
    if rng.percent(70) {
        selector["matchLabels"] = json!({"app": one(rng, &APPS)});
    }
    if rng.percent(40) {
        let operator = one(rng, &["In", "NotIn", "Exists", "DoesNotExist"]);
        let values = match operator {
            "In" | "NotIn" => json!([one(rng, &VERSIONS), one(rng, &VERSIONS)]),
            _ => Value::Null,
        };
        selector["matchExpressions"] =
            json!([{"key": "version", "operator": operator, "values": values}]);
    }
    if rng.percent(4) { Value::Null } else { selector }
}

fn pod_term(rng: &mut Rng, namespaced: bool) -> Value {
    let mut term = json!({"topologyKey": one(rng, &KEYS), "labelSelector": selector(rng)});
    if namespaced {
        if rng.percent(60) {
            term["namespaces"] = json!([one(rng, &NAMESPACES)]);
        }
        if rng.percent(60) {
            term["namespaceSelector"] = match one(rng, &["all", "rich", "none"]) {
                "all" => json!({}),
                "rich" => json!({"matchLabels": {"rich": "yes"}}),
                _ => {
                    json!({"matchExpressions": [{"key": "name", "operator": "In", "values": ["x"]}]})
                }
            };
        }
    }
    match rng.below(8) {
        0 => term["matchLabelKeys"] = json!(["version", "absent"]),
        1 => term["mismatchLabelKeys"] = json!(["version"]),
        _ => {}
    }
    term
}

fn spread_term(rng: &mut Rng) -> Value {
    let mut term = json!({
        "whenUnsatisfiable": "DoNotSchedule", "maxSkew": rng.between(1, 2),
        "topologyKey": one(rng, &KEYS), "labelSelector": selector(rng),
    });
    if rng.percent(30) {
        term["minDomains"] = rng.between(1, 4).into();
    }
    if rng.percent(20) {
        term["matchLabelKeys"] = json!(["version"]);
    }
    for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
        if rng.percent(40) {
            term[field] = one(rng, &["Honor", "Ignore"]).into();
        }
    }
    term
}
