//! Looking ahead: a snapshot as it would be if a pod were on a node.

use std::sync::Arc;

use super::accounting::{shift, shift_used, signed};
use super::apps::AppRow;
use super::holds::extended_of;
use super::pod_records::{app_of, bounded};
use super::snapshot::Snapshot;
use crate::model::{NodeOrd, Pod};

impl Snapshot {
    /// Counts a pending pod on a node: in the sums of the node and of its pool, and among the replicas
    /// of its app. Only in this copy of the snapshot, and without a record of the pod.
    pub fn assume(&mut self, pod: &Pod, ord: NodeOrd) {
        let amounts = bounded(pod.requests.base);
        shift_used(&mut self.columns, ord.index(), amounts, 1);
        let extended = extended_of(self, &pod.requests);
        if !extended.is_empty() {
            let columns = Arc::make_mut(&mut self.extended);
            for (resource, amount) in extended {
                if let Some(column) = columns.get_mut(usize::from(resource.0)) {
                    shift(&mut column.used, ord.index(), amount, 1);
                }
            }
        }
        let pool = self.pool(ord);
        if let Some(row) = Arc::make_mut(&mut self.pool_use).get_mut(pool.index()) {
            signed(&mut row.used, amounts, 1);
        }
        let (app, path) = (app_of(pod), self.path(ord));
        if app != 0
            && let Some(row) = self.apps.entry(app, Arc::<AppRow>::default)
        {
            Arc::make_mut(row).count(ord, path, 1);
        }
    }
}
