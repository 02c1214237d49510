//! The best few of many, by rank.

use std::collections::BinaryHeap;

/// A node's place in the order; smaller is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// The band of the node's pool, and below it what the node's points lack of the most.
    key: u64,
    /// The same in every replica: decides between equals.
    tie: u64,
}

impl Rank {
    /// Of a node in this band with these points.
    #[inline]
    pub(super) fn key(band: usize, points: u32) -> u64 {
        ((band as u64) << 32) | u64::from(u32::MAX - points)
    }

    /// The band.
    pub(super) fn band(self) -> usize {
        (self.key >> 32) as usize
    }
}

/// The best `most` of what was offered so far.
#[derive(Debug)]
pub(super) struct TopK {
    most: usize,
    /// What is above it is not among the best.
    worst: u64,
    heap: BinaryHeap<(Rank, usize)>,
}

impl TopK {
    pub(super) fn new(most: usize) -> Self {
        let worst = if most == 0 { 0 } else { u64::MAX };
        Self { most, worst, heap: BinaryHeap::new() }
    }

    /// Offers the node at a position. Its tie is asked for only where it may decide.
    #[inline]
    pub(super) fn offer(&mut self, at: usize, key: u64, tie: impl Fn(usize) -> u64) {
        if key <= self.worst {
            self.insert(at, Rank { key, tie: tie(at) });
        }
    }

    fn insert(&mut self, at: usize, rank: Rank) {
        if self.heap.len() >= self.most {
            if self.heap.peek().is_none_or(|(worst, _)| *worst <= rank) {
                return;
            }
            self.heap.pop();
        }
        self.heap.push((rank, at));
        if self.heap.len() >= self.most {
            self.worst = self.heap.peek().map_or(u64::MAX, |(rank, _)| rank.key);
        }
    }

    /// Ranks and positions, in no order.
    pub(super) fn into_unordered(self) -> impl Iterator<Item = (Rank, usize)> {
        self.heap.into_iter()
    }

    /// Positions, best first.
    pub(super) fn into_positions(self) -> Vec<usize> {
        self.heap.into_sorted_vec().into_iter().map(|(_, at)| at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_ties_are_by_hash() {
        let ranks = [(1, 900, 0), (0, 5, 2), (0, 5, 1), (0, 9, 9)];
        let best = |most| {
            let mut top = TopK::new(most);
            for (at, (band, points, _)) in ranks.into_iter().enumerate() {
                top.offer(at, Rank::key(band, points), |at| ranks[at].2);
            }
            top.into_positions()
        };
        assert_eq!(best(9), [3, 2, 1, 0]);
        assert_eq!(best(2), [3, 2]);
        assert_eq!(best(0), [0; 0]);
    }
}
