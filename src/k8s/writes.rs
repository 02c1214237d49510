//! The writes to the API server, apart from the Lease. Each is fenced by the object's UID, so that an object which was
//! deleted and made anew under its name is never touched.
//!
//! ```text
//!   ObjectRef + Write ──▶ request_of ──▶ send ──▶ outcome_of ──▶ WriteOutcome
//!                         nominate: several requests for one write
//!   bind: kube-scheduler waits for it
//! ```

mod bind;
mod nominate;
mod request;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use kube::Client;
use tokio::time::timeout;

use super::list_watch::WatchFailure;
use super::slim::SlimPod;
use super::well_known;
use super::wire::{self, percent_encoded};
use crate::model::{ObjectRef, Write};

use self::request::{WriteRequest, request_of};

pub use bind::BindOutcome;
pub use nominate::RequeueMark;

/// Which pod a write is about.
#[derive(Clone, Copy, Debug)]
pub struct PodRef<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod's name.
    pub name: &'a str,
    /// The pod's UID as the API server wrote it.
    pub uid: &'a str,
}

/// How a write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It is done.
    Written,
    /// The object is gone, or another one has its name.
    Gone,
    /// The pod has a node.
    AlreadyBound,
    /// Another component has changed the pod's nomination: to this node, or to none. Nothing is written.
    Changed(Option<Box<str>>),
    /// We lack the right, which the text names.
    Forbidden(String),
    /// The server has too much to do. The time that it asks for, and its text.
    Busy(Duration, String),
    /// It may work later.
    Failed(String),
}

/// Writes to objects.
#[derive(Clone)]
pub struct ObjectWrites {
    client: Client,
}

/// How long a write may take, unless it is a binding.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest pod that is read back.
const MAX_POD_BYTES: usize = 4 << 20;

impl ObjectWrites {
    /// Writes through this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Carries a write out, within 5 s. `token` is the value of a mark: the same for all attempts of one action, and
    /// no other action's. So an attempt whose answer was lost is known again.
    pub async fn write(&self, target: &ObjectRef, write: &Write, token: &str) -> WriteOutcome {
        let pod = PodRef { namespace: &target.namespace, name: &target.name, uid: &target.uid };
        match write {
            Write::Nominate { node, annotated, is_ahead } => {
                let ahead = is_ahead.then(|| well_known::ahead(node, token));
                let value = ahead.as_deref().unwrap_or(token);
                self.nominate(pod, node, RequeueMark { value, annotated: *annotated }).await
            }
            Write::ClearNomination { node } => self.clear_nomination(pod, node).await,
            _ => match timeout(WRITE_TIMEOUT, self.send(request_of(target, write, token))).await {
                Ok(Ok(_)) => WriteOutcome::Written,
                Ok(Err(failure)) => refused(failure),
                Err(_) => WriteOutcome::Failed(format!("no answer within {WRITE_TIMEOUT:?}")),
            },
        }
    }

    async fn read(&self, pod: PodRef<'_>) -> Result<SlimPod, WatchFailure> {
        let body = self.read_bytes(pod).await?;
        serde_json::from_slice(&body).map_err(|error| unreadable(error.to_string()))
    }

    async fn read_bytes(&self, pod: PodRef<'_>) -> Result<Bytes, WatchFailure> {
        let request = wire::build(Method::GET, &path(pod), "application/json", Bytes::new());
        let response = wire::send(&self.client, request, "get pods").await?;
        wire::collect(response.into_body(), MAX_POD_BYTES).await.map_err(unreadable)
    }

    async fn send(&self, request: WriteRequest) -> Result<StatusCode, WatchFailure> {
        let WriteRequest { method, uri, content_type, body, what } = request;
        let request = wire::build(method, &uri, content_type, body.to_string().into());
        Ok(wire::send(&self.client, request, &what).await?.status())
    }
}

fn unreadable(why: String) -> WatchFailure {
    WatchFailure { code: None, retry_after: None, text: format!("cannot get pods: {why}") }
}

