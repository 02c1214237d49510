//! The address of an extender, as kube-scheduler's configuration writes it (`urlPrefix`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// A `urlPrefix`, split and normalised. Two spellings of one address are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtenderUrl {
    scheme: Box<str>,
    host: Host,
    port: u16,
    /// Without slashes at its end, as kube-scheduler uses it.
    path: Box<str>,
}

/// The host of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// `localhost`, `127.0.0.1` and `[::1]`: the same machine, whichever is written.
    Local,
    Address(IpAddr),
    /// In lower case, without a dot at its end.
    Name(Box<str>),
}

/// Why a text is no address of an extender.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// Go's HTTP client knows no other scheme.
    #[error("begins with neither http:// nor https://")]
    Scheme,
    /// Nothing between the scheme and the path.
    #[error("has no host that can be read")]
    Host,
    /// Not a number from 1 to 65535.
    #[error("has no port that can be read")]
    Port,
    /// kube-scheduler appends the verb to the text as it is.
    #[error("has a query or a fragment")]
    Query,
}

impl FromStr for ExtenderUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(BadUrl::Scheme)?;
        let scheme = scheme.to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return Err(BadUrl::Scheme),
        };
        if rest.contains(['?', '#']) {
            return Err(BadUrl::Query);
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
        let (host, port) = split_port(address)?;
        let port = match port {
            None | Some("") => default_port,
            Some(port) => number(port).ok_or(BadUrl::Port)?,
        };
        let path = path.trim_end_matches('/').into();
        Ok(Self { scheme: scheme.into(), host: Host::of(host)?, port, path })
    }
}

impl ExtenderUrl {
    /// The address is on this machine's loopback and has this port.
    pub(super) fn is_loopback(&self, port: u16) -> bool {
        let local = match &self.host {
            Host::Local => true,
            Host::Address(address) => address.is_loopback(),
            Host::Name(_) => false,
        };
        local && self.port == port
    }

    /// The address is this one.
    pub(super) fn is_at(&self, address: SocketAddr) -> bool {
        self.host == Host::at(address.ip()) && self.port == address.port()
    }

    /// The same host and port as `other`, and a path that is `other`'s or begins with it.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        let below = self.path.strip_prefix(&*other.path);
        let below = below.is_some_and(|it| it.is_empty() || it.starts_with('/'));
        self.host == other.host && self.port == other.port && below
    }

    /// The part that tells own entries apart.
    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

/// Without user and password, whatever was written.
impl fmt::Display for ExtenderUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://", self.scheme)?;
        match &self.host {
            Host::Local => out.write_str("localhost")?,
            Host::Address(IpAddr::V6(address)) => write!(out, "[{address}]")?,
            Host::Address(address) => write!(out, "{address}")?,
            Host::Name(name) => out.write_str(name)?,
        }
        write!(out, ":{}{}", self.port, self.path)
    }
}

impl Host {
    fn at(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let first = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let local = address == first || address.is_ipv6() && address.is_loopback();
        if local { Self::Local } else { Self::Address(address) }
    }

