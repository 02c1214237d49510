//! Where claims and volumes let pods go.
//!
//! Nothing is kept of a claim or a volume that does not restrict its pod: the object counts as unknown.

use super::tables::Tables;
use crate::model::{Pod, PodVolume, owner_of};

impl Tables {
    /// The volumes that a pod mounts, equal ones once. `None` if the topology of a volume is unknown, or
    /// if the pod may not use the volume.
    pub fn volumes_of(&self, pod: &Pod) -> Option<Vec<PodVolume>> {
        let mut volumes = Vec::new();
        for it in &pod.claims {
            let claim = self.claims.get(it.name)?;
            // Source: `ephemeral.VolumeIsForPod`.
            if it.ephemeral && claim.owner != owner_of(pod.uid) {
                return None;
            }
            let reach = self.volumes.get(claim.volume)?.clone();
            let volume = PodVolume { reach, by_zone: !it.ephemeral };
            if !volumes.contains(&volume) {
                volumes.push(volume);
            }
        }
        Some(volumes)
    }
}
