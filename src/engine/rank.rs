//! Which of the nodes that may take the pod is best, and what kube-scheduler is told about it.

use std::collections::BinaryHeap;

use super::Case;
use crate::cluster::tie;
use crate::model::NodeOrd;
use crate::policy::Class;
use crate::rules::Cx;

/// kube-scheduler's `MaxExtenderPriority`.
pub const MAX_SCORE: u32 = 10;

/// A node's place in the order; smaller is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// Position of the node's pool in the class's order; 0 for all where pools are not ordered.
    pub(super) band: usize,
    /// `u64::MAX` minus the weighted points of the scorers other than `poolOrder`.
    pub(super) lack: u64,
    /// The same in every replica: decides between equals.
    pub(super) tie: u64,
}

impl Rank {
    fn total(self) -> u64 {
        u64::MAX - self.lack
    }
}

/// Buffers that live as long as the desk: ranking allocates nothing per request.
#[derive(Debug, Default)]
pub(super) struct Ranker {
    points: Vec<u32>,
    totals: Vec<u64>,
    ranks: Vec<Rank>,
}

impl Ranker {
    /// Ranks nodes by position. Unknown ordinals come last.
    pub(super) fn rank(&mut self, case: Case<'_>, nodes: &[NodeOrd]) -> &[Rank] {
        let Case { world, class, pod, extra } = case;
        let extended = world.extended_of(pod);
        let cx = Cx { snapshot: &world.snapshot, extra, pod, extended: &extended };
        self.totals.clear();
        self.totals.resize(nodes.len(), 0);
        // Where pools are in bands, the order between them is not a matter of points.
        for rule in class.scorers.iter().filter(|rule| rule.name != "poolOrder") {
            self.points.clear();
            self.points.resize(nodes.len(), 0);
            rule.scorer.score(&cx, nodes, &mut self.points);
            for (total, points) in self.totals.iter_mut().zip(&self.points) {
                *total += u64::from(*points) * u64::from(rule.weight);
            }
        }
        let columns = &world.snapshot.columns;
        self.ranks.clear();
        self.ranks.extend(nodes.iter().zip(&self.totals).map(|(ord, total)| Rank {
            band: class.band(columns.pool[ord.index()]),
            lack: u64::MAX - total,
            tie: tie(pod.uid, columns.name_hash[ord.index()]),
        }));
        &self.ranks
    }
}

/// Positions of the best `most` ranks, best first.
pub(super) fn best(ranks: &[Rank], most: usize) -> Vec<usize> {
    let mut best = BinaryHeap::with_capacity(most.min(ranks.len()));
    for (at, rank) in ranks.iter().enumerate() {
        if best.len() < most {
            best.push((*rank, at));
        } else if best.peek().is_some_and(|(worst, _)| rank < worst) {
            best.pop();
            best.push((*rank, at));
        }
    }
    best.into_sorted_vec().into_iter().map(|(_, at)| at).collect()
}

/// What kube-scheduler is told: 0..=10 per position, 0 for unknown nodes.
///
/// Pools of an ordered class get disjoint bands of 0..=10, whichever of them are on offer; within a
/// band the best offered node gets the top and the worst the bottom.
pub(super) fn scores(ranks: &[Rank], class: &Class) -> Vec<u32> {
    let num_bands = class.num_bands();
    let mut bands: Vec<Band> = (0..num_bands).map(|band| Band::new(band, num_bands)).collect();
    for rank in ranks {
        if let Some(band) = bands.get_mut(rank.band) {
            band.low = band.low.min(rank.total());
            band.high = band.high.max(rank.total());
        }
    }
    ranks.iter().map(|rank| bands.get(rank.band).map_or(0, |band| band.score(*rank))).collect()
}

/// The scores of a band, and the points of its offered nodes.
struct Band {
    bottom: u32,
    top: u32,
    low: u64,
    high: u64,
}

impl Band {
    fn new(band: usize, num_bands: usize) -> Self {
        let (bottom, top) = band_scores(band as u32, num_bands as u32);
        Self { bottom, top, low: u64::MAX, high: 0 }
    }

    fn score(&self, rank: Rank) -> u32 {
        if self.high <= self.low {
            return self.top;
        }
        // Points are at most 1000 · 2^32 a scorer: ten times their sum is far below 2^64.
        let share = (rank.total() - self.low) * u64::from(self.top - self.bottom);
        self.bottom + (share / (self.high - self.low)) as u32
    }
}

/// Lowest and highest score of a band; band 0 is the best. With more bands than scores the last ones
/// share the 0.
fn band_scores(band: u32, bands: u32) -> (u32, u32) {
    let scores = MAX_SCORE + 1;
    if bands >= scores {
        let score = MAX_SCORE.saturating_sub(band);
        return (score, score);
    }
    let top = MAX_SCORE - scores * band / bands;
    let bottom = scores - scores * (band + 1) / bands;
    (bottom.min(top), top)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_are_disjoint_and_use_the_whole_range() {
        for bands in 1..=11 {
            let mut above = MAX_SCORE + 1;
            for band in 0..bands {
                let (bottom, top) = band_scores(band, bands);
                assert!(bottom <= top && top + 1 == above, "{band} of {bands}: {bottom}..={top}");
                above = bottom;
            }
            assert_eq!(above, 0, "{bands}");
        }
        assert_eq!(band_scores(40, 64), (0, 0));
    }

    #[test]
    fn the_best_come_first_and_ties_are_by_hash() {
        let rank = |band, points: u64, tie| Rank { band, lack: u64::MAX - points, tie };
        let ranks = [rank(1, 900, 0), rank(0, 5, 2), rank(0, 5, 1), rank(0, 9, 9)];
        assert_eq!(best(&ranks, 9), [3, 2, 1, 0]);
        assert_eq!(best(&ranks, 2), [3, 2]);
    }
}
