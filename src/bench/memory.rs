//! `sigma-bench memory`: what `sigma serve` needs in a large cluster.

use std::time::Duration;

use super::site::{ClusterArgs, Memory, Sigma};
use sigma::cli::Failure;
use sigma::cli::table::{self, Align};

pub(super) const ABOUT: &str = "Measures the memory of sigma serve in a large cluster";

pub(super) const LONG_ABOUT: &str = "\
Measures the memory of sigma serve in a large cluster.

Starts the real `sigma serve` as a child process and lets it list and watch a server on loopback
that makes up nodes and pods as it writes them; then events come. Resident memory is what Linux
calls VmRSS, its peak VmHWM.

No cluster is touched, and nothing is written but a temporary folder.";

pub(super) const EXAMPLES: &str = "\
Examples:
  sigma-bench memory                           10,000 nodes, 500,000 pods (half a minute)
  sigma-bench memory --nodes 1000 --pods 50000 a smaller cluster
  sigma-bench memory --stream-lists            lists as streams, not in pages
  sigma-bench memory -o json | jq .steady.rss_mb

Exit codes: 0 done, 1 failed, 2 bad flags.";

/// What `-o json` prints.
#[derive(Debug, serde::Serialize)]
struct MemoryReport {
    nodes: u64,
    pods: u64,
    /// When all lists were read; its peak is the peak while listing.
    listed: Memory,
    /// After the events.
    steady: Memory,
    /// Of `steady.rss_mb`.
    bytes_per_pod: f64,
}

/// Runs the bench.
pub(super) fn run(args: &ClusterArgs) -> Result<(), Failure> {
    let server = args.server()?;
    let progress = args.progress(1);
    let sigma = Sigma::ready(&server, &progress)?;
    let listed = sigma.memory()?;
    progress.set_message("now events");
    server.set_pace(args.events_per_second.into());
    std::thread::sleep(Duration::from_secs(args.seconds.into()));
    let steady = sigma.memory()?;
    progress.finish_and_clear();
    let count = |kind: &str| sigma.metric(&format!("sigma_state_objects{{kind=\"{kind}\"}}"));
    let (nodes, pods) = (count("nodes")?, count("pods")?);
    let report = MemoryReport {
        nodes: nodes as u64,
        pods: pods as u64,
        listed,
        steady,
        bytes_per_pod: (steady.rss_mb * 1e6 / pods).round(),
    };
    args.print(&report, shown)
}

fn shown(report: &MemoryReport) -> String {
    let mut table = table::new(&[("sigma serve", Align::Left), ("MB", Align::Right)]);
    for (what, mb) in [
        ("peak while listing", report.listed.peak_mb),
        ("when all is listed", report.listed.rss_mb),
        ("after the events", report.steady.rss_mb),
        ("peak of all", report.steady.peak_mb),
    ] {
        table.add_row([what.to_owned(), format!("{mb:.1}")]);
    }
    let MemoryReport { nodes, pods, bytes_per_pod, .. } = report;
    format!(
        "{table}\n{nodes} nodes, {pods} placed pods: {bytes_per_pod:.0} bytes a pod, all in all\n"
    )
}
