//! A model of how kube-scheduler 1.36 treats an extender.
//!
//! Modelled: the order of nodes (zones in turn), the rotating window and its size, in-tree fit on a
//! cache of its own that counts assumed pods, cordons, taints; the scores TaintToleration,
//! NodeResourcesFit (LeastAllocated) and NodeResourcesBalancedAllocation with default weights; the
//! total with the extender's points; a tie broken by the seed.
//!
//! Left out, since no generated pod asks for it: PodTopologySpread, affinity of any kind,
//! ImageLocality, volumes, ports, extended resources, preemption, nominations and node hints. Nodes
//! are checked one after the other, where the real one checks them in parallel: there, which of
//! equally placed nodes fall into a window is a race; here it is not.

use super::plugins::{
    MAX_NODE_SCORE, Plugin, balanced_allocation, least_allocated, taint_toleration,
};
use super::rng::mix;
use crate::model::{Amounts, Conditions, DomainLevel, Node, Pod, Taint, TaintEffect};

/// `MaxNodeScore` ÷ `MaxExtenderPriority`.
const EXTENDER_FACTOR: i64 = MAX_NODE_SCORE / 10;
/// `minFeasibleNodesToFind`.
const MIN_FEASIBLE: u32 = 100;
/// `minFeasibleNodesPercentageToFind`.
const MIN_PERCENTAGE: u32 = 5;

/// How kube-scheduler is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerOptions {
    /// `percentageOfNodesToScore`; 0 lets it follow the size of the cluster.
    pub percentage_of_nodes_to_score: u32,
    /// The extender's `weight`.
    pub extender_weight: i64,
    /// Breaks ties.
    pub seed: u64,
}

/// The in-tree plugin that refuses a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScorePlugins {
    /// The node is cordoned.
    NodeUnschedulable,
    /// A taint that the pod does not tolerate.
    TaintToleration,
    /// The requests do not fit.
    NodeResourcesFit,
}

impl ScorePlugins {
    /// The plugin's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::NodeUnschedulable => "NodeUnschedulable",
            Self::TaintToleration => "TaintToleration",
            Self::NodeResourcesFit => "NodeResourcesFit",
        }
    }
}

/// What one attempt finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Feasible nodes as positions in the list that the scheduler was made from.
    pub feasible: Vec<u32>,
    /// How many nodes each plugin refused: cordons, taints, fit.
    pub refused: [u32; 3],
}

impl Window {
    /// The plugin that refused most nodes; among equals the one that is asked last, because what
    /// got that far came closest.
    pub fn main_refusal(&self) -> Option<ScorePlugins> {
        let plugins = [
            ScorePlugins::NodeUnschedulable,
            ScorePlugins::TaintToleration,
            ScorePlugins::NodeResourcesFit,
        ];
        let counted = plugins.into_iter().zip(self.refused).filter(|(_, count)| *count > 0);
        counted.max_by_key(|(_, count)| *count).map(|(plugin, _)| plugin)
    }
}

/// `numFeasibleNodesToFind`: how many feasible nodes end the search.
pub fn num_feasible_nodes_to_find(num_nodes: u32, percentage: u32) -> u32 {
    if num_nodes < MIN_FEASIBLE {
        return num_nodes;
    }
    let percentage = match percentage {
        0 => 50_u32.saturating_sub(num_nodes / 125).max(MIN_PERCENTAGE),
        given => given.min(100),
    };
    let found = u64::from(num_nodes) * u64::from(percentage) / 100;
    (found as u32).max(MIN_FEASIBLE)
}

/// A node in the scheduler's cache.
#[derive(Clone, Debug)]
struct NodeRow {
    allocatable: Amounts,
    /// Σ requests of bound and assumed pods.
    requested: Amounts,
    /// The same with defaults for what a pod does not ask for: LeastAllocated looks at this.
    non_zero: Amounts,
    cordoned: bool,
    taint_set: usize,
}

/// kube-scheduler with one extender.
#[derive(Clone, Debug)]
pub struct Scheduler {
    options: SchedulerOptions,
    rows: Vec<NodeRow>,
    /// Positions in the order of the node tree.
    order: Vec<u32>,
    taint_sets: Vec<Box<[Taint]>>,
    next_start: usize,
}

impl Scheduler {
    /// A scheduler that has just listed these nodes, in this order.
    pub fn new(nodes: &[Node], options: SchedulerOptions) -> Self {
        let mut taint_sets: Vec<Box<[Taint]>> = Vec::new();
        let rows = nodes.iter().map(|node| {
            let known = taint_sets.iter().position(|set| **set == *node.taints);
            let taint_set = known.unwrap_or_else(|| {
                taint_sets.push(node.taints.clone());
                taint_sets.len() - 1
            });
            NodeRow {
                allocatable: node.allocatable,
                requested: Amounts::default(),
                non_zero: Amounts::default(),
                cordoned: node.conditions.intersects(Conditions::CORDONED),
                taint_set,
            }
        });
        let rows = rows.collect();
        Self { options, rows, order: node_tree(nodes), taint_sets, next_start: 0 }
    }

