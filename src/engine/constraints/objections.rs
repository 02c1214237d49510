//! Which constraint rules a node out, by its name: for people.

use super::RequiredConstraints;
use crate::cluster::Snapshot;
use crate::model::{Node, NodeOrd, Pod};

/// A kind of required constraint of kube-scheduler's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConstraintKind {
    /// `nodeSelector` or required node affinity.
    NodeAffinity,
    /// The node has one of the pod's host ports in use.
    HostPort,
    /// A volume of the pod cannot be used on the node.
    Volumes,
    /// Hard topology spread.
    TopologySpread,
    /// Required pod affinity.
    PodAffinity,
    /// Required pod anti-affinity of the pod.
    PodAntiAffinity,
    /// Required pod anti-affinity of other pods, against this one.
    ExistingAntiAffinity,
}

impl ConstraintKind {
    /// All of them, in the order in which kube-scheduler judges.
    pub const ALL: [Self; 7] = [
        Self::NodeAffinity,
        Self::HostPort,
        Self::Volumes,
        Self::TopologySpread,
        Self::PodAffinity,
        Self::PodAntiAffinity,
        Self::ExistingAntiAffinity,
    ];

    /// As the admin API names it: the pod's field where there is one.
    pub fn name(self) -> &'static str {
        match self {
            Self::NodeAffinity => "nodeAffinity",
            Self::HostPort => "hostPort",
            Self::Volumes => "volumes",
            Self::TopologySpread => "topologySpreadConstraints",
            Self::PodAffinity => "podAffinity",
            Self::PodAntiAffinity => "podAntiAffinity",
            Self::ExistingAntiAffinity => "existingPodAntiAffinity",
        }
    }
}

impl RequiredConstraints {
    /// The first constraint that rules the node out; `None` exactly where the node is
    /// [admitted](Self::admits).
    pub(in crate::engine) fn objection(
        &self,
        snapshot: &Snapshot,
        pod: &Pod,
        ord: NodeOrd,
    ) -> Option<ConstraintKind> {
        if self.admits(ord) {
            return None;
        }
        let node = snapshot.nodes.get(ord.index()).and_then(Option::as_ref);
        let (constraints, volumes) = (pod.constraints.as_deref(), snapshot.tables.volumes_of(pod));
        let suits =
            |node: &Node| constraints.is_none_or(|it| it.admits(&node.name, |key| node.label(key)));
        let has_volumes = |node: &Node| {
            let mut volumes = volumes.iter().flatten();
            volumes.all(|it| it.admits(&node.name, |key| node.label(key)))
        };
        let is_out = |kind: &ConstraintKind| match kind {
            ConstraintKind::NodeAffinity => !node.is_some_and(|it| suits(it)),
            ConstraintKind::Volumes => !node.is_some_and(|it| has_volumes(it)),
            // The rest of what is known by node.
            ConstraintKind::HostPort => {
                self.is_out.get(ord.index()) != Some(&false)
                    && node.is_some_and(|it| suits(it) && has_volumes(it))
            }
            ConstraintKind::TopologySpread => self.spread.iter().any(|it| !it.admits(ord)),
            ConstraintKind::PodAffinity => {
                self.pod_affinity.as_ref().is_some_and(|it| !it.admits(ord))
            }
            ConstraintKind::PodAntiAffinity => self
                .existing_anti_affinity
                .iter()
                .any(|(_, counted)| counted.at(ord).is_some_and(|it| it > 0)),
            ConstraintKind::ExistingAntiAffinity => !self.existing_terms.admits(ord),
        };
        ConstraintKind::ALL.into_iter().find(is_out)
    }
}
