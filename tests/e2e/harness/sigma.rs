//! The real `sigma serve`, under the rights of `deploy/`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::api::Api;
use super::control_plane::ControlPlane;
use super::process::{Process, free_port};
use super::until;

/// What differs between cases.
#[derive(Clone, Debug)]
pub(crate) struct SigmaOptions {
    /// Of its log and its policy folder.
    pub(crate) name: String,
    pub(crate) policy: String,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) requeue: bool,
    pub(crate) bind: bool,
    pub(crate) audit_interval: &'static str,
    /// On a busy machine of two cores a program stands still for longer than the default 50 ms now
    /// and then, and a degraded answer bears no limits: it is not what the cases are about.
    pub(crate) deadline: &'static str,
    /// It is given kube-scheduler's configuration as it is shipped.
    pub(crate) knows_scheduler: bool,
    /// In that configuration kube-scheduler asks sigma before it preempts.
    pub(crate) preempt: bool,
    /// Folder of its TLS files, as the Service overlay mounts them; `None`: no TLS.
    pub(crate) tls: Option<PathBuf>,
    /// Further arguments.
    pub(crate) more: Vec<String>,
}

impl SigmaOptions {
    pub(crate) fn new(control_plane: &ControlPlane, name: &str, policy: &str) -> Self {
        Self {
            name: name.to_owned(),
            policy: policy.to_owned(),
            kubeconfig: control_plane.kubeconfig("sigma"),
            requeue: true,
            bind: false,
            audit_interval: "10m",
            deadline: "800ms",
            knows_scheduler: false,
            preempt: true,
            tls: None,
            more: Vec::new(),
        }
    }
}

/// A running sigma.
pub(crate) struct Sigma {
    pub(crate) process: Process,
    options: SigmaOptions,
    dir: PathBuf,
    listen: u16,
    admin: Api,
    admin_port: u16,
}

impl Sigma {
    /// Starts it and waits until it has the whole snapshot.
    pub(crate) async fn start(control_plane: &ControlPlane, options: SigmaOptions) -> Result<Self> {
        let dir = control_plane.dir.path().to_owned();
        std::fs::create_dir_all(dir.join(&options.name))?;
        std::fs::write(policy_file(&dir, &options), &options.policy)?;
        let (listen, admin_port) = (free_port()?, free_port()?);
        let process = spawn(&dir, &options, listen, admin_port)?;
        let admin = Api::anonymous(&format!("http://127.0.0.1:{admin_port}"))?;
        let mut sigma = Self { process, options, dir, listen, admin, admin_port };
        sigma.wait_ready().await?;
        Ok(sigma)
    }

    /// What kube-scheduler is told as `urlPrefix`.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.options.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}/sigma", self.listen)
    }

    /// Where its verbs are.
    pub(crate) fn port(&self) -> u16 {
        self.listen
    }

    /// Starts it anew after it was killed, on the same ports.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.process.kill();
        self.process = spawn(&self.dir, &self.options, self.listen, self.admin_port)?;
        self.wait_ready().await
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let look = async || {
            self.process.check()?;
            Ok(self.admin.text("/readyz").await.ok())
        };
        until("sigma is ready", Duration::from_secs(30), look).await.map(drop)
    }

    /// Writes another policy; gives the moment at which it is in force.
    pub(crate) async fn set_policy(&mut self, policy: &str) -> Result<Duration> {
        let before = self.metric("sigma_policy_generation", "").await?;
        let file = policy_file(&self.dir, &self.options);
        let new = file.with_extension("new");
        std::fs::write(&new, policy)?;
        std::fs::rename(&new, &file)?;
        let look = async || {
            let now = self.metric("sigma_policy_generation", "").await?;
            Ok((now > before).then_some(()))
        };
        let (_, took) = until("the policy is in force", Duration::from_secs(5), look).await?;
        Ok(took)
    }

    /// A metric's value, summed over the series whose labels contain `label`.
    pub(crate) async fn metric(&self, name: &str, label: &str) -> Result<u64> {
        let text = self.admin.text("/metrics").await?;
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let named = rest.starts_with('{') || rest.starts_with(' ');
            let value = rest.rsplit(' ').next()?;
            (named && rest.contains(label)).then_some(value)
        });
        Ok(values.filter_map(|it| it.parse::<f64>().ok()).sum::<f64>() as u64)
    }

    /// Filter calls answered so far.
    pub(crate) async fn filter_calls(&self) -> Result<u64> {
        self.metric("sigma_verb_results_total", "verb=\"filter\"").await
    }

    /// A page of the admin listener.
    pub(crate) async fn page(&self, path: &str) -> Result<Value> {
        let text = self.admin.text(path).await?;
        serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))
    }
}

fn policy_file(dir: &Path, options: &SigmaOptions) -> PathBuf {
    dir.join(&options.name).join("policy.yaml")
}

fn spawn(dir: &Path, options: &SigmaOptions, listen: u16, admin: u16) -> Result<Process> {
    let mut args = vec![
        "serve".to_owned(),
        format!("--kubeconfig={}", options.kubeconfig.display()),
        format!("--policy={}", dir.join(&options.name).display()),
        format!("--listen=127.0.0.1:{listen}"),
        format!("--admin-listen=127.0.0.1:{admin}"),
        format!("--requeue={}", if options.requeue { "on" } else { "off" }),
        format!("--bind={}", if options.bind { "on" } else { "off" }),
        format!("--audit-interval={}", options.audit_interval),
        format!("--deadline={}", options.deadline),
    ];
    if let Some(folder) = &options.tls {
        args.extend(tls_args(folder)?);
    }
    if options.knows_scheduler {
        let text = include_str!("../../../deploy/base/kube-scheduler-config.yaml");
        let path = dir.join(format!("{}-scheduler.yaml", options.name));
        let text = text.replace(":9090", &format!(":{listen}"));
        let lines = text.lines().filter(|it| options.preempt || !it.contains("preemptVerb:"));
        std::fs::write(&path, lines.collect::<Vec<_>>().join("\n"))?;
        args.push(format!("--scheduler-config={}", path.display()));
    }
    args.extend_from_slice(&options.more);
    let other = std::env::var_os("SIGMA_E2E_PROGRAM").map(PathBuf::from);
    let program = other.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_sigma")));
    let level = std::env::var("SIGMA_E2E_LOG").unwrap_or_else(|_| "info".to_owned());
    Process::start(dir, &options.name, &program, &args, &[("RUST_LOG", &level)])
}

/// The arguments about TLS that the Service overlay has, with its Secret in a folder of ours.
fn tls_args(folder: &Path) -> Result<Vec<String>> {
    let text = include_str!("../../../deploy/overlays/service-mtls/deployment.yaml");
    let deployment: Value = serde_saphyr::from_str(text)?;
    let args = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    let args = args.as_array().context("the overlay's sigma has no arguments")?;
    let tls = args.iter().filter_map(Value::as_str).filter(|it| it.starts_with("--tls-"));
    let folder = folder.display().to_string();
    let tls = tls.map(|it| it.replace("/etc/sigma/tls", &folder));
    Ok(tls.chain(["--log=info,sigma::http=debug".to_owned()]).collect())
}
