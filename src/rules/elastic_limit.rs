//! Filter: an elastic pool takes no more than its `limit`, summed over all its nodes.
//!
//! A virtual node's own capacity is not real, so the sum over the pool is the only bound there is.

use super::{
    Bound, BoundScope, ClassParams, Filter, Offer, Rule, RuleContext, RuleKind, RuleSpec, Scopes,
    bound,
};
use crate::model::{Amounts, NodeOrd, PoolOrd, Reason};

/// The catalogue's entry.
pub(super) static SPEC: RuleSpec = RuleSpec {
    name: "elasticLimit",
    summary: "an elastic pool takes no more than its `limit`",
    kind: RuleKind::Filter,
    default_weight: 0,
    build,
    scopes: Scopes::POOL,
};

struct ElasticLimit {
    limits: Vec<(PoolOrd, Amounts)>,
}

fn build(class: &ClassParams) -> Option<Rule> {
    let pools = class.pools.iter().enumerate();
    let limits = pools.filter_map(|(at, pool)| Some((PoolOrd(at as u8), pool.limit?)));
    let limits: Vec<_> = limits.collect();
    (!limits.is_empty()).then(|| Rule::Filter(Box::new(ElasticLimit { limits })))
}

impl Filter for ElasticLimit {
    fn judge(&self, cx: &RuleContext<'_>, offer: &mut Offer<'_>) {
        let pools = &cx.snapshot.columns.pool;
        for &(pool, limit) in &self.limits {
            let mut after = cx.pod.requests.base;
            after +=
                cx.snapshot.pool_use.get(pool.index()).map_or(Amounts::default(), |it| it.used);
            after += cx.uncommitted.pools.get(pool.index()).copied().unwrap_or_default();
            let over = after.cpu_milli > limit.cpu_milli
                || after.memory_bytes > limit.memory_bytes
                || after.pods > limit.pods;
            if over {
                offer.refuse(Reason::ElasticLimit, |at| pools[at] == pool);
            }
        }
    }

    fn bounds(&self, cx: &RuleContext<'_>, node: NodeOrd) -> Vec<Bound> {
        let pool = cx.snapshot.pool(node);
        let Some((_, limit)) = self.limits.iter().find(|it| it.0 == pool) else {
            return Vec::new();
        };
        let name = cx.snapshot.pools.get(pool.index()).map_or("", |it| it.name.as_str());
        let used = cx.snapshot.pool_use.get(pool.index()).map_or(Amounts::default(), |it| it.used);
        let uncommitted = cx.uncommitted.pools.get(pool.index()).copied().unwrap_or_default();
        let amounts = [cx.pod.requests.base, used, uncommitted, *limit];
        let bounds = bound::base(Reason::ElasticLimit, &BoundScope::Pool(name.into()), amounts);
        bounds.into_iter().filter(|it| *it.resource != *bound::EPHEMERAL_STORAGE).collect()
    }
}
