//! What kube-scheduler's own constraints leave to the pods of a batch, those before them on their targets.

use std::sync::Arc;

use crate::cluster::{Extra, Snapshot};
use crate::engine::in_tree::{InTree, Keys, are_alike};
use crate::model::{NodeOrd, Pod, PodVolume};

/// Most kinds of constraints for one batch: some milliseconds each.
const MAX_KINDS: usize = 256;

/// The kinds of constraints in a batch.
#[derive(Default)]
pub(super) struct Constrained {
    kinds: Vec<Kind>,
    keys: Keys,
}

/// Pods of one app with the same constraints, whose volumes can be used on the same nodes.
struct Kind {
    pod: Arc<Pod>,
    volumes: Option<Vec<PodVolume>>,
    in_tree: InTree,
    /// How many of the batch's pods are counted.
    num_followed: usize,
}

impl Constrained {
    /// What is left to the pod when these pods of the batch have taken these nodes; `before` is without
    /// any of them. The outer `None`: its constraints are new, and there were enough. The inner: any node
    /// will do.
    pub(super) fn of(
        &mut self,
        before: &Snapshot,
        pod: &Arc<Pod>,
        extra: &Extra,
        takers: &[Arc<Pod>],
        taken: &[NodeOrd],
    ) -> Option<Option<&InTree>> {
        if !pod.is_constrained() {
            return Some(None);
        }
        // Whose nominations count depends on the priority.
        let volumes = before.volumes.of(pod);
        let is_of = |it: &Kind| {
            it.pod.priority == pod.priority && are_alike(&it.pod, pod) && it.volumes == volumes
        };
        let at = match self.kinds.iter().position(is_of) {
            Some(known) => known,
            None if self.kinds.len() >= MAX_KINDS => return None,
            None => {
                let in_tree = InTree::of(before, pod, &extra.replicas, &mut self.keys)?;
                self.kinds.push(Kind { pod: pod.clone(), volumes, in_tree, num_followed: 0 });
                self.kinds.len() - 1
            }
        };
        let kind = &mut self.kinds[at];
        for (pod, node) in takers.iter().zip(taken).skip(kind.num_followed) {
            kind.in_tree.placed(pod, *node);
        }
        kind.num_followed = taken.len();
        Some(Some(&kind.in_tree))
    }
}
