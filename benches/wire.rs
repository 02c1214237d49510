//! The whole request without a socket: bytes to names, to ordinals, to a decision, to bytes.
//! Budgets and figures: `benches/README.md`.

mod fixture;
#[path = "fixture/server.rs"]
mod server;

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use fixture::{NUM_NODES, SIZES, setting};
use server::{Server, args, names_in};

/// Budget of handler time (`performance.md` §2.5): filter 12 µs at 500 names and 180 µs at 10,000;
/// prioritize, asked without a filter before it, 12 µs and 160 µs.
fn main() {
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    let setting = setting();
    let server = Server::new(&setting);
    assert_eq!(server.shared.view().snapshot.names.len(), NUM_NODES);
    let pods =
        [("online", &setting.online), ("offline", &setting.offline), ("exempt", &setting.exempt)];
    for verb in ["filter", "prioritize"] {
        for (class, pod) in pods {
            let mut group = criterion.benchmark_group(format!("request {verb}/{class}"));
            for size in SIZES {
                let body: Bytes = args(pod, &setting.names[..size]);
                group.throughput(Throughput::Elements(size as u64));
                group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                    bencher.iter(|| black_box(server.ask(verb, &body)));
                });
            }
            group.finish();
            assert!(server.names_returned(verb) > 0, "{verb} accepted something");
        }
    }
    // As kube-scheduler asks: about the names that the pod's filter has just returned.
    let mut group = criterion.benchmark_group("request prioritize/exempt, after its filter");
    for size in SIZES {
        let filter: Bytes = args(&setting.exempt, &setting.names[..size]);
        let returned = names_in(&server.ask("filter", &filter));
        let body: Bytes = args(&setting.exempt, &returned);
        group.throughput(Throughput::Elements(returned.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            let before = || server.ask("filter", &filter);
            let prioritize = |_| black_box(server.ask("prioritize", &body));
            bencher.iter_batched(before, prioritize, BatchSize::PerIteration);
        });
    }
    group.finish();
    assert!(server.num_remembered() > 0, "prioritize was answered from its filter");
    criterion.final_summary();
}
