//! The rules: one file each, listed once in [`CATALOGUE`]; its order is the order of evaluation.
//!
//! A [`Filter`] refuses nodes and gives no points; a [`Scorer`] gives 0..=1000 points and refuses
//! nothing; a [`CandidateRule`] drops candidates for preemption. Each runs over a whole offer at once: one dynamic call per rule and request, then a plain
//! loop over columns. No rule holds state, a cache, a clock or a client: what it needs is a column,
//! a parameter of the class ([`ClassParams`]), a fact about the pod or the moment in [`RuleContext`]. Its
//! [`Scopes`] declare which of these inputs its results depend on.

mod bound;
mod candidates;
mod fill;
mod params;

mod bin_pack;
mod max_replica_share;
mod elastic_limit;
mod topology_spread;
mod node_spread;
mod image_locality;
mod node_state;
mod pool_admission;
mod pool_order;
mod protected_victims;
mod resources_fit;
mod scopes;
mod balanced_allocation;

use crate::cluster::{ResourceOrd, Snapshot, Uncommitted};
use crate::model::{NodeOrd, Now, Pod, Reason};

pub use bound::{Bound, BoundScope, CPU, EPHEMERAL_STORAGE, MEMORY, PODS, REPLICAS};
pub use candidates::{CandidateRule, Candidates, VictimNode, VictimPod};
pub use fill::Fill;
pub use image_locality::images_matter;
pub use params::{ClassParams, PoolParams, Share, SpreadKey, SpreadParams};
pub use scopes::Scopes;

/// What a rule looks at; always the first argument.
#[derive(Clone, Copy)]
pub struct RuleContext<'a> {
    /// The cluster.
    pub snapshot: &'a Snapshot,
    /// What is taken beside the snapshot's sums.
    pub uncommitted: &'a Uncommitted,
    /// The pod to be placed.
    pub pod: &'a Pod,
    /// The pod's extended requests by ordinal; what no node publishes and no pod asked for before
    /// has none and is left to kube-scheduler.
    pub extended: &'a [(ResourceOrd, i64)],
    /// The moment of the decision. Only a rule with [`Scopes::TIME`] may look at it.
    pub now: Now,
}

/// The nodes under decision and the verdict on each, by position.
pub struct Offer<'a> {
    /// The nodes, in the order of the request; none is [`NodeOrd::UNKNOWN`] unless its verdict is
    /// already [`Reason::UnknownNode`].
    pub nodes: &'a [NodeOrd],
    /// [`Reason::Kept`] until a rule objects; the first objection stands.
    pub verdicts: &'a mut [Reason],
}

impl Offer<'_> {
    /// Refuses every node that is still in and for which `objects` holds.
    pub fn refuse(&mut self, reason: Reason, mut objects: impl FnMut(usize) -> bool) {
        self.refuse_for(|at| objects(at).then_some(reason));
    }

    /// Refuses every node that is still in and for which there is an objection.
    #[inline]
    pub fn refuse_for(&mut self, mut objection: impl FnMut(usize) -> Option<Reason>) {
        let (nodes, verdicts) = (self.nodes, &mut *self.verdicts);
        for (ord, verdict) in nodes.iter().zip(verdicts) {
            if *verdict == Reason::Kept
                && let Some(reason) = objection(ord.index())
            {
                *verdict = reason;
            }
        }
    }
}

/// A hard rule.
pub trait Filter: Send + Sync {
    /// Refuses nodes of the offer.
    fn judge(&self, cx: &RuleContext<'_>, offer: &mut Offer<'_>);

    /// What the rule compares with a limit on a node, for `sigma why`. A rule that compares nothing has none.
    fn bounds(&self, _cx: &RuleContext<'_>, _node: NodeOrd) -> Vec<Bound> {
        Vec::new()
    }
}

/// The nodes that get points, and what scorers share; all by position.
pub struct Scored<'a> {
    /// The nodes; all are known.
    pub nodes: &'a [NodeOrd],
    /// How full each would be, see [`Fill::of`]; empty for a scorer that is not local.
    pub fills: &'a [Fill],
    /// Empty. Filled with 0..=[`MAX_POINTS`] for each node, or left empty when none gets any.
    pub points: &'a mut Vec<u16>,
    /// For the scorer's own use; may hold anything.
    pub buffers: &'a mut [Vec<u32>; 2],
}

