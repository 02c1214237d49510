//! Everything that may alter the cluster's state.

use std::sync::Arc;

use super::ids::PodUid;
use super::node::{Namespace, Node};
use super::pod::Pod;
use super::pool::PoolSpec;
use super::profiles::Profiles;
use super::volumes::{BoundClaim, ObjectName, VolumeTopology};

/// What a watch is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Nodes.
    Nodes,
    /// Namespaces.
    Namespaces,
    /// Pods of all namespaces.
    Pods,
    /// Persistent volumes.
    Volumes,
    /// Claims of all namespaces to persistent volumes.
    Claims,
    /// Classes of devices.
    DeviceClasses,
}

impl Kind {
    /// All kinds, in the order in which they are worth listing.
    pub const ALL: [Self; 6] = [
        Self::Nodes,
        Self::Namespaces,
        Self::Pods,
        Self::Volumes,
        Self::Claims,
        Self::DeviceClasses,
    ];
    /// Those without which nothing is decided.
    pub const NEEDED: [Self; 3] = [Self::Nodes, Self::Namespaces, Self::Pods];
    /// Those that tell more of where pods may go. We may lack the right to them, and do without.
    pub const OPTIONAL: [Self; 3] = [Self::Volumes, Self::Claims, Self::DeviceClasses];

    /// The resource's plural name, as in an API path.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Namespaces => "namespaces",
            Self::Pods => "pods",
            Self::Volumes => "persistentvolumes",
            Self::Claims => "persistentvolumeclaims",
            Self::DeviceClasses => "deviceclasses",
        }
    }

    /// The path of its group and version in the API.
    pub fn api(self) -> &'static str {
        match self {
            Self::DeviceClasses => "/apis/resource.k8s.io/v1",
            _ => "/api/v1",
        }
    }

    /// True for one of [`Self::OPTIONAL`].
    pub fn is_optional(self) -> bool {
        Self::OPTIONAL.contains(&self)
    }
}

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
    /// A claim was listed, added or modified.
    ClaimSeen {
        /// The claim.
        name: ObjectName,
        /// What it is bound to; `None` while nobody but kube-scheduler can say where that may be.
        bound: Option<BoundClaim>,
    },
    /// A claim was deleted.
    ClaimGone {
        /// The claim.
        name: ObjectName,
    },
    /// A volume was listed, added or modified.
    VolumeSeen {
        /// The volume.
        name: ObjectName,
        /// Where it can be used; `None` where nobody but kube-scheduler can say.
        reach: Option<Box<VolumeTopology>>,
    },
    /// A volume was deleted.
    VolumeGone {
        /// The volume.
        name: ObjectName,
    },
    /// A DeviceClass was listed, added or modified.
    DeviceClassSeen {
        /// The class's name.
        name: Box<str>,
        /// Its `extendedResourceName`.
        resource: Option<Box<str>>,
    },
    /// A DeviceClass was deleted.
    DeviceClassGone {
        /// The class's name.
        name: Box<str>,
    },
    /// An object was listed that could not be read: what was known of it before stays.
    Unread {
        /// What it is.
        kind: Kind,
        /// The UID of a pod, the name of anything else; of a claim after its namespace and a slash.
        key: Box<str>,
    },
    /// A policy with these pools is in force.
    PoolsSet(Vec<PoolSpec>),
    /// kube-scheduler is configured so.
    ProfilesSet(Arc<Profiles>),
}
