//! Everything that may alter the cluster's state.

use std::sync::Arc;

use super::ids::PodUid;
use super::kind::{AnyFact, Fact, Kind};
use super::node::{Namespace, Node};
use super::pod::Pod;
use super::pool::PoolSpec;
use super::profiles::Profiles;
use super::volumes::ObjectName;

/// One alteration; `ClusterState::apply` is the only place that carries it out.
///
/// A list is `RelistBegin`, one `…Seen` per object, `RelistEnd`: what was known before and not seen
/// in between is gone. A list that breaks off has no `RelistEnd` and so removes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A list starts.
    RelistBegin(Kind),
    /// A list is complete.
    RelistEnd(Kind),
    /// The watch has said nothing for long, or begins anew as agreed: if it is dead, the server knows
    /// what we do not.
    WatchSilent(Kind),
    /// The watch is interrupted: the server may know what we do not.
    WatchLost(Kind),
    /// The watch goes on where it was, and what the server had kept for us meanwhile was sent.
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
    /// An object was listed that could not be read: what was known of it before stays.
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
