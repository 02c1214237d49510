//! What the state must be, written as naively as possible: maps of objects, and every sum counted
//! anew whenever somebody looks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cluster::{Confirmed, PoolUse, Snapshot, Watch};
use crate::model::{
    Amounts, AnyFact, BoundClaim, Change, Conditions, DomainLevel, HashedText, HostPort, ImageName,
    Kind, Namespace, Node, NodeImage, NodeOrd, Nomination, ObjectName, Pod, PodUid, PoolSpec,
    QosClaim, Taint, VolumeTopology,
};
use crate::server::{all_images, all_ports, object_name, one_of_each};

/// As many claims, and volumes, are there at most.
const NUM_STORED: u8 = 8;

/// What is known, each with whether the running list has it.
#[derive(Default)]
pub(crate) struct Model {
    nodes: BTreeMap<Box<str>, (Node, bool)>,
    namespaces: BTreeMap<Box<str>, (Namespace, bool)>,
    pods: BTreeMap<PodUid, (Pod, bool)>,
    claims: BTreeMap<ObjectName, (BoundClaim, bool)>,
    volumes: BTreeMap<ObjectName, (VolumeTopology, bool)>,
    /// UIDs that are gone, each with whether it went since the running list began: only a later list
    /// brings one back.
    ended: BTreeMap<PodUid, bool>,
    /// Of these the running list has something that cannot be read: no version is known.
    unread_pods: BTreeSet<PodUid>,
    unread_nodes: BTreeSet<Box<str>>,
    pools: Vec<PoolSpec>,
    pods_watch: Watch,
    /// What holds must be told, recycled ordinals apart: the model has none.
    told: Vec<Confirmed>,
}

