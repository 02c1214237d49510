//! B01–B13: binding, against an API server that answers as the real one does.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use sigma::http::{BindFuture, Binder, ConnLimits};
use sigma::k8s::writes::PodRef;
use sigma::model::{Change, PodUid, Reason};

use crate::api::{Api, Fault, Stored};
use crate::client::{Client, Server};
use crate::site::{
    ONLINE, Site, accepted, args, placed, pod, pod_json, pod_seen, request, settings, uid_text,
};

const UID: u128 = 1;

/// A site that binds, and a pod `cart-1` that may be bound.
async fn binding_site() -> (Site, Api) {
    let api = Api::start().await;
    let site = site_on(&api).await;
    api.put("cart-1", Stored { uid: uid_text(UID), ..Stored::default() });
    (site, api)
}

async fn site_on(api: &Api) -> Site {
    Site::with(&settings(), |options| options.binder = Some(api.writes())).await
}

fn cart(cpu: &str) -> Value {
    let mut json = pod_json(UID, ONLINE, cpu);
    json["metadata"]["name"] = "cart-1".into();
    json
}

fn bind(uid: u128, node: &str) -> Value {
    json!({"PodName": "cart-1", "PodNamespace": "shop", "PodUID": uid_text(uid), "Node": node})
}

fn error(reply: &Value) -> &str {
    assert_eq!(reply.as_object().map(serde_json::Map::len), Some(1), "{reply}");
    reply["Error"].as_str().expect("a text")
}

#[tokio::test]
async fn b01_a_bind_is_a_fenced_write() {
    let (site, api) = binding_site().await;
    assert_eq!(error(&site.golden("b01").await), "");
    assert_eq!((api.posts().len(), &*api.node_of("cart-1")), (1, "m1"));
    assert_eq!(api.posts()[0]["metadata"]["uid"], uid_text(UID));
    assert_eq!(site.metrics.binds.with_label_values(&["bound"]).get(), 1);
}

#[tokio::test]
async fn b02_a_second_bind_of_the_same_is_a_success() {
    let (site, api) = binding_site().await;
    assert_eq!(error(&site.ask("bind", &bind(UID, "m1")).await), "");
    assert_eq!(error(&site.ask("bind", &bind(UID, "m1")).await), "");
    // Once the watch has told, the API server is not even asked.
    site.see([pod_seen(&placed(&cart("1"), "m1"))]).await;
    assert_eq!(error(&site.ask("bind", &bind(UID, "m1")).await), "");
    assert_eq!(api.posts().len(), 2);
    assert_eq!(site.metrics.binds.with_label_values(&["already_bound"]).get(), 2);
}

#[tokio::test]
async fn b03_concurrent_binds_of_the_same_are_one_write() {
    let (site, api) = binding_site().await;
    let held = api.hold().await;
    let (same, other) = (bind(UID, "m1"), bind(UID, "m2"));
    let release = async {
        api.wait_for_posts(1).await;
        // Elsewhere is not the same, and does not race with it.
        let reply = site.ask("bind", &other).await;
        assert_eq!(error(&reply), "sigma: the pod is being bound to another node");
        drop(held);
    };
    let (one, two, ()) = tokio::join!(site.ask("bind", &same), site.ask("bind", &same), release);
    assert_eq!((error(&one), error(&two), api.posts().len()), ("", "", 1));
}

#[tokio::test]
async fn b04_a_pod_on_another_node_is_an_error() {
    let (site, api) = binding_site().await;
    api.put("cart-1", Stored { uid: uid_text(UID), node: "m2".into(), ..Stored::default() });
    assert_ne!(error(&site.ask("bind", &bind(UID, "m1")).await), "");
    // The charge goes where the pod is when the watch tells.
    site.ask("filter", &args(&cart("5"), &["e1"])).await;
    assert_eq!(site.held(PodUid(UID)), 1);
    site.see([pod_seen(&placed(&cart("5"), "m2"))]).await;
    assert_eq!(site.held(PodUid(UID)), 0);
}

