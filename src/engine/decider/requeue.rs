//! The requeue: refused pods that would pass now are brought back to kube-scheduler.
//!
//! A pod that passes on a node which it was refused by is only woken: kube-scheduler may offer that node
//! again. A pod whose only fitting nodes were not offered is woken *with* a nomination, since its next
//! window may lack them as well. Such a requeue begins a steer without an answer, and ends as one.

use std::sync::Arc;

use super::Decider;
use crate::cluster::{ExistingAntiAffinity, Watch};
use crate::engine::BestNode;
use crate::engine::View;
use crate::engine::constraints::are_alike;
use crate::engine::steer::{SteerAction, SteerPlan};
use crate::model::{NodeOrd, Pod, Reason, Tick};
use crate::policy::{Bounds, Cause};

/// A pod to be requeued: an unschedulable answer of ours no longer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requeue {
    /// The pod.
    pub pod: Arc<Pod>,
    /// What it had been refused for.
    pub reason: Reason,
    /// The nomination that wakes the pod; `None`: the pod is only woken.
    pub steer: Option<SteerAction>,
}

/// Which pods may be requeued with a nomination, as far as the means is concerned.
#[derive(Clone, Copy)]
pub struct Nominates<'a> {
    /// Nominations are written: the means has the rights, and no open breaker.
    pub acts: bool,
    /// Steers of the pod's equivalence class were in vain, so that it is left alone for a while.
    pub is_paused: &'a dyn Fn(&Pod) -> bool,
}

impl Nominates<'_> {
    /// Every pod.
    pub const ANY: Self = Self { acts: true, is_paused: &|_| false };
    /// No pod.
    pub const NONE: Self = Self { acts: false, ..Self::ANY };

    /// Every pod or none.
    pub const fn if_any(acts: bool) -> Self {
        Self { acts, ..Self::ANY }
    }
}

/// Where a refused pod would pass now.
enum Passes {
    /// On a node that it was refused by.
    Offered,
    /// On a node that was not offered.
    Elsewhere(BestNode),
    /// Only on nodes that kube-scheduler has refused to it.
    Unwanted,
    Nowhere,
}

impl Decider {
    /// Pods whose unschedulable answer no longer holds, at most `most`; each is marked as requeued. Nominations are written
    /// for those that `nominates` names.
    ///
    /// `budget` bounds the number of (pod, node) pairs looked at, so that a request never waits long
    /// for the decider; one pod is always looked at. The next call goes on where this one stopped. Who is
    /// like one that no node of the cluster would take costs nothing: a backlog is of few apps.
    pub fn requeues(
        &mut self,
        view: &View,
        nominates: Nominates<'_>,
        now: Tick,
        most: usize,
        budget: usize,
    ) -> Vec<Requeue> {
        self.follow(view);
        self.steers.acts = nominates.acts;
        let (mut requeues, due) = (Vec::new(), self.unschedulable.due(now));
        // Mostly nobody waits, and this is asked 20 times a second.
        if due.is_empty() {
            return requeues;
        }
        let (mut spent, mut exhausted) = (0, false);
        let mut unplaceable: Vec<Arc<Pod>> = Vec::new();
        let all: Vec<NodeOrd> = view.snapshot.live_nodes().collect();
        let existing_anti_affinity = self.holds.existing_anti_affinity(&view.snapshot, None);
        for uid in due {
            let Some(refused) = self.unschedulable.get(uid) else {
                continue;
            };
            // Who waits for nothing is not requeued: a pod on its way out, or one that no watch told of.
            let Some(pod) = waiting(view, &refused.pod) else {
                self.unschedulable.looked(uid);
                continue;
            };
            // What a pod itself holds would not count for it, and does for the others.
            if !self.is_held(uid)
                && unplaceable.iter().any(|it| is_like(view, &existing_anti_affinity, it, &pod))
            {
                self.unschedulable.looked(uid);
                continue;
            }
            let num_offered = refused.nodes.as_ref().map_or(all.len(), |nodes| nodes.len());
            let num_looks = num_offered + if refused.elsewhere { all.len() } else { 0 };
            exhausted |= spent > 0 && spent + num_looks > budget;
            if requeues.len() >= most || exhausted && unplaceable.is_empty() {
                break;
            }
            if exhausted {
                continue;
            }
            let (reason, elsewhere) = (refused.reason, refused.elsewhere);
            let is_doubtful = refused.is_doubtful;
            spent += num_looks;
            let steer = match self.passes(view, &pod, &all) {
                Passes::Nowhere => {
                    self.unschedulable.looked(uid);
                    unplaceable.extend(elsewhere.then_some(pod));
                    continue;
                }
                Passes::Elsewhere(best) if !is_doubtful && !(nominates.is_paused)(&pod) => {
                    self.nominate_at_requeue(view, &pod, best, now)
                }
                Passes::Elsewhere(_) | Passes::Offered | Passes::Unwanted => None,
            };
            self.unschedulable.looked(uid);
            self.unschedulable.requeued(uid, now);
            if steer.is_some() {
                self.unschedulable.pause(uid);
            }
            requeues.push(Requeue { pod, reason, steer });
        }
        requeues
    }

