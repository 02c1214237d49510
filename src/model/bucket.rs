//! A token bucket with the clock in its owner's hand.

use super::ids::Tick;

/// Lets so many through at once, and so many per period in the long run. A full bucket saves nothing
/// up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    pace: Rate,
    /// Tokens times `period_ms`, so that nothing is lost to rounding.
    level: u64,
    filled: Tick,
}

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that a period brings.
    pub tokens: u64,
    /// Length of a period in milliseconds, at least 1.
    pub period_ms: u64,
    /// Tokens in a full bucket.
    pub burst: u64,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(pace: Rate, now: Tick) -> Self {
        Self { pace, level: pace.burst.saturating_mul(pace.period_ms), filled: now }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Tick) -> bool {
        self.fill(now);
        let there = self.level >= self.pace.period_ms;
        if there {
            self.level -= self.pace.period_ms;
        }
        there
    }

    /// When there will be a token: `now` when there is one.
    pub fn next(&mut self, now: Tick) -> Tick {
        self.fill(now);
        let lacking = self.pace.period_ms.saturating_sub(self.level);
        now.plus_ms(lacking.div_ceil(self.pace.tokens.max(1)))
    }

    fn fill(&mut self, now: Tick) {
        let brought = now.since_ms(self.filled).saturating_mul(self.pace.tokens);
        let full = self.pace.burst.saturating_mul(self.pace.period_ms);
        self.level = self.level.saturating_add(brought).min(full);
        // A clock that goes back brings nothing, and nothing twice.
        self.filled = self.filled.max(now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take_all(bucket: &mut TokenBucket, at_ms: u64) -> usize {
        (0..1000).filter(|_| bucket.take(Tick(at_ms))).count()
    }

    #[test]
    fn it_refills_and_does_not_overflow() {
        let mut bucket = TokenBucket::new(Rate { tokens: 1, period_ms: 6000, burst: 10 }, Tick(7));
        assert_eq!(take_all(&mut bucket, 7), 10);
        assert_eq!(bucket.next(Tick(7)), Tick(6007));
        assert_eq!(take_all(&mut bucket, 6006), 0);
        assert_eq!(take_all(&mut bucket, 12_007), 2);
        assert_eq!(take_all(&mut bucket, 12_006), 0, "the clock has gone back");
        assert_eq!(take_all(&mut bucket, u64::MAX), 10);
    }

    proptest! {
        #[test]
        fn it_never_lets_more_through_than_its_pace(
            tokens in 0..500_u64,
            period_ms in 1..5000_u64,
            burst in 0..50_u64,
            steps in prop::collection::vec(0..700_u64, 1..60),
        ) {
            let mut bucket = TokenBucket::new(Rate { tokens, period_ms, burst }, Tick(0));
            let (mut now, mut taken) = (0, 0);
            for step in steps {
                now += step;
                let next = bucket.next(Tick(now));
                let got = bucket.take(Tick(now));
                prop_assert_eq!(got, next == Tick(now), "{:?}", bucket);
                taken += u64::from(got);
                prop_assert!(taken * period_ms <= burst * period_ms + now * tokens);
            }
        }
    }
}
