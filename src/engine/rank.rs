//! Which of the nodes that may take the pod is best, and what kube-scheduler is told about it.

use std::collections::BinaryHeap;

use super::Case;
use super::scans::Rows;
use crate::cluster::tie;
use crate::model::{DomainLevel, NodeOrd};
use crate::rules::{Cx, Fill, Scored};

/// kube-scheduler's `MaxExtenderPriority`.
pub const MAX_SCORE: u32 = 10;

/// A node's place in the order; smaller is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Position of the node's pool in the class's order; 0 for all where pools are not ordered.
    band: usize,
    /// `u32::MAX` minus the weighted points of the scorers other than `poolOrder`.
    lack: u32,
    /// The same in every replica: decides between equals.
    tie: u64,
}

/// Buffers that live as long as the desk: ranking allocates nothing per request.
#[derive(Debug, Default)]
pub(super) struct Ranker {
    fills: Vec<Fill>,
    points: Vec<u32>,
    buffer: Vec<u32>,
    totals: Vec<u32>,
}

impl Ranker {
    /// Ranks nodes by position; all of them are known. With `rows`, by what the local scorers found
    /// before.
    pub(super) fn rank<'a>(
        &'a mut self,
        case: Case<'a>,
        rows: Option<&Rows>,
        nodes: &'a [NodeOrd],
    ) -> Ranked<'a> {
        match rows {
            Some(rows) => rows.points(nodes, &mut self.totals),
            None => {
                self.local_points(case, nodes);
            }
        }
        self.add(case, false, nodes);
        Ranked { case, nodes, totals: &self.totals }
    }

    /// The weighted points of the local scorers for each node.
    pub(super) fn local_points(&mut self, case: Case<'_>, nodes: &[NodeOrd]) -> &[u32] {
        self.totals.clear();
        self.totals.resize(nodes.len(), 0);
        self.add(case, true, nodes);
        &self.totals
    }

    fn add(&mut self, case: Case<'_>, local: bool, nodes: &[NodeOrd]) {
        let Case { world, class, pod, extra } = case;
        let extended = world.extended_of(pod);
        let cx = Cx { snapshot: &world.snapshot, extra, pod, extended: &extended };
        let Self { fills, points, buffer, totals } = self;
        fills.clear();
        if local {
            Fill::of(&cx, nodes, fills);
        }
        // Where pools are in bands, the order between them is not a matter of points.
        let scorers = class.scorers.iter().filter(|rule| rule.name != "poolOrder");
        for rule in scorers.filter(|rule| rule.local == local) {
            points.clear();
            points.resize(nodes.len(), 0);
            rule.scorer.score(&cx, Scored { nodes, fills, points, buffer });
            for (total, points) in totals.iter_mut().zip(&*points) {
                *total += *points * rule.weight;
            }
        }
    }
}

/// Nodes and what makes one better than another.
pub(super) struct Ranked<'a> {
    case: Case<'a>,
    nodes: &'a [NodeOrd],
    totals: &'a [u32],
}

