//! Filter: no failure domain carries more than `maxShare` of an app's replicas.
//!
//! With n replicas after this one, a domain may carry ⌈n · share⌉ of them, and always one: an app
//! must be able to start. A node that does not tell its domain is not judged.

use std::borrow::Cow;

use super::{
    Bound, BoundScope, ClassParams, Filter, Offer, Rule, RuleContext, RuleKind, RuleSpec, Scopes,
    SpreadKey, bound,
};
use crate::cluster::{AppRow, Snapshot};
use crate::model::{DomainOrd, NodeOrd, Reason};

/// The catalogue's entry.
pub(super) static SPEC: RuleSpec = RuleSpec {
    name: "maxReplicaShare",
    summary: "no failure domain carries more than `maxShare` of an app's replicas",
    kind: RuleKind::Filter,
    default_weight: 0,
    build,
    scopes: Scopes::DOMAIN.and(Scopes::APP),
};

struct MaxReplicaShare {
    key: SpreadKey,
    max_share_permille: u32,
}

fn build(class: &ClassParams) -> Option<Rule> {
    let spread = class.spread?;
    let max_share_permille = spread.max_share_permille?;
    Some(Rule::Filter(Box::new(MaxReplicaShare { key: spread.key, max_share_permille })))
}

impl Filter for MaxReplicaShare {
    fn judge(&self, cx: &RuleContext<'_>, offer: &mut Offer<'_>) {
        if cx.pod.app().is_none() {
            return;
        }
        let replicas = Replicas::count(cx, self.key);
        let most = self.most(&replicas);
        let full = replicas.by_domain.iter().filter(|(_, count)| u64::from(*count) + 1 > most);
        let full: Vec<DomainOrd> = full.map(|(domain, _)| *domain).collect();
        if full.is_empty() {
            return;
        }
        offer.refuse(Reason::MaxReplicaShare, |at| {
            let domain = domain_of(cx.snapshot, self.key, NodeOrd(at as u32));
            full.binary_search(&domain).is_ok()
        });
    }

    fn bounds(&self, cx: &RuleContext<'_>, node: NodeOrd) -> Vec<Bound> {
        let domain = domain_of(cx.snapshot, self.key, node);
        let value = match self.key {
            SpreadKey::Level(level) => cx.snapshot.topology.name(level, domain),
            SpreadKey::Node => Some(cx.snapshot.names.name(node)),
        };
        let Some(value) = value.filter(|_| cx.pod.app().is_some()) else {
            return Vec::new();
        };
        let row = cx.pod.app().and_then(|app| cx.snapshot.app(app));
        let placed = row.map_or_else(Vec::new, |row| placed(cx.snapshot, row, self.key));
        let count = |of: &[(DomainOrd, u32)]| {
            let at = of.binary_search_by_key(&domain, |it| it.0);
            at.map_or(0, |at| i64::from(of[at].1))
        };
        let replicas = Replicas::count(cx, self.key);
        let (all, requested) = (count(&replicas.by_domain), count(&placed));
        vec![Bound {
            reason: Reason::MaxReplicaShare,
            resource: bound::REPLICAS.into(),
            scope: BoundScope::Domain(self.key.label().into(), value.into()),
            asked: 1,
            requested,
            uncommitted: all - requested,
            limit: i64::try_from(self.most(&replicas)).unwrap_or(i64::MAX),
            share: Some((i64::from(replicas.total) + 1, self.max_share_permille)),
        }]
    }
}

impl MaxReplicaShare {
    /// The most replicas that a domain may have with one more.
    fn most(&self, replicas: &Replicas) -> u64 {
        let after = u64::from(replicas.total) + 1;
        (after * u64::from(self.max_share_permille)).div_ceil(1000).max(1)
    }
}

/// The replicas of the pod's app, by domain.
pub(super) struct Replicas {
    /// `(domain, replicas)`, sorted by domain.
    pub(super) by_domain: Vec<(DomainOrd, u32)>,
    /// On all nodes, with those that do not tell their domain.
    pub(super) total: u32,
}

impl Replicas {
    /// Counts placed replicas and those that are on their way. One that may still go to several
    /// domains counts in each of them.
    pub(super) fn count(cx: &RuleContext<'_>, key: SpreadKey) -> Self {
        let row = cx.pod.app().and_then(|app| cx.snapshot.app(app));
        let mut replicas = Self {
            by_domain: row.map_or_else(Vec::new, |row| placed(cx.snapshot, row, key)),
            total: row.map_or(0, AppRow::total),
        };
        for ord in &cx.uncommitted.removed_replicas {
            replicas.shift(domain_of(cx.snapshot, key, *ord), -1);
            replicas.total = replicas.total.saturating_sub(1);
        }
        let mut of_group: Vec<DomainOrd> = Vec::new();
        for group in cx.uncommitted.replicas.chunk_by(|a, b| a.0 == b.0) {
            of_group.clear();
            of_group.extend(group.iter().map(|(_, ord)| domain_of(cx.snapshot, key, *ord)));
            of_group.sort_unstable();
            of_group.dedup();
            of_group.iter().for_each(|domain| replicas.shift(*domain, 1));
            replicas.total += 1;
        }
        replicas
    }

