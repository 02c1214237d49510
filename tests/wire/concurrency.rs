//! C01–C05: many callers, moving state, holds over time.

use std::sync::Arc;

use serde_json::Value;
use sigma::http::ConnLimits;
use sigma::model::{Change, Kind, NodeOrd, PodUid, Reason, Tick};

use crate::api::{Api, Stored};
use crate::client::Server;
use crate::site::{
    ONLINE, Site, accepted, args, node, node_seen, placed, pod, pod_json, pod_seen, refused,
    settings, uid_text,
};

/// Pods of one core that may together be on `e1`: half of its ten cores.
const ROOM: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c01_parallel_filters_promise_no_place_twice() {
    let site = Arc::new(Site::new().await);
    let server = Server::start(&site, ConnLimits::default()).await;
    let mut tasks = Vec::new();
    for uid in 1..=64 {
        let mut client = server.client().await;
        tasks.push(tokio::spawn(async move {
            let body = args(&pod_json(uid, ONLINE, "1"), &["e1"]).to_string();
            let first = client.post("/filter", &body).await.json();
            // The same scheduler asks again: a replacement, not an addition.
            let second = client.post("/filter", &body).await.json();
            (accepted(&first).len(), accepted(&second).len())
        }));
    }
    let mut let_in = 0;
    for task in tasks {
        let (first, second) = task.await.expect("no call panics");
        assert!(first <= second, "who was let in stays in");
        let_in += second;
    }
    assert_eq!((let_in, site.num_holds()), (ROOM, ROOM));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c02_filters_and_events_race_without_overcommitting() {
    let site = Arc::new(Site::new().await);
    // Five places on e1. Whoever is let in is bound at once, as kube-scheduler would, and the watch
    // tells of it while others ask; now and then a pod goes away and makes room.
    let mut tasks = Vec::new();
    for lane in 0..4_u128 {
        let site = site.clone();
        tasks.push(tokio::spawn(async move {
            let to_writer = site.writer.changes();
            let mut bound = Vec::new();
            for at in 0..100 {
                let pod = pod_json(lane * 1000 + at, ONLINE, "1");
                let reply = site.ask("filter", &args(&pod, &["e1"])).await;
                if accepted(&reply).is_empty() {
                    let told = refused(&reply).map(|it| it.1);
                    assert_eq!(told.as_deref(), Some(Reason::AllocationLimit.text()));
                    if let Some(uid) = bound.pop() {
                        // A hold or a record: at every moment one of them counts.
                        to_writer.send(Change::PodGone { uid }).await.expect("the writer runs");
                    }
                } else {
                    let seen = pod_seen(&placed(&pod, "e1"));
                    to_writer.send(seen).await.expect("the writer runs");
                    bound.push(PodUid(lane * 1000 + at));
                }
                let used = used_milli(&site);
                assert!((0..=ROOM as i64 * 1000).contains(&used), "{used}");
            }
            bound.len()
        }));
    }
    let mut bound = 0;
    for task in tasks {
        bound += task.await.expect("no call panics");
    }
    site.see([]).await;
    assert_eq!((used_milli(&site), site.num_holds()), (bound as i64 * 1000, 0));
    assert_eq!(site.writer.audit().await, Some(Vec::new()));
}

/// CPU of e1 that placed pods ask for.
fn used_milli(site: &Site) -> i64 {
    let snapshot = &site.shared.view().snapshot;
    snapshot.names.ord("e1").map_or(0, |ord| snapshot.used(ord).cpu_milli)
}

#[tokio::test]
async fn c03_a_hold_nobody_confirms_ends_by_its_time() {
    let site = Site::new().await;
    let ask = |uid, ms| {
        let pod = Arc::new(pod(&pod_json(uid, ONLINE, "5")));
        site.shared.decide(|decider, view, _| {
            decider.expire(view, Tick(ms));
            let e1 = view.snapshot.names.ord("e1").unwrap_or(NodeOrd::UNKNOWN);
            decider.filter(view, &pod, &[e1], Tick(ms)).accepted.len()
        })
    };
    assert_eq!([ask(1, 0), ask(2, 14_999), ask(2, 29_997), ask(2, 30_000)], [1, 0, 0, 1]);
}

/// Row 12, a crash between a filter call and the binding: holds are in memory, and are lost. If sigma binds, it
/// checks the limits once more before the write. If kube-scheduler binds, the pods that are being scheduled at that
/// moment may exceed a limit.
#[tokio::test]
async fn c04_a_restart_between_filter_and_bind() {
    let api = Api::start().await;
    let put = |uid| {
        api.put(&format!("pod-{uid}"), Stored { uid: uid_text(uid), ..Stored::default() });
    };
    let before = Site::new().await;
    let ours = pod_json(1, ONLINE, "5");
    assert_eq!(accepted(&before.ask("filter", &args(&ours, &["e1"])).await), ["e1"]);
    drop(before);
    // The new process has the lists again, but none of the holds.
    let after = Site::with(&settings(), |options| options.binder = Some(api.writes())).await;
    after.see([pod_seen(&ours), pod_seen(&placed(&pod_json(2, 0, "3"), "e2"))]).await;
    put(1);
    let bind = |node: &str| -> Value {
        serde_json::json!({"PodName": "pod-1", "PodNamespace": "shop",
            "PodUID": uid_text(1), "Node": node})
    };
    // Five cores beside three are more than half of e2.
    let refused = after.ask("bind", &bind("e2")).await;
    assert_eq!(refused["Error"], Reason::AllocationLimit.text());
    assert_eq!(after.ask("bind", &bind("e1")).await["Error"], "");
    assert_eq!(api.node_of("pod-1"), "e1");
}

#[tokio::test]
async fn c05_a_relist_keeps_holds_and_never_shows_an_empty_cluster() {
    let site = Site::new().await;
    let bound = placed(&pod_json(9, 0, "1"), "e1");
    site.see([pod_seen(&bound)]).await;
    let ours = pod_json(1, ONLINE, "4");
    assert_eq!(accepted(&site.ask("filter", &args(&ours, &["e1"])).await), ["e1"]);
    let stranger = args(&pod_json(2, ONLINE, "1"), &["e1"]);
    // In the middle of a list, nothing has been seen again yet.
    site.see([Change::RelistBegin(Kind::PODS), Change::RelistBegin(Kind::NODES)]).await;
    assert!(accepted(&site.ask("filter", &stranger).await).is_empty());
    assert_eq!((used_milli(&site), site.num_holds()), (1000, 1));
    let list = [node_seen(node("e1", "ecs")), pod_seen(&bound), pod_seen(&ours)];
    let ends = [Change::RelistEnd(Kind::NODES), Change::RelistEnd(Kind::PODS)];
    site.see(list.into_iter().chain(ends)).await;
    assert!(accepted(&site.ask("filter", &stranger).await).is_empty());
    assert_eq!((used_milli(&site), site.num_holds()), (1000, 1));
}
