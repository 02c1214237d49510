//! A device that only some nodes publish, and these have no room for all who ask for it: nobody is nominated or
//! steered to a node without it, neither ahead nor after an unschedulable answer.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Facts;
use crate::harness::api::{Api, node_of};
use crate::harness::control_plane::ControlPlane;
use crate::harness::objects::{NodeShape, PodShape, node, pod};
use crate::harness::scheduler::{Scheduler, SchedulerOptions};
use crate::harness::sigma::{Sigma, SigmaOptions};
use crate::harness::until;

const DEVICE: &str = "example.com/gpu";
/// Nodes with the device, and nodes without it, which are empty.
const NUM_WITH: usize = 10;
const NUM_WITHOUT: usize = 190;
const NUM_PODS: usize = 60;
/// By the allocation limit four fit on each node with the device.
const NUM_FIT: usize = 4 * NUM_WITH;

const POLICY: &str = r#"
apiVersion: sigma.io/v1alpha1
kind: SchedulingPolicy
metadata: {name: devices}
pools:
- name: ecs
  match: {instanceTypes: ["ecs.*"]}
  allocation: {cpu: 50%}
classes:
- name: default
  pools: [ecs]
steering:
  nominateAhead: {minBacklog: 5, batch: 200}
"#;

pub(super) async fn published_by_some() -> Result<Facts> {
    let control_plane = ControlPlane::start().await?;
    let api = &control_plane.admin;
    api.post_all((0..NUM_WITH + NUM_WITHOUT).map(node_of_fleet).collect()).await?;
    let shape = PodShape { cpu_milli: 500, scheduler: "devices", ..PodShape::PLAIN };
    let pods = (0..NUM_PODS).map(|at| asks(pod(&format!("p-{at:02}"), &shape)));
    api.post_all(pods.collect()).await?;
    let more = ["--lease-namespace=kube-system", "--scheduler-name=devices"].map(str::to_owned);
    let options = SigmaOptions {
        more: more.into(),
        knows_scheduler: true,
        ..SigmaOptions::new(&control_plane, "sigma", POLICY)
    };
    let sigma = Sigma::start(&control_plane, options).await?;
    let chosen = async || {
        let chosen = sigma.metric("sigma_nominator_targets_total", "").await?;
        Ok((chosen > 0).then_some(()))
    };
    until("the first are chosen", Duration::from_secs(10), chosen).await?;
    let options = SchedulerOptions { percentage: None, ..SchedulerOptions::new("devices", &sigma) };
    let mut scheduler = Scheduler::start(&control_plane, &options).await?;
    let mut nominated = BTreeSet::new();
    let bound = async || {
        scheduler.process.check()?;
        let pods = api.pods(None).await?;
        let nominees = pods.iter().filter_map(|it| it["status"]["nominatedNodeName"].as_str());
        nominated.extend(nominees.map(str::to_owned));
        let tried = sigma.metric("sigma_not_steered_total", "reason=\"nowhere\"").await?;
        let num_bound = pods.iter().filter(|it| node_of(it).is_some()).count();
        Ok((num_bound == NUM_FIT && tried >= (NUM_PODS - NUM_FIT) as u64).then_some(pods))
    };
    let within = Duration::from_secs(20);
    let (pods, took) = until("those that fit are bound, the others refused", within, bound).await?;
    ensure!(pods.iter().filter_map(node_of).all(has_it), "a pod is on a node without the device");
    let (ordered, to_without) = nominations(&sigma, &nominated).await?;
    ensure!(to_without.is_empty(), "nominated to nodes without the device: {to_without:?}");
    let steered = sigma.metric("sigma_steers_total", "").await?;
    ensure!(steered == 0, "{steered} steers, and no node that was not offered has the device");
    let name = pods.iter().find(|it| node_of(it).is_none()).context("one that waits")?;
    let name = name["metadata"]["name"].as_str().context("a name")?;
    let why = sigma.page(&format!("/api/v1/explain?namespace=default&pod={name}")).await?;
    ensure!(why["nodes_kept"] == 0 && why["cannot_judge"].is_null(), "{why}");
    by_class(api, &sigma, name).await?;
    Ok(vec![format!(
        "{NUM_PODS} pods, {NUM_FIT} bound in {:.1} s; {ordered} nominations, 0 of them and 0 steers to {NUM_WITHOUT} \
         empty nodes without the device",
        took.as_secs_f64()
    )])
}

/// From when a DeviceClass stands for the device, only kube-scheduler can tell.
async fn by_class(api: &Api, sigma: &Sigma, pod: &str) -> Result<()> {
    let class = json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": "gpu"},
        "spec": {"extendedResourceName": DEVICE},
    });
    api.post_all(vec![class]).await?;
    let look = async || {
        let why = sigma.page(&format!("/api/v1/explain?namespace=default&pod={pod}")).await?;
        let is_unknown = why["cannot_judge"] == "extended_resources" && why["nodes_kept"] != 0;
        Ok(is_unknown.then_some(()))
    };
    until("it cannot be judged", Duration::from_secs(5), look).await.map(drop)
}

/// How many nominations were written, and the nodes without the device among their targets: of those that sigma
/// says it wrote, and of those that were seen.
async fn nominations(sigma: &Sigma, seen: &BTreeSet<String>) -> Result<(usize, Vec<String>)> {
    let means = sigma.page("/api/v1/actions").await?;
    let means = means.as_array().context("a list")?;
    let actions = means.iter().flat_map(|it| it["actions"].as_array().into_iter().flatten());
    let nodes = actions.filter(|it| it["write"] == "nominate").filter_map(|it| it["node"].as_str());
    let nodes: Vec<&str> = nodes.collect();
    let all = nodes.iter().copied().chain(seen.iter().map(String::as_str));
    let without = all.filter(|it| !has_it(it)).map(str::to_owned);
    Ok((nodes.len(), without.collect()))
}

fn has_it(node: &str) -> bool {
    node.starts_with("with-")
}

fn node_of_fleet(at: usize) -> Value {
    let shape = NodeShape {
        instance_type: "ecs.g7.xlarge",
        zone: "cn-hangzhou-h",
        cpu_milli: 4000,
        memory_mib: 16_384,
        virtual_kubelet: false,
    };
    if at >= NUM_WITH {
        return node(&format!("none-{at:03}"), shape);
    }
    let mut node = node(&format!("with-{at:03}"), shape);
    for field in ["capacity", "allocatable"] {
        node["status"][field][DEVICE] = json!("8");
    }
    node
}

fn asks(mut pod: Value) -> Value {
    for field in ["requests", "limits"] {
        pod["spec"]["containers"][0]["resources"][field][DEVICE] = json!("1");
    }
    pod
}
