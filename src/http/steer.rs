//! Steering at the edge: what the desk must know before it steers, and the way of an order to the actor.
//!
//! ```text
//!   filter ── answer ──▶ kube-scheduler
//!       └── order, behind the answer ──▶ actor ──▶ API server
//!   desk ◀──────────── outcome ───────────┘
//! ```

use std::sync::Arc;

use super::extender::Extender;
use crate::actions::{ActionKind, Actor, steer_order};
use crate::engine::{Answer, Decider, PreemptVerb, SteerContext, View};
use crate::model::{NodeOrd, Pod};

/// Who writes steers, and what is known of the kube-scheduler that they are for.
#[derive(Clone)]
pub struct SteerOptions {
    /// Who writes.
    pub actor: Arc<Actor>,
    /// Whether kube-scheduler asks us before it preempts.
    pub preempt_verb: PreemptVerb,
}

impl SteerOptions {
    /// How steering stands at this moment, for this pod.
    pub(super) fn helm(&self, pod: &Pod) -> SteerContext {
        let acts = self.actor.why_off(ActionKind::Steer).is_none();
        let is_paused = self.actor.is_paused(ActionKind::Steer, pod);
        SteerContext { acts, preempt_verb: self.preempt_verb, is_paused }
    }
}

impl Extender {
    /// Sees to what an answer says of a steer.
    pub(super) fn see_off(&self, pod: &Pod, answer: &mut Answer) {
        if let (Some(node), Some(ahead)) = (answer.unwanted.take(), &self.options.ahead) {
            ahead.unwanted(pod, &node);
        }
        if let Some(why) = answer.unsteered {
            self.metrics.steer.not_steered.with_label_values(&[why.name()]).inc();
        }
        if let (Some(order), Some(SteerOptions { actor, .. })) =
            (answer.steer.take(), self.options.steerage.clone())
        {
            actor.began(ActionKind::Steer, &order.pod);
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

/// The node that the pod is nominated to, where kube-scheduler does not want it: it looks at a nominated node
/// before all others, and asks about others now. Not where our own rules would have refused it.
pub(super) fn unwanted(
    desk: &mut Decider,
    world: &View,
    pod: &Pod,
    nodes: &[NodeOrd],
) -> Option<Box<str>> {
    let node = pod.nominated.as_ref().filter(|_| pod.nominated_ahead)?;
    let target = world.snapshot.names.ord(node)?;
    let is_unwanted = !nodes.contains(&target) && desk.would_have(world, pod, target);
    is_unwanted.then(|| node.clone())
}