    /// The feasible nodes of the next attempt, in the order in which they are found; moves the
    /// start of the one after it.
    pub fn find_feasible(&mut self, pod: &Pod) -> Window {
        let num_nodes = self.order.len();
        let percentage = self.options.percentage_of_nodes_to_score;
        let wanted = num_feasible_nodes_to_find(num_nodes as u32, percentage) as usize;
        let tolerated = self.tolerated(pod);
        let tolerates_cordon = pod.tolerations.iter().any(|it| it.tolerates(&cordon_taint()));
        let mut window = Window { feasible: Vec::with_capacity(wanted), refused: [0; 3] };
        let mut processed = 0;
        let (head, tail) = self.order.split_at(self.next_start);
        for &at in tail.iter().chain(head) {
            if window.feasible.len() >= wanted {
                break;
            }
            processed += 1;
            let row = &self.rows[at as usize];
            let refused_by = if row.cordoned && !tolerates_cordon {
                Some(ScorePlugins::NodeUnschedulable)
            } else if !tolerated[row.taint_set] {
                Some(ScorePlugins::TaintToleration)
            } else if !row.fits(pod.requests.base) {
                Some(ScorePlugins::NodeResourcesFit)
            } else {
                None
            };
            match refused_by {
                Some(plugin) => window.refused[plugin as usize] += 1,
                None => window.feasible.push(at),
            }
        }
        if num_nodes > 0 {
            self.next_start = (self.next_start + processed) % num_nodes;
        }
        window
    }

    /// The node with the highest total, given the extender's points for each candidate; `None` when
    /// there is no candidate. With one candidate nothing is scored.
    pub fn select(&self, pod: &Pod, candidates: &[u32], extender: &[i64]) -> Option<u32> {
        if let [only] = candidates {
            return Some(*only);
        }
        let in_tree = self.in_tree_scores(pod, candidates);
        let points = extender.iter().copied().chain(std::iter::repeat(0));
        let totals = in_tree.into_iter().zip(points).map(|(in_tree, points)| {
            let weighted = points.wrapping_mul(self.options.extender_weight);
            in_tree.wrapping_add(weighted.wrapping_mul(EXTENDER_FACTOR))
        });
        let ranked =
            candidates.iter().zip(totals).map(|(&at, total)| (total, self.lot(pod, at), at));
        ranked.max().map(|(_, _, at)| at)
    }

    /// Σ of the modelled in-tree scores times their weights, by candidate.
    pub fn in_tree_scores(&self, pod: &Pod, candidates: &[u32]) -> Vec<i64> {
        let ask = pod.requests.base;
        let by_set: Vec<i64> = self
            .taint_sets
            .iter()
            .map(|set| taint_toleration::intolerable(&pod.tolerations, set))
            .collect();
        let rows = || candidates.iter().map(|at| &self.rows[*at as usize]);
        let taints = taint_toleration::scores(rows().map(|row| by_set[row.taint_set]).collect());
        let score = |(row, taints): (&NodeRow, i64)| {
            let free = least_allocated::score(ask, row.non_zero, row.allocatable);
            let balanced = balanced_allocation::score(ask, row.requested, row.allocatable);
            Plugin::TaintToleration.weight() * taints
                + Plugin::NodeResourcesFit.weight() * free
                + Plugin::NodeResourcesBalancedAllocation.weight() * balanced
        };
        rows().zip(taints).map(score).collect()
    }

    /// Counts a pod on a node from now on, as the scheduler does before the binding is confirmed.
    pub fn assume(&mut self, pod: &Pod, at: u32) {
        if let Some(row) = self.rows.get_mut(at as usize) {
            row.requested += pod.requests.base;
            row.non_zero += least_allocated::non_zero(pod.requests.base);
        }
    }

    fn tolerated(&self, pod: &Pod) -> Vec<bool> {
        let keeps_out = |taint: &&Taint| taint.effect.keeps_off();
        let tolerates = |taint: &Taint| pod.tolerations.iter().any(|it| it.tolerates(taint));
        let sets = self.taint_sets.iter();
        sets.map(|set| set.iter().filter(keeps_out).all(tolerates)).collect()
    }

    /// What the real one draws at random, drawn from the seed.
    fn lot(&self, pod: &Pod, at: u32) -> u64 {
        let uid = (pod.uid.0 as u64) ^ ((pod.uid.0 >> 64) as u64).rotate_left(32);
        mix(mix(self.options.seed ^ uid).wrapping_add(u64::from(at)))
    }
}

impl NodeRow {
    fn fits(&self, ask: Amounts) -> bool {
        let (has, used) = (self.allocatable, self.requested);
        let fits = |ask: i64, has: i64, used: i64| ask == 0 || ask <= has.saturating_sub(used);
        used.pods < has.pods
            && fits(ask.cpu_milli, has.cpu_milli, used.cpu_milli)
            && fits(ask.memory_bytes, has.memory_bytes, used.memory_bytes)
            && fits(ask.ephemeral_bytes, has.ephemeral_bytes, used.ephemeral_bytes)
    }
}

fn cordon_taint() -> Taint {
    Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        value: "".into(),
        effect: TaintEffect::NoSchedule,
    }
}

/// The scheduler's list: one node of each zone in turn, zones in the order of their first node.
fn node_tree(nodes: &[Node]) -> Vec<u32> {
    let mut zones: Vec<(String, Vec<u32>)> = Vec::new();
    for (at, node) in (0_u32..).zip(nodes) {
        let label = |level: DomainLevel| node.label(level.label()).unwrap_or("");
        let name = format!("{}:{}", label(DomainLevel::Region), label(DomainLevel::Zone));
        match zones.iter_mut().find(|(zone, _)| *zone == name) {
            Some((_, members)) => members.push(at),
            None => zones.push((name, vec![at])),
        }
    }
    let longest = zones.iter().map(|(_, members)| members.len()).max().unwrap_or(0);
    let turn = |at: usize| zones.iter().filter_map(move |(_, members)| members.get(at).copied());
    (0..longest).flat_map(turn).collect()
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
