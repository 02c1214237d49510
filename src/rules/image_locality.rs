//! Score: prefer nodes that have the pod's images, as kube-scheduler's ImageLocality does.
//!
//! An image counts with its bytes, in the share of nodes that have it: so the first node that has
//! pulled an image does not draw all pods that need it. At the extender weight that we ask for, one
//! point of ours outweighs that plugin, and of what a shortlist leaves out it hears nothing.

use super::{
    ClassParams, MAX_POINTS, Rule, RuleContext, RuleKind, RuleSpec, Scopes, Scored, Scorer,
};
use crate::cluster::{Snapshot, is_in};
use crate::model::ImageName;

/// Below it a node is worth nothing: kube-scheduler's `minThreshold`, 23 MiB.
const MIN_KIB: u32 = 23 << 10;
/// Above it, for each container, a node is worth no more: its `maxContainerThreshold`, 1000 MiB.
const MAX_CONTAINER_KIB: u32 = 1000 << 10;

/// The catalogue's entry.
pub(super) static SPEC: RuleSpec = RuleSpec {
    name: "imageLocality",
    summary: "prefer nodes that have the pod's images",
    kind: RuleKind::Scorer,
    default_weight: 100,
    build,
    scopes: Scopes::IMAGES,
};

struct ImageLocality;

fn build(_class: &ClassParams) -> Option<Rule> {
    Some(Rule::Scorer(Box::new(ImageLocality)))
}

impl Scorer for ImageLocality {
    fn score(&self, cx: &RuleContext<'_>, scored: Scored<'_>) {
        let images = &cx.pod.images;
        let most = most_kib(images);
        // Mostly so: what few nodes have is worth nothing on any.
        let Some(worth) = worth_of(cx.snapshot, images) else {
            return;
        };
        let [sums, words] = scored.buffers;
        sums.clear();
        sums.resize(scored.nodes.len(), 0);
        for (image, kib) in images.iter().zip(worth) {
            for row in cx.snapshot.images.named(*image) {
                let words = row.nodes.words(words);
                for (ord, sum) in scored.nodes.iter().zip(&mut *sums) {
                    let here = if is_in(words, *ord) { kib } else { 0 };
                    *sum = sum.saturating_add(here);
                }
            }
        }
        let span = u64::from(most - MIN_KIB);
        scored.points.extend(sums.iter().map(|sum| {
            let kib = (*sum).clamp(MIN_KIB, most) - MIN_KIB;
            (u64::from(kib) * u64::from(MAX_POINTS) / span) as u16
        }));
    }
}

/// Whether it makes a difference which nodes have these images.
pub fn images_matter(snapshot: &Snapshot, images: &[ImageName]) -> bool {
    worth_of(snapshot, images).is_some()
}

/// What each image is worth on a node that has it; `None` when no node has enough to get a point.
fn worth_of(snapshot: &Snapshot, images: &[ImageName]) -> Option<Vec<u32>> {
    let most = most_kib(images);
    let worth: Vec<u32> = images.iter().map(|it| worth_kib(snapshot, *it, most)).collect();
    let sum = worth.iter().fold(0, |sum: u32, kib| sum.saturating_add(*kib));
    (sum > MIN_KIB).then_some(worth)
}

fn most_kib(images: &[ImageName]) -> u32 {
    MAX_CONTAINER_KIB.saturating_mul(images.len() as u32)
}

/// What an image is worth on a node that has it; at most `most`.
fn worth_kib(snapshot: &Snapshot, image: ImageName, most: u32) -> u32 {
    let Some(first) = snapshot.images.named(image).next() else {
        return 0;
    };
    let having: usize = snapshot.images.named(image).map(|it| it.nodes.len()).sum();
    let bytes = first.image.bytes as f64 * (having as f64 / snapshot.num_nodes as f64);
    ((bytes / 1024.0) as u32).min(most)
}
