//! What was chosen for whom and has not ended. Pure: whoever owns it tells the time and does the rest.
//!
//! ```text
//!          note         order          written                 bound on the target: honoured
//!   target ─────▶ chosen ─────▶ ordered ───────▶ nominated ─────▶ bound elsewhere, or gone: missed
//!                   │              │                │  ▲          somebody changed it: overruled
//!                   ▼              ▼         too old, │ not
//!             missed, unwritten  unwritten   or lost ▼ cleared
//!                                               clearing ─────▶ stale, lost
//! ```

use std::cmp::Reverse;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::ActionOutcome;
use super::backlog::Place;
use super::filter_delay::FilterDelay;
use super::scheduler_rate::Delay;
use crate::cluster::{HoldId, Snapshot};
use crate::model::{EquivalenceClass, Pod, PodUid, Priority, Tick};

/// A pod that no node takes is not looked at again for so long, nor one that kube-scheduler came to first.
pub const REST_MS: u64 = 2000;

/// How a target ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NominationEnd {
    /// The pod is on it.
    Honoured,
    /// The pod is on another node, or gone, or kube-scheduler came to it before its nomination's turn.
    Missed,
    /// The nomination could not be written, or the pod was nominated or bound before.
    Unwritten,
    /// Somebody else has changed the nomination.
    Overruled,
    /// The nomination was old and is taken back.
    Stale,
    /// The target would not take the pod any more, and the nomination is taken back.
    Lost,
}

impl NominationEnd {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Honoured, Self::Missed, Self::Unwritten, Self::Overruled, Self::Stale, Self::Lost];

    /// As metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Honoured => "honoured",
            Self::Missed => "missed",
            Self::Unwritten => "unwritten",
            Self::Overruled => "overruled",
            Self::Stale => "stale",
            Self::Lost => "lost",
        }
    }

    /// The pod is not given another target at once: it would be the same one.
    fn rests(self) -> bool {
        matches!(self, Self::Unwritten | Self::Overruled | Self::Stale)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To be ordered when its turn comes.
    Chosen(Place),
    /// To be written, since then.
    Ordered(Tick),
    /// Written.
    Nominated {
        since: Tick,
        /// A snapshot has shown it.
        seen: bool,
    },
    /// To be taken back, for this reason.
    Clearing(NominationEnd, Tick),
}

#[derive(Clone, Debug)]
struct NominationEntry {
    node: Box<str>,
    /// The pod's.
    priority: Priority,
    /// Its hold; `None` where a leader before us had chosen it.
    held: Option<HoldId>,
    stage: Stage,
    /// Among whom it is counted, until it is.
    class: Option<EquivalenceClass>,
}

/// What a target was good for: whose, and whether it was honoured, as far as that is known.
pub type Trial = (EquivalenceClass, PodUid, Option<bool>);

impl NominationEntry {
    fn is_unwritten(&self) -> bool {
        matches!(self.stage, Stage::Chosen(_) | Stage::Ordered(_))
    }
}

/// A target that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The pod.
    pub uid: PodUid,
    /// Its hold; `None` where a snapshot ends it.
    pub held: Option<HoldId>,
    /// How it ended.
    pub why: NominationEnd,
}

/// A nomination to be taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToClear {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The node that it is nominated to.
    pub node: Box<str>,
    /// Why the nomination is taken back.
    pub why: NominationEnd,
}

/// The targets that have not ended, and pods that are not given one for a while.
#[derive(Debug, Default)]
pub struct Nominations {
    entries: FxHashMap<PodUid, NominationEntry>,
    resting: FxHashMap<PodUid, Tick>,
    ended: Vec<Ended>,
    trials: Vec<Trial>,
    delay: Delay,
    filter_delay: FilterDelay,
}

impl Nominations {
    /// How many targets have not ended.
    pub fn num_open(&self) -> usize {
        self.entries.len()
    }

    /// How long before kube-scheduler comes to a pod its nomination must be ordered, in milliseconds.
    pub fn lead_ms(&self) -> u64 {
        self.delay.lead_ms()
    }

    /// The pod may be given a target.
    pub fn is_free(&self, uid: PodUid, now: Tick) -> bool {
        !self.entries.contains_key(&uid) && self.resting.get(&uid).is_none_or(|until| *until <= now)
    }

    /// The pod's target.
    pub fn target(&self, uid: PodUid) -> Option<&str> {
        self.entries.get(&uid).map(|entry| &*entry.node)
    }

    /// The pod is not given a target before.
    pub fn rest(&mut self, uid: PodUid, until: Tick) {
        self.resting.insert(uid, until);
    }

