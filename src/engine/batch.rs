//! Targets: the nodes that many pods would get one after the other, decided at once and ahead of
//! kube-scheduler.
//!
//! The rules are those of an answer, and so is what they find: each pod gets the best node of the whole
//! cluster, as if those before it in the batch were on theirs. What is saved is looking. Pods of one
//! template share one look at all nodes ([`templates`]); after that only nodes that the batch has taken
//! are looked at again, and each pod is decided on the few nodes that can be best.
//!
//! Whom nobody can judge here is not given a target: kube-scheduler looks at a nominated node before
//! all others, and takes it.

mod constrained;
mod classes;

use std::sync::Arc;

use rustc_hash::FxHashMap;

use self::classes::BatchClasses;
use self::constrained::Constrained;
use super::best_node::BestNode;
use super::filter::judge;
use super::rank::Ranker;
use super::shortlist::{OtherExtenders, ShortlistOff};
use super::{Decider, DecisionContext, View};
use crate::cluster::{HoldId, Snapshot, Uncommitted};
use crate::model::{AppKey, CannotJudge, NodeOrd, Pod, PodUid, Preferences, Reason, Tick};
use crate::policy::Role;

/// Why a pod is given no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTarget {
    /// It has a node, or is on its way out.
    NotPending,
    /// It has scheduling gates: kube-scheduler does not look at it.
    Gated,
    /// Its class is never held up, and never moved.
    Exempt,
    /// It is nominated already, by whomever.
    Nominated,
    /// kube-scheduler was answered about it a moment ago and is binding it.
    Answered,
    /// It is one of a group that kube-scheduler places together.
    Group,
    /// It names its nodes, as a DaemonSet's pod does: kube-scheduler looks at no others anyway.
    Named,
    /// Only kube-scheduler can tell which nodes it may go to.
    Unjudged(CannotJudge),
    /// Somebody after us must have the whole choice.
    Choice(ShortlistOff),
    /// No node may take it.
    NoNode,
}

impl NoTarget {
    /// All of them, in the order in which they are looked for.
    pub const ALL: [Self; 18] = [
        Self::NotPending,
        Self::Gated,
        Self::Exempt,
        Self::Nominated,
        Self::Group,
        Self::Named,
        Self::Unjudged(CannotJudge::Volumes),
        Self::Unjudged(CannotJudge::ResourceClaims),
        Self::Unjudged(CannotJudge::ExtendedResources),
        Self::Unjudged(CannotJudge::Profile),
        Self::Unjudged(CannotJudge::Unclear),
        Self::Choice(ShortlistOff::SoftSpread),
        Self::Choice(ShortlistOff::PodAffinity),
        Self::Choice(ShortlistOff::NodeAffinity),
        Self::Choice(ShortlistOff::OtherExtender),
        Self::Answered,
        Self::NoNode,
        Self::Choice(ShortlistOff::SoftTaints),
    ];

    /// As a metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotPending => "not_pending",
            Self::Gated => "gated",
            Self::Exempt => "exempt",
            Self::Nominated => "nominated",
            Self::Answered => "answered",
            Self::Group => "group",
            Self::Named => "named",
            Self::Unjudged(why) => why.name(),
            Self::Choice(why) => why.name(),
            Self::NoNode => "no_node",
        }
    }

    /// What can be said of a pod before any node is looked at, but for what the decider knows of it.
    fn of(view: &View, other_extenders: &OtherExtenders, pod: &Pod) -> Option<Self> {
        let has = |what| pod.preferences.intersects(what);
        let unjudged = view.snapshot.cannot_judge(pod);
        let holds = |it: &Self| match it {
            Self::NotPending => !pod.is_pending(),
            Self::Gated => pod.gated,
            Self::Exempt => view.class(view.classify(pod).class).role == Role::Exempt,
            Self::Nominated => pod.nominated.is_some(),
            Self::Group => pod.grouped,
            Self::Named => pod.constraints.as_ref().is_some_and(|it| it.names_nodes()),
            Self::Unjudged(why) => unjudged == Some(*why),
            Self::Choice(ShortlistOff::SoftSpread) => has(Preferences::SPREAD),
            Self::Choice(ShortlistOff::PodAffinity) => has(Preferences::POD_AFFINITY),
            Self::Choice(ShortlistOff::NodeAffinity) => has(Preferences::NODE_AFFINITY),
            Self::Choice(ShortlistOff::OtherExtender) => other_extenders.judge(pod),
            Self::Answered | Self::NoNode | Self::Choice(ShortlistOff::SoftTaints) => false,
        };
        Self::ALL.into_iter().find(holds)
    }
}

impl Decider {
    /// A decider that knows what this one holds, for whoever decides on many pods while this one goes on
    /// answering.
    #[must_use]
    pub fn copy_of_holds(&self) -> Self {
        let mut copy = Self::default().beside(self.other_extenders().clone());
        (copy.holds, copy.plan_generation) = (self.holds.clone(), self.plan_generation);
        copy
    }

    /// Notes that `pod` is to get this node, until a snapshot shows it there or an answer says
    /// otherwise. `None` when it holds something already.
    pub fn hold_for(&mut self, view: &View, pod: &Pod, node: NodeOrd, now: Tick) -> Option<HoldId> {
        self.follow(view);
        if self.is_held(pod.uid) {
            return None;
        }
        self.holds.place(&view.snapshot, pod, &[node], now);
        Some(self.holds.get(pod.uid)?.id)
    }

    /// Ends what the pod holds if it is what [`Decider::hold_for`] noted, and no answer came after it.
    pub fn end_hold(&mut self, uid: PodUid, id: HoldId) -> bool {
        self.is_held_by(uid, id) && self.holds.release(uid)
    }

