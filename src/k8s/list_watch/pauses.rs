//! How long a watch waits before it asks again.

use std::time::Duration;

use super::WatchOptions;
use super::refusals::doubled;

/// Exponential back-off with jitter, so that a thousand clients do not return in one wave.
#[derive(Debug)]
pub(super) struct ListBackoff {
    pub(super) min: Duration,
    max: Duration,
    reset: Duration,
    step: u32,
    last_failure: Option<Duration>,
}

impl ListBackoff {
    pub(super) fn new(options: &WatchOptions) -> Self {
        Self {
            min: options.backoff_min,
            max: options.backoff_max,
            reset: options.backoff_reset,
            step: 0,
            last_failure: None,
        }
    }

    /// The next failure is the first one again.
    pub(super) fn forget(&mut self) {
        self.step = 0;
    }

    /// The delay after a failure at `now`, at most `max`: half of it sure, half of it by lot.
    pub(super) fn delay(&mut self, now: Duration, max: Duration, jitter: f64) -> Duration {
        if self.last_failure.is_some_and(|last| now.saturating_sub(last) >= self.reset) {
            self.step = 0;
        }
        self.last_failure = Some(now);
        let factor = 2_u32.saturating_pow(self.step);
        let full = self.min.saturating_mul(factor).min(self.max).min(max);
        self.step = self.step.saturating_add(1);
        jittered(full, jitter)
    }
}

/// Half of it sure, half of it by lot.
fn jittered(full: Duration, jitter: f64) -> Duration {
    full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

/// When a version was too old for the server.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    last: Option<Duration>,
    /// How often since it last held.
    num_more: u32,
    pause: Duration,
}

impl Expiry {
    /// A version has expired: the pause before the next list, `None` if that is the first time for long.
    pub(super) fn expired(
        &mut self,
        backoff: &ListBackoff,
        now: Duration,
        jitter: f64,
    ) -> Option<Duration> {
        let long = backoff.reset.max(2 * self.pause);
        let last = self.last.replace(now);
        if last.is_none_or(|last| now.saturating_sub(last) >= long) {
            (self.num_more, self.pause) = (0, Duration::ZERO);
            return None;
        }
        self.pause = doubled(backoff.min, self.num_more);
        self.num_more = self.num_more.saturating_add(1);
        Some(jittered(self.pause, jitter))
    }

    pub(super) fn listed(&mut self, now: Duration) {
        self.last = self.last.map(|last| last.max(now));
    }
}

/// A list that somebody asked for.
#[derive(Debug, Default)]
pub(super) struct WantedList {
    /// Not to be tried before; `None` if none is wanted.
    pub(super) at: Option<Duration>,
    /// How often it could not begin.
    num_failed: u32,
}

impl WantedList {
    pub(super) fn failed(&mut self, pause: Duration, now: Duration) {
        if self.at.is_some() {
            self.at = Some(now + doubled(pause, self.num_failed));
            self.num_failed = self.num_failed.saturating_add(1);
        }
    }
}
