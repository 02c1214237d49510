//! An API server as a source of changes, and everything that may happen between it and us.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use crate::model::{
    Amounts, BoundClaim, Change, Conditions, Constraints, DomainLevel, ExtendedAmount, HashedText,
    HostPort, ImageName, Kind, LabelOperator, LabelSet, Namespace, Namespaces, Node, NodeImage,
    NodeMatcher, ObjectName, Pod, PodAffinityTerm, PodUid, PoolSpec, Protocol, Requirement, Taint,
    TaintEffect, UnschedulableCondition, VolumeTopology, ZoneLabel,
};
use crate::testing::{amounts, node, pod, replica, seen_node, seen_pod};

/// What happens at the API server, or between it and us.
#[derive(Clone, Debug)]
pub(crate) enum Op {
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
    Namespace {
        name: u8,
        look: u8,
        heard: bool,
    },
    NamespaceDeleted {
        name: u8,
        heard: bool,
    },
    /// A claim, which is bound when its look names a volume.
    Claim {
        name: u8,
        look: u8,
        heard: bool,
    },
    ClaimDeleted {
        name: u8,
        heard: bool,
    },
    Volume {
        name: u8,
        look: u8,
        heard: bool,
    },
    VolumeDeleted {
        name: u8,
        heard: bool,
    },
    /// The running list, or an event, has something that cannot be read.
    Unread {
        kind: u8,
        key: u8,
    },
    /// An event of before is delivered (again).
    Late(prop::sample::Index),
    /// All kinds are listed; only the first `cut` objects arrive if it breaks off.
    Relist {
        cut: Option<u8>,
    },
    /// A list of this kind ends that nobody saw begin.
    End(u8),
    /// The watch of this kind goes on, is silent, or is interrupted.
    Watch {
        kind: u8,
        how: u8,
    },
    Pools(u8),
    /// The server's store is copied away.
    Backup,
    /// The copy is put back. Versions go on where it was, or (`--bump-revision`) above all that were ever
    /// given.
    Restore {
        bump: bool,
    },
}

pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
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
        1 => (0..3_u8, any::<u8>(), heard())
            .prop_map(|(name, look, heard)| Op::Namespace { name, look, heard }),
        1 => (0..3_u8, heard()).prop_map(|(name, heard)| Op::NamespaceDeleted { name, heard }),
        2 => (0..4_u8, any::<u8>(), heard())
            .prop_map(|(name, look, heard)| Op::Claim { name, look, heard }),
        1 => (0..4_u8, heard()).prop_map(|(name, heard)| Op::ClaimDeleted { name, heard }),
        2 => (0..4_u8, any::<u8>(), heard())
            .prop_map(|(name, look, heard)| Op::Volume { name, look, heard }),
        1 => (0..4_u8, heard()).prop_map(|(name, heard)| Op::VolumeDeleted { name, heard }),
        1 => (0..5_u8, 0..12_u8).prop_map(|(kind, key)| Op::Unread { kind, key }),
        1 => (0..5_u8).prop_map(Op::End),
        1 => (0..5_u8, 0..3_u8).prop_map(|(kind, how)| Op::Watch { kind, how }),
        4 => any::<prop::sample::Index>().prop_map(Op::Late),
        1 => prop::option::of(0..9_u8).prop_map(|cut| Op::Relist { cut }),
        1 => (0..4_u8).prop_map(Op::Pools),
        1 => Just(Op::Backup),
        1 => any::<bool>().prop_map(|bump| Op::Restore { bump }),
    ];
    prop::collection::vec(op, 1..120)
}

fn name_of(at: u8) -> String {
    format!("node-{at}")
}

/// Images by their names and bytes. The first tag was moved: no node has both.
const IMAGES: [(&[&str], i64); 4] = [
    (&["web:1", "web@sha256:1"], 900 << 20),
    (&["web:1", "web@sha256:2"], 900 << 20),
    (&["db:1"], 2000 << 20),
    (&["tool:latest"], 150 << 20),
];

/// All of them.
pub(crate) fn all_images() -> impl Iterator<Item = NodeImage> {
    IMAGES.iter().map(|(names, bytes)| NodeImage {
        names: names.iter().map(|it| ImageName::of(it)).collect(),
        bytes: *bytes,
    })
}

/// Those that a node has.
fn images_of(look: u8) -> Box<[NodeImage]> {
    let has = [look % 3 == 1, look % 3 == 2, look.is_multiple_of(4), !look.is_multiple_of(5)];
    all_images().zip(has).filter(|(_, has)| *has).map(|(image, _)| image).collect()
}

