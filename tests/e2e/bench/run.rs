//! One run: a backlog is made, the extender and kube-scheduler are started and stand by, the clock
//! starts; when all pods are bound, everything but the nodes is removed again.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::backlog::kind_of;
use super::start::Start;
use super::{ActionKind, BenchArgs};
use crate::harness::control_plane::ControlPlane;
use crate::harness::objects::{NodeShape, node};
use crate::harness::process::{Process, free_port};
use crate::harness::recorder::{Limits, Recorder};
use crate::harness::scheduler::{Scheduler, SchedulerOptions};
use crate::harness::sigma::{Sigma, SigmaOptions};
use crate::harness::until;

pub(super) const ZONES: [&str; 3] = ["cn-hangzhou-h", "cn-hangzhou-i", "cn-hangzhou-j"];
/// A label that half of the nodes have, with the value `yes`.
pub(super) const HALF_LABEL: &str = "example.com/half";
/// Slower than one pod a second is not slow but broken.
const LEAST_PODS_PER_SECOND: f64 = 1.0;
/// The scheduler's in-tree share of a pod.
const ALGORITHM: &str = "scheduler_scheduling_algorithm_duration_seconds";
/// Writing 2,000 nominations takes 5 s by default.
const NOMINATED_WITHIN: Duration = Duration::from_secs(60);

/// A control plane with nodes, for all runs.
pub(super) struct Site {
    control_plane: ControlPlane,
    start: Start,
    num_nodes: u32,
    /// To be made for each run.
    pods: Vec<Value>,
    percentage: Option<u32>,
    qps: Option<u32>,
    shortlist: Option<u32>,
}

/// What a run measured.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// From the start of the clock to the last binding.
    pub(crate) pods_per_second: f64,
    /// CPU time of kube-scheduler since then.
    pub(crate) scheduler_ms_per_pod: f64,
    /// CPU time of the extender since it may begin; 0 without one.
    pub(crate) extender_ms_per_pod: f64,
    /// kube-scheduler's own figure: from the pod's turn to the choice of a node.
    pub(crate) algorithm_ms: f64,
    /// What became of the pods, by what they require.
    pub(crate) kinds: BTreeMap<&'static str, Nominator>,
    /// Nodes that sigma chose ahead, with those whose nomination came too late.
    pub(crate) targets: u64,
}

/// How many pods there are, how many of them sigma had nominated ahead, and how many of these are on
/// that node.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub(crate) struct Nominator {
    pub(crate) pods: u64,
    pub(crate) planned: u64,
    pub(crate) landed: u64,
    /// From the binding before to each one's own, added up. kube-scheduler takes one pod after the other, so
    /// this is about what it spent on them.
    pub(crate) ms: f64,
}

/// Who is asked.
enum Extender {
    None,
    Sigma(Box<Sigma>),
    GoEcho(Process, String),
}

impl Site {
    /// Starts the control plane and makes the nodes.
    pub(super) async fn start(args: &BenchArgs) -> Result<Self> {
        let control_plane = ControlPlane::start().await?;
        let shape = NodeShape {
            instance_type: "",
            zone: "",
            cpu_milli: 64_000,
            memory_mib: 262_144,
            virtual_kubelet: false,
        };
        let make = |at: usize| {
            let bare_metal = at.is_multiple_of(5);
            let instance_type = if bare_metal { "ecs.ebmg7.16xlarge" } else { "ecs.g7.16xlarge" };
            let name = format!("cn-hangzhou.10.1{:02}.{}.{}", at % 7, at / 100, 100 + at % 100);
            let mut node =
                node(&name, NodeShape { instance_type, zone: ZONES[at % ZONES.len()], ..shape });
            if at.is_multiple_of(2) {
                node["metadata"]["labels"][HALF_LABEL] = json!("yes");
            }
            node
        };
        let nodes = (0..args.nodes as usize).map(make).collect();
        let api = &control_plane.admin;
        api.post_all(nodes).await.context("making nodes")?;
        let pods = args.backlog.furnish(api, args.pods).await.context("what pods refer to")?;
        let start = Start::new(&api.0);
        let BenchArgs { nodes: num_nodes, percentage, qps, shortlist, .. } = *args;
        Ok(Self { start, num_nodes, pods, percentage, qps, shortlist, control_plane })
    }

    /// A run from an empty cluster to an empty cluster.
    pub(super) async fn run(&self, means: ActionKind) -> Result<Run> {
        let api = &self.control_plane.admin;
        api.post_all(self.pods.clone()).await.context("making pods")?;
        self.start.hold().await?;
        let mut extender = self.extender(means).await?;
        let recorder = Recorder::start(api, Limits::default()).await?;
        let options = SchedulerOptions {
            name: "sigma",
            extender: extender.url(),
            percentage: self.percentage,
            ignorable: false,
            bind: false,
            preempt: true,
            tls: None,
            http_timeout: None,
            verbosity: 1,
            standby: true,
            kubeconfig: None,
        };
        let mut scheduler = Scheduler::start(&self.control_plane, &options).await?;
        let before = (scheduler.process.cpu()?, extender.cpu()?);
        let clock = self.begin(means, &extender, &recorder).await?;
        let num_pods = self.pods.len();
        let within = Duration::from_secs_f64(60.0 + num_pods as f64 / LEAST_PODS_PER_SECOND);
        let bound = async || {
            scheduler.process.check()?;
            extender.check()?;
            let record = recorder.record();
            let last = record.bindings.last().filter(|_| record.bindings.len() >= num_pods);
            Ok(last.map(|it| it.at))
        };
        let (last, _) = until("all pods are bound", within, bound).await?;
        let per_pod = |cpu: Duration| cpu.as_secs_f64() * 1e3 / num_pods as f64;
        let run = Run {
            pods_per_second: num_pods as f64 / (last - clock).as_secs_f64(),
            scheduler_ms_per_pod: per_pod(scheduler.process.cpu()? - before.0),
            extender_ms_per_pod: per_pod(extender.cpu()? - before.1),
            algorithm_ms: scheduler.mean_seconds(ALGORITHM).await? * 1e3,
            kinds: kinds(&recorder, clock),
            targets: extender.targets().await?,
        };
        extender.check_answers(self.num_nodes).await?;
        drop((scheduler, extender, recorder));
        self.clear().await?;
        Ok(run)
    }

