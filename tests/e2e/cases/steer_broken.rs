//! A steer that is broken off: sigma is killed at each of its steps, its target is lost, its pod is
//! deleted. Nodes are offered by default sampling.
//!
//! ```text
//! sigma ───────── faults::Proxy ── harness::Proxy ── kube-apiserver
//! kube-scheduler ─ faults::Proxy ── harness::Proxy ──────┘
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::Facts;
use super::steer::{plain_node, steers};
use crate::faults::{self, Fault};
use crate::harness::api::{Api, node_of};
use crate::harness::control_plane::ControlPlane;
use crate::harness::objects::{PodShape, pod};
use crate::harness::proxy::Proxy;
use crate::harness::recorder::{Limits, NodeLimit, Recorder, Sum};
use crate::harness::scheduler::{Scheduler, SchedulerOptions};
use crate::harness::sigma::{Sigma, SigmaOptions};
use crate::harness::until;

/// kube-scheduler offers 420 of them.
const NUM_NODES: usize = 1000;
/// The node that a pod is steered to, with room for one pod of the cases: what a steer left behind
/// would keep the next one from it.
const HOME: &str = "n-000";
/// kube-scheduler hears of pods so much later: a refused pod does not come back before it is frozen.
const DEAF_MS: u64 = 300;
/// sigma's patch is kept so long from the server: time to freeze who must not go on.
const HOLD: Duration = Duration::from_millis(150);
/// Longer than the case.
const FOR_EVER: Duration = Duration::from_secs(3600);
/// Most pods until one is not offered its home, of 0.42 each. Together they take less than the 30 s for
/// which a hold that is left behind would keep them from it.
const TRIES: usize = 12;

/// A step of a steer, after which sigma is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The pod was sent away, and the patch has not reached the server.
    Refused,
    /// The patch is written, and its answer has not reached sigma.
    Sent,
    /// Its answer has, and kube-scheduler has not heard of it.
    Written,
    /// The target was accepted, and the binding has not reached the server.
    Accepted,
    Bound,
}

const STEPS: [Step; 5] = [Step::Refused, Step::Sent, Step::Written, Step::Accepted, Step::Bound];

/// Whose pods go where: `strict` cannot do without sigma, `lenient` can.
#[derive(Clone, Copy)]
struct Who {
    scheduler: &'static str,
    namespace: &'static str,
}

const STRICT: Who = Who { scheduler: "strict", namespace: "online" };
const LENIENT: Who = Who { scheduler: "lenient", namespace: "offline" };

/// Pods of the class may have the one node and no other.
const ONLY: &str = "
apiVersion: sigma.io/v1alpha1
kind: SchedulingPolicy
metadata: {name: only}
pools:
- {name: home, match: {labels: {pool: home}}, allocation: {cpu: 15%}}
- {name: rest, match: {labels: {pool: rest}}}
classes:
- name: bound
  pools: [home]
  grant: {priorityClasses: [prod-high], namespaces: {names: [online, offline]}}
- {name: default, pools: [rest]}
";

/// Pods may go anywhere, and are best off on the one node.
const BETTER: &str = "
apiVersion: sigma.io/v1alpha1
kind: SchedulingPolicy
metadata: {name: better}
pools:
- {name: home, match: {labels: {pool: home}}, allocation: {cpu: 15%}}
- {name: rest, match: {labels: {pool: rest}}}
classes:
- {name: default, pools: [home, rest]}
steering:
  default: {steer: {better: {margin: 10%, perSecond: 100}}}
";

struct Site {
    sigma: Sigma,
    schedulers: Vec<Scheduler>,
    to_sigma: faults::Proxy,
    to_scheduler: faults::Proxy,
    _secured: [Proxy; 2],
    recorder: Recorder,
    api: Api,
    num_pods: usize,
    _control_plane: ControlPlane,
}

