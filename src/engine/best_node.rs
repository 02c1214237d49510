//! The best node of the whole cluster for a pod, whatever is offered.
//!
//! A template that was asked about more than once is looked at on all nodes, and only nodes that changed
//! are looked at again: [`CandidateIndex`] knows the few that can be best, and these are judged by all rules for
//! the pod. Without it all nodes are.

use super::candidate_index::{CandidateIndex, Unlike, images_of, replicas_of};
use super::constraints::RequiredConstraints;
use super::decider::DecisionBuffers;
use super::equivalence_cache::{self, EquivalenceKey, Rows};
use super::filter::judge;
use super::rank::Ranker;
use super::unoffered::UnofferedNodes;
use super::{Decider, DecisionContext, View};
use crate::cluster::ChangeLog;
use crate::model::{ClassOrd, ImageName, NodeOrd, Pod, Reason};

/// Most templates whose candidate index are kept, some 250 kB each; the one that was not asked about for
/// longest makes room.
const MAX_KEPT: usize = 16;
/// What is asked about once is mostly not asked about again.
const NUM_ASKED: u32 = 2;

/// A node, and how good it is for a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BestNode {
    /// The node.
    pub node: NodeOrd,
    /// Position of its pool in the class's order; 0 for all where pools are not ordered. Lower is
    /// better, whatever the points.
    pub band: usize,
    /// The weighted points of the scorers, without the order of pools.
    pub points: u32,
}

/// The candidate indexes, by equivalence class.
#[derive(Debug, Default)]
pub(super) struct BestNodes {
    kept: Vec<KeptIndex>,
    num_asked: u64,
    buffers: equivalence_cache::CacheBuffers,
    replicas: Vec<NodeOrd>,
    differ: Vec<NodeOrd>,
    is_off: bool,
}

/// What is kept of one template.
#[derive(Debug)]
struct KeptIndex {
    template: EquivalenceKey,
    /// Those that its pods have, whether they make a difference now or not.
    images: Box<[ImageName]>,
    last_asked: u64,
    num_asked: u32,
    /// How many changes of rows, and of holds, are known; `None` before the first look.
    read: Option<[u64; 2]>,
    index: CandidateIndex,
}

impl BestNodes {
    /// Looks at all nodes each time.
    pub(super) fn switch_off(&mut self) {
        (self.kept, self.is_off) = (Vec::new(), true);
    }

