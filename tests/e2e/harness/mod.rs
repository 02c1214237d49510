//! A real control plane on loopback, and what is needed to ask it questions. Everything that is
//! started here ends with its guard, and at the latest with this process.

pub(crate) mod api;
pub(crate) mod control_plane;
pub(crate) mod objects;
pub(crate) mod policy;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod recorder;
pub(crate) mod scheduler;
pub(crate) mod sigma;
pub(crate) mod volumes;

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until `look` gives something, and tells how long that took.
pub(crate) async fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<(T, Duration)> {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok((found, started.elapsed()));
        }
        if started.elapsed() > within {
            bail!("{what}: not within {within:?}");
        }
        sleep(LOOK).await;
    }
}
