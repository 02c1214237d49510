//! A nomination that kube-scheduler's own preemption has made is left alone: sigma steers others and
//! nominates a backlog ahead around it, knows a better node for the pod, is asked about it again and
//! again, and touches it not.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::Facts;
use super::steer::{plain_node, steers};
use crate::faults;
use crate::harness::api::{Api, node_of};
use crate::harness::control_plane::ControlPlane;
use crate::harness::objects::{PodShape, pod};
use crate::harness::proxy::Proxy;
use crate::harness::recorder::{Limits, Nomination, Recorder};
use crate::harness::scheduler::{Scheduler, SchedulerOptions};
use crate::harness::sigma::{Sigma, SigmaOptions};
use crate::harness::until;
use crate::harness::volumes::{self, DRIVER};

/// Nodes that the pod of high priority may go to, each full of one resident.
const HOMES: usize = 4;
/// Nodes of everybody else; kube-scheduler offers 120 of all.
const REST: usize = 245;
/// They fit two to a node, and not beside the pod of high priority. Fewer than the actions that sigma
/// remembers of one means.
const BACKLOG: usize = 200;
/// Each has one node only, all the same one, which is mostly not offered.
const STEERED: usize = 20;
/// A nomination of sigma's that is older is taken back; sigma looks every second.
const TTL: Duration = Duration::from_secs(5);
const WITHIN: Duration = Duration::from_secs(30);
const FIRST: &str = "first";

const POLICY: &str = "
apiVersion: sigma.io/v1alpha1
kind: SchedulingPolicy
metadata: {name: preemption}
pools:
- {name: home, match: {labels: {pool: home}}}
- {name: one, match: {labels: {pool: one}}}
- {name: rest, match: {labels: {pool: rest}}}
classes:
- name: high
  pools: [home]
  grant: {priorityClasses: [prod-high], namespaces: {names: [online]}}
- name: single
  pools: [one]
  grant: {priorityClasses: [prod-normal], namespaces: {names: [online]}}
- {name: default, pools: [rest]}
steering:
  nominateAhead: {minBacklog: 50, ttlSeconds: 5}
";

/// What is there, and who acts.
struct Site {
    sigma: Sigma,
    scheduler: Scheduler,
    to_scheduler: faults::Proxy,
    recorder: Recorder,
    api: Api,
    _secured: Proxy,
    _control_plane: ControlPlane,
}

pub(super) async fn left_alone() -> Result<Facts> {
    let mut site = Site::start().await?;
    let node = site.preempt().await?;
    let since = Instant::now();
    // kube-scheduler evicts them after it has nominated.
    let evicted = async || Ok(Some(site.victims().await?).filter(|it| !it.is_empty()));
    let (victims, _) = until("a victim is evicted", WITHIN, evicted).await?;
    // From now on sigma would have the pod elsewhere, and kube-scheduler would not.
    for object in decoy() {
        site.api.post_all(vec![object]).await?;
    }
    let asked = async || Ok((site.unsteered("nominated").await? > 0).then_some(()));
    until("sigma is asked about the nominated pod", WITHIN, asked).await?;
    let planned = site.backlog().await?;
    let steered = site.steer().await?;
    sleep_until(since + TTL + Duration::from_secs(3)).await;

    let seen = site.api.pod("online", FIRST).await?;
    ensure!(node_of(&seen).is_none(), "bound before its victims are gone: {seen}");
    ensure!(seen["status"]["nominatedNodeName"] == *node, "not nominated any more: {seen}");
    for name in &victims {
        site.api.delete_pod("offline", name).await?;
    }
    let freed = Instant::now();
    let look = async || {
        let seen = site.api.pod("online", FIRST).await?;
        Ok(node_of(&seen).map(str::to_owned))
    };
    let (landed, _) = until("the pod is bound", WITHIN, look).await?;
    ensure!(landed == node, "it is on {landed}, and was nominated to {node}");
    site.check(&node).await?;
    let died = site.victims().await?;
    ensure!(died.is_empty() && victims.len() == 1, "victims: {victims:?}, and then {died:?}");
    Ok(vec![format!(
        "nominated to {node} by kube-scheduler's preemption and left alone for {:.1} s, while {planned} pods \
         were nominated ahead and {steered} steered around it and sigma refused it {} times without \
         a steer; on {node} {:.2} s after its victim is gone",
        (freed - since).as_secs_f64(),
        site.unsteered("nominated").await?,
        freed.elapsed().as_secs_f64(),
    )])
}

