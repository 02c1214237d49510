//! Which of the nodes that may take the pod is best, and what kube-scheduler is told about it.

use super::DecisionContext;
use super::equivalence_cache::Rows;
use super::top_k::{Rank, TopK};
use crate::cluster::tie;
use crate::model::{DomainLevel, NodeOrd};
use crate::rules::{Fill, Scored};

/// kube-scheduler's `MaxExtenderPriority`.
pub const MAX_SCORE: u32 = 10;

/// Buffers that live as long as the decider: ranking allocates nothing per request.
#[derive(Debug, Default)]
pub(super) struct Ranker {
    fills: Vec<Fill>,
    points: Vec<u16>,
    buffers: [Vec<u32>; 2],
    totals: Vec<u32>,
}

impl Ranker {
    /// Ranks nodes by position; all of them are known. With `rows`, by what the local scorers found
    /// before.
    pub(super) fn rank<'a>(
        &'a mut self,
        case: DecisionContext<'a>,
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
    pub(super) fn local_points(&mut self, case: DecisionContext<'_>, nodes: &[NodeOrd]) -> &[u32] {
        self.totals.clear();
        self.totals.resize(nodes.len(), 0);
        self.add(case, true, nodes);
        &self.totals
    }

    fn add(&mut self, case: DecisionContext<'_>, local: bool, nodes: &[NodeOrd]) {
        let extended = case.view.extended_of(case.pod);
        let cx = case.for_rules(&extended);
        let Self { fills, points, buffers, totals } = self;
        fills.clear();
        if local {
            Fill::of(&cx, nodes, fills);
        }
        let scorers = case.class.summed_scorers();
        for rule in scorers.filter(|rule| rule.scopes.is_local() == local) {
            points.clear();
            rule.scorer.score(&cx, Scored { nodes, fills, points, buffers });
            for (total, points) in totals.iter_mut().zip(&*points) {
                *total += u32::from(*points) * u32::from(rule.weight);
            }
        }
    }
}

/// Nodes and what makes one better than another.
pub(super) struct Ranked<'a> {
    case: DecisionContext<'a>,
    nodes: &'a [NodeOrd],
    totals: &'a [u32],
}

impl Ranked<'_> {
    /// Positions of the best `most` nodes, best first.
    pub(super) fn best(&self, most: usize) -> Vec<usize> {
        let mut top = TopK::new(most);
        (0..self.nodes.len()).for_each(|at| top.offer(at, self.key(at), |at| self.tie(at)));
        top.into_positions()
    }

    /// Positions of `most` nodes (or all). Whole bands while they fit; of the last band that gets in, at
    /// most `per_zone` are of one zone with those of the bands before it, unless the zones cannot fill
    /// the list so: then the best of the rest do.
    pub(super) fn best_of_zones(&self, most: usize, per_zone: usize) -> Vec<usize> {
        if most <= per_zone || self.nodes.len() <= most {
            return self.best(most);
        }
        let zones = &self.case.view.snapshot.columns.domains[DomainLevel::Zone as usize];
        let num_zones = self.case.view.snapshot.topology.count(DomainLevel::Zone) as usize;
        // Behind the last: nodes that do not tell their zone. Whatever the list is filled with, it
        // takes none but the best `most` of any zone.
        let mut by_zone: Vec<TopK> = (0..=num_zones).map(|_| TopK::new(most)).collect();
        for (at, ord) in self.nodes.iter().enumerate() {
            let zone = (zones[ord.index()].0 as usize).min(num_zones);
            by_zone[zone].offer(at, self.key(at), |at| self.tie(at));
        }
        let with_zone = by_zone
            .into_iter()
            .enumerate()
            .flat_map(|(zone, top)| top.into_unordered().map(move |(rank, at)| (rank, at, zone)));
        let mut best: Vec<(Rank, usize, usize)> = with_zone.collect();
        best.sort_unstable();
        let last = best[most - 1].0.band();
        let (mut num_of_zone, mut rest) = (vec![0; num_zones + 1], Vec::new());
        let mut named = Vec::with_capacity(most);
        for (rank, at, zone) in best.into_iter().take_while(|it| it.0.band() <= last) {
            if named.len() < most && (rank.band() < last || num_of_zone[zone] < per_zone) {
                num_of_zone[zone] += 1;
                named.push(at);
            } else {
                rest.push(at);
            }
        }
        named.extend(rest.into_iter().take(most - named.len()));
        named
    }

    #[inline]
    fn key(&self, at: usize) -> u64 {
        Rank::key(self.band(at), self.totals[at])
    }

    fn tie(&self, at: usize) -> u64 {
        let hashes = &self.case.view.snapshot.columns.name_hash;
        tie(self.case.pod.uid, hashes[self.nodes[at].index()])
    }

    /// What kube-scheduler is told of the nodes at `positions`, offered together: 0..=10 for each.
    ///
    /// Pools of an ordered class get disjoint bands of 0..=10, whichever of them are on offer; within
    /// a band the best offered node gets the top and the worst the bottom.
    pub(super) fn scores(&self, positions: &[usize], scores: &mut Vec<u32>) {
        if self.case.class.num_bands() == 1 {
            let totals = positions.iter().map(|at| self.totals[*at]);
            return scores_of_one_band(totals, scores);
        }
        self.scores_of_bands(positions.iter().copied(), scores);
    }

    /// The same for all nodes.
    pub(super) fn all_scores(&self, scores: &mut Vec<u32>) {
        if self.case.class.num_bands() == 1 {
            return scores_of_one_band(self.totals.iter().copied(), scores);
        }
        self.scores_of_bands(0..self.nodes.len(), scores);
    }

    fn scores_of_bands(
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
        let bands: Vec<Band> = bands.into_iter().map(Band::closed).collect();
        let score = |at| bands.get(self.band(at)).map_or(0, |band| band.score(self.totals[at]));
        scores.extend(positions.map(score));
    }

    /// The weighted points of a node, by position.
    pub(super) fn points(&self, at: usize) -> u32 {
        self.totals[at]
    }

    fn band(&self, at: usize) -> usize {
        let pools = &self.case.view.snapshot.columns.pool;
        usize::from(self.case.class.band(pools[self.nodes[at].index()]))
    }
}

/// The scores of nodes with these points, offered together.
fn scores_of_one_band(totals: impl Iterator<Item = u32> + Clone, scores: &mut Vec<u32>) {
    let mut band = Band::new(0, 1);
    for total in totals.clone() {
        (band.low, band.high) = (band.low.min(total), band.high.max(total));
    }
    let band = band.closed();
    scores.extend(totals.map(|total| band.score(total)));
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
}
