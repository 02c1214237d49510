//! bind: the last check of our limits, and the one write of the pod's binding.
//!
//! ```text
//!   call ──▶ running for this UID? ── yes ──▶ wait for its outcome
//!               │ no
//!               └──▶ task: known? admitted? ──▶ Binder ──▶ outcome ──▶ every caller
//! ```
//!
//! The task outlives its callers: a scheduler that hangs up does not cancel a write half-way.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tokio::sync::{Notify, watch};

use super::metrics::ExtenderMetrics;
use super::wire::BindArgs;
use crate::k8s::writes::{BindOutcome, ObjectWrites, PodRef};
use crate::model::{PodUid, Reason};
use crate::runtime::SharedState;

/// What a [`Binder`] does, once it is done.
pub type BindFuture<'a> = Pin<Box<dyn Future<Output = BindOutcome> + Send + 'a>>;

/// Writes bindings: the one seam between the verbs and the API server.
pub trait Binder: Send + Sync {
    /// Binds `pod` to `node`, with as many tries as `within` allows. The pod's UID fences the write.
    fn bind<'a>(&'a self, pod: PodRef<'a>, node: &'a str, within: Duration) -> BindFuture<'a>;
}

impl Binder for ObjectWrites {
    fn bind<'a>(&'a self, pod: PodRef<'a>, node: &'a str, within: Duration) -> BindFuture<'a> {
        Box::pin(ObjectWrites::bind(self, pod, node, within))
    }
}

/// One binding that is asked for.
#[derive(Clone, Debug)]
pub(super) struct BindRequest {
    uid: PodUid,
    uid_text: String,
    namespace: String,
    name: String,
    node: String,
}

impl BindRequest {
    /// All four texts must be there.
    pub(super) fn of(args: &BindArgs<'_>) -> Result<Self, &'static str> {
        for (text, error) in [
            (&args.name, "sigma: the bind request lacks PodName"),
            (&args.namespace, "sigma: the bind request lacks PodNamespace"),
            (&args.node, "sigma: the bind request lacks Node"),
        ] {
            if text.as_str().is_empty() {
                return Err(error);
            }
        }
        let uid_text = args.uid.as_str();
        let uid = PodUid::parse(uid_text).ok_or("sigma: the bind request lacks PodUID")?;
        Ok(Self {
            uid,
            uid_text: uid_text.to_owned(),
            namespace: args.namespace.as_str().to_owned(),
            name: args.name.as_str().to_owned(),
            node: args.node.as_str().to_owned(),
        })
    }
}

/// The text that a bind is answered with; empty for success.
pub(super) type BindText = Arc<str>;

/// All bindings under way.
pub(super) struct Binds {
    shared: Arc<SharedState>,
    metrics: Arc<ExtenderMetrics>,
    ready: Arc<dyn Fn() -> bool + Send + Sync>,
    binder: Arc<dyn Binder>,
    within: Duration,
    running: Mutex<FxHashMap<PodUid, Running>>,
    done: Notify,
}

struct Running {
    node: Box<str>,
    text: watch::Receiver<Option<BindText>>,
}

const ELSEWHERE_UNDER_WAY: &str = "sigma: the pod is being bound to another node";
const BROKE_OFF: &str = "sigma: the binding broke off";

impl Binds {
    pub(super) fn new(
        shared: Arc<SharedState>,
        metrics: Arc<ExtenderMetrics>,
        ready: Arc<dyn Fn() -> bool + Send + Sync>,
        binder: Arc<dyn Binder>,
        within: Duration,
    ) -> Arc<Self> {
        let (running, done) = (Mutex::default(), Notify::new());
        Arc::new(Self { shared, metrics, ready, binder, within, running, done })
    }

    /// Binds, or joins the call that is doing so.
    pub(super) async fn answer(self: &Arc<Self>, request: BindRequest) -> BindText {
        let mut text = match self.join(request) {
            Ok(text) => text,
            Err(error) => return error.into(),
        };
        // An error action kind that the task ended without an outcome: it panicked.
        let text = text.wait_for(Option::is_some).await.ok().and_then(|text| text.clone());
        text.unwrap_or_else(|| BROKE_OFF.into())
    }

    /// Waits until nothing is under way.
    pub(super) async fn confirmed(&self) {
        loop {
            let done = self.done.notified();
            if self.running().is_empty() {
                return;
            }
            done.await;
        }
    }

