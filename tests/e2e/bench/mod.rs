//! What an extender costs a real kube-scheduler: a standing backlog, scheduled without an extender,
//! with sigma, and with one in Go that decides nothing. `just bench-e2e`.
//!
//! The clock starts when kube-scheduler may begin, and so may sigma where it acts by itself: both stand
//! by before, as after a failover. It ends with the last binding.
//!
//! Means take turns, A B B A: whatever drifts while the bench lasts falls on all alike. On two cores
//! the scheduler, the API server and the extender are in each other's way, so what is compared is
//! medians of runs, and how far two runs of the same thing differ stands beside them.

mod backlog;
mod chart;
mod report;
mod run;
mod start;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};

use backlog::Backlog;
use run::Site;

/// Measures pods a second and CPU time a pod of a real kube-scheduler with and without extenders.
///
/// Needs the control plane's binaries and the Go peer: `just bench-e2e` builds both.
#[derive(Debug, Parser)]
#[command(
    name = "just bench-e2e",
    after_help = "\
Examples:
  just bench-e2e                                   5,000 nodes, all means, 2 rounds
  just bench-e2e --nodes 1000 --rounds 5 -o json
  just bench-e2e --backlog mixed --means none,sigma-ahead --percentage 100
  just bench-e2e --means none,sigma-shortlist --svg target/e2e.svg"
)]
pub(crate) struct BenchArgs {
    /// Nodes of the cluster.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(10..=50_000))]
    nodes: u32,
    /// Pods of a backlog. All of them fit.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(20..=20_000))]
    pods: u32,
    /// What the backlog is made of.
    #[arg(long, value_enum, default_value_t = Backlog::Plain)]
    backlog: Backlog,
    /// What is compared; the first is what the others are divided by.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = ActionKind::DEFAULT)]
    means: Vec<ActionKind>,
    /// Rounds A B B A: each has two runs of each means.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// kube-scheduler's percentageOfNodesToScore [default: kube-scheduler's own].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    percentage: Option<u32>,
    /// sigma's --nominations-per-second: nominations a second, at most [default: sigma's own].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    qps: Option<u32>,
    /// The most nodes that sigma names for a pod; 0: all [default: sigma's own].
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    shortlist: Option<u32>,
    /// Draws pods a second to a file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// A table, or one JSON object a row.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// What is beside kube-scheduler. A further row is a further value here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ActionKind {
    /// No extender.
    None,
    /// sigma with a policy without limits: all names come back, each with a score.
    SigmaAll,
    /// sigma with limits: the best few names come back.
    SigmaShortlist,
    /// The same, and the backlog is nominated ahead: choosing and writing are inside the clock.
    SigmaAhead,
    /// The same, but the clock starts when all are nominated that can be.
    SigmaNominated,
    /// benches/peers/go-echo: all names, each with a score.
    GoEcho,
}

impl ActionKind {
    const DEFAULT: [Self; 5] =
        [Self::None, Self::SigmaAll, Self::SigmaShortlist, Self::SigmaAhead, Self::GoEcho];

    /// As `--means` takes it.
    fn name(self) -> String {
        self.to_possible_value().map(|it| it.get_name().to_owned()).unwrap_or_default()
    }

    /// sigma's policy, with shortlists of this length.
    fn policy(self, shortlist: Option<u32>) -> Option<String> {
        let (policy, more) = match self {
            Self::SigmaAll => return Some(include_str!("all.yaml").to_owned()),
            Self::SigmaShortlist => (include_str!("shortlist.yaml"), "steering:\n"),
            // It ends with what there is of steering.
            Self::SigmaAhead | Self::SigmaNominated => (include_str!("ahead.yaml"), ""),
            Self::None | Self::GoEcho => return None,
        };
        let length = shortlist.map(|most| format!("{more}  default: {{shortlist: {most}}}\n"));
        Some(format!("{policy}{}", length.unwrap_or_default()))
    }
}

/// Runs all and prints the report. A run that fails ends the bench, after what is known is printed.
pub(crate) async fn bench(args: BenchArgs) -> Result<()> {
    ensure!(!args.means.is_empty(), "--means names nothing");
    let site = Site::start(&args).await.context("the control plane")?;
    let mut runs = Vec::new();
    let ended = measure(&args, &site, &mut runs).await;
    let rows = report::rows(&args, &runs);
    match args.output {
        Output::Table => print!("{}", report::table(&rows)),
        Output::Json => print!("{}", report::json(&rows)?),
    }
    if let Some(path) = &args.svg {
        let text = chart::svg(&rows);
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    ended
}

async fn measure(
    args: &BenchArgs,
    site: &Site,
    runs: &mut Vec<(ActionKind, run::Run)>,
) -> Result<()> {
    for round in 1..=args.rounds {
        let there_and_back = args.means.iter().chain(args.means.iter().rev());
        for means in there_and_back {
            let run = site.run(*means).await;
            let run = run.with_context(|| format!("round {round}, {}", means.name()))?;
            let (name, pods_per_second) = (means.name(), run.pods_per_second);
            eprintln!("round {round}, {name}: {pods_per_second:.0} pods/s");
            runs.push((*means, run));
        }
    }
    Ok(())
}
