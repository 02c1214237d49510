//! Nominations that were written and had no effect, because kube-scheduler did not honour them. Pure: the owner passes
//! the time in.
//!
//! They count by equivalence class first: a fault of one application must not switch a kind off for all. A class that
//! fails several times is paused by a breaker of its own. The kind itself is suspected only when several unrelated classes
//! fail.

use std::collections::VecDeque;

use rustc_hash::{FxHashMap, FxHashSet};

use super::breaker::{Breaker, BreakerState, Sign};
use crate::model::{BreakerLimits, EquivalenceClass, PodUid, Tick};

/// So many failures of a class within a window open its breaker.
const OF_A_CLASS: usize = 3;
/// So many unrelated classes must fail before a kind is off for all.
const UNRELATED: usize = 3;
/// Most classes of which anything is known; the one that failed longest ago is forgotten.
const MAX_CLASSES: usize = 256;
/// A pod by which a class is judged is given up when nothing was heard of it for so long.
const PATIENCE_MS: u64 = 60_000;

/// What failed lately, by class.
#[derive(Debug)]
pub struct NotHonoured {
    limits: BreakerLimits,
    classes: FxHashMap<u64, PausedClass>,
    /// The last failures of all, oldest first.
    recent: VecDeque<(Tick, EquivalenceClass)>,
}

#[derive(Debug)]
struct PausedClass {
    breaker: Breaker,
    failed: Tick,
    /// The first of its names.
    by_labels: Option<u64>,
    /// The pod by which it is judged, since then.
    probe: Option<(PodUid, Tick)>,
}

impl NotHonoured {
    /// With the limits of the kind.
    pub fn new(limits: BreakerLimits) -> Self {
        Self { limits, classes: FxHashMap::default(), recent: VecDeque::new() }
    }

    /// How many classes are left alone.
    pub fn num_paused(&self, now: Tick) -> usize {
        let paused =
            self.classes.values().filter(|it| it.breaker.state(now) != BreakerState::Closed);
        // A class may be known by its labels and by its controller.
        paused.map(|it| it.by_labels).collect::<FxHashSet<_>>().len()
    }

    /// Nothing has failed lately: no class need be looked at.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// Nothing is begun for pods of this class.
    pub fn is_paused(&mut self, class: &EquivalenceClass, now: Tick) -> bool {
        class.keys().any(|key| {
            let known = self.classes.get_mut(&key);
            known.is_some_and(|it| {
                it.give_up(now);
                it.breaker.room(now) == 0
            })
        })
    }

    /// Something begins for a pod: if its class is left alone, it is judged by this one.
    pub fn begin(&mut self, class: &EquivalenceClass, uid: PodUid, now: Tick) {
        for key in class.keys() {
            if let Some(it) = self.classes.get_mut(&key)
                && it.breaker.begin()
            {
                it.probe = Some((uid, now));
            }
        }
    }

    /// What was begun for a pod has ended, and had its effect or not. True when enough unrelated classes have
    /// failed, so that the kind is suspected.
    pub fn end(&mut self, class: &EquivalenceClass, uid: PodUid, sign: Sign, now: Tick) -> bool {
        for key in class.keys() {
            if sign == Sign::Bad {
                self.make_room(key);
                let limits = BreakerLimits { failures: OF_A_CLASS, ..self.limits };
                let (breaker, by_labels) = (Breaker::new(limits, now), class.keys().next());
                let fresh = || PausedClass { breaker, failed: now, by_labels, probe: None };
                self.classes.entry(key).or_insert_with(fresh).failed = now;
            }
            if let Some(it) = self.classes.get_mut(&key) {
                let probes = it.probe.take_if(|(probe, _)| *probe == uid).is_some();
                it.breaker.end(probes, sign, now);
            }
        }
        sign == Sign::Bad && self.is_general(class, now)
    }

    /// Notes a failure; true when enough unrelated classes have failed within a window.
    fn is_general(&mut self, class: &EquivalenceClass, now: Tick) -> bool {
        let is_old = |at: Tick| now.since_ms(at) > self.limits.window_ms;
        while self.recent.front().is_some_and(|(at, _)| is_old(*at)) {
            self.recent.pop_front();
        }
        let most = self.limits.failures.max(UNRELATED) * 4;
        if self.recent.len() >= most {
            self.recent.pop_front();
        }
        self.recent.push_back((now, *class));
        let opens = self.recent.len() >= self.limits.failures && self.num_unrelated() >= UNRELATED;
        if opens {
            self.recent.clear();
        }
        opens
    }

    /// Of how many applications the last failures were.
    fn num_unrelated(&self) -> usize {
        let mut groups: Vec<Vec<&EquivalenceClass>> = Vec::new();
        for (_, class) in &self.recent {
            let is_of =
                |group: &Vec<&EquivalenceClass>| group.iter().any(|it| it.is_related(class));
            // It may be what two groups have in common.
            let (mut joined, others): (Vec<_>, Vec<_>) = groups.into_iter().partition(is_of);
            let mut group: Vec<_> = joined.drain(..).flatten().collect();
            group.push(class);
            groups = others;
            groups.push(group);
        }
        groups.len()
    }

