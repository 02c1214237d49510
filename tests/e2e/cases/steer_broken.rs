//! A steer that is broken off: sigma is killed at each of its steps. Nodes are offered by default
//! sampling. What else may break it off is in `steer_lost`.
//!
//! ```text
//! sigma ───────── faults::Proxy ── harness::Proxy ── kube-apiserver
//! kube-scheduler ─ faults::Proxy ── harness::Proxy ──────┘
//! kube-scheduler ─ faults::Proxy ── sigma, where its answers are held up
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
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
pub(super) const HOME: &str = "n-000";
/// kube-scheduler hears of pods so much later: a refused pod does not come back before it is frozen.
pub(super) const DEAF_MS: u64 = 300;
/// sigma's patch is kept so long from the server: time to freeze who must not go on.
pub(super) const HOLD: Duration = Duration::from_millis(150);
/// A patch that comes at all is written within this; kube-scheduler waits for an answer for 1 s.
const ANSWERED: Duration = Duration::from_millis(400);
/// Of a pod; the home has room for one.
const CPU: i64 = 500;
/// Longer than the case.
const FOR_EVER: Duration = Duration::from_secs(3600);
/// Most pods until one is not offered its home, of 0.42 each. Together they take less than the 30 s for
/// which a hold that is left behind would keep them from it.
const TRIES: usize = 12;

/// A step of a steer, after which sigma is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// The pod was sent away, and the patch has not reached the server.
    Refused,
    /// The patch is written, and its answer has not reached sigma.
    Sent,
    /// Its answer has, and kube-scheduler has not heard of it.
    Written,
    /// The pod was sent away once more, and the second patch has not reached the server.
    Again,
    /// The target was accepted, and the binding has not reached the server.
    Accepted,
    Bound,
}

const STEPS: [Step; 6] =
    [Step::Refused, Step::Sent, Step::Written, Step::Again, Step::Accepted, Step::Bound];

/// Whose pods go where: `strict` cannot do without sigma, `lenient` can; `slow` cannot either, is offered
/// few nodes, and has sigma's answers when the case lets it.
#[derive(Clone, Copy)]
pub(super) struct Who {
    scheduler: &'static str,
    pub(super) namespace: &'static str,
}

pub(super) const STRICT: Who = Who { scheduler: "strict", namespace: "online" };
const LENIENT: Who = Who { scheduler: "lenient", namespace: "offline" };
const SLOW: Who = Who { scheduler: "slow", namespace: "online" };

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

pub(super) struct Site {
    sigma: Sigma,
    schedulers: Vec<Scheduler>,
    to_sigma: faults::Proxy,
    pub(super) to_scheduler: faults::Proxy,
    /// From sigma to the kube-scheduler `slow`.
    answers: faults::Proxy,
    _secured: [Proxy; 2],
    recorder: Recorder,
    pub(super) api: Api,
    num_pods: usize,
    _control_plane: ControlPlane,
}

