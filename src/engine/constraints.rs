//! Which nodes kube-scheduler's own required constraints leave for a pod: node affinity, host ports, pod
//! affinity and anti-affinity, of the pod and of others against it, hard topology spread, bound volumes.
//!
//! The nodes of an offer have passed them. This is for choosing among nodes that were not offered: who is
//! sent to one that kube-scheduler refuses has lost a round. As far as these plugins go it is what they
//! compute (`pkg/scheduler/framework/plugins` of 1.36), with one difference: labels of placed pods are
//! known by their app, as what all of its replicas have in common.
//! docs/in-tree-constraints.md says what that leaves out.

mod topology_domains;
mod objections;
mod existing_terms;
mod term_selector;
mod topology_spread;

use self::existing_terms::ExistingTerms;
pub use self::objections::ConstraintKind;
use self::term_selector::TermSelector;
use self::topology_domains::CountedPods;
pub(super) use self::topology_domains::TopologyDomains;
use self::topology_spread::CountedSpread;
use crate::cluster::{ExistingAntiAffinity, Snapshot};
use crate::model::{Constraints, HostPort, Node, NodeOrd, Pod, PodAffinityTerm};

/// What the constraints of alike pods make of the nodes of one snapshot, and of pods placed since.
#[derive(Debug)]
pub(super) struct RequiredConstraints {
    /// By node: out whatever becomes of pods with other ports.
    is_out: Vec<bool>,
    host_ports: Box<[HostPort]>,
    existing_anti_affinity: Vec<(TermSelector, CountedPods)>,
    existing_terms: ExistingTerms,
    pod_affinity: Option<RequiredAffinity>,
    spread: Vec<CountedSpread>,
}

impl RequiredConstraints {
    /// `None` for a pod that may go anywhere. `existing_anti_affinity` is from whom placed pods, and those on their way, must
    /// be apart; `replicas` are possible places of its app's replicas that no watch has confirmed, as in
    /// [`crate::cluster::Uncommitted`].
    pub(super) fn of(
        snapshot: &Snapshot,
        existing_anti_affinity: &ExistingAntiAffinity,
        pod: &Pod,
        replicas: &[(u32, NodeOrd)],
        keys: &mut TopologyDomains,
    ) -> Option<Self> {
        if !pod.is_constrained()
            && existing_anti_affinity.against(pod, &snapshot.namespaces).next().is_none()
        {
            return None;
        }
        let existing_terms = ExistingTerms::of(snapshot, existing_anti_affinity, pod, keys);
        let constraints = pod.constraints.clone().unwrap_or_default();
        let admitted = admitted(snapshot, &constraints);
        let spread = CountedSpread::all(snapshot, pod, &constraints.spread, &admitted, keys);
        let mut is_out: Vec<bool> = admitted.iter().map(|is_in| !is_in).collect();
        keep_off(snapshot, pod, &mut is_out);
        for port in &pod.host_ports {
            for ord in snapshot.nodes_with_port(*port) {
                set(&mut is_out, ord);
            }
        }
        let mut pod_anti_affinity = Vec::new();
        for term in &constraints.pod_anti_affinity {
            let selects = TermSelector::of(snapshot, term);
            let mut counted = CountedPods::new(keys.domains(snapshot, &term.key));
            term_selector::placed(snapshot, &[&selects], |ord, pods| counted.add(ord, pods));
            pod_anti_affinity.push((selects, counted));
        }
        let pod_affinity = RequiredAffinity::of(snapshot, pod, &constraints.pod_affinity, keys);
        let host_ports = pod.host_ports.clone();
        let mut constraints = Self {
            is_out,
            host_ports,
            existing_anti_affinity: pod_anti_affinity,
            existing_terms,
            pod_affinity,
            spread,
        };
        constraints.expect(pod, replicas);
        constraints.respect(snapshot, pod);
        Some(constraints)
    }

    /// True when the constraints leave this node.
    pub(super) fn admits(&self, ord: NodeOrd) -> bool {
        self.is_out.get(ord.index()) == Some(&false)
            && self
                .existing_anti_affinity
                .iter()
                .all(|(_, counted)| counted.at(ord).is_none_or(|pods| pods == 0))
            && self.existing_terms.admits(ord)
            && self.pod_affinity.as_ref().is_none_or(|it| it.admits(ord))
            && self.spread.iter().all(|it| it.admits(ord))
    }

    /// Counts a pod that is on the node from now on.
    pub(super) fn placed(
        &mut self,
        snapshot: &Snapshot,
        pod: &Pod,
        ord: NodeOrd,
        keys: &mut TopologyDomains,
    ) {
        self.existing_terms.placed(snapshot, pod, ord, keys);
        self.nominated(pod, ord);
        if let Some(pod_affinity) = &mut self.pod_affinity {
            pod_affinity.placed(pod, ord);
        }
    }

    /// Counts a pod that may come to the node: it is in the way, and no company yet.
    fn nominated(&mut self, pod: &Pod, ord: NodeOrd) {
        let meet = |port: &HostPort| self.host_ports.iter().any(|own| own.conflicts(port));
        if pod.host_ports.iter().any(meet) {
            set(&mut self.is_out, ord);
        }
        self.count_apart(pod, ord);
        self.spread.iter_mut().for_each(|it| it.placed(pod, ord));
    }

