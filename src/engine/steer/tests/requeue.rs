//! Refused pods whose only fitting nodes were not offered are requeued with a nomination.

use super::*;
use crate::model::{CannotJudge, Constraints, Kind};

/// A pod that has been steered in vain and is refused as any other: `t` would still take it.
fn spent(site: &mut TestReplica, me: &Pod, now_ms: u64) {
    let action = site.sent(me, now_ms);
    site.wrote(&action, Wrote::Changed, now_ms);
    let answer = site.asked(me, &WINDOW, ACTS, now_ms);
    assert_eq!(answer.unsteered, Some(Unsteered::Spent));
}

#[test]
fn a_pod_whose_only_node_was_not_offered_is_requeued_with_its_nomination() {
    let me = pod(1, 6);
    let mut site = site(false, &[&me]);
    spent(&mut site, &me, 0);
    let action = site.sent_at_requeue(1);
    assert_eq!((&*action.node, action.round, action.cause), ("t", 1, Cause::Elsewhere));
    assert!(site.decider.is_held(me.uid), "no other pod is sent there");
    assert_eq!(site.may_evict(&me), [false]);
    let record = site.decider.steers().record(me.uid).expect("it is under way");
    assert!(record.is_requeue && record.outcome.is_none());
    assert_eq!(site.requeued(9000), [], "not while it is under way");
    site.wrote(&action, Wrote::Done, 9001);
    assert_eq!(site.asked(&nominated(&me, "t"), &["t"], ACTS, 9002).accepted, [0]);
    assert_eq!(site.outcome(&me), Some(SteerOutcome::Honoured));
    site.see([seen_pod(&placed(&me, "t"))]);
    site.decider.expire_steers(&site.view, Tick(9003));
    assert!(site.is_left_clean());
}

#[test]
fn whoever_may_not_be_nominated_is_only_woken() {
    let plain = || pod(1, 1);
    let cannot_judge = Some(CannotJudge::Unclear);
    let unclear = Constraints { cannot_judge, ..Constraints::default() };
    let later = |pod: Pod| seen_pod(&Pod { resource_version: 50, ..pod });
    let cases = [
        (true, None, true),
        (false, None, false),
        (true, Some(later(Pod { grouped: true, ..plain() })), false),
        (true, Some(later(Pod { constraints: Some(Arc::new(unclear)), ..plain() })), false),
        (true, Some(later(nominated(&plain(), "x"))), false),
        (true, Some(Change::WatchLost(Kind::PODS)), false),
    ];
    for (acts, change, nominates) in cases {
        let mut site = site(false, &[&plain()]);
        spent(&mut site, &plain(), 0);
        site.see(change.clone());
        let requeues =
            site.decider.requeues(&site.view, Nominates::if_any(acts), Tick(1), 9, usize::MAX);
        assert_eq!(requeues.len(), 1, "it is woken: {change:?}");
        assert_eq!(requeues[0].steer.is_some(), nominates, "{acts} {change:?}");
    }
}

#[test]
fn a_node_that_was_offered_is_worth_a_plain_requeue() {
    let me = pod(1, 1);
    let mut site = site(false, &[&me]);
    spent(&mut site, &me, 0);
    site.see([seen_node(Node { resource_version: 2, ..home("x") })]);
    let requeues = site.requeued(1);
    assert!(requeues.len() == 1 && requeues[0].steer.is_none(), "{requeues:?}");
}

#[test]
fn a_budget_that_is_spent_costs_the_nomination_and_not_the_requeue() {
    let bounds = Bounds { margin_permille: 0, per_second: 2, per_app: 2 };
    let mut settings = settings(false);
    settings.classes[0].steering = Some(Steering::OFF.with(Cause::Elsewhere, Some(bounds)));
    let mut site = TestReplica::new(&settings);
    site.see([seen_node(home("t"))]);
    site.see(WINDOW.map(|name| seen_node(node(name, &[("pool", "ward")]))));
    let pods = [pod(1, 1), pod(2, 1), pod(3, 1)];
    site.see(pods.iter().map(seen_pod));
    for (at, pod) in (0..).zip(&pods) {
        spent(&mut site, pod, 1000 * at);
    }
    let nominated = |requeues: &[Requeue]| requeues.iter().filter(|it| it.steer.is_some()).count();
    let requeues = site.requeued(5000);
    assert_eq!((requeues.len(), nominated(&requeues)), (3, 2));
}

#[test]
fn the_gaps_are_those_of_the_requeue_however_it_ends() {
    let me = pod(1, 1);
    // Somebody else nominates and takes it back; or it is written, and lost by the attempts that it comes
    // into.
    for changed in [true, false] {
        let mut site = site(false, &[&me]);
        spent(&mut site, &me, 0);
        let mut now = 0;
        for gap in [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            let mut action = site.sent_at_requeue(now);
            if changed {
                site.wrote(&action, Wrote::Changed, now);
            }
            let rounds = if changed { 0 } else { MAX_ROUNDS };
            for round in 1..=rounds {
                site.wrote(&action, Wrote::Done, now);
                let again = site.asked(&me, &WINDOW, ACTS, now).steer;
                assert_eq!(again.is_some(), round < rounds);
                action = again.unwrap_or(action);
            }
            assert!(site.decider.steers().open.is_empty());
            assert_eq!(site.requeued(now + gap - 1), [], "{gap}");
            now += gap;
        }
    }
}

