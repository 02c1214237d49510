//! A cluster from a seed: 神龙 bare metal, ECS virtual machines and a few virtual nodes.
//!
//! Shapes are those of Alibaba's public traces and price lists. The mix leans to ECS, so that a
//! whole cluster of 10,000 nodes can be filled pod by pod within a minute.

use super::rng::Rng;
use super::workloads::PodStream;
use crate::model::{Amounts, Namespace, Node, Taint, TaintEffect};

/// The label that every virtual node carries, with its value.
pub const VIRTUAL_NODE_LABEL: (&str, &str) = ("type", "virtual-kubelet");
/// The taint that keeps pods off a virtual node, key and value, effect `NoSchedule`.
pub const VIRTUAL_NODE_TAINT: (&str, &str) = ("virtual-kubelet.io/provider", "alibabacloud");

/// What there is before the first pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The nodes, by name.
    pub nodes: Vec<Node>,
    /// The namespaces, by name.
    pub namespaces: Vec<Namespace>,
}

/// Names of the namespaces, and their `tier` label.
pub(super) const NAMESPACES: [(&str, Tier); 8] = [
    ("kube-system", Tier::System),
    ("pay", Tier::Production),
    ("search", Tier::Production),
    ("shop", Tier::Production),
    ("spark", Tier::Batch),
    ("staging", Tier::Staging),
    ("tools", Tier::Staging),
    ("train", Tier::Batch),
];

/// What a namespace is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    Production,
    Batch,
    Staging,
    System,
}

impl Tier {
    fn label(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Batch => "batch",
            Self::Staging => "staging",
            Self::System => "system",
        }
    }
}

const ZONES: [&str; 3] = ["cn-hangzhou-h", "cn-hangzhou-i", "cn-hangzhou-j"];
/// Nodes of a zone that share a rack.
const NODES_PER_RACK: usize = 24;
/// One virtual node for this many nodes.
const NODES_PER_VIRTUAL: usize = 1000;
/// Stream numbers of the seed.
const NODE_STREAM: u64 = 1;

