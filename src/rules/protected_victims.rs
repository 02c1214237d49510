//! Candidates: no pod of a protected class is a victim.
//!
//! In-tree preemption knows priorities and PodDisruptionBudgets, not the classes of a policy. A candidate is dropped
//! whole: without one of its victims the node would have no room.

use super::{
    CandidateRule, Candidates, ClassParams, Rule, RuleContext, RuleKind, RuleSpec, Scopes,
};

/// The catalogue's entry.
pub(super) static SPEC: RuleSpec = RuleSpec {
    name: "protectedVictims",
    summary: "preemption evicts no pod of a class that is `protected` or `exempt`",
    kind: RuleKind::Candidates,
    default_weight: 0,
    build,
    scopes: Scopes::NODE,
};

struct ProtectedVictims;

fn build(_class: &ClassParams) -> Option<Rule> {
    Some(Rule::Candidates(Box::new(ProtectedVictims)))
}

impl CandidateRule for ProtectedVictims {
    fn drop_candidates(&self, _cx: &RuleContext<'_>, candidates: &mut Candidates<'_>) {
        candidates.drop_where(|it| it.victims.iter().any(|victim| victim.class.is_protected));
    }
}
