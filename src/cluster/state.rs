//! The state of the cluster: `apply` takes a change in, and `publish` gives a snapshot out.
//!
//! A pod is in one of three states, and every sum follows from where it is:
//!
//! ```text
//!            PodSeen, no node            PodSeen, with a node
//!   unknown ────────────────▶ pending ─────────────────────▶ placed
//!      ▲  ▲                      │  PodGone, terminal,          │
//!      │  └──────────────────────┘  or not seen in a relist     │
//!      └────────────────────────────────────────────────────────┘
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::pod_index::PodIndex;
use super::pod_records::{
    KnownPod, Nominee, ObjectVersion, PodRecord, PodShape, Stamp, app_of, bounded, bounded_amount,
    name_hash,
};
use super::snapshot::{Snapshot, Watch};
use super::tables::{AnyTable, ObjectList};
use super::topology::Topology;
use crate::model::{
    AnyFact, Change, Generation, Kind, NodeOrd, ObjectName, Pod, PodUid, VolumeTopology,
};

/// Deleted pods are remembered this long (in deletions) so that a late event cannot revive one.
const MAX_TOMBSTONES: usize = 4096;

/// A fact that may end a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// The pod is counted on its node.
    Placed(PodUid),
    /// The pod is gone or has ended.
    Gone(PodUid),
    /// The API server's store was restored: a pod of a list is older than it was, or is back after it was
    /// gone. What was concluded from later versions is void.
    Restored(PodUid),
    /// The ordinal will be used for another node.
    Recycled(NodeOrd),
}

/// What one `apply` did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// A snapshot published now would differ from the last one.
    pub changed: bool,
    /// Objects that a complete list no longer had: deletions that no watch told us of.
    pub swept: usize,
}

/// The state of the cluster. See the module's drawing.
#[derive(Debug, Default)]
pub struct ClusterState {
    /// The snapshot being drawn; publishing clones it, which is cheap.
    pub(super) now: Snapshot,
    /// Every known pod.
    pub(super) known: PodIndex,
    pub(super) topology: Topology,
    /// The topology learned what may complete other nodes' paths.
    pub(super) completes: bool,
    /// How many nodes carry each of the snapshot's taint sets; a set without any is overwritten.
    pub(super) taint_users: Vec<u32>,
    /// Nodes whose labels leave a domain out that a neighbour's may fill in.
    pub(super) incomplete: FxHashSet<NodeOrd>,
    pub(super) confirmed: Vec<Confirmed>,
    /// What many records share.
    shared_texts: FxHashSet<Arc<str>>,
    shared_shapes: FxHashSet<Arc<PodShape>>,
    tombstones: VecDeque<PodUid>,
    /// Stamp of the list or event that each of these was gone by. A later list that has it is right.
    buried: FxHashMap<PodUid, Stamp>,
    /// Stamps of the running (or last) lists of the required kinds.
    pub(super) node_list: Stamp,
    namespace_list: Stamp,
    pub(super) pod_list: Stamp,
    /// What lists and events said of nodes and namespaces last.
    pub(super) seen_nodes: FxHashMap<NodeOrd, ObjectVersion>,
    seen_namespaces: FxHashMap<Box<str>, Stamp>,
    /// The same of the optional kinds that have a table.
    pub(super) lists: BTreeMap<Kind, ObjectList>,
    /// Volumes of one zone share one.
    pub(super) shared_topologies: FxHashSet<Arc<VolumeTopology>>,
    pub(super) dirty: bool,
}

