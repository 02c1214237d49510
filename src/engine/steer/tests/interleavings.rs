//! All orders of what can happen: calls, writes and their outcomes, kube-scheduler's status patches,
//! which may be those of earlier attempts, watch events, somebody else, switches. In none of them a pod
//! sleeps, is steered twice for one cause, holds anything for ever, or loses what its last answer holds.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::cluster::HoldLimits;

/// What may happen next. Whatever does not apply is passed over.
#[derive(Clone, Copy, Debug)]
enum SteerStep {
    /// kube-scheduler asks about the pod if it is awake; true: the next write is there before it
    /// handles its failure, which clears the nomination.
    Call { written_within: bool },
    /// One of kube-scheduler's own patches arrives, if any is on its way: not always the oldest.
    StatusPatch(usize),
    /// Something in the cluster wakes the pod, whatever kube-scheduler has not written yet.
    Woken,
    /// The pod is asked about and answered without the rules: past the deadline, over load.
    Degraded { accepts: bool },
    /// The oldest order is written, or fails unless it must be carried out.
    Write { fails: bool },
    /// The decider learns the oldest outcome that it was not told.
    Told,
    /// A watch shows the decider the pod as it is.
    Watched,
    /// Somebody else nominates a node for the pod.
    Nominated,
    /// kube-scheduler's own plugins change their mind about the target.
    PassesInTree(bool),
    /// So does a cordon, for us.
    Cordon(bool),
    /// The means is on, or not.
    Acts(bool),
    /// Milliseconds go by, and what is done in the background is done.
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<SteerStep>> {
    let step = prop_oneof![
        6 => any::<bool>().prop_map(|written_within| SteerStep::Call { written_within }),
        4 => (0..3_usize).prop_map(SteerStep::StatusPatch),
        1 => Just(SteerStep::Woken),
        1 => any::<bool>().prop_map(|accepts| SteerStep::Degraded { accepts }),
        4 => any::<bool>().prop_map(|fails| SteerStep::Write { fails }),
        4 => Just(SteerStep::Told),
        2 => Just(SteerStep::Watched),
        1 => Just(SteerStep::Nominated),
        1 => any::<bool>().prop_map(SteerStep::PassesInTree),
        1 => any::<bool>().prop_map(SteerStep::Cordon),
        1 => any::<bool>().prop_map(SteerStep::Acts),
        2 => prop_oneof![1..100_u64, 1000..20_000_u64].prop_map(SteerStep::Wait),
    ];
    prop::collection::vec(step, 0..60)
}

/// The API server, kube-scheduler's queue and the actor, around a decider.
struct SteerRig {
    site: TestReplica,
    now_ms: u64,
    /// As the API server has it.
    pod: Pod,
    text: Option<Reason>,
    /// It is in a queue from which kube-scheduler takes it.
    awake: bool,
    bound: bool,
    /// Patches that are on their way, one an attempt: a text, and whether the nomination is cleared.
    status_patches: Vec<(Reason, bool)>,
    /// Its last answer was one by role, which accepted it: what that holds ends then.
    answered_by_role: Option<Tick>,
    orders: VecDeque<SteerAction>,
    outcomes: VecDeque<((PodUid, u32), Wrote)>,
    fits_in_tree: bool,
    cordoned: bool,
    acts: bool,
    num_begun: usize,
    /// Requeues with a nomination.
    num_requeued: usize,
}

impl SteerRig {
    fn new(better: bool) -> Self {
        let pod = pod(1, 6);
        Self {
            site: site(better, &[&pod]),
            now_ms: 1000,
            pod,
            text: None,
            awake: true,
            bound: false,
            status_patches: Vec::new(),
            answered_by_role: None,
            orders: VecDeque::new(),
            outcomes: VecDeque::new(),
            fits_in_tree: true,
            cordoned: false,
            acts: true,
            num_begun: 0,
            num_requeued: 0,
        }
    }

