use std::sync::Arc;

use super::*;
use crate::engine::degraded;
use crate::model::{
    Change, Conditions, DomainLevel, LabelOperator, Node, NodeMatcher, PoolOrd, Requirement, Tick,
    UnschedulableCondition,
};
use crate::policy::{ClassSettings, Grant, PoolSettings, Role, Settings, default_class};
use crate::rules::{CATALOGUE, RuleKind, Share, SpreadKey, SpreadParams};
use crate::testing::{TestReplica, amounts, node, placed, pod, replica, seen_node, seen_pod};

/// Three pools: of `metal` requests may fill a half, `eci` is elastic and takes two pods, and `shut` is open
/// to nobody.
fn settings() -> Settings {
    let pool = |name: &str| PoolSettings {
        name: name.into(),
        matcher: NodeMatcher { labels: vec![("pool".into(), name.into())], ..Default::default() },
        ..PoolSettings::default()
    };
    let half = Share { cpu_permille: 500, memory_permille: 1000 };
    let class = |name: &str, role, band: i32| ClassSettings {
        name: name.into(),
        role,
        grant: Grant { priority: Some((band, band)), ..Grant::default() },
        pools: Some(vec![PoolOrd(0), PoolOrd(1)]),
        ..default_class()
    };
    let zone = SpreadKey::Level(DomainLevel::Zone);
    let spread = Some(SpreadParams { key: zone, max_share_permille: Some(100) });
    Settings {
        name: "closest".into(),
        pools: vec![
            PoolSettings { allocation: half, ..pool("metal") },
            PoolSettings { elastic: true, limit: Some(amounts(100, 100, 2)), ..pool("eci") },
            pool("shut"),
        ],
        classes: vec![
            class("offline", Role::Offline, 0),
            ClassSettings { spread, ..class("online", Role::Online, 9) },
        ],
        ..Settings::default()
    }
}

/// Nodes of ten cores by the first letter of their names: `m`etal, `e`ci, `s`hut.
fn site(names: &[&str]) -> TestReplica {
    let mut site = TestReplica::new(&settings());
    site.see(names.iter().map(|name| seen_node(in_its_pool(name))));
    site
}

fn in_its_pool(name: &str) -> Node {
    let pool = match name.as_bytes()[0] {
        b'm' => "metal",
        b'e' => "eci",
        _ => "shut",
    };
    node(name, &[("pool", pool), ("topology.kubernetes.io/zone", name)])
}

/// Puts a pod of so many cores on a node.
fn fill(site: &mut TestReplica, uid: u128, cores: i64, name: &str) {
    site.see([seen_pod(&placed(&pod(uid, cores), name))]);
}

#[test]
fn reasons_are_in_the_order_of_evaluation() {
    let filters: Vec<_> =
        CATALOGUE.iter().filter(|it| it.kind == RuleKind::Filter).map(|it| it.name).collect();
    let rules = ["nodeState", "poolAdmission", "resourcesFit", "elasticLimit", "maxReplicaShare"]
        .as_slice();
    assert_eq!(filters, rules, "a new filter has its reasons in `Reason::ALL` by its place");
    let reasons = [
        Reason::UnknownNode,
        Reason::Cordoned,
        Reason::NotReady,
        Reason::Pressure,
        Reason::Tainted,
        Reason::PoolClosed,
        Reason::Insufficient,
        Reason::AllocationLimit,
        Reason::ElasticLimit,
        Reason::MaxReplicaShare,
    ];
    assert!(Reason::ALL.starts_with(&reasons) && Reason::ALL.is_sorted());
    assert!(Reason::ALL[reasons.len()..].iter().all(|it| it.is_provisional()));
    assert!(Reason::ALL.into_iter().all(|it| last_below(&[Reason::Kept, it], u8::MAX) == it));
}

