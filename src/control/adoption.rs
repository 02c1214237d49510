//! When to look for pods that an earlier process refused.

use crate::model::Tick;

/// For so long after a start, pods are adopted whose conditions name one of sigma's reasons. kube-scheduler may be this
/// late to write the condition of an attempt that an earlier process has answered.
const ADOPT_FOR_MS: u64 = 60_000;
/// Between two looks for such pods.
const ADOPT_EACH_MS: u64 = 1000;

/// When to look for unschedulable pods of an earlier process.
#[derive(Debug, Default)]
pub struct Adoption {
    began: Option<Tick>,
    looked: Option<Tick>,
}

impl Adoption {
    /// It is time to look. Call only when the first lists are in.
    pub fn is_due(&mut self, now: Tick) -> bool {
        let began = *self.began.get_or_insert(now);
        let is_due = now.since_ms(began) <= ADOPT_FOR_MS
            && self.looked.is_none_or(|looked| now.since_ms(looked) >= ADOPT_EACH_MS);
        if is_due {
            self.looked = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_looked_for_each_second_of_a_minute() {
        let mut adoption = Adoption::default();
        let looks = (0..4000).filter(|at| adoption.is_due(Tick(5000 + at * 50)));
        let looks: Vec<u64> = looks.collect();
        let want: Vec<u64> = (0..=60).map(|second| second * 20).collect();
        assert_eq!(looks, want);
    }
}
