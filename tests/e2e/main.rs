//! sigma beside the unmodified kube-scheduler, on a real API server. Run it by `just e2e`.
//!
//! Every case has a control plane of its own, and asserts on what the API server says. They run one
//! after the other; arguments choose cases by a part of their names. With `bench` first, nothing is
//! asserted but measured (`just bench-e2e`); with `soak` first, pods come and go for minutes (`just soak`).

mod bench;
mod cases;
mod harness;
#[path = "../faults/proxy.rs"]
mod faults;
#[path = "../support/pki.rs"]
mod pki;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

fn main() -> ExitCode {
    if std::env::var_os("SIGMA_E2E").is_none() {
        println!("e2e: skipped; `just e2e` runs it (SIGMA_E2E=1 and the control plane's binaries)");
        return ExitCode::SUCCESS;
    }
    let chosen: Vec<String> = std::env::args().skip(1).filter(|it| !it.starts_with('-')).collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|it| name.contains(&**it));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start a runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    // The first argument says which program this is, and so is its name.
    let args = std::env::args().skip(1);
    match std::env::args().nth(1).as_deref() {
        Some("bench") => {
            return ended(runtime.block_on(bench::bench(bench::BenchArgs::parse_from(args))));
        }
        Some("soak") => {
            let args = cases::soak::SoakArgs::parse_from(args);
            return ended(runtime.block_on(cases::soak::soak(args)));
        }
        _ => {}
    }
    let (mut passed, mut failed) = (0, 0);
    let started = Instant::now();
    let on_request = cases::ON_REQUEST.iter().filter(|_| !chosen.is_empty());
    for (name, case) in cases::ALL.iter().chain(on_request).filter(|(name, _)| is_chosen(name)) {
        let begun = Instant::now();
        // On the main thread: children that it starts live as long as it does.
        let outcome = runtime.block_on(case());
        let took = begun.elapsed().as_secs_f64();
        match outcome {
            Ok(facts) => {
                passed += 1;
                println!("test {name} ... ok ({took:.1} s)\n     {}", facts.join("\n     "));
            }
            Err(error) => {
                failed += 1;
                println!("test {name} ... FAILED ({took:.1} s)\n     {error:#}");
            }
        }
    }
    let took = started.elapsed().as_secs_f64();
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {result}. {passed} passed; {failed} failed; in {took:.0} s");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn ended(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
