//! Why: the same rules once more, with every verdict and every point kept.

use super::constraints::{ConstraintKind, RequiredConstraints, TopologyDomains};
use super::filter::{Tally, judge};
use super::rank::Ranker;
use super::unoffered::UnofferedNodes;
use super::{Decider, DecisionContext, View};
use crate::cluster::Uncommitted;
use crate::model::{Amounts, NodeOrd, Pod, Reason};
use crate::rules::{Bound, Fill, Scored};

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
    /// Of the others: which constraint rules out how many, each node by the first that does.
    pub ruled_out: Vec<(ConstraintKind, usize)>,
    /// Some nodes have taints in words that are not known here, so that these nodes are not counted.
    pub has_unclear: bool,
    /// The best nodes of those that are left, best first, and then examples of refused ones.
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
    /// What holds of other pods take on it, and what their nominations take.
    pub uncommitted: UncommittedView<Amounts>,
    /// The comparisons with a limit that fail, where the verdict is of such a rule; with what of
    /// [`Bound::uncommitted`] is by whom.
    pub exceeded: Vec<(Bound, UncommittedView<i64>)>,
}

/// What other pods take that are not placed yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UncommittedView<T> {
    /// By pods that were answered.
    pub held: T,
    /// By pods that are nominated, and not held there.
    pub nominated: T,
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
    decider: &mut Decider,
    view: &View,
    pod: &Pod,
    nodes: &[NodeOrd],
    most: usize,
) -> Explanation {
    let granted = view.classify(pod);
    let class = view.class(granted.class);
    let snapshot = &*view.snapshot;
    let existing_anti_affinity = decider.holds.existing_anti_affinity(snapshot, Some(pod));
    let nominated = decider.holds.nominated_seen_by(snapshot, pod);
    decider.seen_by(view, pod, |uncommitted| {
        let mut verdicts = Vec::new();
        let case = DecisionContext { view, class, pod, uncommitted };
        judge(case, None, nodes, &mut verdicts);
        let keys = &mut TopologyDomains::default();
        let constraints = RequiredConstraints::of(
            snapshot,
            &existing_anti_affinity,
            pod,
            &uncommitted.replicas,
            keys,
        );
        let judge_nodes = UnofferedNodes::new(case, constraints.as_ref());
        for (ord, verdict) in nodes.iter().zip(&mut verdicts).filter(|it| *it.1 == Reason::Kept) {
            *verdict = judge_nodes.lacks(*ord).unwrap_or(Reason::Kept);
        }
        let kept = nodes.iter().zip(&verdicts).filter(|(_, it)| **it == Reason::Kept);
        let mut kept: Vec<NodeOrd> = kept.map(|(ord, _)| *ord).collect();
        let num_kept = kept.len();
        let has_unclear = kept.iter().any(|ord| judge_nodes.is_unclear(*ord));
        let ruled_out = judge_nodes.rule_out(&mut kept);
        let says_something = constraints.is_some() || kept.len() < num_kept;
        let shown = Shown { case, nominated: &nominated };
        let mut explained = shown.best(&kept, most);
        explained.extend(Reason::ALL.into_iter().filter_map(|reason| {
            let refused = || nodes.iter().zip(&verdicts).filter(|it| *it.1 == reason);
            // An example that the pod could have, if there is one.
            let admitted = |ord: &NodeOrd| constraints.as_ref().is_none_or(|it| it.admits(*ord));
            let example = refused().find(|(ord, _)| admitted(ord)).or_else(|| refused().next())?;
            Some(shown.refused(*example.0, reason))
        }));
        Explanation {
            class: class.name.clone(),
            claimed_more: granted.claimed_more,
            tally: Tally::of(&verdicts),
            num_left: says_something.then_some(kept.len()),
            ruled_out,
            has_unclear,
            nodes: explained,
        }
    })
}

/// What nodes are explained by.
struct Shown<'a> {
    case: DecisionContext<'a>,
    /// The part of the case's [`Uncommitted`] that nominations take.
    nominated: &'a Uncommitted,
}

impl Shown<'_> {
    fn best(&self, kept: &[NodeOrd], most: usize) -> Vec<NodeExplanation> {
        let mut ranker = Ranker::default();
        let ranked = ranker.rank(self.case, None, kept);
        let mut scores = Vec::new();
        ranked.all_scores(&mut scores);
        let best = ranked.best(most).into_iter();
        best.map(|at| NodeExplanation {
            node: kept[at],
            verdict: Reason::Kept,
            score: scores[at],
            points: self.points(kept[at]),
            uncommitted: self.uncommitted(kept[at]),
            exceeded: Vec::new(),
        })
        .collect()
    }

    fn points(&self, node: NodeOrd) -> Vec<RulePoints> {
        let DecisionContext { view, class, pod, .. } = self.case;
        let extended = view.extended_of(pod);
        let cx = self.case.for_rules(&extended);
        let (nodes, mut fills, buffers) = ([node], Vec::new(), &mut Default::default());
        Fill::of(&cx, &nodes, &mut fills);
        let points = class.scorers.iter().map(|rule| {
            let (nodes, fills, mut points) = (&nodes, &fills, Vec::new());
            let scored = Scored { nodes, fills, points: &mut points, buffers };
            rule.scorer.score(&cx, scored);
            let points = points.first().copied().unwrap_or(0);
            RulePoints { rule: rule.name, weight: rule.weight.into(), points: points.into() }
        });
        points.collect()
    }

    fn refused(&self, node: NodeOrd, verdict: Reason) -> NodeExplanation {
        let DecisionContext { view, class, pod, uncommitted } = self.case;
        let extended = view.extended_of(pod);
        let bounds = |uncommitted: &Uncommitted| -> Vec<Bound> {
            let case = DecisionContext { uncommitted, ..self.case };
            let cx = case.for_rules(&extended);
            class.filters.iter().flat_map(|rule| rule.filter.bounds(&cx, node)).collect()
        };
        // The same comparisons, with nominations alone.
        let bounds = bounds(uncommitted).into_iter().zip(bounds(self.nominated));
        let exceeded = bounds.filter(|(it, _)| it.reason == verdict && it.is_exceeded());
        NodeExplanation {
            node,
            verdict,
            score: 0,
            points: Vec::new(),
            uncommitted: self.uncommitted(node),
            exceeded: exceeded
                .map(|(bound, nominated)| {
                    let nominated = nominated.uncommitted;
                    let held = bound.uncommitted - nominated;
                    (bound, UncommittedView { held, nominated })
                })
                .collect(),
        }
    }

    fn uncommitted(&self, node: NodeOrd) -> UncommittedView<Amounts> {
        let (mut held, nominated) = (self.case.uncommitted.on(node), self.nominated.on(node));
        held -= nominated;
        UncommittedView { held, nominated }
    }
}

#[cfg(test)]
mod tests;
