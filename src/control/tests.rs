//! The nominations and the look, without anything to act on.

use std::sync::Arc;

use super::{ActionOutcome, BacklogScan, Ended, NominationEnd, Nominations, ToClear, place_of};
use crate::cluster::HoldId;
use crate::engine::NoTarget;
use crate::model::{Change, EquivalenceClass, Pod, PodUid, Tick, UnschedulableCondition};
use crate::policy::Settings;
use crate::testing::{TestReplica, node, placed, pod, seen_node, seen_pod};

const TTL_MS: u64 = 1000;
const UID: PodUid = PodUid(1);

/// Two nodes, a pod that waits, and what is known of it.
struct NominatorCase {
    site: TestReplica,
    nominations: Nominations,
}

impl NominatorCase {
    /// Node `a` is chosen for the pod.
    fn chosen() -> Self {
        let mut case = Self {
            site: TestReplica::new(&Settings::default()),
            nominations: Nominations::default(),
        };
        case.site.see(["a", "b"].map(|name| seen_node(node(name, &[]))));
        case.sees(&pod(1, 1));
        case.nominations.note(UID, place_of(&pod(1, 1)), "a", HoldId(77));
        case
    }

    /// The pod's nomination to `a` is ordered.
    fn ordered() -> Self {
        let mut case = Self::chosen();
        assert_eq!(case.nominations.turn(0), [(UID, HoldId(77))]);
        assert_eq!(case.nominations.order(UID, Tick(0)).as_deref(), Some("a"));
        assert_eq!(case.nominations.turn(0), []);
        case
    }

    /// It is written, and shown.
    fn nominated() -> Self {
        let mut case = Self::ordered();
        case.nominations.written(UID, &ActionOutcome::Written, TTL_MS, Tick(0));
        case.sees(&nominated("a", 2));
        assert_eq!(case.follow(0, true), []);
        case
    }

    fn sees(&mut self, pod: &Pod) {
        self.site.see([seen_pod(pod)]);
    }

    fn follow(&mut self, now: u64, takes: bool) -> Vec<ToClear> {
        let snapshot = &self.site.view.snapshot;
        self.nominations.follow(snapshot, TTL_MS, Tick(now), |_, _| takes)
    }

    fn ended(&mut self, want: NominationEnd, is_free: bool) {
        // What a snapshot ends need not be ended, and must not be before.
        let held = (!matches!(want, NominationEnd::Honoured | NominationEnd::Missed))
            .then_some(HoldId(77));
        assert_eq!(self.nominations.take_ended(), [Ended { uid: UID, held, why: want }]);
        assert_eq!((self.nominations.num_open(), self.nominations.target(UID)), (0, None));
        assert_eq!(self.nominations.is_free(UID, Tick(1500)), is_free, "{want:?}");
        assert!(self.nominations.is_free(UID, Tick(9000)));
    }
}

fn nominated(node: &str, resource_version: u64) -> Pod {
    Pod { nominated: Some(node.into()), resource_version, ..pod(1, 1) }
}

#[test]
fn a_target_ends_with_its_pod_bound_there_or_elsewhere_or_gone() {
    for (at, want) in [("a", NominationEnd::Honoured), ("b", NominationEnd::Missed)] {
        for mut case in
            [NominatorCase::chosen(), NominatorCase::ordered(), NominatorCase::nominated()]
        {
            case.sees(&placed(&nominated("a", 5), at));
            assert_eq!(case.follow(1, true), []);
            case.ended(want, true);
        }
    }
    let mut case = NominatorCase::nominated();
    case.site.see([Change::PodGone { uid: UID }]);
    assert_eq!(case.follow(1, true), []);
    case.ended(NominationEnd::Missed, true);
}

