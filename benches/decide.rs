//! The engine alone: how long a decision takes, and how long it takes to publish what changed.
//! Budgets and figures: `benches/README.md`.

mod fixture;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use fixture::{SIZES, Setting, plan, setting};
use sigma::engine::{Decider, View};
use sigma::model::{AppKey, Change, NodeOrd, Now, Owner, Pod, PodUid, Preferences, Tick};
use sigma::replica::Replica;
use sigma::sim::PodStream;

/// Pods that are given targets together, and how many templates they are of.
const NUM_BATCH: usize = 10_000;
const NUM_TEMPLATES: usize = 50;
/// Pod events between two publications.
const NUM_EVENTS: usize = 16;

fn main() {
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    let setting = setting();
    let mut replica = Replica::new(plan(), Arc::default(), Decider::default());
    replica.see(setting.changes.iter().cloned());
    let view = replica.view();
    decide(&mut criterion, &setting, &view);
    targets(&mut criterion, &view);
    let mut movers = Movers::new(&setting);
    drop(view);
    publish(&mut criterion, &mut replica, &mut movers);
    fresh_best(&mut criterion, &setting, &mut replica, &mut movers);
    criterion.final_summary();
}

/// Budget: 40 ns a name for filter and for prioritize, and 2 µs for a request of one name.
fn decide(criterion: &mut Criterion, setting: &Setting, view: &View) {
    let ords = setting.names.iter().map(|name| view.snapshot.names.ord(name));
    let ords: Vec<NodeOrd> = ords.collect::<Option<_>>().expect("all nodes are known");
    let pods =
        [("online", &setting.online), ("offline", &setting.offline), ("exempt", &setting.exempt)];
    for (class, pod) in pods {
        let pod = Arc::new(pod.clone());
        for size in SIZES {
            let (mut decider, nodes) = (Decider::default(), &ords[..size]);
            let answer = decider.filter(view, &pod, nodes, Tick(0));
            assert!(!answer.accepted.is_empty(), "{class} is accepted by nobody of {size}");
            let scores = decider.prioritize(view, &pod, nodes);
            assert!(scores.iter().any(|score| *score > 0), "{class} scores nothing");
            let mut group = criterion.benchmark_group(format!("decide filter/{class}"));
            group.throughput(Throughput::Elements(size as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter(|| black_box(decider.filter(view, &pod, nodes, Tick(0))));
            });
            group.finish();
            let mut group = criterion.benchmark_group(format!("decide prioritize/{class}"));
            group.throughput(Throughput::Elements(size as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter(|| black_box(decider.prioritize(view, &pod, nodes)));
            });
            group.finish();
        }
    }
}

/// Budget: 300 ms for 10,000 pods of 50 templates, aim 100 ms; off the path of requests.
fn targets(criterion: &mut Criterion, view: &View) {
    let mut group = criterion.benchmark_group("targets");
    group.sample_size(10);
    for (order, in_turns) in [("in turns", true), ("one template after the other", false)] {
        let pods = batch(in_turns);
        let found = Decider::default().targets(view, &pods);
        let found = found.iter().filter(|it| it.is_ok()).count();
        assert!(found > NUM_BATCH * 9 / 10, "only {found} of {NUM_BATCH} pods have a target");
        group.throughput(Throughput::Elements(NUM_BATCH as u64));
        group.bench_function(BenchmarkId::from_parameter(order), |bencher| {
            bencher.iter(|| black_box(Decider::default().targets(view, &pods)));
        });
    }
    group.finish();
    let mut decider = Decider::default();
    for (at, pod) in (0..).zip(batch(true).iter().take(2000)) {
        decider.hold_for(view, pod, NodeOrd(at), Tick(0));
    }
    criterion.bench_function("targets/copy of 2,000 holds", |bencher| {
        bencher.iter(|| black_box(decider.copy_of_holds()));
    });
}

