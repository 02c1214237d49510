//! Authorities and certificates of our own.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

/// Somebody who vouches.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// First and last year of something that is valid in these years.
pub(crate) const VALID: (i32, i32) = (2020, 2090);
/// The same for something that has expired.
pub(crate) const EXPIRED: (i32, i32) = (2020, 2021);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self::with_years(name, VALID)
    }

    pub(crate) fn with_years(name: &str, years: (i32, i32)) -> Self {
        let mut params = params(&[], name, years);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate with a common name, for hosts, addresses or URIs.
    pub(crate) fn issue(&self, name: &str, hosts: &[&str]) -> Issued {
        self.issue_for(name, hosts, VALID)
    }

    pub(crate) fn issue_for(&self, name: &str, hosts: &[&str], years: (i32, i32)) -> Issued {
        let mut params = params(hosts, name, years);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Issued { cert, key: key.serialize_pem() }
    }
}

fn params(hosts: &[&str], name: &str, years: (i32, i32)) -> CertificateParams {
    let (uris, hosts): (Vec<&str>, Vec<&str>) = hosts.iter().partition(|it| it.contains("://"));
    let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
    let mut params = CertificateParams::new(hosts).expect("names");
    let uris = uris.into_iter().map(|it| SanType::URI(it.try_into().expect("a URI")));
    params.subject_alt_names.extend(uris);
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    params
}
