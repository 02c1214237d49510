//! The metrics of the writer and of the snapshots that it publishes.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::cluster::{Difference, Snapshot};
use crate::k8s::kinds::kinds;
use crate::metrics::{MetricSet, Metrics};

/// The metrics of the writer and of the snapshots that it publishes.
pub struct WriterMetrics {
    /// Changes applied.
    pub changes: IntCounter,
    /// Time to apply a batch of changes and publish the snapshot that has them, in seconds.
    pub publish_seconds: Histogram,
    /// Objects that a complete list no longer had, although no event reported their deletion, by resource.
    pub lost_deletes: IntCounterVec,
    /// Sizes of the state: nodes, placed pods, pending pods, and so on.
    state_objects: IntGaugeVec,
    /// Generation of the published snapshot.
    snapshot_generation: IntGauge,
    /// Generation of the policy in force; 0 without one.
    pub policy_generation: IntGauge,
    /// Audits done.
    pub audits: IntCounter,
    /// Rows that an audit found different, by sum.
    pub audit_differences: IntCounterVec,
}

impl MetricSet for WriterMetrics {
    fn register(of: &Metrics) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            changes: of.counter("changes_total", "Changes applied.")?,
            publish_seconds: of.duration(
                "publish_duration_seconds",
                "Time to apply and publish a batch of changes.",
            )?,
            lost_deletes: of.counters(
                "lost_deletes_total",
                "Deletions that a list found, and no event.",
                &["resource"],
            )?,
            state_objects: of.gauges(
                "state_objects",
                "Objects in the state, by kind.",
                &["kind"],
            )?,
            snapshot_generation: of
                .gauge("snapshot_generation", "Generation of the published snapshot.")?,
            policy_generation: of
                .gauge("policy_generation", "Generation of the policy in force.")?,
            audits: of.counter("audits_total", "Audits done.")?,
            audit_differences: of.counters(
                "audit_differences_total",
                "Rows that an audit found different, by sum.",
                &["sum"],
            )?,
        };
        for kind in kinds() {
            metrics.lost_deletes.with_label_values(&[kind.name]);
        }
        for sum in Difference::SUMS {
            metrics.audit_differences.with_label_values(&[sum]);
        }
        Ok(metrics)
    }
}

impl WriterMetrics {
    /// Shows the sizes of a published snapshot.
    pub fn count(&self, snapshot: &Snapshot) {
        let nodes = snapshot.num_nodes;
        let counts = [
            ("nodes", nodes),
            ("pods", snapshot.num_pods),
            ("pending_pods", snapshot.pending.len()),
            ("nominations", snapshot.nominees.len()),
            ("apps", snapshot.apps.len()),
            ("namespaces", snapshot.namespaces.len()),
        ];
        for (kind, count) in counts.into_iter().chain(snapshot.tables.counts()) {
            self.state_objects.with_label_values(&[kind]).set(count as i64);
        }
        self.snapshot_generation.set(snapshot.generation.0 as i64);
    }
}
