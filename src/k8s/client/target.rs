//! A cluster and a user of a kubeconfig → what a client needs. Combinations that kubectl refuses are
//! refused, each with a word that names the file and the entry.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use http::{HeaderName, HeaderValue, Uri};
use kube::Config;
use tokio_rustls::rustls::pki_types::ServerName;

use super::credentials::{ClientIdentity, HeaderSource, bearer, sensitive};
use super::exec::CredentialPlugin;
use super::kubeconfig::{Bad, Chosen, NamedEntry};
use super::pem::{self, BadPem};
use super::proxy::Proxy;

/// The way to an API server, and who we are there.
pub(super) struct Target {
    pub(super) config: Config,
    pub(super) source: HeaderSource,
    pub(super) identity: Arc<ClientIdentity>,
    /// The kubeconfig's own; it counts whatever the environment says.
    pub(super) proxy: Option<Proxy>,
}

impl Target {
    pub(super) fn of(chosen: &Chosen) -> Result<Self, Bad> {
        let Chosen { cluster, user } = chosen;
        let authority = bytes(cluster, "certificate-authority")?;
        let insecure = cluster.flag("insecure-skip-tls-verify")?;
        let has_certificate = user.as_ref().is_some_and(|it| {
            it.value("client-certificate").is_some()
                || it.value("client-certificate-data").is_some()
        });
        let url = server(cluster, insecure || has_certificate || authority.is_some())?;
        let mut config = Config::new(url);
        config.accept_invalid_certs = insecure;
        if authority.is_some() && insecure {
            return Err(cluster.bad(
                "has insecure-skip-tls-verify and a certificate-authority: leave one of them out",
            ));
        }
        if let Some(Pem { bytes, field, file }) = &authority {
            let (usable, others) = pem::authorities(bytes)
                .map_err(|why| cluster.bad(&format!("has a {field} that {why}")))?;
            for other in others {
                tracing::warn!("{}: {field} {other}", cluster.title);
            }
            config.root_cert = Some(usable);
            // Authorities change while we run.
            config.root_cert_file = file.clone();
        } else if insecure || config.cluster_url.scheme_str() == Some("http") {
            // Nothing is verified, so it does not matter that an image has no authorities.
            config.root_cert = Some(Vec::new());
        }
        config.tls_server_name = cluster.text("tls-server-name")?.map(str::to_owned);
        if config.tls_server_name.clone().is_some_and(|it| ServerName::try_from(it).is_err()) {
            let why = "has a tls-server-name that is neither a name nor an address";
            return Err(cluster.bad(why));
        }
        let proxy = cluster.text("proxy-url")?.map(Proxy::parse).transpose();
        let proxy = proxy.map_err(|why| cluster.bad(&format!("has a proxy-url that {why}")))?;
        let identity = Arc::new(ClientIdentity::default());
        let mut source = HeaderSource::Fixed(None);
        if let Some(user) = user {
            let has_identity = identify(user, &identity)?;
            let authority = authority.as_ref().map(|it| it.bytes.as_slice());
            source = source_of(user, has_identity, cluster, authority)?;
            config.headers.extend(impersonation(user)?);
        }
        Ok(Self { config, source, identity, proxy })
    }
}

/// A PEM text of an entry.
struct Pem {
    bytes: Vec<u8>,
    /// The field that it comes from.
    field: String,
    /// The file, if it is in one.
    file: Option<PathBuf>,
}

/// `FIELD-data`, or else the file that `FIELD` names. With both, the data count.
fn bytes(entry: &NamedEntry, field: &str) -> Result<Option<Pem>, Bad> {
    let name = format!("{field}-data");
    if let Some(text) = entry.text(&name)? {
        if entry.text(field)?.is_some() {
            tracing::warn!("{}: {name} counts, and not the file of {field}", entry.title);
        }
        let bytes =
            pem::from_base64(text).map_err(|why| entry.bad(&format!("has a {name} that {why}")))?;
        return Ok(Some(Pem { bytes, field: name, file: None }));
    }
    let Some(path) = entry.path(field)? else { return Ok(None) };
    let bytes = std::fs::read(&path).map_err(|error| {
        entry.bad(&format!("has a {field} that cannot be read: {}: {error}", path.display()))
    })?;
    Ok(Some(Pem { bytes, field: field.to_owned(), file: Some(path) }))
}

/// The API server's URL. Without a scheme it is a host and a port, spoken to in TLS if anything in the
/// kubeconfig asks for that.
fn server(cluster: &NamedEntry, default_tls: bool) -> Result<Uri, Bad> {
    let text = cluster.text("server")?.ok_or_else(|| cluster.bad("has no server"))?.trim();
    let bad = |why: &str| cluster.bad(&format!("has a server that {why}"));
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None => ((if default_tls { "https" } else { "http" }).to_owned(), text),
    };
    if !matches!(scheme.as_str(), "http" | "https") {
        return Err(bad("begins with neither https:// nor http://"));
    }
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if !text.contains("://") && !matches!(path, "" | "/") {
        return Err(bad("is neither a URL nor a host with a port"));
    }
    if authority.contains('@') {
        return Err(bad("has a user in it: write username and password into the users entry"));
    }
    let authority = authority.strip_suffix(':').unwrap_or(authority);
    let uri: Uri = format!("{scheme}://{authority}{path}")
        .parse()
        .map_err(|_| bad("is no URL, such as https://10.0.0.1:6443"))?;
    let host = uri.host().unwrap_or_default();
    if host.is_empty() || uri.port_u16().is_none() && host.len() != authority.len() {
        return Err(bad("has no host or no port that can be read"));
    }
    // A proxy is told the port.
    if scheme == "http" && uri.port().is_none() {
        return format!("http://{host}:80{path}").parse().map_err(|_| bad("is no URL"));
    }
    Ok(uri)
}

