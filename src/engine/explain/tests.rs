use std::sync::Arc;

use super::*;
use crate::model::{
    BoundClaim, Change, Constraints, DomainLevel, ExtendedAmount, HashedText, HostPort,
    LabelOperator, LabelSet, Namespaces, Node, NodeMatcher, ObjectName, PodAffinityTerm, PoolOrd,
    Requirement, SpreadTerm, Tick, VolumeTopology,
};
use crate::policy::{ClassSettings, Grant, PoolSettings, Role, Settings, default_class};
use crate::rules::{BoundScope, CPU, PODS, REPLICAS, Share, SpreadKey, SpreadParams};
use crate::testing::{
    GIB, TestReplica, amounts, claim, node, placed, pod, replica, seen_node, seen_pod,
};

const ZONE: &str = "topology.kubernetes.io/zone";

/// Of pool `metal` pods may fill a half; pool `eci` is elastic and takes three pods; a zone may have a tenth
/// of an app's replicas.
fn settings() -> Settings {
    let pool = |name: &str| PoolSettings {
        name: name.into(),
        matcher: NodeMatcher { labels: vec![("pool".into(), name.into())], ..Default::default() },
        ..PoolSettings::default()
    };
    let half = Share { cpu_permille: 500, memory_permille: 1000 };
    let key = SpreadKey::Level(DomainLevel::Zone);
    let class = ClassSettings {
        name: "online".into(),
        role: Role::Online,
        grant: Grant { priority: Some((0, 0)), ..Grant::default() },
        pools: Some(vec![PoolOrd(0), PoolOrd(1)]),
        spread: Some(SpreadParams { key, max_share_permille: Some(100) }),
        ..default_class()
    };
    Settings {
        name: "explain".into(),
        pools: vec![
            PoolSettings { allocation: half, ..pool("metal") },
            PoolSettings { elastic: true, limit: Some(amounts(100, 100, 3)), ..pool("eci") },
        ],
        classes: vec![class],
        ..Settings::default()
    }
}

fn site() -> TestReplica {
    let mut site = TestReplica::new(&settings());
    let gpu = |amount| [ExtendedAmount { name: "gpu".into(), amount }].into();
    let metal = node("m", &[("pool", "metal"), (ZONE, "a")]);
    site.see([seen_node(Node { extended: gpu(4), ..metal })]);
    site.see([seen_node(node("e", &[("pool", "eci"), (ZONE, "b")]))]);
    site
}

fn explained(site: &mut TestReplica, pod: &Pod) -> Explanation {
    let nodes: Vec<NodeOrd> = site.view.snapshot.live_nodes().collect();
    explain(&mut site.decider, &site.view, pod, &nodes, 5)
}

/// One pod placed on the node, one held there, one nominated, and one both, which counts once.
fn crowd(site: &mut TestReplica, name: &str, like: impl Fn(u128) -> Pod) {
    let nominated = |uid| Pod { nominated: Some(name.into()), ..like(uid) };
    site.see([seen_pod(&placed(&like(1), name))]);
    let ords = site.ords(&[name]);
    for held in [like(2), like(4)] {
        site.decider.hold(&site.view, &held, &ords, Tick(0));
    }
    site.see([seen_pod(&like(2)), seen_pod(&nominated(3)), seen_pod(&nominated(4))]);
}

/// What an exceeded limit compares: asked, requested, held, nominated, limit.
type Compared = (Box<str>, BoundScope, [i64; 5], Option<(i64, u32)>);

fn compared(explanation: &Explanation, reason: Reason) -> Vec<Compared> {
    let example = explanation.nodes.iter().find(|it| it.verdict == reason);
    let exceeded = example.map_or(&[][..], |it| &it.exceeded);
    let numbers = |(bound, taken): &(Bound, UncommittedView<i64>)| {
        let numbers = [bound.asked, bound.requested, taken.held, taken.nominated, bound.limit];
        assert_eq!(numbers[..4].iter().sum::<i64>(), bound.sum());
        assert!(bound.sum() > bound.limit);
        (bound.resource.clone(), bound.scope.clone(), numbers, bound.share)
    };
    exceeded.iter().map(numbers).collect()
}

