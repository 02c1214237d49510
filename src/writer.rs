//! The single owner of the state: drains changes, applies them, publishes what requests read.
//!
//! ```text
//!   watches ─┐                      ┌─▶ World (snapshot + plan), read by every decision
//!   policy  ─┼─▶ queue ─▶ apply ────┤
//!   audit   ─┘                      └─▶ what confirmed, drained by the decider before it reads a World
//! ```
//!
//! Order matters and is kept here alone: a World is stored before what it confirmed is queued, and the
//! decider drains the queue before it loads a World. So a hold ends only once the snapshot counts it.

mod metrics;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use crate::cluster::{ClusterState, Confirmed, Difference, Snapshot};
use crate::engine::{Decider, View};
use crate::model::{Change, Kind, Profiles, Tick};
use crate::policy::Plan;

pub use self::metrics::WriterMetrics;

/// Most changes applied between two publications.
const BATCH: usize = 64;
/// Changes that may wait; a watch that is ahead of the writer waits in its socket.
const QUEUE: usize = 1024;
/// Until all lists are in nobody decides on a snapshot, so it may be so old, and lists come faster.
const LISTING_PAUSE: Duration = Duration::from_millis(500);
/// Pause between two tries for the decider.
const DESK_PAUSE: Duration = Duration::from_micros(50);