/// The client certificate. Without one a key means nothing.
fn identify(user: &NamedEntry, identity: &ClientIdentity) -> Result<bool, Bad> {
    let Some(certificate) = bytes(user, "client-certificate")? else { return Ok(false) };
    let Some(key) = bytes(user, "client-key")? else {
        return Err(user.bad("has a client-certificate and no client-key"));
    };
    let pair = pem::identity(&certificate.bytes, &key.bytes).map_err(|bad| {
        let (field, why) = match bad {
            BadPem::Certificate(why) => (&certificate.field, why),
            BadPem::Key(why) => (&key.field, why),
        };
        user.bad(&format!("has a {field} that {why}"))
    })?;
    identity.set(pair);
    if let (Some(certificate), Some(key)) = (certificate.file, key.file) {
        identity.follow(certificate, key);
    }
    Ok(true)
}

/// A token, a name with a password, or a program; a program only where nothing else is given.
fn source_of(
    user: &NamedEntry,
    has_identity: bool,
    cluster: &NamedEntry,
    authority: Option<&[u8]>,
) -> Result<HeaderSource, Bad> {
    let (token, file) = (user.text("token")?, user.path("tokenFile")?);
    let (name, password) = (user.text("username")?, user.text("password")?);
    let (provider, exec) = (user.within("auth-provider")?, user.within("exec")?);
    if name.is_some() && (token.is_some() || file.is_some()) {
        return Err(user.bad("has a token and a username: leave one of them out"));
    }
    if provider.is_some() && exec.is_some() {
        return Err(user.bad("has an auth-provider and an exec: leave one of them out"));
    }
    let token = token
        .map(|it| bearer(it).ok_or_else(|| user.bad("has a token that no header can hold")))
        .transpose()?;
    if let Some(path) = file {
        return Ok(HeaderSource::File { path, fallback: token });
    }
    // A removed provider is an error even beside a token, as in kubectl.
    let provided = provider.as_ref().map(id_token).transpose()?;
    if token.is_some() {
        return Ok(HeaderSource::Fixed(token));
    }
    if let Some(name) = name {
        let pair = format!("{name}:{}", password.unwrap_or_default());
        let pair = base64::engine::general_purpose::STANDARD.encode(pair);
        return Ok(HeaderSource::Fixed(sensitive(&format!("Basic {pair}"))));
    }
    match exec {
        _ if provided.is_some() => Ok(HeaderSource::Fixed(provided)),
        Some(exec) if !has_identity => {
            Ok(HeaderSource::Plugin(Arc::new(CredentialPlugin::of(&exec, cluster, authority)?)))
        }
        _ => Ok(HeaderSource::Fixed(None)),
    }
}

/// Of the providers that were once built into kubectl, OpenID Connect is left.
fn id_token(provider: &NamedEntry) -> Result<HeaderValue, Bad> {
    let name = provider.text("name")?.unwrap_or_default();
    if name != "oidc" {
        let name: String = name.chars().take(40).collect();
        return Err(provider.bad(&format!(
            "is {name:?}, which is no longer supported (not by kubectl either): use an exec plugin"
        )));
    }
    let config = provider.within("config")?;
    let token = config.as_ref().map(|it| it.text("id-token")).transpose()?.flatten();
    let header = token.and_then(bearer);
    header.ok_or_else(|| provider.bad("has no id-token that can be used; sigma fetches none"))
}

/// The headers of `as`, `as-uid`, `as-groups` and `as-user-extra`.
fn impersonation(user: &NamedEntry) -> Result<Vec<(HeaderName, HeaderValue)>, Bad> {
    let mut headers = Vec::new();
    let mut add = |name: &str, field: &str, value: &str| {
        let pair = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        let bad = || user.bad(&format!("has a value in {field} that no header can hold"));
        pair.map(|it| headers.push(it)).ok_or_else(bad)
    };
    let (name, uid) = (user.text("as")?, user.text("as-uid")?);
    let (groups, extra) = (user.texts("as-groups")?, user.within("as-user-extra")?);
    let extra = extra.filter(|it| it.keys().next().is_some());
    let Some(name) = name else {
        if uid.is_some() || !groups.is_empty() || extra.is_some() {
            return Err(user.bad("has as-uid, as-groups or as-user-extra without as"));
        }
        return Ok(Vec::new());
    };
    add("impersonate-user", "as", name)?;
    if let Some(uid) = uid {
        add("impersonate-uid", "as-uid", uid)?;
    }
    for group in groups {
        add("impersonate-group", "as-groups", &group)?;
    }
    if let Some(extra) = extra {
        for key in extra.keys() {
            let header = format!("impersonate-extra-{}", escaped(key));
            for value in extra.texts(key)? {
                add(&header, "as-user-extra", &value)?;
            }
        }
    }
    Ok(headers)
}

/// A key as a header's name may have it; the rest is percent-encoded.
fn escaped(key: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(byte);
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        match is_plain(&byte) {
            true => out.push(char::from(byte)),
            false => out += &format!("%{byte:02X}"),
        }
    }
    out
}