    /// Forgets everything: the policy has changed, or a decision broke off half-way.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
    }

    /// Where the candidate index of the pod's template are, up to date, if they are worth having. `case.uncommitted` is
    /// what all holds take, `held` where that changed.
    fn position(
        &mut self,
        class: ClassOrd,
        case: DecisionContext<'_>,
        held: &ChangeLog,
    ) -> Option<usize> {
        if self.is_off {
            return None;
        }
        let at = self.find(class, case.pod);
        self.num_asked += 1;
        let Self { kept, buffers, num_asked, .. } = self;
        let kept = &mut kept[at];
        kept.last_asked = *num_asked;
        kept.num_asked = kept.num_asked.saturating_add(1);
        if kept.num_asked < NUM_ASKED {
            return None;
        }
        let snapshot = &case.view.snapshot;
        let changed = kept
            .read
            .and_then(|[rows, holds]| Some([snapshot.changes.since(rows)?, held.since(holds)?]));
        kept.read = Some([snapshot.changes.end(), held.end()]);
        let images = images_of(snapshot, case.pod);
        let all = snapshot.capacity();
        match changed.filter(|[rows, holds]| rows.len() + holds.len() < all) {
            Some(changed) => {
                buffers.nodes.clear();
                changed.iter().for_each(|it| buffers.nodes.extend_from_slice(it));
                kept.index.follow(case, buffers);
                kept.index.see_images(case, images);
            }
            None => kept.index.look(case, images, buffers),
        }
        Some(at)
    }

    /// Gathers the nodes among which the best for the pod is; `case.uncommitted` is what it sees.
    fn gather(
        &mut self,
        at: usize,
        case: DecisionContext<'_>,
        constraints: Option<&RequiredConstraints>,
        into: &mut Vec<NodeOrd>,
    ) {
        let Self { kept, replicas, differ, .. } = self;
        let snapshot = &case.view.snapshot;
        replicas_of(snapshot, case.pod, case.uncommitted, replicas);
        differ.clear();
        differ.extend(case.uncommitted.differs.iter().filter(|ord| snapshot.is_live(**ord)));
        differ.sort_unstable();
        differ.dedup();
        let unlike = Unlike { replicas, differ };
        kept[at].index.gather(case, &unlike, &UnofferedNodes::new(case, constraints), into);
    }

    fn find(&mut self, class: ClassOrd, pod: &Pod) -> usize {
        let hash = EquivalenceKey::hash_of(class, pod);
        let is_of =
            |it: &KeptIndex| it.template.is_of(hash, class, pod) && *it.images == *pod.images;
        if let Some(at) = self.kept.iter().position(is_of) {
            return at;
        }
        let oldest = self.kept.iter().enumerate().min_by_key(|(_, it)| it.last_asked);
        if let Some((at, _)) = oldest.filter(|_| self.kept.len() >= MAX_KEPT) {
            self.kept.swap_remove(at);
        }
        self.kept.push(KeptIndex {
            template: EquivalenceKey::new(hash, class, pod),
            images: pod.images.as_ref().into(),
            last_asked: 0,
            num_asked: 0,
            read: None,
            index: CandidateIndex::default(),
        });
        self.kept.len() - 1
    }
}

impl Decider {
    /// The best of all nodes that may take the pod, as the answer to an offer of all of them would have
    /// it, by kube-scheduler's own constraints as far as they can be judged; `None` when no node may.
    pub fn best_anywhere(&mut self, view: &View, pod: &Pod) -> Option<BestNode> {
        self.follow(view);
        let class_ord = view.classify(pod).class;
        let (snapshot, class) = (&view.snapshot, view.class(class_ord));
        let (uncommitted, held) = self.holds.sums(snapshot);
        let case = DecisionContext { view, class, pod, uncommitted };
        let Some(at) = self.best_nodes.position(class_ord, case, held) else {
            return self.best_of_all(view, pod);
        };
        let Self { holds, best_nodes, buffers, .. } = self;
        let existing_anti_affinity = holds.existing_anti_affinity(snapshot, Some(pod));
        let DecisionBuffers { ranker, verdicts, kept, keys, .. } = buffers;
        holds.seen_by(snapshot, pod, |uncommitted| {
            let case = DecisionContext { view, class, pod, uncommitted };
            let constraints = RequiredConstraints::of(
                snapshot,
                &existing_anti_affinity,
                pod,
                &uncommitted.replicas,
                keys,
            );
            best_nodes.gather(at, case, constraints.as_ref(), kept);
            judge(case, None, kept, verdicts);
            let mut is_kept = verdicts.iter().map(|it| *it == Reason::Kept);
            kept.retain(|_| is_kept.next() == Some(true));
            best_kept(case, None, kept, ranker)
        })
    }

    /// The best of these nodes that may take the pod, by kube-scheduler's own constraints as well.
    pub fn best_of(&mut self, view: &View, pod: &Pod, nodes: &[NodeOrd]) -> Option<BestNode> {
        self.follow(view);
        let class = view.classify(pod).class;
        let existing_anti_affinity = self.holds.existing_anti_affinity(&view.snapshot, Some(pod));
        self.seen_with(view, pod, class, nodes.len(), |case, rows, buffers| {
            judge(case, rows, nodes, &mut buffers.verdicts);
            let DecisionBuffers { ranker, verdicts, kept, keys, .. } = buffers;
            let replicas = &case.uncommitted.replicas;
            let constraints = RequiredConstraints::of(
                &case.view.snapshot,
                &existing_anti_affinity,
                pod,
                replicas,
                keys,
            );
            copy_kept(nodes, verdicts, kept);
            UnofferedNodes::new(case, constraints.as_ref()).retain(kept);
            best_kept(case, rows, kept, ranker)
        })
    }

