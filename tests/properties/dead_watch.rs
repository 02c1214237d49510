//! No limit is overrun by what a scheduler binds, however late the watch tells of it, or dead it is, and
//! however late the scheduler writes why an attempt failed.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Land, Law, Place, lands, laws, name_of, online, refs};
use crate::cluster::MAX_SILENCE_MS;
use crate::config;
use crate::model::{Change, Kind, Pod, PodUid, Tick, UnschedulableCondition};
use crate::testing::{TestReplica, placed, seen_pod};

/// The node that a scheduler takes: the best score, and among those the last in the order of `salt`.
fn top(site: &mut TestReplica, pod: &Pod, accepted: &[&str], salt: usize) -> String {
    let ords = site.ords(accepted);
    let scores = site.decider.prioritize(&site.view, pod, &ords);
    let best = scores.iter().copied().max().unwrap_or(0);
    let best: Vec<&str> =
        accepted.iter().zip(&scores).filter(|it| *it.1 == best).map(|it| *it.0).collect();
    best[salt % best.len()].to_owned()
}

#[derive(Clone, Debug)]
enum Step {
    /// A pod is filtered and, unless its attempt fails, bound.
    Pod { cpu: i64, app: u8, fate: Fate, salt: usize },
    /// The watch catches up with this many of what happened.
    Watch(usize),
    /// A pod that failed is tried again.
    Again { at: usize, fate: Fate },
    /// The condition of an attempt that failed is written, however many came after it.
    Condition(usize),
    /// So many seconds pass. A watch that lives tells meanwhile what happens.
    Wait(u64),
    /// The watch stays open, and is dead from now on.
    Dies,
    /// It lives again, or was opened anew: it tells all that happened.
    Lives,
}

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// It fails behind our answer.
    fails: bool,
    /// Why it failed is written before anything else happens.
    at_once: bool,
    /// Somebody changes something of the pod after our answer.
    touched: bool,
    /// The conditions of the pod's earlier attempts are written right after our answer to this one.
    late: bool,
}

fn fate(fails: f64) -> impl Strategy<Value = Fate> {
    let flags = (prop::bool::weighted(fails), any::<[bool; 3]>());
    flags.prop_map(|(fails, [at_once, touched, late])| Fate { fails, at_once, touched, late })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..6_i64, 0..3_u8, fate(0.2), any::<usize>())
            .prop_map(|(cpu, app, fate, salt)| Step::Pod { cpu, app, fate, salt }),
        2 => (1..4_usize).prop_map(Step::Watch),
        2 => (any::<usize>(), fate(0.3)).prop_map(|(at, fate)| Step::Again { at, fate }),
        1 => any::<usize>().prop_map(Step::Condition),
        2 => (1..40_u64).prop_map(Step::Wait),
        1 => Just(Step::Dies),
        1 => Just(Step::Lives),
    ];
    prop::collection::vec(step, 1..40)
}

/// What a scheduler did with our answers, and what of it our watch has not told yet.
struct Scheduler {
    site: TestReplica,
    names: Vec<String>,
    unseen: Vec<Change>,
    bound: Vec<(Pod, String)>,
    failed: Vec<Pod>,
    /// Pods as the API server has them.
    stored: BTreeMap<u128, Pod>,
    /// Pods whose attempt has failed, each once for an attempt of which no condition tells yet.
    unwritten: Vec<PodUid>,
    now_ms: u64,
    /// Since when the watch is dead, and nobody can tell.
    dead_since: Option<u64>,
}

impl Scheduler {
    fn on(site: TestReplica, names: Vec<String>) -> Self {
        let (unseen, bound, failed) = Default::default();
        let (stored, unwritten, now_ms, dead_since) = Default::default();
        Self { site, names, unseen, bound, failed, stored, unwritten, now_ms, dead_since }
    }

    /// The API server has another version of a pod, of which the watch will tell.
    fn change(&mut self, uid: PodUid, what: impl FnOnce(&mut Pod)) {
        let Some(pod) = self.stored.get_mut(&uid.0) else { return };
        pod.resource_version += 1;
        what(pod);
        self.unseen.push(seen_pod(pod));
    }

    /// The scheduler writes why an attempt failed, into the pod as it is by now.
    fn write_condition(&mut self, at: usize) {
        if !self.unwritten.is_empty() {
            let uid = self.unwritten.remove(at % self.unwritten.len());
            self.change(uid, |pod| pod.condition = Some(UnschedulableCondition::default()));
        }
    }

    /// The pod is asked about as the scheduler knows it, which is as it was before the conditions of its
    /// earlier attempts.
    fn attempt(&mut self, pod: &Pod, fate: Fate, salt: usize) {
        let names = refs(&self.names);
        let Ok(accepted) = self.site.filter(pod, &names, self.now_ms) else {
            return;
        };
        let node = top(&mut self.site, pod, &accepted, salt);
        self.stored.entry(pod.uid.0).or_insert_with(|| pod.clone());
        if fate.touched {
            self.change(pod.uid, |_| ());
        }
        while let Some(at) = self.unwritten.iter().position(|it| fate.late && *it == pod.uid) {
            self.write_condition(at);
        }
        if fate.fails {
            self.unwritten.push(pod.uid);
            if fate.at_once {
                self.write_condition(self.unwritten.len() - 1);
            }
            self.failed.push(pod.clone());
        } else {
            self.change(pod.uid, |it| *it = placed(it, &node));
            self.bound.push((pod.clone(), node));
        }
    }

