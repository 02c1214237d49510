//! Where nobody was offered, kube-scheduler's own filters count: in a steer, a batch, a requeue and `why` alike.

use std::sync::Arc;

use crate::cluster::DeviceClass;
use crate::engine::{NoTarget, Nominates, PreemptVerb, SteerContext, Unsteered, explain};
use crate::model::{
    CannotJudge, Change, ExtendedAmount, Kind, LabelOperator, Node, NodeMatcher, NodeTerm,
    ObjectName, Pod, PoolOrd, Profile, Profiles, Reason, Requirement, Taint, TaintEffect,
    TaintValue, Tick, Toleration,
};
use crate::policy::{
    Cause, ClassSettings, Grant, PoolSettings, Role, Settings, Steering, default_class,
};
use crate::rules::Share;
use crate::testing::{TestReplica, node, placed, pod, seen_node, seen_pod};

const GPU: &str = "example.com/gpu";
const HUGE: &str = "hugepages-2Mi";
const ACTS: SteerContext =
    SteerContext { acts: true, preempt_verb: PreemptVerb::Configured, is_paused: false };

/// Requests may fill a half of nodes in pool `ecs`; pool `eci` is elastic.
fn settings() -> Settings {
    let half = Share { cpu_permille: 500, memory_permille: 1000 };
    let pool = |name: &str| PoolSettings {
        name: name.into(),
        matcher: NodeMatcher { labels: vec![("pool".into(), name.into())], ..Default::default() },
        ..PoolSettings::default()
    };
    let cause = Cause::Elsewhere;
    let class = ClassSettings {
        name: "online".into(),
        role: Role::Online,
        grant: Grant { priority: Some((0, 0)), ..Grant::default() },
        pools: Some([PoolOrd(0), PoolOrd(1)].into()),
        steering: Some(Steering::OFF.with(cause, Some(cause.usual()))),
        ..default_class()
    };
    let pools = vec![
        PoolSettings { allocation: half, ..pool("ecs") },
        PoolSettings { elastic: true, ..pool("eci") },
    ];
    Settings { name: "test".into(), pools, classes: vec![class], ..Settings::default() }
}

fn amounts(all: &[(&str, i64)]) -> Box<[ExtendedAmount]> {
    all.iter().map(|it| ExtendedAmount { name: it.0.into(), amount: it.1 }).collect()
}

fn publishes(name: &str, extended: &[(&str, i64)]) -> Node {
    Node { extended: amounts(extended), ..node(name, &[("pool", "ecs")]) }
}

/// Node `full` is at its allocation limit and has everything; the others are as given.
fn site(nodes: impl IntoIterator<Item = Node>) -> TestReplica {
    let mut site = TestReplica::new(&settings());
    let full = publishes("full", &[(GPU, 8), (HUGE, 1 << 30)]);
    site.see([seen_node(full), seen_pod(&placed(&pod(100, 5), "full"))]);
    site.see(nodes.into_iter().map(seen_node));
    site
}

fn asks(name: &str) -> Pod {
    let mut it = pod(1, 1);
    it.requests.extended = amounts(&[(name, 1)]);
    it
}

/// DeviceClasses are listed, and these are there.
fn classes(classes: &[(&str, Option<&str>)]) -> Vec<Change> {
    let seen = classes.iter().map(|(name, resource)| {
        let class = DeviceClass { resource: resource.map(Into::into) };
        Change::seen(ObjectName::of("", name), Some(class))
    });
    let list = [Change::RelistBegin(Kind::DEVICE_CLASSES)].into_iter().chain(seen);
    list.chain([Change::RelistEnd(Kind::DEVICE_CLASSES)]).collect()
}

fn profile(profile: Profile, ignored: &[&str]) -> Change {
    Change::ProfilesSet(Arc::new(Profiles {
        by_scheduler: [("default-scheduler".into(), profile)].into(),
        ignored: ignored.iter().map(|it| (*it).into()).collect(),
    }))
}

