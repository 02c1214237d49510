//! Steering at the edge: what the desk must know before it steers, and the way of an order to the actor.
//!
//! ```text
//!   filter ── answer ──▶ kube-scheduler
//!       └── order, behind the answer ──▶ actor ──▶ API server
//!   desk ◀──────────── outcome ───────────┘
//! ```

use std::sync::Arc;

use super::extender::Extender;
use crate::actor::{Actor, Means, steer_order};
use crate::engine::{Answer, Helm, PreemptVerb};

/// Who writes steers, and what is known of the kube-scheduler that they are for.
#[derive(Clone)]
pub struct Steerage {
    /// Who writes.
    pub actor: Arc<Actor>,
    /// Whether kube-scheduler asks us before it preempts.
    pub preempt_verb: PreemptVerb,
}

impl Steerage {
    /// How steering stands at this moment.
    pub(super) fn helm(&self) -> Helm {
        let acts = self.actor.why_off(Means::Steer).is_none();
        Helm { acts, preempt_verb: self.preempt_verb }
    }
}

impl Extender {
    /// Sees to what an answer says of a steer.
    pub(super) fn see_off(&self, answer: &mut Answer) {
        if let Some(why) = answer.unsteered {
            self.metrics.steer.not_steered.with_label_values(&[why.name()]).inc();
        }
        if let (Some(order), Some(Steerage { actor, .. })) =
            (answer.steer.take(), self.options.steerage.clone())
        {
            let order = steer_order(&self.board, order, |_| {});
            // A task that begins when this one waits, which is when the answer is on its way: a
            // nomination that is written earlier is cleared by kube-scheduler.
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                actor.submit(order);
            });
        }
    }
}
