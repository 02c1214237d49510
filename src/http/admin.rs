//! The admin listener: probes, metrics, and the pages that people and `sigma why` read. Read-only.
//!
//! A page is a type that implements [`AdminPage`], in a file of its own, and a line in [`PAGES`]. Its JSON is the type's:
//! the server writes the type, and the command line reads it. `docs/api.md` documents every field for users.

mod actions;
mod amounts;
mod explain;
mod explain_nodes;
mod explain_steer;
mod nodes;
mod policy;
mod pools;
mod status;

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use axum::{Router, serve};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::actions::{Actor, Leadership};
use crate::control::SteeringState;
use crate::engine::{Decider, PreemptVerb};
use crate::metrics::Metrics;
use crate::model::{REQUEUE, STEER};
use crate::nominator::Nominator;
use crate::runtime::SharedState;

pub(crate) use actions::ActionKindView;
pub(crate) use amounts::{AmountsView, LimitScope, LimitView};
pub(crate) use explain::ExplainView;
pub(crate) use explain_nodes::{ExplainedNodeView, NominatedBy};

pub(crate) use nodes::NodeView;
pub(crate) use policy::PolicyView;
pub use policy::{PolicyOnDisk, PolicyOrigin, PolicySourceKind};
pub(crate) use pools::PoolView;
pub use status::Check;
pub(crate) use status::StatusView;

/// Adds a page to the routes.
type AddPage = fn(Router<Arc<Admin>>) -> Router<Arc<Admin>>;

/// The pages of the admin API.
const PAGES: &[AddPage] = &[
    add::<StatusView>,
    add::<Vec<NodeView>>,
    add::<Vec<PoolView>>,
    add::<PolicyView>,
    add::<ExplainView>,
    add::<Vec<ActionKindView>>,
];

/// A page of the admin API.
pub(crate) trait AdminPage: Serialize + DeserializeOwned {
    /// Where it is.
    const PATH: &'static str;
    /// The parameters that it reads.
    type Query: DeserializeOwned + Send + 'static;

    /// The page as of now. An error: there is no such page; see [`Problem`].
    fn of(admin: &Admin, query: Self::Query) -> Result<Self, Problem>;
}

/// A page without parameters. Serde reads no unit from a query.
#[derive(Deserialize)]
pub(crate) struct NoQuery {}

/// Why a request gets no page.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Problem {
    #[serde(skip)]
    status: StatusCode,
    pub(crate) error: String,
}

impl Problem {
    /// The request lacks something.
    fn bad_request(why: &str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error: why.to_owned() }
    }

    /// The request names something that is not known.
    fn not_found(why: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, error: why.into() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}

/// What the admin listener shows.
pub struct Admin {
    /// The snapshot and the decider.
    pub shared: Arc<SharedState>,
    /// The text of `/metrics`.
    pub metrics: Arc<Metrics>,
    /// What only the process around knows.
    pub process: Arc<dyn ProcessState>,
    /// What writes to the cluster; `None` where nothing does.
    pub acting: Option<Acting>,
}

/// What writes to the cluster.
#[derive(Clone)]
pub struct Acting {
    /// Carries out actions.
    pub actor: Arc<Actor>,
    /// `None`: no Lease is configured.
    pub leadership: Option<Arc<Leadership>>,
    /// Nominates ahead.
    pub nominator: Arc<Nominator>,
    /// Whether kube-scheduler asks sigma before it preempts.
    pub preempt_verb: PreemptVerb,
}

impl Acting {
    /// How steering stands.
    pub fn steering(&self, decider: &Decider) -> SteeringState {
        SteeringState {
            steer: self.actor.why_off(&STEER),
            requeue: self.actor.why_off(&REQUEUE),
            preempt_verb: self.preempt_verb,
            asked_to_preempt: decider.steers().was_asked_to_preempt(),
        }
    }
}

/// What only the process around the listener knows.
pub trait ProcessState: Send + Sync {
    /// The lines of `/readyz?verbose`. The process is ready when all are ok.
    fn checks(&self) -> Vec<Check>;

    /// How the policy on disk relates to the one in force.
    fn policy_on_disk(&self) -> PolicyOnDisk {
        PolicyOnDisk::default()
    }

    /// Where the policy in force came from.
    fn policy_origin(&self) -> PolicyOrigin {
        PolicyOrigin::default()
    }
}

impl Admin {
    /// The routes.
    pub fn router(self) -> Router {
        let probes = Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .fallback(async || Problem::not_found("no such page; docs/api.md lists them"));
        PAGES.iter().fold(probes, |router, add| add(router)).with_state(Arc::new(self))
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
}

fn add<P: AdminPage + 'static>(router: Router<Arc<Admin>>) -> Router<Arc<Admin>> {
    let page =
        async |State(admin): Shared, Query(query): Query<P::Query>| match P::of(&admin, query) {
            Ok(page) => Json(page).into_response(),
            Err(problem) => problem.into_response(),
        };
    router.route(P::PATH, get(page))
}

type Shared = State<Arc<Admin>>;

#[derive(Deserialize)]
struct ReadyQuery {
    verbose: Option<String>,
}

async fn readyz(State(admin): Shared, Query(query): Query<ReadyQuery>) -> Response {
    let checks = admin.process.checks();
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

#[cfg(test)]
mod tests;
