//! The `sigma` binary: parse, dispatch, exit code. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;

/// Requests come and go by the thousand; the system's allocator would be their bottleneck.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|it| !it.is_empty());
    let arguments = std::env::args_os().skip(1).map(|it| it.to_string_lossy().into_owned());
    if let Some(why) = sigma::retired::refuse(arguments, is_set) {
        return sigma::cli::refuse(&why);
    }
    sigma::cli::run(sigma::cli::Cli::parse())
}
