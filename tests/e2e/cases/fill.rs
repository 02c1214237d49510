//! (a) One backlog, more than fits, into three pools of 300 nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Facts;
use crate::harness::api::{node_of, refusal_of};
use crate::harness::control_plane::ControlPlane;
use crate::harness::objects::{NodeShape, PodShape, node, pod};
use crate::harness::policy::THREE_POOLS;
use crate::harness::recorder::{Limits, NodeLimit, Recorder, Sum, sum_of};
use crate::harness::scheduler::{Scheduler, SchedulerOptions};
use crate::harness::sigma::{Sigma, SigmaOptions};

const NUM_PODS: usize = 3000;
const ZONES: [&str; 3] = ["cn-hangzhou-h", "cn-hangzhou-i", "cn-hangzhou-j"];

/// What nodes of a pool are, and what of one may be allocated, as `THREE_POOLS` says.
const POOLS: [(&str, usize, NodeShape<'static>, i64); 3] = [
    ("shenlong", 60, shape("ecs.ebmg7.16xlarge", 16_000, 65_536, false), 95),
    ("ecs", 200, shape("ecs.g7.2xlarge", 8_000, 32_768, false), 90),
    ("eci", 40, shape("eci", 1_000_000, 4_194_304, true), 100),
];

const fn shape(
    instance_type: &'static str,
    cpu_milli: i64,
    memory_mib: i64,
    virtual_kubelet: bool,
) -> NodeShape<'static> {
    NodeShape { instance_type, zone: "", cpu_milli, memory_mib, virtual_kubelet }
}

/// 300 nodes, and what the policy makes of them.
pub(super) fn three_hundred_nodes() -> (Vec<Value>, Limits) {
    let mut limits = Limits::default();
    let mut nodes = Vec::new();
    for (pool, count, shape, percent) in POOLS {
        for at in 0..count {
            let name = format!("{pool}-{at:03}");
            let shape = NodeShape { zone: ZONES[at % ZONES.len()], ..shape };
            let allocation = Sum {
                cpu: shape.cpu_milli * percent / 100,
                memory: shape.memory_mib * percent / 100,
                pods: if shape.virtual_kubelet { 1000 } else { 110 },
            };
            nodes.push(node(&name, shape));
            limits.nodes.insert(name, NodeLimit { pool, allocation });
        }
    }
    let elastic = Sum { cpu: 150_000, memory: 2 << 20, pods: 1000 };
    limits.pools.insert("eci", elastic);
    limits.orders = BTreeMap::from([
        ("online", vec!["shenlong", "ecs", "eci"]),
        ("offline", vec!["ecs", "shenlong"]),
        ("plain", vec!["ecs", "shenlong"]),
    ]);
    (nodes, limits)
}

/// Pods of every class; sizes are multiples of 400m, so that nodes can be filled to the brim.
pub(super) fn backlog(count: usize, scheduler: &str) -> Vec<Value> {
    let mut state = 0x9e37_79b9_u64;
    let mut draw = move |sides: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % sides
    };
    let make = |at: usize| {
        let (namespace, priority_class) = match draw(100) {
            0..30 => ("online", "prod-high"),
            30..78 => ("online", "prod-normal"),
            78..91 => ("offline", "batch-normal"),
            91..98 => ("plain", ""),
            _ => ("kube-system", "system-cluster-critical"),
        };
        let units = [1, 1, 2, 2, 3, 3, 3, 4][draw(8) as usize];
        let shape = PodShape {
            namespace,
            scheduler,
            priority_class,
            cpu_milli: units * 400,
            memory_mib: units * 400,
            tolerates_virtual: namespace != "kube-system",
            ..PodShape::PLAIN
        };
        pod(&format!("p-{at:04}"), &shape)
    };
    (0..count).map(make).collect()
}

/// Waits until no pod has been bound for a while; gives the moment of the last binding.
pub(super) async fn until_quiet(recorder: &Recorder, quiet: Duration) -> Result<Instant> {
    let deadline = Instant::now() + Duration::from_secs(150);
    loop {
        let last = recorder.record().bindings.last().map(|it| it.at);
        if let Some(last) = last.filter(|it| it.elapsed() > quiet) {
            return Ok(last);
        }
        ensure!(Instant::now() < deadline, "bindings go on for ever, or never began");
        sleep(Duration::from_millis(200)).await;
    }
}

pub(super) async fn every_node_offered() -> Result<Facts> {
    fill(Some(100)).await
}

pub(super) async fn default_sampling() -> Result<Facts> {
    fill(None).await
}

