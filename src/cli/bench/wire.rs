//! `sigma bench wire`: round trips of filter and prioritize over loopback, beside another extender.
//!
//! ```text
//!  setting ─▶ asks ─▶ side: sigma ───┐
//!                 ├─▶ side: sigma' ──┼─▶ rounds (A B B A) ─▶ report
//!                 └─▶ side: peer ────┘
//! ```

mod setting;
mod extender;
mod side;
mod rounds;
mod report;

use std::net::ToSocketAddrs as _;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::Args;
use http::Uri;

use super::cpus::Apart;
use crate::cli::loopback::client::Client;
use crate::cli::serve::FastPath;
use crate::cli::table::Output;
use crate::cli::{Failure, print, progress_bar};
use extender::Process;
pub(super) use extender::{ExtenderArgs, serve};
use report::{Conditions, Row};
use rounds::Sides;
use setting::{Asks, Case, Setting};
use side::Side;

const ABOUT: &str = "Measures round trips of filter and prioritize, beside another extender";

const LONG_ABOUT: &str = "\
Measures round trips of filter and prioritize, beside another extender.

Starts the real extender as a process of its own, on loopback, with a cluster from a seed and a
policy in which every rule is on, and drives it as kube-scheduler does: one kept-alive HTTP/1.1
connection, one call at a time; each pod goes through filter, and then through prioritize with the
names that filter accepted. No pod is asked about twice. Nodes are in a random order that stays; each
call offers the next window of it, and neighbouring pieces are swapped now and then.

With --peer, another extender is driven in turns with sigma: blocks A B B A of the same requests, so
that whatever else the machine does falls on both alike. The peer must accept exactly the nodes that
sigma accepts, which is checked on every answer. The Go peer in benches/peers/go-echo does.

The ratio is the peer's time ÷ sigma's, the median over blocks, with a 95 % interval by bootstrap.
Beside it stands the same for two processes of sigma (A/A). A ratio that is not twice as far from 1
as those get is noise, and no claim is made.

If an extender fails in the middle, the numbers of names that were done are printed, then the error.";

const EXAMPLES: &str = "\
Examples:
  sigma bench wire                                   sigma alone
  sigma bench wire --names 500 --seconds 10          a quick look at the usual size
  sigma bench wire --peer http://127.0.0.1:8888      beside a peer (just bench-wire starts one)
  sigma bench wire --nodes 50000 --names 500         the same names in a larger cluster
  sigma bench wire --names 500 --without memo        what a shortcut is worth
  sigma bench wire -o json | jq '.names, .p50_us'    one JSON object a row

Exit codes: 0 done, 1 failed (the peer is gone or accepts other nodes), 2 bad flags.";

/// Most nodes.
const MAX_NODES: i64 = 100_000;
/// Least nodes: an app of some replicas must find its place.
const MIN_NODES: i64 = 100;

/// Flags of `sigma bench wire`.
#[derive(Debug, Args)]
#[command(about = ABOUT, long_about = LONG_ABOUT, after_help = EXAMPLES)]
pub(super) struct WireArgs {
    /// Another extender's `urlPrefix`: http only. It must be on this machine, with the CPU of the
    /// servers to itself [default: sigma is measured alone].
    #[arg(long, value_name = "URL")]
    peer: Option<Uri>,
    /// How many names a call offers.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 500, 10_000],
        value_parser = clap::value_parser!(u32).range(1..=MAX_NODES))]
    names: Vec<u32>,
    /// Which nodes are refused.
    #[arg(long, value_enum, default_value_t = Case::All)]
    case: Case,
    /// Nodes of the cluster.
    #[arg(long, value_name = "N", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(MIN_NODES..=MAX_NODES))]
    nodes: u32,
    /// Blocks A B B A at each number of names; no claim is made on less than 200.
    #[arg(long, value_name = "N", default_value_t = report::MIN_ROUNDS as u32,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    blocks: u32,
    /// End after this time, with the blocks done so far [default: no bound].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: Option<u32>,
    /// Shortcuts that sigma does without (see `sigma serve --help`).
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FAST_PATH")]
    without: Vec<FastPath>,
    /// A table for a person, or one JSON object a row.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Runs the bench. Rows are printed at the end, also those before a failure.