    /// kube-scheduler filters as if pods of this pod's priority and above were where they are nominated.
    /// From whom they must be apart is counted already. Source: `RunFilterPluginsWithNominatedPods`.
    fn respect(&mut self, snapshot: &Snapshot, pod: &Pod) {
        for (uid, nominee) in snapshot.nominees.iter() {
            let counts = uid != pod.uid.0 && nominee.claim.priority >= pod.priority;
            if let Some(other) = snapshot.pending.get(uid).filter(|_| counts) {
                self.nominated(other, nominee.node);
            }
        }
    }

    /// Replicas of the pod's app are on their way: none of their places is free for a pod that must be
    /// apart from them, and where there is but one, it counts.
    fn expect(&mut self, pod: &Pod, replicas: &[(u32, NodeOrd)]) {
        for places in replicas.chunk_by(|a, b| a.0 == b.0) {
            for (_, ord) in places {
                self.count_apart(pod, *ord);
                if !pod.host_ports.is_empty() {
                    set(&mut self.is_out, *ord);
                }
            }
            if let [(_, ord)] = places {
                self.spread.iter_mut().for_each(|it| it.placed(pod, *ord));
            }
        }
    }

    fn count_apart(&mut self, pod: &Pod, ord: NodeOrd) {
        for (selects, counted) in &mut self.existing_anti_affinity {
            if selects.holds(&pod.labels) {
                counted.add(ord, 1);
            }
        }
    }
}

/// Required pod affinity. Source: `interpodaffinity.satisfyPodAffinity`.
#[derive(Debug)]
struct RequiredAffinity {
    terms: Vec<(TermSelector, CountedPods)>,
    /// A pod that all terms select is on some node.
    found: bool,
    selects_itself: bool,
}

impl RequiredAffinity {
    fn of(
        snapshot: &Snapshot,
        pod: &Pod,
        terms: &[PodAffinityTerm],
        keys: &mut TopologyDomains,
    ) -> Option<Self> {
        if terms.is_empty() {
            return None;
        }
        let selected: Vec<TermSelector> =
            terms.iter().map(|term| TermSelector::of(snapshot, term)).collect();
        let mut counted: Vec<CountedPods> =
            terms.iter().map(|term| CountedPods::new(keys.domains(snapshot, &term.key))).collect();
        let mut found = false;
        let all: Vec<&TermSelector> = selected.iter().collect();
        term_selector::placed(snapshot, &all, |ord, pods| {
            for counted in &mut counted {
                found |= counted.at(ord).is_some();
                counted.add(ord, pods);
            }
        });
        let selects_itself = selected.iter().all(|it| it.holds(&pod.labels));
        Some(Self { terms: selected.into_iter().zip(counted).collect(), found, selects_itself })
    }

    fn admits(&self, ord: NodeOrd) -> bool {
        let mut counts = self.terms.iter().map(|(_, counted)| counted.at(ord));
        let has_all = self.terms.iter().all(|(_, counted)| counted.at(ord).is_some());
        // The first of a series finds nobody that it could be with.
        has_all && (counts.all(|pods| pods > Some(0)) || !self.found && self.selects_itself)
    }

    fn placed(&mut self, pod: &Pod, ord: NodeOrd) {
        if self.terms.iter().all(|(selects, _)| selects.holds(&pod.labels)) {
            for (_, counted) in &mut self.terms {
                self.found |= counted.at(ord).is_some();
                counted.add(ord, 1);
            }
        }
    }
}

/// By node: it exists, and node affinity leaves it.
fn admitted(snapshot: &Snapshot, constraints: &Constraints) -> Vec<bool> {
    let any = constraints.node_selector.is_empty() && constraints.node_terms.is_none();
    let nodes = snapshot.nodes.iter().take(snapshot.capacity());
    let admits = nodes.map(|node| {
        let node = node.as_ref();
        node.is_some_and(|it| any || constraints.admits(&it.name, |key| it.label(key)))
    });
    admits.collect()
}

/// Takes the nodes out on which a volume of the pod cannot be used, as far as that is known.
fn keep_off(snapshot: &Snapshot, pod: &Pod, is_out: &mut [bool]) {
    let volumes = snapshot.tables.volumes_of(pod).unwrap_or_default();
    if volumes.is_empty() {
        return;
    }
    for (node, is_out) in snapshot.nodes.iter().zip(is_out) {
        let admits =
            |node: &Node| volumes.iter().all(|it| it.admits(&node.name, |key| node.label(key)));
        *is_out |= !node.as_deref().is_some_and(admits);
    }
}

fn set(is_out: &mut [bool], ord: NodeOrd) {
    if let Some(is_out) = is_out.get_mut(ord.index()) {
        *is_out = true;
    }
}

/// Pods of one app that no constraint tells apart: what one of them may take, so may the other, if their
/// claims are bound to the same, and if the same terms of others mean them. For their own terms, labels by which
/// an app's replicas differ are of no weight, since no app's are known by them.
pub(super) fn are_alike(one: &Pod, other: &Pod) -> bool {
    one.app() == other.app()
        && one.constraints == other.constraints
        && one.host_ports == other.host_ports
        && (one.constraints.is_none() || one.app().is_some() || one.labels == other.labels)
}
