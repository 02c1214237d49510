//! Nominating ahead: while many pods wait, the leader chooses their nodes over the whole cluster, and
//! has them nominated before kube-scheduler comes to them (DESIGN §4, docs/nominate-ahead.md).
//!
//! ```text
//!   Board ──copy──▶ look: who waits, in which order ─▶ engine: targets ─▶ hold ─▶ nominations ─▶ actor
//!     ▲                                                                     │       ▲  outcome │
//!     └─────────────────────────────────────────────────────────────────────┘       └──────────┘
//! ```
//!
//! Choosing takes milliseconds, so it is done on a copy of what the decider holds. What was chosen is held
//! until a snapshot shows the nomination, so nothing is promised twice. It is ordered a portion at a
//! time, as fast as the actor writes: whom kube-scheduler comes to meanwhile costs no write.
//! kube-scheduler stays the judge: it tries the nominated node first, asking us as always, and else all
//! others.

mod filter_delay;
mod metrics;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustc_hash::FxHashSet;

use crate::actions::Actor;
use crate::cluster::HoldId;
use crate::control::SchedulerRate;
use crate::control::{BacklogScan, place_of};
use crate::control::{Nominations, REST_MS, ToClear};
use crate::control::{PendingAction, WhyOff};
use crate::engine::{Decider, NoTarget, View};
use crate::model::{Action, EquivalenceClass, NOMINATE_AHEAD, Pod, PodUid, Tick};
use crate::policy::NominateAhead;
use crate::runtime::SharedState;

pub use metrics::NominatorMetrics;

/// How often it is looked at who waits.
const PERIOD: Duration = Duration::from_millis(100);
/// Of our time, at most one part in so many goes into looking.
const DUTY: u32 = 4;
/// Pods that are held while the decider is ours: a fraction of a millisecond.
const AT_ONCE: usize = 64;
/// Most targets that were seen not to be wanted between two looks.
const MAX_UNWANTED: usize = 1024;
/// How often it is looked at whether targets still take their pods.
const RECHECK_MS: u64 = 1000;
/// What the actor begins within so long is ordered now: until the next look, and somewhat longer.
const PORTION_MS: u64 = 250;

/// The part of a replica that nominates ahead.
pub struct Nominator {
    shared: Arc<SharedState>,
    actor: Arc<Actor>,
    metrics: Arc<NominatorMetrics>,
    /// The `schedulerName` of the pods that are ours to nominate.
    schedulers: Vec<String>,
    nominations: Mutex<Nominations>,
    /// Nominations are to be written, and kube-scheduler may be kept waiting for them.
    is_pressing: AtomicBool,
    /// Targets that kube-scheduler was seen not to want, since the last look.
    unwanted: Mutex<Vec<(PodUid, Box<str>)>>,
}

/// What is known of the looks before.
#[derive(Default)]
struct BacklogState {
    rechecked: Rechecked,
    pace: SchedulerRate,
}

/// When it was looked last at whether targets still take their pods.
#[derive(Default)]
struct Rechecked {
    at: Tick,
    /// How many changes of nodes there were.
    seen: u64,
}

impl Rechecked {
    /// What was seen the last time, if it is time to look again.
    fn due(&mut self, view: &View, now: Tick) -> Option<u64> {
        if now.since_ms(self.at) < RECHECK_MS {
            return None;
        }
        self.at = now;
        Some(std::mem::replace(&mut self.seen, view.snapshot.changes.end()))
    }
}

/// How a pod stands to nominating ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NominatorVerdict {
    /// This node was chosen for it.
    Target(String),
    /// It is another scheduler's.
    Foreign,
    /// It is not to be nominated, for this reason.
    Not(NoTarget),
    /// Nominations of its equivalence class were in vain lately.
    Paused,
    /// The policy stops nominating ahead.
    Stopped,
    /// It would be nominated if as many pods waited as there must.
    Waits,
}

impl Nominator {
    /// For pods of these schedulers.
    pub fn new(
        shared: Arc<SharedState>,
        actor: Arc<Actor>,
        metrics: Arc<NominatorMetrics>,
        schedulers: Vec<String>,
    ) -> Self {
        let (nominations, unwanted) = (Mutex::default(), Mutex::default());
        let is_pressing = AtomicBool::new(false);
        Self { shared, actor, metrics, schedulers, nominations, is_pressing, unwanted }
    }