#[test]
fn the_reason_is_the_closest_to_success_of_all_nodes_whatever_is_offered() {
    let mut site = site(&["m1", "m2", "s1", "s2", "s3", "s4"]);
    fill(&mut site, 1, 5, "m1");
    fill(&mut site, 2, 5, "m2");
    let all = ["m1", "m2", "s1", "s2", "s3", "s4"];
    // The input of the issue: two nodes at their limit, four of a pool that is not open.
    assert_eq!(site.filter(&pod(10, 1), &all, 0), Err(Reason::AllocationLimit));
    assert_eq!(site.filter(&pod(11, 1), &["s1"], 0), Err(Reason::AllocationLimit));
    assert_eq!(site.filter(&pod(12, 9), &["s1"], 0), Err(Reason::Insufficient));
    // Nothing is known of the only offered node, and nothing of the others is said.
    assert_eq!(site.filter(&pod(13, 1), &["new"], 0), Err(Reason::UnknownNode));
    assert_eq!(site.filter(&pod(14, 1), &["new", "s1"], 0), Err(Reason::AllocationLimit));
    // A node that would take the pod is no reason.
    site.see([seen_node(in_its_pool("m3"))]);
    assert_eq!(site.filter(&pod(15, 1), &["s1"], 0), Err(Reason::AllocationLimit));
    // An elastic pool comes later in the order than an allocation, a domain's share after both.
    site.see([seen_node(in_its_pool("e1"))]);
    fill(&mut site, 3, 1, "e1");
    fill(&mut site, 4, 1, "e1");
    assert_eq!(site.filter(&pod(16, 1), &["s1"], 0), Err(Reason::ElasticLimit));
    let online = |uid| Pod { priority: 9, ..replica(uid, 1, 7) };
    site.see([seen_pod(&placed(&online(5), "m3"))]);
    assert_eq!(site.filter(&online(17), &["s1"], 0), Err(Reason::MaxReplicaShare));
    // It is of the pod's own app.
    assert_eq!(
        site.filter(&Pod { priority: 9, ..replica(18, 1, 8) }, &["s1"], 0),
        Err(Reason::ElasticLimit)
    );
}

