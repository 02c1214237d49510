//! Decisions: pure functions of (snapshot, plan, pod, holds, now).
//!
//! Nothing here calls anything: no API, no clock, no randomness. What a decision must remember between
//! calls (holds, refusals) is in the [`Desk`], which its owner locks for the length of one decision.

mod anywhere;
mod closest;
mod contenders;
mod degraded;
mod desk;
mod explain;
mod filter;
mod gone;
mod in_tree;
mod judged;
mod preempt;
mod rank;
mod refusals;
mod scans;
mod shortlist;
mod steer;
mod targets;
mod top;

use std::sync::Arc;

use crate::cluster::{Extra, PodRecord, ResourceOrd, Snapshot};
use crate::model::{ClassOrd, NodeOrd, Pod, Reason};
use crate::policy::{Claimant, Class, Granted, Plan};

pub use anywhere::Best;
pub use degraded::degraded;
pub use desk::{Answer, Desk, Helm, Nominates, PreemptVerb, Ring};
pub use explain::{Explanation, NodeExplanation, RulePoints, Uncommitted, explain};
pub use filter::Tally;
pub use in_tree::ConstraintKind;
pub use preempt::Candidate;
pub use rank::MAX_SCORE;
pub use refusals::{RefusalLimits, Refusals};
pub use shortlist::{MAX_HELD_NODES, Naming, ShortlistOff, Siblings};
pub use steer::{SteerOrder, SteerOutcome, SteerRecord, Steers, Unsteered, Wrote};
pub use targets::NoTarget;

/// What a decision is made on; both halves belong together: the snapshot's pools are the plan's.
#[derive(Clone)]
pub struct World {
    /// The cluster.
    pub snapshot: Arc<Snapshot>,
    /// The policy.
    pub plan: Arc<Plan>,
    /// Counts accepted policies.
    pub plan_generation: u64,
}

impl World {
    /// The class of a pod.
    pub fn classify(&self, pod: &Pod) -> Granted {
        if let Some(class) = self.plan.daemon_class.filter(|_| pod.is_daemon()) {
            return Granted { class, claimed_more: false };
        }
        self.plan.classify(&self.snapshot.namespaces, &claimant_of(pod))
    }

    /// The class of a placed pod.
    pub fn classify_placed(&self, record: &PodRecord) -> ClassOrd {
        let claimant = Claimant {
            namespace: record.namespace.as_deref().unwrap_or(""),
            priority_class: record.priority_class.as_deref().unwrap_or(""),
            priority: record.priority,
            qos_claim: record.qos_claim,
        };
        self.plan.classify(&self.snapshot.namespaces, &claimant).class
    }

    /// The compiled class of an ordinal.
    pub fn class(&self, ord: ClassOrd) -> &Class {
        self.plan.class(ord)
    }

    /// The pod's extended requests, by ordinal.
    fn extended_of(&self, pod: &Pod) -> Vec<(ResourceOrd, i64)> {
        let asked = pod.requests.extended.iter();
        asked.filter_map(|it| Some((self.snapshot.resource(&it.name)?, it.amount))).collect()
    }
}

fn claimant_of(pod: &Pod) -> Claimant<'_> {
    Claimant {
        namespace: &pod.namespace,
        priority_class: &pod.priority_class,
        priority: pod.priority,
        qos_claim: pod.qos_claim,
    }
}

/// A pod of a class, before a world and what is taken beside it.
#[derive(Clone, Copy)]
struct Case<'a> {
    world: &'a World,
    class: &'a Class,
    pod: &'a Pod,
    extra: &'a Extra,
}

/// The verdicts that an offer starts with: a name that no watch told of is out already.
fn fresh_verdicts(snapshot: &Snapshot, nodes: &[NodeOrd], verdicts: &mut Vec<Reason>) {
    verdicts.clear();
    verdicts.extend(nodes.iter().map(|ord| match snapshot.is_live(*ord) {
        true => Reason::Kept,
        false => Reason::UnknownNode,
    }));
}
