//! The part of what a pod sees beside the snapshot that nominations take.

use super::{Holds, Uncommitted, respects, shift_claim};
use crate::cluster::Snapshot;
use crate::model::{Amounts, NodeOrd, Pod};

impl Uncommitted {
    /// What is taken on a node.
    pub fn on(&self, ord: NodeOrd) -> Amounts {
        let of = |column: &[i64]| column.get(ord.index()).copied().unwrap_or(0);
        Amounts {
            cpu_milli: of(&self.cpu_milli),
            memory_bytes: of(&self.memory_bytes),
            ephemeral_bytes: of(&self.ephemeral_bytes),
            pods: of(&self.pods),
        }
    }
}

impl Holds {
    /// What nominations take of what [`Holds::seen_by`] lends for `pod`; holds take the rest.
    pub fn nominated_seen_by(&self, snapshot: &Snapshot, pod: &Pod) -> Uncommitted {
        let mut sums = Uncommitted::default();
        sums.fit(snapshot);
        for claim in self.claims_seen_by(snapshot, pod) {
            shift_claim(&mut sums, snapshot, &claim, 1);
        }
        let nominees = snapshot.nominees.iter().map(|(_, nominee)| nominee);
        let unheld = nominees.filter(|it| !self.by_uid.contains_key(&it.claim.uid));
        let of_app = unheld.filter(|it| it.claim.app.is_some() && it.claim.app == pod.app());
        for nominee in of_app.filter(|it| respects(pod, &it.claim)) {
            sums.replicas.push((sums.replicas.len() as u32, nominee.node));
        }
        sums
    }
}
