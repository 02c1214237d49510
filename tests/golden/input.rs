//! A case's input, and the cluster, policy and pods that it stands for.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use sigma::cluster::{ClusterState, Snapshot};
use sigma::model::{
    Amounts, AppKey, Change, Conditions, DomainLevel, ExtendedAmount, ImageName, LabelSet, Node,
    NodeImage, NodeMatcher, Owner, Pod, PodStatusBits, PodUid, PoolOrd, Preferences, QosClaim,
    Requests, Taint, TaintEffect, TaintValue, Toleration, parse_milli, parse_value,
};
use sigma::policy::{ClassSettings, Grant, Plan, PoolSettings, Role, Settings, Shortlist};
use sigma::rules::{ClassParams, PoolParams, Share, SpreadKey, SpreadParams};

/// A case's input. `rule` cases read `class`, decisions read `classes`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Input {
    /// What the case shows.
    pub(crate) shows: String,
    #[serde(default)]
    pools: Vec<PoolInput>,
    #[serde(default)]
    class: ClassInput,
    #[serde(default)]
    classes: Vec<ClassInput>,
    #[serde(default)]
    nodes: Vec<NodeInput>,
    /// Placed (with `node`) and nominated (with `nominated`) pods.
    #[serde(default)]
    pods: Vec<PodInput>,
    /// Pods that were answered and are not seen on a node yet.
    #[serde(default)]
    pub(crate) holds: Vec<HoldInput>,
    pub(crate) pod: PodInput,
    /// The names in the request; all nodes when absent.
    offer: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PoolInput {
    name: String,
    #[serde(default, rename = "match")]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    elastic: bool,
    allocation: Option<ShareInput>,
    limit: Option<BTreeMap<String, String>>,
}

