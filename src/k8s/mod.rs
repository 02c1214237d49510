//! Talking to a Kubernetes API server: watching what the cluster is, and the few writes that sigma
//! makes. It decides nothing and keeps no copy of the cluster: what it learns leaves as a
//! [`Change`](crate::model::Change).
//!
//! ```text
//! driver ─── asks ───> watch     (what next: pure)
//!   ├──── tells ──> sight        (whether all was told: pure)
//!   ├──── wire, client, plain    (requests, lines, errors and their texts)
//!   ├──── health                 (what /readyz and the metrics read)
//!   └──── page, objects ──> slim ──> decode ──> model
//! writes, events, access, lease ──> wire
//! ```

pub mod access;
mod asks;
pub mod client;
mod constraints;
mod deadline;
pub mod decode;
mod device_classes;
mod driver;
#[cfg(test)]
mod driver_tests;
pub mod events;
mod features;
#[cfg(test)]
mod fake;
mod health;
mod images;
pub mod lease;
#[cfg(test)]
mod liar_tests;
#[cfg(test)]
mod live_tests;
mod objects;
mod page;
pub mod marks;
mod plain;
mod preferences;
mod sight;
pub mod slim;
pub mod volumes;
mod warnings;
mod watch;
mod wire;
pub mod writes;

pub use constraints::AddedAffinity;
pub use driver::{spawn, spawn_with};
pub use health::{KindHealth, Refused, WatchHealth};
pub use watch::WatchOptions;
