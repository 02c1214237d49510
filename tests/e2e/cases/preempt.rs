//! (d) Preemption asks us first: nobody dies for a node that we would refuse, and nobody protected.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Facts;
use crate::harness::api::{Api, node_of, refusal_of};
use crate::harness::control_plane::ControlPlane;
use crate::harness::objects::{NodeShape, PodShape, node, pod};
use crate::harness::policy::one_pool;
use crate::harness::scheduler::{Scheduler, SchedulerOptions};
use crate::harness::sigma::{Sigma, SigmaOptions};

/// How long a pod that must not be placed is given to be placed.
const PATIENCE: Duration = Duration::from_secs(8);

/// Each node of 8 cores is full of four pods of two, all of lower priority than `prod-high`: those of
/// a protected class, of `exempt`, of `offline`, and of `offline` in a pool that is closed.
const RESIDENTS: [(&str, &str, &str, &str); 4] = [
    ("protected", "ecs.g7.2xlarge", "online", "prod-normal"),
    ("exempt", "ecs.g7.2xlarge", "kube-system", "batch-low"),
    ("offline", "ecs.g7.2xlarge", "offline", "batch-low"),
    ("closed", "none.g7.2xlarge", "offline", "batch-low"),
];

pub(super) async fn at_allocation(allocation: &str) -> Result<Facts> {
    let control_plane = ControlPlane::start().await?;
    let api = control_plane.admin.clone();
    api.post_all(furniture()).await?;
    let policy = one_pool(allocation, "ecs");
    let options = SigmaOptions::new(&control_plane, "sigma", &policy);
    let mut sigma = Sigma::start(&control_plane, options).await?;
    let options = SchedulerOptions::new("sigma", &sigma);
    let mut scheduler = Scheduler::start(&control_plane, &options).await?;

    // Two victims of two cores make room for three, with one core left: within 90 % and 100 %.
    let first = preemptor(&api, "first").await?;
    ensure!(first.as_deref() == Some("offline"), "the first preemptor is on {first:?}");
    let died = deaths(&api).await?;
    ensure!(died.len() == 2, "victims of the first: {died:?}");
    // In-tree, one more victim makes room for three more: all 8 cores, which is beyond 90 %.
    let second = preemptor(&api, "second").await?;
    let died = deaths(&api).await?;
    let (node, count) = if allocation == "90%" { (None, 2) } else { (Some("offline"), 3) };
    ensure!(second.as_deref() == node, "the second preemptor is on {second:?}, not {node:?}");
    ensure!(died.len() == count, "victims of both: {died:?}");
    ensure!(died.iter().all(|name| name.starts_with("offline-")), "a bystander died: {died:?}");

    sigma.process.check()?;
    scheduler.process.check()?;
    let panics = sigma.metric("sigma_panics_total", "").await?;
    let errors = sigma.metric("sigma_verb_results_total", "result=\"error\"").await?;
    ensure!(panics + errors == 0, "{panics} panics, {errors} errors");
    let victimless = scheduler.process.count_log("expected at least one victim")?;
    ensure!(victimless == 0, "{victimless} complaints about missing victims");
    let left = refusal_of(&api.pod("online", "second").await?).unwrap_or("bound").to_owned();
    Ok(vec![format!(
        "allocation {allocation}: {} of 12 protected, exempt and closed pods live; {count} of 4 offline \
         pods died for two preemptors; {} preempt and {} filter calls; the second: {left}",
        12 - died.iter().filter(|name| !name.starts_with("offline-")).count(),
        sigma.metric("sigma_verb_results_total", "verb=\"preempt\"").await?,
        sigma.filter_calls().await?,
    )])
}

fn furniture() -> Vec<Value> {
    let mut objects = Vec::new();
    for (name, instance_type, namespace, priority_class) in RESIDENTS {
        let shape = NodeShape {
            instance_type,
            zone: "cn-hangzhou-h",
            cpu_milli: 8000,
            memory_mib: 32_768,
            virtual_kubelet: false,
        };
        objects.push(node(name, shape));
        let shape = PodShape {
            namespace,
            priority_class,
            cpu_milli: 2000,
            on: Some(name),
            scheduler: "nobody",
            ..PodShape::PLAIN
        };
        objects.extend((0..4).map(|at| pod(&format!("{name}-{at}"), &shape)));
    }
    // Nodes first: a pod on a node that is not there yet is nobody's.
    objects.sort_by_key(|it| it["kind"] != "Node");
    objects
}

/// Makes a pod of high priority and ends its victims as a kubelet would; gives its node.
async fn preemptor(api: &Api, name: &str) -> Result<Option<String>> {
    let shape = PodShape {
        namespace: "online",
        priority_class: "prod-high",
        cpu_milli: 3000,
        ..PodShape::PLAIN
    };
    api.post("/api/v1/namespaces/online/pods", &pod(name, &shape)).await?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        for pod in api.pods(None).await? {
            let meta = &pod["metadata"];
            if let (true, Some(namespace), Some(name)) = (
                meta["deletionTimestamp"].is_string(),
                meta["namespace"].as_str(),
                meta["name"].as_str(),
            ) {
                api.delete_pod(namespace, name).await?;
            }
        }
        if let Some(node) = node_of(&api.pod("online", name).await?) {
            return Ok(Some(node.to_owned()));
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(None)
}

/// Names of the residents that are gone or about to go.
async fn deaths(api: &Api) -> Result<BTreeSet<String>> {
    let everyone = RESIDENTS.iter().flat_map(|it| (0..4).map(move |at| format!("{}-{at}", it.0)));
    let pods = api.pods(None).await?;
    let alive = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let alive: BTreeSet<&str> = alive.filter_map(|pod| pod["metadata"]["name"].as_str()).collect();
    Ok(everyone.filter(|name| !alive.contains(&**name)).collect())
}
