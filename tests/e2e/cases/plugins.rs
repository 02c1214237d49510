//! `sim::plugins` scores as the real plugins do: kube-scheduler, without an extender, says at `-v=10`
//! what each plugin gave each node.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sigma::model::{Amounts, Taint, TaintEffect};
use sigma::sim::plugins::{
    Labels, Plugin, ScoredCluster, ScoredNode, ScoredPod, ScoredPodTerm, ScoredRequirement,
    SpreadConstraint,
};

use super::Facts;
use crate::harness::api::node_of;
use crate::harness::control_plane::ControlPlane;
use crate::harness::scheduler::{Scheduler, SchedulerOptions};
use crate::harness::until;

const ZONE: &str = "topology.kubernetes.io/zone";
const HOSTNAME: &str = "kubernetes.io/hostname";
const NAMESPACE: &str = "plain";

pub(super) async fn scores() -> Result<Facts> {
    let control_plane = ControlPlane::start().await?;
    let api = &control_plane.admin;
    let (mut cluster, pods) = (cluster(), pods());
    let nodes = cluster.nodes.iter().enumerate().map(|(at, it)| node_json(at, it));
    api.post_all(nodes.collect()).await?;
    let selector = json!({"matchLabels": {"app": "web"}});
    let template = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "image": "web"}]},
    });
    let owner = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {"selector": selector, "template": template, "replicas": 0},
    });
    let owner = api.post(&crate::harness::api::path_of(&owner)?, &owner).await?;
    let uid = owner["metadata"]["uid"].as_str().context("a ReplicaSet without a UID")?;
    let running = cluster.pods.iter().enumerate();
    let running =
        running.map(|(at, (node, pod))| pod_json(&format!("r-{at}"), pod, uid, Some(*node)));
    api.post_all(running.collect()).await?;
    let options = SchedulerOptions {
        name: "plugins",
        extender: None,
        percentage: None,
        ignorable: false,
        bind: false,
        preempt: true,
        tls: None,
        http_timeout: None,
        verbosity: 10,
        standby: false,
        kubeconfig: None,
    };
    let scheduler = Scheduler::start(&control_plane, &options).await?;
    let all: Vec<usize> = (0..cluster.nodes.len()).collect();
    let mut told: BTreeMap<Plugin, usize> = BTreeMap::new();
    for (at, pod) in pods.into_iter().enumerate() {
        let name = format!("p-{at}");
        api.post_all(vec![pod_json(&name, &pod, uid, None)]).await?;
        let look = async || Ok(node_of(&api.pod(NAMESPACE, &name).await?).map(str::to_owned));
        let (node, _) = until("the pod is bound", Duration::from_secs(30), look).await?;
        let log = std::fs::read_to_string(&scheduler.process.log)?;
        for (plugin, scores) in cluster.scores(&pod, &all) {
            for (at, score) in scores.into_iter().enumerate() {
                let real = told_score(&log, &name, plugin, &node_name(at))?;
                // A plugin that has nothing to say of a pod says nothing.
                let ours = plugin.weight() * score;
                ensure!(
                    real.unwrap_or(0) == ours,
                    "{name} on {}: {} gives {real:?}, the model {ours}",
                    node_name(at),
                    plugin.name()
                );
                *told.entry(plugin).or_default() += usize::from(real.is_some());
            }
        }
        let at = all.iter().find(|at| node_name(**at) == node).context("an unknown node")?;
        cluster.pods.push((*at, pod));
    }
    for plugin in Plugin::ALL {
        ensure!(told.contains_key(&plugin), "{} scored nothing", plugin.name());
    }
    let told = told.iter().map(|(plugin, count)| format!("{} {count}", plugin.name()));
    Ok(vec![format!("equal scores: {}", told.collect::<Vec<_>>().join(", "))])
}

/// What a plugin gave a node, weighted.
fn told_score(log: &str, pod: &str, plugin: Plugin, node: &str) -> Result<Option<i64>> {
    let start = format!(
        "\"Plugin scored node for pod\" pod=\"{NAMESPACE}/{pod}\" plugin=\"{}\" node=\"{node}\" score=",
        plugin.name()
    );
    let Some((_, rest)) = log.split_once(&start) else {
        return Ok(None);
    };
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    Ok(Some(rest[..end].parse().with_context(|| format!("a score of {plugin:?}"))?))
}