    fn take(&mut self, step: SteerStep) {
        match step {
            SteerStep::Call { written_within } => self.call(&WINDOW, written_within),
            SteerStep::StatusPatch(at) => self.status_patched(at),
            SteerStep::Woken => self.awake |= !self.bound,
            SteerStep::Degraded { accepts } => self.degraded(accepts),
            SteerStep::Write { fails } => self.write(fails),
            SteerStep::Told => {
                if let Some((round, wrote)) = self.outcomes.pop_front() {
                    let now = Tick(self.now_ms);
                    self.site.decider.steer_written(&self.site.view, round, wrote, now);
                }
            }
            SteerStep::Watched => self.watched(),
            SteerStep::Nominated => {
                self.pod.nominated = Some("y".into());
                self.changed();
                self.awake = true;
            }
            SteerStep::PassesInTree(fits) => self.fits_in_tree = fits,
            SteerStep::Cordon(cordoned) => {
                use crate::model::Conditions;
                self.cordoned = cordoned;
                let conditions =
                    if cordoned { Conditions::CORDONED } else { Conditions::default() };
                self.pod.resource_version += 1;
                let resource_version = self.pod.resource_version;
                self.site.see([seen_node(Node { conditions, resource_version, ..home("t") })]);
            }
            SteerStep::Acts(acts) => self.acts = acts,
            SteerStep::Wait(ms) => {
                self.now_ms += ms;
                self.background();
            }
        }
    }

    fn changed(&mut self) {
        self.pod.resource_version += 1;
        self.pod.condition =
            self.text.map(|reason| UnschedulableCondition { reason: Some(reason) });
    }

    fn status_patched(&mut self, at: usize) {
        if self.status_patches.is_empty() {
            return;
        }
        let (text, clears) = self.status_patches.remove(at % self.status_patches.len());
        let clears = clears && self.pod.nominated.is_some();
        // One that changes nothing wakes nobody.
        if clears || self.text != Some(text) {
            self.pod.nominated = self.pod.nominated.take().filter(|_| !clears);
            self.text = Some(text);
            self.awake |= !self.bound;
            self.changed();
        }
    }

    /// An attempt that is answered by role. What it accepts is held, and fails behind the answer.
    fn degraded(&mut self, accepts: bool) {
        if self.bound || !self.awake {
            return;
        }
        self.awake = false;
        let (view, now) = (self.site.view.clone(), Tick(self.now_ms));
        let pod = Arc::new(self.pod.clone());
        if accepts {
            let nodes = self.site.ords(&WINDOW);
            self.site.decider.hold(&view, &pod, &nodes, now);
            self.answered_by_role = Some(now.plus_ms(HoldLimits::default().ttl_ms));
            // After a back-off.
            self.awake = true;
        } else {
            let any = [NodeOrd::UNKNOWN];
            let text = self.site.decider.refuse(&view, &pod, &any, Reason::Overloaded, now);
            self.answered_by_role = None;
            self.failed(text);
        }
    }

    fn watched(&mut self) {
        let seen = if self.bound { placed(&self.pod, "t") } else { self.pod.clone() };
        self.site.see([seen_pod(&seen)]);
    }

    /// What the requeue's task does.
    fn background(&mut self) {
        let now = Tick(self.now_ms);
        for record in self.site.decider.expire_steers(&self.site.view, now) {
            if self.pod.nominated.as_deref() == Some(&*record.node) && !self.bound {
                self.pod.nominated = None;
                self.changed();
                self.awake = true;
            }
        }
        self.site.decider.expire(&self.site.view, now);
        let requeues = self.site.decider.requeues(
            &self.site.view,
            Nominates::if_any(self.acts),
            now,
            9,
            usize::MAX,
        );
        for requeue in requeues {
            match requeue.steer {
                Some(order) => {
                    assert!(self.acts && order.round == 1);
                    assert_eq!(self.site.may_evict(&requeue.pod), [false]);
                    self.num_requeued += 1;
                    self.replace_order(order);
                }
                None => self.awake = true,
            }
        }
    }

    /// The actor has one order a pod: an older one is over.
    fn replace_order(&mut self, order: SteerAction) {
        for older in std::mem::take(&mut self.orders) {
            self.outcomes.push_back(((older.pod.uid, older.round), Wrote::Failed));
        }
        self.orders.push_back(order);
    }

    /// One attempt of kube-scheduler's: the nominated node first, then the window.
    fn call(&mut self, window: &[&str], written_within: bool) {
        if self.bound || !self.awake {
            return;
        }
        (self.awake, self.answered_by_role) = (false, None);
        let as_asked = self.pod.clone();
        let nominee = as_asked.nominated.as_deref();
        let fits = nominee.is_some_and(|node| node != "t" || self.fits_in_tree);
        if let Some(node) = nominee.filter(|_| fits)
            && self.answered(&as_asked, &[node], false).is_none()
        {
            return;
        }
        let offered = window.iter().copied().filter(|node| *node != "t" || self.fits_in_tree);
        let offered: Vec<&str> = offered.collect();
        let Some(text) = self.answered(&as_asked, &offered, written_within) else { return };
        self.failed(text);
    }

