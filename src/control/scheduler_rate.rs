//! How fast kube-scheduler goes through its queue, and how long a nomination takes to get ahead of it.

use std::collections::VecDeque;

use crate::model::Tick;

/// How often kube-scheduler asks is counted over so long.
const WINDOW_MS: u64 = 300;
/// So long before kube-scheduler comes to a pod must its nomination be ordered, however quickly it is written.
const LEAST_LEAD_MS: u64 = 300;
/// Whoever writes more slowly than this is not ahead of anybody.
const MOST_LEAD_MS: u64 = 3000;
/// From the answer to a write until kube-scheduler has seen it.
const SEEN_MS: u64 = 100;

/// How often kube-scheduler has asked, lately.
#[derive(Debug, Default)]
pub struct SchedulerRate {
    /// The number of answers at some moments: the last one that is older than the window, and younger ones.
    seen: VecDeque<(Tick, u64)>,
}

/// How long nominations take lately, from the order to the write: the mean of the last few, in milliseconds.
#[derive(Debug, Default)]
pub struct Delay(u64);

impl Delay {
    /// Takes the time that one nomination took, in milliseconds.
    pub fn note(&mut self, took_ms: u64) {
        self.0 = (7 * self.0 + took_ms.min(MOST_LEAD_MS)).div_ceil(8);
    }

    /// How long before kube-scheduler comes to a pod its nomination must be ordered: until it is written, and
    /// kube-scheduler has seen it.
    pub fn lead_ms(&self) -> u64 {
        (self.0 + SEEN_MS).clamp(LEAST_LEAD_MS, MOST_LEAD_MS)
    }
}

impl SchedulerRate {
    /// Takes the number of answers up to now. Gives how many pods kube-scheduler will come to within `lead_ms`:
    /// before a nomination that is ordered now can reach it.
    pub fn lead(&mut self, num_answers: u64, lead_ms: u64, now: Tick) -> usize {
        self.seen.push_back((now, num_answers));
        while self.seen.get(1).is_some_and(|(at, _)| now.since_ms(*at) >= WINDOW_MS) {
            self.seen.pop_front();
        }
        let Some((since, before)) = self.seen.front() else {
            return 0;
        };
        // Looks are not always as frequent as they should be.
        let took_ms = now.since_ms(*since).max(WINDOW_MS);
        let answers = num_answers.saturating_sub(*before);
        (answers.saturating_mul(lead_ms) / took_ms) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lead_is_what_the_last_moments_had() {
        let mut pace = SchedulerRate::default();
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
            assert_eq!(pace.lead(answers, 300, Tick(now)), want, "at {now}");
        }
        // A nomination that takes twice as long must be ordered twice as far ahead.
        assert_eq!(pace.lead(1490, 600, Tick(2901)), 104);
        assert_eq!(pace.lead(0, 300, Tick(3000)), 0, "counted anew");
    }

    #[test]
    fn the_lead_is_as_long_as_nominations_take_within_bounds() {
        let mut delay = Delay::default();
        assert_eq!(delay.lead_ms(), 300);
        for (took_ms, want) in [(5, 300), (800, 900), (9999, 3000), (600, 700), (5, 300)] {
            (0..40).for_each(|_| delay.note(took_ms));
            assert!(delay.lead_ms().abs_diff(want) <= 20, "{} after {took_ms}", delay.lead_ms());
        }
        (0..40).for_each(|_| delay.note(800));
        delay.note(5);
        assert!(delay.lead_ms() > 750, "one is an exception");
    }
}
