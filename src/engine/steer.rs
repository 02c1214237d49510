//! The steer: sending a pod to a node that was not offered (DESIGN §4.2). Pure; its owner is the decider.
//!
//! ```text
//!   filter: none offered will do ──▶ refuse, hold the target, order a nomination ──▶ Open
//!                                                                                     │
//!     target offered ──────────▶ accept it alone: honoured                  written ◀─┤─▶ failed
//!     our nomination, whole window ─▶ not honoured │                           │      │    over
//!     another's nomination ─────────▶ overruled    ├─▶ answer normally         ▼      │
//!     written, three rounds over ───▶ lost         │     whole window: refuse and order again
//!     not written yet, some will do ▶ late         │
//!     nothing for a while ──────────▶ expired: the requeue requeues, the nomination is taken back
//! ```
//!
//! A pod never sleeps for our sake. After the first unschedulable answer kube-scheduler's own status patch wakes it,
//! because the text of its condition changes; after a later one nothing would but our patch, so that is
//! an order which lasts. Whatever ends a steer outside of a call leaves the pod to the requeue.

mod record;

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::model::{AppKey, ClassOrd, NodeOrd, Pod, PodUid, Rate, Tick, TokenBucket};
use crate::policy::{Bounds, Cause};

pub use record::{SteerAction, SteerOutcome, SteerRecord, Unsteered, Wrote};

/// Refusals that one steer may cost its pod.
const MAX_ROUNDS: u32 = 3;
/// From the last unschedulable answer until a pod is given up. kube-scheduler 1.30 lets a pod wait out its back-off,
/// at most 10 s.
const PATIENCE_MS: u64 = 15_000;
/// For so long it is awaited where an accepted pod is bound; no more than a hold lives.
const BOUND_WITHIN_MS: u64 = 30_000;
/// Pods under way at the same time, of all classes together; the actor queues no more orders.
const MAX_OPEN: usize = 256;
/// Pods whose causes are remembered as spent.
const MAX_SPENT: usize = 20_000;
/// Steers that ended, kept for whoever asks why.
const MAX_ENDED: usize = 256;
/// A pod whose nomination could not be written is not nominated again at a requeue for so long, so that one
/// pod alone does not open the breaker of all.
const REST_MS: u64 = 10_000;
/// Ends that nobody has counted yet.
const MAX_NEWS: usize = 4096;
/// A call about another pod so shortly before: kube-scheduler's queue is not empty, and a pod that is
/// sent away waits out its back-off.
const BUSY_MS: u64 = 20;

#[derive(Clone, Debug)]
struct Steer {
    record: SteerRecord,
    target: NodeOrd,
    /// The nomination of the last round is there.
    written: bool,
    deadline: Tick,
}

impl Steer {
    fn order(&self) -> SteerAction {
        let SteerRecord { pod, node, cause, rounds, .. } = &self.record;
        SteerAction { pod: pod.clone(), node: node.clone(), cause: *cause, round: *rounds }
    }

    fn is_accepted(&self) -> bool {
        self.record.outcome.is_some()
    }
}

/// What a new steer is about.
#[derive(Clone, Debug)]
pub(super) struct SteerPlan<'a> {
    pub(super) pod: &'a Arc<Pod>,
    pub(super) cause: Cause,
    pub(super) target: NodeOrd,
    pub(super) node: &'a str,
    pub(super) lead_permille: Option<u32>,
    /// It begins at a requeue, without an answer.
    pub(super) is_requeue: bool,
}

/// What an offer says of a steered pod's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TargetSeen {
    /// It is offered, and our rules keep it.
    Kept,
    /// Our rules refuse it, offered or not; or it is no more.
    Out,
    /// It is not offered, and our rules would keep it.
    Absent,
}

/// A steered pod is asked about again.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReturnedPod<'a> {
    pub(super) pod: &'a Arc<Pod>,
    pub(super) seen: TargetSeen,
    /// The nomination that it has: by the request, or by a watch that knows it newer.
    pub(super) nominated: Option<&'a str>,
    /// Some offered node would do.
    pub(super) accepts: bool,
    pub(super) is_off: bool,
}

/// What a call about a steered pod is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SteerReply {
    /// The target alone.
    Accept,
    /// No node once more.
    Again(SteerAction),
    /// What it would be answered anyway, which is an unschedulable answer; the steer goes on.
    Wait,
    /// What it would be answered anyway; the steer is over.
    Over,
}