    fn make_room(&mut self, key: u64) {
        if self.classes.len() < MAX_CLASSES || self.classes.contains_key(&key) {
            return;
        }
        let oldest = self.classes.iter().min_by_key(|(key, it)| (it.failed, **key));
        if let Some(key) = oldest.map(|(key, _)| *key) {
            self.classes.remove(&key);
        }
    }
}

impl PausedClass {
    /// Another pod may be judged by, when nothing is heard of this one.
    fn give_up(&mut self, now: Tick) {
        if self.probe.take_if(|(_, since)| now.since_ms(*since) > PATIENCE_MS).is_some() {
            self.breaker.end(true, Sign::None, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::STEER;
    use crate::testing::{pod, replica};

    fn steers() -> NotHonoured {
        NotHonoured::new(STEER.breaker)
    }

    fn class(app: u128, cpu: i64) -> EquivalenceClass {
        let it = replica(1, cpu, app);
        let name = app.to_string();
        let labels = [(crate::model::HashedText::of("app"), crate::model::HashedText::of(&name))];
        EquivalenceClass::of(&crate::model::Pod {
            labels: crate::model::LabelSet::new("default", labels),
            ..it
        })
    }

    fn fail(it: &mut NotHonoured, class: &EquivalenceClass, at_ms: u64) -> bool {
        it.end(class, PodUid(u128::from(at_ms)), Sign::Bad, Tick(at_ms))
    }

    #[test]
    fn a_class_that_fails_is_paused_alone_and_tried_again() {
        let (mut it, cart, song) = (steers(), class(1, 1), class(2, 1));
        for at in 0..50 {
            assert!(!fail(&mut it, &cart, at), "one class never opens it for all");
            assert_eq!(it.is_paused(&cart, Tick(at)), at >= 2, "{at}");
        }
        assert!(!it.is_paused(&song, Tick(50)));
        // The same requests of the same controller or with the same labels are the same class, others are not.
        assert!(!it.is_paused(&class(1, 2), Tick(50)) && it.num_paused(Tick(50)) == 1);
        // After the pause one pod is tried; it fails, so that the pause is twice as long.
        let probe = PodUid(7);
        assert!(it.is_paused(&cart, Tick(10_001)) && !it.is_paused(&cart, Tick(10_002)));
        it.begin(&cart, probe, Tick(10_002));
        assert!(it.is_paused(&cart, Tick(10_003)), "one at a time");
        assert!(!it.end(&cart, probe, Sign::Bad, Tick(10_010)));
        assert!(it.is_paused(&cart, Tick(30_009)) && !it.is_paused(&cart, Tick(30_010)));
        // Of this one nothing is heard.
        it.begin(&cart, probe, Tick(30_010));
        assert!(it.is_paused(&cart, Tick(90_010)) && !it.is_paused(&cart, Tick(90_011)));
        // Another pod's end says nothing, that of the one that is tried does.
        it.begin(&cart, probe, Tick(90_011));
        it.end(&cart, PodUid(8), Sign::Good, Tick(90_012));
        assert!(it.is_paused(&cart, Tick(90_012)));
        it.end(&cart, probe, Sign::Good, Tick(90_013));
        assert!(!it.is_paused(&cart, Tick(90_013)) && it.num_paused(Tick(90_013)) == 0);
    }

    #[test]
    fn several_unrelated_classes_open_it_for_all() {
        let mut it = steers();
        let (cart, song, film) = (class(1, 1), class(2, 1), class(3, 2));
        // Two are not enough, however often they fail.
        assert!((0..20).all(|at| !fail(&mut it, [&cart, &song][at as usize % 2], at)));
        assert!(fail(&mut it, &film, 20));
        assert!(!fail(&mut it, &film, 21), "it is counted anew");
        // Five failures, and three of the classes, must be within ten seconds.
        let mut it = steers();
        let apart =
            [(&cart, 0), (&song, 1), (&cart, 2), (&song, 3), (&film, 10_004), (&cart, 10_005)];
        assert!(apart.into_iter().all(|(class, at)| !fail(&mut it, class, at)));
        let mut it = steers();
        assert!([&cart, &song, &film, &cart].into_iter().all(|class| !fail(&mut it, class, 0)));
        assert!(fail(&mut it, &song, 0));
        // What one controller's pods of several sizes have in common is no other class.
        let mut it = steers();
        assert!((0..20).all(|at| !fail(&mut it, &class(1, 1 + at), at as u64)));
        let bare = EquivalenceClass::of(&pod(1, 1));
        assert!(!(0..20).any(|at| fail(&mut it, &bare, at)));
    }

    #[test]
    fn no_more_is_known_than_is_bounded() {
        let mut it = steers();
        for app in 0..1000 {
            fail(&mut it, &class(app, 1), app as u64 * 20_000);
        }
        assert_eq!(it.classes.len(), MAX_CLASSES);
        assert!(it.recent.len() <= 20);
    }
}
