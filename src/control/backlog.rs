//! One look at the pods that wait: who can be given a target, and in which order.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::engine::{Decider, NoTarget, View};
use crate::model::{Pod, PodUid, Priority};

/// A pod's place in the order in which kube-scheduler comes to pods, as far as can be known: by priority,
/// and then as they were created, which the resource version of a pod tells that nobody has written since.
/// Those that were refused before wait elsewhere and come last.
pub type Place = (Reverse<Priority>, bool, u64, PodUid);

/// See [`Place`].
pub fn place_of(pod: &Pod) -> Place {
    (Reverse(pod.priority), pod.condition.is_some(), pod.resource_version, pod.uid)
}

/// What there is.
#[derive(Debug, Default)]
pub struct BacklogScan {
    /// Pods that can be given a target now.
    pub waiting: Vec<Arc<Pod>>,
    /// How many could be, those among them that are to rest.
    pub num_plannable: usize,
    /// How many could not, by reason.
    pub unplanned: Vec<(NoTarget, usize)>,
}

impl BacklogScan {
    /// Looks at pending pods without a target; `is_free` says which of them may be given a target now.
    pub fn of<'a>(
        decider: &Decider,
        view: &View,
        pods: impl Iterator<Item = &'a Arc<Pod>>,
        is_free: impl Fn(&Pod) -> bool,
    ) -> Self {
        let mut look = Self::default();
        for pod in pods {
            match decider.no_target(view, pod) {
                Some(why) => match look.unplanned.iter_mut().find(|it| it.0 == why) {
                    Some((_, count)) => *count += 1,
                    None => look.unplanned.push((why, 1)),
                },
                None => {
                    look.num_plannable += 1;
                    if is_free(pod) {
                        look.waiting.push(pod.clone());
                    }
                }
            }
        }
        look
    }

    /// The pods that can be given a target, by their places, and how many could not.
    pub fn in_order(self) -> (Vec<Arc<Pod>>, Vec<(NoTarget, usize)>) {
        let mut pods = self.waiting;
        pods.sort_unstable_by_key(|pod| place_of(pod));
        (pods, self.unplanned)
    }
}
