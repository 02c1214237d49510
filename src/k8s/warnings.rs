//! Keeps the log readable while something goes wrong again and again.

use std::time::Duration;

use tokio::time::Instant;

/// Lets one warning a minute through: neither a fleet of bad objects nor a server that is away must
/// become a flood of logs.
#[derive(Default)]
pub(super) struct Warnings {
    last: Option<Instant>,
    /// What the last one said, where that counts.
    text: String,
    num_held_back: u64,
}

impl Warnings {
    const PAUSE: Duration = Duration::from_secs(60);

    /// `Some` when a warning may be written, with the number of those held back before it.
    pub(super) fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < Self::PAUSE) {
            self.num_held_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.num_held_back))
    }

    /// The same, and something else may be said at once.
    pub(super) fn admit_of(&mut self, text: &str, now: Instant) -> Option<u64> {
        if self.text != text {
            text.clone_into(&mut self.text);
            self.last = None;
        }
        self.admit(now)
    }
}
