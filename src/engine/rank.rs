//! Which of the nodes that may take the pod is best, and what kube-scheduler is told about it.

use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

use super::Case;
use crate::cluster::tie;
use crate::model::{DomainLevel, DomainOrd, NodeOrd};
use crate::rules::{Cx, Fill, Scored};

/// kube-scheduler's `MaxExtenderPriority`.
pub const MAX_SCORE: u32 = 10;

/// A node's place in the order; smaller is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Position of the node's pool in the class's order; 0 for all where pools are not ordered.
    band: usize,
    /// `u64::MAX` minus the weighted points of the scorers other than `poolOrder`.
    lack: u64,
    /// The same in every replica: decides between equals.
    tie: u64,
}

/// Buffers that live as long as the desk: ranking allocates nothing per request.
#[derive(Debug, Default)]
pub(super) struct Ranker {
    fills: Vec<Fill>,
    points: Vec<u32>,
    totals: Vec<u64>,
}

impl Ranker {
    /// Ranks nodes by position; all of them are known.
    pub(super) fn rank<'a>(&'a mut self, case: Case<'a>, nodes: &'a [NodeOrd]) -> Ranked<'a> {
        let Case { world, class, pod, extra } = case;
        let extended = world.extended_of(pod);
        let cx = Cx { snapshot: &world.snapshot, extra, pod, extended: &extended };
        Fill::of(&cx, nodes, &mut self.fills);
        self.totals.clear();
        self.totals.resize(nodes.len(), 0);
        // Where pools are in bands, the order between them is not a matter of points.
        for rule in class.scorers.iter().filter(|rule| rule.name != "poolOrder") {
            self.points.clear();
            self.points.resize(nodes.len(), 0);
            let (fills, points) = (&self.fills[..], &mut self.points[..]);
            rule.scorer.score(&cx, Scored { nodes, fills, points });
            for (total, points) in self.totals.iter_mut().zip(&self.points) {
                *total += u64::from(*points) * u64::from(rule.weight);
            }
        }
        Ranked { case, nodes, totals: &self.totals }
    }
}

/// Nodes and what makes one better than another.
pub(super) struct Ranked<'a> {
    case: Case<'a>,
    nodes: &'a [NodeOrd],
    totals: &'a [u64],
}