fn refused(failure: WatchFailure) -> WriteOutcome {
    // Both 422 (immutable field) and 409 (precondition) say that the UID is another one's now; a
    // conflict over anything else does not name it.
    let names_uid = failure.text.contains("metadata.uid") || failure.text.contains("UID");
    match failure.code {
        Some(404) => WriteOutcome::Gone,
        Some(409 | 422) if names_uid => WriteOutcome::Gone,
        Some(403) => WriteOutcome::Forbidden(failure.text),
        // The server is not busy: a PodDisruptionBudget forbids this one eviction.
        Some(429) if failure.text.contains("disruption budget") => {
            WriteOutcome::Failed(failure.text)
        }
        Some(429) => WriteOutcome::Busy(failure.retry_after.unwrap_or_default(), failure.text),
        _ => WriteOutcome::Failed(failure.text),
    }
}

fn path(pod: PodRef<'_>) -> String {
    let (namespace, name) = (percent_encoded(pod.namespace), percent_encoded(pod.name));
    format!("/api/v1/namespaces/{namespace}/pods/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::fake::{Fake, FakeAnswer};
    use crate::model::Action;
    use crate::testing::pod;

    /// A requeue of pod `shop/cart-1` with UID `u1`.
    fn requeue() -> Action {
        let pod = crate::model::Pod {
            namespace: "shop".into(),
            name: "cart-1".into(),
            uid_text: "u1".into(),
            ..pod(1, 1)
        };
        Action::requeue(&pod, "AllocationLimit")
    }

    async fn write(answer: FakeAnswer) -> (WriteOutcome, Fake) {
        let fake = Fake::start(vec![answer]).await;
        let Action { target, write, .. } = requeue();
        (ObjectWrites::new(fake.client()).write(&target, &write, "7").await, fake)
    }

    #[tokio::test]
    async fn a_requeue_is_one_fenced_write() {
        let (got, fake) = write(FakeAnswer::json(200, "{}")).await;
        assert_eq!(got, WriteOutcome::Written);
        let seen = &fake.seen()[0];
        assert_eq!(
            (&*seen.method, &*seen.uri),
            ("PATCH", "/api/v1/namespaces/shop/pods/cart-1/status"),
        );
        assert!(seen.head.contains("application/strategic-merge-patch+json"), "{}", seen.head);
        let body: serde_json::Value = serde_json::from_str(&seen.body).expect("JSON");
        let want = serde_json::json!({"metadata": {"uid": "u1", "annotations": {"sigma.io/requeue": "7"}}});
        assert_eq!(body, want);
    }

    #[tokio::test]
    async fn a_write_that_fails_says_how() {
        let immutable =
            r#"Pod "cart-1" is invalid: metadata.uid: Invalid value: field is immutable"#;
        let other = "metadata.annotations: Too long";
        let failed = |text: &str| WriteOutcome::Failed(format!("cannot patch pods/status: {text}"));
        let cases = [
            (FakeAnswer::refusal(404, "not found"), WriteOutcome::Gone),
            (FakeAnswer::refusal(422, immutable), WriteOutcome::Gone),
            (
                FakeAnswer::refusal(409, "Precondition failed: UID in precondition"),
                WriteOutcome::Gone,
            ),
            (FakeAnswer::refusal(422, other), failed(&format!("422: {other}"))),
            (FakeAnswer::refusal(409, "modified"), failed("409: modified")),
            (FakeAnswer::refusal(503, "etcd"), failed("503: etcd")),
            (
                FakeAnswer::refusal(429, "it would violate the pod's disruption budget."),
                failed("429: it would violate the pod's disruption budget."),
            ),
            (
                FakeAnswer::refusal(429, "busy"),
                WriteOutcome::Busy(
                    Duration::ZERO,
                    "cannot patch pods/status: 429: busy".to_owned(),
                ),
            ),
            (
                FakeAnswer::refusal(403, "no"),
                WriteOutcome::Forbidden("forbidden: cannot patch pods/status: no".to_owned()),
            ),
        ];
        for (answer, want) in cases {
            assert_eq!(write(answer).await.0, want);
        }
        let (got, _) = write(FakeAnswer::Cut).await;
        assert!(matches!(got, WriteOutcome::Failed(_)), "{got:?}");
    }
}