async fn fill(percentage: Option<u32>) -> Result<Facts> {
    let control_plane = ControlPlane::start().await?;
    let api = control_plane.admin.clone();
    let (nodes, limits) = three_hundred_nodes();
    api.post_all(nodes).await?;
    let mut sigma =
        Sigma::start(&control_plane, SigmaOptions::new(&control_plane, "sigma", THREE_POOLS))
            .await?;
    api.post_all(backlog(NUM_PODS, "sigma")).await?;
    let recorder = Recorder::start(&api, limits.clone()).await?;
    let options = SchedulerOptions { percentage, ..SchedulerOptions::new("sigma", &sigma) };
    let begun = Instant::now();
    let mut scheduler = Scheduler::start(&control_plane, &options).await?;
    // A pod refused over a hold is requeued when it ends, so quiet is longer than a bell's gap.
    let last = until_quiet(&recorder, Duration::from_secs(8)).await?;
    sigma.process.check()?;
    scheduler.process.check()?;
    let exact = percentage == Some(100);
    let seconds = (last - begun).as_secs_f64();
    let (now, most) = sigma.process.memory_mb()?;
    let errors = sigma.metric("sigma_verb_results_total", "result=\"error\"").await?;
    let degraded = sigma.metric("sigma_verb_results_total", "result=\"degraded\"").await?;
    ensure!(errors + degraded == 0, "{errors} calls answered with an error, {degraded} degraded");
    let mut facts = judge(&recorder, &limits, &api.pods(None).await?, exact)?;
    let bound = recorder.record().bindings.len();
    facts.push(format!(
        "{:.0} pods/s; {} filter calls; {} requeues; sigma {now} MB RSS, at \
         most {most} MB, {:.1} s CPU",
        bound as f64 / seconds,
        sigma.filter_calls().await?,
        sigma.metric("sigma_requeues_total", "outcome=\"requeued\"").await?,
        sigma.process.cpu()?.as_secs_f64(),
    ));
    Ok(facts)
}

fn judge(recorder: &Recorder, limits: &Limits, pods: &[Value], exact: bool) -> Result<Facts> {
    let record = recorder.record();
    let mut broken: Vec<String> = record.violations.iter().take(3).cloned().collect();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            broken.push(what.to_owned());
        }
    };
    let mut fills = String::new();
    for (pool, _, _, _) in POOLS {
        let percent = record.percent_full(pool, limits);
        fills += &format!("{pool} {percent:.1} % of {} cores, ", limits.cpu_of(pool) / 1000);
        must(!exact || percent >= 97.0, "a pool is not full");
        must(percent <= 100.0 || pool != "eci", "the elastic pool is beyond its limit");
    }
    let bound = record.bindings.len();
    let out_of_order: Vec<f64> = record.bindings.iter().filter_map(|it| it.out_of_order).collect();
    let fullest = out_of_order.iter().copied().fold(100.0, f64::min);
    let pending: Vec<&Value> = pods.iter().filter(|pod| node_of(pod).is_none()).collect();
    must(pending.len() >= 50, "fewer than 50 pods are refused");
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrongly = 0;
    for pod in &pending {
        *reasons.entry(reason_of(pod)).or_default() += 1;
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
        let pools = limits.orders.get(namespace).map(Vec::as_slice).unwrap_or_default();
        let has_room = |pool: &str| record.has_room(pool, sum_of(pod), limits);
        wrongly += usize::from(pools.iter().any(|pool| has_room(pool)));
    }
    let right = |reason: &&str| reasons.get(*reason).copied().unwrap_or(0);
    let right: usize = RIGHT_REASONS.iter().map(right).sum();
    must(!exact || right * 100 >= pending.len() * 98, "some are refused for another reason");
    must(!exact || wrongly == 0, "some refused pods would fit");
    let share = 100.0 * out_of_order.len() as f64 / bound.max(1) as f64;
    must(!exact || share <= 5.0, "more than 5 % are not in the first pool with room");
    let facts = format!(
        "{fills}at every moment of {} events within limits; {bound} bound, {} refused ({reasons:?}), \
         of which {wrongly} would fit; {} bound past a pool with room ({share:.2} %), which was \
         {fullest:.1} % full or more",
        record.num_events,
        pending.len(),
        out_of_order.len(),
    );
    ensure!(broken.is_empty(), "{broken:?}: {} violations; {facts}", record.violations.len());
    Ok(vec![facts])
}

/// All true of a full cluster, in which the reason closest to success of all nodes is told: there is no room
/// within limits or at all, or only where the class may not go.
const RIGHT_REASONS: [&str; 4] = [
    "sigma: insufficient resources",
    "sigma: allocation limit of the pool reached",
    "sigma: limit of the elastic pool reached",
    "sigma: pool is not open to the pod's class",
];

/// The part of the condition's message that is ours.
fn reason_of(pod: &Value) -> String {
    let Some(message) = refusal_of(pod) else { return "none yet".to_owned() };
    let ours = message.find("sigma: ").map_or(message, |at| &message[at..]);
    ours.split(['.', ',']).next().unwrap_or_default().to_owned()
}
