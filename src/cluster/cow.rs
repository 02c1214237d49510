//! Three containers that are cheap to share and cheap to change a little: a page or a shard is copied
//! when a published snapshot still holds it, the rest is shared; a column is flat, for those who read
//! it, and so has a spare copy to be changed in its place.

use std::ops::Deref;
use std::sync::Arc;

use rustc_hash::FxHashMap;

const PAGE: usize = 64;
const SHARDS: usize = 256;

/// A flat array. Changing it while a snapshot shares it does not copy it: the array of the snapshot
/// before, which nobody reads any more, is brought up to date with the few cells that changed since.
#[derive(Debug)]
pub struct Column<T> {
    cells: Arc<Vec<T>>,
    /// Was `cells` before; equals it but for what `changed` names.
    spare: Option<Arc<Vec<T>>>,
    changed: Vec<usize>,
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self { cells: Arc::default(), spare: None, changed: Vec::new() }
    }
}

/// A copy is for reading: it has no spare.
impl<T> Clone for Column<T> {
    fn clone(&self) -> Self {
        Self { cells: self.cells.clone(), ..Self::default() }
    }
}

impl<T> From<Vec<T>> for Column<T> {
    fn from(cells: Vec<T>) -> Self {
        Self { cells: Arc::new(cells), ..Self::default() }
    }
}

impl<T> Deref for Column<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.cells
    }
}

impl<T: Copy + PartialEq> Column<T> {
    /// Sets a cell; one that is not there stays away.
    pub fn set(&mut self, at: usize, value: T) {
        if self.get(at).is_none_or(|cell| *cell == value) {
            return;
        }
        if Arc::get_mut(&mut self.cells).is_none() {
            self.refill_spare();
        }
        // Nobody else has it now, so this copies nothing.
        Arc::make_mut(&mut self.cells)[at] = value;
        if self.changed.len() < self.cells.len() / 8 {
            self.changed.push(at);
        } else {
            // Copying all of it costs no more.
            (self.spare, self.changed) = (None, Vec::new());
        }
    }

    /// Makes it this long.
    pub fn grow(&mut self, rows: usize, empty: T) {
        if self.cells.len() < rows {
            (self.spare, self.changed) = (None, Vec::new());
            Arc::make_mut(&mut self.cells).resize(rows, empty);
        }
    }

    /// Leaves the cells to whoever shares them and goes on with the spare ones.
    fn refill_spare(&mut self) {
        let mut fresh = match self.spare.take().map(Arc::try_unwrap) {
            Some(Ok(mut spare)) => {
                self.changed.iter().for_each(|at| spare[*at] = self.cells[*at]);
                Arc::new(spare)
            }
            _ => Arc::new(Vec::clone(&self.cells)),
        };
        self.changed.clear();
        std::mem::swap(&mut self.cells, &mut fresh);
        self.spare = Some(fresh);
    }
}

/// A growable array of pages.
#[derive(Clone, Debug)]
pub struct Paged<T> {
    pages: Arc<Vec<Arc<Vec<T>>>>,
    len: usize,
}

impl<T> Default for Paged<T> {
    fn default() -> Self {
        Self { pages: Arc::default(), len: 0 }
    }
}

impl<T: Clone + Default> Paged<T> {
    /// Number of items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The item at `at`.
    pub fn get(&self, at: usize) -> Option<&T> {
        self.pages.get(at / PAGE)?.get(at % PAGE)
    }

    /// The item at `at` for changing it; copies its page when a snapshot shares it.
    pub fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        if at >= self.len {
            return None;
        }
        let page = Arc::make_mut(&mut self.pages).get_mut(at / PAGE)?;
        Arc::make_mut(page).get_mut(at % PAGE)
    }

    /// Appends an empty item.
    pub fn grow(&mut self) {
        let pages = Arc::make_mut(&mut self.pages);
        if self.len.is_multiple_of(PAGE) {
            pages.push(Arc::default());
        }
        if let Some(page) = pages.last_mut() {
            Arc::make_mut(page).push(T::default());
            self.len += 1;
        }
    }

    /// All items in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flat_map(|page| page.iter())
    }
}

/// A map from 128-bit keys that are already well spread (UUIDs and digests).
#[derive(Clone, Debug)]
pub struct Sharded<V> {
    shards: Arc<Vec<Arc<FxHashMap<u128, V>>>>,
    len: usize,
}

