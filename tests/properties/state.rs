//! The state under any sequence of changes that an API server and its watches may produce.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use proptest::prelude::*;

use crate::cluster::{ClusterState, HoldLimits, Holds, Settled, Snapshot};
use crate::config;
use crate::model::{
    Amounts, Change, Conditions, DomainLevel, Effect, ExtendedAmount, Kind, Node, NodeMatcher,
    NodeOrd, Pod, PodUid, PoolSpec, Refusal, Taint, Tick,
};
use crate::testing::{amounts, node, pod, replica, seen_node, seen_pod};

/// What happens at the API server, or between it and us.
#[derive(Clone, Debug)]
enum Op {
    Node {
        name: u8,
        look: u8,
        heard: bool,
    },
    NodeDeleted {
        name: u8,
        heard: bool,
    },
    Pod {
        uid: u8,
        look: u8,
        on: Option<u8>,
        nominated: Option<u8>,
        heard: bool,
    },
    PodDeleted {
        uid: u8,
        heard: bool,
    },
    /// An event of before is delivered (again).
    Late(prop::sample::Index),
    /// All kinds are listed; only the first `cut` objects arrive if it breaks off.
    Relist {
        cut: Option<u8>,
    },
    Pools(u8),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let heard = || prop::bool::weighted(0.85);
    let some = |max| prop::option::of(0..max);
    let op = prop_oneof![
        4 => (0..5_u8, any::<u8>(), heard())
            .prop_map(|(name, look, heard)| Op::Node { name, look, heard }),
        2 => (0..5_u8, heard()).prop_map(|(name, heard)| Op::NodeDeleted { name, heard }),
        8 => (0..12_u8, any::<u8>(), some(7_u8), some(7_u8), heard()).prop_map(
            |(uid, look, on, nominated, heard)| Op::Pod { uid, look, on, nominated, heard }
        ),
        2 => (0..12_u8, heard()).prop_map(|(uid, heard)| Op::PodDeleted { uid, heard }),
        4 => any::<prop::sample::Index>().prop_map(Op::Late),
        1 => prop::option::of(0..9_u8).prop_map(|cut| Op::Relist { cut }),
        1 => (0..3_u8).prop_map(Op::Pools),
    ];
    prop::collection::vec(op, 1..60)
}

fn name_of(at: u8) -> String {
    format!("node-{at}")
}

fn node_like(name: u8, look: u8, resource_version: u64) -> Node {
    let zone = format!("z{}", look % 2);
    let rack = format!("r{}", look % 4);
    let labels = [
        ("pool", ["one", "two", "three"][usize::from(look % 3)]),
        (DomainLevel::Zone.label(), zone.as_str()),
        (DomainLevel::Rack.label(), rack.as_str()),
    ];
    let taint = Taint { key: "t".into(), value: rack.as_str().into(), effect: Effect::NoSchedule };
    let sizes = [amounts(4, 8, 3), amounts(64, 256, 110), Amounts::default(), absurd()];
    Node {
        uid: format!("{name}-{}", look % 2).into(),
        resource_version,
        allocatable: sizes[usize::from(look % 4)],
        extended: [ExtendedAmount { name: "gpu".into(), amount: i64::from(look % 5) }].into(),
        conditions: Conditions(look % 8),
        taints: if look.is_multiple_of(3) { Box::default() } else { [taint].into() },
        ..node(&name_of(name), &labels[..usize::from(look % 4)])
    }
}

fn absurd() -> Amounts {
    Amounts { cpu_milli: i64::MAX, memory_bytes: i64::MIN, ephemeral_bytes: -1, pods: 1 << 62 }
}

fn pod_like(uid: u8, look: u8, resource_version: u64) -> Pod {
    let plain = match look % 3 {
        0 => pod(uid.into(), i64::from(look % 5)),
        _ => replica(uid.into(), i64::from(look % 5), u128::from(look % 3)),
    };
    let mut it = Pod {
        resource_version,
        priority: i32::from(look % 4),
        refusal: look.is_multiple_of(7).then_some(Refusal { reason: None }),
        terminating: look.is_multiple_of(11),
        terminal: look.is_multiple_of(13),
        ..plain
    };
    if look.is_multiple_of(5) {
        let amount = if look.is_multiple_of(2) { i64::MAX } else { 1 };
        it.requests.extended = [ExtendedAmount { name: "gpu".into(), amount }].into();
    }
    if look.is_multiple_of(17) {
        it.requests.base = absurd();
    }
    it
}