fn node_name(at: usize) -> String {
    format!("n-{at}")
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn amounts(cpu_milli: i64, mib: i64) -> Amounts {
    Amounts { cpu_milli, memory_bytes: mib << 20, ephemeral_bytes: 0, pods: 1 }
}

fn running(app: &str, cpu_milli: i64, mib: i64) -> ScoredPod {
    ScoredPod {
        requests: amounts(cpu_milli, mib),
        namespace: NAMESPACE.to_owned(),
        labels: labels(&[("app", app)]),
        images: vec![app.to_owned()],
        ..ScoredPod::default()
    }
}

/// Seven nodes of three sizes, in two zones and in none, with images, soft taints and pods.
fn cluster() -> ScoredCluster {
    let mut cluster = ScoredCluster::default();
    for at in 0..7_usize {
        let name = node_name(at);
        let mut pairs = vec![(HOSTNAME, &*name)];
        match at {
            0..=2 => pairs.push((ZONE, "a")),
            3 | 4 => pairs.push((ZONE, "b")),
            _ => {}
        }
        if at % 3 == 0 {
            pairs.push(("disk", "ssd"));
        }
        let mut node = ScoredNode {
            allocatable: amounts([8000, 16_000, 12_345][at % 3], [16_384, 65_536, 30_000][at % 3]),
            labels: labels(&pairs),
            ..ScoredNode::default()
        };
        node.allocatable.pods = 110;
        let soft = |key: &str| Taint {
            key: key.into(),
            value: "".into(),
            effect: TaintEffect::PreferNoSchedule,
        };
        node.taints = [soft("retire"), soft("noisy")].into_iter().take(at % 3).collect();
        if at % 2 == 0 {
            node.images.insert("web:latest".to_owned(), 700 << 20);
        }
        if at < 3 {
            node.images.insert("reg.example:5000/db:2".to_owned(), 1234 << 20);
        }
        cluster.nodes.push(node);
    }
    let term = |weight, key: &str, app| ScoredPodTerm {
        weight,
        key: key.to_owned(),
        selector: labels(&[("app", app)]),
    };
    let shy =
        ScoredPod { pod_terms: vec![term(Some(-7), HOSTNAME, "web")], ..running("db", 500, 512) };
    let fond = ScoredPod { pod_terms: vec![term(None, ZONE, "web")], ..running("web", 100, 100) };
    let other = ScoredPod { namespace: "default".to_owned(), ..running("web", 1000, 64) };
    cluster.pods = vec![
        (0, running("web", 3000, 100)),
        (0, running("web", 250, 2048)),
        (1, shy),
        (3, fond),
        (4, running("db", 2000, 12_000)),
        (5, other),
        // Asks for no memory, for which scoring counts 200 MiB.
        (6, running("web", 1500, 0)),
    ];
    cluster
}

/// The pods that are scored, one after the other.
fn pods() -> Vec<ScoredPod> {
    let selector = || labels(&[("app", "web")]);
    let owned = ScoredPod { default_selector: selector(), ..running("web", 700, 900) };
    let spread = |max_skew, key: &str| SpreadConstraint {
        max_skew,
        key: key.to_owned(),
        selector: selector(),
    };
    let own_spread =
        ScoredPod { spread: vec![spread(2, ZONE), spread(1, HOSTNAME)], ..owned.clone() };
    let term = |weight, key: &str, app| ScoredPodTerm {
        weight,
        key: key.to_owned(),
        selector: labels(&[("app", app)]),
    };
    let affinity = ScoredPod {
        pod_terms: vec![term(Some(40), ZONE, "db"), term(Some(-13), HOSTNAME, "web")],
        ..running("web", 300, 300)
    };
    let zone = |of: fn(String, Vec<String>) -> ScoredRequirement, value: &str| {
        of(ZONE.to_owned(), vec![value.to_owned()])
    };
    let preferred_nodes = vec![
        (11, vec![zone(ScoredRequirement::In, "a"), ScoredRequirement::Exists("disk".to_owned())]),
        (30, vec![zone(ScoredRequirement::NotIn, "a")]),
        (6, vec![ScoredRequirement::DoesNotExist("disk".to_owned())]),
    ];
    let prefers = ScoredPod { preferred_nodes, ..running("db", 1100, 0) };
    let mut images = running("db", 0, 777);
    images.images = vec!["reg.example:5000/db:2".to_owned(), "web".to_owned(), "none".to_owned()];
    vec![
        owned.clone(),
        images,
        own_spread,
        affinity,
        prefers,
        owned.clone(),
        running("other", 400, 400),
        owned,
    ]
}

fn node_json(at: usize, node: &ScoredNode) -> Value {
    let has = node.allocatable;
    let amounts = json!({
        "cpu": format!("{}m", has.cpu_milli),
        "memory": has.memory_bytes.to_string(),
        "pods": has.pods.to_string(),
    });
    let taints = node.taints.iter().map(|it| json!({"key": it.key, "effect": "PreferNoSchedule"}));
    let images =
        node.images.iter().map(|(name, bytes)| json!({"names": [name], "sizeBytes": bytes}));
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": node_name(at), "labels": node.labels},
        "spec": {"taints": taints.collect::<Vec<_>>()},
        "status": {
            "capacity": amounts, "allocatable": amounts, "images": images.collect::<Vec<_>>(),
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        },
    })
}

