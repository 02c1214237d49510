//! Score: fill nodes that are already in use (`binPack`), or keep them evenly filled (`spread`).
//!
//! Points follow the larger of the CPU and memory shares that the node would have with the pod on it:
//! the resource that runs out first decides how full a node is. An elastic node counts as empty: its
//! capacity is fiction and must not be compared with a real one.

use super::{ClassParams, Cx, MAX_POINTS, Rule, RuleSpec, Scorer};
use crate::model::{Amounts, NodeOrd, PoolOrd};

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
        let fill = Fill::with_pod(cx);
        for (ord, points) in nodes.iter().zip(points) {
            let at = ord.index();
            if self.elastic[fill.pool[at].index().min(PoolOrd::MAX_POOLS)] {
                continue;
            }
            let (cpu, memory) = fill.permille(at);
            let fullness = cpu.max(memory);
            *points = if self.fuller_is_better { fullness } else { MAX_POINTS - fullness };
        }
    }
}

/// How full nodes would be with the pod on them. The columns are cut to one length, so that a row is
/// checked against it once.
pub(super) struct Fill<'a> {
    pub(super) pool: &'a [PoolOrd],
    ask: Amounts,
    used: [&'a [i64]; 2],
    extra: [&'a [i64]; 2],
    allocatable: [&'a [i64]; 2],
}

impl<'a> Fill<'a> {
    /// With the pod under decision.
    pub(super) fn with_pod(cx: &Cx<'a>) -> Self {
        let (columns, extra) = (&cx.snapshot.columns, cx.extra);
        let rows = columns.pool.len();
        Self {
            pool: &columns.pool,
            ask: cx.pod.requests.base,
            used: [&columns.used_cpu_milli[..rows], &columns.used_memory_bytes[..rows]],
            extra: [&extra.cpu_milli[..rows], &extra.memory_bytes[..rows]],
            allocatable: [
                &columns.allocatable_cpu_milli[..rows],
                &columns.allocatable_memory_bytes[..rows],
            ],
        }
    }

    /// A node's CPU and memory in use, in thousandths of what it has.
    #[inline]
    pub(super) fn permille(&self, at: usize) -> (u32, u32) {
        let of = |resource: usize, ask: i64| {
            let used = self.used[resource][at] + self.extra[resource][at] + ask.min(1 << 48);
            permille(used, self.allocatable[resource][at])
        };
        (of(0, self.ask.cpu_milli), of(1, self.ask.memory_bytes))
    }
}

/// `part` of `whole` in thousandths, at most 1000; a node without the resource is full.
fn permille(part: i64, whole: i64) -> u32 {
    if whole <= 0 || part >= whole {
        return MAX_POINTS;
    }
    // Below 2^48 by construction, so the product fits.
    (part.max(0) * i64::from(MAX_POINTS) / whole) as u32
}
