//! By when something must come on a connection.

use std::time::Duration;

use tokio::time::Instant;

use super::list_watch::WatchOptions;

/// A watch has one window of time. A streamed list may take as long as it goes on, but not once it has
/// told a change: a server that does not know streamed lists would never say that one is complete.
#[derive(Debug)]
pub(super) struct Deadline {
    at: Instant,
    /// How long a watch may take.
    window: Duration,
    /// How long a list may pause, or tell changes; `None` once it is a watch.
    patience: Option<Duration>,
    has_changed: bool,
}

impl Deadline {
    /// For a request that was sent at `asked` and is answered now.
    pub(super) fn new(options: &WatchOptions, is_list: bool, asked: Instant, now: Instant) -> Self {
        let window = options.watch_timeout + options.silence_margin;
        let patience = is_list.then_some(options.stream_patience.min(window));
        let at = patience.map_or(asked + window, |patience| now + patience);
        Self { at, window, patience, has_changed: false }
    }

    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// A line of a list was read.
    pub(super) fn heard(&mut self, is_change: bool, now: Instant) {
        let Some(patience) = self.patience.filter(|_| !self.has_changed) else { return };
        self.has_changed = is_change;
        self.at = now + patience;
    }

    /// The list is complete.
    pub(super) fn listed(&mut self, now: Instant) {
        self.patience = None;
        self.at = now + self.window;
    }

    /// What was missed.
    pub(super) fn missed(&self) -> String {
        match self.patience {
            Some(patience) if self.has_changed => format!("no end of the list within {patience:?}"),
            Some(patience) => format!("silent for {patience:?}"),
            None => format!("silent for {:?}", self.window),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_may_go_on_until_it_tells_changes_and_a_watch_has_one_window() {
        let (options, start) = (WatchOptions::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut it = Deadline::new(&options, true, start, at(1));
        assert_eq!((it.at(), it.missed()), (at(11), "silent for 10s".to_owned()));
        for second in [9, 18, 27] {
            it.heard(false, at(second));
            assert_eq!(it.at(), at(second + 10));
        }
        it.heard(true, at(30));
        it.heard(true, at(39));
        it.heard(false, at(39));
        assert_eq!((it.at(), it.missed()), (at(40), "no end of the list within 10s".to_owned()));
        it.listed(at(39));
        it.heard(false, at(40));
        assert_eq!((it.at(), it.missed()), (at(39 + 50), "silent for 50s".to_owned()));
        assert_eq!(Deadline::new(&options, false, start, at(1)).at(), at(50));
    }
}
