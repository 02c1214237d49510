//! Node names ↔ dense ordinals. An ordinal is recycled when its node and all its pods are gone.

use std::sync::{Arc, Weak};

use rustc_hash::FxHashMap;

use crate::model::NodeOrd;

/// The table of names; cloning it is cheap, changing it copies it when a snapshot shares it.
#[derive(Clone, Debug, Default)]
pub struct Names {
    ords: Arc<FxHashMap<Arc<str>, NodeOrd>>,
    names: Arc<Vec<Option<Arc<str>>>>,
    free: Arc<Vec<NodeOrd>>,
    has_odd: bool,
}

/// Tells a table of names from every other one, and does not keep it.
#[derive(Debug, Default)]
pub struct NamesId(Weak<Vec<Option<Arc<str>>>>);

impl PartialEq for NamesId {
    fn eq(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.0, &other.0)
    }
}

impl Names {
    /// The ordinal of a name.
    pub fn ord(&self, name: &str) -> Option<NodeOrd> {
        self.ords.get(name).copied()
    }

    /// The name of an ordinal; empty for one that is not in use.
    pub fn name(&self, ord: NodeOrd) -> &str {
        self.names.get(ord.index()).and_then(|name| name.as_deref()).unwrap_or("")
    }

    /// The name of an ordinal if its bytes stand as they are in a JSON text, whatever stands around
    /// them. Kubernetes admits no other names; where one was ever seen, no name is said to be plain.
    #[inline]
    pub fn plain(&self, ord: NodeOrd) -> Option<&[u8]> {
        let name = self.names.get(ord.index())?.as_deref()?;
        (!self.has_odd).then_some(name.as_bytes())
    }

    /// True if both are one table: ordinals of one are those of the other.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.names, &other.names)
    }

    /// What no other table has, and this one only until it changes.
    pub fn id(&self) -> NamesId {
        NamesId(Arc::downgrade(&self.names))
    }

    /// Number of ordinals ever handed out: the length of every column.
    pub fn capacity(&self) -> usize {
        self.names.len()
    }

    /// Number of names in use.
    pub fn len(&self) -> usize {
        self.ords.len()
    }

    /// True when no name is in use.
    pub fn is_empty(&self) -> bool {
        self.ords.is_empty()
    }

    /// The ordinal of `name`, a recycled or new one when it has none; `true` when it had none.
    pub fn intern(&mut self, name: &str) -> (NodeOrd, bool) {
        if let Some(ord) = self.ord(name) {
            return (ord, false);
        }
        self.has_odd |= !is_plain(name.as_bytes());
        let name: Arc<str> = name.into();
        let names = Arc::make_mut(&mut self.names);
        let ord = match Arc::make_mut(&mut self.free).pop() {
            Some(ord) => ord,
            None => {
                names.push(None);
                NodeOrd((names.len() - 1) as u32)
            }
        };
        if let Some(slot) = names.get_mut(ord.index()) {
            *slot = Some(name.clone());
        }
        Arc::make_mut(&mut self.ords).insert(name, ord);
        (ord, true)
    }

    /// Gives an ordinal back.
    pub fn release(&mut self, ord: NodeOrd) {
        let slot = Arc::make_mut(&mut self.names).get_mut(ord.index());
        if let Some(name) = slot.and_then(Option::take) {
            Arc::make_mut(&mut self.ords).remove(&name);
            Arc::make_mut(&mut self.free).push(ord);
        }
    }
}

/// True for text that stands in a JSON string as it is, and for whose bytes no character needs two.
pub fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_are_dense_and_recycled() {
        let mut names = Names::default();
        let (a, new) = names.intern("a");
        let (b, _) = names.intern("b");
        assert_eq!((a, new, b, names.intern("a")), (NodeOrd(0), true, NodeOrd(1), (a, false)));
        let before = names.clone();
        names.release(a);
        assert_eq!((names.ord("a"), names.name(a), names.len()), (None, "", 1));
        assert_eq!(names.intern("c"), (a, true));
        assert_eq!((before.name(a), names.name(a), names.capacity()), ("a", "c", 2));
        assert_eq!(names.name(NodeOrd::UNKNOWN), "");
        assert!(names.is_same(&names.clone()) && !names.is_same(&before));
    }

    #[test]
    fn a_table_that_changes_is_another_one_even_where_nobody_else_has_it() {
        let mut names = Names::default();
        assert!(names.id() != NamesId::default());
        names.intern("a");
        let before = names.id();
        assert!(names.clone().id() == before);
        names.release(NodeOrd(0));
        let between = names.id();
        names.intern("b");
        assert!(before != between && between != names.id() && before != names.id());
    }

    #[test]
    fn one_odd_name_makes_all_names_odd() {
        for odd in ["a\"b", "a\\b", "a\nb", "ü", "\u{7f}"] {
            let mut names = Names::default();
            let (ord, _) = names.intern("n-1.x");
            assert_eq!(names.plain(ord), Some(&b"n-1.x"[..]));
            assert_eq!(names.plain(NodeOrd::UNKNOWN), None);
            names.intern(odd);
            assert_eq!(names.plain(ord), None, "{odd:?}");
        }
    }
}
