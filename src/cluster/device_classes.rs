//! DeviceClasses: which extended resources are not taken from what nodes publish, but allocated as devices.
//! Source: `extendedresourcecache` of `k8s.io/dynamic-resource-allocation`.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::pod_records::Stamp;
use crate::model::DEVICE_CLASS_PREFIX;

/// The DeviceClasses of the cluster, if they are known.
#[derive(Clone, Debug, Default)]
pub struct DeviceClasses {
    /// A list was complete.
    is_listed: bool,
    /// The watch is interrupted: there may be others by now.
    is_lost: bool,
    /// The `extendedResourceName` of each.
    by_name: Arc<BTreeMap<Box<str>, Option<Box<str>>>>,
}

impl DeviceClasses {
    /// True when a class stands for the resource; `None` when that is not known.
    pub fn map(&self, resource: &str) -> Option<bool> {
        let is_it = || match resource.strip_prefix(DEVICE_CLASS_PREFIX) {
            Some(name) => self.by_name.contains_key(name),
            None => self.by_name.values().flatten().any(|it| **it == *resource),
        };
        (self.is_listed && !self.is_lost).then(is_it)
    }

    /// How many are known.
    pub fn num(&self) -> usize {
        self.by_name.len()
    }

    /// Takes over what a class says; false when it is as before.
    pub(super) fn seen(&mut self, name: Box<str>, resource: Option<Box<str>>) -> bool {
        let is_news = self.by_name.get(&name) != Some(&resource);
        if is_news {
            Arc::make_mut(&mut self.by_name).insert(name, resource);
        }
        is_news
    }

    /// Forgets a class; false when it was not known.
    pub(super) fn gone(&mut self, name: &str) -> bool {
        self.by_name.contains_key(name) && {
            Arc::make_mut(&mut self.by_name).remove(name);
            true
        }
    }

    /// The watch is interrupted, or goes on; false when that is nothing new.
    pub(super) fn set_lost(&mut self, is_lost: bool) -> bool {
        std::mem::replace(&mut self.is_lost, is_lost) != is_lost
    }

    /// A list is complete: forgets the classes that it did not have. Gives how many.
    pub(super) fn listed(&mut self, seen: &mut FxHashMap<Box<str>, Stamp>, stamp: Stamp) -> usize {
        (self.is_listed, self.is_lost) = (true, false);
        seen.retain(|_, it| *it == stamp);
        let before = self.by_name.len();
        if self.by_name.keys().any(|name| !seen.contains_key(name)) {
            Arc::make_mut(&mut self.by_name).retain(|name, _| seen.contains_key(name));
        }
        before - self.by_name.len()
    }
}

#[cfg(test)]
mod tests {
    use crate::cluster::ClusterState;
    use crate::model::{Change, Kind};

    fn seen(name: &str, resource: Option<&str>) -> Change {
        Change::DeviceClassSeen { name: name.into(), resource: resource.map(Into::into) }
    }

    /// What is known of a name after each step.
    #[test]
    fn a_class_stands_for_its_name_and_for_the_one_it_is_given() {
        let own = "deviceclass.resource.kubernetes.io/gpu";
        let gone = || Change::DeviceClassGone { name: "gpu".into() };
        let (begin, end) = (
            || Change::RelistBegin(Kind::DeviceClasses),
            || Change::RelistEnd(Kind::DeviceClasses),
        );
        let unread = || Change::Unread { kind: Kind::DeviceClasses, key: "gpu".into() };
        let (no, yes) = (Some(false), Some(true));
        let steps = [
            // A list that is not complete says nothing.
            (vec![begin(), seen("gpu", Some("a.com/gpu"))], [None, None, None]),
            (vec![end()], [yes, yes, no]),
            (vec![seen("gpu", Some("b.com/gpu"))], [yes, no, yes]),
            (vec![seen("gpu", None)], [yes, no, no]),
            (vec![gone()], [no, no, no]),
            (vec![seen("gpu", Some("a.com/gpu"))], [yes, yes, no]),
            (vec![Change::WatchLost(Kind::DeviceClasses)], [None, None, None]),
            (vec![Change::WatchBack(Kind::DeviceClasses)], [yes, yes, no]),
            (
                vec![Change::WatchLost(Kind::Pods), Change::WatchSilent(Kind::DeviceClasses)],
                [yes, yes, no],
            ),
            // What a list has but cannot be read stays; what it lacks is gone.
            (vec![begin(), unread(), end()], [yes, yes, no]),
            (vec![begin(), end()], [no, no, no]),
        ];
        let mut state = ClusterState::default();
        for (changes, want) in steps {
            let told = format!("{changes:?}");
            let before = state.publish().0.device_classes.map(own);
            let changed = changes.into_iter().any(|it| state.apply(it).changed);
            let now = state.publish().0;
            let got = [own, "a.com/gpu", "b.com/gpu"].map(|it| now.device_classes.map(it));
            assert_eq!(got, want, "{told}");
            assert!(changed || before == got[0], "{told}");
        }
        assert_eq!(state.audit(), []);
    }
}
