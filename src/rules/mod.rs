//! The rules: one file each, listed once in [`CATALOGUE`]; its order is the order of evaluation.
//!
//! A [`Filter`] refuses nodes and gives no points; a [`Scorer`] gives 0..=1000 points and refuses
//! nothing. Both run over a whole offer at once: one dynamic call per rule and request, then a plain
//! loop over columns. No rule holds state, a cache, a clock or a client: what it needs is a column,
//! a parameter of the class ([`ClassParams`]), or a fact about the pod in [`RuleContext`].

mod bound;
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
mod resources_fit;
mod balanced_allocation;

use crate::cluster::{ResourceOrd, Snapshot, Uncommitted};
use crate::model::{NodeOrd, Pod, Reason};

pub use bound::{Bound, BoundScope, CPU, EPHEMERAL_STORAGE, MEMORY, PODS, REPLICAS};
pub use fill::Fill;
pub use image_locality::images_matter;
pub use params::{ClassParams, PoolParams, Share, SpreadKey, SpreadParams};

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
}

/// An entry of the catalogue.
pub struct RuleSpec {
    /// The rule's name: in `scoring:` of a policy, in explanations, in `policies/README.md`.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// For a scorer, its weight when the policy does not say; 0 for a filter.
    pub default_weight: u16,
    /// Builds the rule for a class; `None` when the class gives it nothing to do.
    pub build: fn(&ClassParams) -> Option<Rule>,
    /// True for a scorer.
    pub scores: bool,
    /// True when all that it looks at is the class, a node's own row (what is taken there besides
    /// included) and the pod's requests and tolerations: what it finds on a node then holds for every
    /// pod of this template, until the row changes.
    pub local: bool,
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
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_filters_come_first() {
        let names: std::collections::BTreeSet<_> = CATALOGUE.iter().map(|it| it.name).collect();
        assert_eq!(names.len(), CATALOGUE.len());
        let first_scorer = CATALOGUE.iter().position(|it| it.scores).unwrap_or(CATALOGUE.len());
        assert!(CATALOGUE.iter().skip(first_scorer).all(|it| it.scores));
        let filters: Vec<_> = CATALOGUE.iter().filter(|it| !it.scores).collect();
        assert!(filters.iter().all(|it| it.default_weight == 0));
        // The first objection stands, and what is local is known first.
        assert!(filters.is_sorted_by_key(|it| !it.local));
    }
}
