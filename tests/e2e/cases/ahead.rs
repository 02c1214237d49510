//! Nominating ahead, beside the unmodified kube-scheduler: a standing backlog, of which all that can be
//! judged is nominated, and everything is bound.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::time::Instant;

use super::Facts;
use crate::harness::api::Api;
use crate::harness::control_plane::ControlPlane;
use crate::harness::objects::{NodeShape, PodShape, node, pod};
use crate::harness::recorder::{Limits, NodeLimit, Recorder, Sum};
use crate::harness::scheduler::{Scheduler, SchedulerOptions};
use crate::harness::sigma::{Sigma, SigmaOptions};
use crate::harness::until;
use crate::harness::volumes::bound_in_zone;

const NUM_NODES: usize = 1000;
/// Of these, every tenth may go to one zone only, and another tenth has a volume in one.
const NUM_PODS: usize = 500;
/// Whose number ends so has a volume.
const VOLUMES_AT: usize = 4;
const ZONES: [&str; 3] = ["cn-hangzhou-h", "cn-hangzhou-i", "cn-hangzhou-j"];

const POLICY: &str = r#"
apiVersion: sigma.io/v1alpha1
kind: SchedulingPolicy
metadata: {name: ahead}
pools:
- name: ecs
  match: {instanceTypes: ["ecs.*"]}
  allocation: {cpu: 50%, memory: 50%}
classes:
- name: default
  pools: [ecs]
steering:
  nominateAhead: {minBacklog: 50, batch: 200}
"#;

pub(super) async fn backlog() -> Result<Facts> {
    let control_plane = ControlPlane::start().await?;
    let api = &control_plane.admin;
    let mut limits = Limits::default();
    let nodes = (0..NUM_NODES).map(|at| {
        let shape = NodeShape {
            instance_type: "ecs.g7.xlarge",
            zone: ZONES[at % ZONES.len()],
            cpu_milli: 4000,
            memory_mib: 16_384,
            virtual_kubelet: false,
        };
        let name = format!("ecs-{at:04}");
        let allocation = Sum { cpu: 2000, memory: 8192, pods: 110 };
        limits.nodes.insert(name.clone(), NodeLimit { pool: "ecs", allocation });
        node(&name, shape)
    });
    api.post_all(nodes.collect()).await?;
    post_pods(api).await?;
    let recorder = Recorder::start(api, limits).await?;
    let more = ["--lease-namespace=kube-system", "--scheduler-name=ahead"].map(str::to_owned);
    let options =
        SigmaOptions { more: more.into(), ..SigmaOptions::new(&control_plane, "sigma", POLICY) };
    let sigma = Sigma::start(&control_plane, options).await?;
    let begun = Instant::now();
    let look = async || {
        // Whoever is looked at before the lists of volumes are in is looked at again.
        let unjudged = sigma.metric("sigma_nominator_unplanned_pods", "reason=\"volumes\"").await?;
        let chosen = sigma.metric("sigma_nominator_targets_total", "").await?;
        Ok((chosen > 0 && unjudged == 0).then_some(()))
    };
    until("the first are chosen", Duration::from_secs(10), look).await?;
    let options = SchedulerOptions::new("ahead", &sigma);
    let mut scheduler = Scheduler::start(&control_plane, &options).await?;
    let bound = async || {
        scheduler.process.check()?;
        Ok((recorder.record().bindings.len() == NUM_PODS).then_some(()))
    };
    until("all are bound", Duration::from_secs(60), bound).await?;
    let took = begun.elapsed();
    let ended = async || {
        let open = sigma.metric("sigma_nominator_targets_open", "").await?;
        Ok((open == 0).then_some(()))
    };
    until("every target has ended", Duration::from_secs(5), ended).await?;
    let mut facts = targets(&sigma).await?;
    let violations = recorder.record().violations.clone();
    ensure!(violations.is_empty(), "{violations:?}");
    facts.push(in_zones(&recorder)?);
    let (calls, seconds) = (sigma.filter_calls().await?, took.as_secs_f64());
    facts.push(format!(
        "{NUM_PODS} pods bound {seconds:.1} s after sigma was ready, {calls} filter calls, {}",
        order_of_queue(&recorder)?,
    ));
    Ok(facts)
}

