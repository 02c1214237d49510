//! Hard topology spread. Source: `podtopologyspread/filtering.go`.

use std::collections::BTreeMap;

use super::term_selector::{self, TermSelector};
use super::topology_domains::{CountedPods, TopologyDomains};
use crate::cluster::Snapshot;
use crate::model::{NodeOrd, Pod, SpreadTerm};

/// One constraint.
#[derive(Debug)]
pub(super) struct CountedSpread {
    selects: TermSelector,
    counted: CountedPods,
    /// By node: what is on it counts.
    counts: Vec<bool>,
    /// How many domains have so many pods, of those that have a node that counts.
    by_pods: BTreeMap<u32, usize>,
    num_domains: usize,
    max_skew: u32,
    min_domains: usize,
    /// The pod itself is one of those that it selects.
    own: u32,
}

impl CountedSpread {
    /// Of all constraints of a pod; `admitted` are the nodes that node affinity leaves.
    pub(super) fn all(
        snapshot: &Snapshot,
        pod: &Pod,
        terms: &[SpreadTerm],
        admitted: &[bool],
        keys: &mut TopologyDomains,
    ) -> Vec<Self> {
        let domains: Vec<_> = terms.iter().map(|it| keys.domains(snapshot, &it.key)).collect();
        let has_all = |ord| domains.iter().all(|domains| domains.at(ord).is_some());
        let tolerated: Vec<bool> =
            snapshot.taint_sets.iter().map(|set| tolerates(pod, set)).collect();
        let tolerated = |ord: NodeOrd| {
            let set = snapshot.columns.taint_set.get(ord.index());
            set.and_then(|set| tolerated.get(usize::from(*set))).copied().unwrap_or(true)
        };
        let all = terms.iter().zip(&domains).map(|(term, domains)| {
            let nodes = (0..admitted.len() as u32).map(NodeOrd);
            let counts = nodes.map(|ord| {
                snapshot.is_live(ord)
                    && has_all(ord)
                    && (!term.honors_affinity || admitted[ord.index()])
                    && (!term.honors_taints || tolerated(ord))
            });
            let selects = TermSelector::at_home(pod, term.selector.as_ref());
            let own = u32::from(selects.holds(&pod.labels));
            let mut spread = Self {
                selects,
                counted: CountedPods::new(domains.clone()),
                counts: counts.collect(),
                by_pods: BTreeMap::new(),
                num_domains: 0,
                max_skew: term.max_skew,
                min_domains: term.min_domains as usize,
                own,
            };
            spread.count(snapshot, domains.num);
            spread
        });
        all.collect()
    }

    fn count(&mut self, snapshot: &Snapshot, num_domains: usize) {
        let Self { selects, counted, counts, by_pods, .. } = self;
        // Whoever selects all is taken to select nothing.
        if !selects.is_empty() {
            term_selector::placed(snapshot, &[&*selects], |ord, pods| {
                if counts.get(ord.index()) == Some(&true) {
                    counted.add(ord, pods);
                }
            });
        }
        let mut seen = vec![false; num_domains];
        for (at, _) in counts.iter().enumerate().filter(|(_, counts)| **counts) {
            let ord = NodeOrd(at as u32);
            if let (Some(domain), Some(pods)) = (counted.domain(ord), counted.at(ord))
                && !std::mem::replace(&mut seen[domain], true)
            {
                *by_pods.entry(pods).or_default() += 1;
                self.num_domains += 1;
            }
        }
    }

    /// True when one pod more in the node's domain is no more than `maxSkew` beyond the emptiest.
    pub(super) fn admits(&self, ord: NodeOrd) -> bool {
        let least = match self.num_domains < self.min_domains {
            true => 0,
            false => self.by_pods.keys().next().copied().unwrap_or(0),
        };
        let most = least.saturating_add(self.max_skew);
        self.counted.at(ord).is_some_and(|pods| pods + self.own <= most)
    }

    /// Counts a pod that is on the node from now on.
    pub(super) fn placed(&mut self, pod: &Pod, ord: NodeOrd) {
        let counts = self.counts.get(ord.index()) == Some(&true);
        if !counts || self.selects.is_empty() || !self.selects.holds(&pod.labels) {
            return;
        }
        let Some(before) = self.counted.at(ord) else { return };
        self.counted.add(ord, 1);
        if let Some(domains) = self.by_pods.get_mut(&before) {
            *domains -= 1;
            if *domains == 0 {
                self.by_pods.remove(&before);
            }
        }
        *self.by_pods.entry(before + 1).or_default() += 1;
    }
}

fn tolerates(pod: &Pod, taints: &[crate::model::Taint]) -> bool {
    let hard = taints.iter().filter(|it| it.effect.keeps_off());
    hard.into_iter().all(|taint| pod.tolerations.iter().any(|it| it.tolerates(taint)))
}
