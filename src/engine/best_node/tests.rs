//! What is kept of all nodes for a template is what a look at them finds.

use super::*;
use crate::model::{Change, DomainLevel, NodeMatcher, PodUid, PoolOrd};
use std::sync::Arc;

use crate::model::{Now, Tick, UtcSeconds};
use crate::policy::{
    ClassSettings, FilterRule, Plan, PoolSettings, ScorerRule, Settings, default_class,
};
use crate::rules::{Filter, Offer, RuleContext, RuleKind, Scopes, Scored, Scorer};
use crate::testing::{TestReplica, image, node, placed, pod, replica, seen_node, seen_pod};

const NUM_NODES: u64 = 24;

/// The same numbers each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

/// Two pools, of which one is preferred where there is an order, and scorers of all kinds.
fn settings(order: Option<u8>) -> Settings {
    let pool = |name: &str| PoolSettings {
        name: name.into(),
        matcher: NodeMatcher { labels: vec![("pool".into(), name.into())], ..Default::default() },
        ..PoolSettings::default()
    };
    let pools = order.map(|first| [PoolOrd(first), PoolOrd(1 - first)].into());
    let local = if order.is_some() { "binPack" } else { "leastAllocated" };
    let scorers = [("topologySpread", 40), ("nodeSpread", 80), ("imageLocality", 30), (local, 60)];
    let ordered = order.map(|_| ("poolOrder", 100));
    let weights = scorers.into_iter().chain(ordered).map(|(name, it)| (name.to_owned(), it));
    let classes = vec![ClassSettings { pools, weights: weights.collect(), ..default_class() }];
    Settings { pools: vec![pool("ecs"), pool("ebm")], classes, ..Settings::default() }
}

/// A node in one of three zones and two pools, with an image or without.
fn any_node(numbers: &mut Numbers) -> Change {
    let name = format!("n{}", numbers.below(NUM_NODES));
    let zone = ["z1", "z2", "z3"][numbers.below(3) as usize];
    let pool = ["ecs", "ebm"][numbers.below(2) as usize];
    let mut node = node(&name, &[(DomainLevel::Zone.label(), zone), ("pool", pool)]);
    if numbers.below(2) == 0 {
        node.images = [image("web", 900 << 20)].into();
    }
    seen_node(node)
}

/// A pod comes, or one goes that came lately.
fn any_pod(numbers: &mut Numbers, step: u128) -> Change {
    if numbers.below(2) == 0 {
        return Change::PodGone { uid: PodUid(step.saturating_sub(numbers.below(40).into())) };
    }
    let on = format!("n{}", numbers.below(NUM_NODES));
    seen_pod(&placed(&replica(step, 1 + (step % 3) as i64, 1 + step % 2), &on))
}

fn asked(numbers: &mut Numbers, uid: u128) -> Pod {
    let app = u128::from(numbers.below(3));
    let it = if app == 0 { pod(uid, 1) } else { replica(uid, 2, app) };
    let images = if app == 1 { image("web", 0).names } else { Box::default() };
    Pod { images, ..it }
}

#[test]
fn what_is_kept_is_what_a_look_at_all_nodes_finds() {
    let mut site = TestReplica::new(&settings(None));
    let mut numbers = Numbers(1);
    let mut num_kept = 0;
    for step in 0..4000_u128 {
        let change = match numbers.below(3) {
            0 => any_node(&mut numbers),
            _ => any_pod(&mut numbers, step),
        };
        site.see([change]);
        if step % 400 == 399 {
            let order = [None, Some(0), Some(1)][numbers.below(3) as usize];
            site.set_policy(&settings(order));
        }
        let asked = asked(&mut numbers, 100_000 + step);
        let best = site.decider.best_anywhere(&site.view, &asked);
        assert_eq!(best, site.decider.best_of_all(&site.view, &asked), "at {step}");
        num_kept += usize::from(site.decider.best_nodes.kept.iter().any(|it| it.read.is_some()));
        for it in &site.decider.best_nodes.kept {
            let most = it.index.most_places() + NUM_NODES as usize;
            assert!(it.index.num_places() <= most, "what is out of date is cleared away");
        }
    }
    assert!(num_kept > 3900, "{num_kept}");
}

