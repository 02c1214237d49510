//! The metrics of the watches, by resource.

use prometheus::{IntCounterVec, IntGaugeVec};

use crate::metrics::{MetricSet, Metrics};

/// The metrics of the watches, by resource.
pub(super) struct WatchMetrics {
    /// Seconds since a watch last heard of its server, by resource.
    pub(super) watch_age_seconds: IntGaugeVec,
    /// 1 once the first list of a resource is complete.
    pub(super) watch_synced: IntGaugeVec,
    /// 1 while the server refuses the watch, by resource.
    pub(super) watch_refused: IntGaugeVec,
    /// 1 while an optional kind is not served or may not be listed, by resource.
    pub(super) watch_absent: IntGaugeVec,
    /// Lists begun after the first complete one, by resource.
    pub(super) watch_relists: IntCounterVec,
    /// Watches opened from a known version, by resource.
    pub(super) watch_reconnects: IntCounterVec,
    /// Lists and watches that failed, by resource.
    pub(super) watch_failures: IntCounterVec,
    /// Objects that could not be decoded, by resource.
    pub(super) undecodable_objects: IntCounterVec,
}

impl MetricSet for WatchMetrics {
    fn register(of: &Metrics) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| of.gauges(name, help, &["resource"]);
        let count = |name: &str, help: &str| of.counters(name, help, &["resource"]);
        Ok(Self {
            watch_age_seconds: gauge(
                "watch_age_seconds",
                "Seconds since a watch received anything.",
            )?,
            watch_synced: gauge("watch_synced", "1 once the first list is complete.")?,
            watch_refused: gauge("watch_refused", "1 while the API server refuses the watch.")?,
            watch_absent: gauge(
                "watch_absent",
                "1 while an optional kind is not served or may not be listed.",
            )?,
            watch_relists: count("watch_relists_total", "Lists after the first complete one.")?,
            watch_reconnects: count(
                "watch_reconnects_total",
                "Watches opened from a known version.",
            )?,
            watch_failures: count("watch_failures_total", "Lists and watches that failed.")?,
            undecodable_objects: count(
                "undecodable_objects_total",
                "Objects that could not be decoded.",
            )?,
        })
    }
}
