//! What is asked about: nodes and pods from a fixed seed, and requests as kube-scheduler sends them.
//!
//! The extender's process and the client's make the same setting, each for itself.

use std::collections::{HashMap, HashSet};

use anyhow::ensure;

use sigma::cli::loopback::wire;
use sigma::model::{Amounts, AppKey, Conditions, Node, Pod, PodUid, Taint};
use sigma::model::{DomainLevel, TaintEffect};
use sigma::sim::{self, Cluster, PodStream, Rng, VIRTUAL_NODE_LABEL, VIRTUAL_NODE_TAINT};

/// Every pod that is asked about asks for this, and every open node has room for it.
const ROOM: Amounts =
    Amounts { cpu_milli: 4000, memory_bytes: 8 << 30, ephemeral_bytes: 0, pods: 1 };
/// Most that pods on a node may ask for, in percent: the least allocation of the policy.
const FILL_PERCENT: i64 = 90;
/// Pods that run already, per node.
const PODS_PER_NODE: usize = 2;
/// What the elastic pool may hold by the policy.
const ELASTIC_CPU_MILLI: i64 = 2_000_000;
const SEED: u64 = 1;
/// Stream numbers of the seed, apart from the simulator's.
const PLACE_STREAM: u64 = 111;
const ASK_STREAM: u64 = 112;
const ORDER_STREAM: u64 = 113;
const MOVE_STREAM: u64 = 114;
/// Nodes that kube-scheduler meets and does not offer, between two windows: less than this.
const PASSED_BY: u64 = 16;
/// One in so many pairs of neighbouring chunks comes in swapped.
const SWAPPED_ONE_IN: u64 = 3;
const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";

/// Which nodes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum WireCase {
    /// No node: every rule is evaluated, and all names come back.
    All,
    /// Three in ten, those whose name ends in 3, 6 or 9, by four rules: nodeState, poolAdmission,
    /// resourcesFit and elasticLimit.
    Mixed,
}

impl WireCase {
    /// As `--case` takes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Mixed => "mixed",
        }
    }
}

/// What a node is to the pods that are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallerRole {
    Open,
    /// Virtual: open until the pool's limit is reached.
    Elastic,
    /// nodeState refuses it.
    Cordoned,
    /// poolAdmission refuses it.
    Reserved,
    /// resourcesFit refuses it: the pod fits, but not within the allocation.
    Allocated,
}

impl CallerRole {
    fn of(case: WireCase, at: usize) -> Self {
        let roles = [Self::Elastic, Self::Cordoned, Self::Reserved, Self::Allocated];
        match (case, at % 10) {
            (WireCase::All, _) if at % 1000 == 3 => Self::Elastic,
            (WireCase::Mixed, digit @ (3 | 6 | 9)) => {
                roles[(at / 10 + digit / 3 - 1) % roles.len()]
            }
            _ => Self::Open,
        }
    }
}

/// Nodes, the pods on them, and what is asked about.
pub(super) struct Setting {
    /// The lists that a start brings.
    pub(super) cluster: Cluster,
    /// Pods on nodes.
    pub(super) placed: Vec<Pod>,
    /// The nodes' names as JSON strings.
    quoted: Vec<String>,
    /// By node: all pods are refused there.
    refused: Vec<bool>,
    /// Replicas of apps that run already and that spread evenly; a pod that is asked about is one
    /// more of them.
    templates: Vec<Pod>,
}

impl Setting {
    pub(super) fn new(case: WireCase, num_nodes: u32) -> anyhow::Result<Self> {
        let count = num_nodes as usize;
        let mut cluster = sim::cluster(num_nodes + num_nodes / 500 + 3, SEED);
        cluster.nodes.retain(|node| !sim::is_virtual(node));
        cluster.nodes.truncate(count);
        let roles: Vec<CallerRole> = (0..count).map(|at| CallerRole::of(case, at)).collect();
        for ((at, node), role) in cluster.nodes.iter_mut().enumerate().zip(&roles) {
            // As long as names are in production: the work per name depends on it.
            node.name =
                format!("cn-hangzhou.10.1{:02}.{}.{}", at % 7, at / 100, 100 + at % 100).into();
            dress(node, *role);
        }
        let mut placement = WirePlacement::new(&cluster.nodes, &roles);
        PodStream::new(SEED).take(count * PODS_PER_NODE).for_each(|pod| placement.place(pod));
        let templates = placement.templates();
        ensure!(!templates.is_empty(), "no app is large enough on {count} nodes; take more");
        let mut placed = placement.placed;
        if case == WireCase::Mixed {
            fill_up(&cluster.nodes, &roles, &templates[0], &mut placed);
        }
        let refused = |role: &CallerRole| case == WireCase::Mixed && *role != CallerRole::Open;
        Ok(Self {
            quoted: cluster.nodes.iter().map(|node| wire::quoted(&node.name)).collect(),
            refused: roles.iter().map(refused).collect(),
            cluster,
            placed,
            templates,
        })
    }

