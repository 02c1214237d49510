//! The Prometheus registry of a process, and the means to declare metrics.
//!
//! Each room declares its metrics in a file of its own, as a struct that implements [`MetricSet`]. The struct
//! exists once for each registry: [`Metrics::of`] registers it when it is first asked for.
//!
//! Names follow Prometheus (`_total`, `_seconds`) and Kubernetes. Labels are closed sets, so the number of
//! series has a bound that no tenant can raise. The core returns counts, and only the edges
//! record them.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::Collector;
use prometheus::{
    Counter, Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// The metrics of one room.
pub trait MetricSet: Sized + Send + Sync + 'static {
    /// Registers the metrics, each at zero. An error: a name is not valid, or is registered already.
    fn register(metrics: &Metrics) -> Result<Self, prometheus::Error>;
}

/// The metrics of one process.
pub struct Metrics {
    registry: Registry,
    described: Mutex<Vec<Described>>,
    sets: Mutex<BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    /// Panics caught in handlers and background tasks.
    pub panics: IntCounter,
}

/// What a metric is, for `docs/metrics.md`. The registry itself shows only series that exist.
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

impl Metrics {
    /// A registry with the metrics of the process itself.
    pub fn new() -> Result<Self, prometheus::Error> {
        let panics = IntCounter::new("panics_total", "Panics caught.")?;
        let (described, sets) = (Mutex::default(), Mutex::default());
        let registry = Registry::new_custom(Some(PREFIX.to_owned()), None)?;
        let metrics = Self { registry, described, sets, panics: panics.clone() };
        metrics.add("counter", panics)?;
        let build = metrics.gauges("build_info", "The build.", &["version", "revision"])?;
        build.with_label_values(&[crate::VERSION, crate::REVISION]).set(1);
        collect_process()?;
        Ok(metrics)
    }

    /// The metrics of one room. The first call registers them.
    pub fn of<M: MetricSet>(&self) -> Result<Arc<M>, prometheus::Error> {
        let mut sets = lock(&self.sets);
        let known = sets.get(&TypeId::of::<M>()).cloned().map(Arc::downcast::<M>);
        if let Some(Ok(set)) = known {
            return Ok(set);
        }
        let set = Arc::new(M::register(self)?);
        sets.insert(TypeId::of::<M>(), set.clone());
        Ok(set)
    }

    /// Every metric that was registered, in that order.
    pub fn described(&self) -> Vec<Described> {
        lock(&self.described).clone()
    }

    /// The text exposition, with the metrics that the Prometheus client has of the process.
    pub fn text(&self) -> String {
        let mut families = self.registry.gather();
        families.extend(prometheus::gather());
        let mut text = Vec::new();
        // Encoding into memory fails only on an empty family, which `gather` does not give.
        let _ = TextEncoder::new().encode(&families, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// A counter.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.add("counter", IntCounter::new(name, help)?)
    }

    /// A counter of seconds or another amount that is not whole.
    pub fn amount(&self, name: &str, help: &str) -> Result<Counter, prometheus::Error> {
        self.add("counter", Counter::new(name, help)?)
    }

    /// Counters, one for each value of the labels.
    pub fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.add("counter", IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    /// A gauge.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.add("gauge", IntGauge::new(name, help)?)
    }

    /// Gauges, one for each value of the labels.
    pub fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        self.add("gauge", IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// A histogram of seconds, with the bounds of handler times.
    pub fn duration(&self, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
        self.histogram(name, help, &SECONDS)
    }

    /// Histograms of seconds, one for each value of the labels.
    pub fn durations(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        self.add("histogram", HistogramVec::new(options, labels)?)
    }

    /// A histogram with these upper bounds.
    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        bounds: &[f64],
    ) -> Result<Histogram, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        self.add("histogram", Histogram::with_opts(options)?)
    }

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
        lock(&self.described).extend(described);
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

/// Collects the metrics of the process, which exist once however many registries there are.
fn collect_process() -> Result<(), prometheus::Error> {
    let process = prometheus::process_collector::ProcessCollector::for_self();
    match prometheus::default_registry().register(Box::new(process)) {
        Err(prometheus::Error::AlreadyReg) => Ok(()),
        registered => registered,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Lamps {
        lit: IntGaugeVec,
    }

    impl MetricSet for Lamps {
        fn register(metrics: &Metrics) -> Result<Self, prometheus::Error> {
            Ok(Self { lit: metrics.gauges("lamps_lit", "Lamps that are lit.", &["room"])? })
        }
    }

    /// Has a name of [`Lamps`].
    struct Candles;

    impl MetricSet for Candles {
        fn register(metrics: &Metrics) -> Result<Self, prometheus::Error> {
            metrics.counter("lamps_lit", "Candles.").map(|_| Self)
        }
    }

    #[test]
    fn a_set_is_registered_once_and_described() -> Result<(), prometheus::Error> {
        let metrics = Metrics::new()?;
        let (first, second) = (metrics.of::<Lamps>()?, metrics.of::<Lamps>()?);
        first.lit.with_label_values(&["hall"]).inc();
        second.lit.with_label_values(&["hall"]).inc();
        assert!(metrics.text().contains("sigma_lamps_lit{room=\"hall\"} 2"), "{}", metrics.text());
        let want = Described {
            name: "sigma_lamps_lit".to_owned(),
            kind: "gauge",
            labels: vec!["room".to_owned()],
            help: "Lamps that are lit.".to_owned(),
        };
        assert_eq!(metrics.described().last(), Some(&want));
        assert!(metrics.of::<Candles>().is_err(), "one name, two sets");
        Ok(())
    }

    #[test]
    fn registries_do_not_share_series() -> Result<(), prometheus::Error> {
        let (one, two) = (Metrics::new()?, Metrics::new()?);
        one.panics.inc();
        assert!(one.text().contains("sigma_panics_total 1"));
        assert!(two.text().contains("sigma_panics_total 0"));
        assert!(two.text().contains("sigma_build_info"));
        Ok(())
    }
}
