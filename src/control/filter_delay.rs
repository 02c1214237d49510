//! The filter delay: how long answers may wait while nominations are written (docs/adr/0010).
//!
//! Each chosen nomination grants some milliseconds. An answer that comes before its pod's nomination takes from them, at
//! most as much as the nominations that are still to be written are worth.

/// What is left of it.
#[derive(Debug, Default)]
pub struct FilterDelay {
    left_ms: u64,
    /// What one nomination is worth waiting for.
    each_ms: u64,
}

impl FilterDelay {
    /// A target was chosen, whose nomination is worth so much.
    pub fn grant(&mut self, each_ms: u64) {
        self.each_ms = each_ms;
        self.left_ms = self.left_ms.saturating_add(each_ms);
    }

    /// Takes at most so much of it, while so many nominations are to be written yet.
    pub fn take(&mut self, most_ms: u64, num_unwritten: usize) -> u64 {
        self.left_ms = self.left_ms.min(self.each_ms.saturating_mul(num_unwritten as u64));
        let taken = self.left_ms.min(most_ms);
        self.left_ms -= taken;
        taken
    }

    /// There is some.
    pub fn is_left(&self) -> bool {
        self.left_ms > 0
    }

    /// There is none any more.
    pub fn end(&mut self) {
        self.left_ms = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_long_as_was_granted_and_as_what_is_left_is_worth() {
        let mut filter_delay = FilterDelay::default();
        assert_eq!(filter_delay.take(5, 100), 0);
        (0..10).for_each(|_| filter_delay.grant(2));
        // (at most, to be written, taken)
        for (most_ms, num_unwritten, want) in [(5, 10, 5), (5, 7, 5), (50, 3, 6), (5, 10, 0)] {
            assert_eq!(filter_delay.take(most_ms, num_unwritten), want, "{filter_delay:?}");
        }
        filter_delay.grant(2);
        assert_eq!(filter_delay.take(5, 0), 0, "nothing is written");
        assert_eq!(filter_delay.take(5, 1), 0, "and so it has ended");
        filter_delay.grant(2);
        filter_delay.end();
        assert_eq!(filter_delay.take(5, 1), 0);
        filter_delay.grant(0);
        assert_eq!(filter_delay.take(5, 1), 0, "switched off");
    }
}
