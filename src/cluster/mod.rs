//! The state: one writer, immutable readers.
//!
//! [`ClusterState::apply`] is the only mutator. [`ClusterState::publish`] gives an immutable
//! [`Snapshot`] of columns; a request reads one snapshot and never waits for the writer.
//! Nothing here knows an API server, a policy's classes or a clock: time arrives as a `Tick`.

mod apart;
mod apps;
mod assume;
mod audit;
mod cow;
mod device_classes;
mod holds;
mod images;
mod known;
mod names;
mod node_set;
mod occupancy;
mod ports;
mod rows;
mod snapshot;
mod state;
mod topology;
mod touched;
mod volumes;

pub use apart::Apart;
pub use apps::AppRow;
pub use audit::Difference;
pub use cow::{Column, Paged, Sharded};
pub use holds::{Extra, Hold, HoldId, HoldLimits, Holds, MAX_SILENCE_MS};
pub use images::{ImageRow, Images};
pub use names::{Names, NamesId, is_plain};
pub use node_set::{NodeSet, is_in, words_of};
pub use occupancy::{Nominee, PodRecord, PodShape, PoolUse, ResourceOrd, Stamp};
pub use ports::PortRow;
pub use rows::tie;
pub use snapshot::{Columns, ExtendedColumn, Snapshot, Watch};
pub use state::{Applied, ClusterState, Settled};
pub use topology::Topology;
pub use touched::Touched;
pub use volumes::Volumes;
