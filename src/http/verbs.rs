//! filter, prioritize and preempt: bytes → names → ordinals → the decider → bytes.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::bind::BindRequest;
use super::buffers::RequestBuffers;
use super::extender::{Extender, NotReady, Quality, Verb, VerbOutcome};
use super::memo::KeptFilter;
use super::name_list::{Cutter, NameList};
use super::reply;
use super::steer::unwanted;
use super::wire::{self, Args, BindArgs, JsonObject, Name, PreemptArgs, VictimMap, Victims};
use crate::cluster::Names;
use crate::engine::{self, Answer, Candidate, Decider, Naming, Tally, View};
use crate::k8s::decode;
use crate::k8s::slim::SlimPod;
use crate::model::{NodeOrd, Pod, PodUid, Reason, Tick};

/// What filter answers to whole nodes. Judged by their names they could be answered, but the reply
/// would have to carry them back, and kube-scheduler would score each as empty (`extender-protocol.md`).
const NEEDS_NODE_CACHE: &str =
    "sigma: set nodeCacheCapable: true for this extender in the KubeSchedulerConfiguration";
const NO_BIND: &str = "sigma: bind is not configured (--bind=on)";
/// How many deadlines long the snapshot of a filter will do for its prioritize: the in-tree plugins'
/// filters and scores come between.
const MEMO_DEADLINES: u32 = 20;
/// How long a late answer may still wait for the decider, for what is to be noted.
const NOTE_WITHIN: Duration = Duration::from_millis(2);

impl Extender {
    pub(super) fn filter(&self, body: &Bytes, arrived: Instant) -> VerbOutcome {
        self.scratch.with(|scratch| self.filter_with(scratch, body, arrived))
    }

    fn filter_with(
        &self,
        scratch: &mut RequestBuffers,
        body: &Bytes,
        arrived: Instant,
    ) -> VerbOutcome {
        let RequestBuffers { cutter, ords, answer, memo, .. } = scratch;
        let named_nodes = memo.forget();
        let seen = self.shared.view();
        let args = match self.read_args(body, cutter, &seen) {
            Ok(args) => args,
            Err(why) => return self.bad_request(Verb::Filter, &why),
        };
        let Some(names) = args.node_names else {
            return VerbOutcome::reply(Quality::Error, reply::filter_error(NEEDS_NODE_CACHE));
        };
        let pod = match pod_of(args.pod.as_ref()) {
            Ok(pod) => Arc::new(pod),
            Err(why) => {
                self.metrics.bad_requests.with_label_values(&["filter"]).inc();
                let text = format!("sigma: the request's pod is unusable: {why}");
                return VerbOutcome::reply(Quality::Error, reply::filter_error(text.as_str()));
            }
        };
        self.count_offered(Verb::Filter, &names);
        if !(self.options.ready)() {
            return self.filter_before_sync(&pod, &names);
        }
        let by = arrived + self.options.deadline;
        let context = self.options.steer_options.as_ref().map(|it| it.context(&pod));
        let decided = self.shared.decide_by(by, |decider, view, now| {
            let nodes = names.ords(&seen.snapshot.names, &view.snapshot.names, ords);
            decider.filter_into(view, &pod, nodes, now, answer);
            if let Some(context) = context {
                decider.steer(view, &pod, nodes, context, now, answer);
            }
            if answer.accepted.len() == nodes.len() {
                named_nodes.extend_from_slice(nodes);
            } else {
                named_nodes.extend(answer.accepted.iter().map(|at| nodes[*at as usize]));
            }
            answer.unwanted = unwanted(decider, view, &pod, nodes);
            (view.plan_generation, view.snapshot.names.id())
        });
        let Some((plan_generation, known)) = decided else {
            return self.filter_degraded(&pod, &names, Reason::Overloaded);
        };
        self.see_off(&pod, answer);
        if answer.claimed_more {
            self.metrics.claimed_not_granted.inc();
        }
        match answer.naming {
            Naming::All | Naming::Held => {}
            Naming::Best => self.metrics.shortlist_nodes.observe(answer.accepted.len() as f64),
            Naming::Off(why) => self.metrics.shortlist_off.with_label_values(&[why.name()]).inc(),
        }
        let from_scan = if answer.from_scan { names.len() } else { 0 };
        self.metrics.fast_path("scan", from_scan, names.len() - from_scan);
        let (outcome, named) = self.filter_reply(Quality::Ok, &names, answer);
        if let NameList::Cut(offered) = &names
            && self.options.fast_paths.memo
        {
            let head = body.slice(..body.len() - offered.text.len() - b"]}".len());
            let (names, at) = (outcome.body().slice(named), arrived);
            let kept = KeptFilter { head, names, pod, known, plan_generation, at };
            memo.keep(kept, (offered, &answer.accepted), &mut answer.scores);
        }
        outcome
    }

