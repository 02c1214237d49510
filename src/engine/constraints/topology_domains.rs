//! Domains: nodes that have one value of a label, and counts by domain.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::cluster::Snapshot;
use crate::model::NodeOrd;

/// Of a node without the label.
const NONE: u32 = u32::MAX;

/// Most keys that are kept: whatever pods ask for, there are few.
const MAX_KEYS: usize = 16;

/// Domains by the key of their label, for as long as nodes stay what they are.
#[derive(Debug, Default)]
pub(crate) struct TopologyDomains {
    nodes_version: u64,
    known: FxHashMap<Box<str>, Arc<Domains>>,
}

impl TopologyDomains {
    pub(super) fn domains(&mut self, snapshot: &Snapshot, key: &str) -> Arc<Domains> {
        let is_full = self.known.len() >= MAX_KEYS && !self.known.contains_key(key);
        if self.nodes_version != snapshot.nodes_version || is_full {
            self.nodes_version = snapshot.nodes_version;
            self.known.clear();
        }
        if let Some(known) = self.known.get(key) {
            return known.clone();
        }
        let domains = Arc::new(Domains::of(snapshot, key));
        self.known.insert(key.into(), domains.clone());
        domains
    }
}

/// Which domain each node is in.
#[derive(Debug)]
pub(super) struct Domains {
    of: Vec<u32>,
    pub(super) num: usize,
}

impl Domains {
    fn of(snapshot: &Snapshot, key: &str) -> Self {
        let mut known: FxHashMap<&str, u32> = FxHashMap::default();
        let nodes = snapshot.nodes.iter().take(snapshot.capacity());
        let of = nodes.map(|node| {
            let value = node.as_ref().and_then(|node| node.label(key));
            value.map_or(NONE, |value| {
                let next = known.len() as u32;
                *known.entry(value).or_insert(next)
            })
        });
        let of = of.collect();
        Self { of, num: known.len() }
    }

    /// The node's domain; `None` when it has no such label.
    pub(super) fn at(&self, ord: NodeOrd) -> Option<usize> {
        self.of.get(ord.index()).filter(|at| **at != NONE).map(|at| *at as usize)
    }
}

/// How many pods are in each domain.
#[derive(Debug)]
pub(super) struct CountedPods {
    domains: Arc<Domains>,
    counts: Vec<u32>,
}

impl CountedPods {
    pub(super) fn new(domains: Arc<Domains>) -> Self {
        Self { counts: vec![0; domains.num], domains }
    }

    /// The pods in the node's domain; `None` when it is in none.
    pub(super) fn at(&self, ord: NodeOrd) -> Option<u32> {
        self.domains.at(ord).map(|at| self.counts[at])
    }

    /// The node's domain.
    pub(super) fn domain(&self, ord: NodeOrd) -> Option<usize> {
        self.domains.at(ord)
    }

    pub(super) fn add(&mut self, ord: NodeOrd, pods: u32) {
        if let Some(at) = self.domains.at(ord) {
            self.counts[at] = self.counts[at].saturating_add(pods);
        }
    }
}
