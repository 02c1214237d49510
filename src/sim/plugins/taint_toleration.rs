//! TaintToleration: the fewer `PreferNoSchedule` taints a pod does not tolerate, the better.

use super::normalize;
use crate::model::{Taint, TaintEffect, Toleration};

/// How many of a node's soft taints are not tolerated.
pub fn intolerable(tolerations: &[Toleration], taints: &[Taint]) -> i64 {
    let soft = taints.iter().filter(|taint| taint.effect == TaintEffect::PreferNoSchedule);
    soft.filter(|taint| !tolerations.iter().any(|it| it.tolerates(taint))).count() as i64
}

/// Scores from [`intolerable`] taints, by candidate.
pub fn scores(mut intolerable: Vec<i64>) -> Vec<i64> {
    normalize(&mut intolerable, true);
    intolerable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_disliked_gets_nothing() {
        assert_eq!(scores(vec![0, 1, 3]), [100, 67, 0]);
        assert_eq!(scores(vec![0, 0]), [100, 100]);
        assert_eq!(scores(vec![2, 2]), [0, 0]);
    }
}
