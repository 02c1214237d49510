//! The real extender without a cluster: the real server and the real writer, on a thread of their
//! own, told of nodes and pods by the same changes that watches send.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::sync::{mpsc, oneshot};

use crate::cluster::HoldLimits;
use crate::engine::{Desk, RefusalLimits, World};
use crate::http::{self, ConnLimits, ExtenderOptions, FastPaths};
use crate::metrics::Metrics;
use crate::model::{Change, Kind, Pod, PodUid};
use crate::policy::Plan;
use crate::sim::Cluster;
use crate::writer::{self, Board, Clock};

/// Longest wait until a change that was sent is visible. Reaching it is a bug or a machine that
/// stands still, not slowness.
const VISIBLE_LIMIT: Duration = Duration::from_secs(60);
/// From a request's first byte to its decision. So long that no degraded answer, which would depend
/// on the machine's speed, can get into a result.
const DEADLINE: Duration = Duration::from_secs(3600);
/// Looks at the world before the waiting thread gives its core away.
const SPINS: u32 = 200;

/// A running extender.
pub(in crate::cli) struct Extender {
    /// Where it listens.
    pub(in crate::cli) addr: SocketAddr,
    /// Its world and its desk.
    pub(in crate::cli) board: Arc<Board>,
    /// What it counts.
    pub(in crate::cli) metrics: Arc<Metrics>,
    changes: mpsc::Sender<Change>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Extender {
    /// Starts the writer and the server on a listener that is already bound.
    pub(in crate::cli) fn start(
        plan: Arc<Plan>,
        listener: TcpListener,
        fast_paths: FastPaths,
    ) -> anyhow::Result<Self> {
        let addr = listener.local_addr().context("cannot tell the address that was bound")?;
        listener.set_nonblocking(true).context("cannot make the listener non-blocking")?;
        let metrics = Arc::new(Metrics::new().context("cannot register the metrics")?);
        let desk = fast_paths.on_desk(timeless_desk());
        let board = Arc::new(Board::new(plan, desk, Clock::start()));
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let (served, counted) = (board.clone(), metrics.clone());
        let thread = std::thread::Builder::new().name("extender".to_owned());
        let thread = thread.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.context("cannot start a runtime")?.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let (writer, _task) = writer::spawn(served.clone(), counted.clone());
                // The receiver waits for exactly this; if it is gone, so is the verb.
                let _ = ready.send(writer.changes());
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
        let changes = started.recv().context("the extender's thread ended at once")?;
        Ok(Self { addr, board, metrics, changes, stop, thread })
    }

    /// Sends a change as a watch does: waits when the writer is behind.
    pub(in crate::cli) fn send(&self, change: Change) -> anyhow::Result<()> {
        self.changes.blocking_send(change).ok().context("the writer has stopped")
    }

    /// Lists the cluster and the pods on it, as watches do after a start, and waits until all of it
    /// is visible.
    pub(in crate::cli) fn list(&self, cluster: &Cluster, pods: Vec<Pod>) -> anyhow::Result<()> {
        let nodes = cluster.nodes.iter().map(|it| Change::NodeSeen(Box::new(it.clone())));
        let namespaces = cluster.namespaces.iter().cloned().map(Change::NamespaceSeen);
        let pods = pods.into_iter().map(|it| Change::PodSeen(Box::new(it)));
        for (kind, changes) in [
            (Kind::Nodes, nodes.collect::<Vec<_>>()),
            (Kind::Namespaces, namespaces.collect()),
            (Kind::Pods, pods.collect()),
        ] {
            self.send(Change::RelistBegin(kind))?;
            changes.into_iter().try_for_each(|change| self.send(change))?;
            self.send(Change::RelistEnd(kind))?;
        }
        self.wait("the cluster", |_| self.board.synced())?;
        Ok(())
    }

    /// Waits until the extender counts the pod on the node and holds nothing for it any more; gives
    /// the world that shows it.
    pub(in crate::cli) fn wait_placed(
        &self,
        uid: PodUid,
        node: &str,
    ) -> anyhow::Result<Arc<World>> {
        self.wait("a binding", |world| {
            let ord = world.snapshot.names.ord(node);
            ord.is_some_and(|ord| world.snapshot.pod_on(ord, uid).is_some())
                // The desk hears of it a moment after the world shows it.
                && !self.board.decide(|desk, _, _| desk.is_held(uid))
        })
    }

    fn wait(&self, what: &str, visible: impl Fn(&World) -> bool) -> anyhow::Result<Arc<World>> {
        let started = Instant::now();
        for spin in 0_u32.. {
            let world = self.board.world();
            if visible(&world) {
                return Ok(world);
            }
            // What is held of an old world would have to be copied by the writer.
            drop(world);
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
    pub(in crate::cli) fn stop(self) -> anyhow::Result<()> {
        // A server that has ended by itself says why below.
        let _ = self.stop.send(());
        match self.thread.join() {
            Ok(ended) => ended,
            Err(_) => bail!("the extender's thread panicked"),
        }
    }
}

/// A desk that no clock influences: holds end when a binding shows and at no other time, a refusal
/// names what is true now, and no pod is forgotten. Else a slow machine would place differently.
fn timeless_desk() -> Desk {
    let holds = HoldLimits { ttl_ms: u64::MAX, volume_ttl_ms: u64::MAX };
    let refusals =
        RefusalLimits { max_pods: usize::MAX, text_dwell_ms: u64::MAX, ..RefusalLimits::default() };
    Desk::new(holds, refusals)
}
