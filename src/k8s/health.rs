//! The state of the watches, for `/readyz?verbose` and the metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::kinds;
use crate::model::Kind;

/// The state of all watches. One writer per kind, any number of readers.
#[derive(Debug)]
pub struct WatchHealth {
    kinds: Mutex<BTreeMap<Kind, Arc<KindCell>>>,
    /// How often it was noticed that the API server's store was restored.
    num_restores: AtomicU64,
}

/// What one watch shares with its readers.
#[derive(Debug, Default)]
pub(super) struct KindCell {
    state: Mutex<KindHealth>,
    relist: Notify,
}

/// The state of one watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KindHealth {
    /// The first list is complete.
    pub listed: bool,
    /// When the server last sent a page, an event or a bookmark.
    pub last_heard: Option<Instant>,
    /// Where the watch stands.
    pub resource_version: String,
    /// Lists begun after the first complete one.
    pub num_relists: u64,
    /// Connections that failed.
    pub num_failures: u64,
    /// Watches opened from a known version, planned or not.
    pub num_reconnects: u64,
    /// Objects listed and events read, bookmarks not counted.
    pub num_objects: u64,
    /// Objects that could not be read and were skipped.
    pub num_undecodable: u64,
    /// The latest of these, and why.
    pub last_undecodable: Option<String>,
    /// Restores of the server's store that the last list knows.
    pub(super) num_restores: u64,
    /// What went wrong; `None` again as soon as the server grants a request.
    pub error: Option<String>,
    /// The kind is optional, and the server does not serve it or refuses lists of it.
    pub absent: Option<AbsentKind>,
    /// The server refuses to be watched; `None` again as soon as it grants a watch, whatever lists do.
    pub refused: Option<RefusedWatch>,
}

/// Why an optional kind has no watch. It is looked for again at intervals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbsentKind {
    /// The server serves the kind, but sigma has no right to it.
    pub is_forbidden: bool,
    /// What the server said.
    pub text: String,
}

/// Refusals in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedWatch {
    /// How many.
    pub count: u64,
    /// When the first one came.
    pub since: Option<Instant>,
    /// What the last one said.
    pub text: String,
}

impl WatchHealth {
    /// A copy of one watch's state.
    pub fn kind(&self, kind: Kind) -> KindHealth {
        self.cell(kind).lock().clone()
    }

    /// True when every required kind was listed completely at least once.
    pub fn synced(&self) -> bool {
        Kind::REQUIRED.into_iter().all(|kind| self.cell(kind).lock().listed)
    }

    /// How long ago the server was last heard on this kind; `None` before the first word.
    pub fn behind(&self, kind: Kind, now: Instant) -> Option<Duration> {
        let last_heard = self.cell(kind).lock().last_heard;
        last_heard.map(|heard| now.saturating_duration_since(heard))
    }

    /// Asks for a fresh list: what it no longer has is gone, whether or not a watch said so.
    pub fn request_relist(&self, kind: Kind) {
        self.cell(kind).relist.notify_one();
    }

    /// The API server's store was restored: every kind is listed anew. A version may have been passed by the
    /// time that its watch is resumed, so that nothing is wrong with it.
    pub fn store_restored(&self) {
        self.num_restores.fetch_add(1, Ordering::AcqRel);
        self.cells().for_each(|(_, cell)| cell.relist.notify_one());
    }

    /// A list of this kind is complete. `is_older`: the list is older than the known state of the kind. True if
    /// this is the first sign of a restore. Then the other kinds are listed anew.
    pub(super) fn listed(&self, kind: Kind, is_older: bool) -> bool {
        let known = self.num_restores.load(Ordering::Acquire);
        let before = self.kind(kind).num_restores;
        let is_news = is_older && before == known;
        let num_restores =
            if is_news { self.num_restores.fetch_add(1, Ordering::AcqRel) + 1 } else { known };
        self.update(kind, |it| it.num_restores = num_restores);
        if is_news {
            let others = self.cells().filter(|(other, _)| *other != kind);
            others.for_each(|(_, cell)| cell.relist.notify_one());
        }
        is_news
    }

    pub(super) fn update(&self, kind: Kind, change: impl FnOnce(&mut KindHealth)) {
        self.cell(kind).update(change);
    }

    /// The state that a watch and its readers share. It exists from the first question on.
    pub(super) fn cell(&self, kind: Kind) -> Arc<KindCell> {
        lock(&self.kinds).entry(kind).or_default().clone()
    }

    fn cells(&self) -> impl Iterator<Item = (Kind, Arc<KindCell>)> + use<> {
        let cells = lock(&self.kinds).clone();
        cells.into_iter()
    }
}

impl Default for WatchHealth {
    fn default() -> Self {
        let kinds = kinds::kinds().map(|kind| (kind, Arc::default()));
        Self { kinds: Mutex::new(kinds.collect()), num_restores: AtomicU64::new(0) }
    }
}

impl KindCell {
    pub(super) async fn relist_requested(&self) {
        self.relist.notified().await;
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut KindHealth)) {
        change(&mut self.lock());
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, KindHealth> {
        lock(&self.state)
    }
}

/// Every state of the fields is valid by itself, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_synced_when_every_kind_that_is_needed_is_listed() {
        let health = WatchHealth::default();
        for kind in Kind::REQUIRED {
            assert!(!health.synced());
            health.update(kind, |it| it.listed = true);
        }
        assert!(health.synced());
        let now = Instant::now();
        assert_eq!(health.behind(Kind::PODS, now), None);
        health.update(Kind::PODS, |it| it.last_heard = Some(now));
        let later = now + Duration::from_secs(3);
        assert_eq!(health.behind(Kind::PODS, later), Some(Duration::from_secs(3)));
        assert_eq!(health.behind(Kind::NODES, later), None);
    }

    #[test]
    fn a_restore_has_every_kind_listed_once() {
        let health = WatchHealth::default();
        assert!(!health.listed(Kind::PODS, false));
        assert!(health.listed(Kind::NODES, true), "it is the first one to notice");
        // They are listed because of that.
        assert!(!health.listed(Kind::PODS, true) && !health.listed(Kind::NAMESPACES, false));
        assert!(health.listed(Kind::PODS, true), "again");
        assert!(!health.listed(Kind::NODES, true));
        health.store_restored();
        assert!(!health.listed(Kind::NODES, true) && !health.listed(Kind::PODS, true));
    }
}
