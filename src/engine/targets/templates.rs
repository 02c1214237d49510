//! Which nodes can be the best for a pod, found without looking at all of them.
//!
//! Nodes of one pool and one failure domain that carry no replica of the pod's app differ in what is
//! local to them and in the images that they have, and in nothing else that a rule looks at. So of
//! each such *group* only the best by these points can be the best of all; beside them, nodes that do
//! carry replicas are looked at one by one, unless a node of their group without any has more points.
//! A test holds the catalogue to this: a rule that is not local is one of those that are meant here.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::cluster::tie;
use crate::engine::Case;
use crate::engine::in_tree::InTree;
use crate::engine::scans::{self, Buffers, Rows};
use crate::model::{ClassOrd, DomainLevel, DomainOrd, ImageName, NodeOrd, PoolOrd};
use crate::rules::{Cx, Scored, SpreadKey, images_matter};

/// Most looks at all nodes for one batch: a millisecond each.
const MAX_TEMPLATES: usize = 256;

/// The templates of a batch.
#[derive(Default)]
pub(super) struct Templates {
    templates: Vec<Template>,
    num_looks: usize,
    buffers: Buffers,
    replicas: Vec<NodeOrd>,
}

impl Templates {
    /// Forgets what was found: other nominations count from now on.
    pub(super) fn clear(&mut self) {
        self.templates.clear();
    }

    /// Puts the nodes among which the best is into `candidates`, and gives what local rules found;
    /// `None` when the template is new and there were enough. `taken` are the nodes that the batch has
    /// taken so far; `in_tree` leaves some.
    pub(super) fn candidates(
        &mut self,
        class: ClassOrd,
        case: Case<'_>,
        taken: &[NodeOrd],
        in_tree: Option<&InTree>,
        candidates: &mut Vec<NodeOrd>,
    ) -> Option<&Rows> {
        let at = self.position(class, case, taken.len())?;
        let Self { templates, buffers, replicas, .. } = self;
        let template = &mut templates[at];
        template.follow(case, taken, buffers);
        replicas.clear();
        if let Some(app) = case.pod.app() {
            let placed = case.world.snapshot.app(app).map_or(&[][..], |row| row.nodes());
            replicas.extend(placed.iter().map(|it| it.0));
            if !case.extra.replicas.is_empty() {
                replicas.extend(case.extra.replicas.iter().map(|it| it.1));
                replicas.sort_unstable();
                replicas.dedup();
            }
        }
        candidates.clear();
        template.candidates(case, replicas, in_tree, candidates);
        Some(&template.rows)
    }

    fn position(&mut self, class: ClassOrd, case: Case<'_>, num_taken: usize) -> Option<usize> {
        let pod = case.pod;
        let images = match images_matter(&case.world.snapshot, &pod.images) {
            true => &pod.images[..],
            false => &[],
        };
        let hash = scans::Template::hash_of(class, pod);
        let is_of = |it: &Template| it.template.is_of(hash, class, pod) && *it.images == *images;
        let known = self.templates.iter().position(is_of);
        if known.is_some() || self.num_looks >= MAX_TEMPLATES {
            return known;
        }
        self.num_looks += 1;
        let mut template = Template {
            template: scans::Template::new(hash, class, pod),
            images: images.into(),
            num_followed: num_taken,
            rows: Rows::default(),
            image_points: Vec::new(),
            points: Vec::new(),
            group_of: Vec::new(),
            groups: Vec::new(),
        };
        template.look(case, &mut self.buffers);
        self.templates.push(template);
        Some(self.templates.len() - 1)
    }
}

/// What is known of the nodes for one template.
struct Template {
    template: scans::Template,
    /// Those that make a difference.
    images: Box<[ImageName]>,
    /// How many of the taken nodes were looked at since.
    num_followed: usize,
    rows: Rows,
    /// By node; empty when images make no difference.
    image_points: Vec<u32>,
    /// By node: points of the local scorers and for images; `None` for a node that is out.
    points: Vec<Option<u32>>,
    group_of: Vec<u32>,
    groups: Vec<Group>,
}

/// Nodes of one pool and one failure domain, by points. A node is also where its points put it before;
/// what counts is what it has now.
#[derive(Default)]
struct Group {
    by_points: BTreeMap<u32, Vec<NodeOrd>>,
}

impl Template {
    /// Looks at all nodes.
    fn look(&mut self, case: Case<'_>, buffers: &mut Buffers) {
        let snapshot = &case.world.snapshot;
        let all = snapshot.capacity();
        buffers.nodes.clear();
        buffers.nodes.extend((0..all as u32).map(NodeOrd));
        self.rows.fit(all);
        self.rows.look(case, buffers);
        self.image_points = image_points(case, &self.images, &buffers.nodes);
        // As `failureSpread` and `domainShare` have it; nodes as domains differ by replicas alone.
        let level = match case.class.params.spread.map(|spread| spread.key) {
            Some(SpreadKey::Node) => None,
            Some(SpreadKey::Level(level)) => Some(level),
            None => Some(DomainLevel::Zone),
        };
        let mut known: FxHashMap<(PoolOrd, DomainOrd), u32> = FxHashMap::default();
        let group_of = buffers.nodes.iter().map(|ord| {
            let domain = level.map_or(DomainOrd::NONE, |level| snapshot.domain(level, *ord));
            let next = known.len() as u32;
            *known.entry((snapshot.pool(*ord), domain)).or_insert(next)
        });
        self.group_of = group_of.collect();
        self.groups.resize_with(known.len(), Group::default);
        self.points = vec![None; all];
        for ord in &buffers.nodes {
            self.note(*ord);
        }
    }

