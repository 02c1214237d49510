use super::*;
use crate::policy::{ClassSettings, Settings, default_class};
use crate::testing::{TestReplica, claim, pod};

/// A site whose class `default` is steered so.
fn site(steering: crate::policy::Steering) -> TestReplica {
    let class = ClassSettings { steering: Some(steering), ..default_class() };
    TestReplica::new(&Settings { name: "test".into(), classes: vec![class], ..Settings::default() })
}

fn on() -> crate::policy::Steering {
    let off = crate::policy::Steering::OFF;
    off.with(Cause::Elsewhere, Some(Cause::Elsewhere.usual()))
}

fn both() -> crate::policy::Steering {
    on().with(Cause::Better, Some(Cause::Better.usual()))
}

fn told(found: &[Obstacle]) -> Vec<(SteeringPart, Ground, bool)> {
    found.iter().map(|it| (it.part, it.ground, it.remedy.is_empty())).collect()
}

#[test]
fn each_thing_that_is_off_is_named_with_what_turns_it_on() {
    use Ground::{Breaker, Flag, Policy, Right};
    let fine =
        || SteeringState { preempt_verb: PreemptVerb::Configured, ..SteeringState::default() };
    let steer = |why| SteeringState { steer: Some(why), ..fine() };
    let requeue = |why| SteeringState { requeue: Some(why), ..fine() };
    let unproven = |preempt_verb| SteeringState { preempt_verb, ..fine() };
    let missing = || WhyOff::RightMissing("patch pods/status".into());
    let off = crate::policy::Steering::OFF;
    type Case<'a> = (crate::policy::Steering, SteeringState, &'a [(SteeringPart, Ground)], &'a str);
    let cases: [Case<'_>; 14] = [
        (on(), fine(), &[], ""),
        (both(), fine(), &[], ""),
        (off, steer(WhyOff::Switch), &[(SteeringPart::Elsewhere, Policy)], "steer class default"),
        (off, fine(), &[(SteeringPart::Elsewhere, Policy)], "`steering` in the policy"),
        (on(), steer(WhyOff::Breaker), &[(SteeringPart::Elsewhere, Breaker)], "/api/v1/actions"),
        (on(), steer(missing()), &[(SteeringPart::Elsewhere, Right)], "deploy/base/rbac"),
        (on(), steer(WhyOff::Stopped), &[(SteeringPart::Elsewhere, Policy)], "actions.stop"),
        (on(), requeue(WhyOff::Stopped), &[(SteeringPart::Requeue, Policy)], "actions.stop"),
        (on(), requeue(WhyOff::Switch), &[(SteeringPart::Requeue, Flag)], "--requeue=on"),
        (on(), requeue(missing()), &[(SteeringPart::Requeue, Right)], "patch pods/status"),
        // For pods that are refused anyway no proof is needed.
        (on(), unproven(PreemptVerb::Unknown), &[], ""),
        (on(), unproven(PreemptVerb::Absent), &[], ""),
        (
            both(),
            unproven(PreemptVerb::Unknown),
            &[(SteeringPart::Better, Flag)],
            "--scheduler-config",
        ),
        (both(), unproven(PreemptVerb::Absent), &[(SteeringPart::Better, Flag)], "preemptVerb"),
    ];
    for (policy, steering, want, text) in cases {
        let site = site(policy);
        let all = steering.of_all(&site.view.plan);
        let of_pod = steering.of_pod(&site.view, &site.decider, &pod(1, 1));
        for found in [&all, &of_pod] {
            let got: Vec<_> = found.iter().map(|it| (it.part, it.ground)).collect();
            assert_eq!(got, want, "{found:?}");
            let told: String = found.iter().map(ToString::to_string).collect();
            assert!(told.contains(text) && found.iter().all(|it| !it.remedy.is_empty()), "{told}");
        }
        assert!(!all.iter().any(|it| it.is_brief));
    }
    let asked = SteeringState { asked_to_preempt: true, ..SteeringState::default() };
    assert_eq!(asked.of_all(&site(both()).view.plan), []);
    let brief = SteeringState { steer: Some(WhyOff::RightUnknown), ..fine() };
    assert!(brief.of_all(&site(on()).view.plan)[0].is_brief);
}

#[test]
fn what_is_about_the_pod_itself_is_named_and_nothing_turns_it_on() {
    let site = site(on());
    let cases = [
        (Pod { gated: true, ..pod(1, 1) }, Some("gates")),
        (Pod { grouped: true, ..pod(1, 1) }, Some("group")),
        (Pod { claims: [claim("data")].into(), ..pod(1, 1) }, Some("volumes")),
        (Pod { nominated: Some("n9".into()), ..pod(1, 1) }, Some("nominated to n9")),
        (Pod { nominated: Some("n9".into()), nominated_ahead: true, ..pod(1, 1) }, None),
        (pod(1, 1), None),
    ];
    for (pod, want) in cases {
        let found = SteeringState::default().of_pod(&site.view, &site.decider, &pod);
        let kinds: &[_] =
            if want.is_some() { &[(SteeringPart::Elsewhere, Ground::Pod, true)] } else { &[] };
        assert_eq!(told(&found), kinds, "{pod:?}");
        assert!(want.is_none_or(|want| found[0].why.contains(want)), "{found:?}");
    }
}
