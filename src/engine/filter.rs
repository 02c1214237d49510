//! Which of the offered nodes may take the pod.

use super::equivalence_cache::Rows;
use super::{DecisionContext, fresh_verdicts};
use crate::model::{NodeOrd, Reason};
use crate::rules::Offer;

/// How many nodes were refused for which reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: [u32; Reason::ALL.len() + 1],
}

impl Tally {
    /// Counts verdicts.
    pub fn of(verdicts: &[Reason]) -> Self {
        let mut tally = Self::default();
        // Mostly all are kept, and counting one kind is many times cheaper than counting each.
        let kept = verdicts.iter().filter(|verdict| **verdict == Reason::Kept).count();
        tally.counts[Reason::Kept as usize] = kept as u32;
        if kept < verdicts.len() {
            for verdict in verdicts.iter().filter(|verdict| **verdict != Reason::Kept) {
                tally.counts[*verdict as usize] += 1;
            }
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

    /// The reason closest to success: the one that is last in the order of evaluation, since its nodes
    /// passed all that comes before.
    pub fn closest(&self) -> Option<Reason> {
        Reason::ALL.into_iter().rev().find(|reason| self.count(*reason) > 0)
    }
}

/// The verdict of the class's hard rules on each node; with `rows`, what the local ones found before.
pub(super) fn judge(
    case: DecisionContext<'_>,
    rows: Option<&Rows>,
    nodes: &[NodeOrd],
    verdicts: &mut Vec<Reason>,
) {
    match rows {
        Some(rows) => rows.verdicts(nodes, verdicts),
        None => {
            fresh_verdicts(&case.view.snapshot, nodes, verdicts);
            judge_local(case, nodes, verdicts);
        }
    }
    judge_rest(case, nodes, verdicts);
}

/// Lets the local rules judge. Verdicts that are not `Kept` stay.
pub(super) fn judge_local(case: DecisionContext<'_>, nodes: &[NodeOrd], verdicts: &mut [Reason]) {
    judge_with(case, true, nodes, verdicts);
}

/// Lets the rules judge that are not local, which come later. Verdicts that are not `Kept` stay.
pub(super) fn judge_rest(case: DecisionContext<'_>, nodes: &[NodeOrd], verdicts: &mut [Reason]) {
    judge_with(case, false, nodes, verdicts);
}

fn judge_with(case: DecisionContext<'_>, local: bool, nodes: &[NodeOrd], verdicts: &mut [Reason]) {
    let extended = case.view.extended_of(case.pod);
    let cx = case.for_rules(&extended);
    for rule in case.class.filters.iter().filter(|rule| rule.scopes.is_local() == local) {
        rule.filter.judge(&cx, &mut Offer { nodes, verdicts });
    }
}
