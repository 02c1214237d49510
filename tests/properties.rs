//! Invariants over random inputs. Each test is named after the property it holds.
//!
//! A failing case is kept in `proptest-regressions/properties.txt`; commit it with the fix.

#[path = "properties/decisions.rs"]
mod decisions;
#[path = "properties/holds.rs"]
mod holds;
#[path = "properties/image_locality.rs"]
mod image_locality;
#[cfg(feature = "live")]
#[path = "properties/constraints.rs"]
mod constraints;
#[path = "properties/scans.rs"]
mod scans;
#[path = "properties/scopes.rs"]
mod scopes;
#[path = "properties/server.rs"]
mod server;
#[path = "properties/counterpart.rs"]
mod counterpart;
#[path = "properties/state.rs"]
mod state;
#[path = "properties/targets.rs"]
mod targets;
#[path = "../src/testing.rs"]
mod testing;

use proptest::test_runner::{Config, FileFailurePersistence};
// The shared builders name rooms as the library itself does.
use sigma::{cluster, engine, model, policy, replica};

/// `cases` random cases, more when `PROPTEST_CASES` says so.
fn config(cases: u32) -> Config {
    let seeds = FileFailurePersistence::Direct("proptest-regressions/properties.txt");
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    Config {
        cases: asked.unwrap_or(cases),
        failure_persistence: Some(Box::new(seeds)),
        ..Config::default()
    }
}
