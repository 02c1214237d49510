//! What kube-scheduler's filters would say of a node that it has not offered, as far as a look at this node and
//! at the pod tells it. Beside our own rules, which are asked in any case, and beside [`RequiredConstraints`], which looks at
//! other pods too.
//!
//! - NodeResourcesFit: a node has no room in a resource that it does not publish; and figures of virtual nodes,
//!   which are no limit of ours, are one of kube-scheduler's.
//! - NodeAffinity: what the pod's profile adds.
//! - TaintToleration: a taint in words that are not known here may keep the pod off.
//!
//! Nodes of an offer have passed all this. docs/in-tree-constraints.md lists what each plugin is judged by.

use super::DecisionContext;
use super::constraints::{ConstraintKind, RequiredConstraints};
use crate::cluster::ResourceOrd;
use crate::model::{NodeOrd, NodeTerm, Pod, Reason, Taint, TaintEffect};

/// What is judged of nodes that were not offered to one pod.
pub(super) struct UnofferedNodes<'a> {
    case: DecisionContext<'a>,
    constraints: Option<&'a RequiredConstraints>,
    /// The extended resources that nodes must publish; `None` for one that no node does.
    publish: Vec<Option<ResourceOrd>>,
    /// What the profile adds to node affinity.
    added: Option<&'a [NodeTerm]>,
    /// Some taint is in words that are not known here.
    has_unclear: bool,
    /// By pool: its nodes' figures are no limit of ours. Empty when the class opens no such pool.
    elastic: Vec<bool>,
}

impl<'a> UnofferedNodes<'a> {
    pub(super) fn new(
        case: DecisionContext<'a>,
        constraints: Option<&'a RequiredConstraints>,
    ) -> Self {
        let (snapshot, pod) = (&case.view.snapshot, case.pod);
        let profiles = &snapshot.profiles;
        let asked = pod.requests.extended.iter().filter(|it| it.amount > 0);
        // In doubt the pod is not sent anywhere, and this is not for saying no.
        let asked = asked.filter(|it| {
            !profiles.ignore(&pod.scheduler, &it.name) && !snapshot.may_be_devices(pod, &it.name)
        });
        let publish = asked.map(|it| snapshot.resource(&it.name)).collect();
        let added = profiles.of(&pod.scheduler).and_then(|it| it.node_terms.as_deref());
        let has_unclear =
            snapshot.taint_sets.iter().any(|set| set.iter().any(|it| is_unclear(pod, it)));
        let pools = &case.class.params.pools;
        let has_elastic = pools.iter().any(|pool| pool.elastic);
        let elastic = pools.iter().filter(|_| has_elastic).map(|pool| pool.elastic).collect();
        Self { case, constraints, publish, added, has_unclear, elastic }
    }

    /// Keeps the nodes that kube-scheduler would take, as far as can be judged.
    ///
    /// The most common pod asks for nothing that is judged here: only nodes of elastic pools are looked at then.
    pub(super) fn retain(&self, nodes: &mut Vec<NodeOrd>) {
        let is_plain = self.constraints.is_none()
            && self.publish.is_empty()
            && self.added.is_none()
            && !self.has_unclear;
        match (is_plain, self.elastic.is_empty()) {
            (true, true) => {}
            (true, false) => nodes.retain(|ord| self.fits_elastic(*ord)),
            (false, _) => nodes.retain(|ord| self.admits(*ord)),
        }
    }

    /// True when kube-scheduler would take the node, as far as can be judged.
    pub(super) fn admits(&self, ord: NodeOrd) -> bool {
        self.constraints.is_none_or(|it| it.admits(ord)) && self.admits_by_itself(ord)
    }

    /// The same without what other pods have to do with it.
    pub(super) fn admits_by_itself(&self, ord: NodeOrd) -> bool {
        self.lacks(ord).is_none() && self.affords(ord) && !self.is_unclear(ord)
    }

