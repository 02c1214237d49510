//! Score: prefer the node that carries the fewest replicas of the pod's app.
//!
//! kube-scheduler does so by itself for what a ReplicaSet, a StatefulSet or a Service selects, and the
//! same for zones (which `topologySpread` does here). At the extender weight that we ask for, one point
//! of ours outweighs that, and of what a shortlist leaves out it hears nothing.

use super::max_replica_share::Replicas;
use super::{
    ClassParams, MAX_POINTS, Rule, RuleContext, RuleKind, RuleSpec, Scopes, Scored, Scorer,
};
use crate::cluster::{is_in, words_of};

/// The catalogue's entry. The first replica on a node costs half of all points: at this weight as much
/// as `balancedAllocation` and `binPack` can give together at theirs.
pub(super) static SPEC: RuleSpec = RuleSpec {
    name: "nodeSpread",
    summary: "prefer the node with the fewest replicas of the app",
    kind: RuleKind::Scorer,
    default_weight: 60,
    build,
    scopes: Scopes::APP,
};

struct NodeSpread;

fn build(_class: &ClassParams) -> Option<Rule> {
    Some(Rule::Scorer(Box::new(NodeSpread)))
}

impl Scorer for NodeSpread {
    fn score(&self, cx: &RuleContext<'_>, scored: Scored<'_>) {
        if cx.pod.app().is_none() {
            return;
        }
        scored.points.resize(scored.nodes.len(), MAX_POINTS);
        let replicas = Replicas::by_node(cx);
        // Most nodes have none, and asking for a bit is many times cheaper than looking a node up.
        let words = words_of(replicas.iter().map(|it| it.0), &mut scored.buffers[0]);
        for (ord, points) in scored.nodes.iter().zip(scored.points) {
            if is_in(words, *ord) {
                let at = replicas.binary_search_by_key(ord, |it| it.0);
                let here = at.ok().and_then(|at| replicas.get(at)).map_or(0, |it| it.1);
                *points = (u32::from(MAX_POINTS) / here.saturating_add(1)) as u16;
            }
        }
    }
}