/// What a pod has been steered for.
#[derive(Clone, Debug, Default)]
struct Spent {
    causes: u8,
    /// Targets that kube-scheduler looked at and did not offer: it will not want them again.
    unwanted: Vec<NodeOrd>,
    /// A write failed: the pod is not nominated at a requeue before this.
    not_before: Tick,
}

/// All steers of a replica.
#[derive(Debug, Default)]
pub struct Steers {
    open: FxHashMap<PodUid, Steer>,
    spent: FxHashMap<PodUid, Spent>,
    buckets: FxHashMap<(ClassOrd, Cause), (Bounds, TokenBucket)>,
    /// Newest first.
    ended: VecDeque<SteerRecord>,
    news: Vec<SteerRecord>,
    /// Ended while the pod has our nomination, which is to be taken back.
    stale: Vec<SteerRecord>,
    /// Who was placed (true) or is gone, since the clock was looked at.
    confirmed: Vec<(PodUid, bool)>,
    last_call: Option<(PodUid, Tick)>,
    /// kube-scheduler has asked us to preempt, so it is configured to.
    asked_to_preempt: bool,
    /// Nominations are written, as far as is known.
    pub(super) acts: bool,
}

impl Steers {
    /// The pod's steer under way, or else its last one that is remembered.
    pub fn record(&self, uid: PodUid) -> Option<&SteerRecord> {
        let open = self.open.get(&uid).map(|steer| &steer.record);
        open.or_else(|| self.ended.iter().find(|it| it.pod.uid == uid))
    }

    /// Steers under way: a refused pod has not come back to its target yet.
    pub fn num_open(&self) -> usize {
        self.open.values().filter(|steer| !steer.is_accepted()).count()
    }

    /// The pod was refused for the sake of a node that was not offered: nobody may be evicted for it.
    pub(super) fn is_open(&self, uid: PodUid) -> bool {
        self.open.get(&uid).is_some_and(|steer| !steer.is_accepted())
    }

    /// The pod has a steer, under way or just accepted.
    pub(super) fn holds(&self, uid: PodUid) -> bool {
        self.open.contains_key(&uid)
    }

    /// A publication confirmed where a pod is, or that it is gone.
    pub(super) fn confirm(&mut self, uid: PodUid, placed: bool) {
        self.spent.remove(&uid);
        if self.open.contains_key(&uid) {
            self.confirmed.push((uid, placed));
        }
    }

    /// kube-scheduler asks us before it preempts.
    pub(super) fn asked_to_preempt(&mut self) {
        self.asked_to_preempt = true;
    }

    /// Steers that have got an outcome since the last time, for whoever counts them.
    pub fn take_news(&mut self) -> Vec<SteerRecord> {
        std::mem::take(&mut self.news)
    }

    /// The pod's steer under way or just accepted: its target, and what it is.
    pub(super) fn target(&self, uid: PodUid) -> Option<(NodeOrd, &SteerRecord)> {
        self.open.get(&uid).map(|steer| (steer.target, &steer.record))
    }

    /// The pod has been steered for this cause.
    pub(super) fn is_spent(&self, uid: PodUid, cause: Cause) -> bool {
        self.spent.get(&uid).is_some_and(|it| it.causes & 1 << cause as u8 != 0)
    }

    /// Nodes that kube-scheduler has refused to the pod when it was nominated to them.
    pub(super) fn unwanted(&self, uid: PodUid) -> &[NodeOrd] {
        self.spent.get(&uid).map_or(&[], |it| &it.unwanted)
    }

    /// kube-scheduler looked at a node that the pod was nominated to, and did not offer it.
    pub(super) fn note_unwanted(&mut self, uid: PodUid, node: NodeOrd) {
        let unwanted = &mut self.spent.entry(uid).or_default().unwanted;
        if !unwanted.contains(&node) {
            unwanted.push(node);
        }
    }

    /// No write about the pod has failed a moment ago.
    pub(super) fn is_rested(&self, uid: PodUid, now: Tick) -> bool {
        self.spent.get(&uid).is_none_or(|it| it.not_before <= now)
    }

    /// An ordinal is another node's from now on.
    pub(super) fn recycled(&mut self, node: NodeOrd) {
        self.spent.values_mut().for_each(|it| it.unwanted.retain(|other| *other != node));
    }

    /// kube-scheduler is known to ask us before it preempts.
    pub fn was_asked_to_preempt(&self) -> bool {
        self.asked_to_preempt
    }

    /// Another policy has other classes.
    pub(super) fn forget_budgets(&mut self) {
        self.buckets.clear();
    }

