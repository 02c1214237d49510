use super::*;
use crate::k8s::fake::{Fake, FakeAnswer, SeenRequest};

const POD: PodRef<'_> = PodRef { namespace: "shop", name: "cart-1", uid: "u1" };
const MARK: RequeueMark<'_> = RequeueMark { value: "7", annotated: true };
const OURS: &str = r#"{"sigma.io/requeue":"7"}"#;

fn refused() -> FakeAnswer {
    FakeAnswer::refusal(422, "the server rejected our request due to an error in our request")
}

fn pod(uid: &str, node: &str, nominated: &str, annotations: &str) -> FakeAnswer {
    FakeAnswer::json(
        200,
        format!(
            r#"{{"metadata":{{"uid":"{uid}","annotations":{annotations}}},
                "spec":{{"nodeName":"{node}"}},"status":{{"nominatedNodeName":"{nominated}"}}}}"#
        ),
    )
}

/// A pod that is nominated to `n1`, whose field these managers own.
fn owned(version: &str, owners: &[&str]) -> FakeAnswer {
    let owns = |manager: &&str| {
        json!({"manager": manager, "operation": "Update", "subresource": "status",
            "fieldsV1": {"f:status": {"f:nominatedNodeName": {}}}})
    };
    let fields: Vec<Value> = owners.iter().map(owns).collect();
    let metadata = json!({"uid": "u1", "annotations": {"sigma.io/requeue": "6"}, "resourceVersion": version, "managedFields": fields});
    let text = json!({"metadata": metadata, "status": {"nominatedNodeName": "n1"}}).to_string();
    FakeAnswer::json(200, text)
}

fn patch_of(seen: &SeenRequest) -> Value {
    assert_eq!(
        (&*seen.method, &*seen.uri),
        ("PATCH", "/api/v1/namespaces/shop/pods/cart-1/status"),
    );
    assert!(seen.head.contains("application/json-patch+json"), "{}", seen.head);
    serde_json::from_str(&seen.body).expect("JSON")
}

async fn nominate(script: Vec<FakeAnswer>) -> (WriteOutcome, Vec<SeenRequest>) {
    let num_answers = script.len();
    let fake = Fake::start(script).await;
    let got = ObjectWrites::new(fake.client()).nominate(POD, "n1", MARK).await;
    assert_eq!(fake.seen().len(), num_answers, "{got:?}");
    (got, fake.seen())
}

async fn clear(script: Vec<FakeAnswer>) -> (WriteOutcome, Vec<SeenRequest>) {
    let (num_answers, text) = (script.len(), format!("{script:?}"));
    let fake = Fake::start(script).await;
    let got = ObjectWrites::new(fake.client()).clear_nomination(POD, "n1").await;
    assert_eq!(fake.seen().len(), num_answers, "{got:?}: {text}");
    (got, fake.seen())
}

fn changed(to: Option<&str>) -> WriteOutcome {
    WriteOutcome::Changed(to.map(Into::into))
}

#[tokio::test]
async fn a_nomination_is_one_write_behind_fences_that_requeues() {
    let (got, seen) = nominate(vec![FakeAnswer::json(200, "{}")]).await;
    assert_eq!(got, WriteOutcome::Written);
    let want = json!([
        {"op": "test", "path": "/metadata/uid", "value": "u1"},
        {"op": "test", "path": "/spec/nodeName", "value": null},
        {"op": "test", "path": "/status/nominatedNodeName", "value": null},
        {"op": "add", "path": "/metadata/annotations/sigma.io~1requeue", "value": "7"},
        {"op": "add", "path": "/status/nominatedNodeName", "value": "n1"},
    ]);
    assert_eq!(patch_of(&seen[0]), want);
}

#[tokio::test]
async fn a_wrong_guess_about_annotations_is_mended_and_clobbers_none() {
    let script = vec![refused(), pod("u1", "", "", "null"), FakeAnswer::json(200, "{}")];
    let (got, seen) = nominate(script).await;
    assert_eq!(got, WriteOutcome::Written);
    let second = patch_of(&seen[2]);
    let test = json!({"op": "test", "path": "/metadata/annotations", "value": null});
    let add =
        json!({"op": "add", "path": "/metadata/annotations", "value": {"sigma.io/requeue": "7"}});
    assert_eq!((&second[3], &second[4]), (&test, &add));
    // It has got annotations in between: no more guessing.
    let again = vec![refused(), pod("u1", "", "", "null"), refused(), pod("u1", "", "", "{}")];
    let (got, _) = nominate(again).await;
    assert!(matches!(got, WriteOutcome::Failed(_)), "{got:?}");
}

