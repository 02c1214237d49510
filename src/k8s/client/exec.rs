//! Credential plugins: programs that print an `ExecCredential`.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::kubeconfig::{Bad, NamedEntry};

/// The group of the versions of `ExecCredential`.
const GROUP: &str = "client.authentication.k8s.io/";
/// The name of the extension of a cluster that is passed on to plugins.
const CLUSTER_EXTENSION: &str = "client.authentication.k8s.io/exec";
/// A program that prints more is none.
const MAX_BYTES: u64 = 1 << 20;
/// How long a program may run. Nobody is there to answer its questions.
const WITHIN: Duration = Duration::from_secs(60);

/// A program and what it is told.
#[derive(Debug)]
pub(super) struct CredentialPlugin {
    command: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    api_version: String,
    hint: Option<String>,
}

/// What a plugin gave.
pub(super) struct Given {
    pub(super) token: Option<String>,
    /// A certificate chain and its key, in PEM.
    pub(super) identity: Option<(String, String)>,
    /// When it stops being good.
    pub(super) expires: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credential {
    api_version: String,
    kind: String,
    status: Option<Status>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<String>,
}

impl CredentialPlugin {
    /// The `exec` of a user. `cluster` is passed on if the plugin asks for it; `authorities` are its
    /// certificates in PEM.
    pub(super) fn of(
        exec: &NamedEntry,
        cluster: &NamedEntry,
        authorities: Option<&[u8]>,
    ) -> Result<Self, Bad> {
        let command = exec.text("command")?.ok_or_else(|| exec.bad("has no command"))?;
        let version = exec.text("apiVersion")?.ok_or_else(|| exec.bad("has no apiVersion"))?;
        if !matches!(version.strip_prefix(GROUP), Some("v1" | "v1beta1")) {
            return Err(
                exec.bad(&format!("has an apiVersion other than {GROUP}v1 and {GROUP}v1beta1"))
            );
        }
        match exec.text("interactiveMode")? {
            None | Some("Never" | "IfAvailable") => {}
            Some("Always") => {
                return Err(exec.bad("has interactiveMode Always, and nobody is here to answer"));
            }
            Some(_) => return Err(exec.bad("has an unknown interactiveMode")),
        }
        // Only what has a slash in it is a path; the rest is looked up in PATH.
        let is_path = command.contains(std::path::MAIN_SEPARATOR);
        let path = if is_path { exec.resolve(command) } else { PathBuf::from(command) };
        let mut env = Vec::new();
        for variable in exec.items("env")? {
            let name = variable.text("name")?.ok_or_else(|| variable.bad("has no name"))?;
            env.push((name.to_owned(), variable.text("value")?.unwrap_or_default().to_owned()));
        }
        let mut spec = json!({"interactive": false});
        if exec.flag("provideClusterInfo")? {
            spec["cluster"] = cluster_info(cluster, authorities)?;
        }
        let info = json!({"apiVersion": version, "kind": "ExecCredential", "spec": spec});
        env.push(("KUBERNETES_EXEC_INFO".to_owned(), info.to_string()));
        Ok(Self {
            command: path,
            args: exec.texts("args")?,
            env,
            api_version: version.to_owned(),
            hint: exec.text("installHint")?.map(|it| it.chars().take(500).collect()),
        })
    }

    /// Runs the program. It blocks. No error repeats what was printed, since that may be secret.
    pub(super) fn run(&self) -> Result<Given, String> {
        let name = self.command.display();
        let printed = self.printed().map_err(|why| format!("the exec plugin {name} {why}"))?;
        self.read(&printed).map_err(|why| format!("the exec plugin {name} printed {why}"))
    }

    fn printed(&self) -> Result<Vec<u8>, String> {
        let mut command = Command::new(&self.command);
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().map_err(|error| {
            let hint = self.hint.as_deref().filter(|_| error.kind() == io::ErrorKind::NotFound);
            let hint = hint.map(|it| format!(" ({it})")).unwrap_or_default();
            format!("cannot be run: {error}{hint}")
        })?;
        let printed = output(&mut child);
        if printed.is_err() {
            // It may have ended by itself.
            let _ = child.kill();
        }
        let status = child.wait().map_err(|error| format!("cannot be waited for: {error}"))?;
        let printed = printed?;
        match status.success() {
            true => Ok(printed),
            false => Err(format!("failed: {status}")),
        }
    }

    fn read(&self, printed: &[u8]) -> Result<Given, String> {
        // The library's word for what is wrong may repeat a value.
        let options = serde_saphyr::options! { with_snippet: false };
        let credential: Credential = serde_json::from_slice(printed)
            .ok()
            .or_else(|| serde_saphyr::from_slice_with_options(printed, options).ok())
            .ok_or("no ExecCredential")?;
        if credential.kind != "ExecCredential" {
            return Err("no ExecCredential".to_owned());
        }
        if credential.api_version != self.api_version {
            return Err(format!("an ExecCredential of another version than {}", self.api_version));
        }
        let status = credential.status.ok_or("an ExecCredential without a status")?;
        let set = |text: Option<String>| text.filter(|it| !it.is_empty());
        let token = set(status.token).map(|it| it.trim().to_owned());
        let identity = match (set(status.client_certificate_data), set(status.client_key_data)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) if token.is_some() => None,
            (None, None) => return Err("neither a token nor a certificate".to_owned()),
            _ => return Err("a certificate or a key without the other".to_owned()),
        };
        let expires = set(status.expiration_timestamp).map(|it| it.parse::<Timestamp>());
        let expires = expires.transpose().map_err(|_| "an expirationTimestamp that is no time")?;
        Ok(Given { token, identity, expires })
    }
}

/// All that a program prints.
fn output(child: &mut Child) -> Result<Vec<u8>, String> {
    let stdout = child.stdout.take().ok_or("has no output")?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut printed = Vec::new();
        let read = stdout.take(MAX_BYTES).read_to_end(&mut printed);
        // After the time is up nobody listens.
        let _ = sender.send(read.map(|_| printed));
    });
    match receiver.recv_timeout(WITHIN) {
        Ok(Ok(printed)) if printed.len() as u64 == MAX_BYTES => {
            Err("prints without end".to_owned())
        }
        Ok(read) => read.map_err(|error| format!("cannot be read: {error}")),
        Err(_) => Err(format!("has not ended after {} s", WITHIN.as_secs())),
    }
}

fn cluster_info(
    cluster: &NamedEntry,
    authorities: Option<&[u8]>,
) -> Result<serde_json::Value, Bad> {
    use base64::Engine;
    let mut info = json!({});
    for field in ["server", "tls-server-name", "proxy-url"] {
        if let Some(text) = cluster.text(field)? {
            info[field] = json!(text);
        }
    }
    if cluster.flag("insecure-skip-tls-verify")? {
        info["insecure-skip-tls-verify"] = json!(true);
    }
    if let Some(pem) = authorities {
        let text = base64::engine::general_purpose::STANDARD.encode(pem);
        info["certificate-authority-data"] = json!(text);
    }
    for extension in cluster.items("extensions")? {
        if extension.text("name")? == Some(CLUSTER_EXTENSION) {
            info["config"] = extension.value("extension").cloned().unwrap_or_default();
        }
    }
    Ok(info)
}