/// What is made of the pod when only node `full` was offered.
#[derive(Debug, PartialEq)]
enum Made<'a> {
    /// It is sent to this node.
    Sent(&'a str),
    /// No node would take it.
    No,
    /// Only kube-scheduler can tell.
    CannotJudge(CannotJudge),
}

/// Holds steer, batch, requeue and `why` to the same.
fn check(site: &mut TestReplica, it: &Pod, want: &Made<'_>, what: &str) {
    site.see([seen_pod(it)]);
    let pods = [Arc::new(it.clone())];
    let targets = site.decider.copy_of_holds().targets(&site.view, &pods);
    let nodes: Vec<_> = site.view.snapshot.live_nodes().collect();
    let told = explain(&mut site.decider, &site.view, it, &nodes, 9);
    let judged = site.view.snapshot.cannot_judge(it);
    let judged = judged.or(told.has_unclear.then_some(CannotJudge::Unclear));
    let num_left = told.num_left.unwrap_or(told.tally.kept() as usize);
    // Twice: a template that was asked about before is looked at otherwise.
    let best: Vec<_> = (0..3).map(|_| site.decider.best_anywhere(&site.view, it)).collect();
    let name = |it: &crate::engine::BestNode| site.view.snapshot.names.name(it.node).to_owned();
    let best: Vec<Option<String>> = best.iter().map(|it| it.as_ref().map(name)).collect();
    let batch = targets[0].as_ref().map(name).map_err(|it| *it);
    let offered = site.ords(&["full"]);
    let mut answer = site.decider.filter(&site.view, &pods[0], &offered, Tick(0));
    site.decider.steer(&site.view, &pods[0], &offered, ACTS, Tick(0), &mut answer);
    let steered = answer.steer.as_ref().map(|it| it.node.to_string());
    match want {
        Made::Sent(node) => {
            let node = (*node).to_owned();
            assert_eq!((&steered, &batch), (&Some(node.clone()), &Ok(node.clone())), "{what}");
            assert_eq!((best, judged), (vec![Some(node); 3], None), "{what}");
            assert!(num_left > 0, "{what}");
        }
        Made::No => {
            assert_eq!((steered, answer.unsteered), (None, Some(Unsteered::Nowhere)), "{what}");
            assert_eq!((batch, judged), (Err(NoTarget::NoNode), None), "{what}");
            assert_eq!((best, num_left), (vec![None; 3], 0), "{what}");
            // After a restart it is not known what was offered.
            site.decider = crate::engine::Decider::default();
            let told = Some(Reason::AllocationLimit);
            let condition = Some(crate::model::UnschedulableCondition { reason: told });
            site.see([seen_pod(&Pod { condition, resource_version: 2, ..it.clone() })]);
            assert_eq!(site.decider.adopt_conditions(&site.view, Tick(1)), 1, "{what}");
            let requeues =
                site.decider.requeues(&site.view, Nominates::ANY, Tick(1), usize::MAX, usize::MAX);
            assert_eq!(requeues, [], "{what}");
        }
        Made::CannotJudge(why) => {
            assert_eq!(steered, None, "{what}");
            assert_eq!(answer.unsteered, Some(Unsteered::Constrained), "{what}");
            let by_node = batch == Err(NoTarget::NoNode) && told.has_unclear;
            assert!(batch == Err(NoTarget::Unjudged(*why)) || by_node, "{what}: {batch:?}");
            assert_eq!(judged, Some(*why), "{what}");
            // It is not said that no node would take it.
            assert!(told.tally.kept() > 0, "{what}");
        }
    }
}

/// The resource that is asked for, what node `other` publishes, what is known, and what is made of it.
type Asked<'a> = (&'a str, &'a [(&'a str, i64)], Vec<Change>, Made<'a>);

