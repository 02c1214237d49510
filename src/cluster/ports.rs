//! Which nodes have which host ports taken. Few pods take any, so this is kept by port, not by node.

use crate::model::{HostPort, NodeOrd};

/// Where a port is taken, whatever addresses it is taken on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortRow {
    /// `(node, port, pods)`, sorted.
    taken: Vec<(NodeOrd, HostPort, u32)>,
}

/// The key of a port's row: ports that may conflict are in one.
pub(super) fn key(port: &HostPort) -> u128 {
    // Rows are in shards by the low bits.
    u128::from(port.port) | (port.protocol as u128) << 16
}

impl PortRow {
    /// The nodes on which this port cannot be had any more.
    pub(super) fn nodes_with(&self, port: HostPort) -> impl Iterator<Item = NodeOrd> + '_ {
        self.taken.iter().filter(move |it| it.1.conflicts(&port)).map(|it| it.0)
    }

    /// True when no node has it taken.
    pub(super) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    /// Adds (`+1`) or removes (`-1`) a pod that takes it.
    pub(super) fn count(&mut self, ord: NodeOrd, port: HostPort, delta: i32) {
        match self.taken.binary_search_by_key(&(ord, port), |it| (it.0, it.1)) {
            Ok(at) => {
                let pods = self.taken[at].2.saturating_add_signed(delta);
                self.taken[at].2 = pods;
                if pods == 0 {
                    self.taken.remove(at);
                }
            }
            Err(at) if delta > 0 => self.taken.insert(at, (ord, port, delta.unsigned_abs())),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HashedText, Protocol};

    #[test]
    fn a_port_is_free_again_when_its_last_pod_is_gone() {
        let port = |ip: &str| HostPort {
            port: 80,
            protocol: Protocol::Tcp,
            ip: (!ip.is_empty()).then(|| HashedText::of(ip)),
        };
        let mut row = PortRow::default();
        for (ord, ip) in [(3, ""), (1, "10.0.0.1"), (1, "10.0.0.1"), (2, "10.0.0.2")] {
            row.count(NodeOrd(ord), port(ip), 1);
        }
        let with = |row: &PortRow, ip| row.nodes_with(port(ip)).collect::<Vec<_>>();
        assert_eq!(with(&row, ""), [NodeOrd(1), NodeOrd(2), NodeOrd(3)]);
        assert_eq!(with(&row, "10.0.0.1"), [NodeOrd(1), NodeOrd(3)]);
        row.count(NodeOrd(1), port("10.0.0.1"), -1);
        row.count(NodeOrd(2), port(""), -1);
        assert_eq!(with(&row, ""), [NodeOrd(1), NodeOrd(2), NodeOrd(3)]);
        for (ord, ip) in [(1, "10.0.0.1"), (2, "10.0.0.2"), (3, "")] {
            row.count(NodeOrd(ord), port(ip), -1);
        }
        assert!(row.is_empty());
    }
}