/// What is counted for the pod's class, and once: a target that was honoured, one that kube-scheduler did not want,
/// and nothing where neither is known.
#[test]
fn a_target_that_kube_scheduler_does_not_want_is_told_once() {
    let class = EquivalenceClass::of(&pod(1, 1));
    let nominated_in = |case: &mut NominatorCase| case.nominations.classify(UID, class);
    let bound = |case: &mut NominatorCase, at: &str| {
        case.sees(&placed(&nominated("a", 5), at));
        assert_eq!(case.follow(1, true), []);
    };
    for (at, want) in [("a", Some(true)), ("b", None)] {
        let mut case = NominatorCase::nominated();
        nominated_in(&mut case);
        bound(&mut case, at);
        assert_eq!(case.nominations.take_trials(), [(class, UID, want)], "{at}");
    }
    let mut case = NominatorCase::nominated();
    nominated_in(&mut case);
    case.nominations.unwanted(UID, "b");
    case.nominations.unwanted(PodUid(9), "a");
    assert_eq!(case.nominations.take_trials(), [], "that is not its target");
    case.nominations.unwanted(UID, "a");
    case.nominations.unwanted(UID, "a");
    assert_eq!(case.nominations.take_trials(), [(class, UID, Some(false))]);
    bound(&mut case, "b");
    assert_eq!(case.nominations.take_trials(), []);
    // A nomination that is not written yet says nothing.
    let mut case = NominatorCase::ordered();
    nominated_in(&mut case);
    case.nominations.unwanted(UID, "a");
    assert_eq!(case.nominations.take_trials(), []);
}

#[test]
fn who_comes_next_is_ordered_last_and_all_others_by_their_places() {
    let mut nominations = Nominations::default();
    let pods = [(1, 0, 30), (2, 0, 10), (3, 5, 40), (4, 0, 20), (5, 0, 5)];
    for (uid, priority, resource_version) in pods {
        let pod = Pod { priority, resource_version, ..pod(uid, 1) };
        nominations.note(pod.uid, place_of(&pod), "a", HoldId(uid as u64));
    }
    nominations.order(PodUid(5), Tick(0));
    for (lead, want) in [
        (0, [3, 2, 4, 1]),
        (1, [2, 4, 1, 3]),
        (3, [1, 3, 2, 4]),
        (4, [3, 2, 4, 1]),
        (99, [3, 2, 4, 1]),
    ] {
        let turn = nominations.turn(lead);
        assert!(turn.iter().map(|it| it.0.0).eq(want), "{lead}: {turn:?}");
        assert!(turn.iter().all(|it| it.0.0 == u128::from(it.1.0)));
    }
}

/// By the answer to the write, or by a snapshot that shows it before that.
#[test]
fn orders_begin_as_far_ahead_as_writing_takes() {
    for by_answer in [true, false] {
        let mut case = NominatorCase::chosen();
        assert_eq!(case.nominations.lead_ms(), 300);
        for at in 0..40 {
            let start = 10_000 * at;
            case.nominations.forget();
            case.sees(&Pod { resource_version: 10 * at + 1, ..pod(1, 1) });
            case.nominations.note(UID, place_of(&pod(1, 1)), "a", HoldId(77));
            case.nominations.order(UID, Tick(start));
            if by_answer {
                case.nominations.written(UID, &ActionOutcome::Written, TTL_MS, Tick(start + 800));
            }
            case.sees(&nominated("a", 10 * at + 2));
            assert_eq!(case.follow(start + 800, true), []);
            // It is noted once.
            case.nominations.written(UID, &ActionOutcome::Written, TTL_MS, Tick(start + 9000));
        }
        assert!(
            (880..=920).contains(&case.nominations.lead_ms()),
            "{}",
            case.nominations.lead_ms()
        );
    }
}

/// Until its own pod's answer, and for nobody of lower priority.
#[test]
fn kube_scheduler_waits_while_there_is_a_filter_delay_and_something_to_write() {
    let mut nominations = Nominations::default();
    for (uid, priority) in [(1, 0), (2, 0), (3, 5), (4, 0)] {
        let pod = Pod { priority, ..pod(uid, 1) };
        nominations.note(pod.uid, place_of(&pod), "a", HoldId(77));
        assert_eq!(nominations.is_pressing(), uid > 1);
        nominations.grant_filter_delay(10);
    }
    assert_eq!(nominations.delay_filter(PodUid(9), Tick(0)), None, "it has no target");
    nominations.order(PodUid(2), Tick(0));
    for uid in [1, 2] {
        assert_eq!(nominations.delay_filter(PodUid(uid), Tick(0)), Some(0));
        assert_eq!(
            nominations.delay_filter(PodUid(uid), Tick(0)),
            None,
            "it is not nominated any more"
        );
        let (uid, held, why) = (PodUid(uid), None, NominationEnd::Missed);
        assert_eq!(nominations.take_ended(), [Ended { uid, held, why }]);
        assert!(!nominations.is_free(uid, Tick(1500)));
    }
    assert_eq!(nominations.take_filter_delay(6, 5), 0, "those that are left are less important");
    assert_eq!(nominations.take_filter_delay(5, 5), 5);
    assert_eq!(nominations.take_filter_delay(0, 50), 15, "of two that are left");
    assert!(!nominations.is_pressing());
    nominations.grant_filter_delay(10);
    assert!(nominations.is_pressing());
    for uid in [3, 4] {
        nominations.order(PodUid(uid), Tick(0));
        nominations.written(PodUid(uid), &ActionOutcome::Written, TTL_MS, Tick(0));
        assert_eq!(nominations.delay_filter(PodUid(uid), Tick(0)), None, "it is nominated");
    }
    assert!(!nominations.is_pressing());
    assert_eq!(nominations.take_filter_delay(0, 5), 0, "all is written");
}