impl Site {
    /// By a policy that has two pools, in which the pods of `online` may have the pools of `order` only.
    pub(super) async fn start(policy: &str, order: Option<&'static str>) -> Result<Self> {
        let control_plane = ControlPlane::start().await?;
        let api = control_plane.admin.clone();
        let orders = order.map(|pool| ("online", vec![pool])).into_iter().collect();
        let mut limits = Limits { orders, ..Limits::default() };
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
            // Its answer before it has the whole snapshot would be one without any limit.
            more: vec!["--before-sync=reject".to_owned()],
            ..SigmaOptions::new(&control_plane, "sigma", policy)
        };
        let sigma = Sigma::start(&control_plane, options).await?;
        steers(&sigma).await?;
        let recorder = Recorder::start(&api, limits).await?;
        let answers = faults::Proxy::start(sigma.port());
        let mut schedulers = Vec::new();
        for who in [STRICT, LENIENT, SLOW] {
            let mut options = SchedulerOptions {
                percentage: None,
                ignorable: who.scheduler == LENIENT.scheduler,
                kubeconfig: Some(by("scheduler", &to_scheduler)?),
                ..SchedulerOptions::new(who.scheduler, &sigma)
            };
            if who.scheduler == SLOW.scheduler {
                options.percentage = Some(10);
                options.extender = Some(format!("http://127.0.0.1:{}/sigma", answers.port));
            }
            schedulers.push(Scheduler::start(&control_plane, &options).await?);
        }
        Ok(Self {
            sigma,
            schedulers,
            to_sigma,
            to_scheduler,
            answers,
            _secured: secured,
            recorder,
            api,
            num_pods: 0,
            _control_plane: control_plane,
        })
    }

    /// Makes pods until one is steered, of which sigma's patch is on its way: it reaches the server after
    /// a while. Those that are offered their home are bound and deleted.
    pub(super) async fn steer(&mut self, who: Who, hold: Duration) -> Result<String> {
        for _ in 0..TRIES {
            let (name, patch) = self.next(who);
            self.to_sigma.spoil(&patch, 1, Fault::Late(hold));
            self.post(who, &name, CPU).await?;
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

    /// The name of the next pod, and how sigma's patches of it begin.
    fn next(&mut self, who: Who) -> (String, String) {
        self.num_pods += 1;
        let name = format!("p-{:04}", self.num_pods);
        let patch = format!("PATCH /api/v1/namespaces/{}/pods/{name}/", who.namespace);
        (name, patch)
    }

    async fn post(&self, who: Who, name: &str, cpu_milli: i64) -> Result<()> {
        let shape = PodShape {
            namespace: who.namespace,
            scheduler: who.scheduler,
            priority_class: "prod-high",
            cpu_milli,
            ..PodShape::PLAIN
        };
        let path = format!("/api/v1/namespaces/{}/pods", who.namespace);
        self.api.post(&path, &pod(name, &shape)).await.map(drop)
    }

    /// Makes pods until one is refused twice, with one text, and its second patch is on its way for ever.
    ///
    /// The first nomination has reached kube-scheduler when the first answer does, so that the failure which
    /// it handles then clears it. Meanwhile it is busy with another pod: by the time that it takes up this
    /// one again, it has heard of that. No node takes the other one, since a binding would wake this one.
    async fn steer_twice(&mut self) -> Result<String> {
        for _ in 0..TRIES {
            let (name, patch) = self.next(SLOW);
            self.answers.freeze(true);
            self.post(SLOW, &name, CPU).await?;
            let look = async || {
                let pod = self.api.pod(SLOW.namespace, &name).await?;
                Ok((pod["status"]["nominatedNodeName"] == HOME).then_some(()))
            };
            let is_steered = until("it is nominated", ANSWERED, look).await.is_ok();
            if is_steered {
                self.post(SLOW, &beside(&name), 2 * CPU).await?;
                sleep(Duration::from_millis(DEAF_MS + 100)).await;
                self.answers.spoil("/filter", 1, Fault::Late(Duration::from_millis(2 * DEAF_MS)));
                self.to_sigma.spoil(&patch, 1, Fault::Late(FOR_EVER));
            }
            self.answers.freeze(false);
            let look = async || {
                if self.to_sigma.asked(&patch) > 1 {
                    return Ok(Some(true));
                }
                Ok(node_of(&self.api.pod(SLOW.namespace, &name).await?).map(|_| false))
            };
            let (is_twice, _) =
                until("it is refused twice or bound", Duration::from_secs(20), look).await?;
            if is_twice {
                // kube-scheduler has put it aside.
                sleep(Duration::from_millis(2 * DEAF_MS)).await;
                return Ok(name);
            }
            if is_steered {
                self.api.delete_pod(SLOW.namespace, &beside(&name)).await?;
            }
            self.remove(SLOW, &name).await?;
        }
        bail!("none of {TRIES} pods is refused twice")
    }

    /// Deletes a pod, and waits until everybody has heard of it.
    pub(super) async fn remove(&self, who: Who, name: &str) -> Result<()> {
        self.api.delete_pod(who.namespace, name).await?;
        sleep(Duration::from_millis(DEAF_MS)).await;
        self.nothing_left().await
    }

    /// Waits until sigma has no pod on its way, no nomination and no hold; that is, until 0 are.
    pub(super) async fn nothing_left(&self) -> Result<()> {
        let look = async || {
            let steered = self.sigma.metric("sigma_steered_pods", "").await?;
            let status = self.sigma.page("/api/v1/status").await?;
            let kept = [&status["nominations"], &status["held_pods"]];
            Ok((steered == 0 && kept == [0, 0]).then_some(()))
        };
        until("nothing is left of it", Duration::from_secs(5), look).await.map(drop)
    }

    /// Freezes kube-scheduler, and waits until the pod's patch is written.
    pub(super) async fn nominated(&self, who: Who, name: &str) -> Result<()> {
        self.to_scheduler.freeze(true);
        let look = async || {
            let pod = self.api.pod(who.namespace, name).await?;
            ensure!(node_of(&pod).is_none(), "{name} is bound before it is nominated");
            Ok((pod["status"]["nominatedNodeName"] == HOME).then_some(()))
        };
        until("the nomination is written", Duration::from_secs(5), look).await.map(drop)
    }

    pub(super) fn thaw(&self) {
        self.to_sigma.freeze(false);
        self.to_scheduler.freeze(false);
    }

    pub(super) async fn steers(&self, outcome: &str) -> Result<u64> {
        self.sigma.metric("sigma_steers_total", &format!("outcome=\"{outcome}\"")).await
    }

    async fn written(&self) -> Result<u64> {
        self.sigma.metric("sigma_actions_total", "kind=\"steer\",outcome=\"written\"").await
    }

    /// Brings a steer to a step, and kills sigma there.
    async fn kill_at(&mut self, step: Step, who: Who, seed: u64) -> Result<String> {
        let hold = if step == Step::Refused { FOR_EVER } else { HOLD };
        let (honoured, written) = (self.steers("honoured").await?, self.written().await?);
        let name = match step {
            Step::Again => self.steer_twice().await?,
            _ => self.steer(who, hold).await?,
        };
        let is_seen = async || Ok((self.written().await? > written).then_some(()));
        match step {
            Step::Refused | Step::Again => {}
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
            let look = async || Ok((self.steers("honoured").await? > honoured).then_some(()));
            until("the steer is honoured", Duration::from_secs(1), look).await?;
        }
        sleep(Duration::from_millis(seed * 7 % 30)).await;
        self.sigma.process.kill();
        self.thaw();
        Ok(name)
    }

    pub(super) async fn bound(
        &self,
        who: Who,
        name: &str,
        within: Duration,
    ) -> Result<(Value, Duration)> {
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

/// The pod that keeps kube-scheduler busy beside this one.
fn beside(name: &str) -> String {
    format!("{name}-beside")
}

/// A way to the server with somebody's rights.
async fn way(control_plane: &ControlPlane, user: &str) -> Result<Proxy> {
    Proxy::start(Api::from_kubeconfig(&control_plane.kubeconfig(user)).await?).await
}

/// How often sigma is killed, at one step after the other: `SIGMA_SEEDS`, or as often as every run can
/// wait for.
fn seeds() -> Result<u64> {
    let text = std::env::var("SIGMA_SEEDS").unwrap_or_else(|_| "12".to_owned());
    text.parse().with_context(|| format!("SIGMA_SEEDS={text}"))
}

/// Sigma is killed at each step; the pod is bound to its home once sigma is there again, and to some
/// node by the kube-scheduler that can do without sigma.
///
/// At all steps but one it is kube-scheduler alone that comes back: the text of the first unschedulable answer was new
/// to the pod's condition, so its own status patch wakes the pod; asking a sigma that is gone is an error,
/// and a pod that failed by an error is tried again after its back-off. So these pass without a requeue,
/// too (DESIGN §4.2: schedulable within its back-off). At `Again` the unschedulable answer changed nothing of the
/// pod, and who would have woken it is dead: it sleeps until the next life reads its condition and requeues it.
/// Without sigma that is for kube-scheduler's flush of unschedulable pods, five minutes: not waited for.
pub(super) async fn killed() -> Result<Facts> {
    let mut site = Site::start(ONLY, Some("home")).await?;
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
        if step == Step::Again {
            site.api.delete_pod(SLOW.namespace, &beside(&name)).await?;
        }
        site.remove(STRICT, &name).await?;
    }
    let mut alone = Duration::ZERO;
    for step in STEPS.into_iter().filter(|it| *it != Step::Again) {
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