    /// A target is chosen, and held by this.
    pub fn note(&mut self, uid: PodUid, place: Place, node: &str, held: HoldId) {
        let (node, held, Reverse(priority)) = (node.into(), Some(held), place.0);
        let (stage, class) = (Stage::Chosen(place), None);
        self.entries.insert(uid, NominationEntry { node, priority, held, stage, class });
    }

    /// The pod with a target is counted among these.
    pub fn classify(&mut self, uid: PodUid, class: EquivalenceClass) {
        if let Some(entry) = self.entries.get_mut(&uid) {
            entry.class = Some(class);
        }
    }

    /// kube-scheduler was sent to the pod's target, and asks about others.
    pub fn unwanted(&mut self, uid: PodUid, node: &str) {
        let entry = self.entries.get_mut(&uid).filter(|it| *it.node == *node);
        if let Some(entry) = entry.filter(|it| matches!(it.stage, Stage::Nominated { .. })) {
            self.trials.extend(entry.class.take().map(|class| (class, uid, Some(false))));
        }
    }

    /// What targets were good for since this was asked last.
    pub fn take_trials(&mut self) -> Vec<Trial> {
        std::mem::take(&mut self.trials)
    }

    /// A nomination is worth keeping kube-scheduler waiting for so long.
    pub fn grant_filter_delay(&mut self, each_ms: u64) {
        self.filter_delay.grant(each_ms);
    }

    /// kube-scheduler may be kept waiting, and there is something to wait for.
    pub fn is_pressing(&self) -> bool {
        self.filter_delay.is_left() && self.entries.values().any(NominationEntry::is_unwritten)
    }

    /// kube-scheduler has come to the pod. If its nomination is not written yet it will not be; gives the
    /// pod's priority then.
    pub fn delay_filter(&mut self, uid: PodUid, now: Tick) -> Option<Priority> {
        let entry = self.entries.get(&uid).filter(|entry| entry.is_unwritten())?;
        let priority = entry.priority;
        self.came_first(uid, now);
        Some(priority)
    }

    /// Takes at most so much of the filter delay while nominations of this priority or a higher one are to be
    /// written yet. Gives how much.
    pub fn take_filter_delay(&mut self, priority: Priority, most_ms: u64) -> u64 {
        let unwritten = self.entries.values().filter(|entry| entry.is_unwritten());
        let num_unwritten = unwritten.clone().count();
        let is_for_it = unwritten.clone().any(|entry| entry.priority >= priority);
        if is_for_it { self.filter_delay.take(most_ms, num_unwritten) } else { 0 }
    }

    /// The pods whose nominations are to be ordered, and what holds their targets: in the order
    /// of the queue, but the first `lead` last, to which kube-scheduler will come before we can.
    pub fn turn(&self, lead: usize) -> Vec<(PodUid, HoldId)> {
        let chosen = self.entries.iter().filter_map(|(uid, entry)| match entry.stage {
            Stage::Chosen(place) => Some((place, *uid, entry.held?)),
            _ => None,
        });
        let mut chosen: Vec<_> = chosen.collect();
        chosen.sort_unstable();
        let lead = lead.min(chosen.len());
        chosen.rotate_left(lead);
        chosen.into_iter().map(|(_, uid, held)| (uid, held)).collect()
    }

    /// The pod's nomination is ordered. Gives the target.
    pub fn order(&mut self, uid: PodUid, now: Tick) -> Option<Box<str>> {
        let entry = self.entries.get_mut(&uid)?;
        matches!(entry.stage, Stage::Chosen(_)).then(|| {
            entry.stage = Stage::Ordered(now);
            entry.node.clone()
        })
    }

    /// kube-scheduler came to the pod before its nomination's turn. It rests, since one
    /// whose class holds nothing would look as if it still waited.
    pub fn came_first(&mut self, uid: PodUid, now: Tick) {
        self.end(uid, NominationEnd::Missed, 0, now);
        self.rest(uid, now.plus_ms(REST_MS));
    }

    /// Somebody else has nominated the pod before its nomination's turn.
    pub fn overruled(&mut self, uid: PodUid, rest_ms: u64, now: Tick) {
        self.end(uid, NominationEnd::Overruled, rest_ms, now);
    }

    /// Nothing is ordered any more: what is chosen is given up.
    pub fn give_up(&mut self, now: Tick) {
        for (uid, _) in self.turn(0) {
            self.end(uid, NominationEnd::Unwritten, 0, now);
        }
    }

