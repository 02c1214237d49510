//! Threads and locks around a replica: the queue of changes, the lock of the decider, the clock.

mod metrics;
mod shared_state;
mod writer;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::model::{Now, Tick, UtcSeconds};

pub use metrics::WriterMetrics;
pub use shared_state::SharedState;
pub use writer::{WriterHandle, spawn};

/// The process's clock: milliseconds since the process started. It never goes back.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time now.
    pub fn now(self) -> Tick {
        Tick(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// The time now, with the civil time of the host beside it.
    pub fn moment(self) -> Now {
        let civil = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let utc = UtcSeconds(i64::try_from(civil.as_secs()).unwrap_or(i64::MAX));
        Now { tick: self.now(), utc }
    }
}
