//! Steers of pods that no offered node takes, by a sigma that does not know whether kube-scheduler asks it
//! before it preempts: it is started without `--scheduler-config`, or kube-scheduler does not ask.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Facts;
use super::steer::{homes, plain_node, steers};
use crate::harness::api::{Api, node_of};
use crate::harness::control_plane::ControlPlane;
use crate::harness::objects::{NodeShape, PodShape, node, pod, priority_class};
use crate::harness::scheduler::{Scheduler, SchedulerOptions};
use crate::harness::sigma::{Sigma, SigmaOptions};
use crate::harness::until;

const NODES: usize = 2000;
/// Pods that come at once, and then one at a time while nothing else happens.
const AT_ONCE: usize = 40;
const ONE_BY_ONE: usize = 12;
/// For each of those that come one at a time.
const SOON: Duration = Duration::from_secs(2);
const WITHIN: Duration = Duration::from_secs(30);
/// The pool of one node; and the pool of one node and of the nodes that are full of preemptible pods.
const ALONE: usize = 0;
const AMONG_FULL: usize = 1;

/// kube-scheduler asks sigma before it preempts, and sigma is not told. First there is nobody to preempt,
/// then two of five nodes are full of pods of lower priority which sigma would let go.
pub(super) async fn without_the_flag() -> Result<Facts> {
    let control_plane = ControlPlane::start().await?;
    let api = control_plane.admin.clone();
    furnish(&api, NODES).await?;
    let policy = homes(2, "");
    let options = SigmaOptions::new(&control_plane, "sigma", &policy);
    ensure!(!options.knows_scheduler, "the flag is not given");
    let mut sigma = Sigma::start(&control_plane, options).await?;
    steers(&sigma).await?;
    let options = SchedulerOptions { percentage: None, ..SchedulerOptions::new("sigma", &sigma) };
    let mut scheduler = Scheduler::start(&control_plane, &options).await?;

    let mut facts = Facts::new();
    facts.push(format!("nobody to preempt: {}", arrive(&api, ALONE).await?));
    let residents = fill(&api, NODES).await?;
    facts.push(format!("{residents} nodes are full: {}", arrive(&api, AMONG_FULL).await?));
    let evicted = evicted(&api, residents).await?;
    ensure!(evicted == 0, "{evicted} of {residents} residents were evicted");
    let asked = sigma.metric("sigma_verb_results_total", "verb=\"preempt\"").await?;
    ensure!(asked > 0, "kube-scheduler has never thought of preemption");
    let steered = sigma.metric("sigma_steers_total", "").await?;
    let honoured = sigma.metric("sigma_steers_total", "outcome=\"honoured\"").await?;
    let nominated = sigma.metric("sigma_requeues_total", "outcome=\"nominated\"").await?;
    sigma.process.check()?;
    scheduler.process.check()?;
    facts.push(format!(
        "{honoured} of {steered} steers honoured, {nominated} of them by a requeue; {asked} preempt calls, \
         0 of {residents} residents evicted"
    ));
    Ok(facts)
}

/// Pods that may go to one home only come at once, and then one at a time.
async fn arrive(api: &Api, home: usize) -> Result<String> {
    let begun = Instant::now();
    api.post_all((0..AT_ONCE).map(|at| of_home(home, at, 500)).collect()).await?;
    at_home(api, home, AT_ONCE).await?;
    let all = begun.elapsed();
    let mut delays = Vec::new();
    for at in AT_ONCE..AT_ONCE + ONE_BY_ONE {
        // Nothing that the one before has set in motion wakes it.
        sleep(Duration::from_millis(300)).await;
        api.post_all(vec![of_home(home, at, 500)]).await?;
        let name = name_of(home, at);
        let look = async || Ok(node_of(&api.pod("online", &name).await?).map(str::to_owned));
        let (node, took) = until(&format!("{name} is bound"), WITHIN, look).await?;
        ensure!(node == format!("home-{home:02}"), "{name} is on {node}");
        delays.push(took);
    }
    let most = delays.iter().max().copied().unwrap_or_default();
    ensure!(most <= SOON, "one at a time: {delays:?}");
    Ok(format!(
        "{AT_ONCE} pods at once are all at home after {:.2} s; then {ONE_BY_ONE} one at a time, each \
         within {:.2} s",
        all.as_secs_f64(),
        most.as_secs_f64()
    ))
}

