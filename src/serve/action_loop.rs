//! The actor, the election and the rights of both: made, started and, at the end, given back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::config::ServeConfig;
use super::{ServeParts, stopped};
use crate::actions::{self, ActionMetrics, Actor, Inquiry, Leadership};
use crate::engine::PreemptVerb;
use crate::http::Acting;
use crate::k8s::WatchHealth;
use crate::k8s::client::KubeconfigSource;
use crate::k8s::lease::LeaseClient;
use crate::k8s::writes::ObjectWrites;
use crate::metrics::Metrics;
use crate::model::{ACTION_KINDS, NOMINATE_AHEAD, REQUEUE, STEER};
use crate::nominator::Nominator;
use crate::runtime::SharedState;

/// A right that is missing is looked for this often.
const RIGHTS_PAUSE: Duration = Duration::from_secs(60);
/// Where a pod finds the namespace that it is in.
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// Where the machine's name is, in a pod the pod's; it is what we are called in the Lease.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// The Lease by which replicas agree who acts for the whole cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseSource {
    /// Where it is; `None`: where our pod is, and without a pod there is none. Empty: there is none.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl LeaseSource {
    /// The namespace, if there is to be a lease.
    fn namespace(&self, source: &KubeconfigSource) -> Option<String> {
        let own = || match source {
            KubeconfigSource::InCluster => text_of(Path::new(OWN_NAMESPACE)),
            KubeconfigSource::Kubeconfig { .. } => None,
        };
        self.namespace.clone().or_else(own).filter(|it| !it.is_empty())
    }
}

fn text_of(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// The parts that write to the cluster, before they run.
pub(super) struct ActionLoop {
    pub(super) acting: Acting,
    metrics: Arc<ActionMetrics>,
}

impl ActionLoop {
    pub(super) fn new(
        config: &ServeConfig,
        client: &Client,
        metrics: &Metrics,
        (shared, preempt_verb): (&Arc<SharedState>, PreemptVerb),
        health: &Arc<WatchHealth>,
    ) -> Result<Self, prometheus::Error> {
        let clock = shared.clock;
        let leadership = config.lease.namespace(&config.source).map(|namespace| {
            let lease = LeaseClient::new(client.clone(), namespace, config.lease.name.clone());
            let name = text_of(Path::new(HOST_NAME)).unwrap_or_else(|| "sigma".to_owned());
            let leadership = Leadership::new(lease, &name, move || clock.now());
            let health = health.clone();
            Arc::new(leadership.on_restore(move || health.store_restored()))
        });
        let (writes, own) = (ObjectWrites::new(client.clone()), metrics.of::<ActionMetrics>()?);
        let actor = Actor::new(writes, own.clone(), clock, leadership.clone());
        let actor = Arc::new(actor.paced(&NOMINATE_AHEAD, config.nominations_per_second));
        actor.switch(&REQUEUE, config.requeue);
        let plan = shared.view().plan.clone();
        actor.switch(&STEER, plan.steers());
        actor.stop(&plan.stopped_actions);
        let schedulers = config.schedulers.clone();
        let nominator = Nominator::new(shared.clone(), actor.clone(), metrics.of()?, schedulers);
        let nominator = Arc::new(nominator);
        Ok(Self { acting: Acting { actor, leadership, nominator, preempt_verb }, metrics: own })
    }

    /// Starts everything. What is given, if anything, ends once the lease is given back after `stop`.
    pub(super) fn start(
        &self,
        parts: &ServeParts,
        stop: &watch::Receiver<bool>,
    ) -> Option<JoinHandle<()>> {
        let ServeParts { client, shared, events, .. } = parts;
        let metrics = &self.metrics;
        let inquiry = Inquiry {
            client: client.clone(),
            events: events.clone(),
            metrics: metrics.clone(),
            pause: RIGHTS_PAUSE,
        };
        for kind in ACTION_KINDS {
            let actor = self.acting.actor.clone();
            parts.supervise(kind.name, move || tokio::spawn(actor.clone().run(kind)));
        }
        let (actor, for_pods) = (self.acting.actor.clone(), inquiry.clone());
        parts.supervise("rights", move || {
            tokio::spawn(actor.clone().follow_rights(for_pods.clone()))
        });
        let ahead = self.acting.nominator.clone();
        parts.supervise("ahead", move || tokio::spawn(ahead.clone().run()));
        let (shared, metrics, actor) = (shared.clone(), metrics.clone(), self.acting.actor.clone());
        parts.supervise("requeue loop", move || {
            tokio::spawn(actions::run_requeue(shared.clone(), metrics.clone(), actor.clone()))
        });
        let leadership = self.acting.leadership.clone()?;
        let (candidate, stop) = (leadership.clone(), stop.clone());
        parts.supervise("rights to the lease", move || {
            tokio::spawn(leadership.clone().follow_rights(inquiry.clone()))
        });
        Some(parts.supervise("lease", move || {
            let (candidate, stop) = (candidate.clone(), stopped(&stop));
            tokio::spawn(async move { candidate.run(stop).await })
        }))
    }
}
