use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;
use crate::apiserver::ObjectSource as _;
use crate::wire::churn::Churn;
use crate::wire::extender::plan;
use sigma::cluster::{ClusterState, Tables};
use sigma::engine::{Decider, Tally, View};
use sigma::k8s::{decode, slim::SlimPod};
use sigma::model::{Change, Kind, NodeOrd, Now, Reason, Tick};
use sigma::rules::{CATALOGUE, RuleKind};
use sigma::sim::Fleet;

fn view(setting: &Setting) -> View {
    let plan = plan(false).expect("the policy is valid");
    let mut state = ClusterState::default();
    state.apply(Change::PoolsSet(plan.pools.clone()));
    let nodes = setting.cluster.nodes.iter().map(|it| Change::NodeSeen(Box::new(it.clone())));
    let namespaces = setting.cluster.namespaces.iter().cloned().map(Change::NamespaceSeen);
    let pods = setting.placed.iter().map(|it| Change::PodSeen(Box::new(it.clone())));
    nodes.chain(namespaces).chain(pods).for_each(|change| {
        state.apply(change);
    });
    [&Kind::REQUIRED[..], &Tables::KINDS].concat().into_iter().for_each(|kind| {
        state.apply(Change::RelistEnd(kind));
    });
    View { snapshot: state.publish().0, plan, plan_generation: 1, now: Now::default() }
}

/// Takes pods with all nodes through the engine; the sum of the tallies.
fn decide(case: WireCase) -> BTreeMap<Reason, u32> {
    let setting = Setting::new(case, 1000).expect("it is large enough");
    let view = view(&setting);
    let (mut decider, mut asks) = (Decider::default(), OfferedPods::new(&setting));
    let mut refused = BTreeMap::new();
    for ask in asks.take(setting.templates.len() + 5, 1000) {
        let slim: SlimPod = serde_json::from_str(&ask.pod_json).expect("it is JSON");
        let pod = Arc::new(decode::pod(&slim).expect("it is a pod"));
        assert_eq!(view.class(view.classify(&pod).class).name, "online");
        let name = |at: &u32| setting.name(*at);
        let ords = ask.offered.iter().map(|at| view.snapshot.names.ord(name(at)));
        let ords: Vec<NodeOrd> = ords.collect::<Option<_>>().expect("all nodes are known");
        let answer = decider.filter(&view, &pod, &ords, Tick(0));
        let accepted = answer.accepted.iter().map(|at| ask.offered[*at as usize]);
        assert!(accepted.eq(setting.expected(&ask.offered)), "{}", pod.name);
        add(&mut refused, &answer.tally);
    }
    assert_eq!(decider.holds().len(), 0, "nothing is held, so all pods meet the same");
    refused
}

/// Pods that move change sums of nodes, and a list with all events after it ends with as many pods.
#[test]
fn pods_that_move_are_told_of_as_an_api_server_would() {
    let setting = Setting::new(WireCase::Mixed, 300).expect("it is large enough");
    let churn = Churn::new(&setting);
    let read = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut text = Vec::new();
        write(&mut text);
        assert!((8000..9000).contains(&text.len()), "{} bytes", text.len());
        serde_json::from_slice::<serde_json::Value>(&text).expect("it is JSON")
    };
    let mut alive = BTreeMap::new();
    for (number, want) in (0..).zip(&setting.placed) {
        let pod = read(&|out| churn.write_listed(out, Kind::PODS, number));
        let slim: SlimPod = serde_json::from_value(pod.clone()).expect("it is a pod");
        let seen = decode::pod(&slim).expect("it is a pod");
        // Who fills a node up is of no workload, by which labels go on the wire.
        let labels = if want.owner.is_some() { &want.labels } else { &seen.labels };
        let (resource_version, labels) = (seen.resource_version, labels.clone());
        let want = Pod { resource_version, labels, ..want.clone() };
        assert_eq!(seen, want);
        alive.insert(pod["metadata"]["uid"].to_string(), pod["metadata"]["name"].to_string());
    }
    assert_eq!(churn.numbers(Kind::PODS, 7).end as usize, alive.len());
    let (all, mut ended) = (alive.len(), BTreeSet::new());
    let moving = setting.moving().len();
    assert!(moving > 100, "{moving} pods move");
    for nth in 1..=3 * moving as u64 {
        let version = Fleet::version(nth);
        let event = read(&|out| churn.write_event(out, Kind::PODS, version));
        let meta = &event["object"]["metadata"];
        assert_eq!(meta["resourceVersion"], version.to_string());
        let (uid, name) = (meta["uid"].to_string(), meta["name"].to_string());
        if event["type"] == "DELETED" {
            assert_eq!(alive.remove(&uid), Some(name), "what goes was there");
            ended.insert(uid);
        } else {
            assert!(event["type"] == "ADDED" && !ended.contains(&uid), "{event}");
            assert_eq!(alive.insert(uid, name), None);
        }
        assert!((all - 50..=all).contains(&alive.len()), "{} pods", alive.len());
    }
    assert!(alive.len() < all);
}

