//! The API server's store is restored from a backup: what a complete list says is the truth.

use super::*;

/// Versions that objects of the list have, where 100 was seen of each before.
const VERSIONS: [(&str, u64); 4] =
    [("lower", 7), ("the same", 100), ("higher", 1_000_000), ("no number", 0)];

fn at(version: u64, pod: Pod) -> Pod {
    Pod { resource_version: version, ..pod }
}

fn node_at(version: u64, node: Node) -> Change {
    seen_node(Node { resource_version: version, ..node })
}

/// Two nodes, and pods that are changed, bound, moved, ended, deleted and made after the backup.
fn before() -> ClusterState {
    let seen = |pod: Pod| seen_pod(&at(100, pod));
    state([
        node_at(100, Node { allocatable: amounts(64, 64, 64), ..node("a", &[("pool", "new")]) }),
        node_at(100, node("b", &[])),
        node_at(100, node("made-later", &[])),
        Change::NodeGone { name: "deleted-later".into() },
        seen(placed(&pod(1, 8), "a")),
        seen(placed(&pod(2, 1), "a")),
        seen(placed(&pod(3, 1), "b")),
        seen(Pod { terminal: true, ..placed(&pod(4, 1), "a") }),
        Change::PodGone { uid: PodUid(5) },
        seen(placed(&pod(6, 1), "made-later")),
        seen(Pod { nominated: Some("b".into()), ..pod(7, 1) }),
    ])
}

/// The same as they were at the backup.
fn truth(version: u64) -> Vec<Change> {
    let seen = |pod: Pod| seen_pod(&at(version, pod));
    vec![
        node_at(version, node("a", &[])),
        node_at(version, node("b", &[])),
        node_at(version, Node { uid: "another".into(), ..node("deleted-later", &[]) }),
        seen(placed(&pod(1, 1), "a")),
        seen(pod(2, 1)),
        seen(placed(&pod(3, 1), "a")),
        seen(placed(&pod(4, 1), "a")),
        seen(placed(&pod(5, 1), "b")),
        seen(pod(7, 1)),
    ]
}

fn list(state: &mut ClusterState, objects: Vec<Change>) {
    for kind in [Kind::NODES, Kind::PODS] {
        state.apply(Change::RelistBegin(kind));
    }
    objects.into_iter().for_each(|it| {
        state.apply(it);
    });
    for kind in [Kind::NODES, Kind::PODS] {
        state.apply(Change::RelistEnd(kind));
    }
    assert_eq!(state.audit(), []);
}

/// Who is where, and what nodes are like; without versions.
fn shown(state: &mut ClusterState) -> Vec<String> {
    let (snapshot, _) = state.publish();
    let mut rows: Vec<String> = snapshot
        .live_nodes()
        .map(|ord| {
            let pods = snapshot.pods_on(ord).iter().map(|it| (it.uid, it.requests.cpu_milli));
            let pods: std::collections::BTreeSet<_> = pods.collect();
            let node = snapshot.nodes.get(ord.index()).cloned().flatten().expect("it is live");
            let facts = (&node.uid, &node.labels, node.allocatable.cpu_milli);
            format!("{} {facts:?} {:?} {pods:?}", node.name, snapshot.used(ord))
        })
        .collect();
    rows.sort();
    let mut waiting: Vec<_> =
        snapshot.pending.iter().map(|(uid, pod)| format!("{uid} {:?}", pod.nominated)).collect();
    waiting.sort();
    rows.extend(waiting);
    rows.push(format!("{} nominees", snapshot.nominees.iter().count()));
    rows
}

#[test]
fn a_complete_list_is_the_truth_whatever_its_versions() {
    for (what, version) in VERSIONS {
        let mut want = ClusterState::default();
        list(&mut want, truth(version));
        let want = shown(&mut want);
        let mut restored = before();
        assert_ne!(shown(&mut restored), want);
        list(&mut restored, truth(version));
        assert_eq!(shown(&mut restored), want, "{what}");
        // Nothing is left over that a second list would change.
        list(&mut restored, truth(version));
        assert_eq!(shown(&mut restored), want, "{what}, again");
    }
}

