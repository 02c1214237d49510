use super::*;
use crate::testing::pod;

fn refusals(max_pods: usize) -> UnschedulablePods {
    UnschedulablePods::new(UnschedulableLimits { max_pods, ..UnschedulableLimits::default() })
}

fn note(refusals: &mut UnschedulablePods, uid: u128, reason: Reason, now_ms: u64) {
    refusals.note(&Arc::new(pod(uid, 1)), None, reason, 1, Tick(now_ms));
}

#[test]
fn what_is_remembered_is_bounded_and_the_longest_unheard_of_is_forgotten() {
    let mut refusals = refusals(2);
    note(&mut refusals, 1, Reason::MaxReplicaShare, 0);
    note(&mut refusals, 2, Reason::MaxReplicaShare, 5);
    note(&mut refusals, 1, Reason::MaxReplicaShare, 9);
    note(&mut refusals, 3, Reason::MaxReplicaShare, 10);
    assert_eq!(refusals.len(), 2);
    assert_eq!(refusals.reason(PodUid(2)), None);
    assert!(refusals.reason(PodUid(1)).is_some() && refusals.reason(PodUid(3)).is_some());
}

#[test]
fn rings_of_a_pod_back_off_up_to_the_longest_gap() {
    let mut refusals = refusals(9);
    note(&mut refusals, 1, Reason::MaxReplicaShare, 0);
    let uid = PodUid(1);
    let mut now = 0;
    for gap in [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
        assert_eq!(refusals.due(Tick(now)), [uid]);
        refusals.rang(uid, Tick(now));
        // Being refused again does not shorten the wait.
        note(&mut refusals, 1, Reason::MaxReplicaShare, now);
        assert!(refusals.due(Tick(now + gap - 1)).is_empty(), "{gap}");
        now += gap;
    }
    // A pod that got in starts anew.
    refusals.forget(uid);
    note(&mut refusals, 1, Reason::MaxReplicaShare, now);
    assert_eq!(refusals.due(Tick(now)), [uid]);
}

#[test]
fn a_round_looks_at_every_pod_once_by_priority() {
    let mut refusals = refusals(9);
    for (uid, priority) in [(1, 0), (2, 7), (3, 7)] {
        let pod = Arc::new(Pod { priority, ..pod(uid, 1) });
        refusals.note(&pod, None, Reason::MaxReplicaShare, 1, Tick(0));
    }
    let uids = |refusals: &mut UnschedulablePods| -> Vec<u128> {
        refusals.due(Tick(0)).into_iter().map(|uid| uid.0).collect()
    };
    assert_eq!(uids(&mut refusals), [2, 3, 1]);
    refusals.looked(PodUid(2));
    assert_eq!(uids(&mut refusals), [3, 1]);
    // Who is refused again in between does not jump the queue.
    let again = Arc::new(Pod { priority: 7, ..pod(2, 1) });
    refusals.note(&again, None, Reason::MaxReplicaShare, 1, Tick(0));
    assert_eq!(uids(&mut refusals), [3, 1]);
    refusals.looked(PodUid(3));
    refusals.looked(PodUid(1));
    assert_eq!(uids(&mut refusals), [2, 3, 1]);
}

#[test]
fn a_text_stays_while_the_policy_does_and_is_given_up_when_long_untrue() {
    let mut refusals = refusals(9);
    let uid = PodUid(1);
    let dwell = UnschedulableLimits::default().text_dwell_ms;
    let old = Reason::AllocationLimit;
    assert_eq!(refusals.sticky_reason(uid, |_| true, 1, Tick(0)), None);
    note(&mut refusals, 1, old, 0);
    let cases = [
        // Untrue of this window, but told a moment ago.
        (false, 1, dwell - 1, Some(old)),
        (false, 1, dwell, None),
        (true, 1, dwell * 9, Some(old)),
        // Another policy may have another word.
        (true, 2, 1, None),
    ];
    for (still_true, generation, now, want) in cases {
        let told = refusals.sticky_reason(uid, |_| still_true, generation, Tick(now));
        assert_eq!(told, want, "{still_true} {generation} {now}");
    }
    // The dwell counts from the first time the text was told.
    note(&mut refusals, 1, old, dwell - 1);
    assert_eq!(refusals.sticky_reason(uid, |_| false, 1, Tick(dwell)), None);
    // A reason that is found anew stays for another while, also where it is the same one.
    refusals.begin_text(uid, Tick(dwell));
    note(&mut refusals, 1, old, dwell);
    assert_eq!(refusals.sticky_reason(uid, |_| false, 1, Tick(dwell * 2 - 1)), Some(old));
    assert_eq!(refusals.sticky_reason(uid, |_| false, 1, Tick(dwell * 2)), None);
    // A text told before a decision was possible gives way to the first decision.
    for reason in Reason::ALL {
        note(&mut refusals, 1, reason, dwell);
        let told = refusals.sticky_reason(uid, |_| false, 1, Tick(dwell));
        assert_eq!(told, (!reason.is_provisional()).then_some(reason));
    }
    note(&mut refusals, 1, Reason::PoolClosed, dwell);
    refusals.mark_provisional(uid);
    assert_eq!(refusals.sticky_reason(uid, |_| false, 1, Tick(dwell)), None);
}

#[test]
fn a_clock_that_jumps_back_keeps_the_text_and_rings_later() {
    let mut refusals = refusals(9);
    note(&mut refusals, 1, Reason::MaxReplicaShare, 1_000_000);
    let told = refusals.sticky_reason(PodUid(1), |_| false, 1, Tick(5));
    assert_eq!(told, Some(Reason::MaxReplicaShare));
    assert!(refusals.due(Tick(5)).is_empty());
    assert_eq!(refusals.due(Tick(1_000_000)), [PodUid(1)]);
}
