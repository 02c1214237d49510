//! What the objects of optional kinds say: one table a kind, and one line below a table.

use std::sync::Arc;

use rustc_hash::FxHashMap;

#[cfg(test)]
use self::test_kinds::{Gadget, Widget};
use super::cow::Sharded;
use super::device_classes::DeviceClass;
use super::pod_records::Stamp;
use super::snapshot::Watch;
use crate::model::{AnyFact, BoundClaim, Fact, Kind, ObjectName, VolumeTopology};

/// Declares the tables. A line has the field, the fact, its label in `sigma_state_objects`, and its label in
/// `sigma_audit_differences_total`.
macro_rules! tables {
    ($($(#[doc = $doc:literal])+ $(#[cfg($cfg:meta)])?
        $field:ident: $fact:ty, $counted:literal, $audited:literal;)+) => {
        /// The tables of all optional kinds.
        #[derive(Clone, Debug, Default)]
        pub struct Tables {
            $($(#[doc = $doc])+ $(#[cfg($cfg)])? pub $field: Table<$fact>,)+
        }

        impl Tables {
            /// The number of tables.
            pub const NUM: usize = [$($(#[cfg($cfg)])? $audited),+].len();
            /// The kinds that have a table.
            pub const KINDS: [Kind; Self::NUM] = [$($(#[cfg($cfg)])? <$fact as Fact>::KIND),+];
            /// The label of each table's differences.
            pub(super) const AUDITED: [&'static str; Self::NUM] = [$($(#[cfg($cfg)])? $audited),+];

            /// The number of facts in each table, by its label.
            pub fn counts(&self) -> [(&'static str, usize); Self::NUM] {
                [$($(#[cfg($cfg)])? ($counted, self.$field.len())),+]
            }

            /// All tables, in the order of the kinds.
            pub(super) fn all(&self) -> [&dyn AnyTable; Self::NUM] {
                [$($(#[cfg($cfg)])? &self.$field),+]
            }

            /// The table of a kind.
            pub(super) fn of_mut(&mut self, kind: Kind) -> Option<&mut dyn AnyTable> {
                $($(#[cfg($cfg)])? if kind == <$fact as Fact>::KIND {
                    return Some(&mut self.$field);
                })+
                None
            }
        }
    };
}

tables! {
    /// The volumes that claims are bound to.
    claims: BoundClaim, "bound_claims", "claim";
    /// The nodes that volumes can be used from.
    volumes: Arc<VolumeTopology>, "volumes", "volume";
    /// The extended resources that DeviceClasses stand for.
    device_classes: DeviceClass, "device_classes", "device_class";
    /// A kind of the tests.
    #[cfg(test)]
    widgets: Widget, "widgets", "widget";
    /// Another kind of the tests.
    #[cfg(test)]
    gadgets: Gadget, "gadgets", "gadget";
}

/// The facts of one kind, by the names of their objects.
#[derive(Clone, Debug)]
pub struct Table<T> {
    facts: Sharded<T>,
    is_listed: bool,
    is_lost: bool,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { facts: Sharded::default(), is_listed: false, is_lost: false }
    }
}

impl<T: Clone> Table<T> {
    /// The fact of an object.
    pub fn get(&self, name: ObjectName) -> Option<&T> {
        self.facts.get(key(name))
    }

    /// The number of facts.
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// True when there is no fact.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// All facts, in no order that may reach an output.
    pub fn iter(&self) -> impl Iterator<Item = (ObjectName, &T)> {
        self.facts.iter().map(|(key, fact)| (ObjectName(key as u64), fact))
    }

    /// True when the table has every object: a list was complete, and the watch is not interrupted.
    pub fn is_complete(&self) -> bool {
        self.is_listed && !self.is_lost
    }
}

/// A table of any kind, as the writer sees it.
pub(super) trait AnyTable {
    /// Takes a fact over, or removes the one that is there. False when nothing changes.
    fn set(&mut self, name: ObjectName, fact: Option<&AnyFact>) -> bool;
    /// A list is complete.
    fn listed(&mut self);
    /// Takes the state of the watch over. False when nothing changes.
    fn watch(&mut self, watch: Watch) -> bool;
    /// True when the table has a fact of the object.
    fn has(&self, name: ObjectName) -> bool;
    /// The names of all objects.
    fn names(&self) -> Vec<ObjectName>;
}

impl<T: Fact> AnyTable for Table<T> {
    fn set(&mut self, name: ObjectName, fact: Option<&AnyFact>) -> bool {
        let Some(fact) = fact.and_then(AnyFact::get::<T>) else {
            return self.facts.remove(key(name)).is_some();
        };
        self.get(name) != Some(fact) && {
            self.facts.insert(key(name), fact.clone());
            true
        }
    }

    fn listed(&mut self) {
        (self.is_listed, self.is_lost) = (true, false);
    }

    fn watch(&mut self, watch: Watch) -> bool {
        // A silent watch may have nothing to say.
        let is_lost = watch == Watch::Disconnected;
        watch != Watch::Stale && std::mem::replace(&mut self.is_lost, is_lost) != is_lost
    }

    fn has(&self, name: ObjectName) -> bool {
        self.get(name).is_some()
    }

    fn names(&self) -> Vec<ObjectName> {
        self.iter().map(|(name, _)| name).collect()
    }
}

/// Shards go by the low bits and by the highest of 128.
fn key(name: ObjectName) -> u128 {
    u128::from(name.0)
}

/// The writer's record of the lists of one kind.
#[derive(Debug, Default)]
pub(super) struct ObjectList {
    /// The number of the list that was the last to begin.
    stamp: Stamp,
    /// The list that each object of the table was seen in, or after.
    seen: FxHashMap<ObjectName, Stamp>,
}

impl ObjectList {
    /// A list begins.
    pub(super) fn begin(&mut self) {
        self.stamp = self.stamp.wrapping_add(1);
    }

    /// Takes a fact over into the table. False when nothing changes.
    pub(super) fn set(
        &mut self,
        table: &mut dyn AnyTable,
        name: ObjectName,
        fact: Option<&AnyFact>,
    ) -> bool {
        let changed = table.set(name, fact);
        match fact.is_some() && table.has(name) {
            true => drop(self.seen.insert(name, self.stamp)),
            false => drop(self.seen.remove(&name)),
        }
        changed
    }

    /// The running list has the object, whatever the object says.
    pub(super) fn is_listed(&mut self, name: ObjectName) {
        self.seen.entry(name).and_modify(|seen| *seen = self.stamp);
    }

    /// The list is complete: removes the objects that it did not have. Returns their number.
    pub(super) fn end(&mut self, table: &mut dyn AnyTable) -> usize {
        table.listed();
        let stamp = self.stamp;
        let gone = self.seen.extract_if(|_, seen| *seen != stamp);
        gone.filter(|(name, _)| table.set(*name, None)).count()
    }

    /// The number of objects that only the table or only this record knows.
    pub(super) fn differences(&self, table: &dyn AnyTable) -> usize {
        let names = table.names();
        let both = names.iter().filter(|name| self.seen.contains_key(name)).count();
        (self.seen.len() - both) + (names.len() - both)
    }

    /// Takes over which objects the table has.
    pub(super) fn repair(&mut self, table: &dyn AnyTable) {
        self.seen.retain(|name, _| table.has(*name));
        for name in table.names() {
            self.seen.entry(name).or_insert(self.stamp);
        }
    }

    /// Forgets an object, as a defect would.
    #[cfg(test)]
    pub(super) fn forget(&mut self, name: ObjectName) {
        self.seen.remove(&name);
    }
}

#[cfg(test)]
pub mod test_kinds;
#[cfg(test)]
mod tests;