#[tokio::test]
async fn b05_a_pod_that_cannot_be_bound_gives_its_hold_up() {
    let stored = Stored { uid: uid_text(UID), ..Stored::default() };
    let cases = [
        (None, "sigma: the pod is gone"),
        (Some(Stored { terminating: true, ..stored.clone() }), "sigma: the pod is being deleted"),
        (Some(Stored { gated: true, ..stored }), "sigma: the pod has scheduling gates"),
    ];
    for (stored, want) in cases {
        let api = Api::start().await;
        let site = site_on(&api).await;
        if let Some(stored) = stored {
            api.put("cart-1", stored);
        }
        site.ask("filter", &args(&cart("5"), &["e1"])).await;
        assert_eq!(site.held(PodUid(UID)), 1);
        assert_eq!(error(&site.ask("bind", &bind(UID, "e1")).await), want);
        assert_eq!(site.held(PodUid(UID)), 0);
    }
}

#[tokio::test]
async fn b06_another_pod_of_the_name_is_left_alone() {
    let (site, api) = binding_site().await;
    let got = site.ask("bind", &bind(77, "m1")).await;
    assert_eq!(error(&got), "sigma: another pod has this name now");
    assert_eq!((api.node_of("cart-1"), site.num_holds()), (String::new(), 0));
}

#[tokio::test]
async fn b07_a_node_that_is_gone_is_an_error_without_a_write() {
    let (site, api) = binding_site().await;
    assert_eq!(error(&site.golden("b07").await), Reason::UnknownNode.text());
    site.see([pod_seen(&placed(&pod_json(9, 0, "1"), "m1"))]).await;
    site.see([Change::NodeGone { name: "m1".into() }]).await;
    let reply = site.ask("bind", &bind(UID, "m1")).await;
    assert_eq!((error(&reply), api.posts().len()), (Reason::UnknownNode.text(), 0));
}

#[tokio::test]
async fn b08_what_no_longer_fits_is_not_bound() {
    let (site, api) = binding_site().await;
    site.see([pod_seen(&cart("4"))]).await;
    assert_eq!(accepted(&site.ask("filter", &args(&cart("4"), &["e1"])).await), ["e1"]);
    site.see([pod_seen(&placed(&pod_json(9, 0, "3"), "e1"))]).await;
    for _ in 0..2 {
        let reply = site.ask("bind", &bind(UID, "e1")).await;
        assert_eq!(error(&reply), Reason::AllocationLimit.text());
    }
    assert_eq!(api.posts().len(), 0);
    assert_eq!(site.metrics.binds.with_label_values(&["refused"]).get(), 2);
}

#[tokio::test]
async fn b09_a_failing_server_is_tried_again_within_bounds() {
    let cases: [(&[Fault], usize, bool); 4] = [
        (&[Fault::Status(503), Fault::Status(500)], 3, true),
        (&[Fault::Status(429)], 2, true),
        (&[Fault::DoneButTimedOut], 1, true),
        (&[Fault::Status(503); 9], 3, false),
    ];
    for (faults, posts, bound) in cases {
        let (site, api) = binding_site().await;
        api.fail(faults.iter().copied());
        let reply = site.ask("bind", &bind(UID, "m1")).await;
        assert_eq!(error(&reply).is_empty(), bound, "{faults:?}: {reply}");
        assert_eq!((api.posts().len(), api.node_of("cart-1") == "m1"), (posts, bound));
    }
    // Without an answer in time it is an error, and never a success.
    let api = Api::start().await;
    let site = Site::with(&settings(), |options| {
        options.binder = Some(api.writes());
        options.bind_within = Duration::from_millis(100);
    })
    .await;
    api.put("cart-1", Stored { uid: uid_text(UID), ..Stored::default() });
    let _held = api.hold().await;
    assert!(error(&site.ask("bind", &bind(UID, "m1")).await).starts_with("sigma: "));
}

