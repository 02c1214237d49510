//! The actor by itself, against an API server in memory: the way of an order from submission to
//! outcome.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use serde_json::{Value, json};
use sigma::control::{ActionOutcome, BreakerState, WhyOff};
use sigma::model::{Action, EquivalenceClass, NOMINATE_AHEAD, REQUEUE, STEER};

use crate::faults::Fault;
use crate::site::pod;
use crate::stage::Stage;
use crate::support::apiserver::ApiServer;
use crate::support::{PATIENCE, wait};

#[test]
fn a_steer_is_written_told_and_recorded() {
    let stage = Stage::new();
    let cart = stage.pod("cart");
    let order = Action::nominate(&STEER, &cart, "n7", "home");
    assert_eq!(stage.outcome(order), ActionOutcome::Written);
    let seen = stage.object("cart");
    assert_eq!(seen["status"]["nominatedNodeName"], "n7");
    assert!(seen["metadata"]["annotations"]["sigma.io/requeue"].is_string(), "it is woken: {seen}");
    let record = stage.last(&STEER);
    assert_eq!((record.cause, record.attempts, record.write.node()), ("home", 1, Some("n7")));

    // No nomination replaces another one, by an old snapshot of the pod or by a fresh one.
    let fresh = stage.read("cart");
    for (pod, node, want) in [
        (&cart, "n8", ActionOutcome::Changed(Some("n7".into()))),
        (&fresh, "n8", ActionOutcome::Changed(Some("n7".into()))),
        (&fresh, "n7", ActionOutcome::Written),
    ] {
        let again = Action::nominate(&STEER, pod, node, "home");
        assert_eq!(stage.outcome(again), want, "{node}");
    }
    let clear = |node: &str| Action::clear(&STEER, &fresh, node, "home");
    assert_eq!(stage.outcome(clear("n8")), ActionOutcome::Changed(Some("n7".into())));
    assert_eq!(stage.outcome(clear("n7")), ActionOutcome::Written);
    assert!(stage.object("cart")["status"]["nominatedNodeName"].is_null());

    let mut bound = stage.object("cart");
    bound["spec"]["nodeName"] = json!("n9");
    stage.api.put("pods", bound);
    let order = || Action::nominate(&STEER, &cart, "n7", "home");
    assert_eq!(stage.outcome(order()), ActionOutcome::AlreadyBound);
    stage.api.put("pods", pod("cart", "1"));
    assert_eq!(stage.outcome(order()), ActionOutcome::Gone, "another pod has its name");
    stage.api.delete("pods", "shop/cart");
    assert_eq!(stage.outcome(order()), ActionOutcome::Gone);
    assert_eq!(stage.state(&STEER).records.len(), 9);
}

#[test]
fn a_write_that_fails_is_tried_again_and_then_given_up() {
    let (stage, means) = (Stage::new(), &NOMINATE_AHEAD);
    let _candidate = stage.lead();
    let order = |name| Action::nominate(means, &stage.pod(name), "n1", "backlog");
    stage.proxy.spoil("PATCH ", 2, Fault::Refused(500, 0));
    assert_eq!(stage.outcome(order("first")), ActionOutcome::Written);
    assert_eq!(stage.last(means).attempts, 3);
    stage.proxy.spoil("PATCH ", 3, Fault::Reset);
    let outcome = stage.outcome(order("second"));
    assert!(matches!(outcome, ActionOutcome::Failed(_)), "{outcome:?}");
    assert_eq!(stage.last(means).attempts, 3);
    // One that was carried out all the same is not taken for somebody else's.
    stage.proxy.spoil("PATCH ", 1, Fault::Half(20));
    assert_eq!(stage.outcome(order("lost")), ActionOutcome::Written);
    assert_eq!(stage.last(means).attempts, 2);
    // What must be done is tried for as long as it takes.
    stage.proxy.spoil("PATCH ", 5, Fault::Refused(503, 0));
    assert_eq!(stage.outcome(order("third").must_complete()), ActionOutcome::Written);
    assert_eq!(stage.last(means).attempts, 6);
}

