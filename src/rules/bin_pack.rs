//! Score: fill nodes that are already in use (`binPack`), or keep them evenly filled (`spread`).
//!
//! Points follow the larger of the CPU and memory shares that the node would have with the pod on it:
//! the resource that runs out first decides how full a node is. An elastic node counts as empty: its
//! capacity is not real and must not be compared with a real one.

use super::{
    ClassParams, Fill, MAX_POINTS, Rule, RuleContext, RuleKind, RuleSpec, Scopes, Scored, Scorer,
};

/// The catalogue's entry for packing.
pub(super) static PACK: RuleSpec = RuleSpec {
    name: "binPack",
    summary: "prefer nodes that are fuller",
    kind: RuleKind::Scorer,
    default_weight: 10,
    build: |class| build(class, true),
    scopes: Scopes::NODE,
};

/// The catalogue's entry for spreading load.
pub(super) static SPREAD: RuleSpec = RuleSpec {
    name: "leastAllocated",
    summary: "prefer nodes that are emptier",
    kind: RuleKind::Scorer,
    default_weight: 0,
    build: |class| build(class, false),
    scopes: Scopes::NODE,
};

struct Fullness {
    fuller_is_better: bool,
}

fn build(_class: &ClassParams, fuller_is_better: bool) -> Option<Rule> {
    Some(Rule::Scorer(Box::new(Fullness { fuller_is_better })))
}

impl Scorer for Fullness {
    fn score(&self, _cx: &RuleContext<'_>, scored: Scored<'_>) {
        scored.points.extend(scored.fills.iter().map(|fill| {
            let fullness = fill.cpu_permille.max(fill.memory_permille);
            match self.fuller_is_better {
                _ if *fill == Fill::UNBOUNDED => 0,
                true => fullness,
                false => MAX_POINTS - fullness,
            }
        }));
    }
}
