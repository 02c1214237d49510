//! Filter: no failure domain carries more than `maxShare` of an app's replicas.
//!
//! With n replicas after this one, a domain may carry ⌈n · share⌉ of them, and always one: an app
//! must be able to start. A node that does not tell its domain is not judged.

use rustc_hash::FxHashMap;

use super::{ClassParams, Cx, Filter, Offer, Rule, RuleSpec, SpreadKey};
use crate::cluster::Snapshot;
use crate::model::{DomainOrd, NodeOrd, Reason};

/// The catalogue's entry.
pub(super) static SPEC: RuleSpec = RuleSpec {
    name: "domainShare",
    summary: "no failure domain carries more than `maxShare` of an app's replicas",
    default_weight: 0,
    build,
    scores: false,
    local: false,
};

struct DomainShare {
    key: SpreadKey,
    max_share_permille: u32,
}

fn build(class: &ClassParams) -> Option<Rule> {
    let spread = class.spread?;
    let max_share_permille = spread.max_share_permille?;
    Some(Rule::Filter(Box::new(DomainShare { key: spread.key, max_share_permille })))
}

impl Filter for DomainShare {
    fn judge(&self, cx: &Cx<'_>, offer: &mut Offer<'_>) {
        if cx.pod.app().is_none() {
            return;
        }
        let replicas = Replicas::count(cx, self.key);
        let after = u64::from(replicas.total) + 1;
        let most = (after * u64::from(self.max_share_permille)).div_ceil(1000).max(1);
        let full = replicas.by_domain.iter().filter(|(_, count)| u64::from(**count) + 1 > most);
        let full: FxHashMap<DomainOrd, ()> = full.map(|(domain, _)| (*domain, ())).collect();
        if full.is_empty() {
            return;
        }
        offer.refuse(Reason::DomainShare, |at| {
            full.contains_key(&domain_of(cx.snapshot, self.key, NodeOrd(at as u32)))
        });
    }
}

/// The replicas of the pod's app, by domain.
pub(super) struct Replicas {
    pub(super) by_domain: FxHashMap<DomainOrd, u32>,
    pub(super) total: u32,
}

impl Replicas {
    /// Counts placed replicas and those that are on their way. One that may still go to several
    /// domains counts in each of them.
    pub(super) fn count(cx: &Cx<'_>, key: SpreadKey) -> Self {
        let mut by_domain: FxHashMap<DomainOrd, u32> = FxHashMap::default();
        let mut total = 0;
        let row = cx.pod.app().and_then(|app| cx.snapshot.app(app));
        for &(ord, replicas) in row.map_or(&[][..], |row| &row.nodes) {
            *by_domain.entry(domain_of(cx.snapshot, key, ord)).or_default() += replicas;
            total += replicas;
        }
        for ord in &cx.extra.removed_replicas {
            let count = by_domain.entry(domain_of(cx.snapshot, key, *ord)).or_default();
            *count = count.saturating_sub(1);
            total = total.saturating_sub(1);
        }
        let mut of_group: Vec<DomainOrd> = Vec::new();
        for group in cx.extra.replicas.chunk_by(|a, b| a.0 == b.0) {
            of_group.clear();
            of_group.extend(group.iter().map(|(_, ord)| domain_of(cx.snapshot, key, *ord)));
            of_group.sort_unstable();
            of_group.dedup();
            of_group.iter().for_each(|domain| *by_domain.entry(*domain).or_default() += 1);
            total += 1;
        }
        by_domain.remove(&DomainOrd::NONE);
        Self { by_domain, total }
    }
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
