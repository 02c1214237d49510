//! What we answer when we cannot decide: before the lists are in, past the deadline, over load.
//!
//! A degraded answer is a verdict, not an `Error`: with `ignorable: true` an `Error` would bypass
//! every limit, with `false` it would hold up online pods (DESIGN §8). Online and default pods keep
//! every name but elastic ones, exempt pods every name; offline pods wait and are requeued later.

use super::View;
use crate::model::{NodeOrd, Pod, Reason};
use crate::policy::Role;

/// The verdict on each node without asking any rule. `why` is what an offline pod is told.
pub fn degraded(view: &View, pod: &Pod, nodes: &[NodeOrd], why: Reason) -> Vec<Reason> {
    let role = view.class(view.classify(pod).class).role;
    let elastic = |ord: &NodeOrd| {
        let pool = view.snapshot.pool(*ord);
        view.snapshot.pools.get(pool.index()).is_some_and(|pool| pool.elastic)
    };
    let verdict = |ord: &NodeOrd| match role {
        Role::Exempt => Reason::Kept,
        Role::Offline => why,
        Role::Online | Role::Default if elastic(ord) => Reason::PoolClosed,
        Role::Online | Role::Default => Reason::Kept,
    };
    nodes.iter().map(verdict).collect()
}
