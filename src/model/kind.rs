//! The kinds of objects that changes are about, and the facts that decisions keep of them.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

/// A resource of an API group, or the subject of a polled source. `k8s::kinds` has the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// Names the kind in metrics, checks and the log. Unique in the registry.
    pub name: &'static str,
    /// The API group, empty for the core group.
    pub group: &'static str,
    /// The resource's plural name, as in an API path.
    pub resource: &'static str,
}

impl Kind {
    /// Nodes.
    pub const NODES: Self = Self::of("", "nodes");
    /// Namespaces.
    pub const NAMESPACES: Self = Self::of("", "namespaces");
    /// Pods of all namespaces.
    pub const PODS: Self = Self::of("", "pods");

    /// The kinds without which nothing is decided. Every other kind is optional.
    pub const REQUIRED: [Self; 3] = [Self::NODES, Self::NAMESPACES, Self::PODS];

    /// A kind that has the name of its resource. Two kinds with one resource name need two `name`s.
    pub const fn of(group: &'static str, resource: &'static str) -> Self {
        Self { name: resource, group, resource }
    }

    /// True for one of [`Self::REQUIRED`].
    pub fn is_required(self) -> bool {
        Self::REQUIRED.contains(&self)
    }
}

/// The part of an object of an optional kind that decisions use.
pub trait Fact: Clone + Debug + PartialEq + Send + Sync + 'static {
    /// The kind of the objects.
    const KIND: Kind;
}

/// A fact of any kind, as a change carries it.
#[derive(Clone, Debug)]
pub struct AnyFact(Arc<dyn ErasedFact>);

trait ErasedFact: Any + Debug + Send + Sync {
    fn equals(&self, other: &dyn Any) -> bool;
}

impl<T: Fact> ErasedFact for T {
    fn equals(&self, other: &dyn Any) -> bool {
        other.downcast_ref() == Some(self)
    }
}

impl AnyFact {
    /// Wraps a fact.
    pub fn new<T: Fact>(fact: T) -> Self {
        Self(Arc::new(fact))
    }

    /// The fact, if it is of this type.
    pub fn get<T: Fact>(&self) -> Option<&T> {
        let fact: &dyn Any = &*self.0;
        fact.downcast_ref()
    }
}

impl PartialEq for AnyFact {
    fn eq(&self, other: &Self) -> bool {
        self.0.equals(&*other.0)
    }
}

impl Eq for AnyFact {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Height(u32);

    impl Fact for Height {
        const KIND: Kind = Kind::of("test.sigma.io", "heights");
    }

    #[derive(Clone, Debug, PartialEq)]
    struct Depth(u32);

    impl Fact for Depth {
        const KIND: Kind = Kind::of("test.sigma.io", "depths");
    }

    #[test]
    fn facts_are_equal_if_their_types_and_values_are() {
        let height = AnyFact::new(Height(1));
        assert_eq!(height, AnyFact::new(Height(1)));
        assert_ne!(height, AnyFact::new(Height(2)));
        assert_ne!(height, AnyFact::new(Depth(1)));
        assert_eq!((height.get(), height.get::<Depth>()), (Some(&Height(1)), None));
        assert_eq!(format!("{height:?}"), "AnyFact(Height(1))");
    }

    #[test]
    fn a_kind_is_required_or_optional() {
        assert!(Kind::REQUIRED.into_iter().all(Kind::is_required));
        assert!(!Kind::of("apps", "pods").is_required(), "the group counts");
        let other =
            Kind { name: "kruise-statefulsets", ..Kind::of("apps.kruise.io", "statefulsets") };
        assert_ne!(other, Kind::of("apps", "statefulsets"));
    }
}
