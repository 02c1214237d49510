//! Which of the nodes that may take the pod an answer names.

use super::DecisionContext;
use super::decider::Answer;
use super::equivalence_cache::Rows;
use super::rank::Ranker;
use crate::model::{NodeOrd, Pod, PoolOrd, Preferences, Reason};

/// An answer that bears limits of ours names at most this many nodes, since each of them is held.
pub const MAX_HELD_NODES: usize = 16;

/// Which of the nodes that may take the pod were named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// The class has no shortlist.
    #[default]
    All,
    /// Its shortlist is in force.
    Best,
    /// Its shortlist was switched off for this pod, so all of them were named.
    Off(ShortlistOff),
    /// Its shortlist was switched off for this pod, and holds named fewer than all of them all the same.
    Held,
}

/// Why a pod's shortlist is switched off: somebody after us must have the whole choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShortlistOff {
    /// The pod has a `ScheduleAnyway` topology spread constraint.
    SoftSpread,
    /// The pod has preferred pod affinity or anti-affinity.
    PodAffinity,
    /// The pod has preferred node affinity.
    NodeAffinity,
    /// Too many of the nodes have a `PreferNoSchedule` taint that the pod does not tolerate.
    SoftTaints,
    /// Another extender filters after us, or scores.
    OtherExtender,
}

impl ShortlistOff {
    /// All of them, in the order in which they are looked for.
    pub const ALL: [Self; 5] = [
        Self::SoftSpread,
        Self::PodAffinity,
        Self::NodeAffinity,
        Self::OtherExtender,
        Self::SoftTaints,
    ];

    /// As a metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Self::SoftSpread => "soft_spread",
            Self::PodAffinity => "pod_affinity",
            Self::NodeAffinity => "node_affinity",
            Self::SoftTaints => "soft_taints",
            Self::OtherExtender => "other_extender",
        }
    }
}

/// The pods that another extender judges after us, of the nodes that we name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OtherExtenders {
    /// None.
    #[default]
    None,
    /// Those that ask for one of these extended resources.
    Managing(Vec<Box<str>>),
    /// All.
    Judging,
}

impl OtherExtenders {
    pub(super) fn judge(&self, pod: &Pod) -> bool {
        match self {
            Self::None => false,
            Self::Judging => true,
            Self::Managing(names) => {
                pod.requests.extended.iter().any(|it| names.contains(&it.name))
            }
        }
    }
}

/// Buffers that live as long as the decider.
#[derive(Debug, Default)]
pub(super) struct Shortlister {
    pub(super) other_extenders: OtherExtenders,
    ranker: Ranker,
    /// Of the nodes that are ranked: their positions in the offer, and the nodes.
    positions: Vec<u32>,
    nodes: Vec<NodeOrd>,
    /// By set of taints: the pod would rather not have it.
    disliked: Vec<bool>,
    /// By position in the offer: the node's band, or [`OUT`].
    band_of: Vec<u8>,
}

/// Stands for the band of a node that may not take the pod.
const OUT: u8 = u8::MAX;

/// Puts the band of each node into `band_of`.
fn judge_bands(
    case: DecisionContext<'_>,
    nodes: &[NodeOrd],
    verdicts: &[Reason],
    band_of: &mut Vec<u8>,
) {
    let pools = &case.view.snapshot.columns.pool;
    let band = |(ord, verdict): (&NodeOrd, &Reason)| match verdict {
        Reason::Kept => case.class.band(pools[ord.index()]),
        _ => OUT,
    };
    band_of.clear();
    band_of.extend(nodes.iter().zip(verdicts).map(band));
}

