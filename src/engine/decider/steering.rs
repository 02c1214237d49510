//! Whom the decider steers, and where to. How a steer goes on is in [`Steers`].

use std::sync::Arc;

use super::{Answer, Decider};
use crate::cluster::{Snapshot, Watch};
use crate::engine::steer::{
    ReturnedPod, SteerPlan, SteerRecord, SteerReply, Steers, TargetSeen, Unsteered, Wrote,
};
use crate::engine::{Naming, View};
use crate::model::{NodeOrd, Pod, PodUid, Reason, Tick};
use crate::policy::{Cause, Class};
use crate::rules::MAX_POINTS;

/// What must be known beside the cluster before a pod is steered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SteerContext {
    /// Nominations are written: the means has the rights, and no open breaker.
    pub acts: bool,
    /// Whether kube-scheduler asks us before it preempts.
    pub preempt_verb: PreemptVerb,
    /// Steers of the pod's equivalence class were in vain, so that it is left alone for a while.
    pub is_paused: bool,
}

/// What kube-scheduler's own configuration says of the verb by which it asks us before it preempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PreemptVerb {
    /// The configuration is not given.
    #[default]
    Unknown,
    /// It has the verb.
    Configured,
    /// It lacks the verb.
    Absent,
}

impl Decider {
    /// The steers.
    pub fn steers(&self) -> &Steers {
        &self.steers
    }

    /// Steers that have got an outcome since the last time, for whoever counts them.
    pub fn take_steer_news(&mut self) -> Vec<SteerRecord> {
        self.steers.take_news()
    }

    /// Changes an answer of [`Decider::filter`] where a node that was not offered should have the pod, or
    /// where the pod comes back from such an answer. Call right after it, with what it was called with.
    pub fn steer(
        &mut self,
        view: &View,
        pod: &Arc<Pod>,
        nodes: &[NodeOrd],
        context: SteerContext,
        now: Tick,
        answer: &mut Answer,
    ) {
        let is_busy = self.steers.called(pod.uid, now);
        self.steers.acts = context.acts;
        if self.steers.holds(pod.uid) {
            return self.on_return(view, pod, nodes, context, now, answer);
        }
        self.see_unwanted(view, pod, nodes);
        let cause = match answer.accepted.is_empty() {
            true => Cause::Elsewhere,
            false => Cause::Better,
        };
        let class = view.class(answer.class);
        let Some(bounds) = class.steering.bounds(cause).filter(|_| !nodes.is_empty()) else {
            return;
        };
        // Sent away, it would wait out its back-off.
        if is_busy && cause == Cause::Better {
            return;
        }
        let plan = match self.why_not(view, pod, cause, context, answer) {
            Some(why) => Err(why),
            None => match self.plan(view, pod, cause, nodes, class) {
                Some((_, lead))
                    if lead.is_some_and(|lead| lead < bounds.margin_permille.max(1)) =>
                {
                    return;
                }
                Some(plan) => Ok(plan),
                None if self.is_in_doubt(view, pod) => Err(Unsteered::Constrained),
                None => Err(Unsteered::Nowhere),
            },
        };
        let budget = (answer.class, cause);
        let plan = plan.and_then(|plan| {
            let affords = self.steers.afford(budget, pod.app(), bounds, now);
            if affords { Ok(plan) } else { Err(Unsteered::Budget) }
        });
        match plan {
            Ok((target, lead_permille)) => {
                let node = view.snapshot.names.name(target);
                let plan = SteerPlan { pod, cause, target, node, lead_permille, is_requeue: false };
                let order = self.steers.begin(plan, now);
                self.redirect(view, pod, target, now, answer);
                answer.steer = Some(order);
            }
            // Whoever has a node is not missing a steer, but for the want of a proof.
            Err(why) if cause == Cause::Better => {
                answer.unsteered = Some(why).filter(|it| *it == Unsteered::MayPreempt);
            }
            Err(why) => {
                answer.unsteered = Some(why);
                self.widen(pod, why);
            }
        }
    }

    /// What became of the write that a round of the pod's steer has ordered.
    pub fn steer_written(
        &mut self,
        view: &View,
        (uid, round): (PodUid, u32),
        wrote: Wrote,
        now: Tick,
    ) {
        if let Some(record) = self.steers.wrote((uid, round), wrote, now) {
            self.leave_to_requeue(view, &record, now);
        }
    }

