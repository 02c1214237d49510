//! The driver against a scripted API server over real HTTP. Expectations are what arrives and what
//! was asked, never how long it took.

mod optional;
mod refused;
mod standing;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::model::{Change, Kind, ObjectName};

use super::fake::{After, Fake, FakeAnswer, client_on};
use super::kinds::{pods, spec_of};
use super::{WatchHealth, WatchOptions, spawn_with};

const SOON: Duration = Duration::from_secs(20);

struct ReflectorRig {
    changes: mpsc::Receiver<Change>,
    health: Arc<WatchHealth>,
}

fn quick() -> WatchOptions {
    WatchOptions {
        backoff_min: Duration::from_millis(2),
        backoff_max: Duration::from_millis(20),
        caught_up_pause: Duration::from_millis(100),
        ..WatchOptions::default()
    }
}

/// Watches `kind` on a port, with a channel so small that back-pressure is the rule.
fn watch(port: u16, kind: Kind, options: WatchOptions) -> ReflectorRig {
    let (out, changes) = mpsc::channel(1);
    let health = Arc::new(WatchHealth::default());
    let spec = spec_of(kind).expect("a kind of the registry");
    spawn_with(client_on(port), spec, out, Arc::clone(&health), options);
    ReflectorRig { changes, health }
}

impl ReflectorRig {
    /// The next `count` changes in short form, but for what is said of the watch itself.
    async fn take(&mut self, count: usize) -> Vec<String> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let change = self.next().await;
            taken.extend(Some(change).filter(|it| !["silent", "lost", "back"].contains(&&**it)));
        }
        taken
    }

    /// Awaits these, and nothing else between them.
    async fn says(&mut self, wanted: &[&str]) {
        for want in wanted {
            assert_eq!(self.next().await, *want);
        }
    }

    async fn next(&mut self) -> String {
        match timeout(SOON, self.changes.recv()).await {
            Ok(Some(change)) => brief(&change),
            other => unreachable!("{other:?}"),
        }
    }
}

fn brief(change: &Change) -> String {
    match change {
        Change::RelistBegin(_) => "begin".to_owned(),
        Change::RelistEnd(_) => "end".to_owned(),
        Change::WatchSilent(_) => "silent".to_owned(),
        Change::WatchLost(_) => "lost".to_owned(),
        Change::WatchBack(_) => "back".to_owned(),
        Change::NodeSeen(node) => format!("+{}", node.name),
        Change::NodeGone { name } | Change::NamespaceGone { name } => format!("-{name}"),
        Change::NamespaceSeen(namespace) => format!("+{}", namespace.name),
        Change::PodSeen(pod) => format!("+{}", pod.name),
        Change::PodGone { uid } => format!("-{}", uid.0),
        Change::Seen { name, .. } => format!("+{}", name.0),
        Change::Gone { name, .. } => format!("-{}", name.0),
        Change::Unread { key, .. } => format!("?{key}"),
        Change::PoolsSet(_) => "pools".to_owned(),
        Change::ProfilesSet(_) => "profiles".to_owned(),
    }
}

fn pod(number: u32, version: u32) -> String {
    format!(
        r#"{{"metadata":{{"name":"p{number}","namespace":"n","resourceVersion":"{version}",
        "uid":"00000000-0000-0000-0000-{number:012x}"}},"spec":{{"containers":null}}}}"#
    )
    .replace('\n', "")
}

