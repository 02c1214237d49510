//! What the writer knows of every pod, by UID: dense rows, and a table of their positions.
//!
//! A hash table of whole rows is up to twice as large as its rows, and all of that is touched; there may
//! be half a million pods, of which this is the largest piece.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rustc_hash::FxBuildHasher;

use super::pod_records::KnownPod;
use crate::model::PodUid;

/// Every known pod.
#[derive(Debug, Default)]
pub(super) struct PodIndex {
    rows: Vec<(PodUid, KnownPod)>,
    positions: HashTable<u32>,
}

impl PodIndex {
    /// Number of pods.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// In an order that depends on the changes alone.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(PodUid, KnownPod)> {
        self.rows.iter()
    }

    /// What is known of a pod.
    pub(super) fn get(&self, uid: PodUid) -> Option<&KnownPod> {
        Some(&self.rows[self.position(uid)?].1)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, uid: PodUid) -> Option<&mut KnownPod> {
        let at = self.position(uid)?;
        Some(&mut self.rows[at].1)
    }

    /// Notes a pod, or what is new of it.
    pub(super) fn insert(&mut self, uid: PodUid, known: KnownPod) {
        let Self { rows, positions } = self;
        let is_it = |at: &u32| rows[*at as usize].0 == uid;
        match positions.entry(hash(uid), is_it, |at| hash(rows[*at as usize].0)) {
            Entry::Occupied(at) => rows[*at.get() as usize].1 = known,
            Entry::Vacant(vacant) => {
                vacant.insert(rows.len() as u32);
                rows.push((uid, known));
            }
        }
    }

    /// Forgets a pod; gives what was known.
    pub(super) fn remove(&mut self, uid: PodUid) -> Option<KnownPod> {
        let Self { rows, positions } = self;
        let entry = positions.find_entry(hash(uid), |at| rows[*at as usize].0 == uid).ok()?;
        let (at, _) = entry.remove();
        let (_, known) = rows.swap_remove(at as usize);
        // The last row has taken its place.
        let last = rows.len() as u32;
        if let Some((moved, _)) = rows.get(at as usize)
            && let Some(position) = positions.find_mut(hash(*moved), |it| *it == last)
        {
            *position = at;
        }
        Some(known)
    }

    fn position(&self, uid: PodUid) -> Option<usize> {
        let at = self.positions.find(hash(uid), |at| self.rows[*at as usize].0 == uid)?;
        Some(*at as usize)
    }
}

fn hash(uid: PodUid) -> u64 {
    FxBuildHasher.hash_one(uid)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::cluster::pod_records::ObjectVersion;
    use crate::model::NodeOrd;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0..24_u128, any::<Option<u64>>()), 0..400)) {
            let (mut pods, mut map) = (PodIndex::default(), BTreeMap::new());
            for (uid, step) in steps {
                let uid = PodUid(uid);
                match step {
                    Some(version) => {
                        let known = KnownPod { on: NodeOrd(7), seen: ObjectVersion { stamp: 1, version } };
                        pods.insert(uid, known);
                        map.insert(uid, known);
                    }
                    None => prop_assert_eq!(pods.remove(uid), map.remove(&uid)),
                }
                prop_assert_eq!(pods.get(uid), map.get(&uid));
                prop_assert_eq!(pods.get_mut(uid), map.get_mut(&uid));
                prop_assert_eq!(pods.len(), map.len());
            }
            let rows: BTreeMap<_, _> = pods.iter().copied().collect();
            prop_assert_eq!(&rows, &map);
            for (uid, known) in &map {
                prop_assert_eq!(pods.get(*uid), Some(known));
            }
        }
    }
}
