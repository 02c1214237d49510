//! The table of docs/connecting.md, row by row, against servers and proxies on the loopback.

mod bad;
mod files;
mod net;
mod plugins;
mod proxies;
mod reading;

use base64::Engine;
use tempfile::TempDir;

use self::net::{Authority, Listening, Pair, api_server};
use super::*;
use crate::k8s::fake::{Fake, FakeAnswer};
use crate::k8s::wire;

/// An API server, its certificates, and a folder for kubeconfigs.
struct ClientSite {
    dir: TempDir,
    authority: Authority,
    clients: Authority,
    client: Pair,
    server: Listening,
}

/// The names that the server's certificate has.
const HOSTS: [&str; 3] = ["127.0.0.1", "api.sigma.test", "refused.test"];

impl ClientSite {
    async fn new() -> Self {
        let authority = Authority::new("server-ca");
        let own = authority.issue("api", &HOSTS);
        Self::with(authority, &own).await
    }

    async fn with(authority: Authority, own: &Pair) -> Self {
        let clients = Authority::new("client-ca");
        let client = clients.issue("sigma", &[]);
        let server = api_server(own, &clients).await;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let site = Self { dir, authority, clients, client, server };
        site.write("ca.crt", &site.authority.pair.cert);
        site.write("client.crt", &site.client.cert);
        site.write("client.key", &site.client.key);
        site
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.server.port)
    }

    /// A kubeconfig with these fields of the cluster and the user, in flow style or in lines.
    fn kubeconfig(&self, cluster: &str, user: &str) -> String {
        let block = |text: &str| match text.starts_with('{') || text.is_empty() {
            true => text.to_owned(),
            false => text.lines().map(|line| format!("\n    {line}")).collect(),
        };
        let (cluster, user) = (block(cluster), block(user));
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: prod\n\
             clusters:\n- name: c\n  cluster: {cluster}\n\
             contexts:\n- name: prod\n  context: {{cluster: c, user: u}}\n\
             users:\n- name: u\n  user: {user}\n"
        )
    }

    /// The cluster that is right, with more fields.
    fn cluster(&self, more: &str) -> String {
        format!("{{server: '{}', certificate-authority: ca.crt{more}}}", self.url())
    }

    async fn connect(&self, text: &str) -> Result<Client, String> {
        self.connect_in(text, &[]).await
    }

    async fn connect_in(&self, text: &str, env: &[(&str, &str)]) -> Result<Client, String> {
        self.write("config", text);
        let source =
            KubeconfigSource::Kubeconfig { path: self.dir.path().join("config"), context: None };
        let env = |name: &str| {
            let found = env.iter().find(|(it, _)| *it == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        connect_in(&source, &env).await.map_err(|error| error.to_string())
    }

    /// What the server sees of one request.
    async fn seen(&self, text: &str) -> Result<String, String> {
        self.seen_in(text, &[]).await
    }

    async fn seen_in(&self, text: &str, env: &[(&str, &str)]) -> Result<String, String> {
        let client = self.connect_in(text, env).await?;
        request(&client).await?;
        let seen = self.server.log.take();
        assert_eq!(seen.len(), 1, "{seen:?}");
        Ok(seen.concat())
    }
}

async fn request(client: &Client) -> Result<(), String> {
    get(client, "/x").await
}

async fn get(client: &Client, path: &str) -> Result<(), String> {
    let request = wire::build(http::Method::GET, path, "application/json", bytes::Bytes::new());
    let answer = wire::send(client, request, "get x").await;
    answer.map(|_| ()).map_err(|failure| failure.text)
}

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// Base64 in lines of 64, each behind `indent`.
fn folded(text: &str, indent: &str) -> String {
    let dense = base64(text);
    let lines = dense.as_bytes().chunks(64).map(|it| String::from_utf8_lossy(it).into_owned());
    lines.map(|line| format!("{indent}{line}\n")).collect()
}

fn kubeconfig(server: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: prod\n\
         clusters: [{{name: c, cluster: {{server: '{server}', \
         insecure-skip-tls-verify: true}}}}]\n\
         contexts: [{{name: prod, context: {{cluster: c, user: u}}}}, \
         {{name: lost, context: {{cluster: nowhere, user: u}}}}]\n\
         users: [{{name: u, user: {{token: secret}}}}]\n"
    )
}

async fn try_connect(text: Option<&str>, context: Option<&str>) -> Result<Client, String> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("config");
    if let Some(text) = text {
        std::fs::write(&path, text).expect("the file is written");
    }
    let source = KubeconfigSource::Kubeconfig { path, context: context.map(Into::into) };
    connect(&source).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn outside_a_pod_the_remedy_is_named() {
    let error = connect(&KubeconfigSource::InCluster).await.err().expect("tests run in no pod");
    assert!(error.to_string().contains("--kubeconfig"), "{error}");
}

#[tokio::test]
async fn requests_tell_who_we_are() {
    let fake = Fake::start(vec![FakeAnswer::json(200, "{}")]).await;
    let text = kubeconfig(&format!("http://127.0.0.1:{}", fake.port()));
    let client = try_connect(Some(&text), None).await.expect("a valid kubeconfig");
    assert_eq!(request(&client).await, Ok(()));
    let head = fake.seen()[0].head.to_ascii_lowercase();
    assert!(head.contains(&format!("user-agent: {USER_AGENT}")), "{head}");
    assert!(head.contains("authorization: bearer secret"), "{head}");
}
