//! Whether writes have their effect: nominations that kube-scheduler does not honour pause their class of pods.

use super::actor::Actor;
use crate::control::Sign;
use crate::model::{ActionKind, EquivalenceClass, Pod, PodUid};

impl Actor {
    /// Something that was begun for a pod has ended. `Some(true)`: it had its effect, as a nomination has that
    /// kube-scheduler honours. Failures count for the pod's class first.
    pub fn was_of_use(
        &self,
        kind: &'static ActionKind,
        (class, uid): (EquivalenceClass, PodUid),
        of_use: Option<bool>,
    ) {
        let (sign, now) = (Sign::of(of_use), self.clock.now());
        let mut state = self.queue(kind).lock();
        let before = state.not_honoured.num_paused(now);
        let is_general = state.not_honoured.end(&class, uid, sign, now);
        if state.not_honoured.num_paused(now) > before {
            let kind = kind.name;
            tracing::warn!(kind, "nominations of a class of pods are not honoured: it is paused");
        }
        if is_general {
            state.trip(kind, now);
        }
    }

    /// Whether the kind is paused for pods of this class. Costs a lock where nothing has failed lately.
    pub fn is_paused(&self, kind: &'static ActionKind, pod: &Pod) -> bool {
        let mut state = self.queue(kind).lock();
        !state.not_honoured.is_empty()
            && state.not_honoured.is_paused(&EquivalenceClass::of(pod), self.clock.now())
    }

    /// Something is begun for a pod.
    pub fn began(&self, kind: &'static ActionKind, pod: &Pod) {
        let mut state = self.queue(kind).lock();
        if !state.not_honoured.is_empty() {
            state.not_honoured.begin(&EquivalenceClass::of(pod), pod.uid, self.clock.now());
        }
    }
}
