//! What keeps refused pods from being sent to nodes that were not offered, in words, and what turns it on.
//! `sigma why`, `/readyz?verbose`, the log and a metric say the same.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::WhyOff;
use crate::engine::{Decider, PreemptVerb, View};
use crate::model::Pod;
use crate::policy::{Cause, Class, Plan, Role};

/// A part of steering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SteeringPart {
    /// The steer of pods that no offered node would take, and their requeue with a nomination.
    Elsewhere,
    /// The steer of pods that are better off on a node that was not offered.
    Better,
    /// The requeue of unschedulable pods.
    Requeue,
}

impl SteeringPart {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Elsewhere, Self::Better, Self::Requeue];

    /// As the metric and the admin API call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Elsewhere => "elsewhere",
            Self::Better => "better",
            Self::Requeue => "requeue",
        }
    }
}

/// Why it is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// The policy says so.
    Policy,
    /// A right is missing, or not proven yet.
    Right,
    /// Too many writes failed.
    Breaker,
    /// A flag says so, or is missing.
    Flag,
    /// It is for this pod only.
    Pod,
}

impl Ground {
    /// Those that concern more than one pod.
    pub const COMMON: [Self; 4] = [Self::Policy, Self::Right, Self::Breaker, Self::Flag];

    /// As the metric and the admin API call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Right => "right",
            Self::Breaker => "breaker",
            Self::Flag => "flag",
            Self::Pod => "pod",
        }
    }
}

/// Something that is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// What is off.
    pub part: SteeringPart,
    /// The kind of the cause.
    pub ground: Ground,
    /// Why.
    pub why: String,
    /// What turns it on; empty where nothing does.
    pub remedy: &'static str,
    /// It mostly passes by itself within seconds.
    pub is_brief: bool,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is off: {}", self.part.name(), self.why)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; turn it on: {}", self.remedy) }
    }
}

const BY_POLICY: &str = "`steering` in the policy, without `off`";

/// The state of steering, as far as all pods share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SteeringState {
    /// Why nominations are not written.
    pub steer: Option<WhyOff>,
    /// Why unschedulable pods are not requeued.
    pub requeue: Option<WhyOff>,
    /// Whether kube-scheduler asks before it preempts, by its configuration.
    pub preempt_verb: PreemptVerb,
    /// It has asked before.
    pub asked_to_preempt: bool,
}

impl SteeringState {
    /// What is off for all pods, or for some classes.
    pub fn of_all(&self, plan: &Plan) -> Vec<Obstacle> {
        let mut found = Vec::new();
        match &self.steer {
            None | Some(WhyOff::Switch) => found.extend(off_by_policy(plan)),
            Some(why) => found.push(of_kind(SteeringPart::Elsewhere, why)),
        }
        let is_better = |class: &Class| class.steering.bounds(Cause::Better).is_some();
        if plan.classes.iter().any(is_better) {
            found.extend(self.unproven());
        }
        found.extend(self.requeue.iter().map(|why| of_kind(SteeringPart::Requeue, why)));
        found
    }

    /// What keeps this pending pod from being sent to a node that was not offered.
    pub fn of_pod(&self, view: &View, decider: &Decider, pod: &Pod) -> Vec<Obstacle> {
        let class = view.class(view.classify(pod).class);
        let mut found = Vec::new();
        match &self.steer {
            _ if class.steering.bounds(Cause::Elsewhere).is_none() => {
                found.push(policy(format!("the policy does not steer class {}", class.name)));
            }
            None => {}
            Some(why) => found.push(of_kind(SteeringPart::Elsewhere, why)),
        }
        found.extend(own(view, decider, pod));
        if class.steering.bounds(Cause::Better).is_some() && !pod.never_preempts {
            found.extend(self.unproven());
        }
        found.extend(self.requeue.iter().map(|why| of_kind(SteeringPart::Requeue, why)));
        found
    }

    fn unproven(&self) -> Option<Obstacle> {
        let (why, remedy) = match self.preempt_verb {
            _ if self.asked_to_preempt => return None,
            PreemptVerb::Configured => return None,
            PreemptVerb::Unknown => (
                "it is not known whether kube-scheduler asks sigma before it preempts",
                "--scheduler-config=FILE, the configuration of kube-scheduler",
            ),
            PreemptVerb::Absent => (
                "kube-scheduler does not ask sigma before it preempts",
                "`preemptVerb: preempt` in the configuration of kube-scheduler",
            ),
        };
        let (part, ground, why) = (SteeringPart::Better, Ground::Flag, why.to_owned());
        Some(Obstacle { part, ground, why, remedy, is_brief: false })
    }
}

fn policy(why: String) -> Obstacle {
    let (part, ground) = (SteeringPart::Elsewhere, Ground::Policy);
    Obstacle { part, ground, why, remedy: BY_POLICY, is_brief: false }
}

/// Classes that the policy does not steer; `exempt` is not meant to be.
fn off_by_policy(plan: &Plan) -> Option<Obstacle> {
    let is_off = |class: &&Class| {
        class.role != Role::Exempt && class.steering.bounds(Cause::Elsewhere).is_none()
    };
    let off: Vec<&str> = plan.classes.iter().filter(is_off).map(|class| &*class.name).collect();
    let named = off.join(", ");
    (!off.is_empty()).then(|| policy(format!("the policy does not steer class {named}")))
}

fn of_kind(part: SteeringPart, why: &WhyOff) -> Obstacle {
    let (ground, remedy) = match why {
        WhyOff::Switch if part == SteeringPart::Requeue => (Ground::Flag, "--requeue=on"),
        WhyOff::Switch => (Ground::Policy, BY_POLICY),
        WhyOff::Stopped => (Ground::Policy, "`actions.stop` in the policy, without this kind"),
        WhyOff::Breaker => {
            (Ground::Breaker, "it closes by itself when a write works; see /api/v1/actions")
        }
        WhyOff::RightUnknown | WhyOff::RightDoubted | WhyOff::RightMissing(_) => {
            (Ground::Right, "grant it as deploy/base/rbac does")
        }
        // Only kinds that the leader alone takes get these.
        WhyOff::NoLease | WhyOff::NotLeader(_) => (Ground::Flag, "--lease-namespace"),
    };
    let is_brief = matches!(why, WhyOff::RightUnknown | WhyOff::RightDoubted);
    Obstacle { part, ground, why: why.to_string(), remedy, is_brief }
}

/// The obstacle that is in the pod itself.
fn own(view: &View, decider: &Decider, pod: &Pod) -> Option<Obstacle> {
    let target = decider.steers().record(pod.uid).filter(|it| it.outcome.is_none());
    let is_ours = |node: &str| pod.nominated_ahead || target.is_some_and(|it| *it.node == *node);
    let why = if pod.gated {
        "the pod has scheduling gates".to_owned()
    } else if pod.grouped {
        "the pod belongs to a group, which its scheduler places together".to_owned()
    } else if let Some(why) = view.snapshot.cannot_judge(pod) {
        format!("only kube-scheduler can judge the pod ({})", why.name())
    } else if let Some(node) = pod.nominated.as_deref().filter(|node| !is_ours(node)) {
        format!("the pod is nominated to {node}, which sigma does not replace")
    } else {
        return None;
    };
    let (part, ground) = (SteeringPart::Elsewhere, Ground::Pod);
    Some(Obstacle { part, ground, why, remedy: "", is_brief: false })
}

#[cfg(test)]
mod tests;
