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
use crate::control::Nominations;
use crate::model::PodUid;

/// One answer waits at most for so long, well within kube-scheduler's patience (`httpTimeout`, 5 s by default).
const MOST_WAIT: Duration = Duration::from_millis(100);
/// How often it is looked at whether there is still something to wait for.
const SLICE_MS: u64 = 5;
/// Pause between two tries for the nominations.
const PAUSE: Duration = Duration::from_millis(1);

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
