mod restored;

use super::*;
use crate::cluster::DeviceClass;
use crate::model::{
    BoundClaim, CannotJudge, Conditions, DomainLevel, Node, Owner, PodClaim, PodStatusBits,
    PoolOrd, UnschedulableCondition, VolumeTopology, owner_of,
};
use crate::testing::{amounts, claim, node, placed, pod, replica, seen_node, seen_pod};

fn state(changes: impl IntoIterator<Item = Change>) -> ClusterState {
    let mut state = ClusterState::default();
    changes.into_iter().for_each(|change| {
        state.apply(change);
    });
    state
}

fn used_cpu(state: &ClusterState, name: &str) -> Option<i64> {
    let ord = state.now.names.ord(name)?;
    Some(state.now.used(ord).cpu_milli)
}

#[test]
fn a_heartbeat_changes_nothing() {
    let mut state = state([seen_node(node("a", &[]))]);
    let (before, _) = state.publish();
    let applied = state.apply(seen_node(Node { resource_version: 9, ..node("a", &[]) }));
    assert_eq!(applied, Applied::default());
    assert_eq!(state.publish().0.generation, before.generation);
    // It is remembered all the same: what comes later with an older version is late.
    let late = Node { resource_version: 8, allocatable: amounts(1, 1, 1), ..node("a", &[]) };
    assert_eq!(state.apply(seen_node(late)), Applied::default());
    assert_eq!(state.publish().0.allocatable(NodeOrd(0)), node("a", &[]).allocatable);
}

#[test]
fn news_of_a_pods_status_are_no_news_but_are_remembered() {
    let it = placed(&replica(1, 2, 7), "a");
    let mut state = state([seen_node(node("a", &[])), seen_pod(&it)]);
    let (before, _) = state.publish();
    assert_eq!(
        state.apply(seen_pod(&Pod { resource_version: 9, ..it.clone() })),
        Applied::default()
    );
    let (after, confirmed) = state.publish();
    assert_eq!((after.generation, confirmed), (before.generation, vec![]));
    let late = Pod { resource_version: 8, terminating: true, ..it.clone() };
    assert_eq!(state.apply(seen_pod(&late)), Applied::default());
    // Everything else about it is news.
    for (version, news) in [
        Pod { terminating: true, ..it.clone() },
        Pod { requests: pod(1, 3).requests, ..it.clone() },
        Pod { priority: 7, ..it.clone() },
        Pod { owner: None, ..it.clone() },
        placed(&it, "b"),
        Pod { node: None, ..it },
    ]
    .into_iter()
    .enumerate()
    {
        let news = Pod { resource_version: 10 + version as u64, ..news };
        assert!(state.apply(seen_pod(&news)).changed, "{news:?}");
        assert_eq!(state.audit(), []);
    }
    assert_eq!((state.now.num_pods, state.now.pending.len()), (0, 1));
}

#[test]
fn a_late_event_does_not_revive_a_deleted_pod() {
    let it = placed(&pod(1, 2), "a");
    let mut state = state([seen_node(node("a", &[])), seen_pod(&it)]);
    state.apply(Change::PodGone { uid: it.uid });
    assert!(!state.apply(seen_pod(&it)).changed);
    assert!(!state.apply(seen_pod(&Pod { resource_version: 99, ..it })).changed);
    assert_eq!((used_cpu(&state, "a"), state.now.num_pods), (Some(0), 0));
    assert_eq!(state.audit(), []);
}

#[test]
fn an_event_older_by_one_version_is_late_and_one_of_the_same_version_is_not() {
    let it = Pod { resource_version: 9, ..pod(1, 2) };
    let mut state = state([seen_node(node("a", &[])), seen_pod(&placed(&it, "a"))]);
    assert!(!state.apply(seen_pod(&Pod { node: None, ..it.clone() })).changed);
    assert_eq!(used_cpu(&state, "a"), Some(2000));
    assert!(state.apply(seen_pod(&placed(&it, "b"))).changed);
    assert_eq!((used_cpu(&state, "a"), used_cpu(&state, "b")), (Some(0), Some(2000)));
}

