//! A node that preemption has made free a moment ago.
//!
//! kube-scheduler evicts for a pod, nominates the node, and tries it alone once the victims are gone. It may
//! hear of their end before we do. If we refused the node by our older snapshot, kube-scheduler would
//! evict for the pod again, elsewhere.

use super::{Answer, Decider};
use crate::cluster::{PodRecord, Snapshot};
use crate::engine::filter::Tally;
use crate::engine::preempt::passes_without;
use crate::engine::{Naming, View};
use crate::model::{Amounts, NodeOrd, Pod, Reason};

impl Decider {
    /// The one node that is offered is the pod's nomination; kube-scheduler's own fit tells that pods of lower
    /// priority which are on their way out are gone; and without them the pod passes.
    pub(super) fn is_vacated(&mut self, view: &View, pod: &Pod, nodes: &[NodeOrd]) -> bool {
        let (snapshot, [node]) = (&view.snapshot, nodes) else { return false };
        let nominated = pod.nominated.as_deref().and_then(|name| snapshot.names.ord(name));
        if nominated != Some(*node) || !snapshot.is_live(*node) {
            return false;
        }
        let leaves = |it: &&PodRecord| it.terminating && it.priority < pod.priority;
        let leaving: Vec<&PodRecord> = snapshot.pods_on(*node).iter().filter(leaves).collect();
        !leaving.is_empty()
            && is_too_full(snapshot, pod, *node)
            && self.holds.seen_by(snapshot, pod, |uncommitted| {
                passes_without(view, pod, uncommitted, *node, &leaving)
            })
    }

    /// Answers the one node that is offered.
    pub(super) fn accept_the_only(&mut self, answer: &mut Answer) {
        self.buffers.verdicts.fill(Reason::Kept);
        answer.tally = Tally::of(&self.buffers.verdicts);
        answer.accepted.push(0);
        answer.naming = Naming::All;
    }
}

/// With all that is there the pod does not fit, by what kube-scheduler's own fit counts. So where
/// kube-scheduler offers the node, it knows that something has gone.
fn is_too_full(snapshot: &Snapshot, pod: &Pod, node: NodeOrd) -> bool {
    let (used, all, asked) = (snapshot.used(node), snapshot.allocatable(node), &pod.requests.base);
    let is_over = |of: fn(&Amounts) -> i64| of(asked) > 0 && of(&used) + of(asked) > of(&all);
    is_over(|it| it.cpu_milli)
        || is_over(|it| it.memory_bytes)
        || is_over(|it| it.ephemeral_bytes)
        || is_over(|it| it.pods)
}
