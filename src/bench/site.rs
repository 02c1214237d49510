//! A real `sigma serve` as a child process, and the list/watch server that feeds it.

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use indicatif::ProgressBar;
use serde_json::Value;

use super::apiserver::ApiServer;
use sigma::cli::table::Output;
use sigma::cli::{Failure, get_admin, plans, print, progress_bar};
use sigma::sim::Fleet;

/// Between two looks at whether it is ready.
const LOOK: Duration = Duration::from_millis(5);
/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(600);

/// Flags of `sigma-bench memory` and `ingest`: what the cluster is like.
#[derive(Debug, Args)]
pub(super) struct ClusterArgs {
    /// Nodes of the cluster.
    #[arg(long, value_name = "N", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    nodes: u32,
    /// Pods on them.
    #[arg(long, value_name = "N", default_value_t = 500_000,
        value_parser = clap::value_parser!(u32).range(100..=5_000_000))]
    pods: u32,
    /// Bytes of a pod's JSON; 8600 are two containers with ten variables each, and managedFields.
    #[arg(long, value_name = "N", default_value_t = 8600,
        value_parser = clap::value_parser!(u32).range(8000..=1_000_000))]
    pod_bytes: u32,
    /// Megabytes of lists that the server encodes in a second. A real kube-apiserver manages some 90
    /// on one core [default: as fast as memory allows].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    encode_mb_per_second: Option<u32>,
    /// Send lists as streams of events, as API servers do by default since Kubernetes 1.34, and not
    /// in pages.
    #[arg(long)]
    stream_lists: bool,
    /// Events of all watches together, once all is listed. Of ten, two pods come, both are bound,
    /// three report their status, two go, and a node has a heartbeat.
    #[arg(long, value_name = "N", default_value_t = 2000,
        value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(super) events_per_second: u32,
    /// How long events are sent.
    #[arg(long, value_name = "N", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(super) seconds: u32,
    /// A table for a person, or one JSON object.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

impl ClusterArgs {
    /// The server that has this cluster.
    pub(super) fn server(&self) -> anyhow::Result<ApiServer> {
        let encodes = self.encode_mb_per_second.map(|mb| u64::from(mb) * 1_000_000);
        ApiServer::start(self.fleet(), self.stream_lists, encodes)
    }

    /// Its nodes and pods.
    pub(super) fn fleet(&self) -> Fleet {
        Fleet::new(self.nodes.into(), self.pods.into(), self.pod_bytes as usize)
    }

    /// A bar for objects listed.
    pub(super) fn progress(&self, num_lists: u64) -> ProgressBar {
        let num_objects = num_lists * (u64::from(self.nodes) + u64::from(self.pods));
        progress_bar(num_objects, "objects listed, {elapsed} {msg}")
    }

    /// Prints a report, or the table that is made of it.
    pub(super) fn print<T: serde::Serialize>(
        &self,
        report: &T,
        shown: impl Fn(&T) -> String,
    ) -> Result<(), Failure> {
        print(&match self.output {
            Output::Json => serde_json::to_string(report).map_err(anyhow::Error::from)? + "\n",
            Output::Table => shown(report),
        })
    }
}

/// A running `sigma serve`; killed when dropped.
pub(super) struct Sigma {
    child: Child,
    dir: PathBuf,
    /// Where kube-scheduler would call.
    pub(super) verbs: SocketAddr,
    admin: String,
}

/// Memory of a process, in MB of a million bytes.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(super) struct Memory {
    /// Resident now.
    pub(super) rss_mb: f64,
    /// Most that was resident at any time.
    pub(super) peak_mb: f64,
}

