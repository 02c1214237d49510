//! Nominations that somebody else has made: nothing is written over them, and nothing decided against them.

use super::*;

/// The pod as a watch shows it later than any request.
fn known_later(pod: Pod) -> Pod {
    Pod { resource_version: 100, ..pod }
}

#[test]
fn a_pod_that_returns_with_anothers_nomination_ends_its_steer() {
    let me = pod(1, 1);
    let foreign = nominated(&me, "y");
    // By the request, or by a watch that knows more than the request does.
    for (asked, seen) in [(&foreign, None), (&me, Some(known_later(foreign.clone())))] {
        for written in [true, false] {
            for offered in [&WINDOW[..], &["x", "t"], &["t"]] {
                let mut site = site(false, &[&me]);
                let order = site.sent(&me, 0);
                if written {
                    site.wrote(&order, Wrote::Done, 1);
                }
                site.see(seen.iter().map(seen_pod));
                let answer = site.asked(asked, offered, ACTS, 5);
                assert_eq!(site.outcome(&me), Some(SteerOutcome::Overruled), "{offered:?}");
                // What it would be answered without a steer.
                let takes = offered.iter().position(|it| *it == "t");
                let takes: Vec<u32> = takes.into_iter().map(|at| at as u32).collect();
                assert_eq!((answer.steer, answer.accepted), (None, takes), "{offered:?}");
                // It keeps nothing but what the answer does.
                assert!(!site.decider.is_held(me.uid));
                assert!(site.decider.expire_steers(&site.view, Tick(6)).is_empty());
            }
        }
    }
}

#[test]
fn while_it_stands_the_pod_is_neither_steered_nor_nominated() {
    let me = pod(1, 1);
    let foreign = known_later(nominated(&me, "y"));
    for asked in [&me, &foreign] {
        let mut site = site(false, &[&foreign]);
        let answer = site.asked(asked, &WINDOW, ACTS, 0);
        assert_eq!((answer.steer, answer.unsteered), (None, Some(Unsteered::Nominated)));
        assert_eq!(site.may_evict(asked), [true], "preemption goes on with its own");
        for now in [1, 2000, 9000] {
            let requeues = site.requeued(now);
            assert!(requeues.iter().all(|it| it.steer.is_none()), "{requeues:?}");
        }
        // Once it is gone, the pod is as any other.
        site.see([seen_pod(&Pod { resource_version: 101, ..me.clone() })]);
        assert_eq!(&*site.sent_at_requeue(60_000).node, "t");
    }
}

/// The write itself says so: the fence is for this too.
#[test]
fn a_write_that_finds_anothers_nomination_ends_the_steer() {
    let me = pod(1, 1);
    let mut site = site(false, &[&me]);
    let order = site.sent(&me, 0);
    site.wrote(&order, Wrote::Changed, 4);
    assert_eq!(site.outcome(&me), Some(SteerOutcome::Overruled));
    site.see([seen_pod(&known_later(nominated(&me, "y")))]);
    assert!(site.requeued(5).iter().all(|it| it.steer.is_none()));
    assert!(site.decider.expire_steers(&site.view, Tick(6)).is_empty(), "nothing is taken back");
}

#[test]
fn a_nomination_of_ours_that_nobody_wants_is_taken_back_unless_it_may_be_anothers() {
    let me = Pod { priority: 9, ..pod(1, 1) };
    let ours = nominated(&me, "t");
    let leaving = Pod { terminating: true, priority: 0, ..placed(&pod(7, 1), "t") };
    for (seen, wanted) in [
        (vec![], true),
        (vec![seen_pod(&known_later(ours.clone()))], true),
        // Somebody has replaced it, or preemption makes room on the very node.
        (vec![seen_pod(&known_later(nominated(&me, "y")))], false),
        (vec![seen_pod(&leaving)], false),
    ] {
        let mut site = site(false, &[&me]);
        let order = site.sent(&me, 0);
        site.wrote(&order, Wrote::Done, 1);
        // kube-scheduler has looked at it, and offers others.
        site.asked(&ours, &WINDOW, ACTS, 2);
        assert_eq!(site.outcome(&me), Some(SteerOutcome::NotHonoured));
        site.see(seen.clone());
        let cleared = site.decider.expire_steers(&site.view, Tick(3));
        let nodes: Vec<&str> = cleared.iter().map(|it| &*it.node).collect();
        assert_eq!(nodes, if wanted { vec!["t"] } else { vec![] }, "{seen:?}");
        assert!(site.decider.expire_steers(&site.view, Tick(4)).is_empty(), "once");
    }
}

/// It was refused for want of an offered node. The answer without a steer is that node by now.
#[test]
fn who_has_an_offered_node_by_now_is_not_sent_away_again() {
    let me = pod(1, 1);
    let mut site = site(false, &[&me]);
    let order = site.sent(&me, 0);
    site.wrote(&order, Wrote::Done, 1);
    site.see([seen_node(Node { resource_version: 2, ..home("x") })]);
    let answer = site.asked(&told(&me, Reason::Steered), &WINDOW, ACTS, 2);
    assert_eq!((answer.steer, answer.accepted), (None, vec![0]));
    assert_eq!(site.outcome(&me), Some(SteerOutcome::Lost));
}

/// kube-scheduler has evicted for the pod, and tries the node alone. It has heard that the victim is gone
/// before us: refused by our older snapshot, the pod would get victims elsewhere.
#[test]
fn a_node_that_preemption_has_made_free_is_not_refused_for_what_we_have_not_heard() {
    let me = Pod { priority: 9, ..nominated(&pod(1, 6), "t") };
    let leaving = |cpu, priority| Pod { terminating: true, priority, ..placed(&pod(7, cpu), "t") };
    let full = || leaving(9, 0);
    let elsewhere = Pod { nominated: Some("y".into()), ..me.clone() };
    let unnominated = Pod { nominated: None, ..me.clone() };
    for (asked, on_node, offered, takes) in [
        (&me, full(), &["t"][..], true),
        // Among others it is no answer about the nomination.
        (&me, full(), &["t", "x"], false),
        (&elsewhere, full(), &["t"], false),
        (&unnominated, full(), &["t"], false),
        // Nobody leaves whom the pod could have evicted.
        (&me, Pod { terminating: false, ..full() }, &["t"], false),
        (&me, leaving(9, 9), &["t"], false),
    ] {
        let mut site = site(false, &[asked, &on_node]);
        let answer = site.asked(asked, offered, SteerContext { acts: false, ..ACTS }, 0);
        assert_eq!(
            answer.accepted,
            if takes { vec![0] } else { vec![] },
            "{offered:?} {on_node:?}"
        );
        assert_eq!(site.decider.unschedulable().is_empty(), takes);
    }
    // The rest of the node is too small for it as well.
    let stays = Pod { priority: 0, ..placed(&pod(8, 9), "t") };
    let mut site = site(false, &[&me, &leaving(3, 0), &stays]);
    assert!(site.asked(&me, &["t"], ACTS, 0).accepted.is_empty());
}
