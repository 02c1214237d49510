//! The one Prometheus registry. The core returns counts; only the edges record them here.
//!
//! Names follow Prometheus (`_total`, `_seconds`) and Kubernetes; labels are closed sets, so the
//! number of series is bounded whatever a tenant does.

mod policy;
mod steer;
mod tls;

use std::cell::RefCell;

use prometheus::core::Collector;
use prometheus::{
    Counter, Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::cluster::Difference;
use crate::engine::ShortlistOff;
use crate::model::Reason;

pub use self::policy::PolicyMetrics;
pub use self::steer::SteerMetrics;
pub use self::tls::TlsMetrics;

/// Every metric of the process.
pub struct Metrics {
    registry: Registry,
    described: Vec<Described>,
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
    /// Pods whose QoS label claimed more than the policy granted.
    pub claimed_not_granted: IntCounter,
    /// Malformed requests by verb.
    pub bad_requests: IntCounterVec,
    /// Panics caught in handlers and background tasks.
    pub panics: IntCounter,
    /// Open connections of the verbs listener.
    pub connections: IntGauge,
    /// Connections closed for being slow or idle, or refused because there were too many.
    pub connections_dropped: IntCounterVec,
    /// TLS of the verbs' listener.
    pub tls: TlsMetrics,
    /// Seconds since a watch last heard of its server, by resource.
    pub watch_age_seconds: IntGaugeVec,
    /// 1 once the first list of a resource is in.
    pub watch_synced: IntGaugeVec,
    /// 1 while the server refuses to be watched, by resource.
    pub watch_refused: IntGaugeVec,
    /// 1 while an optional kind is not served or may not be listed, by resource.
    pub watch_absent: IntGaugeVec,
    /// Lists begun after the first complete one, by resource.
    pub watch_relists: IntCounterVec,
    /// Watches opened from a known version, by resource.
    pub watch_reconnects: IntCounterVec,
    /// Lists and watches that failed, by resource.
    pub watch_failures: IntCounterVec,
    /// Objects that could not be decoded, by resource.
    pub undecodable_objects: IntCounterVec,
    /// Objects that a complete list no longer had: deletions that no event told of, by resource.
    pub lost_deletes: IntCounterVec,
    /// What the state holds: nodes, placed pods, pending pods, namespaces, apps, nominations.
    pub state_objects: IntGaugeVec,
    /// Time to apply a batch of changes and publish the snapshot that has them, in seconds.
    pub publish_seconds: Histogram,
    /// Changes applied.
    pub changes: IntCounter,
    /// Generation of the published snapshot.
    pub snapshot_generation: IntGauge,
    /// The policy in force, and what keeps another one from it.
    pub policy: PolicyMetrics,
    /// Pods with a hold.
    pub holds: IntGauge,
    /// Holds that ended by TTL.
    pub holds_expired: IntCounter,
    /// Refused pods that wait for the requeue.
    pub unschedulable_pods: IntGauge,
    /// Requeues by outcome.
    pub requeues: IntCounterVec,
    /// What becomes of steers.
    pub steer: SteerMetrics,
    /// What the actor does.
    pub actor: ActorMetrics,
    /// Who is nominated ahead.
    pub ahead: NominatorMetrics,
    /// Binds by outcome.
    pub binds: IntCounterVec,
    /// Audits done.
    pub audits: IntCounter,
    /// Rows that an audit found different, by sum.
    pub audit_differences: IntCounterVec,
    /// The build, as a constant 1.
    pub build_info: IntGaugeVec,
}

/// Metrics of what sigma writes by itself. They begin at zero with the actor, who knows the labels.
pub struct ActorMetrics {
    /// Orders that ended, by action kind and outcome.
    pub ended: IntCounterVec,
    /// Orders that have not, by action kind and stage.
    pub open: IntGaugeVec,
    /// Time of a write to the API server, by action kind.
    pub write_seconds: HistogramVec,
    /// 1 while an action kind acts, by action kind.
    pub on: IntGaugeVec,
    /// 1 while a breaker is open or half open, by action kind.
    pub breaker_open: IntGaugeVec,
    /// 1 while this replica is the leader.
    pub leader: IntGauge,
    /// 1 while we lack a right that is needed, by resource.
    pub rights_missing: IntGaugeVec,
}

impl ActorMetrics {
    fn new(of: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            ended: of.counters(
                "actions_total",
                "Actions that ended, by kind and outcome.",
                &["kind", "outcome"],
            )?,
            open: of.gauges(
                "actions_open",
                "Actions that have not ended, by kind and stage.",
                &["kind", "stage"],
            )?,
            write_seconds: of.seconds(
                "action_write_duration_seconds",
                "A write to the API server.",
                &["kind"],
            )?,
            on: of.gauges(
                "action_enabled",
                "1 while sigma takes actions of this kind.",
                &["kind"],
            )?,
            breaker_open: of.gauges("breaker_open", "Writes keep failing.", &["kind"])?,
            leader: of.gauge("leader", "This replica leads.")?,
            rights_missing: of.gauges(
                "right_missing",
                "A right that is needed is missing.",
                &["resource"],
            )?,
        })
    }
}

