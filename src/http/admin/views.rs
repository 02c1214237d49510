//! The shapes of the admin API's JSON. Nothing here decides: it shows what is there.

use serde::Serialize;

use super::numbers::{ConstraintView, ExplainedNodeView, LimitView, NominatedView, taint_of};
use super::sent::{NominatorView, ObstacleView, SteerView};
use super::{Check, ObstaclesOf, PolicyOnDisk, PolicyOrigin, StandingOf};
use crate::actions::Leading;
use crate::engine::{self, Decider, NodeExplanation, View};
use crate::model::{Amounts, CannotJudge, DomainLevel, NodeOrd, Pod, PodUid, PoolOrd, Reason};
use crate::policy::{Class, Diagnostic, Role};
use crate::runtime::SharedState;

/// Most nodes that an explanation shows in full.
const MAX_BEST: usize = 5;

/// One look at the shared state.
pub(super) struct Views<'a> {
    pub(super) shared: &'a SharedState,
    pub(super) view: &'a View,
}

#[derive(Serialize)]
pub(super) struct StatusView {
    version: &'static str,
    uptime_seconds: u64,
    ready: bool,
    checks: Vec<Check>,
    snapshot_generation: u64,
    policy: PolicyRef,
    nodes: usize,
    pods: usize,
    pending_pods: usize,
    nominations: usize,
    held_pods: usize,
    unschedulable_pods: usize,
    lease: Option<LeaseView>,
}

/// Which replica acts for the whole cluster.
#[derive(Serialize)]
struct LeaseView {
    lease: String,
    identity: String,
    holder: Option<String>,
    is_leader: bool,
}

impl From<Leading> for LeaseView {
    fn from(it: Leading) -> Self {
        let Leading { lease, identity, holder, is_leader } = it;
        Self { lease, identity, holder, is_leader }
    }
}

#[derive(Serialize)]
struct PolicyRef {
    name: String,
    hash: String,
    generation: u64,
    /// The policy on disk is another one and cannot be loaded.
    stale: bool,
    /// `file`, `state_dir` or `none`.
    source: &'static str,
    /// Since it was first accepted.
    age_seconds: Option<u64>,
}

/// Amounts with their units in the names.
#[derive(Serialize)]
pub(super) struct AmountsView {
    cpu_milli: i64,
    memory_bytes: i64,
    pods: i64,
}

impl From<Amounts> for AmountsView {
    fn from(it: Amounts) -> Self {
        Self { cpu_milli: it.cpu_milli, memory_bytes: it.memory_bytes, pods: it.pods }
    }
}

#[derive(Serialize)]
pub(super) struct NodeView {
    name: String,
    pool: Option<String>,
    zone: Option<String>,
    requested: AmountsView,
    allocatable: AmountsView,
}

#[derive(Serialize)]
pub(super) struct PoolView {
    name: String,
    elastic: bool,
    nodes: u32,
    requested: AmountsView,
    /// Σ over the nodes; null for an elastic pool, whose capacity is not real.
    allocatable: Option<AmountsView>,
    limit: Option<AmountsView>,
    cpu_allocated_pct: Option<f64>,
    memory_allocated_pct: Option<f64>,
}

#[derive(Serialize)]
pub(super) struct PolicyView {
    name: String,
    hash: String,
    generation: u64,
    /// `file`, `state_dir` or `none`.
    source: &'static str,
    /// Since it was first accepted.
    age_seconds: Option<u64>,
    /// Why it could not be kept for the next start.
    state_error: Option<String>,
    pools: Vec<String>,
    classes: Vec<ClassView>,
    /// Why the policy on disk is not in force; empty when it is.
    faults_on_disk: Vec<Diagnostic>,
    /// Why it could not even be read.
    unreadable_on_disk: Option<String>,
}

#[derive(Serialize)]
struct ClassView {
    name: String,
    role: &'static str,
    protected: bool,
    /// Pools open to it, in order; null when it names none.
    pools: Option<Vec<String>>,
    filters: Vec<&'static str>,
    scorers: Vec<ScorerView>,
}