pub(crate) fn node_like(name: u8, look: u8, resource_version: u64) -> Node {
    let zone = format!("z{}", look % 2);
    let rack = format!("r{}", look % 4);
    let labels = [
        ("pool", ["one", "two", "three"][usize::from(look % 3)]),
        (DomainLevel::Zone.label(), zone.as_str()),
        (DomainLevel::Rack.label(), rack.as_str()),
    ];
    let taint =
        Taint { key: "t".into(), value: rack.as_str().into(), effect: TaintEffect::NoSchedule };
    let sizes = [amounts(4, 8, 3), amounts(64, 256, 110), Amounts::default(), absurd()];
    Node {
        uid: format!("{name}-{}", look % 2).into(),
        resource_version,
        allocatable: sizes[usize::from(look % 4)],
        extended: [ExtendedAmount { name: "gpu".into(), amount: i64::from(look % 5) }].into(),
        conditions: Conditions(look % 8),
        images: images_of(look),
        taints: if look.is_multiple_of(3) { Box::default() } else { [taint].into() },
        ..node(&name_of(name), &labels[..usize::from(look % 4)])
    }
}

fn absurd() -> Amounts {
    Amounts { cpu_milli: i64::MAX, memory_bytes: i64::MIN, ephemeral_bytes: -1, pods: 1 << 62 }
}

pub(crate) fn pod_like(uid: u8, look: u8, resource_version: u64) -> Pod {
    let plain = match look % 3 {
        0 => pod(uid.into(), i64::from(look % 5)),
        _ => replica(uid.into(), i64::from(look % 5), u128::from(look % 3)),
    };
    let mut it = Pod {
        resource_version,
        priority: i32::from(look % 4),
        condition: look.is_multiple_of(7).then_some(UnschedulableCondition::default()),
        terminating: look.is_multiple_of(11),
        terminal: look.is_multiple_of(13),
        images: ["web:1", "tool", "db:1"][..usize::from(look % 4)]
            .iter()
            .map(|it| ImageName::of(it))
            .collect(),
        ..plain
    };
    if look.is_multiple_of(5) {
        let amount = if look.is_multiple_of(2) { i64::MAX } else { 1 };
        it.requests.extended = [ExtendedAmount { name: "gpu".into(), amount }].into();
    }
    if look.is_multiple_of(17) {
        it.requests.base = absurd();
    }
    it.host_ports = all_ports().into_iter().skip(usize::from(look % 4)).take(2).collect();
    it.labels = labels_of(&it);
    let [zone, rack] = [DomainLevel::Zone, DomainLevel::Rack].map(DomainLevel::label);
    it.constraints = match look % 9 {
        1 => apart_from(&[(zone, &["1"])]),
        2 => apart_from(&[(rack, &["0", "2"])]),
        4 => apart_from(&[(rack, &["1"]), (zone, &[]), (rack, &["1"])]),
        _ => None,
    };
    it
}

/// To be in no domain of this label with pods of one of these apps of `default`, or of any app at all.
pub(crate) fn apart_from(terms: &[(&str, &[&str])]) -> Option<Arc<Constraints>> {
    let term = |(key, apps): &(&str, &[&str])| {
        let values = apps.iter().map(|app| HashedText::of(app)).collect();
        let asked = Requirement { key: HashedText::of("app"), is: LabelOperator::In(values) };
        let namespaces = match apps.is_empty() {
            true => Namespaces { named: Box::default(), selected: Some(Box::default()) },
            false => Namespaces { named: [HashedText::of("default")].into(), selected: None },
        };
        let selector = (!apps.is_empty()).then_some(asked).into_iter().collect();
        PodAffinityTerm { key: (*key).into(), selector: Some(selector), namespaces }
    };
    let pod_anti_affinity = terms.iter().map(term).collect();
    Some(Arc::new(Constraints { pod_anti_affinity, ..Constraints::default() }))
}

/// One of each app, and one of none.
pub(crate) fn one_of_each() -> [Pod; 3] {
    [pod(0, 1), replica(0, 1, 1), replica(0, 1, 2)].map(|it| Pod { labels: labels_of(&it), ..it })
}

