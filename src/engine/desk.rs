//! The desk: what a replica remembers between calls, and the decisions that use it.

use std::cmp::Reverse;
use std::sync::Arc;

use super::filter::{Tally, judge, shortlist};
use super::preempt::{Candidate, acceptable};
use super::rank::{Ranker, scores};
use super::refusals::{RefusalLimits, Refusals};
use super::{Case, World, fresh_verdicts};
use crate::cluster::{HoldLimits, Holds, Settled};
use crate::model::{ClassOrd, NodeOrd, Pod, PodUid, Reason, Tick};

/// Holds, refusals and buffers of one replica.
#[derive(Debug, Default)]
pub struct Desk {
    holds: Holds,
    refusals: Refusals,
    ranker: Ranker,
    verdicts: Vec<Reason>,
    plan_generation: u64,
}

/// A filter's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The pod's class.
    pub class: ClassOrd,
    /// The pod claims a higher class than it was granted.
    pub claimed_more: bool,
    /// Positions of the offered names that are accepted, ascending. The rest is left out, or refused
    /// by name when nothing is accepted.
    pub accepted: Vec<u32>,
    /// When nothing is accepted: the one position that is named, and why.
    pub refused: Option<(u32, Reason)>,
    /// How many nodes were refused for which reason.
    pub tally: Tally,
}

/// A pod to be rung: a refusal of ours no longer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    /// The pod.
    pub pod: Arc<Pod>,
    /// What it had been refused for.
    pub reason: Reason,
}

impl Desk {
    /// An empty desk with these limits.
    pub fn new(holds: HoldLimits, refusals: RefusalLimits) -> Self {
        Self { holds: Holds::new(holds), refusals: Refusals::new(refusals), ..Self::default() }
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
        match settled {
            Settled::Placed(uid) | Settled::Gone(uid) => self.refusals.forget(uid),
            // A refusal keeps a recycled ordinal: if it becomes another node that would take the pod,
            // ringing is right.
            Settled::Recycled(_) | Settled::Refused { .. } => {}
        }
        self.holds.settle(settled);
    }

    /// Ends holds that have lived too long; gives their number.
    pub fn expire(&mut self, now: Tick) -> usize {
        self.holds.expire(now)
    }

    /// Which of the offered nodes may take the pod; notes holds and refusals.
    pub fn filter(
        &mut self,
        world: &World,
        pod: &Arc<Pod>,
        nodes: &[NodeOrd],
        now: Tick,
    ) -> Answer {
        self.follow(world);
        let granted = world.classify(pod);
        let class = world.class(granted.class);
        let mut held = self.holds.supersede(&world.snapshot, pod);
        fresh_verdicts(&world.snapshot, nodes, &mut self.verdicts);
        let (verdicts, ranker) = (&mut self.verdicts, &mut self.ranker);
        let num_holds = self.holds.len() - usize::from(self.holds.get(pod.uid).is_some());
        let (accepted, tally) = self.holds.seen_by(&world.snapshot, pod, |extra| {
            let case = Case { world, class, pod, extra };
            judge(case, nodes, verdicts);
            let tally = Tally::of(verdicts);
            let num_kept = tally.kept() as usize;
            if class.bears_limits && num_kept > 1 {
                let mut best = shortlist(ranker, case, nodes, verdicts, num_holds);
                best.sort_unstable();
                return (best, tally);
            }
            let mut accepted = Vec::with_capacity(num_kept);
            let kept = (0_u32..).zip(&*verdicts).filter(|(_, it)| **it == Reason::Kept);
            accepted.extend(kept.map(|(at, _)| at));
            (accepted, tally)
        });
        if class.bears_limits && pod.is_pending() {
            held.extend(accepted.iter().map(|at| nodes[*at as usize]));
            self.holds.place(&world.snapshot, pod, &held, now);
        }
        let refused = self.note_refusal(world, pod, nodes, &tally, now);
        Answer {
            class: granted.class,
            claimed_more: granted.claimed_more,
            accepted,
            refused,
            tally,
        }
    }

    /// Notes a refusal decided elsewhere (a degraded answer), so that the pod is rung later. Gives the
    /// reason to be named, which is the one that the pod was told before if it was told one.
    pub fn refuse(
        &mut self,
        world: &World,
        pod: &Arc<Pod>,
        nodes: &[NodeOrd],
        why: Reason,
        now: Tick,
    ) -> Reason {
        let generation = world.plan_generation;
        let reason = self.refusals.sticky_reason(pod.uid, why, |_| true, generation, now);
        if pod.is_pending() {
            self.refusals.note(pod, Some(nodes.into()), reason, generation, now);
        }
        reason
    }

    /// After a restart: pods whose `PodScheduled` message names a reason of ours wait for our bell.
    /// Where there are more than can be remembered, those of the highest priority do.
    pub fn adopt_refusals(&mut self, world: &World, now: Tick) -> usize {
        let pending = world.snapshot.pending.iter().map(|(_, pod)| pod);
        let waiting = pending.filter(|pod| pod.is_pending() && !pod.gated);
        let refused = waiting.filter_map(|pod| Some((pod, pod.refusal?.reason?)));
        let mut refused: Vec<_> =
            refused.filter(|(pod, _)| self.refusals.get(pod.uid).is_none()).collect();
        refused.sort_unstable_by_key(|(pod, _)| (Reverse(pod.priority), pod.uid));
        refused.truncate(self.refusals.room());
        for (pod, reason) in &refused {
            self.refusals.note(pod, None, *reason, world.plan_generation, now);
        }
        refused.len()
    }

