//! The fields of the language, once: the reader accepts exactly these, and a test holds the JSON
//! Schema to them.

use crate::retired::{NOMINATE_AHEAD_FIELDS, Renamed};

/// A mapping of the language.
#[derive(Debug)]
pub(super) struct Object {
    /// How it is called in messages.
    pub(super) what: &'static str,
    /// What may stand in it.
    pub(super) fields: &'static [&'static str],
    /// Fields of an earlier version that have another name now.
    pub(super) retired: &'static [Renamed],
    /// What will once stand in it; refused, so that nobody believes that it is in force.
    pub(super) later: &'static [&'static str],
}

pub(super) static ROOT: Object = Object {
    what: "a policy",
    fields: &[
        "apiVersion",
        "kind",
        "metadata",
        "pools",
        "classes",
        "scoring",
        "steering",
        "actions",
    ],
    retired: &[],
    later: &["extends", "colocation", "stability", "burst", "brakes", "overlays"],
};

pub(super) static METADATA: Object = object("`metadata`", &["name"]);

pub(super) static POOL: Object = Object {
    what: "a pool",
    fields: &["name", "match", "elastic", "allocation", "limit"],
    retired: &[],
    later: &["ceiling"],
};

pub(super) static MATCH: Object = object("`match`", &["instanceTypes", "labels"]);

pub(super) static ALLOCATION: Object = object("`allocation`", &["cpu", "memory"]);

pub(super) static LIMIT: Object = object("`limit`", &["cpu", "memory", "pods"]);

pub(super) static CLASS: Object = Object {
    what: "a class",
    fields: &["name", "grant", "pools", "spread", "protected", "allocation"],
    retired: &[],
    later: &["capacity", "horizon"],
};

pub(super) static GRANT: Object = object("`grant`", &["priorityClasses", "priority", "namespaces"]);

pub(super) static PRIORITY: Object = object("`priority`", &["min", "max"]);

pub(super) static NAMESPACES: Object = object("`namespaces`", &["names", "matchLabels"]);

pub(super) static SPREAD: Object = object("`spread`", &["domain", "maxShare"]);

pub(super) static STEERING: Object = Object {
    what: "the steering of a class",
    fields: &["shortlist", "shortlistPerDomain", "steer"],
    retired: &[],
    later: &["patience"],
};

pub(super) static STEER: Object =
    Object { later: &["home", "burst"], ..object("`steer`", &["elsewhere", "better"]) };

pub(super) static ELSEWHERE: Object = object("`elsewhere`", &["perSecond", "perApp"]);

pub(super) static BETTER: Object = object("`better`", &["margin", "perSecond", "perApp"]);

pub(super) static NOMINATE_AHEAD: Object = Object {
    retired: &NOMINATE_AHEAD_FIELDS,
    ..object("`nominateAhead`", &["minBacklog", "batch", "window", "ttlSeconds", "filterDelayMs"])
};

pub(super) static ACTIONS: Object = object("`actions`", &["stop"]);

/// Scorers of the design that no rule gives points for yet.
pub(super) static LATER_SCORERS: &[&str] = &["peakHeadroom", "peakOverlap", "reclaimableToEnd"];

const fn object(what: &'static str, fields: &'static [&'static str]) -> Object {
    Object { what, fields, retired: &[], later: &[] }
}
