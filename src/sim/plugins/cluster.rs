//! A small cluster, whole: what the plugins' figures are found in.

use std::collections::{BTreeMap, BTreeSet};

use super::image_locality::{self, Image};
use super::pod_topology_spread::{self, Constraint, SYSTEM_DEFAULT_MAX_SKEWS};
use super::{
    Plugin, balanced_allocation, inter_pod_affinity, least_allocated, node_affinity,
    taint_toleration,
};
use crate::model::{Amounts, DomainLevel, Taint, Toleration, normalized};

/// Labels, or the labels that a selector asks for.
pub type Labels = BTreeMap<String, String>;

const HOSTNAME: &str = "kubernetes.io/hostname";

/// Nodes, and pods on them by position of the node.
#[derive(Clone, Debug, Default)]
pub struct ScoredCluster {
    /// The nodes.
    pub nodes: Vec<ScoredNode>,
    /// The pods.
    pub pods: Vec<(usize, ScoredPod)>,
}

/// A node as plugins score it.
#[derive(Clone, Debug, Default)]
pub struct ScoredNode {
    /// What pods may ask for.
    pub allocatable: Amounts,
    /// Its labels.
    pub labels: Labels,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// Normalized names of its images, with their size in bytes.
    pub images: BTreeMap<String, i64>,
}

/// A pod as plugins score it.
#[derive(Clone, Debug, Default)]
pub struct ScoredPod {
    /// What it asks for.
    pub requests: Amounts,
    /// Its namespace: selectors see no other.
    pub namespace: String,
    /// Its labels.
    pub labels: Labels,
    /// Its tolerations.
    pub tolerations: Vec<Toleration>,
    /// Images of its containers.
    pub images: Vec<String>,
    /// What its owner and the Services that match it select; empty: none.
    pub default_selector: Labels,
    /// Its own soft topology spread constraints.
    pub spread: Vec<SpreadConstraint>,
    /// Preferred node affinity: weights and what all must hold.
    pub preferred_nodes: Vec<(i64, Vec<ScoredRequirement>)>,
    /// Pod affinity.
    pub pod_terms: Vec<ScoredPodTerm>,
}

/// A topology spread constraint with `whenUnsatisfiable: ScheduleAnyway`.
#[derive(Clone, Debug)]
pub struct SpreadConstraint {
    /// `maxSkew`.
    pub max_skew: i64,
    /// `topologyKey`.
    pub key: String,
    /// `labelSelector.matchLabels`.
    pub selector: Labels,
}

/// What a node's label must be.
#[derive(Clone, Debug)]
pub enum ScoredRequirement {
    /// One of these.
    In(String, Vec<String>),
    /// None of these, or absent.
    NotIn(String, Vec<String>),
    /// There.
    Exists(String),
    /// Not there.
    DoesNotExist(String),
}

/// A term of pod affinity.
#[derive(Clone, Debug)]
pub struct ScoredPodTerm {
    /// Below 0 for anti-affinity. `None`: a required term of affinity, which counts once its pod runs.
    pub weight: Option<i64>,
    /// `topologyKey`.
    pub key: String,
    /// `labelSelector.matchLabels`.
    pub selector: Labels,
}

impl ScoredRequirement {
    fn holds(&self, labels: &Labels) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|it| values.contains(it)),
            Self::NotIn(key, values) => !labels.get(key).is_some_and(|it| values.contains(it)),
            Self::Exists(key) => labels.contains_key(key),
            Self::DoesNotExist(key) => !labels.contains_key(key),
        }
    }
}

impl ScoredCluster {
    /// Scores by plugin and candidate, before weights.
    pub fn scores(&self, pod: &ScoredPod, candidates: &[usize]) -> BTreeMap<Plugin, Vec<i64>> {
        let nodes = || candidates.iter().map(|at| &self.nodes[*at]);
        let intolerable =
            nodes().map(|it| taint_toleration::intolerable(&pod.tolerations, &it.taints));
        let of = |at: &usize| self.resource_scores(pod, *at);
        let (fit, balanced) = candidates.iter().map(of).unzip();
        let preferred = nodes().map(|node| {
            let terms = pod.preferred_nodes.iter();
            // The API server refuses a term that asks for nothing; the real plugin leaves it out.
            let holds = |asks: &[ScoredRequirement]| {
                !asks.is_empty() && asks.iter().all(|it| it.holds(&node.labels))
            };
            terms.filter(|(_, asks)| holds(asks)).map(|(weight, _)| *weight).sum()
        });
        [
            (Plugin::TaintToleration, taint_toleration::scores(intolerable.collect())),
            (Plugin::NodeResourcesFit, fit),
            (Plugin::NodeResourcesBalancedAllocation, balanced),
            (Plugin::ImageLocality, nodes().map(|node| self.image_score(pod, node)).collect()),
            (Plugin::NodeAffinity, node_affinity::scores(preferred.collect())),
            (Plugin::PodTopologySpread, self.spread_scores(pod, candidates)),
            (Plugin::InterPodAffinity, self.affinity_scores(pod, candidates)),
        ]
        .into()
    }

