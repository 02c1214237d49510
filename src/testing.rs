//! Builders for tests. Included by the unit tests and, by path, by `tests/properties.rs`.

use std::sync::Arc;

use crate::engine::{Decider, View};
use crate::model::{
    Amounts, AppKey, Change, ImageName, LabelSet, Node, NodeImage, NodeOrd, ObjectName, Owner, Pod,
    PodClaim, PodStatusBits, PodUid, Preferences, Reason, Requests, Tick,
};
use crate::policy::{Plan, Settings};
use crate::replica::{Published, Replica, Writing};

pub(crate) const GIB: i64 = 1 << 30;

pub(crate) fn amounts(cpu: i64, gib: i64, pods: i64) -> Amounts {
    Amounts { cpu_milli: cpu * 1000, memory_bytes: gib * GIB, ephemeral_bytes: 0, pods }
}

/// A healthy node of 10 cores and 100 GiB, with labels.
pub(crate) fn node(name: &str, labels: &[(&str, &str)]) -> Node {
    let mut labels: Vec<(Box<str>, Box<str>)> =
        labels.iter().map(|&(key, value)| (key.into(), value.into())).collect();
    labels.sort();
    Node {
        name: name.into(),
        uid: name.into(),
        resource_version: 1,
        allocatable: amounts(10, 100, 110),
        labels: labels.into(),
        ..Node::default()
    }
}

/// An image with one name.
pub(crate) fn image(name: &str, bytes: i64) -> NodeImage {
    NodeImage { names: [ImageName::of(name)].into(), bytes }
}

/// A pending pod that asks for this many cores and as many GiB.
pub(crate) fn pod(uid: u128, cpu: i64) -> Pod {
    Pod {
        uid: PodUid(uid),
        uid_text: uid.to_string().into(),
        namespace: "default".into(),
        name: format!("pod-{uid}").into(),
        resource_version: 1,
        requests: Requests { base: amounts(cpu, cpu, 1), extended: Box::default() },
        priority: 0,
        priority_class: "".into(),
        scheduler: "default-scheduler".into(),
        qos_claim: None,
        owner: None,
        tolerations: Box::default(),
        node: None,
        nominated: None,
        condition: None,
        status: PodStatusBits::default(),
        terminal: false,
        terminating: false,
        gated: false,
        claims: Box::default(),
        grouped: false,
        never_preempts: false,
        annotated: false,
        nominated_ahead: false,
        preferences: Preferences::default(),
        constraints: None,
        host_ports: Box::default(),
        labels: LabelSet::default(),
        images: Box::default(),
    }
}

/// A claim of a pod in `default`.
pub(crate) fn claim(name: &str) -> PodClaim {
    PodClaim { name: ObjectName::of("default", name), ephemeral: false }
}

/// The same pod as a replica of an app.
pub(crate) fn replica(uid: u128, cpu: i64, app: u128) -> Pod {
    let owner = Owner { kind: "ReplicaSet".into(), name: "app".into(), app: AppKey(app) };
    Pod { owner: Some(owner), ..pod(uid, cpu) }
}

/// The same pod as its watch event says once it is bound.
pub(crate) fn placed(pod: &Pod, node: &str) -> Pod {
    let resource_version = pod.resource_version + 1;
    Pod { node: Some(node.into()), condition: None, resource_version, ..pod.clone() }
}

pub(crate) fn seen_node(node: Node) -> Change {
    Change::NodeSeen(Box::new(node))
}

pub(crate) fn seen_pod(pod: &Pod) -> Change {
    Change::PodSeen(Box::new(pod.clone()))
}

/// A replica whose view and decider tests reach by name.
pub(crate) struct TestReplica {
    pub(crate) writing: Writing,
    published: Published,
    pub(crate) decider: Decider,
    pub(crate) view: Arc<View>,
}

impl TestReplica {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self::with_decider(settings, Decider::default())
    }

    pub(crate) fn with_decider(settings: &Settings, decider: Decider) -> Self {
        let plan = Plan::build(settings, String::new());
        let replica = Replica::new(plan, Arc::default(), decider);
        let view = replica.view();
        let Replica { writing, published, decider } = replica;
        Self { writing, published, decider, view }
    }

    /// Applies changes, publishes them, and tells the decider.
    pub(crate) fn see(&mut self, changes: impl IntoIterator<Item = Change>) {
        changes.into_iter().for_each(|change| {
            self.writing.apply(change);
        });
        self.publish();
    }

    /// Publishes what was applied, and tells the decider.
    pub(crate) fn publish(&mut self) {
        self.published.put(self.writing.publish());
        let handover = self.published.take();
        self.view = Arc::new(handover.deliver(&mut self.decider, self.view.now));
    }

    pub(crate) fn ords(&self, names: &[&str]) -> Vec<NodeOrd> {
        let names = names.iter().map(|name| self.view.snapshot.names.ord(name));
        names.map(|ord| ord.unwrap_or(NodeOrd::UNKNOWN)).collect()
    }

    /// The accepted ones among `names`, and else the reason that was told.
    pub(crate) fn filter<'a>(
        &mut self,
        pod: &Pod,
        names: &[&'a str],
        now_ms: u64,
    ) -> Result<Vec<&'a str>, Reason> {
        let ords = self.ords(names);
        let answer = self.decider.filter(&self.view, &Arc::new(pod.clone()), &ords, Tick(now_ms));
        match answer.refused {
            Some((_, reason)) => Err(reason),
            None => Ok(answer.accepted.iter().map(|at| names[*at as usize]).collect()),
        }
    }
}
