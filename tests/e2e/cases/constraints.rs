//! What sigma holds kube-scheduler's own constraints to leave of all nodes is what kube-scheduler, without an
//! extender, finds feasible: at `-v=10` it names every node that it scores.

#[path = "../../properties/constraints/documented.rs"]
mod documented;
#[path = "../../properties/constraints/objects.rs"]
mod objects;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sigma::cluster::ClusterState;
use sigma::engine::{Decider, View};
use sigma::k8s::decode;
use sigma::k8s::kinds::{claims, namespaces, nodes, volumes};
use sigma::model::{CannotJudge, Change, NodeOrd, Now};
use sigma::policy::{Plan, Settings};
use sigma::sim::Rng;

use self::documented::Cluster;
use super::Facts;
use crate::harness::api::{Api, node_of, path_of, refusal_of};
use crate::harness::control_plane::ControlPlane;
use crate::harness::scheduler::{Scheduler, SchedulerOptions};
use crate::harness::until;

/// Pods that wait, one after the other.
const PODS: u64 = 120;
const SCHEDULER: &str = "constraints";
/// Until the claim of a pod's own volume is there.
const GATE: &str = "example.com/claim";

pub(super) async fn feasible() -> Result<Facts> {
    let control_plane = ControlPlane::start().await?;
    let api = &control_plane.admin;
    let mut rng = Rng::new(11, 0);
    let cluster = objects::cluster(&mut rng);
    post(api, &cluster).await?;
    let options = SchedulerOptions {
        name: SCHEDULER,
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
    let mut counts: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    let mut num_unjudged = 0;
    for uid in 0..PODS {
        let (kind, mut pod) = objects::pending(&mut rng, uid);
        pod["spec"]["schedulerName"] = SCHEDULER.into();
        if has_own_claim(&pod) {
            pod["spec"]["schedulingGates"] = json!([{"name": GATE}]);
        }
        let [feasible, infeasible, invalid] = counts.entry(kind).or_default();
        // What the API server refuses nobody has to judge.
        if api.post_all(vec![pod.clone()]).await.is_err() {
            *invalid += 1;
            continue;
        }
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        if has_own_claim(&pod) {
            furnish(api, &mut rng, &namespace, &name).await?;
        }
        let judged = judged(api, &namespace, &name).await?;
        let log = std::fs::read_to_string(&scheduler.process.log)?;
        let real = feasible_nodes(&log, &namespace, &name, node_of(&judged));
        let now = objects_now(&control_plane, &cluster, &name).await?;
        let Some(ours) = left(&now, &unbound(&judged))? else {
            // kube-scheduler refuses most of these, as long as their claims are what they are.
            ensure!(!now.knows_volumes(&unbound(&judged)), "{kind} {pod}\n{now:?}");
            num_unjudged += 1;
            api.delete_pod(&namespace, &name).await?;
            continue;
        };
        let what = format!("{kind} {pod}\nkube-scheduler: {real:?}\nsigma: {ours:?}\n{now:?}");
        ensure!(real == ours, "{what}");
        let documented = (0..now.nodes.len()).filter(|at| now.admits(&unbound(&judged), *at));
        let documented: BTreeSet<String> = documented.map(|at| name_of(&now.nodes[at])).collect();
        ensure!(real == documented, "documented: {documented:?}\n{what}");
        *feasible += real.len();
        *infeasible += now.nodes.len() - real.len();
        if real.is_empty() {
            api.delete_pod(&namespace, &name).await?;
        }
    }
    for (kind, [feasible, infeasible, _]) in &counts {
        ensure!(*feasible > 0 && (*kind == "none" || *infeasible > 0), "{kind}: {counts:?}");
    }
    let rows = counts.iter().map(|(kind, [feasible, infeasible, invalid])| {
        format!("{kind}: {feasible} feasible, {infeasible} not; {invalid} pods are no pods")
    });
    Ok(rows.chain([format!("{num_unjudged} not judged for their claims")]).collect())
}

/// The pod, once kube-scheduler has bound or refused it.
async fn judged(api: &Api, namespace: &str, name: &str) -> Result<Value> {
    let look = async || {
        let pod = api.pod(namespace, name).await?;
        let refused = refusal_of(&pod).is_some_and(|it| !it.contains("scheduling gates"));
        Ok((node_of(&pod).is_some() || refused).then_some(pod))
    };
    Ok(until("the pod is judged", Duration::from_secs(30), look).await?.0)
}

/// All that is there before a pod waits.
async fn post(api: &Api, cluster: &Cluster) -> Result<()> {
    for namespace in &cluster.namespaces {
        api.post_all(vec![namespace.clone()]).await?;
    }
    api.post_all(cluster.nodes.clone()).await?;
    let mut placed = cluster.pods.clone();
    for pod in placed.iter_mut().filter_map(|pod| pod["metadata"].as_object_mut()) {
        pod.remove("resourceVersion");
    }
    for pod in placed {
        // What the API server refuses nobody has to judge.
        let _ = api.post_all(vec![pod]).await;
    }
    for it in cluster.claims.iter().chain(&cluster.volumes) {
        store(api, it).await?;
    }
    Ok(())
}

/// Makes the claim to a pod's own volume, as its controller does it, and lets the pod be judged.
async fn furnish(api: &Api, rng: &mut Rng, namespace: &str, name: &str) -> Result<()> {
    let made = api.pod(namespace, name).await?;
    store(api, &objects::claim_of(rng, &made)).await?;
    // Claims and pods come to kube-scheduler by watches of their own.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    api.merge(&path, &json!({"spec": {"schedulingGates": []}})).await.map(drop)
}

/// Makes a claim or a volume what it is.
pub(super) async fn store(api: &Api, object: &Value) -> Result<()> {
    let mut first = object.clone();
    first["status"] = json!({});
    if let Some(meta) = first["metadata"].as_object_mut() {
        meta.remove("deletionTimestamp");
    }
    let path = path_of(object)?;
    api.post(&path, &first).await?;
    let path = format!("{path}/{}", name_of(object));
    if !object["status"].is_null() {
        let status = json!({"status": object["status"]});
        api.merge(&format!("{path}/status"), &status).await?;
    }
    if !object["metadata"]["deletionTimestamp"].is_null() {
        // It stays, on its way out, for whoever uses it.
        api.delete(&path, &json!({})).await?;
    }
    Ok(())
}

fn has_own_claim(pod: &Value) -> bool {
    let mut volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.any(|it| !it["ephemeral"].is_null())
}

fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// The nodes that it scored; where there is but one it scores none, and binds.
fn feasible_nodes(log: &str, namespace: &str, name: &str, bound: Option<&str>) -> BTreeSet<String> {
    let start = format!("\"Plugin scored node for pod\" pod=\"{namespace}/{name}\" plugin=");
    let nodes = log.lines().filter_map(|line| {
        let (_, rest) = line.split_once(&start)?;
        Some(rest.split_once("node=\"")?.1.split_once('"')?.0.to_owned())
    });
    nodes.chain(bound.map(str::to_owned)).collect()
}

/// What the API server has, but for the pod that is judged.
async fn objects_now(
    control_plane: &ControlPlane,
    cluster: &Cluster,
    but: &str,
) -> Result<Cluster> {
    let api = &control_plane.admin;
    let list = async |path: &str| -> Result<Vec<Value>> {
        let items = api.get(path).await?["items"].take();
        Ok(items.as_array().context("no items")?.clone())
    };
    let mut pods = list("/api/v1/pods").await?;
    pods.retain(|pod| name_of(pod) != but);
    let mut nodes = list("/api/v1/nodes").await?;
    nodes.retain(|node| cluster.nodes.iter().any(|it| name_of(it) == name_of(node)));
    Ok(Cluster {
        nodes,
        namespaces: list("/api/v1/namespaces").await?,
        pods,
        claims: list("/api/v1/persistentvolumeclaims").await?,
        volumes: list("/api/v1/persistentvolumes").await?,
    })
}

/// The pod as it was when it was judged.
fn unbound(pod: &Value) -> Value {
    let mut pod = pod.clone();
    if let Some(spec) = pod["spec"].as_object_mut() {
        spec.remove("nodeName");
    }
    pod["status"] = Value::Null;
    pod
}

/// The nodes that sigma would send the pod to.
fn left(cluster: &Cluster, pod: &Value) -> Result<Option<BTreeSet<String>>> {
    let mut state = ClusterState::default();
    for json in &cluster.namespaces {
        let namespace = namespaces::namespace(&serde_json::from_value(json.clone())?)?;
        state.apply(Change::NamespaceSeen(namespace));
    }
    for json in &cluster.nodes {
        let node = nodes::node(&serde_json::from_value(json.clone())?)?;
        state.apply(Change::NodeSeen(Box::new(node)));
    }
    for json in &cluster.pods {
        let pod = decode::pod(&serde_json::from_value(json.clone())?)?;
        state.apply(Change::PodSeen(Box::new(pod)));
    }
    for json in &cluster.claims {
        let (name, bound) = claims::claim(&serde_json::from_value(json.clone())?)?;
        state.apply(Change::seen(name, bound));
    }
    for json in &cluster.volumes {
        let (name, reach) = volumes::volume(&serde_json::from_value(json.clone())?)?;
        state.apply(Change::seen(name, reach.map(Arc::new)));
    }
    let (snapshot, _) = state.publish();
    let plan = Plan::build(&Settings::default(), String::new());
    let view =
        View { snapshot: Arc::clone(&snapshot), plan, plan_generation: 1, now: Now::default() };
    let pod = decode::pod(&serde_json::from_value(pod.clone())?)?;
    match snapshot.cannot_judge(&pod) {
        None => {}
        Some(CannotJudge::Volumes) => return Ok(None),
        other => anyhow::bail!("{other:?}: {pod:?}"),
    }
    let mut decider = Decider::default();
    let nodes: Vec<NodeOrd> = snapshot.live_nodes().collect();
    let left = nodes.into_iter().filter(|ord| decider.best_of(&view, &pod, &[*ord]).is_some());
    Ok(Some(left.map(|ord| snapshot.names.name(ord).to_owned()).collect()))
}