impl Sigma {
    /// Starts one that watches this server; it listens when this returns, and knows nothing yet.
    fn start(server: &ApiServer) -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("sigma-bench-{}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let (kubeconfig, policy) = (dir.join("kubeconfig"), dir.join("policy.yaml"));
        let leads_there = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: bench\n\
             clusters: [{{name: bench, cluster: {{server: 'http://{}'}}}}]\n\
             contexts: [{{name: bench, context: {{cluster: bench, user: bench}}}}]\n\
             users: [{{name: bench, user: {{}}}}]\n",
            server.addr
        );
        fs::write(&kubeconfig, leads_there).context("cannot write a kubeconfig")?;
        fs::write(&policy, plans::DEFAULT).context("cannot write a policy")?;
        let mut command = Command::new(product()?);
        command.args(["serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"]);
        command.args([
            "--requeue=off",
            "--log=warn,sigma::serve=info,sigma::actions=warn",
            "--kubeconfig",
        ]);
        command.arg(&kubeconfig).arg("--policy").arg(&policy);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().context("cannot start sigma serve")?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut sigma = Self { child, dir, verbs: nowhere, admin: String::new() };
        let stderr = sigma.child.stderr.take().context("its log is not piped")?;
        (sigma.verbs, sigma.admin) = listening(BufReader::new(stderr))?;
        Ok(sigma)
    }

    /// Starts one and waits until it has read all lists.
    pub(super) fn ready(server: &ApiServer, progress: &ProgressBar) -> anyhow::Result<Self> {
        let mut sigma = Self::start(server)?;
        sigma.wait_ready(|| progress.set_position(server.num_listed()))?;
        Ok(sigma)
    }

    fn wait_ready(&mut self, waiting: impl Fn()) -> anyhow::Result<()> {
        let started = Instant::now();
        while get_admin(&self.admin, "/readyz")?.0 != 200 {
            if let Some(status) = self.child.try_wait()? {
                bail!("sigma serve ended: {status}");
            }
            if started.elapsed() > PATIENCE {
                bail!(
                    "sigma serve did not become ready: {}",
                    get_admin(&self.admin, "/readyz?verbose")?.1
                );
            }
            waiting();
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// A series of `/metrics`.
    pub(super) fn metric(&self, series: &str) -> anyhow::Result<f64> {
        let (_, text) = get_admin(&self.admin, "/metrics")?;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).with_context(|| format!("no metric {series}"))
    }

    /// CPU time that it has used.
    pub(super) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.metric("process_cpu_seconds_total")
    }

    /// Its memory.
    pub(super) fn memory(&self) -> anyhow::Result<Memory> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let mb = |name: &str| {
            let kib = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib = kib.and_then(|it| it.trim().strip_suffix(" kB")?.parse::<f64>().ok());
            kib.map(|kib| (kib * 1.024 / 100.0).round() / 10.0)
                .with_context(|| format!("no {name}"))
        };
        Ok(Memory { rss_mb: mb("VmRSS")?, peak_mb: mb("VmHWM")? })
    }
}

/// The product's binary: `sigma` in the folder of this program.
fn product() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find the path of sigma-bench")?;
    let name = format!("sigma{}", std::env::consts::EXE_SUFFIX);
    let path = own.with_file_name(name);
    if !path.is_file() {
        bail!("{} does not exist: build sigma beside sigma-bench first", path.display());
    }
    Ok(path)
}

impl Drop for Sigma {
    fn drop(&mut self) {
        // It may have ended already, and what cannot be removed is in a folder for such things.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Reads the log up to where it says where it listens. What comes after is passed on to whoever
/// looks: warnings.
fn listening(mut log: BufReader<ChildStderr>) -> anyhow::Result<(SocketAddr, String)> {
    let mut so_far = String::new();
    loop {
        let before = so_far.len();
        if log.read_line(&mut so_far).context("cannot read the log of sigma serve")? == 0 {
            bail!("sigma serve ended before it listened: {so_far}");
        }
        let line: Value = serde_json::from_str(&so_far[before..]).unwrap_or_default();
        let addr = |name: &str| line[name].as_str()?.parse::<SocketAddr>().ok();
        if let (Some(verbs), Some(admin)) = (addr("listen"), addr("admin_listen")) {
            std::thread::spawn(move || {
                for line in log.lines().map_while(Result::ok) {
                    // Nobody is left to be told when even stderr is closed.
                    let _ = writeln!(std::io::stderr(), "{line}");
                }
            });
            return Ok((verbs, admin.to_string()));
        }
    }
}
