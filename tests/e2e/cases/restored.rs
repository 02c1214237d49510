//! etcd is restored from a backup: what was changed, bound, deleted and made since is as it was.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::time::Instant;

use super::Facts;
use super::outage::agree;
use crate::harness::api::Api;
use crate::harness::control_plane::ControlPlane;
use crate::harness::objects::{NodeShape, PodShape, node, pod};
use crate::harness::policy::THREE_POOLS;
use crate::harness::sigma::{Sigma, SigmaOptions};
use crate::harness::until;

/// The audit of this case lists so often; without it, what no watch tells takes up to 90 s.
const AUDIT: &str = "8s";
const SOON: Duration = Duration::from_secs(20);

pub(super) async fn etcd_restored() -> Result<Facts> {
    let mut control_plane = ControlPlane::start().await?;
    let api = control_plane.admin.clone();
    let shape = NodeShape {
        instance_type: "ecs.g7.4xlarge",
        zone: "a",
        cpu_milli: 16_000,
        memory_mib: 65_536,
        virtual_kubelet: false,
    };
    let on =
        |name: &str, node: &'static str| pod(name, &PodShape { on: Some(node), ..PodShape::PLAIN });
    api.post_all(["ecs-0", "ecs-1", "ecs-2", "ecs-3"].map(|name| node(name, shape)).to_vec())
        .await?;
    api.post_all(vec![on("stays", "ecs-0"), on("deleted", "ecs-1"), on("ended", "ecs-0")]).await?;
    api.post_all(vec![pod("waits", &PodShape::PLAIN)]).await?;
    let options = SigmaOptions {
        audit_interval: AUDIT,
        ..SigmaOptions::new(&control_plane, "sigma", THREE_POOLS)
    };
    let sigma = Sigma::start(&control_plane, options).await?;
    agree(&sigma, &api, SOON).await?;
    control_plane.back_up()?;
    change(&api, on("made", "ecs-1")).await?;
    agree(&sigma, &api, SOON).await?;
    let before = versions(&api).await?;
    control_plane.restore().await?;
    let begun = Instant::now();
    let after = versions(&api).await?;
    ensure!(after < before, "versions have not gone back: {before}, {after}");
    let pods = api.pods(None).await?.len();
    ensure!(pods == 4, "{pods} pods are in the backup");
    let agreed = agree(&sigma, &api, SOON).await?;
    let took = begun.elapsed();
    let status = sigma.page("/api/v1/status").await?;
    ensure!(status["nodes"] == 4 && status["pending_pods"] == 1, "it is not as it was: {status}");
    // And it goes on from there.
    api.post_all(vec![on("new", "ecs-2")]).await?;
    api.delete_pod("default", "stays").await?;
    agree(&sigma, &api, SOON).await?;
    let relists = sigma.metric("sigma_watch_relists_total", "").await?;
    Ok(vec![format!(
        "versions went from {before} back to {after}; {agreed} after {:.1} s, with an audit every {AUDIT} and \
         {relists} lists",
        took.as_secs_f64()
    )])
}

/// Binds, ends, deletes and makes something of everything.
async fn change(api: &Api, made: serde_json::Value) -> Result<()> {
    let pods = "/api/v1/namespaces/default/pods";
    // etcd may not be back yet.
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "waits"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "ecs-2"}});
    let look = async || Ok(api.post(&format!("{pods}/waits/binding"), &binding).await.ok());
    until("it is bound", SOON, look).await?;
    let ended = json!({"status": {"phase": "Succeeded"}});
    api.merge(&format!("{pods}/ended/status"), &ended).await?;
    api.delete_pod("default", "deleted").await?;
    api.post_all(vec![made]).await?;
    api.delete("/api/v1/nodes/ecs-3", &json!({})).await?;
    let grown = json!({"status": {"allocatable": {"cpu": "32"}}});
    api.merge("/api/v1/nodes/ecs-1/status", &grown).await.map(drop)
}

/// The version that everything is at.
async fn versions(api: &Api) -> Result<u64> {
    let list = api.get("/api/v1/namespaces?limit=1").await?;
    Ok(list["metadata"]["resourceVersion"].as_str().and_then(|it| it.parse().ok()).unwrap_or(0))
}
