use super::*;
use crate::engine::{Answer, Candidate, Nominates, PreemptVerb, Requeue, SteerContext};
use crate::model::{Change, Node, NodeMatcher, Reason, UnschedulableCondition};
use crate::policy::{ClassSettings, PoolSettings, Settings, Steering, default_class};
use crate::testing::{TestReplica, node, placed, pod, replica, seen_node, seen_pod};

mod foreign;
mod interleavings;
mod requeue;
mod whom;

/// Nominations are written, and kube-scheduler asks before it preempts.
const ACTS: SteerContext =
    SteerContext { acts: true, preempt_verb: PreemptVerb::Configured, is_paused: false };
/// What kube-scheduler offers: `t` is never among it.
const WINDOW: [&str; 2] = ["x", "y"];

/// Node `t` is in pool `home`; `x` and `y` are in `ward`, which is open to the class if `better`.
fn settings(better: bool) -> Settings {
    let pool = |name: &str| PoolSettings {
        name: name.into(),
        matcher: NodeMatcher { labels: vec![("pool".into(), name.into())], ..Default::default() },
        ..PoolSettings::default()
    };
    let order = (0..=u8::from(better)).map(crate::model::PoolOrd);
    let bounds = Cause::Better.usual();
    let steering = Steering::OFF
        .with(Cause::Elsewhere, Some(Cause::Elsewhere.usual()))
        .with(Cause::Better, better.then_some(bounds));
    let class =
        ClassSettings { pools: Some(order.collect()), steering: Some(steering), ..default_class() };
    let pools = vec![pool("home"), pool("ward")];
    Settings { name: "test".into(), pools, classes: vec![class], ..Settings::default() }
}

fn home(name: &str) -> Node {
    node(name, &[("pool", "home"), ("topology.kubernetes.io/zone", "z")])
}

/// A site with the pod pending, and nobody asked about yet.
fn site(better: bool, pods: &[&Pod]) -> TestReplica {
    let mut site = TestReplica::new(&settings(better));
    site.see([seen_node(home("t"))]);
    site.see(WINDOW.map(|name| seen_node(node(name, &[("pool", "ward")]))));
    site.see(pods.iter().map(|pod| seen_pod(pod)));
    site
}

impl TestReplica {
    /// What kube-scheduler is answered.
    fn asked(&mut self, pod: &Pod, names: &[&str], context: SteerContext, now_ms: u64) -> Answer {
        let (pod, nodes, now) = (Arc::new(pod.clone()), self.ords(names), Tick(now_ms));
        let mut answer = self.decider.filter(&self.view, &pod, &nodes, now);
        self.decider.steer(&self.view, &pod, &nodes, context, now, &mut answer);
        answer
    }

    /// The first call, which sends the pod away.
    fn sent(&mut self, pod: &Pod, now_ms: u64) -> SteerAction {
        let answer = self.asked(pod, &WINDOW, ACTS, now_ms);
        assert_eq!(answer.refused.map(|it| it.1), Some(Reason::Steered), "{answer:?}");
        assert!(answer.accepted.is_empty() && answer.unsteered.is_none());
        answer.steer.expect("it is steered")
    }

    fn wrote(&mut self, order: &SteerAction, wrote: Wrote, now_ms: u64) {
        let round = (order.pod.uid, order.round);
        self.decider.steer_written(&self.view, round, wrote, Tick(now_ms));
    }

    fn outcome(&self, pod: &Pod) -> Option<SteerOutcome> {
        self.decider.steers().record(pod.uid).and_then(|it| it.outcome)
    }

    fn may_evict(&mut self, pod: &Pod) -> Vec<bool> {
        // Another one each time.
        let uid = 1000 + u128::from(self.view.snapshot.generation.0);
        let victim = placed(&super::tests::pod(uid, 9), "t");
        self.see([seen_pod(&victim)]);
        let node = self.ords(&["t"])[0];
        let candidates = [Candidate { node, victims: vec![victim.uid] }];
        let stands = self.decider.preempt(&self.view, pod, &candidates);
        self.see([Change::PodGone { uid: victim.uid }]);
        stands
    }

