//! The task that owns the writing half: it drains changes, applies them and publishes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::{SharedState, WriterMetrics};
use crate::cluster::Difference;
use crate::model::Change;
use crate::policy::Plan;
use crate::replica::Writing;

/// Most changes applied between two publications.
const BATCH: usize = 64;
/// Changes that may wait. If more come, the watch waits in its socket.
const QUEUE: usize = 1024;
/// Pause between publications until all lists are complete. Nothing decides on a view before, and lists come faster.
const LISTING_PAUSE: Duration = Duration::from_millis(500);

/// Work for the writer beside changes.
enum Input {
    Plan(Arc<Plan>, oneshot::Sender<u64>),
    Audit(oneshot::Sender<Vec<Difference>>),
}

/// The sending side of the writer's queues.
#[derive(Clone)]
pub struct WriterHandle {
    changes: mpsc::Sender<Change>,
    inputs: mpsc::Sender<Input>,
}

impl WriterHandle {
    /// Where watches send changes. The sender waits when the writer is behind.
    pub fn changes(&self) -> mpsc::Sender<Change> {
        self.changes.clone()
    }

    /// Puts a policy in force and returns its generation. Returns `None` when the writer has stopped.
    pub async fn set_plan(&self, plan: Arc<Plan>) -> Option<u64> {
        let (done, in_force) = oneshot::channel();
        self.inputs.send(Input::Plan(plan, done)).await.ok()?;
        in_force.await.ok()
    }

    /// Recounts everything, repairs the differences and returns them.
    pub async fn audit(&self) -> Option<Vec<Difference>> {
        let (done, report) = oneshot::channel();
        self.inputs.send(Input::Audit(done)).await.ok()?;
        report.await.ok()
    }
}

/// Starts the writer on the current runtime. It ends when every handle is gone.
pub fn spawn(
    writing: Writing,
    shared: Arc<SharedState>,
    metrics: Arc<WriterMetrics>,
) -> (WriterHandle, tokio::task::JoinHandle<()>) {
    let (changes, changes_in) = mpsc::channel(QUEUE);
    let (inputs, inputs_in) = mpsc::channel(8);
    let mut writer = Writer::new(writing, shared, metrics);
    let task = tokio::spawn(async move { writer.run(changes_in, inputs_in).await });
    (WriterHandle { changes, inputs }, task)
}

struct Writer {
    writing: Writing,
    shared: Arc<SharedState>,
    metrics: Arc<WriterMetrics>,
    counted: Instant,
    published: Instant,
}

impl Writer {
    fn new(writing: Writing, shared: Arc<SharedState>, metrics: Arc<WriterMetrics>) -> Self {
        metrics.policy_generation.set(writing.plan_generation() as i64);
        Self { writing, shared, metrics, counted: Instant::now(), published: Instant::now() }
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
                    // A storm of changes must leave time for the other core's requests.
                    tokio::task::yield_now().await;
                }
                () = tokio::time::sleep(LISTING_PAUSE), if self.writing.is_unpublished() => {
                    self.publish();
                }
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
        let mut is_list_complete = false;
        for change in batch.drain(..) {
            let ended = match change {
                Change::RelistEnd(kind) => Some(kind),
                _ => None,
            };
            let swept = self.writing.apply(change).swept;
            is_list_complete |= ended.is_some();
            if let Some(kind) = ended.filter(|_| swept > 0) {
                let lost = self.metrics.lost_deletes.with_label_values(&[kind.name]);
                lost.inc_by(swept as u64);
            }
        }
        let is_due = self.shared.synced() || self.published.elapsed() >= LISTING_PAUSE;
        if self.writing.is_unpublished() && (is_due || is_list_complete) {
            self.publish();
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Plan(plan, done) => {
                let generation = self.writing.set_plan(plan);
                self.publish();
                self.metrics.policy_generation.set(generation as i64);
                // If the caller no longer waits, the policy is in force all the same.
                let _ = done.send(generation);
            }
            Input::Audit(done) => {
                let differences = self.writing.audit();
                if !differences.is_empty() {
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
        let publication = self.writing.publish();
        self.published = Instant::now();
        if self.counted.elapsed() > Duration::from_millis(500) {
            self.counted = Instant::now();
            self.metrics.count(&publication.view.snapshot);
        }
        self.shared.publish(publication);
    }
}
