//! Who is steered, and who is not.

use super::*;
use crate::model::{
    BoundClaim, CannotJudge, Constraints, HashedText, Kind, LabelOperator, LabelSet, Namespaces,
    NodeTerm, ObjectName, PodAffinityTerm, Requirement, VolumeTopology,
};
use crate::testing::claim;

#[test]
fn whom_a_steer_could_harm_is_not_steered() {
    let plain = || pod(1, 1);
    let off = SteerContext { acts: false, ..ACTS };
    let told = Pod {
        condition: Some(UnschedulableCondition { reason: Some(Reason::Steered) }),
        ..plain()
    };
    let cannot_judge = Some(CannotJudge::Unclear);
    let unclear = Constraints { cannot_judge, ..Constraints::default() };
    let claims = [claim("data")].into();
    let cases: [(Pod, SteerContext, Unsteered); 9] = [
        (plain(), off, Unsteered::Off),
        (Pod { grouped: true, ..plain() }, ACTS, Unsteered::Grouped),
        (Pod { constraints: Some(Arc::new(unclear)), ..plain() }, ACTS, Unsteered::Constrained),
        (Pod { claims, ..plain() }, ACTS, Unsteered::Constrained),
        (Pod { gated: true, ..plain() }, ACTS, Unsteered::NotPending),
        (Pod { terminating: true, ..plain() }, ACTS, Unsteered::NotPending),
        (Pod { terminal: true, ..plain() }, ACTS, Unsteered::NotPending),
        (nominated(&plain(), "t"), ACTS, Unsteered::Nominated),
        (told, ACTS, Unsteered::SameText),
    ];
    for (me, context, want) in cases {
        let mut site = site(false, &[&me]);
        let answer = site.asked(&me, &WINDOW, context, 0);
        assert_eq!((answer.steer, answer.unsteered), (None, Some(want)), "{me:?}");
        assert_eq!(answer.refused.map(|it| it.1), Some(Reason::PoolClosed));
        assert!(site.decider.steers().open.is_empty() && site.decider.holds().is_empty());
        // Nothing is spent by it. (Whoever has ended does not come back.)
        if !me.terminal {
            site.see([seen_pod(&Pod { resource_version: 9, ..plain() })]);
            site.sent(&plain(), 10);
        }
    }
}

/// A pod is judged by its volume from when it is known, and by what is known of it then.
#[test]
fn a_pod_is_steered_where_its_volume_is() {
    let me = Pod { claims: [claim("data")].into(), ..pod(1, 1) };
    let mut site = site(false, &[&me]);
    assert_eq!(site.asked(&me, &WINDOW, ACTS, 0).unsteered, Some(Unsteered::Constrained));
    site.see(bound(&me, nowhere()));
    assert_eq!(site.asked(&me, &WINDOW, ACTS, 1).unsteered, Some(Unsteered::Nowhere));
    site.see(bound(&me, VolumeTopology::default()));
    site.sent(&me, 2);
}

/// The reach of a volume that can be used on no node.
fn nowhere() -> VolumeTopology {
    let asked = Requirement { key: "disk".into(), is: LabelOperator::In(["none".into()].into()) };
    let term = NodeTerm { labels: [asked].into(), ..NodeTerm::default() };
    VolumeTopology { node_terms: Some([term].into()), ..VolumeTopology::default() }
}

/// The pod's claim is bound to a volume with this reach.
fn bound(pod: &Pod, reach: VolumeTopology) -> [Change; 2] {
    let name = pod.claims[0].name;
    let volume = ObjectName(name.0 + 1);
    [
        Change::seen(name, Some(BoundClaim { volume, owner: 0 })),
        Change::seen(volume, Some(Arc::new(reach))),
    ]
}

#[test]
fn what_a_watch_knows_counts_as_much_as_the_request() {
    let me = pod(1, 1);
    let known = |pod: Pod| Pod { resource_version: 9, ..pod };
    for (known, want) in [
        (known(told(&me, Reason::Steered)), Unsteered::SameText),
        (known(Pod { terminating: true, ..me.clone() }), Unsteered::NotPending),
    ] {
        let mut site = site(false, &[&known]);
        assert_eq!(site.asked(&me, &WINDOW, ACTS, 0).unsteered, Some(want));
    }
}

#[test]
fn who_is_gone_is_not_steered_once_more() {
    let me = pod(1, 1);
    let mut site = site(false, &[&me]);
    site.sent(&me, 0);
    site.see([Change::PodGone { uid: me.uid }]);
    // kube-scheduler hears of it later.
    let answer = site.asked(&me, &WINDOW, ACTS, 20);
    assert_eq!((answer.steer, answer.unsteered), (None, Some(Unsteered::NotPending)));
    assert_eq!(site.outcome(&me), Some(SteerOutcome::Gone));
    assert!(site.is_left_clean());
}

