//! What is known of the policy on disk and of the one in force.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::first_policy::FirstPolicy;
use super::last_good::LastGood;
use super::metrics::ServeMetrics;
use super::reload::Fingerprint;
use crate::http::{PolicyOnDisk, PolicyOrigin, PolicySourceKind};

/// What became of the policy on disk, and where the one in force came from.
pub(super) struct PolicyState {
    seen: Mutex<FileState>,
    last_good: LastGood,
}

struct FileState {
    /// Of what was judged last; `None` when it could not be read.
    judged: Option<Fingerprint>,
    on_disk: PolicyOnDisk,
    /// Of the policy in force; `None` without one.
    in_force: Option<Fingerprint>,
    origin: PolicyOrigin,
}

impl PolicyState {
    /// As a start found it.
    pub(super) fn new(first: &FirstPolicy, last_good: LastGood) -> Self {
        let seen = FileState {
            judged: first.judged,
            on_disk: first.on_disk.clone(),
            in_force: first.in_force,
            origin: first.origin.clone(),
        };
        Self { seen: Mutex::new(seen), last_good }
    }

    /// Why the policy on disk is not the one in force, if so.
    pub(super) fn on_disk(&self) -> PolicyOnDisk {
        self.lock().on_disk.clone()
    }

    /// Where the policy in force came from.
    pub(super) fn origin(&self) -> PolicyOrigin {
        PolicyOrigin { state_error: self.last_good.error(), ..self.lock().origin.clone() }
    }

    pub(super) fn is_news(&self, found: Option<Fingerprint>) -> bool {
        self.lock().judged != found
    }

    pub(super) fn is_in_force(&self, found: Fingerprint) -> bool {
        self.lock().in_force == Some(found)
    }

    /// The policy on disk is not put in force.
    pub(super) fn refused(&self, found: Option<Fingerprint>, on_disk: PolicyOnDisk) {
        let mut seen = self.lock();
        (seen.judged, seen.on_disk) = (found, on_disk);
    }

    /// The policy on disk is in force, and to be kept for the next start.
    pub(super) fn accepted(&self, found: Fingerprint, bytes: Vec<u8>) {
        let mut seen = self.lock();
        (seen.judged, seen.on_disk) = (Some(found), PolicyOnDisk::default());
        seen.origin.source = PolicySourceKind::File;
        // The same bytes are as old as they were.
        if seen.in_force.replace(found) != Some(found) {
            let now = SystemTime::now();
            seen.origin.accepted = Some(now);
            self.last_good.keep(now, bytes);
        }
    }

    /// Writes what is to be kept. Waits for the disk.
    pub(super) fn save(&self, metrics: &ServeMetrics) {
        self.last_good.save(metrics);
    }

    /// Shows in metrics where the policy in force came from.
    pub(super) fn show(&self, metrics: &ServeMetrics) {
        let origin = self.origin();
        let (source, all) = (origin.source.name(), &PolicySourceKind::NAMES);
        metrics.policy_came_from(source, all, origin.accepted);
    }

    fn lock(&self) -> MutexGuard<'_, FileState> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