pub(super) fn run(args: &WireArgs) -> Result<(), Failure> {
    if let Some(names) = args.names.iter().find(|it| **it > args.nodes) {
        let nodes = args.nodes;
        return Err(Failure::usage(anyhow!("--names {names}: there are only {nodes} --nodes")));
    }
    let setting = Setting::new(args.case, args.nodes)?;
    // Before the work, so that a wrong URL does not cost a minute.
    let peer = args.peer.as_ref().map(|url| peer(&setting, url)).transpose()?;
    let apart = Apart::pin();
    let cpu = apart.map(|it| it.servers);
    let start = || Process::start(args.case, args.nodes, &args.without, cpu);
    let [ours, same] = [start()?, start()?];
    let side = |process: &Process| {
        let client = Client::connect(process.addr).context("cannot connect to sigma");
        Ok::<_, anyhow::Error>(Side::new(&setting, client?, "", "sigma"))
    };
    let sides = Sides { ours: side(&ours)?, same: side(&same)?, peer };
    let load_before = load();
    let (rows, ended) = measure(args, &setting, sides);
    let conditions = Conditions {
        case: args.case.name(),
        num_nodes: args.nodes,
        peer: args.peer.as_ref().map(Uri::to_string),
        apart,
        load: [load_before, load()],
        hit_rates: ours.finish(),
    };
    if !rows.is_empty() {
        print(&match args.output {
            Output::Json => report::json(&rows)?,
            Output::Table => report::table(&rows, &conditions),
        })?;
    }
    Ok(ended?)
}

/// Filter's rows, then prioritize's, and how it ended.
fn measure(
    args: &WireArgs,
    setting: &Setting,
    mut sides: Sides<'_>,
) -> (Vec<Row>, anyhow::Result<()>) {
    let started = Instant::now();
    let num_blocks = args.names.len() as u64 * u64::from(args.blocks);
    let progress = progress_bar(num_blocks, "blocks, {elapsed} {msg}");
    let mut asks = Asks::new(setting);
    let mut rows = Vec::new();
    let sizes = (0_u32..).zip(&args.names);
    let ended = sizes.map(|(done, names)| {
        let size = *names as usize;
        // Each number of names gets the same share of the time that is left.
        let until = args.seconds.map(|seconds| {
            let left = Duration::from_secs(seconds.into()).saturating_sub(started.elapsed());
            Instant::now() + left / (args.names.len() as u32 - done)
        });
        progress.set_message(format!("{names} names"));
        let blocks = args.blocks as usize;
        let measured = sides.measure(&mut asks, size, blocks, until, &progress)?;
        rows.extend(Row::of(size, &measured));
        Ok(())
    });
    let ended = ended.collect();
    progress.finish_and_clear();
    rows.sort_by_key(|row| row.verb);
    (rows, ended)
}

/// A connection to the peer.
fn peer<'a>(setting: &'a Setting, url: &Uri) -> Result<Side<'a>, Failure> {
    let wrong = || Failure::usage(anyhow!("--peer {url}: not a URL such as http://127.0.0.1:8888"));
    let host = url.host().filter(|_| url.scheme_str() == Some("http")).ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let cannot = || format!("cannot connect to the peer at {url}");
    let mut found = (host, url.port_u16().unwrap_or(80)).to_socket_addrs().with_context(cannot)?;
    let addr = found.next().context("its name has no address").with_context(cannot)?;
    let client = Client::connect(addr).with_context(cannot)?;
    Ok(Side::new(setting, client, url.path(), &format!("the peer at {url}")))
}

/// The three load averages.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let averages: Vec<&str> = text.split(' ').take(3).filter(|it| !it.is_empty()).collect();
    if averages.is_empty() { "unknown".to_owned() } else { averages.join(" ") }
}
