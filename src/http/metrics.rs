//! The metrics of the verbs and of their listener.

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge};

use crate::engine::{ShortlistOff, Unsteered};
use crate::metrics::{MetricSet, Metrics};
use crate::model::Reason;

/// The metrics of the verbs and of their listener.
pub struct ExtenderMetrics {
    /// Handler time by verb, in seconds.
    pub verb_seconds: HistogramVec,
    /// Answers by verb and result (`ok`, `degraded`, `error`).
    pub verb_results: IntCounterVec,
    /// Names offered, by verb.
    pub names_offered: IntCounterVec,
    /// Names that a fast path served (`hit`) or not (`miss`), by fast path.
    pub fast_path_names: IntCounterVec,
    /// Names returned, by verb.
    pub names_returned: IntCounterVec,
    /// Nodes that an answer named while the class's shortlist was in force.
    pub shortlist_nodes: Histogram,
    /// Answers for which the class's shortlist was switched off, by reason.
    pub shortlist_off: IntCounterVec,
    /// Refused nodes by reason.
    pub rejections: IntCounterVec,
    /// Filter answers without any node, by the reason that they named.
    pub unschedulable: IntCounterVec,
    /// Such answers to pods that were not steered, by the reason why not.
    pub not_steered: IntCounterVec,
    /// Pods whose QoS label claimed more than the policy granted.
    pub claimed_not_granted: IntCounter,
    /// Malformed requests by verb.
    pub bad_requests: IntCounterVec,
    /// Binds by outcome.
    pub binds: IntCounterVec,
    /// Open connections.
    pub connections: IntGauge,
    /// Connections closed for being slow or idle, or refused because there were too many.
    pub connections_dropped: IntCounterVec,
    /// TLS handshakes that failed, by reason.
    pub handshake_failures: IntCounterVec,
    /// Panics caught anywhere in the process.
    pub panics: IntCounter,
}

/// Lengths of shortlists; the longest has 1,000 nodes.
const SIZES: [f64; 9] = [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0];

impl MetricSet for ExtenderMetrics {
    fn register(of: &Metrics) -> Result<Self, prometheus::Error> {
        let (verb, reason, why, path) = (&["verb"], &["reason"], &["why"], &["path", "result"]);
        let count = |name: &str, help: &str, labels: &[&str]| of.counters(name, help, labels);
        let metrics = Self {
            verb_seconds: of.durations(
                "verb_duration_seconds",
                "Time to answer a request.",
                verb,
            )?,
            verb_results: count("verb_results_total", "Answers.", &["verb", "result"])?,
            names_offered: count("names_offered_total", "Node names in requests.", verb)?,
            fast_path_names: count("fast_path_names_total", "Node names, by shortcut.", path)?,
            names_returned: count("names_returned_total", "Node names in answers.", verb)?,
            shortlist_nodes: of.histogram("shortlist_nodes", "Nodes of a shortlist.", &SIZES)?,
            shortlist_off: count("shortlist_off_total", "Answers without a shortlist.", reason)?,
            rejections: count("node_rejections_total", "Rejected nodes.", reason)?,
            unschedulable: count("unschedulable_answers_total", "Answers without a node.", reason)?,
            not_steered: count("not_steered_total", "Unschedulable, and not steered.", reason)?,
            claimed_not_granted: of
                .counter("claimed_not_granted_total", "Pods whose label exceeds their grant.")?,
            bad_requests: count("bad_requests_total", "Malformed requests.", verb)?,
            binds: count("binds_total", "Bindings.", &["outcome"])?,
            connections: of.gauge("connections", "Open connections of the verbs listener.")?,
            connections_dropped: count("connections_dropped_total", "Connections closed.", why)?,
            handshake_failures: count("tls_handshake_failures_total", "Failed handshakes.", why)?,
            panics: of.panics.clone(),
        };
        metrics.start_at_zero();
        Ok(metrics)
    }
}

impl ExtenderMetrics {
    /// Creates the series that alerts wait for. The rate of a series that appears with its first count does
    /// not show that count.
    fn start_at_zero(&self) {
        for reason in Reason::ALL {
            for counter in [&self.rejections, &self.unschedulable] {
                counter.with_label_values(&[reason.name()]);
            }
        }
        for why in ShortlistOff::ALL {
            self.shortlist_off.with_label_values(&[why.name()]);
        }
        for why in Unsteered::ALL {
            self.not_steered.with_label_values(&[why.name()]);
        }
        for path in ["cut", "guess", "scan", "memo"] {
            self.fast_path(path, 0, 0);
        }
    }

    /// Counts names of one request that a fast path served, and those that it did not.
    pub fn fast_path(&self, path: &str, hits: usize, misses: usize) {
        self.fast_path_names.with_label_values(&[path, "hit"]).inc_by(hits as u64);
        self.fast_path_names.with_label_values(&[path, "miss"]).inc_by(misses as u64);
    }
}
