//! Binding a pod to a node: the one write that kube-scheduler waits for.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::k8s::list_watch::WatchFailure;
use crate::k8s::slim::SlimPod;

use super::{ObjectWrites, PodRef, WriteRequest, path};

/// How a binding ended.
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
    /// The API server refuses for another reason.
    Conflict(String),
    /// A right is missing, which the text names.
    Forbidden(String),
    /// The server failed, or its answer did not arrive: a new scheduling cycle may try again.
    Retryable(String),
}

impl BindOutcome {
    /// True when the pod is on the node that was asked for.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Bound | Self::AlreadyBoundHere)
    }
}

/// Attempts of one binding, all within the caller's deadline.
const MAX_BIND_ATTEMPTS: u32 = 3;
/// Pause before the second attempt, doubled before the third.
const BIND_PAUSE: Duration = Duration::from_millis(50);

impl ObjectWrites {
    /// Binds the pod to a node, or finds out why not, before `within` is over. The caller knows that the node exists: the
    /// API server binds to any name.
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

    /// One attempt. If the answer leaves open where the pod is, the pod is read.
    async fn try_bind(&self, pod: PodRef<'_>, node: &str, deadline: Instant) -> BindOutcome {
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let what = "create pods/binding";
        let sent = self.send(WriteRequest {
            method: Method::POST,
            uri: format!("{}/binding", path(pod)),
            content_type: "application/json",
            body: binding,
            what: what.to_owned(),
        });
        // The last third is kept for reading the pod.
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

    /// The outcome by the pod's present state; `None` when a binding is still possible.
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
        let got = ObjectWrites::new(fake.client()).bind(POD, "n1", LONG).await;
        assert_eq!(got, want, "{text}");
        assert_eq!(fake.seen().len(), num_answers, "{text}");
    }

    #[tokio::test]
    async fn a_binding_carries_the_uid() {
        let fake = Fake::start(vec![FakeAnswer::json(201, r#"{"kind":"Status"}"#)]).await;
        let got = ObjectWrites::new(fake.client()).bind(POD, "n1", LONG).await;
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
        let got = ObjectWrites::new(fake.client()).bind(POD, "n1", within).await;
        assert_eq!(got, BindOutcome::AlreadyBoundHere);
        let fake = Fake::start(vec![]).await;
        let got = ObjectWrites::new(fake.client()).bind(POD, "n1", within).await;
        assert!(matches!(&got, BindOutcome::Retryable(why) if why.contains("unknown")), "{got:?}");
        let port = fake.port();
        fake.stop().await;
        let got = ObjectWrites::new(client_on(port)).bind(POD, "n1", within).await;
        assert!(matches!(got, BindOutcome::Retryable(_)), "{got:?}");
    }
}
