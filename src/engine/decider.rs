//! The decider: what a replica remembers between calls, and the decisions that use it.

mod adoption;
mod refusing;
mod requeue;
mod steering;
mod vacated;

use std::sync::Arc;

use super::best_node::BestNodes;
use super::closest::Closest;
use super::constraints::TopologyDomains;
use super::equivalence_cache::{EquivalenceCache, Rows};
use super::filter::{Tally, judge};
use super::preempt::{Candidate, acceptable};
use super::rank::Ranker;
use super::shortlist::{Naming, OtherExtenders, Shortlister};
use super::steer::{SteerAction, Steers, Unsteered};
use super::tombstones::Tombstones;
use super::unschedulable::{UnschedulableLimits, UnschedulablePods};
use super::{DecisionContext, View};
use crate::cluster::{Confirmed, HoldLimits, Holds, MAX_SILENCE_MS, Watch};
use crate::model::{ClassOrd, NodeOrd, Pod, PodUid, Reason, Tick};

pub use requeue::{Nominates, Requeue};
pub use steering::{PreemptVerb, SteerContext};

/// How long nothing ends after a stop of the process: what waited meanwhile is read within it.
const WAKING_MS: u64 = 1000;

/// Holds, unschedulable pods and buffers of one replica.
#[derive(Debug, Default)]
pub struct Decider {
    pub(super) holds: Holds,
    unschedulable: UnschedulablePods,
    steers: Steers,
    tombstones: Tombstones,
    pub(super) equivalence_cache: EquivalenceCache,
    pub(super) best_nodes: BestNodes,
    pub(super) closest: Closest,
    pub(super) buffers: DecisionBuffers,
    pub(super) plan_generation: u64,
    num_answers: u64,
    schedulers: adoption::Schedulers,
    /// When [`Decider::expire`] was called last.
    looked: Option<Tick>,
    awake_from: Tick,
}

#[derive(Debug, Default)]
pub(super) struct DecisionBuffers {
    pub(super) ranker: Ranker,
    shortlister: Shortlister,
    pub(super) verdicts: Vec<Reason>,
    /// All nodes, and those of a list that may take the pod, while the best is looked for.
    pub(super) all: Vec<NodeOrd>,
    pub(super) kept: Vec<NodeOrd>,
    /// Domains of the labels that pods spread by or keep together by.
    pub(super) keys: TopologyDomains,
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
    /// What [`Decider::prioritize`] says of the accepted nodes, where it is known already: when only the
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
    pub steer: Option<SteerAction>,
    /// The pod is refused, and why it is not steered.
    pub unsteered: Option<Unsteered>,
    /// The node that the pod was nominated to ahead, and that kube-scheduler does not want.
    pub unwanted: Option<Box<str>>,
}

impl Decider {
    /// An empty decider with these limits.
    pub fn new(holds: HoldLimits, unschedulable: UnschedulableLimits) -> Self {
        Self {
            holds: Holds::new(holds),
            unschedulable: UnschedulablePods::new(unschedulable),
            ..Self::default()
        }
    }

    /// The same decider where other extenders judge what we name.
    #[must_use]
    pub fn beside(mut self, other_extenders: OtherExtenders) -> Self {
        self.buffers.shortlister.other_extenders = other_extenders;
        self
    }

    /// Whether other extenders judge what we name.
    pub(super) fn other_extenders(&self) -> &OtherExtenders {
        &self.buffers.shortlister.other_extenders
    }

