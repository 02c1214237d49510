//! What watch events cost: reading a pod, applying it, and publishing the snapshot that has it.
//! Budgets and figures: `benches/README.md`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use sigma::cluster::ClusterState;
use sigma::k8s::decode;
use sigma::k8s::kinds::nodes::{self, SlimNode};
use sigma::k8s::slim::SlimPod;
use sigma::model::{Change, Kind, Pod};
use sigma::sim::{Event, Fleet};

/// As in production: the system's allocator would be measured instead.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NUM_NODES: u64 = 10_000;
const NUM_PODS: u64 = 500_000;
/// Bytes of a pod's JSON: two containers with ten variables each, managedFields, a full status.
const POD_BYTES: usize = 8_600;
/// Pod events between two publications.
const NUM_EVENTS: usize = 16;

fn main() {
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(50)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    let fleet = Fleet::new(NUM_NODES, NUM_PODS, POD_BYTES);
    read(&mut criterion, &fleet);
    let mut state = listed(&fleet);
    let mut version = Fleet::version(0);
    let mut next_events = move |fleet: &Fleet| -> Vec<Change> {
        let mut events = Vec::with_capacity(NUM_EVENTS);
        while events.len() < NUM_EVENTS {
            version += 1;
            events.extend(change(fleet, version));
        }
        events
    };
    apply(&mut criterion, &fleet, &mut state, &mut next_events);
    publish(&mut criterion, &fleet, &mut state, &mut next_events);
    assert_eq!(state.audit(), [], "every sum is right after all that");
    criterion.final_summary();
}

/// Budget: 20 µs; 500,000 pods are then read in 10 s.
fn read(criterion: &mut Criterion, fleet: &Fleet) {
    let mut text = Vec::new();
    fleet.write_pod(&mut text, &fleet.listed(4711));
    assert_eq!(pod(&text).requests.base.pods, 1);
    criterion.bench_function("ingest/read a pod", |bencher| {
        bencher.iter(|| black_box(pod(black_box(&text))));
    });
}

/// Budget: 100 µs, while nobody reads: nothing is copied.
fn apply(
    criterion: &mut Criterion,
    fleet: &Fleet,
    state: &mut ClusterState,
    next_events: &mut impl FnMut(&Fleet) -> Vec<Change>,
) {
    criterion.bench_function("ingest/apply 16 pod events", |bencher| {
        let events = || next_events(fleet);
        bencher.iter_batched(events, |it| carry_out(state, it), BatchSize::SmallInput);
    });
}

/// Budget: 100 µs, so that 2,000 events a second take a few hundredths of a core however small the
/// batches are. As live, a request may still read the last snapshot: what changes is copied.
fn publish(
    criterion: &mut Criterion,
    fleet: &Fleet,
    state: &mut ClusterState,
    next_events: &mut impl FnMut(&Fleet) -> Vec<Change>,
) {
    let (mut reader, _) = state.publish();
    let first = reader.generation;
    criterion.bench_function("ingest/apply and publish 16 pod events", |bencher| {
        let events = || next_events(fleet);
        let publish = |events| {
            carry_out(state, events);
            (reader, _) = state.publish();
        };
        bencher.iter_batched(events, publish, BatchSize::SmallInput);
    });
    assert!(reader.generation > first, "snapshots were published");
}

fn carry_out(state: &mut ClusterState, events: Vec<Change>) {
    for event in events {
        state.apply(event);
    }
}

/// The state after the lists of a start.
fn listed(fleet: &Fleet) -> ClusterState {
    let mut state = ClusterState::default();
    let mut text = Vec::new();
    for kind in [Kind::NODES, Kind::PODS] {
        state.apply(Change::RelistBegin(kind));
        for number in fleet.numbers(kind, Fleet::version(0)) {
            text.clear();
            fleet.write_listed(&mut text, kind, number);
            state.apply(match kind {
                Kind::NODES => {
                    let slim: SlimNode = serde_json::from_slice(&text).expect("JSON");
                    Change::NodeSeen(Box::new(nodes::node(&slim).expect("a node")))
                }
                _ => Change::PodSeen(Box::new(pod(&text))),
            });
        }
        state.apply(Change::RelistEnd(kind));
    }
    state
}

/// The change that an event of a pod's watch makes; `None` for another watch's.
fn change(fleet: &Fleet, version: u64) -> Option<Change> {
    let Event::Pod(kind, it) = fleet.event(version) else { return None };
    let mut text = Vec::new();
    fleet.write_pod(&mut text, &it);
    let pod = pod(&text);
    Some(match kind {
        "DELETED" => Change::PodGone { uid: pod.uid },
        _ => Change::PodSeen(Box::new(pod)),
    })
}

fn pod(text: &[u8]) -> Pod {
    let slim: SlimPod = serde_json::from_slice(text).expect("JSON");
    decode::pod(&slim).expect("a pod")
}