fn pools(look: u8) -> Vec<PoolSpec> {
    let pool = |name: &&str| PoolSpec {
        name: (*name).to_owned(),
        matcher: NodeMatcher {
            labels: vec![("pool".to_owned(), (*name).to_owned())],
            ..NodeMatcher::default()
        },
        ..PoolSpec::default()
    };
    ["one", "two", "three"].iter().skip(usize::from(look)).map(pool).collect()
}

/// The API server: what is true, and every event that was ever sent.
#[derive(Default)]
struct Server {
    version: u64,
    nodes: BTreeMap<u8, Node>,
    pods: BTreeMap<u8, Pod>,
    /// UIDs never come back.
    ended: BTreeSet<u8>,
    /// With the version of the node's last deletion, before which nothing of it is delivered late:
    /// one watch keeps its order, and a name is not as unique as a UID.
    sent: Vec<Change>,
    deleted_at: BTreeMap<Box<str>, u64>,
    pools: u8,
}

impl Server {
    /// Carries an operation out and gives what we hear of it.
    fn step(&mut self, op: &Op) -> Vec<Change> {
        self.version += 1;
        let version = self.version;
        match *op {
            Op::Node { name, look, heard } => {
                let node = node_like(name, look, version);
                self.nodes.insert(name, node.clone());
                self.tell(seen_node(node), heard)
            }
            Op::NodeDeleted { name, heard } => {
                self.nodes.remove(&name);
                let name: Box<str> = name_of(name).into();
                self.deleted_at.insert(name.clone(), version);
                if heard { vec![Change::NodeGone { name }] } else { Vec::new() }
            }
            Op::Pod { uid, look, on, nominated, heard } => {
                self.pod(uid, look, on, nominated, heard)
            }
            Op::PodDeleted { uid, heard } => {
                self.pods.remove(&uid);
                self.ended.insert(uid);
                let gone = Change::PodGone { uid: PodUid(uid.into()) };
                if heard { vec![gone] } else { Vec::new() }
            }
            Op::Late(ref at) if !self.sent.is_empty() => {
                let late = at.get(&self.sent).clone();
                let revives = match &late {
                    Change::NodeSeen(node) => {
                        self.deleted_at.get(&node.name) > Some(&node.resource_version)
                    }
                    _ => false,
                };
                if revives { Vec::new() } else { vec![late] }
            }
            Op::Late(_) => Vec::new(),
            Op::Relist { cut } => self.list(cut),
            Op::Pools(look) => {
                self.pools = look;
                vec![Change::PoolsSet(pools(look))]
            }
        }
    }

    fn pod(
        &mut self,
        uid: u8,
        look: u8,
        on: Option<u8>,
        nominated: Option<u8>,
        heard: bool,
    ) -> Vec<Change> {
        if self.ended.contains(&uid) {
            return Vec::new();
        }
        let mut it = pod_like(uid, look, self.version);
        it.node = on.map(|at| name_of(at).into());
        it.nominated = nominated.map(|at| name_of(at).into());
        if it.terminal {
            self.ended.insert(uid);
        }
        self.pods.insert(uid, it.clone());
        self.tell(seen_pod(&it), heard)
    }

    fn tell(&mut self, change: Change, heard: bool) -> Vec<Change> {
        if !heard {
            return Vec::new();
        }
        self.sent.push(change.clone());
        vec![change]
    }

    fn list(&self, cut: Option<u8>) -> Vec<Change> {
        let mut out = Vec::new();
        let most = cut.map_or(usize::MAX, usize::from);
        let nodes = self.nodes.values().cloned().map(seen_node);
        let pods = self.pods.values().map(seen_pod);
        let lists: [(Kind, Vec<Change>); 2] =
            [(Kind::Nodes, nodes.collect()), (Kind::Pods, pods.collect())];
        for (kind, objects) in lists {
            let whole = objects.len() <= most;
            out.push(Change::RelistBegin(kind));
            out.extend(objects.into_iter().take(most));
            out.extend(whole.then_some(Change::RelistEnd(kind)));
        }
        out
    }
}

