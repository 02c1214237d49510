use super::*;
use crate::engine::{MAX_HELD_NODES, explain};
use crate::model::{
    Change, Conditions, ExtendedAmount, Kind, Node, NodeMatcher, PoolOrd, QosClaim, Taint,
    TaintEffect, TaintValue, Toleration, UnschedulableCondition,
};
use crate::policy::{ClassSettings, Grant, Plan, PoolSettings, Role, Settings, default_class};
use crate::rules::{Share, SpreadKey, SpreadParams};
use crate::testing::{TestReplica, amounts, node, placed, pod, replica, seen_node, seen_pod};

mod behind;
mod by_role;
mod late;

impl TestReplica {
    /// Puts another policy in force.
    pub(crate) fn set_policy(&mut self, settings: &Settings) {
        self.writing.set_plan(Plan::build(settings, String::new()));
        self.publish();
    }

    /// The pods that are requeued now.
    fn requeued_uids(&mut self, now_ms: u64) -> Vec<u128> {
        let requeues = self.decider.requeues(
            &self.view,
            Nominates::NONE,
            Tick(now_ms),
            usize::MAX,
            usize::MAX,
        );
        requeues.into_iter().map(|requeue| requeue.pod.uid.0).collect()
    }
}

/// One pool of which requests may fill a half, and one elastic pool.
fn settings() -> Settings {
    let half = Share { cpu_permille: 500, memory_permille: 1000 };
    let pool = |name: &str, label: &str| PoolSettings {
        name: name.into(),
        matcher: NodeMatcher { labels: vec![("pool".into(), label.into())], ..Default::default() },
        ..PoolSettings::default()
    };
    let class = |name: &str, role, band: i32| ClassSettings {
        name: name.into(),
        role,
        grant: Grant { priority: Some((band, band)), ..Grant::default() },
        ..default_class()
    };
    let limit = Some(amounts(100, 100, 3));
    Settings {
        name: "test".into(),
        pools: vec![
            PoolSettings { allocation: half, ..pool("ecs", "ecs") },
            PoolSettings { elastic: true, limit, ..pool("eci", "eci") },
        ],
        classes: vec![
            class("online", Role::Online, 9),
            class("offline", Role::Offline, 3),
            class("exempt", Role::Exempt, 99),
        ],
        ..Settings::default()
    }
}

fn site(names: &[&str]) -> TestReplica {
    let mut site = TestReplica::new(&settings());
    site.see(names.iter().map(|name| {
        let pool = if name.starts_with('v') { "eci" } else { "ecs" };
        seen_node(node(name, &[("pool", pool), ("zone", name)]))
    }));
    site
}

#[test]
fn back_to_back_filters_with_room_for_one_let_one_in_and_ring_the_other_in_time() {
    let mut site = site(&["a", "b"]);
    let (first, second) = (pod(1, 4), pod(2, 4));
    site.see([seen_pod(&first), seen_pod(&second)]);
    // The watch is frozen from here on: only the hold tells of the first.
    assert_eq!(site.filter(&first, &["a", "b"], 0), Ok(vec!["a", "b"]));
    assert_eq!(site.filter(&second, &["a", "b"], 1), Err(Reason::AllocationLimit));
    assert_eq!(site.requeued_uids(2), []);
    // The first is known to be on `a`, so `b` is free again.
    site.see([seen_pod(&placed(&first, "a"))]);
    assert_eq!(site.requeued_uids(3), [2]);
    assert_eq!(site.filter(&second, &["a", "b"], 4), Ok(vec!["b"]));
    assert!(site.decider.unschedulable().is_empty());
}

#[test]
fn a_pod_is_requeued_once_and_again_only_after_its_gap() {
    let mut site = site(&["a"]);
    let (first, second) = (pod(1, 4), pod(2, 4));
    site.see([seen_pod(&second)]);
    assert_eq!(site.filter(&first, &["a"], 0), Ok(vec!["a"]));
    assert_eq!(site.filter(&second, &["a"], 0), Err(Reason::AllocationLimit));
    site.see([Change::PodGone { uid: first.uid }]);
    assert_eq!(
        (site.requeued_uids(1), site.requeued_uids(2), site.requeued_uids(1_001)),
        (vec![2], vec![], vec![2])
    );
}

