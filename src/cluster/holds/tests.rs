use std::sync::Arc;

use super::*;
use crate::cluster::ClusterState;
use crate::model::{AppKey, Change, ExtendedAmount, Node, PoolSpec};
use crate::testing::{amounts, claim, node, placed, pod, replica, seen_node, seen_pod};

fn snapshot(changes: impl IntoIterator<Item = Change>) -> Arc<Snapshot> {
    let mut state = ClusterState::default();
    let pool = |name: &str, label: &str| PoolSpec {
        name: name.into(),
        matcher: crate::model::NodeMatcher {
            labels: vec![("pool".into(), label.into())],
            ..Default::default()
        },
        ..PoolSpec::default()
    };
    state.apply(Change::PoolsSet(vec![pool("one", "one"), pool("two", "two")]));
    let gpu = || [ExtendedAmount { name: "gpu".into(), amount: 8 }].into();
    for (name, label) in [("a", "one"), ("b", "one"), ("c", "two")] {
        state.apply(seen_node(Node { extended: gpu(), ..node(name, &[("pool", label)]) }));
    }
    changes.into_iter().for_each(|change| {
        state.apply(change);
    });
    state.publish().0
}

const A: NodeOrd = NodeOrd(0);
const B: NodeOrd = NodeOrd(1);
const C: NodeOrd = NodeOrd(2);

fn assert_nothing_held(holds: &Holds) {
    let sums = &holds.sums;
    for column in [&sums.cpu_milli, &sums.memory_bytes, &sums.ephemeral_bytes, &sums.pods] {
        assert!(column.iter().all(|it| *it == 0), "{sums:?}");
    }
    assert!(sums.pools.iter().all(|it| it.is_zero()) && sums.extended.is_empty(), "{sums:?}");
    assert!(sums.replicas.is_empty() && sums.removed_replicas.is_empty() && holds.is_empty());
    assert!(holds.by_name.is_empty());
}

/// CPU that `pod` sees as taken beside the snapshot, on each node and in each pool, in cores.
fn seen(holds: &mut Holds, snapshot: &Snapshot, pod: &Pod) -> (Vec<i64>, Vec<i64>) {
    let cores = |milli: i64| milli / 1000;
    holds.seen_by(snapshot, pod, |uncommitted| {
        let nodes = uncommitted.cpu_milli.iter().map(|it| cores(*it)).collect();
        (nodes, uncommitted.pools.iter().map(|it| cores(it.cpu_milli)).collect())
    })
}

#[test]
fn a_hold_counts_on_every_node_and_once_per_pool() {
    let snapshot = snapshot([]);
    let mut holds = Holds::default();
    holds.place(&snapshot, &pod(1, 2), &[C, A, B, A], Tick(0));
    assert_eq!(seen(&mut holds, &snapshot, &pod(9, 1)), (vec![2, 2, 2], vec![2, 2]));
    // The pod does not stand in its own way.
    assert_eq!(seen(&mut holds, &snapshot, &pod(1, 2)), (vec![0, 0, 0], vec![0, 0]));
    assert_eq!(seen(&mut holds, &snapshot, &pod(9, 1)), (vec![2, 2, 2], vec![2, 2]));
    holds.release(PodUid(1));
    assert_nothing_held(&holds);
}

#[test]
fn a_publication_ends_a_hold_by_placement_and_deletion_only() {
    let snapshot = snapshot([]);
    let uid = PodUid(1);
    for (confirmed, ends) in [
        (Confirmed::Placed(uid), true),
        (Confirmed::Gone(uid), true),
        (Confirmed::Placed(PodUid(2)), false),
        (Confirmed::Recycled(C), false),
    ] {
        let mut holds = Holds::default();
        holds.place(&snapshot, &pod(1, 2), &[A, C], Tick(0));
        assert_eq!(holds.confirm(confirmed), ends, "{confirmed:?}");
        assert_eq!(holds.is_empty(), ends, "{confirmed:?}");
        holds.release(uid);
        assert_nothing_held(&holds);
    }
}

