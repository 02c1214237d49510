//! Hostile bytes at every edge. `tests/fuzz/README.md` says how to run it long and what to do with what
//! it finds.
#![cfg(feature = "live")]

#[path = "fuzz/harness.rs"]
mod harness;
#[path = "fuzz/mutate.rs"]
mod mutate;

#[path = "fuzz/objects.rs"]
mod objects;
#[path = "fuzz/policy.rs"]
mod policy;
#[path = "fuzz/quantity.rs"]
mod quantity;
#[path = "fuzz/watch.rs"]
mod watch;
#[path = "fuzz/wire.rs"]
mod wire;
