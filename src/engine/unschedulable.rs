//! Pods that were refused: the text that each was given, and when to requeue it.
//!
//! kube-scheduler may see an event before we do, ask again, get a stale unschedulable answer and then sleep five
//! minutes. So an unschedulable answer is remembered with the nodes that it was about, and whenever one of those
//! nodes would pass now, the pod is requeued.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::model::{NodeOrd, Pod, PodUid, Reason, Tick};

/// Bounds on what is remembered and how often a pod is requeued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnschedulableLimits {
    /// Most pods remembered; beyond it, the one that was not heard of for longest is forgotten.
    pub max_pods: usize,
    /// Wait between a pod's first and second requeue; doubles up to `max_gap_ms`.
    pub min_gap_ms: u64,
    /// Longest wait between two requeues of a pod.
    pub max_gap_ms: u64,
    /// A text may change after this long, when its reason no longer holds for any node.
    pub text_dwell_ms: u64,
}

impl Default for UnschedulableLimits {
    fn default() -> Self {
        Self { max_pods: 20_000, min_gap_ms: 1_000, max_gap_ms: 30_000, text_dwell_ms: 300_000 }
    }
}

/// What is known of a refused pod.
#[derive(Clone, Debug)]
pub(super) struct UnschedulablePod {
    pub(super) pod: Arc<Pod>,
    /// The nodes that were refused to it: each had passed in-tree. `None`: not known, so all.
    pub(super) nodes: Option<Box<[NodeOrd]>>,
    /// It could be sent to a node that was not offered.
    pub(super) elsewhere: bool,
    pub(super) reason: Reason,
    /// The reason stands in place of a decision.
    is_provisional: bool,
    plan_generation: u64,
    text_since: Tick,
    last_call: Tick,
    requeues: u32,
    next_requeue: Tick,
    /// The pod may be one that another sigma is asked about.
    pub(super) is_doubtful: bool,
    /// The pod is on its way: it is not requeued until it is refused again.
    paused: bool,
    /// The round of looking in which it was looked at last.
    looked: u64,
}

/// All refused pods of a replica.
#[derive(Debug, Default)]
pub struct UnschedulablePods {
    limits: UnschedulableLimits,
    by_uid: FxHashMap<PodUid, UnschedulablePod>,
    /// Every pod that is due is looked at once in a round, so that none waits for ever behind pods
    /// of higher priority that still pass nowhere.
    round: u64,
}