    /// A leader before us has nominated these pods: what becomes of them is ours to follow.
    pub fn adopt<'a>(&mut self, pods: impl Iterator<Item = &'a Arc<Pod>>, now: Tick) {
        for pod in pods.filter(|pod| pod.nominated_ahead && pod.is_pending()) {
            if let Some(node) = &pod.nominated {
                let (priority, stage) = (pod.priority, Stage::Nominated { since: now, seen: true });
                let class = Some(EquivalenceClass::of(pod));
                let (node, held) = (node.clone(), None);
                let entry = || NominationEntry { node, priority, held, stage, class };
                self.entries.entry(pod.uid).or_insert_with(entry);
            }
        }
    }

    /// The order to nominate has ended.
    pub fn written(&mut self, uid: PodUid, outcome: &ActionOutcome, rest_ms: u64, now: Tick) {
        let Some(entry) = self.entries.get_mut(&uid) else {
            return;
        };
        let Stage::Ordered(ordered) = entry.stage else {
            return;
        };
        match outcome {
            ActionOutcome::Written => {
                self.delay.note(now.since_ms(ordered));
                entry.stage = Stage::Nominated { since: now, seen: false };
            }
            // What became of the pod a snapshot will tell.
            ActionOutcome::Gone | ActionOutcome::AlreadyBound => {}
            ActionOutcome::Overtaken => self.came_first(uid, now),
            _ => self.end(uid, NominationEnd::Unwritten, rest_ms, now),
        }
    }

    /// The order to take the nomination back has ended.
    pub fn cleared(&mut self, uid: PodUid, outcome: &ActionOutcome, rest_ms: u64, now: Tick) {
        let Some(entry) = self.entries.get_mut(&uid) else {
            return;
        };
        let Stage::Clearing(why, since) = entry.stage else {
            return;
        };
        match outcome {
            ActionOutcome::Written | ActionOutcome::Changed(_) => self.end(uid, why, rest_ms, now),
            // As above.
            ActionOutcome::Gone | ActionOutcome::AlreadyBound => {}
            _ => entry.stage = Stage::Nominated { since, seen: true },
        }
    }

    /// Compares with what a snapshot shows. Gives the nominations that are to be taken back: those
    /// that are older than `ttl_ms`, and those whose target does not take the pod any more.
    pub fn follow(
        &mut self,
        snapshot: &Snapshot,
        ttl_ms: u64,
        now: Tick,
        mut takes: impl FnMut(&Pod, &str) -> bool,
    ) -> Vec<ToClear> {
        let mut to_clear = Vec::new();
        let mut ended = Vec::new();
        for (uid, entry) in &mut self.entries {
            let Some(pod) = snapshot.pending(*uid).filter(|pod| pod.is_pending()) else {
                ended.push((*uid, gone(snapshot, *uid, &entry.node)));
                continue;
            };
            let is_shown = pod.nominated.as_deref() == Some(&*entry.node);
            if let Stage::Ordered(ordered) = entry.stage
                && is_shown
            {
                self.delay.note(now.since_ms(ordered));
                entry.stage = Stage::Nominated { since: now, seen: true };
            }
            let Stage::Nominated { since, seen } = &mut entry.stage else {
                continue;
            };
            let is_old = now.since_ms(*since) > ttl_ms;
            // Until it is shown, the snapshot is from before it was written.
            if !is_shown && (*seen || is_old) {
                ended.push((*uid, NominationEnd::Overruled));
                continue;
            }
            *seen |= is_shown;
            let is_lost = !takes(pod, &entry.node);
            if (is_old || is_lost) && !snapshot.makes_room(pod, &entry.node) {
                let why = if is_lost { NominationEnd::Lost } else { NominationEnd::Stale };
                entry.stage = Stage::Clearing(why, *since);
                to_clear.push(ToClear { pod: pod.clone(), node: entry.node.clone(), why });
            }
        }
        ended.into_iter().for_each(|(uid, why)| self.end(uid, why, ttl_ms, now));
        self.resting.retain(|_, until| *until > now);
        to_clear
    }

    /// Forgets all targets, which are somebody else's from now on.
    pub fn forget(&mut self) {
        self.entries.clear();
        self.resting.clear();
        self.filter_delay.end();
    }

    /// How targets have ended since this was asked last.
    pub fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    fn end(&mut self, uid: PodUid, why: NominationEnd, rest_ms: u64, now: Tick) {
        let Some(entry) = self.entries.remove(&uid) else {
            return;
        };
        let of_use = (why == NominationEnd::Honoured).then_some(true);
        self.trials.extend(entry.class.map(|class| (class, uid, of_use)));
        let held =
            entry.held.filter(|_| !matches!(why, NominationEnd::Honoured | NominationEnd::Missed));
        self.ended.push(Ended { uid, held, why });
        if why.rests() {
            self.rest(uid, now.plus_ms(rest_ms));
        }
    }
}

/// What became of a pod that does not wait any more.
fn gone(snapshot: &Snapshot, uid: PodUid, node: &str) -> NominationEnd {
    let ord = snapshot.names.ord(node);
    let is_there = ord.is_some_and(|ord| snapshot.pod_on(ord, uid).is_some());
    if is_there { NominationEnd::Honoured } else { NominationEnd::Missed }
}