#[derive(Serialize)]
struct ScorerView {
    name: &'static str,
    weight: u32,
}

#[derive(Serialize)]
pub(super) struct ExplainView {
    namespace: String,
    pod: String,
    /// `pending` or `placed`.
    state: &'static str,
    node: Option<String>,
    class: String,
    claimed_more: bool,
    /// The reason that the pod was told last.
    told: Option<&'static str>,
    /// The pod was answered, and its place is kept until the watch tells who won.
    held: bool,
    /// How it stands to nominating ahead; null where the policy does not, and for a placed pod.
    ahead: Option<NominatorView>,
    requests: Option<AmountsView>,
    nodes_considered: usize,
    nodes_kept: u32,
    /// Of these, those that kube-scheduler's own constraints leave; null where they say nothing.
    nodes_left: Option<usize>,
    /// Which of these constraints rules out how many of `nodes_kept`.
    constraints: Vec<ConstraintView>,
    /// Why that number is not the whole truth; null: it is.
    cannot_judge: Option<&'static str>,
    refused: Vec<RefusedView>,
    best: Vec<BestView>,
    /// The pools that are open to its class, in order; null where every node is.
    pools: Option<Vec<String>>,
    /// Its nominated node; null for none, and for a placed pod.
    nominated: Option<NominatedView>,
    /// How it was sent to a node that was not offered, or is being sent; null if it was not lately.
    steer: Option<SteerView>,
    /// What is off that would send it to a node that was not offered; empty for a placed pod.
    steering_off: Vec<ObstacleView>,
}

#[derive(Serialize)]
struct RefusedView {
    reason: &'static str,
    text: &'static str,
    nodes: u32,
    example: ExplainedNodeView,
    /// The limits that the example exceeds; empty where the reason is of no limit.
    limits: Vec<LimitView>,
    /// The example's taint that the pod does not tolerate; null for other reasons.
    taint: Option<String>,
}

#[derive(Serialize)]
struct BestView {
    node: ExplainedNodeView,
    score: u32,
    points: Vec<PointsView>,
}

#[derive(Serialize)]
struct PointsView {
    rule: &'static str,
    weight: u32,
    points: u32,
}

/// Why a pod waits, or where it is. Decided, as an answer to kube-scheduler is, with the decider up to
/// date and on the newest World: an older one would take the decider back to an older policy.
pub(super) fn explain(
    shared: &SharedState,
    (ahead, obstacles): (&StandingOf, &ObstaclesOf),
    namespace: &str,
    name: &str,
    node: Option<&str>,
) -> Result<ExplainView, String> {
    shared.decide(|decider, view, _| {
        let explained = Views { shared, view }.explain(decider, namespace, name, node)?;
        let pending = view.snapshot.pending_by_name(namespace, name);
        let standing = pending.and_then(|pod| ahead(view, decider, pod));
        let off = pending.map(|pod| obstacles(view, decider, pod)).unwrap_or_default();
        let steering_off = off.into_iter().map(ObstacleView::from).collect();
        Ok(ExplainView { ahead: standing.map(NominatorView::from), steering_off, ..explained })
    })
}