#[test]
fn versions_are_compared_with_those_of_the_last_list_and_after() {
    let mut state = before();
    list(&mut state, truth(7));
    // Events of the restored store, of which the first comes late.
    for (version, cpu) in [(9, 3), (8, 2)] {
        state.apply(seen_pod(&at(version, placed(&pod(1, cpu), "a"))));
        let allocatable = amounts(cpu, cpu, cpu);
        state.apply(node_at(version, Node { allocatable, ..node("b", &[]) }));
    }
    let ord = state.now.names.ord("b").expect("it is there");
    assert_eq!(state.now.allocatable(ord).cpu_milli, 3000);
    assert_eq!(used_cpu(&state, "a"), Some(3000 + 1000 + 1000));
    // And what ends now has ended.
    state.apply(Change::PodGone { uid: PodUid(1) });
    state.apply(seen_pod(&at(10, placed(&pod(1, 1), "a"))));
    assert_eq!(used_cpu(&state, "a"), Some(1000 + 1000));
    assert_eq!(state.audit(), []);
}

#[test]
fn an_object_that_the_list_has_and_that_cannot_be_read_has_no_version() {
    let mut state =
        state([node_at(100, node("a", &[])), seen_pod(&at(100, placed(&pod(1, 8), "a")))]);
    let uid = "00000000-0000-0000-0000-000000000001";
    let unread = [(Kind::NODES, "a"), (Kind::PODS, uid)];
    let unread = unread.map(|(kind, key)| Change::Unread { kind, key: key.into() });
    list(&mut state, unread.clone().into());
    assert_eq!(used_cpu(&state, "a"), Some(8000), "what was known stays");
    let small = Node { allocatable: amounts(1, 1, 1), ..node("a", &[]) };
    state.apply(node_at(7, small));
    state.apply(seen_pod(&at(7, placed(&pod(1, 1), "a"))));
    let ord = state.now.names.ord("a").expect("it is there");
    assert_eq!((state.now.allocatable(ord).cpu_milli, used_cpu(&state, "a")), (1000, Some(1000)));
    // From here on it has.
    unread.into_iter().for_each(|it| {
        state.apply(it);
    });
    state.apply(seen_pod(&at(6, placed(&pod(1, 4), "a"))));
    assert_eq!(used_cpu(&state, "a"), Some(1000));
}

#[test]
fn an_object_that_changes_while_pages_are_read_is_as_its_newest_version() {
    let mut state = before();
    state.apply(Change::RelistBegin(Kind::PODS));
    state.apply(seen_pod(&at(20, placed(&pod(1, 2), "a"))));
    // It is on the next page again, as it was before; another is gone since its page was read.
    state.apply(seen_pod(&at(19, placed(&pod(1, 4), "b"))));
    state.apply(seen_pod(&at(18, placed(&pod(2, 1), "b"))));
    state.apply(Change::PodGone { uid: PodUid(2) });
    state.apply(seen_pod(&at(18, placed(&pod(2, 1), "b"))));
    state.apply(Change::RelistEnd(Kind::PODS));
    state.apply(seen_pod(&at(18, placed(&pod(2, 1), "b"))));
    assert_eq!((used_cpu(&state, "a"), used_cpu(&state, "b")), (Some(2000), Some(0)));
    assert_eq!(state.audit(), []);
}

#[test]
fn a_list_that_breaks_off_removes_nothing_and_the_next_one_counts() {
    let mut state = before();
    for _ in 0..2 {
        state.apply(Change::RelistBegin(Kind::PODS));
        state.apply(seen_pod(&at(7, placed(&pod(1, 1), "a"))));
    }
    assert_eq!((used_cpu(&state, "a"), used_cpu(&state, "b")), (Some(2000), Some(1000)));
    list(&mut state, truth(7));
    let mut want = ClusterState::default();
    list(&mut want, truth(7));
    assert_eq!(shown(&mut state), shown(&mut want));
}

#[test]
fn whoever_concluded_from_later_versions_is_told() {
    let mut state = before();
    state.publish();
    let mut objects = truth(7);
    objects.push(seen_pod(&at(7, pod(8, 1))));
    state.apply(seen_pod(&at(100, pod(8, 1))));
    list(&mut state, objects);
    let (_, confirmed) = state.publish();
    let restored = confirmed.iter().filter(|it| matches!(it, Confirmed::Restored(_)));
    let want = [1, 2, 3, 4, 5, 7, 8].map(|uid| Confirmed::Restored(PodUid(uid)));
    assert_eq!(restored.copied().collect::<Vec<_>>(), want);
    assert!(confirmed.contains(&Confirmed::Gone(PodUid(6))), "{confirmed:?}");
    // A list of the same store tells nothing of the kind.
    list(&mut state, truth(8));
    let (_, confirmed) = state.publish();
    assert!(!confirmed.iter().any(|it| matches!(it, Confirmed::Restored(_))), "{confirmed:?}");
}