/// A picture as text, by names and in order, without ordinals and without rows that say nothing.
fn describe(snapshot: &Snapshot) -> String {
    let mut rows = BTreeMap::new();
    for at in 0..snapshot.capacity() as u32 {
        let ord = NodeOrd(at);
        let name = snapshot.names.name(ord);
        if name.is_empty() {
            assert!(snapshot.used(ord).is_zero() && snapshot.pods_on(ord).is_empty());
            continue;
        }
        let mut row = format!("used {:?}", snapshot.used(ord));
        if snapshot.is_live(ord) {
            let domains = DomainLevel::ALL
                .map(|level| snapshot.topology.name(level, snapshot.domain(level, ord)));
            let pool = snapshot.pools.get(snapshot.pool(ord).index()).map(|pool| &pool.name);
            let taints = &snapshot.taint_sets[usize::from(snapshot.columns.taint_set[ord.index()])];
            let conditions = snapshot.columns.conditions[ord.index()];
            let _ = write!(row, " of {:?} {domains:?} {pool:?}", snapshot.allocatable(ord));
            let _ = write!(row, " {taints:?} {conditions:?}");
        }
        for column in snapshot.extended.iter() {
            let published = column.allocatable[ord.index()];
            let published = if snapshot.is_live(ord) { published } else { -1 };
            let _ = write!(row, " {}: {} of {published}", column.name, column.used[ord.index()]);
        }
        let mut pods: Vec<_> = snapshot.pods_on(ord).to_vec();
        // Events that change nothing else are in the picture of whoever saw them alone.
        pods.iter_mut().for_each(|pod| pod.resource_version = 0);
        pods.sort_by_key(|pod| pod.uid);
        let _ = write!(row, " {pods:?}");
        rows.insert(name.to_owned(), row);
    }
    let pending: BTreeMap<u128, _> = snapshot.pending.iter().collect();
    let nominees = snapshot.nominees.iter();
    let nominees: BTreeMap<u128, _> =
        nominees.map(|(uid, it)| (uid, (snapshot.names.name(it.node), &it.claim))).collect();
    let apps = snapshot.apps.iter().map(|(app, row)| {
        let nodes = row.nodes.iter();
        let nodes: BTreeMap<&str, u32> =
            nodes.map(|(ord, count)| (snapshot.names.name(*ord), *count)).collect();
        (app, nodes)
    });
    let apps: BTreeMap<u128, _> = apps.collect();
    let pools = (&snapshot.pools, &snapshot.pool_use, snapshot.num_pods);
    format!("{rows:#?}\n{pending:?}\n{nominees:?}\n{apps:?}\n{pools:?}")
}

