//! Which proxy leads to the API server: the kubeconfig's, or the environment's. The environment is
//! read as Go programs read it (`golang.org/x/net/http/httpproxy`, and client-go's rule for CIDRs).

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use percent_encoding::percent_decode_str;

/// Looks up a variable of the environment.
pub(super) type Env<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

/// A proxy and how it is spoken to.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    pub(super) kind: ProxyKind,
    /// Scheme, host and port.
    pub(super) uri: Uri,
    pub(super) user: Option<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProxyKind {
    /// `CONNECT` in plain text.
    Http,
    /// `CONNECT` over TLS.
    Https,
    /// SOCKS5; the proxy looks up names.
    Socks5,
}

/// Without the password.
impl fmt::Display for Proxy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            ProxyKind::Http => "http",
            ProxyKind::Https => "https",
            ProxyKind::Socks5 => "socks5",
        };
        write!(out, "{scheme}://{}", self.uri.authority().map_or("", |it| it.as_str()))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Proxy {
    /// A URL with a scheme. The error never repeats the text: a password may be in it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) =
            text.trim().split_once("://").ok_or("has no scheme such as http:// or socks5://")?;
        let (kind, port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (ProxyKind::Http, 80),
            "https" => (ProxyKind::Https, 443),
            "socks5" | "socks5h" => (ProxyKind::Socks5, 1080),
            _ => return Err("has a scheme other than http, https, socks5 and socks5h".to_owned()),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, address) = match authority.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, authority),
        };
        let user = user.map(|it| it.split_once(':').unwrap_or((it, "")));
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user = user.map(|(name, password)| (decoded(name), decoded(password)));
        // The connector resolves the host; whether it speaks TLS is decided by `kind`.
        let scheme = if kind == ProxyKind::Https { "https" } else { "http" };
        let uri = uri(scheme, address, port)?;
        Ok(Self { kind, uri, user })
    }
}

/// `scheme://address`, with a port.
fn uri(scheme: &str, address: &str, default_port: u16) -> Result<Uri, String> {
    let address = address.strip_suffix(':').unwrap_or(address);
    let bad = |_| "has no host and port that can be read".to_owned();
    let uri: Uri = format!("{scheme}://{address}").parse().map_err(bad)?;
    let host = uri.host().filter(|it| !it.is_empty()).ok_or("has no host")?;
    if uri.port_u16().is_some() {
        return Ok(uri);
    }
    if host.len() != address.len() {
        return Err("has no port that can be read".to_owned());
    }
    format!("{scheme}://{host}:{default_port}").parse().map_err(bad)
}

/// The environment's proxy for `target` with the name of the variable that says so.
pub(super) fn of_environment(
    target: &Uri,
    env: Env<'_>,
) -> Result<Option<(Proxy, &'static str)>, String> {
    let names = match target.scheme_str() {
        Some("https") => ["https_proxy", "HTTPS_PROXY"],
        _ => ["http_proxy", "HTTP_PROXY"],
    };
    // Go's HTTP library prefers lower case.
    let set = |name: &'static str| env(name).filter(|it| !it.is_empty()).map(|it| (it, name));
    let Some((text, name)) = names.into_iter().find_map(set) else { return Ok(None) };
    if goes_direct(target, env) {
        return Ok(None);
    }
    let with_scheme = if text.contains("://") { text } else { format!("http://{text}") };
    match Proxy::parse(&with_scheme) {
        Ok(proxy) => Ok(Some((proxy, name))),
        Err(why) => Err(format!("the environment's {name} {why}")),
    }
}

/// Whether `NO_PROXY` names the target, or it is on the loopback.
fn goes_direct(target: &Uri, env: Env<'_>) -> bool {
    let host = target.host().unwrap_or_default().to_ascii_lowercase();
    let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(&host);
    let default_port = if target.scheme_str() == Some("http") { 80 } else { 443 };
    let port = target.port_u16().unwrap_or(default_port);
    let address = host.parse::<IpAddr>().ok().map(|it| it.to_canonical());
    if host == "localhost" || address.is_some_and(|it| it.is_loopback()) {
        return true;
    }
    let set = |names: [&str; 2]| {
        names.into_iter().find_map(|it| env(it).filter(|it| !it.is_empty())).unwrap_or_default()
    };
    // client-go reads CIDRs by itself, and prefers upper case.
    let (rules, networks) = (set(["no_proxy", "NO_PROXY"]), set(["NO_PROXY", "no_proxy"]));
    let by_network = |rule: &str| address.is_some_and(|it| in_network(rule.trim(), it));
    rules.split(',').any(|it| matches(it, host, port, address))
        || networks.split(',').any(by_network)
}

/// One rule of `NO_PROXY`. What cannot be read matches nothing.
fn matches(rule: &str, host: &str, port: u16, address: Option<IpAddr>) -> bool {
    let rule = rule.trim().to_ascii_lowercase();
    if rule == "*" {
        return true;
    }
    if rule.contains('/') {
        return address.is_some_and(|it| in_network(&rule, it));
    }
    let (name, wanted_port) = split_port(&rule);
    if wanted_port.is_some_and(|it| it.parse() != Ok(port)) {
        return false;
    }
    if let Ok(wanted) = name.parse::<IpAddr>() {
        return address == Some(wanted.to_canonical());
    }
    if name.is_empty() || address.is_some() {
        return false;
    }
    let name = name.strip_prefix('*').filter(|it| it.starts_with('.')).unwrap_or(name);
    match name.strip_prefix('.') {
        // Of a domain with a dot in front only what is below.
        Some(_) => host.ends_with(name),
        None => host == name || host.strip_suffix(name).is_some_and(|it| it.ends_with('.')),
    }
}

/// `name`, `name:port`, `address`, `address:port`, `[address]`, `[address]:port`.
fn split_port(rule: &str) -> (&str, Option<&str>) {
    if let Some((address, rest)) = rule.strip_prefix('[').and_then(|it| it.split_once(']')) {
        return (address, rest.strip_prefix(':'));
    }
    match rule.split_once(':') {
        Some((name, port)) if !port.contains(':') => (name, Some(port)),
        _ => (rule, None),
    }
}

/// Whether a network such as `10.0.0.0/8` has the address.
fn in_network(network: &str, address: IpAddr) -> bool {
    let Some((first, length)) = network.split_once('/') else { return false };
    let (Ok(first), Ok(length)) = (first.parse::<IpAddr>(), length.parse::<u32>()) else {
        return false;
    };
    let same = |one: u128, other: u128, bits: u32| {
        length <= bits && (length == 0 || (one ^ other) >> (bits - length) == 0)
    };
    match (first, address) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            same(u32::from(one).into(), u32::from(other).into(), 32)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => same(one.into(), other.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
