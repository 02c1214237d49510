//! Pods from a seed: online apps, offline jobs, pods that no grant is for, and a few system pods.
//!
//! Distributions follow Alibaba's cluster traces: replicas of an app have a heavy tail, 86 % of
//! online pods ask for 4 cores and 8 GiB, and offline instances of half a core to one core are run
//! by worker pods of up to 20 instances. The n-th pod depends on the seed alone, so a run with
//! fewer pods is the beginning of one with more.

use super::rng::Rng;
use super::synthetic::{NAMESPACES, Tier, VIRTUAL_NODE_TAINT};
use crate::model::{
    Amounts, AppKey, HashedText, ImageName, LabelSet, Owner, Pod, PodStatusBits, PodUid,
    Preferences, QosClaim, Requests, TaintEffect, TaintValue, Toleration,
};

/// What each pod's container runs; no node has it.
pub const IMAGE: &str = "registry.local/main:1";

/// Stream number of the seed.
const POD_STREAM: u64 = 2;
/// Workloads that grow at the same time: releases and jobs do not wait for each other.
const ACTIVE: usize = 32;
/// Most instances of a task that one worker pod runs.
const INSTANCES_PER_WORKER: u64 = 20;

/// All pods of a seed, in the order in which they arrive. Never ends.
#[derive(Clone, Debug)]
pub struct PodStream {
    rng: Rng,
    active: Vec<Workload>,
    num_workloads: u64,
    num_pods: u64,
}

/// One controller and its template.
#[derive(Clone, Debug)]
struct Workload {
    name: String,
    namespace: &'static str,
    kind: WorkloadKind,
    owner: Owner,
    requests: Amounts,
    priority_class: &'static str,
    priority: i32,
    tolerations: Box<[Toleration]>,
    num_made: u64,
    replicas: u64,
}

/// What a workload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WorkloadKind {
    Online,
    Offline,
    Plain,
    System,
}

/// Kinds by how many workloads there are of each.
const KINDS: [(u32, WorkloadKind); 4] = [
    (34, WorkloadKind::Online),
    (46, WorkloadKind::Offline),
    (19, WorkloadKind::Plain),
    (1, WorkloadKind::System),
];

/// Replicas of an online app, as ranges.
const REPLICAS: [(u32, (u64, u64)); 7] = [
    (290, (1, 1)),
    (330, (2, 2)),
    (140, (3, 4)),
    (140, (5, 12)),
    (55, (13, 26)),
    (35, (27, 105)),
    (10, (106, 370)),
];

/// Cores and GiB of an online pod.
const ONLINE_SHAPES: [(u32, (i64, i64)); 8] = [
    (86, (4, 8)),
    (5, (8, 16)),
    (3, (4, 16)),
    (2, (2, 4)),
    (2, (16, 32)),
    (1, (16, 60)),
    (1, (24, 48)),
    (1, (32, 128)),
];

/// Cores and GiB of a pod that no grant is for.
const PLAIN_SHAPES: [(u32, (i64, i64)); 3] = [(50, (1, 2)), (30, (2, 4)), (20, (4, 8))];

/// Instances of an offline task, as ranges.
const INSTANCES: [(u32, (u64, u64)); 5] =
    [(66, (1, 1)), (12, (2, 4)), (12, (5, 47)), (7, (48, 176)), (3, (177, 844))];

/// MiB of an offline instance.
const INSTANCE_MIB: [(u32, i64); 5] = [(35, 1024), (24, 1536), (23, 2048), (12, 2560), (6, 3072)];

