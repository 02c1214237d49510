//! One run: a cluster of its own, the load, and what is wrong meanwhile.

use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use super::churn::Churn;
use super::{SoakArgs, Variant};
use crate::harness::api::Api;
use crate::harness::control_plane::ControlPlane;
use crate::harness::objects::{NodeShape, node};
use crate::harness::proxy::{Late, Proxy};
use crate::harness::recorder::{Beyond, Limits, NodeLimit, Recorder, Sum};
use crate::harness::scheduler::{Scheduler, SchedulerOptions};
use crate::harness::sigma::{Sigma, SigmaOptions};

const POLICY: &str = r#"
apiVersion: sigma.io/v1alpha1
kind: SchedulingPolicy
metadata: {name: soak}
pools:
- name: metal
  match: {instanceTypes: ["ecs.ebm*"]}
  allocation: {cpu: 90%, memory: 90%}
- name: ecs
  match: {instanceTypes: ["ecs.*"]}
  allocation: {cpu: 80%, memory: 80%}
classes:
- name: online
  grant: {priorityClasses: ["prod-*"], namespaces: {matchLabels: {tier: production}}}
  pools: [metal, ecs]
- name: offline
  grant: {priorityClasses: ["batch-*"], namespaces: {matchLabels: {tier: batch}}}
  pools: [ecs, metal]
"#;

/// Pool, number of nodes for so many pods, instance type, cores, percent of them that may be requested.
const POOLS: [(&str, usize, &str, i64, i64); 2] =
    [("metal", 30, "ecs.ebmg7.16xlarge", 64, 90), ("ecs", 120, "ecs.g7.4xlarge", 16, 80)];
const FOR_PODS: usize = 1700;
const ZONES: [&str; 3] = ["cn-hangzhou-h", "cn-hangzhou-i", "cn-hangzhou-j"];
const LATE_STATUS: Late = Late { status_ms: (0, 3000), binding_ms: (0, 0) };
const LATE_WRITES: Late = Late { status_ms: (0, 300), binding_ms: (0, 300) };
const SIGMA_KILLED_EACH: Duration = Duration::from_secs(30);
const APISERVER_KILLED_EACH: Duration = Duration::from_secs(75);
/// How long the API server is away.
const DOWN: Duration = Duration::from_secs(2);
/// What is counted is bindings beyond a limit. An answer by role has none, so there shall be none of those
/// on a machine that is busy with other things.
const DEADLINE: &str = "8s";
const HTTP_TIMEOUT: &str = "10s";
/// After the last pod is made: bindings that are on their way arrive.
const SETTLE: Duration = Duration::from_secs(3);

/// Calls that sigma has answered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Calls {
    pub(super) filter: u64,
    /// Filter calls answered by role.
    pub(super) degraded: u64,
    /// Calls of any verb answered by an error.
    pub(super) errors: u64,
}

impl Calls {
    /// Adds what the running sigma has counted.
    async fn add(&mut self, sigma: &Sigma) -> Result<()> {
        let results = "sigma_verb_results_total";
        self.filter += sigma.filter_calls().await?;
        self.degraded += sigma.metric(results, "result=\"degraded\",verb=\"filter\"").await?;
        self.errors += sigma.metric(results, "result=\"error\"").await?;
        Ok(())
    }
}

/// What a run has shown.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) took: Duration,
    pub(super) num_made: usize,
    pub(super) num_bindings: usize,
    pub(super) num_beyond: usize,
    /// The most cores beyond a limit.
    pub(super) worst: Option<Beyond>,
    pub(super) calls: Calls,
    /// When sigma or the API server was killed, and how long it was away.
    pub(super) kills: Vec<(Duration, Duration)>,
    /// Whatever must never be.
    pub(super) violations: Vec<String>,
}

fn nodes(num_pods: usize) -> (Vec<Value>, Limits) {
    let (mut nodes, mut limits) = (Vec::new(), Limits::default());
    for (pool, count, instance_type, cores, percent) in POOLS {
        for at in 0..(count * num_pods).div_ceil(FOR_PODS) {
            let name = format!("{pool}-{at:03}");
            let (cpu_milli, memory_mib) = (cores * 1000, cores * 4096);
            let zone = ZONES[at % ZONES.len()];
            let virtual_kubelet = false;
            let shape = NodeShape { instance_type, zone, cpu_milli, memory_mib, virtual_kubelet };
            nodes.push(node(&name, shape));
            let allocation = Sum {
                cpu: cpu_milli * percent / 100,
                memory: memory_mib * percent / 100,
                pods: 110,
            };
            limits.nodes.insert(name, NodeLimit { pool, allocation });
        }
    }
    (nodes, limits)
}

