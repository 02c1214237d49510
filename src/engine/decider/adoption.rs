//! Refusals of an earlier life, found again in the conditions of pods.

use std::cmp::Reverse;

use super::Decider;
use crate::engine::View;
use crate::model::{Reason, Tick};

/// Most schedulers that are remembered.
const MAX_SCHEDULERS: usize = 16;

/// The `schedulerName`s of pods that this process was asked about. Pods of other schedulers may have been
/// refused by another sigma with another policy.
#[derive(Debug, Default)]
pub(super) struct Schedulers(Vec<Box<str>>);

impl Schedulers {
    /// A pod with this `schedulerName` is asked about.
    pub(super) fn note(&mut self, name: &str) {
        if !self.0.iter().any(|it| **it == *name) && self.0.len() < MAX_SCHEDULERS {
            self.0.push(name.into());
        }
    }

    /// Pods with this `schedulerName` may be asked about here: kube-scheduler's configuration has such a
    /// profile, or, where that is not known, such a pod was asked about, or none was asked about yet.
    fn may_ask(&self, view: &View, name: &str) -> bool {
        let profiles = &view.snapshot.profiles;
        match profiles.by_scheduler.is_empty() {
            true => self.0.is_empty() || self.0.iter().any(|it| **it == *name),
            false => profiles.of(name).is_some(),
        }
    }
}

impl Decider {
    /// After a restart: pods whose `PodScheduled` message names a reason of ours wait for our bell.
    /// Where there are more than can be remembered, those of the highest priority do.
    ///
    /// The message may be of an earlier attempt than the last. A pod that holds something or is being
    /// steered has had an answer of ours since, so it is left out. A condition may also come late, so this
    /// is called for some time after a start. Pods that another scheduler asks another sigma about are left out.
    pub fn adopt_conditions(&mut self, view: &View, now: Tick) -> usize {
        let pending = view.snapshot.pending.iter().map(|(_, pod)| pod);
        let waiting = pending.filter(|pod| pod.is_pending() && !pod.gated);
        let waiting = waiting.filter(|pod| self.schedulers.may_ask(view, &pod.scheduler));
        let refused = waiting.filter_map(|pod| Some((pod, pod.condition?.reason?)));
        let is_answered = |uid| {
            self.unschedulable.get(uid).is_some() || self.is_held(uid) || self.steers.holds(uid)
        };
        let mut refused: Vec<_> = refused.filter(|(pod, _)| !is_answered(pod.uid)).collect();
        refused.sort_unstable_by_key(|(pod, _)| (Reverse(pod.priority), pod.uid));
        refused.truncate(self.unschedulable.room());
        for (pod, reason) in &refused {
            self.unschedulable.note(pod, None, *reason, view.plan_generation, now);
            if *reason == Reason::Steered {
                self.unschedulable.widen(pod.uid);
            }
        }
        refused.len()
    }
}