    fn of(text: &str) -> Result<Self, BadUrl> {
        let bracketed = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        if let Ok(address) = bracketed.unwrap_or(text).parse::<IpAddr>() {
            return Ok(Self::at(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        match name.as_str() {
            "" => Err(BadUrl::Host),
            "localhost" => Ok(Self::Local),
            _ if name.chars().all(is_name) => Ok(Self::Name(name.into())),
            _ => Err(BadUrl::Host),
        }
    }
}

/// The colon before a port stands after the brackets of an IPv6 address.
fn split_port(address: &str) -> Result<(&str, Option<&str>), BadUrl> {
    if !address.starts_with('[') {
        return Ok(match address.split_once(':') {
            // An IPv6 address without brackets.
            Some((_, port)) if port.contains(':') => return Err(BadUrl::Host),
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        });
    }
    let end = address.find(']').ok_or(BadUrl::Host)?;
    let (host, rest) = address.split_at(end + 1);
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if rest.is_empty() => Ok((host, None)),
        None => Err(BadUrl::Host),
    }
}

fn number(port: &str) -> Option<u16> {
    let digits = port.bytes().all(|it| it.is_ascii_digit());
    port.parse().ok().filter(|it| digits && *it > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> ExtenderUrl {
        text.parse().expect(text)
    }

    #[test]
    fn spellings_of_one_address_are_equal() {
        for (one, other) in [
            ("http://sigma:9090", "HTTP://Sigma:9090/"),
            ("https://sigma.ns.svc", "https://SIGMA.ns.svc.:443//"),
            ("http://sigma", "http://sigma:80"),
            ("http://sigma:", "http://sigma:80"),
            ("http://localhost:9090", "http://127.0.0.1:9090"),
            ("http://LOCALHOST:9090", "http://[::1]:9090"),
            ("http://127.0.0.1:9090", "http://[::ffff:127.0.0.1]:9090"),
            ("http://[2001:DB8::1]:9090/a", "http://[2001:db8:0::1]:9090/a/"),
            ("http://user:secret@sigma:9090", "http://sigma:9090"),
        ] {
            assert_eq!(url(one), url(other), "{one} {other}");
        }
        for (one, other) in [
            ("http://sigma:9090", "http://sigma:9091"),
            ("http://sigma:9090", "http://gpu:9090"),
            ("http://127.0.0.1:9090", "http://127.0.0.2:9090"),
            ("http://sigma:9090/a", "http://sigma:9090/b"),
        ] {
            assert_ne!(url(one), url(other), "{one} {other}");
        }
    }

    #[test]
    fn own_paths_are_those_below() {
        for (text, own, want) in [
            ("http://s:9090", "http://s:9090", true),
            ("http://s:9090/online", "http://s:9090", true),
            ("http://s:9090/sigma/online/", "http://s:9090/sigma", true),
            ("http://s:9090/sigma-gpu", "http://s:9090/sigma", false),
            ("http://s:9090", "http://s:9090/sigma", false),
            ("https://s:9090", "http://s:9090", true),
            ("http://other:9090/sigma", "http://s:9090", false),
        ] {
            assert_eq!(url(text).is_within(&url(own)), want, "{text} {own}");
        }
        for (text, want) in [
            ("http://127.0.0.1:9090/x", true),
            ("http://127.8.8.8:9090", true),
            ("https://[::1]:9090", true),
            ("http://localhost.:9090", true),
            ("http://localhost:9091", false),
            ("http://localhost.example:9090", false),
            ("http://10.0.0.1:9090", false),
            ("http://[::2]:9090", false),
        ] {
            assert_eq!(url(text).is_loopback(9090), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_url_is_said_and_passwords_are_not() {
        for (text, want) in [
            ("sigma:9090", BadUrl::Scheme),
            ("127.0.0.1:9090", BadUrl::Scheme),
            ("ftp://sigma", BadUrl::Scheme),
            ("", BadUrl::Scheme),
            ("http://", BadUrl::Host),
            ("http:///filter", BadUrl::Host),
            ("http://[::1", BadUrl::Host),
            ("http://[::1]9090", BadUrl::Host),
            ("http://sig ma:9090", BadUrl::Host),
            ("http://sigma:70000", BadUrl::Port),
            ("http://sigma:0", BadUrl::Port),
            ("http://sigma:+80", BadUrl::Port),
            ("http://::1:9090", BadUrl::Host),
            ("http://sigma/?a=b", BadUrl::Query),
        ] {
            assert_eq!(text.parse::<ExtenderUrl>(), Err(want), "{text}");
        }
        let shown = url("https://user:secret@[fe80::1]/a/").to_string();
        assert_eq!(shown, "https://[fe80::1]:443/a");
    }
}
