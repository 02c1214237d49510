//! Everything that may alter the cluster's state.

use std::sync::Arc;

use super::ids::PodUid;
use super::kind::{AnyFact, Fact, Kind};
use super::node::{Namespace, Node};
use super::pod::Pod;
use super::pool::PoolSpec;
use super::profiles::Profiles;
use super::volumes::ObjectName;

/// One alteration of the state. Only `ClusterState::apply` carries it out.
///
/// A list is `RelistBegin`, one `…Seen` for each object, and `RelistEnd`. A known object that is not seen in
/// between is gone. A list that breaks off has no `RelistEnd`, and so removes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A list starts.
    RelistBegin(Kind),
    /// A list is complete.
    RelistEnd(Kind),
    /// The watch was silent for long, or begins anew at its time. If the connection is dead, the server may have
    /// events that sigma has not seen.
    WatchSilent(Kind),
    /// The watch is interrupted: the server may have events that sigma has not seen.
    WatchLost(Kind),
    /// The watch goes on where it was, and the server has sent the events of the meantime.
    WatchBack(Kind),
    /// A node was listed, added or modified.
    NodeSeen(Box<Node>),
    /// A node was deleted.
    NodeGone {
        /// The node's name.
        name: Box<str>,
    },
    /// A namespace was listed, added or modified.
    NamespaceSeen(Namespace),
    /// A namespace was deleted.
    NamespaceGone {
        /// The namespace's name.
        name: Box<str>,
    },
    /// A pod was listed, added or modified.
    PodSeen(Box<Pod>),
    /// A pod was deleted.
    PodGone {
        /// The pod's identity.
        uid: PodUid,
    },
    /// An object of an optional kind was listed, added or modified.
    Seen {
        /// The kind.
        kind: Kind,
        /// The object.
        name: ObjectName,
        /// The part that decisions use. `None`: the object is as good as absent.
        fact: Option<AnyFact>,
    },
    /// An object of an optional kind was deleted.
    Gone {
        /// The kind.
        kind: Kind,
        /// The object.
        name: ObjectName,
    },
    /// A listed object could not be read. The state keeps what it knew of the object.
    Unread {
        /// What it is.
        kind: Kind,
        /// The UID of a pod, otherwise the name, after the namespace and a slash if there is one.
        key: Box<str>,
    },
    /// A policy with these pools is in force.
    PoolsSet(Vec<PoolSpec>),
    /// kube-scheduler is configured so.
    ProfilesSet(Arc<Profiles>),
}

impl Change {
    /// An object of an optional kind was seen, with the fact that decisions use.
    pub fn seen<T: Fact>(name: ObjectName, fact: Option<T>) -> Self {
        Self::Seen { kind: T::KIND, name, fact: fact.map(AnyFact::new) }
    }
}
