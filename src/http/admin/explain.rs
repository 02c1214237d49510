//! `/api/v1/explain`: why a pod waits, or where it is. `sigma why` prints this page.

use serde::{Deserialize, Serialize};

use super::explain_nodes::{ConstraintView, ExplainedNodeView, NominatedView, taint_of};
use super::explain_steer::{NominatorView, ObstacleView, SteerView};
use super::policy::open_pools;
use super::{Admin, AdminPage, AmountsView, LimitView, NodeView, Problem};
use crate::engine::{self, Decider, NodeExplanation, RulePoints, View};
use crate::model::{CannotJudge, NodeOrd, Pod, PodUid, Reason, Tick};

/// Most nodes that an explanation shows in full.
const MAX_BEST: usize = 5;

/// The page.
#[derive(Default, Deserialize, Serialize)]
pub(crate) struct ExplainView {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) state: PodState,
    pub(crate) node: Option<String>,
    pub(crate) class: String,
    /// The pod's label asks for more than the policy grants.
    pub(crate) exceeds_grant: bool,
    /// The reason of the last unschedulable answer.
    pub(crate) reported: Option<String>,
    /// The pod was answered, and its place is kept until the watch shows where it is bound.
    pub(crate) held: bool,
    /// Whether it is nominated ahead; null where the policy does not, and for a placed pod.
    pub(crate) nominate_ahead: Option<NominatorView>,
    pub(crate) requests: Option<AmountsView>,
    pub(crate) nodes_considered: usize,
    pub(crate) nodes_kept: u32,
    /// Those of them that kube-scheduler's own constraints leave; null where the pod has none.
    pub(crate) nodes_left: Option<usize>,
    /// How many of `nodes_kept` each of these constraints rules out.
    pub(crate) constraints: Vec<ConstraintView>,
    /// Why `nodes_left` is an upper bound; null: it is exact.
    pub(crate) cannot_judge: Option<String>,
    pub(crate) rejections: Vec<RejectionView>,
    pub(crate) best: Vec<BestView>,
    /// The pools that are open to its class, in order; null where every node is.
    pub(crate) pools: Option<Vec<String>>,
    /// Its nominated node; null for none, and for a placed pod.
    pub(crate) nominated: Option<NominatedView>,
    /// Its steer, under way or one of the last; null without one.
    pub(crate) steer: Option<SteerView>,
    /// What is off that would steer it; empty for a placed pod.
    pub(crate) steering_off: Vec<ObstacleView>,
}

/// Whether a pod has a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PodState {
    #[default]
    Pending,
    Placed,
}

/// The nodes that one reason refuses.
#[derive(Deserialize, Serialize)]
pub(crate) struct RejectionView {
    pub(crate) reason: String,
    text: String,
    pub(crate) nodes: u32,
    pub(crate) example: ExplainedNodeView,
    /// The limits that the example exceeds; empty where the reason is of no limit.
    pub(crate) limits: Vec<LimitView>,
    /// The example's taint that the pod does not tolerate; null for other reasons.
    pub(crate) taint: Option<String>,
}

/// One of the best nodes.
#[derive(Deserialize, Serialize)]
pub(crate) struct BestView {
    pub(crate) node: ExplainedNodeView,
    pub(crate) score: u32,
    pub(crate) points: Vec<PointsView>,
}

/// The points of one scorer.
#[derive(Deserialize, Serialize)]
pub(crate) struct PointsView {
    pub(crate) rule: String,
    pub(crate) weight: u32,
    pub(crate) points: u32,
}

impl PointsView {
    fn of(it: &RulePoints) -> Self {
        Self { rule: it.rule.to_owned(), weight: it.weight, points: it.points }
    }
}

/// The parameters of the page.
#[derive(Deserialize)]
pub(crate) struct ExplainQuery {
    namespace: Option<String>,
    pod: Option<String>,
    node: Option<String>,
}

impl AdminPage for ExplainView {
    const PATH: &'static str = "/api/v1/explain";
    type Query = ExplainQuery;

