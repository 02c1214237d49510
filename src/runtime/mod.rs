//! Threads and locks around a replica: the queue of changes, the lock of the decider, the clock.

mod metrics;
mod shared_state;
mod writer;

use std::time::Instant;

use crate::model::Tick;

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
}
