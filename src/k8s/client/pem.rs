//! Certificates and keys in PEM: read as Go reads them, with a word about what the TLS library (rustls
//! with `ring`) cannot use.

use std::sync::Arc;

use base64::Engine;
use tokio_rustls::rustls::crypto::ring::sign::any_supported_type;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, InconsistentKeys};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521,
    OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

/// What `ring` can use.
const USABLE: &str = "RSA of 2048 to 8192 bits, P-256, P-384 and Ed25519 can be used";
/// The DER of P-521's object identifier, 1.3.132.0.35.
const P521: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];

/// Base64 as it stands in a kubeconfig: with newlines and blanks where an editor put them.
pub(super) fn from_base64(text: &str) -> Result<Vec<u8>, String> {
    let dense: Vec<u8> = text.bytes().filter(|it| !it.is_ascii_whitespace()).collect();
    let decoded = base64::engine::general_purpose::STANDARD.decode(dense);
    decoded.map_err(|_| match text.contains("-----BEGIN") {
        true => "is PEM, and must be PEM in base64 (`base64 -w0`)".to_owned(),
        false => "is not base64".to_owned(),
    })
}

/// The certificates of authorities that can be used, and a word about each of the others. At least
/// one can be used.
pub(super) fn authorities(pem: &[u8]) -> Result<(Vec<Vec<u8>>, Vec<String>), String> {
    let (mut usable, mut others) = (Vec::new(), Vec::new());
    for der in certificates(pem)? {
        match unusable_authority(&der) {
            None => usable.push(der.to_vec()),
            Some(why) => others.push(why),
        }
    }
    match others.first() {
        Some(why) if usable.is_empty() => Err(why.clone()),
        _ => Ok((usable, others)),
    }
}

/// A client's certificate chain with its key.
pub(super) fn identity(certificate: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, BadPem> {
    let chain = certificates(certificate).map_err(BadPem::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
        BadPem::Key(match text_has(key, "ENCRYPTED") {
            true => "is encrypted; nobody is here to ask for its password".to_owned(),
            false => format!("holds no private key in PEM{}", instead(key)),
        })
    })?;
    let signing = any_supported_type(&key).map_err(|_| {
        let p521 = key.secret_der().windows(P521.len()).any(|it| it == P521);
        BadPem::Key(match p521 {
            true => format!("is a P-521 key, which sigma's TLS library cannot use; {USABLE}"),
            false => format!("is of a kind that sigma's TLS library cannot use; {USABLE}"),
        })
    })?;
    let pair = CertifiedKey::new(chain, signing);
    match pair.keys_match() {
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(BadPem::Key("is not the key of the certificate".to_owned()))
        }
        _ => Ok(Arc::new(pair)),
    }
}

/// Which of the two cannot be used, and why.
#[derive(Debug)]
pub(super) enum BadPem {
    Certificate(String),
    Key(String),
}

/// What can be read of a PEM text; at least one.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
    match found.is_empty() {
        true => Err(format!("holds no certificate in PEM{}", instead(pem))),
        false => Ok(found),
    }
}

/// What a text is that is not the PEM it should be.
fn instead(pem: &[u8]) -> &'static str {
    if pem.iter().all(u8::is_ascii_whitespace) {
        " (it is empty)"
    } else if pem.starts_with(&[0x30, 0x82]) {
        " (it is DER)"
    } else if text_has(pem, "PRIVATE KEY-----") {
        " (it holds a private key)"
    } else if text_has(pem, "BEGIN CERTIFICATE-----") {
        " (the certificate in it is damaged)"
    } else {
        ""
    }
}

fn text_has(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|it| it == part.as_bytes())
}

/// Why nothing that this certificate has signed would be believed.
fn unusable_authority(der: &CertificateDer<'_>) -> Option<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Some("holds something that is no certificate".to_owned());
    };
    let name: String = certificate.subject().to_string().chars().take(100).collect();
    let is_ca = certificate.basic_constraints().ok().flatten().is_some_and(|it| it.value.ca);
    // A certificate that has signed itself vouches for itself, with or without the mark.
    if !is_ca && certificate.subject() != certificate.issuer() {
        return Some(format!(
            "holds the certificate of a server ({name}) and not of an authority; sigma's TLS library \
             believes only authorities (kubectl also a server's own certificate): give the one that \
             issued it"
        ));
    }
    let why = unusable_key(&certificate)?;
    Some(format!("holds an authority ({name}) {why}; {USABLE}"))
}

fn unusable_key(certificate: &X509Certificate<'_>) -> Option<String> {
    let key = certificate.public_key();
    let algorithm = &key.algorithm.algorithm;
    if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = key.algorithm.parameters.as_ref().and_then(|it| it.as_oid().ok());
        return match curve {
            Some(curve) if curve == OID_EC_P256 || curve == OID_NIST_EC_P384 => None,
            Some(curve) if curve == OID_NIST_EC_P521 => {
                Some("with a P-521 key, which sigma's TLS library cannot verify".to_owned())
            }
            _ => Some("with a curve that sigma's TLS library cannot verify".to_owned()),
        };
    }
    if *algorithm == OID_PKCS1_RSAENCRYPTION {
        let bits = match key.parsed() {
            Ok(PublicKey::RSA(key)) => key.key_size(),
            _ => return None,
        };
        // Of a length that x509-parser cannot tell, 0.
        let usable = bits == 0 || (2048..=8192).contains(&bits);
        return (!usable).then(|| {
            format!("with an RSA key of {bits} bits, which sigma's TLS library cannot verify")
        });
    }
    (*algorithm != OID_SIG_ED25519)
        .then(|| "with a key of a kind that sigma's TLS library cannot verify".to_owned())
}