fn add(sums: &mut BTreeMap<Reason, u32>, tally: &Tally) {
    for reason in Reason::ALL {
        if tally.count(reason) > 0 {
            *sums.entry(reason).or_default() += tally.count(reason);
        }
    }
}

#[test]
fn the_engine_accepts_what_a_case_says() {
    assert_eq!(decide(WireCase::All), BTreeMap::new());
    let refused = decide(WireCase::Mixed);
    let reasons: Vec<Reason> = refused.keys().copied().collect();
    let want =
        [Reason::Cordoned, Reason::PoolClosed, Reason::AllocationLimit, Reason::ElasticLimit];
    assert_eq!(reasons.iter().collect::<BTreeSet<_>>(), want.iter().collect());
    let (least, most) = (refused.values().min(), refused.values().max());
    assert_eq!(least, most, "each rule refuses a quarter: {refused:?}");
}

#[test]
fn what_is_refused_shows_in_the_name() {
    for (case, endings) in [(WireCase::All, ""), (WireCase::Mixed, "369")] {
        let setting = Setting::new(case, 1000).expect("it is large enough");
        for at in 0..1000 {
            let by_name = setting.name(at).ends_with(|it| endings.contains(it));
            assert_eq!(setting.expected(&[at]).next().is_none(), by_name, "{}", setting.name(at));
        }
    }
}

#[test]
fn every_rule_is_on() {
    let plan = plan(false).expect("the policy is valid");
    let class = plan.classes.iter().find(|class| class.name == "online").expect("it is declared");
    let filters = class.filters.iter().map(|rule| rule.name);
    let on: BTreeSet<&str> = filters.chain(class.scorers.iter().map(|rule| rule.name)).collect();
    let asked = CATALOGUE.iter().filter(|spec| spec.kind != RuleKind::Candidates);
    assert_eq!(on, asked.map(|spec| spec.name).collect());
}

#[test]
fn windows_rotate_and_no_pod_comes_twice() {
    let setting = Setting::new(WireCase::All, 1000).expect("it is large enough");
    let asks = OfferedPods::new(&setting).take(300, 50);
    let pods: BTreeSet<&str> = asks.iter().map(|ask| &*ask.pod_json).collect();
    assert_eq!(pods.len(), asks.len());
    let windows: BTreeSet<&[u32]> = asks.iter().map(|ask| &*ask.offered).collect();
    assert!(windows.len() > asks.len() / 2, "{} windows", windows.len());
    for ask in &asks {
        let nodes: BTreeSet<u32> = ask.offered.iter().copied().collect();
        assert_eq!(nodes.len(), 50, "a node is offered once");
    }
    let offered: BTreeSet<u32> = asks.iter().flat_map(|ask| ask.offered.clone()).collect();
    assert_eq!(offered.len(), 1000, "every node gets its turn");
    let apps = setting.templates.iter().filter_map(Pod::app).collect::<BTreeSet<_>>();
    assert!(apps.len() == setting.templates.len() && apps.len() > 5, "{} apps", apps.len());
}

#[test]
fn names_come_in_a_random_order_that_nearly_stays() {
    let setting = Setting::new(WireCase::All, 1000).expect("it is large enough");
    let asks = OfferedPods::new(&setting).take(40, 500);
    let mut after: BTreeMap<u32, BTreeMap<u32, u32>> = BTreeMap::new();
    let pairs = || asks.iter().flat_map(|ask| ask.offered.windows(2).map(|it| (it[0], it[1])));
    pairs().for_each(|(node, next)| *after.entry(node).or_default().entry(next).or_default() += 1);
    let usual: u32 = after.values().filter_map(|counts| counts.values().max()).sum();
    let unusual = 1.0 - f64::from(usual) / pairs().count() as f64;
    assert!((0.005..0.05).contains(&unusual), "{unusual} come after another node than usually");
    let neighbours = pairs().filter(|(node, next)| node.abs_diff(*next) < 10).count();
    assert!(neighbours < pairs().count() / 20, "{neighbours} are close by number");
}

#[test]
fn chunks_are_kube_schedulers() {
    // https://github.com/kubernetes/kubernetes/blob/v1.36.2/pkg/scheduler/framework/parallelize
    let lens = [1, 16, 100, 1000, 10_000].map(chunk_len);
    assert_eq!(lens, [1, 2, 7, 31, 100]);
}

#[test]
fn the_same_is_made_again() {
    let make = || {
        let setting = Setting::new(WireCase::Mixed, 300).expect("it is large enough");
        let asks = OfferedPods::new(&setting).take(5, 30);
        let asks: Vec<_> = asks.into_iter().map(|ask| (ask.pod_json, ask.offered)).collect();
        (asks, setting.cluster, setting.placed)
    };
    assert_eq!(make(), make());
}
