//! `/api/v1/nodes`: every node with the sum of its pods.

use serde::{Deserialize, Serialize};

use super::{Admin, AdminPage, AmountsView, Problem};
use crate::engine::View;
use crate::model::{DomainLevel, NodeOrd};

/// A node.
#[derive(Deserialize, Serialize)]
pub(crate) struct NodeView {
    pub(crate) name: String,
    pub(crate) pool: Option<String>,
    pub(crate) zone: Option<String>,
    pub(crate) requested: AmountsView,
    pub(crate) allocatable: AmountsView,
}

impl NodeView {
    pub(super) fn of(view: &View, ord: NodeOrd) -> Self {
        let snapshot = &view.snapshot;
        let zone = snapshot.domain(DomainLevel::Zone, ord);
        let pool = view.plan.pools.get(snapshot.pool(ord).index());
        Self {
            name: snapshot.names.name(ord).to_owned(),
            pool: pool.map(|it| it.name.clone()),
            zone: snapshot.topology.name(DomainLevel::Zone, zone).map(str::to_owned),
            requested: snapshot.used(ord).into(),
            allocatable: snapshot.allocatable(ord).into(),
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct NodesQuery {
    pool: Option<String>,
}

impl AdminPage for Vec<NodeView> {
    const PATH: &'static str = "/api/v1/nodes";
    type Query = NodesQuery;

    fn of(admin: &Admin, query: NodesQuery) -> Result<Self, Problem> {
        let view = admin.shared.view();
        let all = view.snapshot.live_nodes().map(|ord| NodeView::of(&view, ord));
        let mut nodes: Self =
            all.filter(|it| query.pool.is_none() || it.pool == query.pool).collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(nodes)
    }
}
