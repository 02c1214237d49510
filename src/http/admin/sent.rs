//! The shapes of what sends a pod to a node that was not offered: a steer, a nomination ahead, and what is off.

use serde::Serialize;

use crate::actions::Obstacle;
use crate::engine::{Decider, SteerOutcome};
use crate::model::{PodUid, Tick};
use crate::nominator::NominatorVerdict;

/// Something that is off.
#[derive(Serialize)]
pub(super) struct ObstacleView {
    part: &'static str,
    cause: &'static str,
    why: String,
    /// What turns it on; null where nothing does.
    turn_on: Option<&'static str>,
}

impl From<Obstacle> for ObstacleView {
    fn from(it: Obstacle) -> Self {
        let Obstacle { part, ground, why, remedy, .. } = it;
        let turn_on = Some(remedy).filter(|it| !it.is_empty());
        Self { part: part.name(), cause: ground.name(), why, turn_on }
    }
}

/// Times are in milliseconds since the pod was sent away; null: not done.
#[derive(Serialize)]
pub(super) struct SteerView {
    cause: &'static str,
    target: String,
    /// By how much it led the best that was offered; null when no offered node would do.
    lead_pct: Option<f64>,
    /// Null: under way.
    outcome: Option<&'static str>,
    /// It began at a requeue, and not with an answer.
    requeue: bool,
    rounds: u32,
    began_ms_ago: u64,
    written_ms: Option<u64>,
    accepted_ms: Option<u64>,
    bound_ms: Option<u64>,
}

impl SteerView {
    pub(super) fn of(decider: &Decider, uid: PodUid, now: Tick) -> Option<Self> {
        let it = decider.steers().record(uid)?;
        Some(Self {
            cause: it.cause.name(),
            target: it.node.to_string(),
            lead_pct: it.lead_permille.map(|permille| f64::from(permille) / 10.0),
            outcome: it.outcome.map(SteerOutcome::name),
            requeue: it.is_requeue,
            rounds: it.rounds,
            began_ms_ago: now.since_ms(it.began),
            written_ms: it.written_ms,
            accepted_ms: it.accepted_ms,
            bound_ms: it.bound_ms,
        })
    }
}

/// How a pending pod stands to nominating ahead.
#[derive(Serialize)]
pub(super) struct NominatorView {
    /// `target`, `waits`, `foreign`, or why it is not nominated.
    standing: &'static str,
    /// The node that was chosen for it.
    target: Option<String>,
}

impl From<NominatorVerdict> for NominatorView {
    fn from(it: NominatorVerdict) -> Self {
        let (standing, target) = match it {
            NominatorVerdict::Target(node) => ("target", Some(node)),
            NominatorVerdict::Waits => ("waits", None),
            NominatorVerdict::Paused => ("paused", None),
            NominatorVerdict::Foreign => ("foreign", None),
            NominatorVerdict::Not(why) => (why.name(), None),
        };
        Self { standing, target }
    }
}