#[test]
fn a_hold_expires_after_its_ttl_and_with_volumes_after_theirs() {
    let snapshot = snapshot([]);
    let mut holds = Holds::new(HoldLimits { ttl_ms: 10, volume_ttl_ms: 100 });
    holds.place(&snapshot, &pod(1, 1), &[A], Tick(50));
    holds.place(&snapshot, &Pod { claims: [claim("data")].into(), ..pod(2, 1) }, &[A], Tick(50));
    assert_eq!(holds.expire(Tick(59)), 0);
    assert_eq!(holds.expire(Tick(60)), 1);
    assert!(holds.get(PodUid(2)).is_some() && holds.expire(Tick(149)) == 0);
    assert_eq!(holds.expire(Tick(150)), 1);
    assert_nothing_held(&holds);
}

#[test]
fn a_clock_that_jumps_ends_holds_early_or_late_but_never_breaks_the_sums() {
    let snapshot = snapshot([]);
    let mut holds = Holds::default();
    holds.place(&snapshot, &pod(1, 1), &[A], Tick(1_000_000));
    assert_eq!(holds.expire(Tick(0)), 0);
    holds.place(&snapshot, &pod(2, 1), &[A], Tick(u64::MAX));
    assert_eq!(holds.expire(Tick(u64::MAX)), 2);
    assert_nothing_held(&holds);
}

#[test]
fn a_nomination_counts_for_others_of_its_priority_and_below() {
    let nominated = Pod { nominated: Some("b".into()), priority: 5, ..pod(1, 3) };
    let snapshot = snapshot([seen_pod(&nominated)]);
    let mut holds = Holds::default();
    let counted = (vec![0, 3, 0], vec![3, 0]);
    let free = (vec![0, 0, 0], vec![0, 0]);
    for (uid, priority, want) in
        [(2, 4, &counted), (2, 5, &counted), (2, 6, &free), (1, 5, &free), (1, 0, &free)]
    {
        let judged = Pod { priority, ..pod(uid, 1) };
        assert_eq!(&seen(&mut holds, &snapshot, &judged), want, "{uid} of priority {priority}");
        assert_nothing_held(&holds);
    }
}

#[test]
fn a_nomination_and_a_hold_of_one_pod_count_once() {
    let nominated = Pod { nominated: Some("b".into()), ..replica(1, 3, 7) };
    let snapshot = snapshot([seen_pod(&nominated)]);
    let mut holds = Holds::default();
    let other = replica(2, 1, 7);
    // On the nominated node and in its pool …
    holds.place(&snapshot, &nominated, &[A, B], Tick(0));
    assert_eq!(seen(&mut holds, &snapshot, &other), (vec![3, 3, 0], vec![3, 0]));
    // … in its pool even if the hold is on another of its nodes …
    holds.place(&snapshot, &nominated, &[A], Tick(0));
    assert_eq!(seen(&mut holds, &snapshot, &other), (vec![3, 3, 0], vec![3, 0]));
    // … and as one replica, wherever it ends.
    let replicas = holds.seen_by(&snapshot, &other, |uncommitted| uncommitted.replicas.clone());
    assert_eq!(replicas, [(0, A), (0, B)]);
    holds.place(&snapshot, &nominated, &[C], Tick(0));
    assert_eq!(seen(&mut holds, &snapshot, &other), (vec![0, 3, 3], vec![3, 3]));
    holds.release(PodUid(1));
    assert_nothing_held(&holds);
}

#[test]
fn extended_requests_are_held_and_claimed_too() {
    let asks = |it: Pod, amount: i64| {
        let mut it = it;
        it.requests.extended = [
            ExtendedAmount { name: "gpu".into(), amount },
            ExtendedAmount { name: "nobody.has/it".into(), amount },
        ]
        .into();
        it
    };
    let nominated = Pod { nominated: Some("b".into()), ..asks(pod(1, 1), 4) };
    let snapshot = snapshot([seen_pod(&nominated)]);
    let gpu = snapshot.resource("gpu").expect("the nodes publish it");
    let mut holds = Holds::default();
    holds.place(&snapshot, &asks(pod(2, 1), i64::MAX), &[A], Tick(0));
    let extended = holds.seen_by(&snapshot, &pod(3, 1), |uncommitted| uncommitted.extended.clone());
    assert_eq!(extended, [(A, gpu, 1 << 48), (B, gpu, 4)]);
    holds.release(PodUid(2));
    assert_nothing_held(&holds);
}

