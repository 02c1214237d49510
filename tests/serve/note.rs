//! A kind of action that only this test has: it notes a text in a ConfigMap. The product has no such kind, and
//! everything that it needs is in this file: the kind, and the action.

use serde_json::json;
use sigma::model::{
    Action, ActionKind, BreakerLimits, ObjectRef, ObjectType, QueueLimits, Rate, Right, Write,
};

pub(crate) static NOTE: ActionKind = ActionKind {
    name: "note",
    queue: QueueLimits {
        max_waiting: 8,
        max_in_flight: 1,
        pace: Rate { tokens: 100, period_ms: 1000, burst: 10 },
        max_attempts: 2,
        first_pause_ms: 10,
        most_pause_ms: 20,
        max_age_ms: 2000,
    },
    breaker: BreakerLimits::DEFAULT,
    rights: &[Right::of("patch", "", "configmaps", "")],
    needs_proof: true,
    is_cluster_wide: false,
};

/// Notes a text under this name.
pub(crate) fn note(name: &str, text: &str) -> Action {
    let (namespace, uid) = ("shop".into(), "".into());
    Action {
        kind: &NOTE,
        target: ObjectRef {
            object_type: ObjectType::CONFIG_MAP,
            namespace,
            name: name.into(),
            uid,
        },
        priority: 0,
        write: Write::Apply { subresource: "", body: json!({"data": {"note": text}}), force: true },
        verb: "note",
        cause: "test",
        must_complete: false,
    }
}
