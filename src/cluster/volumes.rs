//! Where claims and volumes let pods go: what is known of bound claims and their volumes.
//!
//! Of a claim or a volume that says nothing of where its pod may go, nothing is kept: it is as unknown as
//! one that is not there.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::cow::Sharded;
use super::pod_records::Stamp;
use super::state::shared;
use crate::model::{BoundClaim, ObjectName, Pod, PodVolume, VolumeTopology, owner_of};

/// Bound claims, and volumes whose reach is known.
#[derive(Clone, Debug, Default)]
pub struct Volumes {
    claims: Sharded<BoundClaim>,
    reaches: Sharded<Arc<VolumeTopology>>,
}

impl Volumes {
    /// The volumes that a pod mounts, alike ones once; `None` when of one of them it is not known here
    /// where it can be used, or that the pod may use it.
    pub fn of(&self, pod: &Pod) -> Option<Vec<PodVolume>> {
        let mut volumes = Vec::new();
        for it in &pod.claims {
            let claim = self.claims.get(key(it.name))?;
            // Source: `ephemeral.VolumeIsForPod`.
            if it.ephemeral && claim.owner != owner_of(pod.uid) {
                return None;
            }
            let reach = self.reaches.get(key(claim.volume))?.clone();
            let volume = PodVolume { reach, by_zone: !it.ephemeral };
            if !volumes.contains(&volume) {
                volumes.push(volume);
            }
        }
        Some(volumes)
    }

    /// What a claim is bound to.
    pub fn claim(&self, name: ObjectName) -> Option<BoundClaim> {
        self.claims.get(key(name)).copied()
    }

    /// Where a volume can be used.
    pub fn reach(&self, name: ObjectName) -> Option<&VolumeTopology> {
        self.reaches.get(key(name)).map(|it| &**it)
    }

    /// How many claims and volumes are known.
    pub fn counts(&self) -> (usize, usize) {
        (self.claims.len(), self.reaches.len())
    }
}

/// What only the writer needs to know beside them.
#[derive(Debug, Default)]
pub(super) struct VolumeLists {
    /// Stamps of the claims that are known.
    claims: FxHashMap<ObjectName, Stamp>,
    /// The same of volumes.
    volumes: FxHashMap<ObjectName, Stamp>,
    /// What many volumes share.
    reaches: FxHashSet<Arc<VolumeTopology>>,
}

impl VolumeLists {
    /// Takes over what a claim says; false when it is as before.
    pub(super) fn claim_seen(
        &mut self,
        now: &mut Volumes,
        name: ObjectName,
        bound: Option<BoundClaim>,
        stamp: Stamp,
    ) -> bool {
        let Some(bound) = bound else { return self.claim_gone(now, name) };
        self.claims.insert(name, stamp);
        now.claim(name) != Some(bound) && {
            now.claims.insert(key(name), bound);
            true
        }
    }

    /// Forgets a claim; false when it was not known.
    pub(super) fn claim_gone(&mut self, now: &mut Volumes, name: ObjectName) -> bool {
        self.claims.remove(&name);
        now.claims.remove(key(name)).is_some()
    }

    /// Takes over what a volume says; false when it is as before.
    pub(super) fn volume_seen(
        &mut self,
        now: &mut Volumes,
        name: ObjectName,
        reach: Option<&VolumeTopology>,
        stamp: Stamp,
    ) -> bool {
        let Some(reach) = reach else { return self.volume_gone(now, name) };
        self.volumes.insert(name, stamp);
        now.reach(name) != Some(reach) && {
            now.reaches.insert(key(name), shared(&mut self.reaches, reach));
            true
        }
    }

    /// Forgets a volume; false when it was not known.
    pub(super) fn volume_gone(&mut self, now: &mut Volumes, name: ObjectName) -> bool {
        self.volumes.remove(&name);
        now.reaches.remove(key(name)).is_some()
    }

    /// The running list has the claim.
    pub(super) fn claim_unread(&mut self, name: ObjectName, stamp: Stamp) {
        self.claims.entry(name).and_modify(|seen| *seen = stamp);
    }

    /// The running list has the volume.
    pub(super) fn volume_unread(&mut self, name: ObjectName, stamp: Stamp) {
        self.volumes.entry(name).and_modify(|seen| *seen = stamp);
    }

    /// Forgets the claims that a list did not have; gives how many.
    pub(super) fn sweep_claims(&mut self, now: &mut Volumes, stamp: Stamp) -> usize {
        let unseen = unseen(&self.claims, stamp);
        unseen.iter().filter(|name| self.claim_gone(now, **name)).count()
    }

    /// Forgets the volumes that a list did not have; gives how many.
    pub(super) fn sweep_volumes(&mut self, now: &mut Volumes, stamp: Stamp) -> usize {
        let unseen = unseen(&self.volumes, stamp);
        unseen.iter().filter(|name| self.volume_gone(now, **name)).count()
    }

    /// How many kinds of reach there are.
    #[cfg(test)]
    pub(super) fn num_reaches(&self) -> usize {
        self.reaches.len()
    }

    /// Forgets that something is known, as a bug of ours would.
    #[cfg(test)]
    pub(super) fn forget(&mut self, name: ObjectName) {
        self.claims.remove(&name);
        self.volumes.remove(&name);
    }

    /// How many claims and volumes are in the snapshot and not known to be, or the other way round: no list
    /// would ever remove those, or nobody be judged by these.
    pub(super) fn differences(&self, now: &Volumes) -> (usize, usize) {
        let claims = differ(&self.claims, now.claims.len(), |name| now.claim(name).is_some());
        let volumes = differ(&self.volumes, now.reaches.len(), |name| now.reach(name).is_some());
        (claims, volumes)
    }

    /// Takes over what the snapshot has; `stamps` are those of the lists of claims and volumes.
    pub(super) fn repair(&mut self, now: &Volumes, (claims, volumes): (Stamp, Stamp)) {
        self.claims = restamped(&self.claims, now.claims.iter().map(|it| it.0), claims);
        self.volumes = restamped(&self.volumes, now.reaches.iter().map(|it| it.0), volumes);
    }
}

fn unseen(seen: &FxHashMap<ObjectName, Stamp>, stamp: Stamp) -> Vec<ObjectName> {
    seen.iter().filter(|(_, it)| **it != stamp).map(|(name, _)| *name).collect()
}

fn differ(
    seen: &FxHashMap<ObjectName, Stamp>,
    num_known: usize,
    is_known: impl Fn(ObjectName) -> bool,
) -> usize {
    let both = seen.keys().filter(|name| is_known(**name)).count();
    (seen.len() - both) + (num_known - both)
}

fn restamped(
    before: &FxHashMap<ObjectName, Stamp>,
    keys: impl Iterator<Item = u128>,
    stamp: Stamp,
) -> FxHashMap<ObjectName, Stamp> {
    let names = keys.map(|key| ObjectName(key as u64));
    names.map(|name| (name, before.get(&name).copied().unwrap_or(stamp))).collect()
}

/// Shards go by the low bits and by the highest of 128.
fn key(name: ObjectName) -> u128 {
    u128::from(name.0)
}