#[test]
fn names_that_nobody_knows_are_a_reason_to_wait() {
    let me = pod(1, 1);
    let mut site = site(false, &[&me]);
    let answer = site.asked(&me, &["x", "new"], ACTS, 0);
    assert_eq!(answer.unsteered, Some(Unsteered::Behind));
    assert_eq!(site.asked(&me, &[], ACTS, 1).unsteered, None);
    // Nor is it known whether the pod has been bound.
    site.see([Change::WatchLost(Kind::PODS)]);
    assert_eq!(site.asked(&me, &WINDOW, ACTS, 2).unsteered, Some(Unsteered::Behind));
    // One that is silent says that nothing happens, as a rule.
    site.see([Change::WatchBack(Kind::PODS), Change::WatchSilent(Kind::PODS)]);
    site.sent(&me, 3);
}

/// Whom no offered node would take is refused anyway, so that nothing more must be proven.
#[test]
fn whom_no_offered_node_would_take_is_steered_without_any_proof() {
    for preempt_verb in [PreemptVerb::Unknown, PreemptVerb::Absent] {
        let (me, context) = (pod(1, 1), SteerContext { preempt_verb, ..ACTS });
        let mut site = site(false, &[&me]);
        assert!(site.asked(&me, &WINDOW, context, 0).steer.is_some(), "{preempt_verb:?}");
        assert_eq!(site.may_evict(&me), [false]);
    }
}

/// Who might have been placed at once must not be refused where somebody could be evicted for it.
#[test]
fn better_needs_a_preempt_call_or_a_pod_that_cannot_preempt() {
    let (me, mild) = (pod(1, 1), Pod { never_preempts: true, ..pod(2, 1) });
    for preempt_verb in [PreemptVerb::Unknown, PreemptVerb::Absent] {
        let mut site = site(true, &[&me, &mild]);
        let unproven = SteerContext { preempt_verb, ..ACTS };
        assert!(site.asked(&mild, &WINDOW, unproven, 100).steer.is_some());
        site.decider.expire_steers(&site.view, Tick(100 + PATIENCE_MS));
        let answer = site.asked(&me, &WINDOW, unproven, 20_000);
        assert_eq!((answer.steer, answer.accepted.len()), (None, 2));
        assert_eq!(answer.unsteered, Some(Unsteered::MayPreempt));
        site.may_evict(&pod(3, 1));
        assert!(site.asked(&me, &WINDOW, unproven, 20_100).steer.is_some());
    }
}

#[test]
fn a_class_and_an_app_have_budgets() {
    let bounds = Bounds { margin_permille: 0, per_second: 3, per_app: 2 };
    let mut settings = settings(false);
    settings.classes[0].steering = Some(Steering::OFF.with(Cause::Elsewhere, Some(bounds)));
    let mut site = TestReplica::new(&settings);
    site.see([seen_node(home("t"))]);
    site.see(WINDOW.map(|name| seen_node(node(name, &[("pool", "ward")]))));
    let of_app = [1, 2, 3].map(|uid| replica(uid, 1, 7));
    let (four, five) = (pod(4, 1), pod(5, 1));
    site.see(of_app.iter().chain([&four, &five]).map(seen_pod));
    let order = site.sent(&of_app[0], 0);
    site.sent(&of_app[1], 0);
    let answer = site.asked(&of_app[2], &WINDOW, ACTS, 0);
    assert_eq!(answer.unsteered, Some(Unsteered::Budget));
    // Its unschedulable answer is about all nodes: it is requeued, and then has its turn.
    assert_eq!(site.requeues(1), 1);
    site.wrote(&order, Wrote::Done, 1);
    site.asked(&nominated(&of_app[0], "t"), &["t"], ACTS, 2);
    site.sent(&of_app[2], 3);
    assert_eq!(site.asked(&four, &WINDOW, ACTS, 4).unsteered, Some(Unsteered::Budget));
    site.sent(&four, 400);
    assert_eq!(site.asked(&five, &WINDOW, ACTS, 401).unsteered, Some(Unsteered::Budget));
}

#[test]
fn all_together_are_bounded() {
    let mut site = site(false, &[]);
    let mut big = home("t");
    big.allocatable = crate::testing::amounts(1000, 1000, 1000);
    site.see([seen_node(Node { resource_version: 2, ..big })]);
    let sent = (0..1000_u64).filter(|at| {
        // Far enough apart for the class's budget.
        let answer = site.asked(&pod(u128::from(*at) + 1, 1), &WINDOW, ACTS, at * 30);
        answer.steer.is_some()
    });
    assert_eq!(sent.count(), MAX_OPEN);
}

