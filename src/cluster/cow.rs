//! Two containers that are cheap to share and cheap to change a little: a page or a shard is copied
//! when a published snapshot still holds it, the rest is shared.

use std::sync::Arc;

use rustc_hash::FxHashMap;

const PAGE: usize = 64;
const SHARDS: usize = 256;

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
    shards: Vec<Arc<FxHashMap<u128, V>>>,
    len: usize,
}

impl<V> Default for Sharded<V> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Arc::default()).collect(), len: 0 }
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
        let shard = self.shards.get_mut(shard_of(key))?;
        let old = Arc::make_mut(shard).insert(key, value);
        self.len += usize::from(old.is_none());
        old
    }

    /// Removes `key`; does not copy a shard that has no such key.
    pub fn remove(&mut self, key: u128) -> Option<V> {
        let shard = self.shards.get_mut(shard_of(key))?;
        if !shard.contains_key(&key) {
            return None;
        }
        self.len -= 1;
        Arc::make_mut(shard).remove(&key)
    }

    /// The value of `key` for changing it, made from `default` when there is none.
    pub fn entry(&mut self, key: u128, default: impl FnOnce() -> V) -> Option<&mut V> {
        let shard = Arc::make_mut(self.shards.get_mut(shard_of(key))?);
        if !shard.contains_key(&key) {
            self.len += 1;
        }
        Some(shard.entry(key).or_insert_with(default))
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