#[test]
fn a_resource_that_a_node_does_not_publish_makes_it_no_target() {
    let own = "deviceclass.resource.kubernetes.io/gpu";
    let none: &[(&str, i64)] = &[];
    let unknown = Made::CannotJudge(CannotJudge::ExtendedResources);
    let no_class = || classes(&[]);
    let by_name = |name| profile(Profile { ignored: [name].into(), ..Profile::default() }, &[]);
    let by_group = profile(
        Profile { ignored_groups: ["example.com".into()].into(), ..Default::default() },
        &[],
    );
    let by_extender = profile(Profile::default(), &[GPU]);
    let with = |change: Change| no_class().into_iter().chain([change]).collect::<Vec<_>>();
    let cases: Vec<Asked<'_>> = vec![
        (GPU, none, no_class(), Made::No),
        (GPU, &[(GPU, 0)], no_class(), Made::No),
        (GPU, &[(GPU, 1)], no_class(), Made::Sent("other")),
        (GPU, none, classes(&[("gpu", Some("example.com/other"))]), Made::No),
        ("example.com/unheard-of", &[(GPU, 1)], no_class(), Made::No),
        // A driver may allocate it.
        (
            GPU,
            none,
            classes(&[("gpu", Some(GPU))]),
            Made::CannotJudge(CannotJudge::ExtendedResources),
        ),
        (own, none, classes(&[("gpu", None)]), Made::CannotJudge(CannotJudge::ExtendedResources)),
        (own, none, no_class(), Made::No),
        // DeviceClasses are not known.
        (GPU, none, vec![], unknown),
        (
            GPU,
            none,
            vec![Change::RelistBegin(Kind::DEVICE_CLASSES)],
            Made::CannotJudge(CannotJudge::ExtendedResources),
        ),
        // No DeviceClass can stand for Kubernetes' own resources.
        (HUGE, none, vec![], Made::No),
        (HUGE, &[(HUGE, 1 << 30)], vec![], Made::Sent("other")),
        // NodeResourcesFit does not look at it.
        (GPU, none, with(by_name(GPU.into())), Made::Sent("other")),
        (GPU, none, with(by_group), Made::Sent("other")),
        (GPU, none, with(by_extender.clone()), Made::Sent("other")),
        (GPU, none, vec![by_extender], Made::Sent("other")),
        (HUGE, none, with(by_name(HUGE.into())), Made::No),
    ];
    for (resource, other, changes, want) in cases {
        let mut site = site([publishes("other", other)]);
        let what = format!("{resource} where {other:?} is published, {changes:?}");
        site.see(changes);
        check(&mut site, &asks(resource), &want, &what);
        // Offered, every node is kube-scheduler's to judge.
        let it = Pod { uid: crate::model::PodUid(2), ..asks(resource) };
        assert_eq!(site.filter(&it, &["other"], 9), Ok(vec!["other"]), "{what}");
    }
}

#[test]
fn what_is_asked_for_in_vain_makes_no_node_a_target() {
    let mut site = site([publishes("other", &[])]);
    site.see(classes(&[]));
    let mut it = pod(1, 1);
    it.requests.extended = amounts(&[(GPU, 0)]);
    check(&mut site, &it, &Made::Sent("other"), "none is asked for");
    // 64 resources are counted; of others it is not known what is used.
    let many: Vec<String> = (0..70).map(|at| format!("a.com/{at}")).collect();
    let many: Vec<(&str, i64)> = many.iter().map(|it| (it.as_str(), 1)).collect();
    let mut site = self::site([publishes("other", &many)]);
    site.see(classes(&[]));
    let uncounted = Made::CannotJudge(CannotJudge::ExtendedResources);
    check(&mut site, &asks("a.com/69"), &uncounted, "it is not counted");
}

