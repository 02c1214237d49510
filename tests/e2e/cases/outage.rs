//! (c), (e): what is lost when sigma, an event or the API server is lost: nothing.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Facts;
use super::fill::{backlog, three_hundred_nodes, until_quiet};
use crate::harness::api::{Api, node_of};
use crate::harness::control_plane::ControlPlane;
use crate::harness::policy::THREE_POOLS;
use crate::harness::proxy::Proxy;
use crate::harness::recorder::{Recorder, Sum, sum_of};
use crate::harness::scheduler::{Scheduler, SchedulerOptions};
use crate::harness::sigma::{Sigma, SigmaOptions};
use crate::harness::until;

/// A watch that works is never further behind.
const AGREED_WITHIN: Duration = Duration::from_secs(10);

/// A cluster that is being filled.
struct Load {
    control_plane: ControlPlane,
    sigma: Sigma,
    scheduler: Scheduler,
    recorder: Recorder,
}

impl Load {
    async fn start(num_pods: usize) -> Result<Self> {
        let control_plane = ControlPlane::start().await?;
        let api = &control_plane.admin;
        let (nodes, limits) = three_hundred_nodes();
        api.post_all(nodes).await?;
        let options = SigmaOptions::new(&control_plane, "sigma", THREE_POOLS);
        let sigma = Sigma::start(&control_plane, options).await?;
        api.post_all(backlog(num_pods, "sigma")).await?;
        let recorder = Recorder::start(api, limits).await?;
        let mut options = SchedulerOptions::new("sigma", &sigma);
        options.percentage = None;
        options.ignorable = true;
        let scheduler = Scheduler::start(&control_plane, &options).await?;
        Ok(Self { control_plane, sigma, scheduler, recorder })
    }

    fn num_bound(&self) -> usize {
        self.recorder.record().bindings.len()
    }

    /// Calls that kube-scheduler gave up on: their pods went where they would.
    fn ignored(&self) -> Result<usize> {
        self.scheduler.process.count_log("Skipping extender")
    }

    /// Answers without rules.
    async fn degraded(&self) -> Result<u64> {
        let degraded = "result=\"degraded\",verb=\"filter\"";
        self.sigma.metric("sigma_verb_results_total", degraded).await
    }

    /// Waits until so many are bound.
    async fn until_bound(&self, count: usize) -> Result<()> {
        let look = async || Ok((self.num_bound() >= count).then_some(()));
        let what = format!("{count} pods are bound");
        until(&what, Duration::from_secs(60), look).await.map(drop)
    }
}

pub(super) async fn sigma_killed() -> Result<Facts> {
    let mut load = Load::start(3000).await?;
    load.until_bound(300).await?;
    load.sigma.process.kill();
    let (at_kill, killed) = (load.num_bound(), Instant::now());
    // Pods end while nobody of us looks.
    let victims: Vec<(String, String)> = {
        let record = load.recorder.record();
        record.bindings.iter().take(20).map(|it| (it.namespace.clone(), it.pod.clone())).collect()
    };
    let admin = &load.control_plane.admin;
    let deaths = victims.iter().map(|(namespace, name)| admin.delete_pod(namespace, name));
    try_join_all(deaths).await?;
    load.until_bound(at_kill + 100).await?;
    let took = killed.elapsed();
    let begun = Instant::now();
    load.sigma.restart().await?;
    let restarted = begun.elapsed();
    let at_restart = load.num_bound();
    // What kube-scheduler had decided without us is on its way for a moment more.
    sleep(Duration::from_secs(2)).await;
    let violations = load.recorder.record().violations.len();
    let ignored = load.ignored()?;
    until_quiet(&load.recorder, Duration::from_secs(8)).await?;
    let after = load.recorder.record().violations.len() - violations;
    ensure!(
        after == 0,
        "{after} limits passed with sigma back, {} calls ignored: {:?}",
        load.ignored()? - ignored,
        last(&load.recorder)
    );
    let degraded = load.degraded().await?;
    load.scheduler.process.check()?;
    let agreed = agree(&load.sigma, &load.control_plane.admin, AGREED_WITHIN).await?;
    let bound = load.num_bound();
    ensure!(bound > at_restart + 100, "the load was over before sigma was back: {bound} bound");
    Ok(vec![format!(
        "killed at {at_kill} bound; the next 100 without it in {:.1} s, {} pods deleted meanwhile; ready \
         {:.2} s after the restart, at {at_restart} bound; {bound} in the end; limits passed: \
         {violations} without it, 0 with it, which began with {degraded} answers without rules; {agreed}",
        took.as_secs_f64(),
        victims.len(),
        restarted.as_secs_f64(),
    )])
}