    /// Ends steers that have waited for too long or are switched off. Gives the nominations that must
    /// be taken back: they claim their nodes.
    pub fn expire_steers(&mut self, view: &View, now: Tick) -> Vec<SteerRecord> {
        self.follow(view);
        let is_off = |pod: &Pod, cause| {
            let class = view.class(view.classify(pod).class);
            class.steering.bounds(cause).is_none()
        };
        let mut ended = self.steers.expire(is_off, now);
        for record in &ended {
            self.leave_to_requeue(view, record, now);
        }
        self.steers.prune(|uid| view.snapshot.pending(uid).is_some());
        ended.retain(|record| record.written_ms.is_some());
        ended.extend(self.steers.take_stale());
        ended.retain(|record| may_be_ours(&view.snapshot, record));
        ended
    }

    fn on_return(
        &mut self,
        view: &View,
        pod: &Arc<Pod>,
        nodes: &[NodeOrd],
        context: SteerContext,
        now: Tick,
        answer: &mut Answer,
    ) {
        let Some((target, record)) = self.steers.target(pod.uid) else { return };
        let exists =
            view.snapshot.is_live(target) && view.snapshot.names.ord(&record.node) == Some(target);
        let nominated = nomination_of(&view.snapshot, pod, &record.node);
        let class = view.class(answer.class);
        let is_off = !context.acts || class.steering.bounds(record.cause).is_none();
        let at = nodes.iter().position(|it| *it == target);
        let seen = match at.map(|at| self.buffers.verdicts[at]) {
            Some(Reason::Kept) => TargetSeen::Kept,
            Some(_) => TargetSeen::Out,
            // Where we would not have it there any more, kube-scheduler is not to blame.
            None if exists && self.best_of(view, pod, &[target]).is_some() => TargetSeen::Absent,
            None => TargetSeen::Out,
        };
        let accepts = !answer.accepted.is_empty();
        let back = ReturnedPod { pod, seen, nominated, accepts, is_off };
        match self.steers.on_return(back, now) {
            SteerReply::Accept => {
                answer.accepted.clear();
                answer.accepted.extend(at.map(|at| at as u32));
                answer.scores.clear();
                answer.naming = Naming::All;
                self.holds.place(&view.snapshot, pod, &[target], now);
            }
            SteerReply::Again(order) => {
                self.redirect(view, pod, target, now, answer);
                answer.steer = Some(order);
            }
            SteerReply::Wait => self.holds.place(&view.snapshot, pod, &[target], now),
            SteerReply::Over if !accepts => self.widen(pod, Unsteered::Spent),
            SteerReply::Over => {}
        }
    }

    /// Why the pod is not steered, whatever the nodes are.
    fn why_not(
        &self,
        view: &View,
        pod: &Pod,
        cause: Cause,
        context: SteerContext,
        answer: &Answer,
    ) -> Option<Unsteered> {
        let known = view.snapshot.pending(pod.uid);
        let is_nominated = pod.nominated.is_some()
            || known.is_some_and(|it| is_newer(it, pod) && it.nominated.is_some());
        let told = |pod: &Pod| pod.condition.is_some_and(|it| it.reason == Some(Reason::Steered));
        let is_leaving = |pod: &Pod| pod.gated || !pod.is_pending();
        // What it would be nominated for is not known to suit it.
        let is_constrained = view.snapshot.cannot_judge(pod).is_some();
        let is_behind = view.snapshot.pods_watch == Watch::Disconnected
            || answer.tally.count(Reason::UnknownNode) > 0;
        // Whom no offered node would take is refused anyway, and kube-scheduler may preempt for it anyway.
        let spares = cause == Cause::Elsewhere
            || context.preempt_verb == PreemptVerb::Configured
            || self.steers.was_asked_to_preempt()
            || pod.never_preempts;
        let obstacles = [
            (!context.acts, Unsteered::Off),
            (context.is_paused, Unsteered::Paused),
            (!self.may_wait(view, pod) || pod.gated, Unsteered::NotPending),
            (known.is_some_and(|it| is_leaving(it)), Unsteered::NotPending),
            (pod.grouped, Unsteered::Grouped),
            (is_constrained, Unsteered::Constrained),
            (is_nominated, Unsteered::Nominated),
            (is_behind, Unsteered::Behind),
            (self.steers.is_spent(pod.uid, cause), Unsteered::Spent),
            (told(pod) || known.is_some_and(|it| told(it)), Unsteered::SameText),
            (!spares, Unsteered::MayPreempt),
        ];
        obstacles.into_iter().find(|(stands, _)| *stands).map(|(_, why)| why)
    }

