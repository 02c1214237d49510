//! Wiring: the only room that knows everyone. Starts the parts in order and ends them in order.
//!
//! ```text
//!   verbs thread (one-thread runtime)      background runtime
//!   ┌────────────────────────────────┐     ┌──────────────────────────────────────────────┐
//!   │ http::serve ── decide ── Board ◀┼─────┤ writer ◀── watches (nodes, namespaces, pods)  │
//!   └────────────────────────────────┘     │ reload · doorbell · audit · admin listener    │
//!                                          └──────────────────────────────────────────────┘
//! ```
//!
//! Answers come first: the verbs have a thread of their own, so no list, scrape or page can delay one.

mod audit;
mod config;
mod doorbell;
mod reload;
mod signals;
mod status;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::engine::Desk;
use crate::http::{Admin, ConnLimits, Extender, ExtenderOptions};
use crate::k8s::events::Events;
use crate::k8s::writes::PodWrites;
use crate::k8s::{self, WatchHealth};
use crate::metrics::Metrics;
use crate::model::{Change, Kind};
use crate::policy::Plan;
use crate::writer::{self, Board, Clock};

pub use config::{BadPolicy, PolicySource, ServeConfig};
pub use signals::stop_requested;

/// One binding takes at most this long, well below an `httpTimeout` of 1 s.
const BIND_WITHIN: Duration = Duration::from_millis(800);

/// Serves until told to stop.
pub fn run(config: ServeConfig) -> Result<()> {
    let (plan, fingerprint) = config.policy.load_first()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("sigma-background")
        .enable_all()
        .build()
        .context("cannot start the background runtime")?;
    runtime.block_on(serve(config, plan, fingerprint))
}

async fn serve(
    config: ServeConfig,
    plan: Arc<Plan>,
    fingerprint: reload::Fingerprint,
) -> Result<()> {
    let verbs = bind(config.listen, "--listen").await?;
    let admin = bind(config.admin_listen, "--admin-listen").await?;
    let client = k8s::client::connect(&config.source).await?;
    let metrics = Arc::new(Metrics::new().context("cannot register the metrics")?);
    let board = Arc::new(Board::new(plan, Desk::default(), Clock::start()));
    let health = Arc::new(WatchHealth::default());
    let (handle, writer) = writer::spawn(board.clone(), metrics.clone());
    let stop = signals::listen().context("cannot listen for signals")?;
    watch_all(&client, &health, &handle.changes());

    let writes = PodWrites::new(client.clone());
    let policy = Arc::new(reload::PolicyState::new(fingerprint));
    let page = status::sources(board.clone(), health.clone(), policy.clone());
    let admin =
        tokio::spawn(Admin::new(board.clone(), metrics.clone(), page).serve(admin, stopped(&stop)));
    let refresh = status::refresh(board.clone(), health.clone(), metrics.clone());
    let reload = reload::follow(
        config.policy.clone(),
        policy,
        handle.clone(),
        metrics.clone(),
        Events::new(client.clone()),
    );
    let doorbell = doorbell::run(board.clone(), metrics.clone(), writes.clone(), config.doorbell);
    let audit = audit::run(handle.clone(), health, config.audit_interval);
    let tasks =
        [tokio::spawn(refresh), tokio::spawn(reload), tokio::spawn(doorbell), tokio::spawn(audit)];

    let verbs = spawn_verbs(&config, verbs, board, metrics, writes, stopped(&stop))?;
    tracing::info!(
        listen = %config.listen, admin_listen = %config.admin_listen,
        version = env!("CARGO_PKG_VERSION"), "serving"
    );
    let mut stop = stop;
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        // A frozen picture is worse than a restart: everything would be answered from the past.
        ended = writer => anyhow::bail!("the writer ended: {ended:?}"),
    }
    tracing::info!("stopping: no new requests, those under way are answered");
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    let verbs = tokio::task::spawn_blocking(move || verbs.join());
    if verbs.await.is_ok_and(|joined| joined.is_err()) {
        anyhow::bail!("the verbs thread panicked");
    }
    admin.abort();
    Ok(())
}

fn watch_all(client: &kube::Client, health: &Arc<WatchHealth>, changes: &mpsc::Sender<Change>) {
    for kind in Kind::ALL {
        // Ends by itself when the writer is gone.
        drop(k8s::spawn(client.clone(), kind, changes.clone(), health.clone()));
    }
}

/// The verbs' thread, with a runtime of one thread: decisions take turns anyway, and handing a request
/// to another core costs more than answering it.
fn spawn_verbs(
    config: &ServeConfig,
    listener: TcpListener,
    board: Arc<Board>,
    metrics: Arc<Metrics>,
    writes: PodWrites,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<std::thread::JoinHandle<()>> {
    let listener = listener.into_std().context("cannot hand over the verbs' socket")?;
    let ready = {
        let board = board.clone();
        Arc::new(move || board.synced())
    };
    let options = ExtenderOptions {
        deadline: config.deadline,
        ready,
        not_ready: config.not_ready,
        binder: config.bind.then(|| Arc::new(writes) as Arc<dyn crate::http::Binder>),
        bind_within: BIND_WITHIN,
    };
    let app = Extender::new(board, metrics, options);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the verbs' runtime")?;
    let run = move || {
        runtime.block_on(async move {
            match TcpListener::from_std(listener) {
                Ok(listener) => {
                    crate::http::serve(listener, app, ConnLimits::default(), stop).await
                }
                Err(error) => tracing::error!(%error, "cannot take over the verbs' socket"),
            }
        });
    };
    let builder = std::thread::Builder::new().name("sigma-verbs".to_owned());
    builder.spawn(run).context("cannot start the verbs' thread")
}

async fn bind(addr: SocketAddr, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| format!("cannot listen on {addr} ({flag})"))
}

fn stopped(stop: &watch::Receiver<bool>) -> impl Future<Output = ()> + Send + 'static + use<> {
    let mut stop = stop.clone();
    async move {
        // An error means that whoever could tell us is gone, which is a reason to stop as well.
        let _ = stop.wait_for(|stop| *stop).await;
    }
}
