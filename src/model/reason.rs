//! Why a node is out. The set is closed and each reason has one constant text.
//!
//! kube-scheduler builds a pod's `PodScheduled` message from these texts, and a message that changes
//! wakes the pod at once: about 100 calls a second (`extender-protocol.md` 7.3). So no text here may
//! carry a number, a name or a time; those belong to `sigma why`.

use std::fmt;

/// Why a node cannot take a pod; [`Reason::Kept`] when it can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// No rule objects.
    #[default]
    Kept,
    /// No watch has told us of the node yet.
    UnknownNode,
    /// `spec.unschedulable`, and the pod does not tolerate it.
    Cordoned,
    /// The node is not ready.
    NotReady,
    /// Memory, disk or PID pressure, or no network.
    Pressure,
    /// A taint that the pod does not tolerate.
    Tainted,
    /// The pool is not among those open to the pod's class.
    PoolClosed,
    /// The requests do not fit into what the node has left.
    Insufficient,
    /// The requests fit, but the pool's `allocation` keeps a share of each node back.
    AllocationLimit,
    /// The elastic pool's `limit` is reached.
    ElasticLimit,
    /// Too many replicas of the app would share one failure domain.
    MaxReplicaShare,
    /// sigma has no full snapshot yet, and the pod's class can wait.
    NotSynced,
    /// sigma is short of time, and the pod's class can wait.
    Overloaded,
    /// The pod is on its way to a node that was not offered.
    Steered,
}

impl Reason {
    /// Every reason that a node can be refused for, in the order of evaluation: a node that is refused for
    /// one has passed what comes before. Behind the rules' come those that stand in place of a decision.
    pub const ALL: [Self; 13] = [
        Self::UnknownNode,
        Self::Cordoned,
        Self::NotReady,
        Self::Pressure,
        Self::Tainted,
        Self::PoolClosed,
        Self::Insufficient,
        Self::AllocationLimit,
        Self::ElasticLimit,
        Self::MaxReplicaShare,
        Self::NotSynced,
        Self::Overloaded,
        Self::Steered,
    ];

    /// The text that kube-scheduler, and so the pod's owner, sees.
    pub fn text(self) -> &'static str {
        match self {
            Self::Kept => "",
            Self::UnknownNode => "sigma: node not in cache yet",
            Self::Cordoned => "sigma: node is cordoned",
            Self::NotReady => "sigma: node is not ready",
            Self::Pressure => "sigma: node is under pressure",
            Self::Tainted => "sigma: node has an untolerated taint",
            Self::PoolClosed => "sigma: pool is not open to the pod's class",
            Self::Insufficient => "sigma: insufficient resources",
            Self::AllocationLimit => "sigma: allocation limit of the pool reached",
            Self::ElasticLimit => "sigma: limit of the elastic pool reached",
            Self::MaxReplicaShare => "sigma: too many replicas in one failure domain",
            Self::NotSynced => "sigma: cluster state not complete yet",
            Self::Overloaded => "sigma: overloaded, offline pods wait",
            Self::Steered => "sigma: sent to a node that was not offered",
        }
    }

    /// The name of the reason in JSON and in metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "Kept",
            Self::UnknownNode => "UnknownNode",
            Self::Cordoned => "Cordoned",
            Self::NotReady => "NotReady",
            Self::Pressure => "Pressure",
            Self::Tainted => "Tainted",
            Self::PoolClosed => "PoolClosed",
            Self::Insufficient => "Insufficient",
            Self::AllocationLimit => "AllocationLimit",
            Self::ElasticLimit => "ElasticLimit",
            Self::MaxReplicaShare => "MaxReplicaShare",
            Self::NotSynced => "NotSynced",
            Self::Overloaded => "Overloaded",
            Self::Steered => "Steered",
        }
    }

    /// True for a reason that stands in place of a decision: sigma knows or judged too little.
    pub fn is_provisional(self) -> bool {
        matches!(self, Self::UnknownNode | Self::NotSynced | Self::Overloaded | Self::Steered)
    }

    /// The reason whose text stands in a `PodScheduled` message; of several the one closest to success.
    pub fn find_in(message: &str) -> Option<Self> {
        if !message.contains("sigma: ") {
            return None;
        }
        Self::ALL.into_iter().rev().find(|reason| message.contains(reason.text()))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_constant_distinct_and_found_again() {
        for reason in Reason::ALL {
            let text = reason.text();
            assert!(text.starts_with("sigma: ") && text.len() < 64, "{text}");
            assert!(!text.contains(|c: char| c.is_ascii_digit() || c == '"'), "{text}");
            let message = format!("0/300 nodes are available: 1 {text}. preemption: none.");
            assert_eq!(Reason::find_in(&message), Some(reason));
        }
        assert_eq!(Reason::find_in("0/3 nodes are available: 3 Insufficient cpu."), None);
    }
}
