//! Why: the same rules once more, with every verdict and every point kept.

use super::filter::{Tally, judge};
use super::in_tree::{InTree, Keys};
use super::judged::NodeJudge;
use super::rank::Ranker;
use super::{Case, Desk, World};
use crate::model::{NodeOrd, Pod, Reason};
use crate::rules::{Cx, Fill, Scored};

/// Why a pod may go where.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The pod's class.
    pub class: String,
    /// It claims a higher class than it was granted.
    pub claimed_more: bool,
    /// Verdicts over all nodes that were looked at.
    pub tally: Tally,
    /// How many of the nodes that are in kube-scheduler's own required constraints leave; `None` where
    /// they say nothing.
    pub num_left: Option<usize>,
    /// Some of these nodes have taints in words that are not known here, so that they are not counted.
    pub has_unclear: bool,
    /// The best nodes, best first, and then examples of refused ones.
    pub nodes: Vec<NodeExplanation>,
}

/// One node's verdict, and its points if it is in.
#[derive(Clone, Debug)]
pub struct NodeExplanation {
    /// The node.
    pub node: NodeOrd,
    /// The verdict.
    pub verdict: Reason,
    /// What `prioritize` would say if all nodes were offered: 0..=10.
    pub score: u32,
    /// Points by scorer.
    pub points: Vec<RulePoints>,
}

/// A scorer's word on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RulePoints {
    /// The scorer.
    pub rule: &'static str,
    /// Its weight.
    pub weight: u32,
    /// 0..=1000.
    pub points: u32,
}

/// Explains a pod over `nodes`: the `most` best ones in full, and one refused node per reason.
pub fn explain(
    desk: &mut Desk,
    world: &World,
    pod: &Pod,
    nodes: &[NodeOrd],
    most: usize,
) -> Explanation {
    let granted = world.classify(pod);
    let class = world.class(granted.class);
    let mut verdicts = Vec::new();
    let apart = desk.holds.apart_with(&world.snapshot, Some(pod));
    let (num_left, has_unclear, explained) = desk.seen_by(world, pod, |extra| {
        let case = Case { world, class, pod, extra };
        let keys = &mut Keys::default();
        let in_tree = InTree::of(&world.snapshot, &apart, pod, &extra.replicas, keys);
        let judge_nodes = NodeJudge::new(case, in_tree.as_ref());
        judge(case, None, nodes, &mut verdicts);
        for (ord, verdict) in nodes.iter().zip(&mut verdicts).filter(|it| *it.1 == Reason::Kept) {
            *verdict = judge_nodes.lacks(*ord).unwrap_or(Reason::Kept);
        }
        let kept = nodes.iter().zip(&verdicts).filter(|(_, it)| **it == Reason::Kept);
        let kept: Vec<NodeOrd> = kept.map(|(ord, _)| *ord).collect();
        let num_left = kept.iter().filter(|ord| judge_nodes.admits(**ord)).count();
        let says_something = in_tree.is_some() || num_left < kept.len();
        let num_left = says_something.then_some(num_left);
        let has_unclear = kept.iter().any(|ord| judge_nodes.is_unclear(*ord));
        let mut ranker = Ranker::default();
        let ranked = ranker.rank(case, None, &kept);
        let mut scores = Vec::new();
        ranked.all_scores(&mut scores);
        let order = ranked.best(most);
        let cx = Cx { snapshot: &world.snapshot, extra, pod, extended: &world.extended_of(pod) };
        let explained = order.into_iter().map(|at| {
            let (nodes, mut fills, buffers) = ([kept[at]], Vec::new(), &mut Default::default());
            Fill::of(&cx, &nodes, &mut fills);
            let points = class.scorers.iter().map(|rule| {
                let (nodes, fills, mut points) = (&nodes, &fills, Vec::new());
                let scored = Scored { nodes, fills, points: &mut points, buffers };
                rule.scorer.score(&cx, scored);
                let points = points.first().copied().unwrap_or(0);
                RulePoints { rule: rule.name, weight: rule.weight.into(), points: points.into() }
            });
            NodeExplanation {
                node: kept[at],
                verdict: Reason::Kept,
                score: scores[at],
                points: points.collect(),
            }
        });
        (num_left, has_unclear, explained.collect::<Vec<_>>())
    });
    let example = |reason: Reason| {
        let at = verdicts.iter().position(|it| *it == reason)?;
        let node = nodes[at];
        Some(NodeExplanation { node, verdict: reason, score: 0, points: Vec::new() })
    };
    let refused = Reason::ALL.into_iter().filter_map(example);
    Explanation {
        class: class.name.clone(),
        claimed_more: granted.claimed_more,
        tally: Tally::of(&verdicts),
        num_left,
        has_unclear,
        nodes: explained.into_iter().chain(refused).collect(),
    }
}
