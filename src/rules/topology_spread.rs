//! Score: prefer the failure domain that carries the fewest replicas of the pod's app.

use super::max_replica_share::{Replicas, num_domains};
use super::{
    ClassParams, MAX_POINTS, Rule, RuleContext, RuleKind, RuleSpec, Scopes, Scored, Scorer,
    SpreadKey,
};
use crate::model::{DomainLevel, DomainOrd};

/// The catalogue's entry.
pub(super) static SPEC: RuleSpec = RuleSpec {
    name: "topologySpread",
    summary: "prefer the failure domain with the fewest replicas of the app",
    kind: RuleKind::Scorer,
    default_weight: 40,
    build,
    scopes: Scopes::DOMAIN.and(Scopes::APP),
};

struct TopologySpread {
    key: SpreadKey,
}

fn build(class: &ClassParams) -> Option<Rule> {
    // Zones are what kube-scheduler spreads over by itself, beside nodes.
    let key = class.spread.map_or(SpreadKey::Level(DomainLevel::Zone), |spread| spread.key);
    Some(Rule::Scorer(Box::new(TopologySpread { key })))
}

impl Scorer for TopologySpread {
    fn score(&self, cx: &RuleContext<'_>, scored: Scored<'_>) {
        if cx.pod.app().is_none() {
            return;
        }
        let replicas = Replicas::count(cx, self.key);
        let most = replicas.by_domain.iter().map(|it| it.1).max().unwrap_or(0);
        let points_of = |here: u32| u32::from(MAX_POINTS) * (most + 1 - here) / (most + 1);
        // A row for each domain: looking one up for every node costs more than all else here.
        let [by_domain, _] = scored.buffers;
        by_domain.clear();
        by_domain.resize(num_domains(cx.snapshot, self.key), points_of(0));
        for (domain, here) in &replicas.by_domain {
            if let Some(points) = by_domain.get_mut(domain.0 as usize) {
                *points = points_of(*here);
            }
        }
        // A node that does not tell its domain must not look like the safest of all.
        let of_domain = |row: usize| by_domain.get(row).map_or(0, |points| *points as u16);
        let nodes = scored.nodes.iter().map(|ord| ord.index());
        match self.key {
            SpreadKey::Level(level) => {
                let domains: &[DomainOrd] = &cx.snapshot.columns.domains[level as usize];
                let of = |at: usize| domains.get(at).map_or(0, |it| of_domain(it.0 as usize));
                scored.points.extend(nodes.map(of));
            }
            SpreadKey::Node => scored.points.extend(nodes.map(of_domain)),
        }
    }
}
