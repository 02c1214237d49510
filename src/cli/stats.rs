//! Percentiles and rounding of figures.

/// The smallest value that at least this share of all values does not exceed; 0 of none.
pub fn nearest_rank<T: Copy + Default>(sorted: &[T], permille: usize) -> T {
    let rank = (sorted.len() * permille).div_ceil(1000).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// To the nearest of `steps` parts of one.
pub fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let hundred: Vec<u32> = (1..=100).collect();
        assert_eq!((nearest_rank(&hundred, 500), nearest_rank(&hundred, 990)), (50, 99));
        assert_eq!((nearest_rank(&[7], 500), nearest_rank(&[7], 990)), (7, 7));
        assert_eq!(nearest_rank::<u32>(&[], 990), 0);
    }

    #[test]
    fn rounding_is_to_the_nearest() {
        assert_eq!((rounded(1.26, 10.0), rounded(-0.04, 10.0)), (1.3, -0.0));
    }
}