    /// True when the node, offered or not, would take the pod, as far as this can be told without a look at
    /// other pods' terms.
    pub fn would_have(&mut self, view: &View, pod: &Pod, node: NodeOrd) -> bool {
        self.passes_somewhere(view, pod, None, &[node])
    }

    /// True when one of the offered nodes would take the pod; where it is not known which were, one of `all`,
    /// with the same reservation.
    pub(super) fn passes_somewhere(
        &mut self,
        view: &View,
        pod: &Pod,
        offered: Option<&[NodeOrd]>,
        all: &[NodeOrd],
    ) -> bool {
        let (class, nodes) = (view.classify(pod).class, offered.unwrap_or(all));
        self.seen_with(view, pod, class, nodes.len(), |case, rows, buffers| {
            judge(case, rows, nodes, &mut buffers.verdicts);
            let judge_nodes = UnofferedNodes::new(case, None);
            let admits = |ord| offered.is_some() || judge_nodes.admits_by_itself(ord);
            let mut verdicts = nodes.iter().zip(&buffers.verdicts);
            verdicts.any(|(ord, it)| *it == Reason::Kept && admits(*ord))
        })
    }

    /// True when some node's taints are in words of which only kube-scheduler can tell whether they keep the pod
    /// off: that no node would take it is not certain then.
    pub(super) fn is_in_doubt(&mut self, view: &View, pod: &Pod) -> bool {
        self.seen_by(view, pod, |uncommitted| {
            let class = view.class(view.classify(pod).class);
            let judge_nodes =
                UnofferedNodes::new(DecisionContext { view, class, pod, uncommitted }, None);
            view.snapshot.live_nodes().any(|ord| judge_nodes.is_unclear(ord))
        })
    }

    /// Forgets what was found on nodes: the policy has changed, or a decision broke off half-way.
    pub(super) fn forget_looks(&mut self) {
        self.equivalence_cache.clear();
        self.best_nodes.clear();
        self.closest.clear();
    }

    fn best_of_all(&mut self, view: &View, pod: &Pod) -> Option<BestNode> {
        let mut nodes = std::mem::take(&mut self.buffers.all);
        nodes.clear();
        nodes.extend(view.snapshot.live_nodes());
        let best = self.best_of(view, pod, &nodes);
        self.buffers.all = nodes;
        best
    }
}

/// The best of nodes that may take the pod.
fn best_kept(
    case: DecisionContext<'_>,
    rows: Option<&Rows>,
    kept: &[NodeOrd],
    ranker: &mut Ranker,
) -> Option<BestNode> {
    let ranked = ranker.rank(case, rows, kept);
    let at = *ranked.best(1).first()?;
    let node = kept[at];
    let band = usize::from(case.class.band(case.view.snapshot.pool(node)));
    Some(BestNode { node, band, points: ranked.points(at) })
}

/// Copies the nodes that may take the pod, in order.
///
/// A loop of its own, with nothing to decide in it: pushed one by one amid what is around it, they cost
/// 15 instructions a node or 23, as the compiler had it.
#[inline(never)]
fn copy_kept(nodes: &[NodeOrd], verdicts: &[Reason], kept: &mut Vec<NodeOrd>) {
    kept.clear();
    kept.extend_from_slice(nodes);
    let mut num_kept = 0;
    for (ord, verdict) in nodes.iter().zip(verdicts) {
        kept[num_kept] = *ord;
        num_kept += usize::from(*verdict == Reason::Kept);
    }
    kept.truncate(num_kept);
}

#[cfg(test)]
mod tests;