impl Model {
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::RelistBegin(kind) => self.mark(*kind),
            Change::RelistEnd(kind) => self.sweep(*kind),
            Change::WatchSilent(Kind::PODS) if self.pods_watch == Watch::Disconnected => {}
            Change::WatchSilent(Kind::PODS) => self.pods_watch = Watch::Stale,
            Change::WatchLost(Kind::PODS) => self.pods_watch = Watch::Disconnected,
            Change::WatchBack(Kind::PODS) => self.pods_watch = Watch::Fresh,
            Change::WatchSilent(_) | Change::WatchLost(_) | Change::WatchBack(_) => {}
            Change::NodeSeen(node) => self.node_seen(node),
            Change::NodeGone { name } => {
                self.unread_nodes.remove(name);
                self.nodes.remove(name);
            }
            Change::NamespaceSeen(it) => {
                self.namespaces.insert(it.name.clone(), (it.clone(), true));
            }
            Change::NamespaceGone { name } => drop(self.namespaces.remove(name)),
            Change::PodSeen(pod) => self.pod_seen(pod),
            Change::PodGone { uid } => self.pod_gone(*uid),
            Change::Seen { name, fact, .. } => {
                self.claims.remove(name);
                self.volumes.remove(name);
                let fact = fact.as_ref();
                if let Some(bound) = fact.and_then(AnyFact::get::<BoundClaim>) {
                    self.claims.insert(*name, (*bound, true));
                }
                if let Some(reach) = fact.and_then(AnyFact::get::<Arc<VolumeTopology>>) {
                    self.volumes.insert(*name, (VolumeTopology::clone(reach), true));
                }
            }
            // A claim and a volume have no name in common.
            Change::Gone { name, .. } => {
                self.claims.remove(name);
                self.volumes.remove(name);
            }
            Change::Unread { kind, key } => self.unread(*kind, key),
            Change::ProfilesSet(_) => {}
            Change::PoolsSet(pools) => self.pools.clone_from(pools),
        }
    }

    pub(crate) fn take_told(&mut self) -> Vec<Confirmed> {
        std::mem::take(&mut self.told)
    }

    fn node_seen(&mut self, node: &Node) {
        let is_unread = self.unread_nodes.remove(&node.name);
        let known = self.nodes.get(&node.name);
        let is_late = known
            .is_some_and(|(known, seen)| *seen && known.resource_version > node.resource_version);
        if !is_late || is_unread {
            self.nodes.insert(node.name.clone(), (node.clone(), true));
        }
    }

    fn pod_seen(&mut self, pod: &Pod) {
        if self.ended.get(&pod.uid) == Some(&true) {
            return;
        }
        let mut is_back = self.ended.remove(&pod.uid).is_some();
        let is_unread = self.unread_pods.remove(&pod.uid);
        let known = self.pods.get(&pod.uid);
        let was_placed = known.is_some_and(|(it, _)| it.node.is_some());
        if let Some((known, seen)) = known
            && known.resource_version > pod.resource_version
            && !is_unread
        {
            if *seen {
                return;
            }
            is_back = true;
        }
        if is_back {
            self.told.push(Confirmed::Restored(pod.uid));
        }
        if pod.terminal {
            return self.pod_gone(pod.uid);
        }
        let uid = pod.uid;
        self.told.extend((pod.node.is_some() && !was_placed).then_some(Confirmed::Placed(uid)));
        self.pods.insert(uid, (pod.clone(), true));
    }

    fn pod_gone(&mut self, uid: PodUid) {
        self.pods.remove(&uid);
        self.unread_pods.remove(&uid);
        self.ended.insert(uid, true);
        self.told.push(Confirmed::Gone(uid));
    }

    fn mark(&mut self, kind: Kind) {
        match kind {
            Kind::NODES => {
                self.nodes.values_mut().for_each(|(_, seen)| *seen = false);
            }
            Kind::NAMESPACES => self.namespaces.values_mut().for_each(|(_, seen)| *seen = false),
            Kind::PODS => {
                self.pods.values_mut().for_each(|(_, seen)| *seen = false);
                self.ended.values_mut().for_each(|since| *since = false);
            }
            Kind::VOLUMES => self.volumes.values_mut().for_each(|(_, seen)| *seen = false),
            Kind::CLAIMS => self.claims.values_mut().for_each(|(_, seen)| *seen = false),
            _ => {}
        }
    }

    fn sweep(&mut self, kind: Kind) {
        match kind {
            Kind::NODES => {
                self.nodes.retain(|_, (_, seen)| *seen);
                self.unread_nodes.retain(|name| self.nodes.contains_key(name));
            }
            Kind::NAMESPACES => self.namespaces.retain(|_, (_, seen)| *seen),
            Kind::VOLUMES => self.volumes.retain(|_, (_, seen)| *seen),
            Kind::CLAIMS => self.claims.retain(|_, (_, seen)| *seen),
            Kind::PODS => {
                let lost = self.pods.iter().filter(|(_, (_, seen))| !*seen);
                self.told.extend(lost.map(|(uid, _)| Confirmed::Gone(*uid)));
                self.pods.retain(|_, (_, seen)| *seen);
                self.unread_pods.retain(|uid| self.pods.contains_key(uid));
                self.ended.retain(|_, since| *since);
            }
            _ => {}
        }
    }

    fn unread(&mut self, kind: Kind, key: &str) {
        let seen = match kind {
            Kind::NODES => self.nodes.get_mut(key).map(|it| &mut it.1),
            Kind::NAMESPACES => self.namespaces.get_mut(key).map(|it| &mut it.1),
            Kind::VOLUMES => self.volumes.get_mut(&ObjectName::of("", key)).map(|it| &mut it.1),
            Kind::CLAIMS => {
                let (namespace, name) = key.split_once('/').unwrap_or_default();
                self.claims.get_mut(&ObjectName::of(namespace, name)).map(|it| &mut it.1)
            }
            Kind::PODS => {
                PodUid::parse(key).and_then(|it| self.pods.get_mut(&it)).map(|it| &mut it.1)
            }
            _ => None,
        };
        if let Some(seen) = seen.filter(|seen| !**seen) {
            *seen = true;
            match kind {
                Kind::NODES => drop(self.unread_nodes.insert(key.into())),
                Kind::PODS => self.unread_pods.extend(PodUid::parse(key)),
                _ => {}
            }
        }
    }

    /// Counts everything.
    pub(crate) fn facts(&self) -> Facts {
        let mut out = Facts { pods_watch: self.pods_watch, ..Facts::default() };
        for pool in &self.pools {
            out.pools.push((pool.name.clone(), PoolUse::default()));
        }
        for (node, _) in self.nodes.values() {
            let pool = self.pools.iter().position(|it| it.matcher.matches(node));
            if let Some(at) = pool {
                out.pools[at].1.nodes += 1;
                out.pools[at].1.allocatable += bounded(node.allocatable);
            }
            let live = live_of(node, pool.map(|at| out.pools[at].0.clone()));
            out.nodes.entry(node.name.to_string()).or_default().live = Some(live);
        }
        for (pod, _) in self.pods.values() {
            match &pod.node {
                Some(node) => self.place(pod, node, &mut out),
                None => self.wait(pod, &mut out),
            }
        }
        out.namespaces = self.namespaces.values().map(|(it, _)| it.clone()).collect();
        out.claims = self.claims.iter().map(|(name, it)| (*name, it.0)).collect();
        out.volumes = self.volumes.iter().map(|(name, it)| (*name, it.0.clone())).collect();
        out.num_stored = (out.claims.len(), out.volumes.len());
        out
    }

    fn place(&self, pod: &Pod, node: &str, out: &mut Facts) {
        let record = Record {
            app: pod.app().map_or(0, |app| app.0),
            requests: bounded(pod.requests.base),
            extended: pod
                .requests
                .extended
                .iter()
                .map(|it| (it.name.to_string(), cut(it.amount)))
                .collect(),
            texts: (pod.namespace.to_string(), pod.priority_class.to_string()),
            priority: pod.priority,
            qos_claim: pod.qos_claim,
            terminating: pod.terminating,
        };
        if let Some((known, _)) = self.nodes.get(node)
            && let Some(at) = self.pools.iter().position(|it| it.matcher.matches(known))
        {
            out.pools[at].1.used += record.requests;
        }
        if let Some(app) = pod.app().filter(|_| !pod.terminating) {
            *out.apps.entry(app.0).or_default().entry(node.to_owned()).or_default() += 1;
        }
        out.num_pods += 1;
        let row = out.nodes.entry(node.to_owned()).or_default();
        row.used += record.requests;
        for (name, amount) in record.extended.iter().filter(|(_, amount)| **amount != 0) {
            *row.extended.entry(name.clone()).or_default() += amount;
        }
        let conflicts = |port: &HostPort| pod.host_ports.iter().any(|it| it.conflicts(port));
        row.ports.extend(all_ports().into_iter().filter(conflicts));
        for term in pod.constraints.iter().flat_map(|it| &it.pod_anti_affinity) {
            let probes = one_of_each().into_iter().enumerate();
            for (at, _) in probes.filter(|(_, probe)| term.means(&probe.labels, None)) {
                *row.keeps_off.entry((at, term.key.to_string())).or_default() += 1;
            }
        }
        row.pods.insert(pod.uid.0, record);
    }

    fn wait(&self, pod: &Pod, out: &mut Facts) {
        if let Some(node) = pod.nominated.as_deref().filter(|_| pod.is_pending()) {
            let (uid, priority, requests) = (pod.uid, pod.priority, pod.requests.clone());
            let claim = Nomination { uid, priority, requests, app: pod.app() };
            out.nominees.insert(uid.0, (node.to_owned(), claim));
        }
        out.pending.insert(pod.uid.0, pod.clone());
    }
}

