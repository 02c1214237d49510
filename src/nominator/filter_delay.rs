//! The filter delay: how long kube-scheduler may be kept waiting while nominations are written.
//!
//! A pod whose nomination is written in time costs kube-scheduler less than half of one that it comes to
//! first. So where it does come first, its answer waits a little for the nominations of the others: so many
//! milliseconds for each pod that was chosen, less than what each saves, and never more than is to be written
//! yet would be worth (docs/adr/0010).

use std::sync::TryLockError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Nominator;
use super::nominations::Nominations;
use crate::model::PodUid;

/// One answer waits at most for so long, well within kube-scheduler's patience (`httpTimeout`, 5 s by default).
const MOST_WAIT: Duration = Duration::from_millis(100);
/// How often it is looked at whether there is still something to wait for.
const SLICE_MS: u64 = 5;
/// Pause between two tries for the nominations.
const PAUSE: Duration = Duration::from_millis(1);

/// What is left of it.
#[derive(Debug, Default)]
pub(super) struct FilterDelay {
    left_ms: u64,
    /// What one nomination is worth waiting for.
    each_ms: u64,
}

impl FilterDelay {
    /// A target was chosen, whose nomination is worth so much.
    pub(super) fn grant(&mut self, each_ms: u64) {
        self.each_ms = each_ms;
        self.left_ms = self.left_ms.saturating_add(each_ms);
    }

    /// Takes at most so much of it, while so many nominations are to be written yet.
    pub(super) fn take(&mut self, most_ms: u64, num_unwritten: usize) -> u64 {
        self.left_ms = self.left_ms.min(self.each_ms.saturating_mul(num_unwritten as u64));
        let taken = self.left_ms.min(most_ms);
        self.left_ms -= taken;
        taken
    }

    /// There is some.
    pub(super) fn is_left(&self) -> bool {
        self.left_ms > 0
    }

    /// There is none any more.
    pub(super) fn end(&mut self) {
        self.left_ms = 0;
    }
}

impl Nominator {
    /// An answer may have to wait: see [`Nominator::delay_filter`]. Costs nothing to ask.
    pub fn is_pressing(&self) -> bool {
        self.is_pressing.load(Ordering::Relaxed)
    }

    /// Waits before a pod is answered to which kube-scheduler has come before its nomination was written,
    /// while nominations of its priority and of higher ones are. Gives how long that took.
    pub async fn delay_filter(&self, uid: PodUid) -> Duration {
        let begun = Instant::now();
        let until = begun + MOST_WAIT;
        let delay_filter =
            |nominations: &mut Nominations| nominations.delay_filter(uid, self.shared.clock.now());
        let Some(priority) = self.when_free(until, delay_filter).await.flatten() else {
            return begun.elapsed();
        };
        let take =
            |nominations: &mut Nominations| nominations.take_filter_delay(priority, SLICE_MS);
        while let Some(slice_ms) = self.when_free(until, take).await.filter(|it| *it > 0) {
            sleep(Duration::from_millis(slice_ms)).await;
        }
        let waited = begun.elapsed();
        self.metrics.filter_delay_seconds.inc_by(waited.as_secs_f64());
        waited
    }

    /// Does something with the nominations as soon as nobody has it: the thread of the answers is not kept while a
    /// look does, which takes milliseconds. `None` where that is too late.
    async fn when_free<T>(&self, until: Instant, act: impl Fn(&mut Nominations) -> T) -> Option<T> {
        while Instant::now() < until {
            if let Some(done) = self.if_free(&act) {
                return Some(done);
            }
            sleep(PAUSE).await;
        }
        None
    }

    fn if_free<T>(&self, act: impl Fn(&mut Nominations) -> T) -> Option<T> {
        match self.nominations.try_lock() {
            Ok(mut nominations) => Some(act(&mut nominations)),
            Err(TryLockError::Poisoned(poisoned)) => Some(act(&mut poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_long_as_was_granted_and_as_what_is_left_is_worth() {
        let mut filter_delay = FilterDelay::default();
        assert_eq!(filter_delay.take(5, 100), 0);
        (0..10).for_each(|_| filter_delay.grant(2));
        // (at most, to be written, taken)
        for (most_ms, num_unwritten, want) in [(5, 10, 5), (5, 7, 5), (50, 3, 6), (5, 10, 0)] {
            assert_eq!(filter_delay.take(most_ms, num_unwritten), want, "{filter_delay:?}");
        }
        filter_delay.grant(2);
        assert_eq!(filter_delay.take(5, 0), 0, "nothing is written");
        assert_eq!(filter_delay.take(5, 1), 0, "and so it has ended");
        filter_delay.grant(2);
        filter_delay.end();
        assert_eq!(filter_delay.take(5, 1), 0);
        filter_delay.grant(0);
        assert_eq!(filter_delay.take(5, 1), 0, "switched off");
    }
}
