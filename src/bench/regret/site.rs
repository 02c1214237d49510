//! A cluster that fills, and what kube-scheduler's own plugins would rather have there: what a pod
//! states, images, soft taints, and the spread that it applies by itself.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use sigma::model::{
    AppKey, DomainLevel, ImageName, Node, NodeImage, Pod, Preferences, Taint, TaintEffect,
};
use sigma::sim::plugins::image_locality::{self, Image};
use sigma::sim::plugins::pod_topology_spread::{self, Constraint, SYSTEM_DEFAULT_MAX_SKEWS};
use sigma::sim::plugins::{Plugin, taint_toleration};
use sigma::sim::{Rng, cluster};

const MB: i64 = 1 << 20;
/// Stream numbers of the seed, apart from the simulator's.
const TAINT_STREAM: u64 = 301;
const TEMPLATE_STREAM: u64 = 302;

/// Share of nodes with a `PreferNoSchedule` taint.
const SOFT_TAINTED_PERCENT: u64 = 2;
/// What templates prefer, by how many do.
const PREFERENCES: [(u32, Preferences); 4] = [
    (86, Preferences(0)),
    (6, Preferences::SPREAD),
    (4, Preferences::POD_AFFINITY),
    (4, Preferences::NODE_AFFINITY),
];
/// MB of an app's image.
const IMAGE_MB: [(u32, i64); 4] = [(30, 80), (40, 300), (20, 700), (10, 2000)];
/// Thousandths of the nodes that have an app's image from earlier releases.
const IMAGE_PERMILLE: [(u32, u64); 4] = [(30, 1), (40, 10), (20, 50), (10, 200)];
/// Half of the templates have a second container, whose image nearly all nodes have.
const SIDECAR: (i64, u64) = (150, 950);

/// An image, and who has it.
#[derive(Debug)]
struct ImageSpread {
    image: NodeImage,
    on: Vec<bool>,
    num_nodes: usize,
}

/// What the pods of one app have in common.
#[derive(Debug)]
struct AppTemplate {
    preferences: Preferences,
    image: ImageSpread,
    sidecar: bool,
    /// Replicas by node, and by zone.
    on_node: FxHashMap<u32, i64>,
    in_zone: FxHashMap<Box<str>, i64>,
}

/// The nodes, and what is known of the apps.
#[derive(Debug)]
pub(super) struct RegretSite {
    /// The nodes, some with a soft taint.
    pub(super) nodes: Vec<Node>,
    /// Those that got an image, by position.
    pub(super) changed: Vec<u32>,
    rng: Rng,
    sidecar: ImageSpread,
    templates: FxHashMap<AppKey, AppTemplate>,
}

impl RegretSite {
    pub(super) fn new(num_nodes: u32, seed: u64) -> Self {
        let mut nodes = cluster(num_nodes, seed).nodes;
        let mut rng = Rng::new(seed, TAINT_STREAM);
        let soft =
            Taint { key: "retire".into(), value: "".into(), effect: TaintEffect::PreferNoSchedule };
        for node in nodes.iter_mut().filter(|_| rng.percent(SOFT_TAINTED_PERCENT)) {
            node.taints = node.taints.iter().cloned().chain([soft.clone()]).collect();
        }
        let mut rng = Rng::new(seed, TEMPLATE_STREAM);
        let sidecar = ImageSpread::new("sidecar", SIDECAR, nodes.len(), &mut rng);
        let templates = FxHashMap::default();
        let mut site = Self { nodes, changed: Vec::new(), rng, sidecar, templates };
        for at in 0..num_nodes {
            if site.sidecar.on[at as usize] {
                site.give(at, &site.sidecar.image.clone());
            }
        }
        site
    }

    /// Gives a pod what its template prefers.
    pub(super) fn furnish(&mut self, pod: &mut Pod) {
        let Some(app) = pod.app() else {
            return;
        };
        if !self.templates.contains_key(&app) {
            let rng = &mut self.rng;
            let mb = rng.pick(&IMAGE_MB).copied().unwrap_or(300);
            let permille = rng.pick(&IMAGE_PERMILLE).copied().unwrap_or(10);
            let template = AppTemplate {
                preferences: rng.pick(&PREFERENCES).copied().unwrap_or_default(),
                image: ImageSpread::new(&app.0.to_string(), (mb, permille), self.nodes.len(), rng),
                sidecar: rng.percent(50),
                on_node: FxHashMap::default(),
                in_zone: FxHashMap::default(),
            };
            for at in (0..self.nodes.len()).filter(|at| template.image.on[*at]) {
                self.give(at as u32, &template.image.image);
            }
            self.templates.insert(app, template);
        }
        let template = &self.templates[&app];
        pod.preferences = template.preferences;
        let sidecar = template.sidecar.then_some(&self.sidecar);
        let images = [Some(&template.image), sidecar].into_iter().flatten();
        pod.images = images.flat_map(|it| it.image.names.iter().copied()).collect();
    }