impl Ranked<'_> {
    /// Positions of the best `most` nodes, best first.
    pub(super) fn best(&self, most: usize) -> Vec<usize> {
        let columns = &self.case.world.snapshot.columns;
        let ranks = (0..self.nodes.len()).map(|at| (self.band(at), u64::MAX - self.totals[at]));
        best_of(ranks, most, |at| tie(self.case.pod.uid, columns.name_hash[self.nodes[at].index()]))
    }

    /// Positions of `most` nodes (or all), best first within each band. Of the last band that gets
    /// in, at most `per_zone` are of one zone with those of the bands before it, unless the zones
    /// cannot fill the list so: then the best of the rest do.
    pub(super) fn best_of_zones(&self, most: usize, per_zone: usize) -> Vec<usize> {
        let mut best = self.best(most);
        let last = match best.last() {
            Some(at) if best.len() == most && per_zone < most => self.band(*at),
            _ => return best,
        };
        let num_before = best.iter().position(|at| self.band(*at) == last).unwrap_or(0);
        let of_band = best.split_off(num_before);
        let columns = &self.case.world.snapshot.columns;
        let zones = &columns.domains[DomainLevel::Zone as usize];
        let zone = |at: usize| zones[self.nodes[at].index()];
        let tie = |at: usize| tie(self.case.pod.uid, columns.name_hash[self.nodes[at].index()]);
        let mut by_zone: FxHashMap<DomainOrd, Best> = FxHashMap::default();
        for at in &best {
            by_zone.entry(zone(*at)).or_insert_with(|| Best::new(per_zone)).leave_one_out();
        }
        for at in (0..self.nodes.len()).filter(|at| self.band(*at) == last) {
            let of_zone = by_zone.entry(zone(at)).or_insert_with(|| Best::new(per_zone));
            of_zone.offer(at, (last, u64::MAX - self.totals[at]), tie);
        }
        let mut chosen: Vec<_> = by_zone.into_values().flat_map(|it| it.heap).collect();
        chosen.sort_unstable();
        best.extend(chosen.into_iter().map(|(_, at)| at).take(most - num_before));
        let rest = of_band.into_iter().filter(|at| !best.contains(at));
        let rest: Vec<usize> = rest.take(most - best.len()).collect();
        best.extend(rest);
        best
    }

    /// What kube-scheduler is told of the nodes at `positions`, offered together: 0..=10 for each.
    ///
    /// Pools of an ordered class get disjoint bands of 0..=10, whichever of them are on offer; within
    /// a band the best offered node gets the top and the worst the bottom.
    pub(super) fn scores(
        &self,
        positions: impl Iterator<Item = usize> + Clone,
        scores: &mut Vec<u32>,
    ) {
        let num_bands = self.case.class.num_bands();
        let mut bands: Vec<Band> = (0..num_bands).map(|band| Band::new(band, num_bands)).collect();
        for at in positions.clone() {
            if let Some(band) = bands.get_mut(self.band(at)) {
                band.low = band.low.min(self.totals[at]);
                band.high = band.high.max(self.totals[at]);
            }
        }
        let score = |at| bands.get(self.band(at)).map_or(0, |band| band.score(self.totals[at]));
        scores.extend(positions.map(score));
    }

    fn band(&self, at: usize) -> usize {
        let pools = &self.case.world.snapshot.columns.pool;
        self.case.class.band(pools[self.nodes[at].index()])
    }
}

/// Positions of the best `most` of `ranks`, which are (band, lack), best first. Ties are asked for
/// only where they decide.
fn best_of(
    ranks: impl Iterator<Item = (usize, u64)>,
    most: usize,
    tie: impl Fn(usize) -> u64,
) -> Vec<usize> {
    let mut best = Best::new(most);
    ranks.enumerate().for_each(|(at, rank)| best.offer(at, rank, &tie));
    best.heap.into_sorted_vec().into_iter().map(|(_, at)| at).collect()
}

/// The best `most` of what was offered so far.
struct Best {
    most: usize,
    heap: BinaryHeap<(Rank, usize)>,
}

impl Best {
    fn new(most: usize) -> Self {
        Self { most, heap: BinaryHeap::with_capacity(most) }
    }

    fn leave_one_out(&mut self) {
        self.most = self.most.saturating_sub(1);
    }

    fn offer(&mut self, at: usize, (band, lack): (usize, u64), tie: impl Fn(usize) -> u64) {
        if self.heap.len() < self.most {
            self.heap.push((Rank { band, lack, tie: tie(at) }, at));
        } else if let Some((worst, _)) = self.heap.peek()
            && (band, lack) <= (worst.band, worst.lack)
        {
            let rank = Rank { band, lack, tie: tie(at) };
            if rank < *worst {
                self.heap.pop();
                self.heap.push((rank, at));
            }
        }
    }
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

    fn score(&self, total: u64) -> u32 {
        if self.high <= self.low {
            return self.top;
        }
        // Points are at most 1000 · 2^32 a scorer: ten times their sum is far below 2^64.
        let share = (total - self.low) * u64::from(self.top - self.bottom);
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
        let ranks = [(1, 900, 0), (0, 5, 2), (0, 5, 1), (0, 9, 9)];
        let best = |most| {
            let in_order = ranks.into_iter().map(|(band, points, _)| (band, u64::MAX - points));
            best_of(in_order, most, |at| ranks[at].2)
        };
        assert_eq!(best(9), [3, 2, 1, 0]);
        assert_eq!(best(2), [3, 2]);
        assert_eq!(best(0), [0; 0]);
    }
}
