//! (b), (f): pods that nothing takes cost nothing, and are placed at once when the policy opens.
//!
//! Three pairs of kube-scheduler and sigma wait in one idle cluster at the same time; E01 and F02 at
//! default sampling, where the window moves with every attempt.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Facts;
use super::fill::three_hundred_nodes;
use crate::harness::api::{Api, node_of, refusal_of};
use crate::harness::control_plane::ControlPlane;
use crate::harness::objects::{PodShape, pod};
use crate::harness::policy::{THREE_REASONS, one_pool};
use crate::harness::scheduler::{Scheduler, SchedulerOptions};
use crate::harness::sigma::{Sigma, SigmaOptions};
use crate::harness::until;

const IDLE: Duration = Duration::from_secs(60);

/// A kube-scheduler, its sigma, and the pods that wait for them.
struct Pair {
    name: &'static str,
    sigma: Sigma,
    scheduler: Scheduler,
    pods: Vec<(&'static str, String)>,
}

impl Pair {
    async fn start(
        control_plane: &ControlPlane,
        name: &'static str,
        policy: &str,
        pods: Vec<(&'static str, String)>,
    ) -> Result<Self> {
        let options = SigmaOptions::new(control_plane, &format!("sigma-{name}"), policy);
        let sigma = Sigma::start(control_plane, options).await?;
        // Where nodes fail in-tree, kube-scheduler's own counts move with its window at default sampling,
        // and a text that moves wakes the pod: not ours to prevent, so not what E02 is about.
        let percentage = (name == "e02").then_some(100);
        let options = SchedulerOptions { percentage, ..SchedulerOptions::new(name, &sigma) };
        let scheduler = Scheduler::start(control_plane, &options).await?;
        Ok(Self { name, sigma, scheduler, pods })
    }

    /// The messages of all its pods, which are refused by now.
    async fn refused(&self, api: &Api) -> Result<Vec<String>> {
        let mut messages = Vec::new();
        for (namespace, name) in &self.pods {
            let look = async || Ok(refusal_of(&api.pod(namespace, name).await?).map(str::to_owned));
            let within = Duration::from_secs(10);
            messages.push(until(&format!("{name} is refused"), within, look).await?.0);
        }
        Ok(messages)
    }

    /// For how many reasons nodes refuse its first pod, over the whole cluster.
    async fn reasons(&self) -> Result<usize> {
        let (namespace, name) = self.pods.first().context("a pod")?;
        let path = format!("/api/v1/explain?namespace={namespace}&pod={name}");
        let explained = self.sigma.page(&path).await?;
        ensure!(explained["nodes_kept"] == 0, "some node takes the pod: {explained}");
        Ok(explained["rejections"].as_array().map_or(0, Vec::len))
    }

    /// Waits until all its pods are bound; the slowest one's time since `from`.
    async fn bound(&self, api: &Api, from: Instant) -> Result<Duration> {
        for (namespace, name) in &self.pods {
            let look = async || {
                let pod = api.pod(namespace, name).await?;
                Ok(node_of(&pod).map(drop))
            };
            until(&format!("{name} is bound"), Duration::from_secs(10), look).await?;
        }
        Ok(from.elapsed())
    }
}

pub(super) async fn idle_then_open() -> Result<Facts> {
    let control_plane = ControlPlane::start().await?;
    let api = control_plane.admin.clone();
    api.post_all(three_hundred_nodes().0).await?;
    api.post_all(residents()).await?;
    let closed = one_pool("100%", "closed");
    let ask = |scheduler, namespace, priority_class, cpu_milli, count: usize| {
        let shape = PodShape { scheduler, namespace, priority_class, cpu_milli, ..PodShape::PLAIN };
        let names = (0..count).map(|at| (namespace, format!("{scheduler}-{at}")));
        let names: Vec<_> = names.collect();
        let pods: Vec<Value> = names.iter().map(|(_, name)| pod(name, &shape)).collect();
        (names, pods)
    };
    // E01: three plain pods. E02: a pod of high priority; 100 of the nodes are full of low priority.
    let (plain, mut pods) = ask("e01", "plain", "", 400, 3);
    let (high, more) = ask("e02", "online", "prod-high", 4000, 2);
    pods.extend(more);
    let (three, more) = ask("f02", "online", "prod-normal", 400, 3);
    pods.extend(more);
    let e01 = Pair::start(&control_plane, "e01", &closed, plain).await?;
    let e02 = Pair::start(&control_plane, "e02", &closed, high).await?;
    let f02 = Pair::start(&control_plane, "f02", THREE_REASONS, three).await?;
    let mut pairs = [e01, e02, f02];
    api.post_all(pods).await?;
    let mut facts = idle(&api, &mut pairs).await?;
    let [mut e01, mut e02, _f02] = pairs;
    facts.push(open(&api, &mut e01).await?);
    facts.push(open(&api, &mut e02).await?);
    Ok(facts)
}

/// Pods that are there from the start: a few on bare metal and on virtual nodes, and on half of ecs so
/// many of low priority that 4000m do not fit and 400m do.
fn residents() -> Vec<Value> {
    let on = |node: String, namespace, priority_class, cpu_milli| {
        let shape = PodShape {
            namespace,
            priority_class,
            cpu_milli,
            on: Some(&node),
            scheduler: "nobody",
            ..PodShape::PLAIN
        };
        pod(&format!("resident-of-{node}"), &shape)
    };
    let metal = (0..60).map(|at| on(format!("shenlong-{at:03}"), "online", "prod-normal", 8000));
    let half = (0..100).map(|at| on(format!("ecs-{at:03}"), "offline", "batch-low", 6000));
    let elastic = (0..15).map(|at| on(format!("eci-{at:03}"), "online", "prod-normal", 10_000));
    metal.chain(half).chain(elastic).collect()
}

/// A minute in which nothing happens.
async fn idle(api: &Api, pairs: &mut [Pair; 3]) -> Result<Facts> {
    let mut before = Vec::new();
    for pair in &*pairs {
        before.push(pair.refused(api).await?);
    }
    sleep(IDLE).await;
    let mut facts = Vec::new();
    for (pair, before) in pairs.iter_mut().zip(before) {
        let name = pair.name;
        pair.scheduler.process.check()?;
        pair.sigma.process.check()?;
        let calls = pair.sigma.filter_calls().await?;
        let after = pair.refused(api).await?;
        ensure!(before == after, "{name}: the text has changed: {before:?} to {after:?}");
        let text = after.first().context("a message")?;
        let wanted = match name {
            "f02" => "sigma: ",
            _ => "sigma: pool is not open to the pod's class",
        };
        ensure!(text.contains(wanted), "{name}: {text}");
        let victimless = pair.scheduler.process.count_log("expected at least one victim")?;
        ensure!(victimless == 0, "{name}: {victimless} complaints about missing victims");
        let most = if name == "f02" { 4 } else { 2 } * pair.pods.len() as u64;
        ensure!(calls <= most, "{name}: {calls} filter calls of {} pods", pair.pods.len());
        let reasons = pair.reasons().await?;
        ensure!(name != "f02" || reasons == 3, "{reasons} reasons, not three");
        let preempts = pair.sigma.metric("sigma_verb_results_total", "verb=\"preempt\"").await?;
        facts.push(format!(
            "{name}: {} pods, {calls} filter and {preempts} preempt calls in {} s, {reasons} reasons in \
             explain: {text}",
            pair.pods.len(),
            IDLE.as_secs(),
        ));
    }
    let residents = api.pods(Some("offline")).await?;
    ensure!(residents.len() == 100, "{} of 100 pods of low priority survive", residents.len());
    Ok(facts)
}

/// E03.
async fn open(api: &Api, pair: &mut Pair) -> Result<String> {
    let loading = pair.sigma.set_policy(&one_pool("100%", "ecs")).await?;
    let took = pair.bound(api, Instant::now()).await?;
    ensure!(took < Duration::from_secs(2), "{}: bound after {took:?}", pair.name);
    let requeued = pair.sigma.metric("sigma_requeues_total", "outcome=\"requeued\"").await?;
    Ok(format!(
        "{} opens: in force {:.2} s after the file changed, all {} pods bound {:.2} s later, {requeued} \
         requeues",
        pair.name,
        loading.as_secs_f64(),
        pair.pods.len(),
        took.as_secs_f64(),
    ))
}
