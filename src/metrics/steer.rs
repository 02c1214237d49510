//! Metrics of steers.

use prometheus::{Histogram, IntCounterVec, IntGauge, IntGaugeVec};

use super::{Registrar, STEER_SECONDS};
use crate::engine::{SteerOutcome, Unsteered};
use crate::policy::Cause;

/// Metrics of steers.
pub struct SteerMetrics {
    /// Steers that have got an outcome, by cause and outcome.
    pub ended: IntCounterVec,
    /// From the first unschedulable answer of a steer to the answer that names its target, in seconds.
    pub accepted_seconds: Histogram,
    /// Answers without any node to pods that were not steered, by reason.
    pub not_steered: IntCounterVec,
    /// Pods under way.
    pub open: IntGauge,
    /// 1 while a part of steering is off, by part and kind of cause.
    pub off: IntGaugeVec,
}

impl SteerMetrics {
    pub(super) fn new(of: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            ended: of.counters("steers_total", "Steers by outcome.", &["cause", "outcome"])?,
            accepted_seconds: of
                .histogram("steer_duration_seconds", "Filter to accepted.", &STEER_SECONDS, &[])?
                .with_label_values::<&str>(&[]),
            not_steered: of.counters("not_steered_total", "Refused, not steered.", &["reason"])?,
            open: of.gauge("steered_pods", "Pods on their way to a target.")?,
            off: of.gauges("steering_off", "A part of steering is off.", &["part", "cause"])?,
        };
        for (cause, outcome) in
            Cause::ALL.iter().flat_map(|cause| SteerOutcome::ALL.map(|outcome| (cause, outcome)))
        {
            metrics.ended.with_label_values(&[cause.name(), outcome.name()]);
        }
        for why in Unsteered::ALL {
            metrics.not_steered.with_label_values(&[why.name()]);
        }
        Ok(metrics)
    }
}
