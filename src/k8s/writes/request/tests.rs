use super::*;
use crate::model::{EventSeverity, ObjectType};

fn target(object_type: ObjectType, uid: &str) -> ObjectRef {
    let (namespace, name, uid) = ("shop".into(), "it".into(), uid.into());
    ObjectRef { object_type, namespace, name, uid }
}

fn patch(subresource: &'static str, format: PatchFormat, body: Value) -> Write {
    Write::Patch { subresource, format, body, mark: None }
}

fn create(subresource: &'static str, body: Value) -> Write {
    Write::Create { subresource, body }
}

fn apply(body: Value) -> Write {
    Write::Apply { subresource: "", body, force: true }
}

/// Every write: `METHOD path type`, what it is called, and the body with the fence.
#[test]
fn every_write_is_one_fenced_request() {
    let pods = "/api/v1/namespaces/shop/pods/it";
    let maps = "/api/v1/namespaces/shop/configmaps/it";
    let (pod, map) = (ObjectType::POD, ObjectType::CONFIG_MAP);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction"});
    let cases = [
        (
            (pod, patch("status", PatchFormat::Merge, json!({"status": {"reason": "x"}}))),
            format!("PATCH {pods}/status application/merge-patch+json"),
            "patch pods/status",
            json!({"metadata": {"uid": "u1"}, "status": {"reason": "x"}}),
        ),
        (
            (map, patch("", PatchFormat::Strategic, json!({"metadata": {"resourceVersion": "5"}}))),
            format!("PATCH {maps} application/strategic-merge-patch+json"),
            "patch configmaps",
            json!({"metadata": {"resourceVersion": "5", "uid": "u1"}}),
        ),
        (
            (map, patch("", PatchFormat::Json, json!([{"op": "remove", "path": "/data/a"}]))),
            format!("PATCH {maps} application/json-patch+json"),
            "patch configmaps",
            json!([{"op": "test", "path": "/metadata/uid", "value": "u1"},
                {"op": "remove", "path": "/data/a"}]),
        ),
        (
            (map, apply(json!({"data": {"a": "b"}}))),
            format!("PATCH {maps}?fieldManager=sigma&force=true application/apply-patch+yaml"),
            "patch configmaps",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"},
                "metadata": {"name": "it", "namespace": "shop", "uid": "u1"}}),
        ),
        (
            (pod, create("eviction", eviction)),
            format!("POST {pods}/eviction application/json"),
            "create pods/eviction",
            json!({"apiVersion": "policy/v1", "kind": "Eviction",
                "metadata": {"name": "it", "namespace": "shop"},
                "deleteOptions": {"preconditions": {"uid": "u1"}}}),
        ),
        (
            (pod, create("binding", json!({"target": {"name": "n1"}}))),
            format!("POST {pods}/binding application/json"),
            "create pods/binding",
            json!({"metadata": {"name": "it", "namespace": "shop", "uid": "u1"},
                "target": {"name": "n1"}}),
        ),
    ];
    for ((object_type, write), line, what, body) in cases {
        let got = request_of(&target(object_type, "u1"), &write, "7");
        assert_eq!(format!("{} {} {}", got.method, got.uri, got.content_type), line);
        assert_eq!((&*got.what, &got.body), (what, &body));
        // Without a UID there is no fence, and nothing else changes.
        let got = request_of(&target(object_type, ""), &write, "7");
        assert!(!got.body.to_string().contains("uid"), "{}", got.body);
    }
}

#[test]
fn a_mark_gets_the_token_beside_other_annotations() {
    let body = json!({"metadata": {"annotations": {"a": "b"}}});
    let (format, mark) = (PatchFormat::Merge, Some("sigma.io/requeue"));
    let write = Write::Patch { subresource: "", format, body, mark };
    let got = request_of(&target(ObjectType::POD, "u1"), &write, "7").body;
    let want = json!({"uid": "u1", "annotations": {"a": "b", "sigma.io/requeue": "7"}});
    assert_eq!(got["metadata"], want);
}

#[test]
fn an_object_of_a_group_and_without_a_namespace_has_its_path() {
    let role = ObjectRef { namespace: "".into(), ..target(ObjectType::CLUSTER_ROLE, "u1") };
    let got = request_of(&role, &patch("", PatchFormat::Merge, json!({})), "7");
    assert_eq!(got.uri, "/apis/rbac.authorization.k8s.io/v1/clusterroles/it");
    let odd = ObjectRef { name: "a/b?".into(), ..target(ObjectType::POD, "u1") };
    let got = request_of(&odd, &patch("", PatchFormat::Merge, json!({})), "7");
    assert_eq!(got.uri, "/api/v1/namespaces/shop/pods/a%2Fb%3F");
}

#[test]
fn an_event_is_about_the_object() {
    let (severity, reason) = (EventSeverity::Warning, "Evicted");
    let write = Write::Event { severity, reason, message: "for room".to_owned() };
    let got = request_of(&target(ObjectType::POD, "u1"), &write, "7");
    assert_eq!((&*got.uri, &*got.what), ("/api/v1/namespaces/shop/events", "create events"));
    let body = got.body;
    assert_eq!((&body["reason"], &body["type"]), (&"Evicted".into(), &"Warning".into()));
    assert_eq!(body["involvedObject"]["uid"], "u1");
}

/// A body that is no object becomes one, and nothing loops.
#[test]
fn a_body_of_another_shape_is_replaced() {
    for body in [Value::Null, json!([1]), json!("x")] {
        let got =
            request_of(&target(ObjectType::POD, "u1"), &patch("", PatchFormat::Merge, body), "7");
        assert_eq!(got.body, json!({"metadata": {"uid": "u1"}}));
    }
}