#[derive(Clone, Copy, Debug)]
enum Shape {
    Physical { instance_type: &'static str, cores: i64, memory_gib: i64, pods: i64 },
    Virtual,
}

const SHENLONG: Shape =
    Shape::Physical { instance_type: "ecs.ebmg5.24xlarge", cores: 96, memory_gib: 384, pods: 256 };

/// Shapes of fixed nodes by weight: one in five is bare metal.
const SHAPES: [(u32, Shape); 4] = [
    (20, SHENLONG),
    (20, ecs("ecs.g7.2xlarge", 8)),
    (40, ecs("ecs.g7.4xlarge", 16)),
    (20, ecs("ecs.g7.8xlarge", 32)),
];

const fn ecs(instance_type: &'static str, cores: i64) -> Shape {
    Shape::Physical { instance_type, cores, memory_gib: cores * 4, pods: 64 }
}

/// `num_nodes` nodes and the namespaces. The first node is bare metal, and from three nodes on
/// there is a virtual one.
pub fn cluster(num_nodes: u32, seed: u64) -> Cluster {
    let mut rng = Rng::new(seed, NODE_STREAM);
    let count = num_nodes as usize;
    let num_virtual = if count < 3 { 0 } else { count.div_ceil(NODES_PER_VIRTUAL) };
    let mut shapes = vec![Shape::Virtual; num_virtual];
    shapes.resize_with(count, || rng.pick(&SHAPES).copied().unwrap_or(SHENLONG));
    rng.shuffle(&mut shapes);
    let position = |wanted: fn(&Shape) -> bool| shapes.iter().position(wanted);
    let first = position(is_bare_metal).or_else(|| position(is_fixed));
    if let Some(at) = first {
        shapes.swap(0, at);
        if !is_bare_metal(&shapes[0]) {
            shapes[0] = SHENLONG;
        }
    }
    let nodes = shapes.into_iter().enumerate().map(|(at, shape)| node(at, shape, &mut rng));
    let namespaces = NAMESPACES.iter().map(|(name, tier)| Namespace {
        name: (*name).into(),
        labels: labels(&[("kubernetes.io/metadata.name", name), ("tier", tier.label())]),
    });
    Cluster { nodes: nodes.collect(), namespaces: namespaces.collect() }
}

/// True for a virtual node.
pub fn is_virtual(node: &Node) -> bool {
    node.label(VIRTUAL_NODE_LABEL.0) == Some(VIRTUAL_NODE_LABEL.1)
}

/// How many pods of the seed's stream ask for `percent` of what the fixed nodes have, in CPU or in
/// memory, whichever comes first; at most `most`.
pub fn pods_to_fill(nodes: &[Node], seed: u64, percent: i64, most: usize) -> usize {
    let mut has = Amounts::default();
    for node in nodes.iter().filter(|node| !is_virtual(node)) {
        has += node.allocatable;
    }
    let mut asked = Amounts::default();
    let enough = |asked: Amounts| {
        asked.cpu_milli >= has.cpu_milli / 100 * percent
            || asked.memory_bytes >= has.memory_bytes / 100 * percent
    };
    let pods = PodStream::new(seed).take(most).take_while(|pod| {
        let more = !enough(asked);
        asked += pod.requests.base;
        more
    });
    pods.count()
}

fn is_fixed(shape: &Shape) -> bool {
    matches!(shape, Shape::Physical { .. })
}

fn is_bare_metal(shape: &Shape) -> bool {
    matches!(shape, Shape::Physical { instance_type, .. } if instance_type.starts_with("ecs.ebm"))
}

fn node(at: usize, shape: Shape, rng: &mut Rng) -> Node {
    let name = format!("n-{at:05}");
    let zone = ZONES[at % ZONES.len()];
    let rack = format!("{zone}-r{:03}", at / ZONES.len() / NODES_PER_RACK);
    let mut pairs = vec![
        ("kubernetes.io/hostname", name.as_str()),
        ("topology.kubernetes.io/region", "cn-hangzhou"),
        ("topology.kubernetes.io/zone", zone),
        ("topology.sigma.io/rack", &rack),
    ];
    let (allocatable, taints) = match shape {
        Shape::Physical { instance_type, cores, memory_gib, pods } => {
            pairs.push(("node.kubernetes.io/instance-type", instance_type));
            (physical(cores, memory_gib, pods), Box::default())
        }
        Shape::Virtual => {
            pairs.push(VIRTUAL_NODE_LABEL);
            let (key, value) = VIRTUAL_NODE_TAINT;
            let effect = TaintEffect::NoSchedule;
            let taint = Taint { key: key.into(), value: value.into(), effect };
            (unbounded(), Box::from([taint]))
        }
    };
    Node {
        uid: super::workloads::uuid(rng).1.into(),
        resource_version: 1,
        allocatable,
        labels: labels(&pairs),
        taints,
        name: name.into(),
        ..Node::default()
    }
}

/// What is left for pods once the system has its share: 60 m and 0.5 % of the CPU, 1 GiB and 4 % of
/// the memory.
fn physical(cores: i64, memory_gib: i64, pods: i64) -> Amounts {
    Amounts {
        cpu_milli: cores * 995 - 60,
        memory_bytes: ((memory_gib * 96 / 100) - 1) << 30,
        ephemeral_bytes: 100 << 30,
        pods,
    }
}

/// What a virtual node claims to have.
fn unbounded() -> Amounts {
    Amounts {
        cpu_milli: 100_000_000,
        memory_bytes: 400 << 40,
        ephemeral_bytes: 1 << 50,
        pods: 5000,
    }
}

fn labels(pairs: &[(&str, &str)]) -> Box<[(Box<str>, Box<str>)]> {
    let mut labels: Vec<(Box<str>, Box<str>)> =
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    labels.sort();
    labels.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_cluster() {
        assert_eq!(cluster(500, 1), cluster(500, 1));
        assert_ne!(cluster(500, 1).nodes, cluster(500, 2).nodes);
    }

    #[test]
    fn every_size_has_what_the_demo_needs() {
        for size in [0_u32, 1, 2, 3, 4, 50, 3000] {
            for seed in 0..20 {
                let nodes = cluster(size, seed).nodes;
                assert_eq!(nodes.len(), size as usize);
                let num_virtual = nodes.iter().filter(|node| is_virtual(node)).count();
                let want = if size < 3 { 0 } else { (size as usize).div_ceil(NODES_PER_VIRTUAL) };
                assert_eq!(num_virtual, want, "{size} nodes, seed {seed}");
                if let Some(first) = nodes.first() {
                    let instance_type = first.label("node.kubernetes.io/instance-type");
                    assert_eq!(instance_type, Some("ecs.ebmg5.24xlarge"));
                }
                let sorted = |node: &Node| node.labels.is_sorted_by(|a, b| a.0 < b.0);
                assert!(nodes.iter().all(sorted), "labels are looked up by binary search");
            }
        }
    }

    #[test]
    fn zones_are_equal_and_a_rack_lies_in_one_zone() {
        let nodes = cluster(3000, 1).nodes;
        for zone in ZONES {
            let in_zone = |node: &&Node| node.label("topology.kubernetes.io/zone") == Some(zone);
            assert_eq!(nodes.iter().filter(in_zone).count(), 1000);
            let racks = nodes.iter().filter(in_zone);
            let racks = racks.filter_map(|node| node.label("topology.sigma.io/rack"));
            assert!(racks.into_iter().all(|rack| rack.starts_with(zone)));
        }
    }

    #[test]
    fn the_default_load_follows_the_size() {
        let nodes = cluster(300, 1).nodes;
        let all = pods_to_fill(&nodes, 1, 100, usize::MAX);
        assert!(pods_to_fill(&nodes, 1, 50, usize::MAX) < all);
        assert_eq!(pods_to_fill(&nodes, 1, 100, 7), 7);
        assert_eq!(pods_to_fill(&[], 1, 100, usize::MAX), 0);
        let mut asked = Amounts::default();
        PodStream::new(1).take(all).for_each(|pod| asked += pod.requests.base);
        let fixed = nodes.iter().filter(|node| !is_virtual(node));
        let has: i64 = fixed.map(|node| node.allocatable.cpu_milli).sum();
        assert!(asked.cpu_milli >= has / 100 * 100 && asked.cpu_milli < has / 100 * 110);
    }
}
