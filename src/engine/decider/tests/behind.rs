//! What is not known yet: to us while the watch is lost, to kube-scheduler of a pod that is gone.

use super::*;

#[test]
fn a_lost_watch_leaves_in_doubt_whether_the_last_attempt_is_dead() {
    let mut site = site(&["a", "b"]);
    let (first, second) = (pod(1, 5), pod(2, 5));
    assert_eq!(site.filter(&first, &["a"], 0), Ok(vec!["a"]));
    site.see([Change::WatchLost(Kind::PODS)]);
    // Its binding to `a` may have been carried out and the answer be lost.
    assert_eq!(site.filter(&first, &["b"], 1), Ok(vec!["b"]));
    assert_eq!(site.filter(&second, &["a"], 1), Err(Reason::AllocationLimit));
    assert_eq!(site.filter(&first, &["x"], 1), Err(Reason::UnknownNode));
    assert_eq!(site.filter(&second, &["a", "b"], 1), Err(Reason::AllocationLimit));
    site.see([Change::WatchBack(Kind::PODS)]);
    assert_eq!(site.filter(&second, &["a"], 2), Err(Reason::AllocationLimit));
    assert_eq!(site.filter(&first, &["b"], 2), Ok(vec!["b"]));
    assert_eq!(site.filter(&second, &["a"], 2), Ok(vec!["a"]));
}

#[test]
fn while_the_watch_is_silent_or_lost_no_hold_ends_by_its_time() {
    for doubt in [Change::WatchSilent, Change::WatchLost] {
        let mut site = site(&["a"]);
        let (first, second) = (pod(1, 5), pod(2, 5));
        assert_eq!(site.filter(&first, &["a"], 0), Ok(vec!["a"]));
        site.see([doubt(Kind::PODS)]);
        // It may be on `a` for a minute already.
        assert_eq!(site.decider.expire(&site.view, Tick(60_000)), 0);
        assert_eq!(site.filter(&second, &["a"], 60_000), Err(Reason::AllocationLimit));
        site.see([Change::WatchBack(Kind::PODS)]);
        assert_eq!(site.decider.expire(&site.view, Tick(60_001)), 1);
        assert_eq!(site.filter(&second, &["a"], 60_001), Ok(vec!["a"]));
    }
}

#[test]
fn a_process_that_was_stopped_ends_no_hold_before_it_has_read_what_waited() {
    let mut site = site(&["a"]);
    assert_eq!(site.filter(&pod(1, 5), &["a"], 0), Ok(vec!["a"]));
    let mut ended = |ms| site.decider.expire(&site.view, Tick(ms));
    assert_eq!([15_001, 30_000].map(&mut ended), [0, 1]);
    assert_eq!(site.filter(&pod(2, 5), &["a"], 30_000), Ok(vec!["a"]));
    let mut ended = |ms| site.decider.expire(&site.view, Tick(ms));
    // It stands still for half a minute.
    assert_eq!([60_000, 60_050, 60_999, 61_000].map(&mut ended), [0, 0, 0, 1]);
}

/// Which is what a small cluster is, most of the time.
#[test]
fn a_silent_watch_leaves_nothing_else_in_doubt() {
    let mut site = site(&["a", "b"]);
    let (first, second) = (pod(1, 5), pod(2, 5));
    site.see([Change::WatchSilent(Kind::PODS)]);
    assert_eq!(site.filter(&first, &["a"], 0), Ok(vec!["a"]));
    // Its attempt is dead.
    assert_eq!(site.filter(&first, &["b"], 1), Ok(vec!["b"]));
    assert_eq!(site.filter(&second, &["a"], 1), Ok(vec!["a"]));
    site.see([Change::PodGone { uid: second.uid }]);
    assert!(!site.decider.is_held(second.uid));
}

#[test]
fn who_is_gone_holds_nothing_and_waits_for_no_requeue() {
    let mut site = site(&["a"]);
    let (small, large) = (pod(1, 4), pod(2, 9));
    site.see([seen_pod(&small), seen_pod(&large)]);
    site.see([&small, &large].map(|it| Change::PodGone { uid: it.uid }));
    // kube-scheduler has not heard of it yet.
    assert_eq!(site.filter(&small, &["a"], 0), Ok(vec!["a"]));
    assert_eq!(site.filter(&large, &["a"], 0), Err(Reason::AllocationLimit));
    let ords = site.ords(&["a"]);
    site.decider.hold(&site.view, &small, &ords, Tick(1));
    site.decider.refuse(&site.view, &Arc::new(large), &ords, Reason::Overloaded, Tick(1));
    assert!(site.decider.holds().is_empty() && site.decider.unschedulable().is_empty());
}

#[test]
fn what_a_restored_server_says_is_newer_than_what_was_known() {
    let mut site = site(&["a"]);
    let at = |resource_version, pod| Pod { resource_version, ..pod };
    let (back, large) = (at(100, pod(1, 4)), at(100, pod(2, 9)));
    site.see([seen_pod(&back), seen_pod(&large)]);
    assert_eq!(site.filter(&large, &["a"], 0), Err(Reason::AllocationLimit));
    site.see([Change::PodGone { uid: back.uid }]);
    let list = [seen_pod(&at(6, pod(1, 4))), seen_pod(&at(7, pod(2, 1)))];
    let (begin, end) = (Change::RelistBegin(Kind::PODS), Change::RelistEnd(Kind::PODS));
    site.see([begin].into_iter().chain(list).chain([end]));
    // The one that is back waits again, and the other asks for less than when it was refused.
    let requeues = site.decider.requeues(&site.view, Nominates::NONE, Tick(5000), 10, 1000);
    let asks: Vec<_> = requeues.iter().map(|it| it.pod.requests.base.cpu_milli).collect();
    assert_eq!(asks, [1000]);
    assert_eq!(site.filter(&back, &["a"], 5001), Ok(vec!["a"]));
    assert!(site.decider.is_held(back.uid));
}