/// Resources that were ever seen have a column; give both states the same ones.
fn with_columns(state: &mut ClusterState) {
    let gpu = [ExtendedAmount { name: "gpu".into(), amount: 1 }];
    state.apply(seen_node(Node { extended: gpu.into(), ..node("columns", &[]) }));
    state.apply(Change::NodeGone { name: "columns".into() });
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn any_sequence_of_changes_audits_and_equals_a_state_made_from_the_final_objects(ops in ops()) {
        let mut server = Server::default();
        let mut state = ClusterState::default();
        with_columns(&mut state);
        state.apply(Change::PoolsSet(pools(0)));
        let mut pictures: Vec<(Arc<Snapshot>, String)> = Vec::new();
        for op in &ops {
            for change in server.step(op) {
                let told = format!("{change:?}");
                state.apply(change);
                prop_assert_eq!(state.audit(), [], "after {}", told);
            }
            let (snapshot, _) = state.publish();
            let text = describe(&snapshot);
            pictures.push((snapshot, text));
        }
        for change in server.list(None) {
            state.apply(change);
        }
        prop_assert_eq!(state.audit(), []);
        let mut fresh = ClusterState::default();
        with_columns(&mut fresh);
        // Pods first, in the other order: what is known of their nodes comes later.
        server.pods.values().rev().for_each(|it| { fresh.apply(seen_pod(it)); });
        server.nodes.values().rev().for_each(|it| { fresh.apply(seen_node(it.clone())); });
        fresh.apply(Change::PoolsSet(pools(server.pools)));
        prop_assert_eq!(describe(&state.publish().0), describe(&fresh.publish().0));
        // What was published is what it was, whatever became of its ordinals.
        for (snapshot, text) in &pictures {
            prop_assert_eq!(&describe(snapshot), text);
        }
    }

    #[test]
    fn a_change_delivered_twice_is_a_change_delivered_once(ops in ops()) {
        let mut server = Server::default();
        let (mut once, mut twice) = (ClusterState::default(), ClusterState::default());
        for op in &ops {
            for change in server.step(op) {
                once.apply(change.clone());
                twice.apply(change.clone());
                if !matches!(change, Change::RelistBegin(_)) {
                    twice.apply(change);
                }
            }
        }
        prop_assert_eq!(twice.audit(), []);
        prop_assert_eq!(describe(&once.publish().0), describe(&twice.publish().0));
    }

    #[test]
    fn holds_are_returned_exactly(ops in prop::collection::vec(hold_op(), 1..80)) {
        let snapshots = [0, 1].map(|look| {
            let mut state = ClusterState::default();
            state.apply(Change::PoolsSet(pools(look)));
            for at in 0..5 {
                state.apply(seen_node(node_like(at, at * 7, 1)));
            }
            state.publish().0
        });
        let mut snapshot = &snapshots[0];
        let mut holds = Holds::new(HoldLimits { ttl_ms: 10, volume_ttl_ms: 50 });
        for op in ops {
            match op {
                HoldOp::Place { uid, look, nodes, now } => {
                    let nodes: Vec<NodeOrd> = nodes.into_iter().map(|at| NodeOrd(at.into())).collect();
                    let it = Pod { claims_volumes: look % 2 == 0, ..pod_like(uid, look, 5) };
                    holds.place(snapshot, &it, &nodes, Tick(now));
                }
                HoldOp::Settle(settled) => { holds.settle(settled); }
                HoldOp::Expire(now) => { holds.expire(Tick(now)); }
                HoldOp::Repool(at) => {
                    snapshot = &snapshots[usize::from(at % 2)];
                    holds.repool(snapshot);
                }
                HoldOp::Look { uid, look } => {
                    holds.seen_by(snapshot, &pod_like(uid, look, 5), |_| ());
                }
            }
        }
        for uid in 0..8 {
            holds.release(PodUid(uid));
        }
        prop_assert!(holds.is_empty());
        holds.seen_by(snapshot, &pod(99, 1), |extra| {
            let columns =
                [&extra.cpu_milli, &extra.memory_bytes, &extra.ephemeral_bytes, &extra.pods];
            assert!(columns.iter().all(|column| column.iter().all(|it| *it == 0)), "{extra:?}");
            assert!(extra.pools.iter().all(|it| it.is_zero()), "{extra:?}");
            assert!(extra.extended.is_empty() && extra.replicas.is_empty(), "{extra:?}");
        });
    }
}

#[derive(Clone, Debug)]
enum HoldOp {
    Place { uid: u8, look: u8, nodes: Vec<u8>, now: u64 },
    Settle(Settled),
    Expire(u64),
    Repool(u8),
    Look { uid: u8, look: u8 },
}

fn hold_op() -> impl Strategy<Value = HoldOp> {
    let uid = || (0..8_u8).prop_map(|uid| PodUid(uid.into()));
    let settled = prop_oneof![
        uid().prop_map(Settled::Placed),
        uid().prop_map(Settled::Gone),
        (uid(), 4..7_u64)
            .prop_map(|(uid, resource_version)| Settled::Refused { uid, resource_version }),
        (0..5_u32).prop_map(|at| Settled::Recycled(NodeOrd(at))),
    ];
    prop_oneof![
        6 => (0..8_u8, any::<u8>(), prop::collection::vec(0..5_u8, 0..6), 0..100_u64)
            .prop_map(|(uid, look, nodes, now)| HoldOp::Place { uid, look, nodes, now }),
        4 => settled.prop_map(HoldOp::Settle),
        1 => (0..100_u64).prop_map(HoldOp::Expire),
        1 => any::<u8>().prop_map(HoldOp::Repool),
        2 => (0..8_u8, any::<u8>()).prop_map(|(uid, look)| HoldOp::Look { uid, look }),
    ]
}
