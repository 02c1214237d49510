//! F21–F34: malformed, huge, early, late and failing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use sigma::cluster::Snapshot;
use sigma::http::{ConnLimits, NotReady};
use sigma::model::{Amounts, Node, PodUid, Reason};
use sigma::policy::{FilterRule, Plan, Settings};
use sigma::rules::{Filter, Offer, RuleContext, Scopes};

use crate::client::{Client, Server};
use crate::site::{
    OFFLINE, ONLINE, Site, accepted, args, node, node_seen, placed, pod_json, pod_seen, refused,
    request, settings, uid_text,
};

#[tokio::test]
async fn f21_what_is_no_request_is_a_400() {
    let site = Site::new().await;
    let whole = request("f01").to_string();
    let bodies = ["", "null", "[]", "5", "{", &whole[..whole.len() - 1], "{} trailing"];
    for verb in ["filter", "prioritize", "preempt", "bind"] {
        for body in bodies {
            let (status, text) = site.post(&format!("/{verb}"), body.to_owned()).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{verb} {body:?}: {text}");
            assert!(text.starts_with("sigma: malformed request: "), "{text}");
        }
        let bad = site.metrics.bad_requests.with_label_values(&[verb]).get();
        assert_eq!(bad, bodies.len() as u64);
    }
    // Well-formed, but nothing that we know is in it.
    let reply = site.ask("filter", &json!({})).await;
    assert_ne!(reply["Error"], "");
    assert_eq!(site.post("/prioritize", "{}").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(site.post("/preempt", "{}").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn f22_texts_of_every_kind_are_read_and_written() {
    let site = Site::new().await;
    site.golden("f22").await;
    let escaped = r#"{"Pod":POD,"NodeNames":["m\u0031","a\u003cb\"\\\u00fc"]}"#;
    let pod = pod_json(1, ONLINE, "1").to_string();
    let (_, reply) = site.post("/filter", escaped.replace("POD", &pod)).await;
    let reply: Value = serde_json::from_str(&reply).expect("replies are JSON");
    assert_eq!(accepted(&reply), ["m1"]);
    let only = r#"{"Pod":POD,"NodeNames":["a\u003cb\"\\\u00fc\u0001"]}"#;
    let (_, reply) = site.post("/filter", only.replace("POD", &pod)).await;
    let reply: Value = serde_json::from_str(&reply).expect("replies are JSON");
    assert_eq!(refused(&reply).map(|it| it.0), Some("a<b\"\\ü\u{1}".into()));
    let body = [br#"{"NodeNames":["m"#.as_slice(), &[0xff], br#""]}"#].concat();
    let (status, text) = site.post("/filter", body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("not UTF-8"), "{text}");
}

#[tokio::test]
async fn f23_the_content_type_does_not_matter() {
    let site = Site::new().await;
    for content_type in [None, Some("application/json; charset=utf-8"), Some("text/plain")] {
        let mut builder = Request::post("/filter");
        if let Some(content_type) = content_type {
            builder = builder.header(header::CONTENT_TYPE, content_type);
        }
        let body = Full::new(Bytes::from(request("f01").to_string()));
        let (status, _) = site.send(builder.body(body).expect("a valid request")).await;
        assert_eq!(status, StatusCode::OK, "{content_type:?}");
    }
    let body = Full::new(Bytes::from(request("f01").to_string()));
    let gzip = Request::post("/filter").header(header::CONTENT_ENCODING, "gzip").body(body);
    let (status, _) = site.send(gzip.expect("a valid request")).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn f24_paths_and_methods() {
    let site = Site::new().await;
    let body = request("f01").to_string();
    let cases = [
        ("/filter", StatusCode::OK),
        ("//filter", StatusCode::OK),
        ("/v1/sigma/filter", StatusCode::OK),
        ("/filter/", StatusCode::OK),
        ("/filter?timeout=1s", StatusCode::OK),
        ("/Filter", StatusCode::NOT_FOUND),
        ("/filters", StatusCode::NOT_FOUND),
        ("/", StatusCode::NOT_FOUND),
    ];
    for (path, want) in cases {
        let (status, text) = site.post(path, body.clone()).await;
        assert_eq!(status, want, "{path}");
        assert!(status == StatusCode::OK || text.contains("filterVerb"), "{text}");
    }
    for verb in ["filter", "prioritize", "preempt", "bind"] {
        let request = Request::builder().method(Method::GET).uri(format!("/{verb}"));
        let request = request.body(Full::new(Bytes::new())).expect("a valid request");
        let limits = ConnLimits::default().body;
        let response = site.app.handle(request, std::time::Instant::now(), &limits).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[header::ALLOW], "POST");
    }
}

#[tokio::test]
async fn f25_ten_thousand_names() {
    let site = Site::new().await;
    let names: Vec<String> = (0..10_000).map(|at| format!("node-{at:05}.cn-hangzhou")).collect();
    site.see(names.iter().map(|name| node_seen(node(name, "metal")))).await;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let server = Server::start(&site, ConnLimits::default()).await;
    let mut client = server.client().await;
    // Whom limits of ours bind is given few nodes, since each of them is held.
    let online = pod_json(1, ONLINE, "1");
    let reply = client.post("/filter", &args(&online, &names).to_string()).await.json();
    assert_eq!(accepted(&reply).len(), sigma::engine::MAX_HELD_NODES);
    let mut exempt = pod_json(2, 0, "1");
    exempt["metadata"]["namespace"] = "kube-system".into();
    let reply = client.post("/filter", &args(&exempt, &names).to_string()).await.json();
    assert_eq!(accepted(&reply), names);
}

#[tokio::test]
async fn f26_five_and_a_half_megabytes() {
    let site = Site::new().await;
    let names: Vec<String> =
        (0..15_000).map(|at| format!("{at:0>253}")).chain(["m1".into()]).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut pod = pod_json(1, ONLINE, "1");
    pod["metadata"]["annotations"] = json!({"a": "x".repeat(1_500_000)});
    let body = args(&pod, &names).to_string();
    assert!(body.len() > 5_000_000);
    let server = Server::start(&site, ConnLimits::default()).await;
    assert_eq!(accepted(&server.client().await.post("/filter", &body).await.json()), ["m1"]);
}

#[tokio::test]
async fn f27_whole_nodes_within_the_limit_get_the_remedy_and_beyond_it_a_413() {
    let site = Site::new().await;
    let server = Server::start(&site, ConnLimits::default()).await;
    let mut whole = node_json("x");
    whole["status"]["images"] = json!([{"names": ["x".repeat(20_000)]}]);
    let body = json!({"Pod": pod_json(1, ONLINE, "1"), "Nodes": {"items": vec![whole; 500]},
        "NodeNames": null});
    let mut client = server.client().await;
    let reply = client.post("/filter", &body.to_string()).await.json();
    assert!(reply["Error"].as_str().is_some_and(|text| text.contains("nodeCacheCapable")));
    // 10,000 of them: what is announced is refused before it is read.
    let head = "POST /filter HTTP/1.1\r\nhost: x\r\ncontent-length: 202000000\r\n\r\n{";
    client.send(head.as_bytes()).await;
    let reply = client.read().await.expect("an answer");
    assert_eq!(reply.status, 413);
    assert!(reply.text().contains("nodeCacheCapable"), "{}", reply.text());
}

#[tokio::test]
async fn f28_a_body_without_end_is_cut_off() {
    let site = Site::new().await;
    let mut limits = ConnLimits::default();
    limits.body.max_bytes = 10_000;
    let server = Server::start(&site, limits).await;
    let mut client = server.client().await;
    let head = "POST /filter HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    client.send(head.as_bytes()).await;
    for _ in 0..3 {
        client.send(format!("1000\r\n{}\r\n", " ".repeat(4096)).as_bytes()).await;
    }
    client.send(b"0\r\n\r\n").await;
    assert_eq!(client.read().await.expect("an answer").status, 413);
    assert_eq!(site.metrics.bad_requests.with_label_values(&["filter"]).get(), 1);
    // Whether or not that connection lives on, the server does.
    let reply = server.client().await.post("/filter", &request("f09").to_string()).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn f29_before_the_lists_are_in() {
    let site = Site::new().await;
    site.ready.store(false, Ordering::SeqCst);
    let names = ["m1", "v1", "ghost"];
    let online = site.ask("filter", &args(&pod_json(1, ONLINE, "1"), &names)).await;
    assert_eq!(accepted(&online), ["m1", "ghost"]);
    let offline = site.ask("filter", &args(&pod_json(2, OFFLINE, "1"), &names)).await;
    assert_eq!(refused(&offline).map(|it| it.1), Some(Reason::NotSynced.text().into()));
    assert_eq!(site.results("filter", "degraded"), 2);
    // What was let through without the rules will be bound, and is held against who comes after it.
    let held =
        site.shared.decide(|decider, _, _| decider.holds().get(PodUid(1)).map(|it| it.nodes.len()));
    assert_eq!(held, Some(1));
    // Who had to wait is requeued, whichever node is good for it.
    site.see([pod_seen(&pod_json(2, OFFLINE, "1"))]).await;
    let requeued = site.shared.decide(|decider, view, now| {
        decider.requeues(view, sigma::engine::Nominates::NONE, now, 9, 99_999)
    });
    assert_eq!(requeued.iter().map(|ring| ring.pod.uid).collect::<Vec<_>>(), [PodUid(2)]);

    let site = Site::with(&settings(), |options| options.not_ready = NotReady::Reject).await;
    site.ready.store(false, Ordering::SeqCst);
    let reply = site.ask("filter", &args(&pod_json(1, ONLINE, "1"), &names)).await;
    assert_eq!(reply["Error"], Reason::NotSynced.text());
    assert_eq!(reply["NodeNames"], Value::Null);
}

/// Row 34, no decision within `--deadline`: the answer depends on the role of the pod and not on rules. Online pods
/// keep all nodes except elastic ones. Offline pods get no node, and sigma requeues them later. The answer is never
/// an `Error`, because an `Error` would bypass every limit. `sigma_verb_results_total{result="degraded"}` counts
/// it.
#[tokio::test(flavor = "multi_thread")]
async fn f30_without_the_decider_the_verdict_is_the_degraded_one() {
    let site = Site::with(&settings(), |it| it.deadline = Duration::from_millis(20)).await;
    let (entered, is_in) = std::sync::mpsc::channel();
    let (leave, may_leave) = std::sync::mpsc::channel::<()>();
    let shared = site.shared.clone();
    let holder = std::thread::spawn(move || {
        shared.decide(|_, _, _| {
            entered.send(()).expect("the test waits");
            may_leave.recv()
        })
    });
    is_in.recv().expect("the decider is taken");
    let online = args(&pod_json(1, ONLINE, "1"), &["v1", "m1", "e1"]);
    for _ in 0..2 {
        assert_eq!(accepted(&site.ask("filter", &online).await), ["m1", "e1"]);
    }
    let offline = args(&pod_json(2, OFFLINE, "1"), &["e1"]);
    let told = refused(&site.ask("filter", &offline).await);
    assert_eq!(told, Some(("e1".into(), Reason::Overloaded.text().into())));
    assert_eq!(site.results("filter", "degraded"), 3);
    leave.send(()).expect("the holder waits");
    assert_eq!(holder.join().expect("it ends"), Ok(()));
    // The note of the unschedulable answer waited for the decider, the answer did not.
    while site.shared.decide(|decider, _, _| decider.unschedulable().is_empty()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let noted = site.shared.decide(|decider, _, _| decider.unschedulable().reason(PodUid(2)));
    assert_eq!(noted, Some(Reason::Overloaded));
    // Nobody knows what became of the other one meanwhile, so nothing is held for it.
    assert_eq!(site.num_holds(), 0);
}

#[tokio::test]
async fn f31_without_limits_all_is_accepted_and_nothing_held() {
    let site = Site::with(&Settings::default(), |_| {}).await;
    let pod = pod_json(1, ONLINE, "1");
    let reply = site.ask("filter", &args(&pod, &["m1", "e1", "v1"])).await;
    assert_eq!(accepted(&reply), ["m1", "e1", "v1"]);
    assert_eq!(site.num_holds(), 0);
}

#[tokio::test]
async fn f32_a_daemon_pod_has_its_one_node_answered() {
    let site = Site::new().await;
    let told = refused(&site.golden("f32").await);
    assert_eq!(told, Some(("bad1".into(), Reason::NotReady.text().into())));
    let mut request = request("f32");
    request["Pod"]["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    request["NodeNames"] = json!(["c1"]);
    assert_eq!(accepted(&site.ask("filter", &request).await), ["c1"]);
}

#[tokio::test]
async fn f33_an_absurd_node_spoils_no_other() {
    let site = Site::new().await;
    let amounts = |it| Amounts { cpu_milli: it, memory_bytes: it, ephemeral_bytes: it, pods: it };
    let absurd = [("max", i64::MAX), ("min", i64::MIN), ("zero", 0)];
    let nodes = absurd.map(|(name, it)| Node { allocatable: amounts(it), ..node(name, "ecs") });
    site.see(nodes.map(node_seen)).await;
    let names = ["max", "min", "zero", "m1", "e1"];
    let pod = pod_json(1, ONLINE, "1");
    assert_eq!(accepted(&site.ask("filter", &args(&pod, &names)).await), ["max", "m1", "e1"]);
    let huge = pod_json(2, ONLINE, "1e30");
    assert!(accepted(&site.ask("filter", &args(&huge, &["m1", "e1", "min"])).await).is_empty());
    assert_eq!(accepted(&site.ask("filter", &args(&pod, &names)).await), ["max", "m1", "e1"]);
}

/// A rule that panics for pods of priority 9999.
struct Fragile;

impl Filter for Fragile {
    fn judge(&self, cx: &RuleContext<'_>, _: &mut Offer<'_>) {
        let _: &Snapshot = cx.snapshot;
        assert_ne!(cx.pod.priority, 9999, "as the test wants it");
    }
}

/// Row 41, a panic during a request: only that request fails (500). `sigma_panics_total` counts it. Holds stay.
#[tokio::test]
async fn f34_a_panic_is_a_500_of_one_call() {
    let mut plan = Plan::build(&settings(), String::new());
    let classes = &mut Arc::get_mut(&mut plan).expect("nobody shares it yet").classes;
    for class in classes {
        class.filters.push(FilterRule {
            name: "fragile",
            scopes: Scopes::TIME,
            filter: Box::new(Fragile),
        });
    }
    let site = Site::with_plan(plan, |_| {}).await;
    let victim = placed(&pod_json(9, 0, "500m"), "e1");
    site.see([pod_seen(&victim)]).await;
    let good = args(&pod_json(1, ONLINE, "4"), &["e1"]);
    assert_eq!(accepted(&site.ask("filter", &good).await), ["e1"]);
    let server = Server::start(&site, ConnLimits::default()).await;
    let mut client = server.client().await;
    let panics = args(&pod_json(2, 9999, "1"), &["e1"]).to_string();
    assert_eq!(client.post("/filter", &panics).await.status, 500);
    // In the middle of this one, what the pod itself holds is not counted.
    let panics = json!({"Pod": pod_json(1, 9999, "4"),
        "NodeNameToMetaVictims": {"e1": {"Pods": [{"UID": uid_text(9)}]}}});
    assert_eq!(client.post("/preempt", &panics.to_string()).await.status, 500);
    assert_eq!(site.metrics.panics.get(), 2);
    // The same connection, the same decider: what was held still is, and once.
    let reply = client.post("/filter", &args(&pod_json(3, ONLINE, "4"), &["e1"]).to_string()).await;
    assert_eq!(refused(&reply.json()).map(|it| it.1), Some(Reason::AllocationLimit.text().into()));
    assert_eq!(accepted(&client.post("/filter", &good.to_string()).await.json()), ["e1"]);
}

fn node_json(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {}, "status": {}})
}

#[tokio::test]
async fn a_connection_is_a_client() {
    // The helper itself: two requests on one connection.
    let site = Site::new().await;
    let server = Server::start(&site, ConnLimits::default()).await;
    let mut client: Client = server.client().await;
    for _ in 0..2 {
        assert_eq!(client.post("/filter", &request("f01").to_string()).await.status, 200);
    }
}
