//! etcd and kube-apiserver, with RBAC on and three users: an admin, kube-scheduler and sigma.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Request;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::api::Api;
use super::objects::{namespace, priority_class};
use super::process::{Process, free_port};
use super::until;

/// A control plane of its own, in a folder of its own.
pub(crate) struct ControlPlane {
    // Dropped in this order: whoever writes into the folder ends before the folder.
    apiserver: Process,
    etcd: Process,
    /// Folder of logs, certificates and data.
    pub(crate) dir: TempDir,
    /// Port of the API server.
    pub(crate) port: u16,
    /// With all rights.
    pub(crate) admin: Api,
}

/// Users: token, name, groups.
const USERS: [(&str, &str, &str); 3] = [
    ("admin-token", "admin", "system:masters"),
    ("scheduler-token", "system:kube-scheduler", ""),
    ("sigma-token", "sigma", ""),
];

/// Long enough for two cores with other work to do.
const STARTS_WITHIN: Duration = Duration::from_secs(180);

impl ControlPlane {
    /// Starts it, makes the namespaces and PriorityClasses that the cases use, and gives the user
    /// `sigma` the rights of `deploy/` and nothing more.
    pub(crate) async fn start() -> Result<Self> {
        let mut dir = TempDir::with_prefix("sigma-e2e-")?;
        dir.disable_cleanup(std::env::var_os("SIGMA_E2E_KEEP").is_some());
        let tokens: String =
            USERS.iter().map(|(token, user, groups)| line(token, user, groups)).collect();
        std::fs::write(dir.path().join("tokens.csv"), tokens)?;
        let etcd = start_etcd(dir.path())?;
        let port = free_port()?;
        let apiserver = start_apiserver(dir.path(), port)?;
        let anonymous = Api::anonymous(&format!("https://127.0.0.1:{port}"))?;
        let mut started = apiserver;
        wait_ready(&mut started, &anonymous).await?;
        for (token, _, _) in USERS {
            let user = token.trim_end_matches("-token");
            let text = kubeconfig(dir.path(), &format!("https://127.0.0.1:{port}"), token)?;
            std::fs::write(dir.path().join(format!("{user}.conf")), text)?;
        }
        let admin = Api::from_kubeconfig(&dir.path().join("admin.conf")).await?;
        let control_plane = Self { apiserver: started, etcd, dir, port, admin };
        control_plane.furnish().await?;
        Ok(control_plane)
    }

    /// The kubeconfig of `admin`, `scheduler` or `sigma`.
    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.dir.path().join(format!("{user}.conf"))
    }

    /// A kubeconfig of a user for another way to the server.
    pub(crate) fn kubeconfig_by(&self, user: &str, server: &str) -> Result<PathBuf> {
        let path = self.dir.path().join(format!("{user}-by-proxy.conf"));
        std::fs::write(&path, kubeconfig(self.dir.path(), server, &format!("{user}-token"))?)?;
        Ok(path)
    }

    /// Kills the API server and starts it again, on the same port and the same data, after a while.
    pub(crate) async fn restart_apiserver(&mut self, after: Duration) -> Result<()> {
        self.apiserver.kill();
        tokio::time::sleep(after).await;
        self.apiserver = start_apiserver(self.dir.path(), self.port)?;
        let anonymous = Api::anonymous(&format!("https://127.0.0.1:{}", self.port))?;
        wait_ready(&mut self.apiserver, &anonymous).await
    }

    /// Copies etcd's data away. It is away for a moment; the API server stays.
    pub(crate) fn back_up(&mut self) -> Result<()> {
        self.etcd.kill();
        copy_folder(&self.dir.path().join("etcd"), &self.dir.path().join("backup"))?;
        self.etcd = start_etcd(self.dir.path())?;
        Ok(())
    }

    /// Kills both, puts the copy of the data back and starts them again, as the documentation of a restore
    /// has it. Without `--bump-revision`, versions go on where the copy was.
    pub(crate) async fn restore(&mut self) -> Result<()> {
        self.apiserver.kill();
        self.etcd.kill();
        let data = self.dir.path().join("etcd");
        std::fs::remove_dir_all(&data)?;
        copy_folder(&self.dir.path().join("backup"), &data)?;
        self.etcd = start_etcd(self.dir.path())?;
        self.restart_apiserver(Duration::ZERO).await
    }

    async fn furnish(&self) -> Result<()> {
        let mut objects = rights_of_sigma()?;
        objects.extend([
            namespace("online", "production"),
            namespace("offline", "batch"),
            namespace("plain", "none"),
            priority_class("prod-high", 2000),
            priority_class("prod-normal", 1000),
            priority_class("batch-normal", 1000),
            priority_class("batch-low", 100),
        ]);
        // These two are made by the server itself, a little later.
        for name in ["default", "kube-system"] {
            let path = format!("/api/v1/namespaces/{name}");
            let look = async || Ok(self.admin.get(&path).await.ok());
            until(&format!("the namespace {name}"), STARTS_WITHIN, look).await?;
        }
        self.admin.post_all(objects).await
    }
}

