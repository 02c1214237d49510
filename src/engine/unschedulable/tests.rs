use super::*;
use crate::testing::pod;

fn unschedulable(max_pods: usize) -> UnschedulablePods {
    UnschedulablePods::new(UnschedulableLimits { max_pods, ..UnschedulableLimits::default() })
}

fn note(unschedulable: &mut UnschedulablePods, uid: u128, reason: Reason, now_ms: u64) {
    unschedulable.note(&Arc::new(pod(uid, 1)), None, reason, 1, Tick(now_ms));
}

#[test]
fn what_is_remembered_is_bounded_and_the_longest_unheard_of_is_forgotten() {
    let mut unschedulable = unschedulable(2);
    note(&mut unschedulable, 1, Reason::MaxReplicaShare, 0);
    note(&mut unschedulable, 2, Reason::MaxReplicaShare, 5);
    note(&mut unschedulable, 1, Reason::MaxReplicaShare, 9);
    note(&mut unschedulable, 3, Reason::MaxReplicaShare, 10);
    assert_eq!(unschedulable.len(), 2);
    assert_eq!(unschedulable.reason(PodUid(2)), None);
    assert!(unschedulable.reason(PodUid(1)).is_some() && unschedulable.reason(PodUid(3)).is_some());
}

#[test]
fn rings_of_a_pod_back_off_up_to_the_longest_gap() {
    let mut unschedulable = unschedulable(9);
    note(&mut unschedulable, 1, Reason::MaxReplicaShare, 0);
    let uid = PodUid(1);
    let mut now = 0;
    for gap in [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
        assert_eq!(unschedulable.due(Tick(now)), [uid]);
        unschedulable.requeued(uid, Tick(now));
        // Being refused again does not shorten the wait.
        note(&mut unschedulable, 1, Reason::MaxReplicaShare, now);
        assert!(unschedulable.due(Tick(now + gap - 1)).is_empty(), "{gap}");
        now += gap;
    }
    // A pod that got in starts anew.
    unschedulable.forget(uid);
    note(&mut unschedulable, 1, Reason::MaxReplicaShare, now);
    assert_eq!(unschedulable.due(Tick(now)), [uid]);
}

#[test]
fn a_round_looks_at_every_pod_once_by_priority() {
    let mut unschedulable = unschedulable(9);
    for (uid, priority) in [(1, 0), (2, 7), (3, 7)] {
        let pod = Arc::new(Pod { priority, ..pod(uid, 1) });
        unschedulable.note(&pod, None, Reason::MaxReplicaShare, 1, Tick(0));
    }
    let uids = |unschedulable: &mut UnschedulablePods| -> Vec<u128> {
        unschedulable.due(Tick(0)).into_iter().map(|uid| uid.0).collect()
    };
    assert_eq!(uids(&mut unschedulable), [2, 3, 1]);
    unschedulable.looked(PodUid(2));
    assert_eq!(uids(&mut unschedulable), [3, 1]);
    // Who is refused again in between does not jump the queue.
    let again = Arc::new(Pod { priority: 7, ..pod(2, 1) });
    unschedulable.note(&again, None, Reason::MaxReplicaShare, 1, Tick(0));
    assert_eq!(uids(&mut unschedulable), [3, 1]);
    unschedulable.looked(PodUid(3));
    unschedulable.looked(PodUid(1));
    assert_eq!(uids(&mut unschedulable), [2, 3, 1]);
}

#[test]
fn a_text_stays_while_the_policy_does_and_is_given_up_when_long_untrue() {
    let mut unschedulable = unschedulable(9);
    let uid = PodUid(1);
    let dwell = UnschedulableLimits::default().text_dwell_ms;
    let old = Reason::AllocationLimit;
    assert_eq!(unschedulable.sticky_reason(uid, |_| true, 1, Tick(0)), None);
    note(&mut unschedulable, 1, old, 0);
    let cases = [
        // Untrue of this window, but told a moment ago.
        (false, 1, dwell - 1, Some(old)),
        (false, 1, dwell, None),
        (true, 1, dwell * 9, Some(old)),
        // Another policy may have another word.
        (true, 2, 1, None),
    ];
    for (still_true, generation, now, want) in cases {
        let told = unschedulable.sticky_reason(uid, |_| still_true, generation, Tick(now));
        assert_eq!(told, want, "{still_true} {generation} {now}");
    }
    // The dwell counts from the first time the text was told.
    note(&mut unschedulable, 1, old, dwell - 1);
    assert_eq!(unschedulable.sticky_reason(uid, |_| false, 1, Tick(dwell)), None);
    // A reason that is found anew stays for another while, also where it is the same one.
    unschedulable.begin_text(uid, Tick(dwell));
    note(&mut unschedulable, 1, old, dwell);
    assert_eq!(unschedulable.sticky_reason(uid, |_| false, 1, Tick(dwell * 2 - 1)), Some(old));
    assert_eq!(unschedulable.sticky_reason(uid, |_| false, 1, Tick(dwell * 2)), None);
    // A text told before a decision was possible gives way to the first decision.
    for reason in Reason::ALL {
        note(&mut unschedulable, 1, reason, dwell);
        let told = unschedulable.sticky_reason(uid, |_| false, 1, Tick(dwell));
        assert_eq!(told, (!reason.is_provisional()).then_some(reason));
    }
    note(&mut unschedulable, 1, Reason::PoolClosed, dwell);
    unschedulable.mark_provisional(uid);
    assert_eq!(unschedulable.sticky_reason(uid, |_| false, 1, Tick(dwell)), None);
}

#[test]
fn a_clock_that_jumps_back_keeps_the_text_and_rings_later() {
    let mut unschedulable = unschedulable(9);
    note(&mut unschedulable, 1, Reason::MaxReplicaShare, 1_000_000);
    let told = unschedulable.sticky_reason(PodUid(1), |_| false, 1, Tick(5));
    assert_eq!(told, Some(Reason::MaxReplicaShare));
    assert!(unschedulable.due(Tick(5)).is_empty());
    assert_eq!(unschedulable.due(Tick(1_000_000)), [PodUid(1)]);
}
