//! The reason that a refused pod's owner reads: the one closest to success over all nodes.
//!
//! The first rule that objects to a node gives the node's verdict, so the node has passed every rule before
//! it. The verdict of the rule that comes last in the catalogue is therefore of the node that is closest to
//! taking the pod ([ADR 0014](../../docs/adr/0014-the-reason-closest-to-success.md)).
//!
//! A pod is judged on all nodes once, at its first unschedulable answer. The verdicts of local rules are kept by template:
//! a backlog of one template shares one look at all nodes, and then only rows that changed are looked at again.

use std::sync::Arc;

use super::equivalence_cache::EquivalenceKey;
use super::filter::{judge_local, judge_rest};
use super::{Decider, DecisionContext, View, fresh_verdicts};
use crate::cluster::{ChangeLog, Snapshot};
use crate::model::{ClassOrd, Constraints, NodeOrd, Pod, Reason};

/// Most templates whose verdicts are kept, a byte a node each; the one asked about longest ago makes room.
const MAX_KEPT: usize = 16;

/// What local rules say of all nodes, by template.
#[derive(Debug, Default)]
pub(super) struct Closest {
    kept: Vec<KeptReason>,
    num_asked: u64,
    buffers: ClosestBuffers,
    is_off: bool,
}

#[derive(Debug, Default)]
struct ClosestBuffers {
    nodes: Vec<NodeOrd>,
    verdicts: Vec<Reason>,
    before: Vec<Reason>,
}

/// What is kept of one template.
#[derive(Debug)]
struct KeptReason {
    template: EquivalenceKey,
    /// Whose node selector and node affinity its pods have.
    constraints: Option<Arc<Constraints>>,
    last_asked: u64,
    /// How many changes of rows, and of holds, are known; `None` before the first look.
    read: Option<[u64; 2]>,
    /// By ordinal.
    verdicts: Vec<Reason>,
    /// By ordinal: node affinity leaves the node, as far as it was asked.
    admitted: Vec<Option<bool>>,
    /// Node affinity reads labels, of which rows do not tell.
    nodes_version: u64,
    num_looks: u64,
}

impl Closest {
    /// Looks at all nodes each time.
    pub(super) fn switch_off(&mut self) {
        (self.kept, self.is_off) = (Vec::new(), true);
    }

    /// Forgets everything: the policy has changed, or a decision broke off half-way.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
    }

    /// How often a template's pods were judged on all nodes; for tests.
    #[cfg(test)]
    pub(super) fn num_looks(&self) -> u64 {
        self.kept.iter().map(|it| it.num_looks).sum()
    }

    /// Where the verdicts of the pod's template are, up to date. `case.uncommitted` is what all holds take, `held`
    /// where that changed.
    fn position(&mut self, class: ClassOrd, case: DecisionContext<'_>, held: &ChangeLog) -> usize {
        let at = self.find(class, case.pod);
        self.num_asked += 1;
        let Self { kept, buffers, num_asked, is_off } = self;
        let kept = &mut kept[at];
        kept.last_asked = *num_asked;
        let snapshot = &*case.view.snapshot;
        let read = kept.read.filter(|_| !*is_off);
        let changed = read
            .and_then(|[rows, holds]| Some([snapshot.changes.since(rows)?, held.since(holds)?]));
        let all = snapshot.capacity();
        buffers.nodes.clear();
        match changed.filter(|[rows, holds]| rows.len() + holds.len() < all) {
            Some(changed) => changed.iter().for_each(|it| buffers.nodes.extend_from_slice(it)),
            None => {
                buffers.nodes.extend((0..all as u32).map(NodeOrd));
                kept.num_looks += 1;
            }
        }
        kept.read = Some([snapshot.changes.end(), held.end()]);
        kept.verdicts.resize(all, Reason::UnknownNode);
        kept.look(case, buffers);
        if kept.constraints.is_some() {
            if kept.nodes_version != snapshot.nodes_version {
                kept.admitted.clear();
            }
            kept.nodes_version = snapshot.nodes_version;
            kept.admitted.resize(all, None);
        }
        at
    }

    /// The closest reason to success over all nodes; `case.uncommitted` is what the pod sees.
    fn among(&mut self, at: usize, case: DecisionContext<'_>) -> Reason {
        let Self { kept, buffers, .. } = self;
        let kept = &mut kept[at];
        buffers.nodes.clear();
        let rows = kept.verdicts.len();
        buffers.nodes.extend(case.uncommitted.differs.iter().filter(|ord| ord.index() < rows));
        let of = |kept: &KeptReason, ord: &NodeOrd| kept.verdicts[ord.index()];
        buffers.before.clear();
        buffers.before.extend(buffers.nodes.iter().map(|ord| of(kept, ord)));
        kept.look(case, buffers);
        let differing = buffers.nodes.clone();
        let found = kept.closest(case, buffers);
        for (ord, before) in differing.iter().zip(&buffers.before) {
            kept.verdicts[ord.index()] = *before;
        }
        found
    }

    fn find(&mut self, class: ClassOrd, pod: &Pod) -> usize {
        let hash = EquivalenceKey::hash_of(class, pod);
        let constraints = affinity_of(pod);
        let is_of = |it: &KeptReason| {
            it.template.is_of(hash, class, pod)
                && are_alike(it.constraints.as_deref(), constraints.map(|it| &**it))
        };
        if let Some(at) = self.kept.iter().position(is_of) {
            return at;
        }
        let oldest = self.kept.iter().enumerate().min_by_key(|(_, it)| it.last_asked);
        if let Some((at, _)) = oldest.filter(|_| self.kept.len() >= MAX_KEPT) {
            self.kept.swap_remove(at);
        }
        self.kept.push(KeptReason {
            template: EquivalenceKey::new(hash, class, pod),
            constraints: constraints.cloned(),
            last_asked: 0,
            read: None,
            verdicts: Vec::new(),
            admitted: Vec::new(),
            nodes_version: 0,
            num_looks: 0,
        });
        self.kept.len() - 1
    }
}

