//! Conditions that come late. `PodScheduled=False` does not name its attempt: kube-scheduler may write why
//! an attempt failed after we have answered the next one.

use super::*;
use crate::engine::steer::Wrote;
use crate::engine::{PreemptVerb, SteerContext, SteerOutcome};
use crate::model::{Profile, Profiles};

/// The pod with a condition of an earlier attempt, as a watch tells of it now.
fn late(pod: &Pod, reason: Option<Reason>) -> Change {
    let (condition, resource_version) =
        (Some(UnschedulableCondition { reason }), pod.resource_version + 1);
    seen_pod(&Pod { condition, resource_version, ..pod.clone() })
}

const TEXTS: [Option<Reason>; 3] = [None, Some(Reason::AllocationLimit), Some(Reason::Steered)];

#[test]
fn a_condition_ends_no_hold_whatever_answer_the_hold_is_of() {
    type Answers = fn(&mut TestReplica, &Pod);
    let answers: [(&str, Answers); 3] = [
        ("filter", |site, pod| {
            assert_eq!(site.filter(pod, &["a"], 1), Ok(vec!["a"]));
        }),
        ("by role", |site, pod| {
            let ords = site.ords(&["a"]);
            site.decider.hold(&site.view, pod, &ords, Tick(1));
        }),
        ("nominated ahead", |site, pod| {
            let ord = site.ords(&["a"])[0];
            assert!(site.decider.hold_for(&site.view, pod, ord, Tick(1)).is_some());
        }),
    ];
    for (kind, answer) in answers {
        for text in TEXTS {
            let mut site = site(&["a"]);
            let (first, second) = (pod(1, 5), pod(2, 5));
            site.see([seen_pod(&first)]);
            // Attempt k, which fails behind us. Its condition is on the way.
            assert_eq!(site.filter(&first, &["a"], 0), Ok(vec!["a"]));
            site.decider.release(first.uid);
            answer(&mut site, &first);
            site.see([late(&first, text)]);
            let next = site.filter(&second, &["a"], 2);
            assert_eq!(next, Err(Reason::AllocationLimit), "{kind}, {text:?}");
            site.see([seen_pod(&placed(&Pod { resource_version: 9, ..first }, "a"))]);
            assert_eq!(site.filter(&second, &["a"], 3), Err(Reason::AllocationLimit));
        }
    }
}

/// The plan's nomination is cleared by the late patch of an earlier attempt, or was not written: what it held
/// is given back, and no more.
#[test]
fn a_target_that_ends_takes_no_hold_of_an_answer_with_it() {
    let mut site = site(&["a", "b"]);
    let me = pod(1, 5);
    site.see([seen_pod(&me)]);
    let ord = site.ords(&["a"])[0];
    let held = site.decider.hold_for(&site.view, &me, ord, Tick(1)).expect("nothing is held");
    // In the same millisecond.
    assert_eq!(site.filter(&me, &["a"], 1), Ok(vec!["a"]));
    assert!(!site.decider.is_held_by(me.uid, held) && !site.decider.end_hold(me.uid, held));
    assert_eq!(site.filter(&pod(2, 5), &["a"], 2), Err(Reason::AllocationLimit));
}

#[test]
fn a_pod_that_was_answered_since_is_not_adopted_by_an_older_condition() {
    let mut site = site(&["a"]);
    let (waits, answered) = (pod(1, 1), pod(2, 1));
    let text = Some(Reason::AllocationLimit);
    site.see([seen_pod(&waits), late(&answered, text)]);
    assert_eq!(site.filter(&answered, &["a"], 0), Ok(vec!["a"]));
    assert_eq!(site.decider.adopt_conditions(&site.view, Tick(0)), 0);
    // The condition of an attempt that an earlier process has answered comes after the first look.
    site.see([late(&waits, text)]);
    assert_eq!(site.decider.adopt_conditions(&site.view, Tick(1000)), 1);
    assert_eq!(
        (site.requeued_uids(1000), site.decider.unschedulable().reason(waits.uid)),
        (vec![1], text)
    );
    // What was answered has failed behind us.
    site.decider.expire(&site.view, Tick(30_000));
    assert_eq!(site.decider.adopt_conditions(&site.view, Tick(30_000)), 1);
}

