//! The physical topology as a graph (petgraph), loaded from node labels.
//!
//! Regions hold zones, zones racks, racks hosts. Nodes name as much of their path as their labels
//! tell; what one node leaves out is filled in from what its neighbours say of the same domain (a
//! node that names only its rack gets that rack's zone). Rules never walk the graph: they read the
//! flat columns that [`Topology::place`] gives.

use petgraph::Direction::Outgoing;
use petgraph::graph::{DiGraph, NodeIndex};
use rustc_hash::FxHashMap;

use crate::model::{DomainLevel, DomainOrd, Node};

/// A failure domain.
#[derive(Clone, Debug)]
struct Domain {
    level: DomainLevel,
    ord: DomainOrd,
    name: Box<str>,
}

/// The graph of failure domains; an edge leads from a domain to the one around it.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    graph: DiGraph<Domain, ()>,
    index: FxHashMap<(DomainLevel, Box<str>), NodeIndex>,
    counts: [u32; 4],
}

impl Topology {
    /// Learns what a node's labels say and returns its domain on each level, wide to narrow.
    ///
    /// True when a domain known before has learned what is around it: that may complete the paths of
    /// other nodes in it.
    pub fn place(&mut self, node: &Node) -> ([DomainOrd; 4], bool) {
        let mut completes = false;
        let mut inner: Option<(NodeIndex, bool)> = None;
        let mut narrowest = None;
        for level in DomainLevel::ALL.into_iter().rev() {
            let Some(name) = node.label(level.label()).filter(|name| !name.is_empty()) else {
                continue;
            };
            let (at, new) = self.domain(level, name);
            narrowest = narrowest.or(Some(at));
            if let Some((inner, new)) = inner
                && !self.has_parent(inner)
            {
                self.graph.add_edge(inner, at, ());
                completes |= !new;
            }
            inner = Some((at, new));
        }
        let mut path = [DomainOrd::NONE; 4];
        let mut next = narrowest;
        while let Some(at) = next {
            if let Some(domain) = self.graph.node_weight(at) {
                path[domain.level as usize] = domain.ord;
            }
            next = self.graph.neighbors_directed(at, Outgoing).next();
        }
        // A node's own word beats what its neighbours say.
        for level in DomainLevel::ALL {
            if let Some(ord) = node.label(level.label()).and_then(|name| self.ord(level, name)) {
                path[level as usize] = ord;
            }
        }
        (path, completes)
    }

    /// The domain that a label value names on a level.
    pub fn ord(&self, level: DomainLevel, name: &str) -> Option<DomainOrd> {
        let at = self.index.get(&(level, name.into()))?;
        self.graph.node_weight(*at).map(|domain| domain.ord)
    }

    /// The name of a domain.
    pub fn name(&self, level: DomainLevel, ord: DomainOrd) -> Option<&str> {
        let mut all = self.graph.node_weights();
        all.find(|it| it.level == level && it.ord == ord).map(|it| &*it.name)
    }

    /// Number of domains on a level.
    pub fn count(&self, level: DomainLevel) -> u32 {
        self.counts[level as usize]
    }

    /// Grows with everything that is learned.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.graph.node_count(), self.graph.edge_count())
    }

    fn has_parent(&self, at: NodeIndex) -> bool {
        self.graph.neighbors_directed(at, Outgoing).next().is_some()
    }

    fn domain(&mut self, level: DomainLevel, name: &str) -> (NodeIndex, bool) {
        let key = (level, Box::from(name));
        if let Some(&at) = self.index.get(&key) {
            return (at, false);
        }
        let count = &mut self.counts[level as usize];
        let domain = Domain { level, ord: DomainOrd(*count), name: name.into() };
        *count += 1;
        let at = self.graph.add_node(domain);
        self.index.insert(key, at);
        (at, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(labels: &[(DomainLevel, &str)]) -> Node {
        let mut labels: Vec<(Box<str>, Box<str>)> =
            labels.iter().map(|&(level, name)| (level.label().into(), name.into())).collect();
        labels.sort();
        Node { labels: labels.into(), ..Node::default() }
    }

    #[test]
    fn a_neighbour_completes_a_path() {
        use DomainLevel::{Rack, Region, Zone};
        let mut topology = Topology::default();
        let (bare, completes) = topology.place(&node(&[(Rack, "r1")]));
        assert_eq!((bare[1], bare[2], completes), (DomainOrd::NONE, DomainOrd(0), false));
        let (full, completes) = topology.place(&node(&[(Region, "cn"), (Zone, "a"), (Rack, "r1")]));
        assert!(completes);
        assert_eq!(full[..3], [DomainOrd(0), DomainOrd(0), DomainOrd(0)]);
        let (completed, completes) = topology.place(&node(&[(Rack, "r1")]));
        assert_eq!((completed, completes), (full, false));
        assert_eq!(topology.name(Zone, DomainOrd(0)), Some("a"));
        assert_eq!((topology.count(Zone), topology.ord(Zone, "b")), (1, None));
    }

    #[test]
    fn a_nodes_own_word_beats_its_neighbours() {
        use DomainLevel::{Rack, Zone};
        let mut topology = Topology::default();
        topology.place(&node(&[(Zone, "a"), (Rack, "r1")]));
        let (path, _) = topology.place(&node(&[(Zone, "b"), (Rack, "r1")]));
        assert_eq!(Some(path[1]), topology.ord(Zone, "b"));
        // Contradicting labels cannot make a cycle: a domain keeps its first parent.
        topology.place(&node(&[(Zone, "r1"), (Rack, "a")]));
    }
}