impl Site {
    async fn start(policy: &str) -> Result<Self> {
        let control_plane = ControlPlane::start().await?;
        let api = control_plane.admin.clone();
        let mut limits = Limits { orders: [("online", vec!["home"])].into(), ..Limits::default() };
        if policy == BETTER {
            limits.orders.clear();
        }
        for at in 0..NUM_NODES {
            let (pool, cpu) = if at == 0 { ("home", 600) } else { ("rest", 4000) };
            let allocation = Sum { cpu, memory: 16_384, pods: 110 };
            limits.nodes.insert(format!("n-{at:03}"), NodeLimit { pool, allocation });
        }
        let nodes = limits.nodes.iter().map(|(name, it)| plain_node(name, ("pool", Some(it.pool))));
        api.post_all(nodes.collect()).await?;
        let secured =
            [way(&control_plane, "sigma").await?, way(&control_plane, "scheduler").await?];
        let [to_sigma, to_scheduler] =
            [0, 1].map(|at: usize| faults::Proxy::start(secured[at].port));
        secured[1].faults.delay_ms.store(DEAF_MS, Ordering::Relaxed);
        let by = |user, proxy: &faults::Proxy| {
            control_plane.kubeconfig_by(user, &format!("http://127.0.0.1:{}", proxy.port))
        };
        let options = SigmaOptions {
            kubeconfig: by("sigma", &to_sigma)?,
            knows_scheduler: true,
            // Its answer before it has the whole picture would be one without any limit.
            more: vec!["--not-ready=reject".to_owned()],
            ..SigmaOptions::new(&control_plane, "sigma", policy)
        };
        let sigma = Sigma::start(&control_plane, options).await?;
        steers(&sigma).await?;
        let recorder = Recorder::start(&api, limits).await?;
        let mut schedulers = Vec::new();
        for who in [STRICT, LENIENT] {
            let options = SchedulerOptions {
                percentage: None,
                ignorable: who.scheduler == LENIENT.scheduler,
                kubeconfig: Some(by("scheduler", &to_scheduler)?),
                ..SchedulerOptions::new(who.scheduler, &sigma)
            };
            schedulers.push(Scheduler::start(&control_plane, &options).await?);
        }
        Ok(Self {
            sigma,
            schedulers,
            to_sigma,
            to_scheduler,
            _secured: secured,
            recorder,
            api,
            num_pods: 0,
            _control_plane: control_plane,
        })
    }

    /// Makes pods until one is steered, of which sigma's patch is on its way: it reaches the server after
    /// a while. Those that are offered their home are bound and deleted.
    async fn steer(&mut self, who: Who, hold: Duration) -> Result<String> {
        for _ in 0..TRIES {
            self.num_pods += 1;
            let name = format!("p-{:04}", self.num_pods);
            let patch = format!("PATCH /api/v1/namespaces/{}/pods/{name}/", who.namespace);
            self.to_sigma.spoil(&patch, 1, Fault::Late(hold));
            let shape = PodShape {
                namespace: who.namespace,
                scheduler: who.scheduler,
                priority_class: "prod-high",
                cpu_milli: 500,
                ..PodShape::PLAIN
            };
            let path = format!("/api/v1/namespaces/{}/pods", who.namespace);
            self.api.post(&path, &pod(&name, &shape)).await?;
            let look = async || {
                if self.to_sigma.asked(&patch) > 0 {
                    return Ok(Some(true));
                }
                Ok(node_of(&self.api.pod(who.namespace, &name).await?).map(|_| false))
            };
            let (is_steered, _) =
                until("it is steered or bound", Duration::from_secs(20), look).await?;
            if is_steered {
                return Ok(name);
            }
            self.remove(who, &name).await?;
        }
        bail!("none of {TRIES} pods is steered")
    }

    /// Deletes a pod, and waits until everybody has heard of it.
    async fn remove(&self, who: Who, name: &str) -> Result<()> {
        self.api.delete_pod(who.namespace, name).await?;
        sleep(Duration::from_millis(DEAF_MS)).await;
        let look = async || {
            let steered = self.sigma.metric("sigma_steered_pods", "").await?;
            let nominated =
                self.sigma.metric("sigma_state_objects", "kind=\"nominations\"").await?;
            Ok((steered + nominated == 0).then_some(()))
        };
        until("nothing is left of it", Duration::from_secs(5), look).await.map(drop)
    }

    /// Freezes kube-scheduler, and waits until the pod's patch is written.
    async fn nominated(&self, who: Who, name: &str) -> Result<()> {
        self.to_scheduler.freeze(true);
        let look = async || {
            let pod = self.api.pod(who.namespace, name).await?;
            ensure!(node_of(&pod).is_none(), "{name} is bound before it is nominated");
            Ok((pod["status"]["nominatedNodeName"] == HOME).then_some(()))
        };
        until("the nomination is written", Duration::from_secs(5), look).await.map(drop)
    }

