//! sigma: a Kubernetes scheduler extender.
//!
//! The rooms in reading order; each may name only those above it (`tests/architecture.rs`):
//! see `docs/ARCHITECTURE.md` for the drawing and the invariants.

pub mod model;

#[cfg(feature = "live")]
pub mod k8s;
