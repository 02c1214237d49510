//! The certificate, key and authorities on disk → the identity in force: whole or not at all, the last
//! good one stays. Followed as the policy is (`reload`).

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use super::config::BadConfig;
use super::metrics::ServeMetrics;
use super::reload::{FileWatch, Fingerprint};
use crate::http::{CurrentIdentity, IdentityNames, IdentityPart, IdentityPem, TlsIdentity};

/// Largest file; certificates and keys have a few kilobytes.
const MAX_BYTES: u64 = 1 << 20;

/// Where the files of an identity are, and what is asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSource {
    /// The certificate, and those of intermediate authorities after it.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities that clients' certificates must come from.
    pub client_ca: PathBuf,
    /// Names that certificates must bear.
    pub names: IdentityNames,
}

impl TlsSource {
    fn read(&self) -> Result<IdentityPem, String> {
        let read = |part| {
            let (flag, path) = self.file(part);
            let mut bytes = Vec::new();
            let open = std::fs::File::open(path);
            open.and_then(|it| it.take(MAX_BYTES).read_to_end(&mut bytes))
                .map_err(|error| format!("cannot read {flag} {}: {error}", path.display()))?;
            Ok::<_, String>(bytes)
        };
        Ok(IdentityPem {
            certificate: read(IdentityPart::Certificate)?,
            key: read(IdentityPart::Key)?,
            client_ca: read(IdentityPart::ClientCa)?,
        })
    }

    fn judge(&self, pem: &IdentityPem) -> Result<TlsIdentity, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        TlsIdentity::new(pem, &self.names, now).map_err(|bad| {
            let (flag, path) = self.file(bad.part);
            format!("cannot use {flag} {}: {bad}", path.display())
        })
    }

    /// A flag says which file is meant to whoever may know where it is.
    fn without_paths(&self, text: String) -> String {
        let parts = [IdentityPart::Certificate, IdentityPart::Key, IdentityPart::ClientCa];
        parts.into_iter().fold(text, |text, part| {
            let (flag, path) = self.file(part);
            text.replace(&format!("{flag} {}", path.display()), flag)
        })
    }

    /// The flag that names a part's file, and the file.
    fn file(&self, part: IdentityPart) -> (&'static str, &Path) {
        match part {
            IdentityPart::Certificate => ("--tls-cert", &self.cert),
            IdentityPart::Key => ("--tls-key", &self.key),
            IdentityPart::ClientCa => ("--tls-client-ca", &self.client_ca),
        }
    }
}

/// The identity in force, and how the files on disk stand to it.
pub(super) struct TlsFiles {
    source: TlsSource,
    pub(super) current: CurrentIdentity,
    on_disk: Mutex<OnDisk>,
    metrics: Arc<ServeMetrics>,
}

struct OnDisk {
    /// Of what was judged last; `None` when it could not be read.
    judged: Option<Fingerprint>,
    /// Why that is not in force, if so.
    refused: Option<String>,
}

impl TlsFiles {
    /// The first identity: without one nobody may be answered.
    pub(super) fn load_first(
        source: TlsSource,
        metrics: Arc<ServeMetrics>,
    ) -> Result<Self, BadConfig> {
        let pem = source.read().map_err(BadConfig)?;
        let identity = source.judge(&pem).map_err(BadConfig)?;
        tracing::info!("TLS as {}", identity.summary());
        metrics.tls_expiry_seconds.set(identity.not_after);
        let on_disk = OnDisk { judged: Some(fingerprint(&pem)), refused: None };
        let current = Arc::new(ArcSwap::from_pointee(identity));
        Ok(Self { source, current, on_disk: Mutex::new(on_disk), metrics })
    }

    /// In one line, for the status page.
    pub(super) fn summary(&self) -> String {
        let mut text = self.current.load().summary();
        if let Some(why) = &self.on_disk.lock().unwrap_or_else(PoisonError::into_inner).refused {
            text += &format!("; the files on disk are not in force: {why}");
        }
        text
    }

    /// The files on disk are not in force.
    pub(super) fn is_stale(&self) -> bool {
        self.on_disk.lock().unwrap_or_else(PoisonError::into_inner).refused.is_some()
    }

    /// Follows the files for as long as the process runs.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut looks = FileWatch::default();
        loop {
            let source = self.source.clone();
            let (look, found) = looks.confirmed(move || source.read(), fingerprint).await;
            let mut on_disk = self.on_disk.lock().unwrap_or_else(PoisonError::into_inner);
            if on_disk.judged != found {
                let identity = look.and_then(|pem| self.source.judge(&pem));
                let refused = identity.map(|it| self.accept(it)).err();
                let refused = refused.map(|why| self.source.without_paths(why));
                *on_disk = OnDisk { judged: found, refused };
                self.tell(on_disk.refused.as_deref());
            }
        }
    }

    fn accept(&self, identity: TlsIdentity) {
        tracing::info!("TLS as {} from the next connection on", identity.summary());
        self.metrics.tls_expiry_seconds.set(identity.not_after);
        self.current.store(Arc::new(identity));
    }

    fn tell(&self, refused: Option<&str>) {
        self.metrics.tls_stale.set(i64::from(refused.is_some()));
        if let Some(why) = refused {
            self.metrics.tls_load_errors.inc();
            tracing::error!("TLS files not loaded, the last good ones stay in force: {why}");
        }
    }
}

fn fingerprint(pem: &IdentityPem) -> Fingerprint {
    // With their lengths, so that nothing may move from one file to another unseen.
    let parts = [&pem.certificate, &pem.key, &pem.client_ca];
    let lengths = parts.map(|it| it.len().to_be_bytes());
    Fingerprint::of(&[lengths.concat(), parts.map(|it| it.as_slice()).concat()].concat())
}