impl Shortlister {
    /// The nodes that an answer names: the best ones, as ascending positions with a score for each;
    /// or all without scores, when neither the class's shortlist nor holds ask for less.
    ///
    /// **The shortlist.** kube-scheduler pays for each name, and our points outweigh its own; so only
    /// the best are named, of several zones, unless somebody after us must have the whole choice. A
    /// node with a `PreferNoSchedule` taint is left out while the best band has enough without.
    ///
    /// **Holds.** Every node but the one that wins is held for nothing until the watch tells. So while
    /// other pods hold something, fewer are named: about half of the best band is held for all of
    /// them together. Without this, at 200 pods a second a pool of sixty machines looked full at 23 %
    /// (measured end to end). An elastic pool is held once, however many of its nodes are named.
    pub(super) fn name_best(
        &mut self,
        case: DecisionContext<'_>,
        rows: Option<&Rows>,
        nodes: &[NodeOrd],
        verdicts: &[Reason],
        num_holds: usize,
        answer: &mut Answer,
    ) {
        let wanted = case.class.shortlist;
        if wanted.nodes == 0 && !case.class.bears_limits {
            answer.naming = Naming::All;
            return name_all(verdicts, answer);
        }
        self.judge_taints(case);
        let Self { disliked, band_of, .. } = self;
        judge_bands(case, nodes, verdicts, band_of);
        let kept = KeptNodes { case, nodes, band_of, disliked };
        let bands = Bands::of(&kept);
        answer.naming = naming(&kept, &bands, &self.other_extenders);
        let listed = (answer.naming == Naming::Best).then_some(usize::from(wanted.nodes));
        let held = case.class.bears_limits.then(|| num_named(&kept, &bands, num_holds));
        let Some(most) = listed.into_iter().chain(held).min().filter(|most| {
            // Where all are named anyway, only holds need to know the order.
            held.is_some() || *most < bands.num_kept
        }) else {
            return name_all(verdicts, answer);
        };
        // Whatever its points, a node is behind all nodes of the bands before its own: where these
        // are enough, it needs no points.
        let last = bands.last_ranked(most);
        let only_liked =
            bands.num_disliked > 0 && listed.is_some_and(|listed| bands.has_enough_liked(listed));
        put_positions(band_of, last, &mut self.positions);
        if only_liked {
            self.positions.retain(|at| !kept.dislikes(nodes[*at as usize]));
        }
        self.nodes.clear();
        self.nodes.extend(self.positions.iter().map(|at| nodes[*at as usize]));
        let ranked = self.ranker.rank(case, rows, &self.nodes);
        let per_zone = listed.map_or(most, |_| usize::from(wanted.per_domain));
        let mut best = ranked.best_of_zones(most, per_zone);
        best.sort_unstable();
        if listed.is_none() && wanted.nodes > 0 && best.len() < bands.num_kept {
            answer.naming = Naming::Held;
        }
        answer.accepted.extend(best.iter().map(|at| self.positions[*at]));
        ranked.scores(&best, &mut answer.scores);
    }

    fn judge_taints(&mut self, case: DecisionContext<'_>) {
        let sets = case.view.snapshot.taint_sets.iter();
        self.disliked.clear();
        self.disliked.extend(sets.map(|set| case.pod.dislikes(set)));
    }
}

/// The nodes that may take the pod.
struct KeptNodes<'a> {
    case: DecisionContext<'a>,
    nodes: &'a [NodeOrd],
    band_of: &'a [u8],
    disliked: &'a [bool],
}

impl KeptNodes<'_> {
    /// Position, node and band of each.
    fn iter(&self) -> impl Iterator<Item = (u32, NodeOrd, u8)> + '_ {
        let nodes = (0_u32..).zip(self.nodes.iter().zip(self.band_of));
        let kept = nodes.filter(|(_, (_, band))| **band != OUT);
        kept.map(|(at, (ord, band))| (at, *ord, *band))
    }

    fn dislikes(&self, ord: NodeOrd) -> bool {
        let set = self.case.view.snapshot.columns.taint_set[ord.index()];
        self.disliked.get(usize::from(set)).copied().unwrap_or(false)
    }
}

/// How many nodes may take the pod, by band.
struct Bands {
    num: [usize; PoolOrd::MAX_POOLS + 1],
    num_kept: usize,
    best: u8,
    /// Of all, and of the best band: nodes with a taint that the pod would rather not have.
    num_disliked: usize,
    num_disliked_best: usize,
}

impl Bands {
    fn of(kept: &KeptNodes<'_>) -> Self {
        let mut num = [0; PoolOrd::MAX_POOLS + 1];
        let mut num_kept = 0;
        for (band, num) in (0_u8..).zip(&mut num[..kept.case.class.num_bands()]) {
            *num = count(kept.band_of, band);
            num_kept += *num;
        }
        let best = num.iter().position(|num| *num > 0).unwrap_or(0) as u8;
        let (mut num_disliked, mut num_disliked_best) = (0, 0);
        if kept.disliked.contains(&true) {
            for (_, _, band) in kept.iter().filter(|(_, ord, _)| kept.dislikes(*ord)) {
                num_disliked += 1;
                num_disliked_best += usize::from(band == best);
            }
        }
        Self { num, num_kept, best, num_disliked, num_disliked_best }
    }

