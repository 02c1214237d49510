//! The `sigma` binary: parse, dispatch, exit code. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;

/// Requests come and go by the thousand; the system's allocator would be their bottleneck.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sigma::cli::run(sigma::cli::Cli::parse())
}