/// Row 55, the writes of a kind of action keep failing: the breaker of the kind opens, and sigma writes no more
/// actions of this kind. `sigma_breaker_open` and `/api/v1/actions` show that. From time to time sigma tries one
/// write. When that write succeeds, the breaker closes. Answers and other kinds continue.
#[test]
fn a_means_that_keeps_failing_is_left_alone_until_a_write_works() {
    let stage = Stage::new();
    let order = |name| Action::nominate(&STEER, &stage.pod(name), "n1", "home");
    let breaker = || stage.state(&STEER).breaker;
    stage.proxy.spoil("PATCH ", 5, Fault::Refused(500, 0));
    let outcome = stage.outcome(order("first"));
    assert!(matches!(outcome, ActionOutcome::Failed(_)), "{outcome:?}");
    assert_eq!(breaker(), BreakerState::Closed);
    assert_eq!(
        stage.outcome(order("second")),
        ActionOutcome::Expired,
        "the fifth failure opens it"
    );
    assert_eq!((breaker(), stage.proxy.asked("PATCH ")), (BreakerState::Open, 5));
    assert_eq!(stage.why_off(&STEER), Some(WhyOff::Breaker));
    assert_eq!((stage.outcome(order("third")), stage.actor.room(&STEER)), (ActionOutcome::Off, 0));
    let ring = Action::requeue(&stage.pod("requeued"), "AllocationLimit");
    assert_eq!(stage.outcome(ring), ActionOutcome::Written, "another means is another matter");
    wait("it is half open", || breaker() == BreakerState::HalfOpen);
    assert_eq!(stage.actor.room(&STEER), 1);
    assert_eq!(stage.outcome(order("probe")), ActionOutcome::Written);
    assert_eq!(breaker(), BreakerState::Closed);
    // Nominations that are written and not honoured are failures, too, where unrelated pods are concerned.
    let in_vain = |name: &str, cpu: &str| {
        let pod = stage.pod_of(name, cpu);
        stage.actor.was_of_use(&STEER, (EquivalenceClass::of(&pod), pod.uid), Some(false));
    };
    (0..20).for_each(|at| in_vain(&format!("cart-{at}"), "1"));
    assert_eq!((breaker(), stage.state(&STEER).paused_classes), (BreakerState::Closed, 1));
    assert!(stage.actor.is_paused(&STEER, &stage.pod_of("cart", "1")));
    assert!(!stage.actor.is_paused(&STEER, &stage.pod_of("song", "2")));
    assert!(!stage.actor.is_paused(&NOMINATE_AHEAD, &stage.pod_of("cart", "1")));
    in_vain("song", "2");
    assert_eq!(stage.outcome(order("fourth")), ActionOutcome::Written);
    in_vain("film", "3");
    assert_eq!(stage.outcome(order("fifth")), ActionOutcome::Off);
}

#[test]
fn a_newer_order_about_the_pod_takes_the_place_of_one_that_waits() {
    let stage = Stage::new();
    let _candidate = stage.lead();
    let cart = stage.pod("cart");
    stage.proxy.spoil("PATCH ", 1, Fault::Late(Duration::from_millis(300)));
    let order = |node: &str| Action::nominate(&NOMINATE_AHEAD, &cart, node, "backlog");
    let first = stage.submit(order("n1"));
    wait("it is on its way", || stage.proxy.asked("PATCH ") == 1);
    let (second, third) = (stage.submit(order("n2")), stage.submit(order("n3")));
    let told = |it: Receiver<ActionOutcome>| it.recv_timeout(PATIENCE).expect("an outcome");
    assert_eq!(told(second), ActionOutcome::Replaced);
    assert_eq!(told(first), ActionOutcome::Written);
    // Not both at once: the third comes to a pod whose nomination is another one by then.
    assert_eq!(told(third), ActionOutcome::Changed(Some("n1".into())));
    assert_eq!(stage.proxy.asked("PATCH "), 2);
}

#[test]
fn a_means_that_is_off_takes_no_orders_and_a_throttled_one_waits() {
    let stage = Stage::new();
    stage.actor.switch(&STEER, false);
    let order = |name| Action::nominate(&STEER, &stage.pod(name), "n1", "home");
    assert_eq!(stage.outcome(order("off")), ActionOutcome::Off);
    assert_eq!(stage.proxy.asked("PATCH "), 0);
    let must = stage.submit(order("must").must_complete());
    stage.actor.switch(&STEER, true);
    assert_eq!(must.recv_timeout(PATIENCE), Ok(ActionOutcome::Written));

    stage.proxy.spoil("PATCH ", 1, Fault::Refused(429, 60));
    let outcome = stage.outcome(order("busy"));
    assert!(matches!(&outcome, ActionOutcome::Failed(why) if why.contains("429")), "{outcome:?}");
    let sent = stage.proxy.asked("PATCH ");
    assert_eq!(stage.outcome(order("waits")), ActionOutcome::Expired);
    assert_eq!(stage.proxy.asked("PATCH "), sent, "the server asked for a minute of silence");
    // Another means has another queue, and nobody has asked that one to be silent.
    let ring = Action::requeue(&stage.pod("requeued"), "AllocationLimit");
    assert_eq!(stage.outcome(ring), ActionOutcome::Written);
}

