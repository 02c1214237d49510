//! Which of the offered nodes may take the pod.

use super::Case;
use super::rank::{Ranker, best};
use crate::model::{NodeOrd, PoolOrd, Reason};
use crate::rules::{Cx, Offer};

/// An answer that bears limits of ours names at most this many nodes, since each of them is held.
pub const MAX_HELD_NODES: usize = 16;

/// How many nodes were refused for which reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: [u32; Reason::ALL.len() + 1],
}

impl Tally {
    /// Counts verdicts.
    pub fn of(verdicts: &[Reason]) -> Self {
        let mut tally = Self::default();
        for verdict in verdicts {
            tally.counts[*verdict as usize] += 1;
        }
        tally
    }

    /// How many nodes have this verdict.
    pub fn count(&self, reason: Reason) -> u32 {
        self.counts[reason as usize]
    }

    /// How many nodes are in.
    pub fn kept(&self) -> u32 {
        self.count(Reason::Kept)
    }

    /// The reason that most nodes were refused for; among equals the first of the list.
    pub fn most_common(&self) -> Option<Reason> {
        let refused = Reason::ALL.into_iter().filter(|reason| self.count(*reason) > 0);
        refused.reduce(|best, it| if self.count(it) > self.count(best) { it } else { best })
    }
}

/// Lets every hard rule of the class judge the offer. Verdicts that are not `Kept` stay.
pub(super) fn judge(case: Case<'_>, nodes: &[NodeOrd], verdicts: &mut [Reason]) {
    let Case { world, class, pod, extra } = case;
    let extended = world.extended_of(pod);
    let cx = Cx { snapshot: &world.snapshot, extra, pod, extended: &extended };
    for rule in &class.filters {
        rule.filter.judge(&cx, &mut Offer { nodes, verdicts });
    }
}

/// The positions of the best nodes that are in, at most `most` of them, best first.
pub(super) fn shortlist(
    ranker: &mut Ranker,
    case: Case<'_>,
    nodes: &[NodeOrd],
    verdicts: &[Reason],
    most: usize,
) -> Vec<u32> {
    let pools = &case.world.snapshot.columns.pool;
    let kept = (0_u32..).zip(nodes.iter().zip(verdicts));
    let kept = kept.filter(|(_, (_, verdict))| **verdict == Reason::Kept);
    let kept = kept.map(|(at, (ord, _))| (at, *ord, case.class.band(pools[ord.index()])));
    // Whatever its points, a node is behind all nodes of the bands before its own: where these are
    // enough, it needs no points.
    let mut num_in_band = [0; PoolOrd::MAX_POOLS + 2];
    kept.clone().for_each(|(_, _, band)| num_in_band[band] += 1);
    let mut num_ranked = 0;
    let last = num_in_band.iter().position(|num| {
        num_ranked += num;
        num_ranked >= most
    });
    let last = last.unwrap_or(PoolOrd::MAX_POOLS);
    let mut positions = Vec::with_capacity(num_ranked);
    let mut ranked = Vec::with_capacity(num_ranked);
    for (at, ord, _) in kept.filter(|(_, _, band)| *band <= last) {
        positions.push(at);
        ranked.push(ord);
    }
    let ranks = ranker.rank(case, &ranked);
    best(ranks, most).into_iter().map(|at| positions[at]).collect()
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
        let all = best(ranker.rank(case, &nodes), nodes.len());
        let all = all.into_iter().filter(|at| verdicts[*at] == Reason::Kept);
        let all: Vec<u32> = all.map(|at| at as u32).collect();
        for most in 1..=nodes.len() {
            let got = shortlist(&mut ranker, case, &nodes, &verdicts, most);
            assert_eq!(got, all[..most.min(all.len())], "{most}");
        }
    }
}
