//! `sigma-bench wire`: round trips of filter and prioritize over loopback, beside another extender.
//!
//! ```text
//!  setting ─▶ asks ─▶ side: sigma ───┐
//!     │           ├─▶ side: sigma' ──┼─▶ rounds (A B B A) ─▶ report
//!     │           └─▶ side: peer ────┘
//!     └─────▶ churn ─▶ apiserver ─▶ watches of sigma, sigma'
//! ```

mod setting;
mod churn;
mod extender;
mod side;
mod rounds;
mod report;

use std::net::ToSocketAddrs as _;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::Args;
use http::Uri;

use super::apiserver::ApiServer;
use super::cpus::ReservedCpus;
use churn::Churn;
pub(super) use extender::{ExtenderArgs, serve};
use extender::{ExtenderProcess, FastPath};
use report::{Own, RunConditions, WireRow};
use rounds::Sides;
use setting::{OfferedPods, Setting, WireCase};
use side::Side;
use sigma::cli::loopback::client::Client;
use sigma::cli::table::Output;
use sigma::cli::{Failure, print, progress_bar};

const ABOUT: &str = "Measures round trips of filter and prioritize, beside another extender";

const LONG_ABOUT: &str = "\
Measures round trips of filter and prioritize, beside another extender.

Starts the real extender as a process of its own, on loopback, with a cluster from a seed and a
policy in which every rule is on, and drives it as kube-scheduler does: one kept-alive HTTP/1.1
connection, one call at a time; each pod goes through filter, and then through prioritize with the
names that filter accepted. No pod is asked about twice. Nodes are in a random order that stays;
each call offers the next window of it, and neighbouring pieces are swapped now and then.

With --events, the nodes' pods go and come back meanwhile, so many a second, as pods of 8.6 KB on a
watch of each sigma: nodes get emptier and fuller, and what must be accepted stays the same.

With two numbers of --nodes, the peer is sigma in the larger cluster, asked about as many of its
nodes.

With --peer, another extender is driven in turns with sigma: blocks A B B A of the same requests, so
that whatever else the machine does falls on both alike. The peer must accept exactly the nodes that
sigma accepts, which is checked on every answer. The Go peer in benches/peers/go-echo does. With
--shortlist sigma names a few of these nodes, and prioritize is about what each has named.

The ratio is the peer's time ÷ sigma's, the median over blocks, with a 95 % interval by bootstrap.
Beside it stands the same for two processes of sigma (A/A). A ratio that is not twice as far from 1
as those get is noise, and no claim is made. Handler times are sigma's own, the mean of all calls
(sigma_verb_duration_seconds).

If an extender fails in the middle, the numbers of names that were done are printed, then the error.";

const EXAMPLES: &str = "\
Examples:
  sigma-bench wire                                   sigma alone
  sigma-bench wire --names 500 --seconds 10          a quick look at the usual size
  sigma-bench wire --peer http://127.0.0.1:8888      beside a peer (just bench-wire starts one)
  sigma-bench wire --nodes 1000,50000 --names 500    as many names in a larger cluster
  sigma-bench wire --names 500 --events 1000         beside 1,000 pod events a second
  sigma-bench wire --names 500 --without memo        what a shortcut is worth
  sigma-bench wire --names 10000 --shortlist         when only the best nodes are named
  sigma-bench wire -o json | jq '.names, .p50_us'    one JSON object a row

Exit codes: 0 done, 1 failed (the peer is gone or accepts other nodes), 2 bad flags.";

/// Most nodes.
const MAX_NODES: i64 = 100_000;
/// Least nodes: an app of some replicas must find its place.
const MIN_NODES: i64 = 100;

/// Flags of `sigma-bench wire`.
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
    #[arg(long, value_enum, default_value_t = WireCase::All)]
    case: WireCase,
    /// Nodes of the cluster, and of a larger one to compare with.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [10_000],
        value_parser = clap::value_parser!(u32).range(MIN_NODES..=MAX_NODES))]
    nodes: Vec<u32>,
    /// Pod events a second that reach each sigma by its watch.
    #[arg(long, value_name = "N", default_value_t = 0,
        value_parser = clap::value_parser!(u32).range(0..=100_000))]
    events: u32,
    /// Blocks A B B A at each number of names; no claim is made on less than 200.
    #[arg(long, value_name = "N", default_value_t = report::MIN_ROUNDS as u32,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    blocks: u32,
    /// End after this time, with the blocks done so far [default: no bound].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: Option<u32>,
    /// Shortcuts that sigma does without.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FAST_PATH")]
    without: Vec<FastPath>,
    /// Let sigma name only the best of the nodes that it accepts, as by default policy.
    #[arg(long)]
    shortlist: bool,
    /// A table for a person, or one JSON object a row.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Runs the bench. Rows are printed at the end, also those before a failure.
