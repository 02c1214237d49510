//! `sigma demo`: the main job on a laptop, without a cluster.
//!
//! It makes nodes and pods from a seed, starts the real extender on loopback, drives it over HTTP
//! as kube-scheduler does, and tells what went where. It touches no cluster, and no file but those
//! that were named.

mod drive;
mod keep;
mod report;

use std::fs::File;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::loopback::extender::LoopbackExtender;
use super::table::Output;
use super::{Failure, plans, print, progress_bar};
use crate::http::FastPaths;
use crate::sim::{self, PodStream};
use drive::Driver;
use report::Summary;

/// How much the pods of a run ask for when `--pods` is not given, in percent of the fixed nodes'
/// CPU: a little more than there is, so that some pods go to ECI and some go nowhere.
const DEFAULT_LOAD_PERCENT: i64 = 105;
/// Most pods of a run.
const MAX_PODS: u64 = 2_000_000;

const ABOUT: &str = "Shows sigma at work without a cluster: 10,000 nodes, filled pod by pod";

const LONG_ABOUT: &str = "\
Shows sigma at work without a cluster.

The demo makes a cluster from a seed (bare metal, ECS, and a few virtual nodes for ECI; three zones)
and pods that look like those of Alibaba's traces (online apps, offline jobs, pods that no policy
raises, a few system pods). It starts the real extender on loopback and drives it over HTTP the way
kube-scheduler 1.36 does: in-tree filters first, a rotating window of feasible nodes (500 of
10,000), then filter, prioritize, in-tree scores on top, and a binding that reaches the extender as
a watch event. The nodes are empty at the start; no pod is placed beforehand.

A pod that is refused is tried again after all others, at most three times. The result depends on
the seed, the sizes and the policy alone, never on the machine's speed: the same checksum means that
every pod went to the same node.

What to look at: pools fill in the policy's order, up to the policy's limits; classes stay in the
pools that are open to them; what fits nowhere is refused, each pod with one reason.";

const EXAMPLES: &str = "\
Examples:
  sigma demo                                 fill 10,000 nodes (within a minute)
  sigma demo --nodes 300                     the same, smaller (a second or two)
  sigma demo --pods 20000                    fewer pods: the same nodes simply fill less
  sigma demo --policy my.yaml                what would my policy do?
  sigma demo -o json | jq .pools             figures for a script
  sigma demo --bindings out.csv              every binding, to recount the figures
  sigma demo --nodes 300 --keep              then ask: it prints commands to try
  sigma demo --listen 127.0.0.1:8888 --keep  then ask: curl -d @call.json 127.0.0.1:8888/filter

Exit codes: 0 done, 1 failed (policy not valid, address in use), 2 bad flags or unreadable file.";

/// Flags of `sigma demo`.
#[derive(Debug, Args)]
#[command(about = ABOUT, long_about = LONG_ABOUT, after_help = EXAMPLES)]
pub(super) struct DemoArgs {
    /// Number of nodes.
    #[arg(long, value_name = "N", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    nodes: u32,
    /// Number of pods [default: as many as ask for 105 % of the CPU of all fixed nodes].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=MAX_PODS))]
    pods: Option<u64>,
    /// What nodes, pods and ties are drawn from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Policy file [default: the built-in policies/default.yaml].
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Where the extender listens; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Keep listening after the result is printed, until SIGINT or SIGTERM; with the admin API.
    #[arg(long)]
    keep: bool,
    /// Where the admin API listens with --keep; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    admin_listen: SocketAddr,
    /// Write every binding to this CSV file: pod,node,cpu_milli,memory_bytes.
    #[arg(long, value_name = "FILE")]
    bindings: Option<PathBuf>,
    /// Tables for a person, or one JSON object.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Runs the demo.
pub(super) fn run(args: &DemoArgs) -> Result<(), Failure> {
    let plan = plans::load(args.policy.as_deref())?;
    // Before the work, so that a wrong path does not cost a minute.
    let bindings = match &args.bindings {
        Some(path) => Some((path, create(path)?)),
        None => None,
    };
    let admin = args.keep.then(|| bind(args.admin_listen)).transpose()?;
    let extender = LoopbackExtender::start(plan, bind(args.listen)?, FastPaths::ALL)?;
    let shown = show(args, &extender, admin, bindings);
    let stopped = extender.stop();
    shown?;
    Ok(stopped?)
}

fn show(
    args: &DemoArgs,
    extender: &LoopbackExtender,
    admin: Option<TcpListener>,
    bindings: Option<(&PathBuf, File)>,
) -> Result<(), Failure> {
    let cluster = sim::cluster(args.nodes, args.seed);
    extender.list(&cluster, Vec::new())?;
    let most = MAX_PODS as usize;
    let num_pods = match args.pods {
        Some(given) => usize::try_from(given).unwrap_or(most),
        None => sim::pods_to_fill(&cluster.nodes, args.seed, DEFAULT_LOAD_PERCENT, most),
    };
    let progress = progress_bar(num_pods as u64, "pods, {per_sec}, {elapsed} {msg}");
    let driver = Driver::new(&cluster.nodes, args.seed, extender)?;
    let outcome = driver.run(PodStream::new(args.seed).take(num_pods), &progress);
    progress.finish_and_clear();
    let outcome = outcome?;
    if let Some((path, mut file)) = bindings {
        let csv = report::bindings_csv(&cluster.nodes, &outcome);
        file.write_all(csv.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let view = extender.shared.view();
    let summary = Summary::new(&cluster.nodes, &outcome, &view);
    let text = match args.output {
        Output::Json => summary.json()?,
        Output::Table => summary.table(args.seed, &outcome, &view),
    };
    let Some(admin) = admin else {
        return print(&text);
    };
    let admin = extender.serve_admin(admin)?;
    let tried = keep::pod_to_try(extender, outcome, PodStream::new(args.seed), num_pods)?;
    keep::listen(extender.addr, &keep::commands(admin, &tried), &text)
}

fn bind(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).with_context(|| format!("cannot listen on {addr}"))
}

fn create(path: &PathBuf) -> Result<File, Failure> {
    let created = File::create(path).with_context(|| format!("cannot create {}", path.display()));
    created.map_err(Failure::usage)
}