impl Ranked<'_> {
    /// Positions of the best `most` nodes, best first.
    pub(super) fn best(&self, most: usize) -> Vec<usize> {
        let columns = &self.case.world.snapshot.columns;
        let ranks = (0..self.nodes.len()).map(|at| (self.band(at), u32::MAX - self.totals[at]));
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
        let num_zones = self.case.world.snapshot.topology.count(DomainLevel::Zone) as usize;
        let zone = |at: usize| (zones[self.nodes[at].index()].0 as usize).min(num_zones);
        let tie = |at: usize| tie(self.case.pod.uid, columns.name_hash[self.nodes[at].index()]);
        // Behind the last: nodes that do not tell their zone.
        let mut by_zone: Vec<Best> = (0..=num_zones).map(|_| Best::new(per_zone)).collect();
        for at in &best {
            by_zone[zone(*at)].leave_one_out();
        }
        for at in (0..self.nodes.len()).filter(|at| self.band(*at) == last) {
            by_zone[zone(at)].offer(at, (last, u32::MAX - self.totals[at]), tie);
        }
        let mut chosen: Vec<_> = by_zone.into_iter().flat_map(|it| it.heap).collect();
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
        if num_bands == 1 {
            let totals = positions.map(|at| self.totals[at]);
            let low = totals.clone().min().unwrap_or(0);
            let high = totals.clone().max().unwrap_or(0);
            let band = Band { low, high, ..Band::new(0, 1) }.closed();
            return scores.extend(totals.map(|total| band.score(total)));
        }
        let mut bands: Vec<Band> = (0..num_bands).map(|band| Band::new(band, num_bands)).collect();
        for at in positions.clone() {
            if let Some(band) = bands.get_mut(self.band(at)) {
                band.low = band.low.min(self.totals[at]);
                band.high = band.high.max(self.totals[at]);
            }
        }
        let bands: Vec<Band> = bands.into_iter().map(Band::closed).collect();
        let score = |at| bands.get(self.band(at)).map_or(0, |band| band.score(self.totals[at]));
        scores.extend(positions.map(score));
    }

    /// The weighted points of a node, by position.
    pub(super) fn points(&self, at: usize) -> u32 {
        self.totals[at]
    }

    fn band(&self, at: usize) -> usize {
        let pools = &self.case.world.snapshot.columns.pool;
        self.case.class.band(pools[self.nodes[at].index()])
    }
}

/// Positions of the best `most` of `ranks`, which are (band, lack), best first. Ties are asked for
/// only where they decide.
fn best_of(
    ranks: impl Iterator<Item = (usize, u32)>,
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

    fn offer(&mut self, at: usize, (band, lack): (usize, u32), tie: impl Fn(usize) -> u64) {
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
    low: u32,
    high: u32,
    /// Scores a point is worth, in units of 2^-58, rounded up.
    per_point: u64,
}

impl Band {
    fn new(band: usize, num_bands: usize) -> Self {
        let (bottom, top) = band_scores(band as u32, num_bands as u32);
        Self { bottom, top, low: u32::MAX, high: 0, per_point: 0 }
    }

    /// The band with all nodes seen: divides once, not once per node.
    fn closed(mut self) -> Self {
        match self.high.checked_sub(self.low) {
            None | Some(0) => (self.low, self.bottom) = (self.high, self.top),
            Some(span) => {
                self.per_point = (u64::from(self.top - self.bottom) << 58).div_ceil(span.into());
            }
        }
        self
    }

    /// The same as dividing and rounding down: spans are below 2^29, so what rounding up adds is less
    /// than what is missing to the next score.
    #[inline]
    fn score(&self, total: u32) -> u32 {
        self.bottom + ((u64::from(total.saturating_sub(self.low)) * self.per_point) >> 58) as u32
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
    fn scores_are_shares_rounded_down() {
        for (low, high) in [(0, 1), (0, 7), (5, 1_000_005), (123, 9_999_999), (7, 7)] {
            let band = Band { low, high, ..Band::new(0, 1) }.closed();
            let span = u64::from(high - low);
            let near = (0..=10).flat_map(|part| {
                let at = low + (span * part / 10) as u32;
                [at.saturating_sub(1), at, at + 1]
            });
            for total in near.filter(|it| (low..=high).contains(it)) {
                let share = u64::from(total - low) * 10;
                let want = share.checked_div(span).unwrap_or(10);
                assert_eq!(u64::from(band.score(total)), want, "{total} of {low}..{high}");
            }
        }
    }

    #[test]
    fn the_best_come_first_and_ties_are_by_hash() {
        let ranks = [(1, 900, 0), (0, 5, 2), (0, 5, 1), (0, 9, 9)];
        let best = |most| {
            let in_order = ranks.into_iter().map(|(band, points, _)| (band, u32::MAX - points));
            best_of(in_order, most, |at| ranks[at].2)
        };
        assert_eq!(best(9), [3, 2, 1, 0]);
        assert_eq!(best(2), [3, 2]);
        assert_eq!(best(0), [0; 0]);
    }
}