pub(super) fn run(args: &WireArgs) -> Result<(), Failure> {
    check(args)?;
    let sites = args.nodes.iter().map(|nodes| WireSite::new(args, *nodes));
    let sites = sites.collect::<anyhow::Result<Vec<_>>>()?;
    let site = &sites[0];
    // Before the work, so that a wrong URL does not cost a minute.
    let peer = args.peer.as_ref().map(|url| peer(&site.setting, url)).transpose()?;
    let apart = ReservedCpus::pin();
    let start = |site: &WireSite| site.start(args, apart);
    let mut processes = vec![start(site)?, start(site)?];
    let mut sides = Sides {
        ours: site.side(args, &processes[0])?,
        same: site.side(args, &processes[1])?,
        peer,
        asks: OfferedPods::new(&site.setting),
        larger: None,
    };
    if let Some(site) = sites.get(1) {
        processes.push(start(site)?);
        sides.peer = Some(site.side(args, &processes[2])?);
        sides.larger = Some(OfferedPods::new(&site.setting));
    }
    let load_before = load();
    for server in sites.iter().filter_map(|site| site.server.as_ref()) {
        server.set_pace(args.events.into());
    }
    let (rows, ended) = measure(args, sides, &mut processes);
    let conditions = RunConditions {
        case: args.case.name(),
        num_nodes: args.nodes[0],
        peer: match args.nodes.get(1) {
            Some(nodes) => Some(format!("sigma with {nodes} nodes")),
            None => args.peer.as_ref().map(Uri::to_string),
        },
        apart,
        load: [load_before, load()],
        hit_rates: processes[0].counted().map_or_else(|_| "unknown".to_owned(), |it| it.hit_rates),
    };
    if !rows.is_empty() {
        print(&match args.output {
            Output::Json => report::json(&rows)?,
            Output::Table => report::table(&rows, &conditions),
        })?;
    }
    Ok(ended?)
}

/// Refuses flags that make no sense together.
fn check(args: &WireArgs) -> Result<(), Failure> {
    let wrong = |text: String| Err(Failure::usage(anyhow!(text)));
    let nodes = &args.nodes;
    let fewest = nodes.iter().min().copied().unwrap_or_default();
    if let Some(names) = args.names.iter().find(|it| **it > fewest) {
        return wrong(format!("--names {names}: there are only {fewest} --nodes"));
    }
    if nodes.len() > 2 {
        return wrong(format!("--nodes: {} numbers, and two can be compared", nodes.len()));
    }
    if nodes.len() == 2 && args.peer.is_some() {
        return wrong("--peer: with two numbers of --nodes, the peer is sigma".to_owned());
    }
    Ok(())
}

/// A cluster, and who tells of events in it.
struct WireSite {
    setting: Setting,
    server: Option<ApiServer>,
}

impl WireSite {
    fn new(args: &WireArgs, num_nodes: u32) -> anyhow::Result<Self> {
        let setting = Setting::new(args.case, num_nodes)?;
        let serve = || ApiServer::start(Churn::new(&setting), true, None);
        let server = (args.events > 0).then(serve).transpose()?;
        Ok(Self { setting, server })
    }

    /// A sigma that knows this cluster.
    fn start(
        &self,
        args: &WireArgs,
        apart: Option<ReservedCpus>,
    ) -> anyhow::Result<ExtenderProcess> {
        let args = ExtenderArgs {
            case: args.case,
            nodes: self.setting.cluster.nodes.len() as u32,
            without: args.without.clone(),
            shortlist: args.shortlist,
            watch: self.server.as_ref().map(|it| it.addr),
        };
        ExtenderProcess::start(&args, apart.map(|it| it.servers))
    }

    fn side(&self, args: &WireArgs, process: &ExtenderProcess) -> anyhow::Result<Side<'_>> {
        let client = Client::connect(process.addr).context("cannot connect to sigma")?;
        let side = Side::new(&self.setting, client, "", "sigma");
        Ok(if args.shortlist { side.naming_few() } else { side })
    }
}

/// Filter's rows, then prioritize's, and how it ended.
fn measure(
    args: &WireArgs,
    mut sides: Sides<'_>,
    processes: &mut [ExtenderProcess],
) -> (Vec<WireRow>, anyhow::Result<()>) {
    let started = Instant::now();
    let num_blocks = args.names.len() as u64 * u64::from(args.blocks);
    let progress = progress_bar(num_blocks, "blocks, {elapsed} {msg}");
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
        let mut counted = || {
            processes.iter_mut().map(ExtenderProcess::counted).collect::<anyhow::Result<Vec<_>>>()
        };
        let (before, began) = (counted()?, Instant::now());
        let measured = sides.measure(size, args.blocks as usize, until, &progress)?;
        let own = Own { before, after: counted()?, took: began.elapsed() };
        rows.extend(WireRow::of(size, &measured, &own));
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
