//! A cluster as an API server writes it: JSON texts of nodes and pods, and the events of a day.
//!
//! Everything is arithmetic on numbers of nodes, pods and versions: nothing is stored per object, so
//! half a million pods cost the generator nothing and any list and any event can be written anew.
//!
//! ```text
//! version   BASE            +1   +2    +3    +4    +5…+7       +8…+9     +10
//!           all are listed  two pods   both are    status of   the two   a node's
//!                           come       bound       three pods  oldest go heartbeat
//! ```

use std::ops::Range;

use super::rng::{GOLDEN, mix};
use super::template::TextTemplate;
use crate::model::Kind;

/// The resource version of the first list.
const BASE: u64 = 1_000_000_000;
/// Events of a round, after which there are as many pods as before.
const ROUND: u64 = 10;
/// Pods of an app.
const REPLICAS: u64 = 20;
/// Where pods without a part in the rounds have their numbers.
const EXTRA: u64 = 1 << 40;

/// Requests, namespaces and priority classes follow from the number of the pod's app.
const CPUS: [&str; 4] = ["250m", "500m", "1", "2"];
const NAMESPACES: [&str; 4] = ["pay", "search", "shop", "spark"];
const PRIORITY_CLASSES: [&str; 4] = ["prod-high", "prod-mid", "prod-mid", "batch-low"];
const TYPES: [(&str, &str, &str); 2] =
    [("ecs.g7.16xlarge", "63500m", "247Gi"), ("ecs.ebmg5.24xlarge", "95500m", "376Gi")];
const ZONES: [&str; 3] = ["cn-hangzhou-h", "cn-hangzhou-i", "cn-hangzhou-j"];

const POD_HOLES: [&str; 10] = [
    "@NAME@",
    "@NAMESPACE@",
    "@PRIORITY_CLASS@",
    "@UID@",
    "@VERSION@",
    "@APP@",
    "@APP_UID@",
    "@CPU@",
    "@NODE@",
    "@PHASE@",
];
const NODE_HOLES: [&str; 8] =
    ["@NAME@", "@UID@", "@VERSION@", "@BEAT@", "@TYPE@", "@ZONE@", "@CPU@", "@MEMORY@"];

/// The cluster.
#[derive(Clone, Debug)]
pub struct Fleet {
    num_nodes: u64,
    num_pods: u64,
    pod: TextTemplate<10>,
    node: TextTemplate<8>,
    namespace: TextTemplate<1>,
}

/// A pod to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodText<'a> {
    /// Its number: name, UID and app follow from it.
    pub number: u64,
    /// `metadata.resourceVersion`.
    pub version: u64,
    /// The number of its node; `None` while it is pending.
    pub node: Option<u64>,
    /// What its larger container asks for.
    pub cpu: &'a str,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A pod comes, is bound, has news of its status, or goes: the event's type, and the pod.
    Pod(&'static str, PodText<'static>),
    /// A node's heartbeat.
    Node(u64),
}

impl Fleet {
    /// A cluster of this size whose pods are texts of `pod_bytes`, or as short as they can be.
    pub fn new(num_nodes: u64, num_pods: u64, pod_bytes: usize) -> Self {
        let padded = |length| {
            let padding = "x".repeat(length);
            TextTemplate::new(&include_str!("pod.json").replace("@PADDING@", &padding), POD_HOLES)
        };
        let mut fleet = Self {
            num_nodes: num_nodes.max(1),
            num_pods: num_pods.max(ROUND),
            pod: padded(0),
            node: TextTemplate::new(include_str!("node.json"), NODE_HOLES),
            namespace: TextTemplate::new(NAMESPACE, ["@NAME@"]),
        };
        let mut shortest = Vec::new();
        fleet.write_pod(&mut shortest, &fleet.listed(num_pods));
        fleet.pod = padded(pod_bytes.saturating_sub(shortest.len()));
        fleet
    }

    /// The version at which event number `num_events` has happened.
    pub fn version(num_events: u64) -> u64 {
        BASE + num_events
    }

    /// The newest version not after `version` at which a list can be taken: between two rounds.
    pub fn list_version(version: u64) -> u64 {
        version - version.saturating_sub(BASE) % ROUND
    }

    /// The numbers of the objects that a list of this version has.
    pub fn numbers(&self, kind: Kind, list_version: u64) -> Range<u64> {
        match kind {
            Kind::NODES => 0..self.num_nodes,
            Kind::NAMESPACES => 0..NAMESPACES.len() as u64,
            Kind::PODS => {
                let rounds = list_version.saturating_sub(BASE) / ROUND;
                2 * rounds..self.num_pods + 2 * rounds
            }
            _ => 0..0,
        }
    }

    /// Appends an object's JSON as a list has it.
    pub fn write_listed(&self, out: &mut Vec<u8>, kind: Kind, number: u64) {
        match kind {
            Kind::NODES => self.write_node(out, number, BASE),
            Kind::NAMESPACES => {
                let name = NAMESPACES[number as usize % NAMESPACES.len()];
                self.namespace.write(out, [name]);
            }
            Kind::PODS => self.write_pod(out, &self.listed(number)),
            // The fleet has no other objects.
            _ => {}
        }
    }

