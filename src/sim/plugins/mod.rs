//! The scores of kube-scheduler's default plugins, as 1.36 computes them: one file a plugin, each with
//! the arithmetic from raw figures to 0..=100 a node; [`ScoredCluster::scores`] finds the figures in a small
//! cluster by looking at everything.
//!
//! Checked against the real one (`tests/e2e/cases/plugins.rs`). Left out: what a plugin does only when
//! configured otherwise (other strategies and resources, added affinity, default constraints other than
//! the system's, `minDomains`, inclusion policies), extended resources, selectors other than equal
//! labels, affinity to other namespaces, and DynamicResources.

pub mod balanced_allocation;
pub mod cluster;
pub mod image_locality;
pub mod inter_pod_affinity;
pub mod least_allocated;
pub mod node_affinity;
pub mod pod_topology_spread;
pub mod taint_toleration;

pub use cluster::{
    Labels, ScoredCluster, ScoredNode, ScoredPod, ScoredPodTerm, ScoredRequirement,
    SpreadConstraint,
};

/// `MaxNodeScore`.
pub const MAX_NODE_SCORE: i64 = 100;

/// A plugin that scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plugin {
    /// Nodes without `PreferNoSchedule` taints.
    TaintToleration,
    /// The least allocated nodes, of CPU and memory.
    NodeResourcesFit,
    /// Nodes whose CPU and memory the pod brings into balance.
    NodeResourcesBalancedAllocation,
    /// Nodes that have the pod's images.
    ImageLocality,
    /// Nodes that the pod prefers.
    NodeAffinity,
    /// Domains with the fewest matching pods.
    PodTopologySpread,
    /// Domains of pods that it would be with.
    InterPodAffinity,
}

impl Plugin {
    /// All that are modelled.
    pub const ALL: [Self; 7] = [
        Self::TaintToleration,
        Self::NodeResourcesFit,
        Self::NodeResourcesBalancedAllocation,
        Self::ImageLocality,
        Self::NodeAffinity,
        Self::PodTopologySpread,
        Self::InterPodAffinity,
    ];

    /// The plugin's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::TaintToleration => "TaintToleration",
            Self::NodeResourcesFit => "NodeResourcesFit",
            Self::NodeResourcesBalancedAllocation => "NodeResourcesBalancedAllocation",
            Self::ImageLocality => "ImageLocality",
            Self::NodeAffinity => "NodeAffinity",
            Self::PodTopologySpread => "PodTopologySpread",
            Self::InterPodAffinity => "InterPodAffinity",
        }
    }

    /// The plugin's default weight (`apis/config/v1/default_plugins.go`).
    pub fn weight(self) -> i64 {
        match self {
            Self::TaintToleration => 3,
            Self::NodeAffinity | Self::PodTopologySpread | Self::InterPodAffinity => 2,
            Self::NodeResourcesFit
            | Self::NodeResourcesBalancedAllocation
            | Self::ImageLocality => 1,
        }
    }
}

/// Scales counts so that the largest is 100 (`helper.DefaultNormalizeScore`); `reverse`: so that it is
/// 0 and a count of 0 is 100.
fn normalize(scores: &mut [i64], reverse: bool) {
    let most = scores.iter().copied().max().unwrap_or(0).max(0);
    for score in scores {
        let share = (MAX_NODE_SCORE * *score).checked_div(most).unwrap_or(*score);
        *score = if reverse { MAX_NODE_SCORE - share } else { share };
    }
}
