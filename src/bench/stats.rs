//! The median of blocks and its certainty.

use sigma::cli::stats::nearest_rank;
use sigma::sim::Rng;

/// Resamples of a bootstrap.
const RESAMPLES: usize = 2000;
/// Stream number of the seed, apart from the simulator's.
const BOOTSTRAP_STREAM: u64 = 201;

/// The middle value, or the mean of the two; `None` of none.
pub(crate) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// The 95 % interval of the median of blocks by bootstrap: blocks are drawn anew, with replacement,
/// and the middle 95 % of the medians are kept. The same blocks and seed give the same interval.
///
/// A block stands for all that was measured close together, so what they share (a noisy neighbour)
/// counts once and not once a request.
pub(crate) fn interval(blocks: &[f64], seed: u64) -> Option<(f64, f64)> {
    let mut rng = Rng::new(seed, BOOTSTRAP_STREAM);
    let mut drawn = vec![0.0; blocks.len()];
    let mut medians = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        drawn.fill_with(|| blocks[rng.below(blocks.len() as u64) as usize]);
        medians.push(median(&mut drawn)?);
    }
    medians.sort_unstable_by(f64::total_cmp);
    Some((nearest_rank(&medians, 25), nearest_rank(&medians, 975)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&mut []), None);
    }

    #[test]
    fn an_interval_holds_the_median_and_narrows_with_more_blocks() {
        let mut rng = Rng::new(3, 0);
        let blocks: Vec<f64> = (0..900).map(|_| rng.below(1000) as f64 / 1000.0).collect();
        let width = |blocks: &[f64]| {
            let (low, high) = interval(blocks, 1).expect("there are blocks");
            let middle = median(&mut blocks.to_vec()).expect("there are blocks");
            assert!(low <= middle && middle <= high, "{low} {middle} {high}");
            high - low
        };
        // The width falls with the root of the number: nine times the blocks, a third of it. For
        // 900 uniform values it is 3.92 × 0.5 ÷ √900.
        let (few, many) = (width(&blocks[..100]), width(&blocks));
        assert!((0.05..0.08).contains(&many), "{many}");
        assert!((2.0..4.5).contains(&(few / many)), "{few} {many}");
    }

    #[test]
    fn outliers_and_repetition_change_nothing() {
        let mut blocks = vec![1.0; 95];
        blocks.extend([1e9; 5]);
        assert_eq!(interval(&blocks, 1), Some((1.0, 1.0)));
        let mut rng = Rng::new(9, 0);
        let blocks: Vec<f64> = (0..50).map(|_| rng.below(100) as f64).collect();
        assert_eq!(interval(&blocks, 1), interval(&blocks, 1));
        assert_eq!(interval(&[], 1), None);
        assert_eq!(interval(&[2.0], 1), Some((2.0, 2.0)));
    }
}
