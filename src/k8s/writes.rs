//! The writes on pods: requeueing one, nominating a node for one, and binding one. Each is fenced by the
//! pod's UID, so that a pod which was deleted and made anew under its name is never touched.

mod nominate;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use kube::Client;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::list_watch::WatchFailure;
use super::slim::SlimPod;
use super::wire::{self, percent_encoded};

pub use nominate::Wake;

/// The annotation whose change wakes a pending pod in kube-scheduler.
pub const REQUEUE_ANNOTATION: &str = "sigma.io/requeue";

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

/// What became of a write that nobody waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It is done.
    Written,
    /// The pod is gone, or another one has its name.
    Gone,
    /// The pod has a node.
    AlreadyBound,
    /// Somebody else has changed the pod's nomination: to this node, or to none. Nothing is written.
    Changed(Option<Box<str>>),
    /// We lack the right, which the text names.
    Forbidden(String),
    /// The server has too much to do; how long it asks us to wait.
    Busy(Duration, String),
    /// It may work later.
    Failed(String),
}

/// What became of a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindOutcome {
    /// The pod is bound by this call.
    Bound,
    /// The pod was on this node already: an earlier call has succeeded.
    AlreadyBoundHere,
    /// The pod is on another node.
    AlreadyBoundElsewhere(Box<str>),
    /// The pod is gone.
    Gone,
    /// The pod is being deleted.
    Terminating,
    /// The pod has scheduling gates.
    Gated,
    /// Another pod has its name.
    UidMismatch,
    /// The API server refuses for a reason of its own.
    Conflict(String),
    /// We lack the right, which the text names.
    Forbidden(String),
    /// The server could not, or its answer did not arrive: a new scheduling cycle may try again.
    Retryable(String),
}

impl BindOutcome {
    /// True when the pod is on the node that was asked for.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Bound | Self::AlreadyBoundHere)
    }
}

/// Writes to pods.
#[derive(Clone)]
pub struct PodWrites {
    client: Client,
}

/// How long a write may take that nobody waits for.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Attempts of one binding, all within the caller's deadline.
const MAX_BIND_ATTEMPTS: u32 = 3;
/// Pause before the second attempt, doubled before the third.
const BIND_PAUSE: Duration = Duration::from_millis(50);
/// Largest pod that is read back.
const MAX_POD_BYTES: usize = 4 << 20;

impl PodWrites {
    /// Writes through this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Gives the pod's requeue annotation a value that it has not had before.
    ///
    /// A strategic merge makes the annotations if there are none and adds to them if there are, so
    /// one write does; naming the UID in it fences it, since a UID cannot be changed.
    pub async fn requeue(&self, pod: PodRef<'_>, value: &str) -> WriteOutcome {
        let patch =
            json!({"metadata": {"uid": pod.uid, "annotations": {REQUEUE_ANNOTATION: value}}});
        let uri = format!("{}/status", path(pod));
        let content_type = "application/strategic-merge-patch+json";
        let sent = self.send(Method::PATCH, &uri, content_type, &patch, "patch pods/status");
        match timeout(WRITE_TIMEOUT, sent).await {
            Ok(Ok(_)) => WriteOutcome::Written,
            Ok(Err(failure)) => refused(failure),
            Err(_) => WriteOutcome::Failed(format!("no answer within {WRITE_TIMEOUT:?}")),
        }
    }

    /// Binds the pod to a node, or finds out why not, before `within` is over. That the node exists
    /// is the caller's to know: the API server binds to a name without a node.
    pub async fn bind(&self, pod: PodRef<'_>, node: &str, within: Duration) -> BindOutcome {
        let deadline = Instant::now() + within;
        let mut why = String::new();
        for attempt in 0..MAX_BIND_ATTEMPTS {
            if attempt > 0 {
                let pause = BIND_PAUSE * 2_u32.pow(attempt - 1);
                if pause >= remaining(deadline) {
                    break;
                }
                sleep(pause).await;
            }
            match self.try_bind(pod, node, deadline).await {
                BindOutcome::Retryable(text) => why = text,
                outcome => return outcome,
            }
        }
        BindOutcome::Retryable(why)
    }

