//! The best node of the whole cluster for a pod, whatever is offered.

use super::desk::Buffers;
use super::filter::judge;
use super::in_tree::InTree;
use super::{Case, Desk, World};
use crate::model::{NodeOrd, Pod, Reason};

/// A node, and how good it is for a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Best {
    /// The node.
    pub node: NodeOrd,
    /// Position of its pool in the class's order; 0 for all where pools are not ordered. Lower is
    /// better, whatever the points.
    pub band: usize,
    /// The weighted points of the scorers other than `poolOrder`.
    pub points: u32,
}

impl Desk {
    /// The best of all nodes that may take the pod, as the answer to an offer of all of them would have
    /// it, by kube-scheduler's own constraints as far as they can be judged; `None` when no node may.
    pub fn best_anywhere(&mut self, world: &World, pod: &Pod) -> Option<Best> {
        let mut nodes = std::mem::take(&mut self.buffers.all);
        nodes.clear();
        nodes.extend(world.snapshot.live_nodes());
        let best = self.best_of(world, pod, &nodes);
        self.buffers.all = nodes;
        best
    }

    /// The best of these nodes that may take the pod, by kube-scheduler's own constraints as well.
    pub fn best_of(&mut self, world: &World, pod: &Pod, nodes: &[NodeOrd]) -> Option<Best> {
        self.follow(world);
        let class = world.classify(pod).class;
        let apart = self.holds.apart_with(&world.snapshot, Some(pod));
        self.seen_with(world, pod, class, nodes.len(), |case, rows, buffers| {
            judge(case, rows, nodes, &mut buffers.verdicts);
            let Buffers { ranker, verdicts, kept, keys, .. } = buffers;
            let Case { class, world, extra, .. } = case;
            let replicas = &extra.replicas;
            let in_tree = InTree::of(&world.snapshot, &apart, pod, replicas, keys);
            copy_kept(nodes, verdicts, kept);
            if let Some(in_tree) = &in_tree {
                kept.retain(|ord| in_tree.admits(*ord));
            }
            let ranked = ranker.rank(case, rows, kept);
            let at = *ranked.best(1).first()?;
            let node = kept[at];
            let band = usize::from(class.band(world.snapshot.pool(node)));
            Some(Best { node, band, points: ranked.points(at) })
        })
    }
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