    fn requeues(&mut self, now_ms: u64) -> usize {
        self.decider
            .requeues(&self.view, Nominates::NONE, Tick(now_ms), usize::MAX, usize::MAX)
            .len()
    }

    /// Whoever is requeued, with nominations where they are to be written.
    fn requeued(&mut self, now_ms: u64) -> Vec<Requeue> {
        self.decider.requeues(&self.view, Nominates::ANY, Tick(now_ms), usize::MAX, usize::MAX)
    }

    /// The one pod that is requeued with a nomination.
    fn sent_at_requeue(&mut self, now_ms: u64) -> SteerAction {
        let requeues = self.requeued(now_ms);
        assert_eq!(requeues.len(), 1, "at {now_ms}");
        requeues.into_iter().next().and_then(|it| it.steer).expect("with a nomination")
    }

    /// Nobody is under way, nothing is held, and nobody is waited for.
    fn is_left_clean(&self) -> bool {
        let decider = &self.decider;
        decider.steers().open.is_empty()
            && decider.holds().is_empty()
            && decider.unschedulable().is_empty()
    }
}

fn nominated(pod: &Pod, node: &str) -> Pod {
    Pod { nominated: Some(node.into()), ..pod.clone() }
}

/// As its watch event shows it after the first unschedulable answer.
fn told(pod: &Pod, reason: Reason) -> Pod {
    let condition = Some(UnschedulableCondition { reason: Some(reason) });
    Pod { condition, resource_version: pod.resource_version + 1, ..pod.clone() }
}

#[test]
fn a_pod_goes_to_the_one_node_that_was_not_offered() {
    let me = pod(1, 6);
    let mut site = site(false, &[&me]);
    let order = site.sent(&me, 1000);
    assert_eq!((&*order.node, order.round, order.cause), ("t", 1, Cause::Elsewhere));
    assert!(site.decider.is_held(me.uid) && site.decider.unschedulable().is_empty());
    // kube-scheduler's own patch says what we did, and does not free the target.
    site.see([seen_pod(&told(&me, Reason::Steered))]);
    assert!(site.decider.is_held(me.uid));
    site.wrote(&order, Wrote::Done, 1004);
    let answer = site.asked(&nominated(&me, "t"), &["t"], ACTS, 1009);
    assert_eq!((answer.accepted, answer.refused, answer.steer), (vec![0], None, None));
    assert_eq!(
        (site.outcome(&me), site.decider.steers().num_open()),
        (Some(SteerOutcome::Honoured), 0)
    );
    assert!(site.decider.is_held(me.uid), "until a watch tells");
    site.see([seen_pod(&placed(&me, "t"))]);
    site.decider.expire_steers(&site.view, Tick(1020));
    let record = site.decider.steers().record(me.uid).expect("it is remembered");
    let steps = (record.written_ms, record.accepted_ms, record.bound_ms, record.rounds);
    assert_eq!(steps, (Some(4), Some(9), Some(20), 1));
    assert_eq!((record.began, record.lead_permille), (Tick(1000), None));
    assert!(site.is_left_clean());
    assert_eq!(site.decider.take_steer_news().len(), 1, "it is counted once");
}

#[test]
fn nobody_is_evicted_for_a_pod_that_is_on_its_way() {
    let me = pod(1, 6);
    let mut site = site(false, &[&me]);
    assert_eq!(site.may_evict(&me), [true]);
    let order = site.sent(&me, 0);
    assert_eq!(site.may_evict(&me), [false]);
    // While the nomination is being written too, although the text is another one.
    let answer = site.asked(&me, &WINDOW, ACTS, 5);
    assert_eq!(answer.refused.map(|it| it.1), Some(Reason::PoolClosed));
    assert_eq!(site.may_evict(&me), [false]);
    assert!(site.decider.is_held(me.uid));
    site.wrote(&order, Wrote::Failed, 9);
    assert_eq!(site.may_evict(&me), [true]);
}

