//! The numbers of an explanation: what is taken, what limits it, and whom a node waits for.

use serde::Serialize;

use super::views::{AmountsView, NodeView};
use crate::cluster::Snapshot;
use crate::engine::{ConstraintKind, Decider, NodeExplanation, UncommittedView};
use crate::model::{Pod, Reason, TaintEffect};
use crate::rules::{Bound, BoundScope};

/// A node as the pod's decision sees it: `requested` and both of these count.
#[derive(Serialize)]
pub(super) struct ExplainedNodeView {
    #[serde(flatten)]
    node: NodeView,
    /// By holds of other pods.
    held: AmountsView,
    /// By nominations of other pods that are not held there.
    nominated: AmountsView,
}

impl ExplainedNodeView {
    pub(super) fn of(node: NodeView, it: &NodeExplanation) -> Self {
        let UncommittedView { held, nominated } = it.uncommitted;
        Self { node, held: held.into(), nominated: nominated.into() }
    }
}

/// `asked` + `requested` + `held` + `nominated` is more than `limit`.
#[derive(Serialize)]
pub(super) struct LimitView {
    resource: String,
    /// `node`, `pool` or `domain`.
    scope: &'static str,
    /// The pool, or the domain as `label=value`; null for the node.
    of: Option<String>,
    asked: i64,
    requested: i64,
    held: i64,
    nominated: i64,
    limit: i64,
    /// The limit is this share of `share_of`; null for a plain limit.
    share_pct: Option<f64>,
    share_of: Option<i64>,
}

impl LimitView {
    pub(super) fn of((bound, taken): &(Bound, UncommittedView<i64>)) -> Self {
        let (scope, of) = match &bound.scope {
            BoundScope::Node => ("node", None),
            BoundScope::Pool(name) => ("pool", Some(name.to_string())),
            BoundScope::Domain(key, value) => ("domain", Some(format!("{key}={value}"))),
        };
        Self {
            resource: bound.resource.to_string(),
            scope,
            of,
            asked: bound.asked,
            requested: bound.requested,
            held: taken.held,
            nominated: taken.nominated,
            limit: bound.limit,
            share_pct: bound.share.map(|(_, permille)| f64::from(permille) / 10.0),
            share_of: bound.share.map(|(whole, _)| whole),
        }
    }
}

/// So many nodes are ruled out by this constraint.
#[derive(Serialize)]
pub(super) struct ConstraintView {
    constraint: &'static str,
    nodes: usize,
}

impl ConstraintView {
    pub(super) fn of((kind, nodes): &(ConstraintKind, usize)) -> Self {
        Self { constraint: kind.name(), nodes: *nodes }
    }
}

/// A pending pod's nominated node.
#[derive(Serialize)]
pub(super) struct NominatedView {
    node: String,
    /// `sigma`; `preemption`, while pods of lower priority are ending there; or `other`.
    by: &'static str,
    /// How many pods of lower priority are ending there.
    victims: usize,
}

impl NominatedView {
    pub(super) fn of(snapshot: &Snapshot, decider: &Decider, pod: &Pod) -> Option<Self> {
        let node = pod.nominated.as_deref()?;
        let on_node = snapshot.names.ord(node).map_or(&[][..], |ord| snapshot.pods_on(ord));
        let ending = on_node.iter().filter(|it| it.terminating && it.priority < pod.priority);
        let victims = ending.count();
        let is_steered = decider.steers().record(pod.uid).is_some_and(|it| *it.node == *node);
        let by = match () {
            () if pod.nominated_ahead || is_steered => "sigma",
            () if victims > 0 => "preemption",
            () => "other",
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
            (vec![ending(1, 0), ending(2, 4)], &waiting, Some(("preemption", 2))),
            // A pod that stays, one that ends and is as important, and one that ends elsewhere.
            (vec![placed(&pod(1, 1), "n"), ending(2, 5)], &waiting, Some(("other", 0))),
            (vec![ending(1, 0)], &nowhere, Some(("other", 0))),
            (vec![ending(1, 0)], &ahead, Some(("sigma", 1))),
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
