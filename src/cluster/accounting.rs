//! The rows of the state: nodes, and the sums that pods leave on them.

use std::sync::Arc;

use super::apps::AppRow;
use super::cow::Column;
use super::pod_records::{
    ObjectVersion, PodRecord, PoolUse, ResourceOrd, bounded, name_hash, position,
};
use super::ports::{self, PortRow};
use super::snapshot::{Columns, ExtendedColumn};
use super::state::{ClusterState, Confirmed};
use crate::model::{
    Amounts, DomainLevel, DomainOrd, LabelSet, Node, NodeOrd, PodStatusBits, PodUid, PoolOrd,
    PoolSpec, mix,
};

/// Most extended resources that are counted; what comes later is left to kube-scheduler alone.
pub(super) const MAX_EXTENDED: usize = 64;
/// For how many pods room is made on a node.
const MORE_PODS: usize = 4;
/// Most distinct taint sets; more would be taints that change all the time.
const MAX_TAINT_SETS: usize = u16::MAX as usize;

impl ClusterState {
    /// Takes a node's facts over; false when they are the ones that we had (a heartbeat) or older.
    pub(super) fn node_seen(&mut self, mut node: Node) -> bool {
        let ord = self.intern(&node.name);
        let at = ord.index();
        let (stamp, version) = (self.node_list, node.resource_version);
        if let Some(seen) = self.seen_nodes.get_mut(&ord)
            && !seen.admits(version, stamp)
        {
            return false;
        }
        self.seen_nodes.insert(ord, ObjectVersion { stamp, version });
        node.allocatable = bounded(node.allocatable);
        let old = self.now.nodes.get(at).cloned().flatten();
        let images = std::mem::take(&mut node.images);
        let new_images = self.now.images.set(ord, &images);
        if old.is_some_and(|old| old.same_facts(&node)) {
            if let Some(slot) = self.now.nodes.get_mut(at) {
                *slot = Some(Arc::new(node));
            }
            return new_images;
        }
        self.now.nodes_version += 1;
        self.touch(ord);
        self.pool_totals(ord, -1);
        self.drop_taint_set(ord);
        let taint_set = self.taint_set(&node);
        self.now.num_nodes += usize::from(!self.now.is_live(ord));
        let columns = &mut self.now.columns;
        columns.allocatable_cpu_milli.set(at, node.allocatable.cpu_milli);
        columns.allocatable_memory_bytes.set(at, node.allocatable.memory_bytes);
        columns.allocatable_ephemeral_bytes.set(at, node.allocatable.ephemeral_bytes);
        columns.allocatable_pods.set(at, node.allocatable.pods);
        columns.conditions.set(at, node.conditions);
        columns.taint_set.set(at, taint_set);
        columns.live.set(at, true);
        self.publish_extended(ord, &node);
        let pool = pool_of(&self.now.pools, &node);
        self.now.columns.pool.set(at, pool);
        self.locate(ord, &node);
        if let Some(slot) = self.now.nodes.get_mut(at) {
            *slot = Some(Arc::new(node));
        }
        self.pool_totals(ord, 1);
        true
    }

    pub(super) fn node_gone(&mut self, name: &str) {
        let Some(ord) = self.now.names.ord(name).filter(|ord| self.now.is_live(*ord)) else {
            return;
        };
        self.now.nodes_version += 1;
        self.touch(ord);
        self.pool_totals(ord, -1);
        self.drop_taint_set(ord);
        self.now.images.set(ord, &[]);
        let at = ord.index();
        let columns = &mut self.now.columns;
        columns.live.set(at, false);
        self.now.num_nodes -= 1;
        columns.pool.set(at, PoolOrd::NONE);
        self.set_domains(ord, [DomainOrd::NONE; 4]);
        if let Some(slot) = self.now.nodes.get_mut(at) {
            *slot = None;
        }
        self.seen_nodes.remove(&ord);
        self.incomplete.remove(&ord);
        self.recycle(ord);
    }