impl ClusterState {
    /// Carries a change out. Total: a change that makes no sense changes nothing.
    pub fn apply(&mut self, change: Change) -> Applied {
        let swept = match change {
            Change::RelistBegin(kind) => {
                self.list_begins(kind);
                return Applied::default();
            }
            Change::RelistEnd(kind) => self.sweep(kind),
            Change::WatchSilent(kind) => return self.watch(kind, Watch::Stale),
            Change::WatchLost(kind) => return self.watch(kind, Watch::Disconnected),
            Change::WatchBack(kind) => return self.watch(kind, Watch::Fresh),
            Change::NodeSeen(node) => {
                if !self.node_seen(*node) {
                    return Applied::default();
                }
                0
            }
            Change::NodeGone { name } => {
                self.node_gone(&name);
                0
            }
            Change::NamespaceSeen(namespace) => {
                let stamp = self.namespace_list;
                self.seen_namespaces.insert(namespace.name.clone(), stamp);
                Arc::make_mut(&mut self.now.namespaces).insert(namespace.name.clone(), namespace);
                0
            }
            Change::NamespaceGone { name } => {
                self.seen_namespaces.remove(&name);
                Arc::make_mut(&mut self.now.namespaces).remove(&name);
                0
            }
            Change::PodSeen(pod) => {
                if !self.pod_seen(&pod) {
                    return Applied::default();
                }
                0
            }
            Change::PodGone { uid } => {
                self.pod_gone(uid);
                0
            }
            Change::Seen { kind, name, fact } => {
                if !self.object_changed(kind, name, fact) {
                    return Applied::default();
                }
                0
            }
            Change::Gone { kind, name } => {
                if !self.object_changed(kind, name, None) {
                    return Applied::default();
                }
                0
            }
            Change::Unread { kind, key } => {
                self.unread(kind, &key);
                return Applied::default();
            }
            Change::PoolsSet(pools) => {
                self.set_pools(pools);
                0
            }
            Change::ProfilesSet(profiles) => {
                self.now.profiles = profiles;
                0
            }
        };
        self.dirty = true;
        Applied { changed: true, swept }
    }

    fn list_begins(&mut self, kind: Kind) {
        let stamp = match kind {
            Kind::NODES => &mut self.node_list,
            Kind::NAMESPACES => &mut self.namespace_list,
            Kind::PODS => &mut self.pod_list,
            _ => {
                if let Some((list, _)) = self.list_of(kind) {
                    list.begin();
                }
                return;
            }
        };
        *stamp = stamp.wrapping_add(1);
    }

    /// The lists of an optional kind, and its table. `None` for a kind without a table.
    fn list_of(&mut self, kind: Kind) -> Option<(&mut ObjectList, &mut dyn AnyTable)> {
        let table = self.now.tables.of_mut(kind)?;
        Some((self.lists.entry(kind).or_default(), table))
    }

    /// False when nothing changes.
    fn object_changed(&mut self, kind: Kind, name: ObjectName, fact: Option<AnyFact>) -> bool {
        let topology = fact.as_ref().and_then(AnyFact::get::<Arc<VolumeTopology>>);
        let topology = topology.map(|it| shared(&mut self.shared_topologies, &**it));
        let fact = topology.map(AnyFact::new).or(fact);
        let list = self.list_of(kind);
        list.is_some_and(|(list, table)| list.set(table, name, fact.as_ref()))
    }

    fn watch(&mut self, kind: Kind, watch: Watch) -> Applied {
        let changed = match kind {
            Kind::PODS => {
                let known = &mut self.now.pods_watch;
                // A watch that is interrupted says nothing, which is no better.
                let is_better = *known == Watch::Disconnected && watch == Watch::Stale;
                !is_better && std::mem::replace(known, watch) != watch
            }
            _ => self.now.tables.of_mut(kind).is_some_and(|table| table.watch(watch)),
        };
        self.dirty |= changed;
        Applied { changed, swept: 0 }
    }

    /// The snapshot as it stands, and what confirmed since the last one. A holder of a hold must look at
    /// the snapshot *after* it has drained what confirmed, or it would count a pod twice or not at all.
    pub fn publish(&mut self) -> (Arc<Snapshot>, Vec<Confirmed>) {
        self.complete_paths();
        if self.dirty {
            self.now.generation = Generation(self.now.generation.0 + 1);
            self.dirty = false;
        }
        (Arc::new(self.now.clone()), std::mem::take(&mut self.confirmed))
    }