impl Site {
    async fn start() -> Result<Self> {
        let control_plane = ControlPlane::start().await?;
        let api = control_plane.admin.clone();
        api.post_all(furniture()).await?;
        let residents = (0..HOMES).map(|at| {
            let shape = PodShape {
                namespace: "offline",
                priority_class: "batch-low",
                cpu_milli: 3900,
                on: Some(&format!("home-{at}")),
                ..PodShape::PLAIN
            };
            pod(&format!("resident-{at}"), &shape)
        });
        api.post_all(residents.collect()).await?;
        let recorder = Recorder::start(&api, Limits::default()).await?;
        let more = ["--lease-namespace=kube-system", "--scheduler-name=sigma"].map(str::to_owned);
        let options = SigmaOptions {
            knows_scheduler: true,
            more: more.into(),
            ..SigmaOptions::new(&control_plane, "sigma", POLICY)
        };
        let sigma = Sigma::start(&control_plane, options).await?;
        steers(&sigma).await?;
        let upstream = Api::from_kubeconfig(&control_plane.kubeconfig("scheduler")).await?;
        let secured = Proxy::start(upstream).await?;
        let to_scheduler = faults::Proxy::start(secured.port);
        let server = format!("http://127.0.0.1:{}", to_scheduler.port);
        let options = SchedulerOptions {
            percentage: None,
            kubeconfig: Some(control_plane.kubeconfig_by("scheduler", &server)?),
            ..SchedulerOptions::new("sigma", &sigma)
        };
        let scheduler = Scheduler::start(&control_plane, &options).await?;
        Ok(Self {
            sigma,
            scheduler,
            to_scheduler,
            recorder,
            api,
            _secured: secured,
            _control_plane: control_plane,
        })
    }

    /// A pod of high priority comes, for which there is no room; gives where preemption nominates it.
    async fn preempt(&self) -> Result<String> {
        let shape = PodShape {
            namespace: "online",
            priority_class: "prod-high",
            cpu_milli: 3000,
            ..PodShape::PLAIN
        };
        volumes::bound(&self.api, "online", FIRST, None).await?;
        let mut first = pod(FIRST, &shape);
        first["spec"]["volumes"] =
            json!([{"name": "data", "persistentVolumeClaim": {"claimName": FIRST}}]);
        self.api.post("/api/v1/namespaces/online/pods", &first).await?;
        let look = async || {
            let seen = self.api.pod("online", FIRST).await?;
            Ok(seen["status"]["nominatedNodeName"].as_str().map(str::to_owned))
        };
        until("preemption nominates", WITHIN, look).await.map(|(node, _)| node)
    }

    /// Residents on their way out. There is no kubelet that would end them.
    async fn victims(&self) -> Result<BTreeSet<String>> {
        let pods = self.api.pods(Some("offline")).await?;
        let leave = pods.iter().filter(|it| it["metadata"]["deletionTimestamp"].is_string());
        Ok(leave.filter_map(|it| it["metadata"]["name"].as_str()).map(str::to_owned).collect())
    }

    async fn unsteered(&self, why: &str) -> Result<u64> {
        self.sigma.metric("sigma_not_steered_total", &format!("reason=\"{why}\"")).await
    }