#[tokio::test]
async fn b10_a_client_that_hangs_up_cancels_nothing() {
    let (site, api) = binding_site().await;
    let held = api.hold().await;
    let mut server = Server::start(&site, ConnLimits::default()).await;
    let mut client = server.client().await;
    client.send(Client::request("/bind", &bind(UID, "m1").to_string()).as_bytes()).await;
    api.wait_for_posts(1).await;
    drop(client);
    while site.metrics.connections.get() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Even a server that stops finishes it.
    server.stop();
    drop(held);
    (&mut server.task).await.expect("it ends");
    assert_eq!(api.node_of("cart-1"), "m1");
    assert_eq!(site.metrics.binds.with_label_values(&["bound"]).get(), 1);
}

#[tokio::test]
async fn b11_two_hundred_binds_wait_for_no_one() {
    let (site, api) = binding_site().await;
    let server = Server::start(&site, ConnLimits::default()).await;
    let held = api.hold().await;
    let mut clients = Vec::new();
    for at in 0..200_u128 {
        let name = format!("pod-{at}");
        api.put(&name, Stored { uid: uid_text(at), ..Stored::default() });
        let mut body = bind(at, ["m1", "m2", "m3"][at as usize % 3]);
        body["PodName"] = name.into();
        let mut client = server.client().await;
        client.send(Client::request("/bind", &body.to_string()).as_bytes()).await;
        clients.push(client);
    }
    // All are under way at once, and filters go on meanwhile.
    api.wait_for_posts(200).await;
    let reply = server.client().await.post("/filter", &request("f01").to_string()).await;
    assert_eq!(accepted(&reply.json()).len(), 3);
    drop(held);
    for client in &mut clients {
        assert_eq!(error(&client.read().await.expect("an answer").json()), "");
    }
}

#[tokio::test]
async fn b12_half_a_request_binds_nothing() {
    let (site, api) = binding_site().await;
    let reply = site.golden("b12").await;
    assert_eq!(error(&reply), "sigma: the bind request lacks Node");
    for key in ["PodName", "PodNamespace", "PodUID", "Node"] {
        for value in [json!(""), json!(null)] {
            let mut body = bind(UID, "m1");
            body[key] = value;
            assert!(error(&site.ask("bind", &body).await).ends_with(key));
        }
    }
    let (status, _) = site.post("/bind", r#"{"PodName":5}"#).await;
    assert_eq!((status, api.posts().len()), (StatusCode::BAD_REQUEST, 0));
    let unbound = Site::new().await;
    assert_eq!(
        error(&unbound.ask("bind", &bind(UID, "m1")).await),
        "sigma: bind is not configured (--bind=on)"
    );
}

/// Row 10, two replicas bind the same pod at once: the API server accepts one binding. The other call gets an
/// error. No pod is bound twice.
#[tokio::test]
async fn b13_two_replicas_bind_a_pod_once() {
    let (one, api) = binding_site().await;
    let other = site_on(&api).await;
    let (bind_here, bind_there) = (bind(UID, "m1"), bind(UID, "m2"));
    let (here, there) = tokio::join!(one.ask("bind", &bind_here), other.ask("bind", &bind_there));
    let (here, there) = (error(&here).is_empty(), error(&there).is_empty());
    assert!(here != there, "one of them, and never both");
    assert_eq!(api.node_of("cart-1"), if here { "m1" } else { "m2" });
    // One that knows nothing yet binds nothing.
    other.ready.store(false, Ordering::SeqCst);
    assert_eq!(error(&other.ask("bind", &bind_there).await), Reason::NotSynced.text());
}

/// A binder that panics.
struct Broken;

impl Binder for Broken {
    fn bind<'a>(&'a self, pod: PodRef<'a>, _: &'a str, _: Duration) -> BindFuture<'a> {
        Box::pin(async move { unreachable!("as the test wants it: {}", pod.name) })
    }
}

#[tokio::test]
async fn a_binding_that_panics_is_an_error_and_leaves_no_trace() {
    let site = Site::with(&settings(), |options| {
        options.binder = Some(std::sync::Arc::new(Broken));
    })
    .await;
    for times in 1..=2 {
        let reply = site.ask("bind", &bind(UID, "m1")).await;
        assert_eq!(error(&reply), "sigma: the binding broke off");
        assert_eq!(site.metrics.panics.get(), times);
    }
    site.app.confirmed().await;
    assert_eq!(pod(&cart("1")).uid, PodUid(UID));
}
