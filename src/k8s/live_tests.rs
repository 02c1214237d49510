//! The same code against a real API server, where our idea of its answers is put to the test.
//! `SIGMA_TEST_KUBECONFIG` names an administrator's kubeconfig for a cluster without nodes, such as
//! the one in `tests/e2e/controlplane`:
//! `SIGMA_TEST_KUBECONFIG=… cargo test --lib live_tests -- --ignored`

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::model::{Action, Change, EventSeverity, Kind, ObjectRef, ObjectType, Pod, PodUid};

use super::client::{KubeconfigSource, connect};
use super::events::Events;
use super::kinds::spec_of;
use super::writes::{BindOutcome, ObjectWrites, PodRef, WriteOutcome};
use super::{WatchHealth, WatchOptions, spawn_with, wire};

const SOON: Duration = Duration::from_secs(20);
const PODS: &str = "/api/v1/namespaces/default/pods";

struct LiveRig {
    client: Client,
    changes: mpsc::Receiver<Change>,
    health: Arc<WatchHealth>,
}

impl LiveRig {
    async fn start(kind: Kind) -> Self {
        let path = std::env::var_os("SIGMA_TEST_KUBECONFIG").expect("it names a kubeconfig");
        let source = KubeconfigSource::Kubeconfig { path: path.into(), context: None };
        let client = connect(&source).await.expect("a valid kubeconfig");
        let (out, changes) = mpsc::channel(64);
        let health = Arc::new(WatchHealth::default());
        // Windows so short that a test lives through some, pages so small that a list has several.
        let options = WatchOptions {
            watch_timeout: Duration::from_secs(4),
            page_limit: 2,
            ..WatchOptions::default()
        };
        let spec = spec_of(kind).expect("a kind of the registry");
        spawn_with(client.clone(), spec, out, Arc::clone(&health), options);
        let mut rig = Self { client, changes, health };
        rig.wait_for(|change| matches!(change, Change::RelistEnd(_))).await;
        rig
    }

    async fn wait_for(&mut self, wanted: impl Fn(&Change) -> bool) -> Change {
        loop {
            match timeout(SOON, self.changes.recv()).await {
                Ok(Some(change)) if wanted(&change) => return change,
                Ok(Some(_)) => {}
                other => unreachable!("{other:?}, {:?}", self.health),
            }
        }
    }

    async fn call(&self, method: Method, uri: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = wire::build(method, uri, "application/json", body.into());
        let response = match wire::send(&self.client, request, uri).await {
            Ok(response) => response,
            Err(failure) => unreachable!("{}", failure.text),
        };
        let body = wire::collect(response.into_body(), 1 << 20).await.expect("a small answer");
        serde_json::from_slice(&body).expect("JSON")
    }

    /// Creates a pod and returns its UID.
    async fn create_pod(&self, name: &str, spec: Value) -> String {
        let mut spec = spec;
        spec["containers"] =
            json!([{"name": "c", "image": "i", "resources": {"requests": {"cpu": "250m"}}}]);
        let pod = json!({"metadata": {"name": name}, "spec": spec});
        let made = self.call(Method::POST, PODS, &pod).await;
        made["metadata"]["uid"].as_str().expect("the server gives a UID").to_owned()
    }

    async fn delete_pod(&self, name: &str) {
        let now = json!({"gracePeriodSeconds": 0});
        self.call(Method::DELETE, &format!("{PODS}/{name}"), &now).await;
    }
}