#[test]
fn two_pods_are_not_sent_to_one_place() {
    let (one, two) = (pod(1, 6), pod(2, 6));
    let mut site = site(false, &[&one, &two]);
    site.sent(&one, 0);
    let answer = site.asked(&two, &WINDOW, ACTS, 1);
    assert_eq!((answer.steer, answer.unsteered), (None, Some(Unsteered::Nowhere)));
    assert_eq!(answer.refused.map(|it| it.1), Some(Reason::Insufficient));
    // Given up, and the place is free again.
    site.decider.expire_steers(&site.view, Tick(PATIENCE_MS));
    assert_eq!(site.outcome(&one), Some(SteerOutcome::Expired));
    assert_eq!(site.sent(&two, PATIENCE_MS).round, 1);
}

#[test]
fn whoever_comes_back_without_the_nomination_is_sent_again_but_not_for_ever() {
    let me = pod(1, 1);
    let mut site = site(false, &[&me]);
    let mut order = site.sent(&me, 0);
    for round in 2..=MAX_ROUNDS {
        site.wrote(&order, Wrote::Done, 1);
        let back = told(&me, Reason::Steered);
        let answer = site.asked(&back, &WINDOW, ACTS, 2);
        assert_eq!(answer.refused.map(|it| it.1), Some(Reason::Steered), "the same text");
        // What became of an earlier round says nothing about this one.
        site.wrote(&order, Wrote::Failed, 3);
        order = answer.steer.expect("again");
        assert_eq!((order.round, &order.pod.condition), (round, &back.condition));
    }
    site.wrote(&order, Wrote::Done, 1);
    let answer = site.asked(&told(&me, Reason::Steered), &WINDOW, ACTS, 2);
    assert_eq!(answer.refused.map(|it| it.1), Some(Reason::PoolClosed));
    assert_eq!(site.outcome(&me), Some(SteerOutcome::Lost));
    assert_eq!(site.requeues(3), 1, "it may pass where it was not offered");
    let answer = site.asked(&told(&me, Reason::PoolClosed), &WINDOW, ACTS, 4);
    assert_eq!((answer.steer, answer.unsteered), (None, Some(Unsteered::Spent)));
    assert_eq!(site.requeues(5000), 1);
}

#[test]
fn while_the_nomination_is_being_written_the_answer_is_the_usual_one() {
    // None offered would do: the steer goes on.
    let me = pod(1, 1);
    let mut none = site(false, &[&me]);
    let order = none.sent(&me, 0);
    let answer = none.asked(&me, &WINDOW, ACTS, 5);
    assert_eq!(answer.refused.map(|it| it.1), Some(Reason::PoolClosed));
    none.wrote(&order, Wrote::Done, 6);
    assert_eq!(none.asked(&nominated(&me, "t"), &["t"], ACTS, 7).accepted, [0]);
    assert_eq!(none.outcome(&me), Some(SteerOutcome::Honoured));
    // Some would: it is over, and a nomination that comes late is judged as any other.
    let mut some = site(true, &[&me]);
    let order = some.sent(&me, 100);
    assert_eq!((order.cause, &*order.node), (Cause::Better, "t"));
    assert_eq!(some.asked(&me, &WINDOW, ACTS, 105).accepted.len(), 2);
    assert_eq!(some.outcome(&me), Some(SteerOutcome::Late));
    some.wrote(&order, Wrote::Done, 106);
    assert_eq!(some.asked(&nominated(&me, "t"), &["t"], ACTS, 107).accepted, [0]);
}

