//! Wiring: the only room that knows everyone. Starts the parts in order and ends them in order.
//!
//! ```text
//!   verbs thread (one-thread runtime)      background runtime
//!   ┌────────────────────────────────┐     ┌──────────────────────────────────────────────┐
//!   │ http::serve ── decide ── Board ◀┼─────┤ writer ◀── watches (nodes, pods, …)           │
//!   └────────────────────────────────┘     │ reload · TLS files · actor · audit            │
//!                              ▲           └──────────────────────────────────────────────┘
//!                              └────────── admin thread: probes, pages, metrics
//! ```
//!
//! Answers come first: the verbs have a thread of their own, so no list, scrape or page can delay one.
//! The other threads stand back where there are more threads than cores (`priority`).

mod action_loop;
mod audit;
mod state_dir;
mod last_good;
mod metrics;
mod watch_metrics;
mod config;
mod extender_url;
mod first_policy;
mod thread_priority;
mod policy_state;
mod profiles;
mod reload;
mod other_extenders;
mod tls_files;
mod signals;
mod status;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;

use self::action_loop::ActionLoop;
use self::first_policy::FirstPolicy;
use self::last_good::LastGood;
use self::metrics::ServeMetrics;
use self::policy_state::PolicyState;
use self::reload::Reload;
use self::state_dir::StateDir;
use self::status::ServeState;
use self::thread_priority::{ThreadPriority, stand_back};
use self::tls_files::TlsFiles;
use crate::engine::{Decider, PreemptVerb};
use crate::http::{
    self, Acting, Admin, Binder, ConnLimits, Extender, ExtenderOptions, FastPaths, SteerOptions,
};
use crate::k8s::events::Events;
use crate::k8s::writes::ObjectWrites;
use crate::k8s::{self, REGISTRY, WatchHealth};
use crate::metrics::Metrics;
use crate::policy::Plan;
use crate::replica::Replica;
use crate::runtime::{self, Clock, SharedState, WriterHandle};

pub use self::metrics::metrics;
pub use action_loop::LeaseSource;
pub use config::{BadConfig, OtherExtendersSource, PolicySource, ServeConfig};
pub use extender_url::{BadUrl, ExtenderUrl};
pub use signals::stop_requested;
pub use tls_files::TlsSource;

/// One binding takes at most this long, well below an `httpTimeout` of 1 s.
const BIND_WITHIN: Duration = Duration::from_millis(800);

/// How long what is left may take to end once everyone was answered.
const LAST_MOMENTS: Duration = Duration::from_secs(1);
/// How long giving the Lease back may take, which spares the other replicas fifteen seconds.
const GIVE_BACK: Duration = Duration::from_secs(3);
/// Pause between two looks at whether the policy has a use for an optional kind.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// Pause before a background task that panicked starts anew.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Serves until told to stop.
pub fn run(config: ServeConfig) -> Result<()> {
    let last_good = LastGood::new(config.state_dir.clone().map(StateDir::new));
    let first = FirstPolicy::choose(&config.policy, &last_good);
    let runtime = background_runtime().context("cannot start the background runtime")?;
    let ended = runtime.block_on(serve(config, first, last_good));
    // A read of the policy that hangs on a dead file system must not keep the process alive.
    runtime.shutdown_timeout(LAST_MOMENTS);
    ended
}

/// The runtime of all that is neither an answer nor a page. Its threads stand back.
pub fn background_runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("sigma-background")
        .on_thread_start(|| stand_back(ThreadPriority::Ingest))
        .enable_all()
        .build()
}

