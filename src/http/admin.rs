//! The admin listener: probes, metrics, and what people and `sigma why` ask. Read-only.
//!
//! Documented for users in `docs/api.md`; a field that is not there is not for users.

mod actions;
mod numbers;
mod sent;
mod views;

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{Query, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use axum::{Router, serve};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use self::views::Views;
use crate::actions::{ActionKindState, Leading, Obstacle};
use crate::engine::{Decider, View};
use crate::metrics::Metrics;
use crate::model::Pod;
use crate::nominator::NominatorVerdict;
use crate::policy::{Diagnostic, Severity};
use crate::runtime::SharedState;

/// One line of `/readyz?verbose`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is checked.
    pub name: String,
    /// Whether requests are answered in full as far as this goes.
    pub ok: bool,
    /// Something fails, though what was there before may serve.
    pub failing: bool,
    /// How it stands.
    pub detail: String,
}

/// How a pending pod stands to nominating ahead; `None`: the policy does not.
pub type StandingOf = Arc<dyn Fn(&View, &Decider, &Pod) -> Option<NominatorVerdict> + Send + Sync>;

/// What keeps a pending pod from being sent to a node that was not offered.
pub type ObstaclesOf = Arc<dyn Fn(&View, &Decider, &Pod) -> Vec<Obstacle> + Send + Sync>;

/// What the admin listener shows but cannot know by itself.
#[derive(Clone)]
pub struct AdminSources {
    /// The lines of `/readyz?verbose`; ready when all are ok.
    pub checks: Arc<dyn Fn() -> Vec<Check> + Send + Sync>,
    /// How the policy on disk stands to the one in force.
    pub policy_on_disk: Arc<dyn Fn() -> PolicyOnDisk + Send + Sync>,
    /// Where the policy in force came from.
    pub policy_origin: Arc<dyn Fn() -> PolicyOrigin + Send + Sync>,
    /// How the action kind stand, and what they did last.
    pub acts: Arc<dyn Fn() -> Vec<ActionKindState> + Send + Sync>,
    /// How the election stands; `None` when there is no lease.
    pub lease: Arc<dyn Fn() -> Option<Leading> + Send + Sync>,
    /// How pods stand to nominating ahead.
    pub ahead: StandingOf,
    /// What is off of steering, for a pod.
    pub obstacles: ObstaclesOf,
}

/// The place that the policy in force came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicySourceKind {
    /// No policy is in force.
    #[default]
    None,
    /// `--policy`.
    File,
    /// `--state-dir`: the last good one.
    StateDir,
}

impl PolicySourceKind {
    /// All names.
    pub const NAMES: [&str; 3] = ["none", "file", "state_dir"];

    /// As the admin API and metrics call it.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// Where the policy in force came from, and since when it has been good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyOrigin {
    /// The place.
    pub source: PolicySourceKind,
    /// When it was first accepted, by this process or one before it.
    pub accepted: Option<SystemTime>,
    /// Why it could not be kept in the state directory.
    pub state_error: Option<String>,
}

impl PolicyOrigin {
    /// Seconds since it was first accepted. A clock that was set back makes it new.
    pub fn age_seconds(&self) -> Option<u64> {
        self.accepted.map(|it| it.elapsed().unwrap_or_default().as_secs())
    }
}

/// Why the policy on disk is not in force; empty when it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyOnDisk {
    /// What is wrong in it.
    pub faults: Vec<Diagnostic>,
    /// Why it could not be read at all.
    pub unreadable: Option<String>,
}

impl PolicyOnDisk {
    /// The reason in one line; `None` when it is in force.
    pub fn why(&self) -> Option<String> {
        if let Some(why) = &self.unreadable {
            return Some(why.clone());
        }
        let mut errors = self.faults.iter().filter(|it| it.severity == Severity::Error);
        let first = errors.next()?;
        let place = format!("{}:{}:{}", first.file, first.line, first.column);
        let rest = match errors.count() {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        Some(format!("{place}: {} {}{rest}", first.code, first.message))
    }
}

/// The admin listener.
pub struct Admin {
    shared: Arc<SharedState>,
    metrics: Arc<Metrics>,
    sources: AdminSources,
}

impl Admin {
    /// An admin listener over these.
    pub fn new(shared: Arc<SharedState>, metrics: Arc<Metrics>, sources: AdminSources) -> Self {
        Self { shared, metrics, sources }
    }

