use axum::body::Body;
use axum::http::Request;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::engine::Decider;
use crate::model::{Change, Kind, Pod};
use crate::policy::compile;
use crate::replica::Replica;
use crate::runtime::{Clock, spawn};
use crate::testing::{node, pod};

const POLICY: &str = "
apiVersion: sigma.io/v1alpha1
kind: SchedulingPolicy
metadata: {name: test}
pools:
- {name: ecs, match: {instanceTypes: ['ecs.*']}, allocation: {cpu: 50%}}
classes:
- {name: default, pools: [ecs]}
";

struct Unready;

impl ProcessState for Unready {
    fn checks(&self) -> Vec<Check> {
        vec![Check { name: "x".into(), ok: false, failing: true, detail: "y".into() }]
    }
}

async fn admin() -> Router {
    let compiled = compile("test.yaml", POLICY.as_bytes());
    let plan = compiled.map(|it| it.plan).unwrap_or_else(|faults| unreachable!("{faults:?}"));
    let replica = Replica::new(plan, Arc::default(), Decider::default());
    let (shared, writing) = SharedState::of(replica, Clock::start());
    let metrics = Arc::new(Metrics::new().expect("names are unique"));
    let (writer, _) = spawn(writing, shared.clone(), metrics.of().expect("names are unique"));
    let mut changes: Vec<Change> = Kind::REQUIRED.into_iter().map(Change::RelistBegin).collect();
    let one = node("n-1", &[("node.kubernetes.io/instance-type", "ecs.g7")]);
    changes.push(Change::NodeSeen(Box::new(one)));
    let waiting = Pod { name: "waiting".into(), ..pod(1, 4) };
    changes.push(Change::PodSeen(Box::new(waiting)));
    let placed = Pod { name: "placed".into(), node: Some("n-1".into()), ..pod(2, 2) };
    changes.push(Change::PodSeen(Box::new(placed)));
    changes.extend(Kind::REQUIRED.into_iter().map(Change::RelistEnd));
    for change in changes {
        assert!(writer.changes().send(change).await.is_ok());
    }
    while !shared.synced() {
        tokio::task::yield_now().await;
    }
    Admin { shared, metrics, process: Arc::new(Unready), acting: None }.router()
}

async fn get_text(router: &Router, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Body::empty());
    let request = request.unwrap_or_else(|error| unreachable!("{error}"));
    let Ok(response) = router.clone().oneshot(request).await;
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await;
    (status, String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
}

async fn get_json(router: &Router, path: &str) -> Value {
    let (status, text) = get_text(router, path).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| unreachable!("{error}: {text}"))
}

#[tokio::test]
async fn probes_and_unknown_pages() {
    let router = admin().await;
    assert_eq!(get_text(&router, "/livez").await, (StatusCode::OK, "ok\n".to_owned()));
    let (status, text) = get_text(&router, "/readyz?verbose").await;
    assert_eq!((status, &*text), (StatusCode::SERVICE_UNAVAILABLE, "[-] x: y\nnot ready\n"));
    let (status, text) = get_text(&router, "/nope").await;
    assert!(status == StatusCode::NOT_FOUND && text.contains("docs/api.md"), "{text}");
    assert!(get_text(&router, "/metrics").await.1.contains("sigma_build_info"));
}

#[tokio::test]
async fn pools_and_nodes_show_sums() {
    let router = admin().await;
    let pools = get_json(&router, "/api/v1/pools").await;
    assert_eq!(pools[0]["name"], "ecs");
    assert_eq!(pools[0]["requested"]["cpu_milli"], 2000);
    assert_eq!(pools[0]["cpu_allocated_pct"], 20.0);
    let nodes = get_json(&router, "/api/v1/nodes?pool=ecs").await;
    assert_eq!((nodes[0]["name"].as_str(), nodes.as_array().map(Vec::len)), (Some("n-1"), Some(1)));
    assert_eq!(get_json(&router, "/api/v1/nodes?pool=no").await, serde_json::json!([]));
    let status = get_json(&router, "/api/v1/status").await;
    assert_eq!((status["nodes"].as_u64(), status["pods"].as_u64()), (Some(1), Some(1)));
    let policy = get_json(&router, "/api/v1/policy").await;
    let classes = policy["classes"].as_array().map_or(&[][..], Vec::as_slice);
    let default = classes.iter().find(|it| it["name"] == "default");
    assert_eq!(default.map(|it| &it["pools"][0]), Some(&Value::from("ecs")), "{policy}");
}

#[tokio::test]
async fn explain_names_the_reason_with_numbers() {
    let router = admin().await;
    let why = get_json(&router, "/api/v1/explain?namespace=default&pod=waiting").await;
    assert_eq!((why["state"].as_str(), why["nodes_kept"].as_u64()), (Some("pending"), Some(0)));
    assert_eq!(why["rejections"][0]["reason"], "AllocationLimit");
    assert_eq!(why["rejections"][0]["example"]["allocatable"]["cpu_milli"], 10_000);
    let limit = serde_json::json!({"resource": "cpu_milli", "scope": "node", "of": null,
        "asked": 4000, "requested": 2000, "held": 0, "nominated": 0, "limit": 5000,
        "share_pct": 50.0, "share_of": 10_000});
    assert_eq!(why["rejections"][0]["limits"], serde_json::json!([limit]));
    assert_eq!(why["rejections"][0]["example"]["held"]["cpu_milli"], 0);
    assert_eq!((&why["pools"], &why["nominated"]), (&serde_json::json!(["ecs"]), &Value::Null));
    let placed = get_json(&router, "/api/v1/explain?namespace=default&pod=placed").await;
    assert_eq!((placed["state"].as_str(), placed["node"].as_str()), (Some("placed"), Some("n-1")));
    assert_eq!(get_text(&router, "/api/v1/explain?pod=none").await.0, StatusCode::NOT_FOUND);
    assert_eq!(get_text(&router, "/api/v1/explain").await.0, StatusCode::BAD_REQUEST);
}
