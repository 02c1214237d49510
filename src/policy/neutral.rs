//! The plan that stands for a policy that could not be had: sigma answers, and adds next to nothing.
//!
//! kube-scheduler decides as it would without sigma, with one exception: virtual nodes cost money by the
//! pod, and only a policy knows for whom. They are shut to all but exempt pods and the pods of DaemonSets.

use std::sync::Arc;

use super::causes::Steering;
use super::classes::exempt_class;
use super::plan::{ClassSettings, Plan, PoolSettings, Role, Settings, Shortlist, default_class};
use crate::model::{ClassOrd, NodeMatcher};
use crate::rules::CATALOGUE;

/// The name of the one pool.
const VIRTUAL: &str = "virtual-nodes";
/// The class of DaemonSet pods: the second one, after `exempt`.
const DAEMON_CLASS: ClassOrd = ClassOrd(1);

impl Plan {
    /// The plan without a policy. It is a plan like any other, so that answers take no other way.
    pub fn neutral() -> Arc<Self> {
        let pools = vec![PoolSettings {
            name: VIRTUAL.to_owned(),
            matcher: NodeMatcher { is_virtual: true, ..NodeMatcher::default() },
            elastic: true,
            ..PoolSettings::default()
        }];
        let daemons =
            ClassSettings { name: "daemonset".to_owned(), role: Role::Exempt, ..default_class() };
        // `default` never goes to an elastic pool.
        let classes = [exempt_class(), daemons, default_class()].map(without_opinion).to_vec();
        let name = "none".to_owned();
        let settings = Settings { name, pools, classes, ..Settings::default() };
        let plan = Self::of(&settings, String::new());
        Arc::new(Self { daemon_class: Some(DAEMON_CLASS), is_neutral: true, ..plan })
    }
}

/// The class with neither points, nor a shortlist, nor a steer.
fn without_opinion(class: ClassSettings) -> ClassSettings {
    let scorers = CATALOGUE.iter().filter(|it| it.kind.has_weight());
    ClassSettings {
        weights: scorers.map(|it| (it.name.to_owned(), 0)).collect(),
        shortlist: Some(Shortlist::OFF),
        steering: Some(Steering::OFF),
        ..class
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_no_opinion_and_its_classes_are_where_they_are_looked_for() {
        let plan = Plan::neutral();
        let names: Vec<_> = plan.classes.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["exempt", "daemonset", "default"]);
        assert_eq!(plan.class(DAEMON_CLASS).name, "daemonset");
        assert!(!plan.chooses_anywhere() && plan.offline_class.is_none());
        for class in &plan.classes {
            assert!(class.scorers.is_empty() && !class.bears_limits && !class.ordered);
            assert_eq!(class.shortlist, Shortlist::OFF);
        }
    }
}
