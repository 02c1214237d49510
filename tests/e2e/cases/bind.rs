//! `--bind=on`: sigma writes the bindings, under the right that `deploy/components/bind` adds. Without
//! it nothing is bound, and the pod's condition says which right is missing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Facts;
use super::fill::three_hundred_nodes;
use crate::harness::api::{node_of, refusal_of};
use crate::harness::control_plane::ControlPlane;
use crate::harness::objects::{PodShape, pod};
use crate::harness::policy::THREE_POOLS;
use crate::harness::scheduler::{Scheduler, SchedulerOptions};
use crate::harness::sigma::{Sigma, SigmaOptions};
use crate::harness::until;

const NUM_PODS: usize = 40;

pub(super) async fn by_sigma() -> Result<Facts> {
    let control_plane = ControlPlane::start().await?;
    let api = &control_plane.admin;
    api.post_all(three_hundred_nodes().0.into_iter().take(40).collect()).await?;
    let options =
        SigmaOptions { bind: true, ..SigmaOptions::new(&control_plane, "sigma", THREE_POOLS) };
    let sigma = Sigma::start(&control_plane, options).await?;
    let mut options = SchedulerOptions::new("sigma", &sigma);
    options.bind = true;
    let _scheduler = Scheduler::start(&control_plane, &options).await?;

    let shape = PodShape { namespace: "online", priority_class: "prod-normal", ..PodShape::PLAIN };
    api.post_all(vec![pod("p-first", &shape)]).await?;
    let look = async || Ok(refusal_of(&api.pod("online", "p-first").await?).map(str::to_owned));
    let (text, _) = until("the pod is told", Duration::from_secs(10), look).await?;
    ensure!(text.contains("pods/binding"), "the missing right is not named: {text}");

    api.post_all(right_to_bind()?).await?;
    api.post_all((1..NUM_PODS).map(|at| pod(&format!("p-{at}"), &shape)).collect()).await?;
    let look = async || {
        let pods = api.pods(Some("online")).await?;
        Ok(pods.iter().all(|pod| node_of(pod).is_some()).then_some(()))
    };
    let (_, took) = until("all pods are bound", Duration::from_secs(30), look).await?;
    let bound = sigma.metric("sigma_binds_total", "outcome=\"bound\"").await?;
    ensure!(bound == NUM_PODS as u64, "sigma has bound {bound} of {NUM_PODS} pods");
    Ok(vec![format!(
        "{bound} of {NUM_PODS} pods bound by sigma, the last {:.1} s after the right was given; before: \
         {text}",
        took.as_secs_f64(),
    )])
}

/// The component's ClusterRole, for the user `sigma`.
pub(super) fn right_to_bind() -> Result<Vec<Value>> {
    let text = include_str!("../../../deploy/components/bind/rbac.yaml");
    let (role, binding) = text.split_once("\n---\n").context("two documents")?;
    let mut binding: Value = serde_saphyr::from_str(binding)?;
    binding["subjects"] =
        json!([{"kind": "User", "name": "sigma", "apiGroup": "rbac.authorization.k8s.io"}]);
    Ok(vec![serde_saphyr::from_str(role)?, binding])
}
