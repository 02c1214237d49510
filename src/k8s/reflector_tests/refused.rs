//! Watches that are refused, end at once, or never say that a list is complete; and versions that go back.

use super::*;
use crate::k8s::kinds::kinds;

/// As many refusals as are needed, however soon they come.
fn hasty() -> WatchOptions {
    WatchOptions { refused_patience: Duration::ZERO, ..quick() }
}

fn error(object: &str) -> FakeAnswer {
    lines(&[event("ERROR", object)], After::End)
}

#[tokio::test]
async fn a_watch_that_is_refused_again_and_again_gives_way_to_a_list() {
    let status = |code| FakeAnswer::refusal(code, "no");
    let throttled = |code: u16| FakeAnswer::Whole {
        status: code,
        headers: "retry-after: 0\r\n",
        body: "no Status".to_owned(),
    };
    let cases = [
        status(500),
        status(504),
        status(302),
        status(400),
        status(404),
        throttled(503),
        error(r#"{"code":500,"reason":"InternalError"}"#),
        error(r#"{"code":0}"#),
        error("{}"),
        error("null"),
        error("7"),
        error(r#""text""#),
        error(r#"{"code":"x"}"#),
        lines(&[], After::End),
        lines(&["<html>".to_owned(), "no event".to_owned()], After::End),
    ];
    for refusal in cases {
        let mut script = listed();
        script.extend(vec![refusal.clone(); 5]);
        script.push(page(20, "", &[pod(2, 11)]));
        script.push(lines(&[event("ADDED", &pod(3, 21))], After::Hang));
        let fake = Fake::start(script).await;
        let mut rig = watch(fake.port(), Kind::PODS, hasty());
        let want = ["begin", "+p1", "end", "begin", "+p2", "end", "+p3"];
        assert_eq!(rig.take(7).await, want, "{refusal:?}");
        assert_eq!(rig.health.kind(Kind::PODS).refused, None, "{refusal:?}");
        assert!(fake.seen()[8].uri.contains("resourceVersion=20&"), "{refusal:?}");
    }
}

#[tokio::test]
async fn whoever_refuses_every_watch_is_asked_for_pages_and_it_is_told() {
    let no = || FakeAnswer::refusal(504, "no");
    let mut script = vec![no(), no(), no(), page(10, "", &[pod(1, 3)])];
    script.extend(vec![no(); 5]);
    script.extend([no(), page(20, "", &[pod(2, 11)]), no()]);
    let fake = Fake::start(script).await;
    let mut rig = watch(fake.port(), Kind::PODS, hasty());
    assert_eq!(rig.take(6).await, ["begin", "+p1", "end", "begin", "+p2", "end"]);
    fake.wait_for(13).await;
    let refused = rig.health.kind(Kind::PODS).refused.expect("it is");
    assert_eq!((refused.count, &*refused.text), (10, "cannot watch pods: 504: no"));
}

#[tokio::test]
async fn a_list_that_is_asked_for_comes_though_the_watch_is_refused() {
    for refusal in [
        FakeAnswer::refusal(504, "no"),
        FakeAnswer::refusal(403, "no"),
        FakeAnswer::refusal(429, "no"),
        FakeAnswer::Cut,
    ] {
        let mut script = listed();
        script.push(refusal.clone());
        let fake = Fake::start(script).await;
        // Long enough to ask meanwhile.
        let pause = Duration::from_secs(1);
        let options = WatchOptions { backoff_min: pause, backoff_max: pause, ..quick() };
        let mut rig = watch(fake.port(), Kind::PODS, options);
        assert_eq!(rig.take(3).await, ["begin", "+p1", "end"]);
        fake.wait_for(3).await;
        fake.push(page(20, "", &[pod(2, 11)]));
        rig.health.request_relist(Kind::PODS);
        assert_eq!(rig.take(3).await, ["begin", "+p2", "end"], "{refusal:?}");
    }
}

#[tokio::test]
async fn a_streamed_list_that_never_says_that_it_is_complete_gives_way_to_pages() {
    let options = WatchOptions { stream_patience: Duration::from_millis(50), ..quick() };
    for events in [
        vec![],
        vec![event("ADDED", &pod(1, 3)), event("MODIFIED", &pod(1, 4)), bookmark(5, false)],
    ] {
        let mut script = vec![lines(&events, After::Hang); 3];
        script.push(page(10, "", &[pod(2, 9)]));
        script.push(lines(&[event("ADDED", &pod(3, 11))], After::Hang));
        let fake = Fake::start(script).await;
        let mut rig = watch(fake.port(), Kind::PODS, options.clone());
        let mut taken = rig.take(4).await;
        while taken.last().is_none_or(|it| it != "+p3") {
            taken.push(rig.next().await);
        }
        taken.retain(|it| !["silent", "lost", "back", "+p1"].contains(&&**it));
        assert_eq!(taken, ["begin", "begin", "begin", "begin", "+p2", "end", "+p3"]);
    }
}

#[tokio::test]
async fn a_bookmark_that_goes_back_is_followed_by_a_list() {
    let mut script = listed();
    script.push(lines(&[event("ADDED", &pod(2, 900)), bookmark(800, false)], After::Hang));
    script.push(page(801, "", &[pod(1, 3)]));
    script.push(lines(&[], After::Hang));
    let fake = Fake::start(script).await;
    let mut rig = watch(fake.port(), Kind::PODS, quick());
    assert_eq!(rig.take(7).await, ["begin", "+p1", "end", "+p2", "begin", "+p1", "end"]);
    // Whatever their versions are: they may have been passed.
    for kind in kinds().filter(|kind| *kind != Kind::PODS) {
        assert!(timeout(SOON, rig.health.cell(kind).relist_requested()).await.is_ok());
    }
    assert_eq!(rig.health.kind(Kind::PODS).resource_version, "801");
}
