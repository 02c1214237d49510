//! Decisions: pure functions of (snapshot, plan, pod, holds, now).
//!
//! Nothing here calls anything: no API, no clock, no randomness. What a decision must remember between
//! calls (holds, unschedulable pods) is in the [`Decider`], which its owner locks for the length of one decision.

mod best_node;
mod closest;
mod candidate_index;
mod degraded;
mod decider;
mod explain;
mod filter;
mod tombstones;
mod constraints;
mod unoffered;
mod preempt;
mod rank;
mod unschedulable;
mod equivalence_cache;
mod shortlist;
mod steer;
mod batch;
mod top_k;

use std::sync::Arc;

use crate::cluster::{PodRecord, ResourceOrd, Snapshot, Uncommitted};
use crate::model::{ClassOrd, NodeOrd, Now, Pod, Reason};
use crate::policy::{Claimant, Class, Granted, Plan};
use crate::rules::RuleContext;

pub use batch::NoTarget;
pub use best_node::BestNode;
pub use constraints::ConstraintKind;
pub use decider::{Answer, Decider, Nominates, PreemptVerb, Requeue, SteerContext};
pub use degraded::degraded;
pub use explain::{Explanation, NodeExplanation, RulePoints, UncommittedView, explain};
pub use filter::Tally;
pub use preempt::Candidate;
pub use rank::MAX_SCORE;
pub use shortlist::{MAX_HELD_NODES, Naming, OtherExtenders, ShortlistOff};
pub use steer::{SteerAction, SteerOutcome, SteerRecord, Steers, Unsteered, Wrote};
pub use unschedulable::{UnschedulableLimits, UnschedulablePods};

/// What a decision is made on; both halves belong together: the snapshot's pools are the plan's.
#[derive(Clone)]
pub struct View {
    /// The cluster.
    pub snapshot: Arc<Snapshot>,
    /// The policy.
    pub plan: Arc<Plan>,
    /// Counts accepted policies.
    pub plan_generation: u64,
    /// The moment that rules decide at. Whoever decides sets it; a published view has none.
    pub now: Now,
}

impl View {
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

/// A pod of a class, before a view and what is taken beside it.
#[derive(Clone, Copy)]
struct DecisionContext<'a> {
    view: &'a View,
    class: &'a Class,
    pod: &'a Pod,
    uncommitted: &'a Uncommitted,
}

impl<'a> DecisionContext<'a> {
    /// What rules see of it. `extended` are the pod's extended requests, see [`View::extended_of`].
    fn for_rules(&self, extended: &'a [(ResourceOrd, i64)]) -> RuleContext<'a> {
        let Self { view, pod, uncommitted, .. } = *self;
        RuleContext { snapshot: &view.snapshot, uncommitted, pod, extended, now: view.now }
    }
}

/// The verdicts that an offer starts with: a name that no watch told of is out already.
fn fresh_verdicts(snapshot: &Snapshot, nodes: &[NodeOrd], verdicts: &mut Vec<Reason>) {
    verdicts.clear();
    verdicts.extend(nodes.iter().map(|ord| match snapshot.is_live(*ord) {
        true => Reason::Kept,
        false => Reason::UnknownNode,
    }));
}
