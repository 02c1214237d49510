//! A soak: pods come and go for minutes on nodes that are full to their limits, beside a real
//! kube-scheduler. No binding may pass a limit. `just soak`.
//!
//! The sums come from the watch of an independent bookkeeper (`harness/recorder.rs`), which shares no code
//! with sigma.

mod churn;
mod run;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};

use crate::harness::scheduler::version;
pub(super) use run::late_proxy;
use run::{Run, soak_once};

/// What is wrong during a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Variant {
    /// Nothing.
    Plain,
    /// kube-scheduler's status patches arrive 0 to 3 s late.
    LateStatus,
    /// kube-scheduler's status patches and bindings arrive 0 to 0.3 s late.
    LateWrites,
    /// sigma is killed every 30 s, and started again.
    SigmaKilled,
    /// The API server is killed every 75 s, and started again.
    ApiserverKilled,
}

impl Variant {
    fn name(self) -> String {
        self.to_possible_value().map(|it| it.get_name().to_owned()).unwrap_or_default()
    }
}

/// Makes and deletes pods beside a real kube-scheduler and counts bindings beyond a limit.
///
/// For 1,700 pods the cluster has 30 nodes of 64 cores (allocation 90 %) and 120 of 16 cores (80 %), on
/// which about 1,450 of them fit. `KUBEBUILDER_ASSETS` chooses the control plane.
#[derive(Debug, Parser)]
#[command(name = "soak")]
pub(crate) struct SoakArgs {
    /// Length of each run.
    #[arg(long, env = "SOAK_SECONDS", default_value_t = 600)]
    seconds: u64,
    /// Pods made in a second. Once `--alive` of them are there, as many are deleted.
    #[arg(long, default_value_t = 22.0)]
    rate: f64,
    /// Pods that are alive. The number of nodes follows from it.
    #[arg(long, default_value_t = 1700)]
    alive: usize,
    /// Make the first `--alive` pods as fast as the API server takes them.
    #[arg(long)]
    prefill: bool,
    /// What is wrong, one run each.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Variant::Plain])]
    variants: Vec<Variant>,
}

const HEAD: &str = "kube-scheduler  variant            seconds    made  bindings  beyond a limit  \
                    worst  filter calls  degraded  errors  kills";

fn row(version: &str, variant: Variant, run: &Run) -> String {
    let worst = match &run.worst {
        Some(it) => format!("{:.1} of {:.1} on {}", it.cores, it.limit, it.node),
        None => "-".to_owned(),
    };
    format!(
        "{version:<15} {:<18} {:>7} {:>7} {:>9} {:>15}  {worst:<5} {:>13} {:>9} {:>7} {:>6}",
        variant.name(),
        run.took.as_secs(),
        run.num_made,
        run.num_bindings,
        run.num_beyond,
        run.calls.filter,
        run.calls.degraded,
        run.calls.errors,
        run.kills.len(),
    )
}

/// Runs all variants and prints a table.
pub(crate) async fn soak(args: SoakArgs) -> Result<()> {
    let version = version()?;
    let mut rows = Vec::new();
    let mut broken = Vec::new();
    for variant in &args.variants {
        let run = soak_once(&args, *variant).await;
        let run = run.with_context(|| format!("{}, {version}", variant.name()))?;
        let row = row(&version, *variant, &run);
        eprintln!("{HEAD}\n{row}");
        for text in &run.violations {
            eprintln!("  {text}");
        }
        if !run.violations.is_empty() {
            broken.push(variant.name());
        }
        rows.push(row);
    }
    println!("{HEAD}\n{}", rows.join("\n"));
    ensure!(broken.is_empty(), "limits were passed: {}", broken.join(", "));
    Ok(())
}