    /// What the pod holds is what [`Decider::hold_for`] noted: no answer came after it.
    pub fn is_held_by(&self, uid: PodUid, id: HoldId) -> bool {
        self.holds.get(uid).is_some_and(|hold| hold.id == id)
    }

    /// Why the pod is given no target, as far as it takes no look at a node to know.
    pub fn no_target(&self, view: &View, pod: &Pod) -> Option<NoTarget> {
        let answered = self.is_held(pod.uid).then_some(NoTarget::Answered);
        NoTarget::of(view, self.other_extenders(), pod).or(answered)
    }

    /// The targets of pods in the order in which kube-scheduler comes to them: for each the best node
    /// where those before it are on theirs. Fewer than there are pods when these are of so many
    /// templates that looking for all of them would take too long.
    pub fn targets(&mut self, view: &View, pods: &[Arc<Pod>]) -> Vec<Result<BestNode, NoTarget>> {
        self.follow(view);
        let why_not: Vec<_> = pods.iter().map(|pod| self.no_target(view, pod)).collect();
        let mut targets: Vec<_> =
            why_not.iter().map(|why| Err(why.unwrap_or(NoTarget::NoNode))).collect();
        let judged = why_not.iter().enumerate().filter(|(_, why)| why.is_none());
        let judged: Vec<usize> = judged.map(|(at, _)| at).collect();
        let mut ahead = PlannedView::of(view);
        // Which nominations count depends on the priority alone: none of these pods has its own.
        for run in judged.chunk_by(|a, b| pods[*a].priority == pods[*b].priority) {
            let existing_anti_affinity =
                self.holds.existing_anti_affinity(&view.snapshot, Some(&pods[run[0]]));
            ahead.constrained.see(existing_anti_affinity, judged.iter().map(|at| &pods[*at]));
            let replicas = self.replicas_of(&view.snapshot, run.iter().map(|at| &*pods[*at]));
            if !view.snapshot.nominees.is_empty() {
                ahead.templates.clear();
            }
            let unlooked = self.holds.seen_by(&view.snapshot, &pods[run[0]], |uncommitted| {
                run.iter().find(|at| {
                    let pod = &pods[**at];
                    uncommitted.replicas.clear();
                    let of_app = pod.app().and_then(|app| replicas.get(&app));
                    uncommitted.replicas.extend(of_app.into_iter().flatten());
                    let target = ahead.target(pod, uncommitted);
                    target.map(|target| targets[**at] = target).is_none()
                })
            });
            if let Some(at) = unlooked {
                targets.truncate(*at);
                break;
            }
        }
        targets
    }

    fn replicas_of<'a>(
        &self,
        snapshot: &Snapshot,
        pods: impl Iterator<Item = &'a Pod>,
    ) -> FxHashMap<AppKey, Vec<(u32, NodeOrd)>> {
        let mut replicas = FxHashMap::default();
        for pod in pods {
            if let Some(app) = pod.app() {
                replicas.entry(app).or_insert_with(|| {
                    let mut of_app = Vec::new();
                    self.holds.replicas_seen_by(snapshot, pod, &mut of_app);
                    of_app
                });
            }
        }
        replicas
    }
}

/// The view as it will be when the pods of the batch are where they are to go.
struct PlannedView {
    view: View,
    /// As it is without the batch.
    before: Arc<Snapshot>,
    templates: BatchClasses,
    constrained: Constrained,
    /// Which nodes the batch has taken, in this order.
    taken: Vec<NodeOrd>,
    /// Who has taken them.
    takers: Vec<Arc<Pod>>,
    ranker: Ranker,
    candidates: Vec<NodeOrd>,
    verdicts: Vec<Reason>,
}

impl PlannedView {
    fn of(view: &View) -> Self {
        let snapshot = Arc::new(Snapshot::clone(&view.snapshot));
        Self {
            view: View { snapshot, ..view.clone() },
            before: view.snapshot.clone(),
            templates: BatchClasses::default(),
            constrained: Constrained::default(),
            taken: Vec::new(),
            takers: Vec::new(),
            ranker: Ranker::default(),
            candidates: Vec::new(),
            verdicts: Vec::new(),
        }
    }

    /// The pod's target, which it takes; `None` when its template was not looked at and there are too
    /// many already.
    fn target(
        &mut self,
        pod: &Arc<Pod>,
        uncommitted: &Uncommitted,
    ) -> Option<Result<BestNode, NoTarget>> {
        let Self { view, before, templates, constrained, .. } = self;
        let Self { taken, takers, candidates, verdicts, ranker, .. } = self;
        let class_ord = view.classify(pod).class;
        let case = DecisionContext { view, class: view.class(class_ord), pod, uncommitted };
        let constraints = constrained.of(before, pod, uncommitted, takers, taken)?;
        let rows = templates.candidates(class_ord, case, taken, constraints, candidates)?;
        judge(case, Some(rows), candidates, verdicts);
        let mut kept = verdicts.iter().map(|verdict| *verdict == Reason::Kept);
        candidates.retain(|_| kept.next() == Some(true));
        let ranked = ranker.rank(case, Some(rows), candidates);
        let Some(&at) = ranked.best(1).first() else {
            return Some(Err(NoTarget::NoNode));
        };
        let node = candidates[at];
        if pod.dislikes(view.snapshot.taints(node)) {
            return Some(Err(NoTarget::Choice(ShortlistOff::SoftTaints)));
        }
        let band = usize::from(case.class.band(view.snapshot.pool(node)));
        let best = BestNode { node, band, points: ranked.points(at) };
        Arc::make_mut(&mut view.snapshot).assume(pod, node);
        taken.push(node);
        takers.push(pod.clone());
        Some(Ok(best))
    }
}

#[cfg(test)]
mod tests;
