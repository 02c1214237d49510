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
mod resource_requests;
pub mod client;
mod constraints;
mod deadline;
pub mod decode;
mod device_classes;
mod reflector;
#[cfg(test)]
mod reflector_tests;
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
pub mod well_known;
mod plain;
mod preferences;
mod watch_freshness;
pub mod slim;
pub mod volumes;
mod warnings;
mod list_watch;
mod wire;
pub mod writes;

pub use constraints::AddedAffinity;
pub use health::{KindHealth, RefusedWatch, WatchHealth};
pub use list_watch::WatchOptions;
pub use reflector::{spawn, spawn_with};
