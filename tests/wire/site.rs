//! A cluster for tests: the real writer, fed with changes, and an extender on its shared state.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use sigma::engine::Decider;
use sigma::http::ExtenderMetrics;
use sigma::http::{BodyLimits, Extender, ExtenderOptions};
use sigma::k8s::{decode, slim::SlimPod};
use sigma::metrics::Metrics;
use sigma::model::{
    Amounts, Change, Conditions, Kind, Namespace, Node, NodeMatcher, Pod, PodUid, PoolOrd,
};
use sigma::policy::{
    ClassSettings, Grant, NamespaceSelector, Plan, PoolSettings, Role, Settings, default_class,
};
use sigma::replica::Replica;
use sigma::rules::Share;
use sigma::runtime::{Clock, SharedState, WriterHandle, spawn};

pub(crate) const GIB: i64 = 1 << 30;

/// Priorities of the classes.
pub(crate) const ONLINE: i32 = 9000;
pub(crate) const OFFLINE: i32 = 3000;

pub(crate) struct Site {
    pub(crate) shared: Arc<SharedState>,
    pub(crate) metrics: Arc<ExtenderMetrics>,
    pub(crate) writer: WriterHandle,
    pub(crate) ready: Arc<AtomicBool>,
    pub(crate) app: Arc<Extender>,
}

pub(crate) fn amounts(cpu: i64, gib: i64) -> Amounts {
    Amounts { cpu_milli: cpu * 1000, memory_bytes: gib * GIB, ephemeral_bytes: 0, pods: 110 }
}

/// A healthy node of 10 cores and 100 GiB in a pool.
pub(crate) fn node(name: &str, pool: &str) -> Node {
    Node {
        name: name.into(),
        uid: name.into(),
        resource_version: 1,
        allocatable: amounts(10, 100),
        labels: [("pool".into(), pool.into())].into(),
        ..Node::default()
    }
}

pub(crate) fn node_seen(node: Node) -> Change {
    Change::NodeSeen(Box::new(node))
}

/// Three pools (metal, ecs half of whose CPU may be requested, elastic eci) and four classes.
pub(crate) fn settings() -> Settings {
    let pool = |name: &str| PoolSettings {
        name: name.into(),
        matcher: NodeMatcher { labels: vec![("pool".into(), name.into())], ..Default::default() },
        ..PoolSettings::default()
    };
    let class = |name: &str, role, priority: i32, pools: &[u8]| ClassSettings {
        name: name.into(),
        role,
        grant: Grant { priority: Some((priority, priority + 999)), ..Grant::default() },
        pools: Some(pools.iter().map(|at| PoolOrd(*at)).collect()),
        ..default_class()
    };
    let namespaces = NamespaceSelector { names: vec!["kube-system".into()], ..Default::default() };
    let exempt = Grant { namespaces: Some(namespaces), ..Grant::default() };
    let exempt = ClassSettings { grant: exempt, pools: None, ..class("x", Role::Exempt, 0, &[]) };
    Settings {
        name: "test".into(),
        pools: vec![
            pool("metal"),
            PoolSettings {
                allocation: Share { cpu_permille: 500, memory_permille: 1000 },
                ..pool("ecs")
            },
            PoolSettings { elastic: true, limit: Some(amounts(8, 64)), ..pool("eci") },
        ],
        classes: vec![
            ClassSettings { name: "exempt".into(), ..exempt },
            ClassSettings { protected: true, ..class("online", Role::Online, ONLINE, &[0, 1, 2]) },
            class("offline", Role::Offline, OFFLINE, &[1]),
        ],
        ..Settings::default()
    }
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::with(&settings(), |_| {}).await
    }

    /// A site with another policy, or other options.
    pub(crate) async fn with(
        settings: &Settings,
        change: impl FnOnce(&mut ExtenderOptions),
    ) -> Self {
        Self::with_plan(Plan::build(settings, "hash".into()), change).await
    }

    pub(crate) async fn with_plan(
        plan: Arc<Plan>,
        change: impl FnOnce(&mut ExtenderOptions),
    ) -> Self {
        let registry = Metrics::new().expect("names are unique");
        let metrics = registry.of().expect("names are unique");
        let ready = Arc::new(AtomicBool::new(true));
        let is_ready = ready.clone();
        let mut options = ExtenderOptions {
            // Debug builds on a busy machine are slow, and no test is about that.
            deadline: Duration::from_secs(60),
            bind_within: Duration::from_secs(20),
            ready: Arc::new(move || is_ready.load(Ordering::SeqCst)),
            ..ExtenderOptions::default()
        };
        change(&mut options);
        let decider = options.fast_paths.on_decider(Decider::default());
        let replica = Replica::new(plan, Arc::default(), decider);
        let (shared, writing) = SharedState::of(replica, Clock::start());
        let counted = registry.of().expect("names are unique");
        let (writer, _) = spawn(writing, shared.clone(), counted);
        let app = Extender::new(shared.clone(), Arc::clone(&metrics), options);
        let site = Self { shared, metrics, writer, ready, app };
        let bad = Node { conditions: Conditions::NOT_READY, ..node("bad1", "metal") };
        let cordoned = Node { conditions: Conditions::CORDONED, ..node("c1", "metal") };
        let nodes = [("m1", "metal"), ("m2", "metal"), ("m3", "metal"), ("e1", "ecs")];
        let nodes = nodes.into_iter().chain([("e2", "ecs"), ("v1", "eci")]);
        let nodes = nodes.map(|(name, pool)| node(name, pool)).chain([bad, cordoned]);
        let lists = Kind::REQUIRED.map(Change::RelistBegin).into_iter().chain(nodes.map(node_seen));
        site.see(lists.chain(Kind::REQUIRED.map(Change::RelistEnd))).await;
        site
    }

    /// Sends changes through the writer and waits until they are published.
    pub(crate) async fn see(&self, changes: impl IntoIterator<Item = Change>) {
        static MARKS: AtomicU64 = AtomicU64::new(0);
        let mark = format!("mark-{}", MARKS.fetch_add(1, Ordering::Relaxed));
        let to_writer = self.writer.changes();
        let name: Box<str> = mark.as_str().into();
        let last = Change::NamespaceSeen(Namespace { name: name.clone(), ..Namespace::default() });
        for change in changes.into_iter().chain([last]) {
            to_writer.send(change).await.expect("the writer runs");
        }
        while !self.shared.view().snapshot.namespaces.contains_key(&name) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The answer to a body posted to a path.
    pub(crate) async fn post(&self, path: &str, body: impl Into<Bytes>) -> (StatusCode, String) {
        let request = Request::post(path).body(Full::new(body.into())).expect("a valid request");
        self.send(request).await
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> (StatusCode, String) {
        let response = self.app.handle(request, Instant::now(), &BodyLimits::default()).await;
        let status = response.status();
        let body = response.into_body().collect().await.expect("it is in memory").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("replies are UTF-8"))
    }

    /// The reply to a verb, read.
    pub(crate) async fn ask(&self, verb: &str, request: &Value) -> Value {
        let (status, body) = self.post(&format!("/{verb}"), request.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        serde_json::from_str(&body).expect("replies are JSON")
    }

    /// Posts `tests/wire/<id>.request.json` and compares with `<id>.reply.json`.
    pub(crate) async fn golden(&self, id: &str) -> Value {
        let verb = match id.as_bytes()[0] {
            b'f' => "/filter",
            b'p' => "/prioritize",
            b'v' => "/preempt",
            _ => "/bind",
        };
        let (status, got) = self.post(verb, request(id).to_string()).await;
        assert_eq!(status, StatusCode::OK, "{got}");
        let path = wire_file(&format!("{id}.reply.json"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, format!("{got}\n")).expect("the file can be written");
        }
        let want = std::fs::read_to_string(&path).expect("the golden reply is there");
        assert_eq!(got, want.trim_end(), "{id}; UPDATE=1 rewrites");
        serde_json::from_str(&got).expect("replies are JSON")
    }

    /// The nodes that a pod holds.
    pub(crate) fn held(&self, uid: PodUid) -> usize {
        self.shared
            .decide(|decider, _, _| decider.holds().get(uid).map_or(0, |hold| hold.nodes.len()))
    }

    pub(crate) fn num_holds(&self) -> usize {
        self.shared.decide(|decider, _, _| decider.holds().len())
    }

    pub(crate) fn results(&self, verb: &str, result: &str) -> u64 {
        self.metrics.verb_results.with_label_values(&[verb, result]).get()
    }
}

fn wire_file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "wire", name].iter().collect()
}

