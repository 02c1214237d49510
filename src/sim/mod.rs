//! A view without a cluster: nodes and pods from a seed, and a model of kube-scheduler that places
//! them. No clock, no entropy, no I/O: the seed is an argument, and the same seed gives the same
//! bytes on every machine and in every version.
//!
//! ```text
//! rng ─▶ synthetic, workloads (what there is) ─▶ scheduler (what kube-scheduler does with it)
//! plugins (how its plugins score) ────────────────▲
//! template ─▶ fleet (what an API server would send of it)
//! ```

mod fleet;
pub mod plugins;
mod rng;
mod scheduler;
mod synthetic;
mod template;
mod workloads;

pub use fleet::{Event, Fleet, PodText, node_name};
pub use rng::Rng;
pub use scheduler::{
    Scheduler, SchedulerOptions, ScorePlugins, Window, num_feasible_nodes_to_find,
};
pub use synthetic::{
    Cluster, VIRTUAL_NODE_LABEL, VIRTUAL_NODE_TAINT, cluster, is_virtual, pods_to_fill,
};
pub use workloads::{IMAGE, PodStream};
