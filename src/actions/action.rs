//! What the actor is told to do, and what becomes of it.

use std::fmt;
use std::sync::Arc;

use super::backoff::Backoff;
use super::breaker::BreakerLimits;
use super::work_queue::WorkQueueLimits;
use crate::model::{Pod, Rate, Tick};

/// A way of acting on the cluster. Each has a queue, a pace and bounds of its own, so that none waits
/// behind another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActionKind {
    /// Waking a refused pod whose unschedulable answer no longer holds.
    Requeue,
    /// Sending a pod that was just refused to a node that was not offered.
    Steer,
    /// Nominating nodes for pods that wait before kube-scheduler comes to them.
    NominateAhead,
}

impl ActionKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Requeue, Self::Steer, Self::NominateAhead];

    /// As metrics and the admin API call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requeue => "requeue",
            Self::Steer => "steer",
            Self::NominateAhead => "nominate_ahead",
        }
    }

    /// It concerns the whole cluster, so one replica alone uses it.
    pub(super) fn is_cluster_wide(self) -> bool {
        self == Self::NominateAhead
    }

    /// It does not act before the right to is proven. Another one acts until it is refused.
    pub(super) fn needs_proof(self) -> bool {
        self != Self::Requeue
    }

    pub(super) fn breaker_limits(self) -> BreakerLimits {
        let limits = BreakerLimits {
            failures: 20,
            window_ms: 10_000,
            pause_ms: 10_000,
            most_pause_ms: 120_000,
        };
        match self {
            // Pods sleep for minutes that are not requeued, so it is soon tried again.
            Self::Requeue => BreakerLimits { pause_ms: 2_000, most_pause_ms: 10_000, ..limits },
            Self::Steer => BreakerLimits { failures: 5, ..limits },
            Self::NominateAhead => limits,
        }
    }

    pub(super) fn limits(self) -> WorkQueueLimits {
        match self {
            // Who is requeued next is decided afresh at every look, by whoever asks: so few wait here,
            // and nobody is requeued again for a reason that was true a while ago.
            Self::Requeue => WorkQueueLimits {
                max_waiting: 64,
                max_in_flight: 8,
                pace: Rate { tokens: 100, period_ms: 1000, burst: 5 },
                max_attempts: 1,
                backoff: Backoff { first_ms: 1000, most_ms: 30_000 },
                max_age_ms: 10_000,
            },
            // A steer is over when its pod comes back, so it is soon too late for another attempt.
            Self::Steer => WorkQueueLimits {
                max_waiting: 256,
                max_in_flight: 16,
                pace: Rate { tokens: 200, period_ms: 1000, burst: 50 },
                max_attempts: 3,
                backoff: Backoff { first_ms: 50, most_ms: 1000 },
                max_age_ms: 2000,
            },
            // As many at once as API priority and fairness lets one client have of a small control plane.
            Self::NominateAhead => WorkQueueLimits {
                max_waiting: 10_000,
                max_in_flight: 32,
                pace: Rate { tokens: 1000, period_ms: 1000, burst: 125 },
                max_attempts: 3,
                backoff: Backoff { first_ms: 200, most_ms: 2000 },
                max_age_ms: 30_000,
            },
        }
    }
}

/// Why nothing of a kind begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyOff {
    /// Nobody has switched it on.
    Switch,
    /// Too many writes failed, or were in vain.
    Breaker,
    /// Whether we have the right is not known yet.
    RightUnknown,
    /// A write was refused, and it is not known yet whether for want of a right.
    RightDoubted,
    /// We lack this right.
    RightMissing(String),
    /// It is for one replica alone, and no Lease says for which.
    NoLease,
    /// It is for the leader alone, which we are not; who is, as far as is known.
    NotLeader(Option<String>),
}

impl fmt::Display for WhyOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch => f.write_str("it is switched off"),
            Self::Breaker => {
                f.write_str("its breaker is open: too many writes failed, or were in vain")
            }
            Self::RightUnknown => f.write_str("its rights are not known yet"),
            Self::RightDoubted => f.write_str("a write was refused, its rights are looked at"),
            Self::RightMissing(right) => write!(f, "the right is missing to {right}"),
            Self::NoLease => f.write_str("there is no Lease (--lease-namespace)"),
            Self::NotLeader(None) => f.write_str("nobody leads, as far as is known"),
            Self::NotLeader(Some(holder)) => write!(f, "{holder} leads"),
        }
    }
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// An annotation that wakes the pod.
    Requeue,
    /// A nomination of a pod that has none, with the annotation that wakes. If the pod has a nomination
    /// by the time of the write, nothing is written: no nomination ever replaces another one.
    Nominate {
        /// The node.
        node: Box<str>,
    },
    /// Takes a nomination back, if it is still this one and nobody else wrote it.
    Clear {
        /// The node that was nominated.
        node: Box<str>,
    },
}