#[test]
fn replicas_on_a_node_that_is_gone_are_in_no_domain_and_no_pool() {
    let zone = DomainLevel::Zone;
    let pools = vec![crate::model::PoolSpec { name: "all".into(), ..Default::default() }];
    let mut state = state([
        Change::PoolsSet(pools),
        seen_node(node("a", &[(zone.label(), "z")])),
        seen_pod(&placed(&replica(1, 2, 7), "a")),
    ]);
    state.apply(Change::NodeGone { name: "a".into() });
    let (snapshot, _) = state.publish();
    let ord = snapshot.names.ord("a").expect("its pod still uses it");
    assert_eq!(snapshot.domain(zone, ord), crate::model::DomainOrd::NONE);
    assert_eq!((snapshot.pool(ord), snapshot.used(ord)), (PoolOrd::NONE, amounts(2, 2, 1)));
    assert_eq!(snapshot.app(crate::model::AppKey(7)).map(|row| row.total()), Some(1));
}

#[test]
fn an_ended_pod_holds_nothing_and_stays_ended() {
    let it = placed(&pod(1, 2), "a");
    let mut state = state([seen_node(node("a", &[])), seen_pod(&it)]);
    state.apply(seen_pod(&Pod { terminal: true, resource_version: 3, ..it.clone() }));
    state.apply(seen_pod(&Pod { resource_version: 4, ..it }));
    assert_eq!((used_cpu(&state, "a"), state.now.num_pods), (Some(0), 0));
}

#[test]
fn tombstones_are_bounded() {
    let mut state = ClusterState::default();
    for uid in 0..(MAX_TOMBSTONES as u128 + 10) {
        state.apply(Change::PodGone { uid: PodUid(uid) });
    }
    assert_eq!((state.buried.len(), state.tombstones.len()), (MAX_TOMBSTONES, MAX_TOMBSTONES));
    state.apply(Change::RelistBegin(Kind::PODS));
    state.apply(Change::PodGone { uid: PodUid(99) });
    state.apply(Change::PodGone { uid: PodUid(1 << 20) });
    state.apply(Change::RelistEnd(Kind::PODS));
    assert_eq!((state.buried.len(), state.tombstones.len()), (2, 2), "the others are void");
}

#[test]
fn a_relist_sweeps_what_it_did_not_see() {
    let pods = [placed(&pod(1, 1), "a"), placed(&pod(2, 1), "b"), pod(3, 1), pod(4, 1)];
    let mut state = state([seen_node(node("a", &[])), seen_node(node("b", &[]))]);
    pods.iter().for_each(|it| {
        state.apply(seen_pod(it));
    });
    for kind in KINDS {
        state.apply(Change::RelistBegin(kind));
    }
    state.apply(seen_node(node("a", &[])));
    // Seen in the list as it is, and seen by an event of the watch that came late.
    state.apply(seen_pod(&pods[0]));
    state.apply(seen_pod(&Pod { resource_version: 0, ..pods[2].clone() }));
    assert_eq!(state.apply(Change::RelistEnd(Kind::NODES)).swept, 1);
    assert_eq!(state.apply(Change::RelistEnd(Kind::PODS)).swept, 2);
    assert_eq!((used_cpu(&state, "a"), used_cpu(&state, "b")), (Some(1000), None));
    assert!(state.now.pending.get(3).is_some() && state.now.pending.get(4).is_none());
    assert_eq!(state.audit(), []);
}

#[test]
fn what_a_list_has_but_cannot_be_read_stays_as_it_was() {
    let pods = [placed(&pod(1, 1), "a"), pod(2, 1)];
    let mut state = state([seen_node(node("a", &[])), seen_pod(&pods[0]), seen_pod(&pods[1])]);
    let namespace = crate::model::Namespace { name: "shop".into(), ..Default::default() };
    state.apply(Change::NamespaceSeen(namespace));
    let data = ObjectName::of("default", "data");
    state.apply(Change::seen(data, Some(bound("pv"))));
    let pv = ObjectName::of("", "pv");
    state.apply(Change::seen(pv, Some(in_zone("x"))));
    state.apply(Change::seen(ObjectName::of("", "gpu"), Some(DeviceClass::default())));
    for kind in KINDS {
        state.apply(Change::RelistBegin(kind));
    }
    let (one, two) =
        ("00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002");
    let pods = [(Kind::PODS, one), (Kind::PODS, two), (Kind::PODS, "nobody"), (Kind::PODS, "")];
    let others = [
        (Kind::NODES, "a"),
        (Kind::NAMESPACES, "shop"),
        (Kind::VOLUMES, "pv"),
        (Kind::CLAIMS, "default/data"),
        (Kind::CLAIMS, "data"),
        (Kind::DEVICE_CLASSES, "gpu"),
    ];
    for (kind, key) in others.into_iter().chain(pods) {
        assert!(!state.apply(Change::Unread { kind, key: key.into() }).changed);
    }
    let swept = KINDS.map(|kind| state.apply(Change::RelistEnd(kind)).swept);
    assert_eq!((swept, state.now.num_pods, state.now.pending.len()), ([0; 6], 1, 1));
    assert_eq!(counts(&state), (1, 1));
    for kind in &KINDS[3..] {
        let kind = *kind;
        state.apply(Change::RelistBegin(kind));
        assert_eq!(state.apply(Change::RelistEnd(kind)).swept, 1);
    }
    assert_eq!((counts(&state), state.audit()), ((0, 0), vec![]));
}

