//! sigma: a Kubernetes scheduler extender.
//!
//! The rooms in reading order; each may name only those above it (`tests/architecture.rs`):
//! see `docs/ARCHITECTURE.md` for the drawing and the invariants.

pub mod cluster;
pub mod engine;
pub mod model;
pub mod policy;
pub mod rules;

#[cfg(test)]
mod testing;

#[cfg(feature = "live")]
pub mod metrics;
#[cfg(feature = "live")]
pub mod writer;
