//! Steers, with default sampling: every pod gets the one node that may have it although it is hardly
//! ever offered, nobody is evicted meanwhile, and a patch that fails delays nobody.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Facts;
use crate::faults::{self, Fault};
use crate::harness::api::{Api, node_of};
use crate::harness::control_plane::ControlPlane;
use crate::harness::objects::{NodeShape, PodShape, node, pod, priority_class};
use crate::harness::proxy::Proxy;
use crate::harness::recorder::{Limits, Recorder};
use crate::harness::scheduler::{self, Scheduler, SchedulerOptions};
use crate::harness::sigma::{Sigma, SigmaOptions};
use crate::harness::until;

/// How large a case is.
struct Scale {
    nodes: usize,
    /// Nodes that have a pool, and a class of pods, for themselves.
    homes: usize,
    /// Each may go to one node only.
    pods: usize,
    /// Between two of them; `None`: all at once, and how long that takes is only reported.
    every: Option<Duration>,
    /// Pods that may go anywhere, and are in the queue before the others.
    ordinary: usize,
}

/// Twenty pods a second.
const EVERY: Option<Duration> = Some(Duration::from_millis(50));
/// The first minor version of kube-scheduler that does not let a pod wait out its back-off while nothing
/// else is in its queue. How long it takes beside older ones is only reported.
const POPS_EARLY: u32 = 33;
/// The first minor version whose status patch wakes a refused pod by itself. Older ones wait for our write,
/// or for whatever else happens in the cluster.
const WAKES_BY_STATUS: u32 = 32;
/// Nodes of the fault case; kube-scheduler offers 276.
const NUM_NODES: usize = 600;

pub(super) async fn to_the_only_node() -> Result<Facts> {
    exact(Scale { nodes: 5000, homes: 40, pods: 80, every: EVERY, ordinary: 0 }).await
}

pub(super) async fn at_ten_thousand() -> Result<Facts> {
    exact(Scale { nodes: 10_000, homes: 50, pods: 200, every: EVERY, ordinary: 0 }).await
}

pub(super) async fn all_at_once() -> Result<Facts> {
    exact(Scale { nodes: 10_000, homes: 50, pods: 200, every: None, ordinary: 0 }).await
}

pub(super) async fn behind_a_queue() -> Result<Facts> {
    exact(Scale { nodes: 10_000, homes: 50, pods: 200, every: EVERY, ordinary: 500 }).await
}

