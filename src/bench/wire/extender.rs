//! The extender under measurement: a process of its own, so that client and server share nothing but
//! the wire, with the server, the writer and the engine of `sigma serve`.

use std::io::{BufRead as _, BufReader, Write as _, stdin};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use prometheus::Histogram;

use super::setting::{Setting, WireCase};
use super::side::VERBS;
use crate::cpus::on_cpu;
use sigma::cli::loopback::extender::LoopbackExtender;
use sigma::cli::{Failure, plans, print};
use sigma::http::ExtenderMetrics;
use sigma::http::FastPaths;
use sigma::policy::{Plan, Shortlist};
use sigma::runtime::WriterMetrics;

/// A shortcut that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FastPath {
    /// Cutting the list of names at its quotes; else it is read as JSON.
    Cut,
    /// Guessing which name comes next; else each is searched and looked up.
    Guess,
    /// Copying names side by side in one piece; else one by one.
    Blocks,
    /// Answering prioritize with what the pod's filter found; else everything is done again.
    Memo,
    /// Keeping what local rules find on every node; else each offered node is looked at again.
    Scan,
}

impl FastPath {
    /// What `--without` leaves on.
    pub(super) fn all_but(without: &[Self]) -> FastPaths {
        FastPaths {
            cut: !without.contains(&Self::Cut),
            guess: !without.contains(&Self::Guess),
            blocks: !without.contains(&Self::Blocks),
            memo: !without.contains(&Self::Memo),
            scan: !without.contains(&Self::Scan),
        }
    }
}

/// The policy in force.
pub(super) const POLICY: &str = include_str!("policy.yaml");

/// Flags of the hidden `sigma-bench wire-extender`.
#[derive(Debug, Args)]
pub(crate) struct ExtenderArgs {
    #[arg(long, value_enum)]
    pub(super) case: WireCase,
    #[arg(long)]
    pub(super) nodes: u32,
    #[arg(long, value_enum)]
    pub(super) without: Vec<FastPath>,
    #[arg(long)]
    pub(super) shortlist: bool,
    /// Where pods are watched.
    #[arg(long)]
    pub(super) watch: Option<SocketAddr>,
}

/// What an extender has counted since it had seen the whole cluster.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct ExtenderCounts {
    /// Changes that came by its watch and were applied.
    pub(super) events: u64,
    /// Calls, and the seconds that their handlers took, by verb.
    pub(super) calls: [u64; 2],
    pub(super) seconds: [f64; 2],
    /// Which share of all names each shortcut served.
    pub(super) hit_rates: String,
}

/// Serves until stdin ends, which it does when whoever started this is done or gone. Prints where it
/// listens once it has seen the whole cluster, and for each line of stdin what it has counted.
pub(crate) fn serve(args: &ExtenderArgs) -> Result<(), Failure> {
    let setting = Setting::new(args.case, args.nodes)?;
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?;
    let fast_paths = FastPath::all_but(&args.without);
    let extender = LoopbackExtender::start(plan(args.shortlist)?, listener, fast_paths)?;
    extender.list(&setting.cluster, setting.placed)?;
    args.watch.map(|server| extender.watch_pods(server)).transpose()?;
    let written = extender.metrics.of::<WriterMetrics>().map_err(anyhow::Error::from)?;
    let verbs = extender.metrics.of().map_err(anyhow::Error::from)?;
    let listed = written.changes.get();
    print(&format!("{}\n", extender.addr))?;
    // However stdin ends, nobody is left to serve.
    for _ in stdin().lines().map_while(Result::ok) {
        let counted = ExtenderCounts { events: written.changes.get() - listed, ..counted(&verbs) };
        print(&(serde_json::to_string(&counted).map_err(anyhow::Error::from)? + "\n"))?;
    }
    Ok(extender.stop()?)
}

fn counted(metrics: &ExtenderMetrics) -> ExtenderCounts {
    let handlers = VERBS.map(|verb| metrics.verb_seconds.with_label_values(&[verb]));
    ExtenderCounts {
        events: 0,
        calls: handlers.each_ref().map(Histogram::get_sample_count),
        seconds: handlers.each_ref().map(Histogram::get_sample_sum),
        hit_rates: hit_rates(metrics),
    }
}

fn hit_rates(metrics: &ExtenderMetrics) -> String {
    let rates = ["cut", "guess", "scan", "memo"].map(|path| {
        let count = |result| metrics.fast_path_names.with_label_values(&[path, result]).get();
        let (hits, misses) = (count("hit"), count("miss"));
        format!("{path} {:.1} %", hits as f64 / (hits + misses).max(1) as f64 * 100.0)
    });
    rates.join(", ")
}

/// The policy, with one switch that only this bench has: answers are not cut to the sixteen nodes
/// that are then held, as they are for every class with limits of ours. Else no class could have
/// every rule evaluated *and* all names returned. With `shortlist`, each class has its role's.
pub(super) fn plan(shortlist: bool) -> Result<Arc<Plan>, Failure> {
    let mut plan = plans::compiled("policy.yaml", POLICY.as_bytes())?;
    let own = Arc::get_mut(&mut plan).context("a new plan is shared with nobody")?;
    for class in &mut own.classes {
        class.bears_limits = false;
        if shortlist {
            class.shortlist = Shortlist::of_role(class.role);
        }
    }
    Ok(plan)
}

/// A running extender, ended when dropped.
pub(super) struct ExtenderProcess {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// Where it listens.
    pub(super) addr: SocketAddr,
}

impl ExtenderProcess {
    /// Starts one and waits until it has seen the whole cluster.
    pub(super) fn start(args: &ExtenderArgs, cpu: Option<u32>) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot tell where this program lies")?;
        let mut command = on_cpu(program.as_os_str(), cpu);
        command.args(["wire-extender", "--case", args.case.name(), "--nodes"]);
        command.arg(args.nodes.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        for path in args.without.iter().filter_map(FastPath::to_possible_value) {
            command.args(["--without", path.get_name()]);
        }
        if args.shortlist {
            command.arg("--shortlist");
        }
        if let Some(server) = args.watch {
            command.arg("--watch").arg(server.to_string());
        }
        let mut child = command.spawn().context("cannot start the extender")?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) = pipes.context("the extender has no stdin or stdout")?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line).context("cannot hear the extender")?;
        match line.trim().parse() {
            Ok(addr) => Ok(Self { child, stdin, stdout, addr }),
            Err(_) => bail!("the extender did not start: {}", child.wait()?),
        }
    }

    /// What it has counted so far.
    pub(super) fn counted(&mut self) -> anyhow::Result<ExtenderCounts> {
        let mut line = String::new();
        writeln!(self.stdin).context("the extender is gone")?;
        self.stdout.read_line(&mut line).context("cannot hear the extender")?;
        serde_json::from_str(&line).context("the extender does not say what it has counted")
    }
}

impl Drop for ExtenderProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
