//! What is said of the watch itself: silent, lost, and back.

use super::*;

#[tokio::test]
async fn a_server_that_restarts_is_found_again() {
    let mut script = listed();
    script.push(lines(&[event("ADDED", &pod(2, 11))], After::Hang));
    let fake = Fake::start(script).await;
    let port = fake.port();
    let mut rig = watch(port, Kind::PODS, quick());
    assert_eq!(rig.take(4).await, ["begin", "+p1", "end", "+p2"]);
    fake.stop().await;
    // Long enough for attempts that are refused by the empty port.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let error = rig.health.kind(Kind::PODS).error.expect("nobody is there");
    assert!(error.contains("watch pods"), "{error}");
    let missed = [event("DELETED", &pod(1, 12)), event("ADDED", &pod(3, 13))];
    let again = vec![FakeAnswer::Cut, lines(&missed, After::Hang)];
    let fake = Fake::start_on(port, again).await;
    assert_eq!([rig.next().await, rig.next().await, rig.next().await], ["lost", "-1", "+p3"]);
    assert_eq!(rig.next().await, "back", "what was missed comes first, all of it");
    assert!(fake.seen()[1].uri.contains("resourceVersion=11&"));
    assert_eq!(rig.health.kind(Kind::PODS).error, None);
}

#[tokio::test]
async fn an_open_watch_that_says_nothing_is_told_of_before_it_is_given_up() {
    let options = WatchOptions { silent_after: Duration::from_millis(300), ..quick() };
    let mut script = listed();
    script.push(lines(&[event("ADDED", &pod(2, 11))], After::Hang));
    let fake = Fake::start(script).await;
    let mut rig = watch(fake.port(), Kind::PODS, options);
    assert_eq!(rig.take(4).await, ["begin", "+p1", "end", "+p2"]);
    assert_eq!(rig.next().await, "silent");
    assert_eq!((fake.seen().len(), rig.health.kind(Kind::PODS).num_failures), (3, 0));
}

#[tokio::test]
async fn a_watch_that_nobody_answers_is_as_good_as_silent() {
    let options = WatchOptions { silent_after: Duration::from_millis(300), ..quick() };
    let mut script = listed();
    script.push(FakeAnswer::Silence);
    let fake = Fake::start(script).await;
    let mut rig = watch(fake.port(), Kind::PODS, options);
    assert_eq!(rig.take(3).await, ["begin", "+p1", "end"]);
    assert_eq!([rig.next().await, rig.next().await], ["back", "lost"]);
}

#[tokio::test]
async fn a_watch_that_closes_after_a_bookmark_is_not_lost() {
    let mut script = listed();
    script.push(lines(&[bookmark(11, false)], After::End));
    script.push(lines(&[event("ADDED", &pod(2, 12))], After::Hang));
    let fake = Fake::start(script).await;
    let mut rig = watch(fake.port(), Kind::PODS, quick());
    assert_eq!(rig.take(3).await, ["begin", "+p1", "end"]);
    rig.says(&["back", "silent", "+p2", "back"]).await;
}

#[tokio::test]
async fn what_happens_during_a_list_is_told_before_the_watch_is_back() {
    let options = WatchOptions { caught_up_pause: Duration::from_millis(300), ..quick() };
    let mut script = listed();
    script.push(lines(&[event("ADDED", &pod(2, 11))], After::Hang));
    let list = || page(20, "", &[pod(2, 11)]);
    let then = || lines(&[event("ADDED", &pod(3, 21)), event("ADDED", &pod(4, 22))], After::Hang);
    script.extend([list(), then(), FakeAnswer::refusal(500, "no"), list(), then()]);
    let fake = Fake::start(script).await;
    let mut rig = watch(fake.port(), Kind::PODS, options);
    assert_eq!(rig.take(4).await, ["begin", "+p1", "end", "+p2"]);
    rig.health.request_relist(Kind::PODS);
    rig.says(&["silent", "begin", "+p2", "end", "+p3", "+p4", "back"]).await;
    // No doubt of the server before it refuses a page.
    rig.health.request_relist(Kind::PODS);
    rig.says(&["silent", "lost", "begin", "+p2", "end", "+p3", "+p4", "back"]).await;
}

#[tokio::test]
async fn events_without_a_pause_do_not_keep_a_watch_lost() {
    let options = WatchOptions { caught_up_pause: Duration::from_millis(20), ..quick() };
    let mut script = listed();
    script.push(lines(&[], After::End));
    let busy: Vec<String> = (2..400).map(|at| event("ADDED", &pod(at, 10 + at))).collect();
    script.push(lines(&busy, After::Hang));
    let fake = Fake::start(script).await;
    let mut rig = watch(fake.port(), Kind::PODS, options);
    assert_eq!(rig.take(3).await, ["begin", "+p1", "end"]);
    assert_eq!([rig.next().await, rig.next().await], ["back", "lost"]);
    let mut before = Vec::new();
    while before.last().is_none_or(|it| it != "back") {
        // Each line has been there for long when the one before it is taken.
        tokio::time::sleep(Duration::from_millis(1)).await;
        before.push(rig.next().await);
    }
    assert!(before.len() < 300, "{} changes, then the watch is back", before.len());
}
