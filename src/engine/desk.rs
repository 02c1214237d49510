//! The desk: what a replica remembers between calls, and the decisions that use it.

mod adoption;
mod refusing;
mod requeue;
mod steering;
mod vacated;

use std::sync::Arc;

use super::anywhere::Anywhere;
use super::closest::Closest;
use super::filter::{Tally, judge};
use super::gone::Gone;
use super::in_tree::Keys;
use super::preempt::{Candidate, acceptable};
use super::rank::Ranker;
use super::refusals::{RefusalLimits, Refusals};
use super::scans::{Rows, Scans};
use super::shortlist::{Naming, Shortlister, Siblings};
use super::steer::{SteerOrder, Steers, Unsteered};
use super::{Case, World};
use crate::cluster::{HoldLimits, Holds, MAX_SILENCE_MS, Settled, Watch};
use crate::model::{ClassOrd, NodeOrd, Pod, PodUid, Reason, Tick};

pub use requeue::{Nominates, Ring};
pub use steering::{Helm, PreemptVerb};

/// How long nothing ends after a stop of the process: what waited meanwhile is read within it.
const WAKING_MS: u64 = 1000;

/// Holds, refusals and buffers of one replica.
#[derive(Debug, Default)]
pub struct Desk {
    pub(super) holds: Holds,
    refusals: Refusals,
    steers: Steers,
    gone: Gone,
    pub(super) scans: Scans,
    pub(super) anywhere: Anywhere,
    pub(super) closest: Closest,
    pub(super) buffers: Buffers,
    pub(super) plan_generation: u64,
    num_answers: u64,
    schedulers: adoption::Schedulers,
    /// When [`Desk::expire`] was called last.
    looked: Option<Tick>,
    awake_from: Tick,
}

#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) ranker: Ranker,
    shortlister: Shortlister,
    pub(super) verdicts: Vec<Reason>,
    /// All nodes, and those of a list that may take the pod, while the best is looked for.
    pub(super) all: Vec<NodeOrd>,
    pub(super) kept: Vec<NodeOrd>,
    /// Domains of the labels that pods spread by or keep together by.
    pub(super) keys: Keys,
}

/// A filter's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The pod's class.
    pub class: ClassOrd,
    /// The pod claims a higher class than it was granted.
    pub claimed_more: bool,
    /// Positions of the offered names that are accepted, ascending. The rest is left out, or refused
    /// by name when nothing is accepted.
    pub accepted: Vec<u32>,
    /// What [`Desk::prioritize`] says of the accepted nodes, where it is known already: when only the
    /// best were named. Else empty.
    pub scores: Vec<u32>,
    /// Which of the nodes that may take the pod are accepted.
    pub naming: Naming,
    /// When nothing is accepted: the one position that is named, and why.
    pub refused: Option<(u32, Reason)>,
    /// How many nodes were refused for which reason.
    pub tally: Tally,
    /// What local rules say was known before the request came.
    pub from_scan: bool,
    /// The pod is refused for the sake of a node that was not offered; this must be written after the
    /// answer.
    pub steer: Option<SteerOrder>,
    /// The pod is refused, and why it is not steered.
    pub unsteered: Option<Unsteered>,
    /// The node that the pod was nominated to ahead, and that kube-scheduler does not want.
    pub unwanted: Option<Box<str>>,
}

impl Desk {
    /// An empty desk with these limits.
    pub fn new(holds: HoldLimits, refusals: RefusalLimits) -> Self {
        Self { holds: Holds::new(holds), refusals: Refusals::new(refusals), ..Self::default() }
    }

    /// The same desk where other extenders judge what we name.
    #[must_use]
    pub fn beside(mut self, siblings: Siblings) -> Self {
        self.buffers.shortlister.siblings = siblings;
        self
    }

    /// Whether other extenders judge what we name.
    pub(super) fn siblings(&self) -> &Siblings {
        &self.buffers.shortlister.siblings
    }

    /// A desk that looks at each offered node anew, whatever it found there before.
    #[must_use]
    pub fn without_scans(mut self) -> Self {
        self.scans.switch_off();
        self.anywhere.switch_off();
        self.closest.switch_off();
        self
    }

    /// How many filters were answered.
    pub fn num_answers(&self) -> u64 {
        self.num_answers
    }

    /// The holds.
    pub fn holds(&self) -> &Holds {
        &self.holds
    }

    /// The refused pods.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Ends what a pod holds, when it is known that it will not be bound.
    pub fn release(&mut self, uid: PodUid) -> bool {
        self.holds.release(uid)
    }

