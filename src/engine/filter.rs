//! Which of the offered nodes may take the pod.

use super::Case;
use super::rank::{Ranker, best};
use crate::model::{NodeOrd, Reason};
use crate::rules::{Cx, Offer};

/// An answer that bears limits of ours names at most this many nodes, since each of them is held.
pub const MAX_HELD_NODES: usize = 16;

/// How many nodes were refused for which reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: [u32; Reason::ALL.len() + 1],
}

impl Tally {
    /// Counts verdicts.
    pub fn of(verdicts: &[Reason]) -> Self {
        let mut tally = Self::default();
        for verdict in verdicts {
            tally.counts[*verdict as usize] += 1;
        }
        tally
    }

    /// How many nodes have this verdict.
    pub fn count(&self, reason: Reason) -> u32 {
        self.counts[reason as usize]
    }

    /// How many nodes are in.
    pub fn kept(&self) -> u32 {
        self.count(Reason::Kept)
    }

    /// The reason that most nodes were refused for; among equals the first of the list.
    pub fn most_common(&self) -> Option<Reason> {
        let refused = Reason::ALL.into_iter().filter(|reason| self.count(*reason) > 0);
        refused.reduce(|best, it| if self.count(it) > self.count(best) { it } else { best })
    }
}

/// Lets every hard rule of the class judge the offer. Verdicts that are not `Kept` stay.
pub(super) fn judge(case: Case<'_>, nodes: &[NodeOrd], verdicts: &mut [Reason]) {
    let Case { world, class, pod, extra } = case;
    let extended = world.extended_of(pod);
    let cx = Cx { snapshot: &world.snapshot, extra, pod, extended: &extended };
    for rule in &class.filters {
        rule.filter.judge(&cx, &mut Offer { nodes, verdicts });
    }
}

/// The positions of the best nodes that are in, at most `most` of them, best first.
pub(super) fn shortlist(
    ranker: &mut Ranker,
    case: Case<'_>,
    nodes: &[NodeOrd],
    verdicts: &[Reason],
    most: usize,
) -> Vec<u32> {
    let kept = (0_u32..).zip(verdicts).filter(|(_, verdict)| **verdict == Reason::Kept);
    let positions: Vec<u32> = kept.map(|(at, _)| at).collect();
    let kept: Vec<NodeOrd> = positions.iter().map(|at| nodes[*at as usize]).collect();
    let ranks = ranker.rank(case, &kept);
    best(ranks, most).into_iter().map(|at| positions[at]).collect()
}