#[test]
fn whatever_else_ends_a_steer_leads_to_the_usual_answer() {
    let me = pod(1, 1);
    let gone = |site: &mut TestReplica| site.see([Change::NodeGone { name: "t".into() }]);
    let cordon = |site: &mut TestReplica| {
        let conditions = crate::model::Conditions::CORDONED;
        site.see([seen_node(Node { conditions, resource_version: 2, ..home("t") })]);
    };
    let nothing = |_: &mut TestReplica| {};
    let off = SteerContext { acts: false, ..ACTS };
    type Event = fn(&mut TestReplica);
    type Case<'a> = (Event, Option<&'a str>, &'a [&'a str], SteerContext, SteerOutcome);
    let cases: [Case<'_>; 8] = [
        (nothing, Some("t"), &WINDOW, ACTS, SteerOutcome::NotHonoured),
        (nothing, Some("y"), &WINDOW, ACTS, SteerOutcome::Overruled),
        (nothing, Some("y"), &["y"], ACTS, SteerOutcome::Overruled),
        (cordon, Some("t"), &["t"], ACTS, SteerOutcome::Refused),
        (cordon, Some("t"), &WINDOW, ACTS, SteerOutcome::Refused),
        (gone, None, &WINDOW, ACTS, SteerOutcome::Refused),
        (nothing, None, &WINDOW, off, SteerOutcome::Off),
        (nothing, Some("t"), &["t"], off, SteerOutcome::Honoured),
    ];
    for (event, nomination, offered, context, want) in cases {
        let mut site = site(true, &[&me]);
        let order = site.sent(&me, 100);
        site.wrote(&order, Wrote::Done, 101);
        event(&mut site);
        let back = nomination.map_or_else(|| me.clone(), |node| nominated(&me, node));
        let answer = site.asked(&back, offered, context, 110);
        assert_eq!((answer.steer, site.outcome(&me)), (None, Some(want)), "{offered:?}");
        assert_eq!(answer.accepted.is_empty(), want == SteerOutcome::Refused && offered.len() == 1);
        if want != SteerOutcome::Honoured {
            assert!(
                !site.decider.is_held(me.uid) && site.decider.steers().open.is_empty(),
                "{want:?}"
            );
        }
        let again = site.asked(&me, &WINDOW, ACTS, 200);
        assert_eq!(again.steer, None, "one steer for one cause, after {want:?}");
    }
}

#[test]
fn a_write_that_fails_leaves_the_pod_to_requeue() {
    let me = pod(1, 1);
    for (wrote, outcome, requeues) in [
        (Wrote::Failed, SteerOutcome::Failed, 1),
        (Wrote::Changed, SteerOutcome::Overruled, 1),
        (Wrote::Gone, SteerOutcome::Gone, 0),
        (Wrote::Bound, SteerOutcome::Lost, 0),
    ] {
        let mut site = site(false, &[&me]);
        let order = site.sent(&me, 0);
        site.wrote(&order, wrote, 5);
        assert_eq!((site.outcome(&me), site.requeues(6)), (Some(outcome), requeues), "{wrote:?}");
        site.see([Change::PodGone { uid: me.uid }]);
        site.decider.expire_steers(&site.view, Tick(7));
        assert!(site.is_left_clean(), "{wrote:?}");
    }
}

#[test]
fn who_does_not_come_back_is_given_up_and_the_nomination_taken_back() {
    let (me, other) = (pod(1, 1), pod(2, 1));
    let mut site = site(false, &[&me, &other]);
    let order = site.sent(&me, 0);
    site.wrote(&order, Wrote::Done, 5);
    site.sent(&other, 10);
    assert!(site.decider.expire_steers(&site.view, Tick(PATIENCE_MS - 1)).is_empty());
    let cleared = site.decider.expire_steers(&site.view, Tick(PATIENCE_MS + 10));
    assert_eq!(cleared.iter().map(|it| it.pod.uid).collect::<Vec<_>>(), [me.uid]);
    assert_eq!((site.outcome(&me), site.outcome(&other)).0, Some(SteerOutcome::Expired));
    assert!(site.decider.holds().is_empty());
    assert_eq!(site.requeues(PATIENCE_MS + 10), 2);
}

#[test]
fn switched_off_nobody_waits_any_longer() {
    let me = pod(1, 1);
    let mut site = site(false, &[&me]);
    site.sent(&me, 0);
    let mut settings = settings(false);
    settings.classes[0].steering = Some(Steering::OFF);
    site.set_policy(&settings);
    site.decider.expire_steers(&site.view, Tick(50));
    assert_eq!((site.outcome(&me), site.requeues(50)), (Some(SteerOutcome::Off), 1));
    let answer = site.asked(&pod(2, 1), &WINDOW, ACTS, 60);
    assert_eq!((answer.steer, answer.unsteered), (None, None));
}

