//! Identifiers. Inside, things are dense ordinals; their names exist only at the edges.

use sha2::{Digest, Sha256};

/// Dense index of a node in every node column. Recycled after the node is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeOrd(pub u32);

impl NodeOrd {
    /// Stands for a name that no watch has told us about.
    pub const UNKNOWN: Self = Self(u32::MAX);

    /// The ordinal as an index into a column.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Position of a pool in the policy's `pools`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolOrd(pub u8);

impl PoolOrd {
    /// A node that no pool of the policy matches.
    pub const NONE: Self = Self(u8::MAX);
    /// The most pools a policy may name.
    pub const MAX_POOLS: usize = 64;

    /// The ordinal as an index into the policy's pools.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Position of a class in the compiled policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassOrd(pub u8);

impl ClassOrd {
    /// The ordinal as an index into the plan's classes.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Dense index of a failure domain within its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainOrd(pub u32);

impl DomainOrd {
    /// A node whose labels do not tell this level.
    pub const NONE: Self = Self(u32::MAX);
}

/// A pod's UID. A canonical UUID is kept as its number, anything else as a 128-bit digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodUid(pub u128);

impl PodUid {
    /// Reads a UID as the API server writes it; `None` when it is empty.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        Some(parse_uuid(text).unwrap_or_else(|| Self(digest128(&[text]))))
    }
}

/// A workload: the controller that owns a pod. Pods of one app spread against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppKey(pub u128);

impl AppKey {
    /// The key of the controller with this UID; namespaces cannot share owners.
    pub fn of_owner(uid: &str) -> Self {
        Self(parse_uuid(uid).map_or_else(|| digest128(&[uid]), |uid| uid.0))
    }
}

/// Finishes a 64-bit hash (splitmix64): every input bit reaches every output bit.
pub fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// A moment in milliseconds of a monotonic clock that the caller owns, real or virtual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

impl Tick {
    /// Milliseconds since `earlier`; 0 when the clock went backwards.
    pub fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment plus `ms`.
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// Civil time in seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcSeconds(pub i64);

/// The moment of a decision, by both clocks of the caller. Nothing in the core reads a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock.
    pub tick: Tick,
    /// The civil clock.
    pub utc: UtcSeconds,
}

/// Counts published snapshots, or accepted policies; never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

fn parse_uuid(text: &str) -> Option<PodUid> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 {
        return None;
    }
    let mut value: u128 = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if byte != b'-' {
                return None;
            }
            continue;
        }
        // Upper case is another string to the API server, so it must not become the same number.
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u128::from(digit);
    }
    Some(PodUid(value))
}

/// The first 128 bits of a SHA-256 over `parts`: collisions cannot be made by choosing names.
pub(super) fn digest128(parts: &[&str]) -> u128 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let bytes = hash.finalize();
    bytes.iter().take(16).fold(0, |value, &byte| value << 8 | u128::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_its_number_and_other_text_a_digest() {
        let uid = PodUid::parse("00000000-0000-0000-0000-0000000000ff");
        assert_eq!(uid, Some(PodUid(255)));
        assert_ne!(PodUid::parse("a"), PodUid::parse("b"));
        assert_ne!(
            PodUid::parse("00000000-0000-0000-0000-0000000000FF"),
            PodUid::parse("00000000-0000-0000-0000-0000000000ff"),
        );
        assert_eq!(PodUid::parse(""), None);
    }

    #[test]
    fn a_clock_that_jumps_back_gives_no_negative_age() {
        assert_eq!(Tick(5).since_ms(Tick(9)), 0);
        assert_eq!(Tick(u64::MAX).plus_ms(1), Tick(u64::MAX));
    }
}
