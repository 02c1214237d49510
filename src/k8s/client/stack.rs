//! A client from its parts: TCP, perhaps a proxy, TLS, HTTP/1.1, headers.

use std::sync::Arc;

use http::Uri;
use hyper::rt::{Read, Write};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use kube::{Client, Config};
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::client::Resumption;
use tower::{BoxError, Layer, Service};

use super::credentials::{Authorized, ClientIdentity, Credentials, sensitive};
use super::proxy::{Proxy, ProxyKind};

/// What a client is made of.
pub(super) struct StackParts {
    pub(super) config: Config,
    pub(super) credentials: Arc<Credentials>,
    pub(super) identity: Arc<ClientIdentity>,
    pub(super) proxy: Option<Proxy>,
}

pub(super) fn build(parts: StackParts) -> Result<Client, kube::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let mut tls = match parts.config.rustls_client_config() {
        // The file of authorities holds something that only a stricter reader minds.
        Err(_) if parts.config.root_cert_file.is_some() && parts.config.root_cert.is_some() => {
            let mut config = parts.config.clone();
            config.root_cert_file = None;
            config.rustls_client_config()?
        }
        tls => tls?,
    };
    tls.client_auth_cert_resolver = parts.identity.clone();
    // In a session that is resumed the server takes us for whom we were when it began.
    tls.resumption = Resumption::disabled();
    let tls = Arc::new(tls);
    match &parts.proxy {
        None => over(tcp, &tls, &parts),
        Some(proxy) => match proxy.kind {
            ProxyKind::Http => over(tunnel(proxy, tcp), &tls, &parts),
            ProxyKind::Https => {
                let tcp = secured(tcp, &tls, &parts.config)?;
                over(tunnel(proxy, tcp), &tls, &parts)
            }
            ProxyKind::Socks5 => {
                let mut socks = SocksV5::new(proxy.uri.clone(), tcp);
                if let Some((user, password)) = proxy.user.clone() {
                    socks = socks.with_auth(user, password);
                }
                over(socks, &tls, &parts)
            }
        },
    }
}

fn tunnel<C>(proxy: &Proxy, connector: C) -> Tunnel<C> {
    use base64::Engine;
    let tunnel = Tunnel::new(proxy.uri.clone(), connector);
    let Some((user, password)) = &proxy.user else { return tunnel };
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    match sensitive(&format!("Basic {pair}")) {
        Some(header) => tunnel.with_auth(header),
        None => tunnel,
    }
}

/// TLS where the URL says so.
fn secured<C>(
    connector: C,
    tls: &Arc<ClientConfig>,
    config: &Config,
) -> Result<HttpsConnector<C>, kube::Error> {
    let mut builder = HttpsConnectorBuilder::new().with_tls_config((**tls).clone()).https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name.clone().try_into().map_err(|error| {
            kube::Error::RustlsTls(kube::client::RustlsTlsError::InvalidServerName(error))
        })?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(builder.enable_http1().wrap_connector(connector))
}

/// The client whose connections `connector` makes.
fn over<C>(connector: C, tls: &Arc<ClientConfig>, parts: &StackParts) -> Result<Client, kube::Error>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Connection + Read + Write + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: Into<BoxError>,
{
    let config = &parts.config;
    let mut connector = TimeoutConnector::new(secured(connector, tls, config)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    let client: legacy::Client<_, Body> =
        legacy::Client::builder(TokioExecutor::new()).build(connector);
    let authorized = Authorized { inner: client, credentials: parts.credentials.clone() };
    let service = config.base_uri_layer().layer(config.extra_headers_layer()?.layer(authorized));
    Ok(Client::new(service, config.default_namespace.clone()))
}