/// The process's clock: milliseconds since it started, which no one can set back.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Now.
    pub fn now(self) -> Tick {
        Tick(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// What everyone reads: the World, and the decider that decides on it.
pub struct SharedState {
    view: ArcSwap<View>,
    confirmed: Mutex<Vec<Confirmed>>,
    decider: Mutex<Decider>,
    listed: [AtomicBool; Kind::ALL.len()],
    /// The process's clock.
    pub clock: Clock,
}

impl SharedState {
    /// A shared state before anything is known.
    pub fn new(plan: Arc<Plan>, decider: Decider, clock: Clock) -> Self {
        let mut state = ClusterState::default();
        state.apply(Change::PoolsSet(plan.pools.clone()));
        let (snapshot, _) = state.publish();
        // Accepted policies are counted, and a neutral plan is none.
        let plan_generation = u64::from(!plan.is_neutral);
        let view = View { snapshot, plan, plan_generation };
        Self {
            view: ArcSwap::from_pointee(view),
            confirmed: Mutex::default(),
            decider: Mutex::new(decider),
            listed: Default::default(),
            clock,
        }
    }

    /// The same shared state, of a kube-scheduler that is configured so.
    #[must_use]
    pub fn with_profiles(self, profiles: Arc<Profiles>) -> Self {
        let view = self.view.load_full();
        let mut snapshot = Snapshot::clone(&view.snapshot);
        snapshot.profiles = profiles;
        self.view.store(Arc::new(View { snapshot: Arc::new(snapshot), ..View::clone(&view) }));
        self
    }

    /// True once a complete list of this kind is in what [`SharedState::view`] gives.
    pub fn listed(&self, kind: Kind) -> bool {
        self.listed[kind as usize].load(Ordering::Acquire)
    }

    /// True once every kind that is needed was listed: decisions are made on the whole cluster.
    pub fn synced(&self) -> bool {
        Kind::NEEDED.into_iter().all(|kind| self.listed(kind))
    }

    /// The World as last published.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Decides: with the decider up to date, on the newest World, at this moment.
    pub fn decide<T>(&self, decide: impl FnOnce(&mut Decider, &View, Tick) -> T) -> T {
        let decider = self.decider.lock().unwrap_or_else(|poisoned| self.recovered(poisoned));
        self.decide_at(decider, decide)
    }

    /// Decides as [`SharedState::decide`] does, unless the decider cannot be had before `by`.
    pub fn decide_by<T>(
        &self,
        by: Instant,
        decide: impl FnOnce(&mut Decider, &View, Tick) -> T,
    ) -> Option<T> {
        while Instant::now() < by {
            let decider = match self.decider.try_lock() {
                Ok(decider) => decider,
                Err(TryLockError::Poisoned(poisoned)) => self.recovered(poisoned),
                Err(TryLockError::WouldBlock) => {
                    // A mutex cannot be waited for with a time limit. Decisions take microseconds.
                    std::thread::sleep(DESK_PAUSE);
                    continue;
                }
            };
            return Some(self.decide_at(decider, decide));
        }
        None
    }

    fn decide_at<T>(
        &self,
        mut decider: MutexGuard<'_, Decider>,
        decide: impl FnOnce(&mut Decider, &View, Tick) -> T,
    ) -> T {
        let confirmed = std::mem::take(&mut *lock(&self.confirmed));
        let view = self.view.load();
        for it in confirmed {
            decider.confirm(it);
        }
        decide(&mut decider, &view, self.clock.now())
    }

    /// A decision panicked half-way: what the decider lent to it may not have come back.
    fn recovered<'a>(
        &self,
        poisoned: PoisonError<MutexGuard<'a, Decider>>,
    ) -> MutexGuard<'a, Decider> {
        self.decider.clear_poison();
        let mut decider = poisoned.into_inner();
        decider.recover(&self.view.load());
        decider
    }

    fn publish(&self, view: View, confirmed: Vec<Confirmed>) {
        self.view.store(Arc::new(view));
        lock(&self.confirmed).extend(confirmed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something for the writer to do.
enum Input {
    Plan(Arc<Plan>, oneshot::Sender<u64>),
    Audit(oneshot::Sender<Vec<Difference>>),
}

/// Talks to the writer.
#[derive(Clone)]
pub struct WriterHandle {
    changes: mpsc::Sender<Change>,
    inputs: mpsc::Sender<Input>,
}

impl WriterHandle {
    /// Where watches send what they see; waits when the writer is behind.
    pub fn changes(&self) -> mpsc::Sender<Change> {
        self.changes.clone()
    }

    /// Puts a policy in force; gives its generation once it is, `None` when the writer has stopped.
    pub async fn set_plan(&self, plan: Arc<Plan>) -> Option<u64> {
        let (done, in_force) = oneshot::channel();
        self.inputs.send(Input::Plan(plan, done)).await.ok()?;
        in_force.await.ok()
    }

    /// Recounts everything, repairs what differs, and tells what did.
    pub async fn audit(&self) -> Option<Vec<Difference>> {
        let (done, report) = oneshot::channel();
        self.inputs.send(Input::Audit(done)).await.ok()?;
        report.await.ok()
    }
}

/// Starts the writer on the current runtime. It ends when every handle is gone.
pub fn spawn(
    shared: Arc<SharedState>,
    metrics: Arc<WriterMetrics>,
) -> (WriterHandle, tokio::task::JoinHandle<()>) {
    let (changes, changes_in) = mpsc::channel(QUEUE);
    let (inputs, inputs_in) = mpsc::channel(8);
    let mut writer = Writer::new(shared, metrics);
    let task = tokio::spawn(async move { writer.run(changes_in, inputs_in).await });
    (WriterHandle { changes, inputs }, task)
}

struct Writer {
    state: ClusterState,
    shared: Arc<SharedState>,
    metrics: Arc<WriterMetrics>,
    plan: Arc<Plan>,
    plan_generation: u64,
    counted: Instant,
    published: Instant,
    /// Something was applied that is not published yet.
    unpublished: bool,
}

impl Writer {
    fn new(shared: Arc<SharedState>, metrics: Arc<WriterMetrics>) -> Self {
        let view = shared.view();
        let mut state = ClusterState::default();
        state.apply(Change::PoolsSet(view.plan.pools.clone()));
        state.apply(Change::ProfilesSet(view.snapshot.profiles.clone()));
        metrics.policy_generation.set(view.plan_generation as i64);
        Self {
            state,
            shared,
            metrics,
            plan: view.plan.clone(),
            plan_generation: view.plan_generation,
            counted: Instant::now(),
            published: Instant::now(),
            unpublished: false,
        }
    }

    async fn run(
        &mut self,
        mut changes: mpsc::Receiver<Change>,
        mut inputs: mpsc::Receiver<Input>,
    ) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                input = inputs.recv() => match input {
                    Some(input) => self.take(input),
                    None => return,
                },
                count = changes.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return;
                    }
                    self.batch(&mut batch);
                    // A storm of changes must leave the other core's requests their share.
                    tokio::task::yield_now().await;
                }
                () = tokio::time::sleep(LISTING_PAUSE), if self.unpublished => self.publish(),
            }
        }
    }

    fn batch(&mut self, batch: &mut Vec<Change>) {
        self.metrics.changes.inc_by(batch.len() as u64);
        let timer = self.metrics.publish_seconds.start_timer();
        self.apply(batch);
        timer.observe_duration();
    }

    fn apply(&mut self, batch: &mut Vec<Change>) {
        let mut listed = Vec::new();
        for change in batch.drain(..) {
            let ended = match change {
                Change::RelistEnd(kind) => Some(kind),
                _ => None,
            };
            let applied = self.state.apply(change);
            self.unpublished |= applied.changed;
            listed.extend(ended);
            if let Some(kind) = ended.filter(|_| applied.swept > 0) {
                let lost = self.metrics.lost_deletes.with_label_values(&[kind.resource()]);
                lost.inc_by(applied.swept as u64);
            }
        }
        let is_due = self.shared.synced() || self.published.elapsed() >= LISTING_PAUSE;
        if self.unpublished && (is_due || !listed.is_empty()) {
            self.publish();
        }
        for kind in listed {
            self.shared.listed[kind as usize].store(true, Ordering::Release);
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Plan(plan, done) => {
                self.state.apply(Change::PoolsSet(plan.pools.clone()));
                self.plan = plan;
                self.plan_generation += 1;
                self.publish();
                self.metrics.policy_generation.set(self.plan_generation as i64);
                // Whoever asked may have given up waiting; the policy is in force all the same.
                let _ = done.send(self.plan_generation);
            }
            Input::Audit(done) => {
                let differences = self.state.audit();
                if !differences.is_empty() {
                    self.state.repair();
                    self.publish();
                }
                self.metrics.audits.inc();
                for it in &differences {
                    let metric = self.metrics.audit_differences.with_label_values(&[it.what]);
                    metric.inc_by(it.rows as u64);
                }
                let _ = done.send(differences);
            }
        }
    }

    fn publish(&mut self) {
        let (snapshot, confirmed) = self.state.publish();
        (self.published, self.unpublished) = (Instant::now(), false);
        if self.counted.elapsed() > Duration::from_millis(500) {
            self.counted = Instant::now();
            self.metrics.count(&snapshot);
        }
        let (plan, plan_generation) = (self.plan.clone(), self.plan_generation);
        self.shared.publish(View { snapshot, plan, plan_generation }, confirmed);
    }
}