    /// A failure is handled: one patch clears what the pod is nominated for by now, and says why it failed.
    fn failed(&mut self, text: Reason) {
        let clears = self.pod.nominated.is_some();
        if clears || self.text != Some(text) {
            self.status_patches.push((text, clears));
        }
    }

    /// The text of an unschedulable answer, or nothing if the pod is bound.
    fn answered(&mut self, pod: &Pod, names: &[&str], written_within: bool) -> Option<Reason> {
        let context = SteerContext { acts: self.acts, ..ACTS };
        let answer = self.site.asked(pod, names, context, self.now_ms);
        if let Some(order) = answer.steer {
            assert_eq!((answer.accepted.len(), &*order.node), (0, "t"));
            assert!(self.acts && !self.bound);
            self.num_begun += usize::from(order.round == 1);
            assert!(self.site.decider.is_held(pod.uid), "the target is kept for it");
            assert_eq!(self.site.may_evict(pod), [false]);
            self.replace_order(order);
        }
        if written_within {
            self.write(false);
        }
        if answer.accepted.is_empty() {
            return Some(answer.refused.expect("one is named").1);
        }
        (self.bound, self.awake) = (true, false);
        None
    }

    fn write(&mut self, fails: bool) {
        let Some(order) = self.orders.pop_front() else { return };
        let round = (order.pod.uid, order.round);
        if fails && order.round > 1 {
            return self.orders.push_front(order);
        }
        // No nomination replaces another one. Whoever has this one is only woken.
        let is_as_told = self.pod.nominated.as_deref().is_none_or(|it| *it == *order.node);
        let wrote = match () {
            () if self.bound => Wrote::Bound,
            () if fails => Wrote::Failed,
            () if !is_as_told => Wrote::Changed,
            () => {
                self.pod.nominated = Some(order.node);
                self.changed();
                self.awake = true;
                Wrote::Done
            }
        };
        self.outcomes.push_back((round, wrote));
    }

    /// Nothing goes wrong any more. The window has the target only if it is a window of `home` nodes.
    fn comes_to_rest(&mut self, window: &[&str]) {
        for step in [SteerStep::PassesInTree(true), SteerStep::Cordon(false), SteerStep::Acts(true)]
        {
            self.take(step);
        }
        for _ in 0..120 {
            while !self.status_patches.is_empty() {
                self.take(SteerStep::StatusPatch(0));
            }
            for step in [SteerStep::Write { fails: false }, SteerStep::Told, SteerStep::Watched] {
                self.take(step);
            }
            self.call(window, false);
            self.take(SteerStep::Wait(500));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_pod_sleeps_is_steered_twice_or_holds_for_ever(better: bool, steps in steps()) {
        let mut rig = SteerRig::new(better);
        for step in steps {
            rig.take(step);
            prop_assert!(rig.num_begun <= 1, "steered twice for one cause");
            let is_held = rig.site.decider.is_held(rig.pod.uid);
            let must_hold = rig.answered_by_role.is_some_and(|until| Tick(rig.now_ms) < until);
            prop_assert!(is_held || !must_hold, "it may be bound by its last answer");
        }
        rig.comes_to_rest(&["x", "t"]);
        prop_assert!(rig.bound, "it sleeps: {:?}", rig.site.decider.steers());
        let decider = &rig.site.decider;
        prop_assert!(decider.holds().is_empty() && decider.steers().open.is_empty());
        prop_assert!(decider.steers().spent.is_empty() || !rig.bound);
        let news = rig.site.decider.take_steer_news();
        let num_begun = rig.num_begun + rig.num_requeued;
        prop_assert_eq!(news.len(), num_begun, "each has one outcome: {:?}", news);
    }

    /// The same where no window ever has the target: then only a nomination leads there. Without
    /// faults it always does, whatever the order of what happens.
    #[test]
    fn without_faults_it_gets_there(order in prop::collection::vec(0..5_u8, 0..40)) {
        let mut rig = SteerRig::new(false);
        for kind in order {
            rig.take(match kind {
                0 => SteerStep::Call { written_within: false },
                1 => SteerStep::StatusPatch(0),
                2 => SteerStep::Write { fails: false },
                3 => SteerStep::Told,
                _ => SteerStep::Watched,
            });
        }
        rig.comes_to_rest(&WINDOW);
        prop_assert!(rig.bound, "{:?}", rig.site.decider.steers());
        prop_assert_eq!(rig.site.outcome(&rig.pod), Some(SteerOutcome::Honoured));
    }
}