    fn resource_scores(&self, pod: &ScoredPod, at: usize) -> (i64, i64) {
        let (mut used, mut non_zero) = (Amounts::default(), Amounts::default());
        for (_, other) in self.pods.iter().filter(|(node, _)| *node == at) {
            used += other.requests;
            non_zero += least_allocated::non_zero(other.requests);
        }
        let has = self.nodes[at].allocatable;
        (
            least_allocated::score(pod.requests, non_zero, has),
            balanced_allocation::score(pod.requests, used, has),
        )
    }

    fn image_score(&self, pod: &ScoredPod, node: &ScoredNode) -> i64 {
        let present = pod.images.iter().filter_map(|name| {
            let name = normalized(name);
            let bytes = *node.images.get(&*name)?;
            let having = self.nodes.iter().filter(|it| it.images.contains_key(&*name));
            Some(Image { bytes, num_nodes: having.count() })
        });
        image_locality::score(present, pod.images.len(), self.nodes.len())
    }

    fn spread_scores(&self, pod: &ScoredPod, candidates: &[usize]) -> Vec<i64> {
        let own = !pod.spread.is_empty();
        let keys = [HOSTNAME, DomainLevel::Zone.label()];
        let by_default = keys.into_iter().zip(SYSTEM_DEFAULT_MAX_SKEWS).map(|(key, max_skew)| {
            let selector = pod.default_selector.clone();
            SpreadConstraint { max_skew, key: key.to_owned(), selector }
        });
        let asked: Vec<SpreadConstraint> = match own {
            true => pod.spread.clone(),
            false => by_default.filter(|it| !it.selector.is_empty()).collect(),
        };
        // Nodes that lack a label take no part, but under the system's defaults they do.
        let has_all =
            |at: usize| !own || asked.iter().all(|it| self.nodes[at].labels.contains_key(&it.key));
        let ignored: Vec<bool> = candidates.iter().map(|at| !has_all(*at)).collect();
        let constraints = asked.iter().map(|asked| {
            let domain = |at: usize| self.nodes[at].labels.get(&asked.key);
            let matching = self.pods.iter().filter(|(_, it)| {
                it.namespace == pod.namespace && matches(&asked.selector, &it.labels)
            });
            let matching: Vec<usize> =
                matching.map(|(at, _)| *at).filter(|at| has_all(*at)).collect();
            let in_domain = |at: usize| {
                let domain_of = domain(at)?;
                let same = |it: &&usize| domain(**it) == Some(domain_of);
                Some(matching.iter().filter(same).count() as i64)
            };
            let taking_part = candidates.iter().filter(|at| has_all(**at));
            let num_domains = match &*asked.key {
                HOSTNAME => taking_part.count(),
                // Without the label, the domain is that of the empty value.
                _ => taking_part.map(|at| domain(*at)).collect::<BTreeSet<_>>().len(),
            };
            let counts = candidates.iter().map(|at| in_domain(*at)).collect();
            Constraint { max_skew: asked.max_skew, num_domains, counts }
        });
        pod_topology_spread::scores(&constraints.collect::<Vec<_>>(), &ignored)
    }

    fn affinity_scores(&self, pod: &ScoredPod, candidates: &[usize]) -> Vec<i64> {
        let mut weights: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for (at, other) in self.pods.iter().filter(|(_, it)| it.namespace == pod.namespace) {
            let own = pod.pod_terms.iter().filter(|it| matches(&it.selector, &other.labels));
            let own = own.filter_map(|it| Some((it, it.weight?)));
            let others = other.pod_terms.iter().filter(|it| matches(&it.selector, &pod.labels));
            let others = others
                .map(|it| (it, it.weight.unwrap_or(inter_pod_affinity::HARD_POD_AFFINITY_WEIGHT)));
            for (term, weight) in own.chain(others) {
                if let Some(value) = self.nodes[*at].labels.get(&term.key) {
                    *weights.entry((&term.key, value)).or_default() += weight;
                }
            }
        }
        let of_node = |at: &usize| {
            let labels = self.nodes[*at].labels.iter();
            labels.filter_map(|(key, value)| weights.get(&(&**key, &**value))).sum()
        };
        inter_pod_affinity::scores(&candidates.iter().map(of_node).collect::<Vec<i64>>())
    }
}

/// An empty `labelSelector` selects everything.
fn matches(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