    /// One attempt. Whenever the answer leaves open where the pod is, the pod itself is asked.
    async fn try_bind(&self, pod: PodRef<'_>, node: &str, deadline: Instant) -> BindOutcome {
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let uri = format!("{}/binding", path(pod));
        let what = "create pods/binding";
        let sent = self.send(Method::POST, &uri, "application/json", &binding, what);
        // The last third is kept for asking what became of it.
        let failure = match timeout(remaining(deadline) * 2 / 3, sent).await {
            Ok(Ok(_)) => return BindOutcome::Bound,
            Ok(Err(failure)) => failure,
            Err(_) => WatchFailure {
                code: None,
                retry_after: None,
                text: format!("cannot {what}: no answer in time"),
            },
        };
        let text = failure.text;
        match failure.code {
            Some(403) => BindOutcome::Forbidden(text),
            Some(404) => BindOutcome::Gone,
            Some(409) => {
                self.standing(pod, node, deadline).await.unwrap_or(BindOutcome::Conflict(text))
            }
            // The server has declined without trying, and says when it may.
            Some(429) => {
                sleep(failure.retry_after.unwrap_or_default().min(remaining(deadline))).await;
                BindOutcome::Retryable(text)
            }
            Some(code) if (400..500).contains(&code) && !matches!(code, 401 | 408) => {
                BindOutcome::Conflict(text)
            }
            _ => self.standing(pod, node, deadline).await.unwrap_or(BindOutcome::Retryable(text)),
        }
    }