    fn thaw(&self) {
        self.to_sigma.freeze(false);
        self.to_scheduler.freeze(false);
    }

    async fn steers_honoured(&self) -> Result<u64> {
        self.sigma.metric("sigma_steers_total", "outcome=\"honoured\"").await
    }

    async fn written(&self) -> Result<u64> {
        self.sigma.metric("sigma_actions_total", "means=\"steer\",outcome=\"written\"").await
    }

    /// Brings a steer to a step, and kills sigma there.
    async fn kill_at(&mut self, step: Step, who: Who, seed: u64) -> Result<String> {
        let hold = if step == Step::Refused { FOR_EVER } else { HOLD };
        let (honoured, written) = (self.steers_honoured().await?, self.written().await?);
        let name = self.steer(who, hold).await?;
        let is_seen = async || Ok((self.written().await? > written).then_some(()));
        match step {
            Step::Refused => {}
            Step::Sent => {
                self.to_sigma.freeze(true);
                self.nominated(who, &name).await?;
                ensure!(self.written().await? == written, "the answer has reached sigma");
            }
            Step::Written => {
                self.nominated(who, &name).await?;
                until("sigma has its answer", Duration::from_secs(5), is_seen).await?;
            }
            Step::Accepted => {
                let binding = format!("/{name}/binding");
                // It arrives after all, or never does; of two visits to this step, one each.
                let fault = match seed % 2 {
                    0 => Fault::Late(Duration::from_millis(500)),
                    _ => Fault::Refused(500, 0),
                };
                self.to_scheduler.spoil(&binding, 1, fault);
                let look = async || Ok((self.to_scheduler.asked(&binding) > 0).then_some(()));
                until("the binding is on its way", Duration::from_secs(10), look).await?;
            }
            Step::Bound => drop(self.bound(who, &name, Duration::from_secs(10)).await?),
        }
        if matches!(step, Step::Accepted | Step::Bound) {
            let look = async || Ok((self.steers_honoured().await? > honoured).then_some(()));
            until("the steer is honoured", Duration::from_secs(1), look).await?;
        }
        sleep(Duration::from_millis(seed * 7 % 30)).await;
        self.sigma.process.kill();
        self.thaw();
        Ok(name)
    }

    async fn bound(&self, who: Who, name: &str, within: Duration) -> Result<(Value, Duration)> {
        let look = async || {
            let pod = self.api.pod(who.namespace, name).await?;
            Ok(node_of(&pod).is_some().then_some(pod))
        };
        until(&format!("{name} is bound"), within, look).await
    }

    fn check(&mut self) -> Result<()> {
        let record = self.recorder.record();
        ensure!(record.violations.is_empty(), "{:?}", record.violations);
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for it in &record.bindings {
            *times.entry(&it.pod).or_default() += 1;
        }
        ensure!(times.values().all(|it| *it == 1), "bound twice: {times:?}");
        drop(times);
        drop(record);
        self.schedulers.iter_mut().try_for_each(|it| it.process.check())
    }
}

/// A way to the server with somebody's rights.
async fn way(control_plane: &ControlPlane, user: &str) -> Result<Proxy> {
    Proxy::start(Api::from_kubeconfig(&control_plane.kubeconfig(user)).await?).await
}

/// How often sigma is killed, at one step after the other: `SIGMA_SEEDS`, or as often as every run can
/// wait for.
fn seeds() -> Result<u64> {
    let text = std::env::var("SIGMA_SEEDS").unwrap_or_else(|_| "10".to_owned());
    text.parse().with_context(|| format!("SIGMA_SEEDS={text}"))
}