    /// The answer while the first lists are not complete.
    fn filter_before_sync(&self, pod: &Arc<Pod>, names: &NameList<'_>) -> VerbOutcome {
        match self.options.not_ready {
            NotReady::Degraded => self.filter_degraded(pod, names, Reason::NotSynced),
            NotReady::Reject => {
                let text = Reason::NotSynced.text();
                VerbOutcome::reply(Quality::Error, reply::filter_error(text))
            }
        }
    }

    pub(super) fn prioritize(&self, body: &Bytes, arrived: Instant) -> VerbOutcome {
        self.scratch.with(|scratch| {
            let now = (self.shared.view().plan_generation, arrived);
            let max_age = self.options.deadline * MEMO_DEADLINES;
            let by = arrived + self.options.deadline;
            let score = |kept: &KeptFilter, nodes: &[NodeOrd], scores: &mut Vec<u32>| {
                let decided = self.shared.decide_by(by, |decider, view, _| {
                    if view.snapshot.names.id() == kept.known {
                        decider.prioritize_into(view, &kept.pod, nodes, scores);
                    }
                });
                decided.unwrap_or_default();
            };
            let is_ready = (self.options.ready)();
            let known = is_ready.then(|| scratch.memo.reply(body, now, max_age, score)).flatten();
            if let Some((reply, num_names)) = known {
                let offered = self.metrics.names_offered.with_label_values(&["prioritize"]);
                offered.inc_by(num_names as u64);
                self.count_returned(Verb::Prioritize, num_names);
                self.metrics.fast_path("memo", num_names, 0);
                return VerbOutcome::reply(Quality::Ok, reply);
            }
            self.prioritize_with(scratch, body, arrived)
        })
    }

    fn prioritize_with(
        &self,
        scratch: &mut RequestBuffers,
        body: &Bytes,
        arrived: Instant,
    ) -> VerbOutcome {
        let RequestBuffers { cutter, ords, scores, .. } = scratch;
        let seen = self.shared.view();
        let args = match self.read_args(body, cutter, &seen) {
            Ok(args) => args,
            Err(why) => return self.bad_request(Verb::Prioritize, &why),
        };
        // The reply has no place for an error.
        let Some(names) = args.node_names else {
            return self.bad_request(Verb::Prioritize, NEEDS_NODE_CACHE);
        };
        let pod = match pod_of(args.pod.as_ref()) {
            Ok(pod) => pod,
            Err(why) => return self.bad_request(Verb::Prioritize, &why),
        };
        self.count_offered(Verb::Prioritize, &names);
        self.metrics.fast_path("memo", 0, names.len());
        scores.clear();
        let by = arrived + self.options.deadline;
        let decide = || {
            self.shared.decide_by(by, |decider, view, _| {
                let nodes = names.ords(&seen.snapshot.names, &view.snapshot.names, ords);
                decider.prioritize_into(view, &pod, nodes, scores);
            })
        };
        let quality = match (self.options.ready)().then(decide).flatten() {
            Some(()) => Quality::Ok,
            // Equal scores leave the choice to the others; a node without one would lose ties.
            None => {
                scores.resize(names.len(), 0);
                Quality::Degraded
            }
        };
        self.count_returned(Verb::Prioritize, names.len());
        VerbOutcome::reply(quality, reply::prioritize(&names, scores))
    }

