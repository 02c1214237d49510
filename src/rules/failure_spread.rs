//! Score: prefer the failure domain that carries the fewest replicas of the pod's app.

use super::domain_share::Replicas;
use super::{ClassParams, Cx, MAX_POINTS, Rule, RuleSpec, Scored, Scorer, SpreadKey};
use crate::model::DomainLevel;

/// The catalogue's entry.
pub(super) static SPEC: RuleSpec = RuleSpec {
    name: "failureSpread",
    summary: "prefer the failure domain with the fewest replicas of the app",
    default_weight: 40,
    build,
    scores: true,
    local: false,
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
        let most = replicas.by_domain.iter().map(|it| it.1).max().unwrap_or(0);
        replicas.score(cx, self.key, scored, |here| MAX_POINTS * (most + 1 - here) / (most + 1));
    }
}