    fn num_best(&self) -> usize {
        self.num[usize::from(self.best)]
    }

    /// The last band of which a node could be among the best `most`.
    fn last_ranked(&self, most: usize) -> u8 {
        let mut num_ranked = 0;
        let last = self.num.iter().position(|num| {
            num_ranked += num;
            num_ranked >= most
        });
        last.map_or(OUT - 1, |last| last as u8)
    }

    /// The best band alone fills a list of so many without a taint that the pod would rather not
    /// have.
    fn has_enough_liked(&self, listed: usize) -> bool {
        self.num_best() - self.num_disliked_best >= listed
    }

    /// A list of so many could leave out the nodes without such a taint: there are too few to fill it,
    /// and the best band is not in it as a whole, or has none.
    fn could_miss_liked(&self, listed: usize) -> bool {
        let is_whole = self.num_best() <= listed;
        let has_liked = self.num_disliked_best < self.num_best();
        self.num_disliked > 0 && !self.has_enough_liked(listed) && !(is_whole && has_liked)
    }
}

/// The positions of the bands up to `last`. Every one is written and the next one over it unless it
/// stays: pools follow each other in no order that a processor could guess.
fn put_positions(band_of: &[u8], last: u8, positions: &mut Vec<u32>) {
    positions.resize(band_of.len(), 0);
    let mut len = 0;
    for (at, band) in (0_u32..).zip(band_of) {
        positions[len] = at;
        len += usize::from(*band <= last);
    }
    positions.truncate(len);
}

/// How often the byte occurs. A sum of bytes is many times cheaper than one of words, and no chunk's
/// exceeds a byte.
fn count(bytes: &[u8], byte: u8) -> usize {
    let in_chunk = |chunk: &[u8]| chunk.iter().map(|it| u8::from(*it == byte)).sum::<u8>();
    bytes.chunks(128).map(|chunk| usize::from(in_chunk(chunk))).sum()
}

fn name_all(verdicts: &[Reason], answer: &mut Answer) {
    if answer.tally.kept() as usize == verdicts.len() {
        return answer.accepted.extend(0..answer.tally.kept());
    }
    let kept = (0_u32..).zip(verdicts).filter(|(_, it)| **it == Reason::Kept);
    answer.accepted.extend(kept.map(|(at, _)| at));
}

fn naming(kept: &KeptNodes<'_>, bands: &Bands, other_extenders: &OtherExtenders) -> Naming {
    let listed = usize::from(kept.case.class.shortlist.nodes);
    if listed == 0 {
        return Naming::All;
    }
    // Nothing is left out, so nobody misses anything.
    if bands.num_kept <= listed {
        return Naming::Best;
    }
    let pod = kept.case.pod;
    let is_off = |why: &ShortlistOff| match why {
        ShortlistOff::SoftSpread => pod.preferences.intersects(Preferences::SPREAD),
        ShortlistOff::PodAffinity => pod.preferences.intersects(Preferences::POD_AFFINITY),
        ShortlistOff::NodeAffinity => pod.preferences.intersects(Preferences::NODE_AFFINITY),
        ShortlistOff::OtherExtender => other_extenders.judge(pod),
        ShortlistOff::SoftTaints => bands.could_miss_liked(listed),
    };
    ShortlistOff::ALL.into_iter().find(is_off).map_or(Naming::Best, Naming::Off)
}

/// How many nodes are named when each of them is held.
fn num_named(kept: &KeptNodes<'_>, bands: &Bands, num_holds: usize) -> usize {
    let case = kept.case;
    let is_elastic =
        kept.iter().find(|(_, _, band)| *band == bands.best).and_then(|(_, ord, _)| {
            let pool = case.view.snapshot.columns.pool[ord.index()];
            Some(case.class.params.pools.get(pool.index())?.elastic)
        });
    let num_holds = if is_elastic == Some(true) { 0 } else { num_holds };
    num_held(bands.num_best(), num_holds)
}

/// How many nodes are named when the best band has `num_in_band` and `num_holds` other pods hold
/// something.
fn num_held(num_in_band: usize, num_holds: usize) -> usize {
    match num_holds {
        0 => MAX_HELD_NODES,
        _ => (num_in_band / num_holds.saturating_add(1).saturating_mul(2)).clamp(1, MAX_HELD_NODES),
    }
}

#[cfg(test)]
mod tests;
