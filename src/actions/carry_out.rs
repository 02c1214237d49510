//! The way of one action from its turn to its outcome.

use std::sync::Arc;
use std::time::Duration;

use super::actor::Actor;
use super::queue::Queue;
use crate::control::PendingAction;
use crate::control::Sign;
use crate::control::{ActionOutcome, StillNeeded};
use crate::control::{Finished, Verdict, WorkItem};
use crate::k8s::writes::WriteOutcome;
use crate::model::{Action, ActionKind};

/// A server that throttles is left alone for as long as it asks, within these bounds. A pod that is requeued late is
/// better off than a server that drowns.
const BUSY_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

impl Actor {
    /// Carries out one attempt, and says how the action ended, or lets it wait for another one.
    pub(super) async fn carry_out(
        self: Arc<Self>,
        kind: &'static ActionKind,
        job: WorkItem<PendingAction>,
        probes: bool,
    ) {
        let attempt = (job.action.action.clone(), job.action.number);
        let still_needed = job.action.still_needed.clone();
        let written = self.clone().attempt(attempt, still_needed).await;
        let queue = self.queue(kind);
        let Action { target, verb, cause, must_complete, .. } = &job.action.action;
        let (namespace, name) = (&target.namespace, &target.name);
        tracing::debug!(%namespace, %name, cause, ?written, kind = kind.name, "wrote: {verb}");
        // An action that must be done waits until it can be.
        let again = if *must_complete { Verdict::Again(0) } else { Verdict::Over };
        let (outcome, verdict, sign) = match written {
            Err(ActionOutcome::Off) => (ActionOutcome::Off, again, Sign::None),
            Err(outcome) => (outcome, Verdict::Over, Sign::None),
            Ok(WriteOutcome::Written) => (ActionOutcome::Written, Verdict::Over, Sign::Good),
            Ok(WriteOutcome::Gone) => (ActionOutcome::Gone, Verdict::Over, Sign::Good),
            Ok(WriteOutcome::AlreadyBound) => {
                (ActionOutcome::AlreadyBound, Verdict::Over, Sign::Good)
            }
            Ok(WriteOutcome::Changed(to)) => {
                (ActionOutcome::Changed(to), Verdict::Over, Sign::Good)
            }
            Ok(WriteOutcome::Forbidden(why)) => {
                queue.rights.doubt();
                (ActionOutcome::Forbidden(why), again, Sign::Bad)
            }
            Ok(WriteOutcome::Busy(asked, why)) => {
                let pause = asked.clamp(BUSY_PAUSES.0, BUSY_PAUSES.1);
                self.pause(queue, pause, &why);
                // The server says for how long.
                (ActionOutcome::Failed(why), Verdict::Again(pause.as_millis() as u64), Sign::None)
            }
            Ok(WriteOutcome::Failed(why)) => {
                tracing::warn!(%namespace, %name, "cannot {verb}: {why}");
                (ActionOutcome::Failed(why), Verdict::Again(0), Sign::Bad)
            }
        };
        let now = self.clock.now();
        let ended = {
            let mut state = queue.lock();
            state.judge(kind, probes, sign, now);
            match state.queue.finish(job, verdict, now) {
                Finished::No => None,
                Finished::Over(job) => Some(state.end(job, outcome, now)),
                Finished::Replaced(job) => Some(state.end(job, ActionOutcome::Replaced, now)),
            }
        };
        queue.changed.notify_one();
        if let Some(ended) = ended {
            self.tell(queue, ended);
        }
    }

    /// One write, unless the action is not to be written any more.
    async fn attempt(
        self: Arc<Self>,
        (action, number): (Action, u64),
        still_needed: Option<StillNeeded>,
    ) -> Result<WriteOutcome, ActionOutcome> {
        let Action { kind, target, write, .. } = action;
        // All attempts of an action have one token, and no other action has it: in a container every process has the
        // same number, so a random one tells this process from the one before it.
        let token = format!("{:016x}-{}", self.life, number);
        let this = Arc::clone(&self);
        // In a task of its own, so that the action ends even if the write panics.
        let written = tokio::spawn(async move {
            // Asked right before the write: the action may have waited since it was taken.
            if this.queue(kind).lock().stopped {
                return Err(ActionOutcome::Stopped);
            }
            if this.why_not_leading(kind).is_some() {
                return Err(ActionOutcome::Off);
            }
            if still_needed.is_some_and(|still_needed| !still_needed()) {
                return Err(ActionOutcome::Overtaken);
            }
            let _timer = this.metrics.write_seconds.with_label_values(&[kind.name]).start_timer();
            Ok(this.writes.write(&target, &write, &token).await)
        });
        written.await.unwrap_or_else(|_| {
            self.metrics.panics.inc();
            Ok(WriteOutcome::Failed("writing it panicked".to_owned()))
        })
    }

    /// Nothing of this kind begins for a while. The log has it once, however many writes are under way.
    fn pause(&self, queue: &Queue, pause: Duration, why: &str) {
        let now = self.clock.now();
        if queue.lock().queue.pause(now.plus_ms(pause.as_millis() as u64), now) {
            tracing::error!("the {} is off for {pause:?}: {why}", queue.kind.name);
        }
    }
}
