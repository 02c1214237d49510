use super::*;
use crate::model::{
    AppKey, BoundClaim, Change, Constraints, ExtendedAmount, HostPort, ImageName, Kind, LabelSet,
    Namespaces, Node, ObjectName, Pod, PodAffinityTerm, PoolSpec, Protocol, VolumeTopology,
};
use crate::testing::{image, node, placed, pod, replica, seen_node, seen_pod};

const CLAIM: ObjectName = ObjectName(5);
const VOLUME: ObjectName = ObjectName(6);
const PORT: HostPort = HostPort { port: 80, protocol: Protocol::Tcp, ip: None };

fn shy() -> Constraints {
    let term =
        PodAffinityTerm { key: "host".into(), selector: None, namespaces: Namespaces::default() };
    Constraints { pod_anti_affinity: [term].into(), ..Constraints::default() }
}

fn busy() -> ClusterState {
    let mut state = ClusterState::default();
    let gpu = || [ExtendedAmount { name: "nvidia.com/gpu".into(), amount: 8 }].into();
    let mut wide = placed(&replica(1, 2, 7), "a");
    wide.requests.extended = gpu();
    wide.host_ports = [PORT].into();
    wide.labels = LabelSet::new("default", []);
    for change in [
        Change::PoolsSet(vec![PoolSpec { name: "all".into(), ..PoolSpec::default() }]),
        seen_node(Node { extended: gpu(), ..node("a", &[]) }),
        seen_node(Node { images: [image("web:1", 1)].into(), ..node("b", &[]) }),
        seen_pod(&wide),
        seen_pod(&placed(&Pod { constraints: Some(Arc::new(shy())), ..pod(2, 1) }, "b")),
        seen_pod(&Pod { nominated: Some("b".into()), ..pod(3, 1) }),
        Change::seen(CLAIM, Some(BoundClaim { volume: VOLUME, owner: 0 })),
        Change::seen(VOLUME, Some(Arc::<VolumeTopology>::default())),
    ] {
        state.apply(change);
    }
    state
}

fn check(what: &'static str, corrupt: impl FnOnce(&mut ClusterState)) {
    let mut state = busy();
    assert_eq!(state.audit(), [], "before corrupting {what}");
    corrupt(&mut state);
    assert_eq!(state.audit(), [Difference { what, rows: 1 }]);
    let (before, _) = state.publish();
    state.repair();
    assert_eq!(state.audit(), [], "after repairing {what}");
    let row = state.now.apps.get(7);
    let labels = row.and_then(|row| row.labels().cloned());
    assert_eq!(labels, before.app(AppKey(7)).map(|_| LabelSet::new("default", [])), "{what}");
    assert!(state.publish().0.generation > before.generation, "a repair is published");
}

#[test]
fn every_corrupted_sum_is_reported_and_repaired() {
    check("node", |it| it.now.columns.used_cpu_milli.set(0, 1));
    check("extended", |it| {
        let column = &mut Arc::make_mut(&mut it.now.extended)[0];
        column.used.set(1, 5);
    });
    check("pool", |it| Arc::make_mut(&mut it.now.pool_use)[0].nodes = 9);
    check("app", |it| {
        it.now.apps.insert(8, Arc::default());
    });
    check("app", |it| {
        it.now.apps.remove(7);
    });
    check("place", |it| {
        it.known.get_mut(PodUid(1)).expect("a known pod").on = NodeOrd::UNKNOWN;
    });
    check("place", |it| it.know(PodUid(9), NodeOrd(0), 1));
    check("place", |it| {
        it.known.remove(PodUid(2));
    });
    check("node", |it| it.now.num_nodes = 0);
    check("pods", |it| it.now.num_pods = 0);
    check("nominee", |it| {
        it.now.nominees.remove(3);
    });
    check("name", |it| {
        it.intern("ghost");
    });
    check("port", |it| {
        it.now.host_ports.remove(ports::key(&PORT));
    });
    check("port", |it| {
        it.now.host_ports.insert(7, Arc::default());
    });
    check("existing_anti_affinity", |it| {
        it.now.existing_anti_affinity = ExistingAntiAffinity::default()
    });
    check("existing_anti_affinity", |it| {
        it.now.existing_anti_affinity.count(&shy().pod_anti_affinity, NodeOrd(0), 1)
    });
    check("claim", |it| it.lists.entry(Kind::CLAIMS).or_default().forget(CLAIM));
    check("volume", |it| it.lists.entry(Kind::VOLUMES).or_default().forget(VOLUME));
    check("volume", |it| {
        it.now.tables.of_mut(Kind::VOLUMES).expect("a table").set(VOLUME, None);
    });
    check("image", |it| it.now.images.lose(ImageName::of("web:1")));
}
