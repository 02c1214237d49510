//! Texts of others made fit for logs, pages and events: what libraries and servers say of errors may have
//! addresses, paths, tokens and certificates in it, which are nobody's business who reads those.

use std::error::Error;

use tokio_rustls::rustls;

use super::client::cause_of;

/// Longest text that is kept.
const MAX_BYTES: usize = 1024;
/// Shortest word that may be a token.
const MIN_TOKEN: usize = 24;
/// Folders of files; paths of the API begin otherwise.
const ROOTS: [&str; 16] = [
    "bin", "boot", "dev", "etc", "home", "lib", "mnt", "opt", "proc", "root", "run", "srv", "sys",
    "tmp", "usr", "var",
];

/// What a server says, in one line.
pub(super) fn of_text(text: &str) -> String {
    let text = text.split("-----BEGIN").next().unwrap_or_default();
    // Of two that are connected.
    let text = text.replace("->", " -> ");
    let mut out = String::new();
    let mut before = "";
    for word in text.split(|it: char| it.is_whitespace() || it.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        // `dial tcp: lookup NAME on ADDRESS`, `Bearer TOKEN`
        match before {
            "lookup" => out.push_str("<address>"),
            "Bearer" | "Basic" => out.push_str("<token>"),
            _ => push_word(&mut out, word),
        }
        before = word;
        if out.len() > MAX_BYTES {
            let end = (0..=MAX_BYTES).rev().find(|at| out.is_char_boundary(*at)).unwrap_or(0);
            out.truncate(end);
            out.push('…');
            break;
        }
    }
    out
}

/// What went wrong before there was an answer.
pub(super) fn of_error(error: &kube::Error) -> String {
    if let kube::Error::Auth(error) = error {
        return format!("credentials: {}", of_auth(error));
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = tls_of(error) {
            let cause = cause_of(&error.to_string()).map(|it| format!(" ({it})"));
            return format!("TLS: {}{}", of_tls(error), cause.unwrap_or_default());
        }
        let more = error.to_string();
        // Wrappers tend to repeat what they wrap.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    let cause = cause_of(&text).map(|it| format!(" ({it})"));
    of_text(&text) + &cause.unwrap_or_default()
}

/// TLS errors travel inside of I/O errors, which do not name them as their source.
fn tls_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let inner = || tls_of(error.downcast_ref::<std::io::Error>()?.get_ref()?);
    error.downcast_ref().or_else(inner)
}

/// What a certificate has in it is not said, only what is wrong with it.
fn of_tls(error: &rustls::Error) -> String {
    use rustls::{CertificateError as C, Error as E};
    let why = match error {
        E::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => "it has expired",
        E::InvalidCertificate(C::NotValidYet | C::NotValidYetContext { .. }) => {
            "it is not valid yet"
        }
        E::InvalidCertificate(C::UnknownIssuer) => {
            "none of the authorities given for the cluster has issued it"
        }
        E::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => {
            "it is for other names"
        }
        E::InvalidCertificate(C::Revoked) => "it is revoked",
        E::InvalidCertificate(C::BadSignature) => "its signature is wrong",
        E::InvalidCertificate(_) => "it is not valid",
        E::AlertReceived(alert) => return format!("the server ends the handshake: {alert:?}"),
        E::PeerIncompatible(_) => return "no version or cipher in common".to_owned(),
        _ => return "the handshake failed".to_owned(),
    };
    format!("the server's certificate is not accepted: {why}")
}

/// Neither commands nor files nor what they say.
fn of_auth(error: &kube::client::AuthError) -> &'static str {
    use kube::client::AuthError as E;
    match error {
        E::InvalidBasicAuth(_) | E::InvalidBearerToken(_) => "they do not fit into a header",
        E::ReadTokenFile(..) => "the token file cannot be read",
        E::AuthExecStart(_) | E::MissingCommand => "the exec plugin cannot be started",
        E::AuthExecRun { .. } | E::AuthExec(_) | E::ExecPluginFailed => {
            "the exec plugin has failed"
        }
        E::AuthExecParse(_) | E::MalformedTokenExpirationDate(_) => {
            "what the exec plugin gives cannot be read"
        }
        E::UnrefreshableTokenResponse => "the token cannot be refreshed",
        _ => "they cannot be had",
    }
}

