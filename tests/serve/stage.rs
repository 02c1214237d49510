//! Replicas without a kube-scheduler: an actor and a candidate for the Lease, against an API server in
//! memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;
use sigma::actions::{ActionMetrics, Actor, Inquiry, Leadership};
use sigma::control::{ActionKindState, ActionOutcome, PendingAction, Record, WhyOff};
use sigma::k8s::client::{KubeconfigSource, connect};
use sigma::k8s::decode;
use sigma::k8s::events::Events;
use sigma::k8s::lease::LeaseClient;
use sigma::k8s::writes::ObjectWrites;
use sigma::metrics::Metrics;
use sigma::model::{ACTION_KINDS, Action, ActionKind, Pod, STEER, Tick};
use sigma::runtime::Clock;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::faults::Proxy;
use crate::site::pod;
use crate::support::apiserver::{ApiServer, kubeconfig};
use crate::support::{PATIENCE, wait};

/// A replica with a runtime of its own, and a proxy between it and the server.
pub(crate) struct Stage {
    pub(crate) api: Arc<ApiServer>,
    pub(crate) proxy: Proxy,
    pub(crate) actor: Arc<Actor>,
    pub(crate) leadership: Arc<Leadership>,
    /// The clock of the election, in milliseconds.
    clock: Arc<AtomicU64>,
    inquiry: Inquiry,
    kinds: Vec<&'static ActionKind>,
    _dir: tempfile::TempDir,
    runtime: Runtime,
}

/// A replica that stands for election.
pub(crate) struct Candidate {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Candidate {
    /// It is told to stop.
    pub(crate) fn stop(self) {
        drop(self.stop);
    }

    /// It is gone from one moment to the next.
    pub(crate) fn die(self) {
        self.task.abort();
        wait("it is gone", || self.task.is_finished());
    }
}

impl Stage {
    /// A replica whose means are on.
    pub(crate) fn new() -> Self {
        Self::silent(Arc::new(ApiServer::start())).on()
    }

    /// Another one with the same server, whose means are on.
    pub(crate) fn beside(&self) -> Self {
        Self::silent(self.api.clone()).on()
    }

    /// Asks for its rights, and switches its kinds on.
    pub(crate) fn on(self) -> Self {
        self.runtime.spawn(self.actor.clone().follow_rights(self.inquiry.clone()));
        for &means in &self.kinds {
            self.actor.switch(means, true);
        }
        wait("it acts", || self.actor.why_off(&STEER).is_none());
        self
    }

    /// Stands for election.
    pub(crate) fn stand(&self) -> Candidate {
        let candidate = self.leadership.clone();
        self.runtime.spawn(candidate.clone().follow_rights(self.inquiry.clone()));
        let (stop, stopped) = oneshot::channel();
        let run = async move { candidate.run(async { drop(stopped.await) }).await };
        Candidate { stop, task: self.runtime.spawn(run) }
    }

    /// Wins the election, in which there is nobody else.
    pub(crate) fn lead(&self) -> Candidate {
        let candidate = self.stand();
        wait("it leads", || self.leadership.is_leader());
        candidate
    }

    /// Time goes on for this replica.
    pub(crate) fn advance(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
    }

    /// A replica that is switched off and has not asked for its rights.
    pub(crate) fn silent(api: Arc<ApiServer>) -> Self {
        Self::of_kinds(api, ACTION_KINDS)
    }

    /// The same with these kinds of action.
    pub(crate) fn of_kinds(api: Arc<ApiServer>, kinds: &[&'static ActionKind]) -> Self {
        let proxy = Proxy::start(api.port);
        let dir = tempfile::tempdir().expect("a directory");
        let source = KubeconfigSource::Kubeconfig {
            path: kubeconfig(dir.path(), proxy.port),
            context: None,
        };
        let runtime = Runtime::new().expect("a runtime");
        let client = runtime.block_on(connect(&source)).expect("a client");
        let metrics: Arc<ActionMetrics> =
            Metrics::new().and_then(|it| it.of()).expect("names are unique");
        let events = runtime.block_on(async { Arc::new(Events::new(client.clone())) });
        let pause = Duration::from_millis(100);
        let inquiry = Inquiry { client: client.clone(), events, metrics: metrics.clone(), pause };
        let lease = LeaseClient::new(client.clone(), "shop".to_owned(), "sigma".to_owned());
        let clock = Arc::new(AtomicU64::new(0));
        let hand = clock.clone();
        let now = move || Tick(hand.load(Ordering::Relaxed));
        let leadership = Arc::new(Leadership::new(lease, "replica", now));
        let writes = ObjectWrites::new(client);
        let lease = Some(leadership.clone());
        let actor = Actor::of_kinds(kinds, (writes, metrics), Clock::start(), lease);
        let actor = Arc::new(actor);
        for &means in kinds {
            runtime.spawn(actor.clone().run(means));
        }
        let kinds = kinds.to_vec();
        Self { api, proxy, actor, leadership, clock, inquiry, kinds, _dir: dir, runtime }
    }

    pub(crate) fn state(&self, means: &'static ActionKind) -> ActionKindState {
        self.actor.state().into_iter().find(|it| it.kind == means).expect("all are shown")
    }

    pub(crate) fn why_off(&self, means: &'static ActionKind) -> Option<WhyOff> {
        self.actor.why_off(means)
    }

    pub(crate) fn last(&self, means: &'static ActionKind) -> Record {
        self.state(means).records.into_iter().next().expect("a record")
    }

    /// A pod of the server's, and how the actor knows it.
    pub(crate) fn pod(&self, name: &str) -> Arc<Pod> {
        self.api.put("pods", pod(name, "1"));
        self.read(name)
    }

    /// A pod that asks for so much.
    pub(crate) fn pod_of(&self, name: &str, cpu: &str) -> Arc<Pod> {
        self.api.put("pods", pod(name, cpu));
        self.read(name)
    }

    pub(crate) fn read(&self, name: &str) -> Arc<Pod> {
        let slim = serde_json::from_value(self.object(name)).expect("a pod");
        Arc::new(decode::pod(&slim).expect("a sound pod"))
    }

    pub(crate) fn object(&self, name: &str) -> Value {
        self.api.object("pods", &format!("shop/{name}")).expect("it is there")
    }

    /// Submits, and gives where the outcome will be told.
    pub(crate) fn submit(&self, order: Action) -> Receiver<ActionOutcome> {
        let (tell, told) = channel();
        // Whoever waited for it may have given up.
        let order = PendingAction::from(order);
        self.actor.submit(order.on_done(move |outcome| drop(tell.send(outcome.clone()))));
        told
    }

    pub(crate) fn outcome(&self, order: Action) -> ActionOutcome {
        self.submit(order).recv_timeout(PATIENCE).expect("an outcome")
    }
}
