//! DeviceClasses: the extended resources that are allocated as devices, not taken from what nodes publish.
//! Source: `extendedresourcecache` of `k8s.io/dynamic-resource-allocation`.

use super::tables::Table;
use crate::model::{DEVICE_CLASS_PREFIX, Fact, Kind, ObjectName};

impl Kind {
    /// Classes of devices.
    pub const DEVICE_CLASSES: Self = Self::of("resource.k8s.io", "deviceclasses");
}

/// A DeviceClass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceClass {
    /// The `extendedResourceName`.
    pub resource: Option<Box<str>>,
}

impl Fact for DeviceClass {
    const KIND: Kind = Kind::DEVICE_CLASSES;
}

impl Table<DeviceClass> {
    /// True when a class stands for the resource; `None` when that is not known.
    pub fn map(&self, resource: &str) -> Option<bool> {
        let is_it = || match resource.strip_prefix(DEVICE_CLASS_PREFIX) {
            Some(name) => self.get(ObjectName::of("", name)).is_some(),
            None => self.iter().any(|(_, it)| it.resource.as_deref() == Some(resource)),
        };
        self.is_complete().then(is_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ClusterState;
    use crate::model::Change;

    fn gpu(name: &str) -> ObjectName {
        ObjectName::of("", name)
    }

    fn seen(name: &str, resource: Option<&str>) -> Change {
        Change::seen(gpu(name), Some(DeviceClass { resource: resource.map(Into::into) }))
    }

    /// What is known of a name after each step.
    #[test]
    fn a_class_stands_for_its_name_and_for_the_one_it_is_given() {
        let own = "deviceclass.resource.kubernetes.io/gpu";
        let gone = || Change::Gone { kind: Kind::DEVICE_CLASSES, name: gpu("gpu") };
        let (begin, end) = (
            || Change::RelistBegin(Kind::DEVICE_CLASSES),
            || Change::RelistEnd(Kind::DEVICE_CLASSES),
        );
        let unread = || Change::Unread { kind: Kind::DEVICE_CLASSES, key: "gpu".into() };
        let (no, yes) = (Some(false), Some(true));
        let steps = [
            // A list that is not complete says nothing.
            (vec![begin(), seen("gpu", Some("a.com/gpu"))], [None, None, None]),
            (vec![end()], [yes, yes, no]),
            (vec![seen("gpu", Some("b.com/gpu"))], [yes, no, yes]),
            (vec![seen("gpu", None)], [yes, no, no]),
            (vec![gone()], [no, no, no]),
            (vec![seen("gpu", Some("a.com/gpu"))], [yes, yes, no]),
            (vec![Change::WatchLost(Kind::DEVICE_CLASSES)], [None, None, None]),
            (vec![Change::WatchBack(Kind::DEVICE_CLASSES)], [yes, yes, no]),
            (
                vec![Change::WatchLost(Kind::PODS), Change::WatchSilent(Kind::DEVICE_CLASSES)],
                [yes, yes, no],
            ),
            // What a list has but cannot be read stays; what it lacks is gone.
            (vec![begin(), unread(), end()], [yes, yes, no]),
            (vec![begin(), end()], [no, no, no]),
        ];
        let mut state = ClusterState::default();
        for (changes, want) in steps {
            let told = format!("{changes:?}");
            let before = state.publish().0.tables.device_classes.map(own);
            let changed = changes.into_iter().any(|it| state.apply(it).changed);
            let now = state.publish().0;
            let got = [own, "a.com/gpu", "b.com/gpu"].map(|it| now.tables.device_classes.map(it));
            assert_eq!(got, want, "{told}");
            assert!(changed || before == got[0], "{told}");
        }
        assert_eq!(state.audit(), []);
    }
}
