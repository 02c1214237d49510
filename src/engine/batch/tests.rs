//! Whom a batch gives a node, and whom it does not.

use std::collections::BTreeSet;

use super::*;
use crate::model::{
    BoundClaim, Change, Constraints, ExtendedAmount, LabelOperator, Node, NodeTerm, ObjectName,
    PodUid, Requirement, Taint, TaintEffect, VolumeTopology,
};
use crate::policy::{ClassSettings, Grant, Settings, default_class};
use crate::testing::{
    TestReplica, amounts, claim, node, placed, pod, replica, seen_node, seen_pod,
};

/// Two nodes with room for two pods each, and a class that is exempt.
fn site() -> TestReplica {
    let grant = Grant { priority: Some((99, 99)), ..Grant::default() };
    let exempt =
        ClassSettings { name: "exempt".into(), role: Role::Exempt, grant, ..default_class() };
    let mut site = TestReplica::new(&Settings { classes: vec![exempt], ..Settings::default() });
    let nodes = ["a", "b"].map(|name| Node { allocatable: amounts(4, 4, 10), ..node(name, &[]) });
    site.see(nodes.map(seen_node));
    site
}

fn why(site: &mut TestReplica, pod: Pod) -> Option<NoTarget> {
    let targets = site.decider.copy_of_holds().targets(&site.view, &[Arc::new(pod)]);
    targets.first().copied().and_then(Result::err)
}

#[test]
fn names_are_unique() {
    let names: BTreeSet<_> = NoTarget::ALL.iter().map(|it| it.name()).collect();
    assert_eq!(names.len(), NoTarget::ALL.len());
}

/// The closed list of those whom nobody judges here.
#[test]
fn whoever_cannot_be_judged_is_given_no_target() {
    let mut site = site();
    site.decider = Decider::default().beside(OtherExtenders::Managing(vec!["gpu".into()]));
    let of = |preferences| Pod { preferences, ..pod(1, 2) };
    let unjudged = |why| {
        let constraints = Constraints { cannot_judge: Some(why), ..Constraints::default() };
        Pod { constraints: Some(Arc::new(constraints)), ..pod(1, 2) }
    };
    let name =
        Requirement { key: "metadata.name".into(), is: LabelOperator::In(["a".into()].into()) };
    let term = NodeTerm { names: [name].into(), ..NodeTerm::default() };
    let constraints = Constraints { node_terms: Some([term].into()), ..Constraints::default() };
    let named = Pod { constraints: Some(Arc::new(constraints)), ..pod(1, 2) };
    let gpu = ExtendedAmount { name: "gpu".into(), amount: 1 };
    let mut shared = pod(1, 2);
    shared.requests.extended = [gpu].into();
    let claims = Pod { claims: [claim("data")].into(), ..pod(1, 2) };
    let cases = [
        (None, pod(1, 2)),
        (Some(NoTarget::NotPending), Pod { terminating: true, ..pod(1, 2) }),
        (Some(NoTarget::NotPending), Pod { node: Some("a".into()), ..pod(1, 2) }),
        (Some(NoTarget::Gated), Pod { gated: true, ..pod(1, 2) }),
        (Some(NoTarget::Exempt), Pod { priority: 99, ..pod(1, 2) }),
        (Some(NoTarget::Nominated), Pod { nominated: Some("a".into()), ..pod(1, 2) }),
        (Some(NoTarget::Group), Pod { grouped: true, ..pod(1, 2) }),
        (Some(NoTarget::Named), named),
        (Some(NoTarget::Unjudged(CannotJudge::Volumes)), claims),
        (
            Some(NoTarget::Unjudged(CannotJudge::ResourceClaims)),
            unjudged(CannotJudge::ResourceClaims),
        ),
        (Some(NoTarget::Unjudged(CannotJudge::Unclear)), unjudged(CannotJudge::Unclear)),
        (Some(NoTarget::Choice(ShortlistOff::SoftSpread)), of(Preferences::SPREAD)),
        (Some(NoTarget::Choice(ShortlistOff::PodAffinity)), of(Preferences::POD_AFFINITY)),
        (Some(NoTarget::Choice(ShortlistOff::NodeAffinity)), of(Preferences::NODE_AFFINITY)),
        (Some(NoTarget::Choice(ShortlistOff::OtherExtender)), shared),
        (Some(NoTarget::NoNode), pod(1, 5)),
    ];
    for (want, pod) in cases {
        let shown = format!("{pod:?}");
        assert_eq!(why(&mut site, pod), want, "{shown}");
    }
    let ords = site.ords(&["a"]);
    let held = site.decider.hold_for(&site.view, &pod(1, 2), ords[0], Tick(0)).expect("it is free");
    assert_eq!(site.decider.hold_for(&site.view, &pod(1, 2), ords[0], Tick(5)), None);
    assert_eq!(why(&mut site, pod(1, 2)), Some(NoTarget::Answered));
    // Not what an answer noted after it.
    assert!(
        !site.decider.end_hold(PodUid(1), HoldId(held.0 + 1)) && site.decider.is_held(PodUid(1))
    );
    assert!(site.decider.end_hold(PodUid(1), held));
    assert_eq!(why(&mut site, pod(1, 2)), None);
}