/// Metrics of nominating ahead.
pub struct NominatorMetrics {
    /// Pods that could be nominated, those that have a target among them.
    pub backlog: IntGauge,
    /// Pods that could not, by reason.
    pub unplanned: IntGaugeVec,
    /// Targets chosen.
    pub chosen: IntCounter,
    /// Targets that have not ended.
    pub open: IntGauge,
    /// Targets that ended, by how.
    pub ended: IntCounterVec,
    /// Time to choose the targets of a batch.
    pub planning_seconds: Histogram,
    /// For how long filter answers have waited for nominations.
    pub filter_delay_seconds: Counter,
}

impl NominatorMetrics {
    fn new(of: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            backlog: of.gauge("nominator_backlog_pods", "Pods that could be nominated ahead.")?,
            unplanned: of.gauges(
                "nominator_unplanned_pods",
                "Pods that were left out of a batch, by reason.",
                &["reason"],
            )?,
            chosen: of.counter("nominator_targets_total", "Targets chosen.")?,
            open: of.gauge("nominator_targets_open", "Targets that have not ended.")?,
            ended: of.counters("nominator_targets_ended_total", "Targets that ended.", &["end"])?,
            planning_seconds: of
                .duration("nominator_planning_duration_seconds", "Choosing for a batch.")?,
            filter_delay_seconds: of.add(
                "counter",
                Counter::new(
                    "nominator_filter_delay_seconds_total",
                    "Time for which filter answers waited for nominations to be written.",
                )?,
            )?,
        })
    }
}

/// What a metric is, for `docs/metrics.md`. A registry does not tell: it gathers only series that
/// exist, and their types only with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its full name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: Vec<String>,
    /// The help text.
    pub help: String,
}

/// Before every metric's name.
const PREFIX: &str = "sigma";

/// Handler times: 10 µs to 1 s.
const SECONDS: [f64; 14] = [
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.25, 1.0,
];

/// Steers: 2 ms to 10 s, which is kube-scheduler's longest back-off.
const STEER_SECONDS: [f64; 11] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 10.0];

/// Lengths of shortlists; the longest has 1,000 nodes.
const SIZES: [f64; 9] = [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0];

