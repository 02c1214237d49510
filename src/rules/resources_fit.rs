//! Filter: requests fit into what the node has left, and into the share that the class may fill.
//!
//! In-tree fit has judged plain requests already, on a fresher snapshot than ours; it is repeated here
//! because holds, nominations and the planner see what it cannot. The `allocation` limit is ours
//! alone: a pod refused by it alone cannot preempt, because in-tree it fits.

use rustc_hash::FxHashMap;

use super::{
    Bound, BoundScope, ClassParams, Filter, Offer, Rule, RuleContext, RuleKind, RuleSpec, Scopes,
    Share, bound,
};
use crate::cluster::ResourceOrd;
use crate::model::{NodeOrd, PoolOrd, Reason};

/// The catalogue's entry.
pub(super) static SPEC: RuleSpec = RuleSpec {
    name: "resourcesFit",
    summary: "requests fit into the node, and into the pool's `allocation` of it",
    kind: RuleKind::Filter,
    default_weight: 0,
    build,
    scopes: Scopes::NODE,
};

struct ResourcesFit {
    /// By pool ordinal, at the end for a node in no pool; elastic pools have no entry of their own.
    shares: [Share; PoolOrd::MAX_POOLS + 1],
    elastic: [bool; PoolOrd::MAX_POOLS + 1],
    limits: bool,
}

fn build(class: &ClassParams) -> Option<Rule> {
    let mut rule = ResourcesFit {
        shares: [Share::ALL; PoolOrd::MAX_POOLS + 1],
        elastic: [false; PoolOrd::MAX_POOLS + 1],
        limits: false,
    };
    for (at, pool) in class.pools.iter().enumerate().take(PoolOrd::MAX_POOLS) {
        rule.shares[at] = pool.allocation;
        rule.elastic[at] = pool.elastic;
        rule.limits |= pool.allocation != Share::ALL && !pool.elastic;
    }
    Some(Rule::Filter(Box::new(rule)))
}

impl Filter for ResourcesFit {
    fn judge(&self, cx: &RuleContext<'_>, offer: &mut Offer<'_>) {
        for &(resource, amount) in cx.extended {
            fits_extended(cx, offer, resource, amount);
        }
        let ask = cx.pod.requests.base;
        let (columns, uncommitted) = (&cx.snapshot.columns, cx.uncommitted);
        // Columns of one length: a row is checked against it once.
        let rows = columns.pool.len();
        let cpu = Asked::new(
            ask.cpu_milli,
            rows,
            [&columns.used_cpu_milli, &uncommitted.cpu_milli, &columns.allocatable_cpu_milli],
        );
        let memory = Asked::new(
            ask.memory_bytes,
            rows,
            [
                &columns.used_memory_bytes,
                &uncommitted.memory_bytes,
                &columns.allocatable_memory_bytes,
            ],
        );
        let ephemeral = Asked::new(
            ask.ephemeral_bytes,
            rows,
            [
                &columns.used_ephemeral_bytes,
                &uncommitted.ephemeral_bytes,
                &columns.allocatable_ephemeral_bytes,
            ],
        );
        let pods = Asked::new(
            ask.pods,
            rows,
            [&columns.used_pods, &uncommitted.pods, &columns.allocatable_pods],
        );
        let pools = &columns.pool[..rows];
        // One walk over the offer: rows are read once, by position as the scheduler sent them.
        let (elastic, shares, limits) = (&self.elastic, &self.shares, self.limits);
        offer.refuse_for(move |at| {
            // The one check of bounds: what is behind it needs none.
            if at >= rows {
                return Some(Reason::UnknownNode);
            }
            let slot = slot(pools[at]);
            if elastic[slot] {
                return None;
            }
            let lacks = cpu.lacks(at) || memory.lacks(at) || pods.lacks(at) || ephemeral.lacks(at);
            if lacks {
                return Some(Reason::Insufficient);
            }
            if !limits || shares[slot] == Share::ALL {
                return None;
            }
            let Share { cpu_permille, memory_permille } = shares[slot];
            let over = cpu.exceeds(at, cpu_permille) || memory.exceeds(at, memory_permille);
            over.then_some(Reason::AllocationLimit)
        });
    }

