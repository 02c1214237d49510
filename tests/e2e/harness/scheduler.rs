//! The unmodified kube-scheduler, configured as `deploy/` configures it but for what a case changes.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Request;
use serde_json::{Value, json};

use super::api::Api;
use super::control_plane::{ControlPlane, binary};
use super::process::{Process, free_port};
use super::sigma::Sigma;
use super::until;

/// What differs between cases.
#[derive(Clone, Debug)]
pub(crate) struct SchedulerOptions<'a> {
    /// Its name in pods, and of its log.
    pub(crate) name: &'a str,
    /// Where the extender listens; `None`: there is none.
    pub(crate) extender: Option<String>,
    /// `None`: kube-scheduler's own default.
    pub(crate) percentage: Option<u32>,
    pub(crate) ignorable: bool,
    /// Has sigma write the bindings.
    pub(crate) bind: bool,
    /// Asks sigma before it preempts.
    pub(crate) preempt: bool,
    /// Folder of its TLS files; `None`: no TLS.
    pub(crate) tls: Option<PathBuf>,
    /// How long it waits for the extender; `None`: as shipped.
    pub(crate) http_timeout: Option<&'a str>,
    /// How much it logs.
    pub(crate) verbosity: u8,
    /// Another way to the API server, which speaks JSON; `None`: the control plane's own.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// It takes part in an election, asking for its lease ten times a second, and waits for it.
    pub(crate) standby: bool,
}

impl<'a> SchedulerOptions<'a> {
    /// Every node is offered, and sigma is indispensable.
    pub(crate) fn new(name: &'a str, sigma: &Sigma) -> Self {
        let extender = Some(sigma.url());
        Self {
            name,
            extender,
            percentage: Some(100),
            ignorable: false,
            bind: false,
            preempt: true,
            tls: None,
            http_timeout: None,
            verbosity: 1,
            kubeconfig: None,
            standby: false,
        }
    }
}

/// A running kube-scheduler.
pub(crate) struct Scheduler {
    pub(crate) process: Process,
    probe: Api,
}

impl Scheduler {
    pub(crate) async fn start(
        control_plane: &ControlPlane,
        options: &SchedulerOptions<'_>,
    ) -> Result<Self> {
        let dir = control_plane.dir.path();
        let config = dir.join(format!("{}.yaml", options.name));
        std::fs::write(&config, configuration(control_plane, options)?.to_string())?;
        let port = free_port()?;
        let args = [
            format!("--config={}", config.display()),
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--authentication-kubeconfig=".to_owned(),
            "--authorization-always-allow-paths=/healthz,/readyz,/livez,/metrics".to_owned(),
            format!("--v={}", options.verbosity),
        ];
        let log = format!("scheduler-{}", options.name);
        let mut process = Process::start(dir, &log, &binary("kube-scheduler")?, &args, &[])?;
        let probe = Api::anonymous(&format!("https://127.0.0.1:{port}"))?;
        // kube-scheduler 1.30 has no other.
        let page = if minor()? < 31 { "/healthz" } else { "/readyz" };
        let look = async || {
            process.check()?;
            let answer = probe.0.request_text(Request::get(page).body(Vec::new())?).await;
            Ok(answer.is_ok().then_some(()))
        };
        until("kube-scheduler is ready", Duration::from_secs(30), look).await?;
        Ok(Self { process, probe })
    }

    /// Mean of a histogram of its metrics, over all labels.
    pub(crate) async fn mean_seconds(&self, name: &str) -> Result<f64> {
        let text = self.probe.text("/metrics").await?;
        let sum = |suffix: &str| -> f64 {
            let name = format!("{name}_{suffix}");
            let named = text.lines().filter_map(|line| line.strip_prefix(&name));
            named.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        let count = sum("count");
        ensure!(count > 0.0, "kube-scheduler has no metric {name}");
        Ok(sum("sum") / count)
    }
}

/// The version of the kube-scheduler that the cases run beside: `1.37.2`.
pub(crate) fn version() -> Result<String> {
    let out = Command::new(binary("kube-scheduler")?).arg("--version").output()?;
    let text = String::from_utf8_lossy(&out.stdout);
    let version = text.trim().strip_prefix("Kubernetes v");
    version.map(str::to_owned).with_context(|| format!("no version in {text:?}"))
}

/// The minor version of it: 37 of `1.37.2`.
pub(crate) fn minor() -> Result<u32> {
    let version = version()?;
    let minor = version.strip_prefix("1.").and_then(|it| it.split('.').next());
    minor.and_then(|it| it.parse().ok()).with_context(|| format!("no minor in {version:?}"))
}

/// The shipped configuration with this case's addresses and names in it.
fn configuration(control_plane: &ControlPlane, options: &SchedulerOptions<'_>) -> Result<Value> {
    let text = include_str!("../../../deploy/base/kube-scheduler-config.yaml");
    let mut config: Value = serde_saphyr::from_str(text)?;
    config["leaderElection"] = json!({"leaderElect": options.standby});
    if options.standby {
        let lease = [("resourceNamespace", "kube-system"), ("resourceName", "kube-scheduler")];
        for (field, value) in lease.into_iter().chain([("retryPeriod", "100ms")]) {
            config["leaderElection"][field] = json!(value);
        }
    }
    config["clientConnection"] =
        json!({"kubeconfig": control_plane.kubeconfig("scheduler"), "qps": 5000, "burst": 5000});
    if let Some(path) = &options.kubeconfig {
        config["clientConnection"]["kubeconfig"] = json!(path);
        config["clientConnection"]["contentType"] = json!("application/json");
    }
    config["profiles"][0]["schedulerName"] = json!(options.name);
    match options.percentage {
        Some(percentage) => config["percentageOfNodesToScore"] = json!(percentage),
        None => {
            let map = config.as_object_mut().context("the configuration is no mapping")?;
            map.remove("percentageOfNodesToScore");
        }
    }
    let Some(url) = &options.extender else {
        config["extenders"] = json!([]);
        return Ok(config);
    };
    let extender = &mut config["extenders"][0];
    ensure!(extender["weight"].as_i64() >= Some(150), "the shipped weight is below 150");
    extender["urlPrefix"] = json!(url);
    extender["ignorable"] = json!(options.ignorable);
    if let Some(timeout) = options.http_timeout {
        extender["httpTimeout"] = json!(timeout);
    }
    if let Some(folder) = &options.tls {
        let text = include_str!("../../../deploy/overlays/service-mtls/kube-scheduler-config.yaml");
        let folder = folder.display().to_string();
        let shipped: Value =
            serde_saphyr::from_str(&text.replace("/etc/kubernetes/sigma", &folder))?;
        for field in ["enableHTTPS", "tlsConfig"] {
            extender[field] = shipped["extenders"][0][field].clone();
        }
    }
    if options.bind {
        extender["bindVerb"] = json!("bind");
    }
    if let Some(fields) = extender.as_object_mut().filter(|_| !options.preempt) {
        fields.remove("preemptVerb");
    }
    Ok(config)
}