impl Write {
    /// As logs, metrics and the admin API call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Requeue => "requeue",
            Self::Nominate { .. } => "nominate",
            Self::Clear { .. } => "clear",
        }
    }

    /// The node that it is about.
    pub fn node(&self) -> Option<&str> {
        match self {
            Self::Requeue => None,
            Self::Nominate { node } | Self::Clear { node } => Some(node),
        }
    }
}

/// Learns the outcome of an action, once: from a background task, or, when the action ends at once, from
/// within [`Actor::submit`](super::Actor::submit). The actor holds no lock then; whoever submits must
/// hold none that this takes.
pub type OnDone = Box<dyn FnOnce(&ActionOutcome) + Send>;

/// Tells whether an action is still to be carried out. The actor holds no lock when it asks.
pub type StillNeeded = Arc<dyn Fn() -> bool + Send + Sync>;

/// Something to do about one pod. A newer action of the same kind about the same pod replaces it.
pub struct Action {
    /// The queue that it goes into.
    pub kind: ActionKind,
    /// The pod that it is about; the write is fenced by its UID, and its priority is the action's.
    pub pod: Arc<Pod>,
    /// What is written.
    pub write: Write,
    /// Why, in a word of a closed set: the name of a reason, or of a cause.
    pub cause: &'static str,
    /// It is tried until it is done, or the pod is gone or bound: for a pod that would sleep without.
    pub lasting: bool,
    /// Tells the action from all others of this process; the actor gives it when it takes the action.
    pub(super) number: u64,
    /// Asked before each write begins: an action may wait while the reason for it goes away.
    pub stands: Option<StillNeeded>,
    /// Who learns the outcome.
    pub tell: Option<OnDone>,
}

impl Action {
    /// Wake this pod.
    pub fn requeue(pod: Arc<Pod>, cause: &'static str) -> Self {
        Self::new(ActionKind::Requeue, pod, Write::Requeue, cause)
    }

    /// Nominate this node for the pod if it has no nomination, and wake it.
    pub fn nominate(kind: ActionKind, pod: Arc<Pod>, node: &str, cause: &'static str) -> Self {
        Self::new(kind, pod, Write::Nominate { node: node.into() }, cause)
    }

    /// Take the nomination of this node back.
    pub fn clear(kind: ActionKind, pod: Arc<Pod>, node: &str, cause: &'static str) -> Self {
        Self::new(kind, pod, Write::Clear { node: node.into() }, cause)
    }

    fn new(kind: ActionKind, pod: Arc<Pod>, write: Write, cause: &'static str) -> Self {
        let (lasting, number) = (false, 0);
        Self { kind, pod, write, cause, lasting, number, stands: None, tell: None }
    }

    /// The same action, to be carried out however long that takes.
    #[must_use]
    pub fn lasting(self) -> Self {
        Self { lasting: true, ..self }
    }

    /// The same action, which ends unwritten once this does not hold any more.
    #[must_use]
    pub fn while_it(self, stands: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { stands: Some(Arc::new(stands)), ..self }
    }

    /// The same action, whose outcome is told. Until it is, the action is still open.
    #[must_use]
    pub fn telling(self, tell: impl FnOnce(&ActionOutcome) + Send + 'static) -> Self {
        Self { tell: Some(Box::new(tell)), ..self }
    }
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionOutcome {
    /// It is written.
    Written,
    /// The pod is gone, or another one has its name.
    Gone,
    /// The pod has a node.
    AlreadyBound,
    /// Somebody else has changed the pod's nomination: to this node, or to none. Nothing is written.
    Changed(Option<Box<str>>),
    /// We lack the right, which the text names.
    Forbidden(String),
    /// The last attempt failed so.
    Failed(String),
    /// A newer action about the pod has taken its place.
    Replaced,
    /// What it was for had come about, or could not any more, before it was written.
    Overtaken,
    /// Too many were waiting.
    Full,
    /// It was too old before it could begin.
    Expired,
    /// The kind is off.
    Off,
}

impl ActionOutcome {
    /// The names of all, for metrics that begin at zero.
    pub const NAMES: [&'static str; 11] = [
        "written",
        "gone",
        "already_bound",
        "changed",
        "forbidden",
        "failed",
        "replaced",
        "overtaken",
        "full",
        "expired",
        "off",
    ];

    /// As metrics and the admin API call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Gone => "gone",
            Self::AlreadyBound => "already_bound",
            Self::Changed(_) => "changed",
            Self::Forbidden(_) => "forbidden",
            Self::Failed(_) => "failed",
            Self::Replaced => "replaced",
            Self::Overtaken => "overtaken",
            Self::Full => "full",
            Self::Expired => "expired",
            Self::Off => "off",
        }
    }

    /// What the API server said.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Forbidden(why) | Self::Failed(why) => Some(why),
            _ => None,
        }
    }
}

/// An action that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it ended.
    pub ended: Tick,
    /// The pod that it was about.
    pub pod: Arc<Pod>,
    /// What was to be written.
    pub write: Write,
    /// Why.
    pub cause: &'static str,
    /// How it ended.
    pub outcome: ActionOutcome,
    /// Writes begun.
    pub attempts: u32,
    /// From submission to end, in milliseconds.
    pub took_ms: u64,
}