    pub(super) fn set_pools(&mut self, mut pools: Vec<PoolSpec>) {
        pools.truncate(PoolOrd::MAX_POOLS);
        self.now.pool_use = Arc::new(vec![PoolUse::default(); pools.len()]);
        self.now.pools = Arc::new(pools);
        Arc::make_mut(&mut self.now.changes).note_all();
        let live: Vec<NodeOrd> = self.now.live_nodes().collect();
        for ord in live {
            if let Some(node) = self.now.nodes.get(ord.index()).cloned().flatten() {
                let pool = pool_of(&self.now.pools, &node);
                self.now.columns.pool.set(ord.index(), pool);
                self.pool_totals(ord, 1);
            }
        }
    }

    /// The ordinal of a name, with an empty row when it is new.
    pub(super) fn intern(&mut self, name: &str) -> NodeOrd {
        let (ord, new) = self.now.names.intern(name);
        if new {
            self.fit_columns();
            self.touch(ord);
            self.now.columns.name_hash.set(ord.index(), name_hash("", name));
        }
        ord
    }

    /// Puts a record on a node and into every sum.
    pub(super) fn put(&mut self, ord: NodeOrd, record: PodRecord) {
        self.know(PodUid(record.uid), ord, record.resource_version);
        self.account(ord, &record, 1);
        if let Some(pods) = self.now.pods.get_mut(ord.index()).map(Arc::make_mut) {
            // Twice the room at a time, as usual, would be a third of all memory.
            if pods.len() == pods.capacity() {
                pods.reserve_exact(MORE_PODS);
            }
            pods.push(record);
        }
    }

    /// Takes over the status of a pod that is on a node. No sum depends on it.
    pub(super) fn set_status(&mut self, ord: NodeOrd, uid: PodUid, status: PodStatusBits) {
        let pods = self.now.pods.get_mut(ord.index()).map(Arc::make_mut);
        if let Some(known) = pods.and_then(|it| it.iter_mut().find(|it| it.uid == uid.0)) {
            known.status = status;
        }
    }

    /// Takes a record off a node and out of every sum.
    pub(super) fn take(&mut self, ord: NodeOrd, uid: PodUid) {
        let Some(pods) = self.now.pods.get_mut(ord.index()) else {
            return;
        };
        if let Some(at) = position(pods, uid) {
            let record = Arc::make_mut(pods).swap_remove(at);
            self.account(ord, &record, -1);
            self.recycle(ord);
        }
    }

    fn touch(&mut self, ord: NodeOrd) {
        Arc::make_mut(&mut self.now.changes).note(ord);
    }

    fn account(&mut self, ord: NodeOrd, record: &PodRecord, sign: i64) {
        let at = ord.index();
        self.touch(ord);
        shift_used(&mut self.now.columns, at, record.requests, sign);
        for &(resource, amount) in &record.extended {
            let column = Arc::make_mut(&mut self.now.extended).get_mut(usize::from(resource.0));
            if let Some(column) = column {
                shift(&mut column.used, at, amount, sign);
            }
        }
        let pool = self.now.pool(ord);
        if let Some(row) = Arc::make_mut(&mut self.now.pool_use).get_mut(pool.index()) {
            signed(&mut row.used, record.requests, sign);
        }
        self.now.num_pods = self.now.num_pods.saturating_add_signed(sign as isize);
        if let Some(app) = record.spreading_app() {
            self.count_replica(app, ord, sign as i32);
        }
        self.now.existing_anti_affinity.count(record.anti_affinity_terms(), ord, sign as i32);
        for port in &record.host_ports {
            let key = ports::key(port);
            if let Some(row) = self.now.host_ports.entry(key, Arc::<PortRow>::default) {
                Arc::make_mut(row).count(ord, *port, sign as i32);
                if row.is_empty() {
                    self.now.host_ports.remove(key);
                }
            }
        }
    }

    /// Notes what the replicas of the pod's app have in common with it; it is one of them.
    pub(super) fn learn_labels(&mut self, app: u128, labels: &LabelSet) {
        if let Some(row) = self.now.apps.get(app) {
            let common = row.labels_with(labels);
            if row.labels() != Some(&common)
                && let Some(row) = self.now.apps.entry(app, Arc::<AppRow>::default)
            {
                Arc::make_mut(row).set_labels(common);
            }
        }
    }

