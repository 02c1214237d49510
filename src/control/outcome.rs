//! An action on its way: its callbacks, and how it ended.

use std::fmt;
use std::sync::Arc;

use crate::model::{Action, ActionKind, ObjectRef, Tick, Write};

/// Why nothing of a kind begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyOff {
    /// It is not switched on.
    Switch,
    /// The policy stops this kind of action (`actions.stop`).
    Stopped,
    /// Too many writes failed, or had no effect.
    Breaker,
    /// The access review has no answer yet.
    RightUnknown,
    /// A write was refused. The access review has not answered yet whether a right is missing.
    RightDoubted,
    /// This right is missing.
    RightMissing(String),
    /// Only the leader takes such actions, and no Lease is configured.
    NoLease,
    /// Only the leader takes such actions, and another replica leads: this one, if it is known.
    NotLeader(Option<String>),
}

impl fmt::Display for WhyOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch => f.write_str("it is switched off"),
            Self::Stopped => f.write_str("the policy stops it (actions.stop)"),
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

/// Learns the outcome of an action, once: from a background task, or, when the action ends at once, from within
/// `Actor::submit`. The actor holds no lock then. The caller of `submit` must hold no lock that
/// this takes.
pub type OnDone = Box<dyn FnOnce(&ActionOutcome) + Send>;

/// Tells whether an action is still to be carried out. The actor holds no lock when it asks.
pub type StillNeeded = Arc<dyn Fn() -> bool + Send + Sync>;

/// An action that is submitted.
pub struct PendingAction {
    /// The action.
    pub action: Action,
    /// Tells the action from all others of this process. The actor gives the number.
    pub number: u64,
    /// Asked before each write begins: an action may wait while the reason for it goes away.
    pub still_needed: Option<StillNeeded>,
    /// Learns the outcome.
    pub on_done: Option<OnDone>,
}

impl From<Action> for PendingAction {
    fn from(action: Action) -> Self {
        Self { action, number: 0, still_needed: None, on_done: None }
    }
}

impl PendingAction {
    /// The same action, which ends unwritten once this does not hold any more.
    #[must_use]
    pub fn while_needed(self, needed: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { still_needed: Some(Arc::new(needed)), ..self }
    }

    /// The same action, whose outcome this learns. Until it has, the action is still open.
    #[must_use]
    pub fn on_done(self, on_done: impl FnOnce(&ActionOutcome) + Send + 'static) -> Self {
        Self { on_done: Some(Box::new(on_done)), ..self }
    }
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionOutcome {
    /// It is written.
    Written,
    /// The object is gone, or another one has its name.
    Gone,
    /// The pod has a node.
    AlreadyBound,
    /// Another component has changed the pod's nomination: to this node, or to none. Nothing is written.
    Changed(Option<Box<str>>),
    /// A right is missing, which the text names.
    Forbidden(String),
    /// The last attempt failed, with this text.
    Failed(String),
    /// A newer action about the object has replaced it.
    Replaced,
    /// It was not needed any more, or not possible, before the write.
    Overtaken,
    /// Too many actions were waiting.
    Full,
    /// It was too old before its first write.
    Expired,
    /// The kind was off.
    Off,
    /// The policy stopped the kind.
    Stopped,
}

impl ActionOutcome {
    /// The names of all.
    pub const NAMES: [&'static str; 12] = [
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
        "stopped",
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
            Self::Stopped => "stopped",
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
    /// The object that it was about.
    pub target: ObjectRef,
    /// What was done, in a word.
    pub verb: &'static str,
    /// What was to be written.
    pub write: Write,
    /// Why, in a word.
    pub cause: &'static str,
    /// How it ended.
    pub outcome: ActionOutcome,
    /// Writes begun.
    pub attempts: u32,
    /// From submission to end, in milliseconds.
    pub took_ms: u64,
}

/// How a kind of action stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionKindState {
    /// The kind.
    pub kind: &'static ActionKind,
    /// Why it does not act; `None` when it does.
    pub why_off: Option<WhyOff>,
    /// The state of its breaker.
    pub breaker: super::BreakerState,
    /// Equivalence classes of pods for which it is paused.
    pub paused_classes: usize,
    /// Actions that wait.
    pub waiting: usize,
    /// Writes under way.
    pub in_flight: usize,
    /// The last actions that ended, newest first.
    pub records: Vec<Record>,
}