#[test]
fn replicas_of_other_apps_and_the_pod_itself_are_not_gathered() {
    let mine = Pod { nominated: Some("b".into()), ..replica(1, 1, 7) };
    let snapshot = snapshot([
        seen_pod(&mine),
        seen_pod(&Pod { nominated: Some("c".into()), priority: -1, ..replica(2, 1, 7) }),
        seen_pod(&Pod { nominated: Some("c".into()), ..replica(3, 1, 8) }),
    ]);
    let mut holds = Holds::default();
    holds.place(&snapshot, &mine, &[A], Tick(0));
    holds.place(&snapshot, &replica(4, 1, 8), &[A], Tick(0));
    holds.place(&snapshot, &replica(5, 1, 7), &[A, C], Tick(0));
    let gathered = holds.seen_by(&snapshot, &mine, |uncommitted| uncommitted.replicas.clone());
    assert_eq!(gathered, [(0, A), (0, C)]);
    assert_eq!(mine.app(), Some(AppKey(7)));
}

#[test]
fn a_recycled_ordinal_is_no_longer_held() {
    let snapshot = snapshot([]);
    let mut holds = Holds::default();
    holds.place(&snapshot, &pod(1, 2), &[A, B, B], Tick(0));
    holds.confirm(Confirmed::Recycled(B));
    assert_eq!(seen(&mut holds, &snapshot, &pod(9, 1)), (vec![2, 0, 0], vec![2, 0]));
    holds.confirm(Confirmed::Recycled(B));
    holds.release(PodUid(1));
    assert_nothing_held(&holds);
}

#[test]
fn another_policy_sums_the_holds_over_its_own_pools() {
    let before = snapshot([]);
    let after = snapshot([Change::PoolsSet(vec![PoolSpec::default()])]);
    let mut holds = Holds::default();
    holds.place(&before, &pod(1, 2), &[A, C], Tick(0));
    holds.repool(&after);
    assert_eq!(seen(&mut holds, &after, &pod(9, 1)), (vec![2, 0, 2], vec![2]));
    holds.release(PodUid(1));
    assert_nothing_held(&holds);
}

#[test]
fn holds_are_bounded_and_the_one_that_ends_first_gives_way() {
    let snapshot = snapshot([]);
    let mut holds = Holds::default();
    for uid in 0..=MAX_HOLDS as u128 {
        let now = if uid == 5 { 0 } else { 10 };
        holds.place(&snapshot, &pod(uid, 1), &[A], Tick(now));
    }
    assert_eq!((holds.len(), holds.get(PodUid(5)).is_none()), (MAX_HOLDS, true));
}

#[test]
fn a_pod_already_placed_changes_nothing_for_others() {
    let snapshot = snapshot([seen_pod(&placed(&pod(1, 2), "a"))]);
    let mut holds = Holds::default();
    assert_eq!(seen(&mut holds, &snapshot, &pod(9, 1)), (vec![0, 0, 0], vec![0, 0]));
    assert_eq!(snapshot.used(A), amounts(2, 2, 1));
}

#[test]
fn a_pod_made_anew_under_its_name_takes_over() {
    let snapshot = snapshot([]);
    let mut holds = Holds::default();
    let (old, other) = (pod(1, 2), pod(2, 2));
    let new = Pod { uid: PodUid(3), ..old.clone() };
    holds.place(&snapshot, &old, &[A], Tick(0));
    holds.place(&snapshot, &other, &[B], Tick(0));
    holds.supersede(&snapshot, &new);
    assert_eq!((holds.get(old.uid).is_some(), holds.get(other.uid).is_some()), (false, true));
    holds.place(&snapshot, &new, &[C], Tick(0));
    // What is told late of the old one does not touch the new one.
    holds.confirm(Confirmed::Gone(old.uid));
    assert_eq!(holds.get(new.uid).map(|hold| &*hold.nodes), Some(&[C][..]));
    holds.supersede(&snapshot, &new);
    holds.supersede(&snapshot, &other);
    assert_nothing_held(&holds);
}
