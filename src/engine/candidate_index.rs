//! Which nodes can be the best for a pod, found without looking at all of them.
//!
//! Nodes of one pool and one failure domain without a replica of the pod's app are a *group*. For most rules their
//! [`Scopes`] say that such nodes differ only in their rows and in their images. The points of local scorers and of
//! scorers of images are kept for each node, so only the best node of a group can be the best of all.
//!
//! Nodes with replicas are looked at one by one, unless a node of their group without a replica has more points. If a
//! rule of the class may differ within a group in another way, all nodes are looked at.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::DecisionContext;
use super::equivalence_cache::{CacheBuffers, Rows};
use super::unoffered::UnofferedNodes;
use crate::cluster::{Snapshot, Uncommitted, tie};
use crate::model::{DomainLevel, DomainOrd, ImageName, NodeOrd, Pod, PoolOrd};
use crate::policy::{Class, ScorerRule};
use crate::rules::{Scopes, Scored, SpreadKey, images_matter};

/// Places in groups that are out of date are cleared away when there are so many times as many as nodes.
const MOST_PLACES: usize = 4;

/// What is known of all nodes for the pods of one template.
#[derive(Debug, Default)]
pub(super) struct CandidateIndex {
    rows: Rows,
    /// By node; empty when images make no difference.
    image_points: Vec<u32>,
    /// By node: points of the local scorers and for images; `None` for a node that is out.
    points: Vec<Option<u32>>,
    group_of: Vec<u32>,
    group_by_place: FxHashMap<(PoolOrd, DomainOrd), u32>,
    groups: Vec<Group>,
    num_places: usize,
}

/// Nodes of one pool and one failure domain, by points. A node is also where its points put it before,
/// maybe in another group; what counts is what it has now.
#[derive(Debug, Default)]
struct Group {
    by_points: BTreeMap<u32, Vec<NodeOrd>>,
}

/// Nodes that are not like the others of their groups for one pod.
pub(super) struct Unlike<'a> {
    /// Those that carry replicas of its app, ascending.
    pub(super) replicas: &'a [NodeOrd],
    /// Those of which other things are known for this pod, ascending.
    pub(super) differ: &'a [NodeOrd],
}

/// Those of the images that make a difference.
pub(super) fn images_of<'a>(snapshot: &Snapshot, pod: &'a Pod) -> &'a [ImageName] {
    if images_matter(snapshot, &pod.images) { &pod.images } else { &[] }
}

/// The nodes that carry replicas of the pod's app, ascending.
pub(super) fn replicas_of(
    snapshot: &Snapshot,
    pod: &Pod,
    uncommitted: &Uncommitted,
    into: &mut Vec<NodeOrd>,
) {
    into.clear();
    let Some(app) = pod.app() else {
        return;
    };
    let placed = snapshot.app(app).map_or(&[][..], |row| row.nodes());
    into.extend(placed.iter().map(|it| it.0));
    if !uncommitted.replicas.is_empty() {
        into.extend(uncommitted.replicas.iter().map(|it| it.1));
        into.sort_unstable();
        into.dedup();
    }
}

impl CandidateIndex {
    /// Looks at all nodes.
    pub(super) fn look(
        &mut self,
        case: DecisionContext<'_>,
        images: &[ImageName],
        buffers: &mut CacheBuffers,
    ) {
        *self = Self::default();
        buffers.nodes.clear();
        buffers.nodes.extend((0..case.view.snapshot.capacity() as u32).map(NodeOrd));
        self.image_points = image_points(case, images, &buffers.nodes);
        self.follow(case, buffers);
    }

    /// Looks again at the nodes in the buffer.
    pub(super) fn follow(&mut self, case: DecisionContext<'_>, buffers: &mut CacheBuffers) {
        let snapshot = &case.view.snapshot;
        let all = snapshot.capacity();
        self.rows.fit(all);
        self.points.resize(all, None);
        self.group_of.resize(all, u32::MAX);
        self.rows.look(case, buffers);
        // The domains of `Scopes::DOMAIN`. If each node is a domain, its replicas are all that is in it.
        let level = match case.class.params.spread.map(|spread| spread.key) {
            Some(SpreadKey::Node) => None,
            Some(SpreadKey::Level(level)) => Some(level),
            None => Some(DomainLevel::Zone),
        };
        for ord in &buffers.nodes {
            let domain = level.map_or(DomainOrd::NONE, |level| snapshot.domain(level, *ord));
            let group = self.group((snapshot.pool(*ord), domain));
            if std::mem::replace(&mut self.group_of[ord.index()], group) != group {
                self.points[ord.index()] = None;
            }
            self.note(*ord);
        }
        if self.num_places > self.most_places() {
            self.clear_away();
        }
    }

    /// Looks again at what the images make of the nodes, which a node far away may change.
    pub(super) fn see_images(&mut self, case: DecisionContext<'_>, images: &[ImageName]) {
        if images.is_empty() && self.image_points.is_empty() {
            return;
        }
        let nodes: Vec<NodeOrd> = (0..self.points.len() as u32).map(NodeOrd).collect();
        let before = std::mem::replace(&mut self.image_points, image_points(case, images, &nodes));
        let of = |points: &[u32], ord: NodeOrd| points.get(ord.index()).copied().unwrap_or(0);
        for ord in nodes {
            if of(&before, ord) != of(&self.image_points, ord) {
                self.note(ord);
            }
        }
    }

    /// What the local rules find.
    pub(super) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The node was not out when it was looked at.
    pub(super) fn is_in(&self, ord: NodeOrd) -> bool {
        self.points.get(ord.index()).is_some_and(|points| points.is_some())
    }

