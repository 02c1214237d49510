//! Holds give back exactly what they took, whatever becomes of pods and nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use crate::cluster::{ClusterState, Confirmed, ExistingAntiAffinity, HoldLimits, Holds, Snapshot};
use crate::config;
use crate::model::{Change, Constraints, NodeOrd, Pod, PodUid, Tick};
use crate::server::{node_like, one_of_each, pod_like, pools};
use crate::testing::{claim, pod, seen_node};

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn holds_are_returned_exactly(ops in prop::collection::vec(hold_op(), 1..80)) {
        let snapshots = [0, 1].map(|look| {
            let mut state = ClusterState::default();
            state.apply(Change::PoolsSet(pools(look)));
            for at in 0..5 {
                state.apply(seen_node(node_like(at, at * 7, 1)));
            }
            state.publish().0
        });
        let mut snapshot = &snapshots[0];
        let mut holds = Holds::new(HoldLimits { ttl_ms: 10, volume_ttl_ms: 50 });
        let mut last = BTreeMap::new();
        for op in ops {
            match op {
                HoldOp::Place { uid, look, nodes, now } => {
                    let nodes: Vec<NodeOrd> = nodes.into_iter().map(|at| NodeOrd(at.into())).collect();
                    let claims = [claim("data")].into_iter().filter(|_| look % 2 == 0).collect();
                    let it = Pod { claims, ..pod_like(uid, look, 5) };
                    holds.place(snapshot, &it, &nodes, Tick(now));
                    last.insert(it.uid, it.constraints);
                }
                HoldOp::Settle(confirmed) => { holds.confirm(confirmed); }
                HoldOp::Expire(now) => { holds.expire(Tick(now)); }
                HoldOp::Repool(at) => {
                    snapshot = &snapshots[usize::from(at % 2)];
                    holds.repool(snapshot);
                }
                HoldOp::Look { uid, look } => {
                    holds.seen_by(snapshot, &pod_like(uid, look, 5), |_| ());
                }
            }
            prop_assert!(keeps_off(&holds, snapshot, &last), "{holds:?}");
        }
        for uid in 0..8 {
            holds.release(PodUid(uid));
        }
        prop_assert!(holds.is_empty());
        holds.seen_by(snapshot, &pod(99, 1), |uncommitted| {
            let columns =
                [&uncommitted.cpu_milli, &uncommitted.memory_bytes, &uncommitted.ephemeral_bytes, &uncommitted.pods];
            assert!(columns.iter().all(|column| column.iter().all(|it| *it == 0)), "{uncommitted:?}");
            assert!(uncommitted.pools.iter().all(|it| it.is_zero()), "{uncommitted:?}");
            assert!(uncommitted.extended.is_empty() && uncommitted.replicas.is_empty(), "{uncommitted:?}");
        });
    }
}

/// Pods are kept off by those that hold something, where they do, by what they were when they were answered.
fn keeps_off(
    holds: &Holds,
    snapshot: &Snapshot,
    last: &BTreeMap<PodUid, Option<Arc<Constraints>>>,
) -> bool {
    let mut want = ExistingAntiAffinity::default();
    for (uid, constraints) in last {
        let nodes = holds.get(*uid).map_or(&[][..], |hold| &hold.nodes);
        for (constraints, ord) in
            constraints.iter().flat_map(|it| nodes.iter().map(move |ord| (it, ord)))
        {
            want.count(&constraints.pod_anti_affinity, *ord, 1);
        }
    }
    let found = holds.existing_anti_affinity(snapshot, None);
    one_of_each().iter().all(|probe| {
        let [found, want] = [&found, &want].map(|it| it.against(probe, &snapshot.namespaces));
        found.eq(want)
    })
}

#[derive(Clone, Debug)]
enum HoldOp {
    Place { uid: u8, look: u8, nodes: Vec<u8>, now: u64 },
    Settle(Confirmed),
    Expire(u64),
    Repool(u8),
    Look { uid: u8, look: u8 },
}

fn hold_op() -> impl Strategy<Value = HoldOp> {
    let uid = || (0..8_u8).prop_map(|uid| PodUid(uid.into()));
    let confirmed = prop_oneof![
        uid().prop_map(Confirmed::Placed),
        uid().prop_map(Confirmed::Gone),
        (0..5_u32).prop_map(|at| Confirmed::Recycled(NodeOrd(at))),
    ];
    prop_oneof![
        6 => (0..8_u8, any::<u8>(), prop::collection::vec(0..5_u8, 0..6), 0..100_u64)
            .prop_map(|(uid, look, nodes, now)| HoldOp::Place { uid, look, nodes, now }),
        4 => confirmed.prop_map(HoldOp::Settle),
        1 => (0..100_u64).prop_map(HoldOp::Expire),
        1 => any::<u8>().prop_map(HoldOp::Repool),
        2 => (0..8_u8, any::<u8>()).prop_map(|(uid, look)| HoldOp::Look { uid, look }),
    ]
}