impl Views<'_> {
    pub(super) fn status(
        &self,
        checks: Vec<Check>,
        (stale, origin): (bool, &PolicyOrigin),
        lease: Option<Leading>,
    ) -> StatusView {
        let snapshot = &self.view.snapshot;
        let (held_pods, unschedulable_pods) = self
            .shared
            .decide(|decider, _, _| (decider.holds().len(), decider.unschedulable().len()));
        StatusView {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.shared.clock.now().0 / 1000,
            ready: checks.iter().all(|it| it.ok),
            checks,
            snapshot_generation: snapshot.generation.0,
            policy: PolicyRef {
                name: self.view.plan.name.clone(),
                hash: self.view.plan.hash.clone(),
                generation: self.view.plan_generation,
                stale,
                source: origin.source.name(),
                age_seconds: origin.age_seconds(),
            },
            nodes: snapshot.num_nodes,
            pods: snapshot.num_pods,
            pending_pods: snapshot.pending.len(),
            nominations: snapshot.nominees.len(),
            held_pods,
            unschedulable_pods,
            lease: lease.map(Into::into),
        }
    }

    pub(super) fn nodes(&self, pool: Option<&str>) -> Vec<NodeView> {
        let all = self.view.snapshot.live_nodes().map(|ord| self.node(ord));
        let wanted = |it: &NodeView| pool.is_none() || it.pool.as_deref() == pool;
        let mut nodes: Vec<NodeView> = all.filter(wanted).collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes
    }

    pub(super) fn pools(&self) -> Vec<PoolView> {
        let snapshot = &self.view.snapshot;
        let rows = snapshot.pools.iter().zip(&*snapshot.pool_use);
        rows.map(|(pool, sums)| {
            let share =
                |part: i64, whole: i64| (!pool.elastic && whole > 0).then(|| percent(part, whole));
            PoolView {
                name: pool.name.clone(),
                elastic: pool.elastic,
                nodes: sums.nodes,
                requested: sums.used.into(),
                allocatable: (!pool.elastic).then(|| sums.allocatable.into()),
                limit: pool.limit.map(Into::into),
                cpu_allocated_pct: share(sums.used.cpu_milli, sums.allocatable.cpu_milli),
                memory_allocated_pct: share(sums.used.memory_bytes, sums.allocatable.memory_bytes),
            }
        })
        .collect()
    }

    pub(super) fn policy(&self, on_disk: PolicyOnDisk, origin: PolicyOrigin) -> PolicyView {
        let plan = &self.view.plan;
        PolicyView {
            name: plan.name.clone(),
            hash: plan.hash.clone(),
            generation: self.view.plan_generation,
            source: origin.source.name(),
            age_seconds: origin.age_seconds(),
            state_error: origin.state_error,
            pools: plan.pools.iter().map(|pool| pool.name.clone()).collect(),
            classes: plan.classes.iter().map(|class| self.class(class)).collect(),
            faults_on_disk: on_disk.faults,
            unreadable_on_disk: on_disk.unreadable,
        }
    }

    fn explain(
        &self,
        decider: &mut Decider,
        namespace: &str,
        name: &str,
        node: Option<&str>,
    ) -> Result<ExplainView, String> {
        let snapshot = &self.view.snapshot;
        if let Some(pod) = snapshot.pending_by_name(namespace, name) {
            return self.explain_pending(decider, pod, node);
        }
        let Some((ord, record)) = snapshot.placed_by_name(namespace, name) else {
            return Err(format!("no pod {namespace}/{name} is known"));
        };
        Ok(ExplainView {
            namespace: namespace.to_owned(),
            pod: name.to_owned(),
            state: "placed",
            node: Some(snapshot.names.name(ord).to_owned()),
            class: self.view.class(self.view.classify_placed(record)).name.clone(),
            claimed_more: false,
            told: None,
            held: false,
            ahead: None,
            requests: Some(record.requests.into()),
            nodes_considered: 0,
            nodes_kept: 0,
            nodes_left: None,
            constraints: Vec::new(),
            cannot_judge: None,
            refused: Vec::new(),
            best: Vec::new(),
            pools: None,
            nominated: None,
            steer: SteerView::of(decider, PodUid(record.uid), self.shared.clock.now()),
            steering_off: Vec::new(),
        })
    }

    fn explain_pending(
        &self,
        decider: &mut Decider,
        pod: &Pod,
        node: Option<&str>,
    ) -> Result<ExplainView, String> {
        let snapshot = &self.view.snapshot;
        let nodes: Vec<NodeOrd> = match node {
            None => snapshot.live_nodes().collect(),
            Some(name) => {
                vec![snapshot.names.ord(name).ok_or_else(|| format!("no node {name} is known"))?]
            }
        };
        let explained = engine::explain(decider, self.view, pod, &nodes, MAX_BEST);
        let by_nodes = explained.has_unclear.then_some(CannotJudge::Unclear);
        let cannot_judge = snapshot.cannot_judge(pod).or(by_nodes);
        let (kept, out): (Vec<&NodeExplanation>, Vec<&NodeExplanation>) =
            explained.nodes.iter().partition(|it| it.verdict == Reason::Kept);
        let refused = out.into_iter().map(|it| RefusedView {
            reason: it.verdict.name(),
            text: it.verdict.text(),
            nodes: explained.tally.count(it.verdict),
            example: ExplainedNodeView::of(self.node(it.node), it),
            limits: it.exceeded.iter().map(LimitView::of).collect(),
            taint: taint_of(snapshot, pod, it),
        });
        let best = kept.into_iter().map(|it| BestView {
            node: ExplainedNodeView::of(self.node(it.node), it),
            score: it.score,
            points: it
                .points
                .iter()
                .map(|it| PointsView { rule: it.rule, weight: it.weight, points: it.points })
                .collect(),
        });
        Ok(ExplainView {
            namespace: pod.namespace.to_string(),
            pod: pod.name.to_string(),
            state: "pending",
            node: None,
            class: explained.class,
            claimed_more: explained.claimed_more,
            told: decider.unschedulable().reason(pod.uid).map(Reason::text),
            held: decider.is_held(pod.uid),
            ahead: None,
            requests: Some(pod.requests.base.into()),
            nodes_considered: nodes.len(),
            nodes_kept: explained.tally.kept(),
            nodes_left: explained.num_left,
            constraints: explained.ruled_out.iter().map(ConstraintView::of).collect(),
            cannot_judge: cannot_judge.map(CannotJudge::name),
            refused: refused.collect(),
            best: best.collect(),
            pools: self.open_to(self.view.class(self.view.classify(pod).class)),
            nominated: NominatedView::of(snapshot, decider, pod),
            steer: SteerView::of(decider, pod.uid, self.shared.clock.now()),
            steering_off: Vec::new(),
        })
    }

    fn node(&self, ord: NodeOrd) -> NodeView {
        let snapshot = &self.view.snapshot;
        let zone = snapshot.domain(DomainLevel::Zone, ord);
        NodeView {
            name: snapshot.names.name(ord).to_owned(),
            pool: self.pool_name(snapshot.pool(ord)),
            zone: snapshot.topology.name(DomainLevel::Zone, zone).map(str::to_owned),
            requested: snapshot.used(ord).into(),
            allocatable: snapshot.allocatable(ord).into(),
        }
    }

    fn pool_name(&self, pool: PoolOrd) -> Option<String> {
        self.view.plan.pools.get(pool.index()).map(|pool| pool.name.clone())
    }

    fn open_to(&self, class: &Class) -> Option<Vec<String>> {
        let order = class.params.order.as_ref()?;
        Some(order.iter().filter_map(|pool| self.pool_name(*pool)).collect())
    }

    fn class(&self, class: &Class) -> ClassView {
        ClassView {
            name: class.name.clone(),
            role: match class.role {
                Role::Online => "online",
                Role::Offline => "offline",
                Role::Default => "default",
                Role::Exempt => "exempt",
            },
            protected: class.params.is_protected,
            pools: self.open_to(class),
            filters: class.filters.iter().map(|rule| rule.name).collect(),
            scorers: class
                .scorers
                .iter()
                .map(|rule| ScorerView { name: rule.name, weight: rule.weight.into() })
                .collect(),
        }
    }
}

/// A percentage to two decimals.
fn percent(part: i64, whole: i64) -> f64 {
    ((part as f64 / whole as f64) * 10_000.0).round() / 100.0
}