/// Those of a pod, which tell its app and itself.
pub(crate) fn labels_of(pod: &Pod) -> LabelSet {
    let app = pod.app().map_or(0, |app| app.0).to_string();
    let pairs = [("app", &*app), ("pod", &*pod.name)];
    LabelSet::new(&pod.namespace, pairs.map(|it| (HashedText::of(it.0), HashedText::of(it.1))))
}

/// Ports that pods take, of which the first and the third conflict.
pub(crate) fn all_ports() -> [HostPort; 3] {
    let port = |port, ip| HostPort { port, protocol: Protocol::Tcp, ip };
    [port(80, None), port(81, None), port(80, Some(HashedText::of("10.0.0.1")))]
}

pub(crate) fn pools(look: u8) -> Vec<PoolSpec> {
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

/// Every kind that the state knows.
pub(crate) const KINDS: [Kind; 6] =
    [Kind::NODES, Kind::NAMESPACES, Kind::PODS, Kind::VOLUMES, Kind::CLAIMS, Kind::DEVICE_CLASSES];

/// Names of claims and of volumes, of which there are as many.
pub(crate) fn object_name(kind: Kind, at: u8) -> ObjectName {
    let namespace = if kind == Kind::CLAIMS { "default" } else { "" };
    ObjectName::of(namespace, &name_of(at))
}

fn bound_like(look: u8) -> Option<BoundClaim> {
    let volume = object_name(Kind::VOLUMES, look % 5);
    (look % 5 < 4).then_some(BoundClaim { volume, owner: u64::from(look % 2) })
}

fn reach_like(look: u8) -> Option<Arc<VolumeTopology>> {
    let zone = |at: u8| -> ZoneLabel { ("zone".into(), [format!("z{at}").into()].into()) };
    let zones = (0..look % 3).map(zone).collect();
    (look % 4 < 3).then(|| Arc::new(VolumeTopology { zones, ..VolumeTopology::default() }))
}

/// The API server: what is true, and every event that was ever sent.
#[derive(Default)]
pub(crate) struct Server {
    store: Store,
    backup: Store,
    sent: Vec<Change>,
    pools: u8,
}

/// What a server keeps.
#[derive(Clone, Default)]
struct Store {
    version: u64,
    nodes: BTreeMap<u8, Node>,
    pods: BTreeMap<u8, Pod>,
    namespaces: BTreeMap<u8, Namespace>,
    claims: BTreeMap<u8, Option<BoundClaim>>,
    volumes: BTreeMap<u8, Option<Arc<VolumeTopology>>>,
    /// UIDs never come back.
    ended: BTreeSet<u8>,
}

impl Server {
    /// Carries an operation out and gives what we hear of it.
    pub(crate) fn step(&mut self, op: &Op) -> Vec<Change> {
        self.store.version += 1;
        let version = self.store.version;
        match *op {
            Op::Node { name, look, heard } => {
                let node = node_like(name, look, version);
                self.store.nodes.insert(name, node.clone());
                self.tell(seen_node(node), heard)
            }
            Op::NodeDeleted { name, heard } => {
                self.store.nodes.remove(&name);
                self.tell(Change::NodeGone { name: name_of(name).into() }, heard)
            }
            Op::Pod { uid, look, on, nominated, heard } => {
                self.pod(uid, look, on, nominated, heard)
            }
            Op::PodDeleted { uid, heard } => {
                self.store.pods.remove(&uid);
                self.store.ended.insert(uid);
                self.tell(Change::PodGone { uid: PodUid(uid.into()) }, heard)
            }
            Op::Namespace { name, look, heard } => {
                let labels = [("look".into(), look.to_string().into())].into();
                let it = Namespace { name: name_of(name).into(), labels };
                self.store.namespaces.insert(name, it.clone());
                self.tell(Change::NamespaceSeen(it), heard)
            }
            Op::NamespaceDeleted { name, heard } => {
                self.store.namespaces.remove(&name);
                self.tell(Change::NamespaceGone { name: name_of(name).into() }, heard)
            }
            Op::Claim { .. }
            | Op::ClaimDeleted { .. }
            | Op::Volume { .. }
            | Op::VolumeDeleted { .. } => self.storage(op),
            Op::Unread { kind, key } => {
                let kind = KINDS[usize::from(kind)];
                let key = match kind {
                    Kind::PODS => format!("00000000-0000-0000-0000-{key:012x}"),
                    Kind::CLAIMS => format!("default/{}", name_of(key)),
                    _ => name_of(key),
                };
                vec![Change::Unread { kind, key: key.into() }]
            }
            Op::End(kind) => vec![Change::RelistEnd(KINDS[usize::from(kind)])],
            Op::Watch { kind, how } => {
                let all = [Change::WatchBack, Change::WatchSilent, Change::WatchLost];
                vec![all[usize::from(how)](KINDS[usize::from(kind)])]
            }
            Op::Late(ref at) if !self.sent.is_empty() => vec![at.get(&self.sent).clone()],
            Op::Late(_) => Vec::new(),
            Op::Relist { cut } => self.list(cut),
            Op::Backup => {
                self.backup = self.store.clone();
                Vec::new()
            }
            Op::Restore { bump } => {
                let version = self.store.version;
                self.store = self.backup.clone();
                if bump {
                    self.store.version = version + 1_000_000;
                }
                Vec::new()
            }
            Op::Pools(look) => {
                self.pools = look;
                vec![self.policy()]
            }
        }
    }

    fn storage(&mut self, op: &Op) -> Vec<Change> {
        let (change, heard) = match *op {
            Op::Claim { name, look, heard } => {
                self.store.claims.insert(name, bound_like(look));
                (claim_seen((&name, &bound_like(look))), heard)
            }
            Op::ClaimDeleted { name, heard } => {
                self.store.claims.remove(&name);
                (Change::Gone { kind: Kind::CLAIMS, name: object_name(Kind::CLAIMS, name) }, heard)
            }
            Op::Volume { name, look, heard } => {
                self.store.volumes.insert(name, reach_like(look));
                (volume_seen((&name, &reach_like(look))), heard)
            }
            Op::VolumeDeleted { name, heard } => {
                self.store.volumes.remove(&name);
                (
                    Change::Gone { kind: Kind::VOLUMES, name: object_name(Kind::VOLUMES, name) },
                    heard,
                )
            }
            _ => return Vec::new(),
        };
        self.tell(change, heard)
    }

    fn pod(
        &mut self,
        uid: u8,
        look: u8,
        on: Option<u8>,
        nominated: Option<u8>,
        heard: bool,
    ) -> Vec<Change> {
        if self.store.ended.contains(&uid) {
            return Vec::new();
        }
        let mut it = pod_like(uid, look, self.store.version);
        it.node = on.map(|at| name_of(at).into());
        it.nominated = nominated.map(|at| name_of(at).into());
        if it.terminal {
            self.store.ended.insert(uid);
        }
        self.store.pods.insert(uid, it.clone());
        self.tell(seen_pod(&it), heard)
    }

    fn tell(&mut self, change: Change, heard: bool) -> Vec<Change> {
        if !heard {
            return Vec::new();
        }
        self.sent.push(change.clone());
        vec![change]
    }

    /// The policy in force.
    pub(crate) fn policy(&self) -> Change {
        Change::PoolsSet(if self.pools == 0 { Vec::new() } else { pools(self.pools - 1) })
    }

    /// What a list of everything says, broken off after `cut` objects of a kind.
    pub(crate) fn list(&self, cut: Option<u8>) -> Vec<Change> {
        let mut out = Vec::new();
        let most = cut.map_or(usize::MAX, usize::from);
        let nodes = self.store.nodes.values().cloned().map(seen_node);
        let pods = self.store.pods.values().map(seen_pod);
        let namespaces = self.store.namespaces.values().cloned().map(Change::NamespaceSeen);
        let lists: [(Kind, Vec<Change>); 5] = [
            (Kind::NODES, nodes.collect()),
            (Kind::NAMESPACES, namespaces.collect()),
            (Kind::PODS, pods.collect()),
            (Kind::VOLUMES, self.store.volumes.iter().map(volume_seen).collect()),
            (Kind::CLAIMS, self.store.claims.iter().map(claim_seen).collect()),
        ];
        for (kind, objects) in lists {
            let whole = objects.len() <= most;
            out.push(Change::RelistBegin(kind));
            out.extend(objects.into_iter().take(most));
            if whole {
                out.extend([Change::RelistEnd(kind), Change::WatchBack(kind)]);
            }
        }
        out
    }
}

fn claim_seen((name, bound): (&u8, &Option<BoundClaim>)) -> Change {
    Change::seen(object_name(Kind::CLAIMS, *name), *bound)
}

fn volume_seen((name, reach): (&u8, &Option<Arc<VolumeTopology>>)) -> Change {
    Change::seen(object_name(Kind::VOLUMES, *name), reach.clone())
}