    fn bounds(&self, cx: &RuleContext<'_>, node: NodeOrd) -> Vec<Bound> {
        let mut bounds = extended_bounds(cx, node);
        let slot = slot(cx.snapshot.pool(node));
        if self.elastic[slot] {
            return bounds;
        }
        let uncommitted = cx.uncommitted.on(node);
        let (used, has) = (cx.snapshot.used(node), cx.snapshot.allocatable(node));
        let amounts = [cx.pod.requests.base, used, uncommitted, has];
        let base = bound::base(Reason::Insufficient, &BoundScope::Node, amounts);
        // What is not asked for is not looked at.
        let asked = base.into_iter().filter(|it| it.asked > 0);
        let Share { cpu_permille, memory_permille } = self.shares[slot];
        for bound in asked {
            let share = match &*bound.resource {
                bound::CPU => cpu_permille,
                bound::MEMORY => memory_permille,
                _ => 1000,
            };
            if self.limits && share != 1000 {
                bounds.push(bound.clone().with_share(Reason::AllocationLimit, share));
            }
            bounds.push(bound);
        }
        bounds
    }
}

fn extended_bounds(cx: &RuleContext<'_>, node: NodeOrd) -> Vec<Bound> {
    let bound = |&(resource, asked): &(ResourceOrd, i64)| {
        let column = cx.snapshot.extended.get(usize::from(resource.0))?;
        let limit = column.allocatable.get(node.index()).copied().filter(|it| *it > 0)?;
        let taken = cx.uncommitted.extended.iter().filter(|it| (it.0, it.1) == (node, resource));
        Some(Bound {
            reason: Reason::Insufficient,
            resource: column.name.as_ref().into(),
            scope: BoundScope::Node,
            asked,
            requested: column.used.get(node.index()).copied().unwrap_or(0),
            uncommitted: taken.fold(0, |sum, it| it.2.saturating_add(sum)),
            limit,
            share: None,
        })
    };
    cx.extended.iter().filter_map(bound).collect()
}

/// A plain resource that the pod asks for, and its columns.
#[derive(Clone, Copy)]
struct Asked<'a> {
    /// At most 2^61; 0 for one that kube-scheduler does not look at, since it is not asked for.
    ask: i64,
    used: &'a [i64],
    uncommitted: &'a [i64],
    has: &'a [i64],
}

impl<'a> Asked<'a> {
    fn new(ask: i64, rows: usize, [used, uncommitted, has]: [&'a [i64]; 3]) -> Self {
        let ask = ask.clamp(0, 1 << 61);
        Self { ask, used: &used[..rows], uncommitted: &uncommitted[..rows], has: &has[..rows] }
    }

    /// The node has not enough left. A saturated sum of hostile pods must not overflow: all holds
    /// together are at most 2^62, and neither sum nor what a node has is below 0.
    #[inline]
    fn lacks(&self, at: usize) -> bool {
        self.ask > 0 && self.uncommitted[at] + self.ask > self.has[at] - self.used[at]
    }

    /// The share of the node that the class may fill has not enough left.
    #[inline]
    fn exceeds(&self, at: usize, permille: u32) -> bool {
        let most = Share::of(permille, self.has[at]);
        self.ask > 0 && self.uncommitted[at] + self.ask > most - self.used[at]
    }
}

fn fits_extended(cx: &RuleContext<'_>, offer: &mut Offer<'_>, resource: ResourceOrd, amount: i64) {
    let Some(column) = cx.snapshot.extended.get(usize::from(resource.0)) else {
        return;
    };
    // Summed once per request, not once per node: there may be thousands of holds.
    let mut held: FxHashMap<usize, i64> = FxHashMap::default();
    for (node, _, amount) in cx.uncommitted.extended.iter().filter(|it| it.1 == resource) {
        let sum = held.entry(node.index()).or_default();
        *sum = sum.saturating_add(*amount);
    }
    offer.refuse(Reason::Insufficient, |at| {
        let held = held.get(&at).copied().unwrap_or(0);
        // A node that publishes none of it is not judged: kube-scheduler refuses it there, was told to ignore
        // the resource, or has a driver allocate it.
        column.allocatable[at] > 0
            && column.used[at].saturating_add(held).saturating_add(amount) > column.allocatable[at]
    });
}

fn slot(pool: PoolOrd) -> usize {
    pool.index().min(PoolOrd::MAX_POOLS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_hostile_pods_do_not_make_room() {
        for (used, uncommitted, ask) in [
            (i64::MAX, 0, 1),
            (i64::MAX, 1 << 62, i64::MAX),
            (0, 1 << 62, i64::MAX),
            (10, 0, 1),
            (8, 1, 2),
        ] {
            let (used, uncommitted) = ([used], [uncommitted]);
            let asked = Asked::new(ask, 1, [&used, &uncommitted, &[10]]);
            assert!(
                asked.lacks(0) && asked.exceeds(0, 1000),
                "{used:?} + {uncommitted:?} + {ask} > 10"
            );
        }
        let asked = Asked::new(2, 1, [&[8], &[0], &[10]]);
        assert!(!asked.lacks(0) && !asked.exceeds(0, 1000) && asked.exceeds(0, 900));
    }
}
