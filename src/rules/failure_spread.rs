//! Score: prefer the failure domain that carries the fewest replicas of the pod's app.

use super::domain_share::{Replicas, domain_of};
use super::{ClassParams, Cx, MAX_POINTS, Rule, RuleSpec, Scored, Scorer, SpreadKey};
use crate::model::{DomainLevel, DomainOrd};

/// The catalogue's entry.
pub(super) static SPEC: RuleSpec = RuleSpec {
    name: "failureSpread",
    summary: "prefer the failure domain with the fewest replicas of the app",
    default_weight: 40,
    build,
    scores: true,
};

struct FailureSpread {
    key: SpreadKey,
}

fn build(class: &ClassParams) -> Option<Rule> {
    // Zones are what kube-scheduler spreads over by itself, beside nodes.
    let key = class.spread.map_or(SpreadKey::Level(DomainLevel::Zone), |spread| spread.key);
    Some(Rule::Scorer(Box::new(FailureSpread { key })))
}

impl Scorer for FailureSpread {
    fn score(&self, cx: &Cx<'_>, scored: Scored<'_>) {
        if cx.pod.app().is_none() {
            return;
        }
        let replicas = Replicas::count(cx, self.key);
        let most = replicas.by_domain.values().copied().max().unwrap_or(0);
        for (ord, points) in scored.nodes.iter().zip(scored.points) {
            let domain = domain_of(cx.snapshot, self.key, *ord);
            // A node that does not tell its domain must not look like the safest of all.
            if domain == DomainOrd::NONE {
                continue;
            }
            let here = replicas.by_domain.get(&domain).copied().unwrap_or(0);
            *points = MAX_POINTS * (most + 1 - here) / (most + 1);
        }
    }
}