/// A name that no earlier run has used.
fn fresh(stem: &str) -> String {
    format!("{stem}-{:08x}", fastrand::u32(..))
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn pods_are_watched_requeued_and_bound() {
    let mut rig = LiveRig::start(Kind::PODS).await;
    let name = fresh("pod");
    let uid = rig.create_pod(&name, json!({})).await;
    let wanted = PodUid::parse(&uid);
    let seen = rig.wait_for(|it| matches!(it, Change::PodSeen(pod) if *pod.name == *name)).await;
    let Change::PodSeen(seen_pod) = seen else { unreachable!("it was asked for") };
    assert_eq!((Some(seen_pod.uid), seen_pod.requests.base.cpu_milli), (wanted, 250));

    let writes = ObjectWrites::new(rig.client.clone());
    let me = PodRef { namespace: "default", name: &name, uid: &uid };
    let other = PodRef { uid: "11111111-2222-3333-4444-555555555555", ..me };
    let requeue = async |pod: PodRef<'_>, token: &str| {
        let seen = Pod { uid_text: pod.uid.into(), ..(*seen_pod).clone() };
        let Action { target, write, .. } = Action::requeue(&seen, "AllocationLimit");
        writes.write(&target, &write, token).await
    };
    assert_eq!(requeue(me, "1").await, WriteOutcome::Written, "a pod without annotations");
    assert_eq!(requeue(me, "2").await, WriteOutcome::Written, "a pod with annotations");
    assert_eq!(requeue(other, "3").await, WriteOutcome::Gone);
    let read = rig.call(Method::GET, &format!("{PODS}/{name}"), &Value::Null).await;
    assert_eq!(read["metadata"]["annotations"]["sigma.io/requeue"], "2");

    assert_eq!(writes.bind(other, "n1", SOON).await, BindOutcome::UidMismatch);
    assert_eq!(writes.bind(me, "n1", SOON).await, BindOutcome::Bound);
    assert_eq!(writes.bind(me, "n1", SOON).await, BindOutcome::AlreadyBoundHere);
    let elsewhere = BindOutcome::AlreadyBoundElsewhere("n1".into());
    assert_eq!(writes.bind(me, "n2", SOON).await, elsewhere);
    rig.wait_for(|it| matches!(it, Change::PodSeen(pod) if pod.node.as_deref() == Some("n1")))
        .await;
    rig.delete_pod(&name).await;
    rig.wait_for(|it| matches!(it, Change::PodGone { uid } if Some(*uid) == wanted)).await;
    assert_eq!(requeue(me, "4").await, WriteOutcome::Gone);
    assert_eq!(writes.bind(me, "n1", SOON).await, BindOutcome::Gone);
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn gated_and_terminating_pods_are_told_apart() {
    let rig = LiveRig::start(Kind::PODS).await;
    let writes = ObjectWrites::new(rig.client.clone());
    let gated = fresh("gated");
    let uid = rig.create_pod(&gated, json!({"schedulingGates": [{"name": "a.com/g"}]})).await;
    let pod = PodRef { namespace: "default", name: &gated, uid: &uid };
    assert_eq!(writes.bind(pod, "n1", SOON).await, BindOutcome::Gated);
    rig.delete_pod(&gated).await;

    let held = fresh("held");
    let body = json!({
        "metadata": {"name": held, "finalizers": ["sigma.io/test"]},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    let made = rig.call(Method::POST, PODS, &body).await;
    let uid = made["metadata"]["uid"].as_str().expect("the server gives a UID");
    rig.delete_pod(&held).await;
    let pod = PodRef { namespace: "default", name: &held, uid };
    assert_eq!(writes.bind(pod, "n1", SOON).await, BindOutcome::Terminating);
    let mut bare = rig.call(Method::GET, &format!("{PODS}/{held}"), &Value::Null).await;
    bare["metadata"]["finalizers"] = Value::Null;
    rig.call(Method::PUT, &format!("{PODS}/{held}"), &bare).await;
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn nodes_are_watched_through_several_windows() {
    let mut rig = LiveRig::start(Kind::NODES).await;
    let name = fresh("node");
    // Longer than a window, so that the watch is closed and resumed on nothing but a bookmark.
    tokio::time::sleep(Duration::from_secs(14)).await;
    let health = rig.health.kind(Kind::NODES);
    assert!(health.num_reconnects >= 1 && health.num_failures == 0, "{health:?}");
    let node = json!({
        "metadata": {"name": name, "labels": {"a": "b"}},
        "spec": {"unschedulable": true},
        "status": {"capacity": {"cpu": "4", "pods": "110"}},
    });
    rig.call(Method::POST, "/api/v1/nodes", &node).await;
    let seen = rig.wait_for(|it| matches!(it, Change::NodeSeen(node) if *node.name == *name)).await;
    let Change::NodeSeen(node) = seen else { unreachable!("it was asked for") };
    assert_eq!((node.allocatable.cpu_milli, node.label("a")), (4000, Some("b")));
    rig.call(Method::DELETE, &format!("/api/v1/nodes/{name}"), &Value::Null).await;
    rig.wait_for(|it| matches!(it, Change::NodeGone { name: gone } if **gone == *name)).await;
    assert_eq!(rig.health.kind(Kind::NODES).num_undecodable, 0);
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn events_are_taken() {
    let rig = LiveRig::start(Kind::NAMESPACES).await;
    // `default` and three of the server's own.
    assert!(rig.health.kind(Kind::NAMESPACES).num_objects >= 4);
    let events = Events::new(rig.client.clone());
    let name = fresh("policy");
    let regarding = ObjectRef {
        object_type: ObjectType::CONFIG_MAP,
        namespace: "default".into(),
        name: name.as_str().into(),
        uid: "".into(),
    };
    events.send(&regarding, EventSeverity::Warning, "PolicyRejected", "line 3: no such pool");
    let uri = format!("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name={name}");
    for _ in 0..100 {
        let list = rig.call(Method::GET, &uri, &Value::Null).await;
        if list["items"][0]["message"] == "line 3: no such pool" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    unreachable!("the event did not arrive, {} dropped", events.num_dropped());
}