#[test]
fn every_limit_says_who_takes_what_of_it() {
    let mut full = site();
    crowd(&mut full, "m", |uid| pod(uid, 1));
    let why = explained(&mut full, &pod(9, 2));
    let want = [2000, 1000, 2000, 1000, 5000];
    let share = Some((10_000, 500));
    assert_eq!(
        compared(&why, Reason::AllocationLimit),
        [(CPU.into(), BoundScope::Node, want, share)]
    );
    let on_node = why.nodes.iter().find(|it| it.verdict == Reason::AllocationLimit);
    let taken = on_node.map(|it| it.uncommitted);
    let want = UncommittedView { held: amounts(2, 2, 2), nominated: amounts(1, 1, 1) };
    assert_eq!(taken, Some(want));
    // More than there is: both resources lack, and no share is spoken of.
    let why = explained(&mut full, &Pod { requests: pod(9, 99).requests, ..pod(9, 99) });
    assert_eq!(
        compared(&why, Reason::Insufficient),
        [
            (CPU.into(), BoundScope::Node, [99_000, 1000, 2000, 1000, 10_000], None),
            (
                crate::rules::MEMORY.into(),
                BoundScope::Node,
                [99 * GIB, GIB, 2 * GIB, GIB, 100 * GIB],
                None
            ),
        ]
    );
    // A pod's own hold does not count for it.
    let why = explained(&mut full, &Pod { requests: pod(2, 3).requests, ..pod(2, 1) });
    let numbers: Vec<_> =
        compared(&why, Reason::AllocationLimit).into_iter().map(|it| it.2).collect();
    assert_eq!(numbers, [[3000, 1000, 1000, 1000, 5000]]);
}

#[test]
fn extended_resources_pools_and_domains_say_so_too() {
    let gpu = |uid, amount| {
        let mut it = pod(uid, 0);
        it.requests.extended = [ExtendedAmount { name: "gpu".into(), amount }].into();
        it
    };
    let mut full = site();
    crowd(&mut full, "m", |uid| gpu(uid, 1));
    let why = explained(&mut full, &gpu(9, 1));
    let want = [1, 1, 2, 1, 4];
    assert_eq!(
        compared(&why, Reason::Insufficient),
        [("gpu".into(), BoundScope::Node, want, None)]
    );

    let mut full = site();
    crowd(&mut full, "e", |uid| pod(uid, 1));
    let why = explained(&mut full, &pod(9, 1));
    let pool = BoundScope::Pool("eci".into());
    let want = [1, 1, 2, 1, 3];
    assert_eq!(compared(&why, Reason::ElasticLimit), [(PODS.into(), pool, want, None)]);

    let mut full = site();
    crowd(&mut full, "m", |uid| replica(uid, 1, 7));
    let why = explained(&mut full, &replica(9, 1, 7));
    let zone = BoundScope::Domain(ZONE.into(), "a".into());
    let want = [1, 1, 2, 1, 1];
    assert_eq!(
        compared(&why, Reason::MaxReplicaShare),
        [(REPLICAS.into(), zone, want, Some((5, 100)))]
    );
}