/// Nodes `a` and `b`, of which `b` is not offered; the pod is steered there.
fn steered() -> (TestReplica, Pod) {
    let mut settings = settings();
    settings.classes[0].pools = Some(vec![PoolOrd(0)]);
    let mut site = TestReplica::new(&settings);
    site.see([
        seen_node(node("a", &[("pool", "other"), ("zone", "a")])),
        seen_node(node("b", &[("pool", "ecs"), ("zone", "a")])),
    ]);
    let me = Pod { priority: 9, ..pod(1, 5) };
    site.see([seen_pod(&me)]);
    let (nodes, it) = (site.ords(&["a"]), Arc::new(me.clone()));
    let mut answer = site.decider.filter(&site.view, &it, &nodes, Tick(0));
    let context =
        SteerContext { acts: true, preempt_verb: PreemptVerb::Configured, is_paused: false };
    site.decider.steer(&site.view, &it, &nodes, context, Tick(0), &mut answer);
    assert!(answer.steer.is_some(), "{answer:?}");
    (site, me)
}

#[test]
fn what_becomes_of_an_earlier_write_does_not_end_what_a_later_answer_by_role_holds() {
    type Ends = fn(&mut TestReplica, &Pod);
    let ends: [(&str, Ends); 4] = [
        ("failed", |site, pod| {
            site.decider.steer_written(&site.view, (pod.uid, 1), Wrote::Failed, Tick(2));
        }),
        ("changed", |site, pod| {
            site.decider.steer_written(&site.view, (pod.uid, 1), Wrote::Changed, Tick(2));
        }),
        ("expired", |site, _| {
            site.decider.expire_steers(&site.view, Tick(20_000));
        }),
        ("condition", |site, pod| site.see([late(pod, Some(Reason::Steered))])),
    ];
    for (kind, end) in ends {
        let (mut site, me) = steered();
        let ords = site.ords(&["b"]);
        site.decider.hold(&site.view, &me, &ords, Tick(1));
        end(&mut site, &me);
        assert!(site.decider.is_held(me.uid), "{kind}");
        let outcome = site.decider.steers().record(me.uid).and_then(|it| it.outcome);
        assert_eq!(outcome, Some(SteerOutcome::Lost), "{kind}");
    }
}

#[test]
fn a_refusal_by_role_is_not_counted_as_a_target_that_was_not_wanted() {
    let (mut site, me) = steered();
    let named = Arc::new(Pod { nominated: Some("b".into()), priority: 3, ..me });
    let ords = site.ords(&["b"]);
    site.decider.refuse(&site.view, &named, &ords, Reason::Overloaded, Tick(1));
    assert!(!site.decider.is_held(named.uid), "it was refused");
    // The rest of the attempt: kube-scheduler offers its window.
    let (nodes, context) = (
        site.ords(&["a"]),
        SteerContext { acts: true, preempt_verb: PreemptVerb::Configured, is_paused: false },
    );
    let mut answer = site.decider.filter(&site.view, &named, &nodes, Tick(2));
    site.decider.steer(&site.view, &named, &nodes, context, Tick(2), &mut answer);
    let outcome = site.decider.steers().record(named.uid).and_then(|it| it.outcome);
    assert_eq!((outcome, answer.steer), (Some(SteerOutcome::Lost), None));
}

/// 100 pods of one size fill 100 nodes to their limit. Each is accepted, waits in Permit for 10 s, and fails
/// there. The only news of that is a condition.
fn gang() -> (TestReplica, Vec<Pod>, Vec<String>) {
    let names: Vec<String> = (0..100).map(|at| format!("n{at:03}")).collect();
    let refs: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut site = site(&refs);
    let gang: Vec<Pod> = (0..100).map(|uid| Pod { grouped: true, ..pod(uid, 5) }).collect();
    site.see(gang.iter().map(seen_pod));
    for (pod, node) in gang.iter().zip(&refs) {
        assert_eq!(site.filter(pod, &[node], 0), Ok(vec![*node]));
    }
    site.see(gang.iter().map(|pod| late(pod, None)));
    (site, gang, names)
}

