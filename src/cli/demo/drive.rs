//! The driver: takes pods one after the other through filter, prioritize and bind, as
//! kube-scheduler does, and waits until a binding is visible to the extender before the next pod.
//!
//! ```text
//! pods ─▶ first pass ─▶ refused ─▶ retry pass ─▶ refused ─▶ … ─▶ unbound
//! ```
//!
//! A refused pod goes to the end of a queue. After the pass the whole queue is tried again in its
//! order, with windows that have rotated on, until a pass places nothing or [`MAX_RETRY_PASSES`]
//! have been made. Nothing here depends on time: a slow machine gives the same placements.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use indicatif::ProgressBar;

use crate::cli::loopback::client::Client;
use crate::cli::loopback::extender::LoopbackExtender;
use crate::cli::loopback::wire::{self, FilterReply, HostPriority};
use crate::model::{Amounts, Change, ClassOrd, Node, Pod, PoolOrd, Reason};
use crate::sim::{Scheduler, SchedulerOptions};

/// The extender's `weight` in the scheduler's configuration: one step of ours (10 × weight) outweighs
/// every in-tree score together (1400, `extender-protocol.md` §3), so those decide only among nodes
/// that we like equally.
pub(super) const EXTENDER_WEIGHT: i64 = 150;
/// Most passes over the refused pods.
const MAX_RETRY_PASSES: u32 = 3;

/// What became of all pods.
#[derive(Debug, Default)]
pub(super) struct PodOutcome {
    /// In the order in which they were bound.
    pub(super) placements: Vec<Placement>,
    /// In the order of the queue.
    pub(super) unbound: Vec<Unbound>,
    /// Time of each filter call as the client sees it.
    pub(super) filter_us: Vec<u32>,
    /// Time of each prioritize call as the client sees it.
    pub(super) prioritize_us: Vec<u32>,
    /// How many times a pod was tried, with a filter call or without.
    pub(super) num_attempts: u64,
    /// Passes over the refused pods.
    pub(super) num_retry_passes: u32,
    /// From the first attempt to the last.
    pub(super) elapsed: Duration,
}

/// A pod and its node.
#[derive(Debug)]
pub(super) struct Placement {
    /// `namespace/name`.
    pub(super) pod: String,
    /// Position of the node.
    pub(super) node: u32,
    /// What it asks for.
    pub(super) requests: Amounts,
    /// The class that the policy grants it.
    pub(super) class: ClassOrd,
    /// The node's pool.
    pub(super) pool: PoolOrd,
}

/// A pod without a node.
#[derive(Debug)]
pub(super) struct Unbound {
    /// The pod.
    pub(super) pod: Pod,
    /// Why it was refused last: one of sigma's reasons or an in-tree plugin's name.
    pub(super) reason: String,
    /// The class that the policy grants it.
    pub(super) class: ClassOrd,
}

/// kube-scheduler with one extender, at work.
pub(super) struct Driver<'a> {
    nodes: &'a [Node],
    /// The nodes' names as JSON strings.
    quoted: Vec<String>,
    positions: HashMap<&'a str, u32>,
    scheduler: Scheduler,
    client: Client,
    extender: &'a LoopbackExtender,
    body: String,
    outcome: PodOutcome,
}