#[test]
fn a_backlog_of_one_template_shares_one_look_at_all_nodes() {
    let names: Vec<String> = (0..40).map(|at| format!("m{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).chain(["s1"]).collect();
    let mut site = site(&names);
    (0..40).for_each(|at| fill(&mut site, 1000 + at as u128, 5, names[at]));
    for uid in 0..1_000 {
        assert_eq!(site.filter(&pod(uid, 1), &["s1"], 0), Err(Reason::AllocationLimit));
        // The view goes on meanwhile.
        let at = (uid % 40) as usize;
        let moved = in_its_pool(names[at]);
        site.see([seen_node(Node { resource_version: 2 + uid as u64, ..moved })]);
    }
    assert_eq!((site.decider.closest.num_looks(), site.decider.closest.num_asked), (1, 1_000));
    assert_eq!(site.filter(&pod(5_000, 2), &["s1"], 0), Err(Reason::AllocationLimit));
    assert_eq!(site.decider.closest.num_looks(), 2, "another template");
    // What has changed since is known all the same.
    site.see((0..40).map(|at| {
        let gone = in_its_pool(names[at]);
        seen_node(Node { conditions: Conditions::CORDONED, resource_version: 9_999, ..gone })
    }));
    assert_eq!(site.filter(&pod(5_001, 1), &["s1"], 0), Err(Reason::PoolClosed));
}

#[test]
fn all_nodes_are_looked_at_once_a_refused_pod_and_not_at_each_attempt() {
    let mut site = site(&["m1", "s1"]);
    fill(&mut site, 1, 5, "m1");
    let dwell = crate::engine::UnschedulableLimits::default().text_dwell_ms;
    let refused = pod(10, 1);
    for (now, num_asked) in [(0, 1), (1, 1), (dwell - 1, 1), (dwell, 2), (dwell + 1, 2)] {
        assert_eq!(site.filter(&refused, &["s1"], now), Err(Reason::AllocationLimit), "{now}");
        assert_eq!(site.decider.closest.num_asked, num_asked, "{now}");
    }
    // A text that moves with what is offered wakes the pod at once.
    site.see([Change::NodeGone { name: "m1".into() }]);
    assert_eq!(site.filter(&refused, &["s1"], dwell * 2 - 1), Err(Reason::AllocationLimit));
    assert_eq!(site.filter(&refused, &["s1"], dwell * 2), Err(Reason::PoolClosed));
    // Another policy has another word.
    let mut open = settings();
    open.classes[0].pools = None;
    site.set_policy(&open);
    let full = Pod { requests: pod(11, 99).requests, ..refused };
    assert_eq!(site.filter(&full, &["s1"], dwell * 2 + 1), Err(Reason::Insufficient));
}

#[test]
fn a_node_that_node_affinity_rules_out_is_no_reason() {
    let mut site = site(&["m1", "s1"]);
    fill(&mut site, 1, 5, "m1");
    let wants = |disk: &str| {
        let asked = Requirement {
            key: "disk".into(),
            is: LabelOperator::In([Box::<str>::from(disk)].into()),
        };
        let constraints = Constraints { node_selector: [asked].into(), ..Constraints::default() };
        Some(Arc::new(constraints))
    };
    let asks = |uid, disk| Pod { constraints: wants(disk), ..pod(uid, 1) };
    assert_eq!(site.filter(&asks(10, "ssd"), &["s1"], 0), Err(Reason::PoolClosed));
    assert_eq!(site.filter(&pod(11, 1), &["s1"], 0), Err(Reason::AllocationLimit));
    // The node gets the label, of which its row says nothing.
    let mut labels = in_its_pool("m1").labels.to_vec();
    labels.push(("disk".into(), "ssd".into()));
    labels.sort();
    let labelled = Node { labels: labels.into(), resource_version: 2, ..in_its_pool("m1") };
    site.see([seen_node(labelled)]);
    assert_eq!(site.filter(&asks(12, "ssd"), &["s1"], 0), Err(Reason::AllocationLimit));
    assert_eq!(site.filter(&asks(13, "hdd"), &["s1"], 0), Err(Reason::PoolClosed));
    // So it is with what rules find that come later.
    site.see([seen_node(in_its_pool("e1"))]);
    fill(&mut site, 2, 1, "e1");
    fill(&mut site, 3, 1, "e1");
    assert_eq!(site.filter(&pod(14, 1), &["s1"], 0), Err(Reason::ElasticLimit));
    assert_eq!(site.filter(&asks(15, "ssd"), &["s1"], 0), Err(Reason::AllocationLimit));
}

#[test]
fn a_degraded_answer_names_what_was_told_and_gives_way_to_a_decision() {
    let mut site = site(&["m1", "s1", "e1"]);
    fill(&mut site, 1, 5, "m1");
    let ords = site.ords(&["s1"]);
    let told = Arc::new(pod(10, 1));
    assert_eq!(site.filter(&told, &["s1"], 0), Err(Reason::AllocationLimit));
    let again = site.decider.refuse(&site.view, &told, &ords, Reason::Overloaded, Tick(1));
    assert_eq!(again, Reason::AllocationLimit);
    // Then it is still what a decision has said.
    assert_eq!(site.filter(&told, &["s1"], 2), Err(Reason::AllocationLimit));
    // A degraded answer shuts elastic nodes to an online pod, whatever the policy says.
    let online = Arc::new(Pod { priority: 9, ..pod(11, 1) });
    let elastic = site.ords(&["e1"]);
    let verdicts = degraded(&site.view, &online, &elastic, Reason::Overloaded);
    let tally = crate::engine::Tally::of(&verdicts);
    let shut =
        tally.closest().map(|it| site.decider.refuse(&site.view, &online, &elastic, it, Tick(3)));
    assert_eq!(shut, Some(Reason::PoolClosed));
    fill(&mut site, 3, 1, "e1");
    fill(&mut site, 4, 1, "e1");
    assert_eq!(site.filter(&online, &["e1"], 4), Err(Reason::ElasticLimit));
}

#[test]
fn an_adopted_refusal_keeps_its_reason() {
    let mut site = site(&["m1", "s1"]);
    fill(&mut site, 1, 5, "m1");
    let message = "0/2 nodes are available: 1 sigma: allocation limit of the pool reached.";
    let condition = Some(UnschedulableCondition { reason: Reason::find_in(message) });
    let waiting = Pod { condition, ..pod(10, 1) };
    site.see([seen_pod(&waiting)]);
    assert_eq!(site.decider.adopt_conditions(&site.view, Tick(0)), 1);
    assert_eq!(site.filter(&waiting, &["s1"], 1), Err(Reason::AllocationLimit));
    assert_eq!(site.decider.closest.num_asked, 0);
}