/// Each pod was bound on its target, or is counted with a reason.
async fn targets(sigma: &Sigma) -> Result<Facts> {
    let chosen = sigma.metric("sigma_nominator_targets_total", "").await?;
    let mut ends = BTreeMap::new();
    for end in ["honoured", "missed", "unwritten", "overruled", "stale", "lost"] {
        let label = format!("end=\"{end}\"");
        ends.insert(end, sigma.metric("sigma_nominator_targets_ended_total", &label).await?);
    }
    // A nomination that is written after its target was missed is found on the pod, and ends once more.
    let all = ends.values().sum::<u64>();
    ensure!((chosen..=chosen + ends["missed"]).contains(&all), "{chosen} targets, ended: {ends:?}");
    ensure!(
        chosen * 10 >= NUM_PODS as u64 * 8,
        "only {chosen} of {NUM_PODS} pods were given targets"
    );
    ensure!(ends["honoured"] * 100 >= chosen * 90, "{chosen} targets, ended: {ends:?}");
    let written =
        sigma.metric("sigma_actions_total", "kind=\"nominate_ahead\",outcome=\"written\"").await?;
    let seconds = sigma.metric("sigma_nominator_planning_duration_seconds_count", "").await?;
    Ok(vec![format!("{chosen} targets in {seconds} batches, {written} written, ended: {ends:?}")])
}

/// The backlog, and the volumes of those that have one.
async fn post_pods(api: &Api) -> Result<()> {
    let shape = PodShape { scheduler: "ahead", cpu_milli: 1000, ..PodShape::PLAIN };
    let pods = (0..NUM_PODS).map(|at| {
        let mut pod = pod(&format!("p-{at:05}"), &shape);
        if at % 10 == 9 {
            pod["spec"]["nodeSelector"] = json!({"topology.kubernetes.io/zone": ZONES[0]});
        }
        if at % 10 == VOLUMES_AT {
            pod["spec"]["volumes"] =
                json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim_of(at)}}]);
        }
        pod
    });
    for at in (VOLUMES_AT..NUM_PODS).step_by(10) {
        bound_in_zone(api, &claim_of(at), zone_of(at)).await?;
    }
    api.post_all(pods.collect()).await
}

fn claim_of(at: usize) -> String {
    format!("data-{at:05}")
}

/// The zone of a pod's volume.
fn zone_of(at: usize) -> &'static str {
    ZONES[at / 10 % ZONES.len()]
}

/// Every pod with a volume is in its zone.
fn in_zones(recorder: &Recorder) -> Result<String> {
    let (record, mut num_volumes) = (recorder.record(), 0);
    for it in &record.bindings {
        let at: usize = it.pod.trim_start_matches("p-").parse()?;
        if at % 10 == VOLUMES_AT {
            let node: usize = it.node.trim_start_matches("ecs-").parse()?;
            ensure!(ZONES[node % ZONES.len()] == zone_of(at), "{} is on {}", it.pod, it.node);
            num_volumes += 1;
        }
    }
    ensure!(num_volumes == NUM_PODS / 10, "{num_volumes} pods with volumes");
    Ok(format!("{num_volumes} pods with a volume are in its zone"))
}

/// How far kube-scheduler's order is from that of creation: 0 for the same, 0.33 for one by lot.
fn order_of_queue(recorder: &Recorder) -> Result<String> {
    let record = recorder.record();
    let created = record.bindings.iter().map(|it| it.pod.trim_start_matches("p-").parse::<f64>());
    let created = created.collect::<Result<Vec<_>, _>>().context("a number in a name")?;
    let apart = created.iter().zip(0..).map(|(created, at)| (created - f64::from(at)).abs());
    let mean = apart.sum::<f64>() / created.len() as f64 / created.len() as f64;
    Ok(format!("order of bindings {mean:.2} from the order of creation (by lot: 0.33)"))
}
