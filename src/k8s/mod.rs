//! Talking to a Kubernetes API server: watching what the cluster is, and the few writes that sigma
//! makes. It decides nothing and keeps no copy of the cluster: what it learns leaves as a
//! [`Change`](crate::model::Change).
//!
//! ```text
//! kinds ── what to watch: the registry, and decoding, one file a kind
//!   └─> reflector ─── asks ───> list_watch       (the next request: pure)
//!         ├── tells ──> watch_freshness           (whether the watch tells all: pure)
//!         ├── discovery, wire, client, plain      (paths, requests, lines, errors and their texts)
//!         ├── health                              (the state for /readyz and the metrics)
//!         └── page, objects ──> slim ──> decode ──> model
//!   └─> poll                                      (sources that are asked at an interval)
//! writes, events, access, lease ──> wire
//! ```

pub mod access;
mod resource_requests;
pub mod client;
mod constraints;
mod deadline;
pub mod decode;
mod discovery;
mod reflector;
#[cfg(test)]
mod reflector_tests;
pub mod events;
mod features;
#[cfg(test)]
mod fake;
mod health;
mod images;
pub mod kinds;
pub mod lease;
#[cfg(test)]
mod liar_tests;
#[cfg(test)]
mod live_tests;
mod objects;
mod page;
pub mod well_known;
mod plain;
mod pod_volumes;
mod poll;
mod preferences;
mod watch_freshness;
pub mod slim;
mod warnings;
mod list_watch;
mod wire;
pub mod writes;

pub use constraints::AddedAffinity;
pub use health::{AbsentKind, KindHealth, RefusedWatch, WatchHealth};
pub use kinds::{KindSpec, REGISTRY};
pub use list_watch::WatchOptions;
pub use reflector::{spawn, spawn_with};