#[test]
fn switched_on_it_is_for_pods_that_were_refused_before_too() {
    let me = pod(1, 1);
    let mut site = site(false, &[&me]);
    let mut settings = settings(false);
    let mut switch = |site: &mut TestReplica, steering| {
        settings.classes[0].steering = Some(steering);
        site.set_policy(&settings);
    };
    switch(&mut site, Steering::OFF);
    assert_eq!(site.asked(&me, &WINDOW, ACTS, 0).unsteered, None);
    assert_eq!(site.requeues(1), 0, "no offered node would do");
    switch(&mut site, Steering::OFF.with(Cause::Elsewhere, Some(Cause::Elsewhere.usual())));
    assert_eq!(site.requeues(2), 1);
    site.sent(&me, 3);
}

#[test]
fn a_pod_that_is_placed_or_gone_leaves_nothing() {
    let me = pod(1, 1);
    for (change, want) in [
        (seen_pod(&placed(&me, "x")), SteerOutcome::Lost),
        (Change::PodGone { uid: me.uid }, SteerOutcome::Gone),
    ] {
        let mut site = site(false, &[&me]);
        let order = site.sent(&me, 0);
        site.see([change]);
        site.decider.expire_steers(&site.view, Tick(1));
        assert_eq!(site.outcome(&me), Some(want));
        site.wrote(&order, Wrote::Gone, 2);
        assert!(site.is_left_clean() && site.decider.steers().spent.is_empty());
        assert_eq!(site.decider.take_steer_news().len(), 1);
    }
}

#[test]
fn accepted_but_not_bound_has_had_its_turn() {
    let me = pod(1, 1);
    let mut site = site(false, &[&me]);
    let order = site.sent(&me, 0);
    site.wrote(&order, Wrote::Done, 1);
    assert_eq!(site.asked(&nominated(&me, "t"), &["t"], ACTS, 2).accepted, [0]);
    assert_eq!(site.may_evict(&me), [true]);
    let answer = site.asked(&me, &WINDOW, ACTS, 3);
    assert_eq!((answer.steer, site.outcome(&me)), (None, Some(SteerOutcome::Honoured)));
    assert!(!site.decider.is_held(me.uid) && site.decider.steers().open.is_empty());
    // Nobody tells what became of it: the record is closed, and the hold ends by itself.
    let other = pod(2, 1);
    site.see([seen_pod(&other)]);
    let order = site.sent(&other, 10);
    site.wrote(&order, Wrote::Done, 11);
    site.asked(&nominated(&other, "t"), &["t"], ACTS, 12);
    assert!(site.decider.expire_steers(&site.view, Tick(12 + BOUND_WITHIN_MS)).is_empty());
    assert!(site.decider.steers().open.is_empty());
    assert_eq!(site.decider.expire(&site.view, Tick(12 + BOUND_WITHIN_MS)), 1);
}

/// Row 62, sigma restarts during a steer: if the nomination is written, kube-scheduler follows it. If it is not
/// written, the condition of the pod shows the steer, and sigma requeues the pod. sigma uses another text in the
/// condition before it steers the pod again.
#[test]
fn after_a_restart_a_steered_pod_is_requeued_and_not_steered_by_the_same_text() {
    let me = told(&pod(1, 1), Reason::Steered);
    let mut site = site(false, &[&me]);
    assert_eq!(site.decider.adopt_conditions(&site.view, Tick(0)), 1);
    assert_eq!(site.asked(&nominated(&me, "t"), &["t"], ACTS, 0).accepted, [0]);
    assert_eq!(site.decider.adopt_conditions(&site.view, Tick(0)), 1);
    assert_eq!(site.requeues(0), 1);
    let answer = site.asked(&me, &WINDOW, ACTS, 1);
    assert_eq!((answer.steer, answer.unsteered), (None, Some(Unsteered::SameText)));
    assert_eq!(answer.refused.map(|it| it.1), Some(Reason::PoolClosed), "the text gives way");
    // So the next time it is another one.
    let me = told(&me, Reason::PoolClosed);
    site.see([seen_pod(&me)]);
    assert_eq!(site.sent(&me, 2).round, 1);
}
