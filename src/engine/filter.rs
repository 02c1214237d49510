//! Which of the offered nodes may take the pod.

use super::Case;
use crate::model::{NodeOrd, Reason};
use crate::rules::{Cx, Offer};

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