    /// Scores 0..=10 for the offered nodes, by position.
    pub fn prioritize(&mut self, world: &World, pod: &Pod, nodes: &[NodeOrd]) -> Vec<u32> {
        self.follow(world);
        let class = world.class(world.classify(pod).class);
        let ranker = &mut self.ranker;
        let mut scores_of = |nodes: &[NodeOrd]| {
            self.holds.seen_by(&world.snapshot, pod, |extra| {
                scores(ranker.rank(Case { world, class, pod, extra }, nodes), class)
            })
        };
        if nodes.iter().all(|ord| world.snapshot.is_live(*ord)) {
            return scores_of(nodes);
        }
        let known = (0..nodes.len()).filter(|at| world.snapshot.is_live(nodes[*at]));
        let known: Vec<usize> = known.collect();
        let ords: Vec<NodeOrd> = known.iter().map(|at| nodes[*at]).collect();
        let known_scores = scores_of(&ords);
        let mut out = vec![0; nodes.len()];
        for (at, score) in known.into_iter().zip(known_scores) {
            out[at] = score;
        }
        out
    }

    /// True for each candidate that in-tree preemption may go on with.
    pub fn preempt(&mut self, world: &World, pod: &Pod, candidates: &[Candidate]) -> Vec<bool> {
        self.follow(world);
        self.holds.seen_by(&world.snapshot, pod, |extra| acceptable(world, pod, extra, candidates))
    }

    /// May the pod still be bound to the node? Asked between filter and bind.
    pub fn admit(&mut self, world: &World, pod: &Pod, node: NodeOrd) -> Reason {
        self.follow(world);
        let mut verdicts = Vec::new();
        fresh_verdicts(&world.snapshot, &[node], &mut verdicts);
        self.holds.seen_by(&world.snapshot, pod, |extra| {
            let class = world.class(world.classify(pod).class);
            judge(Case { world, class, pod, extra }, &[node], &mut verdicts);
        });
        verdicts.first().copied().unwrap_or(Reason::UnknownNode)
    }

    /// Pods whose refusal no longer holds, at most `most`; each is marked as rung.
    ///
    /// `budget` bounds the number of (pod, node) pairs looked at, so that a request never waits long
    /// for the desk; one pod is always looked at. The next call goes on where this one stopped.
    pub fn rings(&mut self, world: &World, now: Tick, most: usize, budget: usize) -> Vec<Ring> {
        self.follow(world);
        let mut rings = Vec::new();
        let mut spent = 0;
        let all: Vec<NodeOrd> = world.snapshot.live_nodes().collect();
        for uid in self.refusals.due(now) {
            let Some(refused) = self.refusals.get(uid).cloned() else {
                continue;
            };
            let nodes = refused.nodes.as_deref().unwrap_or(&all);
            let exhausted = spent > 0 && spent + nodes.len() > budget;
            if rings.len() >= most || exhausted {
                break;
            }
            self.refusals.looked(uid);
            // Who waits for nothing is not rung: a pod on its way out, or one that no watch told of.
            let Some(pod) = waiting(world, &refused.pod) else {
                continue;
            };
            spent += nodes.len();
            if self.passes_somewhere(world, &pod, nodes) {
                self.refusals.rang(uid, now);
                rings.push(Ring { pod, reason: refused.reason });
            }
        }
        rings
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

    fn passes_somewhere(&mut self, world: &World, pod: &Pod, nodes: &[NodeOrd]) -> bool {
        let class = world.class(world.classify(pod).class);
        fresh_verdicts(&world.snapshot, nodes, &mut self.verdicts);
        let verdicts = &mut self.verdicts;
        self.holds.seen_by(&world.snapshot, pod, |extra| {
            judge(Case { world, class, pod, extra }, nodes, verdicts);
        });
        self.verdicts.contains(&Reason::Kept)
    }

    fn note_refusal(
        &mut self,
        world: &World,
        pod: &Arc<Pod>,
        nodes: &[NodeOrd],
        tally: &Tally,
        now: Tick,
    ) -> Option<(u32, Reason)> {
        if tally.kept() > 0 {
            self.refusals.forget(pod.uid);
            return None;
        }
        let found = tally.most_common()?;
        let generation = world.plan_generation;
        let still_true = |reason: Reason| tally.count(reason) > 0;
        let reason = self.refusals.sticky_reason(pod.uid, found, still_true, generation, now);
        if pod.is_pending() {
            self.refusals.note(pod, Some(nodes.into()), reason, generation, now);
        }
        let named = self.verdicts.iter().position(|it| *it == reason).unwrap_or(0);
        Some((named as u32, reason))
    }

    /// Follows a change of policy: holds are summed over its pools.
    fn follow(&mut self, world: &World) {
        if self.plan_generation != world.plan_generation {
            self.plan_generation = world.plan_generation;
            self.holds.repool(&world.snapshot);
        }
    }

    /// Sums the holds anew, after a decision broke off in the middle.
    pub fn recover(&mut self, world: &World) {
        self.holds.repool(&world.snapshot);
    }

    /// True when the pod holds something; for tests and the status page.
    pub fn is_held(&self, uid: PodUid) -> bool {
        self.holds.get(uid).is_some()
    }
}

/// The newest that is known of a refused pod, if kube-scheduler may still place it.
fn waiting(world: &World, refused: &Arc<Pod>) -> Option<Arc<Pod>> {
    let known = world.snapshot.pending(refused.uid).filter(|pod| pod.is_pending())?;
    let newest = if known.resource_version < refused.resource_version { refused } else { known };
    Some(newest.clone())
}

#[cfg(test)]
mod tests;
