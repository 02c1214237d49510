//! Which candidates for preemption kube-scheduler may go on with.
//!
//! In-tree preemption knows nothing of our limits: without this check victims would die for a node
//! that filter refuses a moment later. A candidate is dropped if one of its victims is unknown, or if
//! the filters refuse the pod although the victims are gone. Then the class's candidate rules drop
//! further ones. No victim is added or taken out.

use super::filter::judge;
use super::{DecisionContext, View};
use crate::cluster::{PodRecord, Uncommitted};
use crate::model::{NodeOrd, Pod, PodUid, Reason};
use crate::rules::{Candidates, VictimNode, VictimPod};

/// A node and the pods that in-tree preemption would evict from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub node: NodeOrd,
    /// Its victims, most important first.
    pub victims: Vec<PodUid>,
}

/// True for each candidate that may stand.
pub(super) fn acceptable(
    view: &View,
    pod: &Pod,
    uncommitted: &mut Uncommitted,
    candidates: &[Candidate],
) -> Vec<bool> {
    let victim = |pod| VictimPod { pod, class: &view.class(view.classify_placed(pod)).params };
    let with_room = |candidate: &Candidate| {
        let (node, victims) = (candidate.node, known_victims(view, candidate)?);
        let has_room =
            !victims.is_empty() && passes_without(view, pod, uncommitted, node, &victims);
        has_room.then(|| VictimNode { node, victims: victims.into_iter().map(victim).collect() })
    };
    let mut left = Candidates::new(candidates.iter().map(with_room));
    let (class, extended) = (view.class(view.classify(pod).class), view.extended_of(pod));
    let case = DecisionContext { view, class, pod, uncommitted };
    for rule in &class.candidate_rules {
        rule.drop_candidates(&case.for_rules(&extended), &mut left);
    }
    left.are_left()
}

/// The pod passes on a node once these pods are gone.
pub(super) fn passes_without(
    view: &View,
    pod: &Pod,
    uncommitted: &mut Uncommitted,
    node: NodeOrd,
    victims: &[&PodRecord],
) -> bool {
    let (class, mut verdict) = (view.class(view.classify(pod).class), Vec::new());
    relieve(view, pod, uncommitted, node, victims, -1);
    judge(DecisionContext { view, class, pod, uncommitted }, None, &[node], &mut verdict);
    relieve(view, pod, uncommitted, node, victims, 1);
    verdict == [Reason::Kept]
}

/// The records of all victims, or `None` when we do not know one of them there.
fn known_victims<'a>(view: &'a View, candidate: &Candidate) -> Option<Vec<&'a PodRecord>> {
    if !view.snapshot.is_live(candidate.node) {
        return None;
    }
    let record = |uid: &PodUid| view.snapshot.pod_on(candidate.node, *uid);
    candidate.victims.iter().map(record).collect()
}

/// Takes the victims out of (−1) or puts them back into (1) the sums.
fn relieve(
    view: &View,
    pod: &Pod,
    uncommitted: &mut Uncommitted,
    node: NodeOrd,
    victims: &[&PodRecord],
    sign: i64,
) {
    let pool = view.snapshot.pool(node);
    for victim in victims {
        uncommitted.shift_node(node, victim.requests, sign);
        uncommitted.shift_pool(pool, victim.requests, sign);
        for &(resource, amount) in &victim.extended {
            if sign < 0 {
                uncommitted.extended.push((node, resource, -amount));
            } else {
                uncommitted.extended.retain(|it| *it != (node, resource, -amount));
            }
        }
        if victim.spreading_app().is_some() && victim.spreading_app() == pod.app().map(|it| it.0) {
            if sign < 0 {
                uncommitted.removed_replicas.push(node);
            } else {
                uncommitted.removed_replicas.pop();
            }
        }
    }
}