impl Metrics {
    /// All metrics, at zero.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some(PREFIX.to_owned()), None)?;
        let of = Registrar { registry: &registry, described: RefCell::default() };
        let (resource, reason, why, sum) = (&["resource"], &["reason"], &["why"], &["sum"]);
        let path = &["path", "result"];
        let metrics = Self {
            verb_seconds: of.seconds("verb_duration_seconds", "Handler time.", &["verb"])?,
            verb_results: of.counters("verb_results_total", "Answers.", &["verb", "result"])?,
            names_offered: of.counters("names_offered_total", "Names offered.", &["verb"])?,
            fast_path_names: of.counters("fast_path_names_total", "Names by shortcut.", path)?,
            names_returned: of.counters("names_returned_total", "Names returned.", &["verb"])?,
            shortlist_nodes: of.sizes("shortlist_nodes", "Nodes named by a shortlist.")?,
            shortlist_off: of.counters("shortlist_off_total", "Shortlists off.", &["reason"])?,
            rejections: of.counters("node_rejections_total", "Rejected nodes.", reason)?,
            unschedulable: of.counters(
                "unschedulable_answers_total",
                "Answers without a node.",
                reason,
            )?,
            claimed_not_granted: of
                .counter("claimed_not_granted_total", "Pods that claimed more than granted.")?,
            bad_requests: of.counters("bad_requests_total", "Malformed requests.", &["verb"])?,
            panics: of.counter("panics_total", "Panics caught.")?,
            connections: of.gauge("connections", "Open connections of the verbs listener.")?,
            connections_dropped: of.counters(
                "connections_dropped_total",
                "Connections dropped.",
                why,
            )?,
            tls: TlsMetrics::new(&of)?,
            watch_age_seconds: of.gauges("watch_age_seconds", "Silence of a watch.", resource)?,
            watch_synced: of.gauges("watch_synced", "First list is in.", resource)?,
            watch_refused: of.gauges("watch_refused", "Watch requests fail.", resource)?,
            watch_absent: of.gauges("watch_absent", "No watch: absent or forbidden.", resource)?,
            watch_relists: of.counters("watch_relists_total", "Lists begun again.", resource)?,
            watch_reconnects: of.counters("watch_reconnects_total", "Reconnects.", resource)?,
            watch_failures: of.counters("watch_failures_total", "Failed requests.", resource)?,
            undecodable_objects: of.counters(
                "undecodable_objects_total",
                "Objects skipped.",
                resource,
            )?,
            lost_deletes: of.counters("lost_deletes_total", "Found by a list.", resource)?,
            state_objects: of.gauges("state_objects", "What the state holds.", &["kind"])?,
            publish_seconds: of
                .duration("publish_duration_seconds", "Applying and publishing changes.")?,
            changes: of.counter("changes_total", "Changes applied.")?,
            snapshot_generation: of.gauge("snapshot_generation", "Published snapshot.")?,
            policy: PolicyMetrics::new(&of)?,
            holds: of.gauge("holds", "Pods with a hold.")?,
            holds_expired: of.counter("holds_expired_total", "Holds that ended by TTL.")?,
            unschedulable_pods: of
                .gauge("unschedulable_pods", "Unschedulable pods that wait to be requeued.")?,
            requeues: of.counters("requeues_total", "Requeues of pods.", &["outcome"])?,
            steer: SteerMetrics::new(&of)?,
            actor: ActorMetrics::new(&of)?,
            ahead: NominatorMetrics::new(&of)?,
            binds: of.counters("binds_total", "Binds.", &["outcome"])?,
            audits: of.counter("audits_total", "Audits done.")?,
            audit_differences: of.counters("audit_differences_total", "Rows that differ.", sum)?,
            build_info: of.gauges("build_info", "The build.", &["version", "revision"])?,
            described: of.described.take(),
            registry: registry.clone(),
        };
        metrics.start_at_zero();
        collect_process()?;
        Ok(metrics)
    }

    /// What an alert waits for is there before it happens: the rate of a series that appears with
    /// its first count does not show that count.
    fn start_at_zero(&self) {
        self.build_info.with_label_values(&[crate::VERSION, crate::REVISION]).set(1);
        for reason in Reason::ALL {
            for counter in [&self.rejections, &self.unschedulable] {
                counter.with_label_values(&[reason.name()]);
            }
        }
        for why in ShortlistOff::ALL {
            self.shortlist_off.with_label_values(&[why.name()]);
        }
        for path in ["cut", "guess", "scan", "memo"] {
            self.fast_path(path, 0, 0);
        }
        for sum in Difference::SUMS {
            self.audit_differences.with_label_values(&[sum]);
        }
        for outcome in ["requeued", "nominated", "gone", "failed", "forbidden"] {
            self.requeues.with_label_values(&[outcome]);
        }
    }

    /// Every metric of the registry, in the order in which they were made.
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    /// Counts names of one request that a fast path served, and those that it did not.
    pub fn fast_path(&self, path: &str, hits: usize, misses: usize) {
        self.fast_path_names.with_label_values(&[path, "hit"]).inc_by(hits as u64);
        self.fast_path_names.with_label_values(&[path, "miss"]).inc_by(misses as u64);
    }

    /// The text exposition, with the process's own metrics.
    pub fn text(&self) -> String {
        let mut families = self.registry.gather();
        families.extend(prometheus::gather());
        let mut text = Vec::new();
        // Encoding into memory fails only on an empty family, which `gather` does not give.
        let _ = TextEncoder::new().encode(&families, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Collects the process's own metrics, which there is one of however many registries.
fn collect_process() -> Result<(), prometheus::Error> {
    let process = prometheus::process_collector::ProcessCollector::for_self();
    match prometheus::default_registry().register(Box::new(process)) {
        Err(prometheus::Error::AlreadyReg) => Ok(()),
        registered => registered,
    }
}

/// Makes, registers and describes in one step.
struct Registrar<'a> {
    registry: &'a Registry,
    described: RefCell<Vec<Described>>,
}

impl Registrar<'_> {
    fn add<M: Collector + Clone + 'static>(
        &self,
        kind: &'static str,
        metric: M,
    ) -> Result<M, prometheus::Error> {
        let described = metric.desc().into_iter().map(|it| Described {
            name: format!("{PREFIX}_{}", it.fq_name),
            kind,
            labels: it.variable_labels.clone(),
            help: it.help.clone(),
        });
        self.described.borrow_mut().extend(described);
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn seconds(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        self.histogram(name, help, &SECONDS, labels)
    }

    fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add("histogram", HistogramVec::new(options, labels)?)
    }

    fn duration(&self, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
        Ok(self.seconds(name, help, &[])?.with_label_values::<&str>(&[]))
    }

    fn sizes(&self, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(SIZES.to_vec());
        self.add("histogram", Histogram::with_opts(options)?)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.add("counter", IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.add("counter", IntCounter::new(name, help)?)
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        self.add("gauge", IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.add("gauge", IntGauge::new(name, help)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_described_as_it_is() -> Result<(), prometheus::Error> {
        let metrics = Metrics::new()?;
        let of = |name: &str| metrics.described().iter().find(|it| it.name == name).cloned();
        let want = Described {
            name: "sigma_verb_results_total".to_owned(),
            kind: "counter",
            labels: vec!["verb".to_owned(), "result".to_owned()],
            help: "Answers.".to_owned(),
        };
        assert_eq!(of("sigma_verb_results_total"), Some(want));
        for line in metrics.text().lines().filter_map(|line| line.strip_prefix("# TYPE sigma_")) {
            let (name, kind) = line.split_once(' ').unwrap_or_default();
            let found = of(&format!("sigma_{name}"));
            assert_eq!(found.map(|it| it.kind), Some(kind), "{name}");
        }
        Ok(())
    }

    #[test]
    fn two_processes_worth_of_metrics_can_live_side_by_side() -> Result<(), prometheus::Error> {
        let (one, two) = (Metrics::new()?, Metrics::new()?);
        one.audits.inc();
        assert!(one.text().contains("sigma_audits_total 1"));
        assert!(two.text().contains("sigma_audits_total 0"));
        assert!(two.text().contains("sigma_build_info"));
        Ok(())
    }
}
