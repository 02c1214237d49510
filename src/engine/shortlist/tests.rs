use std::sync::Arc;

use super::*;
use crate::cluster::Uncommitted;
use crate::engine::{Decider, Tally, View};
use crate::model::{
    DomainLevel, ExtendedAmount, Node, NodeMatcher, Requests, Taint, TaintEffect, Tick,
};
use crate::policy::{ClassSettings, PoolSettings, Settings, Shortlist, default_class};
use crate::rules::Share;
use crate::testing::{TestReplica, node, pod, seen_node};

const ZONE: &str = "topology.kubernetes.io/zone";

/// Three pools, of which the class likes the last best; of four zones the first is the largest, and
/// some nodes have none. `allocation` makes the class bear limits.
fn site(shortlist: Shortlist, allocation: Share) -> TestReplica {
    let pool = |name: &str| PoolSettings {
        name: name.into(),
        matcher: NodeMatcher {
            labels: vec![("pool".into(), name.into())],
            ..NodeMatcher::default()
        },
        allocation,
        ..PoolSettings::default()
    };
    let order = [PoolOrd(2), PoolOrd(0), PoolOrd(1)];
    let class =
        ClassSettings { pools: Some(order.into()), shortlist: Some(shortlist), ..default_class() };
    let pools = ["a", "b", "c"].map(pool).into();
    let mut site = TestReplica::new(&Settings {
        name: "test".into(),
        pools,
        classes: vec![class],
        ..Settings::default()
    });
    site.see((0..60).map(|at| seen_node(site_node(at))));
    site
}

fn site_node(at: usize) -> Node {
    let zone = ["z0", "z1", "z0", "z2", "z0", "z3", ""][at * 5 % 7];
    let pool = ["a", "b", "c", "d"][at % 7 % 4];
    node(&format!("n{at}"), &[("pool", pool), (ZONE, zone)][..2 - usize::from(zone.is_empty())])
}

fn verdicts(nodes: &[NodeOrd]) -> Vec<Reason> {
    let verdict = |at| if at % 3 == 0 { Reason::Insufficient } else { Reason::Kept };
    (0..nodes.len()).map(verdict).collect()
}

/// What is named by the book: sort all, take whole bands while they fit, then node by node unless its
/// zone has its share, then whatever is left.
fn by_the_book(
    view: &View,
    class: &crate::policy::Class,
    order: &[NodeOrd],
    most: usize,
    per_zone: usize,
) -> Vec<NodeOrd> {
    let zone = |ord: NodeOrd| view.snapshot.domain(DomainLevel::Zone, ord);
    let band = |ord: NodeOrd| class.band(view.snapshot.pool(ord));
    let mut named: Vec<NodeOrd> = Vec::new();
    for of_band in order.chunk_by(|a, b| band(*a) == band(*b)) {
        if named.len() + of_band.len() <= most {
            named.extend(of_band);
            continue;
        }
        for ord in of_band {
            let num_of_zone = named.iter().filter(|it| zone(**it) == zone(*ord)).count();
            if named.len() < most && num_of_zone < per_zone {
                named.push(*ord);
            }
        }
        for ord in of_band {
            if named.len() < most && !named.contains(ord) {
                named.push(*ord);
            }
        }
        break;
    }
    named.sort_unstable();
    named
}

#[test]
fn the_best_are_named_by_the_book_whatever_bounds_them() {
    let limits = Share { cpu_permille: 900, memory_permille: 900 };
    let mut num_compared = 0;
    for (num, per_domain) in [(16, 4), (16, 1), (5, 2), (30, 3), (1, 1), (39, 9), (0, 1)] {
        for allocation in [Share::ALL, limits] {
            let site = site(Shortlist { nodes: num, per_domain }, allocation);
            let (view, pod) = (&site.view, pod(1, 1));
            let mut uncommitted = Uncommitted::default();
            uncommitted.fit(&view.snapshot);
            let class = view.class(view.classify(&pod).class);
            assert_eq!(class.bears_limits, allocation != Share::ALL);
            let case = DecisionContext { view, class, pod: &pod, uncommitted: &uncommitted };
            let nodes: Vec<NodeOrd> = view.snapshot.live_nodes().collect();
            let verdicts = verdicts(&nodes);
            let mut ranker = Ranker::default();
            let order = ranker.rank(case, None, &nodes).best(nodes.len());
            let order = order.into_iter().filter(|at| verdicts[*at] == Reason::Kept);
            let order: Vec<NodeOrd> = order.map(|at| nodes[at]).collect();
            let best_band = order.iter().filter(|ord| view.snapshot.pool(**ord) == PoolOrd(2));
            let num_in_band = best_band.count();
            assert!(num_in_band < MAX_HELD_NODES, "others must fill up");
            let mut shortlister = Shortlister::default();
            for num_holds in [0, 1, 2, 100] {
                let mut answer = Answer { tally: Tally::of(&verdicts), ..Answer::default() };
                shortlister.name_best(case, None, &nodes, &verdicts, num_holds, &mut answer);
                assert!(answer.accepted.is_sorted());
                let listed = if num == 0 { usize::MAX } else { usize::from(num) };
                let held = match class.bears_limits {
                    true => num_held(num_in_band, num_holds),
                    false => usize::MAX,
                };
                let per_zone = if num == 0 { usize::MAX } else { usize::from(per_domain) };
                let want = by_the_book(view, class, &order, listed.min(held), per_zone);
                let named: Vec<_> = answer.accepted.iter().map(|at| nodes[*at as usize]).collect();
                assert_eq!(named, want, "{num} {per_domain} {num_holds}");
                let mut scores = Vec::new();
                ranker.rank(case, None, &named).all_scores(&mut scores);
                assert!(answer.scores == scores || answer.scores.is_empty());
                assert_eq!(answer.scores.is_empty(), listed.min(held) > order.len());
                num_compared += 1;
            }
        }
    }
    assert_eq!(num_compared, 56);
}