    fn count_replica(&mut self, app: u128, ord: NodeOrd, delta: i32) {
        let path = self.now.path(ord);
        let Some(row) = self.now.apps.entry(app, Arc::<AppRow>::default) else {
            return;
        };
        Arc::make_mut(row).count(ord, path, delta);
        if row.nodes().is_empty() {
            self.now.apps.remove(app);
        }
    }

    /// Adds or removes a whole node to or from its pool's sums.
    fn pool_totals(&mut self, ord: NodeOrd, sign: i64) {
        if !self.now.is_live(ord) {
            return;
        }
        let (used, allocatable) = (self.now.used(ord), self.now.allocatable(ord));
        let pool = self.now.pool(ord);
        if let Some(row) = Arc::make_mut(&mut self.now.pool_use).get_mut(pool.index()) {
            signed(&mut row.used, used, sign);
            signed(&mut row.allocatable, allocatable, sign);
            row.nodes = row.nodes.saturating_add_signed(sign as i32);
        }
    }

    fn locate(&mut self, ord: NodeOrd, node: &Node) {
        let (path, completes) = self.topology.place(node);
        self.set_path(ord, node, path);
        self.completes |= completes;
    }

    /// Fills in what the topology has learned since the last snapshot: once per snapshot, because a
    /// list of 10,000 nodes may teach it something with every node.
    pub(super) fn complete_paths(&mut self) {
        if self.topology.size() != self.now.topology.size() {
            self.now.topology = Arc::new(self.topology.clone());
        }
        if !std::mem::take(&mut self.completes) {
            return;
        }
        let waiting: Vec<NodeOrd> = self.incomplete.iter().copied().collect();
        for ord in waiting {
            if let Some(node) = self.now.nodes.get(ord.index()).cloned().flatten() {
                let (path, _) = self.topology.place(&node);
                self.set_path(ord, &node, path);
            }
        }
    }

    fn set_path(&mut self, ord: NodeOrd, node: &Node, path: [DomainOrd; 4]) {
        self.touch(ord);
        self.set_domains(ord, path);
        let narrowest = DomainLevel::ALL.iter().rposition(|it| node.label(it.label()).is_some());
        let known = &path[..narrowest.map_or(0, |at| at + 1)];
        if known.contains(&DomainOrd::NONE) {
            self.incomplete.insert(ord);
        } else {
            self.incomplete.remove(&ord);
        }
    }

    /// Notes a node's domains; the replicas on it are counted in these from now on.
    fn set_domains(&mut self, ord: NodeOrd, path: [DomainOrd; 4]) {
        let before = self.now.path(ord);
        if before == path {
            return;
        }
        for (column, domain) in self.now.columns.domains.iter_mut().zip(path) {
            column.set(ord.index(), domain);
        }
        let apps = self.now.pods_on(ord).iter().filter_map(|pod| pod.spreading_app());
        let apps: Vec<u128> = apps.collect();
        for app in apps {
            if let Some(row) = self.now.apps.entry(app, Arc::<AppRow>::default) {
                Arc::make_mut(row).relocate(before, path);
            }
        }
    }

    fn taint_set(&mut self, node: &Node) -> u16 {
        let known = self.now.taint_sets.iter().position(|set| **set == *node.taints);
        let at = known.unwrap_or_else(|| {
            let sets = Arc::make_mut(&mut self.now.taint_sets);
            // Autoscalers write the time into a taint's value: sets that nobody carries any more must
            // not pile up, since every request judges each set.
            let at = self.taint_users.iter().position(|users| *users == 0).unwrap_or(sets.len());
            let at = at.min(MAX_TAINT_SETS - 1);
            match sets.get_mut(at) {
                Some(set) => *set = node.taints.clone(),
                None => {
                    sets.push(node.taints.clone());
                    self.taint_users.push(0);
                }
            }
            at
        });
        self.taint_users[at] += 1;
        at as u16
    }

    /// A live node no longer carries its taint set.
    fn drop_taint_set(&mut self, ord: NodeOrd) {
        if self.now.is_live(ord) {
            let at = usize::from(self.now.columns.taint_set[ord.index()]);
            self.taint_users[at] = self.taint_users[at].saturating_sub(1);
        }
    }