#[test]
fn every_end_of_a_hold_lets_the_next_pod_in() {
    let (first, second) = (pod(1, 4), pod(2, 4));
    let refused = |resource_version| {
        let condition = Some(UnschedulableCondition::default());
        seen_pod(&Pod { condition, resource_version, ..first.clone() })
    };
    for (change, lets_in) in [
        // Of which attempt, it does not say: an earlier one's condition may come this late.
        (refused(2), false),
        (refused(1), false),
        (Change::PodGone { uid: first.uid }, true),
        (seen_pod(&placed(&first, "elsewhere")), true),
        (seen_pod(&Pod { terminal: true, resource_version: 2, ..first.clone() }), true),
    ] {
        let mut site = site(&["a"]);
        assert_eq!(site.filter(&first, &["a"], 0), Ok(vec!["a"]));
        let told = format!("{change:?}");
        site.see([change]);
        assert_eq!(site.filter(&second, &["a"], 1).is_ok(), lets_in, "{told}");
    }
    let mut site = site(&["a"]);
    assert_eq!(site.filter(&first, &["a"], 0), Ok(vec!["a"]));
    assert_eq!([29_999, 30_000].map(|ms| site.decider.expire(&site.view, Tick(ms))), [0, 1]);
    assert_eq!(site.filter(&second, &["a"], 30_000), Ok(vec!["a"]));
}

/// kube-scheduler has accepted what it offers: a word that sigma does not know refuses none of it.
#[test]
fn words_that_are_not_known_refuse_no_offered_node() {
    let mut site = site(&[]);
    let tainted = |name, value: &str, effect| {
        let taint = Taint { key: "k".into(), value: value.into(), effect };
        seen_node(Node { taints: [taint].into(), ..node(name, &[("pool", "ecs")]) })
    };
    let names = ["hard", "five", "unclear"];
    site.see([
        tainted("hard", "v", TaintEffect::NoSchedule),
        tainted("five", "5", TaintEffect::NoExecute),
        tainted("unclear", "v", TaintEffect::Unclear),
    ]);
    for (value, want) in [
        (None, Ok(vec!["unclear"])),
        (Some(TaintValue::Unclear), Ok(vec!["hard", "five", "unclear"])),
        (Some(TaintValue::Gt(4)), Ok(vec!["five", "unclear"])),
        (Some(TaintValue::Lt(5)), Ok(vec!["unclear"])),
    ] {
        let toleration = value.map(|value| Toleration { key: "k".into(), value, effect: None });
        let it = Pod { tolerations: toleration.into_iter().collect(), ..pod(1, 1) };
        assert_eq!(site.filter(&it, &names, 0), want, "{:?}", it.tolerations);
    }
}

#[test]
fn the_next_filter_of_a_pod_replaces_its_hold() {
    let mut site = site(&["a", "b"]);
    let first = pod(1, 4);
    assert_eq!(site.filter(&first, &["a", "b"], 0), Ok(vec!["a", "b"]));
    assert_eq!(site.filter(&first, &["b"], 1), Ok(vec!["b"]));
    assert_eq!(site.filter(&pod(2, 4), &["a", "b"], 2), Ok(vec!["a"]));
    // Refused now, it holds nothing any more.
    site.see([seen_node(Node {
        conditions: Conditions::NOT_READY,
        resource_version: 2,
        ..node("b", &[("pool", "ecs"), ("zone", "b")])
    })]);
    // Node `a` is full of what the other pod holds, which is closer to success.
    assert_eq!(site.filter(&first, &["b"], 3), Err(Reason::AllocationLimit));
    assert!(!site.decider.is_held(first.uid));
}

