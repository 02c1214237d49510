use std::sync::Arc;

use super::*;
use crate::model::{Kind, NodeOrd, Pod, UtcSeconds};
use crate::policy::{ClassSettings, Settings, default_class};
use crate::rules::{SpreadKey, SpreadParams};
use crate::testing::{node, placed, pod, seen_node, seen_pod};

/// A replica whose policy has a limit that only sigma knows, so that answers are held.
fn replica() -> Replica {
    let spread = SpreadParams { key: SpreadKey::Node, max_share_permille: Some(900) };
    let classes = vec![ClassSettings { spread: Some(spread), ..default_class() }];
    let plan = Plan::build(&Settings { classes, ..Settings::default() }, String::new());
    Replica::new(plan, Arc::default(), Decider::default())
}

fn lists() -> impl Iterator<Item = Change> {
    Kind::REQUIRED.into_iter().map(Change::RelistEnd)
}

/// A moment of these milliseconds, at civil time 1000 s.
fn at(tick: u64) -> Now {
    Now { tick: Tick(tick), utc: UtcSeconds(1000) }
}

fn filter(replica: &mut Replica, pod: &Pod) -> usize {
    let pod = Arc::new(pod.clone());
    let answer = replica.decide(at(0), |decider, view, now| {
        let nodes: Vec<NodeOrd> = view.snapshot.live_nodes().collect();
        decider.filter(view, &pod, &nodes, now)
    });
    answer.accepted.len()
}

#[test]
fn nothing_is_decided_on_before_it_is_published() {
    let mut replica = replica();
    replica.apply(seen_node(node("a", &[])));
    assert_eq!(filter(&mut replica, &pod(1, 1)), 0);
    replica.publish();
    assert_eq!(filter(&mut replica, &pod(1, 1)), 1);
}

#[test]
fn it_is_synced_once_the_end_of_every_needed_list_is_published() {
    let mut replica = replica();
    lists().for_each(|it| replica.apply(it));
    assert!(replica.writing.is_unpublished() && !replica.is_synced());
    replica.publish();
    assert!(replica.is_synced() && !replica.writing.is_unpublished());
}

/// At no moment is a pod counted neither by its hold nor by the view.
#[test]
fn a_hold_ends_when_the_view_counts_its_pod() {
    let mut replica = replica();
    let (me, other) = (pod(1, 6), pod(2, 6));
    replica.see([seen_node(node("a", &[])), seen_pod(&me), seen_pod(&other)]);
    assert_eq!(filter(&mut replica, &me), 1);
    assert_eq!(filter(&mut replica, &other), 0, "the hold counts");
    replica.apply(seen_pod(&placed(&me, "a")));
    assert_eq!(filter(&mut replica, &other), 0, "the hold still counts");
    replica.publish();
    assert_eq!(filter(&mut replica, &other), 0, "the view counts");
    assert!(!replica.decider.is_held(me.uid));
    replica.see([Change::PodGone { uid: me.uid }]);
    assert_eq!(filter(&mut replica, &other), 1, "nothing counts it twice");
}

/// Facts of several publications reach a decider that was busy meanwhile.
#[test]
fn no_confirmed_fact_is_lost_between_two_decisions() {
    let mut replica = replica();
    let pods: Vec<Pod> = (1..=3).map(|uid| pod(uid, 1)).collect();
    replica.see([seen_node(node("a", &[]))]);
    for it in &pods {
        replica.see([seen_pod(it)]);
        assert_eq!(filter(&mut replica, it), 1);
    }
    for it in &pods {
        replica.see([seen_pod(&placed(it, "a"))]);
    }
    assert_eq!(replica.decider.holds().len(), 3, "nothing was decided yet");
    replica.decide(at(1), |decider, view, now| {
        assert!(decider.holds().is_empty());
        assert_eq!((view.now, now), (at(1), Tick(1)), "rules decide at the same moment");
    });
}

#[test]
fn a_policy_is_in_force_with_its_pools_and_counted() {
    let mut replica = replica();
    let before = replica.view();
    let settings = Settings { name: "second".into(), ..Settings::default() };
    let generation = replica.set_plan(Plan::build(&settings, String::new()));
    let view = replica.view();
    assert_eq!((view.plan_generation, before.plan_generation), (generation, generation - 1));
    assert_eq!((&*view.plan.name, &*before.plan.name), ("second", ""));
}

#[test]
fn an_audit_of_a_sound_state_finds_nothing() {
    let mut replica = replica();
    replica.see([seen_node(node("a", &[])), seen_pod(&placed(&pod(1, 1), "a"))]);
    assert_eq!(replica.audit(), []);
}