/// Two of five nodes are full of a pod of lower priority: to these preemption looks.
async fn exact(scale: Scale) -> Result<Facts> {
    let control_plane = ControlPlane::start().await?;
    let api = control_plane.admin.clone();
    let residents = furnish(&api, &scale).await?;
    let options = SigmaOptions {
        knows_scheduler: true,
        ..SigmaOptions::new(&control_plane, "sigma", &homes(scale.homes, ""))
    };
    let mut sigma = Sigma::start(&control_plane, options).await?;
    steers(&sigma).await?;
    let recorder = Recorder::start(&api, Limits::default()).await?;
    let options = SchedulerOptions { percentage: None, ..SchedulerOptions::new("sigma", &sigma) };
    let mut scheduler = Scheduler::start(&control_plane, &options).await?;

    let ordinary = |at| {
        let shape = PodShape { namespace: "plain", cpu_milli: 10, ..PodShape::PLAIN };
        pod(&format!("o-{at:03}"), &shape)
    };
    api.post_all((0..scale.ordinary).map(ordinary).collect()).await?;
    let mut created = BTreeMap::new();
    for at in 0..scale.pods {
        let (name, begun) = (format!("p-{at:03}"), Instant::now());
        create(&api, &name, "home", at % scale.homes).await?;
        created.insert(name, Instant::now());
        if let Some(every) = scale.every {
            tokio::time::sleep_until(begun + every).await;
        }
    }
    at_home(&api, scale.pods, scale.homes).await?;
    let mut delays: Vec<f64> = {
        let record = recorder.record();
        let bound = record.bindings.iter();
        let bound =
            bound.filter_map(|it| Some(it.at.saturating_duration_since(*created.get(&it.pod)?)));
        bound.map(|it| it.as_secs_f64()).collect()
    };
    delays.sort_unstable_by(f64::total_cmp);
    ensure!(delays.len() == scale.pods, "{} bindings were seen", delays.len());
    let calls = sigma.filter_calls().await? as f64 / (scale.pods + scale.ordinary) as f64;
    let (p50, p99, most) =
        (delays[delays.len() / 2], delays[delays.len() * 99 / 100], delays[delays.len() - 1]);
    let minor = scheduler::minor()?;
    let is_quiet = scale.every.is_some() && scale.ordinary == 0 && minor >= POPS_EARLY;
    ensure!(
        !is_quiet || p99 <= 2.0 && calls <= 4.0,
        "p99 {p99:.2} s, {calls:.1} filter calls a pod"
    );
    let alive = api.pods(Some("offline")).await?;
    let alive = alive.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).count();
    ensure!(alive == residents, "{} of {residents} residents were evicted", residents - alive);
    let asked = sigma.metric("sigma_verb_results_total", "verb=\"preempt\"").await?;
    ensure!(asked > 0, "kube-scheduler has never thought of preemption");
    let steered = sigma.metric("sigma_steers_total", "").await?;
    let honoured = sigma.metric("sigma_steers_total", "outcome=\"honoured\"").await?;
    let switched = off_and_on(&mut sigma, &api, &scale).await?;
    sigma.process.check()?;
    scheduler.process.check()?;
    Ok(vec![
        format!(
            "kube-scheduler 1.{minor}, {} nodes, {} ordinary pods, {} with one node each: all there after \
             p50 {p50:.2}, p99 {p99:.2}, most {most:.2} s; {calls:.2} filter calls a pod; {honoured} of {steered} steers honoured",
            scale.nodes, scale.ordinary, scale.pods
        ),
        format!("{asked} preempt calls, 0 of {residents} residents evicted; {switched}"),
    ])
}

/// What happens without steering to pods that may evict nobody, and that those who waited get home once it
/// is on again.
async fn off_and_on(sigma: &mut Sigma, api: &Api, scale: &Scale) -> Result<String> {
    sigma.set_policy(&homes(scale.homes, "steering: off\n")).await?;
    let (more, before) = (10, sigma.filter_calls().await?);
    for at in 0..more {
        create(api, &format!("q-{at:03}"), "calm", at).await?;
    }
    sleep(Duration::from_secs(5)).await;
    let pods = api.pods(Some("online")).await?;
    let bound = pods.iter().filter(|pod| node_of(pod).is_some()).count() - scale.pods;
    let calls = (sigma.filter_calls().await? - before) as f64 / more as f64;
    sigma.set_policy(&homes(scale.homes, "")).await?;
    let took = at_home(api, scale.pods + more, scale.homes).await?;
    Ok(format!(
        "with steering off {bound} of {more} are bound after 5 s and {calls:.1} filter calls a pod, \
         the rest {:.1} s after it is on",
        took.as_secs_f64()
    ))
}

/// Waits until all pods are bound, each to its home.
async fn at_home(api: &Api, pods: usize, homes: usize) -> Result<Duration> {
    let look = async || {
        let seen = api.pods(Some("online")).await?;
        let bound = seen.iter().filter(|pod| node_of(pod).is_some()).count();
        Ok((bound == pods).then_some(seen))
    };
    let (seen, took) = until("all are bound", Duration::from_secs(60), look).await?;
    for pod in seen {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let at: usize = name[2..].parse()?;
        let home = format!("home-{:02}", at % homes);
        ensure!(node_of(&pod) == Some(&*home), "{name} is on {:?}, not {home}", node_of(&pod));
        let nominated = &pod["status"]["nominatedNodeName"];
        ensure!(nominated.is_null() || *nominated == *home, "{name} claims {nominated}");
    }
    Ok(took)
}

