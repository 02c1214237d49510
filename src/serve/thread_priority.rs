//! Which threads go first where there are more of them than cores: answers, then what the watches tell,
//! then people and scrapers.

use rustix::process::setpriority_process;

/// How far a thread stands back, as a nice value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ThreadPriority {
    /// Watches, the writer, reload, requeue, audit: a third of the share of answers.
    Ingest = 5,
    /// The admin listener, metrics included: a tenth.
    Admin = 10,
}

/// Has the calling thread stand back. It takes no right; where it is refused all the same, threads
/// share the cores evenly.
pub(super) fn stand_back(priority: ThreadPriority) {
    // On Linux this is the calling thread and not its process.
    if let Err(error) = setpriority_process(None, priority as i32) {
        tracing::warn!(%error, ?priority, "cannot lower the priority of a thread");
    }
}
