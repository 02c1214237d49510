//! Score: the first pool of the class's list is worth most, the last one nothing.

use super::{
    ClassParams, MAX_POINTS, Rule, RuleContext, RuleKind, RuleSpec, Scopes, Scored, Scorer,
};
use crate::model::{NodeOrd, PoolOrd};

/// The catalogue's entry.
pub(super) static SPEC: RuleSpec = RuleSpec {
    name: "poolOrder",
    summary: "prefer pools in the order of the class's `pools` list",
    kind: RuleKind::Bands,
    default_weight: 100,
    build,
    scopes: Scopes::NODE,
};

struct PoolOrder {
    points: [u16; PoolOrd::MAX_POOLS + 1],
}

fn build(class: &ClassParams) -> Option<Rule> {
    let order = class.order.as_ref().filter(|order| class.is_ordered && order.len() > 1)?;
    let mut points = [0; PoolOrd::MAX_POOLS + 1];
    let steps = order.len() - 1;
    for (rank, pool) in order.iter().enumerate() {
        let share = usize::from(MAX_POINTS) * (steps - rank) / steps;
        points[pool.index().min(PoolOrd::MAX_POOLS)] = share as u16;
    }
    Some(Rule::Scorer(Box::new(PoolOrder { points })))
}

impl Scorer for PoolOrder {
    fn score(&self, cx: &RuleContext<'_>, scored: Scored<'_>) {
        let pools = &cx.snapshot.columns.pool;
        let of = |ord: &NodeOrd| self.points[pools[ord.index()].index().min(PoolOrd::MAX_POOLS)];
        scored.points.extend(scored.nodes.iter().map(of));
    }
}