    fn pod_seen(&mut self, pod: &Pod) -> bool {
        let stamp = self.pod_list;
        // A list that began after the pod was gone knows better.
        let buried = self.buried.get(&pod.uid).copied();
        if buried == Some(stamp) {
            return false;
        }
        let mut before = None;
        let mut restored = buried.is_some() && self.buried.remove(&pod.uid).is_some();
        if let Some(known) = self.known.get_mut(pod.uid) {
            let is_older = !known.seen.admits(pod.resource_version, stamp);
            restored |= known.seen.version > pod.resource_version;
            known.seen.stamp = stamp;
            if is_older {
                return false;
            }
            known.seen.version = pod.resource_version;
            before = Some(known.on).filter(|on| *on != NodeOrd::UNKNOWN);
        }
        if restored {
            self.confirmed.push(Confirmed::Restored(pod.uid));
        }
        if pod.terminal {
            self.pod_gone(pod.uid);
            return true;
        }
        match &pod.node {
            Some(node) => self.pod_placed(pod, node, before),
            None => {
                self.remove(pod.uid);
                self.put_pending(pod);
                true
            }
        }
    }

    /// False when the pod is where and what it was, as after most events: a kubelet's report on a pod's
    /// status makes no snapshot unless it changes a bit of [`PodStatusBits`](crate::model::PodStatusBits).
    fn pod_placed(&mut self, pod: &Pod, node: &str, before: Option<NodeOrd>) -> bool {
        let record = self.record_of(pod);
        if let Some(on) = before
            && self.now.names.name(on) == node
            && let Some(known) = self.now.pod_on(on, pod.uid)
            && known.shape == record.shape
        {
            let changed = known.status != pod.status;
            if changed {
                self.set_status(on, pod.uid, pod.status);
            }
            return changed;
        }
        self.remove(pod.uid);
        let ord = self.intern(node);
        let app = record.spreading_app();
        self.put(ord, record);
        if let Some(app) = app {
            self.learn_labels(app, &pod.labels);
        }
        if before.is_none() {
            self.confirmed.push(Confirmed::Placed(pod.uid));
        }
        true
    }

    fn put_pending(&mut self, pod: &Pod) {
        if let Some(name) = pod.nominated.as_deref().filter(|_| pod.is_pending()) {
            // The node's own event may come later than the claim on it.
            let node = self.intern(name);
            self.now.nominees.insert(pod.uid.0, Arc::new(Nominee::new(pod, node)));
        }
        self.now.pending.insert(pod.uid.0, Arc::new(pod.clone()));
        self.know(pod.uid, NodeOrd::UNKNOWN, pod.resource_version);
    }

    /// The running list has the object, whatever it says of it.
    fn unread(&mut self, kind: Kind, key: &str) {
        match kind {
            Kind::PODS => {
                let stamp = self.pod_list;
                let known = PodUid::parse(key).and_then(|uid| self.known.get_mut(uid));
                if let Some(known) = known {
                    known.seen.is_listed(stamp);
                }
            }
            Kind::NODES => {
                let stamp = self.node_list;
                let ord = self.now.names.ord(key).filter(|ord| self.now.is_live(*ord));
                if let Some(seen) = ord.and_then(|ord| self.seen_nodes.get_mut(&ord)) {
                    seen.is_listed(stamp);
                }
            }
            Kind::NAMESPACES => {
                if let Some(seen) = self.seen_namespaces.get_mut(key) {
                    *seen = self.namespace_list;
                }
            }
            _ => {
                let (namespace, name) = key.split_once('/').unwrap_or(("", key));
                if let Some((list, _)) = self.list_of(kind) {
                    list.is_listed(ObjectName::of(namespace, name));
                }
            }
        }
    }

    fn pod_gone(&mut self, uid: PodUid) {
        self.remove(uid);
        self.confirmed.push(Confirmed::Gone(uid));
        let stamp = self.pod_list;
        if self.buried.insert(uid, stamp).is_none() {
            self.tombstones.push_back(uid);
        }
        if self.tombstones.len() > MAX_TOMBSTONES
            && let Some(oldest) = self.tombstones.pop_front()
        {
            self.buried.remove(&oldest);
        }
    }