    pub(super) fn preempt(&self, body: &[u8], arrived: Instant) -> VerbOutcome {
        let args: PreemptArgs<'_> = match wire::read(body) {
            Ok(args) => args,
            Err(why) => return self.bad_request(Verb::Preempt, &why),
        };
        let pod = match pod_of(args.pod.as_ref()) {
            Ok(pod) => pod,
            Err(why) => return self.bad_request(Verb::Preempt, &why),
        };
        let sent = args.meta_victims.filter(|map| !map.is_empty()).or(args.victims);
        let offered: VictimMap<'_> = sent.unwrap_or_default();
        let offered: Vec<(&Name<'_>, &Victims<'_>)> = offered
            .iter()
            .filter_map(|(name, victims)| {
                victims.as_ref().map(|JsonObject(victims)| (name, victims))
            })
            .collect();
        self.metrics.names_offered.with_label_values(&["preempt"]).inc_by(offered.len() as u64);
        let by = arrived + self.options.deadline;
        let decide = || {
            self.shared.decide_by(by, |decider, view, _| {
                let known = offered.iter().map(|(name, victims)| candidate(view, name, victims));
                let known: Vec<Option<Candidate>> = known.collect();
                let candidates: Vec<Candidate> = known.iter().flatten().cloned().collect();
                let mut stands = decider.preempt(view, &pod, &candidates).into_iter();
                // Back from candidates to what was offered.
                known.iter().map(|it| it.is_some() && stands.next() == Some(true)).collect()
            })
        };
        // An eviction cannot be taken back: in doubt, none.
        let decided: Option<Vec<bool>> = (self.options.ready)().then(decide).flatten();
        let quality = if decided.is_some() { Quality::Ok } else { Quality::Degraded };
        let stands = decided.unwrap_or_default();
        let standing = offered.iter().zip(&stands).filter(|(_, stands)| **stands);
        let standing: Vec<_> = standing.map(|(offered, _)| *offered).collect();
        self.count_returned(Verb::Preempt, standing.len());
        VerbOutcome::reply(quality, reply::preempt(standing.into_iter()))
    }

    pub(super) async fn bind(&self, body: &[u8]) -> VerbOutcome {
        let args: BindArgs<'_> = match wire::read(body) {
            Ok(args) => args,
            Err(why) => return self.bad_request(Verb::Bind, &why),
        };
        let request = BindRequest::of(&args);
        let (quality, text) = match (&self.binds, request) {
            (None, _) => (Quality::Error, NO_BIND.into()),
            (Some(_), Err(text)) => {
                self.metrics.bad_requests.with_label_values(&["bind"]).inc();
                (Quality::Error, text.into())
            }
            (Some(binds), Ok(request)) => {
                let text = binds.answer(request).await;
                (if text.is_empty() { Quality::Ok } else { Quality::Error }, text)
            }
        };
        VerbOutcome::reply(quality, reply::bind(&text))
    }

    /// Answers without the rules, and sees to it that who is refused is requeued, and that what the others
    /// may take is held: they will be bound, rules or not.
    fn filter_degraded(&self, pod: &Arc<Pod>, names: &NameList<'_>, why: Reason) -> VerbOutcome {
        let view = self.shared.view();
        let (known, mut ords) = (&view.snapshot.names, Vec::new());
        let nodes = names.ords(&Names::default(), known, &mut ords);
        let verdicts = engine::degraded(&view, pod, nodes, why);
        let kept = (0_u32..).zip(&verdicts).filter(|(_, it)| **it == Reason::Kept);
        let accepted: Vec<u32> = kept.map(|(at, _)| at).collect();
        let granted = view.classify(pod);
        let tally = Tally::of(&verdicts);
        let refused = tally.closest().filter(|_| accepted.is_empty()).map(|reason| {
            let named = verdicts.iter().position(|it| *it == reason).unwrap_or(0);
            (named as u32, self.note_unschedulable(pod, reason))
        });
        if refused.is_none() && view.class(granted.class).bears_limits {
            let named = accepted.iter().map(|at| nodes[*at as usize]);
            let named: Vec<NodeOrd> = named.filter(|ord| *ord != NodeOrd::UNKNOWN).collect();
            let (pod, asked) = (pod.clone(), self.shared.clock.now());
            self.note(move |decider, view, now| {
                // A note that waited may find the pod bound, and no event would end its hold.
                let is_late = Duration::from_millis(now.since_ms(asked)) > NOTE_WITHIN;
                if !is_late || view.snapshot.pending(pod.uid).is_some() {
                    decider.hold(view, &pod, &named, now);
                }
            });
        }
        let (class, claimed_more) = (granted.class, granted.claimed_more);
        let answer = Answer { class, claimed_more, accepted, refused, tally, ..Answer::default() };
        self.filter_reply(Quality::Degraded, names, &answer).0
    }

    /// Notes a degraded unschedulable answer; gives the reason to be named, which is the one told before if there
    /// was one. It was about our own state rather than about nodes, so any node may end it.
    fn note_unschedulable(&self, pod: &Arc<Pod>, why: Reason) -> Reason {
        let pod = pod.clone();
        let any = [NodeOrd::UNKNOWN];
        self.note(move |decider, view, now| decider.refuse(view, &pod, &any, why, now))
            .unwrap_or(why)
    }

    /// Has the decider take a note: at once if it can be had within a moment, which gives what it says,
    /// and else later. The note may wait, the answer may not.
    fn note<T: Send + 'static>(
        &self,
        note: impl FnOnce(&mut Decider, &View, Tick) -> T + Send + 'static,
    ) -> Option<T> {
        let mut note = Some(note);
        let noted = self.shared.decide_by(Instant::now() + NOTE_WITHIN, |decider, view, now| {
            note.take().map(|note| note(decider, view, now))
        });
        if let Some(note) = note {
            let shared = self.shared.clone();
            tokio::task::spawn_blocking(move || shared.decide(note));
        }
        noted.flatten()
    }

    /// The reply, and where in it the accepted names are.
    fn filter_reply(
        &self,
        quality: Quality,
        names: &NameList<'_>,
        answer: &Answer,
    ) -> (VerbOutcome, Range<usize>) {
        for reason in Reason::ALL {
            let count = answer.tally.count(reason);
            if count > 0 {
                let metric = self.metrics.rejections.with_label_values(&[reason.name()]);
                metric.inc_by(u64::from(count));
            }
        }
        if let Some((_, reason)) = answer.refused {
            self.metrics.unschedulable.with_label_values(&[reason.name()]).inc();
        }
        self.count_returned(Verb::Filter, answer.accepted.len());
        let (reply, named) = reply::filter(names, &answer.accepted, answer.refused);
        (VerbOutcome::reply(quality, reply), named)
    }

    /// Reads the arguments of filter and prioritize; names are looked up in `seen` where they are cut.
    fn read_args<'a>(
        &self,
        body: &'a [u8],
        cutter: &'a mut Cutter,
        seen: &View,
    ) -> Result<Args<'a>, String> {
        let fast = self.options.fast_paths;
        wire::read_args(body, |text| {
            if fast.cut { cutter.cut(text, &seen.snapshot.names, fast) } else { None }
        })
    }

    fn count_offered(&self, verb: Verb, names: &NameList<'_>) {
        let (offered, cut, guessed) = match names {
            NameList::Cut(list) => (names.len(), names.len(), list.num_guessed),
            NameList::Read(names) => (names.len(), 0, 0),
        };
        self.metrics.names_offered.with_label_values(&[verb.name()]).inc_by(offered as u64);
        self.metrics.fast_path("cut", cut, offered - cut);
        self.metrics.fast_path("guess", guessed, offered - guessed);
    }

    fn count_returned(&self, verb: Verb, names: usize) {
        self.metrics.names_returned.with_label_values(&[verb.name()]).inc_by(names as u64);
    }
}

fn pod_of(slim: Option<&SlimPod>) -> Result<Pod, String> {
    let slim = slim.ok_or("Pod: missing")?;
    decode::pod(slim).map_err(|error| error.to_string())
}

/// `None` for a node or a victim that we do not know: such a candidate does not stand.
fn candidate(view: &View, name: &Name<'_>, victims: &Victims<'_>) -> Option<Candidate> {
    let node = view.snapshot.names.ord(name.as_str())?;
    let uids = victims.uids.iter().map(|uid| PodUid::parse(uid.as_str()));
    let mut victims = uids.collect::<Option<Vec<PodUid>>>()?;
    // Who is named twice makes room once.
    victims.sort_unstable();
    victims.dedup();
    Some(Candidate { node, victims })
}
