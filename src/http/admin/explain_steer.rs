//! How an explanation shows a steer, a nomination ahead, and what is off of steering.

use serde::{Deserialize, Serialize};

use crate::control::{Obstacle, SteeringPart};
use crate::engine::{Decider, SteerOutcome};
use crate::model::{PodUid, Tick};
use crate::nominator::NominatorVerdict;

/// Something that is off.
#[derive(Deserialize, Serialize)]
pub(crate) struct ObstacleView {
    pub(crate) part: SteeringPart,
    pub(crate) cause: String,
    pub(crate) why: String,
    /// What turns it on; null where nothing does.
    pub(crate) turn_on: Option<String>,
}

impl From<Obstacle> for ObstacleView {
    fn from(it: Obstacle) -> Self {
        let Obstacle { part, ground, why, remedy, .. } = it;
        let turn_on = Some(remedy.to_owned()).filter(|it| !it.is_empty());
        Self { part, cause: ground.name().to_owned(), why, turn_on }
    }
}

/// A steer. Times are milliseconds since it began; null: that has not happened.
#[derive(Deserialize, Serialize)]
pub(crate) struct SteerView {
    pub(crate) cause: String,
    pub(crate) target: String,
    /// How far the target led the best offered node; null when no offered node would take the pod.
    pub(crate) lead_pct: Option<f64>,
    /// Null: under way.
    pub(crate) outcome: Option<String>,
    /// The steer began with a requeue, not with an answer.
    pub(crate) requeue: bool,
    pub(crate) rounds: u32,
    pub(crate) began_ms_ago: u64,
    pub(crate) written_ms: Option<u64>,
    pub(crate) accepted_ms: Option<u64>,
    pub(crate) bound_ms: Option<u64>,
}

impl SteerView {
    pub(super) fn of(decider: &Decider, uid: PodUid, now: Tick) -> Option<Self> {
        let it = decider.steers().record(uid)?;
        Some(Self {
            cause: it.cause.name().to_owned(),
            target: it.node.to_string(),
            lead_pct: it.lead_permille.map(|permille| f64::from(permille) / 10.0),
            outcome: it.outcome.map(SteerOutcome::name).map(str::to_owned),
            requeue: it.is_requeue,
            rounds: it.rounds,
            began_ms_ago: now.since_ms(it.began),
            written_ms: it.written_ms,
            accepted_ms: it.accepted_ms,
            bound_ms: it.bound_ms,
        })
    }
}

/// Whether a pending pod is nominated ahead.
#[derive(Deserialize, Serialize)]
pub(crate) struct NominatorView {
    /// `target`, `waits`, `foreign`, or why it is not nominated.
    pub(crate) state: String,
    /// The node that was chosen for it.
    pub(crate) target: Option<String>,
}

impl From<NominatorVerdict> for NominatorView {
    fn from(it: NominatorVerdict) -> Self {
        let (state, target) = match it {
            NominatorVerdict::Target(node) => ("target", Some(node)),
            NominatorVerdict::Waits => ("waits", None),
            NominatorVerdict::Stopped => ("stopped", None),
            NominatorVerdict::Paused => ("paused", None),
            NominatorVerdict::Foreign => ("foreign", None),
            NominatorVerdict::Not(why) => (why.name(), None),
        };
        Self { state: state.to_owned(), target }
    }
}