#[test]
fn better_is_for_a_lead_in_a_quiet_queue() {
    let me = pod(1, 1);
    let mut quiet = site(true, &[&me]);
    let order = quiet.sent(&me, 100);
    assert_eq!((order.cause, &*order.node), (Cause::Better, "t"));
    let record = quiet.decider.steers().record(me.uid).expect("it is under way");
    assert_eq!(record.lead_permille, Some(1000), "a better pool is all that can be");
    // Another pod was asked about a moment ago.
    let mut busy = site(true, &[&me]);
    busy.asked(&pod(2, 1), &["t"], ACTS, 100);
    let answer = busy.asked(&me, &WINDOW, ACTS, 101 + BUSY_MS - 2);
    assert_eq!((answer.accepted.len(), answer.steer), (2, None));
    assert!(busy.asked(&me, &WINDOW, ACTS, 102 + BUSY_MS).steer.is_some(), "nobody else since");
    // The best one is offered already.
    let mut offered = site(true, &[&me]);
    assert!(offered.asked(&me, &["x", "t"], ACTS, 100).steer.is_none());
}

#[test]
fn points_lead_by_a_margin() {
    // One pool, so that points alone decide; `t` is empty, the others are half full.
    let mut settings = settings(true);
    settings.classes[0].pools = None;
    for (margin_permille, sends) in [(1, true), (1000, false)] {
        let bounds = Bounds { margin_permille, ..Cause::Better.usual() };
        settings.classes[0].steering = Some(Steering::OFF.with(Cause::Better, Some(bounds)));
        settings.classes[0].weights = vec![("leastAllocated".into(), 10), ("binPack".into(), 0)];
        let mut site = TestReplica::new(&settings);
        site.see([seen_node(home("t"))]);
        site.see(WINDOW.map(|name| seen_node(node(name, &[("pool", "ward")]))));
        site.see([(8, "x"), (9, "y")].map(|(uid, on)| seen_pod(&placed(&pod(uid, 5), on))));
        let answer = site.asked(&pod(1, 1), &WINDOW, ACTS, 100);
        assert_eq!(answer.steer.is_some(), sends, "{margin_permille}");
        if let Some(record) = site.decider.steers().record(PodUid(1)) {
            assert!((1..1000).contains(&record.lead_permille.unwrap_or(0)), "{record:?}");
        }
    }
}

#[test]
fn whoever_no_node_would_have_is_requeued_when_one_would_and_not_before() {
    let me = pod(1, 6);
    let filler = placed(&pod(9, 9), "t");
    let mut site = site(false, &[&me, &filler]);
    let answer = site.asked(&me, &WINDOW, ACTS, 0);
    assert_eq!(answer.unsteered, Some(Unsteered::Nowhere));
    assert_eq!(site.requeues(100), 0);
    site.see([Change::PodGone { uid: filler.uid }]);
    assert_eq!(site.requeues(101), 1);
    site.sent(&me, 102);
}

#[test]
fn one_look_at_the_cluster_is_enough_for_all_pods_of_a_kind() {
    let big: Vec<Pod> = (1..=5).map(|uid| pod(uid, 6)).collect();
    let (small, filler, rest) = (pod(20, 2), placed(&pod(9, 9), "t"), placed(&pod(10, 5), "t"));
    let waiting: Vec<&Pod> = big.iter().chain([&small, &filler]).collect();
    let mut site = site(false, &waiting);
    for it in big.iter().chain([&small]) {
        assert_eq!(site.asked(it, &WINDOW, ACTS, 0).unsteered, Some(Unsteered::Nowhere));
    }
    site.see([Change::PodGone { uid: filler.uid }, seen_pod(&rest)]);
    // A budget for one of them: the big ones all wait behind the first, who still passes nowhere.
    let requeued =
        [100, 101].map(|now| site.decider.requeues(&site.view, Nominates::NONE, Tick(now), 10, 1));
    assert_eq!(
        requeued.map(|it| it.iter().map(|requeue| requeue.pod.uid).collect::<Vec<_>>()),
        [vec![], vec![small.uid]]
    );
}

/// The same pod, which may go to nodes of this name only.
fn only(pod: Pod, name: &str) -> Pod {
    let named =
        Requirement { key: "metadata.name".into(), is: LabelOperator::In([name.into()].into()) };
    let term = NodeTerm { names: [named].into(), ..NodeTerm::default() };
    let constraints = Constraints { node_terms: Some([term].into()), ..Constraints::default() };
    Pod { constraints: Some(Arc::new(constraints)), ..pod }
}

#[test]
fn nobody_is_sent_where_its_own_constraints_do_not_let_it() {
    let (me, other) = (only(pod(1, 1), "t"), only(pod(2, 1), "x"));
    let mut site = site(false, &[&me, &other]);
    assert_eq!(&*site.sent(&me, 0).node, "t");
    assert_eq!(site.asked(&other, &WINDOW, ACTS, 1).unsteered, Some(Unsteered::Nowhere));
}

