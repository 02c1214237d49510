//! What `sigma serve` is told, typed and checked once.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::action_loop::LeaseSource;
use super::extender_url::ExtenderUrl;
use super::other_extenders::{self, OwnEntries, SchedulerFacts};
use super::tls_files::TlsSource;
use crate::engine::OtherExtenders;
use crate::http::NotReady;
use crate::k8s::client::KubeconfigSource;
use crate::policy;

/// Settings of the server.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// The way to the API server.
    pub source: KubeconfigSource,
    /// Where the policy is.
    pub policy: PolicySource,
    /// Where the last good policy is kept; `None`: nowhere.
    pub state_dir: Option<PathBuf>,
    /// Where kube-scheduler calls.
    pub listen: SocketAddr,
    /// Who kube-scheduler finds there, and whom it must be; `None`: no TLS.
    pub tls: Option<TlsSource>,
    /// Where people and probes call.
    pub admin_listen: SocketAddr,
    /// What filter answers before the first lists are in.
    pub not_ready: NotReady,
    /// Whether pods are requeued.
    pub requeue: bool,
    /// The lease by which replicas agree who acts for the whole cluster.
    pub lease: LeaseSource,
    /// The `schedulerName` of pods that may be nominated ahead.
    pub schedulers: Vec<String>,
    /// Nominations ahead a second, at most.
    pub nominations_per_second: u32,
    /// Whether the bind verb writes bindings.
    pub bind: bool,
    /// From a request's first byte to the moment of decision.
    pub deadline: Duration,
    /// Whether other extenders judge what we name.
    pub other_extenders: OtherExtendersSource,
    /// How often sums are recounted and lists compared.
    pub audit_interval: Duration,
}

/// Where it is told whether other extenders of the same kube-scheduler judge what we name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OtherExtendersSource {
    /// By kube-scheduler's configuration.
    SchedulerConfig {
        /// The file.
        path: PathBuf,
        /// The address where kube-scheduler finds this sigma. Default: the port where it listens, on
        /// the loopback.
        own: Option<ExtenderUrl>,
    },
    /// By a word: all of them judge all pods, or none is there.
    Told(bool),
}

impl OtherExtendersSource {
    /// Finds out.
    pub(super) fn load(&self, listen: SocketAddr) -> Result<SchedulerFacts, BadConfig> {
        let other_extenders = match self {
            Self::SchedulerConfig { path, own } => {
                return other_extenders::read(path, OwnEntries { url: own.as_ref(), listen });
            }
            Self::Told(true) => OtherExtenders::Judging,
            Self::Told(false) => OtherExtenders::None,
        };
        Ok(SchedulerFacts { other_extenders, ..SchedulerFacts::default() })
    }
}

/// A policy file, or a directory with exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySource(pub PathBuf);

/// What sigma was given cannot be used, such as a kubeconfig. The text is for who gave it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadConfig(pub(super) String);

impl PolicySource {
    /// The name and bytes of the policy as it is now.
    pub(super) fn read(&self) -> Result<(String, Vec<u8>)> {
        let file = self.file()?;
        let name = file.display().to_string();
        let what = || format!("cannot read the policy {name}");
        // A pipe would be waited for without end, and has nothing to say the second time.
        let is_file = std::fs::metadata(&file).with_context(what)?.is_file();
        ensure!(is_file, "the policy {name} is not a file");
        let open = std::fs::File::open(&file);
        let mut bytes = Vec::new();
        // One byte more than is allowed tells a file that is too large from one that just fits.
        let read =
            open.and_then(|it| it.take(policy::MAX_BYTES as u64 + 1).read_to_end(&mut bytes));
        read.with_context(what)?;
        Ok((name, bytes))
    }

    fn file(&self) -> Result<PathBuf> {
        if !self.0.is_dir() {
            return Ok(self.0.clone());
        }
        let entries = std::fs::read_dir(&self.0)
            .with_context(|| format!("cannot read the directory {}", self.0.display()))?;
        let mut files: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|path| is_policy(path)).collect();
        files.sort();
        match files.as_slice() {
            [one] => Ok(one.clone()),
            [] => bail!("no *.yaml file in {}", self.0.display()),
            [one, two, ..] => bail!(
                "more than one policy in {} ({} and {}): name the file",
                self.0.display(),
                file_name(one),
                file_name(two)
            ),
        }
    }
}

/// A ConfigMap's own links begin with two dots and are not policies.
fn is_policy(path: &Path) -> bool {
    let yaml = path.extension().is_some_and(|it| it == "yaml" || it == "yml");
    yaml && !file_name(path).starts_with('.')
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_must_hold_exactly_one_policy() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let source = PolicySource(dir.path().to_owned());
        let error = source.read().map(|_| ()).map_err(|error| format!("{error:#}"));
        assert!(error.is_err_and(|it| it.contains("no *.yaml file")));
        std::fs::write(dir.path().join("a.yaml"), "")?;
        std::fs::write(dir.path().join("README.md"), "")?;
        std::fs::write(dir.path().join("..data.yaml"), "")?;
        assert!(source.read()?.0.ends_with("a.yaml"));
        std::fs::write(dir.path().join("b.yml"), "")?;
        let error = source.read().map(|_| ()).map_err(|error| format!("{error:#}"));
        assert!(error.is_err_and(|it| it.contains("a.yaml and b.yml")));
        let missing = PolicySource(dir.path().join("none"));
        let error = missing.read().map(|_| ()).map_err(|error| format!("{error:#}"));
        assert!(error.is_err_and(|it| it.contains("cannot read the policy")));
        Ok(())
    }
}