    /// A node's name.
    pub(super) fn name(&self, at: u32) -> &str {
        &self.cluster.nodes[at as usize].name
    }

    /// A node's name as a JSON string.
    pub(super) fn quoted(&self, at: u32) -> &str {
        &self.quoted[at as usize]
    }

    /// Positions of placed pods that may come and go without changing what must be accepted: they are on
    /// open nodes, and of apps that nobody asks about.
    pub(super) fn moving(&self) -> Vec<u32> {
        let asked: HashSet<AppKey> = self.templates.iter().filter_map(Pod::app).collect();
        let moves = |pod: &Pod| pod.app().is_some_and(|app| !asked.contains(&app));
        let mut moving: Vec<u32> =
            (0..).zip(&self.placed).filter(|(_, pod)| moves(pod)).map(|(at, _)| at).collect();
        Rng::new(SEED, MOVE_STREAM).shuffle(&mut moving);
        moving
    }

    /// Those of the offered nodes that must be accepted.
    pub(super) fn expected(&self, offered: &[u32]) -> impl Iterator<Item = u32> + Clone {
        offered.iter().copied().filter(|at| !self.refused[*at as usize])
    }
}

/// Makes a node what its role says.
fn dress(node: &mut Node, role: CallerRole) {
    let pair = |key: &str, value: &str| (key.into(), value.into());
    let relabel = |node: &mut Node, label: (Box<str>, Box<str>)| {
        let kept = node.labels.iter().filter(|(key, _)| &**key != INSTANCE_TYPE).cloned();
        let mut labels: Vec<_> = kept.chain([label]).collect();
        labels.sort();
        node.labels = labels.into();
    };
    match role {
        CallerRole::Open | CallerRole::Allocated => {}
        CallerRole::Cordoned => node.conditions = Conditions::CORDONED,
        CallerRole::Reserved => relabel(node, pair(INSTANCE_TYPE, "ecs.gn7i-c32g1.8xlarge")),
        CallerRole::Elastic => {
            relabel(node, pair(VIRTUAL_NODE_LABEL.0, VIRTUAL_NODE_LABEL.1));
            let (key, value) = VIRTUAL_NODE_TAINT;
            let effect = TaintEffect::NoSchedule;
            node.taints = [Taint { key: key.into(), value: value.into(), effect }].into();
        }
    }
}

/// Pods on open nodes, replicas of an app in one zone after the other.
struct WirePlacement<'a> {
    nodes: &'a [Node],
    roles: &'a [CallerRole],
    rng: Rng,
    used: Vec<Amounts>,
    /// By app: the zones of its replicas, and one of them.
    apps: HashMap<AppKey, (Vec<usize>, Pod)>,
    zones: Vec<&'a str>,
    placed: Vec<Pod>,
}

impl<'a> WirePlacement<'a> {
    fn new(nodes: &'a [Node], roles: &'a [CallerRole]) -> Self {
        let mut zones: Vec<&str> = nodes.iter().map(zone).collect();
        zones.sort_unstable();
        zones.dedup();
        Self {
            nodes,
            roles,
            rng: Rng::new(SEED, PLACE_STREAM),
            used: vec![Amounts::default(); nodes.len()],
            apps: HashMap::new(),
            zones,
            placed: Vec::new(),
        }
    }

    /// Puts a pod where one of [`ROOM`] fits after it; a pod that finds no such place is left out.
    fn place(&mut self, mut pod: Pod) {
        let Some(app) = pod.app() else {
            return;
        };
        let replicas = self.apps.get(&app).map_or(0, |(zones, _)| zones.len());
        let in_zone = (app.0 as usize % self.zones.len() + replicas) % self.zones.len();
        let start = self.rng.below(self.nodes.len() as u64) as usize;
        let mut from_here = (start..self.nodes.len()).chain(0..start);
        let Some(at) = from_here.find(|at| self.takes(*at, in_zone, pod.requests.base)) else {
            return;
        };
        self.used[at] += pod.requests.base;
        pod.node = Some(self.nodes[at].name.clone());
        let (zones, _) = self.apps.entry(app).or_insert_with(|| (Vec::new(), pod.clone()));
        zones.push(in_zone);
        self.placed.push(pod);
    }

    fn takes(&self, at: usize, in_zone: usize, ask: Amounts) -> bool {
        let (mut after, has) = (self.used[at], self.nodes[at].allocatable);
        after += ask;
        after += ROOM;
        self.roles[at] == CallerRole::Open
            && zone(&self.nodes[at]) == self.zones[in_zone]
            && after.cpu_milli <= has.cpu_milli / 100 * FILL_PERCENT
            && after.memory_bytes <= has.memory_bytes / 100 * FILL_PERCENT
            && after.pods <= has.pods
    }