    fn record_of(&mut self, pod: &Pod) -> PodRecord {
        let extended = pod.requests.extended.iter();
        let extended: Vec<_> = extended
            .filter_map(|it| Some((self.resource(&it.name)?, bounded_amount(it.amount))))
            .collect();
        let texts = &mut self.shared_texts;
        let shape = PodShape {
            app: app_of(pod),
            requests: bounded(pod.requests.base),
            extended: extended.into(),
            namespace: Some(shared(texts, &*pod.namespace)),
            priority_class: Some(shared(texts, &*pod.priority_class)),
            priority: pod.priority,
            qos_claim: pod.qos_claim,
            terminating: pod.terminating,
            host_ports: pod.host_ports.clone(),
            existing_anti_affinity: pod.pod_anti_affinity().cloned(),
        };
        PodRecord {
            uid: pod.uid.0,
            resource_version: pod.resource_version,
            name_hash: name_hash(&pod.namespace, &pod.name),
            status: pod.status,
            shape: shared(&mut self.shared_shapes, &shape),
        }
    }

    /// Notes where a pod is; the running list, if there is one, has it.
    pub(super) fn know(&mut self, uid: PodUid, on: NodeOrd, resource_version: u64) {
        let seen = ObjectVersion { stamp: self.pod_list, version: resource_version };
        self.known.insert(uid, KnownPod { on, seen });
    }

    fn sweep(&mut self, kind: Kind) -> usize {
        match kind {
            Kind::NODES => {
                let names = self.now.live_nodes().filter(|ord| !self.is_node_listed(*ord));
                let names: Vec<Box<str>> =
                    names.map(|ord| self.now.names.name(ord).into()).collect();
                names.iter().for_each(|name| self.node_gone(name));
                names.len()
            }
            Kind::NAMESPACES => {
                let stamp = self.namespace_list;
                let before = self.now.namespaces.len();
                let seen = &self.seen_namespaces;
                let kept =
                    self.now.namespaces.iter().filter(|(name, _)| seen.get(*name) == Some(&stamp));
                let kept: BTreeMap<_, _> = kept.map(|(k, v)| (k.clone(), v.clone())).collect();
                self.now.namespaces = Arc::new(kept);
                self.seen_namespaces.retain(|_, seen| *seen == stamp);
                before - self.now.namespaces.len()
            }
            Kind::PODS => {
                let stamp = self.pod_list;
                let unseen = self.known.iter().filter(|(_, known)| known.seen.stamp != stamp);
                let mut gone: Vec<PodUid> = unseen.map(|(uid, _)| *uid).collect();
                gone.sort_unstable();
                // No tombstone: the watch goes on from this list, so no late event can revive them.
                for uid in &gone {
                    self.remove(*uid);
                    self.confirmed.push(Confirmed::Gone(*uid));
                }
                self.buried.retain(|_, since| *since == stamp);
                self.tombstones.retain(|uid| self.buried.contains_key(uid));
                gone.len()
            }
            _ => self.list_of(kind).map_or(0, |(list, table)| list.end(table)),
        }
    }

    /// The running list, or an event since it began, has the node.
    fn is_node_listed(&self, ord: NodeOrd) -> bool {
        let stamp = self.node_list;
        self.seen_nodes.get(&ord).is_some_and(|seen| seen.stamp == stamp)
    }

    /// Takes a pod out of wherever it is, with all its traces.
    fn remove(&mut self, uid: PodUid) {
        match self.known.remove(uid).map(|known| known.on) {
            None => {}
            Some(NodeOrd::UNKNOWN) => {
                self.now.pending.remove(uid.0);
                if let Some(nominee) = self.now.nominees.remove(uid.0) {
                    self.recycle(nominee.node);
                }
            }
            Some(on) => self.take(on, uid),
        }
    }
}

/// The one copy of what many records carry.
pub(super) fn shared<T>(set: &mut FxHashSet<Arc<T>>, value: &T) -> Arc<T>
where
    T: Eq + Hash + ToOwned + ?Sized,
    Arc<T>: From<T::Owned>,
{
    if let Some(shared) = set.get(value) {
        return shared.clone();
    }
    // Namespaces and apps come and go: what no record uses any more is dropped before the set grows.
    if set.len() == set.capacity() {
        set.retain(|shared| Arc::strong_count(shared) > 1);
    }
    let shared = Arc::from(value.to_owned());
    set.insert(shared.clone());
    shared
}

#[cfg(test)]
mod tests;
