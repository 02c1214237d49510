//! A pod's labels as selectors look at them: hashed, since there are half a million pods.
//!
//! Two texts of one hash would make a pod count where it does not; among some thousand apps that is one
//! chance in a million, and kube-scheduler then refuses a node that was only proposed to it.

use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

/// A label's key or value, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashedText(u32);

impl HashedText {
    /// Of a text; the same within a process.
    pub fn of(text: &str) -> Self {
        let mut hasher = FxHasher::default();
        text.hash(&mut hasher);
        Self((hasher.finish() >> 32) as u32)
    }

    /// Both in one number.
    pub fn with(self, other: Self) -> u64 {
        u64::from(self.0) << 32 | u64::from(other.0)
    }
}

/// `(key, value)` of each label, and the namespace under the empty key, which no label can have; sorted
/// by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelSet(Box<[(HashedText, HashedText)]>);

impl LabelSet {
    /// The key under which the namespace is.
    pub const NAMESPACE: &str = "";

    /// Of a pod in a namespace. Of labels with one key the first counts.
    pub fn new(
        namespace: &str,
        labels: impl IntoIterator<Item = (HashedText, HashedText)>,
    ) -> Self {
        let namespace = (HashedText::of(Self::NAMESPACE), HashedText::of(namespace));
        let mut all: Vec<_> = [namespace].into_iter().chain(labels).collect();
        all.sort_by_key(|label| label.0);
        all.dedup_by_key(|label| label.0);
        Self(all.into())
    }

    /// A label's value.
    pub fn value(&self, key: HashedText) -> Option<HashedText> {
        self.0.iter().find(|label| label.0 == key).map(|label| label.1)
    }

    /// The pod's namespace.
    pub fn namespace(&self) -> Option<HashedText> {
        self.value(HashedText::of(Self::NAMESPACE))
    }

    /// `(key, value)` of each, the namespace among them, sorted by key.
    pub fn pairs(&self) -> &[(HashedText, HashedText)] {
        &self.0
    }

    /// The labels that both have.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        Self(self.0.iter().filter(|it| other.0.contains(it)).copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(namespace: &str, labels: &[(&str, &str)]) -> LabelSet {
        let hashed = labels.iter().map(|(key, value)| (HashedText::of(key), HashedText::of(value)));
        LabelSet::new(namespace, hashed)
    }

    #[test]
    fn labels_are_found_by_key_and_the_namespace_is_one() {
        let labels = set("shop", &[("app", "cart"), ("pod", "cart-0"), ("empty", "")]);
        let value = |key| labels.value(HashedText::of(key));
        assert_eq!(value("app"), Some(HashedText::of("cart")));
        assert_eq!(value("empty"), Some(HashedText::of("")));
        assert_eq!(value("tier"), None);
        assert_eq!(value(LabelSet::NAMESPACE), Some(HashedText::of("shop")));
        assert_eq!(labels.namespace(), Some(HashedText::of("shop")));
        assert_eq!(labels.pairs().len(), 4);
    }

    #[test]
    fn what_two_have_in_common_is_less_than_either() {
        let one = set("shop", &[("app", "cart"), ("pod", "cart-0")]);
        let other = set("shop", &[("app", "cart"), ("pod", "cart-1"), ("canary", "true")]);
        assert_eq!(one.common(&other), set("shop", &[("app", "cart")]));
        assert_eq!(one.common(&one), one);
    }
}