#[test]
fn a_shortlist_is_off_where_all_nodes_are_named_and_not_where_holds_name_fewer() {
    let limits = Share { cpu_permille: 900, memory_permille: 900 };
    // By what the class allows: how many may take the pod, the list's length, how many are named.
    for (allocation, listed, num_kept, want) in [
        (Share::ALL, 4, 40, 40),
        (limits, 4, 40, MAX_HELD_NODES),
        (limits, 4, 17, MAX_HELD_NODES),
        // Holds leave nothing out here.
        (limits, 4, 16, 16),
        (limits, 4, 5, 5),
    ] {
        for (why, preferences) in [
            (ShortlistOff::SoftSpread, Preferences::SPREAD),
            (ShortlistOff::PodAffinity, Preferences::POD_AFFINITY),
            (ShortlistOff::NodeAffinity, Preferences::NODE_AFFINITY),
            (ShortlistOff::OtherExtender, Preferences::default()),
            (ShortlistOff::SoftTaints, Preferences::default()),
        ] {
            let mut site = site(Shortlist::of(listed), allocation);
            if why == ShortlistOff::OtherExtender {
                site.decider = Decider::default().beside(OtherExtenders::Judging);
            }
            if why == ShortlistOff::SoftTaints {
                site.see((0..60).map(|at| seen_node(disliked(&site_node(at)))));
            }
            let pod = Pod { preferences, ..pod(1, 1) };
            let nodes: Vec<NodeOrd> = site.view.snapshot.live_nodes().collect();
            let open = nodes.into_iter().filter(|ord| site.view.snapshot.pool(*ord).index() < 3);
            let nodes: Vec<NodeOrd> = open.take(num_kept).collect();
            let answer = site.decider.filter(&site.view, &Arc::new(pod), &nodes, Tick(0));
            assert_eq!((answer.tally.kept() as usize, answer.accepted.len()), (num_kept, want));
            let is_off = want == num_kept;
            let naming = if is_off { Naming::Off(why) } else { Naming::Held };
            assert_eq!(answer.naming, naming, "{why:?}: {want} of {num_kept}");
        }
    }
}

fn disliked(it: &Node) -> Node {
    let taint =
        Taint { key: "old".into(), value: "".into(), effect: TaintEffect::PreferNoSchedule };
    Node { taints: [taint].into(), resource_version: 2, ..it.clone() }
}

#[test]
fn more_bytes_are_counted_than_a_byte_can_count() {
    let bytes: Vec<u8> = (0..1001).map(|at| u8::from(at % 10 == 0)).collect();
    assert_eq!([0, 1, 2].map(|byte| count(&bytes, byte)), [900, 101, 0]);
    assert_eq!(count(&[7; 1001], 7), 1001);
}

#[test]
fn the_more_is_held_the_fewer_nodes_are_named() {
    assert_eq!((num_held(10_000, 0), num_held(1, 0)), (MAX_HELD_NODES, MAX_HELD_NODES));
    assert_eq!((num_held(10, 1), num_held(10, 9), num_held(500, 24)), (2, 1, 10));
    assert_eq!((num_held(10_000, 1), num_held(1, usize::MAX)), (MAX_HELD_NODES, 1));
}

#[test]
fn whoever_judges_after_us_has_the_whole_choice() {
    let gpu = |amount| {
        let extended = [ExtendedAmount { name: "example.com/gpu".into(), amount }].into();
        Pod { requests: Requests { extended, ..pod(1, 1).requests }, ..pod(1, 1) }
    };
    let managing = OtherExtenders::Managing(vec!["example.com/gpu".into()]);
    let off = Naming::Off(ShortlistOff::OtherExtender);
    let cases = [
        (OtherExtenders::None, gpu(1), Naming::Best),
        (OtherExtenders::Judging, pod(1, 1), off),
        (managing.clone(), gpu(1), off),
        (managing, pod(1, 1), Naming::Best),
    ];
    for (other_extenders, pod, want) in cases {
        let mut site = site(Shortlist::of(4), Share::ALL);
        site.decider = Decider::default().beside(other_extenders);
        let nodes: Vec<NodeOrd> = site.view.snapshot.live_nodes().collect();
        let answer = site.decider.filter(&site.view, &Arc::new(pod), &nodes, Tick(0));
        assert_eq!(answer.naming, want);
        let num_kept = answer.tally.kept() as usize;
        let want = if want == Naming::Best { 4 } else { num_kept };
        assert_eq!((answer.accepted.len(), num_kept > 4), (want, true));
    }
}