/// Waits until so many pods of a home are bound, each to it.
async fn at_home(api: &Api, home: usize, count: usize) -> Result<()> {
    let look = async || {
        let pods = api.pods(Some("online")).await?;
        let node = format!("home-{home:02}");
        Ok((pods.iter().filter(|pod| node_of(pod) == Some(&*node)).count() == count).then_some(()))
    };
    until("all are at home", WITHIN, look).await.map(drop)
}

fn name_of(home: usize, at: usize) -> String {
    format!("p-{home}-{at:02}")
}

fn of_home(home: usize, at: usize, cpu_milli: i64) -> Value {
    let class = format!("home-{home:02}");
    let shape =
        PodShape { namespace: "online", priority_class: &class, cpu_milli, ..PodShape::PLAIN };
    pod(&name_of(home, at), &shape)
}

/// Nodes of no pool, or of the pool of the full ones; a node for each home, the last by name; and classes.
async fn furnish(api: &Api, nodes: usize) -> Result<()> {
    let classes = (0..2).map(|at| priority_class(&format!("home-{at:02}"), 2000));
    let others = (2..nodes).map(|at| {
        let pool = is_full(at).then_some("01");
        plain_node(&format!("a-{at:05}"), ("home", pool))
    });
    let homes = (0..2).map(|at| {
        let shape = NodeShape {
            instance_type: "ecs.g7.16xlarge",
            zone: "cn-hangzhou-h",
            cpu_milli: 256_000,
            memory_mib: 1_048_576,
            virtual_kubelet: false,
        };
        let mut home = node(&format!("home-{at:02}"), shape);
        home["metadata"]["labels"]["home"] = format!("{at:02}").into();
        home
    });
    api.post_all(classes.chain(others).chain(homes).collect()).await
}

/// Two of five nodes beside the homes are.
fn is_full(at: usize) -> bool {
    at % 5 < 2
}