    /// One replica of each online app that may go anywhere: it asks for [`ROOM`], tolerates virtual
    /// nodes, and no zone has so many of its replicas that one more would be too many (`maxReplicaShare`).
    fn templates(&self) -> Vec<Pod> {
        let apps = self.apps.values().filter(|(zones, pod)| {
            let fullest =
                (0..self.zones.len()).map(|it| zones.iter().filter(|at| **at == it).count());
            let fullest = fullest.max().unwrap_or(0);
            pod.requests.base == ROOM
                && pod.priority_class.starts_with("prod-")
                && pod.tolerations.iter().any(|it| &*it.key == VIRTUAL_NODE_TAINT.0)
                && fullest < (zones.len() + 1).div_ceil(2)
        });
        let mut templates: Vec<Pod> = apps.map(|(_, pod)| pod.clone()).collect();
        templates.sort_by_key(|pod| pod.uid);
        templates
    }
}

fn zone(node: &Node) -> &str {
    node.label(DomainLevel::Zone.label()).unwrap_or("")
}

/// Adds the pods that make the rules refuse: one on each node of role `Allocated`, beside which a
/// pod of [`ROOM`] just fits, and one as large as the limit of the elastic pool.
fn fill_up(nodes: &[Node], roles: &[CallerRole], like: &Pod, placed: &mut Vec<Pod>) {
    let mut fill = |node: &Node, cpu_milli: i64| {
        let uid = PodUid(placed.len() as u128 + 1);
        let mut pod =
            Pod { uid, uid_text: wire::uuid_text(uid.0).into(), owner: None, ..like.clone() };
        pod.name = format!("filler-{}", placed.len()).into();
        pod.requests.base = Amounts { cpu_milli, pods: 1, ..Amounts::default() };
        pod.node = Some(node.name.clone());
        placed.push(pod);
    };
    for (node, role) in nodes.iter().zip(roles) {
        if *role == CallerRole::Allocated {
            fill(node, node.allocatable.cpu_milli - ROOM.cpu_milli);
        }
    }
    let elastic = nodes.iter().zip(roles).find(|(_, role)| **role == CallerRole::Elastic);
    elastic.into_iter().for_each(|(node, _)| fill(node, ELASTIC_CPU_MILLI));
}

/// A pod that waits, and the nodes that kube-scheduler found feasible for it.
#[derive(Clone)]
pub(super) struct OfferedPod {
    /// The pod as kube-scheduler writes it.
    pub(super) pod_json: String,
    /// Positions of nodes, in the order in which they are offered.
    pub(super) offered: Vec<u32>,
}

/// Requests without end, no pod twice, names in the order of one kube-scheduler.
///
/// That order is random (it comes from a map in Go) and stays while the process runs. Each call
/// offers a window of it, the next one begins where the last one ended, and of the chunks that its
/// workers filter at the same time a later one may be done first. Measured on kube-scheduler 1.36.
pub(super) struct OfferedPods<'a> {
    setting: &'a Setting,
    rng: Rng,
    /// Positions of nodes, in the order in which kube-scheduler goes round.
    order: Vec<u32>,
    start: usize,
    made: usize,
}

impl<'a> OfferedPods<'a> {
    pub(super) fn new(setting: &'a Setting) -> Self {
        let mut order: Vec<u32> = (0..).take(setting.quoted.len()).collect();
        Rng::new(SEED, ORDER_STREAM).shuffle(&mut order);
        Self { setting, rng: Rng::new(SEED, ASK_STREAM), order, start: 0, made: 0 }
    }

    /// The next pods with `size` names each.
    pub(super) fn take(&mut self, count: usize, size: usize) -> Vec<OfferedPod> {
        (0..count).map(|_| self.next(size)).collect()
    }

    fn next(&mut self, size: usize) -> OfferedPod {
        let num_nodes = self.order.len();
        let mut offered: Vec<u32> =
            (0..size).map(|it| self.order[(self.start + it) % num_nodes]).collect();
        let chunk = chunk_len(num_nodes);
        for pair in offered.chunks_exact_mut(2 * chunk) {
            if self.rng.below(SWAPPED_ONE_IN) == 0 {
                pair.rotate_left(chunk);
            }
        }
        self.start = (self.start + size + self.rng.below(PASSED_BY) as usize) % num_nodes;
        OfferedPod { pod_json: wire::pod_json(&self.pod()), offered }
    }

    fn pod(&mut self) -> Pod {
        let templates = &self.setting.templates;
        let mut pod = templates[self.made % templates.len()].clone();
        self.made += 1;
        let number = u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64());
        (pod.uid, pod.uid_text) = (PodUid(number), wire::uuid_text(number).into());
        pod.name = format!("{}-{:05}", pod.name, self.made).into();
        pod.resource_version = (1 << 32) + self.made as u64;
        pod.node = None;
        pod
    }
}

/// How many nodes a worker of kube-scheduler takes at once, of sixteen (`parallelize.chunkSizeFor`).
fn chunk_len(num_nodes: usize) -> usize {
    num_nodes.isqrt().clamp(1, num_nodes / 16 + 1)
}

#[cfg(test)]
#[path = "setting_tests.rs"]
mod tests;
