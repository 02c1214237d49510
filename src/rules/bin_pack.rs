//! Score: fill nodes that are already in use (`binPack`), or keep them evenly filled (`spread`).
//!
//! Points follow the larger of the CPU and memory shares that the node would have with the pod on it:
//! the resource that runs out first decides how full a node is. An elastic node counts as empty: its
//! capacity is fiction and must not be compared with a real one.

use super::{ClassParams, Cx, MAX_POINTS, Rule, RuleSpec, Scorer};
use crate::model::{NodeOrd, PoolOrd};

/// The catalogue's entry for packing.
pub(super) static PACK: RuleSpec = RuleSpec {
    name: "binPack",
    summary: "prefer nodes that are fuller",
    default_weight: 10,
    build: |class| build(class, true),
    scores: true,
};

/// The catalogue's entry for spreading load.
pub(super) static SPREAD: RuleSpec = RuleSpec {
    name: "leastAllocated",
    summary: "prefer nodes that are emptier",
    default_weight: 0,
    build: |class| build(class, false),
    scores: true,
};

struct Fullness {
    elastic: [bool; PoolOrd::MAX_POOLS + 1],
    fuller_is_better: bool,
}

fn build(class: &ClassParams, fuller_is_better: bool) -> Option<Rule> {
    let mut elastic = [false; PoolOrd::MAX_POOLS + 1];
    for (slot, pool) in elastic.iter_mut().zip(&class.pools) {
        *slot = pool.elastic;
    }
    Some(Rule::Scorer(Box::new(Fullness { elastic, fuller_is_better })))
}

impl Scorer for Fullness {
    fn score(&self, cx: &Cx<'_>, nodes: &[NodeOrd], points: &mut [u32]) {
        let ask = cx.pod.requests.base;
        let (columns, extra) = (&cx.snapshot.columns, cx.extra);
        for (ord, points) in nodes.iter().zip(points) {
            let at = ord.index();
            if self.elastic[columns.pool[at].index().min(PoolOrd::MAX_POOLS)] {
                continue;
            }
            let cpu = columns.used_cpu_milli[at] + extra.cpu_milli[at] + ask.cpu_milli.min(1 << 48);
            let memory = columns.used_memory_bytes[at]
                + extra.memory_bytes[at]
                + ask.memory_bytes.min(1 << 48);
            let fullness = permille(cpu, columns.allocatable_cpu_milli[at])
                .max(permille(memory, columns.allocatable_memory_bytes[at]));
            *points = if self.fuller_is_better { fullness } else { MAX_POINTS - fullness };
        }
    }
}

/// `part` of `whole` in thousandths, at most 1000; a node without the resource is full.
pub(super) fn permille(part: i64, whole: i64) -> u32 {
    if whole <= 0 || part >= whole {
        return MAX_POINTS;
    }
    // Below 2^48 by construction, so the product fits.
    (part.max(0) * i64::from(MAX_POINTS) / whole) as u32
}