    /// The watch tells of the next `most` things that happened, unless it is dead.
    fn told(&mut self, most: usize) {
        if self.dead_since.is_none() {
            let most = most.min(self.unseen.len());
            let seen: Vec<Change> = self.unseen.drain(..most).collect();
            self.site.see(seen);
        }
    }

    /// Second by second, as the requeue looks for what has ended, and the driver for silence.
    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.told(usize::MAX);
            self.now_ms += 1000;
            if self.dead_since.is_some_and(|since| self.now_ms - since >= MAX_SILENCE_MS) {
                self.site.see([Change::WatchSilent(Kind::PODS)]);
            }
            self.site.decider.expire(&self.site.view, Tick(self.now_ms));
        }
    }

    fn lives(&mut self) {
        self.dead_since = None;
        self.told(usize::MAX);
        self.site.see([Change::WatchBack(Kind::PODS)]);
    }
}

fn assert_within_limits(law: &Law, land: &Land, bound: &[(Pod, String)]) {
    let place_of: BTreeMap<String, Place> =
        (0..).zip(&land.nodes).map(|(at, place)| (name_of(at), *place)).collect();
    let mut by_node: BTreeMap<&str, i64> = BTreeMap::new();
    let (mut elastic_cpu, mut elastic_pods) = (0, 0);
    for (pod, node) in bound {
        *by_node.entry(node).or_default() += pod.requests.base.cpu_milli;
        if place_of[node].0 == 2 {
            elastic_cpu += pod.requests.base.cpu_milli;
            elastic_pods += 1;
        }
    }
    for (node, cpu) in by_node {
        let limit = law.node_limit(place_of[node].0).unwrap_or(i64::MAX);
        assert!(cpu <= limit, "{node} carries {cpu} of {limit}");
    }
    assert!(elastic_cpu <= law.limit_cpu * 1000 && elastic_pods <= law.limit_pods);
}

/// The share of the domain that the last pod went to, as of that moment: of the replicas that are
/// bound, and of `on_their_way` whose failure we have not heard of.
fn assert_within_share(law: &Law, land: &Land, bound: &[(Pod, String)], on_their_way: &[&Pod]) {
    let Some((share, (last, node))) = law.max_share.zip(bound.last()) else {
        return;
    };
    let domain = |node: &str| -> Option<String> {
        if law.by_node {
            return Some(node.to_owned());
        }
        let at: usize = node.trim_start_matches("node-").parse().ok()?;
        let zone = land.nodes[at].1;
        (zone < 3).then(|| zone.to_string())
    };
    let Some(here) = domain(node).filter(|_| last.app().is_some()) else {
        return;
    };
    let replicas: Vec<_> = bound.iter().filter(|(pod, _)| pod.app() == last.app()).collect();
    let count = replicas.iter().filter(|it| domain(&it.1).as_deref() == Some(&here)).count();
    let others = on_their_way.iter().filter(|pod| pod.app() == last.app()).count();
    let total = replicas.len() + others;
    let most = (total * share as usize).div_ceil(1000).max(1);
    assert!(count <= most, "{count} of {total} replicas in {here}, {most} allowed");
}
proptest! {
    #![proptest_config(config(192))]

    #[test]
    fn no_limit_is_overrun_however_late_or_dead_the_watch_is(
        law in laws(), nodes in lands(0), steps in steps(),
    ) {
        let land = Land { nominated: Vec::new(), ..nodes };
        let mut it = Scheduler::on(land.site(&law, false), land.names());
        for (uid, step) in (1000_u128..).zip(steps) {
            match step {
                Step::Pod { cpu, app, fate, salt } => {
                    let before = it.bound.len();
                    it.attempt(&online(uid, cpu, app), fate, salt);
                    assert_within_limits(&law, &land, &it.bound);
                    if it.bound.len() > before {
                        let held = |pod: &&Pod| it.site.decider.is_held(pod.uid);
                        let failed: Vec<&Pod> = it.failed.iter().filter(held).collect();
                        assert_within_share(&law, &land, &it.bound, &failed);
                    }
                }
                Step::Watch(most) => it.told(most),
                Step::Again { at, fate } if !it.failed.is_empty() => {
                    let at = at % it.failed.len();
                    let pod = it.failed.swap_remove(at);
                    it.attempt(&pod, fate, at);
                    assert_within_limits(&law, &land, &it.bound);
                }
                Step::Again { .. } => {}
                Step::Condition(at) => it.write_condition(at),
                Step::Wait(seconds) => it.wait(seconds),
                Step::Dies => it.dead_since = it.dead_since.or(Some(it.now_ms)),
                Step::Lives => it.lives(),
            }
        }
        // Once all is seen, nothing is held but by pods that wait.
        it.lives();
        prop_assert_eq!(it.site.writing.audit(), []);
        for (pod, _) in &it.bound {
            prop_assert!(!it.site.decider.is_held(pod.uid));
        }
        assert_within_limits(&law, &land, &it.bound);
    }
}
