//! Actions: what sigma writes by itself, and the kinds that there are.
//!
//! A kind of action is a file in this folder, and a line in [`ACTION_KINDS`].

mod nominate_ahead;
mod requeue;
mod steer;

use super::{ObjectRef, Pod, Priority, Rate, Right, Write};

pub use nominate_ahead::NOMINATE_AHEAD;
pub use requeue::{REQUEUE, REQUEUE_ANNOTATION};
pub use steer::STEER;

/// Every kind of action.
pub static ACTION_KINDS: &[&ActionKind] = &[&REQUEUE, &STEER, &NOMINATE_AHEAD];

/// A kind of action. Each kind has a queue, a pace, a breaker and rights of its own, so none waits behind another.
#[derive(Debug, PartialEq, Eq)]
pub struct ActionKind {
    /// As metrics, the admin API and policies call it.
    pub name: &'static str,
    /// The bounds of its queue.
    pub queue: QueueLimits,
    /// When its breaker opens.
    pub breaker: BreakerLimits,
    /// The rights that it needs.
    pub rights: &'static [Right],
    /// It requires a successful access review before its first write. Other kinds write until the server answers 403.
    pub needs_proof: bool,
    /// It concerns the whole cluster: only the leader takes actions of this kind.
    pub is_cluster_wide: bool,
}

/// The bounds of a kind's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Actions that may wait.
    pub max_waiting: usize,
    /// Writes under way.
    pub max_in_flight: usize,
    /// How fast writes begin.
    pub pace: Rate,
    /// Attempts of one action.
    pub max_attempts: u32,
    /// The pause between attempts doubles from this, in milliseconds, …
    pub first_pause_ms: u64,
    /// … up to this.
    pub most_pause_ms: u64,
    /// An action that is older, in milliseconds, is not begun any more.
    pub max_age_ms: u64,
}

impl QueueLimits {
    /// The same bounds with another pace: so many a second, and an eighth of that at once.
    #[must_use]
    pub fn paced(self, per_second: u32) -> Self {
        let per_second = u64::from(per_second);
        let burst = (per_second / 8).max(1);
        Self { pace: Rate { tokens: per_second, period_ms: 1000, burst }, ..self }
    }
}

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerLimits {
    /// So many failures open it, …
    pub failures: usize,
    /// … within so many milliseconds.
    pub window_ms: u64,
    /// How long it stays open at first, in milliseconds. Each time it opens again soon, the pause is twice as long.
    pub pause_ms: u64,
    /// The longest pause in milliseconds.
    pub most_pause_ms: u64,
}

impl BreakerLimits {
    /// Twenty failures in 10 s; 10 s to 2 minutes.
    pub const DEFAULT: Self =
        Self { failures: 20, window_ms: 10_000, pause_ms: 10_000, most_pause_ms: 120_000 };
}

/// A write that sigma makes by itself. A newer action of the same kind about the same object replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// The queue that it goes into.
    pub kind: &'static ActionKind,
    /// The object that is written to.
    pub target: ObjectRef,
    /// The highest is first.
    pub priority: Priority,
    /// What is written.
    pub write: Write,
    /// What is done, in a word: `requeue`, `nominate`, …
    pub verb: &'static str,
    /// Why, in a word of a closed set: the name of a reason, or of a cause.
    pub cause: &'static str,
    /// It is tried until it is done, or the object is gone: for a pod that would not be tried again without it.
    pub must_complete: bool,
}

impl Action {
    /// A nomination of this node for the pod, if it has none, and a requeue of the pod.
    pub fn nominate(kind: &'static ActionKind, pod: &Pod, node: &str, cause: &'static str) -> Self {
        let (annotated, is_ahead) = (pod.annotated, *kind == NOMINATE_AHEAD);
        let write = Write::Nominate { node: node.into(), annotated, is_ahead };
        Self::on_pod(kind, pod, write, ("nominate", cause))
    }

    /// Takes the nomination of this node back.
    pub fn clear(kind: &'static ActionKind, pod: &Pod, node: &str, cause: &'static str) -> Self {
        let write = Write::ClearNomination { node: node.into() };
        Self::on_pod(kind, pod, write, ("clear", cause))
    }

    /// An action about a pod, of the pod's priority.
    pub fn on_pod(
        kind: &'static ActionKind,
        pod: &Pod,
        write: Write,
        (verb, cause): (&'static str, &'static str),
    ) -> Self {
        let (target, priority) = (ObjectRef::pod(pod), pod.priority);
        Self { kind, target, priority, write, verb, cause, must_complete: false }
    }

    /// The same action, which is tried until it is done.
    #[must_use]
    pub fn must_complete(self) -> Self {
        Self { must_complete: true, ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::testing::pod;

    #[test]
    fn kinds_have_names_of_their_own_and_bounds_above_zero() {
        let names: BTreeSet<&str> = ACTION_KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), ACTION_KINDS.len());
        for kind in ACTION_KINDS {
            let QueueLimits { max_waiting, max_in_flight, pace, max_attempts, .. } = kind.queue;
            assert!(max_waiting > 0 && max_in_flight > 0 && max_attempts > 0, "{}", kind.name);
            assert!(
                pace.tokens > 0 && pace.burst > 0 && kind.breaker.failures > 0,
                "{}",
                kind.name
            );
            assert!(!kind.rights.is_empty(), "{}", kind.name);
        }
    }

    #[test]
    fn a_pace_allows_an_eighth_of_a_second_at_once() {
        for (per_second, burst) in [(1000, 125), (8, 1), (1, 1)] {
            let pace = NOMINATE_AHEAD.queue.paced(per_second).pace;
            let want = Rate { tokens: per_second.into(), period_ms: 1000, burst };
            assert_eq!(pace, want);
        }
    }

    #[test]
    fn an_action_about_a_pod_has_its_priority_and_its_uid() {
        let pod = Pod { priority: 7, annotated: true, ..pod(1, 1) };
        for (kind, ahead) in [(&STEER, false), (&NOMINATE_AHEAD, true)] {
            let action = Action::nominate(kind, &pod, "n1", "backlog");
            let want = Write::Nominate { node: "n1".into(), annotated: true, is_ahead: ahead };
            assert_eq!((&action.write, action.write.node()), (&want, Some("n1")));
            assert_eq!((action.priority, action.must_complete), (7, false));
            assert_eq!((&*action.target.uid, &*action.target.name), (&*pod.uid_text, &*pod.name));
        }
        let action = Action::requeue(&pod, "AllocationLimit").must_complete();
        assert!(action.must_complete && action.write.node().is_none());
        assert_eq!(Action::clear(&STEER, &pod, "n1", "home").write.node(), Some("n1"));
    }
}