/// Pods of 50 apps, each with a template of its own.
fn batch(in_turns: bool) -> Vec<Arc<Pod>> {
    let mut stream = PodStream::new(7);
    let is_plain = |pod: &Pod| {
        let base = pod.requests.base;
        pod.preferences == Preferences::default()
            && !pod.claims_volumes()
            && &*pod.namespace != "kube-system"
            && base.cpu_milli <= 4000
            && base.memory_bytes <= 8 << 30
    };
    let templates: Vec<Pod> = (0..NUM_TEMPLATES as i64)
        .map(|at| {
            let mut pod = stream.find(&is_plain).expect("it never ends");
            // So that no two of them ask for the same.
            pod.requests.base.memory_bytes += at << 20;
            let app = AppKey(0xa99 << 64 | at as u128);
            pod.owner = Some(Owner { kind: "ReplicaSet".into(), name: "app".into(), app });
            pod
        })
        .collect();
    let each = NUM_BATCH / NUM_TEMPLATES;
    let pod = |at: usize| {
        let of = if in_turns { at % NUM_TEMPLATES } else { at / each };
        Arc::new(Pod { uid: PodUid(0xba7c << 96 | at as u128), ..templates[of].clone() })
    };
    let mut pods: Vec<_> = (0..NUM_BATCH).map(pod).collect();
    pods.sort_by_key(|pod| std::cmp::Reverse(pod.priority));
    pods
}

/// Pods that move from node to node.
struct Movers(Vec<Pod>);

impl Movers {
    fn new(setting: &Setting) -> Self {
        let placed = setting.changes.iter().filter_map(|change| match change {
            Change::PodSeen(pod) => Some((**pod).clone()),
            _ => None,
        });
        Self(placed.take(NUM_EVENTS).collect())
    }

    /// Each pod moves to its neighbour's node: its old place and its new one change.
    fn step(&mut self, replica: &mut Replica) {
        let pods = &mut self.0;
        let last = pods[NUM_EVENTS - 1].node.clone();
        for at in (0..NUM_EVENTS).rev() {
            let from = at.checked_sub(1).map_or(last.clone(), |at| pods[at].node.clone());
            pods[at].node = from;
            pods[at].resource_version += 1_000_000;
            let applied = replica.writing.apply(Change::PodSeen(Box::new(pods[at].clone())));
            assert!(applied.changed);
        }
    }
}

/// Budget: 1 ms, so that 1,000 events a second take less than a tenth of a core.
///
/// As live, a request may still read the last snapshot: what changes is copied.
fn publish(criterion: &mut Criterion, replica: &mut Replica, movers: &mut Movers) {
    let first = replica.view().snapshot.generation;
    criterion.bench_function("publish/16 pod events", |bencher| {
        bencher.iter(|| {
            movers.step(replica);
            replica.publish();
        });
    });
    // A filter on the command line may have left this case out.
    assert!(replica.view().snapshot.generation >= first, "snapshots are published in order");
}

/// Budget: 800 µs, so that knowing it anew after each 16 of 1,000 events a second takes a twentieth of a
/// core; aim 160 µs.
fn fresh_best(
    criterion: &mut Criterion,
    setting: &Setting,
    replica: &mut Replica,
    movers: &mut Movers,
) {
    let mut group = criterion.benchmark_group("best of all nodes after 16 pod events");
    for (kept, decider) in
        [("kept", Decider::default()), ("not", Decider::default().without_equivalence_cache())]
    {
        replica.decider = decider;
        group.bench_function(BenchmarkId::from_parameter(kept), |bencher| {
            bencher.iter_custom(|times| {
                let mut took = Duration::ZERO;
                for _ in 0..times {
                    movers.step(replica);
                    replica.publish();
                    took += replica.decide(Now::default(), |decider, view, _| {
                        let begun = Instant::now();
                        let best = black_box(decider.best_anywhere(view, &setting.online));
                        assert!(best.is_some(), "there is room");
                        begun.elapsed()
                    });
                }
                took
            });
        });
    }
    group.finish();
}
