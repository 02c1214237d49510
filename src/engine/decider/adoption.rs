//! Refusals of an earlier life, found again in the conditions of pods.

use std::cmp::Reverse;

use rustc_hash::FxHashSet;

use super::Decider;
use crate::engine::View;
use crate::model::{PodUid, Reason, Tick};

/// Most schedulers that are remembered.
const MAX_SCHEDULERS: usize = 16;

/// The `schedulerName`s of pods that this process was asked about. Pods of other schedulers may have been
/// refused by another sigma with another policy.
#[derive(Debug, Default)]
pub(super) struct Schedulers {
    names: Vec<Box<str>>,
    /// The pods that were pending at the first look. A pod that came later has had no answer of an earlier life.
    at_start: Option<FxHashSet<PodUid>>,
}

impl Schedulers {
    /// A pod with this `schedulerName` is asked about.
    pub(super) fn note(&mut self, name: &str) {
        if !self.names.iter().any(|it| **it == *name) && self.names.len() < MAX_SCHEDULERS {
            self.names.push(name.into());
        }
    }

    /// Pods with this `schedulerName` are asked about here: such a pod was, or kube-scheduler's configuration
    /// has such a profile. Otherwise they may be asked about here, or somewhere else.
    fn asks(&self, view: &View, name: &str) -> bool {
        self.names.iter().any(|it| **it == *name) || view.snapshot.profiles.of(name).is_some()
    }
}

impl Decider {
    /// After a restart: pods whose `PodScheduled` message names a reason of ours wait to be requeued.
    /// Where there are more than can be remembered, those of the highest priority do.
    ///
    /// The message may be of an earlier attempt than the last. A pod that holds something or is being
    /// steered has had an answer of ours since, so it is left out. A condition may also come late, so this
    /// is called for some time after a start.
    ///
    /// A pod whose scheduler is not known to ask this sigma is requeued once and not nominated. If it is asked about
    /// here, it is a pod like any other from then on. If it is not, another sigma has answered it.
    pub fn adopt_conditions(&mut self, view: &View, now: Tick) -> usize {
        self.unschedulable.trust(|pod| self.schedulers.asks(view, &pod.scheduler), now);
        let pending = || view.snapshot.pending.iter().map(|(_, pod)| pod);
        if self.schedulers.at_start.is_none() {
            self.schedulers.at_start = Some(pending().map(|pod| pod.uid).collect());
        }
        let was_there =
            |uid| self.schedulers.at_start.as_ref().is_some_and(|at_start| at_start.contains(uid));
        let pending = pending().filter(|pod| was_there(&pod.uid));
        let waiting = pending.filter(|pod| pod.is_pending() && !pod.gated);
        let refused = waiting.filter_map(|pod| Some((pod, pod.condition?.reason?)));
        let is_answered = |uid| {
            self.unschedulable.get(uid).is_some() || self.is_held(uid) || self.steers.holds(uid)
        };
        let mut refused: Vec<_> = refused.filter(|(pod, _)| !is_answered(pod.uid)).collect();
        refused.sort_unstable_by_key(|(pod, _)| (Reverse(pod.priority), pod.uid));
        refused.truncate(self.unschedulable.room());
        for (pod, reason) in &refused {
            self.unschedulable.note(pod, None, *reason, view.plan_generation, now);
            if !self.schedulers.asks(view, &pod.scheduler) {
                self.unschedulable.doubt(pod.uid);
            }
            if *reason == Reason::Steered {
                self.unschedulable.widen(pod.uid);
            }
        }
        refused.len()
    }

    /// The pod was not requeued after all. It is tried again, also where it is requeued only once.
    pub fn not_requeued(&mut self, uid: PodUid, now: Tick) {
        self.unschedulable.not_requeued(uid, now);
    }
}