    /// Where a refused pod would pass now.
    fn passes(&mut self, view: &View, pod: &Arc<Pod>, all: &[NodeOrd]) -> Passes {
        let Some(refused) = self.unschedulable.get(pod.uid) else { return Passes::Nowhere };
        let elsewhere = refused.elsewhere && !self.steers.holds(pod.uid);
        // Where it is not known which nodes were offered, a node is sought that the pod may be sent to.
        let offered = refused.nodes.clone();
        let seeks = offered.is_none() && elsewhere;
        if !seeks && self.passes_somewhere(view, pod, offered.as_deref(), all) {
            return Passes::Offered;
        }
        match elsewhere.then(|| self.best_wanted(view, pod)).flatten() {
            Some(Some(best)) => Passes::Elsewhere(best),
            Some(None) => Passes::Unwanted,
            None => Passes::Nowhere,
        }
    }

    /// The best of all nodes for the pod but those that kube-scheduler has refused to it. `None`: no node
    /// may take it; `Some(None)`: only those.
    pub(super) fn best_wanted(&mut self, view: &View, pod: &Pod) -> Option<Option<BestNode>> {
        let best = self.best_anywhere(view, pod)?;
        let unwanted = self.steers.unwanted(pod.uid);
        if !unwanted.contains(&best.node) {
            return Some(Some(best));
        }
        let unwanted = unwanted.to_vec();
        let others = view.snapshot.live_nodes().filter(|ord| !unwanted.contains(ord));
        let others: Vec<NodeOrd> = others.collect();
        Some(self.best_of(view, pod, &others))
    }

    /// Begins a steer for a pod that is requeued, if it may be nominated.
    fn nominate_at_requeue(
        &mut self,
        view: &View,
        pod: &Arc<Pod>,
        best: BestNode,
        now: Tick,
    ) -> Option<SteerAction> {
        let bounds = self.may_nominate(view, pod)?;
        let budget = (view.classify(pod).class, Cause::Elsewhere);
        if !self.steers.is_rested(pod.uid, now)
            || !self.steers.afford(budget, pod.app(), bounds, now)
        {
            return None;
        }
        let node = view.snapshot.names.name(best.node);
        let (cause, target) = (Cause::Elsewhere, best.node);
        let plan = SteerPlan { pod, cause, target, node, lead_permille: None, is_requeue: true };
        let action = self.steers.begin(plan, now);
        self.holds.place(&view.snapshot, pod, &[target], now);
        Some(action)
    }

    /// The bounds within which the pod may be requeued with a nomination; `None`: it may not.
    fn may_nominate(&self, view: &View, pod: &Pod) -> Option<Bounds> {
        let known = view.snapshot.pending(pod.uid);
        let is_nominated = [Some(pod), known.map(|it| &**it)].into_iter().flatten();
        let is_nominated = is_nominated.filter(|it| it.nominated.is_some()).count() > 0;
        let may = self.steers.acts
            && self.may_wait(view, pod)
            && !pod.gated
            && !pod.grouped
            && !is_nominated
            && view.snapshot.pods_watch != Watch::Disconnected
            && view.snapshot.cannot_judge(pod).is_none();
        let class = view.class(view.classify(pod).class);
        class.steering.bounds(Cause::Elsewhere).filter(|_| may)
    }

    /// The pod waits for a requeue with a nomination: some node of the cluster has room for it.
    pub(super) fn has_a_free_place(&mut self, view: &View, pod: &Pod) -> bool {
        let waits = self.unschedulable.get(pod.uid).is_some_and(|it| it.elsewhere);
        waits
            && self.may_nominate(view, pod).is_some()
            && matches!(self.best_wanted(view, pod), Some(Some(_)))
    }
}

/// No rule tells these pods apart: where one passes nowhere, nor does the other.
fn is_like(
    view: &View,
    existing_anti_affinity: &ExistingAntiAffinity,
    one: &Pod,
    other: &Pod,
) -> bool {
    let against =
        |pod| existing_anti_affinity.against(pod, &view.snapshot.namespaces).map(|it| it.0);
    let class = |pod| view.classify(pod).class;
    one.requests == other.requests
        && one.priority == other.priority
        && one.tolerations == other.tolerations
        && are_alike(one, other)
        && view.snapshot.tables.volumes_of(one) == view.snapshot.tables.volumes_of(other)
        && against(one).eq(against(other))
        && (&one.nominated, &other.nominated) == (&None, &None)
        && class(one) == class(other)
}

/// The newest that is known of a refused pod, if kube-scheduler may still place it.
fn waiting(view: &View, refused: &Arc<Pod>) -> Option<Arc<Pod>> {
    let known = view.snapshot.pending(refused.uid).filter(|pod| pod.is_pending())?;
    let newest = if known.resource_version < refused.resource_version { refused } else { known };
    Some(newest.clone())
}