/// Every kind that the state knows.
const KINDS: [Kind; 6] =
    [Kind::NODES, Kind::NAMESPACES, Kind::PODS, Kind::VOLUMES, Kind::CLAIMS, Kind::DEVICE_CLASSES];

/// The claims and the volumes.
fn counts(state: &ClusterState) -> (usize, usize) {
    (state.now.tables.claims.len(), state.now.tables.volumes.len())
}

fn bound(volume: &str) -> BoundClaim {
    BoundClaim { volume: ObjectName::of("", volume), owner: 0 }
}

fn in_zone(zone: &str) -> Arc<VolumeTopology> {
    Arc::new(VolumeTopology {
        zones: [("zone".into(), [zone.into()].into())].into(),
        ..VolumeTopology::default()
    })
}

#[test]
fn a_pod_is_judged_by_its_volumes_once_all_of_them_are_known() {
    let (mut state, name) = (ClusterState::default(), |name| ObjectName::of("default", name));
    let volume = |name| ObjectName::of("", name);
    let asks = Pod { claims: [claim("a"), claim("b")].into(), ..pod(1, 1) };
    let steps = [
        Change::seen(name("a"), Some(bound("pv-a"))),
        Change::seen(name("b"), None::<BoundClaim>),
        Change::seen(volume("pv-a"), Some(in_zone("x"))),
        Change::seen(volume("pv-b"), None::<Arc<VolumeTopology>>),
        Change::seen(name("b"), Some(bound("pv-b"))),
    ];
    for step in steps {
        state.apply(step);
        assert_eq!(state.now.cannot_judge(&asks), Some(CannotJudge::Volumes));
    }
    let seen = Change::seen(volume("pv-b"), Some(in_zone("x")));
    assert!(state.apply(seen.clone()).changed);
    assert_eq!(state.now.cannot_judge(&asks), None);
    let alike = state.now.tables.volumes_of(&asks).expect("they are known");
    assert_eq!(alike.len(), 1, "both are in one zone: {alike:?}");
    // What says nothing new makes no new snapshot.
    let (before, _) = state.publish();
    assert!(!state.apply(seen).changed);
    assert!(!state.apply(Change::Gone { kind: Kind::CLAIMS, name: name("c") }).changed);
    assert_eq!(state.publish().0.generation, before.generation);
    for (change, is_judged) in [
        (Change::seen(volume("pv-b"), None::<Arc<VolumeTopology>>), false),
        (Change::seen(volume("pv-b"), Some(in_zone("y"))), true),
        (Change::Gone { kind: Kind::VOLUMES, name: volume("pv-a") }, false),
        (Change::seen(volume("pv-a"), Some(in_zone("y"))), true),
        (Change::seen(name("b"), None::<BoundClaim>), false),
        (Change::seen(name("b"), Some(bound("pv-a"))), true),
        (Change::Gone { kind: Kind::CLAIMS, name: name("a") }, false),
    ] {
        assert!(state.apply(change.clone()).changed, "{change:?}");
        assert_eq!(state.now.tables.volumes_of(&asks).is_some(), is_judged, "{change:?}");
    }
    assert!(before.tables.volumes_of(&asks).is_some(), "a snapshot stays what it was");
    // One that is made for a pod's own volume must be the pod's.
    let uid = PodUid(u128::from(u64::MAX) << 64 | 7);
    let own = PodClaim { ephemeral: true, ..claim("own") };
    let asks = Pod { uid, claims: [own].into(), ..pod(1, 1) };
    for (owner, is_judged) in [(0, false), (owner_of(uid), true)] {
        let bound = BoundClaim { owner, ..bound("pv-a") };
        state.apply(Change::seen(own.name, Some(bound)));
        assert_eq!(state.now.tables.volumes_of(&asks).is_some(), is_judged);
    }
}

