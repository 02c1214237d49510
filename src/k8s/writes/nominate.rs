//! Nominating a node for a pending pod, and taking a nomination back.
//!
//! Both are JSON patches of `pods/status`, whose tests are the fences: the pod is the one that is
//! meant, it has no node, and its nomination is the one that the decision was made on. A resource
//! version would be no fence but a hurdle, since kube-scheduler writes the same status a few
//! milliseconds after every refusal. What does not hold changes nothing; the server then answers 422
//! without saying which test it was, so the pod is asked.

use http::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::k8s::slim::SlimPod;

use super::{PodRef, PodWrites, RING_ANNOTATION, WRITE_TIMEOUT, WriteOutcome, path, refused};

/// What wakes a pod together with a nomination.
#[derive(Clone, Copy, Debug)]
pub struct Wake<'a> {
    /// A value that the ring annotation has not had before.
    pub value: &'a str,
    /// The pod has annotations, as far as we know. A wrong guess costs two more requests.
    pub annotated: bool,
}

impl PodWrites {
    /// Nominates a node for the pod, whose nomination is `previous`, and wakes it, in one write.
    pub async fn nominate(
        &self,
        pod: PodRef<'_>,
        node: &str,
        previous: Option<&str>,
        wake: Wake<'_>,
    ) -> WriteOutcome {
        let set = async |previous: Option<&str>, annotated| {
            let mut change = ring(wake.value, annotated);
            change.push(op("add", "/status/nominatedNodeName", node.into()));
            self.fenced(pod, previous, change).await
        };
        in_time(async {
            match set(previous, wake.annotated).await {
                // The guess about annotations was wrong.
                Err(it) if it.as_told && it.annotated != wake.annotated => {
                    set(previous, it.annotated).await
                }
                // So an earlier attempt has done it, whose answer was lost; or somebody else, who may
                // not have woken the pod.
                Err(it) if !it.as_told && it.nominated.as_deref() == Some(node) => {
                    set(Some(node), it.annotated).await
                }
                outcome => outcome,
            }
        })
        .await
    }

    /// Takes the nomination `previous` of the pod back.
    pub async fn clear_nomination(&self, pod: PodRef<'_>, previous: &str) -> WriteOutcome {
        let remove = json!({"op": "remove", "path": "/status/nominatedNodeName"});
        in_time(async {
            match self.fenced(pod, Some(previous), vec![remove]).await {
                // An earlier attempt, or somebody else, has done it.
                Err(it) if it.nominated.is_none() => Ok(WriteOutcome::Written),
                outcome => outcome,
            }
        })
        .await
    }

    /// Writes behind the fences. An error: the pod is the one that is meant and has no node, and still
    /// it is refused.
    async fn fenced(
        &self,
        pod: PodRef<'_>,
        previous: Option<&str>,
        change: Vec<Value>,
    ) -> Result<WriteOutcome, Refused> {
        let fences = [
            op("test", "/metadata/uid", pod.uid.into()),
            op("test", "/spec/nodeName", Value::Null),
            op("test", "/status/nominatedNodeName", previous.into()),
        ];
        let patch: Value = fences.into_iter().chain(change).collect();
        let uri = format!("{}/status", path(pod));
        let content_type = "application/json-patch+json";
        let sent = self.send(Method::PATCH, &uri, content_type, &patch, "patch pods/status");
        let why = match sent.await {
            Ok(_) => return Ok(WriteOutcome::Written),
            Err(failure) if failure.code == Some(422) => failure.text,
            Err(failure) => return Ok(refused(failure)),
        };
        let SlimPod { metadata, spec, status } = match self.read(pod).await {
            Ok(seen) => seen,
            Err(failure) => return Ok(refused(failure)),
        };
        if metadata.uid != pod.uid {
            return Ok(WriteOutcome::Gone);
        }
        if !spec.node_name.is_empty() {
            return Ok(WriteOutcome::AlreadyBound);
        }
        let nominated = Some(status.nominated_node_name).filter(|it| !it.is_empty());
        let as_told = nominated.as_deref() == previous;
        Err(Refused { why, nominated, as_told, annotated: metadata.annotations.present })
    }
}

