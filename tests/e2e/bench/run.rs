//! One run: a backlog is made, the extender is started, the scheduler last; when all pods are bound,
//! everything but the nodes is removed again.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::Means;
use crate::harness::control_plane::ControlPlane;
use crate::harness::objects::{NodeShape, PodShape, node, pod};
use crate::harness::process::{Process, free_port};
use crate::harness::recorder::{Limits, Recorder};
use crate::harness::scheduler::{Scheduler, SchedulerOptions};
use crate::harness::sigma::{Sigma, SigmaOptions};
use crate::harness::until;

const ZONES: [&str; 3] = ["cn-hangzhou-h", "cn-hangzhou-i", "cn-hangzhou-j"];
/// Slower than one pod a second is not slow but broken.
const LEAST_PODS_PER_SECOND: f64 = 1.0;
/// The scheduler's in-tree share of a pod.
const ALGORITHM: &str = "scheduler_scheduling_algorithm_duration_seconds";

/// A control plane with nodes, for all runs.
pub(super) struct Site {
    control_plane: ControlPlane,
    num_nodes: u32,
}

/// What a run measured.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Over the middle 80 % of the bindings.
    pub(crate) pods_per_second: f64,
    /// CPU time of kube-scheduler.
    pub(crate) scheduler_ms_per_pod: f64,
    /// CPU time of the extender; 0 without one.
    pub(crate) extender_ms_per_pod: f64,
    /// kube-scheduler's own figure: from the pod's turn to the choice of a node.
    pub(crate) algorithm_ms: f64,
}

/// Who is asked.
enum Extender {
    None,
    Sigma(Box<Sigma>),
    GoEcho(Process, String),
}

impl Site {
    /// Starts the control plane and makes the nodes.
    pub(super) async fn start(num_nodes: u32) -> Result<Self> {
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
            node(&name, NodeShape { instance_type, zone: ZONES[at % ZONES.len()], ..shape })
        };
        let nodes = (0..num_nodes as usize).map(make).collect();
        control_plane.admin.post_all(nodes).await.context("making nodes")?;
        Ok(Self { control_plane, num_nodes })
    }

    /// A run from an empty cluster to an empty cluster.
    pub(super) async fn run(
        &self,
        means: Means,
        num_pods: u32,
        percentage: Option<u32>,
    ) -> Result<Run> {
        let api = &self.control_plane.admin;
        let shape = PodShape { tolerates_virtual: false, ..PodShape::PLAIN };
        let pods = (0..num_pods).map(|at| pod(&format!("p-{at:05}"), &shape)).collect();
        api.post_all(pods).await.context("making pods")?;
        let mut extender = self.extender(means).await?;
        let recorder = Recorder::start(api, Limits::default()).await?;
        let before = extender.cpu()?;
        let options = SchedulerOptions {
            name: "sigma",
            extender: extender.url(),
            percentage,
            ignorable: false,
            bind: false,
            tls: None,
            verbosity: 1,
        };
        let mut scheduler = Scheduler::start(&self.control_plane, &options).await?;
        let within = Duration::from_secs_f64(60.0 + f64::from(num_pods) / LEAST_PODS_PER_SECOND);
        let bound = async || {
            scheduler.process.check()?;
            extender.check()?;
            Ok((recorder.record().bindings.len() >= num_pods as usize).then_some(()))
        };
        until("all pods are bound", within, bound).await?;
        let per_pod = |cpu: Duration| cpu.as_secs_f64() * 1e3 / f64::from(num_pods);
        let run = Run {
            pods_per_second: middle_rate(&recorder)?,
            scheduler_ms_per_pod: per_pod(scheduler.process.cpu()?),
            extender_ms_per_pod: per_pod(extender.cpu()? - before),
            algorithm_ms: scheduler.mean_seconds(ALGORITHM).await? * 1e3,
        };
        extender.check_answers(self.num_nodes).await?;
        drop((scheduler, extender, recorder));
        self.clear().await?;
        Ok(run)
    }

    async fn extender(&self, means: Means) -> Result<Extender> {
        if let Some(policy) = means.policy() {
            let mut options = SigmaOptions::new(&self.control_plane, &means.name(), policy);
            if means == Means::SigmaAhead {
                options.more = ["--lease-namespace=kube-system", "--scheduler-name=sigma"]
                    .map(str::to_owned)
                    .into();
            }
            return Ok(Extender::Sigma(Box::new(
                Sigma::start(&self.control_plane, options).await?,
            )));
        }
        if means == Means::None {
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
        // A sigma that was killed has not given it back, and the next one would wait it out.
        let path = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
        let lease = format!("{path}?fieldSelector=metadata.name=sigma");
        api.delete_all(&lease, &json!({})).await?;
        let path = "/api/v1/namespaces/default/pods";
        api.delete_all(path, &json!({"gracePeriodSeconds": 0})).await?;
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

/// Bindings a second between the first tenth and the last.
fn middle_rate(recorder: &Recorder) -> Result<f64> {
    let record = recorder.record();
    let count = record.bindings.len();
    let (first, last) = (count / 10, count - 1 - count / 10);
    let took = record.bindings[last].at - record.bindings[first].at;
    ensure!(!took.is_zero(), "{count} pods were bound at once");
    Ok((last - first) as f64 / took.as_secs_f64())
}
