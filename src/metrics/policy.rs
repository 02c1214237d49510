//! Metrics of the policy in force.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{IntCounter, IntGauge, IntGaugeVec};

use super::Registrar;

/// Metrics of the policy in force, and of what keeps another one from it.
pub struct PolicyMetrics {
    /// Generation of the policy in force; 0 without one.
    pub generation: IntGauge,
    /// Policies that could not be loaded.
    pub load_errors: IntCounter,
    /// 1 while the policy on disk is not the one in force.
    pub stale: IntGauge,
    /// 1 for the place that the policy in force came from.
    source: IntGaugeVec,
    /// When the policy in force was first accepted; 0 without one.
    accepted: IntGauge,
    /// Policies that could not be kept in the state directory.
    pub state_write_errors: IntCounter,
}

impl PolicyMetrics {
    pub(super) fn new(of: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            generation: of.gauge("policy_generation", "Policy in force.")?,
            load_errors: of.counter("policy_load_errors_total", "Policies refused.")?,
            stale: of.gauge("policy_stale", "The policy on disk is not in force.")?,
            source: of.gauges("policy_source", "Where the policy came from.", &["source"])?,
            accepted: of.gauge(
                "policy_accepted_timestamp_seconds",
                "When the policy in force was first accepted.",
            )?,
            state_write_errors: of
                .counter("state_write_errors_total", "Failed writes to the state directory.")?,
        })
    }

    /// Shows where the policy in force came from, one of `all`, and when it was first accepted.
    pub fn came_from(&self, source: &str, all: &[&str], accepted: Option<SystemTime>) {
        for it in all {
            self.source.with_label_values(&[it]).set(i64::from(*it == source));
        }
        let accepted = accepted.and_then(|it| it.duration_since(UNIX_EPOCH).ok());
        let seconds = accepted.and_then(|it| i64::try_from(it.as_secs()).ok());
        self.accepted.set(seconds.unwrap_or(0));
    }
}
