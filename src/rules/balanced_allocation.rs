//! Score: a pod that asks for much memory per CPU goes where much memory per CPU is left.
//!
//! Points fall with the distance between the CPU and memory shares that would be left: a node on
//! which both run out together strands neither. (Kubernetes' BalancedAllocation has the same aim; at
//! sampled sizes its few points drown, and it does not know what is held.)

use super::{
    ClassParams, Fill, MAX_POINTS, Rule, RuleContext, RuleKind, RuleSpec, Scopes, Scored, Scorer,
};

/// The catalogue's entry.
pub(super) static SPEC: RuleSpec = RuleSpec {
    name: "balancedAllocation",
    summary: "prefer nodes whose CPU and memory would run out together",
    kind: RuleKind::Scorer,
    default_weight: 20,
    build,
    scopes: Scopes::NODE,
};

struct BalancedAllocation;

fn build(_class: &ClassParams) -> Option<Rule> {
    Some(Rule::Scorer(Box::new(BalancedAllocation)))
}

impl Scorer for BalancedAllocation {
    fn score(&self, _cx: &RuleContext<'_>, scored: Scored<'_>) {
        scored.points.extend(scored.fills.iter().map(|fill| match *fill {
            Fill::UNBOUNDED => 0,
            fill => MAX_POINTS - fill.cpu_permille.abs_diff(fill.memory_permille),
        }));
    }
}
