//! Refusals: which reason an answer names, and what is remembered of it.

use std::sync::Arc;

use super::Decider;
use crate::engine::View;
use crate::engine::filter::Tally;
use crate::model::{NodeOrd, Pod, Reason, Tick};

impl Decider {
    /// Notes an unschedulable answer decided elsewhere (a degraded answer), so that the pod is requeued later. Gives the
    /// reason to be named: the one that the pod was told before, if it was told one. A steer of the pod
    /// ends: if its target is not offered in the rest of this attempt, kube-scheduler is not to blame.
    pub fn refuse(
        &mut self,
        view: &View,
        pod: &Arc<Pod>,
        nodes: &[NodeOrd],
        why: Reason,
        now: Tick,
    ) -> Reason {
        if self.steers.answered_by_role(pod.uid) {
            self.holds.release(pod.uid);
        }
        let generation = view.plan_generation;
        let told = self.unschedulable.sticky_reason(pod.uid, |_| true, generation, now);
        let is_decided = told.is_some() && !self.unschedulable.is_provisional(pod.uid);
        let reason = told.unwrap_or(why);
        if self.may_wait(view, pod) {
            self.unschedulable.note(pod, Some(nodes.into()), reason, generation, now);
            if !is_decided {
                self.unschedulable.mark_provisional(pod.uid);
            }
        }
        reason
    }

    /// Notes that no offered node may take the pod. Gives the position to be named, and the reason.
    pub(super) fn note_unschedulable(
        &mut self,
        view: &View,
        pod: &Arc<Pod>,
        nodes: &[NodeOrd],
        tally: &Tally,
        now: Tick,
    ) -> Option<(u32, Reason)> {
        if tally.kept() > 0 {
            self.unschedulable.forget(pod.uid);
            return None;
        }
        let offered = tally.closest()?;
        let generation = view.plan_generation;
        let still_true = |reason: Reason| tally.count(reason) > 0;
        let told = self.unschedulable.sticky_reason(pod.uid, still_true, generation, now);
        let reason = told.unwrap_or_else(|| {
            self.unschedulable.begin_text(pod.uid, now);
            self.closest_reason(view, pod, offered)
        });
        if self.may_wait(view, pod) {
            self.unschedulable.note(pod, Some(nodes.into()), reason, generation, now);
        }
        let named = self.buffers.verdicts.iter().position(|it| *it == reason).unwrap_or(0);
        Some((named as u32, reason))
    }
}
