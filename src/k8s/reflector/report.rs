//! The reports of a reflector: to the log and to the health of its kind.

use std::time::Duration;

use tokio::time::Instant;

use super::{Abandoned, Reflector};
use crate::k8s::decode::DecodeError;
use crate::k8s::health::{AbsentKind, KindHealth, RefusedWatch};
use crate::k8s::kinds::Absent;
use crate::k8s::list_watch::{WatchEnd, WatchFailure};
use crate::k8s::objects;
use crate::k8s::page::PageError;
use crate::model::Change;

impl Reflector {
    pub(super) fn note_failure(&mut self, failure: WatchFailure, wait: Duration) {
        let refused = failure.code.and(self.list_watch.refused()).map(|(count, since)| {
            let ago = self.started.elapsed().saturating_sub(since);
            let since = std::time::Instant::now().checked_sub(ago);
            RefusedWatch { count, since, text: failure.text.clone() }
        });
        if let Some(num_unreported) = self.failures.admit_of(&failure.text, Instant::now()) {
            let (kind, retry_ms) = (self.spec.kind.name, wait.as_millis());
            tracing::warn!(kind, retry_ms, num_unreported, "{}", failure.text);
        }
        self.update(|it| {
            it.num_failures += 1;
            it.error = Some(failure.text);
            it.refused = refused;
        });
    }

    /// True for a failure that says that an optional kind is not there, or not for sigma.
    pub(super) fn is_absence(&self, failure: &WatchFailure) -> bool {
        let kind = self.spec.kind;
        match failure.code {
            // A server that starts refuses everybody for a moment.
            Some(403) => !kind.is_required() && !self.cell.lock().listed,
            // Every server serves the core group.
            Some(404) => !kind.is_required() && !kind.group.is_empty(),
            _ => false,
        }
    }

    /// The optional kind is not there: logs that once, and sweeps its objects if the kind says so.
    pub(super) async fn is_absent(
        &mut self,
        code: Option<u16>,
        text: &str,
    ) -> Result<(), Abandoned> {
        let (kind, is_forbidden) = (self.spec.kind, code == Some(403));
        let absent = AbsentKind { is_forbidden, text: text.to_owned() };
        let before = self.cell.lock().absent.clone();
        self.list_watch.begin_anew();
        self.update(|it| {
            (it.listed, it.error, it.refused, it.absent) = (false, None, None, Some(absent));
        });
        if before.is_some_and(|it| it.is_forbidden == is_forbidden) {
            return Ok(());
        }
        let (name, without) = (kind.name, self.spec.without);
        if is_forbidden {
            tracing::warn!(
                kind = name,
                "sigma may not list {name}, so {without}. Grant the right (deploy/base/rbac): {text}"
            );
            return Ok(());
        }
        let is_swept = self.spec.absent == Absent::Sweep;
        let so = if is_swept { "there are none" } else { "the known ones stay" };
        tracing::info!(kind = name, "the API server does not serve {name}, so {so}: {text}");
        if is_swept {
            self.send(Change::RelistBegin(kind)).await?;
            self.send(Change::RelistEnd(kind)).await?;
        }
        Ok(())
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
        let (kind, key) = (self.spec.kind, (self.reader.key)(meta));
        self.send(Change::Unread { kind, key }).await
    }

    pub(super) fn unreadable(&mut self, name: &str, why: &str) {
        let text = format!("{} {name}: {why}", self.spec.kind.name);
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
        let text = format!("cannot follow {}: {why}", self.spec.kind.name);
        WatchFailure { code: None, retry_after: None, text }
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut KindHealth)) {
        self.cell.update(change);
    }

    /// A list is older than what was known of its kind.
    pub(super) fn restored(&self, before: &str, version: &str) {
        tracing::warn!(
            kind = self.spec.kind.name,
            before,
            version,
            "the API server's versions have gone back, as after a restore of its store; every kind is listed anew"
        );
    }
}
