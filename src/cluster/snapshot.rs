//! What a request reads: an immutable snapshot of the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::accounting::MAX_EXTENDED;
use super::apps::AppRow;
use super::change_log::ChangeLog;
use super::cow::{Column, Paged, Sharded};
use super::existing_anti_affinity::ExistingAntiAffinity;
use super::images::Images;
use super::names::Names;
use super::pod_records::{Nominee, PodRecord, PoolUse, ResourceOrd, name_hash};
use super::ports::{self, PortRow};
use super::tables::Tables;
use super::topology::Topology;
use crate::model::{
    Amounts, AppKey, CannotJudge, Conditions, DEVICE_CLASS_PREFIX, DomainLevel, DomainOrd,
    Generation, HostPort, Namespace, Node, NodeOrd, Pod, PodUid, PoolOrd, PoolSpec, Profile,
    Profiles, Taint, is_extended,
};

/// One array per attribute of a node, indexed by ordinal.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// The node exists (a name may be known only because a pod names it).
    pub live: Column<bool>,
    /// Allocatable CPU in milli-cores.
    pub allocatable_cpu_milli: Column<i64>,
    /// Allocatable memory in bytes.
    pub allocatable_memory_bytes: Column<i64>,
    /// Allocatable ephemeral storage in bytes.
    pub allocatable_ephemeral_bytes: Column<i64>,
    /// Most pods.
    pub allocatable_pods: Column<i64>,
    /// Σ requested CPU in milli-cores.
    pub used_cpu_milli: Column<i64>,
    /// Σ requested memory in bytes.
    pub used_memory_bytes: Column<i64>,
    /// Σ requested ephemeral storage in bytes.
    pub used_ephemeral_bytes: Column<i64>,
    /// Number of pods.
    pub used_pods: Column<i64>,
    /// What keeps pods away.
    pub conditions: Column<Conditions>,
    /// Index into [`Snapshot::taint_sets`].
    pub taint_set: Column<u16>,
    /// The pool that the node belongs to.
    pub pool: Column<PoolOrd>,
    /// The node's domain, one column per [`DomainLevel`].
    pub domains: [Column<DomainOrd>; 4],
    /// A hash of the node's name, for ties: ordinals differ between replicas, names do not.
    pub name_hash: Column<u64>,
}

/// An extended resource that some node publishes or some pod asks for.
#[derive(Clone, Debug, Default)]
pub struct ExtendedColumn {
    /// The resource's name.
    pub name: Arc<str>,
    /// What each node publishes; −1 where it publishes none.
    pub allocatable: Column<i64>,
    /// Σ requests on each node.
    pub used: Column<i64>,
}

/// Whether a watch tells what happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watch {
    /// As far as can be known.
    #[default]
    Fresh,
    /// It has said nothing for long: nothing happens, or it is dead.
    Stale,
    /// It is interrupted.
    Disconnected,
}

/// An immutable snapshot of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counts snapshots.
    pub generation: Generation,
    /// Counts changes of what nodes are, their labels among it; heartbeats do not count.
    pub nodes_version: u64,
    /// Names ↔ ordinals.
    pub names: Names,
    /// Per-node attributes.
    pub columns: Columns,
    /// The rows whose attributes, extended resources among them, changed lately.
    pub changes: Arc<ChangeLog>,
    /// Extended resources, by [`ResourceOrd`].
    pub extended: Arc<Vec<ExtendedColumn>>,
    /// Distinct sets of taints; few, so a request judges each once.
    pub taint_sets: Arc<Vec<Box<[Taint]>>>,
    /// The nodes themselves.
    pub nodes: Paged<Option<Arc<Node>>>,
    /// The pods on each node.
    pub pods: Paged<Arc<Vec<PodRecord>>>,
    /// Pods without a node, by UID.
    pub pending: Sharded<Arc<Pod>>,
    /// Claims of nominated pods, by UID.
    pub nominees: Sharded<Arc<Nominee>>,
    /// Where each app's replicas are, by [`AppKey`].
    pub apps: Sharded<Arc<AppRow>>,
    /// Which nodes have which ports taken, by port and protocol.
    pub host_ports: Sharded<Arc<PortRow>>,
    /// From whom placed pods must be apart.
    pub existing_anti_affinity: ExistingAntiAffinity,
    /// Which nodes have which images.
    pub images: Images,
    /// What the objects of optional kinds say.
    pub tables: Tables,
    /// What kube-scheduler's configuration changes of its filters.
    pub profiles: Arc<Profiles>,
    /// The pools of the policy in force.
    pub pools: Arc<Vec<PoolSpec>>,
    /// Sums per pool.
    pub pool_use: Arc<Vec<PoolUse>>,
    /// Namespaces by name.
    pub namespaces: Arc<BTreeMap<Box<str>, Namespace>>,
    /// The graph behind the domain columns, for names.
    pub topology: Arc<Topology>,
    /// Number of existing nodes.
    pub num_nodes: usize,
    /// Number of placed pods.
    pub num_pods: usize,
    /// Whether the watch of pods told all: there may be bindings that this snapshot does not show.
    pub pods_watch: Watch,
}