/// What one attempt came to.
enum Attempt {
    Bound,
    Refused(String),
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        nodes: &'a [Node],
        seed: u64,
        extender: &'a LoopbackExtender,
    ) -> anyhow::Result<Self> {
        let options = SchedulerOptions {
            percentage_of_nodes_to_score: 0,
            extender_weight: EXTENDER_WEIGHT,
            seed,
        };
        let client = Client::connect(extender.addr).context("cannot connect to the extender")?;
        Ok(Self {
            nodes,
            quoted: nodes.iter().map(|node| wire::quoted(&node.name)).collect(),
            positions: (0..).zip(nodes).map(|(at, node)| (&*node.name, at)).collect(),
            scheduler: Scheduler::new(nodes, options),
            client,
            extender,
            body: String::new(),
            outcome: PodOutcome::default(),
        })
    }

    /// Takes every pod through as many passes as it needs.
    pub(super) fn run(
        mut self,
        pods: impl Iterator<Item = Pod>,
        progress: &ProgressBar,
    ) -> anyhow::Result<PodOutcome> {
        let started = Instant::now();
        let mut queue = Vec::new();
        for pod in pods {
            self.attempt_or_queue(pod, &mut queue)?;
            progress.inc(1);
        }
        for pass in 1..=MAX_RETRY_PASSES {
            if queue.is_empty() {
                break;
            }
            progress.set_message(format!("retry pass {pass}: {} pods", queue.len()));
            self.outcome.num_retry_passes = pass;
            let waiting = std::mem::take(&mut queue);
            let num_waiting = waiting.len();
            for (pod, _) in waiting {
                self.attempt_or_queue(pod, &mut queue)?;
                progress.tick();
            }
            if queue.len() == num_waiting {
                break;
            }
        }
        self.outcome.elapsed = started.elapsed();
        let view = self.extender.shared.view();
        let unbound = queue.into_iter();
        let unbound =
            unbound.map(|(pod, reason)| Unbound { reason, class: view.classify(&pod).class, pod });
        self.outcome.unbound = unbound.collect();
        Ok(self.outcome)
    }

    fn attempt_or_queue(&mut self, pod: Pod, queue: &mut Vec<(Pod, String)>) -> anyhow::Result<()> {
        let attempt = self.attempt(&pod).with_context(|| format!("pod {}", pod.name))?;
        if let Attempt::Refused(reason) = attempt {
            queue.push((pod, reason));
        }
        Ok(())
    }

    /// One scheduling attempt.
    fn attempt(&mut self, pod: &Pod) -> anyhow::Result<Attempt> {
        self.outcome.num_attempts += 1;
        let window = self.scheduler.find_feasible(pod);
        if window.feasible.is_empty() {
            let plugin = window.main_refusal().map_or("no node", |plugin| plugin.name());
            return Ok(Attempt::Refused(plugin.to_owned()));
        }
        let pod_json = wire::pod_json(pod);
        let accepted = match self.filter(&pod_json, &window.feasible)? {
            Ok(accepted) => accepted,
            Err(reason) => return Ok(Attempt::Refused(reason)),
        };
        // With one node left kube-scheduler neither scores nor asks.
        let points = match accepted.len() {
            1 => Vec::new(),
            _ => self.prioritize(&pod_json, &accepted)?,
        };
        let chosen = self.scheduler.select(pod, &accepted, &points);
        let chosen = chosen.context("no node is left to choose from")?;
        self.scheduler.assume(pod, chosen);
        self.bind(pod, chosen)?;
        Ok(Attempt::Bound)
    }

    /// The accepted nodes, or why there are none.
    fn filter(
        &mut self,
        pod_json: &str,
        offered: &[u32],
    ) -> anyhow::Result<Result<Vec<u32>, String>> {
        let names = offered.iter().map(|at| self.quoted[*at as usize].as_str());
        wire::extender_args(&mut self.body, pod_json, names);
        let started = Instant::now();
        let reply = self.client.post("/filter", &self.body).context("filter call failed")?;
        self.outcome.filter_us.push(micros(started));
        let reply: FilterReply<'_> =
            serde_json::from_slice(reply).context("filter answer is not readable")?;
        if let Some(error) = reply.error.filter(|error| !error.is_empty()) {
            bail!("filter answered an error: {error}");
        }
        let mut accepted = Vec::new();
        for name in reply.node_names.unwrap_or_default() {
            let at = self.positions.get(&*name).copied();
            // The real scheduler, too, fails the whole call when it is told of a node that it did
            // not offer.
            let offered = at.filter(|at| offered.contains(at));
            accepted.push(offered.with_context(|| format!("{name} was not offered"))?);
        }
        if !accepted.is_empty() {
            return Ok(Ok(accepted));
        }
        let refused = reply.unresolvable.iter().chain(&reply.failed);
        let text = refused.flat_map(|map| map.values()).next();
        let text = text.context("filter refused every node without a reason")?;
        let reason = Reason::find_in(text);
        let degraded = matches!(reason, Some(Reason::NotSynced | Reason::Overloaded));
        ensure!(!degraded, "the extender gave a degraded answer: {text}");
        Ok(Err(reason.map_or_else(|| text.to_string(), |reason| reason.name().to_owned())))
    }

    /// The extender's points by candidate; 0 where it gives none.
    fn prioritize(&mut self, pod_json: &str, candidates: &[u32]) -> anyhow::Result<Vec<i64>> {
        let names = candidates.iter().map(|at| self.quoted[*at as usize].as_str());
        wire::extender_args(&mut self.body, pod_json, names);
        let started = Instant::now();
        let reply =
            self.client.post("/prioritize", &self.body).context("prioritize call failed")?;
        self.outcome.prioritize_us.push(micros(started));
        let scored: Vec<HostPriority<'_>> =
            serde_json::from_slice(reply).context("prioritize answer is not readable")?;
        let mut points = vec![0; candidates.len()];
        for it in scored {
            let at = self.positions.get(&*it.host);
            let slot = at.and_then(|at| candidates.iter().position(|other| other == at));
            // Duplicates add up and unknown hosts are ignored, as in the real one.
            if let Some(points) = slot.and_then(|slot| points.get_mut(slot)) {
                *points += it.score;
            }
        }
        Ok(points)
    }

    /// Binds: the extender hears of it as of any binding, by a watch event.
    fn bind(&mut self, pod: &Pod, node: u32) -> anyhow::Result<()> {
        let name = &self.nodes[node as usize].name;
        let mut bound = pod.clone();
        bound.node = Some(name.clone());
        // Newer than every version that was handed out before.
        bound.resource_version += 1 << 32;
        self.extender.send(Change::PodSeen(Box::new(bound)))?;
        let view = self.extender.wait_placed(pod.uid, name)?;
        let ord = view.snapshot.names.ord(name);
        self.outcome.placements.push(Placement {
            pod: format!("{}/{}", pod.namespace, pod.name),
            node,
            requests: pod.requests.base,
            class: view.classify(pod).class,
            pool: ord.map_or(PoolOrd::NONE, |ord| view.snapshot.pool(ord)),
        });
        Ok(())
    }
}

fn micros(started: Instant) -> u32 {
    u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX)
}