/// A state by names and in order, without ordinals and without rows that say nothing.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Facts {
    nodes: BTreeMap<String, Row>,
    pending: BTreeMap<u128, Pod>,
    nominees: BTreeMap<u128, (String, Nomination)>,
    apps: BTreeMap<u128, BTreeMap<String, u32>>,
    pools: Vec<(String, PoolUse)>,
    namespaces: Vec<Namespace>,
    claims: BTreeMap<ObjectName, BoundClaim>,
    volumes: BTreeMap<ObjectName, VolumeTopology>,
    num_stored: (usize, usize),
    num_pods: usize,
    pods_watch: Watch,
}

#[derive(Debug, Default, PartialEq)]
struct Row {
    /// `None` for a name that is known only because a pod names it.
    live: Option<Live>,
    used: Amounts,
    extended: BTreeMap<String, i64>,
    pods: BTreeMap<u128, Record>,
    /// That cannot be had any more, of [`all_ports`].
    ports: BTreeSet<HostPort>,
    /// How many terms of its pods keep one of [`one_of_each`] off, by that and by domains of which label.
    keeps_off: BTreeMap<(usize, String), u32>,
}

#[derive(Debug, PartialEq)]
struct Live {
    allocatable: Amounts,
    extended: BTreeMap<String, i64>,
    domains: [Option<String>; 4],
    pool: Option<String>,
    taints: Vec<Taint>,
    conditions: Conditions,
    /// By position among [`all_images`].
    images: Vec<usize>,
}