    /// What kube-scheduler prefers among these nodes, weighted, by position: the spread that it applies
    /// by itself to what a ReplicaSet owns, and soft taints; and the same with images.
    pub(super) fn preferred(&self, pod: &Pod, offered: &[u32]) -> [Vec<i64>; 2] {
        let nodes = || offered.iter().map(|at| &self.nodes[*at as usize]);
        let intolerable =
            nodes().map(|it| taint_toleration::intolerable(&pod.tolerations, &it.taints));
        let taints = taint_toleration::scores(intolerable.collect());
        let template = pod.app().and_then(|app| self.templates.get(&app));
        let is_selected = pod.owner.as_ref().is_some_and(|it| &*it.kind == "ReplicaSet");
        let spread = match template.filter(|_| is_selected) {
            Some(template) => self.spread_scores(template, offered),
            None => vec![0; offered.len()],
        };
        let both = taints.into_iter().zip(spread).map(|(taints, spread)| {
            Plugin::TaintToleration.weight() * taints + Plugin::PodTopologySpread.weight() * spread
        });
        let both: Vec<i64> = both.collect();
        let with_images = both.iter().zip(offered).map(|(both, at)| {
            let image = template.map_or(0, |it| self.image_score(it, *at as usize));
            both + Plugin::ImageLocality.weight() * image
        });
        let with_images = with_images.collect();
        [both, with_images]
    }

    fn image_score(&self, template: &AppTemplate, at: usize) -> i64 {
        let sidecar = template.sidecar.then_some(&self.sidecar);
        let images = [Some(&template.image), sidecar];
        let present = images.into_iter().flatten().filter(|it| it.on[at]);
        let present = present.map(|it| Image { bytes: it.image.bytes, num_nodes: it.num_nodes });
        let num_containers = 1 + usize::from(template.sidecar);
        image_locality::score(present, num_containers, self.nodes.len())
    }

    fn spread_scores(&self, template: &AppTemplate, offered: &[u32]) -> Vec<i64> {
        let zones = offered.iter().map(|at| self.zone(*at));
        let zones: Vec<Option<&str>> = zones.collect();
        let num_zones = zones.iter().collect::<BTreeSet<_>>().len();
        let on_node = |at: &u32| Some(template.on_node.get(at).copied().unwrap_or(0));
        let in_zone =
            |zone: &Option<&str>| zone.map(|zone| template.in_zone.get(zone).copied().unwrap_or(0));
        let [hostname, zone] = SYSTEM_DEFAULT_MAX_SKEWS;
        let constraints = [
            Constraint {
                max_skew: hostname,
                num_domains: offered.len(),
                counts: offered.iter().map(on_node).collect(),
            },
            Constraint {
                max_skew: zone,
                num_domains: num_zones,
                counts: zones.iter().map(in_zone).collect(),
            },
        ];
        pod_topology_spread::scores(&constraints, &vec![false; offered.len()])
    }

    fn zone(&self, at: u32) -> Option<&str> {
        self.nodes[at as usize].label(DomainLevel::Zone.label())
    }

    /// The pod runs there from now on, so the node has its images.
    pub(super) fn place(&mut self, pod: &Pod, at: u32) {
        let zone: Option<Box<str>> = self.zone(at).map(Into::into);
        let Some(template) = pod.app().and_then(|app| self.templates.get_mut(&app)) else {
            return;
        };
        *template.on_node.entry(at).or_default() += 1;
        if let Some(zone) = zone {
            *template.in_zone.entry(zone).or_default() += 1;
        }
        if !std::mem::replace(&mut template.image.on[at as usize], true) {
            template.image.num_nodes += 1;
            let image = template.image.image.clone();
            self.give(at, &image);
        }
    }

    fn give(&mut self, at: u32, image: &NodeImage) {
        let images = &mut self.nodes[at as usize].images;
        *images = images.iter().chain([image]).cloned().collect();
        self.changed.push(at);
    }
}

impl ImageSpread {
    /// An image of so many MB, which so many thousandths of the nodes have.
    fn new(name: &str, (mb, permille): (i64, u64), num_nodes: usize, rng: &mut Rng) -> Self {
        let on: Vec<bool> = (0..num_nodes).map(|_| rng.below(1000) < permille).collect();
        let num_nodes = on.iter().filter(|on| **on).count();
        let image = NodeImage { names: [ImageName::of(name)].into(), bytes: mb * MB };
        Self { image, on, num_nodes }
    }
}