    fn publish_extended(&mut self, ord: NodeOrd, node: &Node) {
        for it in &node.extended {
            self.resource(&it.name);
        }
        let columns = Arc::make_mut(&mut self.now.extended);
        for column in columns {
            let published = node.extended.iter().find(|it| *it.name == *column.name);
            column.allocatable.set(ord.index(), published.map_or(-1, |it| it.amount));
        }
    }

    /// The ordinal of an extended resource; `None` when there are too many to count.
    pub(super) fn resource(&mut self, name: &str) -> Option<ResourceOrd> {
        if let Some(known) = self.now.resource(name) {
            return Some(known);
        }
        if self.now.extended.len() >= MAX_EXTENDED {
            return None;
        }
        let rows = self.now.capacity();
        Arc::make_mut(&mut self.now.extended).push(ExtendedColumn {
            name: name.into(),
            allocatable: vec![-1; rows].into(),
            used: vec![0; rows].into(),
        });
        self.now.resource(name)
    }

    /// Gives the ordinal back once no node, no pod and no claim uses it.
    pub(super) fn recycle(&mut self, ord: NodeOrd) {
        let claimed = || self.now.nominees.iter().any(|(_, nominee)| nominee.node == ord);
        if !self.now.is_live(ord) && self.now.pods_on(ord).is_empty() && !claimed() {
            self.now.names.release(ord);
            self.confirmed.push(Confirmed::Recycled(ord));
        }
    }

    /// Makes every column as long as the table of names.
    fn fit_columns(&mut self) {
        let rows = self.now.capacity();
        let columns = &mut self.now.columns;
        columns.live.grow(rows, false);
        for column in [
            &mut columns.allocatable_cpu_milli,
            &mut columns.allocatable_memory_bytes,
            &mut columns.allocatable_ephemeral_bytes,
            &mut columns.allocatable_pods,
            &mut columns.used_cpu_milli,
            &mut columns.used_memory_bytes,
            &mut columns.used_ephemeral_bytes,
            &mut columns.used_pods,
        ] {
            column.grow(rows, 0);
        }
        columns.conditions.grow(rows, Default::default());
        columns.taint_set.grow(rows, 0);
        columns.pool.grow(rows, PoolOrd::NONE);
        for column in &mut columns.domains {
            column.grow(rows, DomainOrd::NONE);
        }
        columns.name_hash.grow(rows, 0);
        for column in Arc::make_mut(&mut self.now.extended) {
            column.allocatable.grow(rows, -1);
            column.used.grow(rows, 0);
        }
        while self.now.nodes.len() < rows {
            self.now.nodes.grow();
            self.now.pods.grow();
        }
    }
}

/// The first pool that matches.
fn pool_of(pools: &[PoolSpec], node: &Node) -> PoolOrd {
    let at = pools.iter().position(|pool| pool.matcher.matches(node));
    at.map_or(PoolOrd::NONE, |at| PoolOrd(at as u8))
}

pub(super) fn shift(column: &mut Column<i64>, at: usize, amount: i64, sign: i64) {
    if let Some(cell) = column.get(at) {
        column.set(at, cell.saturating_add(amount.saturating_mul(sign)));
    }
}

pub(super) fn shift_used(columns: &mut Columns, at: usize, amounts: Amounts, sign: i64) {
    shift(&mut columns.used_cpu_milli, at, amounts.cpu_milli, sign);
    shift(&mut columns.used_memory_bytes, at, amounts.memory_bytes, sign);
    shift(&mut columns.used_ephemeral_bytes, at, amounts.ephemeral_bytes, sign);
    shift(&mut columns.used_pods, at, amounts.pods, sign);
}

pub(super) fn signed(sum: &mut Amounts, amounts: Amounts, sign: i64) {
    if sign < 0 {
        *sum -= amounts;
    } else {
        *sum += amounts;
    }
}

/// The tie-break between a pod and a node: the same in every replica and every process.
pub fn tie(pod: PodUid, node_name_hash: u64) -> u64 {
    mix(node_name_hash ^ (pod.0 as u64) ^ ((pod.0 >> 64) as u64).rotate_left(32))
}
