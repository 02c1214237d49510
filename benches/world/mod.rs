//! What every bench decides on: 10,000 nodes with 20,000 pods on them under the shipped policy, the
//! names as kube-scheduler sends them, and one pod of each class that is worth measuring.

use std::sync::Arc;

use sigma::model::{Amounts, Change, Kind, Node, Pod};
use sigma::policy::{Plan, compile};
use sigma::sim::{PodStream, Rng, cluster, is_virtual};

/// Nodes of the world.
pub(crate) const NUM_NODES: usize = 10_000;
/// What a request offers: one name, kube-scheduler's default sample at this size, all of them.
pub(crate) const SIZES: [usize; 3] = [1, 500, NUM_NODES];

const NUM_PODS: usize = 20_000;
/// What the pods ask for that are asked about.
const ROOM: Amounts =
    Amounts { cpu_milli: 4000, memory_bytes: 8 << 30, ephemeral_bytes: 0, pods: 1 };
const SEED: u64 = 1;
/// Stream numbers of the seed, apart from the simulator's.
const PLACE_STREAM: u64 = 101;
const ORDER_STREAM: u64 = 102;

/// The lists that a start brings, and the pods that are asked about.
pub(crate) struct Setting {
    /// Everything that the watches tell.
    pub(crate) changes: Vec<Change>,
    /// Node names as they are offered: in any order, but the same one as long as kube-scheduler runs.
    pub(crate) names: Vec<String>,
    /// Four cores of class `online`, with replicas that run already.
    pub(crate) online: Pod,
    /// A pod of class `offline`.
    pub(crate) offline: Pod,
    /// A pod of class `exempt`: nothing bounds it, so every name is returned.
    pub(crate) exempt: Pod,
}

/// The shipped policy.
pub(crate) fn plan() -> Arc<Plan> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/default.yaml");
    let bytes = std::fs::read(path).expect("the policy is shipped");
    compile(path, &bytes).expect("the shipped policy is valid").plan
}

/// The world of the seed; the same on every machine.
pub(crate) fn setting() -> Setting {
    let mut cluster = cluster(NUM_NODES as u32, SEED);
    for (at, node) in cluster.nodes.iter_mut().enumerate() {
        // As long as names are in production: the work per name depends on it.
        node.name = format!("cn-hangzhou.10.1{:02}.{}.{}", at % 7, at / 100, 100 + at % 100).into();
    }
    let mut stream = PodStream::new(SEED);
    let placed = place(&cluster.nodes, &mut stream);
    let mut next = |wanted: &dyn Fn(&Pod) -> bool| stream.find(wanted).expect("it never ends");
    let replicas = |pod: &Pod| placed.iter().filter(|it| it.app() == pod.app()).count();
    let online = next(&|pod| {
        let standard = pod.requests.base == ROOM;
        standard && pod.priority_class.starts_with("prod-") && replicas(pod) > 4
    });
    let offline = next(&|pod| {
        let small = pod.requests.base.cpu_milli <= 1000;
        small && pod.priority_class.starts_with("batch-")
    });
    let exempt = next(&|pod| &*pod.namespace == "kube-system");
    let names = offered(&cluster.nodes);
    let mut changes = Vec::new();
    let nodes = cluster.nodes.into_iter().map(|node| Change::NodeSeen(Box::new(node)));
    list(&mut changes, Kind::Nodes, nodes);
    list(&mut changes, Kind::Namespaces, cluster.namespaces.into_iter().map(Change::NamespaceSeen));
    let pods = placed.iter().map(|pod| Change::PodSeen(Box::new(pod.clone())));
    list(&mut changes, Kind::Pods, pods);
    Setting { changes, names, online, offline, exempt }
}

fn list(changes: &mut Vec<Change>, kind: Kind, items: impl Iterator<Item = Change>) {
    changes.push(Change::RelistBegin(kind));
    changes.extend(items);
    changes.push(Change::RelistEnd(kind));
}

/// Puts pods on machines, anywhere, so that every machine keeps room for one more pod of
/// [`ROOM`]: kube-scheduler offers nothing but nodes on which the pod fits.
fn place(nodes: &[Node], stream: &mut PodStream) -> Vec<Pod> {
    let mut rng = Rng::new(SEED, PLACE_STREAM);
    let mut used = vec![Amounts::default(); nodes.len()];
    let place = |mut pod: Pod| {
        let start = rng.below(nodes.len() as u64) as usize;
        let mut from_here = (start..nodes.len()).chain(0..start);
        let at = from_here.find(|at| {
            let (mut after, has) = (used[*at], nodes[*at].allocatable);
            after += pod.requests.base;
            after += ROOM;
            let fits = after.cpu_milli <= has.cpu_milli && after.memory_bytes <= has.memory_bytes;
            fits && after.pods <= has.pods && !is_virtual(&nodes[*at])
        })?;
        used[at] += pod.requests.base;
        pod.node = Some(nodes[at].name.clone());
        Some(pod)
    };
    stream.take(NUM_PODS).filter_map(place).collect()
}

/// The nodes in an order as captured from kube-scheduler 1.36: random, since its list of nodes comes
/// through a Go map, and not that of any label.
fn offered(nodes: &[Node]) -> Vec<String> {
    let mut names: Vec<String> = nodes.iter().map(|node| node.name.to_string()).collect();
    Rng::new(SEED, ORDER_STREAM).shuffle(&mut names);
    names
}