    /// Takes note of what a publication settled. Call for all of them *before* loading the world that
    /// a decision is made on: then the snapshot counts what the holds no longer do.
    pub fn settle(&mut self, settled: Settled) {
        self.gone.settle(settled);
        match settled {
            Settled::Placed(uid) | Settled::Gone(uid) => {
                self.refusals.forget(uid);
                self.steers.settle(uid, matches!(settled, Settled::Placed(_)));
            }
            Settled::Restored(uid) => self.refusals.void_version(uid),
            // A refusal keeps a recycled ordinal: if it becomes another node that would take the pod,
            // ringing is right.
            Settled::Recycled(ord) => self.steers.recycled(ord),
        }
        self.holds.settle(settled);
    }

    /// Ends holds that have lived too long; gives their number. None while the watch is silent or
    /// interrupted: what has been bound meanwhile is counted by its hold alone. Nor when nobody has
    /// called for as long: the process was stopped, and the watch may have been, unsaid.
    pub fn expire(&mut self, world: &World, now: Tick) -> usize {
        let looked = self.looked.replace(now).unwrap_or(now);
        if now.since_ms(looked) >= MAX_SILENCE_MS {
            self.awake_from = now.plus_ms(WAKING_MS);
        }
        match world.snapshot.pods_watch {
            Watch::Telling if now >= self.awake_from => self.holds.expire(now),
            Watch::Telling | Watch::Silent | Watch::Lost => 0,
        }
    }

    /// Which of the offered nodes may take the pod; notes holds and refusals.
    pub fn filter(
        &mut self,
        world: &World,
        pod: &Arc<Pod>,
        nodes: &[NodeOrd],
        now: Tick,
    ) -> Answer {
        let mut answer = Answer::default();
        self.filter_into(world, pod, nodes, now, &mut answer);
        answer
    }

    /// [`Desk::filter`] into an answer whose buffers are used again.
    pub fn filter_into(
        &mut self,
        world: &World,
        pod: &Arc<Pod>,
        nodes: &[NodeOrd],
        now: Tick,
        answer: &mut Answer,
    ) {
        self.follow(world);
        self.num_answers += 1;
        self.schedulers.note(&pod.scheduler);
        let granted = world.classify(pod);
        let class = world.class(granted.class);
        (answer.class, answer.claimed_more) = (granted.class, granted.claimed_more);
        answer.accepted.clear();
        answer.scores.clear();
        (answer.steer, answer.unsteered) = (None, None);
        let before = self.holds.supersede(&world.snapshot, pod);
        let num_holds = self.holds.len();
        self.seen_with(world, pod, granted.class, nodes.len(), |case, rows, buffers| {
            let Buffers { shortlister, verdicts, .. } = buffers;
            judge(case, rows, nodes, verdicts);
            answer.from_scan = rows.is_some();
            answer.tally = Tally::of(verdicts);
            shortlister.name_best(case, rows, nodes, verdicts, num_holds, answer);
        });
        if answer.accepted.is_empty() && self.is_vacated(world, pod, nodes) {
            self.accept_the_only(answer);
        }
        if class.bears_limits && self.may_wait(world, pod) {
            let named = answer.accepted.iter().map(|at| nodes[*at as usize]);
            let held: Vec<NodeOrd> = before.into_iter().chain(named).collect();
            self.holds.place(&world.snapshot, pod, &held, now);
        }
        answer.refused = self.note_refusal(world, pod, nodes, &answer.tally, now);
    }

    /// Holds what a pod may take by an answer given elsewhere (a degraded one), which bears limits. Its steer
    /// is over: what becomes of an earlier round's write does not end this hold.
    pub fn hold(&mut self, world: &World, pod: &Pod, nodes: &[NodeOrd], now: Tick) {
        self.follow(world);
        self.steers.answered_by_role(pod.uid);
        // As after any accepted answer: a requeue would begin a steer, whose end would end this hold.
        self.refusals.forget(pod.uid);
        let before = self.holds.supersede(&world.snapshot, pod);
        if self.may_wait(world, pod) {
            let held = [&before, nodes].concat();
            self.holds.place(&world.snapshot, pod, &held, now);
        }
    }

    /// Scores 0..=10 for the offered nodes, by position.
    pub fn prioritize(&mut self, world: &World, pod: &Pod, nodes: &[NodeOrd]) -> Vec<u32> {
        let mut scores = Vec::with_capacity(nodes.len());
        self.prioritize_into(world, pod, nodes, &mut scores);
        scores
    }

