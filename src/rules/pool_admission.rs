//! Filter: a class goes only to the pools that its policy opens to it.

use super::{ClassParams, Filter, Offer, Rule, RuleContext, RuleKind, RuleSpec, Scopes};
use crate::model::{PoolOrd, Reason};

/// The catalogue's entry.
pub(super) static SPEC: RuleSpec = RuleSpec {
    name: "poolAdmission",
    summary: "a class goes only to the pools in its `pools` list",
    kind: RuleKind::Filter,
    default_weight: 0,
    build,
    scopes: Scopes::NODE,
};

struct PoolAdmission {
    /// By pool ordinal, and at the end for a node in no pool.
    open: [bool; PoolOrd::MAX_POOLS + 1],
}

fn build(class: &ClassParams) -> Option<Rule> {
    let order = class.order.as_ref()?;
    let mut open = [false; PoolOrd::MAX_POOLS + 1];
    for pool in order {
        open[pool.index().min(PoolOrd::MAX_POOLS)] = true;
    }
    Some(Rule::Filter(Box::new(PoolAdmission { open })))
}

impl Filter for PoolAdmission {
    fn judge(&self, cx: &RuleContext<'_>, offer: &mut Offer<'_>) {
        let pools = &cx.snapshot.columns.pool;
        offer
            .refuse(Reason::PoolClosed, |at| !self.open[pools[at].index().min(PoolOrd::MAX_POOLS)]);
    }
}
