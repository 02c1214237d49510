//! What a driver says of itself: to the log, to whoever asks for its health, and of failures.

use std::time::Duration;

use tokio::time::Instant;

use super::{Abandoned, Reflector};
use crate::k8s::decode::DecodeError;
use crate::k8s::health::{KindHealth, RefusedWatch};
use crate::k8s::list_watch::{WatchEnd, WatchFailure};
use crate::k8s::objects;
use crate::k8s::page::PageError;
use crate::model::{Change, Kind};

impl Reflector {
    pub(super) fn note_failure(&mut self, failure: WatchFailure, wait: Duration) {
        let refused = failure.code.and(self.list_watch.refused()).map(|(count, since)| {
            let ago = self.started.elapsed().saturating_sub(since);
            let since = std::time::Instant::now().checked_sub(ago);
            RefusedWatch { count, since, text: failure.text.clone() }
        });
        if let Some(num_unreported) = self.failures.admit_of(&failure.text, Instant::now()) {
            let (kind, retry_ms) = (self.kind.resource(), wait.as_millis());
            tracing::warn!(kind, retry_ms, num_unreported, "{}", failure.text);
        }
        self.update(|it| {
            it.num_failures += 1;
            it.error = Some(failure.text);
            it.refused = refused;
        });
    }

    /// We may not list a kind that is not needed, which is no failure; said once.
    pub(super) fn do_without(&mut self, failure: WatchFailure) {
        if !std::mem::replace(&mut self.forbidden, true) {
            let kind = self.kind.resource();
            let asks = match self.kind {
                Kind::DeviceClasses => "ask for extended resources",
                _ => "mount claims",
            };
            tracing::warn!(
                kind,
                "sigma may not list {kind}, so pods that {asks} are left to kube-scheduler. \
                 Grant it (deploy/base/rbac), and they are judged: {}",
                failure.text
            );
        }
        self.update(|it| it.error = Some(failure.text));
    }

    pub(super) fn heard(&self) {
        self.update(|it| {
            it.last_heard = Some(std::time::Instant::now());
            it.error = None;
        });
    }

    /// Names and counts an object that cannot be read, and keeps what was known of it.
    pub(super) async fn undecodable(
        &mut self,
        object: &[u8],
        error: &DecodeError,
    ) -> Result<(), Abandoned> {
        let meta = objects::identity(object).metadata;
        let name = format!("{}/{} (uid {})", meta.namespace, meta.name, meta.uid);
        self.unreadable(name.trim_start_matches('/'), &error.to_string());
        let key = objects::key_of(self.kind, meta);
        self.send(Change::Unread { kind: self.kind, key }).await
    }

    pub(super) fn unreadable(&mut self, name: &str, why: &str) {
        let text = format!("{} {name}: {why}", self.kind.resource());
        if let Some(num_unreported) = self.warnings.admit(Instant::now()) {
            tracing::warn!(num_unreported, "skipped what cannot be read: {text}");
        }
        self.update(|it| {
            it.num_undecodable += 1;
            it.last_undecodable = Some(text);
        });
    }

    pub(super) fn bad_page(&self, error: PageError) -> WatchEnd {
        match error {
            PageError::Broken(why) => self.failed(&why),
            // It was answered, if with nonsense.
            PageError::Unreadable(why) => {
                WatchEnd::Failed(WatchFailure { code: Some(200), ..self.failure(&why) })
            }
        }
    }

    pub(super) fn failed(&self, why: &str) -> WatchEnd {
        WatchEnd::Failed(self.failure(why))
    }

    pub(super) fn failure(&self, why: &str) -> WatchFailure {
        let text = format!("cannot follow {}: {why}", self.kind.resource());
        WatchFailure { code: None, retry_after: None, text }
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut KindHealth)) {
        self.health.update(self.kind, change);
    }

    /// A list is older than what was known of its kind.
    pub(super) fn restored(&self, before: &str, version: &str) {
        tracing::warn!(
            kind = self.kind.resource(),
            before,
            version,
            "the API server's versions have gone back, as after a restore of its store; every kind is listed anew"
        );
    }
}