/// A golden request.
pub(crate) fn request(id: &str) -> Value {
    let text = std::fs::read_to_string(wire_file(&format!("{id}.request.json")));
    serde_json::from_str(&text.expect("the golden request is there")).expect("it is JSON")
}

/// A pending pod's JSON.
pub(crate) fn pod_json(uid: u128, priority: i32, cpu: &str) -> Value {
    serde_json::json!({
        "metadata": {"name": format!("pod-{uid}"), "namespace": "shop", "uid": uid_text(uid),
            "resourceVersion": "100"},
        "spec": {"priority": priority, "schedulerName": "default-scheduler",
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
        "status": {"phase": "Pending"}
    })
}

pub(crate) fn uid_text(uid: u128) -> String {
    format!("00000000-0000-0000-0000-{uid:012x}")
}

/// A pod as a watch tells of it.
pub(crate) fn pod(json: &Value) -> Pod {
    let slim: SlimPod = serde_json::from_value(json.clone()).expect("a pod");
    decode::pod(&slim).expect("a usable pod")
}

pub(crate) fn pod_seen(json: &Value) -> Change {
    Change::PodSeen(Box::new(pod(json)))
}

/// The same pod, bound.
pub(crate) fn placed(json: &Value, node: &str) -> Value {
    let mut json = json.clone();
    json["spec"]["nodeName"] = node.into();
    json["metadata"]["resourceVersion"] = "200".into();
    json
}

/// Arguments of filter and prioritize.
pub(crate) fn args(pod: &Value, names: &[&str]) -> Value {
    serde_json::json!({"Pod": pod, "Nodes": null, "NodeNames": names})
}

/// The accepted names of a filter reply.
pub(crate) fn accepted(reply: &Value) -> Vec<String> {
    serde_json::from_value(reply["NodeNames"].clone()).expect("a list of names")
}

/// The one refused name and its text, when there is one.
pub(crate) fn refused(reply: &Value) -> Option<(String, String)> {
    assert_eq!(reply["FailedNodes"], serde_json::json!({}), "{reply}");
    let map = reply["FailedAndUnresolvableNodes"].as_object().expect("a map");
    assert!(map.len() <= 1, "{reply}");
    map.iter().next().map(|(name, text)| (name.clone(), text.as_str().unwrap_or("").to_owned()))
}
