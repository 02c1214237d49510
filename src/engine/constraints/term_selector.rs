//! Which pods a term means, and where they are.

use crate::cluster::Snapshot;
use crate::model::{HashedText, LabelSet, NodeOrd, Pod, PodAffinityTerm, Selector};

/// A selector of a term, in the namespaces in which it looks.
#[derive(Debug)]
pub(super) struct TermSelector {
    /// `None` selects nothing.
    selector: Option<Selector<HashedText>>,
    /// `None` for all.
    namespaces: Option<Box<[HashedText]>>,
    namespace_key: HashedText,
}

impl TermSelector {
    /// Of a term.
    pub(super) fn of(snapshot: &Snapshot, term: &PodAffinityTerm) -> Self {
        let named = &term.namespaces.named;
        let namespaces = match &term.namespaces.selected {
            None => Some(named.clone()),
            Some(asked) if asked.is_empty() => None,
            Some(asked) => {
                let all = snapshot.namespaces.values();
                let selected =
                    all.filter(|it| asked.iter().all(|one| one.holds(it.label(&one.key))));
                let selected = selected.map(|it| HashedText::of(&it.name));
                Some(selected.chain(named.iter().copied()).collect())
            }
        };
        let namespace_key = HashedText::of(LabelSet::NAMESPACE);
        Self { selector: term.selector.clone(), namespaces, namespace_key }
    }

    /// In the pod's own namespace.
    pub(super) fn at_home(pod: &Pod, selector: Option<&Selector<HashedText>>) -> Self {
        let namespace_key = HashedText::of(LabelSet::NAMESPACE);
        let home = [HashedText::of(&pod.namespace)];
        Self { selector: selector.cloned(), namespaces: Some(home.into()), namespace_key }
    }

    /// True for pods with these labels.
    pub(super) fn holds(&self, labels: &LabelSet) -> bool {
        let lives_in = |all: &[HashedText]| {
            labels.value(self.namespace_key).is_some_and(|home| all.contains(&home))
        };
        self.namespaces.as_ref().is_none_or(|all| lives_in(all))
            && self.selector.as_ref().is_some_and(|all| all.iter().all(|it| it.holds(labels)))
    }

    /// Asks nothing of a pod beside its namespace.
    pub(super) fn is_empty(&self) -> bool {
        self.selector.as_ref().is_some_and(|all| all.is_empty())
    }
}

/// Calls `count` with the nodes of placed pods that all of these select, and how many are there.
pub(super) fn placed(
    snapshot: &Snapshot,
    all: &[&TermSelector],
    mut count: impl FnMut(NodeOrd, u32),
) {
    for (_, row) in snapshot.apps.iter() {
        if row.labels().is_some_and(|labels| all.iter().all(|it| it.holds(labels))) {
            row.nodes().iter().for_each(|(ord, pods)| count(*ord, *pods));
        }
    }
}
