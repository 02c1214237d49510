//! The part of a placed pod's status that changes the state.

/// Conditions of a pod, a bit each. The rest of a placed pod's status is dropped: a kubelet reports often, and
/// each change of the state makes a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PodStatusBits(u8);

impl PodStatusBits {
    /// `DisruptionTarget`: the pod is about to be evicted, preempted or deleted by a taint.
    pub const DISRUPTION_TARGET: Self = Self(1);
    /// `InPlaceUpdateReady`: no update in place is under way. Only OpenKruise sets the condition.
    pub const IN_PLACE_UPDATE_READY: Self = Self(1 << 1);
    /// `Ready`. Probes change it often, so it does not pass while nothing reads it.
    pub const READY: Self = Self(1 << 2);

    /// The bits that pass. A bit costs a snapshot whenever its condition changes.
    pub const PASSING: Self = Self(Self::DISRUPTION_TARGET.0 | Self::IN_PLACE_UPDATE_READY.0);

    /// Each bit and its condition's type.
    pub const CONDITIONS: [(Self, &str); 3] = [
        (Self::DISRUPTION_TARGET, "DisruptionTarget"),
        (Self::IN_PLACE_UPDATE_READY, "InPlaceUpdateReady"),
        (Self::READY, "Ready"),
    ];

    /// The bits that pass, of conditions with a type and a status. A bit is set where the status is `True`.
    pub fn of<'a>(conditions: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let bits = conditions.into_iter().filter(|it| it.1 == "True").map(|(kind, _)| {
            Self::CONDITIONS.iter().find(|it| it.1 == kind).map_or(0, |(bit, _)| bit.0)
        });
        Self(bits.fold(0, |all, bit| all | bit) & Self::PASSING.0)
    }

    /// True when all bits of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_is_true_sets_its_bit_if_the_bit_passes() {
        for (bit, kind) in PodStatusBits::CONDITIONS {
            let passes = PodStatusBits::PASSING.contains(bit);
            let set = PodStatusBits::of([(kind, "True")]);
            assert_eq!(set, if passes { bit } else { PodStatusBits::default() }, "{kind}");
            for status in ["False", "Unknown", "", "true"] {
                assert_eq!(PodStatusBits::of([(kind, status)]), PodStatusBits::default());
            }
        }
        let all = PodStatusBits::CONDITIONS.map(|(_, kind)| (kind, "True"));
        let others = [("PodScheduled", "True"), ("Initialized", "True"), ("", "True")];
        assert_eq!(PodStatusBits::of(all.into_iter().chain(others)), PodStatusBits::PASSING);
        // A condition that is there twice is true if one of them is.
        let twice = [("DisruptionTarget", "True"), ("DisruptionTarget", "False")];
        assert!(PodStatusBits::of(twice).contains(PodStatusBits::DISRUPTION_TARGET));
    }

    #[test]
    fn every_bit_is_another_one() {
        let all = PodStatusBits::CONDITIONS.iter().fold(0, |all, (bit, _)| {
            assert_eq!((bit.0.count_ones(), all & bit.0), (1, 0), "{bit:?}");
            all | bit.0
        });
        assert_eq!(all & PodStatusBits::PASSING.0, PodStatusBits::PASSING.0);
    }
}
