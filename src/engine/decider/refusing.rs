//! Refusals: which reason an answer names, and what is remembered of it.

use std::sync::Arc;

use super::Decider;
use crate::engine::View;
use crate::engine::filter::Tally;
use crate::model::{NodeOrd, Pod, Reason, Tick};

impl Decider {
    /// Notes a refusal decided elsewhere (a degraded answer), so that the pod is rung later. Gives the
    /// reason to be named: the one that the pod was told before, if it was told one. A steer of the pod
    /// ends: if its target is not offered in the rest of this attempt, kube-scheduler is not to blame.
    pub fn refuse(
        &mut self,
        world: &View,
        pod: &Arc<Pod>,
        nodes: &[NodeOrd],
        why: Reason,
        now: Tick,
    ) -> Reason {
        if self.steers.answered_by_role(pod.uid) {
            self.holds.release(pod.uid);
        }
        let generation = world.plan_generation;
        let told = self.refusals.sticky_reason(pod.uid, |_| true, generation, now);
        let is_decided = told.is_some() && !self.refusals.is_provisional(pod.uid);
        let reason = told.unwrap_or(why);
        if self.may_wait(world, pod) {
            self.refusals.note(pod, Some(nodes.into()), reason, generation, now);
            if !is_decided {
                self.refusals.mark_provisional(pod.uid);
            }
        }
        reason
    }

    /// Notes that no offered node may take the pod. Gives the position to be named, and the reason.
    pub(super) fn note_refusal(
        &mut self,
        world: &View,
        pod: &Arc<Pod>,
        nodes: &[NodeOrd],
        tally: &Tally,
        now: Tick,
    ) -> Option<(u32, Reason)> {
        if tally.kept() > 0 {
            self.refusals.forget(pod.uid);
            return None;
        }
        let offered = tally.closest()?;
        let generation = world.plan_generation;
        let still_true = |reason: Reason| tally.count(reason) > 0;
        let told = self.refusals.sticky_reason(pod.uid, still_true, generation, now);
        let reason = told.unwrap_or_else(|| {
            self.refusals.begin_text(pod.uid, now);
            self.closest_reason(world, pod, offered)
        });
        if self.may_wait(world, pod) {
            self.refusals.note(pod, Some(nodes.into()), reason, generation, now);
        }
        let named = self.buffers.verdicts.iter().position(|it| *it == reason).unwrap_or(0);
        Some((named as u32, reason))
    }
}