#[test]
fn a_look_in_vain_for_one_says_nothing_of_those_with_other_constraints() {
    let (picky, plain) = (only(pod(1, 2), "none"), pod(2, 2));
    let filler = placed(&pod(9, 9), "t");
    let mut site = site(false, &[&picky, &plain, &filler]);
    for it in [&picky, &plain] {
        assert_eq!(site.asked(it, &WINDOW, ACTS, 0).unsteered, Some(Unsteered::Nowhere));
    }
    site.see([Change::PodGone { uid: filler.uid }]);
    let requeued = site.decider.requeues(&site.view, Nominates::NONE, Tick(100), 10, usize::MAX);
    assert_eq!(requeued.iter().map(|requeue| requeue.pod.uid).collect::<Vec<_>>(), [plain.uid]);
}

#[test]
fn a_look_in_vain_for_one_says_nothing_of_those_with_other_volumes() {
    let claims = |pod: Pod, name: &str| Pod { claims: [claim(name)].into(), ..pod };
    let (one, other) = (claims(replica(1, 2, 7), "one"), claims(replica(2, 2, 7), "other"));
    let filler = placed(&pod(9, 9), "t");
    let mut site = site(false, &[&one, &other, &filler]);
    site.see(bound(&one, nowhere()).into_iter().chain(bound(&other, VolumeTopology::default())));
    for it in [&one, &other] {
        assert_eq!(site.asked(it, &WINDOW, ACTS, 0).unsteered, Some(Unsteered::Nowhere));
    }
    site.see([Change::PodGone { uid: filler.uid }]);
    let requeued = site.decider.requeues(&site.view, Nominates::NONE, Tick(100), 10, usize::MAX);
    assert_eq!(requeued.iter().map(|requeue| requeue.pod.uid).collect::<Vec<_>>(), [other.uid]);
}

/// The same pod, of this app.
fn of_app(pod: Pod, app: &str) -> Pod {
    let labels = LabelSet::new(&pod.namespace, [(HashedText::of("app"), HashedText::of(app))]);
    Pod { labels, ..pod }
}

/// The same pod, which must be in no pool with one of this app.
fn shy_of(pod: Pod, app: &str) -> Pod {
    let asked = Requirement {
        key: HashedText::of("app"),
        is: LabelOperator::In([HashedText::of(app)].into()),
    };
    let named = [HashedText::of(&pod.namespace)].into();
    let term = PodAffinityTerm {
        key: "pool".into(),
        selector: Some([asked].into()),
        namespaces: Namespaces { named, selected: None },
    };
    let constraints = Constraints { pod_anti_affinity: [term].into(), ..Constraints::default() };
    Pod { constraints: Some(Arc::new(constraints)), ..pod }
}

#[test]
fn nobody_is_sent_to_one_that_must_be_apart_from_it() {
    let shy = shy_of(pod(9, 1), "cart");
    let (cart, song) = (of_app(pod(1, 1), "cart"), of_app(pod(2, 1), "song"));
    let there = placed(&shy, "t");
    for (is_there, seen) in [(true, &there), (false, &shy)] {
        let mut site = site(false, &[&cart, &song, seen]);
        if !is_there {
            // It was sent there itself, a moment ago.
            site.sent(&shy, 0);
        }
        assert_eq!(site.asked(&cart, &WINDOW, ACTS, 0).unsteered, Some(Unsteered::Nowhere));
        assert_eq!(&*site.sent(&song, 0).node, "t");
        site.see([Change::PodGone { uid: shy.uid }]);
        assert_eq!(&*site.sent(&cart, 1).node, "t");
    }
}

#[test]
fn a_look_in_vain_for_one_says_nothing_of_those_whom_nobody_must_be_apart_from() {
    let (cart, song) = (of_app(pod(1, 2), "cart"), of_app(pod(2, 2), "song"));
    let (filler, shy) = (placed(&pod(9, 9), "t"), shy_of(pod(8, 1), "cart"));
    for seen in [placed(&shy, "t"), nominated(&shy, "t")] {
        let mut site = site(false, &[&cart, &song, &filler, &seen]);
        for it in [&cart, &song] {
            assert_eq!(site.asked(it, &WINDOW, ACTS, 0).unsteered, Some(Unsteered::Nowhere));
        }
        site.see([Change::PodGone { uid: filler.uid }]);
        let requeued =
            site.decider.requeues(&site.view, Nominates::NONE, Tick(100), 10, usize::MAX);
        assert_eq!(requeued.iter().map(|requeue| requeue.pod.uid).collect::<Vec<_>>(), [song.uid]);
    }
}