    /// [`Desk::prioritize`], appended to scores whose buffer is used again.
    pub fn prioritize_into(
        &mut self,
        world: &World,
        pod: &Pod,
        nodes: &[NodeOrd],
        scores: &mut Vec<u32>,
    ) {
        self.follow(world);
        if world.snapshot.are_live(nodes) {
            return self.score(world, pod, nodes, scores);
        }
        let is_known = |ord: &NodeOrd| world.snapshot.is_live(*ord);
        let known: Vec<NodeOrd> = nodes.iter().copied().filter(is_known).collect();
        let mut of_known = Vec::with_capacity(known.len());
        self.score(world, pod, &known, &mut of_known);
        let mut of_known = of_known.into_iter();
        scores.extend(nodes.iter().map(|ord| match is_known(ord) {
            true => of_known.next().unwrap_or(0),
            false => 0,
        }));
    }

    fn score(&mut self, world: &World, pod: &Pod, nodes: &[NodeOrd], scores: &mut Vec<u32>) {
        let class = world.classify(pod).class;
        self.seen_with(world, pod, class, nodes.len(), |case, rows, buffers| {
            buffers.ranker.rank(case, rows, nodes).all_scores(scores);
        });
    }

    /// True for each candidate that in-tree preemption may go on with.
    pub fn preempt(&mut self, world: &World, pod: &Pod, candidates: &[Candidate]) -> Vec<bool> {
        self.follow(world);
        self.steers.asked_to_preempt();
        // Its place is on the way, or there is one that it is sent to soon. Who died for it would die for
        // nothing.
        if self.steers.is_open(pod.uid) || self.has_a_free_place(world, pod) {
            return vec![false; candidates.len()];
        }
        self.holds.seen_by(&world.snapshot, pod, |extra| acceptable(world, pod, extra, candidates))
    }

    /// May the pod still be bound to the node? Asked between filter and bind.
    pub fn admit(&mut self, world: &World, pod: &Pod, node: NodeOrd) -> Reason {
        self.follow(world);
        let mut verdicts = Vec::new();
        self.holds.seen_by(&world.snapshot, pod, |extra| {
            let class = world.class(world.classify(pod).class);
            judge(Case { world, class, pod, extra }, None, &[node], &mut verdicts);
        });
        verdicts.first().copied().unwrap_or(Reason::UnknownNode)
    }

    /// What `sigma why` shows is decided with the same holds as the real answer.
    pub(super) fn seen_by<T>(
        &mut self,
        world: &World,
        pod: &Pod,
        decide: impl FnOnce(&mut crate::cluster::Extra) -> T,
    ) -> T {
        self.follow(world);
        self.holds.seen_by(&world.snapshot, pod, decide)
    }

    /// Lends `decide` the case with what other pods hold, and what local rules found on every node if
    /// the template is asked about often; `num_names` more are asked for.
    pub(super) fn seen_with<T>(
        &mut self,
        world: &World,
        pod: &Pod,
        class_ord: ClassOrd,
        num_names: usize,
        decide: impl FnOnce(Case<'_>, Option<&Rows>, &mut Buffers) -> T,
    ) -> T {
        let class = world.class(class_ord);
        let (extra, touched) = self.holds.sums(&world.snapshot);
        let case = Case { world, class, pod, extra };
        let scan = self.scans.of(class_ord, case, touched, num_names);
        let buffers = &mut self.buffers;
        self.holds.seen_by(&world.snapshot, pod, |extra| {
            let case = Case { world, class, pod, extra };
            // Where nearly all must be looked at for this pod alone, a scan is a detour.
            match scan.filter(|_| extra.differs.len() < num_names) {
                Some(scan) => scan.seen_by(case, |rows| decide(case, Some(rows), buffers)),
                None => decide(case, None, buffers),
            }
        })
    }

    /// kube-scheduler may still place the pod, as far as the request and we know.
    fn may_wait(&self, world: &World, pod: &Pod) -> bool {
        let is_gone = self.gone.contains(pod.uid) && world.snapshot.pending(pod.uid).is_none();
        pod.is_pending() && !is_gone
    }

    /// Follows a change of policy: holds are summed over its pools.
    pub(super) fn follow(&mut self, world: &World) {
        if self.plan_generation != world.plan_generation {
            self.plan_generation = world.plan_generation;
            self.forget_looks();
            self.steers.forget_budgets();
            // From now on a pod may go where it was not offered.
            if world.plan.steers() {
                self.refusals.widen_all();
            }
            self.holds.repool(&world.snapshot);
        }
    }

    /// Sums the holds anew, after a decision broke off in the middle.
    pub fn recover(&mut self, world: &World) {
        self.forget_looks();
        self.holds.repool(&world.snapshot);
    }

    /// True when the pod holds something; for tests and the status page.
    pub fn is_held(&self, uid: PodUid) -> bool {
        self.holds.get(uid).is_some()
    }
}

#[cfg(test)]
mod tests;
