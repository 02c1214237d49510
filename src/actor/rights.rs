//! The rights that a means needs: looked for before it acts, and again after a refusal. Without them it
//! is off, says so once, and comes back by itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::WhyOff;
use crate::k8s::access::{Right, may};
use crate::k8s::events::{Events, Regarding, Severity};
use crate::metrics::Metrics;

/// Before it is asked again what could not be learnt.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(2);

/// What is known of some rights.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// Nothing yet.
    Unknown,
    /// We have them.
    Granted,
    /// A write was refused; whether for want of a right is still to be asked.
    Doubted,
    /// We lack one; the text says which.
    Missing(String),
}

/// Some rights that are needed together.
pub(super) struct Rights {
    needed: Vec<Right>,
    standing: Mutex<Standing>,
    /// It should be looked at now.
    asked: Notify,
}

/// How rights are looked for, and who is told.
#[derive(Clone)]
pub struct Inquiry {
    /// Whose rights they are.
    pub client: Client,
    /// Where it is said that one is missing, or there again.
    pub events: Arc<Events>,
    /// The same.
    pub metrics: Arc<Metrics>,
    /// After which time one that is missing is looked for again.
    pub pause: Duration,
}

impl Rights {
    pub(super) fn new(needed: Vec<Right>) -> Self {
        Self { needed, standing: Mutex::new(Standing::Unknown), asked: Notify::new() }
    }

    /// Why nothing may be done that needs them; `None` when it may. Unless `proven`, it may until a
    /// write is refused.
    pub(super) fn why_off(&self, proven: bool) -> Option<WhyOff> {
        match &*self.lock() {
            Standing::Granted => None,
            Standing::Unknown if !proven => None,
            Standing::Unknown => Some(WhyOff::RightUnknown),
            Standing::Doubted => Some(WhyOff::RightDoubted),
            Standing::Missing(right) => Some(WhyOff::RightMissing(right.clone())),
        }
    }

    /// Somebody needs them.
    pub(super) fn ask(&self) {
        self.asked.notify_one();
    }

    /// A write was refused.
    pub(super) fn doubt(&self) {
        let mut standing = self.lock();
        if !matches!(*standing, Standing::Missing(_)) {
            *standing = Standing::Doubted;
            self.ask();
        }
    }

    /// Looks for them while somebody needs them, for as long as the process runs.
    pub(super) async fn follow(&self, inquiry: Inquiry, needed: impl Fn() -> bool) {
        let mut told = false;
        loop {
            let known = self.lock().clone();
            if !needed() || known == Standing::Granted {
                self.asked.notified().await;
                continue;
            }
            let found = self.look(&inquiry).await;
            if let Some(found) = &found {
                self.tell(&inquiry, found, &mut told);
                *self.lock() = found.clone();
            }
            if let Standing::Missing(_) = found.as_ref().unwrap_or(&known) {
                sleep(inquiry.pause).await;
            } else if found.is_none() {
                sleep(UNKNOWN_PAUSE).await;
                if known == Standing::Doubted {
                    // Where nobody says, the next write finds out.
                    *self.lock() = Standing::Unknown;
                }
            }
        }
    }

    /// What the API server says; `None` when it does not.
    async fn look(&self, inquiry: &Inquiry) -> Option<Standing> {
        for right in &self.needed {
            match may(&inquiry.client, right).await {
                Ok(true) => {}
                Ok(false) => return Some(Standing::Missing(right.text())),
                Err(why) => {
                    tracing::debug!("cannot learn whether we may {}: {why}", right.text());
                    return None;
                }
            }
        }
        Some(Standing::Granted)
    }

    /// Says that a right is missing, or there again, once.
    fn tell(&self, inquiry: &Inquiry, found: &Standing, told: &mut bool) {
        let (text, severity, reason) = match found {
            Standing::Missing(right) if !*told => (
                format!(
                    "sigma may not {right}, so what needs that is off; placement goes on. Grant it \
                     (deploy/base/rbac), and it comes back by itself"
                ),
                Severity::Warning,
                "RightMissing",
            ),
            Standing::Granted if *told => {
                ("sigma has its rights again".to_owned(), Severity::Normal, "RightGranted")
            }
            _ => return,
        };
        *told = severity == Severity::Warning;
        match severity {
            Severity::Warning => tracing::error!("{text}"),
            Severity::Normal => tracing::info!("{text}"),
        }
        inquiry.events.send(&role(), severity, reason, &text);
        let label = self.needed.first().map_or("", |it| it.resource);
        inquiry.metrics.actor.rights_missing.with_label_values(&[label]).set(i64::from(*told));
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has to be changed, under the name that `deploy/` gives it.
fn role() -> Regarding {
    Regarding {
        api_version: "rbac.authorization.k8s.io/v1".to_owned(),
        kind: "ClusterRole".to_owned(),
        namespace: String::new(),
        name: "sigma".to_owned(),
        uid: String::new(),
    }
}