/// One pod whose writes fail must not open the breaker for all.
#[test]
fn after_a_write_that_failed_it_is_only_woken_for_a_while() {
    let me = pod(1, 1);
    let mut site = site(false, &[&me]);
    let action = site.sent(&me, 0);
    site.wrote(&action, Wrote::Failed, 0);
    let nominates: Vec<bool> = [0, 1000, 3000, 7000, 15_000]
        .map(|now| {
            let requeues = site.requeued(now);
            assert_eq!(requeues.len(), 1, "{now}");
            site.asked(&me, &WINDOW, ACTS, now);
            requeues[0].steer.is_some()
        })
        .into();
    assert_eq!(nominates, [false, false, false, false, true]);
}

#[test]
fn it_is_never_sent_again_to_a_target_that_kube_scheduler_refused() {
    let me = pod(1, 1);
    let mut site = site(false, &[&me]);
    let action = site.sent(&me, 0);
    let not_honoured = |site: &mut TestReplica, action: &SteerAction, now| {
        site.wrote(action, Wrote::Done, now);
        let answer = site.asked(&nominated(&me, &action.node), &WINDOW, ACTS, now);
        assert_eq!(answer.refused.map(|it| it.1), Some(Reason::PoolClosed));
        assert_eq!(site.outcome(&me), Some(SteerOutcome::NotHonoured));
    };
    not_honoured(&mut site, &action, 0);
    // There is no other: it is woken, and kube-scheduler chooses by itself.
    let requeues = site.requeued(1);
    assert!(requeues.len() == 1 && requeues[0].steer.is_none(), "{requeues:?}");
    site.see(["t2", "t3"].map(|name| seen_node(home(name))));
    let mut now = 1;
    let mut sent = Vec::new();
    for gap in [1000, 2000] {
        now += gap;
        let action = site.sent_at_requeue(now);
        not_honoured(&mut site, &action, now);
        sent.push(action.node.to_string());
    }
    sent.sort();
    assert_eq!(sent, ["t2", "t3"]);
    for gap in [4000, 8000] {
        now += gap;
        let requeues = site.requeued(now);
        assert!(requeues.len() == 1 && requeues[0].steer.is_none(), "{requeues:?}");
    }
    // Another node under another name.
    site.see([seen_node(home("t4"))]);
    assert_eq!(&*site.sent_at_requeue(now + 16_000).node, "t4");
}

/// What kube-scheduler made of a nomination ahead counts as well.
#[test]
fn a_target_of_a_nomination_ahead_that_kube_scheduler_refused_is_not_tried_again() {
    let me = pod(1, 1);
    let ahead = Pod { nominated_ahead: true, ..nominated(&me, "t") };
    for (asked, is_wanted) in [(ahead, false), (nominated(&me, "t"), true)] {
        let mut site = site(false, &[&me]);
        let answer = site.asked(&asked, &WINDOW, ACTS, 0);
        assert_eq!(answer.unsteered, Some(Unsteered::Nominated));
        site.see([seen_pod(&Pod { resource_version: 9, ..me.clone() })]);
        site.asked(
            &Pod { resource_version: 9, ..me.clone() },
            &WINDOW,
            SteerContext { acts: false, ..ACTS },
            1,
        );
        let requeues = site.requeued(2);
        assert_eq!((requeues.len(), requeues[0].steer.is_some()), (1, is_wanted));
    }
}

#[test]
fn after_a_restart_whoever_was_sent_away_is_requeued_with_a_nomination() {
    let (me, other) = (told(&pod(1, 1), Reason::Steered), told(&pod(2, 1), Reason::PoolClosed));
    let mut site = site(false, &[&me, &other]);
    assert_eq!(site.decider.adopt_conditions(&site.view, Tick(0)), 2);
    // Their scheduler asks here.
    site.asked(&pod(3, 99), &WINDOW, SteerContext { acts: false, ..ACTS }, 0);
    assert_eq!(site.decider.adopt_conditions(&site.view, Tick(0)), 0);
    let requeues = site.requeued(0);
    let sent = requeues.iter().map(|it| (it.pod.uid.0, it.steer.is_some()));
    // The other may have been refused by nodes that it passes on now: it asks, and is steered by that.
    assert_eq!(sent.collect::<Vec<_>>(), [(1, true), (2, false)]);
}

/// No preemption for a pod that is requeued soon, with a nomination of a node that has room.
#[test]
fn nobody_is_evicted_for_a_pod_that_has_a_free_place() {
    let me = pod(1, 6);
    let mut site = site(false, &[&me]);
    site.see([seen_node(home("t2"))]);
    spent(&mut site, &me, 0);
    assert_eq!(site.may_evict(&me), [false]);
    // It may not be nominated: then preemption is all that is left.
    site.asked(&me, &WINDOW, SteerContext { acts: false, ..ACTS }, 1);
    assert_eq!(site.may_evict(&me), [true]);
    site.asked(&me, &WINDOW, ACTS, 2);
    assert_eq!(site.may_evict(&me), [false]);
    site.see([seen_pod(&placed(&pod(9, 9), "t2"))]);
    assert_eq!(site.may_evict(&me), [true], "there is no room left");
}
