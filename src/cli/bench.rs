//! `sigma bench`: what sigma costs, measured. One file a subcommand.

mod apiserver;
mod site;
mod memory;
mod ingest;

use clap::{Args, Subcommand};

use super::Failure;

/// Measures sigma on this machine: its memory, and how fast it follows a large cluster.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    command: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    Memory(memory::MemoryArgs),
    Ingest(ingest::IngestArgs),
}

/// Runs a subcommand.
pub(super) fn run(args: &BenchArgs) -> Result<(), Failure> {
    match &args.command {
        Bench::Memory(args) => memory::run(args),
        Bench::Ingest(args) => ingest::run(args),
    }
}
