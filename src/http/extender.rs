//! One request from its path to its reply: which verb it is, its bounds, and what is counted.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Body;

use super::bind::{Binder, Binds};
use super::body::{self, BodyLimits, Budget};
use super::buffers::SharedBuffers;
use super::fast_paths::FastPaths;
use super::metrics::ExtenderMetrics;
use super::steer::SteerOptions;
use super::wire::{self, PodArgs};
use crate::k8s::decode;
use crate::nominator::Nominator;
use crate::runtime::SharedState;

/// What filter answers before the first lists are in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NotReady {
    /// The degraded verdict: online pods pass, offline ones wait.
    #[default]
    Degraded,
    /// An `Error`, after which kube-scheduler backs off.
    Reject,
}

/// How an [`Extender`] answers.
#[derive(Clone)]
pub struct ExtenderOptions {
    /// From a request's first byte to the moment of decision; later, the answer is the degraded
    /// verdict. Well below the scheduler's `httpTimeout`.
    pub deadline: Duration,
    /// Whether the first lists are in.
    pub ready: Arc<dyn Fn() -> bool + Send + Sync>,
    /// What filter answers until then.
    pub not_ready: NotReady,
    /// Who writes bindings; `None` refuses the verb.
    pub binder: Option<Arc<dyn Binder>>,
    /// How long one binding may take, below the scheduler's `httpTimeout`.
    pub bind_within: Duration,
    /// Who writes steers; `None`: nobody is steered.
    pub steer_options: Option<SteerOptions>,
    /// Who nominates ahead, and may let answers wait; `None`: nobody.
    pub ahead: Option<Arc<Nominator>>,
    /// Shortcuts that filter and prioritize take.
    pub fast_paths: FastPaths,
}

impl Default for ExtenderOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_millis(50),
            ready: Arc::new(|| true),
            not_ready: NotReady::default(),
            binder: None,
            bind_within: Duration::from_millis(800),
            steer_options: None,
            ahead: None,
            fast_paths: FastPaths::ALL,
        }
    }
}

/// Answers kube-scheduler.
pub struct Extender {
    pub(super) shared: Arc<SharedState>,
    pub(super) metrics: Arc<ExtenderMetrics>,
    pub(super) options: ExtenderOptions,
    pub(super) binds: Option<Arc<Binds>>,
    pub(super) scratch: SharedBuffers,
    budget: Budget,
}

/// What kube-scheduler may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Filter,
    Prioritize,
    Preempt,
    Bind,
}

impl Verb {
    pub(super) const ALL: [Self; 4] = [Self::Filter, Self::Prioritize, Self::Preempt, Self::Bind];

    /// Its name in paths and metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Prioritize => "prioritize",
            Self::Preempt => "preempt",
            Self::Bind => "bind",
        }
    }
}

/// How an answer came about, for the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quality {
    Ok,
    Degraded,
    Error,
}

/// An answer.
#[derive(Debug)]
pub(super) struct VerbOutcome {
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
    quality: Quality,
    /// On purpose, before anything was done.
    waited: Duration,
}

impl VerbOutcome {
    /// A JSON reply.
    pub(super) fn reply(quality: Quality, body: Vec<u8>) -> Self {
        let (status, content_type) = (StatusCode::OK, "application/json");
        Self { status, content_type, body: body.into(), quality, waited: Duration::ZERO }
    }

    /// Its bytes.
    pub(super) fn body(&self) -> &Bytes {
        &self.body
    }

    /// Anything but 200; kube-scheduler reads the status only, people read the text.
    pub(super) fn text(status: StatusCode, text: &str) -> Self {
        let content_type = "text/plain; charset=utf-8";
        let body = format!("{text}\n").into();
        let (quality, waited) = (Quality::Error, Duration::ZERO);
        Self { status, content_type, body, quality, waited }
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let content_type = HeaderValue::from_static(self.content_type);
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }
}

impl Extender {
    /// An extender that decides on `shared` and counts in `metrics`.
    pub fn new(
        shared: Arc<SharedState>,
        metrics: Arc<ExtenderMetrics>,
        options: ExtenderOptions,
    ) -> Arc<Self> {
        let binds = options.binder.clone().map(|binder| {
            let (shared, metrics, ready) = (shared.clone(), metrics.clone(), options.ready.clone());
            Binds::new(shared, metrics, ready, binder, options.bind_within)
        });
        let (scratch, budget) = (SharedBuffers::default(), Budget::default());
        Arc::new(Self { shared, metrics, options, binds, scratch, budget })
    }