    /// Why the node has no room, where our rules say that it has.
    pub(super) fn lacks(&self, ord: NodeOrd) -> Option<Reason> {
        let lacks = !self.publishes_all(ord) || !self.fits_elastic(ord);
        lacks.then_some(Reason::Insufficient)
    }

    /// True when the node publishes something of each extended resource that the pod asks for.
    fn publishes_all(&self, ord: NodeOrd) -> bool {
        let extended = &self.case.view.snapshot.extended;
        self.publish.iter().all(|resource| {
            let column = resource.and_then(|it| extended.get(usize::from(it.0)));
            column.is_some_and(|it| it.allocatable.get(ord.index()).is_some_and(|has| *has > 0))
        })
    }

    /// True unless the node is of an elastic pool and its figures are too small. Of the others our own rule has
    /// said it.
    fn fits_elastic(&self, ord: NodeOrd) -> bool {
        let is_elastic = || self.elastic.get(self.case.view.snapshot.pool(ord).index());
        self.elastic.is_empty() || is_elastic() != Some(&true) || self.fits(ord)
    }

    /// Source: `noderesources.fitsRequest`.
    #[inline(never)]
    fn fits(&self, ord: NodeOrd) -> bool {
        let DecisionContext { view, pod, uncommitted, .. } = self.case;
        let snapshot = &view.snapshot;
        let (used, has, ask) = (snapshot.used(ord), snapshot.allocatable(ord), pod.requests.base);
        let held = |column: &[i64]| column.get(ord.index()).copied().unwrap_or(0);
        let fits = |ask: i64, used: i64, held: i64, has: i64| {
            ask <= 0 || used.saturating_add(held).saturating_add(ask) <= has
        };
        let [cpu, memory] = [held(&uncommitted.cpu_milli), held(&uncommitted.memory_bytes)];
        let [ephemeral, pods] = [held(&uncommitted.ephemeral_bytes), held(&uncommitted.pods)];
        fits(ask.cpu_milli, used.cpu_milli, cpu, has.cpu_milli)
            && fits(ask.memory_bytes, used.memory_bytes, memory, has.memory_bytes)
            && fits(ask.ephemeral_bytes, used.ephemeral_bytes, ephemeral, has.ephemeral_bytes)
            && fits(ask.pods, used.pods, pods, has.pods)
    }

    /// Takes out the nodes that kube-scheduler would not take, as far as can be judged. Gives which constraint
    /// rules out how many.
    pub(super) fn rule_out(&self, nodes: &mut Vec<NodeOrd>) -> Vec<(ConstraintKind, usize)> {
        let DecisionContext { view, pod, .. } = self.case;
        let mut counts = [0; ConstraintKind::ALL.len()];
        nodes.retain(|ord| {
            let by_pod = self.constraints.and_then(|it| it.objection(&view.snapshot, pod, *ord));
            let by_profile = || (!self.affords(*ord)).then_some(ConstraintKind::NodeAffinity);
            if let Some(kind) = by_pod.or_else(by_profile) {
                counts[kind as usize] += 1;
            }
            self.admits(*ord)
        });
        ConstraintKind::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect()
    }

    fn affords(&self, ord: NodeOrd) -> bool {
        let Some(terms) = self.added else { return true };
        let node = self.case.view.snapshot.nodes.get(ord.index()).and_then(|it| it.as_deref());
        node.is_some_and(|node| terms.iter().any(|it| it.holds(&node.name, |key| node.label(key))))
    }

    /// True when only kube-scheduler can tell whether the node's taints keep the pod off.
    pub(super) fn is_unclear(&self, ord: NodeOrd) -> bool {
        let taints = || self.case.view.snapshot.taints(ord);
        self.has_unclear && taints().iter().any(|it| is_unclear(self.case.pod, it))
    }
}

fn is_unclear(pod: &Pod, taint: &Taint) -> bool {
    taint.effect == TaintEffect::Unclear && !pod.tolerations.iter().any(|it| it.tolerates(taint))
}

#[cfg(test)]
mod tests;
