//! The state: one writer, immutable readers.
//!
//! [`ClusterState::apply`] is the only mutator. [`ClusterState::publish`] gives an immutable
//! [`Snapshot`] of columns; a request reads one snapshot and never waits for the writer.
//! Nothing here knows an API server, a policy's classes or a clock: time arrives as a `Tick`.

mod existing_anti_affinity;
mod apps;
mod assume;
mod audit;
mod cow;
mod device_classes;
mod holds;
mod images;
mod pod_index;
mod names;
mod node_set;
mod pod_records;
mod ports;
mod accounting;
mod snapshot;
mod state;
mod tables;
mod topology;
mod change_log;
mod volumes;

pub use accounting::tie;
pub use apps::AppRow;
pub use audit::Difference;
pub use change_log::ChangeLog;
pub use cow::{Column, Paged, Sharded};
pub use device_classes::DeviceClass;
pub use existing_anti_affinity::ExistingAntiAffinity;
pub use holds::{Hold, HoldId, HoldLimits, Holds, MAX_SILENCE_MS, Uncommitted};
pub use images::{ImageRow, Images};
pub use names::{Names, NamesId, is_plain};
pub use node_set::{NodeSet, is_in, words_of};
pub use pod_records::{Nominee, PodRecord, PodShape, PoolUse, ResourceOrd, Stamp};
pub use ports::PortRow;
pub use snapshot::{Columns, ExtendedColumn, Snapshot, Watch};
pub use state::{Applied, ClusterState, Confirmed};
#[cfg(test)]
pub use tables::test_kinds;
pub use tables::{Table, Tables};
pub use topology::Topology;
