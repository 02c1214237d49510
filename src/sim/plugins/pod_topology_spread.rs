//! PodTopologySpread: domains with the fewest matching pods, over all constraints; soft ones only.
//!
//! `ln` is not the same to the last bit everywhere. It is rounded to whole numbers before anything is
//! made of it, so only a sum within 1e-12 of a half could differ from Go's.

use super::MAX_NODE_SCORE;

/// `systemDefaultConstraints`: for hostname and for zone.
pub const SYSTEM_DEFAULT_MAX_SKEWS: [i64; 2] = [3, 5];

/// A soft constraint, with what it counts.
pub struct Constraint {
    /// `maxSkew`.
    pub max_skew: i64,
    /// How many domains the candidates have; for hostname, how many candidates.
    pub num_domains: usize,
    /// Matching pods in the domain of each candidate; `None`: it does not have the label.
    pub counts: Vec<Option<i64>>,
}

/// Scores by candidate. `ignored`: candidates that lack a label of a constraint of the pod's own, which
/// get 0. Without constraints nothing is scored: all 0.
pub fn scores(constraints: &[Constraint], ignored: &[bool]) -> Vec<i64> {
    if constraints.is_empty() {
        return vec![0; ignored.len()];
    }
    let weights: Vec<f64> =
        constraints.iter().map(|it| ((it.num_domains + 2) as f64).ln()).collect();
    let raw = |at: usize| {
        let of_each = constraints.iter().zip(&weights).filter_map(|(it, weight)| {
            let count = it.counts.get(at).copied().flatten()?;
            Some(count as f64 * weight + (it.max_skew - 1) as f64)
        });
        of_each.sum::<f64>().round() as i64
    };
    let raw: Vec<i64> = (0..ignored.len()).map(raw).collect();
    let known = || raw.iter().zip(ignored).filter(|(_, ignored)| !**ignored).map(|(raw, _)| *raw);
    let (least, most) = (known().min().unwrap_or(0), known().max().unwrap_or(0).max(0));
    let score = |(raw, ignored): (&i64, &bool)| match (ignored, most) {
        (true, _) => 0,
        (false, 0) => MAX_NODE_SCORE,
        (false, most) => MAX_NODE_SCORE * (most + least - raw) / most,
    };
    raw.iter().zip(ignored).map(score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_weigh_more_than_zones() {
        // Two zones and four nodes: ln 6 = 1.79 a pod on the node, ln 4 = 1.39 a pod in the zone, and
        // 2 + 4 for the skews. Raw: 2 · 1.79 + 2 · 1.39 + 6 = 12.36, 8.77, 6, 6.
        let constraints = [
            Constraint { max_skew: 3, num_domains: 4, counts: [2, 0, 0, 0].map(Some).into() },
            Constraint { max_skew: 5, num_domains: 2, counts: [2, 2, 0, 0].map(Some).into() },
        ];
        assert_eq!(scores(&constraints, &[false; 4]), [50, 75, 100, 100]);
        assert_eq!(scores(&constraints, &[false, false, true, false]), [50, 75, 0, 100]);
        assert_eq!(scores(&[], &[false; 2]), [0, 0]);
    }

    #[test]
    fn a_candidate_without_the_label_has_no_share_of_it() {
        let counts = vec![Some(3), None];
        let zone = [Constraint { max_skew: 1, num_domains: 1, counts }];
        // 3 · ln 3 = 3.3
        assert_eq!(scores(&zone, &[false; 2]), [0, 100]);
        let nothing = [Constraint { max_skew: 1, num_domains: 1, counts: vec![Some(0), Some(0)] }];
        assert_eq!(scores(&nothing, &[false; 2]), [100, 100]);
    }
}
