//! SIGTERM and SIGINT.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Turns true at the first SIGTERM or SIGINT. Must be called within a runtime.
pub(super) fn listen() -> io::Result<watch::Receiver<bool>> {
    let (send, receive) = watch::channel(false);
    let requested = stop_requested()?;
    tokio::spawn(async move {
        requested.await;
        // Nobody listens any more: then nobody needs to be told.
        let _ = send.send(true);
    });
    Ok(receive)
}

/// Ends at the first SIGTERM or SIGINT. Must be called within a runtime.
pub fn stop_requested() -> io::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