fn event(kind: &str, object: &str) -> String {
    format!(r#"{{"type":"{kind}","object":{object}}}"#)
}

fn bookmark(version: u32, ends_list: bool) -> String {
    let annotations = if ends_list { r#"{"k8s.io/initial-events-end":"true"}"# } else { "null" };
    event(
        "BOOKMARK",
        &format!(r#"{{"metadata":{{"resourceVersion":"{version}","annotations":{annotations}}}}}"#),
    )
}

fn page(version: u32, token: &str, items: &[String]) -> FakeAnswer {
    let items = items.join(",");
    FakeAnswer::json(
        200,
        format!(
            r#"{{"kind":"PodList","metadata":{{"resourceVersion":"{version}","continue":"{token}"}},
            "items":[{items}]}}"#
        ),
    )
}

fn refuse_stream() -> FakeAnswer {
    FakeAnswer::refusal(422, "sendInitialEvents is forbidden for watch")
}

fn lines(events: &[String], after: After) -> FakeAnswer {
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    FakeAnswer::lines(&events, after)
}

/// A script that lists one pod by pages and is at version 10.
fn listed() -> Vec<FakeAnswer> {
    vec![refuse_stream(), page(10, "", &[pod(1, 3)])]
}

#[tokio::test]
async fn a_streamed_list_goes_on_as_a_watch() {
    let first = lines(
        &[
            event("ADDED", &pod(1, 900)),
            event("ADDED", &pod(2, 7)),
            bookmark(950, true),
            event("MODIFIED", &pod(2, 951)),
            event("DELETED", &pod(1, 952)),
            bookmark(960, false),
        ],
        After::End,
    );
    let fake = Fake::start(vec![first]).await;
    let mut rig = watch(fake.port(), Kind::PODS, quick());
    assert_eq!(rig.take(6).await, ["begin", "+p1", "+p2", "end", "+p2", "-1"]);
    let seen = fake.wait_for(2).await;
    assert!(seen[0].uri.contains("sendInitialEvents=true"), "{:?}", seen[0]);
    assert!(seen[1].uri.contains("resourceVersion=960&"), "{:?}", seen[1]);
    let health = rig.health.kind(Kind::PODS);
    assert!(health.listed && health.last_heard.is_some());
    assert_eq!((health.num_objects, &*health.resource_version), (4, "960"));
}

#[tokio::test]
async fn pages_are_followed_and_an_expired_token_starts_again() {
    let fake = Fake::start(vec![
        refuse_stream(),
        page(10, "t/1", &[pod(1, 3)]),
        FakeAnswer::refusal(410, "The provided continue parameter is too old"),
        page(20, "t/2", &[pod(1, 3)]),
        page(20, "", &[pod(2, 4)]),
        lines(&[event("ADDED", &pod(3, 21))], After::Hang),
    ])
    .await;
    let mut rig = watch(fake.port(), Kind::PODS, quick());
    let want = ["begin", "+p1", "begin", "+p1", "+p2", "end", "+p3"];
    assert_eq!(rig.take(7).await, want);
    let uris: Vec<String> = fake.seen().into_iter().map(|it| it.uri).collect();
    assert_eq!(uris[1], "/api/v1/pods?limit=500");
    assert_eq!(uris[2], "/api/v1/pods?limit=500&continue=t%2F1");
    assert_eq!(uris[3], "/api/v1/pods?limit=500");
    assert!(uris[5].contains("watch=true") && uris[5].contains("resourceVersion=20&"));
}

#[tokio::test]
async fn gone_relists_whether_it_comes_as_status_or_as_event() {
    let expired = r#"{"kind":"Status","code":410,"reason":"Expired","message":"too old"}"#;
    let mut script = listed();
    script.push(lines(&[event("ERROR", expired)], After::End));
    script.push(page(30, "", &[pod(2, 25)]));
    script.push(FakeAnswer::refusal(410, "too old resource version"));
    script.push(page(40, "", &[]));
    let fake = Fake::start(script).await;
    let mut rig = watch(fake.port(), Kind::PODS, quick());
    let want = ["begin", "+p1", "end", "begin", "+p2", "end", "begin", "end"];
    assert_eq!(rig.take(8).await, want);
    assert_eq!(rig.health.kind(Kind::PODS).num_relists, 2);
}

#[tokio::test]
async fn a_broken_line_is_neither_passed_on_nor_lost() {
    let whole = event("ADDED", &pod(3, 12));
    for after in [After::End, After::Cut] {
        let half = vec![event("ADDED", &pod(2, 11)) + "\n", whole[..40].to_owned()];
        let mut script = listed();
        script.push(FakeAnswer::Chunks(half, after));
        script.push(lines(std::slice::from_ref(&whole), After::Hang));
        let fake = Fake::start(script).await;
        let mut rig = watch(fake.port(), Kind::PODS, quick());
        assert_eq!(rig.take(5).await, ["begin", "+p1", "end", "+p2", "+p3"]);
        assert!(fake.seen()[3].uri.contains("resourceVersion=11&"), "{:?}", fake.seen()[3]);
    }
}

#[tokio::test]
async fn a_list_that_breaks_off_has_no_end() {
    let cut = |count: usize| {
        let all = [event("ADDED", &pod(1, 3)), event("ADDED", &pod(2, 4)), bookmark(10, true)];
        lines(&all[..count], After::Cut)
    };
    let fake = Fake::start(vec![cut(1), cut(2), cut(3)]).await;
    let mut rig = watch(fake.port(), Kind::PODS, quick());
    let want = ["begin", "+p1", "begin", "+p1", "+p2", "begin", "+p1", "+p2", "end"];
    assert_eq!(rig.take(9).await, want);
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_counted_named_and_skipped() {
    let bad = r#"{"metadata":{"name":"evil","namespace":"n","uid":"u9","resourceVersion":"12"},
        "spec":{"containers":[{"resources":{"requests":{"cpu":"abc"}}}]}}"#
        .replace('\n', "");
    let odd = r#"{"metadata":{"name":"odd","uid":"u8","resourceVersion":"13"},"spec":7}"#;
    let fake = Fake::start(vec![
        refuse_stream(),
        page(10, "", &[bad.clone(), pod(1, 3)]),
        lines(
            &[
                event("ADDED", &bad),
                "this is no event".to_owned(),
                event("MODIFIED", odd),
                event("DELETED", r#"{"metadata":{"name":"nameless"}}"#),
                event("NONSENSE", "{}"),
                String::new(),
                event("DELETED", &bad.replace("u9", "00000000-0000-0000-0000-000000000009")),
                event("ADDED", &pod(2, 14)),
            ],
            After::Hang,
        ),
    ])
    .await;
    let mut rig = watch(fake.port(), Kind::PODS, quick());
    let want = ["begin", "?u9", "+p1", "end", "?u9", "?u8", "?", "-9", "+p2"];
    assert_eq!(rig.take(9).await, want);
    let health = rig.health.kind(Kind::PODS);
    assert_eq!(health.num_undecodable, 6);
    assert_eq!(
        health.last_undecodable.as_deref(),
        Some("pods unknown: unknown event type \"NONSENSE\"")
    );
}

#[tokio::test]
async fn the_name_and_the_field_of_a_bad_object_are_told() {
    let bad = r#"{"metadata":{"name":"bm-1"},"status":{"allocatable":{"cpu":"-4"}}}"#;
    let fake = Fake::start(vec![refuse_stream(), page(10, "", &[bad.to_owned()])]).await;
    let mut rig = watch(fake.port(), Kind::NODES, quick());
    assert_eq!(rig.take(3).await, ["begin", "?bm-1", "end"]);
    let want = "nodes bm-1 (uid ): status.allocatable.cpu: a quantity below zero";
    assert_eq!(rig.health.kind(Kind::NODES).last_undecodable.as_deref(), Some(want));
}

#[tokio::test]
async fn missing_rights_are_named_and_waited_for() {
    let message = r#"pods is forbidden: User "x" cannot list resource "pods""#;
    let fake = Fake::start(vec![refuse_stream(), FakeAnswer::refusal(403, message)]).await;
    let mut rig = watch(fake.port(), Kind::PODS, quick());
    fake.wait_for(3).await;
    let error = rig.health.kind(Kind::PODS).error.expect("it failed");
    assert_eq!(error, format!("forbidden: cannot list pods: {message}"));
    drop(fake);
    let fake = Fake::start(vec![FakeAnswer::refusal(403, "no"), refuse_stream()]).await;
    fake.push(page(5, "", &[pod(1, 1)]));
    rig = watch(fake.port(), Kind::PODS, quick());
    assert_eq!(rig.take(3).await, ["begin", "+p1", "end"], "a right that is granted later helps");
}

#[tokio::test]
async fn an_overloaded_server_is_left_alone_for_a_while() {
    let busy = |headers| FakeAnswer::Whole { status: 429, headers, body: "busy".to_owned() };
    let fake = Fake::start(vec![busy(""), busy("retry-after: 1\r\n"), refuse_stream()]).await;
    let started = std::time::Instant::now();
    let rig = watch(fake.port(), Kind::PODS, quick());
    fake.wait_for(3).await;
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(rig.health.kind(Kind::PODS).num_failures, 2);
}

#[tokio::test]
async fn silence_is_noticed_everywhere() {
    let options = WatchOptions {
        watch_timeout: Duration::from_millis(100),
        silence_margin: Duration::from_millis(100),
        page_timeout: Duration::from_millis(200),
        ..quick()
    };
    let fake = Fake::start(vec![
        FakeAnswer::Silence,
        lines(&[event("ADDED", &pod(1, 3))], After::Hang),
        refuse_stream(),
        FakeAnswer::Silence,
        page(10, "", &[pod(1, 3)]),
        FakeAnswer::Silence,
        lines(&[], After::Hang),
        lines(&[event("ADDED", &pod(2, 11))], After::Hang),
        lines(&[event("ADDED", &pod(3, 12))], After::Hang),
    ])
    .await;
    let mut rig = watch(fake.port(), Kind::PODS, options);
    let want = ["begin", "+p1", "begin", "+p1", "end", "+p2", "+p3"];
    assert_eq!(rig.take(7).await, want);
    assert_eq!(rig.health.kind(Kind::PODS).num_failures, 5);
    assert!(fake.seen()[8].uri.contains("resourceVersion=11&"));
}

#[tokio::test]
async fn a_list_that_is_asked_for_shows_what_no_event_told() {
    let mut script = listed();
    script.push(lines(&[event("ADDED", &pod(2, 11))], After::Hang));
    // p1 was deleted, and the event for it was lost.
    script.push(page(20, "", &[pod(2, 11)]));
    script.push(lines(&[], After::Hang));
    let fake = Fake::start(script).await;
    let mut rig = watch(fake.port(), Kind::PODS, quick());
    assert_eq!(rig.take(4).await, ["begin", "+p1", "end", "+p2"]);
    rig.health.request_relist(Kind::PODS);
    assert_eq!(rig.take(3).await, ["begin", "+p2", "end"]);
    assert_eq!(rig.health.kind(Kind::PODS).num_failures, 0);
}

#[tokio::test]
async fn a_list_that_is_asked_for_waits_for_what_the_watch_has_yet_to_tell() {
    let mut script = listed();
    script.push(lines(&[event("DELETED", &pod(1, 11)), event("ADDED", &pod(2, 12))], After::Hang));
    script.push(page(20, "", &[pod(2, 12)]));
    script.push(lines(&[], After::Hang));
    let fake = Fake::start(script).await;
    let mut rig = watch(fake.port(), Kind::PODS, quick());
    // Before the watch is open.
    rig.health.request_relist(Kind::PODS);
    assert_eq!(rig.take(5).await, ["begin", "+p1", "end", "-1", "+p2"]);
    assert_eq!(rig.take(3).await, ["begin", "+p2", "end"]);
}

#[tokio::test]
async fn a_driver_ends_with_its_receiver() {
    let fake = Fake::start(vec![refuse_stream(), page(10, "", &[pod(1, 3)])]).await;
    let (out, changes) = mpsc::channel(1);
    let health = Arc::new(WatchHealth::default());
    let task = spawn_with(fake.client(), &pods::SPEC, out, health, quick());
    drop(changes);
    assert!(timeout(SOON, task).await.is_ok());
}

#[tokio::test]
async fn every_kind_has_its_gone() {
    for (kind, path) in [(Kind::NODES, "/api/v1/nodes?"), (Kind::NAMESPACES, "/api/v1/namespaces?")]
    {
        let object = r#"{"metadata":{"name":"a","resourceVersion":"11"}}"#;
        let fake = Fake::start(vec![
            refuse_stream(),
            page(10, "", &[object.to_owned()]),
            lines(&[event("DELETED", object)], After::Hang),
        ])
        .await;
        let mut rig = watch(fake.port(), kind, quick());
        assert_eq!(rig.take(4).await, ["begin", "+a", "end", "-a"]);
        assert!(fake.seen().iter().all(|it| it.uri.starts_with(path) && it.method == "GET"));
    }
    for (kind, path, namespace) in [
        (Kind::VOLUMES, "/api/v1/persistentvolumes?", ""),
        (Kind::CLAIMS, "/api/v1/persistentvolumeclaims?", "n"),
    ] {
        let object = format!(r#"{{"metadata":{{"name":"a","namespace":"{namespace}"}}}}"#);
        let odd = r#"{"metadata":{"name":"b","namespace":"n"},"spec":7}"#.to_owned();
        let fake = Fake::start(vec![
            refuse_stream(),
            page(10, "", &[object.clone(), odd]),
            lines(&[event("DELETED", &object)], After::Hang),
        ])
        .await;
        let mut rig = watch(fake.port(), kind, quick());
        let name = ObjectName::of(namespace, "a").0;
        let odd = if kind == Kind::CLAIMS { "?n/b" } else { "?b" };
        let want = ["begin", &format!("+{name}"), odd, "end", &format!("-{name}")];
        assert_eq!(rig.take(5).await, want);
        assert!(fake.seen().iter().all(|it| it.uri.starts_with(path) && it.method == "GET"));
    }
}