/// Without the version: an event that changes nothing else makes no new snapshot.
#[derive(Debug, PartialEq)]
struct Record {
    app: u128,
    requests: Amounts,
    extended: BTreeMap<String, i64>,
    texts: (String, String),
    priority: i32,
    qos_claim: Option<QosClaim>,
    terminating: bool,
}

/// As large as sums may be made of.
fn cut(amount: i64) -> i64 {
    amount.clamp(0, 1 << 48)
}

fn bounded(it: Amounts) -> Amounts {
    Amounts {
        cpu_milli: cut(it.cpu_milli),
        memory_bytes: cut(it.memory_bytes),
        ephemeral_bytes: cut(it.ephemeral_bytes),
        pods: cut(it.pods),
    }
}

fn live_of(node: &Node, pool: Option<String>) -> Live {
    Live {
        allocatable: bounded(node.allocatable),
        extended: node.extended.iter().map(|it| (it.name.to_string(), it.amount)).collect(),
        // No node of the server's leaves out a level around one that it names.
        domains: DomainLevel::ALL.map(|level| node.label(level.label()).map(str::to_owned)),
        pool,
        taints: node.taints.to_vec(),
        conditions: node.conditions,
        images: images(|image| node.images.contains(image)),
    }
}

/// Which of the images pass.
fn images(passes: impl Fn(&NodeImage) -> bool) -> Vec<usize> {
    all_images().enumerate().filter(|(_, it)| passes(it)).map(|(at, _)| at).collect()
}

/// The same of what was published.
pub(crate) fn facts(snapshot: &Snapshot) -> Facts {
    let name = |ord: NodeOrd| snapshot.names.name(ord).to_owned();
    let rows = (0..snapshot.capacity() as u32).map(NodeOrd);
    let nodes = rows.filter_map(|ord| {
        let row = row_of(snapshot, ord);
        assert!(!name(ord).is_empty() || row == Row::default(), "a row without a name: {row:?}");
        (row != Row::default()).then(|| (name(ord), row))
    });
    let names: Vec<ImageName> = all_images().flat_map(|it| it.names).collect();
    let mut having = names.iter().flat_map(|name| snapshot.images.named(*name));
    let is_live = |ord| snapshot.is_live(ord);
    assert!(having.all(|it| it.nodes.iter().all(is_live)), "an image on a node that is gone");
    let nominees = snapshot.nominees.iter();
    let nominees = nominees.map(|(uid, it)| (uid, (name(it.node), it.claim.clone())));
    for (app, row) in snapshot.apps.iter() {
        let value = row.labels().and_then(|labels| labels.value(HashedText::of("app")));
        assert_eq!(value, Some(HashedText::of(&app.to_string())), "{row:?}");
        let name = row.labels().and_then(|labels| labels.value(HashedText::of("pod")));
        let named = snapshot.pods.iter().flat_map(|pods| pods.iter().filter(|it| it.app == app));
        let named = named.filter(|it| !it.terminating).map(|it| it.uid);
        let named = named.collect::<BTreeSet<_>>();
        assert!(named.len() < 2 || name.is_none(), "{named:?} have no name in common: {row:?}");
    }
    let apps = snapshot.apps.iter().map(|(app, row)| {
        (app, row.nodes().iter().map(|(ord, count)| (name(*ord), *count)).collect())
    });
    let pools = snapshot.pools.iter().zip(snapshot.pool_use.iter());
    let stored = &snapshot.tables;
    let names = |kind| (0..NUM_STORED).map(move |at| object_name(kind, at));
    let claims = names(Kind::CLAIMS).filter_map(|name| Some((name, *stored.claims.get(name)?)));
    let volumes = names(Kind::VOLUMES)
        .filter_map(|it| Some((it, VolumeTopology::clone(stored.volumes.get(it)?))));
    Facts {
        nodes: nodes.collect(),
        pending: snapshot.pending.iter().map(|(uid, pod)| (uid, (**pod).clone())).collect(),
        nominees: nominees.collect(),
        apps: apps.collect(),
        pools: pools.map(|(pool, sums)| (pool.name.clone(), *sums)).collect(),
        namespaces: snapshot.namespaces.values().cloned().collect(),
        claims: claims.collect(),
        volumes: volumes.collect(),
        num_stored: (stored.claims.len(), stored.volumes.len()),
        num_pods: snapshot.num_pods,
        pods_watch: snapshot.pods_watch,
    }
}

