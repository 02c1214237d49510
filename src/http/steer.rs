//! Steering at the edge: what the decider must know before it steers, and the way of an action to the actor.
//!
//! ```text
//!   filter ── answer ──▶ kube-scheduler
//!       └── action, behind the answer ──▶ actor ──▶ API server
//!   decider ◀──────────── outcome ───────────┘
//! ```

use std::sync::Arc;

use super::extender::Extender;
use crate::actions::{Actor, steer_action};
use crate::engine::{Answer, Decider, PreemptVerb, SteerContext, View};
use crate::model::{NodeOrd, Pod, STEER};

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
    pub(super) fn context(&self, pod: &Pod) -> SteerContext {
        let acts = self.actor.why_off(&STEER).is_none();
        let is_paused = self.actor.is_paused(&STEER, pod);
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
            self.metrics.not_steered.with_label_values(&[why.name()]).inc();
        }
        if let (Some(action), Some(SteerOptions { actor, .. })) =
            (answer.steer.take(), self.options.steer_options.clone())
        {
            actor.began(&STEER, &action.pod);
            let action = steer_action(&self.shared, action, |_| {});
            // A task that begins when this one waits, which is when the answer is on its way: a
            // nomination that is written earlier is cleared by kube-scheduler.
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                actor.submit(action);
            });
        }
    }
}

/// The node that the pod is nominated to, where kube-scheduler does not want it: it looks at a nominated node
/// before all others, and asks about others now. Not where our own rules would have refused it.
pub(super) fn unwanted(
    decider: &mut Decider,
    view: &View,
    pod: &Pod,
    nodes: &[NodeOrd],
) -> Option<Box<str>> {
    let node = pod.nominated.as_ref().filter(|_| pod.nominated_ahead)?;
    let target = view.snapshot.names.ord(node)?;
    let is_unwanted = !nodes.contains(&target) && decider.would_have(view, pod, target);
    is_unwanted.then(|| node.clone())
}