impl UnschedulablePods {
    /// Nobody refused yet, with these limits.
    pub fn new(limits: UnschedulableLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Number of refused pods that wait.
    pub fn len(&self) -> usize {
        self.by_uid.values().filter(|it| !it.paused).count()
    }

    /// True when nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The reason that a pod was told last.
    pub fn reason(&self, uid: PodUid) -> Option<Reason> {
        self.by_uid.get(&uid).map(|refused| refused.reason)
    }

    /// The reason that the pod was told and that its next unschedulable answer names again; `None` when another one
    /// must be found.
    ///
    /// A reason stays as long as the policy does: the offered nodes change from call to call, and a text
    /// that changes with them wakes the pod at once. A reason that was not true of any offered node for
    /// long gives way, and a provisional one gives way to the first decision.
    pub(super) fn sticky_reason(
        &self,
        uid: PodUid,
        still_true: impl Fn(Reason) -> bool,
        plan_generation: u64,
        now: Tick,
    ) -> Option<Reason> {
        let before = self.by_uid.get(&uid)?;
        let fresh = now.since_ms(before.text_since) < self.limits.text_dwell_ms;
        let keeps = before.plan_generation == plan_generation
            && (still_true(before.reason) || fresh && !before.is_provisional);
        keeps.then_some(before.reason)
    }

    /// The pod's reason was found anew, so it stays for another while, also where it is the same.
    pub(super) fn begin_text(&mut self, uid: PodUid, now: Tick) {
        if let Some(refused) = self.by_uid.get_mut(&uid) {
            refused.text_since = now;
        }
    }

    /// The pod's reason stands in place of a decision.
    pub(super) fn mark_provisional(&mut self, uid: PodUid) {
        if let Some(refused) = self.by_uid.get_mut(&uid) {
            refused.is_provisional = true;
        }
    }

    /// True where the pod's reason stands in place of a decision.
    pub(super) fn is_provisional(&self, uid: PodUid) -> bool {
        self.by_uid.get(&uid).is_some_and(|refused| refused.is_provisional)
    }

    /// Remembers an unschedulable answer.
    pub(super) fn note(
        &mut self,
        pod: &Arc<Pod>,
        nodes: Option<Box<[NodeOrd]>>,
        reason: Reason,
        plan_generation: u64,
        now: Tick,
    ) {
        if self.room() == 0 && !self.by_uid.contains_key(&pod.uid) {
            let oldest = self.by_uid.iter().min_by_key(|(uid, it)| (it.last_call, **uid));
            if let Some(uid) = oldest.map(|(uid, _)| *uid) {
                self.by_uid.remove(&uid);
            }
        }
        // A name that no watch has told of yet becomes some ordinal: any node may be the one.
        let nodes = nodes.filter(|nodes| !nodes.contains(&NodeOrd::UNKNOWN));
        let before = self.by_uid.get(&pod.uid);
        let same_text =
            before.filter(|it| it.reason == reason && it.plan_generation == plan_generation);
        let refused = UnschedulablePod {
            pod: pod.clone(),
            nodes,
            elsewhere: false,
            reason,
            is_provisional: reason.is_provisional(),
            plan_generation,
            text_since: same_text.map_or(now, |it| it.text_since),
            last_call: now,
            requeues: before.map_or(0, |it| it.requeues),
            next_requeue: before.filter(|it| !it.is_doubtful).map_or(now, |it| it.next_requeue),
            is_doubtful: false,
            paused: false,
            looked: before.map_or(0, |it| it.looked),
        };
        self.by_uid.insert(pod.uid, refused);
    }

    /// The API server's store was restored: what a watch tells of the pod is newer than what its request
    /// said, whatever their versions.
    pub(super) fn void_version(&mut self, uid: PodUid) {
        if let Some(refused) = self.by_uid.get_mut(&uid) {
            Arc::make_mut(&mut refused.pod).resource_version = 0;
        }
    }

    /// A node that a steer would lead to ends this unschedulable answer too.
    pub(super) fn widen(&mut self, uid: PodUid) {
        if let Some(refused) = self.by_uid.get_mut(&uid) {
            refused.elsewhere = true;
        }
    }

    /// The same for all of them whose nodes are known: any node ends the others anyway.
    pub(super) fn widen_all(&mut self) {
        let known = self.by_uid.values_mut().filter(|refused| refused.nodes.is_some());
        known.for_each(|refused| refused.elsewhere = true);
    }

    /// The pod may be one that another sigma is asked about: it is requeued once.
    pub(super) fn doubt(&mut self, uid: PodUid) {
        if let Some(refused) = self.by_uid.get_mut(&uid) {
            refused.is_doubtful = true;
        }
    }

    /// Pods whose scheduler is known to ask this sigma by now are like all others.
    pub(super) fn trust(&mut self, asks: impl Fn(&Pod) -> bool, now: Tick) {
        let doubtful = self.by_uid.values_mut().filter(|it| it.is_doubtful);
        for refused in doubtful.filter(|it| asks(&it.pod)) {
            (refused.is_doubtful, refused.next_requeue) = (false, now);
        }
    }

    /// The pod was not requeued after all.
    pub(super) fn not_requeued(&mut self, uid: PodUid, now: Tick) {
        if let Some(refused) = self.by_uid.get_mut(&uid).filter(|it| it.is_doubtful) {
            refused.next_requeue = now.plus_ms(self.limits.max_gap_ms);
        }
    }

    /// Forgets a pod that is accepted, placed or gone.
    pub(super) fn forget(&mut self, uid: PodUid) {
        self.by_uid.remove(&uid);
    }

    /// The pod is sent to a node: it is not requeued meanwhile. If it was requeued before, the gap to its next requeue
    /// is remembered, else there is nothing to remember.
    pub(super) fn pause(&mut self, uid: PodUid) {
        match self.by_uid.get_mut(&uid) {
            Some(refused) if refused.requeues > 0 => refused.paused = true,
            _ => self.forget(uid),
        }
    }

    /// How many more pods can be remembered without forgetting one.
    pub(super) fn room(&self) -> usize {
        self.limits.max_pods.saturating_sub(self.by_uid.len())
    }

    /// Pods that may be requeued now and were not looked at in this round, highest priority first, then
    /// by UID. Starts another round when all were.
    pub(super) fn due(&mut self, now: Tick) -> Vec<PodUid> {
        let due = self.by_uid.values().filter(|it| it.next_requeue <= now && !it.paused);
        let mut due: Vec<&UnschedulablePod> = due.collect();
        if due.iter().all(|it| it.looked >= self.round) {
            self.round += 1;
        }
        due.retain(|it| it.looked < self.round);
        due.sort_unstable_by_key(|it| (std::cmp::Reverse(it.pod.priority), it.pod.uid));
        due.into_iter().map(|it| it.pod.uid).collect()
    }

    /// A pod is looked at in this round.
    pub(super) fn looked(&mut self, uid: PodUid) {
        if let Some(refused) = self.by_uid.get_mut(&uid) {
            refused.looked = self.round;
        }
    }

    pub(super) fn get(&self, uid: PodUid) -> Option<&UnschedulablePod> {
        self.by_uid.get(&uid)
    }

    /// A pod is about to be requeued: the next requeue must wait.
    pub(super) fn requeued(&mut self, uid: PodUid, now: Tick) {
        if let Some(refused) = self.by_uid.get_mut(&uid) {
            let gap = self.limits.min_gap_ms.saturating_mul(1 << refused.requeues.min(16));
            refused.requeues = refused.requeues.saturating_add(1);
            refused.next_requeue = match refused.is_doubtful {
                true => Tick(u64::MAX),
                false => now.plus_ms(gap.min(self.limits.max_gap_ms)),
            };
        }
    }
}

#[cfg(test)]
mod tests;