    /// Notes a call; true when kube-scheduler has more to do than this pod.
    pub(super) fn called(&mut self, uid: PodUid, now: Tick) -> bool {
        self.catch_up(now);
        let before = self.last_call.replace((uid, now));
        before.is_some_and(|(other, at)| other != uid && now.since_ms(at) < BUSY_MS)
    }

    /// Takes a steer from the budgets of a class; false when there is none.
    pub(super) fn afford(
        &mut self,
        (class, cause): (ClassOrd, Cause),
        app: Option<AppKey>,
        bounds: Bounds,
        now: Tick,
    ) -> bool {
        let under_way = || self.open.values().filter(|steer| !steer.is_accepted());
        let of_app = |steer: &&Steer| app.is_some() && steer.record.pod.app() == app;
        let num_of_app = under_way().filter(of_app).count();
        let is_full = self.open.len() >= MAX_OPEN || self.spent.len() >= MAX_SPENT;
        if is_full || num_of_app >= bounds.per_app as usize {
            return false;
        }
        let tokens = u64::from(bounds.per_second);
        let pace = Rate { tokens, period_ms: 1000, burst: tokens.max(1) };
        let fresh = || (bounds, TokenBucket::new(pace, now));
        let bucket = self.buckets.entry((class, cause)).or_insert_with(fresh);
        if bucket.0 != bounds {
            *bucket = fresh();
        }
        bucket.1.take(now)
    }

    pub(super) fn begin(&mut self, plan: SteerPlan<'_>, now: Tick) -> SteerAction {
        let SteerPlan { pod, cause, target, node, lead_permille, is_requeue } = plan;
        let record = SteerRecord {
            pod: pod.clone(),
            cause,
            node: node.into(),
            lead_permille,
            is_requeue,
            rounds: 1,
            began: now,
            written_ms: None,
            accepted_ms: None,
            bound_ms: None,
            outcome: None,
        };
        let deadline = now.plus_ms(PATIENCE_MS);
        let steer = Steer { record, target, written: false, deadline };
        let order = steer.order();
        self.spent.entry(pod.uid).or_default().causes |= 1 << cause as u8;
        self.open.insert(pod.uid, steer);
        order
    }

    /// A steered pod is asked about again. Call only for one.
    pub(super) fn on_return(&mut self, back: ReturnedPod<'_>, now: Tick) -> SteerReply {
        let uid = back.pod.uid;
        let Some(steer) = self.open.get_mut(&uid) else { return SteerReply::Over };
        if steer.is_accepted() {
            // It was not bound after all, and has had its turn.
            self.close(uid);
            return SteerReply::Over;
        }
        let is_ours = back.nominated.map(|it| *it == *steer.record.node);
        let wanted = steer.record.cause == Cause::Better || !back.accepts;
        let outcome = match (back.seen, is_ours) {
            // Somebody else has chosen another node, so the steer has nothing more to say.
            (_, Some(false)) => SteerOutcome::Overruled,
            (TargetSeen::Kept, _) => {
                steer.record.accepted_ms = Some(now.since_ms(steer.record.began));
                steer.record.outcome = Some(SteerOutcome::Honoured);
                steer.deadline = now.plus_ms(BOUND_WITHIN_MS);
                let record = steer.record.clone();
                self.tell(record);
                return SteerReply::Accept;
            }
            (TargetSeen::Out, _) => SteerOutcome::Refused,
            (TargetSeen::Absent, Some(true)) => SteerOutcome::NotHonoured,
            (TargetSeen::Absent, None) if back.is_off => SteerOutcome::Off,
            (TargetSeen::Absent, None) if !steer.written && !back.accepts => {
                return SteerReply::Wait;
            }
            (TargetSeen::Absent, None) if !steer.written => SteerOutcome::Late,
            (TargetSeen::Absent, None) if wanted && steer.record.rounds < MAX_ROUNDS => {
                steer.record.rounds += 1;
                steer.record.pod = back.pod.clone();
                steer.written = false;
                steer.deadline = now.plus_ms(PATIENCE_MS);
                return SteerReply::Again(steer.order());
            }
            (TargetSeen::Absent, None) => SteerOutcome::Lost,
        };
        let ended = self.end(uid, outcome);
        self.stale.extend(ended.filter(|_| is_ours == Some(true)));
        SteerReply::Over
    }