/// A cluster, and who works on it.
struct Site {
    // Dropped in this order.
    scheduler: Scheduler,
    _proxy: Proxy,
    recorder: Recorder,
    sigma: Sigma,
    control_plane: ControlPlane,
}

impl Site {
    async fn start(args: &SoakArgs, variant: Variant) -> Result<Self> {
        let control_plane = ControlPlane::start().await?;
        let api = &control_plane.admin;
        let (nodes, limits) = nodes(args.alive);
        api.post_all(nodes).await?;
        let mut options = SigmaOptions::new(&control_plane, "sigma", POLICY);
        options.deadline = DEADLINE;
        if variant == Variant::SigmaKilled {
            // Where a limit matters more than an answer: before sigma has its lists, nobody is placed.
            options.more.push("--before-sync=reject".to_owned());
        }
        let sigma = Sigma::start(&control_plane, options).await?;
        let recorder = Recorder::start(api, limits).await?;
        let late = match variant {
            Variant::LateStatus => Some(LATE_STATUS),
            Variant::LateWrites => Some(LATE_WRITES),
            Variant::Plain | Variant::SigmaKilled | Variant::ApiserverKilled => None,
        };
        let proxy = late_proxy(&control_plane, late.unwrap_or_default()).await?;
        let mut options = SchedulerOptions::new("sigma", &sigma);
        options.http_timeout = Some(HTTP_TIMEOUT);
        // kube-scheduler's own default.
        options.percentage = None;
        if late.is_some() {
            options.kubeconfig = Some(control_plane.kubeconfig_by("scheduler", &proxy.url)?);
        }
        let scheduler = Scheduler::start(&control_plane, &options).await?;
        Ok(Self { scheduler, _proxy: proxy, recorder, sigma, control_plane })
    }
}

/// One run of a variant.
pub(super) async fn soak_once(args: &SoakArgs, variant: Variant) -> Result<Run> {
    let mut site = Site::start(args, variant).await?;
    let api = site.control_plane.admin.clone();
    let (mut run, mut churn) = (Run::default(), Churn::default());
    if args.prefill {
        churn.fill(&api, args.alive).await?;
    }
    let began = Instant::now();
    let until = began + Duration::from_secs(args.seconds);
    tokio::try_join!(churn.run(&api, args, until), spoil(&mut site, variant, &mut run, until))?;
    sleep(SETTLE).await;
    run.took = began.elapsed();
    site.sigma.process.check()?;
    site.scheduler.process.check()?;
    run.calls.add(&site.sigma).await?;
    run.num_made = churn.num_made;
    let record = site.recorder.record();
    run.num_bindings = record.bindings.len();
    run.num_beyond = record.beyond.len();
    let excess = |it: &&Beyond| ((it.cores - it.limit) * 1000.0) as i64;
    run.worst = record.beyond.iter().max_by_key(excess).cloned();
    run.violations.clone_from(&record.violations);
    run.violations.extend(record.beyond.iter().map(|it| {
        let at = it.at.duration_since(began).as_secs_f64();
        format!("{} was bound at {at:.2} s; kills at {:.1?}", it.pod, run.kills)
    }));
    Ok(run)
}

/// Kills what the variant kills, until then.
async fn spoil(site: &mut Site, variant: Variant, run: &mut Run, until: Instant) -> Result<()> {
    let each = match variant {
        Variant::Plain | Variant::LateStatus | Variant::LateWrites => return Ok(()),
        Variant::SigmaKilled => SIGMA_KILLED_EACH,
        Variant::ApiserverKilled => APISERVER_KILLED_EACH,
    };
    let (began, mut next) = (Instant::now(), Instant::now() + each);
    while next + each / 2 < until {
        sleep_until(next).await;
        if variant == Variant::SigmaKilled {
            run.calls.add(&site.sigma).await?;
        }
        let killed = Instant::now();
        match variant {
            Variant::SigmaKilled => site.sigma.restart().await?,
            _ => site.control_plane.restart_apiserver(DOWN).await?,
        }
        run.kills.push((killed - began, killed.elapsed()));
        next = Instant::now().max(next + each);
    }
    Ok(())
}

/// A way to the API server on which kube-scheduler's status patches and bindings are late.
pub(in crate::cases) async fn late_proxy(
    control_plane: &ControlPlane,
    late: Late,
) -> Result<Proxy> {
    let upstream = Api::from_kubeconfig(&control_plane.kubeconfig("scheduler")).await?;
    let proxy = Proxy::start(upstream).await?;
    *proxy.faults.late.lock().unwrap_or_else(PoisonError::into_inner) = late;
    Ok(proxy)
}