/// Sigma is killed at each step; the pod is bound to its home once sigma is there again, and to some
/// node by the kube-scheduler that can do without sigma.
pub(super) async fn killed() -> Result<Facts> {
    let mut site = Site::start(ONLY).await?;
    let seeds = seeds()?;
    let within = Duration::from_secs(30);
    let mut most: BTreeMap<Step, Duration> = BTreeMap::new();
    for (seed, step) in (0..seeds).zip(STEPS.into_iter().cycle()) {
        let name = site.kill_at(step, STRICT, seed).await.with_context(|| format!("{step:?}"))?;
        site.sigma.restart().await?;
        let bound = site.bound(STRICT, &name, within).await;
        let (pod, took) = bound.with_context(|| format!("{step:?}, seed {seed}"))?;
        ensure!(node_of(&pod) == Some(HOME), "{step:?}: {name} is on {:?}", node_of(&pod));
        let longest = most.entry(step).or_default();
        *longest = took.max(*longest);
        steers(&site.sigma).await?;
        site.remove(STRICT, &name).await?;
    }
    let mut alone = Duration::ZERO;
    for step in STEPS {
        let name = site.kill_at(step, LENIENT, 0).await.with_context(|| format!("{step:?}"))?;
        let bound = site.bound(LENIENT, &name, within).await;
        alone = alone.max(bound.with_context(|| format!("{step:?}, without sigma"))?.1);
        site.sigma.restart().await?;
        steers(&site.sigma).await?;
        site.remove(LENIENT, &name).await?;
    }
    site.check()?;
    let most = most.iter().map(|(step, took)| format!("{step:?} {:.1} s", took.as_secs_f64()));
    let most: Vec<String> = most.collect();
    Ok(vec![format!(
        "{} times killed; all bound once, to the one node, at the latest after sigma is back: {}; \
         {:.1} s where kube-scheduler goes on alone",
        seeds + 5,
        most.join(", "),
        alone.as_secs_f64()
    )])
}

/// The target is deleted, cordoned or filled when it is nominated and kube-scheduler has not heard of it.
pub(super) async fn lost() -> Result<Facts> {
    let mut site = Site::start(BETTER).await?;
    let home = format!("/api/v1/nodes/{HOME}");
    let mut facts = Facts::new();
    for loss in ["deleted", "cordoned", "filled"] {
        let name = site.steer(STRICT, HOLD).await?;
        site.nominated(STRICT, &name).await?;
        let filler = PodShape {
            namespace: "plain",
            scheduler: "another",
            cpu_milli: 3900,
            on: Some(HOME),
            ..PodShape::PLAIN
        };
        match loss {
            "deleted" => site.api.delete(&home, &json!({})).await?,
            "cordoned" => {
                drop(site.api.merge(&home, &json!({"spec": {"unschedulable": true}})).await?)
            }
            _ => site.api.post_all(vec![pod("filler", &filler)]).await?,
        }
        site.thaw();
        let (pod, took) = site.bound(STRICT, &name, Duration::from_secs(5)).await?;
        let node = node_of(&pod).context("a node")?;
        ensure!(node != HOME, "{loss}: {name} is on the node that is lost");
        let nominated = &pod["status"]["nominatedNodeName"];
        ensure!(nominated.is_null() || *nominated == node, "{loss}: {name} claims {nominated}");
        site.remove(STRICT, &name).await.context(loss)?;
        facts.push(format!("{loss}: bound elsewhere after {:.2} s", took.as_secs_f64()));
        match loss {
            "deleted" => site.api.post_all(vec![plain_node(HOME, ("pool", Some("home")))]).await?,
            "cordoned" => {
                drop(site.api.merge(&home, &json!({"spec": {"unschedulable": null}})).await?)
            }
            _ => site.api.delete_pod("plain", "filler").await?,
        }
        sleep(Duration::from_millis(2 * DEAF_MS)).await;
    }
    facts.push(deleted_pods(&mut site).await?);
    Ok(facts)
}

/// Pods that are deleted on their way leave nothing: the home, which takes one pod, is free at once.
async fn deleted_pods(site: &mut Site) -> Result<String> {
    for is_written in [false, true] {
        let name = site.steer(STRICT, HOLD).await?;
        if is_written {
            site.nominated(STRICT, &name).await?;
        }
        site.api.delete_pod(STRICT.namespace, &name).await?;
        site.thaw();
        let next = site.steer(STRICT, HOLD).await?;
        let (pod, _) = site.bound(STRICT, &next, Duration::from_secs(5)).await?;
        ensure!(node_of(&pod) == Some(HOME), "{next} is on {:?}, not at home", node_of(&pod));
        site.remove(STRICT, &next).await?;
    }
    Ok("2 pods are deleted on their way, and the next has the node at once".to_owned())
}