pub(super) async fn apiserver_restarted() -> Result<Facts> {
    const NUM_PODS: usize = 1800;
    const DOWN: Duration = Duration::from_secs(20);
    let mut load = Load::start(NUM_PODS).await?;
    load.until_bound(300).await?;
    let at_kill = load.num_bound();
    let begun = Instant::now();
    load.control_plane.restart_apiserver(DOWN).await?;
    let down = begun.elapsed();
    load.until_bound(at_kill + 100).await?;
    let recovered = begun.elapsed();
    until_quiet(&load.recorder, Duration::from_secs(10)).await?;
    load.sigma.process.check()?;
    let api = &load.control_plane.admin;
    let pods = api.pods(None).await?.len();
    ensure!(pods == NUM_PODS, "{pods} pods, and {NUM_PODS} were made");
    let first = load.recorder.record().violations.first().cloned();
    let (ignored, degraded) = (load.ignored()?, load.degraded().await?);
    ensure!(
        first.is_none(),
        "a limit passed, or a pod moved, {ignored} calls ignored, {degraded} answers without rules: {first:?}"
    );
    let agreed = agree(&load.sigma, api, AGREED_WITHIN).await?;
    let lost = load.sigma.metric("sigma_lost_deletes_total", "").await?;
    ensure!(lost == 0, "{lost} deletions lost, and nothing was deleted");
    Ok(vec![format!(
        "down {:.1} s at {at_kill} bound, the next 100 bound {:.1} s after it went; {} bound in the end, \
         none twice, none lost; {} reconnects, {} lists anew; {agreed}",
        down.as_secs_f64(),
        recovered.as_secs_f64(),
        load.num_bound(),
        load.sigma.metric("sigma_watch_reconnects_total", "").await?,
        load.sigma.metric("sigma_watch_relists_total", "").await?,
    )])
}

pub(super) async fn lost_delete() -> Result<Facts> {
    let control_plane = ControlPlane::start().await?;
    let api = &control_plane.admin;
    let (nodes, _) = three_hundred_nodes();
    let on: Vec<String> = nodes.iter().take(60).filter_map(name_of).collect();
    api.post_all(nodes).await?;
    let mut pods = backlog(60, "nobody");
    for (pod, node) in pods.iter_mut().zip(&on) {
        pod["spec"]["nodeName"] = json!(node);
    }
    let gone: Vec<(String, String)> = pods.iter().take(3).filter_map(key_of).collect();
    api.post_all(pods).await?;
    let upstream = Api::from_kubeconfig(&control_plane.kubeconfig("sigma")).await?;
    let proxy = Proxy::start(upstream).await?;
    let options = SigmaOptions {
        kubeconfig: control_plane.kubeconfig_by("sigma", &proxy.url)?,
        audit_interval: "6s",
        ..SigmaOptions::new(&control_plane, "sigma", THREE_POOLS)
    };
    let sigma = Sigma::start(&control_plane, options).await?;
    agree(&sigma, api, AGREED_WITHIN).await?;
    if let Ok(mut chosen) = proxy.faults.lose_deletes_of.lock() {
        chosen.extend(gone.iter().map(|(_, name)| name.clone()));
    }
    let begun = Instant::now();
    for (namespace, name) in &gone {
        api.delete_pod(namespace, name).await?;
    }
    let look = async || Ok((proxy.faults.lost.load(Ordering::Relaxed) == 3).then_some(()));
    until("the deletions are lost", Duration::from_secs(5), look).await?;
    ensure!(!compare(&sigma, api).await?.is_empty(), "sigma knows already: nothing was tested");
    let look = async || Ok(compare(&sigma, api).await?.is_empty().then_some(()));
    until("the loss is repaired", Duration::from_secs(25), look).await?;
    let took = begun.elapsed();
    let found = sigma.metric("sigma_lost_deletes_total", "resource=\"pods\"").await?;
    ensure!(found == 3, "{found} of 3 lost deletions were counted");
    Ok(vec![format!(
        "3 deletions swallowed; found and repaired {:.1} s later by an audit every 6 s, \
         sigma_lost_deletes_total 3, recount differences {}",
        took.as_secs_f64(),
        sigma.metric("sigma_audit_differences_total", "").await?,
    )])
}