/// A pod of a home; one that is `calm` evicts nobody.
async fn create(api: &Api, name: &str, class: &str, home: usize) -> Result<()> {
    let class = format!("{class}-{home:02}");
    let shape =
        PodShape { namespace: "online", priority_class: &class, cpu_milli: 500, ..PodShape::PLAIN };
    api.post("/api/v1/namespaces/online/pods", &pod(name, &shape)).await.map(drop)
}

/// The nodes, the residents of the full ones, and a priority class for each home.
async fn furnish(api: &Api, scale: &Scale) -> Result<usize> {
    let classes = (0..scale.homes).flat_map(|at| {
        let mut calm = priority_class(&format!("calm-{at:02}"), 2000);
        calm["preemptionPolicy"] = "Never".into();
        [priority_class(&format!("home-{at:02}"), 2000), calm]
    });
    let nodes = (0..scale.nodes).map(|at| {
        let home = format!("{:02}", at % scale.homes);
        let is_home = at < scale.homes || is_full(at);
        plain_node(&name_of(at, scale.homes), ("home", is_home.then_some(&*home)))
    });
    api.post_all(classes.chain(nodes).collect()).await?;
    let residents = (scale.homes..scale.nodes).filter(|at| is_full(*at)).map(|at| {
        let on = name_of(at, scale.homes);
        let shape = PodShape {
            namespace: "offline",
            priority_class: "batch-low",
            cpu_milli: 3900,
            on: Some(&on),
            ..PodShape::PLAIN
        };
        pod(&format!("r-{at:05}"), &shape)
    });
    let residents: Vec<Value> = residents.collect();
    let count = residents.len();
    api.post_all(residents).await?;
    Ok(count)
}

fn name_of(at: usize, homes: usize) -> String {
    if at < homes { format!("home-{at:02}") } else { format!("n-{at:05}") }
}

/// Two of five nodes beside the homes are. They are of some home's pool as well, so that nothing but
/// their residents keeps a pod from them.
fn is_full(at: usize) -> bool {
    at % 5 < 2
}

pub(super) fn plain_node(name: &str, (label, value): (&str, Option<&str>)) -> Value {
    let shape = NodeShape {
        instance_type: "ecs.g7.xlarge",
        zone: "cn-hangzhou-h",
        cpu_milli: 4000,
        memory_mib: 16_384,
        virtual_kubelet: false,
    };
    let mut node = node(name, shape);
    if let Some(value) = value {
        node["metadata"]["labels"][label] = value.into();
    }
    node
}

/// A pool and a class for each home.
pub(super) fn homes(count: usize, more: &str) -> String {
    let mut text = String::from(
        "apiVersion: sigma.io/v1alpha1\nkind: SchedulingPolicy\nmetadata: {name: homes}\npools:\n",
    );
    for at in 0..count {
        let _ =
            writeln!(text, "- {{name: home-{at:02}, match: {{labels: {{home: \"{at:02}\"}}}}}}");
    }
    text += "classes:\n";
    for at in 0..count {
        let _ = writeln!(
            text,
            "- {{name: home-{at:02}, pools: [home-{at:02}], grant: {{priorityClasses: [home-{at:02}, \
             calm-{at:02}], namespaces: {{names: [online]}}}}}}"
        );
    }
    text + more
}

pub(super) async fn steers(sigma: &Sigma) -> Result<()> {
    let look = async || {
        let on = sigma.metric("sigma_action_enabled", "kind=\"steer\"").await?;
        Ok((on == 1).then_some(()))
    };
    until("the steer is on", Duration::from_secs(10), look).await.map(drop)
}

/// Every pod may go anywhere, and would be better off on the one node of the pool `best`.
const BETTER: &str = "
apiVersion: sigma.io/v1alpha1
kind: SchedulingPolicy
metadata: {name: better}
pools:
- name: best
  match: {labels: {pool: best}}