/// In thousandths.
#[derive(Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShareInput {
    cpu: u32,
    memory: u32,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ClassInput {
    #[serde(default)]
    name: String,
    #[serde(default)]
    role: String,
    /// The one priority that it is granted to.
    priority: Option<i32>,
    /// `none` stands for nodes in no pool.
    pools: Option<Vec<String>>,
    /// `region`, `zone`, `rack`, `host` or `node`.
    spread: Option<String>,
    /// In thousandths.
    max_share: Option<u32>,
    allocation: Option<ShareInput>,
    #[serde(default)]
    protected: bool,
    #[serde(default)]
    weights: BTreeMap<String, u16>,
    /// Nodes named, and of one zone; what its role has when absent.
    shortlist: Option<(u16, u16)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct NodeInput {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    allocatable: BTreeMap<String, String>,
    /// `key=value:TaintEffect`.
    #[serde(default)]
    taints: Vec<String>,
    #[serde(default)]
    conditions: Vec<String>,
    /// Sizes in MiB by name.
    #[serde(default)]
    images: BTreeMap<String, i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PodInput {
    #[serde(default = "own_uid")]
    uid: u64,
    /// So many pods like this, with the UIDs that follow.
    count: Option<u64>,
    #[serde(default)]
    requests: BTreeMap<String, String>,
    #[serde(default)]
    priority: i32,
    app: Option<u64>,
    node: Option<String>,
    nominated: Option<String>,
    #[serde(default)]
    terminating: bool,
    qos: Option<String>,
    /// `key=value:TaintEffect`, with `key` alone for `Exists`, nothing for all, no effect for all.
    #[serde(default)]
    tolerations: Vec<String>,
    /// `spread`, `podAffinity`, `nodeAffinity`.
    #[serde(default)]
    prefers: Vec<String>,
    /// One for each container.
    #[serde(default)]
    images: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HoldInput {
    pub(crate) nodes: Vec<String>,
    pub(crate) pod: PodInput,
}

fn own_uid() -> u64 {
    1000
}

fn amounts(text: &BTreeMap<String, String>) -> (Amounts, Box<[ExtendedAmount]>) {
    let mut base = Amounts::default();
    let mut extended = Vec::new();
    for (name, text) in text {
        let value = parse_value(text).expect("a quantity");
        match name.as_str() {
            "cpu" => base.cpu_milli = parse_milli(text).expect("a quantity"),
            "memory" => base.memory_bytes = value,
            "ephemeral-storage" => base.ephemeral_bytes = value,
            "pods" => base.pods = value,
            _ => extended.push(ExtendedAmount { name: name.as_str().into(), amount: value }),
        }
    }
    (base, extended.into())
}

/// Reads `key=value:TaintEffect`.
fn parts(text: &str) -> (Box<str>, Option<Box<str>>, Option<TaintEffect>) {
    let (rest, effect) = text.split_once(':').unwrap_or((text, ""));
    let effect = match effect {
        "" => None,
        "NoSchedule" => Some(TaintEffect::NoSchedule),
        "PreferNoSchedule" => Some(TaintEffect::PreferNoSchedule),
        "NoExecute" => Some(TaintEffect::NoExecute),
        other => unreachable!("no such effect: {other}"),
    };
    match rest.split_once('=') {
        Some((key, value)) => (key.into(), Some(value.into()), effect),
        None => (rest.into(), None, effect),
    }
}

fn node_of(input: &NodeInput) -> Node {
    let (allocatable, extended) = amounts(&input.allocatable);
    let conditions = input.conditions.iter().map(|it| match it.as_str() {
        "cordoned" => Conditions::CORDONED,
        "notReady" => Conditions::NOT_READY,
        "memoryPressure" => Conditions::MEMORY_PRESSURE,
        "diskPressure" => Conditions::DISK_PRESSURE,
        "pidPressure" => Conditions::PID_PRESSURE,
        "networkUnavailable" => Conditions::NETWORK_UNAVAILABLE,
        other => unreachable!("no such condition: {other}"),
    });
    let taints = input.taints.iter().map(|text| {
        let (key, value, effect) = parts(text);
        let effect = effect.expect("a taint has an effect");
        Taint { key, value: value.unwrap_or_default(), effect }
    });
    let labels = input.labels.iter().map(|(key, value)| (label(key), value.as_str().into()));
    let mut labels: Vec<(Box<str>, Box<str>)> = labels.collect();
    labels.sort();
    let images = input
        .images
        .iter()
        .map(|(name, mib)| NodeImage { names: [ImageName::of(name)].into(), bytes: mib << 20 });
    Node {
        name: input.name.as_str().into(),
        uid: input.name.as_str().into(),
        resource_version: 1,
        allocatable,
        extended,
        conditions: conditions.fold(Conditions::default(), Conditions::with),
        taints: taints.collect(),
        labels: labels.into(),
        images: images.collect(),
    }
}

/// A label's key; levels of the topology go by their short names.
fn label(key: &str) -> Box<str> {
    match level(key) {
        Some(level) => level.label().into(),
        None => key.into(),
    }
}

fn level(name: &str) -> Option<DomainLevel> {
    Some(match name {
        "region" => DomainLevel::Region,
        "zone" => DomainLevel::Zone,
        "rack" => DomainLevel::Rack,
        "host" => DomainLevel::Machine,
        _ => return None,
    })
}

pub(crate) fn pods_of(input: &PodInput) -> impl Iterator<Item = Pod> + '_ {
    let (mut base, extended) = amounts(&input.requests);
    base.pods = 1;
    let tolerations: Box<[Toleration]> = input
        .tolerations
        .iter()
        .map(|text| {
            let (key, value, effect) = parts(text);
            let value = value.map_or(TaintValue::Any, TaintValue::Equal);
            Toleration { key, value, effect }
        })
        .collect();
    let owner = input.app.map(|app| Owner {
        kind: "ReplicaSet".into(),
        name: format!("app-{app}").into(),
        app: AppKey(app.into()),
    });
    let preferences = input.prefers.iter().map(|it| match it.as_str() {
        "spread" => Preferences::SPREAD,
        "podAffinity" => Preferences::POD_AFFINITY,
        "nodeAffinity" => Preferences::NODE_AFFINITY,
        other => unreachable!("no such preference: {other}"),
    });
    let preferences = preferences.fold(Preferences::default(), Preferences::with);
    let images: Box<[ImageName]> = input.images.iter().map(|it| ImageName::of(it)).collect();
    (input.uid..input.uid + input.count.unwrap_or(1)).map(move |uid| Pod {
        uid: PodUid(uid.into()),
        uid_text: uid.to_string().into(),
        namespace: "default".into(),
        name: format!("pod-{uid}").into(),
        resource_version: 1,
        requests: Requests { base, extended: extended.clone() },
        priority: input.priority,
        priority_class: "".into(),
        scheduler: "default-scheduler".into(),
        qos_claim: input.qos.as_deref().map(|claim| match claim {
            "offline" => QosClaim::Offline,
            _ => QosClaim::Online,
        }),
        owner: owner.clone(),
        tolerations: tolerations.clone(),
        node: input.node.as_deref().map(Into::into),
        nominated: input.nominated.as_deref().map(Into::into),
        condition: None,
        status: PodStatusBits::default(),
        terminal: false,
        terminating: input.terminating,
        gated: false,
        claims: Box::default(),
        grouped: false,
        never_preempts: false,
        annotated: false,
        nominated_ahead: false,
        preferences,
        constraints: None,
        host_ports: Box::default(),
        labels: LabelSet::default(),
        images: images.clone(),
    })
}

impl Input {
    fn pool_ord(&self, name: &str) -> PoolOrd {
        let at = self.pools.iter().position(|pool| pool.name == name);
        assert!(at.is_some() || name == "none", "no such pool: {name}");
        at.map_or(PoolOrd::NONE, |at| PoolOrd(at as u8))
    }

    fn class_settings(&self, class: &ClassInput) -> ClassSettings {
        let order = class.pools.as_ref();
        ClassSettings {
            name: class.name.clone(),
            role: match class.role.as_str() {
                "online" => Role::Online,
                "offline" => Role::Offline,
                "exempt" => Role::Exempt,
                _ => Role::Default,
            },
            grant: Grant { priority: class.priority.map(|it| (it, it)), ..Grant::default() },
            pools: order.map(|names| names.iter().map(|name| self.pool_ord(name)).collect()),
            spread: class.spread.as_deref().map(|key| SpreadParams {
                key: level(key).map_or(SpreadKey::Node, SpreadKey::Level),
                max_share_permille: class.max_share,
            }),
            allocation: class.allocation.map(share),
            weights: class.weights.iter().map(|(name, it)| (name.clone(), *it)).collect(),
            shortlist: class.shortlist.map(|(nodes, per_domain)| Shortlist { nodes, per_domain }),
            protected: class.protected,
            steering: None,
        }
    }

    pub(crate) fn settings(&self) -> Settings {
        let pools = self.pools.iter().map(|pool| PoolSettings {
            name: pool.name.clone(),
            matcher: NodeMatcher {
                labels: pool.labels.clone().into_iter().collect(),
                ..NodeMatcher::default()
            },
            elastic: pool.elastic,
            allocation: pool.allocation.map_or(Share::ALL, share),
            limit: pool.limit.as_ref().map(limit),
        });
        let classes = self.classes.iter().map(|class| self.class_settings(class));
        Settings {
            name: "golden".into(),
            pools: pools.collect(),
            classes: classes.collect(),
            ..Settings::default()
        }
    }

    pub(crate) fn class_params(&self) -> ClassParams {
        let (settings, class) = (self.settings(), self.class_settings(&self.class));
        let pools = settings.pools.iter().map(|pool| PoolParams {
            elastic: pool.elastic,
            allocation: class.allocation.unwrap_or(pool.allocation),
            limit: pool.limit,
        });
        let is_ordered = class.pools.is_some();
        let (pools, order) = (pools.collect(), class.pools);
        let is_protected = class.protected;
        ClassParams { pools, order, is_ordered, spread: class.spread, is_protected }
    }

    pub(crate) fn snapshot(&self, plan: &Plan) -> Arc<Snapshot> {
        let mut state = ClusterState::default();
        state.apply(Change::PoolsSet(plan.pools.clone()));
        for node in &self.nodes {
            state.apply(Change::NodeSeen(Box::new(node_of(node))));
        }
        for pod in self.pods.iter().flat_map(pods_of) {
            state.apply(Change::PodSeen(Box::new(pod)));
        }
        assert_eq!(state.audit(), []);
        state.publish().0
    }

    pub(crate) fn own_pod(&self) -> Pod {
        pods_of(&self.pod).next().expect("one pod")
    }

    pub(crate) fn offered(&self) -> Vec<String> {
        let all = || self.nodes.iter().map(|node| node.name.clone()).collect();
        self.offer.clone().unwrap_or_else(all)
    }
}

fn share(share: ShareInput) -> Share {
    Share { cpu_permille: share.cpu, memory_permille: share.memory }
}

fn limit(text: &BTreeMap<String, String>) -> Amounts {
    let (given, _) = amounts(text);
    let or_none = |name: &str, amount| if text.contains_key(name) { amount } else { i64::MAX };
    Amounts {
        cpu_milli: or_none("cpu", given.cpu_milli),
        memory_bytes: or_none("memory", given.memory_bytes),
        ephemeral_bytes: or_none("ephemeral-storage", given.ephemeral_bytes),
        pods: or_none("pods", given.pods),
    }
}