    /// Counts them by node, sorted; what is placed alone is not copied.
    pub(super) fn by_node<'a>(cx: &RuleContext<'a>) -> Cow<'a, [(NodeOrd, u32)]> {
        if cx.uncommitted.replicas.is_empty() && cx.uncommitted.removed_replicas.is_empty() {
            let row = cx.pod.app().and_then(|app| cx.snapshot.app(app));
            return row.map_or(&[][..], AppRow::nodes).into();
        }
        let by_domain = Self::count(cx, SpreadKey::Node).by_domain;
        by_domain.into_iter().map(|(domain, here)| (NodeOrd(domain.0), here)).collect()
    }

    fn shift(&mut self, domain: DomainOrd, delta: i32) {
        if domain == DomainOrd::NONE {
            return;
        }
        match self.by_domain.binary_search_by_key(&domain, |it| it.0) {
            Ok(at) => self.by_domain[at].1 = self.by_domain[at].1.saturating_add_signed(delta),
            Err(at) => self.by_domain.insert(at, (domain, u32::from(delta > 0))),
        }
    }
}

/// An app's placed replicas under a key, `(domain, replicas)` sorted by domain.
fn placed(snapshot: &Snapshot, row: &AppRow, key: SpreadKey) -> Vec<(DomainOrd, u32)> {
    let nodes = row.nodes().iter();
    match key {
        SpreadKey::Level(level) => {
            if let Some(counted) = row.domains(level) {
                return counted.collect();
            }
        }
        SpreadKey::Node => {
            return nodes.map(|(ord, replicas)| (DomainOrd(ord.0), *replicas)).collect();
        }
    }
    let domains = nodes.map(|&(ord, replicas)| (domain_of(snapshot, key, ord), replicas));
    let mut domains: Vec<_> = domains.filter(|it| it.0 != DomainOrd::NONE).collect();
    domains.sort_unstable_by_key(|it| it.0);
    domains.dedup_by(|next, kept| {
        let is_same = next.0 == kept.0;
        kept.1 += if is_same { next.1 } else { 0 };
        is_same
    });
    domains
}

/// Number of domains under a key.
pub(super) fn num_domains(snapshot: &Snapshot, key: SpreadKey) -> usize {
    match key {
        SpreadKey::Level(level) => snapshot.topology.count(level) as usize,
        SpreadKey::Node => snapshot.capacity(),
    }
}

/// A node's domain under a key; a node is its own domain under [`SpreadKey::Node`].
pub(super) fn domain_of(snapshot: &Snapshot, key: SpreadKey, ord: NodeOrd) -> DomainOrd {
    match key {
        SpreadKey::Level(level) => snapshot.domain(level, ord),
        SpreadKey::Node => DomainOrd(ord.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Uncommitted;
    use crate::model::Now;
    use crate::policy::Settings;
    use crate::testing::{TestReplica, node, placed, replica, seen_node, seen_pod};

    #[test]
    fn replicas_by_node_are_those_by_domain_where_each_node_is_one() {
        let mut site = TestReplica::new(&Settings::default());
        site.see(["a", "b", "c"].map(|name| seen_node(node(name, &[]))));
        let on = [(1, "a"), (2, "a"), (3, "b")];
        site.see(on.map(|(uid, at)| seen_pod(&placed(&replica(uid, 1, 7), at))));
        let (snapshot, pod) = (&site.view.snapshot, replica(9, 1, 7));
        let [a, b, c] = [0, 1, 2].map(NodeOrd);
        for (coming, leaving, want) in [
            (vec![], vec![], vec![(a, 2), (b, 1)]),
            (vec![(0, c), (1, a)], vec![], vec![(a, 3), (b, 1), (c, 1)]),
            (vec![], vec![a, b], vec![(a, 1), (b, 0)]),
        ] {
            let uncommitted = Uncommitted {
                replicas: coming,
                removed_replicas: leaving,
                ..Uncommitted::default()
            };
            let uncommitted = &uncommitted;
            let (extended, now) = (&[][..], Now::default());
            let cx = RuleContext { snapshot, uncommitted, pod: &pod, extended, now };
            assert_eq!(*Replicas::by_node(&cx), want);
            let by_domain = Replicas::count(&cx, SpreadKey::Node).by_domain;
            assert!(by_domain.iter().map(|it| (NodeOrd(it.0.0), it.1)).eq(want));
        }
    }
}