    /// How a pending pod stands; `None`: the policy does not nominate ahead.
    pub fn standing(&self, view: &View, decider: &Decider, pod: &Pod) -> Option<NominatorVerdict> {
        view.plan.nominate_ahead?;
        let target = self.nominations().target(pod.uid).map(str::to_owned);
        let foreign = || (!self.is_ours(pod)).then_some(NominatorVerdict::Foreign);
        let not = || decider.no_target(view, pod).map(NominatorVerdict::Not);
        let paused =
            || self.actor.is_paused(&NOMINATE_AHEAD, pod).then_some(NominatorVerdict::Paused);
        let target = target.map(NominatorVerdict::Target);
        let is_stopped = || self.actor.why_off(&NOMINATE_AHEAD) == Some(WhyOff::Stopped);
        let stopped = || is_stopped().then_some(NominatorVerdict::Stopped);
        let found = target.or_else(foreign).or_else(not).or_else(stopped).or_else(paused);
        found.or(Some(NominatorVerdict::Waits))
    }

    /// Nominates for as long as the process runs.
    pub async fn run(self: Arc<Self>) {
        let mut looks = BacklogState::default();
        loop {
            let begun = Instant::now();
            self.step(&mut looks).await;
            tokio::time::sleep(PERIOD.max(begun.elapsed() * DUTY)).await;
        }
    }

    async fn step(self: &Arc<Self>, looks: &mut BacklogState) {
        let view = self.shared.view();
        let settings = view.plan.nominate_ahead;
        self.actor.switch(&NOMINATE_AHEAD, settings.is_some());
        let why_off = self.actor.why_off(&NOMINATE_AHEAD);
        if matches!(why_off, Some(WhyOff::NoLease | WhyOff::NotLeader(_))) {
            // Whoever leads now knows them by their mark.
            self.nominations().forget();
        }
        let settings = settings.filter(|_| self.shared.synced() && why_off.is_none());
        let this = Arc::clone(self);
        let now = self.shared.clock.now();
        let recheck = settings.and_then(|_| looks.rechecked.due(&view, now));
        let num_answers = || self.shared.decide(|decider, _, _| decider.num_answers());
        let lead_ms = self.nominations().lead_ms();
        let lead = settings.map_or(0, |_| looks.pace.lead(num_answers(), lead_ms, now));
        // Milliseconds of work, which must not keep a thread of the watches.
        let looked = tokio::task::spawn_blocking(move || {
            this.follow(settings, recheck);
            this.confirm();
            let (backlog, unplanned) = settings.map(|it| this.choose(it)).unwrap_or_default();
            match settings {
                Some(settings) => this.order(settings, lead),
                None => this.nominations().give_up(now),
            }
            this.measure(backlog, &unplanned);
            this.press();
        });
        if looked.await.is_err() {
            self.metrics.panics.inc();
            tracing::error!("looking ahead panicked");
        }
    }

    /// Sees what became of targets, and takes back what is stale while the action kind is on.
    ///
    /// `recheck` is how many changes of nodes there were when it was looked last at whether targets take
    /// their pods: one whose node has not changed since does.
    fn follow(self: &Arc<Self>, settings: Option<NominateAhead>, recheck: Option<u64>) {
        if recheck.is_some() {
            let (view, now) = (self.shared.view(), self.shared.clock.now());
            let pods = view.snapshot.pending.iter().map(|(_, pod)| pod);
            self.nominations().adopt(pods.filter(|pod| self.is_ours(pod)), now);
        }
        if self.nominations().num_open() == 0 {
            return;
        }
        let (mut decider, view, now) = self.copy();
        let ttl_ms = settings.map_or(u64::MAX, |it| it.ttl_ms);
        let changed = recheck.map(|seen| view.snapshot.changes.since(seen));
        let changed = changed.map(|rows| rows.map(|it| it.iter().collect::<FxHashSet<_>>()));
        let takes = |pod: &Pod, node: &str| {
            let Some(changed) = &changed else {
                return true;
            };
            let ord = view.snapshot.names.ord(node).filter(|ord| view.snapshot.is_live(*ord));
            ord.is_some_and(|ord| {
                let is_changed = changed.as_ref().is_none_or(|rows| rows.contains(&ord));
                !is_changed || decider.would_have(&view, pod, ord)
            })
        };
        let to_clear = self.nominations().follow(&view.snapshot, ttl_ms, now, takes);
        for ToClear { pod, node, why } in to_clear {
            let (this, uid) = (Arc::clone(self), pod.uid);
            let clear = Action::clear(&NOMINATE_AHEAD, &pod, &node, why.name());
            self.actor.submit(PendingAction::from(clear).on_done(move |outcome| {
                let now = this.shared.clock.now();
                this.nominations().cleared(uid, outcome, ttl_ms, now);
            }));
        }
    }