/// A soft rule.
pub trait Scorer: Send + Sync {
    /// Gives each node its points.
    fn score(&self, cx: &RuleContext<'_>, scored: Scored<'_>);
}

/// The most points a scorer gives. Points and weights are of 16 bits: of those every x86-64 processor
/// multiplies eight at once.
pub const MAX_POINTS: u16 = 1000;
/// The largest weight of a scorer: all weighted points together fit into 32 bits.
pub const MAX_WEIGHT: u16 = 1000;

/// A rule as built for one class.
pub enum Rule {
    /// A hard rule.
    Filter(Box<dyn Filter>),
    /// A soft rule.
    Scorer(Box<dyn Scorer>),
    /// A rule about candidates for preemption.
    Candidates(Box<dyn CandidateRule>),
}

/// How a rule takes part in decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleKind {
    /// Refuses nodes.
    Filter,
    /// Gives points, which are weighted and summed.
    Scorer,
    /// A scorer whose weight, if above 0, puts pools into bands. The order of bands comes before all points, so its
    /// own points are not summed.
    Bands,
    /// Drops candidates for preemption.
    Candidates,
}

impl RuleKind {
    /// True for a rule that gives points.
    pub fn has_weight(self) -> bool {
        matches!(self, Self::Scorer | Self::Bands)
    }
}

/// An entry of the catalogue.
pub struct RuleSpec {
    /// The rule's name: in `scoring:` of a policy, in explanations, in `policies/README.md`.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// How it takes part.
    pub kind: RuleKind,
    /// For a scorer, its weight when the policy does not say; 0 for a filter.
    pub default_weight: u16,
    /// Builds the rule for a class; `None` when the class gives it nothing to do.
    pub build: fn(&ClassParams) -> Option<Rule>,
    /// The inputs that its results depend on.
    pub scopes: Scopes,
}

/// Every rule there is, in the order of evaluation.
pub static CATALOGUE: &[&RuleSpec] = &[
    &node_state::SPEC,
    &pool_admission::SPEC,
    &resources_fit::SPEC,
    &elastic_limit::SPEC,
    &max_replica_share::SPEC,
    &pool_order::SPEC,
    &bin_pack::PACK,
    &bin_pack::SPREAD,
    &topology_spread::SPEC,
    &node_spread::SPEC,
    &image_locality::SPEC,
    &balanced_allocation::SPEC,
    &protected_victims::SPEC,
];

/// Scorers that want the opposite of each other. With one weight they cancel each other.
pub static OPPOSITES: &[[&RuleSpec; 2]] = &[[&bin_pack::PACK, &bin_pack::SPREAD]];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Amounts, PoolOrd};

    /// A class that gives every rule something to do.
    fn everything() -> ClassParams {
        let limit = Some(Amounts::default());
        ClassParams {
            pools: vec![PoolParams { limit, ..PoolParams::default() }],
            order: Some(vec![PoolOrd(0), PoolOrd::NONE]),
            is_ordered: true,
            spread: Some(SpreadParams { key: SpreadKey::Node, max_share_permille: Some(500) }),
            is_protected: false,
        }
    }

    #[test]
    fn names_are_unique_and_kinds_are_in_order() {
        let names: std::collections::BTreeSet<_> = CATALOGUE.iter().map(|it| it.name).collect();
        assert_eq!(names.len(), CATALOGUE.len());
        assert!(CATALOGUE.is_sorted_by_key(|it| match it.kind {
            RuleKind::Filter => 0,
            RuleKind::Scorer | RuleKind::Bands => 1,
            RuleKind::Candidates => 2,
        }));
        assert!(CATALOGUE.iter().all(|it| it.kind.has_weight() || it.default_weight == 0));
        for spec in CATALOGUE {
            let has_kind = match (spec.build)(&everything()) {
                Some(Rule::Filter(_)) => spec.kind == RuleKind::Filter,
                Some(Rule::Scorer(_)) => spec.kind.has_weight(),
                Some(Rule::Candidates(_)) => spec.kind == RuleKind::Candidates,
                None => false,
            };
            assert!(has_kind, "{}", spec.name);
        }
        let filters: Vec<_> = CATALOGUE.iter().filter(|it| it.kind == RuleKind::Filter).collect();
        // The first objection stands, and the results of local rules are known first.
        assert!(filters.is_sorted_by_key(|it| !it.scopes.is_local()));
    }
}