    /// A decider that looks at each offered node anew, whatever it found there before.
    #[must_use]
    pub fn without_equivalence_cache(mut self) -> Self {
        self.equivalence_cache.switch_off();
        self.best_nodes.switch_off();
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
    pub fn unschedulable(&self) -> &UnschedulablePods {
        &self.unschedulable
    }

    /// Ends what a pod holds, when it is known that it will not be bound.
    pub fn release(&mut self, uid: PodUid) -> bool {
        self.holds.release(uid)
    }

    /// Takes note of what a publication confirmed. Call for all of them *before* loading the view that
    /// a decision is made on: then the snapshot counts what the holds no longer do.
    pub fn confirm(&mut self, confirmed: Confirmed) {
        self.tombstones.confirm(confirmed);
        match confirmed {
            Confirmed::Placed(uid) | Confirmed::Gone(uid) => {
                self.unschedulable.forget(uid);
                self.steers.confirm(uid, matches!(confirmed, Confirmed::Placed(_)));
            }
            Confirmed::Restored(uid) => self.unschedulable.void_version(uid),
            // An unschedulable answer keeps a recycled ordinal: if it becomes another node that would take the pod,
            // requeueing is right.
            Confirmed::Recycled(ord) => self.steers.recycled(ord),
        }
        self.holds.confirm(confirmed);
    }

    /// Ends holds that have lived too long; gives their number. None while the watch is silent or
    /// interrupted: what has been bound meanwhile is counted by its hold alone. Nor when nobody has
    /// called for as long: the process was stopped, and the watch may have been, unsaid.
    pub fn expire(&mut self, view: &View, now: Tick) -> usize {
        let looked = self.looked.replace(now).unwrap_or(now);
        if now.since_ms(looked) >= MAX_SILENCE_MS {
            self.awake_from = now.plus_ms(WAKING_MS);
        }
        match view.snapshot.pods_watch {
            Watch::Fresh if now >= self.awake_from => self.holds.expire(now),
            Watch::Fresh | Watch::Stale | Watch::Disconnected => 0,
        }
    }

    /// Which of the offered nodes may take the pod; notes holds and unschedulable pods.
    pub fn filter(&mut self, view: &View, pod: &Arc<Pod>, nodes: &[NodeOrd], now: Tick) -> Answer {
        let mut answer = Answer::default();
        self.filter_into(view, pod, nodes, now, &mut answer);
        answer
    }

    /// [`Decider::filter`] into an answer whose buffers are used again.
    pub fn filter_into(
        &mut self,
        view: &View,
        pod: &Arc<Pod>,
        nodes: &[NodeOrd],
        now: Tick,
        answer: &mut Answer,
    ) {
        self.follow(view);
        self.num_answers += 1;
        self.schedulers.note(&pod.scheduler);
        let granted = view.classify(pod);
        let class = view.class(granted.class);
        (answer.class, answer.claimed_more) = (granted.class, granted.claimed_more);
        answer.accepted.clear();
        answer.scores.clear();
        (answer.steer, answer.unsteered) = (None, None);
        let before = self.holds.supersede(&view.snapshot, pod);
        let num_holds = self.holds.len();
        self.seen_with(view, pod, granted.class, nodes.len(), |case, rows, buffers| {
            let DecisionBuffers { shortlister, verdicts, .. } = buffers;
            judge(case, rows, nodes, verdicts);
            answer.from_scan = rows.is_some();
            answer.tally = Tally::of(verdicts);
            shortlister.name_best(case, rows, nodes, verdicts, num_holds, answer);
        });
        if answer.accepted.is_empty() && self.is_vacated(view, pod, nodes) {
            self.accept_the_only(answer);
        }
        if class.bears_limits && self.may_wait(view, pod) {
            let named = answer.accepted.iter().map(|at| nodes[*at as usize]);
            let held: Vec<NodeOrd> = before.into_iter().chain(named).collect();
            self.holds.place(&view.snapshot, pod, &held, now);
        }
        answer.refused = self.note_unschedulable(view, pod, nodes, &answer.tally, now);
    }

    /// Holds what a pod may take by an answer given elsewhere (a degraded one), which bears limits. Its steer
    /// is over: what becomes of an earlier round's write does not end this hold.
    pub fn hold(&mut self, view: &View, pod: &Pod, nodes: &[NodeOrd], now: Tick) {
        self.follow(view);
        self.steers.answered_by_role(pod.uid);
        // As after any accepted answer: a requeue would begin a steer, whose end would end this hold.
        self.unschedulable.forget(pod.uid);
        let before = self.holds.supersede(&view.snapshot, pod);
        if self.may_wait(view, pod) {
            let held = [&before, nodes].concat();
            self.holds.place(&view.snapshot, pod, &held, now);
        }
    }

    /// Scores 0..=10 for the offered nodes, by position.
    pub fn prioritize(&mut self, view: &View, pod: &Pod, nodes: &[NodeOrd]) -> Vec<u32> {
        let mut scores = Vec::with_capacity(nodes.len());
        self.prioritize_into(view, pod, nodes, &mut scores);
        scores
    }

    /// [`Decider::prioritize`], appended to scores whose buffer is used again.
    pub fn prioritize_into(
        &mut self,
        view: &View,
        pod: &Pod,
        nodes: &[NodeOrd],
        scores: &mut Vec<u32>,
    ) {
        self.follow(view);
        if view.snapshot.are_live(nodes) {
            return self.score(view, pod, nodes, scores);
        }
        let is_known = |ord: &NodeOrd| view.snapshot.is_live(*ord);
        let known: Vec<NodeOrd> = nodes.iter().copied().filter(is_known).collect();
        let mut of_known = Vec::with_capacity(known.len());
        self.score(view, pod, &known, &mut of_known);
        let mut of_known = of_known.into_iter();
        scores.extend(nodes.iter().map(|ord| match is_known(ord) {
            true => of_known.next().unwrap_or(0),
            false => 0,
        }));
    }

    fn score(&mut self, view: &View, pod: &Pod, nodes: &[NodeOrd], scores: &mut Vec<u32>) {
        let class = view.classify(pod).class;
        self.seen_with(view, pod, class, nodes.len(), |case, rows, buffers| {
            buffers.ranker.rank(case, rows, nodes).all_scores(scores);
        });
    }

    /// True for each candidate that in-tree preemption may go on with.
    pub fn preempt(&mut self, view: &View, pod: &Pod, candidates: &[Candidate]) -> Vec<bool> {
        self.follow(view);
        self.steers.asked_to_preempt();
        // Its place is on the way, or there is one that it is sent to soon. Who died for it would die for
        // nothing.
        if self.steers.is_open(pod.uid) || self.has_a_free_place(view, pod) {
            return vec![false; candidates.len()];
        }
        self.holds.seen_by(&view.snapshot, pod, |uncommitted| {
            acceptable(view, pod, uncommitted, candidates)
        })
    }

    /// May the pod still be bound to the node? Asked between filter and bind.
    pub fn admit(&mut self, view: &View, pod: &Pod, node: NodeOrd) -> Reason {
        self.follow(view);
        let mut verdicts = Vec::new();
        self.holds.seen_by(&view.snapshot, pod, |uncommitted| {
            let class = view.class(view.classify(pod).class);
            judge(DecisionContext { view, class, pod, uncommitted }, None, &[node], &mut verdicts);
        });
        verdicts.first().copied().unwrap_or(Reason::UnknownNode)
    }

    /// What `sigma why` shows is decided with the same holds as the real answer.
    pub(super) fn seen_by<T>(
        &mut self,
        view: &View,
        pod: &Pod,
        decide: impl FnOnce(&mut crate::cluster::Uncommitted) -> T,
    ) -> T {
        self.follow(view);
        self.holds.seen_by(&view.snapshot, pod, decide)
    }

    /// Lends `decide` the case with what other pods hold, and what local rules found on every node if
    /// the template is asked about often; `num_names` more are asked for.
    pub(super) fn seen_with<T>(
        &mut self,
        view: &View,
        pod: &Pod,
        class_ord: ClassOrd,
        num_names: usize,
        decide: impl FnOnce(DecisionContext<'_>, Option<&Rows>, &mut DecisionBuffers) -> T,
    ) -> T {
        let class = view.class(class_ord);
        let (uncommitted, changes) = self.holds.sums(&view.snapshot);
        let case = DecisionContext { view, class, pod, uncommitted };
        let scan = self.equivalence_cache.of(class_ord, case, changes, num_names);
        let buffers = &mut self.buffers;
        self.holds.seen_by(&view.snapshot, pod, |uncommitted| {
            let case = DecisionContext { view, class, pod, uncommitted };
            // Where nearly all must be looked at for this pod alone, a scan is a detour.
            match scan.filter(|_| uncommitted.differs.len() < num_names) {
                Some(scan) => scan.seen_by(case, |rows| decide(case, Some(rows), buffers)),
                None => decide(case, None, buffers),
            }
        })
    }

    /// kube-scheduler may still place the pod, as far as the request and we know.
    fn may_wait(&self, view: &View, pod: &Pod) -> bool {
        let is_gone = self.tombstones.contains(pod.uid) && view.snapshot.pending(pod.uid).is_none();
        pod.is_pending() && !is_gone
    }

    /// Follows a change of policy: holds are summed over its pools.
    pub(super) fn follow(&mut self, view: &View) {
        if self.plan_generation != view.plan_generation {
            self.plan_generation = view.plan_generation;
            self.forget_looks();
            self.steers.forget_budgets();
            // From now on a pod may go where it was not offered.
            if view.plan.steers() {
                self.unschedulable.widen_all();
            }
            self.holds.repool(&view.snapshot);
        }
    }

    /// Sums the holds anew, after a decision broke off in the middle.
    pub fn recover(&mut self, view: &View) {
        self.forget_looks();
        self.holds.repool(&view.snapshot);
    }

    /// True when the pod holds something; for tests and the status page.
    pub fn is_held(&self, uid: PodUid) -> bool {
        self.holds.get(uid).is_some()
    }
}

#[cfg(test)]
mod tests;
