//! Cases from the protocol page and from kube-scheduler's own sources.

use super::*;
use crate::model::{TaintValue, Toleration};
use crate::sim::{PodStream, cluster};

const OPTIONS: SchedulerOptions =
    SchedulerOptions { percentage_of_nodes_to_score: 0, extender_weight: 150, seed: 1 };

fn node(cpu_milli: i64, memory_gib: i64) -> Node {
    let memory_bytes = memory_gib << 30;
    let allocatable = Amounts { cpu_milli, memory_bytes, ephemeral_bytes: 0, pods: 100 };
    Node { allocatable, ..Node::default() }
}

fn pod(cpu_milli: i64, memory_gib: i64) -> Pod {
    let mut pod = PodStream::new(1).next().expect("the stream never ends");
    let memory_bytes = memory_gib << 30;
    pod.requests.base = Amounts { cpu_milli, memory_bytes, ephemeral_bytes: 0, pods: 1 };
    pod.tolerations = Box::default();
    pod
}

fn taint(key: &str, effect: TaintEffect) -> Box<[Taint]> {
    Box::new([Taint { key: key.into(), value: "".into(), effect }])
}

#[test]
fn windows_are_as_large_as_the_protocol_page_says() {
    let cases = [
        (0, 0),
        (1, 1),
        (99, 99),
        (100, 100),
        (304, 145),
        (1000, 420),
        (2000, 680),
        (3000, 780),
        (5000, 500),
        (10_000, 500),
        (15_000, 750),
    ];
    for (nodes, want) in cases {
        assert_eq!(num_feasible_nodes_to_find(nodes, 0), want, "{nodes} nodes");
    }
    assert_eq!(num_feasible_nodes_to_find(10_000, 100), 10_000);
    assert_eq!(num_feasible_nodes_to_find(10_000, 1), 100);
    assert_eq!(num_feasible_nodes_to_find(50, 10), 50);
}

#[test]
fn windows_rotate_over_all_nodes() {
    let nodes = cluster(1000, 1).nodes;
    let mut scheduler = Scheduler::new(&nodes, OPTIONS);
    let small = pod(100, 0);
    let first = scheduler.find_feasible(&small);
    let second = scheduler.find_feasible(&small);
    assert_eq!((first.feasible.len(), second.feasible.len()), (420, 420));
    let both: std::collections::BTreeSet<u32> =
        first.feasible.iter().chain(&second.feasible).copied().collect();
    assert_eq!(both.len(), 840, "the second window starts where the first ended");
    let third = scheduler.find_feasible(&small);
    assert!(first.feasible.contains(third.feasible.last().expect("not empty")), "it goes round");
}

#[test]
fn the_list_takes_the_zones_in_turn() {
    let in_zone = |zone: &str| {
        let label = (DomainLevel::Zone.label().into(), zone.into());
        Node { labels: Box::new([label]), ..node(1, 1) }
    };
    let nodes = ["a", "a", "a", "b", "c", "c"].map(in_zone);
    assert_eq!(node_tree(&nodes), [0, 3, 4, 1, 5, 2]);
}

#[test]
fn nodes_are_refused_as_in_tree_plugins_refuse_them() {
    let cordoned = Node { conditions: Conditions::CORDONED, ..node(4000, 8) };
    let tainted = Node { taints: taint("k", TaintEffect::NoSchedule), ..node(4000, 8) };
    let disliked = Node { taints: taint("k", TaintEffect::PreferNoSchedule), ..node(4000, 8) };
    let nodes = [node(4000, 8), node(3999, 8), cordoned, tainted, disliked];
    let mut scheduler = Scheduler::new(&nodes, OPTIONS);
    let mut asks = pod(4000, 8);
    let window = scheduler.find_feasible(&asks);
    assert_eq!((window.feasible, window.refused), (vec![0, 4], [1, 1, 1]));
    asks.tolerations =
        Box::new([Toleration { key: "".into(), value: TaintValue::Any, effect: None }]);
    assert_eq!(scheduler.find_feasible(&asks).feasible, [0, 2, 3, 4]);
    scheduler.assume(&asks, 0);
    let window = scheduler.find_feasible(&asks);
    assert_eq!(window.feasible, [2, 3, 4], "an assumed pod counts");
    assert_eq!(window.main_refusal(), Some(ScorePlugins::NodeResourcesFit));
}

#[test]
fn in_tree_scores_are_those_of_kube_scheduler() {
    let disliked = Node { taints: taint("k", TaintEffect::PreferNoSchedule), ..node(4000, 8) };
    let nodes = [node(4000, 8), node(4000, 8), disliked];
    let mut scheduler = Scheduler::new(&nodes, OPTIONS);
    let asks = pod(1000, 2);
    scheduler.assume(&pod(2000, 0), 1);
    let balanced_and_free = 300 + 75 + 75;
    // Half of the CPU was used and no memory; after the pod 75 % and 25 % (plus the 200 MiB that
    // scoring counts for a pod that asks for none).
    let lopsided = 300 + (25 + 72) / 2 + 75;
    let scores = scheduler.in_tree_scores(&asks, &[0, 1, 2]);
    assert_eq!(scores, [balanced_and_free, lopsided, balanced_and_free - 300]);
}

#[test]
fn the_extender_outweighs_the_tree_and_the_seed_breaks_ties() {
    let nodes = vec![node(4000, 8); 20];
    let all: Vec<u32> = (0..20).collect();
    let scheduler = Scheduler::new(&nodes, OPTIONS);
    let asks = pod(1000, 2);
    let mut points = vec![3; 20];
    points[7] = 4;
    assert_eq!(scheduler.select(&asks, &all, &points), Some(7));
    assert_eq!(scheduler.select(&asks, &[3], &[]), Some(3));
    assert_eq!(scheduler.select(&asks, &[], &[]), None);
    let drawn = |seed| {
        let scheduler = Scheduler::new(&nodes, SchedulerOptions { seed, ..OPTIONS });
        PodStream::new(1).take(20).map(|pod| scheduler.select(&pod, &all, &[])).collect::<Vec<_>>()
    };
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Filled by the model alone, no node is ever over-committed, and the same seed gives the
        /// same places.
        #[test]
        fn never_over_committed_and_repeatable(seed in 0_u64..1000, size in 1_u32..300) {
            let nodes = cluster(size, seed).nodes;
            let fill = || {
                let mut scheduler = Scheduler::new(&nodes, SchedulerOptions { seed, ..OPTIONS });
                let places = PodStream::new(seed).take(400).map(|pod| {
                    let window = scheduler.find_feasible(&pod);
                    let wanted = num_feasible_nodes_to_find(size, 0) as usize;
                    assert!(window.feasible.len() <= wanted);
                    let place = scheduler.select(&pod, &window.feasible, &[]);
                    place.inspect(|at| scheduler.assume(&pod, *at))
                });
                let places: Vec<Option<u32>> = places.collect();
                (places, scheduler)
            };
            let (places, scheduler) = fill();
            prop_assert_eq!(&places, &fill().0);
            for row in &scheduler.rows {
                prop_assert!(row.requested.cpu_milli <= row.allocatable.cpu_milli);
                prop_assert!(row.requested.memory_bytes <= row.allocatable.memory_bytes);
                prop_assert!(row.requested.pods <= row.allocatable.pods);
            }
        }
    }
}
