//! `sigma-bench`: the costs of sigma, measured. One file a verb.
//!
//! This binary is not part of the product. It links the library and drives the real server.

mod stats;
mod cpus;
mod apiserver;
mod site;
mod wire;
mod memory;
mod ingest;
mod regret;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sigma::cli::exit_code;

/// The allocator of the product, so that its costs are those of the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures sigma: round trips beside another extender, memory, how fast it follows a large cluster,
/// and what a shortlist hides.
#[derive(Debug, Parser)]
#[command(name = "sigma-bench", version, arg_required_else_help = true)]
struct BenchCli {
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

fn main() -> ExitCode {
    exit_code(match &BenchCli::parse().command {
        Bench::Wire(args) => wire::run(args),
        Bench::WireExtender(args) => wire::serve(args),
        Bench::Memory(args) => memory::run(args),
        Bench::Ingest(args) => ingest::run(args),
        Bench::Regret(args) => regret::run(args),
    })
}
