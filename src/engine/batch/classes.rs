//! The templates of a batch: what is known of the nodes for each, and which of its nodes the batch took.

use crate::engine::DecisionContext;
use crate::engine::candidate_index::{CandidateIndex, Unlike, images_of, replicas_of};
use crate::engine::constraints::RequiredConstraints;
use crate::engine::equivalence_cache::{self, CacheBuffers, Rows};
use crate::engine::unoffered::UnofferedNodes;
use crate::model::{ClassOrd, ImageName, NodeOrd};

/// Most looks at all nodes for one batch: a millisecond each.
const MAX_TEMPLATES: usize = 256;

/// The templates of a batch.
#[derive(Default)]
pub(super) struct BatchClasses {
    templates: Vec<BatchClass>,
    num_looks: usize,
    buffers: CacheBuffers,
    replicas: Vec<NodeOrd>,
}

struct BatchClass {
    template: equivalence_cache::EquivalenceKey,
    /// Those that make a difference.
    images: Box<[ImageName]>,
    /// How many of the taken nodes were looked at since.
    num_followed: usize,
    index: CandidateIndex,
}

impl BatchClasses {
    /// Forgets what was found: other nominations count from now on.
    pub(super) fn clear(&mut self) {
        self.templates.clear();
    }

    /// Puts the nodes among which the best is into `candidates`, and gives what local rules found;
    /// `None` when the template is new and there were enough. `taken` are the nodes that the batch has
    /// taken so far; `constraints` leaves some.
    pub(super) fn candidates(
        &mut self,
        class: ClassOrd,
        case: DecisionContext<'_>,
        taken: &[NodeOrd],
        constraints: Option<&RequiredConstraints>,
        candidates: &mut Vec<NodeOrd>,
    ) -> Option<&Rows> {
        let at = self.position(class, case, taken.len())?;
        let Self { templates, buffers, replicas, .. } = self;
        let template = &mut templates[at];
        template.follow(case, taken, buffers);
        replicas_of(&case.view.snapshot, case.pod, case.uncommitted, replicas);
        let unlike = Unlike { replicas, differ: &[] };
        template.index.gather(case, &unlike, &UnofferedNodes::new(case, constraints), candidates);
        Some(template.index.rows())
    }

    fn position(
        &mut self,
        class: ClassOrd,
        case: DecisionContext<'_>,
        num_taken: usize,
    ) -> Option<usize> {
        let pod = case.pod;
        let images = images_of(&case.view.snapshot, pod);
        let hash = equivalence_cache::EquivalenceKey::hash_of(class, pod);
        let is_of = |it: &BatchClass| it.template.is_of(hash, class, pod) && *it.images == *images;
        let known = self.templates.iter().position(is_of);
        if known.is_some() || self.num_looks >= MAX_TEMPLATES {
            return known;
        }
        self.num_looks += 1;
        let mut index = CandidateIndex::default();
        index.look(case, images, &mut self.buffers);
        self.templates.push(BatchClass {
            template: equivalence_cache::EquivalenceKey::new(hash, class, pod),
            images: images.into(),
            num_followed: num_taken,
            index,
        });
        Some(self.templates.len() - 1)
    }
}

impl BatchClass {
    /// Looks again at the nodes that were taken meanwhile. One that was out is out for good.
    fn follow(&mut self, case: DecisionContext<'_>, taken: &[NodeOrd], buffers: &mut CacheBuffers) {
        let news = &taken[self.num_followed..];
        self.num_followed = taken.len();
        buffers.nodes.clear();
        buffers.nodes.extend(news.iter().filter(|ord| self.index.is_in(**ord)));
        if !buffers.nodes.is_empty() {
            self.index.follow(case, buffers);
        }
    }
}
