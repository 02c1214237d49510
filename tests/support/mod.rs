//! The real binary from the outside: a process, and an API server for it to talk to.

pub(crate) mod apiserver;
pub(crate) mod http;
pub(crate) mod process;

use std::time::{Duration, Instant};

/// Nothing here takes this long, on any machine; what does is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `check` gives something; the time it took, and what it gave.
pub(crate) fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> (Duration, T) {
    let started = Instant::now();
    loop {
        if let Some(found) = check() {
            return (started.elapsed(), found);
        }
        assert!(started.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until `check` holds; the time it took.
pub(crate) fn wait(what: &str, mut check: impl FnMut() -> bool) -> Duration {
    eventually(what, || check().then_some(())).0
}