- name: rest
  match: {labels: {pool: rest}}
classes:
- name: default
  pools: [best, rest]
steering:
  default: {steer: {better: {margin: 10%, perSecond: 100}}}
";

pub(super) async fn faults() -> Result<Facts> {
    let control_plane = ControlPlane::start().await?;
    let api = control_plane.admin.clone();
    let pool = |at: usize| Some(if at == 0 { "best" } else { "rest" });
    let nodes = (0..NUM_NODES).map(|at| plain_node(&format!("n-{at:03}"), ("pool", pool(at))));
    api.post_all(nodes.collect()).await?;
    let upstream = Api::from_kubeconfig(&control_plane.kubeconfig("sigma")).await?;
    let secured = Proxy::start(upstream).await?;
    let by = |proxy: &faults::Proxy| {
        control_plane.kubeconfig_by("sigma", &format!("http://127.0.0.1:{}", proxy.port))
    };
    let mut proxy = faults::Proxy::start(secured.port);
    let options = SigmaOptions {
        kubeconfig: by(&proxy)?,
        knows_scheduler: true,
        ..SigmaOptions::new(&control_plane, "sigma", BETTER)
    };
    let mut sigma = Sigma::start(&control_plane, options).await?;
    let options = SchedulerOptions { percentage: None, ..SchedulerOptions::new("sigma", &sigma) };
    let mut scheduler = Scheduler::start(&control_plane, &options).await?;
    let late = Fault::Late(Duration::from_secs(10));
    let mut facts = Facts::new();
    for (what, fault) in [
        ("403", Fault::Refused(403, 0)),
        ("500", Fault::Refused(500, 0)),
        ("409", Fault::Refused(409, 0)),
        ("late", late),
    ] {
        // Another way to the server, and another life with a breaker that is closed.
        let next = faults::Proxy::start(secured.port);
        by(&next)?;
        sigma.restart().await?;
        proxy = next;
        steers(&sigma).await?;
        proxy.spoil("PATCH ", 1000, fault);
        facts.push(format!("{what}: {}", suffer(&sigma, &api, what).await?));
    }
    scheduler.process.check()?;
    Ok(facts)
}

/// Pods one after the other until nobody is steered any more; each is bound soon.
async fn suffer(sigma: &Sigma, api: &Api, what: &str) -> Result<String> {
    let (mut most, mut slept) = (Duration::ZERO, 0);
    let older = scheduler::minor()? < WAKES_BY_STATUS;
    for count in 1..=60 {
        let name = format!("{what}-{count}");
        let shape = PodShape { namespace: "plain", cpu_milli: 50, ..PodShape::PLAIN };
        api.post("/api/v1/namespaces/plain/pods", &pod(&name, &shape)).await?;
        let look = async || Ok(node_of(&api.pod("plain", &name).await?).is_some().then_some(()));
        let within = Duration::from_secs(5);
        // Five failures within 10 s open the breaker.
        let patience = if older { Duration::from_millis(500) } else { within };
        match until("the pod is bound", patience, look).await {
            Ok((_, took)) => most = most.max(took),
            Err(_) if older => {
                slept += 1;
                let woken = json!({"metadata": {"annotations": {"else": "happens"}}});
                api.merge(&format!("/api/v1/namespaces/plain/pods/{name}"), &woken).await?;
                until("the pod is bound once it is woken", within, look).await?;
            }
            Err(error) => return Err(error),
        }
        if sigma.metric("sigma_breaker_open", "kind=\"steer\"").await? == 1 {
            let steered = sigma.metric("sigma_steers_total", "").await?;
            return Ok(format!(
                "{count} pods, {steered} steered in vain, {slept} had to be woken, each other bound within \
                 {:.2} s; the breaker is open",
                most.as_secs_f64()
            ));
        }
        sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("{what}: the breaker does not open")
}
