//! A small generator of our own: what a seed means must not change with a dependency's version.
//!
//! xoshiro256** (Blackman and Vigna, public domain), its state filled by splitmix64. Integers only,
//! so that no platform's floating point can reach a result.

/// A seeded stream of numbers. Not for secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The stream with this number of a seed; streams of one seed do not depend on each other.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut fill = seed ^ mix(stream.wrapping_add(1));
        let state = [(); 4].map(|()| {
            fill = fill.wrapping_add(GOLDEN);
            mix(fill)
        });
        Self { state }
    }

    /// 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let [s0, s1, s2, s3] = &mut self.state;
        let out = s1.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *s1 << 17;
        *s2 ^= *s0;
        *s3 ^= *s1;
        *s1 ^= *s2;
        *s0 ^= *s3;
        *s2 ^= shifted;
        *s3 = s3.rotate_left(45);
        out
    }

    /// A number below `bound`; 0 when that is 0. The bias is below `bound` ÷ 2⁶⁴.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True in `percent` of 100 cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of the rows, each as likely as its weight; `None` when there is none with a weight.
    pub fn pick<'a, T>(&mut self, rows: &'a [(u32, T)]) -> Option<&'a T> {
        let total: u64 = rows.iter().map(|(weight, _)| u64::from(*weight)).sum();
        let mut left = self.below(total);
        rows.iter().find_map(|(weight, row)| {
            let weight = u64::from(*weight);
            if left < weight {
                return Some(row);
            }
            left -= weight;
            None
        })
    }

    /// Brings a list into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            list.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}

/// 2⁶⁴ divided by the golden ratio: the step of splitmix64.
pub(super) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads every bit over all others (the finisher of splitmix64).
pub(super) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_algorithm_is_the_published_one() {
        // First outputs of xoshiro256** from the state 1, 2, 3, 4.
        let mut rng = Rng { state: [1, 2, 3, 4] };
        let first: Vec<u64> = (0..4).map(|_| rng.next_u64()).collect();
        assert_eq!(first, [11520, 0, 1_509_978_240, 1_215_971_899_390_074_240]);
        // splitmix64 from the seed 0.
        assert_eq!(mix(GOLDEN), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn streams_differ_and_repeat() {
        let numbers = |seed, stream| {
            let mut rng = Rng::new(seed, stream);
            [(); 8].map(|()| rng.next_u64())
        };
        assert_eq!(numbers(7, 1), numbers(7, 1));
        assert_ne!(numbers(7, 1), numbers(7, 2));
        assert_ne!(numbers(7, 1), numbers(8, 1));
    }

    #[test]
    fn numbers_stay_in_bounds_and_weights_are_kept() {
        let mut rng = Rng::new(1, 0);
        let rows = [(0, 'a'), (1, 'b'), (3, 'c')];
        let mut counts = [0_u32; 2];
        for _ in 0..4000 {
            assert!((5..=9).contains(&rng.between(5, 9)));
            match rng.pick(&rows) {
                Some('b') => counts[0] += 1,
                Some('c') => counts[1] += 1,
                other => assert_eq!(other, None, "a weight of 0 is never picked"),
            }
        }
        assert_eq!(counts[0] + counts[1], 4000);
        assert!((900..1100).contains(&counts[0]), "{counts:?}");
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.pick::<char>(&[]), None);
        let mut list: Vec<u32> = (0..50).collect();
        rng.shuffle(&mut list);
        assert_ne!(list, (0..50).collect::<Vec<_>>());
        list.sort_unstable();
        assert_eq!(list, (0..50).collect::<Vec<_>>());
    }
}
