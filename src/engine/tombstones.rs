//! Pods that are gone. kube-scheduler may hear of that later than we do and ask about one once more:
//! nothing that is noted then would ever be taken back by an event.

use std::collections::VecDeque;

use rustc_hash::FxHashSet;

use crate::cluster::Confirmed;
use crate::model::PodUid;

/// Deletions that are remembered. At a thousand a second, kube-scheduler may be four seconds behind.
const MAX_PODS: usize = 4096;

/// The last pods that are gone.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    uids: FxHashSet<PodUid>,
    oldest_first: VecDeque<PodUid>,
}

impl Tombstones {
    /// Takes note of what a publication confirmed.
    pub(super) fn confirm(&mut self, confirmed: Confirmed) {
        match confirmed {
            Confirmed::Gone(uid) => self.note(uid),
            Confirmed::Restored(uid) => self.forget(uid),
            Confirmed::Placed(_) | Confirmed::Recycled(_) => {}
        }
    }

    fn note(&mut self, uid: PodUid) {
        if !self.uids.insert(uid) {
            return;
        }
        self.oldest_first.push_back(uid);
        if self.oldest_first.len() > MAX_PODS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.uids.remove(&oldest);
        }
    }

    /// The pod is back, from a backup of the API server's store.
    fn forget(&mut self, uid: PodUid) {
        if self.uids.remove(&uid) {
            self.oldest_first.retain(|it| *it != uid);
        }
    }

    pub(super) fn contains(&self, uid: PodUid) -> bool {
        self.uids.contains(&uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_remembered_each_once() {
        let mut gone = Tombstones::default();
        (0..MAX_PODS as u128).for_each(|uid| gone.note(PodUid(uid)));
        gone.note(PodUid(7));
        assert!(gone.contains(PodUid(0)));
        gone.note(PodUid(1 << 20));
        assert!(!gone.contains(PodUid(0)) && gone.contains(PodUid(1)));
        assert_eq!((gone.uids.len(), gone.oldest_first.len()), (MAX_PODS, MAX_PODS));
        gone.forget(PodUid(1));
        gone.forget(PodUid(1));
        assert!(!gone.contains(PodUid(1)) && gone.contains(PodUid(2)));
        assert_eq!((gone.uids.len(), gone.oldest_first.len()), (MAX_PODS - 1, MAX_PODS - 1));
    }
}
