//! How fast kube-scheduler goes through its queue.

use std::collections::VecDeque;

use crate::model::Tick;

/// So long before kube-scheduler comes to a pod must its nomination be ordered: until it is written,
/// and kube-scheduler has seen it, with a server that has other work to do.
const LEAD_MS: u64 = 300;

/// How often kube-scheduler has asked, lately.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The number of answers at some moments: the last one that is older than the lead, and younger ones.
    seen: VecDeque<(Tick, u64)>,
}

impl Pace {
    /// Takes the number of answers up to now. Gives how many pods kube-scheduler will come to before a
    /// nomination that is ordered now can reach it.
    pub(super) fn lead(&mut self, num_answers: u64, now: Tick) -> usize {
        self.seen.push_back((now, num_answers));
        while self.seen.get(1).is_some_and(|(at, _)| now.since_ms(*at) >= LEAD_MS) {
            self.seen.pop_front();
        }
        let Some((since, before)) = self.seen.front() else {
            return 0;
        };
        // Looks are not always as frequent as they should be.
        let took_ms = now.since_ms(*since).max(LEAD_MS);
        let answers = num_answers.saturating_sub(*before);
        (answers.saturating_mul(LEAD_MS) / took_ms) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lead_is_what_the_last_moments_had() {
        let mut pace = Pace::default();
        // (now, answers so far, lead)
        let seen = [
            (0, 1000, 0),
            (100, 1035, 35),
            (200, 1070, 70),
            (300, 1105, 105),
            (400, 1140, 105),
            // It stands still.
            (500, 1140, 70),
            (800, 1140, 0),
            (900, 1140, 0),
            // We were late: 350 in two seconds.
            (2900, 1490, 52),
        ];
        for (now, answers, want) in seen {
            assert_eq!(pace.lead(answers, Tick(now)), want, "at {now}");
        }
        assert_eq!(pace.lead(0, Tick(3000)), 0, "counted anew");
    }
}
