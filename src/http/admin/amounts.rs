//! Amounts of resources, and the limits that they exceed.

use serde::{Deserialize, Serialize};

use crate::engine::UncommittedView;
use crate::model::Amounts;
use crate::rules::{Bound, BoundScope};

/// Amounts with their units in the names.
#[derive(Default, Deserialize, Serialize)]
pub(crate) struct AmountsView {
    pub(crate) cpu_milli: i64,
    pub(crate) memory_bytes: i64,
    pub(crate) pods: i64,
}

impl From<Amounts> for AmountsView {
    fn from(it: Amounts) -> Self {
        Self { cpu_milli: it.cpu_milli, memory_bytes: it.memory_bytes, pods: it.pods }
    }
}

/// `asked` + `requested` + `held` + `nominated` is more than `limit`.
#[derive(Deserialize, Serialize)]
pub(crate) struct LimitView {
    pub(crate) resource: String,
    pub(crate) scope: LimitScope,
    /// The pool, or the domain as `label=value`; null for the node.
    pub(crate) of: Option<String>,
    pub(crate) asked: i64,
    pub(crate) requested: i64,
    pub(crate) held: i64,
    pub(crate) nominated: i64,
    pub(crate) limit: i64,
    /// The limit is this share of `share_of`; null for a plain limit.
    pub(crate) share_pct: Option<f64>,
    pub(crate) share_of: Option<i64>,
}

/// What a limit bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LimitScope {
    Node,
    Pool,
    Domain,
}

impl LimitView {
    pub(super) fn of((bound, taken): &(Bound, UncommittedView<i64>)) -> Self {
        let (scope, of) = match &bound.scope {
            BoundScope::Node => (LimitScope::Node, None),
            BoundScope::Pool(name) => (LimitScope::Pool, Some(name.to_string())),
            BoundScope::Domain(key, value) => (LimitScope::Domain, Some(format!("{key}={value}"))),
        };
        Self {
            resource: bound.resource.to_string(),
            scope,
            of,
            asked: bound.asked,
            requested: bound.requested,
            held: taken.held,
            nominated: taken.nominated,
            limit: bound.limit,
            share_pct: bound.share.map(|(_, permille)| f64::from(permille) / 10.0),
            share_of: bound.share.map(|(whole, _)| whole),
        }
    }
}
