//! Scans: what the local rules find on every node, kept per template of pods.
//!
//! Pods of one template ask for the same and tolerate the same, and thousands of them are asked about
//! while few rows change. So a template that was asked about often enough is looked at on all nodes
//! once, row after row; from then on only rows that changed are looked at again, and a request
//! gathers what it needs by ordinal. The rules are the same, and so is what they find.

use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

use super::filter::judge_local;
use super::rank::Ranker;
use super::{DecisionContext, fresh_verdicts};
use crate::cluster::ChangeLog;
use crate::model::{ClassOrd, NodeOrd, Pod, Reason, Requests, Toleration};

/// Most templates that are kept; the one that was not asked about for longest makes room.
const MAX_SCANS: usize = 64;

/// A look at all rows is made once a template was asked about so many times as many names: one request
/// in so many windows waits for it, and few enough that it does not show in the 99th percentile.
const NAMES_A_ROW: usize = 8;

/// Scans by template.
#[derive(Debug, Default)]
pub(super) struct EquivalenceCache {
    equivalence_cache: Vec<CacheEntry>,
    num_requests: u64,
    buffers: CacheBuffers,
    is_off: bool,
}

/// What a look at rows needs.
#[derive(Debug, Default)]
pub(super) struct CacheBuffers {
    /// The nodes that are looked at.
    pub(super) nodes: Vec<NodeOrd>,
    verdicts: Vec<Reason>,
    ranker: Ranker,
}

impl EquivalenceCache {
    /// Lets every request look at its nodes itself.
    pub(super) fn switch_off(&mut self) {
        (self.equivalence_cache, self.is_off) = (Vec::new(), true);
    }

    /// Forgets everything: the policy has changed, or a decision broke off half-way.
    pub(super) fn clear(&mut self) {
        self.equivalence_cache.clear();
    }

    /// The scan of the pod's template, up to date, if it is worth having. `case.uncommitted` is what all holds
    /// take, `held` where that changed.
    ///
    /// A request that asks for fewer names than rows have changed since the last one of its template
    /// looks at its nodes itself: with many templates in turns, following would cost more than it
    /// saves (the demo's p99 was half as much again). For the others, rows that changed are looked at
    /// once as many names were asked for, and all rows once [`NAMES_A_ROW`] times as many were.
    pub(super) fn of(
        &mut self,
        class: ClassOrd,
        case: DecisionContext<'_>,
        held: &ChangeLog,
        num_names: usize,
    ) -> Option<Lent<'_>> {
        if self.is_off {
            return None;
        }
        self.num_requests += 1;
        let snapshot = &case.view.snapshot;
        let ends = [snapshot.changes.end(), held.end()];
        let at = self.position(class, case.pod, ends);
        let scan = self.equivalence_cache.get_mut(at)?;
        scan.last_asked = self.num_requests;
        let moved = ends.iter().zip(scan.ends).map(|(now, then)| now.saturating_sub(then)).sum();
        scan.ends = ends;
        if (num_names as u64) < moved {
            scan.num_names = 0;
            return None;
        }
        scan.num_names = scan.num_names.saturating_add(num_names);
        let changed = scan
            .read
            .and_then(|[rows, holds]| Some([snapshot.changes.since(rows)?, held.since(holds)?]));
        let all = snapshot.capacity();
        let changed = changed.filter(|[rows, holds]| rows.len() + holds.len() < all);
        let needed = match changed {
            Some([rows, holds]) => rows.len() + holds.len(),
            None => all.saturating_mul(NAMES_A_ROW),
        };
        if scan.num_names < needed {
            return None;
        }
        scan.num_names = 0;
        scan.read = Some(ends);
        self.buffers.nodes.clear();
        match changed {
            Some(changed) => changed.iter().for_each(|it| self.buffers.nodes.extend_from_slice(it)),
            None => self.buffers.nodes.extend((0..all as u32).map(NodeOrd)),
        }
        scan.rows.fit(all);
        scan.rows.look(case, &mut self.buffers);
        Some(Lent { rows: &mut scan.rows, buffers: &mut self.buffers })
    }

    fn position(&mut self, class: ClassOrd, pod: &Pod, ends: [u64; 2]) -> usize {
        let hash = EquivalenceKey::hash_of(class, pod);
        let is_of = |it: &CacheEntry| it.template.is_of(hash, class, pod);
        if let Some(at) = self.equivalence_cache.iter().position(is_of) {
            return at;
        }
        let oldest = self.equivalence_cache.iter().enumerate().min_by_key(|(_, it)| it.last_asked);
        if let Some((at, _)) = oldest.filter(|_| self.equivalence_cache.len() >= MAX_SCANS) {
            self.equivalence_cache.swap_remove(at);
        }
        self.equivalence_cache.push(CacheEntry {
            template: EquivalenceKey::new(hash, class, pod),
            last_asked: 0,
            num_names: 0,
            ends,
            read: None,
            rows: Rows::default(),
        });
        self.equivalence_cache.len() - 1
    }
}

