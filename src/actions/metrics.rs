//! The metrics of what sigma does by itself: actions of each kind, requeues and steers.

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::control::ActionOutcome;
use crate::engine::SteerOutcome;
use crate::metrics::{MetricSet, Metrics};
use crate::model::ActionKind;
use crate::policy::Cause;

/// The metrics of what sigma does by itself.
pub struct ActionMetrics {
    /// Actions that ended, by kind and outcome.
    pub ended: IntCounterVec,
    /// Actions that have not ended, by kind and stage.
    pub open: IntGaugeVec,
    /// Time of a write to the API server in seconds, by kind.
    pub write_seconds: HistogramVec,
    /// 1 while sigma takes actions of a kind.
    pub enabled: IntGaugeVec,
    /// 1 while the breaker of a kind is open or half open.
    pub breaker_open: IntGaugeVec,
    /// 1 while a right is missing, by resource.
    pub rights_missing: IntGaugeVec,
    /// Pods with a hold.
    pub holds: IntGauge,
    /// Holds that ended by time.
    pub holds_expired: IntCounter,
    /// Unschedulable pods that wait to be requeued.
    pub unschedulable_pods: IntGauge,
    /// Requeues by outcome.
    pub requeues: IntCounterVec,
    /// Steers that have an outcome, by cause and outcome.
    pub steers_ended: IntCounterVec,
    /// Seconds from the first unschedulable answer of a steer to the answer that names its target.
    pub steer_accepted_seconds: Histogram,
    /// Steers that have no outcome yet.
    pub steers_open: IntGauge,
    /// Panics caught anywhere in the process.
    pub panics: IntCounter,
}

/// Steers: 2 ms to 10 s, which is kube-scheduler's longest back-off.
const STEER_SECONDS: [f64; 11] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 10.0];

impl MetricSet for ActionMetrics {
    fn register(of: &Metrics) -> Result<Self, prometheus::Error> {
        let count = |name: &str, help: &str, labels: &[&str]| of.counters(name, help, labels);
        let gauge = |name: &str, help: &str, labels: &[&str]| of.gauges(name, help, labels);
        let (kind, outcome) = (&["kind"], &["kind", "outcome"]);
        let metrics = Self {
            ended: count("actions_total", "Actions that ended, by kind and outcome.", outcome)?,
            open: gauge(
                "actions_open",
                "Actions that have not ended, by kind and stage.",
                &["kind", "stage"],
            )?,
            write_seconds: of.durations(
                "action_write_duration_seconds",
                "Time of a write to the API server.",
                kind,
            )?,
            enabled: gauge("action_enabled", "1 while sigma takes actions of this kind.", kind)?,
            breaker_open: gauge(
                "breaker_open",
                "1 while the breaker of this kind is open or half open.",
                kind,
            )?,
            rights_missing: gauge("right_missing", "1 while a right is missing.", &["resource"])?,
            holds: of.gauge("holds", "Pods with a hold.")?,
            holds_expired: of.counter("holds_expired_total", "Holds that ended by time.")?,
            unschedulable_pods: of
                .gauge("unschedulable_pods", "Unschedulable pods that wait to be requeued.")?,
            requeues: count("requeues_total", "Requeues, by outcome.", &["outcome"])?,
            steers_ended: count(
                "steers_total",
                "Steers that ended, by cause and outcome.",
                &["cause", "outcome"],
            )?,
            steer_accepted_seconds: of.histogram(
                "steer_duration_seconds",
                "Time from the unschedulable answer to the answer with the target.",
                &STEER_SECONDS,
            )?,
            steers_open: of.gauge("steered_pods", "Steers under way.")?,
            panics: of.panics.clone(),
        };
        metrics.start_steers_at_zero();
        Ok(metrics)
    }
}

impl ActionMetrics {
    /// Creates the series of a kind that alerts wait for.
    pub(super) fn start_at_zero(&self, kind: &ActionKind) {
        for outcome in ActionOutcome::NAMES {
            self.ended.with_label_values(&[kind.name, outcome]);
        }
        self.write_seconds.with_label_values(&[kind.name]);
    }

    fn start_steers_at_zero(&self) {
        for outcome in ["requeued", "nominated", "gone", "failed", "forbidden"] {
            self.requeues.with_label_values(&[outcome]);
        }
        for (cause, outcome) in
            Cause::ALL.iter().flat_map(|cause| SteerOutcome::ALL.map(|outcome| (cause, outcome)))
        {
            self.steers_ended.with_label_values(&[cause.name(), outcome.name()]);
        }
    }
}
