//! The locks around a replica: what is published behind one, the decider behind another.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::Clock;
use crate::engine::{Decider, View};
use crate::model::{Kind, Tick};
use crate::replica::{Publication, Published, Replica, Writing};

/// Pause between two tries for the decider.
const DECIDER_PAUSE: Duration = Duration::from_micros(50);

/// The shared half of a replica: the published view, and the decider that decides on it.
pub struct SharedState {
    /// Locked for the length of a few copies, never over a decision.
    published: Mutex<Published>,
    decider: Mutex<Decider>,
    /// The process's clock.
    pub clock: Clock,
}

impl SharedState {
    /// Takes a replica apart: the shared half, and the half for [`spawn`](super::spawn).
    pub fn of(replica: Replica, clock: Clock) -> (Arc<Self>, Writing) {
        let Replica { writing, published, decider } = replica;
        let (published, decider) = (Mutex::new(published), Mutex::new(decider));
        (Arc::new(Self { published, decider, clock }), writing)
    }

    /// True if [`SharedState::view`] contains a complete list of this kind.
    pub fn listed(&self, kind: Kind) -> bool {
        lock(&self.published).is_listed(kind)
    }

    /// True if every kind that decisions need was listed.
    pub fn synced(&self) -> bool {
        lock(&self.published).is_synced()
    }

    /// The newest view.
    pub fn view(&self) -> Arc<View> {
        lock(&self.published).view()
    }

    /// Decides with the decider up to date, on the newest view, at this moment.
    pub fn decide<T>(&self, call: impl FnOnce(&mut Decider, &View, Tick) -> T) -> T {
        let decider = self.decider.lock().unwrap_or_else(|poisoned| self.recovered(poisoned));
        self.decide_at(decider, call)
    }

    /// Decides as [`SharedState::decide`] does. Returns `None` if the decider is not free before `by`.
    pub fn decide_by<T>(
        &self,
        by: Instant,
        call: impl FnOnce(&mut Decider, &View, Tick) -> T,
    ) -> Option<T> {
        while Instant::now() < by {
            let decider = match self.decider.try_lock() {
                Ok(decider) => decider,
                Err(TryLockError::Poisoned(poisoned)) => self.recovered(poisoned),
                Err(TryLockError::WouldBlock) => {
                    // A mutex has no wait with a time limit. Decisions take microseconds.
                    std::thread::sleep(DECIDER_PAUSE);
                    continue;
                }
            };
            return Some(self.decide_at(decider, call));
        }
        None
    }

    fn decide_at<T>(
        &self,
        mut decider: MutexGuard<'_, Decider>,
        call: impl FnOnce(&mut Decider, &View, Tick) -> T,
    ) -> T {
        let handover = lock(&self.published).take();
        let now = self.clock.moment();
        let view = handover.deliver(&mut decider, now);
        call(&mut decider, &view, now.tick)
    }

    /// A decision panicked half-way, so the decider's sums are counted again.
    fn recovered<'a>(
        &self,
        poisoned: PoisonError<MutexGuard<'a, Decider>>,
    ) -> MutexGuard<'a, Decider> {
        self.decider.clear_poison();
        let mut decider = poisoned.into_inner();
        decider.recover(&self.view());
        decider
    }

    /// Shows a publication. No decision waits while the view before it is freed.
    pub(super) fn publish(&self, publication: Publication) {
        let before = lock(&self.published).put(publication);
        drop(before);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
