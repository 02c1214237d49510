//! Kubernetes events, for `kubectl describe`. An event may be lost. It must not delay or flood anything.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Method;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::model::{EventSeverity, ObjectRef, Rate, Tick, TokenBucket};

use super::wire::{self, percent_encoded};

/// Sends events, at a bounded rate and without making anybody wait.
pub struct Events {
    client: Client,
    started: Instant,
    bucket: Mutex<TokenBucket>,
    in_flight: Arc<Semaphore>,
    num_dropped: Arc<AtomicU64>,
}

/// Ten events at once, then one in six seconds.
const PACE: Rate = Rate { tokens: 1, period_ms: 6000, burst: 10 };
/// Events that may be on their way.
const MAX_IN_FLIGHT: usize = 4;
/// How long one may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The API server refuses longer messages.
const MAX_MESSAGE_BYTES: usize = 1024;
/// Leaves room for the suffix in a name of 253 bytes.
const MAX_NAME_BYTES: usize = 230;
/// The component that reports.
const COMPONENT: &str = "sigma";

impl Events {
    /// Sends through this client.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            started: Instant::now(),
            bucket: Mutex::new(TokenBucket::new(PACE, Tick(0))),
            in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            num_dropped: Arc::default(),
        }
    }

    /// Sends an event, or drops it when there are too many; must be called within a runtime.
    pub fn send(
        &self,
        regarding: &ObjectRef,
        severity: EventSeverity,
        reason: &str,
        message: &str,
    ) {
        let now = Tick(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX));
        let admitted = self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(now);
        let permit = admitted.then(|| Arc::clone(&self.in_flight).try_acquire_owned().ok());
        let Some(permit) = permit.flatten() else {
            self.num_dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let (uri, event) = (uri(regarding), body(regarding, severity, reason, message));
        let (client, num_dropped) = (self.client.clone(), Arc::clone(&self.num_dropped));
        tokio::spawn(async move {
            if let Err(why) = post(&client, &uri, &event).await {
                num_dropped.fetch_add(1, Ordering::Relaxed);
                tracing::debug!("event lost: {why}");
            }
            drop(permit);
        });
    }

    /// Events that were not sent, or that the API server did not take.
    pub fn num_dropped(&self) -> u64 {
        self.num_dropped.load(Ordering::Relaxed)
    }
}

async fn post(client: &Client, uri: &str, event: &Value) -> Result<(), String> {
    let request = wire::build(Method::POST, uri, "application/json", event.to_string().into());
    match timeout(TIMEOUT, wire::send(client, request, "create events")).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(failure)) => Err(failure.text),
        Err(_) => Err(format!("no answer within {TIMEOUT:?}")),
    }
}

/// Where events about an object are created. Events about objects without a namespace live in `default`.
pub(super) fn uri(regarding: &ObjectRef) -> String {
    format!("/api/v1/namespaces/{}/events", percent_encoded(namespace_of(regarding)))
}

fn namespace_of(regarding: &ObjectRef) -> &str {
    if regarding.namespace.is_empty() { "default" } else { &regarding.namespace }
}

/// The JSON of an event.
pub(super) fn body(
    regarding: &ObjectRef,
    severity: EventSeverity,
    reason: &str,
    message: &str,
) -> Value {
    // Writing fails only for keys that are no texts, and an event has none.
    serde_json::to_value(event(regarding, severity, reason, message)).unwrap_or_default()
}

fn event(regarding: &ObjectRef, severity: EventSeverity, reason: &str, message: &str) -> Event {
    let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let stem = cut(&regarding.name, MAX_NAME_BYTES);
    let now = Time(Timestamp::now());
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{stem}.{:016x}", fastrand::u64(..))),
            namespace: Some(namespace_of(regarding).to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(regarding.object_type.api_version()),
            kind: Some(regarding.object_type.kind.to_owned()),
            namespace: filled(&regarding.namespace),
            name: filled(&regarding.name),
            uid: filled(&regarding.uid),
            ..ObjectReference::default()
        },
        type_: Some(match severity {
            EventSeverity::Normal => "Normal".to_owned(),
            EventSeverity::Warning => "Warning".to_owned(),
        }),
        reason: Some(reason.to_owned()),
        message: Some(cut(message, MAX_MESSAGE_BYTES).to_owned()),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        count: Some(1),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: None }),
        reporting_component: Some(COMPONENT.to_owned()),
        ..Event::default()
    }
}

/// The longest head of `text` that has at most `max` bytes and ends between two characters.
fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::fake::{Fake, FakeAnswer};
    use crate::model::ObjectType;

    fn policy() -> ObjectRef {
        ObjectRef {
            object_type: ObjectType::CONFIG_MAP,
            namespace: "kube-system".into(),
            name: "sigma-policy".into(),
            uid: "u1".into(),
        }
    }

    #[tokio::test]
    async fn an_event_names_its_object() {
        let fake = Fake::start(vec![FakeAnswer::json(201, "{}")]).await;
        let events = Events::new(fake.client());
        events.send(&policy(), EventSeverity::Warning, "PolicyRejected", "line 3: no such pool");
        let seen = &fake.wait_for(1).await[0];
        assert_eq!((&*seen.method, &*seen.uri), ("POST", "/api/v1/namespaces/kube-system/events"),);
        let body: serde_json::Value = serde_json::from_str(&seen.body).expect("JSON");
        assert_eq!(body["involvedObject"]["name"], "sigma-policy");
        assert_eq!(body["involvedObject"]["uid"], "u1");
        assert_eq!((&body["reason"], &body["type"]), (&"PolicyRejected".into(), &"Warning".into()));
        assert_eq!(body["message"], "line 3: no such pool");
        let name = body["metadata"]["name"].as_str().expect("a name");
        assert!(name.starts_with("sigma-policy.") && name.len() == 29, "{name}");
        assert!(body["lastTimestamp"].as_str().is_some_and(|it| it.ends_with('Z')), "{body}");
    }

    #[tokio::test]
    async fn too_many_events_are_dropped_and_counted() {
        let fake = Fake::start(vec![]).await;
        let events = Events::new(fake.client());
        for _ in 0..20 {
            events.send(&policy(), EventSeverity::Normal, "PolicyAccepted", "");
        }
        let want = 20 - u64::try_from(MAX_IN_FLIGHT).expect("small");
        assert_eq!(events.num_dropped(), want);
    }

    #[test]
    fn objects_without_a_namespace_and_long_texts_are_taken() {
        let node = ObjectRef { namespace: "".into(), name: "n".repeat(300).into(), ..policy() };
        let got = event(&node, EventSeverity::Normal, "R", &"测".repeat(1000));
        assert_eq!(got.metadata.namespace.as_deref(), Some("default"));
        assert_eq!(got.involved_object.namespace, None);
        assert_eq!(got.metadata.name.map(|it| it.len()), Some(MAX_NAME_BYTES + 17));
        assert_eq!(got.message.map(|it| it.len()), Some(1023));
    }
}
