//! `sigma bench`: what sigma costs, measured. One file a subcommand.

mod cpus;
mod apiserver;
mod site;
mod wire;
mod memory;
mod ingest;
mod regret;

use clap::{Args, Subcommand};

use super::Failure;

/// Measures sigma: round trips beside another extender, memory, how fast it follows a large cluster,
/// and what a shortlist hides.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    command: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    Wire(wire::WireArgs),
    #[command(about = memory::ABOUT, long_about = memory::LONG_ABOUT, after_help = memory::EXAMPLES)]
    Memory(site::ClusterArgs),
    #[command(about = ingest::ABOUT, long_about = ingest::LONG_ABOUT, after_help = ingest::EXAMPLES)]
    Ingest(site::ClusterArgs),
    Regret(regret::RegretArgs),
    /// The extender that `wire` starts as a process of its own.
    #[command(hide = true)]
    WireExtender(wire::ExtenderArgs),
}

/// Runs a subcommand.
pub(super) fn run(args: &BenchArgs) -> Result<(), Failure> {
    match &args.command {
        Bench::Wire(args) => wire::run(args),
        Bench::WireExtender(args) => wire::serve(args),
        Bench::Memory(args) => memory::run(args),
        Bench::Ingest(args) => ingest::run(args),
        Bench::Regret(args) => regret::run(args),
    }
}