    /// Looks again at the nodes that were taken meanwhile. One that was out is out for good.
    fn follow(&mut self, case: Case<'_>, taken: &[NodeOrd], buffers: &mut Buffers) {
        let news = &taken[self.num_followed..];
        self.num_followed = taken.len();
        buffers.nodes.clear();
        buffers.nodes.extend(news.iter().filter(|ord| self.points[ord.index()].is_some()));
        if buffers.nodes.is_empty() {
            return;
        }
        self.rows.look(case, buffers);
        for ord in &buffers.nodes {
            self.note(*ord);
        }
    }

    /// Puts a node where its points belong.
    fn note(&mut self, ord: NodeOrd) {
        let at = ord.index();
        let of_images = self.image_points.get(at).copied().unwrap_or(0);
        let points = self.rows.kept(ord).map(|points| points + of_images);
        if points == self.points[at] {
            return;
        }
        self.points[at] = points;
        if let Some(points) = points {
            let group = &mut self.groups[self.group_of[at] as usize];
            group.by_points.entry(points).or_default().push(ord);
        }
    }

    /// Gathers the nodes among which the best is; `replicas` are those that carry some of the app's,
    /// ascending.
    fn candidates(
        &mut self,
        case: Case<'_>,
        replicas: &[NodeOrd],
        in_tree: Option<&InTree>,
        candidates: &mut Vec<NodeOrd>,
    ) {
        let hashes = &case.world.snapshot.columns.name_hash;
        let tie_of = |ord: NodeOrd| tie(case.pod.uid, hashes[ord.index()]);
        let points = &self.points;
        let admits = |ord: NodeOrd| in_tree.is_none_or(|it| it.admits(ord));
        let is_free = |ord: NodeOrd| replicas.binary_search(&ord).is_err();
        let mut most = Vec::with_capacity(self.groups.len());
        for group in &mut self.groups {
            let best = group.best(points, |ord| is_free(ord) && admits(ord), tie_of);
            most.push(best.map(|it| it.0));
            candidates.extend(best.map(|it| it.1));
        }
        let with_replicas = replicas.iter().filter(|ord| {
            let at = ord.index();
            let leads = self.points[at].is_some_and(|points| {
                most[self.group_of[at] as usize].is_none_or(|most| points >= most)
            });
            leads && admits(**ord)
        });
        candidates.extend(with_replicas);
    }
}

impl Group {
    /// The best of the group that is free, and its points; among equals the first by tie.
    fn best(
        &mut self,
        points: &[Option<u32>],
        is_free: impl Fn(NodeOrd) -> bool,
        tie_of: impl Fn(NodeOrd) -> u64,
    ) -> Option<(u32, NodeOrd)> {
        while let Some(mut last) = self.by_points.last_entry() {
            let here = Some(*last.key());
            last.get_mut().retain(|ord| points[ord.index()] == here);
            if !last.get().is_empty() {
                break;
            }
            last.remove();
        }
        self.by_points.iter().rev().find_map(|(here, nodes)| {
            let free = nodes
                .iter()
                .copied()
                .filter(|ord| points[ord.index()] == Some(*here) && is_free(*ord));
            Some((*here, free.min_by_key(|ord| tie_of(*ord))?))
        })
    }
}

/// What the images make of each node, in weighted points; empty without any that make a difference.
fn image_points(case: Case<'_>, images: &[ImageName], nodes: &[NodeOrd]) -> Vec<u32> {
    let Case { world, class, pod, extra } = case;
    let rule = class.scorers.iter().find(|rule| rule.name == "imageLocality");
    let Some(rule) = rule.filter(|_| !images.is_empty()) else {
        return Vec::new();
    };
    let cx = Cx { snapshot: &world.snapshot, extra, pod, extended: &[] };
    let (mut points, mut buffers) = (Vec::new(), Default::default());
    let scored = Scored { nodes, fills: &[], points: &mut points, buffers: &mut buffers };
    rule.scorer.score(&cx, scored);
    points.iter().map(|points| u32::from(*points) * u32::from(rule.weight)).collect()
}

#[cfg(test)]
mod tests {
    use crate::rules::CATALOGUE;

    #[test]
    fn rules_that_are_not_local_differ_only_between_groups() {
        // A new one here: is what it finds the same on all nodes of a pool and a failure domain that
        // carry no replica of the pod's app? If not, `Template::look` must know of it.
        let known = ["elasticLimit", "domainShare", "failureSpread", "hostSpread", "imageLocality"];
        let found = CATALOGUE.iter().filter(|it| !it.local).map(|it| it.name);
        assert_eq!(found.collect::<Vec<_>>(), known);
    }
}
