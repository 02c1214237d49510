//! The vocabulary: plain values that every other room speaks in.
//!
//! Nothing here reads a clock, a file, a socket or the environment, and nothing here can fail except
//! parsing a quantity. If two rooms need to agree on a word, the word lives here.

mod actions;
mod bucket;
mod change;
mod constraints;
mod equivalence;
mod ids;
mod image;
mod kind;
mod labels;
mod node;
mod pod;
mod pod_status;
mod pool;
mod profiles;
mod quantity;
mod reason;
mod requests;
mod volumes;
mod write;

pub use actions::*;
pub use bucket::{Rate, TokenBucket};
pub use change::Change;
pub use constraints::{
    CannotJudge, Constraints, HostPort, LabelOperator, Namespaces, NodeTerm, PodAffinityTerm,
    Protocol, Requirement, Selector, SpreadTerm,
};
pub use equivalence::EquivalenceClass;
pub use ids::{
    AppKey, ClassOrd, DomainOrd, Generation, NodeOrd, Now, PodUid, PoolOrd, Tick, UtcSeconds, mix,
};
pub use image::{ImageName, NodeImage, normalized};
pub use kind::{AnyFact, Fact, Kind};
pub use labels::{HashedText, LabelSet};
pub use node::{Conditions, DomainLevel, Namespace, Node, Taint, TaintEffect};
pub use pod::{
    Nomination, Owner, Pod, Preferences, Priority, QosClaim, TaintValue, Toleration,
    UnschedulableCondition, decimal,
};
pub use pod_status::PodStatusBits;
pub use pool::{NodeMatcher, PoolSpec, glob};
pub use profiles::{DEVICE_CLASS_PREFIX, Profile, Profiles, is_extended};
pub use quantity::{Amounts, ExtendedAmount, QuantityError, Requests, parse_milli, parse_value};
pub use reason::Reason;
pub use requests::{ContainerKind, PodRequests, RequestsBlock, is_pod_level};
pub use volumes::{
    BoundClaim, ObjectName, PodClaim, PodVolume, VolumeTopology, ZONE_LABELS, ZoneLabel, owner_of,
};
pub use write::{EventSeverity, ObjectKey, ObjectRef, ObjectType, PatchFormat, Right, Write};