    /// Chooses targets for pods that wait. Gives how many pods could have one, those that have one among
    /// them, and how many could not, by reason.
    fn choose(&self, settings: NominateAhead) -> (usize, Vec<(NoTarget, usize)>) {
        let view = self.shared.view();
        let num_open = self.nominations().num_open();
        // A cheap look first: mostly few wait, and then nothing is copied.
        let ours = view.snapshot.pending.iter().filter(|(_, pod)| self.is_ours(pod));
        if ours.count() < settings.min_backlog {
            return (num_open, Vec::new());
        }
        let (mut decider, view, now) = self.copy();
        let look = {
            let nominations = self.nominations();
            let ours = view.snapshot.pending.iter().map(|(_, pod)| pod);
            let ours =
                ours.filter(|pod| self.is_ours(pod) && nominations.target(pod.uid).is_none());
            BacklogScan::of(&decider, &view, ours, |pod| nominations.is_free(pod.uid, now))
        };
        let backlog = look.num_plannable + num_open;
        let most = settings.batch.min(settings.window.saturating_sub(num_open));
        let (waiting, unplanned) = look.in_order();
        if backlog >= settings.min_backlog && most > 0 {
            let waiting = self.unless_paused(&waiting, most);
            self.choose_for(&waiting, settings.filter_delay_ms, (&mut decider, &view, now));
        }
        (backlog, unplanned)
    }

    /// The first `most` of these pods whose classes are not paused; of a class that may be tried again, one.
    fn unless_paused(&self, pods: &[Arc<Pod>], most: usize) -> Vec<Arc<Pod>> {
        let may_begin = |pod: &&Arc<Pod>| {
            let may_begin = !self.actor.is_paused(&NOMINATE_AHEAD, pod);
            if may_begin {
                self.actor.began(&NOMINATE_AHEAD, pod);
            }
            may_begin
        };
        pods.iter().filter(may_begin).take(most).cloned().collect()
    }

    /// kube-scheduler asks about a pod that carries a nomination of ours, and not about the node that is
    /// nominated: it has looked at that one before, and did not want it.
    pub fn unwanted(&self, pod: &Pod, node: &str) {
        let mut unwanted = self.unwanted.lock().unwrap_or_else(PoisonError::into_inner);
        if unwanted.len() < MAX_UNWANTED {
            unwanted.push((pod.uid, node.into()));
        }
    }

    fn choose_for(
        &self,
        pods: &[Arc<Pod>],
        filter_delay_ms: u64,
        (decider, view, now): (&mut Decider, &View, Tick),
    ) {
        if pods.is_empty() {
            return;
        }
        let timer = self.metrics.planning_seconds.start_timer();
        let targets = decider.targets(view, pods);
        timer.observe_duration();
        let mut chosen = Vec::with_capacity(targets.len());
        for (pod, target) in pods.iter().zip(&targets) {
            match target {
                Ok(best) => chosen.push((pod, view.snapshot.names.name(best.node))),
                Err(_) => {
                    let trial = (EquivalenceClass::of(pod), pod.uid);
                    self.actor.was_of_use(&NOMINATE_AHEAD, trial, None);
                    self.nominations().rest(pod.uid, now.plus_ms(REST_MS));
                }
            }
        }
        for some in chosen.chunks(AT_ONCE) {
            for (pod, node, held) in self.hold(some) {
                self.metrics.chosen.inc();
                let mut nominations = self.nominations();
                nominations.note(pod.uid, place_of(&pod), &node, held);
                nominations.classify(pod.uid, EquivalenceClass::of(&pod));
                nominations.grant_filter_delay(filter_delay_ms);
            }
        }
    }

    /// Says whether answers may wait.
    fn press(&self) {
        self.is_pressing.store(self.nominations().is_pressing(), Ordering::Relaxed);
    }

