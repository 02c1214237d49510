//! The metrics of nominating ahead.

use prometheus::{Counter, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::control::NominationEnd;
use crate::engine::NoTarget;
use crate::metrics::{MetricSet, Metrics};

/// The metrics of nominating ahead.
pub struct NominatorMetrics {
    /// Pods that could be nominated, with or without a target.
    pub backlog: IntGauge,
    /// Pods that could not be nominated, by reason.
    pub unplanned: IntGaugeVec,
    /// Targets chosen.
    pub chosen: IntCounter,
    /// Targets that have not ended.
    pub open: IntGauge,
    /// Targets that ended, by the way in which they did.
    pub ended: IntCounterVec,
    /// Time to choose the targets of a batch, in seconds.
    pub planning_seconds: Histogram,
    /// Seconds for which filter answers have waited for nominations.
    pub filter_delay_seconds: Counter,
    /// Panics caught anywhere in the process.
    pub panics: IntCounter,
}

impl MetricSet for NominatorMetrics {
    fn register(of: &Metrics) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            backlog: of.gauge("nominator_backlog_pods", "Pods that could be nominated ahead.")?,
            unplanned: of.gauges(
                "nominator_unplanned_pods",
                "Pods that were left out of a batch, by reason.",
                &["reason"],
            )?,
            chosen: of.counter("nominator_targets_total", "Targets chosen.")?,
            open: of.gauge("nominator_targets_open", "Targets that have not ended.")?,
            ended: of.counters(
                "nominator_targets_ended_total",
                "Targets that ended, by reason.",
                &["end"],
            )?,
            planning_seconds: of.duration(
                "nominator_planning_duration_seconds",
                "Time to choose the targets of a batch.",
            )?,
            filter_delay_seconds: of.amount(
                "nominator_filter_delay_seconds_total",
                "Time for which filter answers waited for nominations to be written.",
            )?,
            panics: of.panics.clone(),
        };
        for end in NominationEnd::ALL {
            metrics.ended.with_label_values(&[end.name()]);
        }
        for why in NoTarget::ALL {
            metrics.unplanned.with_label_values(&[why.name()]);
        }
        Ok(metrics)
    }
}
