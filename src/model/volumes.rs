//! Claims and volumes, reduced to where a bound volume lets its pod go.
//!
//! Names are kept as hashes: they are only ever compared, and there may be 100,000 of each. That two of
//! 64 bits are the same is one chance in a billion then, and costs one look by kube-scheduler.

use std::sync::Arc;

use super::constraints::NodeTerm;
use super::ids::{PodUid, mix};
use super::kind::{Fact, Kind};

/// The name of a claim or a volume, hashed; the same in every process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName(pub u64);

impl ObjectName {
    /// Of an object in a namespace, which is empty for one that is in none.
    pub fn of(namespace: &str, name: &str) -> Self {
        Self::of_parts(namespace, &[name])
    }

    /// The same of a name in parts.
    pub fn of_parts(namespace: &str, name: &[&str]) -> Self {
        let name = name.iter().flat_map(|part| part.bytes());
        let bytes = namespace.bytes().chain([b'/']).chain(name);
        // FNV-1a, finished with a mixer: the low bits of short names must differ too.
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(mix(hash))
    }
}

/// A claim that a pod mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PodClaim {
    /// The claim.
    pub name: ObjectName,
    /// It was made for the pod's `ephemeral` volume: it must be the pod's own, and kube-scheduler does not
    /// look at its volume's zone labels.
    pub ephemeral: bool,
}

/// A claim that is bound. 100,000 of these must stay small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BoundClaim {
    /// The volume.
    pub volume: ObjectName,
    /// Who controls the claim, by [`owner_of`]; 0 for nobody.
    pub owner: u64,
}

impl Fact for BoundClaim {
    const KIND: Kind = Kind::CLAIMS;
}

impl Kind {
    /// Claims of all namespaces to persistent volumes.
    pub const CLAIMS: Self = Self::of("", "persistentvolumeclaims");
    /// Persistent volumes.
    pub const VOLUMES: Self = Self::of("", "persistentvolumes");
}

/// A pod's UID as [`BoundClaim::owner`] has it.
pub fn owner_of(uid: PodUid) -> u64 {
    (uid.0 as u64) ^ (uid.0 >> 64) as u64
}

/// What a volume requires of a node, as far as kube-scheduler asks: volumes of one zone share one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct VolumeTopology {
    /// `spec.nodeAffinity.required`: one of these must hold; `None` where any node will do.
    pub node_terms: Option<Box<[NodeTerm]>>,
    /// The zone and region labels that the volume has: key, and the values that a node may have.
    pub zones: Box<[ZoneLabel]>,
}

impl Fact for Arc<VolumeTopology> {
    const KIND: Kind = Kind::VOLUMES;
}

/// A label of a volume that tells its zone or its region, and the values in it.
pub type ZoneLabel = (Box<str>, Box<[Box<str>]>);

/// The labels that tell a zone or a region, each old one with the one that took its place.
pub const ZONE_LABELS: [(&str, &str); 4] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "topology.kubernetes.io/region"),
];

impl VolumeTopology {
    /// True for a node of this name with these labels, as far as the volume's node affinity goes. Source:
    /// `volume.CheckNodeAffinity`.
    fn admits<'a>(&self, name: &str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        let terms = self.node_terms.as_ref();
        terms.is_none_or(|terms| terms.iter().any(|term| term.holds(name, &label)))
    }

    /// True for a node whose labels tell no zone, or the volume's. Source: `volumezone.Filter`.
    fn is_in_zone<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        let newer = |key: &str| ZONE_LABELS.iter().find(|it| it.0 == key).map_or("", |it| it.1);
        self.zones.is_empty()
            || ZONE_LABELS.iter().all(|(key, _)| label(key).is_none())
            || self.zones.iter().all(|(key, values)| {
                let value = label(key).or_else(|| label(newer(key)));
                value.is_some_and(|value| values.iter().any(|it| **it == *value))
            })
    }
}

/// A volume of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodVolume {
    /// Where it can be used.
    pub reach: Arc<VolumeTopology>,
    /// Its zone labels count.
    pub by_zone: bool,
}

impl PodVolume {
    /// True for a node of this name with these labels.
    pub fn admits<'a>(&self, name: &str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.reach.admits(name, &label) && (!self.by_zone || self.reach.is_in_zone(&label))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LabelOperator, Requirement};

    const ZONE: &str = "topology.kubernetes.io/zone";
    const OLD_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";
    const REGION: &str = "topology.kubernetes.io/region";

    type Labels<'a> = &'a [(&'a str, &'a str)];

    fn in_zones(labels: &[(&str, &[&str])]) -> VolumeTopology {
        let one = |it: &(&str, &[&str])| -> ZoneLabel {
            (it.0.into(), it.1.iter().map(|value| Box::from(*value)).collect())
        };
        VolumeTopology { zones: labels.iter().map(one).collect(), ..VolumeTopology::default() }
    }

    #[test]
    fn zones_are_compared_as_kube_scheduler_does_it() {
        let new = in_zones(&[(ZONE, &["a", "b"])]);
        let old = in_zones(&[(OLD_ZONE, &["a"])]);
        let both = in_zones(&[(ZONE, &["a"]), (REGION, &["r"])]);
        let cases: [(&VolumeTopology, Labels<'_>, bool); 10] = [
            (&new, &[(ZONE, "a")], true),
            (&new, &[(ZONE, "b")], true),
            (&new, &[(ZONE, "c")], false),
            // A node that tells neither zone nor region is in all of them; one that tells some is not.
            (&new, &[("disk", "ssd")], true),
            (&new, &[(REGION, "r")], false),
            (&old, &[(OLD_ZONE, "a")], true),
            (&old, &[(ZONE, "a")], true),
            // The other way round nothing is translated.
            (&new, &[(OLD_ZONE, "a")], false),
            (&both, &[(ZONE, "a")], false),
            (&both, &[(ZONE, "a"), (REGION, "r")], true),
        ];
        for (reach, labels, want) in cases {
            let label = |key: &str| labels.iter().find(|it| it.0 == key).map(|it| it.1);
            let volume = PodVolume { reach: Arc::new(reach.clone()), by_zone: true };
            assert_eq!(volume.admits("n", label), want, "{reach:?} on {labels:?}");
            let unasked = PodVolume { by_zone: false, ..volume };
            assert!(unasked.admits("n", label));
        }
    }

    #[test]
    fn a_volume_goes_where_one_of_its_terms_holds() {
        let ssd = Requirement { key: "disk".into(), is: LabelOperator::In(["ssd".into()].into()) };
        let term = NodeTerm { labels: [ssd].into(), names: Box::default() };
        let admits = |terms: Option<Box<[NodeTerm]>>, disk| {
            let reach = VolumeTopology { node_terms: terms, ..VolumeTopology::default() };
            reach.admits("n", |key| (key == "disk").then_some(disk))
        };
        assert!(admits(None, "hdd") && !admits(Some(Box::default()), "ssd"));
        let terms = Some([NodeTerm::default(), term].into());
        assert!(admits(terms.clone(), "ssd") && !admits(terms, "hdd"));
    }

    #[test]
    fn names_are_told_apart_and_claims_stay_small() {
        let name = ObjectName::of("shop", "data-cart-0");
        assert_eq!(name, ObjectName::of_parts("shop", &["data-cart", "-", "0"]));
        for other in [("shop", "data-cart-1"), ("mall", "data-cart-0"), ("", "data-cart-0")] {
            assert_ne!(name, ObjectName::of(other.0, other.1));
        }
        assert_eq!(size_of::<BoundClaim>(), 16);
    }
}