    /// Orders as many of the chosen nominations as the actor can begin soon, but those to which
    /// kube-scheduler has come: an answer has replaced what they held.
    fn order(self: &Arc<Self>, settings: NominateAhead, lead: usize) {
        let mut most = self.actor.num_wanted_within(&NOMINATE_AHEAD, PORTION_MS);
        let turn = self.nominations().turn(lead);
        for some in turn.chunks(AT_ONCE) {
            if most == 0 {
                return;
            }
            let some = some.get(..most).unwrap_or(some);
            // Who does not wait any more is left for the next look.
            let pending = self.shared.decide(|decider, view, now| {
                let pending = |(uid, held): &(PodUid, HoldId)| {
                    let pod = view.snapshot.pending(*uid)?.clone();
                    Some((pod, *held, decider.is_held_by(*uid, *held), now))
                };
                some.iter().filter_map(pending).collect::<Vec<_>>()
            });
            for (pod, held, is_held, now) in pending {
                // Somebody else has nominated it since it was chosen.
                if pod.nominated.is_some() {
                    self.nominations().overruled(pod.uid, settings.ttl_ms, now);
                    continue;
                }
                if !is_held {
                    self.nominations().came_first(pod.uid, now);
                    continue;
                }
                most -= 1;
                let node = self.nominations().order(pod.uid, now);
                if let Some(node) = node {
                    self.submit(pod, &node, held, settings);
                }
            }
        }
    }

    /// Holds the targets of those pods that still wait for one.
    fn hold(&self, chosen: &[(&Arc<Pod>, &str)]) -> Vec<(Arc<Pod>, Box<str>, HoldId)> {
        self.shared.decide(|decider, view, now| {
            let snapshot = &view.snapshot;
            let held = chosen.iter().filter_map(|(pod, node)| {
                let ord = snapshot.names.ord(node).filter(|ord| snapshot.is_live(*ord))?;
                let pod = snapshot.pending(pod.uid)?;
                let waits = pod.is_pending() && pod.nominated.is_none();
                let held = waits.then(|| decider.hold_for(view, pod, ord, now))??;
                Some((pod.clone(), (*node).into(), held))
            });
            held.collect()
        })
    }

    /// Orders a nomination, to be written unless kube-scheduler comes to the pod before its turn.
    fn submit(self: &Arc<Self>, pod: Arc<Pod>, node: &str, held: HoldId, settings: NominateAhead) {
        let uid = pod.uid;
        let (this, shared) = (Arc::clone(self), self.shared.clone());
        let nominate = Action::nominate(&NOMINATE_AHEAD, &pod, node, "backlog");
        let nominate = PendingAction::from(nominate)
            .while_needed(move || shared.decide(|decider, _, _| decider.is_held_by(uid, held)));
        self.actor.submit(nominate.on_done(move |outcome| {
            let now = this.shared.clock.now();
            this.nominations().written(uid, outcome, settings.ttl_ms, now);
        }));
    }

    fn is_ours(&self, pod: &Pod) -> bool {
        self.schedulers.iter().any(|name| **name == *pod.scheduler)
    }

    fn copy(&self) -> (Decider, View, Tick) {
        self.shared.decide(|decider, view, now| (decider.copy_of_holds(), view.clone(), now))
    }

    fn measure(&self, backlog: usize, unplanned: &[(NoTarget, usize)]) {
        let metrics = &self.metrics;
        metrics.backlog.set(backlog as i64);
        for why in NoTarget::ALL {
            let count = unplanned.iter().find(|it| it.0 == why).map_or(0, |it| it.1);
            metrics.unplanned.with_label_values(&[why.name()]).set(count as i64);
        }
        metrics.open.set(self.nominations().num_open() as i64);
    }

    /// Counts what has ended, and gives free what was held for it.
    fn confirm(&self) {
        let unwanted =
            std::mem::take(&mut *self.unwanted.lock().unwrap_or_else(PoisonError::into_inner));
        let trials = {
            let mut nominations = self.nominations();
            unwanted.iter().for_each(|(uid, node)| nominations.unwanted(*uid, node));
            nominations.take_trials()
        };
        for (class, uid, of_use) in trials {
            self.actor.was_of_use(&NOMINATE_AHEAD, (class, uid), of_use);
        }
        let ended = self.nominations().take_ended();
        for it in &ended {
            self.metrics.ended.with_label_values(&[it.why.name()]).inc();
        }
        let held = ended.iter().filter_map(|it| Some((it.uid, it.held?)));
        let held: Vec<_> = held.collect();
        for some in held.chunks(AT_ONCE) {
            self.shared.decide(|decider, _, _| {
                for (uid, held) in some {
                    decider.end_hold(*uid, *held);
                }
            });
        }
    }

    fn nominations(&self) -> MutexGuard<'_, Nominations> {
        self.nominations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