/// A pod with one kind of constraint, and what else there must be.
fn constrained(kind: ConstraintKind, site: &mut TestReplica) -> Pod {
    let (app, cart) = (HashedText::of("app"), HashedText::of("cart"));
    let labels = LabelSet::new("default", [(app, cart)]);
    let carts = [Requirement { key: app, is: LabelOperator::In([cart].into()) }];
    let term = |key: &str| PodAffinityTerm {
        key: key.into(),
        selector: Some(carts.clone().into()),
        namespaces: Namespaces { named: [HashedText::of("default")].into(), selected: None },
    };
    let port = HostPort { port: 80, protocol: Default::default(), ip: None };
    let other = Pod { labels: labels.clone(), ..replica(1, 1, 7) };
    let it = pod(9, 1);
    let with = |constraints| Pod {
        constraints: Some(Arc::new(constraints)),
        labels: labels.clone(),
        ..pod(9, 1)
    };
    let place = |site: &mut TestReplica, pod: &Pod| site.see([seen_pod(&placed(pod, "m"))]);
    match kind {
        ConstraintKind::NodeAffinity => {
            let asked = Requirement { key: "disk".into(), is: LabelOperator::Exists };
            with(Constraints { node_selector: [asked].into(), ..Constraints::default() })
        }
        ConstraintKind::HostPort => {
            let ports = || [port].into();
            place(site, &Pod { host_ports: ports(), ..replica(1, 1, 7) });
            Pod { host_ports: ports(), ..it }
        }
        ConstraintKind::Volumes => {
            let zones = [(ZONE.into(), ["far".into()].into())].into();
            let reach = Some(Arc::new(VolumeTopology { zones, ..VolumeTopology::default() }));
            let (volume, data) = (ObjectName(100), claim("data"));
            let bound = Some(BoundClaim { volume, owner: 0 });
            let name = data.name;
            site.see([Change::seen(name, bound)]);
            site.see([Change::seen(volume, reach)]);
            Pod { claims: [data].into(), ..it }
        }
        ConstraintKind::TopologySpread => {
            place(site, &other);
            let spread = SpreadTerm {
                key: ZONE.into(),
                max_skew: 1,
                min_domains: 2,
                selector: Some(carts.clone().into()),
                honors_affinity: true,
                honors_taints: false,
            };
            with(Constraints { spread: [spread].into(), ..Constraints::default() })
        }
        ConstraintKind::PodAffinity => {
            let songs =
                [Requirement { key: app, is: LabelOperator::In([HashedText::of("song")].into()) }];
            let term = PodAffinityTerm { selector: Some(songs.into()), ..term(ZONE) };
            with(Constraints { pod_affinity: [term].into(), ..Constraints::default() })
        }
        ConstraintKind::PodAntiAffinity => {
            place(site, &other);
            with(Constraints { pod_anti_affinity: [term(ZONE)].into(), ..Constraints::default() })
        }
        ConstraintKind::ExistingAntiAffinity => {
            let pod_anti_affinity =
                Constraints { pod_anti_affinity: [term(ZONE)].into(), ..Constraints::default() };
            place(site, &Pod { constraints: Some(Arc::new(pod_anti_affinity)), ..other });
            Pod { labels, ..it }
        }
    }
}

#[test]
fn a_constraint_that_leaves_nothing_is_named_and_no_node_is_best() {
    for kind in ConstraintKind::ALL {
        let mut site = TestReplica::new(&settings());
        site.see([seen_node(node("m", &[("pool", "metal"), (ZONE, "a")]))]);
        let pod = constrained(kind, &mut site);
        let why = explained(&mut site, &pod);
        assert_eq!((why.tally.kept(), why.num_left), (1, Some(0)), "{kind:?}");
        assert_eq!(why.ruled_out, [(kind, 1)]);
        assert!(why.nodes.is_empty(), "{kind:?}: {:?}", why.nodes);
        // One more node that suits the pod is the only best one.
        let mut labels = vec![("pool", "metal"), ("disk", "ssd"), (ZONE, "far")];
        labels.sort_unstable();
        site.see([seen_node(node("n", &labels))]);
        if kind == ConstraintKind::PodAffinity {
            continue;
        }
        let why = explained(&mut site, &pod);
        let best: Vec<&str> =
            why.nodes.iter().map(|it| site.view.snapshot.names.name(it.node)).collect();
        assert_eq!((why.num_left, best), (Some(1), vec!["n"]), "{kind:?}");
    }
    let why = explained(&mut site(), &pod(9, 1));
    assert_eq!((why.num_left, why.ruled_out.len()), (None, 0));
}