#[test]
fn volumes_of_one_zone_share_what_is_kept_of_them() {
    let mut state = ClusterState::default();
    for at in 0..100 {
        let name = ObjectName::of("", &format!("pv-{at}"));
        let zone = format!("z{}", at % 2);
        state.apply(Change::seen(name, Some(in_zone(&zone))));
    }
    assert_eq!((state.shared_topologies.len(), counts(&state)), (2, (0, 100)));
    let reach = |at: u8| state.now.tables.volumes.get(ObjectName::of("", &format!("pv-{at}")));
    let same = |one, other| reach(one).zip(reach(other)).is_some_and(|it| Arc::ptr_eq(it.0, it.1));
    assert!(same(0, 98) && same(1, 99) && !same(0, 1));
}

#[test]
fn what_a_list_did_not_have_may_come_back() {
    let mut state = state([seen_node(node("a", &[])), seen_pod(&placed(&pod(1, 1), "a"))]);
    state.apply(Change::RelistBegin(Kind::PODS));
    assert_eq!(state.apply(Change::RelistEnd(Kind::PODS)).swept, 1);
    state.apply(seen_pod(&placed(&pod(1, 1), "a")));
    assert_eq!(state.now.num_pods, 1);
}

#[test]
fn a_list_that_breaks_off_sweeps_nothing_and_is_not_taken_for_a_later_one() {
    let mut state = state([seen_node(node("a", &[])), seen_pod(&pod(1, 1))]);
    // As many broken lists as a small stamp would take to come round to the same value.
    for _ in 0..=u8::MAX {
        state.apply(Change::RelistBegin(Kind::NODES));
        state.apply(Change::RelistBegin(Kind::PODS));
    }
    assert!(state.now.is_live(NodeOrd(0)) && state.now.pending.len() == 1);
    assert_eq!(state.apply(Change::RelistEnd(Kind::NODES)).swept, 1);
    assert_eq!(state.apply(Change::RelistEnd(Kind::PODS)).swept, 1);
}

#[test]
fn a_nomination_counts_however_late_its_node_is_known() {
    let nominated = Pod { nominated: Some("a".into()), ..pod(1, 2) };
    let mut early = state([seen_node(node("a", &[])), seen_pod(&nominated)]);
    let mut late = state([seen_pod(&nominated), seen_node(node("a", &[]))]);
    for state in [&mut early, &mut late] {
        let (snapshot, _) = state.publish();
        let node = snapshot.nominees.get(1).map(|it| it.node);
        assert_eq!(node, snapshot.names.ord("a"));
        assert!(node.is_some() && state.audit().is_empty());
    }
    // A name that only a claim used is given back with it.
    late.apply(Change::NodeGone { name: "a".into() });
    assert!(late.now.names.ord("a").is_some() && late.audit().is_empty());
    late.apply(Change::PodGone { uid: PodUid(1) });
    assert_eq!((late.now.names.len(), late.audit()), (0, vec![]));
}

#[test]
fn who_is_on_its_way_out_claims_nothing() {
    let nominated = Pod { nominated: Some("a".into()), ..pod(1, 2) };
    let mut state = state([seen_node(node("a", &[])), seen_pod(&nominated)]);
    assert_eq!(state.now.nominees.len(), 1);
    state.apply(seen_pod(&Pod { terminating: true, resource_version: 2, ..nominated }));
    assert_eq!((state.now.nominees.len(), state.audit()), (0, vec![]));
}