fn name_of(object: &Value) -> Option<String> {
    object["metadata"]["name"].as_str().map(str::to_owned)
}

fn key_of(pod: &Value) -> Option<(String, String)> {
    Some((pod["metadata"]["namespace"].as_str()?.to_owned(), name_of(pod)?))
}

fn last(recorder: &Recorder) -> Option<String> {
    recorder.record().violations.last().cloned()
}

/// Waits until sigma's sums are what the API server's pods add up to.
pub(super) async fn agree(sigma: &Sigma, api: &Api, within: Duration) -> Result<String> {
    let mut last = Vec::new();
    let look = async || {
        last = compare(sigma, api).await?;
        Ok(last.is_empty().then_some(()))
    };
    let agreed = until("sigma's sums equal a recount", within, look).await;
    agreed.with_context(|| format!("{} sums differ, {:?}", last.len(), last.first()))?;
    let pods = api.pods(None).await?;
    let bound = pods.iter().filter(|pod| node_of(pod).is_some()).count();
    Ok(format!("sums of all nodes and pools equal a recount of {bound} placed pods from the API"))
}

/// The nodes and pools that sigma counts differently.
async fn compare(sigma: &Sigma, api: &Api) -> Result<Vec<String>> {
    let mut counted: BTreeMap<String, Sum> = BTreeMap::new();
    let mut add = |key: &str, sum: Sum| {
        let entry = counted.entry(key.to_owned()).or_default();
        entry.cpu += sum.cpu;
        entry.memory += sum.memory;
        entry.pods += sum.pods;
    };
    for pod in api.pods(None).await? {
        let has_ended = ["Succeeded", "Failed"].iter().any(|it| pod["status"]["phase"] == *it);
        if let Some(node) = node_of(&pod).filter(|_| !has_ended) {
            add(node, sum_of(&pod));
            // Nodes are called after their pools.
            add(&format!("pool {}", node.split('-').next().unwrap_or_default()), sum_of(&pod));
        }
    }
    let mut different = Vec::new();
    for (page, prefix) in [("/api/v1/nodes", ""), ("/api/v1/pools", "pool ")] {
        let rows = sigma.page(page).await?;
        let rows = rows.as_array().context("a page that is a list")?;
        for row in rows {
            let name = row["name"].as_str().context("a row without a name")?;
            let ours = counted.remove(&format!("{prefix}{name}")).unwrap_or_default();
            let theirs = &row["requested"];
            let same = theirs["cpu_milli"] == ours.cpu
                && theirs["memory_bytes"] == ours.memory << 20
                && theirs["pods"] == ours.pods;
            if !same {
                different.push(format!("{prefix}{name}: {theirs}, and it is {ours:?}"));
            }
        }
    }
    different.extend(counted.into_iter().map(|(name, ours)| format!("{name}: it is {ours:?}")));
    Ok(different)
}