/// The figures of a virtual node are no limit of ours, and kube-scheduler's.
#[test]
fn a_full_virtual_node_is_no_target() {
    let elastic = |cpu| Node {
        allocatable: crate::testing::amounts(cpu, 100, 3),
        ..node("v", &[("pool", "eci")])
    };
    for (cpu, taken, want) in [
        (10, &[9][..], Made::Sent("v")),
        (10, &[10], Made::No),
        (20, &[1, 1, 1], Made::No),
        (0, &[], Made::No),
    ] {
        let mut site = site([elastic(cpu)]);
        site.see(taken.iter().zip(200..).map(|(cpu, uid)| seen_pod(&placed(&pod(uid, *cpu), "v"))));
        check(&mut site, &pod(1, 1), &want, &format!("{cpu} cores, {taken:?} taken"));
        let it = Pod { uid: crate::model::PodUid(2), ..pod(2, 1) };
        assert_eq!(site.filter(&it, &["v"], 9), Ok(vec!["v"]), "offered, it is in");
    }
}

#[test]
fn what_a_profile_adds_counts() {
    let asked = Requirement { key: "disk".into(), is: LabelOperator::In(["ssd".into()].into()) };
    let term = NodeTerm { labels: [asked].into(), ..NodeTerm::default() };
    let added = || Profile { node_terms: Some([term.clone()].into()), ..Profile::default() };
    let plain = || publishes("other", &[]);
    let ssd = node("ssd", &[("disk", "ssd"), ("pool", "ecs")]);
    let unclear = Profile { is_unclear: true, ..Profile::default() };
    let spreads = Profile { spreads: true, ..Profile::default() };
    let soft = crate::model::Preferences::SPREAD;
    for (nodes, set, it, want) in [
        (vec![plain()], added(), pod(1, 1), Made::No),
        (vec![plain(), ssd.clone()], added(), pod(1, 1), Made::Sent("ssd")),
        (vec![plain()], added(), Pod { scheduler: "own".into(), ..pod(1, 1) }, Made::Sent("other")),
        (vec![plain()], unclear, pod(1, 1), Made::CannotJudge(CannotJudge::Profile)),
        (vec![plain()], spreads, pod(1, 1), Made::CannotJudge(CannotJudge::Profile)),
    ] {
        let mut site = site(nodes);
        let what = format!("{set:?}");
        site.see([profile(set, &[])]);
        check(&mut site, &it, &want, &what);
    }
    // A pod that spreads by itself is not spread by the profile.
    let mut site = site([plain()]);
    site.see([profile(Profile { spreads: true, ..Profile::default() }, &[])]);
    let it = Pod { preferences: soft, ..pod(1, 1) };
    assert_eq!(site.view.snapshot.cannot_judge(&it), None);
}

#[test]
fn a_taint_in_words_that_are_not_known_is_kube_schedulers_to_judge() {
    let taint = Taint { key: "k".into(), value: "".into(), effect: TaintEffect::Unclear };
    let tainted = || Node { taints: [taint.clone()].into(), ..publishes("other", &[]) };
    let tolerates = |key: &str, value, effect| Pod {
        tolerations: [Toleration { key: key.into(), value, effect }].into(),
        ..pod(1, 1)
    };
    let unclear = || Made::CannotJudge(CannotJudge::Unclear);
    for (it, want) in [
        (pod(1, 1), unclear()),
        (tolerates("j", TaintValue::Any, None), unclear()),
        (tolerates("k", TaintValue::Any, Some(TaintEffect::NoSchedule)), unclear()),
        (tolerates("", TaintValue::Any, None), Made::Sent("other")),
        (tolerates("k", TaintValue::Equal("".into()), None), Made::Sent("other")),
    ] {
        let mut site = site([tainted()]);
        check(&mut site, &it, &want, &format!("{:?}", it.tolerations));
    }
    // Where another node will do, there is no doubt that matters.
    let mut site = site([tainted(), Node { name: "third".into(), ..publishes("third", &[]) }]);
    let best = site.decider.best_anywhere(&site.view, &pod(1, 1)).map(|it| it.node);
    assert_eq!(best, site.ords(&["third"]).first().copied());
}
