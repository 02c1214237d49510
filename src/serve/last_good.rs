//! The last good policy: kept in `--state-dir`, for a start at which the present one has errors.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::metrics::ServeMetrics;
use super::state_dir::{Slot, StateDir, Stored};
use crate::policy;
use crate::policy::codes::CHECKS;

/// `checks 2`, the checks by which it was accepted, in a line of its own; then the policy's file, byte by byte,
/// since what it says depends on the sigma that reads it.
const POLICY: Slot = Slot { name: "policy", version: 1, max_bytes: policy::MAX_BYTES + MAX_LINE };
/// That line is shorter than this.
const MAX_LINE: usize = 32;
/// Pause before a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// A policy that was in force.
#[derive(Clone, Debug)]
pub(super) struct AcceptedPolicy {
    /// Names it in diagnostics.
    pub(super) name: String,
    /// The bytes of its file.
    pub(super) bytes: Vec<u8>,
    /// When it was first accepted.
    pub(super) accepted: SystemTime,
    /// By the checks of this generation.
    pub(super) checks: u32,
}

impl AcceptedPolicy {
    fn of(name: String, stored: Stored) -> Option<Self> {
        let end = stored.payload.iter().take(MAX_LINE).position(|it| *it == b'\n')?;
        let (line, rest) = stored.payload.split_at(end);
        let checks = std::str::from_utf8(line).ok()?.strip_prefix("checks ")?.parse().ok()?;
        let bytes = rest.get(1..).unwrap_or_default().to_vec();
        Some(Self { name, bytes, accepted: stored.time, checks })
    }
}

/// Keeps the last good policy; without a directory, only until the process ends.
#[derive(Debug, Default)]
pub(super) struct LastGood {
    store: Option<StateDir>,
    wanted: Mutex<PendingWrite>,
}

#[derive(Debug, Default)]
struct PendingWrite {
    /// What is to be written.
    unsaved: Option<(SystemTime, Vec<u8>)>,
    /// When it was tried last, and why that failed.
    failed: Option<(Instant, String)>,
}

impl LastGood {
    /// In this store; `None`: there is none.
    pub(super) fn new(store: Option<StateDir>) -> Self {
        Self { store, wanted: Mutex::default() }
    }

    /// What was kept last. That it cannot be read is logged, and as if there were nothing.
    pub(super) fn read(&self) -> Option<AcceptedPolicy> {
        let store = self.store.as_ref()?;
        let name = store.path(&POLICY).display().to_string();
        match store.read(&POLICY) {
            Ok(None) => None,
            Ok(Some(stored)) => {
                let kept = AcceptedPolicy::of(name.clone(), stored);
                if kept.is_none() {
                    tracing::error!(
                        "the last good policy is lost: {name} does not begin with its checks"
                    );
                }
                kept
            }
            Err(why) => {
                tracing::error!("the last good policy is lost: {why}");
                None
            }
        }
    }

    /// Has a policy written at the next [`LastGood::save`].
    pub(super) fn keep(&self, accepted: SystemTime, bytes: Vec<u8>) {
        if self.store.is_some() {
            *self.lock() = PendingWrite { unsaved: Some((accepted, bytes)), failed: None };
        }
    }

    /// Writes what is to be written, if anything is. Waits for the disk.
    pub(super) fn save(&self, metrics: &ServeMetrics) {
        let Some(store) = &self.store else { return };
        let (accepted, bytes) = {
            let wanted = self.lock();
            let waits = wanted.failed.as_ref().is_some_and(|(tried, _)| tried.elapsed() < RETRY);
            match &wanted.unsaved {
                Some(unsaved) if !waits => unsaved.clone(),
                _ => return,
            }
        };
        let payload = [format!("checks {CHECKS}\n").as_bytes(), &bytes].concat();
        let written = store.write(&POLICY, accepted, &payload);
        let mut wanted = self.lock();
        match written {
            Ok(()) => {
                // Another one may be wanted by now.
                wanted.unsaved.take_if(|it| it.1 == bytes);
                wanted.failed = None;
            }
            Err(error) => {
                let path = store.path(&POLICY);
                let why = format!("cannot write {}: {error}", path.display());
                if wanted.failed.as_ref().is_none_or(|(_, last)| *last != why) {
                    tracing::error!("the policy in force is not kept for the next start: {why}");
                }
                metrics.state_write_errors.inc();
                wanted.failed = Some((Instant::now(), why));
            }
        }
    }

    /// Why the policy in force is not kept.
    pub(super) fn error(&self) -> Option<String> {
        self.lock().failed.as_ref().map(|(_, why)| why.clone())
    }

    fn lock(&self) -> MutexGuard<'_, PendingWrite> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
