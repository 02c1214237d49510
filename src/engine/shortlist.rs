//! Which of the nodes that may take the pod an answer names.

use super::Case;
use super::desk::Answer;
use super::rank::Ranker;
use crate::model::{NodeOrd, PoolOrd, Reason};

/// An answer that bears limits of ours names at most this many nodes, since each of them is held.
pub const MAX_HELD_NODES: usize = 16;

/// Buffers that live as long as the desk.
#[derive(Debug, Default)]
pub(super) struct Shortlister {
    ranker: Ranker,
    /// Of the nodes that are ranked: their positions in the offer, and the nodes.
    positions: Vec<u32>,
    nodes: Vec<NodeOrd>,
}

impl Shortlister {
    /// The nodes that an answer names when each of them is held: the best ones, as ascending
    /// positions with a score for each.
    ///
    /// Every node but the one that wins is held for nothing until the watch tells. So while other
    /// pods hold something, fewer are named: about half of the best band is held for all of them
    /// together. Without this, at 200 pods a second a pool of sixty machines looked full at 23 %
    /// (measured end to end). An elastic pool is held once, however many of its nodes are named.
    pub(super) fn name_best(
        &mut self,
        case: Case<'_>,
        nodes: &[NodeOrd],
        verdicts: &[Reason],
        num_holds: usize,
        answer: &mut Answer,
    ) {
        let pools = &case.world.snapshot.columns.pool;
        let kept = (0_u32..).zip(nodes.iter().zip(verdicts));
        let kept = kept.filter(|(_, (_, verdict))| **verdict == Reason::Kept);
        let kept = kept.map(|(at, (ord, _))| (at, *ord, case.class.band(pools[ord.index()])));
        let mut num_in_band = [0; PoolOrd::MAX_POOLS + 2];
        kept.clone().for_each(|(_, _, band)| num_in_band[band] += 1);
        let Some(best_band) = num_in_band.iter().position(|num| *num > 0) else {
            return;
        };
        let is_elastic = || {
            let (_, node, _) = kept.clone().find(|(_, _, band)| *band == best_band)?;
            Some(case.class.params.pools.get(pools[node.index()].index())?.elastic)
        };
        let num_holds = if is_elastic() == Some(true) { 0 } else { num_holds };
        let most = num_named(num_in_band[best_band], num_holds);
        // Whatever its points, a node is behind all nodes of the bands before its own: where these
        // are enough, it needs no points.
        let mut num_ranked = 0;
        let last = num_in_band.iter().position(|num| {
            num_ranked += num;
            num_ranked >= most
        });
        let last = last.unwrap_or(PoolOrd::MAX_POOLS);
        self.positions.clear();
        self.nodes.clear();
        for (at, ord, _) in kept.filter(|(_, _, band)| *band <= last) {
            self.positions.push(at);
            self.nodes.push(ord);
        }
        let ranked = self.ranker.rank(case, &self.nodes);
        let mut best = ranked.best(most);
        best.sort_unstable();
        answer.accepted.extend(best.iter().map(|at| self.positions[*at]));
        ranked.scores(best.into_iter(), &mut answer.scores);
    }
}

/// How many nodes are named when the best band has `num_in_band` and `num_holds` other pods hold
/// something.
fn num_named(num_in_band: usize, num_holds: usize) -> usize {
    match num_holds {
        0 => MAX_HELD_NODES,
        _ => (num_in_band / num_holds.saturating_add(1).saturating_mul(2)).clamp(1, MAX_HELD_NODES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Extra;
    use crate::model::NodeMatcher;
    use crate::policy::{ClassSettings, PoolSettings, Settings, default_class};
    use crate::testing::{Site, node, pod, seen_node};

    #[test]
    fn bands_that_are_not_ranked_would_not_have_got_in() {
        let pool = |name: &str| PoolSettings {
            name: name.into(),
            matcher: NodeMatcher {
                labels: vec![("pool".into(), name.into())],
                ..NodeMatcher::default()
            },
            ..PoolSettings::default()
        };
        let order = [PoolOrd(2), PoolOrd(0), PoolOrd(1)];
        let class = ClassSettings { pools: Some(order.into()), ..default_class() };
        let pools = ["a", "b", "c"].map(pool).into();
        let mut site = Site::new(&Settings { name: "test".into(), pools, classes: vec![class] });
        let nodes = (0..40)
            .map(|at| node(&format!("n{at}"), &[("pool", ["a", "b", "c", "d"][at % 7 % 4])]));
        site.see(nodes.map(seen_node));
        let (world, pod) = (&site.world, pod(1, 1));
        let mut extra = Extra::default();
        extra.fit(&world.snapshot);
        let class = world.class(world.classify(&pod).class);
        let case = Case { world, class, pod: &pod, extra: &extra };
        let nodes: Vec<NodeOrd> = world.snapshot.live_nodes().collect();
        let verdict = |at| if at % 3 == 0 { Reason::Insufficient } else { Reason::Kept };
        let verdicts: Vec<Reason> = (0..nodes.len()).map(verdict).collect();
        let mut ranker = Ranker::default();
        let all = ranker.rank(case, &nodes).best(nodes.len());
        let all = all.into_iter().filter(|at| verdicts[*at] == Reason::Kept);
        let all: Vec<u32> = all.map(|at| at as u32).collect();
        let first_pool = |at: &&u32| world.snapshot.pool(nodes[**at as usize]) == PoolOrd(2);
        let num_in_band = all.iter().filter(first_pool).count();
        assert!(num_in_band < MAX_HELD_NODES, "others must fill up");
        let mut shortlister = Shortlister::default();
        for num_holds in [0, 1, 2, 100] {
            let mut answer = Answer::default();
            shortlister.name_best(case, &nodes, &verdicts, num_holds, &mut answer);
            let want = num_named(num_in_band, num_holds).min(all.len());
            let mut want = all[..want].to_vec();
            want.sort_unstable();
            assert_eq!(answer.accepted, want, "{num_holds}");
            let named: Vec<NodeOrd> = want.iter().map(|at| nodes[*at as usize]).collect();
            let mut scores = Vec::new();
            ranker.rank(case, &named).scores(0..named.len(), &mut scores);
            assert_eq!(answer.scores, scores, "{num_holds}");
        }
    }

    #[test]
    fn the_more_is_held_the_fewer_nodes_are_named() {
        assert_eq!((num_named(10_000, 0), num_named(1, 0)), (MAX_HELD_NODES, MAX_HELD_NODES));
        assert_eq!((num_named(10, 1), num_named(10, 9), num_named(500, 24)), (2, 1, 10));
        assert_eq!((num_named(10_000, 1), num_named(1, usize::MAX)), (MAX_HELD_NODES, 1));
    }
}
