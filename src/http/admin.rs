//! The admin listener: probes, metrics, and what people and `sigma why` ask. Read-only.
//!
//! Documented for users in `docs/api.md`; a field that is not there is not for users.

mod views;

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use axum::{Router, serve};
use serde::Deserialize;
use tokio::net::TcpListener;

use self::views::Views;
use crate::metrics::Metrics;
use crate::policy::Diagnostic;
use crate::writer::Board;

/// One line of `/readyz?verbose`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Check {
    /// What is checked.
    pub name: String,
    /// Whether requests are answered in full as far as this goes.
    pub ok: bool,
    /// How it stands.
    pub detail: String,
}

/// What the admin listener shows but cannot know by itself.
#[derive(Clone)]
pub struct AdminSources {
    /// The lines of `/readyz?verbose`; ready when all are ok.
    pub checks: Arc<dyn Fn() -> Vec<Check> + Send + Sync>,
    /// Why the policy on disk is not in force; empty when it is.
    pub policy_faults: Arc<dyn Fn() -> Vec<Diagnostic> + Send + Sync>,
}

/// The admin listener.
pub struct Admin {
    board: Arc<Board>,
    metrics: Arc<Metrics>,
    sources: AdminSources,
}

impl Admin {
    /// An admin listener over these.
    pub fn new(board: Arc<Board>, metrics: Arc<Metrics>, sources: AdminSources) -> Self {
        Self { board, metrics, sources }
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

    fn views(&self) -> Views<'_> {
        Views { board: &self.board, world: self.board.world() }
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
            let mark = if check.ok { "[+]" } else { "[-]" };
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
    let faults = (admin.sources.policy_faults)();
    Json(admin.views().status(checks, !faults.is_empty())).into_response()
}

#[derive(Deserialize)]
struct NodesQuery {
    pool: Option<String>,
}

async fn nodes(State(admin): Shared, Query(query): Query<NodesQuery>) -> Response {
    Json(admin.views().nodes(query.pool.as_deref())).into_response()
}

async fn pools(State(admin): Shared) -> Response {
    Json(admin.views().pools()).into_response()
}

async fn policy(State(admin): Shared) -> Response {
    Json(admin.views().policy((admin.sources.policy_faults)())).into_response()
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
    match admin.views().explain(namespace, &pod, query.node.as_deref()) {
        Ok(view) => Json(view).into_response(),
        Err(why) => problem(StatusCode::NOT_FOUND, &why),
    }
}

fn problem(status: StatusCode, why: &str) -> Response {
    (status, Json(serde_json::json!({ "error": why }))).into_response()
}

#[cfg(test)]
mod tests;
