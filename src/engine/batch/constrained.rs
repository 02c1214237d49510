//! What kube-scheduler's own constraints leave to the pods of a batch, those before them on their targets.

use std::sync::Arc;

use crate::cluster::{ExistingAntiAffinity, Snapshot, Uncommitted};
use crate::engine::constraints::{RequiredConstraints, TopologyDomains, are_alike};
use crate::model::{NodeOrd, Pod, PodAffinityTerm, PodVolume};

/// Most kinds of constraints for one batch: some milliseconds each.
const MAX_KINDS: usize = 256;

/// The kinds of constraints in a batch.
#[derive(Default)]
pub(super) struct Constrained {
    /// From whom pods must be apart: those of the batch, wherever they will be, and others.
    existing_anti_affinity: ExistingAntiAffinity,
    kinds: Vec<ConstrainedGroup>,
    keys: TopologyDomains,
}

/// Pods of one app with the same constraints, whose volumes can be used on the same nodes, and from whom
/// the same pods must be apart.
struct ConstrainedGroup {
    pod: Arc<Pod>,
    volumes: Option<Vec<PodVolume>>,
    repelled_by: Vec<Arc<PodAffinityTerm>>,
    constraints: RequiredConstraints,
    /// How many of the batch's pods are counted.
    num_followed: usize,
}

impl Constrained {
    /// From now on pods come that see these others as `existing_anti_affinity` has it; `batch` are all of the batch.
    pub(super) fn see<'a>(
        &mut self,
        mut existing_anti_affinity: ExistingAntiAffinity,
        batch: impl Iterator<Item = &'a Arc<Pod>>,
    ) {
        for constraints in batch.filter_map(|pod| pod.pod_anti_affinity()) {
            existing_anti_affinity.count(&constraints.pod_anti_affinity, NodeOrd::UNKNOWN, 1);
        }
        self.existing_anti_affinity = existing_anti_affinity;
    }

    /// What is left to the pod when these pods of the batch have taken these nodes; `before` is without
    /// any of them. The outer `None`: its constraints are new, and there were enough. The inner: any node
    /// will do.
    pub(super) fn of(
        &mut self,
        before: &Snapshot,
        pod: &Arc<Pod>,
        uncommitted: &Uncommitted,
        takers: &[Arc<Pod>],
        taken: &[NodeOrd],
    ) -> Option<Option<&RequiredConstraints>> {
        let repelled_by =
            self.existing_anti_affinity.against(pod, &before.namespaces).map(|it| it.0.clone());
        let repelled_by: Vec<_> = repelled_by.collect();
        if !pod.is_constrained() && repelled_by.is_empty() {
            return Some(None);
        }
        // Whose nominations count depends on the priority.
        let volumes = before.tables.volumes_of(pod);
        let is_of = |it: &ConstrainedGroup| {
            it.pod.priority == pod.priority
                && are_alike(&it.pod, pod)
                && it.volumes == volumes
                && it.repelled_by == repelled_by
        };
        let at = match self.kinds.iter().position(is_of) {
            Some(known) => known,
            None if self.kinds.len() >= MAX_KINDS => return None,
            None => {
                let (replicas, keys) = (&uncommitted.replicas, &mut self.keys);
                let constraints = RequiredConstraints::of(
                    before,
                    &self.existing_anti_affinity,
                    pod,
                    replicas,
                    keys,
                )?;
                let (pod, num_followed) = (pod.clone(), 0);
                self.kinds.push(ConstrainedGroup {
                    pod,
                    volumes,
                    repelled_by,
                    constraints,
                    num_followed,
                });
                self.kinds.len() - 1
            }
        };
        let kind = &mut self.kinds[at];
        for (pod, node) in takers.iter().zip(taken).skip(kind.num_followed) {
            kind.constraints.placed(before, pod, *node, &mut self.keys);
        }
        kind.num_followed = taken.len();
        Some(Some(&kind.constraints))
    }
}