/// Pods of one app whose volumes are in two zones are of two kinds, and no more.
#[test]
fn pods_are_sent_where_their_volumes_are() {
    const ZONE: &str = "topology.kubernetes.io/zone";
    let mut site = site();
    let zoned = |(name, zone): (&str, &str)| {
        seen_node(Node { resource_version: 2, ..node(name, &[(ZONE, zone)]) })
    };
    site.see([("a", "x"), ("b", "y"), ("c", "z")].map(zoned));
    let in_zone = |zone: &str| {
        let zones = [(ZONE.into(), [zone.into()].into())].into();
        Some(Arc::new(VolumeTopology { zones, ..VolumeTopology::default() }))
    };
    for at in 0..6_u64 {
        let volume = ObjectName(100 + at);
        let name = claim(&format!("data-{at}")).name;
        let reach = in_zone(["x", "y"][at as usize % 2]);
        let bound = Some(BoundClaim { volume, owner: 0 });
        site.see([Change::seen(name, bound), Change::seen(volume, reach)]);
    }
    let asks = |at: u128, more: &[&str]| {
        let own = format!("data-{at}");
        let all = [&*own].into_iter().chain(more.iter().copied());
        Arc::new(Pod { claims: all.map(claim).collect(), ..replica(at + 1, 1, 7) })
    };
    let pods: Vec<Arc<Pod>> = (0..6).map(|at| asks(at, &[])).collect();
    let targets = site.decider.targets(&site.view, &pods);
    let nodes: Vec<Option<&str>> = targets
        .iter()
        .map(|it| it.ok().map(|best| site.view.snapshot.names.name(best.node)))
        .collect();
    assert_eq!(nodes, [Some("a"), Some("b")].repeat(3));
    // Volumes of two zones are together nowhere, and of one that is not known nobody knows.
    assert_eq!(why(&mut site, Pod::clone(&asks(0, &["data-1"]))), Some(NoTarget::NoNode));
    let unknown = Pod::clone(&asks(0, &["data-9"]));
    assert_eq!(why(&mut site, unknown), Some(NoTarget::Unjudged(CannotJudge::Volumes)));
}

#[test]
fn nobody_is_sent_where_it_would_rather_not_be() {
    let mut site = site();
    let taint =
        Taint { key: "old".into(), value: "".into(), effect: TaintEffect::PreferNoSchedule };
    let taint = || [taint.clone()].into();
    site.see(
        ["a", "b"].map(|name| {
            seen_node(Node { taints: taint(), resource_version: 2, ..node(name, &[]) })
        }),
    );
    assert_eq!(why(&mut site, pod(1, 2)), Some(NoTarget::Choice(ShortlistOff::SoftTaints)));
}

#[test]
fn a_batch_never_takes_more_than_there_is() {
    let mut site = site();
    // Somebody holds half of a node, and somebody is nominated to half of the other.
    let ords = site.ords(&["a", "b"]);
    assert!(site.decider.hold_for(&site.view, &pod(100, 2), ords[0], Tick(0)).is_some());
    let nominated = Pod { nominated: Some("b".into()), priority: 5, ..pod(101, 2) };
    site.see([seen_pod(&nominated)]);
    let batch = |priority: i32| {
        let pods = (1..=4).map(move |uid| Arc::new(Pod { priority, ..pod(uid, 2) }));
        pods.collect::<Vec<_>>()
    };
    let given = |site: &mut TestReplica, priority| {
        let targets = site.decider.copy_of_holds().targets(&site.view, &batch(priority));
        targets.iter().flatten().count()
    };
    assert_eq!(given(&mut site, 5), 2);
    // Those of higher priority do not mind the nomination.
    assert_eq!(given(&mut site, 6), 3);
    // Whoever comes first gets it, and what it takes counts for those of any priority after it.
    let mixed: Vec<_> = batch(6).into_iter().chain(batch(0)).collect();
    let mixed: Vec<_> = (200..)
        .zip(mixed)
        .map(|(uid, it)| Arc::new(Pod { uid: PodUid(uid), ..Pod::clone(&it) }))
        .collect();
    let targets = site.decider.targets(&site.view, &mixed);
    let given: Vec<bool> = targets.iter().map(Result::is_ok).collect();
    assert_eq!(given, [true, true, true, false, false, false, false, false]);
    // What was planned is nowhere but in the answer.
    assert_eq!(site.decider.holds().len(), 1);
}

/// Where neither spreads it, a replica's node is as good as any: the tie decides, for a batch as for one.
#[test]
fn a_node_with_a_replica_may_win_by_the_tie() {
    let weights = ["topologySpread", "nodeSpread", "binPack", "leastAllocated"];
    let weights = weights.map(|name| (name.to_owned(), 0)).to_vec();
    let class = ClassSettings { weights, ..default_class() };
    let mut site = TestReplica::new(&Settings { classes: vec![class], ..Settings::default() });
    site.see(["a", "b"].map(|name| seen_node(node(name, &[]))));
    site.see([seen_pod(&placed(&replica(1000, 0, 7), "a"))]);
    let mut won = BTreeSet::new();
    for uid in 1..40 {
        let pod = Arc::new(replica(uid, 0, 7));
        let target = site.decider.copy_of_holds().targets(&site.view, std::slice::from_ref(&pod));
        let best = site.decider.copy_of_holds().best_anywhere(&site.view, &pod);
        assert_eq!(target[0].ok(), best, "{uid}");
        won.extend(best.map(|best| best.node));
    }
    assert_eq!(won.len(), 2, "each wins now and then");
}