    /// A standing backlog is nominated ahead and bound; gives how many pods were nominated.
    async fn backlog(&self) -> Result<u64> {
        self.to_scheduler.freeze(true);
        let shape = PodShape { namespace: "plain", cpu_milli: 1500, ..PodShape::PLAIN };
        let pods = (0..BACKLOG).map(|at| pod(&format!("b-{at:03}"), &shape));
        self.api.post_all(pods.collect()).await?;
        let written = async || {
            let label = "kind=\"nominate_ahead\",outcome=\"written\"";
            let written = self.sigma.metric("sigma_actions_total", label).await?;
            Ok((written >= BACKLOG as u64 / 2).then_some(()))
        };
        until("half of the backlog is nominated", WITHIN, written).await?;
        let spared = self.sigma.metric("sigma_nominator_unplanned_pods", "reason=\"nominated\"");
        let spared = spared.await?;
        self.to_scheduler.freeze(false);
        let bound = async || {
            let pods = self.api.pods(Some("plain")).await?;
            Ok(pods.iter().all(|it| node_of(it).is_some()).then_some(()))
        };
        until("the backlog is bound", WITHIN, bound).await?;
        ensure!(spared == 1, "{spared} pods are not planned since they are nominated");
        self.sigma.metric("sigma_nominator_targets_total", "").await
    }

    /// Pods with one node each come one after the other; gives how many were steered.
    async fn steer(&self) -> Result<u64> {
        let shape = PodShape {
            namespace: "online",
            priority_class: "prod-normal",
            cpu_milli: 100,
            ..PodShape::PLAIN
        };
        for at in 0..STEERED {
            let next = pod(&format!("s-{at:02}"), &shape);
            self.api.post("/api/v1/namespaces/online/pods", &next).await?;
            sleep(Duration::from_millis(50)).await;
        }
        let bound = async || {
            let pods = self.api.pods(Some("online")).await?;
            let bound = pods.iter().filter(|it| node_of(it) == Some("one")).count();
            Ok((bound == STEERED).then_some(()))
        };
        until("all are on their one node", WITHIN, bound).await?;
        let steered = self.sigma.metric("sigma_steers_total", "outcome=\"honoured\"").await?;
        ensure!(steered > 0, "nobody was steered");
        Ok(steered)
    }

    async fn check(&mut self, node: &str) -> Result<()> {
        self.sigma.process.check()?;
        self.scheduler.process.check()?;
        let seen = self.recorder.record().nominations.get(FIRST).cloned().unwrap_or_default();
        let by = "kube-scheduler".to_owned();
        ensure!(seen == [Nomination { node: Some(node.to_owned()), by }], "nominations: {seen:?}");
        // Nor has it tried: a fence alone would have kept it from it.
        let page = self.sigma.page("/api/v1/actions").await?;
        let means = page.as_array().context("no array of means")?;
        let actions = means.iter().filter_map(|it| it["actions"].as_array()).flatten();
        let tried: Vec<_> =
            actions.filter(|it| it["name"] == FIRST && it["write"] != "requeue").collect();
        ensure!(tried.is_empty(), "sigma would have written: {tried:?}");
        Ok(())
    }
}

fn furniture() -> Vec<Value> {
    let homes = (0..HOMES).map(|at| (format!("home-{at}"), "home"));
    let rest = (0..REST).map(|at| (format!("rest-{at:03}"), "rest"));
    let nodes = homes.chain(rest).chain([("one".to_owned(), "one")]);
    let nodes = nodes.map(|(name, pool)| plain_node(&name, ("pool", Some(pool))));
    nodes.collect()
}

/// An empty node of the pool that can attach no volume. Only kube-scheduler knows of that (plugin
/// NodeVolumeLimits).
fn decoy() -> Vec<Value> {
    let drivers = json!([{"name": DRIVER, "nodeID": "decoy", "allocatable": {"count": 0}}]);
    let limits = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": "decoy"},
        "spec": {"drivers": drivers},
    });
    // The limit is there before anybody hears of the node.
    vec![limits, plain_node("decoy", ("pool", Some("home")))]
}