#[test]
fn what_is_not_ordered_ends_with_an_answer_or_when_the_means_is_switched_off() {
    let mut case = NominatorCase::chosen();
    case.nominations.came_first(UID, Tick(10));
    case.ended(NominationEnd::Missed, false);
    let mut case = NominatorCase::chosen();
    case.nominations.give_up(Tick(10));
    case.ended(NominationEnd::Unwritten, true);
    // What is under way is not given up so.
    for mut case in [NominatorCase::ordered(), NominatorCase::nominated()] {
        case.nominations.give_up(Tick(10));
        assert_eq!((case.nominations.num_open(), case.nominations.take_ended()), (1, Vec::new()));
    }
}

#[test]
fn what_is_not_written_ends_and_its_pod_rests() {
    for outcome in [
        ActionOutcome::Changed(None),
        ActionOutcome::Failed("x".into()),
        ActionOutcome::Off,
        ActionOutcome::Stopped,
        ActionOutcome::Full,
    ] {
        let mut case = NominatorCase::ordered();
        case.nominations.written(UID, &outcome, TTL_MS, Tick(1000));
        case.ended(NominationEnd::Unwritten, false);
    }
    let mut case = NominatorCase::ordered();
    case.nominations.written(UID, &ActionOutcome::Overtaken, TTL_MS, Tick(1000));
    assert!(
        !case.nominations.is_free(UID, Tick(2999)) && case.nominations.is_free(UID, Tick(3000))
    );
    case.ended(NominationEnd::Missed, false);
}

#[test]
fn who_was_bound_before_the_nomination_ends_as_a_snapshot_tells() {
    let mut case = NominatorCase::ordered();
    case.nominations.written(UID, &ActionOutcome::AlreadyBound, TTL_MS, Tick(0));
    assert_eq!(case.follow(9000, true), []);
    case.sees(&placed(&pod(1, 1), "b"));
    assert_eq!(case.follow(9000, true), []);
    case.ended(NominationEnd::Missed, true);
}

#[test]
fn a_snapshot_from_before_the_write_says_nothing_and_one_from_after_does() {
    let mut case = NominatorCase::ordered();
    case.nominations.written(UID, &ActionOutcome::Written, TTL_MS, Tick(0));
    assert_eq!(case.follow(500, true), []);
    assert_eq!(case.nominations.target(UID), Some("a"));
    // The watch may also be ahead of the answer to the write.
    let mut early = NominatorCase::ordered();
    early.sees(&nominated("a", 2));
    assert_eq!(early.follow(1, true), []);
    for mut case in [NominatorCase::nominated(), early] {
        case.sees(&Pod { nominated: None, ..nominated("", 3) });
        assert_eq!(case.follow(1000, true), []);
        case.ended(NominationEnd::Overruled, false);
    }
    let mut case = NominatorCase::nominated();
    case.sees(&nominated("b", 3));
    assert_eq!(case.follow(1000, true), []);
    case.ended(NominationEnd::Overruled, false);
}

#[test]
fn what_is_old_or_lost_is_taken_back_once() {
    for (now, takes, want) in [(1001, true, NominationEnd::Stale), (10, false, NominationEnd::Lost)]
    {
        let mut case = NominatorCase::nominated();
        assert_eq!(case.follow(now.min(1000), true), [], "it is neither yet");
        let to_clear = case.follow(now, takes);
        let shown = case.site.view.snapshot.pending(UID).cloned().expect("it waits");
        assert_eq!(to_clear, [ToClear { pod: shown, node: "a".into(), why: want }]);
        assert_eq!(case.follow(now, takes), [], "it is on its way");
        // It failed: the next look tries again.
        case.nominations.cleared(UID, &ActionOutcome::Failed("x".into()), TTL_MS, Tick(now));
        assert_eq!(case.follow(now, takes).len(), 1);
        case.nominations.cleared(UID, &ActionOutcome::Written, TTL_MS, Tick(1000));
        // A lost one may have another target at once; a stale one would have the same.
        case.ended(want, want == NominationEnd::Lost);
    }
    // It was bound before it could be taken back.
    let mut case = NominatorCase::nominated();
    assert_eq!(case.follow(10, false).len(), 1);
    case.nominations.cleared(UID, &ActionOutcome::AlreadyBound, TTL_MS, Tick(10));
    case.sees(&placed(&nominated("a", 5), "a"));
    assert_eq!(case.follow(11, false), []);
    case.ended(NominationEnd::Honoured, true);
}