impl PodStream {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        let mut stream = Self {
            rng: Rng::new(seed, POD_STREAM),
            active: Vec::with_capacity(ACTIVE),
            num_workloads: 0,
            num_pods: 0,
        };
        for _ in 0..ACTIVE {
            let workload = stream.workload();
            stream.active.push(workload);
        }
        stream
    }

    fn workload(&mut self) -> Workload {
        let kind = self.rng.pick(&KINDS).copied().unwrap_or(WorkloadKind::Plain);
        let number = self.num_workloads;
        self.num_workloads += 1;
        let rng = &mut self.rng;
        let (requests, replicas) = template(kind, rng);
        let (priority_class, priority) = match kind {
            WorkloadKind::Online if rng.percent(20) => ("prod-high", 9500),
            WorkloadKind::Online => ("prod-mid", 9000),
            WorkloadKind::Offline => ("batch-low", 5000),
            WorkloadKind::Plain => ("", 0),
            WorkloadKind::System => ("system-cluster-critical", 2_000_000_000),
        };
        let (stem, controller) = match kind {
            WorkloadKind::Online => ("app", "ReplicaSet"),
            WorkloadKind::Offline => ("job", "Job"),
            WorkloadKind::Plain => ("svc", "ReplicaSet"),
            WorkloadKind::System => ("addon", "ReplicaSet"),
        };
        let name = format!("{stem}-{number:05}-{:08x}", rng.next_u64() as u32);
        let (_, owner_uid) = uuid(rng);
        let owner = Owner {
            kind: controller.into(),
            name: name.as_str().into(),
            app: AppKey::of_owner(&owner_uid),
        };
        let namespace = namespace(kind, rng);
        let tolerations = tolerations(kind, rng);
        Workload {
            name,
            namespace,
            kind,
            owner,
            requests,
            priority_class,
            priority,
            tolerations,
            num_made: 0,
            replicas,
        }
    }
}

impl Iterator for PodStream {
    type Item = Pod;

    fn next(&mut self) -> Option<Pod> {
        let at = self.rng.below(self.active.len() as u64) as usize;
        let (number, uid_text) = uuid(&mut self.rng);
        self.num_pods += 1;
        let workload = self.active.get_mut(at)?;
        workload.num_made += 1;
        let pod = workload.pod(PodUid(number), uid_text, self.num_pods);
        if workload.num_made >= workload.replicas {
            let next = self.workload();
            if let Some(slot) = self.active.get_mut(at) {
                *slot = next;
            }
        }
        Some(pod)
    }
}

impl Workload {
    /// As the workload's template has them on the wire.
    fn labels(&self) -> LabelSet {
        let qos = match self.kind {
            WorkloadKind::Online => Some("LS"),
            WorkloadKind::Offline => Some("BE"),
            WorkloadKind::Plain | WorkloadKind::System => None,
        };
        let all = [("app", &*self.name)].into_iter();
        let all = all.chain(qos.map(|level| ("koordinator.sh/qosClass", level)));
        LabelSet::new(self.namespace, all.map(|it| (HashedText::of(it.0), HashedText::of(it.1))))
    }

    fn pod(&self, uid: PodUid, uid_text: String, resource_version: u64) -> Pod {
        Pod {
            uid,
            uid_text: uid_text.into(),
            namespace: self.namespace.into(),
            name: format!("{}-{:04}", self.name, self.num_made).into(),
            resource_version,
            requests: Requests { base: self.requests, extended: Box::default() },
            priority: self.priority,
            priority_class: self.priority_class.into(),
            scheduler: "default-scheduler".into(),
            qos_claim: match self.kind {
                WorkloadKind::Online => Some(QosClaim::Online),
                WorkloadKind::Offline => Some(QosClaim::Offline),
                WorkloadKind::Plain | WorkloadKind::System => None,
            },
            owner: Some(self.owner.clone()),
            tolerations: self.tolerations.clone(),
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
            labels: self.labels(),
            images: [ImageName::of(IMAGE)].into(),
        }
    }
}

/// What each pod of a workload asks for, and how many pods there are.
fn template(kind: WorkloadKind, rng: &mut Rng) -> (Amounts, u64) {
    let range = |rng: &mut Rng, rows: &[(u32, (u64, u64))]| {
        let (low, high) = rng.pick(rows).copied().unwrap_or((1, 1));
        rng.between(low, high)
    };
    match kind {
        WorkloadKind::Online => {
            let (cores, gib) = rng.pick(&ONLINE_SHAPES).copied().unwrap_or((4, 8));
            (asks(cores * 1000, gib * 1024), range(rng, &REPLICAS))
        }
        WorkloadKind::Offline => {
            let instances = range(rng, &INSTANCES);
            let workers = instances.div_ceil(INSTANCES_PER_WORKER);
            let each = instances.div_ceil(workers) as i64;
            let milli = if rng.percent(42) { 500 } else { 1000 };
            let mib = rng.pick(&INSTANCE_MIB).copied().unwrap_or(1024);
            (asks(each * milli, each * mib), workers)
        }
        WorkloadKind::Plain => {
            let (cores, gib) = rng.pick(&PLAIN_SHAPES).copied().unwrap_or((1, 2));
            (asks(cores * 1000, gib * 1024), rng.between(1, 8))
        }
        WorkloadKind::System => (asks(100, 128), 2),
    }
}

