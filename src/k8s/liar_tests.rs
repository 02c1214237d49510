//! What no API server should say, and what the state is after it did: the sums are right, and what was
//! said last and is newest holds.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::cluster::{ClusterState, Snapshot};
use crate::model::Change;

use super::fake::{After, Fake, FakeAnswer, client_on};
use super::kinds::pods;
use super::{WatchHealth, WatchOptions, spawn_with};

const SOON: Duration = Duration::from_secs(20);
/// The pod whose event ends a case.
const LAST: u32 = 99;

fn pod(number: u32, version: u32, cpu: u32, node: &str) -> String {
    format!(
        r#"{{"metadata":{{"name":"p{number}","namespace":"n","resourceVersion":"{version}",
        "uid":"00000000-0000-0000-0000-{number:012x}"}},"spec":{{"nodeName":"{node}",
        "containers":[{{"resources":{{"requests":{{"cpu":"{cpu}"}}}}}}]}}}}"#
    )
    .replace('\n', "")
}

fn event(kind: &str, object: &str) -> String {
    format!(r#"{{"type":"{kind}","object":{object}}}"#)
}

/// A page with these metadata, besides the version.
fn page(more: &str, items: &[String]) -> FakeAnswer {
    let items = items.join(",");
    let meta = format!(r#"{{"resourceVersion":"10"{more}}}"#);
    FakeAnswer::json(200, format!(r#"{{"kind":"PodList","metadata":{meta},"items":[{items}]}}"#))
}

fn lines(events: &[String]) -> FakeAnswer {
    let last = event("ADDED", &pod(LAST, 1000, 0, "z"));
    let events: Vec<&str> = events.iter().chain([&last]).map(String::as_str).collect();
    FakeAnswer::lines(&events, After::Hang)
}

/// The snapshot after a watch of pods has read these pages and then these lines.
async fn after(pages: Vec<FakeAnswer>, events: &[String]) -> Arc<Snapshot> {
    let refused = FakeAnswer::refusal(422, "sendInitialEvents is forbidden for watch");
    let script = [vec![refused], pages, vec![lines(events)]].concat();
    let fake = Fake::start(script).await;
    let (out, mut changes) = mpsc::channel(1);
    let health = Arc::new(WatchHealth::default());
    spawn_with(client_on(fake.port()), &pods::SPEC, out, health, WatchOptions::default());
    let mut state = ClusterState::default();
    loop {
        let change = timeout(SOON, changes.recv()).await.ok().flatten().expect("a change");
        let is_last = matches!(&change, Change::PodSeen(pod) if pod.uid.0 == LAST.into());
        state.apply(change);
        assert_eq!(state.audit(), []);
        if is_last {
            return state.publish().0;
        }
    }
}

/// Milli-cores requested on each node that a pod is on, `LAST`'s apart.
fn used(snapshot: &Snapshot) -> Vec<(String, i64)> {
    let ords = (0..snapshot.capacity() as u32).map(crate::model::NodeOrd);
    let rows = ords.map(|ord| (snapshot.names.name(ord).to_owned(), snapshot.used(ord).cpu_milli));
    let mut rows: Vec<_> = rows.filter(|(name, _)| !name.is_empty() && name != "z").collect();
    rows.sort();
    rows
}

fn on(rows: &[(&str, i64)]) -> Vec<(String, i64)> {
    rows.iter().map(|(name, cores)| ((*name).to_owned(), cores * 1000)).collect()
}

#[tokio::test]
async fn a_list_page_may_lie_about_what_remains_and_repeat_pods() {
    let (first, second) = (pod(1, 3, 1, "a"), pod(2, 4, 2, "a"));
    for (more, at_end) in [("", "0"), ("-5", "7"), ("999999999999", "\"x\""), ("null", "{}")] {
        let count = |it: &str| match it {
            "" => String::new(),
            it => format!(r#","remainingItemCount":{it}"#),
        };
        let pages = vec![
            page(&format!(r#","continue":"t"{}"#, count(more)), &[first.clone(), first.clone()]),
            // Again, once as it was before; and what the list has is not what the count says.
            page(&count(at_end), &[second.clone(), pod(1, 2, 7, "b"), first.clone()]),
        ];
        let snapshot = after(pages, &[]).await;
        assert_eq!(used(&snapshot), on(&[("a", 3)]), "{more} {at_end}");
        assert_eq!(snapshot.num_pods, 3);
    }
}

#[tokio::test]
async fn events_may_be_about_objects_that_were_never_listed() {
    let events = [
        event("DELETED", &pod(7, 11, 1, "a")),
        event("MODIFIED", &pod(8, 12, 1, "b")),
        event("MODIFIED", &pod(9, 13, 1, "")),
        // It is gone already: what comes of it now is late.
        event("ADDED", &pod(7, 14, 1, "a")),
        event("DELETED", &pod(8, 15, 1, "c")),
    ];
    let snapshot = after(vec![page("", &[])], &events).await;
    assert_eq!((used(&snapshot), snapshot.num_pods, snapshot.pending.len()), (on(&[]), 1, 1));
}

#[tokio::test]
async fn events_may_come_in_any_order() {
    let events = [
        event("MODIFIED", &pod(1, 30, 4, "a")),
        event("MODIFIED", &pod(1, 20, 2, "b")),
        event("ADDED", &pod(1, 12, 1, "")),
        event("MODIFIED", &pod(2, 41, 1, "a")),
        event("ADDED", &pod(2, 40, 8, "a")),
    ];
    let snapshot = after(vec![page("", &[pod(1, 9, 1, "")])], &events).await;
    assert_eq!((used(&snapshot), snapshot.pending.len()), (on(&[("a", 5)]), 0));
}

#[tokio::test]
async fn a_pod_may_change_its_node() {
    let events = [
        event("MODIFIED", &pod(1, 11, 1, "b")),
        event("MODIFIED", &pod(2, 12, 2, "b")),
        // And back to none at all.
        event("MODIFIED", &pod(2, 13, 2, "")),
        event("MODIFIED", &pod(1, 14, 3, "c")),
    ];
    let listed = vec![page("", &[pod(1, 3, 1, "a"), pod(2, 4, 2, "a")])];
    let snapshot = after(listed, &events).await;
    assert_eq!((used(&snapshot), snapshot.pending.len()), (on(&[("c", 3)]), 1));
    assert_eq!(snapshot.names.ord("a"), None, "the names of nodes without pods are given back");
}
