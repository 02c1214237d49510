//! The metrics of the process's surroundings: files and the election.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{IntCounter, IntGauge, IntGaugeVec};

use super::watch_metrics::WatchMetrics;
use crate::actions::ActionMetrics;
use crate::http::ExtenderMetrics;
use crate::metrics::{MetricSet, Metrics};
use crate::nominator::NominatorMetrics;
use crate::runtime::WriterMetrics;

/// The metrics of every room, each at zero. An error: two rooms use one name.
pub fn metrics() -> Result<Arc<Metrics>, prometheus::Error> {
    let metrics = Metrics::new()?;
    metrics.of::<ExtenderMetrics>()?;
    metrics.of::<WriterMetrics>()?;
    metrics.of::<ActionMetrics>()?;
    metrics.of::<NominatorMetrics>()?;
    metrics.of::<ServeMetrics>()?;
    metrics.of::<WatchMetrics>()?;
    Ok(Arc::new(metrics))
}

/// The metrics of the process's surroundings.
pub(super) struct ServeMetrics {
    /// Policies that could not be loaded.
    pub(super) policy_load_errors: IntCounter,
    /// 1 while the policy on disk is not the one in force.
    pub(super) policy_stale: IntGauge,
    /// 1 for the place that the policy in force came from.
    policy_source: IntGaugeVec,
    /// When the policy in force was first accepted, in seconds since 1970; 0 without one.
    policy_accepted: IntGauge,
    /// Policies that could not be kept in the state directory.
    pub(super) state_write_errors: IntCounter,
    /// When the certificate in force expires, in seconds since 1970; 0 without TLS.
    pub(super) tls_expiry_seconds: IntGauge,
    /// Certificates, keys and authorities that could not be loaded.
    pub(super) tls_load_errors: IntCounter,
    /// 1 while the certificate on disk is not the one in force.
    pub(super) tls_stale: IntGauge,
    /// 1 while a part of steering is off, by part and kind of cause.
    pub(super) steering_off: IntGaugeVec,
    /// 1 while this replica is the leader.
    pub(super) leader: IntGauge,
}

impl MetricSet for ServeMetrics {
    fn register(of: &Metrics) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str, labels: &[&str]| of.gauges(name, help, labels);
        Ok(Self {
            policy_load_errors: of
                .counter("policy_load_errors_total", "Policies that were refused.")?,
            policy_stale: of
                .gauge("policy_stale", "1 while the policy on disk is not in force.")?,
            policy_source: gauge(
                "policy_source",
                "1 for the source of the policy in force.",
                &["source"],
            )?,
            policy_accepted: of.gauge(
                "policy_accepted_timestamp_seconds",
                "When the policy in force was first accepted.",
            )?,
            state_write_errors: of
                .counter("state_write_errors_total", "Failed writes to the state directory.")?,
            tls_expiry_seconds: of
                .gauge("tls_expiry_timestamp_seconds", "When the certificate expires.")?,
            tls_load_errors: of
                .counter("tls_load_errors_total", "Certificates that were refused.")?,
            tls_stale: of.gauge("tls_stale", "1 while the certificate on disk is not in force.")?,
            steering_off: gauge(
                "steering_off",
                "1 while a part of steering is off.",
                &["part", "cause"],
            )?,
            leader: of.gauge("leader", "1 while this replica is the leader.")?,
        })
    }
}

impl ServeMetrics {
    /// Shows where the policy in force came from, one of `all`, and when it was first accepted.
    pub(super) fn policy_came_from(
        &self,
        source: &str,
        all: &[&str],
        accepted: Option<SystemTime>,
    ) {
        for it in all {
            self.policy_source.with_label_values(&[it]).set(i64::from(*it == source));
        }
        let accepted = accepted.and_then(|it| it.duration_since(UNIX_EPOCH).ok());
        let seconds = accepted.and_then(|it| i64::try_from(it.as_secs()).ok());
        self.policy_accepted.set(seconds.unwrap_or(0));
    }
}
