//! Recounts every sum from the pods and nodes themselves and compares.
//!
//! The counters are kept by adding and subtracting; the recount only adds. Whatever differs is a bug
//! of ours (or a cosmic ray), so it is reported, and repaired by taking the recount over.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::apps::AppRow;
use super::cow::Sharded;
use super::existing_anti_affinity::ExistingAntiAffinity;
use super::pod_records::{KnownPod, Nominee, PoolUse};
use super::ports::{self, PortRow};
use super::state::ClusterState;
use super::tables::Tables;
use crate::model::{Amounts, NodeOrd, PodUid};

/// A sum that was not what a recount gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// Which sum, one of [`Self::SUMS`].
    pub what: &'static str,
    /// How many rows of it differ.
    pub rows: usize,
}

impl Difference {
    /// Every sum that is recounted.
    pub const SUMS: [&'static str; 11 + Tables::NUM] = Self::sums();

    const COUNTED: [&'static str; 11] = [
        "node",
        "extended",
        "pool",
        "app",
        "place",
        "pods",
        "nominee",
        "name",
        "image",
        "port",
        "existing_anti_affinity",
    ];

    /// The sums that follow from pods and nodes, and then the tables of optional kinds.
    const fn sums() -> [&'static str; 11 + Tables::NUM] {
        let mut sums = [""; 11 + Tables::NUM];
        let mut at = 0;
        while at < sums.len() {
            sums[at] = if at < 11 { Self::COUNTED[at] } else { Tables::AUDITED[at - 11] };
            at += 1;
        }
        sums
    }
}

/// Everything that follows from where the pods are.
struct Recount {
    used: Vec<Amounts>,
    extended: Vec<Vec<i64>>,
    pools: Vec<PoolUse>,
    apps: BTreeMap<u128, AppRow>,
    host_ports: BTreeMap<u128, PortRow>,
    existing_anti_affinity: ExistingAntiAffinity,
    /// Pods that the writer does not know where they are, or not at all.
    misplaced: usize,
    nominees: BTreeMap<u128, Arc<Nominee>>,
    num_pods: usize,
}

impl ClusterState {
    /// Compares every sum with a recount. Empty means that all agree.
    pub fn audit(&self) -> Vec<Difference> {
        let recount = self.recount();
        let used = recount.used.iter().enumerate();
        let node = used.filter(|(at, used)| self.now.used(NodeOrd(*at as u32)) != **used).count();
        let node = node + usize::from(self.now.num_nodes != self.now.live_nodes().count());
        let columns = self.now.extended.iter().zip(&recount.extended);
        let extended = columns.filter(|(column, want)| *column.used != **want).count();
        let rows = self.now.pool_use.iter().zip(&recount.pools);
        let pool = rows.filter(|(have, want)| have != want).count();
        let apps = recount.apps.iter();
        let app = apps
            .filter(|(key, row)| !self.now.apps.get(**key).is_some_and(|it| it.same_counts(row)));
        let uncommitted = self.now.apps.iter().filter(|(key, _)| !recount.apps.contains_key(key));
        let app = app.count() + uncommitted.count();
        let found = recount.num_pods + self.now.pending.len();
        let uncommitted = self.known.len().saturating_sub(found - recount.misplaced);
        let place = recount.misplaced.max(uncommitted);
        let pods = usize::from(self.now.num_pods != recount.num_pods);
        let nominees = recount.nominees.iter();
        let nominee = nominees.filter(|(uid, it)| self.now.nominees.get(**uid) != Some(it));
        let uncommitted =
            self.now.nominees.iter().filter(|it| !recount.nominees.contains_key(&it.0));
        let nominee = nominee.count() + uncommitted.count();
        let name = self.unused_names().len();
        let image = self.now.images.differences();
        let ports = recount.host_ports.iter();
        let port =
            ports.filter(|(key, row)| self.now.host_ports.get(**key).map(|it| &**it) != Some(row));
        let uncommitted =
            self.now.host_ports.iter().filter(|it| !recount.host_ports.contains_key(&it.0));
        let port = port.count() + uncommitted.count();
        let existing_anti_affinity =
            self.now.existing_anti_affinity.differences(&recount.existing_anti_affinity);
        let tables = Tables::KINDS.iter().zip(self.now.tables.all());
        let tables = tables.map(|(kind, table)| {
            self.lists.get(kind).map_or(table.names().len(), |list| list.differences(table))
        });
        let rows = [
            node,
            extended,
            pool,
            app,
            place,
            pods,
            nominee,
            name,
            image,
            port,
            existing_anti_affinity,
        ];
        Difference::SUMS
            .into_iter()
            .zip(rows.into_iter().chain(tables))
            .filter(|(_, rows)| *rows > 0)
            .map(|(what, rows)| Difference { what, rows })
            .collect()
    }

