//! What the actor is told to do, and what becomes of it.

use std::sync::Arc;

use super::backoff::Backoff;
use super::lane::LaneLimits;
use crate::model::{Pace, Pod, Tick};

/// A way of acting on the cluster. Each has a queue, a pace and bounds of its own, so that none waits
/// behind another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Means {
    /// Waking a refused pod whose refusal no longer holds.
    Doorbell,
}

impl Means {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::Doorbell];

    /// As metrics and the admin API call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Doorbell => "doorbell",
        }
    }

    pub(super) fn limits(self) -> LaneLimits {
        match self {
            // Who is rung next is decided afresh at every look, by whoever asks: so few wait here,
            // and nobody is rung again for a reason that was true a while ago.
            Self::Doorbell => LaneLimits {
                max_waiting: 64,
                max_in_flight: 8,
                pace: Pace { tokens: 100, period_ms: 1000, burst: 5 },
                max_attempts: 1,
                backoff: Backoff { first_ms: 1000, most_ms: 30_000 },
                max_age_ms: 10_000,
            },
        }
    }
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// An annotation that wakes the pod.
    Ring,
}

impl Write {
    /// As logs, metrics and the admin API call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ring => "ring",
        }
    }
}

/// Learns the outcome of an order, once. Called by a background task, with no lock held.
pub type Tell = Box<dyn FnOnce(&Outcome) + Send>;

/// Something to do about one pod. A newer order of the same means about the same pod replaces it.
pub struct Order {
    /// The queue that it goes into.
    pub means: Means,
    /// The pod that it is about; the write is fenced by its UID, and its priority is the order's.
    pub pod: Arc<Pod>,
    /// What is written.
    pub write: Write,
    /// Why, in a word of a closed set: the name of a reason, or of a cause.
    pub cause: &'static str,
    /// It is tried until it is done, or the pod is gone or bound: for a pod that would sleep without.
    pub lasting: bool,
    /// Who learns the outcome.
    pub tell: Option<Tell>,
}

impl Order {
    /// Wake this pod.
    pub fn ring(pod: Arc<Pod>, cause: &'static str) -> Self {
        let (means, write) = (Means::Doorbell, Write::Ring);
        Self { means, pod, write, cause, lasting: false, tell: None }
    }

    /// The same order, whose outcome is told. Until it is, the order is still open.
    #[must_use]
    pub fn telling(self, tell: impl FnOnce(&Outcome) + Send + 'static) -> Self {
        Self { tell: Some(Box::new(tell)), ..self }
    }
}

/// How an order ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is written.
    Written,
    /// The pod is gone, or another one has its name.
    Gone,
    /// We lack the right, which the text names.
    Forbidden(String),
    /// The last attempt failed so.
    Failed(String),
    /// A newer order about the pod has taken its place.
    Replaced,
    /// Too many were waiting.
    Full,
    /// It was too old before it could begin.
    Expired,
    /// The means is off.
    Off,
}

impl Outcome {
    /// The names of all, for metrics that begin at zero.
    pub const NAMES: [&'static str; 8] =
        ["written", "gone", "forbidden", "failed", "replaced", "full", "expired", "off"];

    /// As metrics and the admin API call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Gone => "gone",
            Self::Forbidden(_) => "forbidden",
            Self::Failed(_) => "failed",
            Self::Replaced => "replaced",
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

/// An order that ended.
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
    pub outcome: Outcome,
    /// Writes begun.
    pub attempts: u32,
    /// From submission to end, in milliseconds.
    pub took_ms: u64,
}