    /// Starts the clock: nobody is held back any longer.
    async fn begin(
        &self,
        means: ActionKind,
        extender: &Extender,
        recorder: &Recorder,
    ) -> Result<Instant> {
        let clock = match (means, extender) {
            (ActionKind::SigmaAhead, _) => Some(self.start.sigma().await?),
            (ActionKind::SigmaNominated, Extender::Sigma(sigma)) => {
                self.start.sigma().await?;
                let nominated = async || {
                    let backlog = sigma.metric("sigma_nominator_backlog_pods", "").await? as usize;
                    let planned = recorder.record().num_planned();
                    Ok((backlog > 0 && planned == backlog).then_some(()))
                };
                until("all are nominated that can be", NOMINATED_WITHIN, nominated).await?;
                None
            }
            _ => None,
        };
        let scheduler = self.start.scheduler().await?;
        Ok(clock.unwrap_or(scheduler))
    }

    async fn extender(&self, means: ActionKind) -> Result<Extender> {
        if let Some(policy) = means.policy(self.shortlist) {
            let mut options = SigmaOptions::new(&self.control_plane, &means.name(), &policy);
            if matches!(means, ActionKind::SigmaAhead | ActionKind::SigmaNominated) {
                options.more = ["--lease-namespace=kube-system", "--scheduler-name=sigma"]
                    .map(str::to_owned)
                    .into();
                options.more.extend(self.qps.map(|it| format!("--nominations-per-second={it}")));
            }
            return Ok(Extender::Sigma(Box::new(
                Sigma::start(&self.control_plane, options).await?,
            )));
        }
        if means == ActionKind::None {
            return Ok(Extender::None);
        }
        let program =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/go-echo/bin/go-echo");
        ensure!(program.exists(), "{} is missing: benches/peers/go-echo/build", program.display());
        let addr = format!("127.0.0.1:{}", free_port()?);
        let args = ["--listen".to_owned(), addr.clone()];
        let dir = self.control_plane.dir.path();
        let process = Process::start(dir, &means.name(), &program, &args, &[])?;
        Ok(Extender::GoEcho(process, format!("http://{addr}")))
    }

    /// Removes all pods, as kubelets would.
    async fn clear(&self) -> Result<()> {
        let api = &self.control_plane.admin;
        let path = "/api/v1/namespaces/default/pods";
        api.delete(path, &json!({"gracePeriodSeconds": 0})).await?;
        let empty = async || Ok(api.pods(None).await?.is_empty().then_some(()));
        until("all pods are gone", Duration::from_secs(60), empty).await.map(drop)
    }
}

impl Extender {
    fn url(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Sigma(sigma) => Some(sigma.url()),
            Self::GoEcho(_, url) => Some(url.clone()),
        }
    }

    fn process(&mut self) -> Option<&mut Process> {
        match self {
            Self::None => None,
            Self::Sigma(sigma) => Some(&mut sigma.process),
            Self::GoEcho(process, _) => Some(process),
        }
    }

    fn check(&mut self) -> Result<()> {
        self.process().map_or(Ok(()), Process::check)
    }

    fn cpu(&mut self) -> Result<Duration> {
        self.process().map_or(Ok(Duration::ZERO), |process| process.cpu())
    }

    /// How many nodes sigma has chosen ahead.
    async fn targets(&self) -> Result<u64> {
        match self {
            Self::Sigma(sigma) => sigma.metric("sigma_nominator_targets_total", "").await,
            _ => Ok(0),
        }
    }

    /// A figure is worth nothing when something else than decisions was measured.
    async fn check_answers(&self, num_nodes: u32) -> Result<()> {
        let Self::Sigma(sigma) = self else { return Ok(()) };
        for result in ["error", "degraded"] {
            let label = format!("result=\"{result}\"");
            let count = sigma.metric("sigma_verb_results_total", &label).await?;
            ensure!(count == 0, "{count} answers of sigma are {result}, with {num_nodes} nodes");
        }
        Ok(())
    }
}

/// What became of the pods, by what they require.
fn kinds(recorder: &Recorder, clock: Instant) -> BTreeMap<&'static str, Nominator> {
    let (mut kinds, mut before) = (BTreeMap::new(), clock);
    for it in &recorder.record().bindings {
        let kind: &mut Nominator = kinds.entry(kind_of(&it.pod)).or_default();
        kind.add(&Nominator {
            pods: 1,
            planned: u64::from(it.planned.is_some()),
            landed: u64::from(it.planned.as_deref() == Some(&*it.node)),
            ms: (it.at - before).as_secs_f64() * 1e3,
        });
        before = it.at;
    }
    kinds
}

impl Nominator {
    pub(super) fn add(&mut self, more: &Self) {
        self.pods += more.pods;
        self.planned += more.planned;
        self.landed += more.landed;
        self.ms += more.ms;
    }
}
