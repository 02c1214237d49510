//! sigma: a Kubernetes scheduler extender.
//!
//! The rooms in reading order; each may name only those above it (`tests/architecture.rs`):
//! see `docs/ARCHITECTURE.md` for the drawing and the invariants.

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The revision that it is built from, as `build.rs` tells it.
pub const REVISION: &str = match option_env!("SIGMA_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

pub mod retired;

pub mod model;
pub mod cluster;
pub mod rules;
pub mod policy;
pub mod engine;
pub mod control;
pub mod replica;
pub mod sim;

#[cfg(test)]
mod testing;

// Below this line is the only place that touches the outside world.
#[cfg(feature = "live")]
pub mod metrics;
#[cfg(feature = "live")]
pub mod k8s;
#[cfg(feature = "live")]
pub mod runtime;
#[cfg(feature = "live")]
pub mod actions;
#[cfg(feature = "live")]
pub mod nominator;
#[cfg(feature = "live")]
pub mod http;
#[cfg(feature = "live")]
pub mod serve;
#[cfg(feature = "live")]
pub mod cli;