    /// Where the pod is to go, and by how much that leads what was offered if anything was.
    fn plan(
        &mut self,
        view: &View,
        pod: &Pod,
        cause: Cause,
        nodes: &[NodeOrd],
        class: &Class,
    ) -> Option<(NodeOrd, Option<u32>)> {
        let best = self.best_wanted(view, pod)??;
        if cause == Cause::Elsewhere {
            return Some((best.node, None));
        }
        let offered = self.best_of(view, pod, nodes)?;
        let most = class
            .summed_scorers()
            .map(|rule| u64::from(rule.weight) * u64::from(MAX_POINTS))
            .sum::<u64>()
            .max(1);
        let lead = match best.band < offered.band {
            true => 1000,
            false => u64::from(best.points.saturating_sub(offered.points)) * 1000 / most,
        };
        Some((best.node, Some(lead as u32)))
    }

    /// The answer names no node, and the target is kept for the pod.
    fn redirect(
        &mut self,
        view: &View,
        pod: &Arc<Pod>,
        target: NodeOrd,
        now: Tick,
        answer: &mut Answer,
    ) {
        answer.accepted.clear();
        answer.scores.clear();
        answer.naming = Naming::All;
        answer.refused = Some((0, Reason::Steered));
        self.unschedulable.pause(pod.uid);
        self.holds.place(&view.snapshot, pod, &[target], now);
    }

    /// The pod may go where it was not offered, so that any node ends its unschedulable answer; unless it is a pod
    /// that is never steered.
    fn widen(&mut self, pod: &Pod, why: Unsteered) {
        let in_the_way =
            matches!(why, Unsteered::Grouped | Unsteered::Constrained | Unsteered::NotPending);
        if !in_the_way {
            self.unschedulable.widen(pod.uid);
        }
    }

    /// A pod that was nominated ahead comes back with other nodes: kube-scheduler did not want that one.
    fn see_unwanted(&mut self, view: &View, pod: &Pod, nodes: &[NodeOrd]) {
        let target = pod.nominated.as_deref().filter(|_| pod.nominated_ahead);
        let Some(target) = target.and_then(|node| view.snapshot.names.ord(node)) else { return };
        let is_out = !view.snapshot.is_live(target) || nodes.contains(&target);
        if !is_out && self.best_of(view, pod, &[target]).is_some() {
            self.steers.note_unwanted(pod.uid, target);
        }
    }

    /// A steer is over and nobody may be waiting for its pod: it is requeued where it passes.
    fn leave_to_requeue(&mut self, view: &View, record: &SteerRecord, now: Tick) {
        let pod = &record.pod;
        self.holds.release(pod.uid);
        if self.may_wait(view, pod) {
            let reason = self.unschedulable.reason(pod.uid).unwrap_or(Reason::Steered);
            self.unschedulable.note(pod, None, reason, view.plan_generation, now);
            if record.cause == Cause::Elsewhere {
                self.unschedulable.widen(pod.uid);
            }
        }
    }
}

/// A watch knows the pod as it is later than in the request.
fn is_newer(known: &Pod, asked: &Pod) -> bool {
    known.resource_version > asked.resource_version
}

/// The pod's nomination: by the request, or where a watch knows of another one than `ours` since.
fn nomination_of<'a>(snapshot: &'a Snapshot, pod: &'a Pod, ours: &str) -> Option<&'a str> {
    let known = snapshot.pending(pod.uid).filter(|it| is_newer(it, pod));
    let foreign = known.and_then(|it| it.nominated.as_deref()).filter(|it| *it != ours);
    foreign.or(pod.nominated.as_deref())
}

/// The nomination that a steer wrote may still be there and be ours: no watch tells of another one, and
/// nobody of lower priority is on the way out of the node, so that preemption has not chosen the same.
fn may_be_ours(snapshot: &Snapshot, record: &SteerRecord) -> bool {
    let known = snapshot.pending(record.pod.uid);
    let is_foreign =
        known.and_then(|it| it.nominated.as_deref()).is_some_and(|it| *it != *record.node);
    !is_foreign && !snapshot.makes_room(&record.pod, &record.node)
}
