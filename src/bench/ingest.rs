//! `sigma-bench ingest`: how fast `sigma serve` takes a large cluster in, and how soon an event of it
//! is in an answer.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::apiserver::ApiServer;
use super::site::{ClusterArgs, Sigma};
use sigma::cli::Failure;
use sigma::cli::loopback::client::Client;
use sigma::cli::stats::nearest_rank;
use sigma::cli::table::{self, Align};
use sigma::sim::{Fleet, Rng, node_name};

pub(super) const ABOUT: &str = "Measures how fast sigma serve follows a large cluster";

pub(super) const LONG_ABOUT: &str = "\
Measures how fast sigma serve follows a large cluster.

Starts the real `sigma serve` as a child process and lets it list and watch a server on loopback
that makes up nodes and pods as it writes them.

  to send       time the server needs to send all lists to somebody who throws them away
  to ready      from the start of the process until /readyz says 200
  visible       events come at the given pace; besides, one pod grows and shrinks now and then, and
                another one is asked about again and again: from the moment the event happens to the
                first filter answer that knows it
  publishing    applying a batch of changes and publishing the snapshot, by the metrics
                sigma_publish_duration_seconds and sigma_changes_total

Unless told otherwise, the server writes as fast as memory allows, and ready ÷ send is sigma's
reading of JSON beside mere copying. Beside a kube-apiserver, which encodes at some 90 MB/s a core,
sigma waits: --encode-mb-per-second. No cluster is touched, and nothing is written but a
temporary folder.";

pub(super) const EXAMPLES: &str = "\
Examples:
  sigma-bench ingest                             10,000 nodes, 500,000 pods (half a minute)
  sigma-bench ingest --nodes 1000 --pods 50000   a smaller cluster
  sigma-bench ingest --events-per-second 10000   a storm
  sigma-bench ingest --encode-mb-per-second 90 --pods 100000
                                                 a server as fast as kube-apiserver
  sigma-bench ingest -o json | jq .visible_p99_ms

Exit codes: 0 done, 1 failed, 2 bad flags.";

/// The node whose room is asked about: bare metal, so its pods leave some.
const NODE: u64 = 0;
/// The pod that is asked about, of another app than the one that grows: no spread keeps them apart.
const ASKED: u64 = 1000;
/// A probe must show within this time.
const VISIBLE_LIMIT: Duration = Duration::from_secs(30);
/// Milliseconds between two probes, from and to.
const PROBE_PAUSE_MS: (u64, u64) = (2, 15);
/// Between two questions.
const ASK_PAUSE: Duration = Duration::from_micros(100);

/// What `-o json` prints.
#[derive(Debug, serde::Serialize)]
struct IngestReport {
    list_mb: f64,
    send_seconds: f64,
    ready_seconds: f64,
    ready_over_send: f64,
    ready_cpu_seconds: f64,
    events_per_second: u32,
    probes: usize,
    visible_p50_ms: f64,
    visible_p99_ms: f64,
    changes_per_publication: f64,
    publish_us: f64,
    /// Of one core, while events came and the probe asked.
    cpu_percent: f64,
}

/// Runs the bench.
pub(super) fn run(args: &ClusterArgs) -> Result<(), Failure> {
    args.print(&measure(args)?, shown)
}

fn measure(args: &ClusterArgs) -> anyhow::Result<IngestReport> {
    let server = args.server()?;
    let progress = args.progress(2);
    progress.set_message("to nobody");
    let (send, num_bytes) = server.time_to_send()?;
    progress.set_message("to sigma");
    let started = Instant::now();
    let sigma = Sigma::ready(&server, &progress)?;
    let ready = started.elapsed();
    let ready_cpu_seconds = sigma.cpu_seconds()?;
    progress.set_message("now events");
    let work = |sigma: &Sigma| {
        Ok::<_, anyhow::Error>([
            sigma.metric("sigma_publish_duration_seconds_count")?,
            sigma.metric("sigma_publish_duration_seconds_sum")?,
            sigma.metric("sigma_changes_total")?,
        ])
    };
    server.set_pace(args.events_per_second.into());
    let (before, began) = (work(&sigma)?, Instant::now());
    let lasting = Duration::from_secs(args.seconds.into());
    let visible = probe(&server, &sigma, &args.fleet(), lasting)?;
    let (after, took) = (work(&sigma)?, began.elapsed());
    let cpu = sigma.cpu_seconds()? - ready_cpu_seconds;
    progress.finish_and_clear();
    let [published, seconds, changes] = [0, 1, 2].map(|at| after[at] - before[at]);
    let to = |value: f64, digits: i32| (value * 10_f64.powi(digits)).round() / 10_f64.powi(digits);
    Ok(IngestReport {
        list_mb: to(num_bytes as f64 / 1e6, 0),
        send_seconds: to(send.as_secs_f64(), 2),
        ready_seconds: to(ready.as_secs_f64(), 2),
        ready_over_send: to(ready.as_secs_f64() / send.as_secs_f64(), 2),
        ready_cpu_seconds,
        events_per_second: args.events_per_second,
        probes: visible.len(),
        visible_p50_ms: to(nearest_rank(&visible, 500), 2),
        visible_p99_ms: to(nearest_rank(&visible, 990), 2),
        changes_per_publication: to(changes / published, 1),
        publish_us: to(seconds / published * 1e6, 1),
        cpu_percent: to(cpu / took.as_secs_f64() * 100.0, 1),
    })
}

