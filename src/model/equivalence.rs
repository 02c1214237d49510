//! Which pods fare alike: those of one template. What is tried in vain for one of them is in vain for the others.

use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

use super::ids::AppKey;
use super::labels::{HashedText, LabelSet};
use super::pod::Pod;

/// Labels that controllers give: pods of one template differ in them.
const GIVEN: [&str; 10] = [
    "pod-template-hash",
    "pod-template-generation",
    "controller-revision-hash",
    "controller-uid",
    "job-name",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "batch.kubernetes.io/job-completion-index",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
];

/// The class of a pod among all pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EquivalenceClass {
    /// What it asks for: requests, tolerations, constraints, ports; and its namespace.
    template: u64,
    /// Its controller. A CronJob's pods have one for each Job.
    app: Option<AppKey>,
    /// Its labels but for those that controllers give; 0 without any.
    labels: u64,
}

impl EquivalenceClass {
    /// Of a pod.
    pub fn of(pod: &Pod) -> Self {
        let asked = (&pod.requests, &pod.tolerations, &pod.constraints, &pod.host_ports);
        let template = hash_of(&(&pod.namespace, &pod.scheduler, asked));
        let home = HashedText::of(LabelSet::NAMESPACE);
        let given = GIVEN.map(HashedText::of);
        let own = pod.labels.pairs().iter().filter(|it| it.0 != home && !given.contains(&it.0));
        let own: Vec<_> = own.collect();
        let labels = if own.is_empty() { 0 } else { hash_of(&(&pod.namespace, own)).max(1) };
        Self { template, app: pod.app(), labels }
    }

    /// The names under which it is counted: a pod of the same controller or with the same labels, which asks for
    /// the same, has one of them.
    pub fn keys(&self) -> impl Iterator<Item = u64> + use<> {
        let by_labels = hash_of(&(self.template, self.labels));
        let by_app = self.app.map(|app| hash_of(&(self.template, app)));
        [by_labels].into_iter().chain(by_app)
    }

    /// True when both are of one application, whatever their pods ask for.
    pub fn is_related(&self, other: &Self) -> bool {
        let alike = |it: &Self| (it.labels, if it.labels == 0 { it.template } else { 0 });
        self.app.is_some() && self.app == other.app || alike(self) == alike(other)
    }
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{pod, replica};

    fn labelled(it: Pod, labels: &[(&str, &str)]) -> Pod {
        let hashed = labels.iter().map(|(key, value)| (HashedText::of(key), HashedText::of(value)));
        Pod { labels: LabelSet::new("default", hashed), ..it }
    }

    #[test]
    fn pods_of_one_template_are_counted_together() {
        let cart = |uid, app, job: &str| {
            labelled(replica(uid, 1, app), &[("app", "cart"), ("job-name", job)])
        };
        let one = cart(1, 7, "j1");
        // (other, counted together, related)
        for (other, together, related) in [
            (cart(2, 7, "j1"), true, true),
            // The next Job of a CronJob.
            (cart(2, 8, "j2"), true, true),
            // Labels that differ from pod to pod, of one controller.
            (labelled(replica(2, 1, 7), &[("exec", "2")]), true, true),
            (labelled(replica(2, 1, 8), &[("exec", "2")]), false, false),
            // It asks for something else.
            (Pod { requests: pod(2, 2).requests, ..cart(2, 7, "j1") }, false, true),
            (Pod { namespace: "shop".into(), ..cart(2, 8, "j1") }, false, false),
            (pod(2, 1), false, false),
        ] {
            let classes = [&one, &other].map(EquivalenceClass::of);
            let keys: Vec<u64> = classes[0].keys().collect();
            let got = (
                classes[1].keys().any(|it| keys.contains(&it)),
                classes[0].is_related(&classes[1]),
            );
            assert_eq!(got, (together, related), "{other:?}");
        }
        // Without labels and without a controller, what they ask for is all that is known.
        let bare = [pod(1, 1), pod(2, 1), pod(3, 2)].map(|it| EquivalenceClass::of(&it));
        assert!(
            bare[0] == bare[1] && bare[0].is_related(&bare[1]) && !bare[0].is_related(&bare[2])
        );
    }
}