impl Snapshot {
    /// Length of every column.
    pub fn capacity(&self) -> usize {
        self.names.capacity()
    }

    /// Ordinals of all existing nodes, in the order of ordinals.
    pub fn live_nodes(&self) -> impl Iterator<Item = NodeOrd> + '_ {
        let live = self.columns.live.iter().enumerate();
        live.filter(|(_, live)| **live).map(|(at, _)| NodeOrd(at as u32))
    }

    /// True when the node exists.
    pub fn is_live(&self, ord: NodeOrd) -> bool {
        self.columns.live.get(ord.index()).copied().unwrap_or(false)
    }

    /// True when all of them exist.
    pub fn are_live(&self, ords: &[NodeOrd]) -> bool {
        let live: &[bool] = &self.columns.live;
        if self.num_nodes == live.len() {
            // No row to look at, and nothing to stop for: several are compared at once.
            let rows = live.len() as u32;
            return !ords.iter().fold(false, |any, ord| any | (ord.0 >= rows));
        }
        ords.iter().all(|ord| live.get(ord.index()) == Some(&true))
    }

    /// A node's allocatable amounts.
    pub fn allocatable(&self, ord: NodeOrd) -> Amounts {
        let at = |column: &[i64]| column.get(ord.index()).copied().unwrap_or(0);
        Amounts {
            cpu_milli: at(&self.columns.allocatable_cpu_milli),
            memory_bytes: at(&self.columns.allocatable_memory_bytes),
            ephemeral_bytes: at(&self.columns.allocatable_ephemeral_bytes),
            pods: at(&self.columns.allocatable_pods),
        }
    }

    /// Σ requests on a node.
    pub fn used(&self, ord: NodeOrd) -> Amounts {
        let at = |column: &[i64]| column.get(ord.index()).copied().unwrap_or(0);
        Amounts {
            cpu_milli: at(&self.columns.used_cpu_milli),
            memory_bytes: at(&self.columns.used_memory_bytes),
            ephemeral_bytes: at(&self.columns.used_ephemeral_bytes),
            pods: at(&self.columns.used_pods),
        }
    }

    /// A node's pool.
    pub fn pool(&self, ord: NodeOrd) -> PoolOrd {
        self.columns.pool.get(ord.index()).copied().unwrap_or(PoolOrd::NONE)
    }

    /// A node's taints.
    pub fn taints(&self, ord: NodeOrd) -> &[Taint] {
        let set = self.columns.taint_set.get(ord.index()).map(|set| usize::from(*set));
        set.and_then(|set| self.taint_sets.get(set)).map_or(&[], |set| set)
    }

    /// A node's domain on a level.
    pub fn domain(&self, level: DomainLevel, ord: NodeOrd) -> DomainOrd {
        let column = &self.columns.domains[level as usize];
        column.get(ord.index()).copied().unwrap_or(DomainOrd::NONE)
    }

    /// A node's domains, wide to narrow.
    pub fn path(&self, ord: NodeOrd) -> [DomainOrd; 4] {
        DomainLevel::ALL.map(|level| self.domain(level, ord))
    }

    /// The ordinal of an extended resource.
    pub fn resource(&self, name: &str) -> Option<ResourceOrd> {
        let at = self.extended.iter().position(|column| *column.name == *name)?;
        u16::try_from(at).ok().map(ResourceOrd)
    }

    /// The pods on a node.
    pub fn pods_on(&self, ord: NodeOrd) -> &[PodRecord] {
        self.pods.get(ord.index()).map_or(&[], |pods| pods.as_slice())
    }

    /// The placed pod with this UID on this node.
    pub fn pod_on(&self, ord: NodeOrd, uid: PodUid) -> Option<&PodRecord> {
        self.pods_on(ord).iter().find(|record| record.uid == uid.0)
    }

    /// Somebody of lower priority is on the way out of the node, so preemption may have chosen it for the
    /// pod, which no nomination tells. If a nomination of it were taken back, kube-scheduler would not know
    /// any more whom it has evicted for the pod, and would evict others.
    ///
    /// Source: `PodEligibleToPreemptOthers`.
    pub fn makes_room(&self, pod: &Pod, node: &str) -> bool {
        let on_node = self.names.ord(node).map_or(&[][..], |ord| self.pods_on(ord));
        on_node.iter().any(|it| it.terminating && it.priority < pod.priority)
    }

    /// The pending pod with this UID.
    pub fn pending(&self, uid: PodUid) -> Option<&Arc<Pod>> {
        self.pending.get(uid.0)
    }

    /// A pending pod by name. Walks all of them: not for the request path.
    pub fn pending_by_name(&self, namespace: &str, name: &str) -> Option<&Arc<Pod>> {
        let pods = self.pending.iter().map(|(_, pod)| pod);
        let named = pods.filter(|pod| *pod.namespace == *namespace && *pod.name == *name);
        // A StatefulSet's next pod may be known before its last one's deletion is.
        named.max_by_key(|pod| (pod.resource_version, pod.uid))
    }

    /// A placed pod by name, with its node. Walks all of them: not for the request path.
    pub fn placed_by_name(&self, namespace: &str, name: &str) -> Option<(NodeOrd, &PodRecord)> {
        let hash = name_hash(namespace, name);
        let nodes = self.pods.iter().enumerate();
        nodes
            .flat_map(|(at, pods)| pods.iter().map(move |pod| (NodeOrd(at as u32), pod)))
            .filter(|(_, pod)| pod.name_hash == hash)
            .filter(|(_, pod)| pod.namespace.as_deref() == Some(namespace))
            .max_by_key(|(_, pod)| (pod.resource_version, pod.uid))
    }

    /// Why nobody but kube-scheduler can tell which nodes a pod may go to, if so.
    pub fn cannot_judge(&self, pod: &Pod) -> Option<CannotJudge> {
        if self.tables.volumes_of(pod).is_none() {
            return Some(CannotJudge::Volumes);
        }
        let by_itself = pod.constraints.as_ref().and_then(|it| it.cannot_judge);
        let by_profile = || {
            let spreads = |it: &&Profile| it.spreads && !pod.spreads_itself();
            let profile = self.profiles.of(&pod.scheduler);
            profile.filter(|it| it.is_unclear || spreads(it)).map(|_| CannotJudge::Profile)
        };
        let mut asked = pod.requests.extended.iter().filter(|it| it.amount > 0);
        let mut by_devices = || asked.any(|it| self.may_be_devices(pod, &it.name));
        by_itself
            .or_else(by_profile)
            .or_else(|| by_devices().then_some(CannotJudge::ExtendedResources))
    }

    /// Where no node publishes this resource, a driver may allocate it; or there are so many resources that it
    /// is not counted. Source: `noderesources.shouldDelegateResourceToDRA`.
    pub fn may_be_devices(&self, pod: &Pod, resource: &str) -> bool {
        if self.extended.len() >= MAX_EXTENDED && self.resource(resource).is_none() {
            return true;
        }
        let can_be = is_extended(resource) || resource.starts_with(DEVICE_CLASS_PREFIX);
        can_be
            && !self.profiles.ignore(&pod.scheduler, resource)
            && self.tables.device_classes.map(resource) != Some(false)
    }

    /// The nodes on which a port is taken, or one that conflicts with it.
    pub fn nodes_with_port(&self, port: HostPort) -> impl Iterator<Item = NodeOrd> {
        let row = self.host_ports.get(ports::key(&port));
        row.into_iter().flat_map(move |row| row.nodes_with(port))
    }

    /// Where an app's replicas are.
    pub fn app(&self, app: AppKey) -> Option<&AppRow> {
        self.apps.get(app.0).map(|row| &**row)
    }
}