    /// The routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/api/v1/status", get(status))
            .route("/api/v1/nodes", get(nodes))
            .route("/api/v1/pools", get(pools))
            .route("/api/v1/policy", get(policy))
            .route("/api/v1/explain", get(explain))
            .route("/api/v1/actions", get(actions))
            .fallback(async || {
                problem(StatusCode::NOT_FOUND, "no such page; docs/api.md lists them")
            })
            .with_state(Arc::new(self))
    }

    /// Serves until `stop`.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) {
        let served = serve(listener, self.router()).with_graceful_shutdown(stop).await;
        if let Err(error) = served {
            tracing::error!(%error, "the admin listener ended");
        }
    }

    fn show<T: Serialize>(&self, show: impl FnOnce(&Views<'_>) -> T) -> Response {
        let view = self.shared.view();
        Json(show(&Views { shared: &self.shared, view: &view })).into_response()
    }
}

type Shared = State<Arc<Admin>>;

#[derive(Deserialize)]
struct ReadyQuery {
    verbose: Option<String>,
}

async fn readyz(State(admin): Shared, Query(query): Query<ReadyQuery>) -> Response {
    let checks = (admin.sources.checks)();
    let ready = checks.iter().all(|it| it.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut text = String::new();
    if query.verbose.is_some() || !ready {
        for check in &checks {
            let mark = if check.ok && !check.failing { "[+]" } else { "[-]" };
            text += &format!("{mark} {}: {}\n", check.name, check.detail);
        }
    }
    text += if ready { "ok\n" } else { "not ready\n" };
    (status, text).into_response()
}

async fn metrics(State(admin): Shared) -> Response {
    let kind: (HeaderName, &str) = (header::CONTENT_TYPE, "text/plain; version=0.0.4");
    ([kind], admin.metrics.text()).into_response()
}

async fn status(State(admin): Shared) -> Response {
    let checks = (admin.sources.checks)();
    let stale = (admin.sources.policy_on_disk)().why().is_some();
    let origin = (admin.sources.policy_origin)();
    let lease = (admin.sources.lease)();
    admin.show(|views| views.status(checks, (stale, &origin), lease))
}

#[derive(Deserialize)]
struct NodesQuery {
    pool: Option<String>,
}

async fn nodes(State(admin): Shared, Query(query): Query<NodesQuery>) -> Response {
    admin.show(|views| views.nodes(query.pool.as_deref()))
}

async fn pools(State(admin): Shared) -> Response {
    admin.show(|views| views.pools())
}

async fn policy(State(admin): Shared) -> Response {
    let on_disk = (admin.sources.policy_on_disk)();
    let origin = (admin.sources.policy_origin)();
    admin.show(|views| views.policy(on_disk, origin))
}

async fn actions(State(admin): Shared) -> Response {
    Json(actions::page((admin.sources.acts)(), admin.shared.clock.now())).into_response()
}

#[derive(Deserialize)]
struct ExplainQuery {
    namespace: Option<String>,
    pod: Option<String>,
    node: Option<String>,
}

async fn explain(State(admin): Shared, Query(query): Query<ExplainQuery>) -> Response {
    let Some(pod) = query.pod else {
        return problem(StatusCode::BAD_REQUEST, "say which pod: ?namespace=NAMESPACE&pod=POD");
    };
    let namespace = query.namespace.as_deref().unwrap_or("default");
    let AdminSources { ahead, obstacles, .. } = &admin.sources;
    let (shared, sources) = (&admin.shared, (ahead, obstacles));
    match views::explain(shared, sources, namespace, &pod, query.node.as_deref()) {
        Ok(view) => Json(view).into_response(),
        Err(why) => problem(StatusCode::NOT_FOUND, &why),
    }
}

fn problem(status: StatusCode, why: &str) -> Response {
    (status, Json(serde_json::json!({ "error": why }))).into_response()
}

#[cfg(test)]
mod tests;