impl KeptReason {
    /// Lets local rules judge the nodes in the buffer again.
    fn look(&mut self, case: DecisionContext<'_>, buffers: &mut ClosestBuffers) {
        let ClosestBuffers { nodes, verdicts, .. } = buffers;
        let snapshot = &case.view.snapshot;
        fresh_verdicts(snapshot, nodes, verdicts);
        judge_local(case, nodes, verdicts);
        for (ord, verdict) in nodes.iter().zip(verdicts) {
            if let Some(found) = self.verdicts.get_mut(ord.index()) {
                *found = *verdict;
            }
        }
    }

    /// The last verdict, in the order of evaluation, of a node that node affinity leaves.
    fn closest(&mut self, case: DecisionContext<'_>, buffers: &mut ClosestBuffers) -> Reason {
        let ClosestBuffers { nodes, verdicts, .. } = buffers;
        nodes.clear();
        // Where local rules keep a node, the others may object to it: they come later.
        if case.class.filters.iter().any(|rule| !rule.scopes.is_local()) {
            let all = (0_u32..).map(NodeOrd).zip(&self.verdicts);
            nodes.extend(all.filter(|(_, it)| **it == Reason::Kept).map(|(ord, _)| ord));
        }
        verdicts.clear();
        verdicts.resize(nodes.len(), Reason::Kept);
        judge_rest(case, nodes, verdicts);
        let snapshot = &case.view.snapshot;
        let mut bound = u8::MAX;
        loop {
            let last = last_below(&self.verdicts, bound).max(last_below(verdicts, bound));
            if last <= Reason::UnknownNode || self.has(last, nodes, verdicts, snapshot) {
                return last;
            }
            bound = last as u8;
        }
    }

    /// Some node with this verdict is one that node affinity leaves. Of other nodes, each is asked once while
    /// nodes stay what they are.
    fn has(
        &mut self,
        reason: Reason,
        kept: &[NodeOrd],
        of_kept: &[Reason],
        snapshot: &Snapshot,
    ) -> bool {
        let Self { constraints, verdicts, admitted, .. } = self;
        let Some(constraints) = constraints else {
            return true;
        };
        let mut admits = |ord: NodeOrd| {
            let Some(known) = admitted.get_mut(ord.index()) else {
                return false;
            };
            *known.get_or_insert_with(|| self::admits(constraints, snapshot, ord))
        };
        let all = (0_u32..).map(NodeOrd).zip(&*verdicts);
        let of_kept = kept.iter().copied().zip(of_kept);
        of_kept.chain(all).any(|(ord, verdict)| *verdict == reason && admits(ord))
    }
}

/// The last one in the order of evaluation of those before `bound`.
fn last_below(verdicts: &[Reason], bound: u8) -> Reason {
    // A maximum of bytes is of many at once.
    let before = |it: u8| if it < bound { it } else { 0 };
    let last = verdicts.iter().fold(0, |last: u8, it| last.max(before(*it as u8)));
    Reason::ALL.into_iter().find(|it| *it as u8 == last).unwrap_or_default()
}

/// The pod's constraints, if it has a node selector or required node affinity.
fn affinity_of(pod: &Pod) -> Option<&Arc<Constraints>> {
    let has_any = |it: &&Arc<Constraints>| !it.node_selector.is_empty() || it.node_terms.is_some();
    pod.constraints.as_ref().filter(has_any)
}

fn are_alike(one: Option<&Constraints>, other: Option<&Constraints>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => {
            one.node_selector == other.node_selector && one.node_terms == other.node_terms
        }
        _ => false,
    }
}

fn admits(constraints: &Constraints, snapshot: &Snapshot, ord: NodeOrd) -> bool {
    let node = snapshot.nodes.get(ord.index()).and_then(Option::as_ref);
    node.is_some_and(|node| constraints.admits(&node.name, |key| node.label(key)))
}

impl Decider {
    /// The reason that a pod's first unschedulable answer names; `offered` is the closest one among the nodes of the
    /// offer, which node affinity has left.
    ///
    /// Where no offered node is known, nothing was judged, and the reason says so.
    pub(super) fn closest_reason(&mut self, view: &View, pod: &Pod, offered: Reason) -> Reason {
        if offered == Reason::UnknownNode {
            return offered;
        }
        let class_ord = view.classify(pod).class;
        let class = view.class(class_ord);
        let (uncommitted, held) = self.holds.sums(&view.snapshot);
        let at = self.closest.position(
            class_ord,
            DecisionContext { view, class, pod, uncommitted },
            held,
        );
        let Self { holds, closest, .. } = self;
        let found = holds.seen_by(&view.snapshot, pod, |uncommitted| {
            closest.among(at, DecisionContext { view, class, pod, uncommitted })
        });
        found.max(offered)
    }
}

#[cfg(test)]
mod tests;