/// What ends a URL.
const BEYOND_URL: &[char] = &['"', '\'', '`', '<', '>', '(', ')', ']', '}', ';'];

/// A word, and what surrounds it.
fn push_word(out: &mut String, word: &str) {
    const AROUND: &[char] =
        &['"', '\'', '(', ')', '[', ']', '{', '}', '<', '>', ',', ';', '`', '='];
    let mut rest = word;
    while !rest.is_empty() {
        // An IPv6 address has its brackets.
        let (piece, end) = match bracketed(rest) {
            Some(end) => ("<address>", end),
            None => {
                let end = rest.find(AROUND).unwrap_or(rest.len());
                // The query of a URL has some of them in it.
                let end = match rest[..end].contains("://") {
                    true => rest.find(BEYOND_URL).unwrap_or(rest.len()),
                    false => end,
                };
                (cleared(&rest[..end]), end)
            }
        };
        out.push_str(piece);
        rest = &rest[end..];
        if let Some(it) = rest.chars().next().filter(|it| AROUND.contains(it))
            && bracketed(rest).is_none()
        {
            out.push(it);
            rest = &rest[it.len_utf8()..];
        }
    }
}

/// The length of `[IPv6]`, with a port or without, at the start.
fn bracketed(text: &str) -> Option<usize> {
    let end = text.strip_prefix('[')?.find(']')? + 1;
    text[1..end].split('%').next()?.parse::<std::net::Ipv6Addr>().ok()?;
    let port = text[end + 1..]
        .strip_prefix(':')
        .map_or(0, |port| 1 + port.find(|it: char| !it.is_ascii_digit()).unwrap_or(port.len()));
    Some(end + 1 + port)
}

/// The piece, or what it is.
fn cleared(piece: &str) -> &str {
    let bare = piece.trim_end_matches(['.', ':', '!', '?']);
    // What is cut off at the end stays where the piece does.
    if bare.contains("://") || is_address(bare) {
        return with_end(piece, bare, "<address>", "<address>:");
    }
    if is_path(bare) {
        return with_end(piece, bare, "<path>", "<path>:");
    }
    if is_token(bare) {
        return with_end(piece, bare, "<token>", "<token>:");
    }
    piece
}

fn with_end(piece: &str, bare: &str, plain: &'static str, colon: &'static str) -> &'static str {
    if piece[bare.len()..].contains(':') { colon } else { plain }
}

fn is_address(bare: &str) -> bool {
    let is_ip = |it: &str| it.parse::<std::net::IpAddr>().is_ok();
    let host = bare.split('/').next().unwrap_or(bare);
    let with_port = host.rsplit_once(':').is_some_and(|(name, port)| {
        let is_port = (2..=5).contains(&port.len()) && port.bytes().all(|it| it.is_ascii_digit());
        is_port && (is_ip(name) || is_host(name))
    });
    with_port || is_ip(host)
}

fn is_host(name: &str) -> bool {
    let is_part = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'.');
    !name.is_empty() && name.bytes().all(is_part) && name.bytes().any(|it| it.is_ascii_alphabetic())
}

fn is_path(bare: &str) -> bool {
    let first = bare.strip_prefix('/').and_then(|it| it.split_once('/'));
    first.is_some_and(|(first, _)| ROOTS.contains(&first))
}

/// JSON Web Tokens, keys, and other words that nobody would write.
fn is_token(bare: &str) -> bool {
    let any = |is: fn(&u8) -> bool| bare.as_bytes().iter().any(is);
    let of_token =
        |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'.' | b'+' | b'/');
    bare.len() >= MIN_TOKEN
        && bare.bytes().all(of_token)
        && any(u8::is_ascii_digit)
        && any(u8::is_ascii_uppercase)
        && any(u8::is_ascii_lowercase)
}

#[cfg(test)]
mod tests;