async fn serve(config: ServeConfig, first: FirstPolicy, last_good: LastGood) -> Result<()> {
    let verbs = bind(config.listen, "--listen").await?;
    let admin = bind(config.admin_listen, "--admin-listen").await?;
    let (listen, admin_listen) = (verbs.local_addr()?, admin.local_addr()?);
    let client = k8s::client::connect(&config.source).await;
    let client = client.map_err(|error| BadConfig(error.to_string()))?;
    let metrics = metrics().context("cannot register the metrics")?;
    let own = metrics.of::<ServeMetrics>()?;
    let tls = config.tls.clone().map(|it| TlsFiles::load_first(it, own.clone()));
    let tls = tls.transpose()?.map(Arc::new);
    let (replica, preempt_verb) = replica(&config.other_extenders, &first, listen)?;
    let (shared, writing) = SharedState::of(replica, Clock::start());
    let health = Arc::new(WatchHealth::default());
    let (handle, writer) = runtime::spawn(writing, shared.clone(), metrics.of()?);
    let stop = signals::listen().context("cannot listen for signals")?;

    let policy = Arc::new(PolicyState::new(&first, last_good));
    let known = (&shared, preempt_verb);
    let action_loop = ActionLoop::new(&config, &client, &metrics, known, &health)?;
    let acting = action_loop.acting.clone();
    let state = ServeState {
        shared: shared.clone(),
        health: health.clone(),
        policy: policy.clone(),
        tls: tls.clone(),
        acting: acting.clone(),
    };
    spawn_admin(state.admin(metrics.clone()), admin, stopped(&stop))?;
    let events = Arc::new(Events::new(client.clone()));
    let reload = Arc::new(Reload {
        source: config.policy.clone(),
        state: policy,
        writer: handle.clone(),
        metrics: own,
        events: events.clone(),
        actor: acting.actor.clone(),
    });
    reload.begin(&first);
    let parts = ServeParts {
        writes: ObjectWrites::new(client.clone()),
        client,
        health,
        handle,
        shared,
        metrics,
        events,
        acting,
        reload,
        tls,
    };
    parts.start_background(&config)?;
    let lease = action_loop.start(&parts, &stop);
    let verbs = parts.spawn_verbs(&config, verbs, stopped(&stop))?;
    tracing::info!(%listen, %admin_listen, version = env!("CARGO_PKG_VERSION"), "serving");
    let mut verbs_ended = verbs.ended;
    let has_ended = told_to_stop(stop, writer, &mut verbs_ended).await?;
    tracing::info!("stopping: no new requests, those under way are answered");
    if !has_ended {
        // Its sender is dropped with the thread, which is all that is awaited.
        let _ = verbs_ended.await;
    }
    anyhow::ensure!(verbs.thread.join().is_ok(), "the verbs thread panicked");
    if let Some(lease) = lease {
        // One that cannot be given back is not ours for much longer.
        let _ = timeout(GIVE_BACK, lease).await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// A replica beside this kube-scheduler, and whether kube-scheduler asks before it preempts.
fn replica(
    source: &OtherExtendersSource,
    first: &FirstPolicy,
    listen: SocketAddr,
) -> Result<(Replica, PreemptVerb)> {
    let scheduler = source.load(listen)?;
    let decider = Decider::default().beside(scheduler.other_extenders);
    let replica = Replica::new(first.plan.clone(), profiles::of(source)?, decider);
    Ok((replica, scheduler.preempt_verb))
}

/// Waits for the word to stop; an error when something ends without it. True when the verbs' thread has
/// ended as well: one with nothing to do may do so before the word has come here.
async fn told_to_stop(
    mut stop: watch::Receiver<bool>,
    writer: impl Future<Output = Result<(), JoinError>>,
    verbs_ended: &mut oneshot::Receiver<()>,
) -> Result<bool> {
    let told = stop.clone();
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => Ok(false),
        // A frozen snapshot is worse than a restart: everything would be answered from the past.
        ended = writer => anyhow::bail!("the writer ended: {ended:?}"),
        _ = verbs_ended => {
            anyhow::ensure!(*told.borrow(), "the verbs thread ended");
            Ok(true)
        }
    }
}

/// What the tasks are made of.
struct ServeParts {
    client: kube::Client,
    health: Arc<WatchHealth>,
    handle: WriterHandle,
    shared: Arc<SharedState>,
    metrics: Arc<Metrics>,
    events: Arc<Events>,
    writes: ObjectWrites,
    acting: Acting,
    reload: Arc<Reload>,
    tls: Option<Arc<TlsFiles>>,
}

/// The verbs' thread.
struct Verbs {
    thread: std::thread::JoinHandle<()>,
    /// Ends with the thread, however that ends.
    ended: oneshot::Receiver<()>,
}

impl ServeParts {
    fn start_background(&self, config: &ServeConfig) -> Result<()> {
        let Self { client, health, handle, shared, metrics, acting, reload, tls, .. } = self;
        for spec in REGISTRY {
            let (client, changes, health) = (client.clone(), handle.changes(), health.clone());
            let follow = move || k8s::spawn(client.clone(), spec, changes.clone(), health.clone());
            let shared = shared.clone();
            self.supervise(spec.kind.name, move || {
                tokio::spawn(when_wanted(shared.clone(), spec.wanted, follow.clone()))
            });
        }
        let shown = (shared.clone(), health.clone(), acting.clone());
        let to = (metrics.of()?, metrics.of()?, metrics.of()?);
        self.supervise("status", move || tokio::spawn(status::refresh(shown.clone(), to.clone())));
        let reload = reload.clone();
        self.supervise("reload", move || tokio::spawn(reload.clone().run()));
        if let Some(tls) = tls.clone() {
            self.supervise("tls", move || tokio::spawn(tls.clone().follow()));
        }
        let (handle, health, interval) = (handle.clone(), health.clone(), config.audit_interval);
        self.supervise("audit", move || {
            tokio::spawn(audit::run(handle.clone(), health.clone(), interval))
        });
        Ok(())
    }

    /// Keeps a task running: a panic must not silence a watch or the requeue for good.
    fn supervise(
        &self,
        task: &'static str,
        start: impl Fn() -> JoinHandle<()> + Send + 'static,
    ) -> JoinHandle<()> {
        let panics = self.metrics.panics.clone();
        tokio::spawn(async move {
            while start().await.is_err() {
                panics.inc();
                tracing::error!(task, "a background task panicked and starts anew");
                tokio::time::sleep(RESTART_PAUSE).await;
            }
        })
    }

    /// The verbs' thread and runtime.
    fn spawn_verbs(
        &self,
        config: &ServeConfig,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Verbs> {
        let listener = listener.into_std().context("cannot hand over the verbs' socket")?;
        let Acting { actor, nominator, preempt_verb, .. } = self.acting.clone();
        let shared = self.shared.clone();
        let options = ExtenderOptions {
            deadline: config.deadline,
            ready: Arc::new(move || shared.synced()),
            not_ready: config.not_ready,
            binder: config.bind.then(|| Arc::new(self.writes.clone()) as Arc<dyn Binder>),
            bind_within: BIND_WITHIN,
            steer_options: Some(SteerOptions { actor, preempt_verb }),
            ahead: Some(nominator),
            fast_paths: FastPaths::ALL,
        };
        let app = Extender::new(self.shared.clone(), self.metrics.of()?, options);
        let runtime = http::runtime().context("cannot start the verbs' runtime")?;
        let identity = self.tls.as_ref().map(|it| it.current.clone());
        let (alive, ended) = oneshot::channel::<()>();
        let run = move || {
            // Dropped with the thread, panic or not.
            let _alive = alive;
            runtime.block_on(async move {
                let limits = ConnLimits::default();
                match (TcpListener::from_std(listener), identity) {
                    (Ok(listener), None) => http::serve(listener, app, limits, stop).await,
                    (Ok(listener), Some(identity)) => {
                        http::serve_tls(listener, app, limits, identity, stop).await;
                    }
                    (Err(error), _) => {
                        tracing::error!(%error, "cannot take over the verbs' socket");
                    }
                }
            });
        };
        let builder = std::thread::Builder::new().name("sigma-verbs".to_owned());
        let thread = builder.spawn(run).context("cannot start the verbs' thread")?;
        Ok(Verbs { thread, ended })
    }
}

/// The admin listener's thread: a page about 10,000 nodes must delay neither answers nor watches.
fn spawn_admin(
    admin: Admin,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let listener = listener.into_std().context("cannot hand over the admin socket")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the admin runtime")?;
    let run = move || {
        stand_back(ThreadPriority::Admin);
        runtime.block_on(async move {
            match TcpListener::from_std(listener) {
                Ok(listener) => admin.serve(listener, stop).await,
                Err(error) => tracing::error!(%error, "cannot take over the admin socket"),
            }
        });
    };
    let thread = std::thread::Builder::new().name("sigma-admin".to_owned()).spawn(run);
    thread.map(drop).context("cannot start the admin thread")
}

/// Follows a kind from the first policy on that has a use for it, and so spares the API server lists.
async fn when_wanted(
    shared: Arc<SharedState>,
    wanted: fn(&Plan) -> bool,
    follow: impl Fn() -> JoinHandle<()>,
) {
    while !wanted(&shared.view().plan) {
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    if let Err(error) = follow().await
        && let Ok(panic) = error.try_into_panic()
    {
        // The supervisor starts the task anew.
        std::panic::resume_unwind(panic);
    }
}

async fn bind(addr: SocketAddr, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| format!("cannot listen on {addr} ({flag})"))
}

fn stopped(stop: &watch::Receiver<bool>) -> impl Future<Output = ()> + Send + 'static + use<> {
    let mut stop = stop.clone();
    async move {
        // An error action kind that whoever could tell us is gone, which is a reason to stop as well.
        let _ = stop.wait_for(|stop| *stop).await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn whoever_ends_after_the_word_to_stop_has_not_failed() {
        let (tell, stop) = watch::channel(false);
        let (alive, mut ended) = oneshot::channel();
        let mut alive = Some(alive);
        // Between two looks at what has happened, the word comes and the verbs' thread has ended.
        let writer = poll_fn(|_| {
            tell.send_replace(true);
            alive.take();
            Poll::Pending
        });
        assert!(told_to_stop(stop.clone(), writer, &mut ended).await.expect("it was told"));
        let (_alive, mut ended) = oneshot::channel();
        assert!(!told_to_stop(stop, pending(), &mut ended).await.expect("it was told"));
    }

    #[tokio::test]
    async fn who_ends_without_it_has() {
        let (_tell, stop) = watch::channel(false);
        let (alive, mut ended) = oneshot::channel();
        drop(alive);
        let error = told_to_stop(stop.clone(), pending(), &mut ended).await.expect_err("untold");
        assert_eq!(error.to_string(), "the verbs thread ended");
        let (_alive, mut ended) = oneshot::channel();
        let error = told_to_stop(stop, async { Ok(()) }, &mut ended).await.expect_err("untold");
        assert_eq!(error.to_string(), "the writer ended: Ok(())");
    }
}
