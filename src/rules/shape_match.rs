//! Score: a pod that asks for much memory per CPU goes where much memory per CPU is left.
//!
//! Points fall with the distance between the CPU and memory shares that would be left: a node on
//! which both run out together strands neither. (Kubernetes' BalancedAllocation has the same aim; at
//! sampled sizes its few points drown, and it does not know what is held.)

use super::bin_pack::Fill;
use super::{ClassParams, Cx, MAX_POINTS, Rule, RuleSpec, Scorer};
use crate::model::{NodeOrd, PoolOrd};

/// The catalogue's entry.
pub(super) static SPEC: RuleSpec = RuleSpec {
    name: "shapeMatch",
    summary: "prefer nodes whose CPU and memory would run out together",
    default_weight: 20,
    build,
    scores: true,
};

struct ShapeMatch {
    elastic: [bool; PoolOrd::MAX_POOLS + 1],
}

fn build(class: &ClassParams) -> Option<Rule> {
    let mut elastic = [false; PoolOrd::MAX_POOLS + 1];
    for (slot, pool) in elastic.iter_mut().zip(&class.pools) {
        *slot = pool.elastic;
    }
    Some(Rule::Scorer(Box::new(ShapeMatch { elastic })))
}

impl Scorer for ShapeMatch {
    fn score(&self, cx: &Cx<'_>, nodes: &[NodeOrd], points: &mut [u32]) {
        let fill = Fill::with_pod(cx);
        for (ord, points) in nodes.iter().zip(points) {
            let at = ord.index();
            if self.elastic[fill.pool[at].index().min(PoolOrd::MAX_POOLS)] {
                continue;
            }
            let (cpu, memory) = fill.permille(at);
            *points = MAX_POINTS - cpu.abs_diff(memory);
        }
    }
}