/// One preemptible pod on each of the nodes that are to be full; gives their number.
async fn fill(api: &Api, nodes: usize) -> Result<usize> {
    let residents = (2..nodes).filter(|at| is_full(*at)).map(|at| {
        let on = format!("a-{at:05}");
        let shape = PodShape {
            namespace: "offline",
            priority_class: "batch-low",
            cpu_milli: FILLS,
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

/// How many residents are on their way out, or gone.
async fn evicted(api: &Api, residents: usize) -> Result<usize> {
    let pods = api.pods(Some("offline")).await?;
    let alive = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).count();
    Ok(residents - alive)
}

/// kube-scheduler does not ask sigma before it preempts, and sigma knows it. The same pods come with the
/// steer and without. They come ten at a time to a kube-scheduler that has just started, so that its windows
/// are the same ones each time, and none of the first ten has the only free node.
pub(super) async fn without_preempt_verb() -> Result<Facts> {
    let mut facts = Facts::new();
    let on = evictions("").await?;
    let off = evictions("steering: off\n").await?;
    for (what, it) in [("steer", &on), ("steer: off", &off)] {
        facts.push(format!(
            "{what}: {} pods, {} evictions, most for one pod {}; {} at home, {} on a node that was made \
             free, {} not bound; {} steers",
            it.pods, it.evicted, it.most_for_one, it.at_home, it.elsewhere, it.waiting, it.steers,
        ));
    }
    ensure!(on.evicted <= off.evicted, "{} evictions with the steer: {facts:?}", on.evicted);
    ensure!(on.most_for_one <= 1, "a second victim set for one pod: {facts:?}");
    ensure!(on.steers > 0, "nobody was steered: {facts:?}");
    Ok(facts)
}

/// What a pod asks for that leaves no room for another one beside it.
const FILLS: i64 = 3900;
/// Rounds of ten pods.
const ROUNDS: usize = 4;
const EACH: usize = 10;

/// What came of it.
struct Evictions {
    pods: usize,
    evicted: usize,
    /// Victims of the pod that has most; each node has one.
    most_for_one: usize,
    at_home: usize,
    elsewhere: usize,
    waiting: usize,
    steers: u64,
}

async fn evictions(steering: &str) -> Result<Evictions> {
    let control_plane = ControlPlane::start().await?;
    let api = control_plane.admin.clone();
    furnish(&api, NODES).await?;
    let residents = fill(&api, NODES).await?;
    let options = SigmaOptions {
        knows_scheduler: true,
        preempt: false,
        ..SigmaOptions::new(&control_plane, "sigma", &homes(2, steering))
    };
    let mut sigma = Sigma::start(&control_plane, options).await?;
    if steering.is_empty() {
        steers(&sigma).await?;
    }
    let reaper = tokio::spawn(reap(api.clone()));
    let pods = ROUNDS * EACH;
    for round in 0..ROUNDS {
        // Five of a hundred: ten windows do not reach the homes, which are the last by name.
        let options = SchedulerOptions {
            percentage: Some(5),
            preempt: false,
            ..SchedulerOptions::new("sigma", &sigma)
        };
        let mut scheduler = Scheduler::start(&control_plane, &options).await?;
        let these = (0..EACH).map(|at| of_home(AMONG_FULL, round * EACH + at, FILLS));
        api.post_all(these.collect()).await?;
        let bound = async || {
            let pods = api.pods(Some("online")).await?;
            let bound = pods.iter().filter(|pod| node_of(pod).is_some()).count();
            Ok((bound == (round + 1) * EACH).then_some(()))
        };
        // Without the steer some may wait for longer than anybody has patience for.
        let _waited = until("all are bound", WITHIN, bound).await;
        scheduler.process.check()?;
    }
    sigma.process.check()?;
    reaper.abort();
    let online = api.pods(Some("online")).await?;
    let home = format!("home-{AMONG_FULL:02}");
    let at_home = online.iter().filter(|pod| node_of(pod) == Some(&*home)).count();
    let bound = online.iter().filter(|pod| node_of(pod).is_some()).count();
    let victims = victims(&api).await?;
    Ok(Evictions {
        pods,
        evicted: evicted(&api, residents).await?,
        most_for_one: victims.values().map(BTreeSet::len).max().unwrap_or(0),
        at_home,
        elsewhere: bound - at_home,
        waiting: pods - bound,
        steers: sigma.metric("sigma_steers_total", "").await?,
    })
}

/// Ends pods that are on their way out, as a kubelet would.
async fn reap(api: Api) -> Result<()> {
    loop {
        sleep(Duration::from_millis(500)).await;
        for pod in api.pods(Some("offline")).await? {
            let meta = &pod["metadata"];
            if let (true, Some(name)) =
                (meta["deletionTimestamp"].is_string(), meta["name"].as_str())
            {
                api.delete_pod("offline", name).await?;
            }
        }
    }
}

/// The victims of each pod, by the events that kube-scheduler writes about them.
async fn victims(api: &Api) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let list = api.get("/apis/events.k8s.io/v1/namespaces/offline/events").await?;
    let events = list["items"].as_array().context("no events")?;
    let mut victims: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in events.iter().filter(|it| it["reason"] == "Preempted") {
        // `Preempted by pod UID on node NODE`
        let note = event["note"].as_str().context("an event without a note")?;
        let by = note.split(' ').nth(3).context("no preemptor")?;
        let victim = event["regarding"]["name"].as_str().context("no victim")?;
        victims.entry(by.to_owned()).or_default().insert(victim.to_owned());
    }
    Ok(victims)
}