    /// Answers one request, whose first byte came at `arrived`. A panic ends in a 500 of this request.
    pub async fn handle<B>(
        &self,
        request: Request<B>,
        arrived: Instant,
        limits: &BodyLimits,
    ) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let verb = match verb_of(&request) {
            Ok(verb) => verb,
            Err(condition) => return condition.into_response(),
        };
        let answer = AssertUnwindSafe(self.answer(verb, request, arrived, limits));
        let outcome = answer.catch_unwind().await.unwrap_or_else(|_| {
            self.metrics.panics.inc();
            tracing::error!(verb = verb.name(), "a handler panicked; the request got a 500");
            VerbOutcome::text(StatusCode::INTERNAL_SERVER_ERROR, "sigma: internal error")
        });
        let result = match outcome.quality {
            Quality::Ok => "ok",
            Quality::Degraded => "degraded",
            Quality::Error => "error",
        };
        self.metrics.verb_results.with_label_values(&[verb.name(), result]).inc();
        let seconds = self.metrics.verb_seconds.with_label_values(&[verb.name()]);
        seconds.observe(arrived.elapsed().saturating_sub(outcome.waited).as_secs_f64());
        outcome.into_response()
    }

    /// Waits until no binding is under way: a client that went away does not end one.
    pub async fn confirmed(&self) {
        if let Some(binds) = &self.binds {
            binds.confirmed().await;
        }
    }

    async fn answer<B>(
        &self,
        verb: Verb,
        request: Request<B>,
        arrived: Instant,
        limits: &BodyLimits,
    ) -> VerbOutcome
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if is_encoded(&request) {
            self.metrics.bad_requests.with_label_values(&[verb.name()]).inc();
            let text = "sigma: a request body must not be compressed";
            return VerbOutcome::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
        }
        let mut taken = self.budget.open();
        let body = match body::read(request.into_body(), limits, &mut taken).await {
            Ok(body) => body,
            Err((status, text)) => {
                self.metrics.bad_requests.with_label_values(&[verb.name()]).inc();
                tracing::warn!(verb = verb.name(), status = status.as_u16(), text);
                return VerbOutcome::text(status, text);
            }
        };
        match verb {
            Verb::Filter => {
                let waited = self.delay_filter(&body).await;
                VerbOutcome { waited, ..self.filter(&body, arrived + waited) }
            }
            Verb::Prioritize => self.prioritize(&body, arrived),
            Verb::Preempt => self.preempt(&body, arrived),
            Verb::Bind => self.bind(&body).await,
        }
    }

    /// Nominations that are being written come before a pod that has none. Gives how long the answer
    /// has waited for them.
    async fn delay_filter(&self, body: &[u8]) -> Duration {
        let Some(ahead) = self.options.ahead.as_ref().filter(|it| it.is_pressing()) else {
            return Duration::ZERO;
        };
        match wire::read::<PodArgs>(body).map(|args| args.pod.map(|pod| decode::pod(&pod))) {
            Ok(Some(Ok(pod))) => ahead.delay_filter(pod.uid).await,
            // Whoever answers it says so.
            _ => Duration::ZERO,
        }
    }

    /// Refuses a request that makes no sense: 400, since an empty 200 would mean something else.
    pub(super) fn bad_request(&self, verb: Verb, why: &str) -> VerbOutcome {
        self.metrics.bad_requests.with_label_values(&[verb.name()]).inc();
        tracing::warn!(verb = verb.name(), why, "malformed request");
        VerbOutcome::text(StatusCode::BAD_REQUEST, &format!("sigma: malformed request: {why}"))
    }
}

/// The last segment of the path is the verb, so that any `urlPrefix` and a `filterVerb: /filter` work.
fn verb_of<B>(request: &Request<B>) -> Result<Verb, VerbOutcome> {
    let path = request.uri().path();
    let last = path.rsplit('/').find(|segment| !segment.is_empty()).unwrap_or("");
    let Some(verb) = Verb::ALL.into_iter().find(|verb| verb.name() == last) else {
        let shown: String = path.chars().take(100).collect();
        tracing::warn!(path = ?shown, method = %request.method(), "a path that is no verb");
        let text = "sigma: unknown verb; the last path segment must be filter, prioritize, preempt \
                    or bind (filterVerb, prioritizeVerb, preemptVerb, bindVerb of the extender)";
        return Err(VerbOutcome::text(StatusCode::NOT_FOUND, text));
    };
    if request.method() != Method::POST {
        let text = format!("sigma: {} is called with POST", verb.name());
        return Err(VerbOutcome::text(StatusCode::METHOD_NOT_ALLOWED, &text));
    }
    Ok(verb)
}

fn is_encoded<B>(request: &Request<B>) -> bool {
    let encodings = request.headers().get_all(header::CONTENT_ENCODING).iter();
    encodings.into_iter().any(|encoding| encoding != "identity")
}
