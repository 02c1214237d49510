//! What kube-scheduler's configuration changes of its own filters, by profile.
//!
//! kube-scheduler judges the nodes that it offers. This is for nodes that it has not offered.

use super::constraints::NodeTerm;

/// The prefix of names that every DeviceClass has by itself.
pub const DEVICE_CLASS_PREFIX: &str = "deviceclass.resource.kubernetes.io/";

/// The profiles of a kube-scheduler.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profiles {
    /// By `schedulerName`.
    pub by_scheduler: Box<[(Box<str>, Profile)]>,
    /// Extended resources that an extender's `managedResources` ignore for all profiles.
    pub ignored: Box<[Box<str>]>,
}

/// What a profile changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// `NodeResourcesFitArgs.ignoredResources`.
    pub ignored: Box<[Box<str>]>,
    /// `NodeResourcesFitArgs.ignoredResourceGroups`.
    pub ignored_groups: Box<[Box<str>]>,
    /// `NodeAffinityArgs.addedAffinity`: one of these must hold; `None` where any node will do.
    pub node_terms: Option<Box<[NodeTerm]>>,
    /// `PodTopologySpreadArgs.defaultConstraints` has one that is not `ScheduleAnyway`: pods without
    /// constraints of their own are spread by the selectors of their services, which are not known here.
    pub spreads: bool,
    /// It asks for something in words that are not known here.
    pub is_unclear: bool,
}

impl Profiles {
    /// The profile of pods with this `schedulerName`; `None` where nothing is known of it.
    pub fn of(&self, scheduler: &str) -> Option<&Profile> {
        self.by_scheduler.iter().find(|(name, _)| **name == *scheduler).map(|(_, it)| it)
    }

    /// True when NodeResourcesFit does not look at this resource for pods with this `schedulerName`.
    pub fn ignore(&self, scheduler: &str, resource: &str) -> bool {
        let is_in = |names: &[Box<str>], name: &str| names.iter().any(|it| **it == *name);
        let group = resource.split_once('/').map_or("", |it| it.0);
        let by_profile =
            |it: &Profile| is_in(&it.ignored, resource) || is_in(&it.ignored_groups, group);
        is_extended(resource)
            && (is_in(&self.ignored, resource) || self.of(scheduler).is_some_and(by_profile))
    }
}

/// True for a resource outside of Kubernetes' own namespace. Source: `helper.IsExtendedResourceName`.
pub fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_ignored_by_profile_and_by_extender() {
        let names =
            |all: &[&str]| -> Box<[Box<str>]> { all.iter().map(|it| (*it).into()).collect() };
        let profile = Profile {
            ignored: names(&["a.com/x", "hugepages-2Mi", "a.kubernetes.io/z"]),
            ignored_groups: names(&["b.com"]),
            ..Profile::default()
        };
        let profiles = Profiles {
            by_scheduler: [("s".into(), profile), ("t".into(), Profile::default())].into(),
            ignored: names(&["c.com/x"]),
        };
        for (scheduler, resource, want) in [
            ("s", "a.com/x", true),
            ("s", "a.com/y", false),
            ("s", "b.com/any", true),
            ("s", "bb.com/any", false),
            ("s", "c.com/x", true),
            // Kubernetes' own are never ignored.
            ("s", "hugepages-2Mi", false),
            ("s", "a.kubernetes.io/z", false),
            ("t", "a.com/x", false),
            ("t", "c.com/x", true),
            ("u", "a.com/x", false),
            ("u", "c.com/x", true),
        ] {
            assert_eq!(profiles.ignore(scheduler, resource), want, "{scheduler} {resource}");
        }
        assert!(
            Profiles::default().of("s").is_none() && !Profiles::default().ignore("s", "a.com/x")
        );
    }
}
