//! Connecting to the API server.

mod credentials;
mod exec;
mod kubeconfig;
mod pem;
mod proxy;
mod stack;
mod target;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, header};
use kube::{Client, Config};

use self::credentials::Credentials;
use self::kubeconfig::Bad;
use self::proxy::Env;
use self::stack::StackParts;
use self::target::Target;

/// Where the way to the API server is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KubeconfigSource {
    /// A kubeconfig file.
    Kubeconfig {
        /// The file, or several with `:` between them, which are merged.
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
    #[error("cannot build a client: {why}")]
    Client {
        /// What is wrong.
        why: String,
    },
}

/// How we introduce ourselves, so that audit logs and flow control can tell us from others.
const USER_AGENT: &str = concat!("sigma/", env!("CARGO_PKG_VERSION"));
/// The field manager that the API server makes of [`USER_AGENT`]: the owner of the fields that we write.
pub(super) const FIELD_MANAGER: &str = "sigma";
/// An API server within reach answers a TCP connect much faster.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes a client. No request is sent: whether the server answers is seen by the watches.
pub async fn connect(source: &KubeconfigSource) -> Result<Client, ConnectError> {
    connect_in(source, &|name| std::env::var(name).ok()).await
}

/// The same in an environment of its own.
async fn connect_in(source: &KubeconfigSource, env: Env<'_>) -> Result<Client, ConnectError> {
    let (target, entry) = match source {
        KubeconfigSource::Kubeconfig { path, context } => {
            let chosen = kubeconfig::choose(path, context.as_deref())?;
            let user = chosen.user.as_ref().unwrap_or(&chosen.cluster);
            (Target::of(&chosen)?, Some(Bad { file: user.file.clone(), why: user.title.clone() }))
        }
        KubeconfigSource::InCluster => (in_cluster()?, None),
    };
    let Target { mut config, source, identity, proxy } = target;
    let fail = |why: String| match entry {
        Some(Bad { file, why: title }) => {
            ConnectError::Kubeconfig { path: file, why: format!("{title}: {why}") }
        }
        None => ConnectError::Client { why },
    };
    let proxy = match proxy {
        Some(proxy) => Some((proxy, "proxy-url")),
        None => proxy::of_environment(&config.cluster_url, env)
            .map_err(|why| ConnectError::Client { why })?,
    };
    // Addresses stay out of the log.
    if let Some((_, name)) = &proxy {
        tracing::info!("the API server is reached through the proxy that {name} names");
    }
    let credentials = Credentials::start(source, identity.clone()).await.map_err(fail)?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.headers.push((header::USER_AGENT, HeaderValue::from_static(USER_AGENT)));
    let credentials = Arc::new(credentials);
    let proxy = proxy.map(|(proxy, _)| proxy);
    let built = stack::build(StackParts { config, credentials, identity, proxy });
    built.map_err(|why| ConnectError::Client { why: why.to_string() })
}

fn in_cluster() -> Result<Target, ConnectError> {
    let mut config = Config::incluster()?;
    let file = config.auth_info.token_file.take().map(PathBuf::from);
    let source = match file {
        Some(path) => credentials::HeaderSource::File { path, fallback: None },
        None => credentials::HeaderSource::Fixed(None),
    };
    Ok(Target { config, source, identity: Arc::default(), proxy: None })
}

impl From<Bad> for ConnectError {
    fn from(Bad { file, why }: Bad) -> Self {
        Self::Kubeconfig { path: file, why }
    }
}

/// What is behind an error of TLS whose own text does not say it.
pub(super) fn cause_of(error: &str) -> Option<&'static str> {
    const CAUSES: [(&str, &str); 3] = [
        (
            "CaUsedAsEndEntity",
            "the server shows the certificate of an authority as its own, which sigma's TLS library \
             refuses (kubectl accepts it): give the server a certificate that is no authority's",
        ),
        (
            "UnsupportedSignatureAlgorithm",
            "the server's certificate has a signature or a key that sigma's TLS library cannot verify, \
             such as P-521",
        ),
        (
            "alert: HandshakeFailure",
            "the server may have a key that sigma's TLS library cannot verify, such as P-521",
        ),
    ];
    CAUSES.iter().find(|(sign, _)| error.contains(sign)).map(|(_, cause)| *cause)
}

#[cfg(test)]
mod tests;