    /// A pod as a list has it.
    pub fn listed(&self, number: u64) -> PodText<'static> {
        PodText {
            number,
            version: BASE,
            node: Some(spread(number) % self.num_nodes),
            cpu: CPUS[(spread(number / REPLICAS) % 4) as usize],
        }
    }

    /// A pod that takes no part in the rounds.
    pub fn extra(number: u64, version: u64, node: Option<u64>, cpu: &str) -> PodText<'_> {
        PodText { number: EXTRA + number, version, node, cpu }
    }

    /// The event that leads to `version`.
    pub fn event(&self, version: u64) -> Event {
        let at = version.saturating_sub(BASE + 1);
        let (round, step) = (at / ROUND, at % ROUND);
        let pod = |kind, number, is_bound: bool| {
            let pod = self.listed(number);
            Event::Pod(kind, PodText { version, node: pod.node.filter(|_| is_bound), ..pod })
        };
        let newest = self.num_pods + 2 * round;
        match step {
            0 | 1 => pod("ADDED", newest + step, false),
            2 | 3 => pod("MODIFIED", newest + step - 2, true),
            4..=6 => {
                // Neither the two that will go nor the two that came.
                let lasting = 2 * round + 2 + spread(version) % (self.num_pods - 2);
                pod("MODIFIED", lasting, true)
            }
            7 | 8 => pod("DELETED", 2 * round + step - 7, true),
            _ => Event::Node(spread(version) % self.num_nodes),
        }
    }

    /// Appends the pod's JSON.
    pub fn write_pod(&self, out: &mut Vec<u8>, pod: &PodText<'_>) {
        let app = pod.number / REPLICAS;
        let kind = (spread(app) % 4) as usize;
        let app_name = format!("app-{app:06}-7d9f8b6c5d");
        let name = format!("{app_name}-{:05x}", pod.number & 0xf_ffff);
        let node = pod.node.map(node_name).unwrap_or_default();
        let values: [&str; 10] = [
            &name,
            NAMESPACES[kind],
            PRIORITY_CLASSES[kind],
            &uid(pod.number, 1),
            &pod.version.to_string(),
            &app_name,
            &uid(app, 2),
            pod.cpu,
            &node,
            if pod.node.is_some() { "Running" } else { "Pending" },
        ];
        self.pod.write(out, values);
    }

    /// Appends the node's JSON.
    pub fn write_node(&self, out: &mut Vec<u8>, node: u64, version: u64) {
        // One in five is bare metal.
        let (instance_type, cpu, memory) = TYPES[usize::from(node.is_multiple_of(5))];
        let values: [&str; 8] = [
            &node_name(node),
            &uid(node, 3),
            &version.to_string(),
            &format!("2026-11-11T{:02}:{:02}:00Z", version / 60 % 24, version % 60),
            instance_type,
            ZONES[(node % 3) as usize],
            cpu,
            memory,
        ];
        self.node.write(out, values);
    }
}

const NAMESPACE: &str = r#"{"metadata": {"labels": {"tier": "production"}, "name": "@NAME@",
    "resourceVersion": "7"}}"#;

/// A node's name, of the length that they have in production.
pub fn node_name(node: u64) -> String {
    format!("cn-hangzhou.10.{}.{}.{}", 100 + node / 62_500, node / 250 % 250, node % 250)
}

/// A number that looks like chance.
fn spread(number: u64) -> u64 {
    mix(number.wrapping_add(1).wrapping_mul(GOLDEN))
}

/// A UUID; `space` tells pods, apps and nodes apart.
fn uid(number: u64, space: u64) -> String {
    let (high, low) = (spread(number), spread(spread(number) ^ space));
    let (a, b, c) = (high >> 32, high >> 16 & 0xffff, high & 0xfff);
    format!("{a:08x}-{b:04x}-4{c:03x}-a{:03x}-{:012x}", low >> 52, low & 0xffff_ffff_ffff)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn json(write: impl FnOnce(&mut Vec<u8>)) -> (serde_json::Value, usize) {
        let mut text = Vec::new();
        write(&mut text);
        (serde_json::from_slice(&text).expect("valid JSON"), text.len())
    }

    #[test]
    fn texts_are_whole_objects_of_the_size_asked_for() {
        let fleet = Fleet::new(100, 5000, 8600);
        let (pod, size) = json(|out| fleet.write_pod(out, &fleet.listed(4711)));
        assert!((8580..8620).contains(&size), "{size}");
        assert_eq!(pod["metadata"]["resourceVersion"], "1000000000");
        let text = pod.to_string();
        assert!(POD_HOLES.iter().all(|hole| !text.contains(hole)), "{text}");
        let (node, _) = json(|out| fleet.write_node(out, 7, 12));
        assert_eq!(node["metadata"]["name"], "cn-hangzhou.10.100.0.7");
        let (_, larger) = json(|out| {
            Fleet::new(100, 5000, 20_000).write_pod(out, &fleet.listed(4711));
        });
        assert!((19_980..20_020).contains(&larger), "{larger}");
    }

    /// Events carried out one by one lead from each list to the next.
    #[test]
    fn lists_and_events_agree() {
        let fleet = Fleet::new(10, 50, 0);
        let mut alive: BTreeSet<u64> = fleet.numbers(Kind::PODS, Fleet::version(0)).collect();
        let mut bound = alive.clone();
        for num_events in 1..=200 {
            let version = Fleet::version(num_events);
            match fleet.event(version) {
                Event::Pod("ADDED", pod) => assert!(alive.insert(pod.number) && pod.node.is_none()),
                Event::Pod("DELETED", pod) => assert!(alive.remove(&pod.number)),
                Event::Pod(_, pod) => {
                    bound.insert(pod.number);
                    assert!(alive.contains(&pod.number) && pod.node.is_some(), "{pod:?}");
                }
                Event::Node(node) => assert!(node < 10),
            }
            if Fleet::list_version(version) == version {
                assert_eq!(alive, fleet.numbers(Kind::PODS, version).collect());
                assert!(alive.is_subset(&bound));
            }
        }
    }
}
