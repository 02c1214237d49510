//! Metrics of TLS on the listener of the verbs.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::Registrar;

/// Metrics of TLS.
pub struct TlsMetrics {
    /// TLS handshakes that failed, by reason.
    pub handshake_failures: IntCounterVec,
    /// When the first certificate in force expires, in seconds since 1970; 0 without TLS.
    pub expiry_seconds: IntGauge,
    /// Certificates, keys and authorities that could not be loaded.
    pub load_errors: IntCounter,
    /// 1 while the certificate on disk is not the one in force.
    pub stale: IntGauge,
}

impl TlsMetrics {
    pub(super) fn new(of: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            handshake_failures: of.counters(
                "tls_handshake_failures_total",
                "TLS handshakes that failed.",
                &["why"],
            )?,
            expiry_seconds: of.gauge("tls_expiry_timestamp_seconds", "Certificate expiry.")?,
            load_errors: of.counter("tls_load_errors_total", "Certificates refused.")?,
            stale: of.gauge("tls_stale", "The certificate on disk is not in force.")?,
        })
    }
}