    /// Decides as an answer to kube-scheduler does: with the decider up to date and on the newest view. An older
    /// view would take the decider back to an older policy.
    fn of(admin: &Admin, query: ExplainQuery) -> Result<Self, Problem> {
        let Some(name) = query.pod else {
            return Err(Problem::bad_request("say which pod: ?namespace=NAMESPACE&pod=POD"));
        };
        let namespace = query.namespace.as_deref().unwrap_or("default");
        admin.shared.decide(|decider, view, now| {
            let snapshot = &view.snapshot;
            let Some(pod) = snapshot.pending_by_name(namespace, &name) else {
                return placed(decider, view, (namespace, &name), now);
            };
            let mut page = pending(decider, view, pod, query.node.as_deref(), now)?;
            if let Some(acting) = &admin.acting {
                let state = acting.nominator.standing(view, decider, pod);
                page.nominate_ahead = state.map(NominatorView::from);
                let off = acting.steering(decider).of_pod(view, decider, pod);
                page.steering_off = off.into_iter().map(ObstacleView::from).collect();
            }
            Ok(page)
        })
    }
}

fn placed(
    decider: &Decider,
    view: &View,
    (namespace, name): (&str, &str),
    now: Tick,
) -> Result<ExplainView, Problem> {
    let Some((ord, record)) = view.snapshot.placed_by_name(namespace, name) else {
        return Err(Problem::not_found(format!("no pod {namespace}/{name} is known")));
    };
    Ok(ExplainView {
        namespace: namespace.to_owned(),
        pod: name.to_owned(),
        state: PodState::Placed,
        node: Some(view.snapshot.names.name(ord).to_owned()),
        class: view.class(view.classify_placed(record)).name.clone(),
        requests: Some(record.requests.into()),
        steer: SteerView::of(decider, PodUid(record.uid), now),
        ..ExplainView::default()
    })
}

fn pending(
    decider: &mut Decider,
    view: &View,
    pod: &Pod,
    node: Option<&str>,
    now: Tick,
) -> Result<ExplainView, Problem> {
    let snapshot = &view.snapshot;
    let unknown = |name: &str| Problem::not_found(format!("no node {name} is known"));
    let nodes: Vec<NodeOrd> = match node {
        None => snapshot.live_nodes().collect(),
        Some(name) => vec![snapshot.names.ord(name).ok_or_else(|| unknown(name))?],
    };
    let explained = engine::explain(decider, view, pod, &nodes, MAX_BEST);
    let by_nodes = explained.has_unclear.then_some(CannotJudge::Unclear);
    let cannot_judge = snapshot.cannot_judge(pod).or(by_nodes);
    let (kept, out): (Vec<&NodeExplanation>, Vec<&NodeExplanation>) =
        explained.nodes.iter().partition(|it| it.verdict == Reason::Kept);
    let node = |it: &NodeExplanation| ExplainedNodeView::of(NodeView::of(view, it.node), it);
    let rejections = out.into_iter().map(|it| RejectionView {
        reason: it.verdict.name().to_owned(),
        text: it.verdict.text().to_owned(),
        nodes: explained.tally.count(it.verdict),
        example: node(it),
        limits: it.exceeded.iter().map(LimitView::of).collect(),
        taint: taint_of(snapshot, pod, it),
    });
    let best = kept.into_iter().map(|it| BestView {
        node: node(it),
        score: it.score,
        points: it.points.iter().map(PointsView::of).collect(),
    });
    Ok(ExplainView {
        namespace: pod.namespace.to_string(),
        pod: pod.name.to_string(),
        class: explained.class,
        exceeds_grant: explained.claimed_more,
        reported: decider.unschedulable().reason(pod.uid).map(|it| it.text().to_owned()),
        held: decider.is_held(pod.uid),
        requests: Some(pod.requests.base.into()),
        nodes_considered: nodes.len(),
        nodes_kept: explained.tally.kept(),
        nodes_left: explained.num_left,
        constraints: explained.ruled_out.iter().map(ConstraintView::of).collect(),
        cannot_judge: cannot_judge.map(|it| it.name().to_owned()),
        rejections: rejections.collect(),
        best: best.collect(),
        pools: open_pools(view, view.class(view.classify(pod).class)),
        nominated: NominatedView::of(snapshot, decider, pod),
        steer: SteerView::of(decider, pod.uid, now),
        ..ExplainView::default()
    })
}
