//! TLS on the verbs' listener: from the bytes of three files to who we are and whom we believe, and
//! from there to a handshake. What is built here is whole or not at all; files are `serve`'s to follow.

use std::fmt;
use std::io;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{
    NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier,
};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use tokio_rustls::server::TlsStream;

use super::certificate;

/// HTTP/2 by ALPN, which is what kube-scheduler takes when it is offered.
const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// What an identity is made of, as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityPem {
    /// The certificate, and those of intermediate authorities after it.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
    /// Authorities that clients' certificates must come from.
    pub client_ca: Vec<u8>,
}

/// The names that an identity must go by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityNames {
    /// What clients call us: a DNS name or an address that the certificate must be for. `None`: any.
    pub server: Option<String>,
    /// Names of which a client's certificate must have one. Empty: any will do.
    pub clients: Vec<String>,
}

/// One of the parts of an [`IdentityPem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityPart {
    /// The server's certificate.
    Certificate,
    /// Its private key.
    Key,
    /// The clients' authorities.
    ClientCa,
}

/// Why there is no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct BadIdentity {
    /// Which part is to blame.
    pub part: IdentityPart,
    /// What is wrong with it.
    pub why: String,
}

/// Who we are to clients, and whom we believe.
pub struct TlsIdentity {
    config: Arc<ServerConfig>,
    /// The last second, since 1970, in which clients believe us and we believe any of them.
    pub not_after: i64,
    /// The names that our certificate is for.
    pub names: Vec<String>,
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary())
    }
}

impl TlsIdentity {
    /// Reads and checks all of it; `now` in seconds since 1970.
    pub fn new(pem: &IdentityPem, asked: &IdentityNames, now: i64) -> Result<Self, BadIdentity> {
        let fault = |part| move |why: String| BadIdentity { part, why };
        let (of_certificate, of_key) = (fault(IdentityPart::Certificate), fault(IdentityPart::Key));
        let of_ca = fault(IdentityPart::ClientCa);
        let chain = certificates(&pem.certificate).map_err(&of_certificate)?;
        let (names, ends) =
            server_names(&chain, asked.server.as_deref(), now).map_err(&of_certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&pem.key)
            .map_err(|error| of_key(format!("no private key in PEM: {error}")))?;
        let provider = Arc::new(ring::default_provider());
        let (verifier, ends_of_clients) =
            client_verifier(&pem.client_ca, asked.clients.clone(), now, &provider)
                .map_err(of_ca)?;
        let config = server_config(provider, chain, key, verifier).map_err(|error| {
            of_key(match error {
                Error::InconsistentKeys(_) => "not the key of the certificate".to_owned(),
                error => error.to_string(),
            })
        })?;
        Ok(Self { config: Arc::new(config), not_after: ends.min(ends_of_clients), names })
    }

    /// In one line: our names and how long they are good for.
    pub fn summary(&self) -> String {
        format!("{} until {}", self.names.join(", "), moment(self.not_after))
    }

    /// Shakes hands with a client.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.config.clone()).accept(stream).await
    }
}

/// Whether a client that was accepted speaks HTTP/2.
pub(super) fn speaks_http2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP2)
}

/// Why a handshake failed, as a label.
pub(super) fn failure(error: &io::Error) -> &'static str {
    use CertificateError as C;
    let Some(error) = error.get_ref().and_then(|it| it.downcast_ref::<Error>()) else {
        return "broken_off";
    };
    match error {
        Error::NoCertificatesPresented => "no_certificate",
        Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => "expired",
        Error::InvalidCertificate(C::ApplicationVerificationFailure) => "other_name",
        Error::InvalidCertificate(_) => "untrusted",
        // The client does not like what we show.
        Error::AlertReceived(_) => "refused_by_client",
        _ => "no_tls",
    }
}

/// A moment, in seconds since 1970, as people read it.
pub(super) fn moment(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or("the end of time".to_owned(), |it| it.to_string())
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(found) if found.is_empty() => Err("no certificate in PEM".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("no certificate in PEM: {error}")),
    }
}

/// The names that a chain stands for, and its last second.
fn server_names(
    chain: &[CertificateDer<'_>],
    asked: Option<&str>,
    now: i64,
) -> Result<(Vec<String>, i64), String> {
    let mut ends = i64::MAX;
    for der in chain {
        ends = ends.min(certificate::not_after(&certificate::read(der, now)?));
    }
    let first = chain.first().ok_or("no certificate in PEM")?;
    let names = certificate::names(&certificate::read(first, now)?);
    if let Some(asked) = asked {
        let name = ServerName::try_from(asked).map_err(|_| format!("{asked:?} is no name"))?;
        let parsed = ParsedCertificate::try_from(first).map_err(|error| error.to_string())?;
        verify_server_name(&parsed, &name)
            .map_err(|_| format!("for {} and not for {asked}", names.join(", ")))?;
    }
    Ok((names, ends))
}

/// A verifier of clients, and the last second in which it believes anybody. rustls does not look at
/// the dates of an authority, so one that has expired is left out here, and what is no authority's is
/// an error.
fn client_verifier(
    pem: &[u8],
    names: Vec<String>,
    now: i64,
    provider: &Arc<CryptoProvider>,
) -> Result<(Arc<dyn ClientCertVerifier>, i64), String> {
    let (mut roots, mut ends, mut left_out) = (RootCertStore::empty(), 0, String::new());
    for der in certificates(pem)? {
        match certificate::read(&der, now) {
            Ok(it) if !it.is_ca() => {
                return Err("holds a certificate that is no authority's (CA:FALSE)".to_owned());
            }
            Ok(it) => ends = ends.max(certificate::not_after(&it)),
            Err(why) => {
                left_out = why;
                continue;
            }
        }
        roots.add(der).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err(left_out);
    }
    let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let inner = inner.build().map_err(|error| error.to_string())?;
    Ok((Arc::new(Named { inner, names }), ends))
}

fn server_config(
    provider: Arc<CryptoProvider>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, Error> {
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_client_cert_verifier(clients).with_single_cert(chain, key)?;
    config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
    // A resumed session would not be asked for a certificate again. Connections last long.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Believes whom the authorities vouch for, and of those only some names.
#[derive(Debug)]
struct Named {
    inner: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
}

impl ClientCertVerifier for Named {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        if self.names.is_empty() {
            return Ok(verified);
        }
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let shown = certificate::read(end_entity, now).map(|it| certificate::names(&it));
        match shown.is_ok_and(|shown| shown.iter().any(|it| self.names.contains(it))) {
            true => Ok(verified),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
