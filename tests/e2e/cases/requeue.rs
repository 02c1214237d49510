//! (b) kube-scheduler sees a deletion before we do, asks, and is refused from the past. Then it sleeps
//! for five minutes, unless we ring.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};

use super::Facts;
use crate::harness::api::{Api, node_of, refusal_of};
use crate::harness::control_plane::ControlPlane;
use crate::harness::objects::{NodeShape, PodShape, node, pod};
use crate::harness::policy::one_pool;
use crate::harness::proxy::Proxy;
use crate::harness::scheduler::{Scheduler, SchedulerOptions};
use crate::harness::sigma::{Sigma, SigmaOptions};
use crate::harness::until;

/// How late our watch is.
const LATE_MS: u64 = 300;
/// Long enough for anything but the scheduler's own five minutes.
const PATIENCE: Duration = Duration::from_secs(10);

const SHAPE: NodeShape<'static> = NodeShape {
    instance_type: "ecs.g7.2xlarge",
    zone: "cn-hangzhou-h",
    cpu_milli: 8000,
    memory_mib: 32_768,
    virtual_kubelet: false,
};

pub(super) async fn late_watch() -> Result<Facts> {
    let control_plane = ControlPlane::start().await?;
    let api = control_plane.admin.clone();
    let nodes = (0..4).map(|at| node(&format!("n-{at}"), SHAPE)).collect();
    api.post_all(nodes).await?;
    // Half of each node may be allocated, and is; in-tree there is room for more.
    let resident = |at: usize| {
        let on = format!("n-{}", at % 4);
        let shape = PodShape { namespace: "plain", on: Some(&on), ..PodShape::PLAIN };
        pod(&format!("r-{at:02}"), &shape)
    };
    api.post_all((0..16).map(resident).collect()).await?;
    let upstream = Api::from_kubeconfig(&control_plane.kubeconfig("sigma")).await?;
    let proxy = Proxy::start(upstream).await?;
    proxy.faults.delay_ms.store(LATE_MS, std::sync::atomic::Ordering::Relaxed);
    let kubeconfig = control_plane.kubeconfig_by("sigma", &proxy.url)?;
    let policy = one_pool("50%", "ecs");
    let options = |name: &str, requeue| SigmaOptions {
        kubeconfig: kubeconfig.clone(),
        requeue,
        ..SigmaOptions::new(&control_plane, name, &policy)
    };

    let silent = Sigma::start(&control_plane, options("sigma-silent", false)).await?;
    let mut facts = vec![without_requeue(&control_plane, &silent).await?];
    drop(silent);
    let waits = api.pod("plain", "w-off").await?;
    ensure!(node_of(&waits).is_none(), "nobody requeued, and the pod is bound");
    let requeueing = Sigma::start(&control_plane, options("sigma-requeueing", true)).await?;
    facts.push(with_requeue(&control_plane, &requeueing).await?);
    Ok(facts)
}

/// Makes a pod and waits until it is refused.
async fn refused_pod(api: &Api, name: &str, scheduler: &str) -> Result<()> {
    let shape = PodShape { namespace: "plain", scheduler, ..PodShape::PLAIN };
    api.post("/api/v1/namespaces/plain/pods", &pod(name, &shape)).await?;
    let look = async || Ok(refusal_of(&api.pod("plain", name).await?).map(str::to_owned));
    let (text, _) = until("the pod is refused", PATIENCE, look).await?;
    ensure!(text.contains("sigma: allocation limit of the pool reached"), "refused with {text}");
    // The scheduler's own status patch brings it back once more.
    sleep(Duration::from_millis(500)).await;
    Ok(())
}

async fn without_requeue(control_plane: &ControlPlane, sigma: &Sigma) -> Result<String> {
    let api = &control_plane.admin;
    let _scheduler = Scheduler::start(control_plane, &SchedulerOptions::new("off", sigma)).await?;
    refused_pod(api, "w-off", "off").await?;
    let before = sigma.filter_calls().await?;
    api.delete_pod("plain", "r-00").await?;
    sleep(PATIENCE).await;
    let asked = sigma.filter_calls().await? - before;
    let waits = api.pod("plain", "w-off").await?;
    ensure!(node_of(&waits).is_none(), "the stale condition did not happen: nothing was tested");
    let explained = sigma.page("/api/v1/explain?namespace=plain&pod=w-off").await?;
    let kept = explained["nodes_kept"].as_u64().context("nodes_kept")?;
    ensure!(kept == 1, "one node has room by now, and explain says {explained}");
    Ok(format!(
        "--requeue=off, watch {LATE_MS} ms late: still pending {} s after the deletion, though explain \
         sees room on {kept} node ({asked} filter call at the deletion)",
        PATIENCE.as_secs(),
    ))
}

async fn with_requeue(control_plane: &ControlPlane, sigma: &Sigma) -> Result<String> {
    let api = &control_plane.admin;
    let begun = Instant::now();
    // The same name: the pod that nobody requeued is this one's to place.
    let _scheduler = Scheduler::start(control_plane, &SchedulerOptions::new("off", sigma)).await?;
    let bound = async |name: &str| {
        let look = async || Ok(node_of(&api.pod("plain", name).await?).map(drop));
        until(&format!("{name} is bound"), PATIENCE, look).await
    };
    bound("w-off").await?;
    let adopted = begun.elapsed();
    refused_pod(api, "w-on", "off").await?;
    let before = sigma.metric("sigma_requeues_total", "outcome=\"requeued\"").await?;
    let begun = Instant::now();
    api.delete_pod("plain", "r-01").await?;
    bound("w-on").await?;
    let took = begun.elapsed();
    let requeued = sigma.metric("sigma_requeues_total", "outcome=\"requeued\"").await? - before;
    ensure!(took < Duration::from_secs(2), "bound {took:?} after the deletion");
    ensure!(requeued >= 1, "bound without a bell: nothing was tested");
    Ok(format!(
        "--requeue=on, watch {LATE_MS} ms late: bound {:.2} s after the deletion by {requeued} bell; the pod \
         of before {:.1} s after a restart",
        took.as_secs_f64(),
        adopted.as_secs_f64(),
    ))
}
