//! `/api/v1/actions`: the kinds of action, and the last writes of each.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Admin, AdminPage, NoQuery, Problem};
use crate::control::{ActionKindState, Record};
use crate::model::Tick;

/// A kind of action.
#[derive(Deserialize, Serialize)]
pub(crate) struct ActionKindView {
    kind: String,
    on: bool,
    why_off: Option<String>,
    breaker: String,
    paused_classes: usize,
    waiting: usize,
    in_flight: usize,
    actions: Vec<ActionView>,
}

#[derive(Deserialize, Serialize)]
struct ActionView {
    at: String,
    resource: String,
    namespace: String,
    name: String,
    uid: String,
    write: String,
    node: Option<String>,
    cause: String,
    outcome: String,
    why: Option<String>,
    attempts: u32,
    took_ms: u64,
}

impl AdminPage for Vec<ActionKindView> {
    const PATH: &'static str = "/api/v1/actions";
    type Query = NoQuery;

    fn of(admin: &Admin, _: NoQuery) -> Result<Self, Problem> {
        let (now, wall) = (admin.shared.clock.now(), Timestamp::now());
        let kinds = admin.acting.as_ref().map(|it| it.actor.state()).unwrap_or_default();
        Ok(kinds.into_iter().map(|it| ActionKindView::of(it, now, wall)).collect())
    }
}

impl ActionKindView {
    fn of(it: ActionKindState, now: Tick, wall: Timestamp) -> Self {
        Self {
            kind: it.kind.name.to_owned(),
            on: it.why_off.is_none(),
            why_off: it.why_off.map(|why| why.to_string()),
            breaker: it.breaker.name().to_owned(),
            paused_classes: it.paused_classes,
            waiting: it.waiting,
            in_flight: it.in_flight,
            actions: it.records.into_iter().map(|it| ActionView::of(it, now, wall)).collect(),
        }
    }
}

impl ActionView {
    fn of(it: Record, now: Tick, wall: Timestamp) -> Self {
        let ago = Duration::from_millis(now.since_ms(it.ended));
        Self {
            at: format!("{:.3}", wall.checked_sub(ago).unwrap_or(wall)),
            resource: it.target.object_type.resource.to_owned(),
            namespace: it.target.namespace.to_string(),
            name: it.target.name.to_string(),
            uid: it.target.uid.to_string(),
            write: it.verb.to_owned(),
            node: it.write.node().map(str::to_owned),
            cause: it.cause.to_owned(),
            outcome: it.outcome.name().to_owned(),
            why: it.outcome.why().map(str::to_owned),
            attempts: it.attempts,
            took_ms: it.took_ms,
        }
    }
}
