//! (c) kube-scheduler writes why an attempt failed while the pod's next attempt is being bound. The room of
//! that pod stays taken.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::Facts;
use super::soak::late_proxy;
use crate::harness::api::{Api, node_of, refusal_of};
use crate::harness::control_plane::ControlPlane;
use crate::harness::objects::{NodeShape, PodShape, node, pod};
use crate::harness::policy::one_pool;
use crate::harness::proxy::Late;
use crate::harness::scheduler::{Scheduler, SchedulerOptions};
use crate::harness::sigma::{Sigma, SigmaOptions};
use crate::harness::until;

/// The condition of the first attempt comes after the answer to the second, and before the binding.
const LATE: Late = Late { status_ms: (1000, 1000), binding_ms: (3000, 3000) };
const PATIENCE: Duration = Duration::from_secs(15);
/// From a condition until sigma has read it.
const READ_WITHIN: Duration = Duration::from_millis(300);

/// Half of the node may be allocated.
const SHAPE: NodeShape<'static> = NodeShape {
    instance_type: "ecs.g7.4xlarge",
    zone: "cn-hangzhou-h",
    cpu_milli: 16_000,
    memory_mib: 65_536,
    virtual_kubelet: false,
};

async fn make(api: &Api, name: &str, on: Option<&str>) -> Result<()> {
    let shape = PodShape { namespace: "plain", cpu_milli: 4000, on, ..PodShape::PLAIN };
    api.post("/api/v1/namespaces/plain/pods", &pod(name, &shape)).await.map(drop)
}

pub(super) async fn ends_nothing() -> Result<Facts> {
    let control_plane = ControlPlane::start().await?;
    let api = control_plane.admin.clone();
    api.post_all(vec![node("n-0", SHAPE)]).await?;
    for name in ["stays", "leaves"] {
        make(&api, name, Some("n-0")).await?;
    }
    let policy = one_pool("50%", "ecs");
    let options = SigmaOptions::new(&control_plane, "sigma", &policy);
    let mut sigma = Sigma::start(&control_plane, options).await?;
    let proxy = late_proxy(&control_plane, LATE).await?;
    let mut options = SchedulerOptions::new("sigma", &sigma);
    options.kubeconfig = Some(control_plane.kubeconfig_by("scheduler", &proxy.url)?);
    let mut scheduler = Scheduler::start(&control_plane, &options).await?;

    let asked = async |count: u64| {
        let look = async || Ok((sigma.filter_calls().await? >= count).then_some(()));
        until(&format!("{count} filter calls"), PATIENCE, look).await
    };
    make(&api, "first", None).await?;
    asked(1).await?;
    // The deletion wakes the pod, although nobody has been told why it was refused.
    api.delete_pod("plain", "leaves").await?;
    asked(2).await?;
    let look = async || Ok(refusal_of(&api.pod("plain", "first").await?).map(drop));
    until("the condition of the first attempt", PATIENCE, look).await?;
    sleep(READ_WITHIN).await;
    let is_bound = async |name: &str| anyhow::Ok(node_of(&api.pod("plain", name).await?).is_some());
    let in_time = !is_bound("first").await?;
    make(&api, "second", None).await?;
    asked(3).await?;
    let look = async || Ok(is_bound("first").await?.then_some(()));
    until("the first pod is bound", PATIENCE, look).await?;
    // If it was accepted, its binding is on the way for as long.
    sleep(Duration::from_millis(LATE.binding_ms.1 + 500)).await;
    sigma.process.check()?;
    scheduler.process.check()?;
    ensure!(
        !is_bound("second").await?,
        "12 of 8 cores: the condition of an earlier attempt ended a hold"
    );
    let order = if in_time { "before" } else { "after" };
    Ok(vec![format!(
        "the condition of the first attempt was there {order} the second attempt was bound; the room \
         stayed taken"
    )])
}