fn asks(cpu_milli: i64, memory_mib: i64) -> Amounts {
    Amounts { cpu_milli, memory_bytes: memory_mib << 20, ephemeral_bytes: 0, pods: 1 }
}

fn namespace(kind: WorkloadKind, rng: &mut Rng) -> &'static str {
    let tier = match kind {
        WorkloadKind::Online => Tier::Production,
        WorkloadKind::Offline => Tier::Batch,
        WorkloadKind::Plain => Tier::Staging,
        WorkloadKind::System => Tier::System,
    };
    let of_tier = NAMESPACES.iter().filter(|(_, it)| *it == tier);
    let of_tier: Vec<(u32, &'static str)> = of_tier.map(|(name, _)| (1, *name)).collect();
    rng.pick(&of_tier).copied().unwrap_or("default")
}

/// What admission adds to every pod, and for a part of the workloads what lets them onto virtual
/// nodes: an extender cannot add that later.
fn tolerations(kind: WorkloadKind, rng: &mut Rng) -> Box<[Toleration]> {
    let (key, value) = VIRTUAL_NODE_TAINT;
    let bursts = rng.percent(match kind {
        WorkloadKind::Online => 60,
        WorkloadKind::Offline => 30,
        WorkloadKind::Plain => 10,
        WorkloadKind::System => 0,
    });
    let virtual_node = Toleration {
        key: key.into(),
        value: TaintValue::Equal(value.into()),
        effect: Some(TaintEffect::NoSchedule),
    };
    let lost_node = |key: &str| Toleration {
        key: key.into(),
        value: TaintValue::Any,
        effect: Some(TaintEffect::NoExecute),
    };
    let by_admission =
        ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"].map(lost_node);
    bursts.then_some(virtual_node).into_iter().chain(by_admission).collect()
}

/// A random UUID (version 4), as number and as text.
pub(super) fn uuid(rng: &mut Rng) -> (u128, String) {
    let random = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
    let number = random & !(0xf << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62;
    let hex = format!("{number:032x}");
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    (number, parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn a_shorter_run_is_the_beginning_of_a_longer_one() {
        let take = |count| PodStream::new(7).take(count).collect::<Vec<_>>();
        let (long, short) = (take(300), take(100));
        assert_eq!(long[..100], short);
        let other: Vec<Pod> = PodStream::new(8).take(100).collect();
        assert_ne!(other, short);
    }

    #[test]
    fn names_and_uids_are_unique_and_uids_read_back() {
        let (mut names, mut uids) = (BTreeSet::new(), BTreeSet::new());
        for pod in PodStream::new(1).take(20_000) {
            assert_eq!(PodUid::parse(&pod.uid_text), Some(pod.uid));
            assert!(pod.is_pending() && pod.requests.base.pods == 1);
            assert!(names.insert((pod.namespace.clone(), pod.name.clone())));
            assert!(uids.insert(pod.uid));
        }
    }

    #[test]
    fn the_mix_is_that_of_the_traces() {
        let pods: Vec<Pod> = PodStream::new(1).take(50_000).collect();
        let count = |pick: &dyn Fn(&Pod) -> bool| pods.iter().filter(|pod| pick(pod)).count();
        let online = count(&|pod| pod.priority_class.starts_with("prod-"));
        let standard = count(&|pod| {
            pod.priority_class.starts_with("prod-") && pod.requests.base.cpu_milli == 4000
        });
        assert!((50..80).contains(&(online * 100 / pods.len())), "{online} online pods");
        assert!(standard * 100 / online > 70, "{standard} of {online} ask for 4 cores");
        assert!(count(&|pod| &*pod.namespace == "kube-system") < pods.len() / 50);
        let mut replicas: BTreeMap<AppKey, u32> = BTreeMap::new();
        for app in pods.iter().filter_map(Pod::app) {
            *replicas.entry(app).or_default() += 1;
        }
        assert!(replicas.values().any(|count| *count > 100), "no giant");
        assert!(replicas.values().filter(|count| **count <= 2).count() * 2 > replicas.len());
    }
}