    /// What the pod's present state makes of a binding; `None` when nothing stands against it.
    async fn standing(
        &self,
        pod: PodRef<'_>,
        node: &str,
        deadline: Instant,
    ) -> Option<BindOutcome> {
        let unknown = |why: &str| Some(BindOutcome::Retryable(format!("outcome unknown: {why}")));
        let sent = self.read(pod);
        match timeout(remaining(deadline), sent).await {
            Ok(Ok(seen)) => standing_of(&seen, pod.uid, node),
            Ok(Err(failure)) if failure.code == Some(404) => Some(BindOutcome::Gone),
            Ok(Err(failure)) => unknown(&failure.text),
            Err(_) => unknown("cannot get pods: no answer in time"),
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

    async fn send(
        &self,
        method: Method,
        uri: &str,
        content_type: &str,
        body: &serde_json::Value,
        what: &str,
    ) -> Result<StatusCode, WatchFailure> {
        let request = wire::build(method, uri, content_type, body.to_string().into());
        Ok(wire::send(&self.client, request, what).await?.status())
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
        Some(429) => WriteOutcome::Busy(failure.retry_after.unwrap_or_default(), failure.text),
        _ => WriteOutcome::Failed(failure.text),
    }
}

fn standing_of(pod: &SlimPod, uid: &str, node: &str) -> Option<BindOutcome> {
    let on = pod.spec.node_name.as_str();
    if pod.metadata.uid != uid {
        Some(BindOutcome::UidMismatch)
    } else if on == node {
        Some(BindOutcome::AlreadyBoundHere)
    } else if !on.is_empty() {
        Some(BindOutcome::AlreadyBoundElsewhere(on.into()))
    } else if pod.metadata.deletion_timestamp {
        Some(BindOutcome::Terminating)
    } else if pod.spec.num_scheduling_gates > 0 {
        Some(BindOutcome::Gated)
    } else {
        None
    }
}

fn path(pod: PodRef<'_>) -> String {
    let (namespace, name) = (percent_encoded(pod.namespace), percent_encoded(pod.name));
    format!("/api/v1/namespaces/{namespace}/pods/{name}")
}

fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::fake::{Fake, FakeAnswer, client_on};

    const POD: PodRef<'_> = PodRef { namespace: "shop", name: "cart-1", uid: "u1" };
    const LONG: Duration = Duration::from_secs(20);

    fn pod(uid: &str, extra: &str, spec: &str) -> FakeAnswer {
        let meta = format!(r#""uid":"{uid}","name":"cart-1","namespace":"shop"{extra}"#);
        FakeAnswer::json(200, format!(r#"{{"metadata":{{{meta}}},"spec":{spec}}}"#))
    }

    async fn check_bind(script: Vec<FakeAnswer>, want: BindOutcome) {
        let (num_answers, text) = (script.len(), format!("{script:?}"));
        let fake = Fake::start(script).await;
        let got = PodWrites::new(fake.client()).bind(POD, "n1", LONG).await;
        assert_eq!(got, want, "{text}");
        assert_eq!(fake.seen().len(), num_answers, "{text}");
    }

    #[tokio::test]
    async fn a_ring_is_one_fenced_write() {
        let fake = Fake::start(vec![pod("u1", "", "{}")]).await;
        let got = PodWrites::new(fake.client()).requeue(POD, "7").await;
        assert_eq!(got, WriteOutcome::Written);
        let seen = &fake.seen()[0];
        assert_eq!(
            (&*seen.method, &*seen.uri),
            ("PATCH", "/api/v1/namespaces/shop/pods/cart-1/status"),
        );
        assert!(seen.head.contains("application/strategic-merge-patch+json"), "{}", seen.head);
        let body: serde_json::Value = serde_json::from_str(&seen.body).expect("JSON");
        let want = json!({"metadata": {"uid": "u1", "annotations": {"sigma.io/requeue": "7"}}});
        assert_eq!(body, want);
    }

    #[tokio::test]
    async fn a_ring_that_fails_says_how() {
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
            let fake = Fake::start(vec![answer]).await;
            assert_eq!(PodWrites::new(fake.client()).requeue(POD, "7").await, want);
        }
        let fake = Fake::start(vec![FakeAnswer::Cut]).await;
        let got = PodWrites::new(fake.client()).requeue(POD, "7").await;
        assert!(matches!(got, WriteOutcome::Failed(_)), "{got:?}");
    }

    #[tokio::test]
    async fn a_binding_carries_the_uid() {
        let fake = Fake::start(vec![FakeAnswer::json(201, r#"{"kind":"Status"}"#)]).await;
        let got = PodWrites::new(fake.client()).bind(POD, "n1", LONG).await;
        assert_eq!(got, BindOutcome::Bound);
        let seen = &fake.seen()[0];
        assert_eq!(
            (&*seen.method, &*seen.uri),
            ("POST", "/api/v1/namespaces/shop/pods/cart-1/binding"),
        );
        let body: serde_json::Value = serde_json::from_str(&seen.body).expect("JSON");
        assert_eq!(body["metadata"]["uid"], "u1");
        assert_eq!(body["target"], json!({"apiVersion": "v1", "kind": "Node", "name": "n1"}));
    }

    #[tokio::test]
    async fn a_conflict_is_resolved_by_the_pod_itself() {
        let conflict = || FakeAnswer::refusal(409, "conflict");
        let elsewhere = BindOutcome::AlreadyBoundElsewhere("n2".into());
        let terminating = r#","deletionTimestamp":"2026-11-11T00:00:00Z""#;
        let cases = [
            (pod("u1", "", r#"{"nodeName":"n1"}"#), BindOutcome::AlreadyBoundHere),
            (pod("u1", "", r#"{"nodeName":"n2"}"#), elsewhere),
            (pod("u2", "", r#"{"nodeName":"n1"}"#), BindOutcome::UidMismatch),
            (pod("u1", terminating, "{}"), BindOutcome::Terminating),
            (pod("u1", "", r#"{"schedulingGates":[{"name":"g"}]}"#), BindOutcome::Gated),
            (FakeAnswer::refusal(404, "not found"), BindOutcome::Gone),
            (
                pod("u1", "", "{}"),
                BindOutcome::Conflict("cannot create pods/binding: 409: conflict".to_owned()),
            ),
        ];
        for (answer, want) in cases {
            check_bind(vec![conflict(), answer], want).await;
        }
    }

    #[tokio::test]
    async fn an_unknown_outcome_is_looked_up_before_it_is_tried_again() {
        let bound = || FakeAnswer::json(201, "{}");
        let here = || pod("u1", "", r#"{"nodeName":"n1"}"#);
        let free = || pod("u1", "", "{}");
        let busy = || FakeAnswer::refusal(429, "busy");
        check_bind(vec![FakeAnswer::Cut, here()], BindOutcome::AlreadyBoundHere).await;
        check_bind(vec![FakeAnswer::Cut, free(), bound()], BindOutcome::Bound).await;
        check_bind(vec![FakeAnswer::refusal(500, "etcd"), here()], BindOutcome::AlreadyBoundHere)
            .await;
        check_bind(vec![busy(), bound()], BindOutcome::Bound).await;
        let text = "cannot create pods/binding: 429: busy".to_owned();
        check_bind(vec![busy(), busy(), busy()], BindOutcome::Retryable(text)).await;
        check_bind(vec![FakeAnswer::refusal(404, "gone")], BindOutcome::Gone).await;
        let text = "cannot create pods/binding: 422: bad".to_owned();
        check_bind(vec![FakeAnswer::refusal(422, "bad")], BindOutcome::Conflict(text)).await;
        let text = "forbidden: cannot create pods/binding: no".to_owned();
        check_bind(vec![FakeAnswer::refusal(403, "no")], BindOutcome::Forbidden(text)).await;
    }

    #[tokio::test]
    async fn a_binding_ends_with_its_deadline() {
        let within = Duration::from_millis(300);
        let fake =
            Fake::start(vec![FakeAnswer::Silence, pod("u1", "", r#"{"nodeName":"n1"}"#)]).await;
        let got = PodWrites::new(fake.client()).bind(POD, "n1", within).await;
        assert_eq!(got, BindOutcome::AlreadyBoundHere);
        let fake = Fake::start(vec![]).await;
        let got = PodWrites::new(fake.client()).bind(POD, "n1", within).await;
        assert!(matches!(&got, BindOutcome::Retryable(why) if why.contains("unknown")), "{got:?}");
        let port = fake.port();
        fake.stop().await;
        let got = PodWrites::new(client_on(port)).bind(POD, "n1", within).await;
        assert!(matches!(got, BindOutcome::Retryable(_)), "{got:?}");
    }
}
