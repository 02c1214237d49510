//! Which class a pod gets.
//!
//! Being raised above `default` needs a PriorityClass or a priority band *and* a namespace, because a
//! tenant can write any label and any priority class name that its quota allows; `exempt` needs
//! namespaces by name. A QoS label can only lower.

use std::collections::BTreeMap;

use super::plan::{Plan, Role};
use crate::model::{ClassOrd, Namespace, Priority, QosClaim, glob};

/// Which namespaces a grant is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceSelector {
    /// Patterns of names; any of them.
    pub names: Vec<String>,
    /// Labels that the namespace must carry, all of them.
    pub match_labels: Vec<(String, String)>,
}

impl NamespaceSelector {
    fn admits(&self, name: &str, namespace: Option<&Namespace>) -> bool {
        (self.names.is_empty() || self.names.iter().any(|pattern| glob(pattern, name)))
            && self.match_labels.iter().all(|(key, value)| {
                namespace.and_then(|namespace| namespace.label(key)) == Some(value)
            })
    }
}

/// What a pod must show to get a class; what is not asked is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Patterns of PriorityClass names; any of them.
    pub priority_classes: Vec<String>,
    /// `spec.priority`, both ends included; an alternative to a PriorityClass.
    pub priority: Option<(Priority, Priority)>,
    /// The namespace's name and labels.
    pub namespaces: Option<NamespaceSelector>,
}

/// The facts about a pod that decide its class.
#[derive(Clone, Copy, Debug)]
pub struct Claimant<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its PriorityClass.
    pub priority_class: &'a str,
    /// Its priority.
    pub priority: Priority,
    /// What its QoS label claims.
    pub qos_claim: Option<QosClaim>,
}

/// A pod's class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The class it gets.
    pub class: ClassOrd,
    /// It claimed more than it was granted.
    pub claimed_more: bool,
}

impl Grant {
    /// True when the grant asks for nothing: it grants to nobody.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn admits(&self, pod: &Claimant<'_>, namespace: Option<&Namespace>) -> bool {
        if self.is_empty() {
            return false;
        }
        let by_class = self.priority_classes.iter().any(|it| glob(it, pod.priority_class));
        let band = self.priority;
        let by_band = band.is_some_and(|(low, high)| (low..=high).contains(&pod.priority));
        let asks_priority = !self.priority_classes.is_empty() || band.is_some();
        (!asks_priority || by_class || by_band)
            && self.namespaces.as_ref().is_none_or(|it| it.admits(pod.namespace, namespace))
    }
}

impl Plan {
    /// The class of a pod: the first whose grant admits it, lowered by its QoS label, else `default`.
    pub fn classify(
        &self,
        namespaces: &BTreeMap<Box<str>, Namespace>,
        pod: &Claimant<'_>,
    ) -> Granted {
        let namespace = namespaces.get(pod.namespace);
        let admits = |at: &usize| self.classes[*at].grant.admits(pod, namespace);
        let granted = (0..self.classes.len()).find(admits).map(|at| ClassOrd(at as u8));
        let granted = granted.unwrap_or(self.default_class);
        let role = self.class(granted).role;
        let lowers = pod.qos_claim == Some(QosClaim::Offline) && role != Role::Exempt;
        let class = self.offline_class.filter(|_| lowers).unwrap_or(granted);
        let claimed_more = pod.qos_claim == Some(QosClaim::Online)
            && matches!(role, Role::Offline | Role::Default);
        Granted { class, claimed_more }
    }
}