fn row_of(snapshot: &Snapshot, ord: NodeOrd) -> Row {
    let at = ord.index();
    let published = snapshot.extended.iter().map(|it| (it.name.to_string(), it.allocatable[at]));
    let live = snapshot.is_live(ord).then(|| Live {
        allocatable: snapshot.allocatable(ord),
        extended: published.filter(|(_, amount)| *amount >= 0).collect(),
        domains: DomainLevel::ALL.map(|level| {
            snapshot.topology.name(level, snapshot.domain(level, ord)).map(str::to_owned)
        }),
        pool: snapshot.pools.get(snapshot.pool(ord).index()).map(|pool| pool.name.clone()),
        taints: snapshot.taint_sets[usize::from(snapshot.columns.taint_set[at])].to_vec(),
        conditions: snapshot.columns.conditions[at],
        images: images(|image| {
            let is_named = |name: &ImageName| {
                let mut named = snapshot.images.named(*name);
                named.any(|it| it.image == *image && it.nodes.iter().any(|it| it == ord))
            };
            image.names.iter().all(is_named)
        }),
    });
    let used = snapshot.extended.iter().map(|it| (it.name.to_string(), it.used[at]));
    let pods = snapshot.pods_on(ord).iter().map(|it| {
        let text = |it: &Option<std::sync::Arc<str>>| it.as_deref().unwrap_or_default().to_owned();
        let resource = |at: u16| snapshot.extended[usize::from(at)].name.to_string();
        let record = Record {
            app: it.app,
            requests: it.requests,
            extended: it.extended.iter().map(|(at, amount)| (resource(at.0), *amount)).collect(),
            texts: (text(&it.namespace), text(&it.priority_class)),
            priority: it.priority,
            qos_claim: it.qos_claim,
            terminating: it.terminating,
        };
        (it.uid, record)
    });
    Row {
        live,
        used: snapshot.used(ord),
        extended: used.filter(|(_, amount)| *amount != 0).collect(),
        pods: pods.collect(),
        ports: all_ports().into_iter().filter(|it| has(snapshot, *it, ord)).collect(),
        keeps_off: keeps_off(snapshot, ord),
    }
}

fn keeps_off(snapshot: &Snapshot, ord: NodeOrd) -> BTreeMap<(usize, String), u32> {
    let mut counts = BTreeMap::new();
    for (at, probe) in one_of_each().iter().enumerate() {
        for (term, places) in snapshot.existing_anti_affinity.against(probe, &snapshot.namespaces) {
            let here = places.iter().filter(|it| it.0 == ord).map(|it| it.1);
            *counts.entry((at, term.key.to_string())).or_default() += here.sum::<u32>();
        }
    }
    counts.retain(|_, count| *count > 0);
    counts
}

fn has(snapshot: &Snapshot, port: HostPort, ord: NodeOrd) -> bool {
    snapshot.nodes_with_port(port).any(|it| it == ord)
}
