//! InterPodAffinity: the sum of the weights of preferred terms that tie the pod to others, its own and
//! those of pods that run, stretched over 0..=100 between the worst and the best candidate.

use super::MAX_NODE_SCORE;

/// `hardPodAffinityWeight`: what a required affinity term of a running pod is worth.
pub const HARD_POD_AFFINITY_WEIGHT: i64 = 1;

/// Scores from sums of weights, which anti-affinity makes negative, by candidate. When no term matches
/// any pod nothing is scored: all 0.
pub fn scores(weights: &[i64]) -> Vec<i64> {
    let least = weights.iter().copied().min().unwrap_or(0);
    let spread = weights.iter().copied().max().unwrap_or(0) - least;
    let score = |weight: &i64| match spread {
        0 => 0,
        _ => (MAX_NODE_SCORE as f64 * ((weight - least) as f64 / spread as f64)) as i64,
    };
    weights.iter().map(score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_gets_all_and_the_worst_nothing() {
        assert_eq!(scores(&[-10, 0, 5, 20]), [0, 33, 50, 100]);
        assert_eq!(scores(&[7, 7]), [0, 0]);
        assert_eq!(scores(&[]), [0; 0]);
    }
}
