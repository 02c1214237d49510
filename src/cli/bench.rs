//! `sigma bench`: what sigma costs, measured. One file a subcommand.

mod cpus;
mod wire;

use clap::{Args, Subcommand};

use super::Failure;

/// Measures sigma on this machine: round trips beside another extender.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    command: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    Wire(wire::WireArgs),
    /// The extender that `wire` starts as a process of its own.
    #[command(hide = true)]
    WireExtender(wire::ExtenderArgs),
}

/// Runs a subcommand.
pub(super) fn run(args: &BenchArgs) -> Result<(), Failure> {
    match &args.command {
        Bench::Wire(args) => wire::run(args),
        Bench::WireExtender(args) => wire::serve(args),
    }
}
