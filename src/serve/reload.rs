//! The policy on disk → the policy in force: whole or not at all, the last good one stays.
//!
//! The file is read twice a second and compared by hash. That is cheaper than it sounds (a policy is
//! a few kilobytes), sees every way in which a file can change — editors, `mv`, the `..data` link of a
//! ConfigMap, network file systems — and needs no watch that may go deaf (ADR 0003).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::config::PolicySource;
use crate::k8s::events::{Events, Regarding, Severity};
use crate::metrics::Metrics;
use crate::policy::{self, Diagnostic, Severity as Level};
use crate::writer::WriterHandle;

/// How often the file is read. A change must look the same twice, so that one that is being written
/// is not taken for broken: in force within 1 s, and never later than 2.
const PERIOD: Duration = Duration::from_millis(450);

/// Identifies the bytes of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of these bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

/// What became of the policy on disk, for the status page.
#[derive(Debug)]
pub(super) struct PolicyState {
    seen: Mutex<Seen>,
}

/// See [`PolicyState`].
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Of what was judged last; `None` when it could not be read.
    judged: Option<Fingerprint>,
    /// Why the policy on disk is not in force; empty when it is.
    pub faults: Vec<Diagnostic>,
    /// Why the policy on disk could not be read.
    pub unreadable: Option<String>,
}

impl PolicyState {
    /// This policy is in force.
    pub(super) fn new(in_force: Fingerprint) -> Self {
        let judged = Some(in_force);
        let seen = Seen { judged, faults: Vec::new(), unreadable: None };
        Self { seen: Mutex::new(seen) }
    }

    /// A copy.
    pub(super) fn get(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a look at the file found.
type Look = Result<(String, Vec<u8>), String>;

/// Follows the policy on disk for as long as there is a writer.
pub(super) async fn follow(
    source: PolicySource,
    state: Arc<PolicyState>,
    writer: WriterHandle,
    metrics: Arc<Metrics>,
    events: Events,
) {
    let mut last: Option<Option<Fingerprint>> = None;
    loop {
        tokio::time::sleep(PERIOD).await;
        let source = source.clone();
        let looked = tokio::task::spawn_blocking(move || source.read()).await;
        let Ok(looked) = looked else { continue };
        let look: Look = looked.map_err(|error| format!("{error:#}"));
        let found = look.as_ref().ok().map(|(_, bytes)| Fingerprint::of(bytes));
        let settled = last.replace(found) == Some(found);
        if !settled || state.get().judged == found {
            continue;
        }
        if judge(look, &state, &writer, &metrics, &events).await.is_none() {
            return;
        }
    }
}

/// Puts a changed policy in force, or says why not. `None`: there is no writer any more.
async fn judge(
    look: Look,
    state: &PolicyState,
    writer: &WriterHandle,
    metrics: &Metrics,
    events: &Events,
) -> Option<()> {
    let (name, bytes) = match look {
        Ok(found) => found,
        Err(why) => {
            let mut seen = state.lock();
            seen.judged = None;
            seen.unreadable = Some(why.clone());
            drop(seen);
            refused(&why, metrics, events);
            return Some(());
        }
    };
    let fingerprint = Fingerprint::of(&bytes);
    match policy::compile(&name, &bytes) {
        Ok(compiled) => {
            let plan_name = compiled.plan.name.clone();
            let generation = writer.set_plan(compiled.plan).await?;
            *state.lock() = PolicyState::new(fingerprint).get();
            metrics.policy_stale.set(0);
            let text = format!("policy {plan_name:?} from {name} is in force");
            tracing::info!(generation, "{text}");
            events.send(&policy_object(), Severity::Normal, "PolicyLoaded", &text);
        }
        Err(faults) => {
            let errors = faults.iter().filter(|it| it.severity == Level::Error);
            let text = errors.clone().next().map_or_else(String::new, |it| {
                format!("{}:{}:{}: {} {}", it.file, it.line, it.column, it.code, it.message)
            });
            let text = format!("{} fault(s), first {text}", errors.count());
            let mut seen = state.lock();
            seen.judged = Some(fingerprint);
            seen.faults = faults;
            seen.unreadable = None;
            drop(seen);
            refused(&text, metrics, events);
        }
    }
    Some(())
}

fn refused(why: &str, metrics: &Metrics, events: &Events) {
    metrics.policy_load_errors.inc();
    metrics.policy_stale.set(1);
    let text = format!("policy not loaded, the last good one stays in force: {why}");
    tracing::error!("{text}");
    events.send(&policy_object(), Severity::Warning, "PolicyRejected", &text);
}

/// A policy is no object of the API, so events name it as if it were one.
fn policy_object() -> Regarding {
    Regarding {
        api_version: policy::API_VERSION.to_owned(),
        kind: policy::KIND.to_owned(),
        namespace: String::new(),
        name: "sigma".to_owned(),
        uid: String::new(),
    }
}
