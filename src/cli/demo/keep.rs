//! `--keep`: the extender goes on listening, and a person may ask it about what happened.

use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::Context;

use super::drive::PodOutcome;
use crate::cli::loopback::extender::LoopbackExtender;
use crate::cli::{Failure, print};
use crate::sim::PodStream;

/// Tells the extender of the pods without a node, so that it can be asked about them. Gives one to ask about
/// as `namespace/name`: a pod without a node, else the pod that would have come next.
pub(super) fn pod_to_try(
    extender: &LoopbackExtender,
    outcome: PodOutcome,
    mut pods: PodStream,
    num_pods: usize,
) -> anyhow::Result<String> {
    let mut pending: Vec<_> = outcome.unbound.into_iter().map(|it| it.pod).collect();
    if pending.is_empty() {
        pending.extend(pods.nth(num_pods));
    }
    let tried = pending.first().map(|pod| format!("{}/{}", pod.namespace, pod.name));
    extender.show_pending(pending)?;
    tried.context("there is no pod to ask about")
}

/// Commands to try, as a shell takes them.
pub(super) fn commands(admin: SocketAddr, pod: &str) -> String {
    let called = std::env::args().next().unwrap_or_default();
    // One that was found by the shell will be found again.
    let sigma = if called.contains('/') { quoted(&called) } else { "sigma".to_owned() };
    format!(
        "try:\n  {sigma} why {pod} --admin {admin}\n  curl -s http://{admin}/metrics\n  \
         curl -s http://{admin}/api/v1/policy\n"
    )
}

fn quoted(word: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "/._-+".contains(it);
    match word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Prints, then waits for a signal. The signals are caught before anything is printed, so whoever has read
/// the result may send one at once.
pub(super) fn listen(addr: SocketAddr, commands: &str, text: &str) -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start a runtime")?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
        print(text)?;
        // Not on stdout: that has exactly the result.
        let said = format!("listening on http://{addr} until SIGINT or SIGTERM\n{commands}");
        let _ = std::io::stderr().write_all(said.as_bytes());
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(quoted("target/release/sigma"), "target/release/sigma");
        assert_eq!(quoted("/my tools/it's/sigma"), r"'/my tools/it'\''s/sigma'");
    }
}