#[tokio::test]
async fn the_pod_says_which_fence_did_not_hold() {
    let text = "cannot patch pods/status: 422: the server rejected our request due to an error \
                in our request";
    for (answer, want) in [
        (pod("u2", "", "", "{}"), WriteOutcome::Gone),
        (FakeAnswer::refusal(404, "not found"), WriteOutcome::Gone),
        (pod("u1", "n9", "", "{}"), WriteOutcome::AlreadyBound),
        (pod("u1", "", "n9", "{}"), changed(Some("n9"))),
        (pod("u1", "", "", "{}"), WriteOutcome::Failed(text.to_owned())),
    ] {
        let (got, _) = nominate(vec![refused(), answer]).await;
        assert_eq!(got, want);
    }
}

#[tokio::test]
async fn what_an_attempt_did_whose_answer_was_lost_is_not_taken_for_another_s() {
    let (got, _) = nominate(vec![refused(), pod("u1", "", "n1", OURS)]).await;
    assert_eq!(got, WriteOutcome::Written);
}

/// An action before this one has nominated the same node. The nomination itself is not written again.
#[tokio::test]
async fn a_pod_that_has_our_nomination_already_is_only_requeued() {
    let earlier = pod("u1", "", "n1", r#"{"sigma.io/requeue":"6"}"#);
    for seen in [earlier, owned("5", &["sigma"]), owned("5", &["kubectl", "sigma"])] {
        let (got, seen) = nominate(vec![refused(), seen, FakeAnswer::json(200, "{}")]).await;
        assert_eq!(got, WriteOutcome::Written);
        let want = json!([
            {"op": "test", "path": "/metadata/uid", "value": "u1"},
            {"op": "test", "path": "/spec/nodeName", "value": null},
            {"op": "test", "path": "/status/nominatedNodeName", "value": "n1"},
            {"op": "add", "path": "/metadata/annotations/sigma.io~1requeue", "value": "7"},
        ]);
        assert_eq!(patch_of(&seen[2]), want);
    }
    let (got, _) = nominate(vec![refused(), owned("5", &["kube-scheduler"])]).await;
    assert_eq!(got, changed(Some("n1")), "another component has chosen the same node");
}

#[tokio::test]
async fn a_nomination_is_taken_back_only_while_it_is_ours() {
    let written = || FakeAnswer::json(200, "{}");
    let (got, seen) = clear(vec![owned("5", &["sigma"]), written()]).await;
    assert_eq!(got, WriteOutcome::Written);
    let want = json!([
        {"op": "test", "path": "/metadata/uid", "value": "u1"},
        {"op": "test", "path": "/metadata/resourceVersion", "value": "5"},
        {"op": "test", "path": "/status/nominatedNodeName", "value": "n1"},
        {"op": "remove", "path": "/status/nominatedNodeName"},
    ]);
    assert_eq!(patch_of(&seen[1]), want);
    // A server that names no owner, and one that names sigma beside another.
    assert_eq!(clear(vec![owned("5", &[]), written()]).await.0, WriteOutcome::Written);
    let both = owned("5", &["kubectl", "sigma"]);
    assert_eq!(clear(vec![both, written()]).await.0, WriteOutcome::Written);
    for (seen, want) in [
        // The same node, chosen by another component since.
        (owned("5", &["kube-scheduler"]), changed(Some("n1"))),
        (pod("u1", "", "n9", "null"), changed(Some("n9"))),
        // An earlier attempt, or another component, has done it.
        (pod("u1", "", "", "null"), WriteOutcome::Written),
        (pod("u1", "n1", "n1", "null"), WriteOutcome::AlreadyBound),
        (pod("u2", "", "n1", "null"), WriteOutcome::Gone),
        (FakeAnswer::refusal(404, "gone"), WriteOutcome::Gone),
    ] {
        assert_eq!(clear(vec![seen]).await.0, want);
    }
}

/// A write to the pod between the read and the patch costs one more read, up to a bound.
#[tokio::test]
async fn a_pod_that_changes_is_looked_at_again_before_a_nomination_is_taken_back() {
    let moved = || vec![owned("5", &["sigma"]), refused()];
    let script = moved().into_iter().chain([owned("6", &["kube-scheduler"])]).collect();
    assert_eq!(clear(script).await.0, changed(Some("n1")));
    let script = (0..MAX_LOOKS).flat_map(|_| moved()).collect();
    assert!(matches!(clear(script).await.0, WriteOutcome::Failed(_)));
}

#[tokio::test]
async fn other_refusals_are_what_they_are_for_a_requeue() {
    let busy = "cannot patch pods/status: 429: busy".to_owned();
    let forbidden = "forbidden: cannot patch pods/status: no".to_owned();
    for (answer, want) in [
        (FakeAnswer::refusal(404, "gone"), WriteOutcome::Gone),
        (FakeAnswer::refusal(403, "no"), WriteOutcome::Forbidden(forbidden)),
        (FakeAnswer::refusal(429, "busy"), WriteOutcome::Busy(std::time::Duration::ZERO, busy)),
    ] {
        assert_eq!(nominate(vec![answer]).await.0, want);
    }
}
