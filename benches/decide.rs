//! The engine alone: how long a decision takes, and how long it takes to publish what changed.
//! Budgets and figures: `benches/README.md`.

mod world;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use sigma::cluster::ClusterState;
use sigma::engine::{Desk, World};
use sigma::model::{Change, NodeOrd, Pod, Tick};
use world::{SIZES, Setting, plan, setting};

/// Pod events between two publications.
const NUM_EVENTS: usize = 16;

fn main() {
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    let setting = setting();
    let mut state = ClusterState::default();
    let plan = plan();
    state.apply(Change::PoolsSet(plan.pools.clone()));
    setting.changes.iter().for_each(|change| {
        state.apply(change.clone());
    });
    let (snapshot, _) = state.publish();
    let world = World { snapshot, plan, plan_generation: 1 };
    decide(&mut criterion, &setting, &world);
    publish(&mut criterion, &setting, &mut state);
    criterion.final_summary();
}

/// Budget: 40 ns a name for filter and for prioritize, and 2 µs for a request of one name.
fn decide(criterion: &mut Criterion, setting: &Setting, world: &World) {
    let ords = setting.names.iter().map(|name| world.snapshot.names.ord(name));
    let ords: Vec<NodeOrd> = ords.collect::<Option<_>>().expect("all nodes are known");
    let pods =
        [("online", &setting.online), ("offline", &setting.offline), ("exempt", &setting.exempt)];
    for (class, pod) in pods {
        let pod = Arc::new(pod.clone());
        for size in SIZES {
            let (mut desk, nodes) = (Desk::default(), &ords[..size]);
            let answer = desk.filter(world, &pod, nodes, Tick(0));
            assert!(!answer.accepted.is_empty(), "{class} is accepted by nobody of {size}");
            let scores = desk.prioritize(world, &pod, nodes);
            assert!(scores.iter().any(|score| *score > 0), "{class} scores nothing");
            let mut group = criterion.benchmark_group(format!("decide filter/{class}"));
            group.throughput(Throughput::Elements(size as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter(|| black_box(desk.filter(world, &pod, nodes, Tick(0))));
            });
            group.finish();
            let mut group = criterion.benchmark_group(format!("decide prioritize/{class}"));
            group.throughput(Throughput::Elements(size as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter(|| black_box(desk.prioritize(world, &pod, nodes)));
            });
            group.finish();
        }
    }
}

/// Budget: 1 ms, so that 1,000 events a second take less than a tenth of a core.
///
/// As live, a request may still read the last picture: what changes is copied.
fn publish(criterion: &mut Criterion, setting: &Setting, state: &mut ClusterState) {
    let placed = setting.changes.iter().filter_map(|change| match change {
        Change::PodSeen(pod) => Some((**pod).clone()),
        _ => None,
    });
    let mut pods: Vec<Pod> = placed.take(NUM_EVENTS).collect();
    let (mut reader, _) = state.publish();
    let first = reader.generation;
    criterion.bench_function("publish/16 pod events", |bencher| {
        bencher.iter(|| {
            // Each pod moves to its neighbour's node: its old place and its new one change.
            let last = pods[NUM_EVENTS - 1].node.clone();
            for at in (0..NUM_EVENTS).rev() {
                let from = at.checked_sub(1).map_or(last.clone(), |at| pods[at].node.clone());
                pods[at].node = from;
                pods[at].resource_version += 1_000_000;
                let applied = state.apply(Change::PodSeen(Box::new(pods[at].clone())));
                assert!(applied.changed);
            }
            (reader, _) = state.publish();
        });
    });
    assert!(reader.generation > first, "pictures were published");
}
