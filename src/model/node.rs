//! Nodes and namespaces, reduced to what a placement depends on.

use super::image::NodeImage;
use super::quantity::{Amounts, ExtendedAmount};

/// What a taint does to a pod that does not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaintEffect {
    /// New pods stay away.
    NoSchedule,
    /// New pods stay away if there is another place.
    PreferNoSchedule,
    /// New pods stay away, running ones are evicted.
    NoExecute,
    /// A word that this version does not know. kube-scheduler may know it.
    Unclear,
}

impl TaintEffect {
    /// True when new pods that do not tolerate it stay away for certain.
    pub fn keeps_off(self) -> bool {
        matches!(self, Self::NoSchedule | Self::NoExecute)
    }
}

/// A node's taint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Taint {
    /// Qualified name.
    pub key: Box<str>,
    /// May be empty.
    pub value: Box<str>,
    /// What it does.
    pub effect: TaintEffect,
}

/// Conditions of a node that keep pods away, as a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Conditions(pub u8);

impl Conditions {
    /// `spec.unschedulable`.
    pub const CORDONED: Self = Self(1);
    /// `Ready` is `False` or `Unknown`; a node that says nothing counts as ready.
    pub const NOT_READY: Self = Self(1 << 1);
    /// `MemoryPressure`.
    pub const MEMORY_PRESSURE: Self = Self(1 << 2);
    /// `DiskPressure`.
    pub const DISK_PRESSURE: Self = Self(1 << 3);
    /// `PIDPressure`.
    pub const PID_PRESSURE: Self = Self(1 << 4);
    /// `NetworkUnavailable`.
    pub const NETWORK_UNAVAILABLE: Self = Self(1 << 5);

    /// Both sets together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True when any bit of `other` is set here.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// The levels of the physical topology, from wide to narrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DomainLevel {
    /// A region of the cloud.
    Region,
    /// An availability zone.
    Zone,
    /// A rack within a zone.
    Rack,
    /// A physical machine (`nc`) that may carry several nodes.
    Machine,
}

impl DomainLevel {
    /// All levels, wide to narrow.
    pub const ALL: [Self; 4] = [Self::Region, Self::Zone, Self::Rack, Self::Machine];

    /// The node label that names a node's domain on this level.
    pub fn label(self) -> &'static str {
        match self {
            Self::Region => "topology.kubernetes.io/region",
            Self::Zone => "topology.kubernetes.io/zone",
            Self::Rack => "topology.sigma.io/rack",
            Self::Machine => "topology.sigma.io/nc",
        }
    }

    /// The level that a node label names.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.label() == label)
    }
}

/// A node as its watch event describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The node's name.
    pub name: Box<str>,
    /// The node's UID: a node that comes back under its name with another UID is another node.
    pub uid: Box<str>,
    /// `metadata.resourceVersion` as a number, 0 when it is not one.
    pub resource_version: u64,
    /// What pods may ask for in total. A virtual node's figures are not real.
    pub allocatable: Amounts,
    /// Extended resources that the node publishes, sorted by name.
    pub extended: Box<[ExtendedAmount]>,
    /// What keeps pods away.
    pub conditions: Conditions,
    /// Taints in the node's order.
    pub taints: Box<[Taint]>,
    /// Labels, sorted by key.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// Images that it has, at most 50 as the kubelet reports by default. The state keeps them apart.
    pub images: Box<[NodeImage]>,
}

impl Node {
    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        label(&self.labels, key)
    }

    /// True when a virtual kubelet stands for it: its label or its taint says so. Capacity there costs money
    /// by the pod.
    pub fn is_virtual(&self) -> bool {
        self.label("type") == Some("virtual-kubelet")
            || self.taints.iter().any(|it| &*it.key == "virtual-kubelet.io/provider")
    }

    /// True when both describe the same node in the same state, whatever their resource versions and
    /// images: a heartbeat changes nothing that a placement depends on.
    pub fn same_facts(&self, other: &Self) -> bool {
        self.uid == other.uid
            && self.allocatable == other.allocatable
            && self.extended == other.extended
            && self.conditions == other.conditions
            && self.taints == other.taints
            && self.labels == other.labels
    }
}

/// A namespace and its labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// The namespace's name.
    pub name: Box<str>,
    /// Labels, sorted by key.
    pub labels: Box<[(Box<str>, Box<str>)]>,
}

impl Namespace {
    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        label(&self.labels, key)
    }
}

fn label<'a>(labels: &'a [(Box<str>, Box<str>)], key: &str) -> Option<&'a str> {
    let at = labels.binary_search_by(|(name, _)| (**name).cmp(key)).ok()?;
    labels.get(at).map(|(_, value)| &**value)
}
