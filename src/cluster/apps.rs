//! Where each app's replicas are: by node, and by domain on the levels that have few domains.

use crate::model::{DomainLevel, DomainOrd, LabelSet, NodeOrd};

/// The levels on which replicas are counted as they come and go, so that no request counts them.
/// Narrower ones have about as many domains as an app has replicas.
const COUNTED: [DomainLevel; 2] = [DomainLevel::Region, DomainLevel::Zone];

/// The replicas of an app that are on nodes.
#[derive(Clone, Debug, Default)]
pub struct AppRow {
    nodes: Vec<(NodeOrd, u32)>,
    domains: Vec<(DomainLevel, DomainOrd, u32)>,
    total: u32,
    labels: Option<LabelSet>,
}

impl AppRow {
    /// `(node, replicas)` of each node that carries some, sorted by ordinal.
    pub fn nodes(&self) -> &[(NodeOrd, u32)] {
        &self.nodes
    }

    /// `(domain, replicas)` of each domain of a level that carries some, sorted by ordinal; `None` for
    /// a level on which they are not counted. Nodes that do not tell their domain are in none.
    pub fn domains(&self, level: DomainLevel) -> Option<impl Iterator<Item = (DomainOrd, u32)>> {
        let of_level = self.domains.iter().filter(move |it| it.0 == level);
        COUNTED.contains(&level).then(|| of_level.map(|it| (it.1, it.2)))
    }

    /// Replicas on all nodes.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// The labels that all of its replicas had that were placed since it had none; `None` before the first.
    /// What tells replicas from each other (the name of a StatefulSet's pod) is not among them.
    pub fn labels(&self) -> Option<&LabelSet> {
        self.labels.as_ref()
    }

    /// What they have in common with a further replica.
    pub(super) fn labels_with(&self, more: &LabelSet) -> LabelSet {
        self.labels.as_ref().map_or_else(|| more.clone(), |labels| labels.common(more))
    }

    /// Notes what all have in common: to be known from the pods themselves, not from their records.
    pub(super) fn set_labels(&mut self, labels: LabelSet) {
        self.labels = Some(labels);
    }

    /// True when both count the same replicas.
    pub(super) fn same_counts(&self, other: &Self) -> bool {
        (&self.nodes, &self.domains, self.total) == (&other.nodes, &other.domains, other.total)
    }

    /// Adds (`+1`) or removes (`-1`) a replica on a node that is in these domains. To remove one that
    /// was never added changes nothing.
    pub(super) fn count(&mut self, ord: NodeOrd, path: [DomainOrd; 4], delta: i32) {
        match self.nodes.binary_search_by_key(&ord, |(node, _)| *node) {
            Ok(at) => {
                let replicas = self.nodes[at].1.saturating_add_signed(delta);
                if replicas == 0 {
                    self.nodes.remove(at);
                } else {
                    self.nodes[at].1 = replicas;
                }
            }
            Err(at) if delta > 0 => self.nodes.insert(at, (ord, delta.unsigned_abs())),
            Err(_) => return,
        }
        self.total = self.total.saturating_add_signed(delta);
        self.shift(path, delta);
    }

    /// The node of one of the replicas has changed its domains.
    pub(super) fn relocate(&mut self, from: [DomainOrd; 4], to: [DomainOrd; 4]) {
        self.shift(from, -1);
        self.shift(to, 1);
    }

    fn shift(&mut self, path: [DomainOrd; 4], delta: i32) {
        for level in COUNTED {
            let domain = path[level as usize];
            if domain == DomainOrd::NONE {
                continue;
            }
            match self.domains.binary_search_by_key(&(level, domain), |it| (it.0, it.1)) {
                Ok(at) => {
                    let replicas = self.domains[at].2.saturating_add_signed(delta);
                    if replicas == 0 {
                        self.domains.remove(at);
                    } else {
                        self.domains[at].2 = replicas;
                    }
                }
                // Most apps are in few: twice the room at a time would mostly stay empty.
                Err(at) if delta > 0 => {
                    self.domains.reserve_exact(1);
                    self.domains.insert(at, (level, domain, delta.unsigned_abs()));
                }
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: DomainOrd = DomainOrd::NONE;

    #[test]
    fn rows_stay_sorted_and_drop_what_is_empty() {
        let mut row = AppRow::default();
        let zone = |zone| [DomainOrd(0), DomainOrd(zone), NONE, DomainOrd(9)];
        for ord in [5, 1, 5, 3] {
            row.count(NodeOrd(ord), zone(ord), 1);
        }
        assert_eq!(row.nodes(), [(NodeOrd(1), 1), (NodeOrd(3), 1), (NodeOrd(5), 2)]);
        row.count(NodeOrd(1), zone(1), -1);
        row.count(NodeOrd(9), zone(5), -1);
        assert_eq!((row.total(), row.nodes().len()), (3, 2));
        let domains = |row: &AppRow, level| row.domains(level).map(Iterator::collect::<Vec<_>>);
        let zones = [(DomainOrd(3), 1), (DomainOrd(5), 2)];
        assert_eq!(domains(&row, DomainLevel::Zone), Some(zones.to_vec()));
        assert_eq!(domains(&row, DomainLevel::Region), Some(vec![(DomainOrd(0), 3)]));
        assert_eq!(domains(&row, DomainLevel::Machine), None);
        row.relocate(zone(5), [DomainOrd(0), NONE, NONE, NONE]);
        let zones = [(DomainOrd(3), 1), (DomainOrd(5), 1)];
        assert_eq!(domains(&row, DomainLevel::Zone), Some(zones.to_vec()));
        assert_eq!(row.total(), 3);
    }
}
