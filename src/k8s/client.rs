//! Connecting to the API server.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderValue, header};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Where the way to the API server is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A kubeconfig file.
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// The context to use instead of the file's current one.
        context: Option<String>,
    },
    /// The service account of the pod we run in.
    InCluster,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig is absent, malformed or lacks what it refers to.
    #[error("kubeconfig {}: {why}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// We do not seem to run in a pod, or its service account is not mounted.
    #[error("in-cluster configuration: {0}; outside a pod use --kubeconfig")]
    InCluster(#[from] kube::config::InClusterError),
    /// The configuration is readable, but certificates, keys or credentials are unusable.
    #[error("cannot build a client for {url}: {why}")]
    Client {
        /// The API server.
        url: String,
        /// What is wrong.
        why: kube::Error,
    },
}

/// How we introduce ourselves, so that audit logs and flow control can tell us from others.
const USER_AGENT: &str = concat!("sigma/", env!("CARGO_PKG_VERSION"));
/// The field manager that the API server makes of [`USER_AGENT`]: the owner of the fields that we write.
pub(super) const FIELD_MANAGER: &str = "sigma";
/// An API server within reach answers a TCP connect much faster.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes a client. No request is sent: whether the server answers is seen by the watches.
pub async fn connect(source: &Source) -> Result<Client, ConnectError> {
    let mut config = match source {
        Source::Kubeconfig { path, context } => {
            let fail = |why: String| ConnectError::Kubeconfig { path: path.clone(), why };
            // Told apart from a malformed file, because a wrong path is what mostly happens.
            if let Err(error) = std::fs::metadata(path) {
                return Err(fail(error.to_string()));
            }
            let file = Kubeconfig::read_from(path).map_err(|error| fail(error.to_string()))?;
            let contexts = context_names(&file);
            let options = KubeConfigOptions { context: context.clone(), ..Default::default() };
            Config::from_custom_kubeconfig(file, &options)
                .await
                .map_err(|error| fail(format!("{error} (the file has: {contexts})")))?
        }
        Source::InCluster => Config::incluster()?,
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // kube would retry a 429 up to 15 times inside one call; our watches and writes have back-offs
    // and deadlines of their own, and must know what the server says.
    config.default_retry = false;
    config.headers.push((header::USER_AGENT, HeaderValue::from_static(USER_AGENT)));
    let url = config.cluster_url.to_string();
    Client::try_from(config).map_err(|why| ConnectError::Client { url, why })
}

fn context_names(file: &Kubeconfig) -> String {
    let names: Vec<&str> = file.contexts.iter().map(|it| it.name.as_str()).collect();
    if names.is_empty() {
        "no context".to_owned()
    } else {
        format!("contexts {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::fake::{Answer, Fake};
    use crate::k8s::wire;

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
        let source = Source::Kubeconfig { path, context: context.map(Into::into) };
        connect(&source).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_kubeconfig_is_said() {
        let good = kubeconfig("https://127.0.0.1:1");
        let cases = [
            (None, None, "No such file"),
            (Some("clusters: [oops"), None, "failed to parse"),
            (Some(""), None, "no context"),
            (Some(&*good), Some("test"), "contexts prod, lost"),
            (Some(&*good), Some("lost"), "nowhere"),
        ];
        for (text, context, want) in cases {
            let error = try_connect(text, context).await.err().expect("it cannot work");
            assert!(error.starts_with("kubeconfig /") && error.contains(want), "{error}");
        }
        assert!(try_connect(Some(&good), None).await.is_ok(), "TLS is set up without a panic");
    }

    #[tokio::test]
    async fn outside_a_pod_the_remedy_is_named() {
        let error = connect(&Source::InCluster).await.err().expect("tests run in no pod");
        assert!(error.to_string().contains("--kubeconfig"), "{error}");
    }

    #[tokio::test]
    async fn requests_tell_who_we_are() {
        let fake = Fake::start(vec![Answer::json(200, "{}")]).await;
        let text = kubeconfig(&format!("http://127.0.0.1:{}", fake.port()));
        let client = try_connect(Some(&text), None).await.expect("a valid kubeconfig");
        let request = wire::build(http::Method::GET, "/x", "application/json", bytes::Bytes::new());
        assert!(wire::send(&client, request, "get x").await.is_ok());
        let head = fake.seen()[0].head.to_ascii_lowercase();
        assert!(head.contains(&format!("user-agent: {USER_AGENT}")), "{head}");
        assert_eq!(USER_AGENT.split_once('/').map(|it| it.0), Some(FIELD_MANAGER));
        assert!(head.contains("authorization: bearer secret"), "{head}");
    }
}
