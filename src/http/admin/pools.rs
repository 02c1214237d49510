//! `/api/v1/pools`: every pool with the sum of its nodes.

use serde::{Deserialize, Serialize};

use super::{Admin, AdminPage, AmountsView, NoQuery, Problem};

/// A pool.
#[derive(Deserialize, Serialize)]
pub(crate) struct PoolView {
    name: String,
    elastic: bool,
    nodes: u32,
    requested: AmountsView,
    /// Σ over the nodes; null for an elastic pool, whose capacity is not real.
    allocatable: Option<AmountsView>,
    limit: Option<AmountsView>,
    cpu_allocated_pct: Option<f64>,
    memory_allocated_pct: Option<f64>,
}

impl AdminPage for Vec<PoolView> {
    const PATH: &'static str = "/api/v1/pools";
    type Query = NoQuery;

    fn of(admin: &Admin, _: NoQuery) -> Result<Self, Problem> {
        let snapshot = &admin.shared.view().snapshot;
        let rows = snapshot.pools.iter().zip(&*snapshot.pool_use);
        let pools = rows.map(|(pool, sums)| {
            let share =
                |part: i64, whole: i64| (!pool.elastic && whole > 0).then(|| percent(part, whole));
            PoolView {
                name: pool.name.clone(),
                elastic: pool.elastic,
                nodes: sums.nodes,
                requested: sums.used.into(),
                allocatable: (!pool.elastic).then(|| sums.allocatable.into()),
                limit: pool.limit.map(Into::into),
                cpu_allocated_pct: share(sums.used.cpu_milli, sums.allocatable.cpu_milli),
                memory_allocated_pct: share(sums.used.memory_bytes, sums.allocatable.memory_bytes),
            }
        });
        Ok(pools.collect())
    }
}

/// A percentage to two decimals.
fn percent(part: i64, whole: i64) -> f64 {
    ((part as f64 / whole as f64) * 10_000.0).round() / 100.0
}
