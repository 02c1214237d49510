//! Filter: no pod on a node that is cordoned, not ready, under pressure, or tainted against it.
//!
//! A condition is judged as the taint that Kubernetes derives from it, so a DaemonSet's tolerations
//! work as its owner expects, and a node is refused even before the taint is written.

use super::{ClassParams, Filter, Offer, Rule, RuleContext, RuleKind, RuleSpec, Scopes};
use crate::model::{Conditions, Pod, Reason, Taint, TaintEffect};

/// The catalogue's entry.
pub(super) static SPEC: RuleSpec = RuleSpec {
    name: "nodeState",
    summary: "no pod on a node that is cordoned, not ready, under pressure or tainted against it",
    kind: RuleKind::Filter,
    default_weight: 0,
    build,
    scopes: Scopes::NODE,
};

struct NodeState;

fn build(_class: &ClassParams) -> Option<Rule> {
    Some(Rule::Filter(Box::new(NodeState)))
}

/// Condition, the taints that stand for it, the reason. `Ready` is tainted `not-ready` when it is
/// `False` and `unreachable` when it is `Unknown`; which one it is shows in the written taint.
const CONDITIONS: [(Conditions, &[&str], Reason); 6] = [
    (Conditions::CORDONED, &["node.kubernetes.io/unschedulable"], Reason::Cordoned),
    (
        Conditions::NOT_READY,
        &["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"],
        Reason::NotReady,
    ),
    (Conditions::MEMORY_PRESSURE, &["node.kubernetes.io/memory-pressure"], Reason::Pressure),
    (Conditions::DISK_PRESSURE, &["node.kubernetes.io/disk-pressure"], Reason::Pressure),
    (Conditions::PID_PRESSURE, &["node.kubernetes.io/pid-pressure"], Reason::Pressure),
    (
        Conditions::NETWORK_UNAVAILABLE,
        &["node.kubernetes.io/network-unavailable"],
        Reason::Pressure,
    ),
];

impl Filter for NodeState {
    fn judge(&self, cx: &RuleContext<'_>, offer: &mut Offer<'_>) {
        let columns = &cx.snapshot.columns;
        let conditions = &columns.conditions;
        let minded = CONDITIONS.map(|(condition, taints, reason)| {
            let ignored = ignores(cx.pod, condition, taints);
            (if ignored { Conditions::default() } else { condition }, reason)
        });
        let any = minded.iter().fold(Conditions::default(), |any, it| any.with(it.0));
        // Most nodes are healthy: which condition it is, is asked only where there is one.
        offer.refuse_for(|at| {
            let has = conditions[at];
            let first = || minded.iter().find(|it| has.intersects(it.0)).map(|it| it.1);
            has.intersects(any).then(first).flatten()
        });
        let sets = cx.snapshot.taint_sets.iter();
        let hostile: Vec<bool> =
            sets.map(|set| set.iter().any(|it| keeps_off(cx.pod, it))).collect();
        if hostile.contains(&true) {
            let set_of = &columns.taint_set;
            offer.refuse(Reason::Tainted, |at| hostile[usize::from(set_of[at])]);
        }
    }
}

fn keeps_off(pod: &Pod, taint: &Taint) -> bool {
    taint.effect.keeps_off()
        && !pod.tolerations.iter().any(|toleration| toleration.tolerates(taint))
}

fn ignores(pod: &Pod, condition: Conditions, taints: &[&str]) -> bool {
    // Kubernetes lets every pod but a best-effort one onto a node under memory pressure.
    if condition == Conditions::MEMORY_PRESSURE && !pod.is_best_effort() {
        return true;
    }
    // Admission gives every pod a toleration of not-ready:NoExecute, which says only how long it may
    // stay; NoSchedule is what keeps new pods away.
    taints
        .iter()
        .any(|taint| pod.tolerations.iter().any(|it| it.covers(taint, "", TaintEffect::NoSchedule)))
}