impl<V> Default for Sharded<V> {
    fn default() -> Self {
        Self { shards: Arc::new(vec![Arc::default(); SHARDS]), len: 0 }
    }
}

impl<V: Clone> Sharded<V> {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of `key`.
    pub fn get(&self, key: u128) -> Option<&V> {
        self.shards.get(shard_of(key))?.get(&key)
    }

    /// Sets the value of `key` and gives the old one back.
    pub fn insert(&mut self, key: u128, value: V) -> Option<V> {
        let old = self.shard_mut(key)?.insert(key, value);
        self.len += usize::from(old.is_none());
        old
    }

    /// Removes `key`; does not copy a shard that has no such key.
    pub fn remove(&mut self, key: u128) -> Option<V> {
        self.get(key)?;
        self.len -= 1;
        self.shard_mut(key)?.remove(&key)
    }

    /// The value of `key` for changing it, made from `default` when there is none.
    pub fn entry(&mut self, key: u128, default: impl FnOnce() -> V) -> Option<&mut V> {
        self.len += usize::from(self.get(key).is_none());
        Some(self.shard_mut(key)?.entry(key).or_insert_with(default))
    }

    fn shard_mut(&mut self, key: u128) -> Option<&mut FxHashMap<u128, V>> {
        Some(Arc::make_mut(Arc::make_mut(&mut self.shards).get_mut(shard_of(key))?))
    }

    /// All entries, in no order that may reach an output.
    pub fn iter(&self) -> impl Iterator<Item = (u128, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter().map(|(key, value)| (*key, value)))
    }
}

fn shard_of(key: u128) -> usize {
    // A UUIDv4 has its version bits in the middle; both ends are random.
    ((key ^ (key >> 96)) as usize) % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_what_a_plain_array_would_be_however_it_is_shared() {
        let (mut column, mut plain) = (Column::<u64>::default(), Vec::new());
        let mut snapshots: Vec<(Column<u64>, Vec<u64>)> = Vec::new();
        for round in 1..=400_u64 {
            if round % 100 == 1 {
                plain.resize(plain.len() + 40, 0);
                column.grow(plain.len(), 0);
            }
            // From none to more than what a spare copy is worth refilling with.
            for step in 0..round % 60 {
                let at = (round * 31 + step * 7) as usize % plain.len();
                plain[at] = round + step;
                column.set(at, round + step);
            }
            column.set(plain.len(), 1);
            assert_eq!(*column, plain, "round {round}");
            snapshots.push((column.clone(), plain.clone()));
            // Readers let go at once, late, or hold several.
            if round % 7 != 0 {
                snapshots.drain(..snapshots.len() - (round % 3) as usize);
            }
            assert!(snapshots.iter().all(|(column, plain)| **column == **plain), "round {round}");
        }
    }

    #[test]
    fn changing_a_shared_column_again_reuses_what_nobody_reads_any_more() {
        let mut column = Column::from(vec![0; 1000]);
        let mut seen = std::collections::BTreeSet::new();
        for round in 1..50 {
            let _picture = column.clone();
            column.set(round, round);
            seen.insert(column.as_ptr());
        }
        assert_eq!(seen.len(), 2, "two arrays take turns");
    }

    #[test]
    fn a_published_copy_does_not_see_later_changes() {
        let mut paged = Paged::<u32>::default();
        for _ in 0..200 {
            paged.grow();
        }
        let before = paged.clone();
        if let Some(item) = paged.get_mut(130) {
            *item = 7;
        }
        assert_eq!((before.get(130), paged.get(130)), (Some(&0), Some(&7)));
        assert_eq!((paged.len(), paged.iter().count()), (200, 200));
        assert_eq!(paged.get(200), None);
        assert_eq!(paged.get_mut(200), None);

        let mut map = Sharded::<u32>::default();
        map.insert(5, 1);
        let before = map.clone();
        assert_eq!(map.insert(5, 2), Some(1));
        assert_eq!((before.get(5), map.get(5)), (Some(&1), Some(&2)));
        assert_eq!((map.remove(6), map.remove(5), map.len(), before.len()), (None, Some(2), 0, 1));
    }
}
