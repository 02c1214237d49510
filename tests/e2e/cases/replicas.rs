//! Two schedulers, each with its replica of sigma on loopback, fill one cluster; the leader of the replicas
//! is killed while it nominates ahead. A replica knows what the other has answered only once the watch
//! tells, so limits may be passed, by what is in flight within that time.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::jiff::Timestamp;
use tokio::time::sleep;

use super::Facts;
use super::fill::{backlog, three_hundred_nodes, until_quiet};
use crate::harness::control_plane::ControlPlane;
use crate::harness::policy::THREE_POOLS;
use crate::harness::recorder::{Binding, Recorder};
use crate::harness::scheduler::{Scheduler, SchedulerOptions};
use crate::harness::sigma::{Sigma, SigmaOptions};
use crate::harness::until;

const NUM_PODS: usize = 3000;
const NAMES: [&str; 2] = ["sigma-a", "sigma-b"];
/// Of 3,000; seen: 32 to 48.
const MOST_PASSED: usize = 120;
/// From a filter call to its binding in the other one's watch, on a machine that does all of this at once;
/// seen: 0.19.
const IN_FLIGHT_S: f64 = 1.0;
/// kube-scheduler tries again meanwhile.
const DEAD_FOR: Duration = Duration::from_secs(2);

pub(super) async fn two() -> Result<Facts> {
    let control_plane = ControlPlane::start().await?;
    let api = &control_plane.admin;
    let (nodes, limits) = three_hundred_nodes();
    api.post_all(nodes).await?;
    let policy = format!("{THREE_POOLS}steering:\n  nominateAhead: {{minBacklog: 50}}\n");
    let mut replicas = Vec::new();
    for name in NAMES {
        let more = ["--lease-namespace=kube-system", "--before-sync=reject"].map(str::to_owned);
        let schedulers = NAMES.map(|name| format!("--scheduler-name={name}"));
        let options = SigmaOptions {
            knows_scheduler: true,
            more: more.into_iter().chain(schedulers).collect(),
            ..SigmaOptions::new(&control_plane, name, &policy)
        };
        replicas.push(Sigma::start(&control_plane, options).await?);
    }
    let mut pods = backlog(NUM_PODS, NAMES[0]);
    for pod in pods.iter_mut().skip(1).step_by(2) {
        pod["spec"]["schedulerName"] = NAMES[1].into();
    }
    api.post_all(pods).await?;
    let recorder = Recorder::start(api, limits).await?;
    let mut schedulers = Vec::new();
    for (name, sigma) in NAMES.into_iter().zip(&replicas) {
        let options = SchedulerOptions { percentage: None, ..SchedulerOptions::new(name, sigma) };
        schedulers.push(Scheduler::start(&control_plane, &options).await?);
    }
    let bound = || recorder.record().bindings.len();
    let leader = leader(&replicas).await?;
    let planned = async |replica: &Sigma| replica.metric("sigma_nominator_targets_total", "").await;
    let look = async || Ok((bound() >= 300 && planned(&replicas[leader]).await? > 0).then_some(()));
    until("the leader has nominated some", Duration::from_secs(60), look).await?;
    let by_first = planned(&replicas[leader]).await?;
    let other = replicas.len() - 1 - leader;
    replicas[leader].process.kill();
    let at_kill = bound();
    sleep(DEAD_FOR).await;
    replicas[leader].restart().await?;
    until_quiet(&recorder, Duration::from_secs(8)).await?;
    let twice = steered_twice(&replicas).await?;
    ensure!(twice.is_empty(), "steered twice: {twice:?}");
    let by_other = planned(&replicas[other]).await?;
    for scheduler in &mut schedulers {
        scheduler.process.check()?;
    }
    let record = recorder.record();
    let passed = &record.violations;
    ensure!(passed.len() <= MOST_PASSED, "{} limits passed: {:?}", passed.len(), passed.last());
    ensure!(
        !passed.iter().any(|it| it.contains("moved from")),
        "a pod was bound twice: {passed:?}"
    );
    let gaps = passed.iter().map(|it| gap(&record.bindings, it).unwrap_or(f64::INFINITY));
    let widest = gaps.fold(0.0, f64::max);
    ensure!(widest <= IN_FLIGHT_S, "a limit was passed {widest:.2} s after the binding before");
    Ok(vec![format!(
        "{} of {NUM_PODS} bound; {} at the kill of the leader, which had chosen {by_first} nodes ahead, the other {by_other} \
         in all; limits passed {} times (with one scheduler: 0), each within {widest:.2} s of another binding to the node",
        record.bindings.len(),
        at_kill,
        passed.len(),
    )])
}

/// Which one leads.
async fn leader(replicas: &[Sigma]) -> Result<usize> {
    let look = async || {
        for (at, replica) in replicas.iter().enumerate() {
            if replica.metric("sigma_leader", "").await? == 1 {
                return Ok(Some(at));
            }
        }
        Ok(None)
    };
    Ok(until("one of them leads", Duration::from_secs(30), look).await?.0)
}

/// Pods that were sent to two nodes for one cause within a second, as the replicas remember it. A pod that comes
/// back and is refused again is nominated again, to the same node. A requeue may nominate another one, and is
/// not before a second is over.
async fn steered_twice(replicas: &[Sigma]) -> Result<Vec<String>> {
    let mut seen: BTreeMap<String, Vec<(Timestamp, String)>> = BTreeMap::new();
    for replica in replicas {
        let page = replica.page("/api/v1/actions").await?;
        let mut means = page.as_array().context("actions are a list")?.iter();
        let steer = means.find(|it| it["kind"] == "steer").context("no steer")?;
        let actions = steer["actions"].as_array().context("no actions")?;
        for it in
            actions.iter().filter(|it| it["write"] == "nominate" && it["outcome"] == "written")
        {
            let at: Timestamp = it["at"].as_str().context("no time")?.parse()?;
            let nodes = seen.entry(format!("{} {}", it["name"], it["cause"])).or_default();
            nodes.push((at, it["node"].to_string()));
        }
    }
    let is_twice = |nodes: &mut Vec<(Timestamp, String)>| {
        nodes.sort();
        nodes
            .windows(2)
            .any(|it| it[0].1 != it[1].1 && it[1].0.duration_since(it[0].0).as_millis() < 1000)
    };
    Ok(seen
        .into_iter()
        .filter_map(|(what, mut nodes)| is_twice(&mut nodes).then_some(what))
        .collect())
}

/// How long before the pod that passed a limit another one was bound to its node, in seconds.
fn gap(bindings: &[Binding], violation: &str) -> Option<f64> {
    let pod = violation.split([' ', ':']).next()?;
    let at = bindings.iter().position(|it| it.pod == pod)?;
    let before = bindings[..at].iter().rfind(|it| it.node == bindings[at].node)?;
    Some((bindings[at].at - before.at).as_secs_f64())
}