/// Lets a pod on a node grow beyond it and shrink, and notes after how many milliseconds a filter
/// call for another pod knows; sorted.
fn probe(
    server: &ApiServer,
    sigma: &Sigma,
    fleet: &Fleet,
    lasting: Duration,
) -> anyhow::Result<Vec<f64>> {
    let mut client = Client::connect(sigma.verbs).context("cannot connect to sigma")?;
    let mut pod = Vec::new();
    Fleet::new(1, 1, 0).write_pod(&mut pod, &Fleet::extra(ASKED, 1, None, "100m"));
    let (pod, node) = (String::from_utf8_lossy(&pod), node_name(NODE));
    let body = format!("{{\"Pod\":{pod},\"Nodes\":null,\"NodeNames\":[\"{node}\"]}}");
    let kept = format!("\"NodeNames\":[\"{node}\"]");
    let mut fits = move || -> anyhow::Result<bool> {
        let answer = client.post("/filter", &body).context("cannot ask sigma")?;
        Ok(memchr::memmem::find(answer, kept.as_bytes()).is_some())
    };
    anyhow::ensure!(fits()?, "{node} has no room for the pod that is asked about");
    let (mut rng, mut times, started) = (Rng::new(1, 0), Vec::new(), Instant::now());
    let mut large = false;
    while started.elapsed() < lasting {
        large = !large;
        let happened = Instant::now();
        let cpu = if large { "95500m" } else { "1m" };
        server.set_probe(|out, version| {
            fleet.write_pod(out, &Fleet::extra(0, version, Some(NODE), cpu));
        });
        while fits()? == large {
            if happened.elapsed() > VISIBLE_LIMIT {
                bail!("an event did not become visible within {VISIBLE_LIMIT:?}");
            }
            std::thread::sleep(ASK_PAUSE);
        }
        times.push(happened.elapsed().as_secs_f64() * 1e3);
        let (least, most) = PROBE_PAUSE_MS;
        std::thread::sleep(Duration::from_millis(rng.between(least, most)));
    }
    times.sort_unstable_by(f64::total_cmp);
    Ok(times)
}

fn shown(report: &IngestReport) -> String {
    let mut table = table::new(&[("sigma serve", Align::Left), ("", Align::Right)]);
    for (what, figure) in [
        ("to send all lists", format!("{:.2} s", report.send_seconds)),
        ("to ready", format!("{:.2} s", report.ready_seconds)),
        ("ready ÷ send", format!("{:.2}", report.ready_over_send)),
        ("CPU time until ready", format!("{:.2} s", report.ready_cpu_seconds)),
        ("an event is visible after, p50", format!("{:.2} ms", report.visible_p50_ms)),
        ("p99", format!("{:.2} ms", report.visible_p99_ms)),
        ("changes in a snapshot, mean", format!("{:.1}", report.changes_per_publication)),
        ("applying and publishing them, mean", format!("{:.1} µs", report.publish_us)),
        ("CPU while events come", format!("{:.1} %", report.cpu_percent)),
    ] {
        table.add_row([what.to_owned(), figure]);
    }
    let IngestReport { list_mb, probes, events_per_second, .. } = report;
    format!(
        "{table}\nlists of {list_mb} MB; {events_per_second} events a second, {probes} probes\n"
    )
}