    /// Takes the recount over.
    pub fn repair(&mut self) {
        let recount = self.recount();
        let columns = &mut self.now.columns;
        let column =
            |of: fn(&Amounts) -> i64| recount.used.iter().map(of).collect::<Vec<_>>().into();
        columns.used_cpu_milli = column(|it| it.cpu_milli);
        columns.used_memory_bytes = column(|it| it.memory_bytes);
        columns.used_ephemeral_bytes = column(|it| it.ephemeral_bytes);
        columns.used_pods = column(|it| it.pods);
        let extended = Arc::make_mut(&mut self.now.extended);
        for (column, used) in extended.iter_mut().zip(recount.extended) {
            column.used = used.into();
        }
        self.now.pool_use = Arc::new(recount.pools);
        let apps = std::mem::take(&mut self.now.apps);
        for (key, mut row) in recount.apps {
            // Records do not tell them.
            if let Some(labels) = apps.get(key).and_then(|before| before.labels()) {
                row.set_labels(labels.clone());
            }
            self.now.apps.insert(key, Arc::new(row));
        }
        self.now.host_ports = Sharded::default();
        for (port, row) in recount.host_ports {
            self.now.host_ports.insert(port, Arc::new(row));
        }
        self.now.existing_anti_affinity = recount.existing_anti_affinity;
        self.know_all();
        self.now.num_nodes = self.now.live_nodes().count();
        self.now.num_pods = recount.num_pods;
        self.now.nominees = Sharded::default();
        for (uid, nominee) in recount.nominees {
            self.now.nominees.insert(uid, nominee);
        }
        self.now.images.repair();
        for (kind, table) in Tables::KINDS.into_iter().zip(self.now.tables.all()) {
            self.lists.entry(kind).or_default().repair(table);
        }
        Arc::make_mut(&mut self.now.changes).note_all();
        self.unused_names().into_iter().for_each(|ord| self.recycle(ord));
        self.dirty = true;
    }

    /// Notes where each pod is; what is known of it besides stays.
    fn know_all(&mut self) {
        let before = std::mem::take(&mut self.known);
        let pods = self.now.pods.clone();
        let placed = pods.iter().enumerate().flat_map(|(at, pods)| {
            let on = NodeOrd(at as u32);
            pods.iter().map(move |record| (PodUid(record.uid), on, record.resource_version))
        });
        let pending = self.now.pending.clone();
        let pending =
            pending.iter().map(|(uid, pod)| (PodUid(uid), NodeOrd::UNKNOWN, pod.resource_version));
        for (uid, on, resource_version) in placed.chain(pending) {
            self.know(uid, on, resource_version);
            if let (Some(known), Some(before)) = (self.known.get_mut(uid), before.get(uid)) {
                *known = KnownPod { on, ..*before };
            }
        }
    }

    /// Ordinals that are taken although no node, no pod and no claim uses them.
    fn unused_names(&self) -> Vec<NodeOrd> {
        let claimed: FxHashSet<NodeOrd> = self.now.nominees.iter().map(|(_, it)| it.node).collect();
        let rows = (0..self.now.capacity() as u32).map(NodeOrd);
        let named = rows.filter(|ord| !self.now.names.name(*ord).is_empty());
        let unused = named.filter(|ord| {
            !self.now.is_live(*ord) && self.now.pods_on(*ord).is_empty() && !claimed.contains(ord)
        });
        unused.collect()
    }

    fn recount(&self) -> Recount {
        let rows = self.now.capacity();
        let mut recount = Recount {
            used: vec![Amounts::default(); rows],
            extended: vec![vec![0; rows]; self.now.extended.len()],
            pools: vec![PoolUse::default(); self.now.pools.len()],
            apps: BTreeMap::new(),
            host_ports: BTreeMap::new(),
            existing_anti_affinity: ExistingAntiAffinity::default(),
            misplaced: 0,
            nominees: BTreeMap::new(),
            num_pods: 0,
        };
        let is_known = |uid, on| self.known.get(PodUid(uid)).is_some_and(|known| known.on == on);
        for (at, pods) in self.now.pods.iter().enumerate() {
            let ord = NodeOrd(at as u32);
            for record in pods.iter() {
                recount.used[at] += record.requests;
                for &(resource, amount) in &record.extended {
                    if let Some(column) = recount.extended.get_mut(usize::from(resource.0)) {
                        column[at] += amount;
                    }
                }
                if let Some(app) = record.spreading_app() {
                    recount.apps.entry(app).or_default().count(ord, self.now.path(ord), 1);
                }
                recount.existing_anti_affinity.count(record.anti_affinity_terms(), ord, 1);
                for port in &record.host_ports {
                    recount.host_ports.entry(ports::key(port)).or_default().count(ord, *port, 1);
                }
                recount.misplaced += usize::from(!is_known(record.uid, ord));
                recount.num_pods += 1;
            }
        }
        for ord in self.now.live_nodes() {
            if let Some(row) = recount.pools.get_mut(self.now.pool(ord).index()) {
                row.used += recount.used[ord.index()];
                row.allocatable += self.now.allocatable(ord);
                row.nodes += 1;
            }
        }
        for (uid, pod) in self.now.pending.iter() {
            recount.misplaced += usize::from(!is_known(uid, NodeOrd::UNKNOWN));
            let nominated = pod.nominated.as_deref().filter(|_| pod.is_pending());
            if let Some(node) = nominated.and_then(|name| self.now.names.ord(name)) {
                recount.nominees.insert(uid, Arc::new(Nominee::new(pod, node)));
            }
        }
        recount
    }
}

#[cfg(test)]
mod tests;
