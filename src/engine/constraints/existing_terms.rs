//! Whom others must be apart from. Source: `interpodaffinity.satisfyExistingPodsAntiAffinity`.

use super::topology_domains::{CountedPods, TopologyDomains};
use crate::cluster::{ExistingAntiAffinity, Snapshot};
use crate::model::{LabelSet, Namespace, NodeOrd, Pod};

/// Where pods are, or will be, that must be apart from a pod.
#[derive(Debug)]
pub(super) struct ExistingTerms {
    labels: LabelSet,
    home: Option<Namespace>,
    /// By `topologyKey`.
    counted: Vec<(Box<str>, CountedPods)>,
}

impl ExistingTerms {
    /// By those that are there, or on their way, already.
    pub(super) fn of(
        snapshot: &Snapshot,
        existing_anti_affinity: &ExistingAntiAffinity,
        pod: &Pod,
        keys: &mut TopologyDomains,
    ) -> Self {
        let home = snapshot.namespaces.get(&pod.namespace).cloned();
        let mut existing_terms = Self { labels: pod.labels.clone(), home, counted: Vec::new() };
        for (term, places) in existing_anti_affinity.against(pod, &snapshot.namespaces) {
            let counted = existing_terms.counted(snapshot, &term.key, keys);
            places.iter().for_each(|(ord, pods)| counted.add(*ord, *pods));
        }
        existing_terms
    }

    /// True when nobody in the node's domains must be apart from the pod.
    pub(super) fn admits(&self, ord: NodeOrd) -> bool {
        self.counted.iter().all(|(_, counted)| counted.at(ord).is_none_or(|pods| pods == 0))
    }

    /// Counts another pod that is on the node from now on.
    pub(super) fn placed(
        &mut self,
        snapshot: &Snapshot,
        other: &Pod,
        ord: NodeOrd,
        keys: &mut TopologyDomains,
    ) {
        for term in other.pod_anti_affinity().into_iter().flat_map(|it| &it.pod_anti_affinity) {
            if term.means(&self.labels, self.home.as_ref()) {
                self.counted(snapshot, &term.key, keys).add(ord, 1);
            }
        }
    }

    fn counted(
        &mut self,
        snapshot: &Snapshot,
        key: &str,
        keys: &mut TopologyDomains,
    ) -> &mut CountedPods {
        let known = self.counted.iter().position(|(it, _)| **it == *key);
        let at = known.unwrap_or_else(|| {
            self.counted.push((key.into(), CountedPods::new(keys.domains(snapshot, key))));
            self.counted.len() - 1
        });
        &mut self.counted[at].1
    }
}