/// The ClusterRoles as they are shipped, bound to the user `sigma`.
fn rights_of_sigma() -> Result<Vec<Value>> {
    let text = include_str!("../../../deploy/base/rbac/clusterrole.yaml");
    let role: Value = serde_saphyr::from_str(text)?;
    let lease = serde_saphyr::from_str(include_str!("../../../deploy/base/rbac/lease.yaml"))?;
    let text = include_str!("../../../deploy/overlays/kubeadm-static-pod/clusterrolebinding.yaml");
    let binding = serde_saphyr::from_str(text)?;
    let text = include_str!("../../../deploy/overlays/kubeadm-static-pod/rolebinding.yaml");
    Ok(vec![role, lease, binding, serde_saphyr::from_str(text)?])
}

/// Folder of the binaries: `KUBEBUILDER_ASSETS`, or what `controlplane/build` has built.
pub(crate) fn binary(name: &str) -> Result<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/controlplane/bin");
    let folder = std::env::var_os("KUBEBUILDER_ASSETS").map_or(built, PathBuf::from);
    let path = folder.join(name);
    ensure!(path.exists(), "{} is missing: run tests/e2e/controlplane/build", path.display());
    Ok(path)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_folder(&entry.path(), &target)?,
            false => std::fs::copy(entry.path(), &target).map(drop)?,
        }
    }
    Ok(())
}

fn start_etcd(dir: &Path) -> Result<Process> {
    let socket = format!("unix://{}", dir.join("etcd.sock").display());
    let args = [
        "--unsafe-no-fsync".to_owned(),
        format!("--data-dir={}", dir.join("etcd").display()),
        format!("--listen-client-urls={socket}"),
        format!("--advertise-client-urls={socket}"),
        "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
        "--quota-backend-bytes=8000000000".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    Process::start(dir, "etcd", &binary("etcd")?, &args, &[])
}

fn start_apiserver(dir: &Path, port: u16) -> Result<Process> {
    let certs = dir.join("apiserver");
    let key = certs.join("apiserver.key").display().to_string();
    let args = [
        format!("--etcd-servers=unix://{}", dir.join("etcd.sock").display()),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", certs.display()),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={key}"),
        format!("--service-account-signing-key-file={key}"),
        "--authorization-mode=RBAC".to_owned(),
        format!("--token-auth-file={}", dir.join("tokens.csv").display()),
        "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
        "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition".to_owned(),
        "--max-requests-inflight=3000".to_owned(),
        "--max-mutating-requests-inflight=1000".to_owned(),
    ];
    Process::start(dir, "kube-apiserver", &binary("kube-apiserver")?, &args, &[])
}

async fn wait_ready(apiserver: &mut Process, anonymous: &Api) -> Result<()> {
    let look = async || {
        apiserver.check()?;
        let request = Request::get("/readyz").body(Vec::new())?;
        let answer = anonymous.0.request_text(request).await;
        Ok(answer.is_ok_and(|it| it == "ok").then_some(()))
    };
    until("kube-apiserver is ready", STARTS_WITHIN, look).await.map(drop)
}

fn line(token: &str, user: &str, groups: &str) -> String {
    match groups {
        "" => format!("{token},{user},{user}\n"),
        _ => format!("{token},{user},{user},\"{groups}\"\n"),
    }
}

fn kubeconfig(dir: &Path, server: &str, token: &str) -> Result<String> {
    let mut cluster = json!({"server": server});
    if server.starts_with("https") {
        let ca = dir.join("apiserver/apiserver.crt");
        ensure!(ca.exists(), "kube-apiserver has written no certificate");
        cluster["certificate-authority"] = json!(ca);
    }
    let file = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
        "clusters": [{"name": "e2e", "cluster": cluster}],
        "users": [{"name": "e2e", "user": {"token": token}}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e"}}],
    });
    // JSON is YAML.
    serde_json::to_string(&file).context("a kubeconfig")
}