#[test]
fn the_room_of_a_gang_whose_permit_times_out_is_free_thirty_seconds_after_its_answers() {
    let (mut site, gang, names) = gang();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // Permit timed out after 10 s, and the conditions were told. Nobody knows of which attempt they are.
    for ms in [10_000, 20_000, 29_999] {
        assert_eq!(site.decider.expire(&site.view, Tick(ms)), 0);
        assert_eq!(site.filter(&pod(900, 5), &names, ms), Err(Reason::AllocationLimit), "{ms}");
    }
    assert_eq!(site.decider.expire(&site.view, Tick(30_000)), gang.len());
    assert!(site.decider.holds().is_empty());
    assert!(site.filter(&pod(900, 5), &names, 30_000).is_ok());
}

#[test]
fn the_room_of_a_pod_whose_permit_timed_out_is_free_at_its_next_filter_call() {
    let (mut site, gang, names) = gang();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let last = &gang[99];
    assert_eq!(site.filter(&pod(900, 5), &["n099"], 11_000), Err(Reason::AllocationLimit));
    // It comes back for another node, or for none.
    assert!(site.filter(last, &["tombstones"], 11_000).is_err());
    assert_eq!(site.filter(&pod(900, 5), &["n099"], 11_000), Ok(vec!["n099"]));
    // And by its deletion.
    site.see(gang[..99].iter().map(|it| Change::PodGone { uid: it.uid }));
    assert!(site.filter(&pod(901, 5), &names[..99], 11_001).is_ok());
    assert_eq!(site.decider.holds().len(), 2);
}

#[test]
fn pods_that_another_scheduler_may_ask_another_sigma_about_are_requeued_once() {
    let told = |uid, scheduler: &str| {
        let condition = Some(UnschedulableCondition { reason: Some(Reason::AllocationLimit) });
        seen_pod(&Pod { condition, scheduler: scheduler.into(), ..pod(uid, 1) })
    };
    let mut site = site(&["a"]);
    site.see([told(1, "default-scheduler"), told(2, "other")]);
    let adopt = |site: &mut TestReplica, now| site.decider.adopt_conditions(&site.view, Tick(now));
    let minutes = [0, 60_000, 120_000];
    assert_eq!((adopt(&mut site, 0), adopt(&mut site, 1)), (2, 0));
    assert_eq!(
        minutes.map(|now| site.requeued_uids(now)),
        [vec![1, 2], vec![], vec![]],
        "nobody has asked"
    );
    site.decider.not_requeued(PodUid(2), Tick(120_000));
    assert_eq!(
        [120_000, 200_000].map(|now| site.requeued_uids(now)),
        [vec![], vec![2]],
        "it was not written"
    );

    assert_eq!(site.filter(&pod(9, 1), &["a"], 200_000), Ok(vec!["a"]));
    assert_eq!(
        (adopt(&mut site, 200_001), site.requeued_uids(200_001)),
        (0, vec![1]),
        "its scheduler asks here"
    );
    assert_eq!([300_000, 400_000].map(|now| site.requeued_uids(now)), [[1], [1]]);

    site.see([told(3, "default-scheduler"), told(4, "other")]);
    assert_eq!(adopt(&mut site, 200_002), 0, "made after the start, so answered after it");

    let by_scheduler = [("other".into(), Profile::default())].into();
    site.see([Change::ProfilesSet(Arc::new(Profiles { by_scheduler, ..Profiles::default() }))]);
    site.decider = Decider::default();
    assert_eq!(adopt(&mut site, 0), 4);
    assert_eq!(
        minutes.map(|now| site.requeued_uids(now)),
        [vec![1, 2, 3, 4], vec![2, 4], vec![2, 4]],
        "by configuration"
    );
}
