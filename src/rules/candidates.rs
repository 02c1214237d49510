//! Candidate rules: they drop candidates for preemption. They add no candidate and change no victim.

use super::{ClassParams, RuleContext};
use crate::cluster::PodRecord;
use crate::model::NodeOrd;

/// A pod that in-tree preemption would evict.
#[derive(Clone, Copy)]
pub struct VictimPod<'a> {
    /// The pod as it is placed.
    pub pod: &'a PodRecord,
    /// Its class, which is not the class of the pod to be placed.
    pub class: &'a ClassParams,
}

/// A node that has room for the pod once its victims are gone.
pub struct VictimNode<'a> {
    /// The node.
    pub node: NodeOrd,
    /// Its victims, most important first. At least one.
    pub victims: Vec<VictimPod<'a>>,
}

/// The candidates of one request, by position. A dropped candidate does not come back.
pub struct Candidates<'a>(Vec<Option<VictimNode<'a>>>);

impl<'a> Candidates<'a> {
    /// The candidates that have room, and `None` for the others.
    pub fn new(candidates: impl IntoIterator<Item = Option<VictimNode<'a>>>) -> Self {
        Self(candidates.into_iter().collect())
    }

    /// The candidates that are left.
    pub fn left(&self) -> impl Iterator<Item = &VictimNode<'a>> {
        self.0.iter().flatten()
    }

    /// Drops every candidate that is left and for which `objects` holds.
    pub fn drop_where(&mut self, objects: impl Fn(&VictimNode<'a>) -> bool) {
        for candidate in &mut self.0 {
            candidate.take_if(|it| objects(it));
        }
    }

    /// True for each candidate that is left.
    pub fn are_left(&self) -> Vec<bool> {
        self.0.iter().map(Option::is_some).collect()
    }
}

/// A rule about candidates. It sees all that are left, so it can compare them.
pub trait CandidateRule: Send + Sync {
    /// Drops candidates.
    fn drop_candidates(&self, cx: &RuleContext<'_>, candidates: &mut Candidates<'_>);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rule that compares: while a candidate has one victim, the others go.
    #[test]
    fn a_dropped_candidate_does_not_come_back() {
        let (record, class) = (PodRecord::default(), ClassParams::default());
        let of = |node, num_victims| {
            let victim = VictimPod { pod: &record, class: &class };
            Some(VictimNode { node: NodeOrd(node), victims: vec![victim; num_victims] })
        };
        let mut candidates = Candidates::new([of(0, 1), None, of(2, 2), of(3, 1)]);
        let is_one = |it: &VictimNode<'_>| it.victims.len() == 1;
        if candidates.left().any(is_one) {
            candidates.drop_where(|it| !is_one(it));
        }
        assert_eq!(candidates.are_left(), [true, false, false, true]);
        candidates.drop_where(|it| it.node == NodeOrd(0));
        candidates.drop_where(|_| false);
        assert_eq!(candidates.are_left(), [false, false, false, true]);
    }
}