#[test]
fn a_node_that_comes_back_smaller_keeps_its_pods_and_its_sums() {
    let pools = vec![crate::model::PoolSpec { name: "all".into(), ..Default::default() }];
    let mut state = state([Change::PoolsSet(pools), seen_node(node("a", &[]))]);
    state.apply(seen_pod(&placed(&pod(1, 2), "a")));
    state.apply(Change::NodeGone { name: "a".into() });
    assert_eq!(state.now.pool_use[0], Default::default());
    let smaller = Node { uid: "b".into(), allocatable: amounts(1, 1, 1), ..node("a", &[]) };
    state.apply(seen_node(smaller));
    let row = state.now.pool_use[0];
    assert_eq!((row.used, row.allocatable, row.nodes), (amounts(2, 2, 1), amounts(1, 1, 1), 1));
    assert_eq!(state.audit(), []);
}

#[test]
fn a_recycled_ordinal_carries_nothing_over() {
    let labels = [(DomainLevel::Zone.label(), "z")];
    let mut old = node("a", &labels);
    old.conditions = Conditions::NOT_READY;
    old.extended = [crate::model::ExtendedAmount { name: "gpu".into(), amount: 8 }].into();
    let mut state = state([seen_node(old), seen_pod(&placed(&replica(1, 2, 7), "a"))]);
    let (before, _) = state.publish();
    state.apply(Change::NodeGone { name: "a".into() });
    state.apply(Change::PodGone { uid: PodUid(1) });
    state.apply(seen_node(node("b", &[])));
    let (after, confirmed) = state.publish();
    assert!(confirmed.contains(&Confirmed::Recycled(NodeOrd(0))), "{confirmed:?}");
    assert_eq!(after.names.ord("b"), Some(NodeOrd(0)));
    assert_eq!(after.used(NodeOrd(0)), amounts(0, 0, 0));
    assert_eq!(after.domain(DomainLevel::Zone, NodeOrd(0)), crate::model::DomainOrd::NONE);
    assert_eq!(after.columns.conditions[0], Conditions::default());
    assert_eq!((after.extended[0].allocatable[0], after.apps.len()), (-1, 0));
    assert_eq!(after.pool(NodeOrd(0)), PoolOrd::NONE);
    // The snapshot published before still tells of the old node.
    assert_eq!((before.names.name(NodeOrd(0)), before.used(NodeOrd(0))), ("a", amounts(2, 2, 1)));
    assert_eq!((before.extended[0].allocatable[0], before.pods_on(NodeOrd(0)).len()), (8, 1));
}

#[test]
fn taint_sets_that_nobody_carries_do_not_pile_up() {
    let taint = |value: String| crate::model::Taint {
        key: "ToBeDeletedByClusterAutoscaler".into(),
        value: value.into(),
        effect: crate::model::TaintEffect::NoSchedule,
    };
    let mut state = state([seen_node(node("a", &[])), seen_node(node("b", &[]))]);
    for second in 0..1000_u64 {
        let taints = [taint(second.to_string())].into();
        state.apply(seen_node(Node { taints, resource_version: second + 2, ..node("a", &[]) }));
    }
    let (snapshot, _) = state.publish();
    assert!(snapshot.taint_sets.len() <= 3, "{}", snapshot.taint_sets.len());
    let set = |ord: usize| &snapshot.taint_sets[usize::from(snapshot.columns.taint_set[ord])];
    assert_eq!((&**set(0), &**set(1)), (&[taint("999".into())][..], &[][..]));
}

#[test]
fn terminating_replicas_hold_their_place_but_count_for_no_spread() {
    let it = placed(&replica(1, 2, 7), "a");
    let mut state = state([seen_node(node("a", &[])), seen_pod(&it)]);
    assert_eq!(state.now.apps.get(7).map(|row| row.total()), Some(1));
    state.apply(seen_pod(&Pod { terminating: true, resource_version: 3, ..it }));
    assert!(state.now.apps.get(7).is_none());
    assert_eq!((used_cpu(&state, "a"), state.audit()), (Some(2000), vec![]));
}

#[test]
fn absurd_quantities_are_counted_and_taken_away_exactly() {
    let mut huge = placed(&pod(1, 1), "a");
    huge.requests.base.cpu_milli = i64::MAX;
    huge.requests.base.memory_bytes = i64::MIN;
    let mut state = state([seen_node(node("a", &[])), seen_pod(&huge)]);
    state.apply(seen_pod(&Pod { uid: PodUid(2), ..huge.clone() }));
    assert_eq!(state.audit(), []);
    state.apply(Change::PodGone { uid: PodUid(1) });
    state.apply(Change::PodGone { uid: PodUid(2) });
    assert_eq!((used_cpu(&state, "a"), state.audit()), (Some(0), vec![]));
}

