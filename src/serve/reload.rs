//! The policy on disk → the policy in force: whole or not at all, the last good one stays.
//!
//! The file is read twice a second and compared by hash. That is cheaper than it sounds (a policy is
//! a few kilobytes), sees every way in which a file can change — editors, `mv`, the `..data` link of a
//! ConfigMap, network file systems — and needs no watch that may go deaf (ADR 0003).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::config::PolicySource;
use crate::actor::{Actor, Means};
use crate::http::PolicyOnDisk;
use crate::k8s::events::{Events, Regarding, Severity};
use crate::metrics::Metrics;
use crate::policy::{self, Compiled, Diagnostic, Severity as Level};
use crate::writer::WriterHandle;

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
pub(super) struct Looks {
    last: Option<Option<Fingerprint>>,
}

impl Looks {
    /// The next look that finds what the one before it found.
    pub(super) async fn settled<T: Send + 'static>(
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

/// What became of the policy on disk, for the status page.
#[derive(Debug)]
pub(super) struct PolicyState {
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// Of what was judged last; `None` when it could not be read.
    judged: Option<Fingerprint>,
    on_disk: PolicyOnDisk,
}

impl PolicyState {
    /// This policy is in force.
    pub(super) fn new(in_force: Fingerprint) -> Self {
        let seen = Seen { judged: Some(in_force), on_disk: PolicyOnDisk::default() };
        Self { seen: Mutex::new(seen) }
    }

    /// Why the policy on disk is not the one in force, if so.
    pub(super) fn on_disk(&self) -> PolicyOnDisk {
        self.lock().on_disk.clone()
    }

    fn is_news(&self, found: Option<Fingerprint>) -> bool {
        self.lock().judged != found
    }

    fn judged(&self, found: Option<Fingerprint>, on_disk: PolicyOnDisk) {
        *self.lock() = Seen { judged: found, on_disk };
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a look at the file found.
type Look = Result<(String, Vec<u8>), String>;

/// An empty file is a valid policy to start with, but one that *became* empty was cut off: a full disk,
/// an editor that died. It must not take every limit away.
fn not_blank(found: (String, Vec<u8>)) -> Look {
    match found.1.trim_ascii().is_empty() {
        true => Err(format!("the policy {} has become empty", found.0)),
        false => Ok(found),
    }
}

/// Follows the policy on disk.
pub(super) struct Reload {
    pub(super) source: PolicySource,
    pub(super) state: Arc<PolicyState>,
    pub(super) writer: WriterHandle,
    pub(super) metrics: Arc<Metrics>,
    pub(super) events: Arc<Events>,
    pub(super) actor: Arc<Actor>,
}

impl Reload {
    /// Runs for as long as there is a writer.
    pub(super) async fn run(self: Arc<Self>) {
        let mut looks = Looks::default();
        loop {
            let source = self.source.clone();
            let read =
                move || source.read().map_err(|error| format!("{error:#}")).and_then(not_blank);
            let (look, found) = looks.settled(read, |(_, bytes)| Fingerprint::of(bytes)).await;
            if self.state.is_news(found) && self.judge(look, found).await.is_none() {
                return;
            }
        }
    }

    /// Puts a changed policy in force, or says why not. `None`: there is no writer any more.
    async fn judge(&self, look: Look, found: Option<Fingerprint>) -> Option<()> {
        let refused = match look {
            Err(why) => PolicyOnDisk { faults: Vec::new(), unreadable: Some(why) },
            Ok((name, bytes)) => match compile(name.clone(), bytes).await {
                Ok(compiled) => {
                    let generation = self.writer.set_plan(compiled.plan.clone()).await?;
                    self.state.judged(found, PolicyOnDisk::default());
                    self.accepted(&name, &compiled, generation);
                    return Some(());
                }
                Err(refused) => refused,
            },
        };
        let why = refused.why().unwrap_or_default();
        self.state.judged(found, refused);
        self.metrics.policy_load_errors.inc();
        self.metrics.policy_stale.set(1);
        let text = format!("policy not loaded, the last good one stays in force: {why}");
        tracing::error!("{text}");
        self.events.send(&policy_object(), Severity::Warning, "PolicyRejected", &text);
        Some(())
    }

    fn accepted(&self, name: &str, compiled: &Compiled, generation: u64) {
        self.actor.switch(Means::Steer, compiled.plan.steers());
        self.metrics.policy_stale.set(0);
        log_findings(&compiled.warnings);
        let text = format!("policy {:?} from {name} is in force", compiled.plan.name);
        tracing::info!(generation, "{text}");
        self.events.send(&policy_object(), Severity::Normal, "PolicyLoaded", &text);
    }
}

/// Compiles beside the runtime: the worst megabyte of YAML takes a while. One that crashes the
/// compiler is as bad as one that cannot be read.
async fn compile(name: String, bytes: Vec<u8>) -> Result<Compiled, PolicyOnDisk> {
    let crashed = format!("{name} crashes the policy compiler");
    let compiled = tokio::task::spawn_blocking(move || policy::compile(&name, &bytes)).await;
    match compiled {
        Ok(Ok(compiled)) => Ok(compiled),
        Ok(Err(faults)) => Err(PolicyOnDisk { faults, unreadable: None }),
        Err(_) => Err(PolicyOnDisk { faults: Vec::new(), unreadable: Some(crashed) }),
    }
}

/// Most findings of an accepted policy that are logged; `sigma policy lint` has them all.
const MAX_LOGGED: usize = 20;

/// Logs what is surely not meant in a policy that is accepted all the same.
pub(super) fn log_findings(found: &[Diagnostic]) {
    for it in found.iter().filter(|it| it.severity == Level::Warning).take(MAX_LOGGED) {
        tracing::warn!("{}:{}:{}: {} {}", it.file, it.line, it.column, it.code, it.message);
    }
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
