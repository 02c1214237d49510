//! The real extender without a cluster: the real server on a thread of its own and the real writer
//! behind it, as in `sigma serve`, told of nodes and pods by the same changes that watches send.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::cluster::HoldLimits;
use crate::engine::{Decider, UnschedulableLimits, View};
use crate::http::{self, Check, ConnLimits, ExtenderOptions, FastPaths, ProcessState};
use crate::k8s::{self, WatchHealth};
use crate::metrics::Metrics;
use crate::model::{Change, Kind, Pod, PodUid};
use crate::policy::Plan;
use crate::replica::Replica;
use crate::runtime::{self, Clock, SharedState, WriterHandle, WriterMetrics};
use crate::serve::{background_runtime, metrics};
use crate::sim::Cluster;

/// Longest wait until a change that was sent is visible. Reaching it is a bug or a machine that
/// stands still, not slowness.
const VISIBLE_LIMIT: Duration = Duration::from_secs(60);
/// From a request's first byte to its decision. So long that no degraded answer, which would depend
/// on the machine's speed, can get into a result.
const DEADLINE: Duration = Duration::from_secs(3600);
/// Looks at the view before the waiting thread gives its core away.
const SPINS: u32 = 200;

/// A running extender.
pub struct LoopbackExtender {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its view and its decider.
    pub shared: Arc<SharedState>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    changes: mpsc::Sender<Change>,
    /// Without it the writer would end.
    _writer: WriterHandle,
    background: Runtime,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl LoopbackExtender {
    /// Starts the writer and the server on a listener that is already bound.
    pub fn start(
        plan: Arc<Plan>,
        listener: TcpListener,
        fast_paths: FastPaths,
    ) -> anyhow::Result<Self> {
        let addr = listener.local_addr().context("cannot tell the address that was bound")?;
        listener.set_nonblocking(true).context("cannot make the listener non-blocking")?;
        let metrics = metrics().context("cannot register the metrics")?;
        let decider = fast_paths.on_decider(timeless_decider());
        let replica = Replica::new(plan, Arc::default(), decider);
        let (shared, writing) = SharedState::of(replica, Clock::start());
        let background = background_runtime().context("cannot start a runtime")?;
        let (writer, _task) = {
            let _in_it = background.enter();
            runtime::spawn(writing, shared.clone(), metrics.of()?)
        };
        let (stop, stopped) = oneshot::channel();
        let (served, counted) = (shared.clone(), metrics.of()?);
        let thread = std::thread::Builder::new().name("extender".to_owned());
        let runtime = http::runtime().context("cannot start a runtime")?;
        let thread = thread.spawn(move || {
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let options = ExtenderOptions {
                    deadline: DEADLINE,
                    fast_paths,
                    ..ExtenderOptions::default()
                };
                let app = http::Extender::new(served, counted, options);
                // Both a wish to stop and a verb that is gone end the server.
                let stopped = async { drop(stopped.await) };
                http::serve(listener, app, ConnLimits::default(), stopped).await;
                Ok(())
            })
        });
        let thread = thread.context("cannot start a thread")?;
        let changes = writer.changes();
        Ok(Self { addr, shared, metrics, changes, _writer: writer, background, stop, thread })
    }

    /// Sends a change as a watch does: waits when the writer is behind.
    pub fn send(&self, change: Change) -> anyhow::Result<()> {
        self.changes.blocking_send(change).ok().context("the writer has stopped")
    }

    /// Lists the cluster and the pods on it, as watches do after a start, and waits until all of it
    /// is visible.
    pub fn list(&self, cluster: &Cluster, pods: Vec<Pod>) -> anyhow::Result<()> {
        let nodes = cluster.nodes.iter().map(|it| Change::NodeSeen(Box::new(it.clone())));
        let namespaces = cluster.namespaces.iter().cloned().map(Change::NamespaceSeen);
        let pods = pods.into_iter().map(|it| Change::PodSeen(Box::new(it)));
        for (kind, changes) in [
            (Kind::NODES, nodes.collect::<Vec<_>>()),
            (Kind::NAMESPACES, namespaces.collect()),
            (Kind::PODS, pods.collect()),
        ] {
            self.send(Change::RelistBegin(kind))?;
            changes.into_iter().try_for_each(|change| self.send(change))?;
            self.send(Change::RelistEnd(kind))?;
        }
        self.wait("the cluster", |_| self.shared.synced())?;
        Ok(())
    }

    /// From now on follows the pods of an API server, by a watch as `sigma serve` has it. Returns when
    /// its list was applied; what changes after that came as an event.
    pub fn watch_pods(&self, server: SocketAddr) -> anyhow::Result<()> {
        let counted = self.metrics.of::<WriterMetrics>()?;
        let before = counted.changes.get();
        let health = Arc::new(WatchHealth::default());
        let url = format!("http://{server}").parse().context("an address is no URL")?;
        let _in_it = self.background.enter();
        let client = kube::Client::try_from(kube::Config::new(url)).context("cannot watch")?;
        k8s::spawn(client, &k8s::kinds::pods::SPEC, self.changes.clone(), health.clone());
        self.wait("the list of pods", |_| {
            let pods = health.kind(Kind::PODS);
            // Beside the objects, a list has a beginning and an end.
            pods.listed && counted.changes.get() >= before + pods.num_objects + 2
        })?;
        Ok(())
    }

    /// Tells of pods without a node, as a watch does, and waits until they are visible.
    pub fn show_pending(&self, pods: Vec<Pod>) -> anyhow::Result<()> {
        let last = pods.last().map(|pod| pod.uid);
        pods.into_iter().try_for_each(|pod| self.send(Change::PodSeen(Box::new(pod))))?;
        self.wait("a pending pod", |view| {
            last.is_none_or(|uid| view.snapshot.pending(uid).is_some())
        })?;
        Ok(())
    }

    /// Serves the admin API, as `sigma serve` does, on a listener that is already bound.
    pub fn serve_admin(&self, listener: TcpListener) -> anyhow::Result<SocketAddr> {
        let addr = listener.local_addr().context("cannot tell the address that was bound")?;
        listener.set_nonblocking(true).context("cannot make the listener non-blocking")?;
        let _in_it = self.background.enter();
        let listener =
            tokio::net::TcpListener::from_std(listener).context("cannot use the admin listener")?;
        let admin = http::Admin {
            shared: self.shared.clone(),
            metrics: self.metrics.clone(),
            process: Arc::new(DemoState),
            acting: None,
        };
        // Ends with the runtime.
        self.background.spawn(admin.serve(listener, std::future::pending()));
        Ok(addr)
    }

    /// Waits until the extender counts the pod on the node and holds nothing for it any more; gives
    /// the view that shows it.
    pub fn wait_placed(&self, uid: PodUid, node: &str) -> anyhow::Result<Arc<View>> {
        self.wait("a binding", |view| {
            let ord = view.snapshot.names.ord(node);
            ord.is_some_and(|ord| view.snapshot.pod_on(ord, uid).is_some())
                // The decider hears of it a moment after the view shows it.
                && !self.shared.decide(|decider, _, _| decider.is_held(uid))
        })
    }

    fn wait(&self, what: &str, visible: impl Fn(&View) -> bool) -> anyhow::Result<Arc<View>> {
        let started = Instant::now();
        for spin in 0_u32.. {
            let view = self.shared.view();
            if visible(&view) {
                return Ok(view);
            }
            // What is held of an old view would have to be copied by the writer.
            drop(view);
            if spin < SPINS {
                std::thread::yield_now();
            } else {
                std::thread::sleep(Duration::from_micros(50));
                if started.elapsed() > VISIBLE_LIMIT {
                    break;
                }
            }
        }
        bail!("{what} did not become visible within {} s", VISIBLE_LIMIT.as_secs())
    }

    /// Stops the server, and the writer with it.
    pub fn stop(self) -> anyhow::Result<()> {
        // A server that has ended by itself says why below.
        let _ = self.stop.send(());
        let ended = self.thread.join();
        self.background.shutdown_background();
        match ended {
            Ok(ended) => ended,
            Err(_) => bail!("the extender's thread panicked"),
        }
    }
}

/// What the admin listener says of a process without a cluster.
struct DemoState;

impl ProcessState for DemoState {
    fn checks(&self) -> Vec<Check> {
        let detail = "a cluster from a seed".to_owned();
        vec![Check { name: "demo".to_owned(), ok: true, failing: false, detail }]
    }
}

/// A decider that no clock influences: holds end when a binding shows and at no other time, an unschedulable answer
/// names what is true now, and no pod is forgotten. Else a slow machine would place differently.
fn timeless_decider() -> Decider {
    let holds = HoldLimits { ttl_ms: u64::MAX, volume_ttl_ms: u64::MAX };
    let unschedulable = UnschedulableLimits {
        max_pods: usize::MAX,
        text_dwell_ms: u64::MAX,
        ..UnschedulableLimits::default()
    };
    Decider::new(holds, unschedulable)
}