    /// The pod was answered without the rules. True when that ends a steer that was under way.
    pub(super) fn answered_by_role(&mut self, uid: PodUid) -> bool {
        let was_open = self.is_open(uid);
        if was_open {
            self.end(uid, SteerOutcome::Lost);
        } else {
            self.close(uid);
        }
        was_open
    }

    /// What became of a write. Gives the steer if it is over and its pod may still be waiting.
    pub(super) fn wrote(
        &mut self,
        (uid, round): (PodUid, u32),
        wrote: Wrote,
        now: Tick,
    ) -> Option<SteerRecord> {
        self.catch_up(now);
        let steer = self.open.get_mut(&uid)?;
        if wrote == Wrote::Done {
            let since = now.since_ms(steer.record.began);
            steer.record.written_ms.get_or_insert(since);
            steer.written |= steer.record.rounds == round;
            return None;
        }
        // A later round has an order of its own; and whoever is accepted is on the way.
        if steer.record.rounds != round || steer.is_accepted() {
            return None;
        }
        let outcome = match wrote {
            Wrote::Changed => SteerOutcome::Overruled,
            Wrote::Gone => SteerOutcome::Gone,
            Wrote::Bound => SteerOutcome::Lost,
            Wrote::Failed | Wrote::Done => SteerOutcome::Failed,
        };
        let record = self.end(uid, outcome)?;
        if wrote == Wrote::Failed {
            self.spent.entry(uid).or_default().not_before = now.plus_ms(REST_MS);
        }
        matches!(wrote, Wrote::Failed | Wrote::Changed).then_some(record)
    }

    /// Steers that ended while the pod had our nomination, since the last time.
    pub(super) fn take_stale(&mut self) -> Vec<SteerRecord> {
        std::mem::take(&mut self.stale)
    }

    /// Ends what has waited for too long, or is switched off; gives what ended under way.
    pub(super) fn expire(
        &mut self,
        is_off: impl Fn(&Pod, Cause) -> bool,
        now: Tick,
    ) -> Vec<SteerRecord> {
        self.catch_up(now);
        let outcome = |steer: &Steer| {
            if !steer.is_accepted() && is_off(&steer.record.pod, steer.record.cause) {
                return Some(SteerOutcome::Off);
            }
            (steer.deadline <= now).then_some(SteerOutcome::Expired)
        };
        let over = self.open.iter().filter_map(|(uid, steer)| Some((*uid, outcome(steer)?)));
        let mut over: Vec<(PodUid, SteerOutcome)> = over.collect();
        over.sort_unstable_by_key(|(uid, _)| *uid);
        let ended = over.into_iter().filter_map(|(uid, outcome)| {
            if self.is_open(uid) {
                return self.end(uid, outcome);
            }
            self.close(uid);
            None
        });
        ended.collect()
    }

    /// Forgets whom nobody knows any more, where there are too many.
    pub(super) fn prune(&mut self, is_known: impl Fn(PodUid) -> bool) {
        if self.spent.len() >= MAX_SPENT {
            let open = &self.open;
            self.spent.retain(|uid, _| open.contains_key(uid) || is_known(*uid));
        }
    }

    /// What publications have confirmed.
    fn catch_up(&mut self, now: Tick) {
        for (uid, placed) in std::mem::take(&mut self.confirmed) {
            if self.is_open(uid) {
                let outcome = if placed { SteerOutcome::Lost } else { SteerOutcome::Gone };
                self.end(uid, outcome);
            } else if let Some(steer) = self.open.get_mut(&uid) {
                let since = now.since_ms(steer.record.began);
                steer.record.bound_ms = placed.then_some(since);
                self.close(uid);
            }
        }
    }

    /// A steer under way gets an outcome, and is over.
    fn end(&mut self, uid: PodUid, outcome: SteerOutcome) -> Option<SteerRecord> {
        let steer = self.open.get_mut(&uid)?;
        steer.record.outcome = Some(outcome);
        let record = steer.record.clone();
        let target = steer.target;
        if outcome == SteerOutcome::NotHonoured {
            self.note_unwanted(uid, target);
        }
        self.tell(record.clone());
        self.close(uid);
        Some(record)
    }

    fn close(&mut self, uid: PodUid) {
        if let Some(steer) = self.open.remove(&uid) {
            self.ended.push_front(steer.record);
            self.ended.truncate(MAX_ENDED);
        }
    }

    fn tell(&mut self, record: SteerRecord) {
        if self.news.len() < MAX_NEWS {
            self.news.push(record);
        }
    }
}

#[cfg(test)]
mod tests;
