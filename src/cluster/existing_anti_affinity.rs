//! From whom pods must be apart by their required anti-affinity, and where these pods are.
//!
//! kube-scheduler keeps whoever such a term means from the domains of the pods that have it. Few pods have
//! one, and those of an app have the same: it is kept once for each term, not by pod. A look for a pod starts
//! from the pod's labels, since nearly every term asks for one of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cow::Sharded;
use crate::model::{Namespace, NodeOrd, Pod, PodAffinityTerm};

/// The key of terms that ask for no single label.
const ANY: u128 = u128::MAX;

/// `(node, pods)` of each node that carries some, sorted by ordinal.
type Places = Vec<(NodeOrd, u32)>;

/// The terms that ask for one label, and where the pods are that have them.
type Row = BTreeMap<Arc<PodAffinityTerm>, Arc<Places>>;

/// Terms by which pods must be apart from others, and where these pods are.
#[derive(Clone, Debug, Default)]
pub struct ExistingAntiAffinity {
    rows: Sharded<Arc<Row>>,
}

impl ExistingAntiAffinity {
    /// True when nobody must be apart from anybody.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The terms that mean this pod, and how many pods that have them are on which nodes.
    pub fn against<'a>(
        &'a self,
        pod: &'a Pod,
        namespaces: &'a BTreeMap<Box<str>, Namespace>,
    ) -> impl Iterator<Item = (&'a Arc<PodAffinityTerm>, &'a [(NodeOrd, u32)])> {
        let home = namespaces.get(&pod.namespace).filter(|_| !self.is_empty());
        let labels = pod.labels.pairs().iter().map(|(key, value)| u128::from(key.with(*value)));
        let rows = labels.chain([ANY]).filter_map(|key| self.rows.get(key));
        rows.flat_map(|row| row.iter())
            .filter(move |(term, _)| term.means(&pod.labels, home))
            .map(|(term, places)| (term, places.as_slice()))
    }

    /// Adds (`+1`) a pod with these terms on a node, or takes it away (`-1`); on [`NodeOrd::UNKNOWN`] while it
    /// has none. To take one away that was never added changes nothing.
    pub fn count(&mut self, terms: &[PodAffinityTerm], ord: NodeOrd, delta: i32) {
        for term in terms {
            let key = key_of(term);
            if delta < 0 && self.rows.get(key).is_none_or(|row| !row.contains_key(term)) {
                continue;
            }
            let Some(row) = self.rows.entry(key, Arc::default) else { continue };
            let row = Arc::make_mut(row);
            let Some(places) = row.get_mut(term) else {
                row.insert(Arc::new(term.clone()), Arc::new(vec![(ord, delta.unsigned_abs())]));
                continue;
            };
            shift(Arc::make_mut(places), ord, delta);
            if places.is_empty() {
                row.remove(term);
            }
            if row.is_empty() {
                self.rows.remove(key);
            }
        }
    }

    /// How many rows differ.
    pub(super) fn differences(&self, other: &Self) -> usize {
        let changed = self.rows.iter().filter(|(key, row)| other.rows.get(*key) != Some(row));
        let missing = other.rows.iter().filter(|(key, _)| self.rows.get(*key).is_none());
        changed.count() + missing.count()
    }
}

fn key_of(term: &PodAffinityTerm) -> u128 {
    term.common_label().map_or(ANY, |(key, value)| key.with(value).into())
}

fn shift(places: &mut Places, ord: NodeOrd, delta: i32) {
    match places.binary_search_by_key(&ord, |(node, _)| *node) {
        Ok(at) => {
            places[at].1 = places[at].1.saturating_add_signed(delta);
            if places[at].1 == 0 {
                places.remove(at);
            }
        }
        Err(at) if delta > 0 => places.insert(at, (ord, delta.unsigned_abs())),
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HashedText, LabelOperator, LabelSet, Namespaces, Requirement};
    use crate::testing::pod;

    /// A term on nodes that means pods of these apps in `default`; all of them when there are none.
    fn term(apps: &[&str]) -> PodAffinityTerm {
        let values = apps.iter().map(|app| HashedText::of(app)).collect();
        let asked = Requirement { key: HashedText::of("app"), is: LabelOperator::In(values) };
        let asked = (!apps.is_empty()).then_some(asked);
        let named = [HashedText::of("default")].into();
        PodAffinityTerm {
            key: "host".into(),
            selector: Some(asked.into_iter().collect()),
            namespaces: Namespaces { named, selected: None },
        }
    }

    fn of(app: &str) -> Pod {
        let labels = [("app", app), ("tier", "one")];
        let labels = labels.map(|(key, value)| (HashedText::of(key), HashedText::of(value)));
        Pod { labels: LabelSet::new("default", labels), ..pod(1, 1) }
    }

    #[test]
    fn a_pod_is_kept_off_while_somebody_is_there_who_must_be_apart_from_it() {
        let terms = [term(&["cart"]), term(&["cart", "song"]), term(&[])];
        let mut existing_anti_affinity = ExistingAntiAffinity::default();
        let nobody = BTreeMap::new();
        let against = |existing_anti_affinity: &ExistingAntiAffinity, app| {
            let pod = of(app);
            let mut all: Places = existing_anti_affinity
                .against(&pod, &nobody)
                .flat_map(|it| it.1.to_vec())
                .collect();
            all.sort_unstable();
            all
        };
        for (at, ord) in [(0, 3), (0, 1), (0, 3), (1, 2), (2, 5)] {
            existing_anti_affinity.count(&terms[at..=at], NodeOrd(ord), 1);
        }
        let on = |all: &[(u32, u32)]| -> Places {
            all.iter().map(|(ord, pods)| (NodeOrd(*ord), *pods)).collect()
        };
        assert_eq!(against(&existing_anti_affinity, "cart"), on(&[(1, 1), (2, 1), (3, 2), (5, 1)]));
        assert_eq!(against(&existing_anti_affinity, "song"), on(&[(2, 1), (5, 1)]));
        assert_eq!(against(&existing_anti_affinity, "mail"), on(&[(5, 1)]));
        let published = existing_anti_affinity.clone();
        for (at, ord) in [(0, 3), (0, 9), (1, 2), (1, 2), (2, 5), (0, 1)] {
            existing_anti_affinity.count(&terms[at..=at], NodeOrd(ord), -1);
        }
        assert_eq!(
            (against(&existing_anti_affinity, "cart"), against(&existing_anti_affinity, "song")),
            (on(&[(3, 1)]), on(&[]))
        );
        assert_eq!(
            (
                existing_anti_affinity.differences(&published),
                published.differences(&existing_anti_affinity)
            ),
            (2, 2)
        );
        existing_anti_affinity.count(&terms[..1], NodeOrd(3), -1);
        assert!(existing_anti_affinity.is_empty() && !published.is_empty());
        assert_eq!(against(&published, "mail"), on(&[(5, 1)]));
        assert_eq!(
            (
                existing_anti_affinity.differences(&published),
                published.differences(&existing_anti_affinity)
            ),
            (2, 2)
        );
    }
}
