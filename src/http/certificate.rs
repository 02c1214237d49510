//! What a certificate says about itself. Whether it is to be believed is rustls' to judge.

use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::tls::moment;

/// Reads a certificate; one that is not valid at `now` (seconds since 1970) is an error, in words.
pub(super) fn read<'a>(
    der: &'a CertificateDer<'_>,
    now: i64,
) -> Result<X509Certificate<'a>, String> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|error| format!("not a certificate: {error}"))?;
    let validity = certificate.validity();
    let (begins, ends) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    if now > ends {
        return Err(format!("expired at {}", moment(ends)));
    }
    if now < begins {
        return Err(format!("not valid before {}", moment(begins)));
    }
    Ok(certificate)
}

/// Its last second.
pub(super) fn not_after(certificate: &X509Certificate<'_>) -> i64 {
    certificate.validity().not_after.timestamp()
}

/// Every name that its holder may be known by: common names, DNS names and URIs.
pub(super) fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let alternative = alternative.iter().flat_map(|it| &it.value.general_names);
    let alternative = alternative.filter_map(|it| match it {
        GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
        _ => None,
    });
    let common = certificate.subject().iter_common_name();
    let common = common.filter_map(|it| it.as_str().ok().map(str::to_owned));
    common.chain(alternative).collect()
}
