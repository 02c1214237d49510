//! The policy on disk → the policy in force: whole or not at all, the last good one stays.
//!
//! The file is read twice a second and compared by hash. That is cheaper than it sounds (a policy is
//! a few kilobytes), sees every way in which a file can change — editors, `mv`, the `..data` link of a
//! ConfigMap, network file systems — and needs no watch that may go deaf (ADR 0003).

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::config::PolicySource;
use super::first_policy::{FirstPolicy, Look, compile, look};
use super::metrics::ServeMetrics;
use super::policy_state::PolicyState;
use crate::actions::Actor;
use crate::http::{PolicyOnDisk, PolicySourceKind};
use crate::k8s::events::Events;
use crate::model::{EventSeverity, ObjectRef, ObjectType, STEER};
use crate::policy::{self, Compiled, Diagnostic, Severity as Level};
use crate::runtime::WriterHandle;

/// How often the file is read. A change must look the same twice, so that one that is being written
/// is not taken for broken: in force within 1 s, and never later than 2.
const PERIOD: Duration = Duration::from_millis(450);

/// Identifies the bytes of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of these bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

/// Looks at files again and again.
#[derive(Debug, Default)]
pub(super) struct FileWatch {
    last: Option<Option<Fingerprint>>,
}

impl FileWatch {
    /// The next look that finds what the one before it found.
    pub(super) async fn confirmed<T: Send + 'static>(
        &mut self,
        read: impl Fn() -> Result<T, String> + Clone + Send + 'static,
        identify: impl Fn(&T) -> Fingerprint,
    ) -> (Result<T, String>, Option<Fingerprint>) {
        loop {
            tokio::time::sleep(PERIOD).await;
            let Ok(look) = tokio::task::spawn_blocking(read.clone()).await else { continue };
            let found = look.as_ref().ok().map(&identify);
            if self.last.replace(found) == Some(found) {
                return (look, found);
            }
        }
    }
}

/// Follows the policy on disk.
pub(super) struct Reload {
    pub(super) source: PolicySource,
    pub(super) state: Arc<PolicyState>,
    pub(super) writer: WriterHandle,
    pub(super) metrics: Arc<ServeMetrics>,
    pub(super) events: Arc<Events>,
    pub(super) actor: Arc<Actor>,
}

impl Reload {
    /// Tells what the start began with.
    pub(super) fn begin(&self, first: &FirstPolicy) {
        log_findings(&first.warnings);
        self.state.show(&self.metrics);
        let Some(why) = first.on_disk.why() else { return };
        let instead = match first.origin.source {
            PolicySourceKind::None => {
                "none is in force, so virtual nodes are shut and this replica is not ready"
                    .to_owned()
            }
            _ => {
                let age = first.origin.age_seconds().unwrap_or_default();
                let name = &first.plan.name;
                format!("the last good one, {name:?}, accepted {age} s ago, is in force")
            }
        };
        self.tell_refused(&format!("policy not loaded, {instead}: {why}"));
    }

    /// Runs for as long as there is a writer.
    pub(super) async fn run(self: Arc<Self>) {
        let mut looks = FileWatch::default();
        loop {
            let (state, metrics) = (self.state.clone(), self.metrics.clone());
            // What is not written now is tried again after the next look.
            let _ = tokio::task::spawn_blocking(move || state.save(&metrics)).await;
            let source = self.source.clone();
            let read = move || look(&source);
            let (found, print) = looks.confirmed(read, |(_, bytes)| Fingerprint::of(bytes)).await;
            if self.state.is_news(print) && self.judge(found, print).await.is_none() {
                return;
            }
        }
    }

    /// Puts a changed policy in force, or says why not. `None`: there is no writer any more.
    async fn judge(&self, look: Look, found: Option<Fingerprint>) -> Option<()> {
        let refused = match look {
            Err(why) => PolicyOnDisk { faults: Vec::new(), unreadable: Some(why) },
            Ok((name, bytes)) => {
                let found = Fingerprint::of(&bytes);
                match compile_beside(name.clone(), bytes.clone()).await {
                    Ok(compiled) => {
                        let generation = self.writer.set_plan(compiled.plan.clone()).await?;
                        self.state.accepted(found, bytes);
                        self.accepted(&name, &compiled, generation);
                        return Some(());
                    }
                    // It was accepted at the start, where findings of this version are warnings.
                    Err(_) if self.state.is_in_force(found) => {
                        self.state.accepted(found, bytes);
                        let text = format!("the policy in force is in {name} again");
                        self.tell_accepted(None, &text);
                        return Some(());
                    }
                    Err(refused) => refused,
                }
            }
        };
        let why = refused.why().unwrap_or_default();
        self.state.refused(found, refused);
        let instead = match self.state.origin().source {
            PolicySourceKind::None => "none is in force",
            _ => "the last good one stays in force",
        };
        self.tell_refused(&format!("policy not loaded, {instead}: {why}"));
        Some(())
    }

    fn tell_refused(&self, text: &str) {
        self.metrics.policy_load_errors.inc();
        self.metrics.policy_stale.set(1);
        tracing::error!("{text}");
        self.events.send(&policy_object(), EventSeverity::Warning, "PolicyRejected", text);
    }

    fn accepted(&self, name: &str, compiled: &Compiled, generation: u64) {
        self.actor.switch(&STEER, compiled.plan.steers());
        self.actor.stop(&compiled.plan.stopped_actions);
        log_findings(&compiled.warnings);
        let text = format!("policy {:?} from {name} is in force", compiled.plan.name);
        self.tell_accepted(Some(generation), &text);
    }

    fn tell_accepted(&self, generation: Option<u64>, text: &str) {
        self.metrics.policy_stale.set(0);
        self.state.show(&self.metrics);
        tracing::info!(generation, "{text}");
        self.events.send(&policy_object(), EventSeverity::Normal, "PolicyLoaded", text);
    }
}

/// Compiles beside the runtime: the worst megabyte of YAML takes a while.
async fn compile_beside(name: String, bytes: Vec<u8>) -> Result<Compiled, PolicyOnDisk> {
    let compiled = tokio::task::spawn_blocking(move || compile(&name, &bytes, None)).await;
    compiled.unwrap_or_else(|error| {
        let unreadable = Some(format!("the policy compiler was stopped: {error}"));
        Err(PolicyOnDisk { faults: Vec::new(), unreadable })
    })
}

/// Most findings of an accepted policy that are logged; `sigma policy lint` has them all.
const MAX_LOGGED: usize = 20;

/// Logs what is surely not meant in a policy that is accepted all the same.
fn log_findings(found: &[Diagnostic]) {
    for it in found.iter().filter(|it| it.severity == Level::Warning).take(MAX_LOGGED) {
        tracing::warn!("{}:{}:{}: {} {}", it.file, it.line, it.column, it.code, it.message);
    }
}

/// A policy is no object of the API, so events name it as if it were one.
fn policy_object() -> ObjectRef {
    let (group, version) = policy::API_VERSION.split_once('/').unwrap_or_default();
    let object_type = ObjectType { group, version, resource: "", kind: policy::KIND };
    ObjectRef { object_type, namespace: "".into(), name: "sigma".into(), uid: "".into() }
}