/// What local rules look at of a pod: what they find on a node holds for every pod of a template.
#[derive(Debug)]
pub(super) struct EquivalenceKey {
    hash: u64,
    class: ClassOrd,
    requests: Requests,
    tolerations: Box<[Toleration]>,
}

impl EquivalenceKey {
    /// Of the template that a pod of this class is of.
    pub(super) fn hash_of(class: ClassOrd, pod: &Pod) -> u64 {
        let mut hasher = FxHasher::default();
        (class, &pod.requests, &pod.tolerations).hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn new(hash: u64, class: ClassOrd, pod: &Pod) -> Self {
        let (requests, tolerations) = (pod.requests.clone(), pod.tolerations.clone());
        Self { hash, class, requests, tolerations }
    }

    /// A pod of this class, with this hash, is of this template.
    pub(super) fn is_of(&self, hash: u64, class: ClassOrd, pod: &Pod) -> bool {
        (self.hash, self.class) == (hash, class)
            && self.requests == pod.requests
            && self.tolerations == pod.tolerations
    }
}

/// What is known of one template.
#[derive(Debug)]
struct CacheEntry {
    template: EquivalenceKey,
    last_asked: u64,
    /// That were asked for since the last look.
    num_names: usize,
    /// How many changes of rows, and of holds, there were at the last request.
    ends: [u64; 2],
    /// How many of them are in `rows`; `None` before the first look.
    read: Option<[u64; 2]>,
    rows: Rows,
}

/// What the local rules find, by ordinal.
#[derive(Debug, Default)]
pub(super) struct Rows {
    verdicts: Vec<Reason>,
    points: Vec<u32>,
}

impl Rows {
    /// Puts the verdict on each node into `verdicts`.
    pub(super) fn verdicts(&self, nodes: &[NodeOrd], verdicts: &mut Vec<Reason>) {
        let of = |ord: &NodeOrd| self.verdicts.get(ord.index()).copied();
        verdicts.clear();
        verdicts.extend(nodes.iter().map(|ord| of(ord).unwrap_or(Reason::UnknownNode)));
    }

    /// Puts the weighted points of each node into `points`.
    pub(super) fn points(&self, nodes: &[NodeOrd], points: &mut Vec<u32>) {
        let of = |ord: &NodeOrd| self.points.get(ord.index()).copied();
        points.clear();
        points.extend(nodes.iter().map(|ord| of(ord).unwrap_or(0)));
    }

    /// The weighted points of the local scorers, where the local filters keep the node.
    pub(super) fn kept(&self, node: NodeOrd) -> Option<u32> {
        let is_kept = self.verdicts.get(node.index()) == Some(&Reason::Kept);
        self.points.get(node.index()).copied().filter(|_| is_kept)
    }

    /// Makes it so many rows long.
    pub(super) fn fit(&mut self, rows: usize) {
        self.verdicts.resize(rows, Reason::UnknownNode);
        self.points.resize(rows, 0);
    }

    /// Looks again at the nodes in the buffer.
    pub(super) fn look(&mut self, case: DecisionContext<'_>, buffers: &mut CacheBuffers) {
        let CacheBuffers { nodes, verdicts, ranker } = buffers;
        fresh_verdicts(&case.view.snapshot, nodes, verdicts);
        judge_local(case, nodes, verdicts);
        let points = ranker.local_points(case, nodes);
        for (ord, (verdict, points)) in nodes.iter().zip(verdicts.iter().zip(points)) {
            let at = ord.index();
            if let (Some(v), Some(p)) = (self.verdicts.get_mut(at), self.points.get_mut(at)) {
                (*v, *p) = (*verdict, *points);
            }
        }
    }
}

/// Rows for one decision.
pub(super) struct Lent<'a> {
    rows: &'a mut Rows,
    buffers: &'a mut CacheBuffers,
}

impl Lent<'_> {
    /// Lends `decide` the rows as the pod sees them: where what is taken `differs` from what all holds
    /// take, they are looked at for this pod alone.
    pub(super) fn seen_by<T>(
        self,
        case: DecisionContext<'_>,
        decide: impl FnOnce(&Rows) -> T,
    ) -> T {
        let Self { rows, buffers } = self;
        if case.uncommitted.differs.is_empty() {
            return decide(rows);
        }
        buffers.nodes.clear();
        let is_row = |ord: &&NodeOrd| ord.index() < rows.verdicts.len();
        buffers.nodes.extend(case.uncommitted.differs.iter().filter(is_row));
        let row = |ord: &NodeOrd| (rows.verdicts[ord.index()], rows.points[ord.index()]);
        let before: Vec<(Reason, u32)> = buffers.nodes.iter().map(row).collect();
        rows.look(case, buffers);
        let decided = decide(rows);
        for (ord, before) in buffers.nodes.iter().zip(before) {
            (rows.verdicts[ord.index()], rows.points[ord.index()]) = before;
        }
        decided
    }
}
