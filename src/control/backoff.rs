//! How long to wait before the next attempt.

use crate::cluster::tie;
use crate::model::{ObjectKey, PodUid};

/// Doubles from attempt to attempt, up to a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backoff {
    /// After the first attempt.
    pub first_ms: u64,
    /// Longest.
    pub most_ms: u64,
}

impl Backoff {
    /// The pause after attempt number `attempt` (from 1): between a half and the whole of what
    /// doubling gives. Which of it depends on the object, so that writes which failed together do not
    /// come together again.
    pub(super) fn pause_ms(self, key: ObjectKey, attempt: u32) -> u64 {
        let doubled = 1_u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX);
        let whole = self.first_ms.saturating_mul(doubled).min(self.most_ms);
        whole - tie(PodUid(key.0), attempt.into()) % (whole / 2 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_are_bounded_and_spread() {
        let backoff = Backoff { first_ms: 100, most_ms: 1000 };
        for (attempt, whole) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (200, 1000)] {
            let pauses: Vec<u64> =
                (0..500).map(|uid| backoff.pause_ms(ObjectKey(uid), attempt)).collect();
            assert!(pauses.iter().all(|it| (whole / 2..=whole).contains(it)), "{attempt}");
            let (least, most) = (pauses.iter().min(), pauses.iter().max());
            assert!(least < Some(&(whole * 6 / 10)) && most > Some(&(whole * 9 / 10)), "{attempt}");
            let again = (0..500).map(|uid| backoff.pause_ms(ObjectKey(uid), attempt));
            assert!(again.eq(pauses), "the same every time");
        }
    }
}