    fn join(
        self: &Arc<Self>,
        request: BindRequest,
    ) -> Result<watch::Receiver<Option<BindText>>, &'static str> {
        let mut running = self.running();
        match running.get(&request.uid) {
            Some(other) if *other.node == *request.node => return Ok(other.text.clone()),
            Some(_) => return Err(ELSEWHERE_UNDER_WAY),
            None => {}
        }
        let (tell, text) = watch::channel(None);
        let node = request.node.as_str().into();
        running.insert(request.uid, Running { node, text: text.clone() });
        let leave = Leave { binds: Arc::clone(self), uid: request.uid };
        tokio::spawn(async move {
            let outcome = leave.binds.run(&request).await;
            // A call that comes from now on starts anew, and finds the pod bound.
            drop(leave);
            tell.send_replace(Some(outcome));
        });
        Ok(text)
    }

    fn running(&self) -> MutexGuard<'_, FxHashMap<PodUid, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, request: &BindRequest) -> BindText {
        let by = Instant::now() + self.within;
        if let Some((outcome, text)) = self.settle_without_write(request, by) {
            self.metrics.binds.with_label_values(&[outcome]).inc();
            return text.into();
        }
        let BindRequest { uid_text, namespace, name, node, .. } = request;
        let pod = PodRef { namespace, name, uid: uid_text };
        let within = by.saturating_duration_since(Instant::now());
        let outcome = self.binder.bind(pod, node, within).await;
        let (label, text) = told(&outcome);
        self.metrics.binds.with_label_values(&[label]).inc();
        if ends_hold(&outcome) {
            self.shared.decide(|decider, _, _| decider.release(request.uid));
        }
        if !outcome.is_success() {
            tracing::info!(namespace, name, node, ?outcome, "a binding was not made");
        }
        text
    }

    /// The outcome as a metric label and a text, where no write is needed or allowed.
    fn settle_without_write(
        &self,
        request: &BindRequest,
        by: Instant,
    ) -> Option<(&'static str, &'static str)> {
        if !(self.ready)() {
            return Some(("not_ready", Reason::NotSynced.text()));
        }
        let decided = self.shared.decide_by(by, |decider, view, _| {
            let snapshot = &view.snapshot;
            let node = snapshot.names.ord(&request.node).filter(|ord| snapshot.is_live(*ord));
            // The API server would bind to the name of a node that does not exist.
            let Some(node) = node else {
                return Some(("unknown_node", Reason::UnknownNode.text()));
            };
            if snapshot.pod_on(node, request.uid).is_some() {
                return Some(("already_bound", ""));
            }
            // A pod that no watch has told of yet was judged by filter a moment ago.
            let pod = snapshot.pending(request.uid)?.clone();
            let verdict = decider.admit(view, &pod, node);
            (verdict != Reason::Kept).then(|| ("refused", verdict.text()))
        });
        decided.unwrap_or(Some(("overloaded", "sigma: overloaded")))
    }
}

/// Takes a binding off the list, whatever way its task ends.
struct Leave {
    binds: Arc<Binds>,
    uid: PodUid,
}

impl Drop for Leave {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.binds.metrics.panics.inc();
        }
        self.binds.running().remove(&self.uid);
        self.binds.done.notify_waiters();
    }
}

/// The pod will not be bound by this attempt, nor by another one of its UID.
fn ends_hold(outcome: &BindOutcome) -> bool {
    use BindOutcome as O;
    matches!(outcome, O::Gone | O::Terminating | O::Gated | O::UidMismatch)
}

/// An outcome as a metric label and as a text. The texts are constant, but for what the API server
/// says where only it can know.
fn told(outcome: &BindOutcome) -> (&'static str, BindText) {
    use BindOutcome as O;
    match outcome {
        O::Bound => ("bound", "".into()),
        O::AlreadyBoundHere => ("already_bound", "".into()),
        O::AlreadyBoundElsewhere(_) => {
            ("elsewhere", "sigma: the pod is bound to another node".into())
        }
        O::Gone => ("gone", "sigma: the pod is gone".into()),
        O::Terminating => ("terminating", "sigma: the pod is being deleted".into()),
        O::Gated => ("gated", "sigma: the pod has scheduling gates".into()),
        O::UidMismatch => ("uid_mismatch", "sigma: another pod has this name now".into()),
        O::Conflict(text) => ("conflict", format!("sigma: {text}").into()),
        O::Forbidden(text) => ("forbidden", format!("sigma: {text}").into()),
        O::Retryable(text) => ("failed", format!("sigma: {text}").into()),
    }
}
