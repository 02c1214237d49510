//! Who sigma is to the API server, kept up to date: a token file is read again, a plugin is run again.

use std::future::Future;
use std::mem;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::{HeaderValue, Request, Response, StatusCode, header};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_rustls::rustls::SignatureScheme;
use tokio_rustls::rustls::client::ResolvesClientCert;
use tokio_rustls::rustls::sign::CertifiedKey;
use tower::{BoxError, Service};

use super::exec::{CredentialPlugin, Given};
use super::pem;

/// A token file is read this often, as client-go does: half of the time that the kubelet leaves.
const READ_EVERY: Duration = Duration::from_secs(50);
/// A plugin is run again this long before what it gave expires.
const LEEWAY: SignedDuration = SignedDuration::from_secs(10);

/// Where the `Authorization` header comes from.
#[derive(Debug)]
pub(super) enum HeaderSource {
    /// It does not change; `None`: there is none.
    Fixed(Option<HeaderValue>),
    /// A file with a token, and the token to use while it has none.
    File { path: PathBuf, fallback: Option<HeaderValue> },
    /// A program.
    Plugin(Arc<CredentialPlugin>),
}

/// The present credentials.
#[derive(Debug)]
pub(super) struct Credentials {
    source: HeaderSource,
    known: Mutex<KnownHeader>,
    identity: Arc<ClientIdentity>,
}

/// What a source gave last.
#[derive(Debug, Default)]
struct KnownHeader {
    header: Option<HeaderValue>,
    until: Until,
}

/// How long what is known is good.
#[derive(Debug, Default)]
enum Until {
    /// Not at all: it was never there, or the server has refused it.
    #[default]
    Over,
    Moment(Instant),
    Date(Timestamp),
    Forever,
}

/// The client certificate that the next TLS handshake shows.
#[derive(Debug, Default)]
pub(super) struct ClientIdentity {
    current: ArcSwapOption<CertifiedKey>,
    /// The files of certificate and key, which are read again: whoever renews them restarts nobody.
    files: OnceLock<(PathBuf, PathBuf)>,
}

impl ClientIdentity {
    pub(super) fn set(&self, pair: Arc<CertifiedKey>) {
        self.current.store(Some(pair));
    }

    /// Follows two files.
    pub(super) fn follow(&self, certificate: PathBuf, key: PathBuf) {
        self.files.get_or_init(|| (certificate, key));
    }

    /// What the files have, if it can be used.
    fn renewed(&self) -> Option<Arc<CertifiedKey>> {
        let (certificate, key) = self.files.get()?;
        let (certificate, key) = (std::fs::read(certificate).ok()?, std::fs::read(key).ok()?);
        pem::identity(&certificate, &key).ok()
    }
}

impl ResolvesClientCert for ClientIdentity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        if let Some(pair) = self.renewed() {
            self.set(pair);
        }
        self.current.load_full()
    }

    fn has_certs(&self) -> bool {
        self.current.load().is_some()
    }
}

/// `Bearer TOKEN`; `None`: a header cannot hold it.
pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    sensitive(&format!("Bearer {}", token.trim()))
}

/// A header that no log shows.
pub(super) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// The token of a file as a header.
fn read(path: &Path) -> Result<HeaderValue, String> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| format!("the token file {}: {error}", path.display()))?;
    match text.trim() {
        "" => Err(format!("the token file {} is empty", path.display())),
        token => {
            bearer(token).ok_or_else(|| format!("the token file {} holds no token", path.display()))
        }
    }
}

impl Credentials {
    /// Asks the source once, so that what is wrong with it is known now.
    pub(super) async fn start(
        source: HeaderSource,
        identity: Arc<ClientIdentity>,
    ) -> Result<Self, String> {
        let credentials = Self { source, known: Mutex::default(), identity };
        credentials.header().await?;
        Ok(credentials)
    }

    /// The present header.
    async fn header(&self) -> Result<Option<HeaderValue>, String> {
        let mut known = self.known.lock().await;
        if !known.until.is_good() {
            self.renew(&mut known).await?;
        }
        Ok(known.header.clone())
    }

    /// The server does not know who we are: the next request asks the source again.
    async fn refused(&self) {
        self.known.lock().await.until = Until::Over;
    }

    async fn renew(&self, known: &mut KnownHeader) -> Result<(), String> {
        match &self.source {
            HeaderSource::Fixed(header) => {
                *known = KnownHeader { header: header.clone(), until: Until::Forever };
            }
            HeaderSource::File { path, fallback } => {
                let until = Until::Moment(Instant::now() + READ_EVERY);
                // Some take the file away after the start; the last token that was read stays.
                let kept = known.header.clone().or_else(|| fallback.clone());
                let header = match (read(path), kept) {
                    (Ok(header), _) => header,
                    (Err(_), Some(kept)) => kept,
                    (Err(why), None) => return Err(why),
                };
                *known = KnownHeader { header: Some(header), until };
            }
            HeaderSource::Plugin(plugin) => {
                let program = plugin.clone();
                let given = tokio::task::spawn_blocking(move || program.run()).await;
                let given = given.map_err(|_| "the exec plugin broke off".to_owned())??;
                *known = self.accept(given)?;
            }
        }
        Ok(())
    }

    fn accept(&self, given: Given) -> Result<KnownHeader, String> {
        let odd = || "the exec plugin printed a token that no header can hold".to_owned();
        let header = given.token.map(|it| bearer(&it).ok_or_else(odd)).transpose()?;
        if let Some((certificate, key)) = given.identity {
            let pair = pem::identity(certificate.as_bytes(), key.as_bytes());
            let pair = pair.map_err(|bad| match bad {
                pem::BadPem::Certificate(why) => {
                    format!("the exec plugin's clientCertificateData {why}")
                }
                pem::BadPem::Key(why) => format!("the exec plugin's clientKeyData {why}"),
            })?;
            self.identity.set(pair);
        }
        let until = given.expires.map_or(Until::Forever, Until::Date);
        Ok(KnownHeader { header, until })
    }
}

impl Until {
    fn is_good(&self) -> bool {
        match self {
            Self::Over => false,
            Self::Moment(end) => Instant::now() < *end,
            Self::Date(end) => Timestamp::now() + LEEWAY < *end,
            Self::Forever => true,
        }
    }
}

/// A service whose requests have the present header.
#[derive(Clone, Debug)]
pub(super) struct Authorized<S> {
    pub(super) inner: S,
    pub(super) credentials: Arc<Credentials>,
}

type Answered<B> = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

impl<S, B> Service<Request<Body>> for Authorized<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Answered<B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let next = self.inner.clone();
        let mut ready = mem::replace(&mut self.inner, next);
        let credentials = self.credentials.clone();
        Box::pin(async move {
            if let Some(header) = credentials.header().await? {
                request.headers_mut().insert(header::AUTHORIZATION, header);
            }
            let response = ready.call(request).await.map_err(Into::into)?;
            if response.status() == StatusCode::UNAUTHORIZED {
                credentials.refused().await;
            }
            Ok(response)
        })
    }
}