#[test]
fn the_template_that_was_not_asked_about_for_longest_makes_room() {
    let mut site = TestReplica::new(&settings(None));
    site.see([any_node(&mut Numbers(1))]);
    let num_looked = |site: &TestReplica| {
        let kept = &site.decider.best_nodes.kept;
        (kept.len(), kept.iter().filter(|it| it.read.is_some()).count())
    };
    for cpu in 1..=MAX_KEPT as i64 {
        site.decider.best_anywhere(&site.view, &pod(1, cpu));
    }
    assert_eq!(num_looked(&site), (MAX_KEPT, 0), "once is not worth a look");
    for cpu in [1, 3, 100] {
        site.decider.best_anywhere(&site.view, &pod(1, cpu));
    }
    assert_eq!(num_looked(&site), (MAX_KEPT, 2));
    site.decider.best_anywhere(&site.view, &pod(1, 2));
    assert_eq!(num_looked(&site), (MAX_KEPT, 2), "it had to go, and is new");
}

/// A rule for tests, which prefers and refuses other nodes at other times.
#[derive(Clone, Copy)]
struct Shifting;

impl Filter for Shifting {
    fn judge(&self, cx: &RuleContext<'_>, offer: &mut Offer<'_>) {
        let shift = cx.now.utc.0 as usize;
        offer.refuse(Reason::Pressure, |at| (at + shift).is_multiple_of(3));
    }
}

impl Scorer for Shifting {
    fn score(&self, cx: &RuleContext<'_>, scored: Scored<'_>) {
        let points = |ord: &NodeOrd| (i64::from(ord.0) * 37 + cx.now.utc.0 * 101) % 1000;
        scored.points.extend(scored.nodes.iter().map(|ord| points(ord) as u16));
    }
}

/// The number of moments at which a decider with caches decides otherwise than one without.
fn num_outdated(scopes: Scopes) -> usize {
    let settings = settings(None);
    let mut plan = Plan::build(&settings, String::new());
    for class in &mut Arc::get_mut(&mut plan).expect("nobody shares it yet").classes {
        let (filter, scorer) = (Box::new(Shifting), Box::new(Shifting));
        let (name, weight) = ("shifting", 50);
        class.filters.push(FilterRule { name, scopes, filter });
        class.scorers.push(ScorerRule { name, kind: RuleKind::Scorer, weight, scopes, scorer });
    }
    let mut site = TestReplica::new(&settings);
    let mut numbers = Numbers(3);
    (0..60).for_each(|step| site.see([any_node(&mut numbers), any_pod(&mut numbers, step)]));
    let mut num_outdated = 0;
    for step in 0..60_u64 {
        let now = Now { tick: Tick(step), utc: UtcSeconds(step as i64) };
        let view = View { plan: plan.clone(), now, ..View::clone(&site.view) };
        let asked = Arc::new(asked(&mut numbers, 100_000 + u128::from(step)));
        let nodes: Vec<NodeOrd> = view.snapshot.live_nodes().collect();
        let mut fresh = Decider::default().without_equivalence_cache();
        let want = fresh.best_anywhere(&view, &asked);
        let target = site.decider.targets(&view, std::slice::from_ref(&asked));
        let found = [
            site.decider.best_anywhere(&view, &asked),
            site.decider.best_of(&view, &asked, &nodes),
            target[0].ok(),
        ];
        let named = site.decider.copy_of_holds().filter(&view, &asked, &nodes, now.tick);
        let is_named = fresh.filter(&view, &asked, &nodes, now.tick).accepted == named.accepted;
        num_outdated += usize::from(found != [want; 3] || !is_named);
    }
    num_outdated
}

/// A result of a rule that depends on the time is kept nowhere. Without that scope it would be.
#[test]
fn what_depends_on_the_time_is_decided_each_time() {
    assert_eq!(num_outdated(Scopes::NODE.and(Scopes::TIME)), 0);
    assert!(num_outdated(Scopes::NODE) > 30);
}