fn pod_json(name: &str, pod: &ScoredPod, owner: &str, on: Option<usize>) -> Value {
    let mut requests = json!({});
    if pod.requests.cpu_milli > 0 {
        requests["cpu"] = json!(format!("{}m", pod.requests.cpu_milli));
    }
    if pod.requests.memory_bytes > 0 {
        requests["memory"] = json!(pod.requests.memory_bytes.to_string());
    }
    let containers = pod.images.iter().enumerate().map(|(at, image)| {
        // All is asked for by the first one; the others ask for what scoring would make up.
        let asks = if at == 0 { requests.clone() } else { json!({"cpu": "0", "memory": "0"}) };
        json!({"name": format!("c-{at}"), "image": image, "resources": {"requests": asks}})
    });
    let spread = pod.spread.iter().map(|it| {
        json!({"maxSkew": it.max_skew, "topologyKey": it.key, "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": it.selector}})
    });
    let mut object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": pod.namespace, "labels": pod.labels},
        "spec": {
            "schedulerName": "plugins",
            "containers": containers.collect::<Vec<_>>(),
            "topologySpreadConstraints": spread.collect::<Vec<_>>(),
            "affinity": affinity_json(pod),
        },
    });
    if !pod.default_selector.is_empty() {
        object["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1",
            "kind": "ReplicaSet", "name": "web", "uid": owner, "controller": true}]);
    }
    if let Some(node) = on {
        object["spec"]["nodeName"] = json!(node_name(node));
    }
    object
}

fn affinity_json(pod: &ScoredPod) -> Value {
    let term = |it: &ScoredPodTerm| json!({"topologyKey": it.key, "labelSelector": {"matchLabels": it.selector}});
    let preferred = |anti: bool| -> Vec<Value> {
        let terms = pod.pod_terms.iter().filter_map(|it| Some((it, it.weight?)));
        let terms = terms.filter(|(_, weight)| (*weight < 0) == anti);
        terms
            .map(|(it, weight)| json!({"weight": weight.abs(), "podAffinityTerm": term(it)}))
            .collect()
    };
    let required = pod.pod_terms.iter().filter(|it| it.weight.is_none()).map(term);
    let expression = |it: &ScoredRequirement| match it {
        ScoredRequirement::In(key, values) => {
            json!({"key": key, "operator": "In", "values": values})
        }
        ScoredRequirement::NotIn(key, values) => {
            json!({"key": key, "operator": "NotIn", "values": values})
        }
        ScoredRequirement::Exists(key) => json!({"key": key, "operator": "Exists"}),
        ScoredRequirement::DoesNotExist(key) => json!({"key": key, "operator": "DoesNotExist"}),
    };
    let nodes = pod.preferred_nodes.iter().map(|(weight, asks)| {
        let asks: Vec<Value> = asks.iter().map(expression).collect();
        json!({"weight": weight, "preference": {"matchExpressions": asks}})
    });
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    json!({
        "nodeAffinity": {PREFERRED: nodes.collect::<Vec<_>>()},
        "podAffinity": {PREFERRED: preferred(false), REQUIRED: required.collect::<Vec<_>>()},
        "podAntiAffinity": {PREFERRED: preferred(true)},
    })
}
