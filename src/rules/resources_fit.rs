//! Filter: requests fit into what the node has left, and into the share that the class may fill.
//!
//! In-tree fit has judged plain requests already, on a fresher picture than ours; it is repeated here
//! because holds, nominations and the planner see what it cannot. The `allocation` limit is ours
//! alone: a pod refused by it alone cannot preempt, because in-tree it fits.

use rustc_hash::FxHashMap;

use super::{ClassParams, Cx, Filter, Offer, Rule, RuleSpec, Share};
use crate::model::{PoolOrd, Reason};

/// The catalogue's entry.
pub(super) static SPEC: RuleSpec = RuleSpec {
    name: "resourcesFit",
    summary: "requests fit into the node, and into the pool's `allocation` of it",
    default_weight: 0,
    build,
    scores: false,
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
    fn judge(&self, cx: &Cx<'_>, offer: &mut Offer<'_>) {
        self.fits_node(cx, offer);
        for &(resource, amount) in cx.extended {
            let Some(column) = cx.snapshot.extended.get(usize::from(resource.0)) else {
                continue;
            };
            // Summed once per request, not once per node: there may be thousands of holds.
            let mut held: FxHashMap<usize, i64> = FxHashMap::default();
            for (node, _, amount) in cx.extra.extended.iter().filter(|it| it.1 == resource) {
                let sum = held.entry(node.index()).or_default();
                *sum = sum.saturating_add(*amount);
            }
            offer.refuse(Reason::Insufficient, |at| {
                let held = held.get(&at).copied().unwrap_or(0);
                // A node that does not publish it is not judged: kube-scheduler refuses it there, or
                // was told to ignore the resource.
                column.allocatable[at] >= 0
                    && column.used[at].saturating_add(held).saturating_add(amount)
                        > column.allocatable[at]
            });
        }
        if self.limits {
            self.fits_allocation(cx, offer);
        }
    }
}

impl ResourcesFit {
    fn fits_node(&self, cx: &Cx<'_>, offer: &mut Offer<'_>) {
        let ask = cx.pod.requests.base;
        let (columns, extra) = (&cx.snapshot.columns, cx.extra);
        let (pools, rows) = (&columns.pool[..], columns.pool.len());
        let resources = [
            (ask.cpu_milli, &columns.used_cpu_milli, &extra.cpu_milli),
            (ask.memory_bytes, &columns.used_memory_bytes, &extra.memory_bytes),
            (ask.ephemeral_bytes, &columns.used_ephemeral_bytes, &extra.ephemeral_bytes),
            (ask.pods, &columns.used_pods, &extra.pods),
        ];
        let allocatable = [
            &columns.allocatable_cpu_milli,
            &columns.allocatable_memory_bytes,
            &columns.allocatable_ephemeral_bytes,
            &columns.allocatable_pods,
        ];
        for ((ask, used, extra), allocatable) in resources.into_iter().zip(allocatable) {
            // kube-scheduler does not look at a resource that the pod does not ask for.
            if ask <= 0 {
                continue;
            }
            // Columns of one length: a row is checked against it once.
            let (used, extra, has) = (&used[..rows], &extra[..rows], &allocatable[..rows]);
            // What a node has is never below 0 nor above 2^48: the difference cannot overflow.
            let ask = ask.min(1 << 62);
            offer.refuse(Reason::Insufficient, |at| {
                used[at].saturating_add(extra[at]) > has[at] - ask && !self.elastic[slot(pools[at])]
            });
        }
    }

    fn fits_allocation(&self, cx: &Cx<'_>, offer: &mut Offer<'_>) {
        let ask = cx.pod.requests.base;
        let (columns, extra) = (&cx.snapshot.columns, cx.extra);
        let (pools, rows) = (&columns.pool[..], columns.pool.len());
        let cpu = |share: &Share| share.cpu_permille;
        let memory = |share: &Share| share.memory_permille;
        for (ask, used, extra, allocatable, permille) in [
            (
                ask.cpu_milli,
                &columns.used_cpu_milli[..rows],
                &extra.cpu_milli[..rows],
                &columns.allocatable_cpu_milli[..rows],
                self.shares.each_ref().map(cpu),
            ),
            (
                ask.memory_bytes,
                &columns.used_memory_bytes[..rows],
                &extra.memory_bytes[..rows],
                &columns.allocatable_memory_bytes[..rows],
                self.shares.each_ref().map(memory),
            ),
        ] {
            if ask <= 0 {
                continue;
            }
            let ask = ask.min(1 << 62);
            offer.refuse(Reason::AllocationLimit, |at| {
                let slot = slot(pools[at]);
                let most = Share::of(permille[slot], allocatable[at]);
                used[at].saturating_add(extra[at]) > most - ask && !self.elastic[slot]
            });
        }
    }
}

fn slot(pool: PoolOrd) -> usize {
    pool.index().min(PoolOrd::MAX_POOLS)
}