/// A pod that was not written although it is the one that is meant and has no node.
struct Refused {
    why: String,
    nominated: Option<String>,
    /// Its nomination is the one that it should have had.
    as_told: bool,
    /// It has annotations.
    annotated: bool,
}

/// One operation of a patch. The test of a `null` passes where there is no such field.
fn op(op: &str, path: &str, value: Value) -> Value {
    json!({"op": op, "path": path, "value": value})
}

/// Adds to the annotations, or makes them: the server would replace those that there are.
fn ring(value: &str, annotated: bool) -> Vec<Value> {
    let all = "/metadata/annotations";
    match annotated {
        true => {
            let pointer = RING_ANNOTATION.replace('/', "~1");
            vec![op("add", &format!("{all}/{pointer}"), value.into())]
        }
        false => {
            vec![op("test", all, Value::Null), op("add", all, json!({RING_ANNOTATION: value}))]
        }
    }
}

async fn in_time(written: impl Future<Output = Result<WriteOutcome, Refused>>) -> WriteOutcome {
    match timeout(WRITE_TIMEOUT, written).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(Refused { why, as_told: true, .. })) => WriteOutcome::Failed(why),
        Ok(Err(Refused { nominated, .. })) => WriteOutcome::Changed(nominated.map(Into::into)),
        Err(_) => WriteOutcome::Failed(format!("no answer within {WRITE_TIMEOUT:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::fake::{Answer, Fake, Seen};

    const POD: PodRef<'_> = PodRef { namespace: "shop", name: "cart-1", uid: "u1" };
    const WAKE: Wake<'_> = Wake { value: "7", annotated: true };

    fn refused() -> Answer {
        Answer::refusal(422, "the server rejected our request due to an error in our request")
    }

    fn pod(uid: &str, node: &str, nominated: &str, annotations: &str) -> Answer {
        Answer::json(
            200,
            format!(
                r#"{{"metadata":{{"uid":"{uid}","annotations":{annotations}}},
                    "spec":{{"nodeName":"{node}"}},"status":{{"nominatedNodeName":"{nominated}"}}}}"#
            ),
        )
    }

    fn patch_of(seen: &Seen) -> Value {
        assert_eq!(
            (&*seen.method, &*seen.uri),
            ("PATCH", "/api/v1/namespaces/shop/pods/cart-1/status"),
        );
        assert!(seen.head.contains("application/json-patch+json"), "{}", seen.head);
        serde_json::from_str(&seen.body).expect("JSON")
    }

    async fn nominate(script: Vec<Answer>, previous: Option<&str>) -> (WriteOutcome, Vec<Seen>) {
        let num_answers = script.len();
        let fake = Fake::start(script).await;
        let got = PodWrites::new(fake.client()).nominate(POD, "n1", previous, WAKE).await;
        assert_eq!(fake.seen().len(), num_answers, "{got:?}");
        (got, fake.seen())
    }

    #[tokio::test]
    async fn a_nomination_is_one_write_behind_fences_that_wakes() {
        let (got, seen) = nominate(vec![Answer::json(200, "{}")], None).await;
        assert_eq!(got, WriteOutcome::Written);
        let want = json!([
            {"op": "test", "path": "/metadata/uid", "value": "u1"},
            {"op": "test", "path": "/spec/nodeName", "value": null},
            {"op": "test", "path": "/status/nominatedNodeName", "value": null},
            {"op": "add", "path": "/metadata/annotations/sigma.io~1ring", "value": "7"},
            {"op": "add", "path": "/status/nominatedNodeName", "value": "n1"},
        ]);
        assert_eq!(patch_of(&seen[0]), want);
        let (_, seen) = nominate(vec![Answer::json(200, "{}")], Some("n0")).await;
        assert_eq!(patch_of(&seen[0])[2]["value"], "n0");
    }

    #[tokio::test]
    async fn a_wrong_guess_about_annotations_is_mended_and_clobbers_none() {
        let script = vec![refused(), pod("u1", "", "", "null"), Answer::json(200, "{}")];
        let (got, seen) = nominate(script, None).await;
        assert_eq!(got, WriteOutcome::Written);
        let second = patch_of(&seen[2]);
        let test = json!({"op": "test", "path": "/metadata/annotations", "value": null});
        let add =
            json!({"op": "add", "path": "/metadata/annotations", "value": {"sigma.io/ring": "7"}});
        assert_eq!((&second[3], &second[4]), (&test, &add));
        // It has got annotations in between: no more guessing.
        let again = vec![refused(), pod("u1", "", "", "null"), refused(), pod("u1", "", "", "{}")];
        let (got, _) = nominate(again, None).await;
        assert!(matches!(got, WriteOutcome::Failed(_)), "{got:?}");
    }

    #[tokio::test]
    async fn the_pod_says_which_fence_did_not_hold() {
        let changed = |to: Option<&str>| WriteOutcome::Changed(to.map(Into::into));
        let text = "cannot patch pods/status: 422: the server rejected our request due to an error \
                    in our request";
        for (answer, previous, want) in [
            (pod("u2", "", "", "{}"), None, WriteOutcome::Gone),
            (Answer::refusal(404, "not found"), None, WriteOutcome::Gone),
            (pod("u1", "n9", "", "{}"), None, WriteOutcome::AlreadyBound),
            (pod("u1", "", "n9", "{}"), None, changed(Some("n9"))),
            (pod("u1", "", "n9", "{}"), Some("n0"), changed(Some("n9"))),
            (pod("u1", "", "", "{}"), Some("n0"), changed(None)),
            (pod("u1", "", "n0", "{}"), Some("n0"), WriteOutcome::Failed(text.to_owned())),
        ] {
            let (got, _) = nominate(vec![refused(), answer], previous).await;
            assert_eq!(got, want, "{previous:?}");
        }
    }

    #[tokio::test]
    async fn a_nomination_is_taken_back_only_while_it_is_ours() {
        let script = vec![Answer::json(200, "{}"), refused(), pod("u1", "", "n9", "null")];
        let fake = Fake::start(script).await;
        let writes = PodWrites::new(fake.client());
        assert_eq!(writes.clear_nomination(POD, "n1").await, WriteOutcome::Written);
        let patch = patch_of(&fake.seen()[0]);
        assert_eq!(patch[2]["value"], "n1");
        assert_eq!(patch[3], json!({"op": "remove", "path": "/status/nominatedNodeName"}));
        let changed = WriteOutcome::Changed(Some("n9".into()));
        assert_eq!(writes.clear_nomination(POD, "n1").await, changed);
    }

    #[tokio::test]
    async fn what_an_attempt_did_whose_answer_was_lost_is_not_taken_for_another_s() {
        let done = vec![refused(), pod("u1", "", "n1", "{}"), Answer::json(200, "{}")];
        let (got, seen) = nominate(done, Some("n0")).await;
        assert_eq!(got, WriteOutcome::Written);
        // Somebody else may have done it, and not have woken the pod.
        let patch = patch_of(&seen[2]);
        assert_eq!((&patch[2]["value"], &patch[3]["value"]), (&"n1".into(), &"7".into()));
        let again = || vec![refused(), pod("u1", "", "n1", "{}")];
        let (got, _) = nominate(again().into_iter().chain(again()).collect(), None).await;
        assert!(matches!(got, WriteOutcome::Failed(_)), "{got:?}");
        let fake = Fake::start(vec![refused(), pod("u1", "", "", "null")]).await;
        let writes = PodWrites::new(fake.client());
        assert_eq!(writes.clear_nomination(POD, "n1").await, WriteOutcome::Written);
    }

    #[tokio::test]
    async fn other_refusals_are_what_they_are_for_a_ring() {
        let busy = "cannot patch pods/status: 429: busy".to_owned();
        let forbidden = "forbidden: cannot patch pods/status: no".to_owned();
        for (answer, want) in [
            (Answer::refusal(404, "gone"), WriteOutcome::Gone),
            (Answer::refusal(403, "no"), WriteOutcome::Forbidden(forbidden)),
            (Answer::refusal(429, "busy"), WriteOutcome::Busy(std::time::Duration::ZERO, busy)),
        ] {
            assert_eq!(nominate(vec![answer], None).await.0, want);
        }
    }
}
