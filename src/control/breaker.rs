//! Stops a kind whose writes keep failing. Pure: the owner passes the time in.
//!
//! ```text
//!            enough failures in a window               pause over
//!   Closed ─────────────────────────────▶ Open ───────────────────────▶ half open
//!      ▲                                   ▲                        one write │ begins
//!      │                                   └── it fails: twice the pause ─── Probing
//!      └────────────────────────────────────────────── it works ────────────────┘
//! ```

use std::collections::VecDeque;

use crate::model::{BreakerLimits, Tick};

/// What a write says about its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It works, whatever became of the action.
    Good,
    /// It does not.
    Bad,
    /// Nothing.
    None,
}

impl Sign {
    /// Whether something was of use; `None` where that is not known.
    pub fn of(of_use: Option<bool>) -> Self {
        match of_use {
            Some(true) => Self::Good,
            Some(false) => Self::Bad,
            None => Self::None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BreakerPhase {
    Closed { since: Tick },
    Open { until: Tick },
    Probing,
}

/// How a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything passes.
    Closed,
    /// One write may pass, or is on its way.
    HalfOpen,
    /// Nothing passes.
    Open,
}

impl BreakerState {
    /// As the admin API calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// A breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    limits: BreakerLimits,
    phase: BreakerPhase,
    /// When the last failures were, oldest first; no more than it takes to open.
    failed: VecDeque<Tick>,
    pause_ms: u64,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(limits: BreakerLimits, now: Tick) -> Self {
        let phase = BreakerPhase::Closed { since: now };
        Self { limits, phase, failed: VecDeque::new(), pause_ms: 0 }
    }

    /// How it stands at this moment.
    pub fn state(&self, now: Tick) -> BreakerState {
        match self.phase {
            BreakerPhase::Closed { .. } => BreakerState::Closed,
            BreakerPhase::Open { until } if now < until => BreakerState::Open,
            BreakerPhase::Open { .. } | BreakerPhase::Probing => BreakerState::HalfOpen,
        }
    }

    /// How many writes may begin.
    pub fn room(&self, now: Tick) -> usize {
        match self.phase {
            BreakerPhase::Closed { .. } => usize::MAX,
            BreakerPhase::Open { until } => usize::from(now >= until),
            BreakerPhase::Probing => 0,
        }
    }

    /// A write begins. True when it is the one by which the breaker is judged.
    pub fn begin(&mut self) -> bool {
        let probes = matches!(self.phase, BreakerPhase::Open { .. });
        if probes {
            self.phase = BreakerPhase::Probing;
        }
        probes
    }

    /// A write has ended.
    pub fn end(&mut self, probes: bool, sign: Sign, now: Tick) {
        match (self.phase, sign) {
            (BreakerPhase::Probing, Sign::Good) if probes => {
                self.failed.clear();
                self.phase = BreakerPhase::Closed { since: now };
            }
            (BreakerPhase::Probing, Sign::Bad) if probes => self.open(self.pause_ms * 2, now),
            // Another one may be judged by.
            (BreakerPhase::Probing, Sign::None) if probes => {
                self.phase = BreakerPhase::Open { until: now }
            }
            (BreakerPhase::Closed { .. }, Sign::Bad) => self.fail(now),
            // What began before it opened says nothing new.
            _ => {}
        }
    }

    fn fail(&mut self, now: Tick) {
        let BreakerPhase::Closed { since } = self.phase else { return };
        self.failed.push_back(now);
        let oldest = self.failed.len().saturating_sub(self.limits.failures.max(1));
        self.failed.drain(..oldest);
        let first = self.failed.front().copied().unwrap_or(now);
        let many = self.failed.len() >= self.limits.failures;
        if many && now.since_ms(first) <= self.limits.window_ms {
            self.open_since(since, now);
        }
    }

    /// It opens, for what others have counted. Nothing new while it is open already.
    pub fn trip(&mut self, now: Tick) {
        if let BreakerPhase::Closed { since } = self.phase {
            self.open_since(since, now);
        }
    }

    fn open_since(&mut self, closed: Tick, now: Tick) {
        let soon = now.since_ms(closed) <= self.limits.window_ms;
        self.open(if soon { self.pause_ms * 2 } else { 0 }, now);
    }

    fn open(&mut self, pause_ms: u64, now: Tick) {
        let limits = self.limits;
        self.pause_ms = pause_ms.max(limits.pause_ms).min(limits.most_pause_ms);
        self.phase = BreakerPhase::Open { until: now.plus_ms(self.pause_ms) };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: BreakerLimits =
        BreakerLimits { failures: 3, window_ms: 1000, pause_ms: 500, most_pause_ms: 1500 };

    fn fail(breaker: &mut Breaker, at_ms: u64) {
        let probes = breaker.begin();
        breaker.end(probes, Sign::Bad, Tick(at_ms));
    }

    fn state(breaker: &Breaker, at_ms: u64) -> BreakerState {
        breaker.state(Tick(at_ms))
    }

    #[test]
    fn enough_failures_within_a_window_open_it() {
        let mut breaker = Breaker::new(LIMITS, Tick(0));
        for at_ms in [0, 600, 1200, 2000] {
            fail(&mut breaker, at_ms);
            assert_eq!(state(&breaker, at_ms), BreakerState::Closed, "{at_ms}");
        }
        breaker.end(false, Sign::Good, Tick(2100));
        fail(&mut breaker, 2200);
        assert_eq!((state(&breaker, 2200), breaker.room(Tick(2699))), (BreakerState::Open, 0));
    }

    #[test]
    fn one_write_probes_and_decides() {
        let mut breaker = Breaker::new(LIMITS, Tick(0));
        (0..3).for_each(|at_ms| fail(&mut breaker, at_ms));
        // What was on its way when it opened says nothing.
        breaker.end(false, Sign::Good, Tick(10));
        assert_eq!(breaker.room(Tick(501)), 0);
        assert_eq!((state(&breaker, 502), breaker.room(Tick(502))), (BreakerState::HalfOpen, 1));
        assert!(breaker.begin());
        assert_eq!(breaker.room(Tick(502)), 0, "one at a time");
        breaker.end(false, Sign::Good, Tick(503));
        assert_eq!(state(&breaker, 503), BreakerState::HalfOpen, "that was not the one");
        breaker.end(true, Sign::Bad, Tick(510));
        assert_eq!((breaker.room(Tick(1509)), breaker.room(Tick(1510))), (0, 1), "twice as long");
        assert!(breaker.begin());
        breaker.end(true, Sign::None, Tick(1600));
        assert_eq!(breaker.room(Tick(1600)), 1, "it was not written: the next one is the one");
        assert!(breaker.begin());
        breaker.end(true, Sign::Good, Tick(1700));
        assert_eq!(state(&breaker, 1700), BreakerState::Closed);
        // Soon again is worse, long after it is not.
        (0..3).for_each(|_| fail(&mut breaker, 1800));
        assert_eq!(breaker.room(Tick(1800 + 1499)), 0, "as long as it may be");
        assert!(breaker.begin());
        breaker.end(true, Sign::Good, Tick(4000));
        (0..3).for_each(|_| fail(&mut breaker, 9000));
        assert_eq!((breaker.room(Tick(9499)), breaker.room(Tick(9500))), (0, 1));
    }

    proptest! {
        /// While it is open nothing passes, and it is never open for longer than it may be.
        #[test]
        fn it_opens_for_a_bounded_time(
            steps in prop::collection::vec((0..400_u64, 0..3_u8), 1..200),
        ) {
            let mut breaker = Breaker::new(LIMITS, Tick(0));
            let (mut now, mut opened) = (0, None);
            for (wait, sign) in steps {
                now += wait;
                let sign = [Sign::Good, Sign::Bad, Sign::None][usize::from(sign)];
                if breaker.room(Tick(now)) > 0 {
                    let probes = breaker.begin();
                    breaker.end(probes, sign, Tick(now));
                    opened = None;
                }
                if state(&breaker, now) == BreakerState::Open {
                    let since = *opened.get_or_insert(now);
                    prop_assert!(now - since < LIMITS.most_pause_ms);
                }
            }
            now += LIMITS.most_pause_ms;
            prop_assert!(breaker.room(Tick(now)) > 0);
        }
    }
}