#[test]
fn what_victims_make_room_for_is_not_taken_back() {
    for (now, takes) in [(5000, true), (10, false)] {
        let mut case = NominatorCase::ordered();
        case.nominations.written(UID, &ActionOutcome::Written, TTL_MS, Tick(0));
        case.sees(&Pod { priority: 10, ..nominated("a", 2) });
        assert_eq!(case.follow(0, true), []);
        let resident = |uid, priority, at| placed(&Pod { priority, ..pod(uid, 1) }, at);
        let leaving = |pod: Pod| Pod { terminating: true, resource_version: 9, ..pod };
        // One that is evicted from its node, by whatever nominated it there.
        let victim = resident(2, 9, "a");
        case.sees(&leaving(victim.clone()));
        assert_eq!(case.follow(now, takes), [], "takes: {takes}");
        case.site.see([Change::PodGone { uid: victim.uid }]);
        // None of these is evicted for it: one stays, one is as important, one is elsewhere.
        case.sees(&resident(3, 0, "a"));
        case.sees(&leaving(resident(4, 10, "a")));
        case.sees(&leaving(resident(5, 0, "b")));
        assert_eq!(case.follow(now, takes).len(), 1, "takes: {takes}");
    }
}

#[test]
fn what_a_leader_before_us_nominated_is_followed_and_nobody_elses() {
    let mut case = NominatorCase::ordered();
    case.nominations.forget();
    case.sees(&Pod { nominated_ahead: true, ..nominated("b", 2) });
    case.sees(&Pod { nominated: Some("a".into()), ..pod(2, 1) });
    let pods: Vec<Arc<Pod>> =
        case.site.view.snapshot.pending.iter().map(|(_, pod)| pod.clone()).collect();
    case.nominations.adopt(pods.iter(), Tick(100));
    case.nominations.adopt(pods.iter(), Tick(900));
    assert_eq!((case.nominations.num_open(), case.nominations.target(UID)), (1, Some("b")));
    assert_eq!(case.follow(1100, true), []);
    let to_clear = case.follow(1101, true);
    assert_eq!(
        to_clear.iter().map(|it| (&*it.node, it.why)).collect::<Vec<_>>(),
        [("b", NominationEnd::Stale)]
    );
    case.nominations.cleared(UID, &ActionOutcome::Written, TTL_MS, Tick(1101));
    assert_eq!(
        case.nominations.take_ended(),
        [Ended { uid: UID, held: None, why: NominationEnd::Stale }]
    );
}

#[test]
fn who_waits_is_looked_at_in_the_order_of_kube_schedulers_queue() {
    let mut site = TestReplica::new(&Settings::default());
    let condition = Some(UnschedulableCondition::default());
    let of = |uid, priority, resource_version, condition| Pod {
        priority,
        resource_version,
        condition,
        ..pod(uid, 1)
    };
    site.see([
        seen_pod(&of(1, 0, 10, None)),
        seen_pod(&of(2, 0, 7, None)),
        seen_pod(&of(3, 5, 30, None)),
        seen_pod(&of(4, 5, 2, condition)),
        seen_pod(&of(5, 0, 3, condition)),
        seen_pod(&of(6, 0, 8, None)),
        seen_pod(&Pod { gated: true, ..pod(7, 1) }),
        seen_pod(&Pod { gated: true, ..pod(8, 1) }),
    ]);
    let pods: Vec<Arc<Pod>> =
        site.view.snapshot.pending.iter().map(|(_, pod)| pod.clone()).collect();
    let look = BacklogScan::of(&site.decider, &site.view, pods.iter(), |pod| pod.uid != PodUid(6));
    assert_eq!(look.num_plannable, 6, "one of them rests");
    let (waiting, unplanned) = look.in_order();
    let order: Vec<u128> = waiting.iter().map(|pod| pod.uid.0).collect();
    assert_eq!(order, [3, 4, 2, 1, 5]);
    assert_eq!(unplanned, [(NoTarget::Gated, 2)]);
}
