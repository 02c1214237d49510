//! The JSON of `/api/v1/actions`: what sigma wrote to the cluster by itself.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use crate::actions::{ActionKindState, Record};
use crate::model::Tick;

#[derive(Serialize)]
pub(super) struct ActionKindView {
    kind: &'static str,
    on: bool,
    why_off: Option<String>,
    breaker: &'static str,
    paused_classes: usize,
    waiting: usize,
    in_flight: usize,
    actions: Vec<ActionView>,
}

#[derive(Serialize)]
struct ActionView {
    at: String,
    namespace: String,
    pod: String,
    uid: String,
    what: &'static str,
    node: Option<String>,
    cause: &'static str,
    outcome: &'static str,
    why: Option<String>,
    attempts: u32,
    took_ms: u64,
}

/// All action kind, each with its last actions.
pub(super) fn page(kind: Vec<ActionKindState>, now: Tick) -> Vec<ActionKindView> {
    let wall = Timestamp::now();
    let view = |it: ActionKindState| ActionKindView {
        kind: it.kind.name(),
        on: it.why_off.is_none(),
        why_off: it.why_off.map(|why| why.to_string()),
        breaker: it.breaker.name(),
        paused_classes: it.paused_classes,
        waiting: it.waiting,
        in_flight: it.in_flight,
        actions: it.records.into_iter().map(|it| action(it, now, wall)).collect(),
    };
    kind.into_iter().map(view).collect()
}

fn action(record: Record, now: Tick, wall: Timestamp) -> ActionView {
    let ago = Duration::from_millis(now.since_ms(record.ended));
    ActionView {
        at: format!("{:.3}", wall.checked_sub(ago).unwrap_or(wall)),
        namespace: record.pod.namespace.to_string(),
        pod: record.pod.name.to_string(),
        uid: record.pod.uid_text.to_string(),
        what: record.write.name(),
        node: record.write.node().map(str::to_owned),
        cause: record.cause,
        outcome: record.outcome.name(),
        why: record.outcome.why().map(str::to_owned),
        attempts: record.attempts,
        took_ms: record.took_ms,
    }
}
