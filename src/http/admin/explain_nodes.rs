//! The nodes of an explanation: the amounts in use, the constraints, and the nominated node.

use serde::{Deserialize, Serialize};

use super::{AmountsView, NodeView};
use crate::cluster::Snapshot;
use crate::engine::{ConstraintKind, Decider, NodeExplanation, UncommittedView};
use crate::model::{Pod, Reason, TaintEffect};

/// A node as the decision sees it: `requested`, `held` and `nominated` count.
#[derive(Deserialize, Serialize)]
pub(crate) struct ExplainedNodeView {
    #[serde(flatten)]
    pub(crate) node: NodeView,
    /// By holds of other pods.
    pub(crate) held: AmountsView,
    /// By nominations of other pods that are not held there.
    pub(crate) nominated: AmountsView,
}

impl ExplainedNodeView {
    pub(super) fn of(node: NodeView, it: &NodeExplanation) -> Self {
        let UncommittedView { held, nominated } = it.uncommitted;
        Self { node, held: held.into(), nominated: nominated.into() }
    }
}

/// How many nodes a constraint rules out.
#[derive(Deserialize, Serialize)]
pub(crate) struct ConstraintView {
    pub(crate) constraint: String,
    pub(crate) nodes: usize,
}

impl ConstraintView {
    pub(super) fn of((kind, nodes): &(ConstraintKind, usize)) -> Self {
        Self { constraint: kind.name().to_owned(), nodes: *nodes }
    }
}

/// The nominated node of a pending pod.
#[derive(Deserialize, Serialize)]
pub(crate) struct NominatedView {
    pub(crate) node: String,
    pub(crate) by: NominatedBy,
    /// How many pods of lower priority are ending there.
    pub(crate) victims: usize,
}

/// The author of a nomination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NominatedBy {
    Sigma,
    /// Pods of lower priority are ending on the node.
    Preemption,
    Other,
}

impl NominatedView {
    pub(super) fn of(snapshot: &Snapshot, decider: &Decider, pod: &Pod) -> Option<Self> {
        let node = pod.nominated.as_deref()?;
        let on_node = snapshot.names.ord(node).map_or(&[][..], |ord| snapshot.pods_on(ord));
        let ending = on_node.iter().filter(|it| it.terminating && it.priority < pod.priority);
        let victims = ending.count();
        let is_steered = decider.steers().record(pod.uid).is_some_and(|it| *it.node == *node);
        let by = match () {
            () if pod.nominated_ahead || is_steered => NominatedBy::Sigma,
            () if victims > 0 => NominatedBy::Preemption,
            () => NominatedBy::Other,
        };
        Some(Self { node: node.to_owned(), by, victims })
    }
}

/// The taint that refuses the node, as `kubectl` writes it.
pub(super) fn taint_of(snapshot: &Snapshot, pod: &Pod, it: &NodeExplanation) -> Option<String> {
    let mut taints = snapshot.taints(it.node).iter().filter(|_| it.verdict == Reason::Tainted);
    let taint = taints.find(|taint| {
        taint.effect != TaintEffect::PreferNoSchedule
            && !pod.tolerations.iter().any(|it| it.tolerates(taint))
    })?;
    let value = if taint.value.is_empty() { "" } else { "=" };
    Some(format!("{}{value}{}:{:?}", taint.key, taint.value, taint.effect))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Node, Taint, TaintValue, Toleration};
    use crate::policy::Settings;
    use crate::testing::{TestReplica, node, placed, pod, seen_node, seen_pod};

    #[test]
    fn a_nomination_is_by_preemption_while_its_victims_end() {
        let ending =
            |uid, priority| Pod { terminating: true, priority, ..placed(&pod(uid, 1), "n") };
        let waiting = Pod { nominated: Some("n".into()), priority: 5, ..pod(9, 1) };
        let ahead = Pod { nominated_ahead: true, ..waiting.clone() };
        let nowhere = Pod { nominated: Some("gone".into()), ..waiting.clone() };
        for (there, pod, want) in [
            (vec![ending(1, 0), ending(2, 4)], &waiting, Some((NominatedBy::Preemption, 2))),
            // A pod that stays, one that ends and is as important, and one that ends elsewhere.
            (vec![placed(&pod(1, 1), "n"), ending(2, 5)], &waiting, Some((NominatedBy::Other, 0))),
            (vec![ending(1, 0)], &nowhere, Some((NominatedBy::Other, 0))),
            (vec![ending(1, 0)], &ahead, Some((NominatedBy::Sigma, 1))),
            (vec![ending(1, 0)], &pod(9, 1), None),
        ] {
            let mut site = TestReplica::new(&Settings::default());
            site.see([seen_node(node("n", &[]))]);
            site.see(there.iter().chain([pod]).map(seen_pod));
            let view = NominatedView::of(&site.view.snapshot, &site.decider, pod);
            assert_eq!(view.map(|it| (it.by, it.victims)), want);
        }
    }

    #[test]
    fn the_taint_is_the_one_that_is_not_tolerated() {
        let taint =
            |key: &str, value: &str, effect| Taint { key: key.into(), value: value.into(), effect };
        let taints = [
            taint("soft", "", TaintEffect::PreferNoSchedule),
            taint("gpu", "yes", TaintEffect::NoSchedule),
            taint("old", "", TaintEffect::NoExecute),
        ];
        let mut site = TestReplica::new(&Settings::default());
        site.see([seen_node(Node { taints: taints.into(), ..node("n", &[]) })]);
        let tolerates =
            |key: &str| Toleration { key: key.into(), value: TaintValue::Any, effect: None };
        for (tolerations, want) in [
            (vec![], Some("gpu=yes:NoSchedule")),
            (vec![tolerates("gpu")], Some("old:NoExecute")),
            (vec![tolerates("gpu"), tolerates("old")], None),
        ] {
            let pod = Pod { tolerations: tolerations.into(), ..pod(9, 1) };
            let nodes: Vec<_> = site.view.snapshot.live_nodes().collect();
            let why = crate::engine::explain(&mut site.decider, &site.view, &pod, &nodes, 1);
            let found = why.nodes.iter().find_map(|it| taint_of(&site.view.snapshot, &pod, it));
            assert_eq!(found.as_deref(), want);
        }
    }
}
