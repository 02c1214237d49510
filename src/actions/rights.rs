//! The rights that a kind needs. sigma asks for them before the kind acts, and again after a refusal. Without them the
//! kind is off, the log has that once, and the kind comes back by itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::ActionMetrics;
use crate::control::WhyOff;
use crate::k8s::access::may;
use crate::k8s::events::Events;
use crate::model::{EventSeverity, ObjectRef, ObjectType, Right};

/// The pause after a review that got no answer.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(2);

/// What is known of the rights of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
enum RightsState {
    /// Nothing yet.
    Unknown,
    /// All are granted.
    Granted,
    /// A write was refused. The review has not answered yet whether a right is missing.
    Doubted,
    /// One is missing, which the text names.
    Missing(String),
}

/// Rights that are needed together.
pub(super) struct Rights {
    needed: Vec<Right>,
    standing: Mutex<RightsState>,
    /// A review should be made now.
    asked: Notify,
}

/// How rights are reviewed, and where a missing one is reported.
#[derive(Clone)]
pub struct Inquiry {
    /// The identity whose rights they are.
    pub client: Client,
    /// Reports a right that is missing, or granted again.
    pub events: Arc<Events>,
    /// Reports the same.
    pub metrics: Arc<ActionMetrics>,
    /// The pause between reviews of a missing right.
    pub pause: Duration,
}

impl Rights {
    pub(super) fn new(needed: Vec<Right>) -> Self {
        Self { needed, standing: Mutex::new(RightsState::Unknown), asked: Notify::new() }
    }

    /// Why nothing that needs them may begin; `None` when it may. Unless `proven`, it may until a write is refused.
    pub(super) fn why_off(&self, proven: bool) -> Option<WhyOff> {
        match &*self.lock() {
            RightsState::Granted => None,
            RightsState::Unknown if !proven => None,
            RightsState::Unknown => Some(WhyOff::RightUnknown),
            RightsState::Doubted => Some(WhyOff::RightDoubted),
            RightsState::Missing(right) => Some(WhyOff::RightMissing(right.clone())),
        }
    }

    /// Makes a review now.
    pub(super) fn ask(&self) {
        self.asked.notify_one();
    }

    /// A write was refused: makes a review, and nothing begins until it answers.
    pub(super) fn doubt(&self) {
        let mut standing = self.lock();
        if !matches!(*standing, RightsState::Missing(_)) {
            *standing = RightsState::Doubted;
            self.ask();
        }
    }

    /// Reviews them while they are `needed`, for as long as the process runs.
    pub(super) async fn follow(&self, inquiry: Inquiry, needed: impl Fn() -> bool) {
        let mut told = false;
        loop {
            let known = self.lock().clone();
            if !needed() || known == RightsState::Granted {
                self.asked.notified().await;
                continue;
            }
            let found = self.look(&inquiry).await;
            if let Some(found) = &found {
                self.tell(&inquiry, found, &mut told);
                *self.lock() = found.clone();
            }
            if let RightsState::Missing(_) = found.as_ref().unwrap_or(&known) {
                sleep(inquiry.pause).await;
            } else if found.is_none() {
                sleep(UNKNOWN_PAUSE).await;
                if known == RightsState::Doubted {
                    // Without an answer, the next write finds out.
                    *self.lock() = RightsState::Unknown;
                }
            }
        }
    }

    /// What the API server says; `None` when it does not.
    async fn look(&self, inquiry: &Inquiry) -> Option<RightsState> {
        for right in &self.needed {
            match may(&inquiry.client, right).await {
                Ok(true) => {}
                Ok(false) => return Some(RightsState::Missing(right.text())),
                Err(why) => {
                    tracing::debug!("cannot learn whether we may {}: {why}", right.text());
                    return None;
                }
            }
        }
        Some(RightsState::Granted)
    }

    /// Says that a right is missing, or there again, once.
    fn tell(&self, inquiry: &Inquiry, found: &RightsState, told: &mut bool) {
        let (text, severity, reason) = match found {
            RightsState::Missing(right) if !*told => (
                format!(
                    "sigma may not {right}, so what needs that is off; placement goes on. Grant it \
                     (deploy/base/rbac), and it comes back by itself"
                ),
                EventSeverity::Warning,
                "RightMissing",
            ),
            RightsState::Granted if *told => {
                ("sigma has its rights again".to_owned(), EventSeverity::Normal, "RightGranted")
            }
            _ => return,
        };
        *told = severity == EventSeverity::Warning;
        match severity {
            EventSeverity::Warning => tracing::error!("{text}"),
            EventSeverity::Normal => tracing::info!("{text}"),
        }
        inquiry.events.send(&role(), severity, reason, &text);
        let label = self.needed.first().map_or(String::new(), label);
        inquiry.metrics.rights_missing.with_label_values(&[&*label]).set(i64::from(*told));
    }

    fn lock(&self) -> MutexGuard<'_, RightsState> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The resource of a right, as the metric shows it.
fn label(right: &Right) -> String {
    match right.subresource {
        "" | "status" => right.resource.to_owned(),
        other => format!("{}/{other}", right.resource),
    }
}

/// What has to be changed, under the name that `deploy/` gives it.
fn role() -> ObjectRef {
    let (namespace, name, uid) = ("".into(), "sigma".into(), "".into());
    ObjectRef { object_type: ObjectType::CLUSTER_ROLE, namespace, name, uid }
}