#[test]
fn a_report_on_a_placed_pod_changes_the_state_only_by_a_bit_that_passes() {
    let bit = PodStatusBits::of([("DisruptionTarget", "True")]);
    let report = |resource_version, status| {
        seen_pod(&Pod { resource_version, status, ..placed(&replica(1, 2, 7), "a") })
    };
    let mut state = state([seen_node(node("a", &[])), report(5, PodStatusBits::default())]);
    let steps = [
        (6, PodStatusBits::default(), false),
        (7, bit, true),
        (8, bit, false),
        (9, Default::default(), true),
    ];
    for (version, status, changed) in steps {
        let before = state.publish().0;
        assert_eq!(state.apply(report(version, status)).changed, changed, "{version}");
        let (now, confirmed) = state.publish();
        assert_eq!((now.generation != before.generation, confirmed), (changed, vec![]));
        let record = &now.pods_on(NodeOrd(0))[0];
        assert_eq!((record.status, record.resource_version), (status, 5), "{version}");
        // Nothing else has changed: no row is to be looked at again, and no sum.
        assert!(Arc::ptr_eq(&now.changes, &before.changes), "{version}");
        assert_eq!((used_cpu(&state, "a"), state.audit()), (Some(2000), vec![]));
    }
    // An older report is none.
    assert!(!state.apply(report(3, bit)).changed);
}

#[test]
fn half_a_million_records_of_pods_are_small() {
    assert_eq!(size_of::<PodRecord>(), 48);
}

#[test]
fn what_settles_is_told_once_and_in_order() {
    let condition = Some(UnschedulableCondition::default());
    let mut state = state([seen_pod(&Pod { condition, ..pod(1, 1) })]);
    let owner = Some(Owner { kind: "Job".into(), name: "j".into(), app: crate::model::AppKey(1) });
    let bound = Pod { owner, ..placed(&pod(1, 1), "a") };
    state.apply(seen_pod(&bound));
    state.apply(seen_pod(&Pod { resource_version: 9, priority: 5, ..bound }));
    state.apply(Change::PodGone { uid: PodUid(1) });
    let uid = PodUid(1);
    let want = [
        Confirmed::Placed(uid),
        Confirmed::Recycled(NodeOrd(0)),
        Confirmed::Recycled(NodeOrd(0)),
        Confirmed::Gone(uid),
    ];
    let (_, confirmed) = state.publish();
    // A pod that becomes another on a node that no watch told of lets its name go and takes it again.
    assert_eq!(confirmed, want);
    assert_eq!(state.publish().1, []);
}

#[test]
fn a_rack_learns_its_zone_from_a_neighbour_that_is_listed_later() {
    let (zone, rack) = (DomainLevel::Zone.label(), DomainLevel::Rack.label());
    let mut state = state([seen_node(node("bare", &[(rack, "r1")]))]);
    state.apply(seen_node(node("full", &[(rack, "r1"), (zone, "z1")])));
    let (snapshot, _) = state.publish();
    let zone_of = |name: &str| {
        let ord = snapshot.names.ord(name)?;
        snapshot.topology.name(DomainLevel::Zone, snapshot.domain(DomainLevel::Zone, ord))
    };
    assert_eq!((zone_of("bare"), zone_of("full")), (Some("z1"), Some("z1")));
}

#[test]
fn of_two_pods_with_one_name_the_newer_one_is_found() {
    let named = |it: Pod, resource_version| Pod { name: "db-0".into(), resource_version, ..it };
    let mut state = state([
        seen_pod(&named(pod(1, 1), 20)),
        seen_pod(&named(pod(2, 1), 10)),
        seen_pod(&named(placed(&pod(3, 1), "a"), 5)),
        seen_pod(&named(placed(&pod(4, 1), "a"), 6)),
    ]);
    let (snapshot, _) = state.publish();
    let pending = snapshot.pending_by_name("default", "db-0").map(|pod| pod.uid.0);
    let placed = snapshot.placed_by_name("default", "db-0").map(|(_, pod)| pod.uid);
    assert_eq!((pending, placed), (Some(1), Some(4)));
}