    /// Gathers the nodes among which the best is.
    pub(super) fn gather(
        &mut self,
        case: DecisionContext<'_>,
        unlike: &Unlike<'_>,
        judge: &UnofferedNodes<'_>,
        into: &mut Vec<NodeOrd>,
    ) {
        let hashes = &case.view.snapshot.columns.name_hash;
        let tie_of = |ord: NodeOrd| tie(case.pod.uid, hashes[ord.index()]);
        let Self { points, group_of, groups, .. } = self;
        let admits = |ord: NodeOrd| judge.admits(ord);
        let has = |list: &[NodeOrd], ord: NodeOrd| list.binary_search(&ord).is_ok();
        let is_free = |ord| !has(unlike.replicas, ord) && !has(unlike.differ, ord) && admits(ord);
        into.clear();
        if !are_groups_alike(case.class) {
            let is_in = |ord: NodeOrd| points[ord.index()].is_some() || has(unlike.differ, ord);
            let all = (0..points.len() as u32).map(NodeOrd);
            return into.extend(all.filter(|ord| is_in(*ord) && admits(*ord)));
        }
        let mut most = Vec::with_capacity(groups.len());
        for (at, group) in (0..).zip(groups) {
            let points_here = |ord: NodeOrd| match group_of[ord.index()] == at {
                true => points[ord.index()],
                false => None,
            };
            let best = group.best(points_here, is_free, tie_of);
            most.push(best.map(|it| it.0));
            into.extend(best.map(|it| it.1));
        }
        let leads = |ord: NodeOrd| {
            let most = || most[group_of[ord.index()] as usize];
            points[ord.index()].is_some_and(|points| most().is_none_or(|most| points >= most))
        };
        let with_replicas = unlike.replicas.iter().filter(|ord| !has(unlike.differ, **ord));
        into.extend(with_replicas.filter(|ord| leads(**ord) && admits(**ord)));
        into.extend(unlike.differ.iter().filter(|ord| admits(**ord)));
    }

    /// How many places nodes have in groups, those that are out of date among them.
    #[cfg(test)]
    pub(super) fn num_places(&self) -> usize {
        self.num_places
    }

    /// With more, those that are out of date are cleared away.
    pub(super) fn most_places(&self) -> usize {
        MOST_PLACES * self.points.len()
    }

    fn group(&mut self, place: (PoolOrd, DomainOrd)) -> u32 {
        let next = self.groups.len() as u32;
        let group = *self.group_by_place.entry(place).or_insert(next);
        if group == next {
            self.groups.push(Group::default());
        }
        group
    }

    /// Puts a node where its points belong.
    fn note(&mut self, ord: NodeOrd) {
        let at = ord.index();
        let of_images = self.image_points.get(at).copied().unwrap_or(0);
        let points = self.rows.kept(ord).map(|points| points + of_images);
        if points != self.points[at] {
            self.points[at] = points;
            self.place(ord);
        }
    }

    fn place(&mut self, ord: NodeOrd) {
        if let Some(points) = self.points[ord.index()] {
            self.num_places += 1;
            let group = &mut self.groups[self.group_of[ord.index()] as usize];
            group.by_points.entry(points).or_default().push(ord);
        }
    }

    fn clear_away(&mut self) {
        self.groups.iter_mut().for_each(|group| group.by_points.clear());
        self.num_places = 0;
        (0..self.points.len() as u32).for_each(|ord| self.place(NodeOrd(ord)));
    }
}

impl Group {
    /// The best of the group that is free, and its points; among equals the first by tie.
    fn best(
        &mut self,
        points: impl Fn(NodeOrd) -> Option<u32>,
        is_free: impl Fn(NodeOrd) -> bool,
        tie_of: impl Fn(NodeOrd) -> u64,
    ) -> Option<(u32, NodeOrd)> {
        while let Some(mut last) = self.by_points.last_entry() {
            let here = Some(*last.key());
            last.get_mut().retain(|ord| points(*ord) == here);
            if !last.get().is_empty() {
                break;
            }
            last.remove();
        }
        self.by_points.iter().rev().find_map(|(here, nodes)| {
            let free = nodes.iter().copied();
            let free = free.filter(|ord| points(*ord) == Some(*here) && is_free(*ord));
            Some((*here, free.min_by_key(|ord| tie_of(*ord))?))
        })
    }
}

/// True if the kept points tell the nodes of a group apart for every rule of the class.
fn are_groups_alike(class: &Class) -> bool {
    let is_alike = |it: Scopes| it.is_local() || it.is_alike_in_groups();
    let mut scorers = class.summed_scorers();
    class.filters.iter().all(|rule| is_alike(rule.scopes))
        && scorers.all(|rule| is_alike(rule.scopes) || is_of_images(rule))
}

fn is_of_images(rule: &ScorerRule) -> bool {
    rule.scopes == Scopes::IMAGES
}

/// The weighted points of each node for its images. Empty if the images make no difference.
fn image_points(case: DecisionContext<'_>, images: &[ImageName], nodes: &[NodeOrd]) -> Vec<u32> {
    let (mut sums, mut points, mut buffers) = (Vec::new(), Vec::new(), Default::default());
    let cx = case.for_rules(&[]);
    let rules = case.class.summed_scorers().filter(|rule| is_of_images(rule));
    for rule in rules.filter(|_| !images.is_empty()) {
        points.clear();
        let scored = Scored { nodes, fills: &[], points: &mut points, buffers: &mut buffers };
        rule.scorer.score(&cx, scored);
        sums.resize(nodes.len(), 0);
        for (sum, points) in sums.iter_mut().zip(&points) {
            *sum += u32::from(*points) * u32::from(rule.weight);
        }
    }
    sums
}