#[test]
fn a_right_that_is_missing_is_found_and_comes_back_by_itself() {
    let stage = Stage::new();
    stage.api.forbid("patch", "pods/status");
    let order = |name| Action::nominate(&STEER, &stage.pod(name), "n1", "home");
    let outcome = stage.outcome(order("first"));
    assert!(
        matches!(&outcome, ActionOutcome::Forbidden(why) if why.contains("pods/status")),
        "{outcome:?}"
    );
    let missing = Some(WhyOff::RightMissing("patch pods/status".to_owned()));
    wait("the right is missing", || stage.why_off(&STEER) == missing);
    assert_eq!(stage.outcome(order("second")), ActionOutcome::Off);
    let must = stage.submit(order("must").must_complete());
    stage.api.permit("patch", "pods/status");
    wait("it acts again", || stage.why_off(&STEER).is_none());
    assert_eq!(must.recv_timeout(PATIENCE), Ok(ActionOutcome::Written));
    let reasons = || -> Vec<Value> {
        stage.api.writes("events").iter().map(|it| it.body["reason"].clone()).collect()
    };
    wait("both are told", || reasons() == ["RightMissing", "RightGranted"]);
    // An unschedulable answer for another reason than a right: the means goes on.
    stage.proxy.spoil("PATCH ", 1, Fault::Refused(403, 0));
    let outcome = stage.outcome(order("webhook"));
    assert!(matches!(outcome, ActionOutcome::Forbidden(_)), "{outcome:?}");
    wait("it goes on", || stage.why_off(&STEER).is_none());
    assert_eq!(stage.outcome(order("third")), ActionOutcome::Written);
    assert_eq!(reasons().len(), 2);
}

#[test]
fn where_nobody_tells_of_rights_a_refusal_does_not_end_the_requeue() {
    let stage = Stage::new();
    stage.proxy.spoil("selfsubjectaccessreviews", usize::MAX, Fault::Refused(403, 0));
    stage.proxy.spoil("PATCH ", 1, Fault::Refused(403, 0));
    let ring = |name| Action::requeue(&stage.pod(name), "AllocationLimit");
    let outcome = stage.outcome(ring("webhook"));
    assert!(matches!(outcome, ActionOutcome::Forbidden(_)), "{outcome:?}");
    wait("it goes on", || stage.why_off(&REQUEUE).is_none());
    assert_eq!(stage.outcome(ring("next")), ActionOutcome::Written);
    assert_eq!(stage.why_off(&STEER), Some(WhyOff::RightUnknown), "that needs a proof");
}

#[test]
fn before_its_right_is_proven_a_means_does_not_begin_but_the_requeue_does() {
    let stage = Stage::silent(Arc::new(ApiServer::start()));
    for means in [&REQUEUE, &STEER] {
        stage.actor.switch(means, true);
    }
    let order = Action::nominate(&STEER, &stage.pod("cart"), "n1", "home");
    assert_eq!(stage.outcome(order), ActionOutcome::Off);
    assert_eq!(stage.why_off(&STEER), Some(WhyOff::RightUnknown));
    let ring = Action::requeue(&stage.pod("requeued"), "AllocationLimit");
    assert_eq!(stage.outcome(ring), ActionOutcome::Written);
}

#[test]
fn what_concerns_the_whole_cluster_is_done_by_the_leader_alone() {
    let stage = Stage::new();
    let order = |name| Action::nominate(&NOMINATE_AHEAD, &stage.pod(name), "n1", "backlog");
    assert_eq!(stage.outcome(order("early")), ActionOutcome::Off);
    assert_eq!(stage.why_off(&NOMINATE_AHEAD), Some(WhyOff::NotLeader(None)));
    let candidate = stage.lead();
    assert_eq!(stage.outcome(order("led")), ActionOutcome::Written);
    let lease = || stage.api.object("leases", "shop/sigma").expect("a lease")["spec"].take();
    assert_eq!(lease()["holderIdentity"], stage.leadership.state().identity);
    // One that waits when we lead no longer is not begun.
    stage.proxy.spoil("PATCH ", 1, Fault::Refused(429, 3));
    let sent = stage.proxy.asked("PATCH ") + 1;
    let busy = stage.submit(order("busy"));
    wait("it is refused", || stage.proxy.asked("PATCH ") == sent);
    candidate.stop();
    wait("the lease is given back", || lease()["holderIdentity"] == "");
    assert!(!stage.leadership.is_leader());
    assert_eq!(stage.outcome(order("late")), ActionOutcome::Off);
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!((stage.proxy.asked("PATCH "), busy.try_recv().ok()), (sent, None));
    // Steers and requeues are written by whoever answered.
    let steer = Action::nominate(&STEER, &stage.pod("steered"), "n1", "home");
    assert_eq!(stage.outcome(steer), ActionOutcome::Written);
}
