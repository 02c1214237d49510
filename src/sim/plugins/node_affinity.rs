//! NodeAffinity: the sum of the weights of the preferred terms that a node satisfies.

use super::normalize;

/// Scores from sums of weights, by candidate. A pod without preferred terms is not scored: all 0.
pub fn scores(mut weights: Vec<i64>) -> Vec<i64> {
    normalize(&mut weights, false);
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_preferred_gets_all() {
        assert_eq!(scores(vec![0, 20, 60, 40]), [0, 33, 100, 66]);
        assert_eq!(scores(vec![0, 0]), [0, 0]);
    }
}