#[test]
fn an_answer_that_bears_limits_names_few_nodes() {
    let names: Vec<String> = (0..40).map(|at| format!("n{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut site = site(&names);
    let kept = site.filter(&pod(1, 1), &names, 0).map(|kept| kept.len());
    assert_eq!(kept, Ok(MAX_HELD_NODES));
    // What is held for the first cannot be had by others until the watch tells.
    let kept = site.filter(&pod(3, 1), &names, 0).map(|kept| kept.len());
    assert_eq!(kept, Ok(names.len() / 2 / 2));
    // Exempt pods bear none: they get every name and hold nothing.
    let exempt = Pod { priority: 99, ..pod(2, 8) };
    assert_eq!(site.filter(&exempt, &names, 0).map(|kept| kept.len()), Ok(names.len()));
    assert!(!site.decider.is_held(exempt.uid));
}

#[test]
fn the_best_node_of_all_is_what_an_offer_of_all_would_have_first() {
    let mut site = site(&["a", "b", "v"]);
    let online = Pod { priority: 9, ..pod(1, 4) };
    let best = |site: &mut TestReplica| {
        let best = site.decider.best_anywhere(&site.view, &online);
        best.map(|it| site.view.snapshot.names.name(it.node).to_string())
    };
    let first = best(&mut site).expect("three nodes");
    // What another pod holds counts.
    assert!(site.filter(&pod(2, 4), &[&first], 0).is_ok());
    let second = best(&mut site).expect("two nodes");
    assert!(first != second && second != "v", "{first}, {second}");
    assert!(site.filter(&pod(3, 4), &[&second], 0).is_ok());
    assert_eq!(best(&mut site).as_deref(), Some("v"));
    assert!(site.filter(&online, &["v"], 0).is_ok());
    // What the pod itself holds does not.
    assert_eq!(best(&mut site).as_deref(), Some("v"));
}

#[test]
fn exempt_pods_are_not_held_up_by_limits_of_ours() {
    let mut site = site(&["a", "v"]);
    let exempt = Pod { priority: 99, ..pod(1, 8) };
    let online = Pod { priority: 9, ..pod(2, 8) };
    assert_eq!(site.filter(&exempt, &["a"], 0), Ok(vec!["a"]));
    assert_eq!(site.filter(&online, &["a"], 0), Err(Reason::AllocationLimit));
    // What the node does not have is no limit of ours.
    let wide = Pod { priority: 99, ..pod(3, 11) };
    assert_eq!(site.filter(&wide, &["a"], 0), Err(Reason::Insufficient));
}

#[test]
fn an_elastic_pool_is_held_once_for_all_its_nodes() {
    let mut site = site(&["v1", "v2"]);
    let online = |uid| Pod { priority: 9, ..pod(uid, 1) };
    for uid in 1..=3 {
        assert_eq!(site.filter(&online(uid), &["v1", "v2"], 0), Ok(vec!["v1", "v2"]), "{uid}");
    }
    assert_eq!(site.filter(&online(4), &["v1", "v2"], 0), Err(Reason::ElasticLimit));
}

#[test]
fn a_burst_of_pods_is_not_requeued_past_what_one_call_may_look_at() {
    let mut site = site(&["a"]);
    // Big ones of high priority that still pass nowhere stand in front of a small one that does.
    let big = |uid| Pod { priority: 9, ..pod(uid, 9) };
    for uid in 1..=5 {
        site.see([seen_pod(&big(uid))]);
        assert_eq!(site.filter(&big(uid), &["a"], 0), Err(Reason::AllocationLimit));
    }
    let holder = pod(50, 5);
    let small = pod(60, 1);
    site.see([seen_pod(&small)]);
    assert_eq!(site.filter(&holder, &["a"], 0), Ok(vec!["a"]));
    assert_eq!(site.filter(&small, &["a"], 0), Err(Reason::AllocationLimit));
    site.see([Change::PodGone { uid: holder.uid }]);
    let mut requeued = Vec::new();
    for _ in 0..6 {
        let requeues = site.decider.requeues(&site.view, Nominates::NONE, Tick(1), 10, 1);
        requeued.extend(requeues.into_iter().map(|requeue| requeue.pod.uid.0));
    }
    assert_eq!(requeued, [60]);
    // A budget too small for one pod still looks at one.
    assert_eq!(site.decider.requeues(&site.view, Nominates::NONE, Tick(9_999), 10, 0), []);
}

#[test]
fn rings_go_to_who_waits_with_what_is_newest_of_it() {
    let mut site = site(&["a"]);
    let holder = pod(50, 5);
    assert_eq!(site.filter(&holder, &["a"], 0), Ok(vec!["a"]));
    for uid in 1..=3 {
        assert!(site.filter(&pod(uid, 1), &["a"], 0).is_err());
    }
    let newer = Pod { resource_version: 8, nominated: Some("b".into()), ..pod(1, 1) };
    let leaving = Pod { resource_version: 8, terminating: true, ..pod(2, 1) };
    // The third is known to no watch: it may have been deleted before the request came.
    site.see([Change::PodGone { uid: holder.uid }, seen_pod(&newer), seen_pod(&leaving)]);
    let requeues = site.decider.requeues(&site.view, Nominates::NONE, Tick(1), 10, 100);
    assert_eq!(
        requeues,
        [Requeue { pod: Arc::new(newer), reason: Reason::AllocationLimit, steer: None }]
    );
    site.see([seen_pod(&pod(3, 1))]);
    assert_eq!(site.requeued_uids(2), [3]);
}

#[test]
fn another_policy_rings_whom_it_lets_in() {
    let mut site = site(&["a"]);
    let it = pod(1, 6);
    site.see([seen_pod(&it)]);
    assert_eq!(site.filter(&it, &["a"], 0), Err(Reason::AllocationLimit));
    let mut wider = settings();
    wider.pools[0].allocation = Share::ALL;
    site.set_policy(&wider);
    assert_eq!(site.requeued_uids(1), [1]);
}

#[test]
fn refusals_are_adopted_from_messages_after_a_restart() {
    let mut site = site(&["a"]);
    let told = |uid, reason, priority| Pod {
        condition: Some(UnschedulableCondition { reason }),
        priority,
        ..pod(uid, 1)
    };
    site.see([
        seen_pod(&told(1, Some(Reason::AllocationLimit), 0)),
        seen_pod(&told(2, None, 0)),
        seen_pod(&Pod { gated: true, ..told(3, Some(Reason::MaxReplicaShare), 0) }),
        seen_pod(&Pod { terminating: true, ..told(4, Some(Reason::MaxReplicaShare), 0) }),
        seen_pod(&told(5, Some(Reason::MaxReplicaShare), 7)),
        seen_pod(&pod(6, 1)),
    ]);
    site.decider = Decider::new(HoldLimits::default(), UnschedulableLimits::default());
    assert_eq!(site.decider.adopt_conditions(&site.view, Tick(0)), 2);
    assert_eq!(site.decider.adopt_conditions(&site.view, Tick(0)), 0);
    assert_eq!(site.requeued_uids(0), [5, 1]);
    // The text goes on as it was told before the restart.
    let crowded = placed(&pod(9, 5), "a");
    site.see([seen_pod(&crowded)]);
    let again = told(5, Some(Reason::MaxReplicaShare), 7);
    assert_eq!(site.filter(&again, &["a"], 1), Err(Reason::MaxReplicaShare));
    // No more are adopted than can be remembered, those of the highest priority first.
    let limits = UnschedulableLimits { max_pods: 1, ..UnschedulableLimits::default() };
    site.decider = Decider::new(HoldLimits::default(), limits);
    assert_eq!(site.decider.adopt_conditions(&site.view, Tick(0)), 1);
    assert_eq!(site.decider.unschedulable().reason(PodUid(5)), Some(Reason::MaxReplicaShare));
}

#[test]
fn a_named_text_does_not_follow_the_window() {
    let mut site = site(&["a", "b", "c"]);
    let state = |name, conditions| {
        let labels = [("pool", "ecs"), ("zone", name)];
        seen_node(Node { conditions, resource_version: 2, ..node(name, &labels) })
    };
    site.see([state("b", Conditions::NOT_READY), state("c", Conditions::CORDONED)]);
    let it = pod(1, 6);
    assert_eq!(site.filter(&it, &["a"], 0), Err(Reason::AllocationLimit));
    assert_eq!(site.filter(&it, &["b", "c"], 1), Err(Reason::AllocationLimit));
    assert_eq!(site.filter(&it, &["c", "missing"], 2), Err(Reason::AllocationLimit));
    // The reason is not true of what is offered, and still is of a node that is not.
    assert_eq!(site.filter(&it, &["c"], 300_001), Err(Reason::AllocationLimit));
    site.see([Change::NodeGone { name: "a".into() }]);
    assert_eq!(site.filter(&it, &["c"], 600_000), Err(Reason::AllocationLimit));
    // The reason has been untrue of every node for long.
    assert_eq!(site.filter(&it, &["c"], 600_001), Err(Reason::NotReady));
}

#[test]
fn preempt_drops_who_has_a_protected_an_unknown_or_no_victim() {
    let mut site = site(&["a", "b"]);
    let victim = |uid, priority, name| placed(&Pod { priority, ..pod(uid, 4) }, name);
    site.see([seen_pod(&victim(1, 0, "a")), seen_pod(&victim(2, 99, "a"))]);
    site.see([seen_pod(&victim(3, 0, "b"))]);
    let ords = site.ords(&["a", "b", "missing"]);
    let mut check = |node: usize, victims: &[u128], want: bool| {
        let victims = victims.iter().map(|uid| PodUid(*uid)).collect();
        let candidate = Candidate { node: ords[node], victims };
        let it = Pod { priority: 9, ..pod(9, 4) };
        let stands = site.decider.preempt(&site.view, &it, std::slice::from_ref(&candidate));
        assert_eq!(stands, [want], "{candidate:?}");
    };
    check(1, &[3], true);
    // Exempt, on another node, unknown, none at all, on a node that is not there.
    check(0, &[1, 2], false);
    check(1, &[1], false);
    check(1, &[3, 7], false);
    check(1, &[], false);
    check(2, &[3], false);
    // The other pod on `a` fills the share of the node that requests may take.
    check(0, &[1], false);
}

#[test]
fn preempt_leaves_the_sums_as_they_were() {
    let mut site = site(&["a"]);
    let mut victim = placed(&replica(1, 4, 7), "a");
    victim.requests.extended = [ExtendedAmount { name: "gpu".into(), amount: 1 }].into();
    site.see([seen_pod(&victim)]);
    let candidate = Candidate { node: site.ords(&["a"])[0], victims: vec![PodUid(1)] };
    let it = replica(9, 4, 7);
    site.decider.preempt(&site.view, &it, &[]);
    let before = format!("{:?}", site.decider.holds());
    site.decider.preempt(&site.view, &it, &[candidate.clone(), candidate]);
    assert_eq!(format!("{:?}", site.decider.holds()), before);
}

#[test]
fn a_victim_of_the_same_app_makes_room_in_its_domain() {
    let mut settings = settings();
    let spread = SpreadParams { key: SpreadKey::Node, max_share_permille: Some(1) };
    settings.classes[0].spread = Some(spread);
    let mut site = TestReplica::new(&settings);
    site.see([seen_node(node("a", &[])), seen_pod(&placed(&replica(1, 4, 7), "a"))]);
    site.see([seen_pod(&placed(&pod(2, 4), "a"))]);
    let it = Pod { priority: 9, ..replica(9, 1, 7) };
    let node = site.ords(&["a"])[0];
    for (victim, want) in [(1, true), (2, false)] {
        let candidate = Candidate { node, victims: vec![PodUid(victim)] };
        assert_eq!(site.decider.preempt(&site.view, &it, &[candidate]), [want], "{victim}");
    }
}

#[test]
fn admit_asks_the_same_rules_without_the_pods_own_hold() {
    let mut site = site(&["a"]);
    let (first, second) = (pod(1, 4), pod(2, 4));
    assert_eq!(site.filter(&first, &["a"], 0), Ok(vec!["a"]));
    let a = site.ords(&["a"])[0];
    assert_eq!(site.decider.admit(&site.view, &first, a), Reason::Kept);
    assert_eq!(site.decider.admit(&site.view, &second, a), Reason::AllocationLimit);
    assert_eq!(site.decider.admit(&site.view, &first, NodeOrd::UNKNOWN), Reason::UnknownNode);
}

#[test]
fn explain_agrees_with_filter_and_counts_all() {
    let mut site = site(&["a", "b", "v"]);
    site.see([seen_pod(&placed(&pod(9, 5), "b"))]);
    let nodes = site.ords(&["a", "b", "v", "missing"]);
    let it = pod(1, 1);
    let told = explain(&mut site.decider, &site.view, &it, &nodes, 10);
    assert_eq!((told.class.as_str(), told.num_left), ("default", None));
    let verdicts: Vec<Reason> = told.nodes.iter().map(|node| node.verdict).collect();
    let want = [Reason::Kept, Reason::UnknownNode, Reason::PoolClosed, Reason::AllocationLimit];
    assert_eq!(verdicts, want);
    assert_eq!(site.filter(&it, &["a", "b", "v", "missing"], 0), Ok(vec!["a"]));
}

#[test]
fn a_class_that_names_no_pools_prefers_none() {
    let mut site = site(&["a", "v"]);
    site.see([seen_node(node("poolless", &[]))]);
    let nodes = site.ords(&["a", "poolless"]);
    let class = site.view.class(site.view.classify(&pod(1, 1)).class);
    // `default` is kept off elastic pools, which is no order between the others.
    assert_eq!(class.params.order, Some(vec![PoolOrd(0), PoolOrd::NONE]));
    assert!(!class.ordered);
    let scores = site.decider.prioritize(&site.view, &pod(1, 1), &nodes);
    assert_eq!(scores, [10, 10]);
}

#[test]
fn replicas_on_their_way_count_against_the_share_of_a_domain() {
    let mut settings = settings();
    let spread = SpreadParams { key: SpreadKey::Node, max_share_permille: Some(500) };
    settings.classes[0].spread = Some(spread);
    let mut site = TestReplica::new(&settings);
    site.see(["a", "b", "c"].map(|name| seen_node(node(name, &[]))));
    let online = |uid| Pod { priority: 9, ..replica(uid, 1, 7) };
    assert_eq!(site.filter(&online(1), &["a"], 0), Ok(vec!["a"]));
    assert_eq!(site.filter(&online(2), &["a", "b"], 0), Ok(vec!["b"]));
    site.see([(1, "a"), (2, "b")].map(|(uid, node)| seen_pod(&placed(&online(uid), node))));
    assert_eq!(site.filter(&online(3), &["a", "b", "c"], 0), Ok(vec!["a", "b", "c"]));
    // The third may still go anywhere, so it counts everywhere, but as one replica of four.
    assert_eq!(site.filter(&online(4), &["a"], 0), Err(Reason::MaxReplicaShare));
}

#[test]
fn a_decision_that_breaks_off_leaves_no_sums_behind() {
    let mut site = site(&["a"]);
    assert_eq!(site.filter(&pod(1, 4), &["a"], 0), Ok(vec!["a"]));
    let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        site.decider.seen_by(&site.view, &pod(1, 4), |uncommitted| {
            uncommitted.cpu_milli[0] = 99_000;
            std::panic::resume_unwind(Box::new("half-way"))
        })
    }));
    assert!(broken.is_err());
    site.decider.recover(&site.view);
    assert_eq!(site.filter(&pod(2, 1), &["a"], 0), Ok(vec!["a"]));
    assert_eq!(site.filter(&pod(3, 1), &["a"], 0), Err(Reason::AllocationLimit));
}

#[test]
fn a_pod_refused_for_a_node_unknown_yet_is_requeued_when_the_node_is_known() {
    let mut site = site(&["a"]);
    let waits = pod(1, 4);
    site.see([seen_pod(&waits)]);
    assert_eq!(site.filter(&waits, &["new"], 0), Err(Reason::UnknownNode));
    site.see([seen_node(node("new", &[("pool", "ecs"), ("zone", "new")]))]);
    assert_eq!(site.requeued_uids(1), [1]);
}
