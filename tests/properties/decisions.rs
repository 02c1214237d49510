//! Decisions over random clusters, policies and pods.

#[path = "dead_watch.rs"]
mod dead_watch;

use std::sync::Arc;

use proptest::prelude::*;
use sigma::rules::{Share, SpreadKey, SpreadParams};

use crate::config;
use crate::engine::{Candidate, MAX_SCORE};
use crate::model::{
    Change, Conditions, DomainLevel, NodeMatcher, NodeOrd, Pod, PodUid, PoolOrd, Reason, Tick,
};
use crate::policy::{ClassSettings, Grant, PoolSettings, Role, Settings, default_class};
use crate::testing::{TestReplica, amounts, node, placed, pod, replica, seen_node, seen_pod};

const POOLS: [&str; 3] = ["metal", "ecs", "eci"];

/// A policy: shares in thousandths, the elastic pool's limit, the online class's spread and order.
#[derive(Clone, Debug)]
pub(crate) struct Law {
    shares: [u32; 2],
    limit_cpu: i64,
    limit_pods: i64,
    max_share: Option<u32>,
    by_node: bool,
    order: Option<Vec<u8>>,
}

pub(crate) fn laws() -> impl Strategy<Value = Law> {
    let order = Just(vec![0_u8, 1, 2]).prop_shuffle();
    let order = (order, 1..4_usize).prop_map(|(order, len)| order[..len].to_vec());
    (
        prop::array::uniform2(prop_oneof![Just(1000_u32), 1..1001_u32]),
        1..40_i64,
        1..8_i64,
        prop::option::of(1..1001_u32),
        any::<bool>(),
        prop::option::of(order),
    )
        .prop_map(|(shares, limit_cpu, limit_pods, max_share, by_node, order)| Law {
            shares,
            limit_cpu,
            limit_pods,
            max_share,
            by_node,
            order,
        })
}

impl Law {
    fn settings(&self) -> Settings {
        let pools = POOLS.iter().enumerate().map(|(at, name)| PoolSettings {
            name: (*name).to_owned(),
            matcher: NodeMatcher {
                labels: vec![("pool".to_owned(), (*name).to_owned())],
                ..NodeMatcher::default()
            },
            elastic: at == 2,
            allocation: self
                .shares
                .get(at)
                .map_or(Share::ALL, |share| Share { cpu_permille: *share, memory_permille: 1000 }),
            limit: (at == 2).then(|| amounts(self.limit_cpu, 1 << 20, self.limit_pods)),
        });
        let class = |name: &str, role, priority| ClassSettings {
            name: name.to_owned(),
            role,
            grant: Grant { priority: Some((priority, priority)), ..Grant::default() },
            ..default_class()
        };
        let key = match self.by_node {
            true => SpreadKey::Node,
            false => SpreadKey::Level(DomainLevel::Zone),
        };
        let order = self.order.as_ref();
        let online = ClassSettings {
            pools: order.map(|order| order.iter().map(|at| PoolOrd(*at)).collect()),
            spread: Some(SpreadParams { key, max_share_permille: self.max_share }),
            ..class("online", Role::Online, 9)
        };
        let exempt = class("exempt", Role::Exempt, 99);
        Settings {
            name: "law".into(),
            pools: pools.collect(),
            classes: vec![online, exempt],
            ..Settings::default()
        }
    }

    /// Most CPU that requests may take of a node of 10 cores, if a limit of ours bounds it: the
    /// capacity itself is protected by kube-scheduler, which knows its own assumptions.
    fn node_limit(&self, pool: usize) -> Option<i64> {
        let share = self.shares.get(pool).filter(|share| **share < 1000)?;
        Some(Share::of(*share, 10_000))
    }
}

/// A node: its pool (3: none), its zone (3: none), its conditions.
type Place = (usize, usize, bool);

/// A cluster: nodes, and placed pods as `(node, cpu, app)`.
#[derive(Clone, Debug)]
pub(crate) struct Land {
    nodes: Vec<Place>,
    pods: Vec<(usize, i64, u8)>,
    nominated: Vec<(usize, i64, i32)>,
}

pub(crate) fn lands(most_pods: usize) -> impl Strategy<Value = Land> {
    let node = (0..4_usize, 0..4_usize, prop::bool::weighted(0.1));
    prop::collection::vec(node, 1..24).prop_flat_map(move |nodes| {
        let at = 0..nodes.len();
        let pods = prop::collection::vec((at.clone(), 0..6_i64, 0..3_u8), 0..=most_pods);
        let nominated = prop::collection::vec((at, 0..6_i64, 7..12_i32), 0..3);
        (Just(nodes), pods, nominated).prop_map(|(nodes, pods, nominated)| Land {
            nodes,
            pods,
            nominated,
        })
    })
}

fn name_of(at: usize) -> String {
    format!("node-{at}")
}

fn online(uid: u128, cpu: i64, app: u8) -> Pod {
    let it = if app == 0 { pod(uid, cpu) } else { replica(uid, cpu, app.into()) };
    Pod { priority: 9, ..it }
}

impl Land {
    fn changes(&self) -> Vec<Change> {
        let nodes = self.nodes.iter().enumerate().map(|(at, &(pool, zone, broken))| {
            let zone_name = format!("z{zone}");
            let mut labels = vec![("pool", POOLS.get(pool).copied().unwrap_or("other"))];
            if zone < 3 {
                labels.push((DomainLevel::Zone.label(), &zone_name));
            }
            let mut node = node(&name_of(at), &labels);
            if broken {
                node.conditions = Conditions::NOT_READY;
            }
            seen_node(node)
        });
        let pods = self.pods.iter().enumerate().map(|(uid, &(at, cpu, app))| {
            // Every fifth is exempt, which nobody may evict.
            let priority = if uid % 5 == 4 { 99 } else { 9 };
            let it = Pod { priority, ..online(uid as u128 + 1, cpu, app) };
            seen_pod(&placed(&it, &name_of(at)))
        });
        let nominated = self.nominated.iter().enumerate().map(|(uid, &(at, cpu, priority))| {
            let nominated = Some(name_of(at).into());
            seen_pod(&Pod { nominated, priority, ..pod(uid as u128 + 500, cpu) })
        });
        nodes.chain(pods).chain(nominated).collect()
    }

    pub(crate) fn site(&self, law: &Law, reversed: bool) -> TestReplica {
        let mut site = TestReplica::new(&law.settings());
        let mut changes = self.changes();
        if reversed {
            changes.reverse();
        }
        site.see(changes);
        site
    }

    pub(crate) fn names(&self) -> Vec<String> {
        (0..self.nodes.len()).map(name_of).collect()
    }
}

fn refs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

proptest! {
    #![proptest_config(config(192))]

    #[test]
    fn an_answer_is_a_part_of_the_question_and_every_node_has_one_verdict(
        law in laws(), land in lands(30), cpu in 0..12_i64, app in 0..3_u8,
        offer in prop::collection::vec(0..30_usize, 0..40),
    ) {
        let mut site = land.site(&law, false);
        let names: Vec<String> = offer.into_iter().map(name_of).collect();
        let ords = site.ords(&refs(&names));
        let it = Arc::new(online(900, cpu, app));
        let answer = site.decider.filter(&site.view, &it, &ords, Tick(0));
        prop_assert!(answer.accepted.is_sorted_by(|a, b| a < b));
        prop_assert!(answer.accepted.iter().all(|at| (*at as usize) < ords.len()));
        prop_assert!(answer.accepted.iter().all(|at| site.view.snapshot.is_live(ords[*at as usize])));
        let refused = answer.refused.map(|(at, _)| at as usize);
        prop_assert_eq!(refused.is_some(), answer.accepted.is_empty() && !ords.is_empty());
        prop_assert!(refused.is_none_or(|at| at < ords.len()));
        let counted: u32 = Reason::ALL.into_iter().map(|reason| answer.tally.count(reason)).sum();
        prop_assert_eq!((counted + answer.tally.kept()) as usize, ords.len());
        prop_assert!(answer.tally.kept() as usize >= answer.accepted.len());
    }

    #[test]
    fn the_same_question_on_the_same_picture_has_the_same_answer(
        law in laws(), land in lands(30), cpu in 0..12_i64, app in 0..3_u8,
    ) {
        let names = land.names();
        let it = online(900, cpu, app);
        let mut site = land.site(&law, false);
        let first = site.filter(&it, &refs(&names), 0);
        prop_assert_eq!(&site.filter(&it, &refs(&names), 1), &first, "asked again");
        let mut again = land.site(&law, false);
        prop_assert_eq!(&again.filter(&it, &refs(&names), 0), &first, "by another replica");
        let ords = site.ords(&refs(&names));
        let scores = site.decider.prioritize(&site.view, &it, &ords);
        prop_assert_eq!(&site.decider.prioritize(&site.view, &it, &ords), &scores);
        prop_assert_eq!(&again.decider.prioritize(&again.view, &it, &ords), &scores);
    }

    #[test]
    fn the_order_in_which_nodes_became_known_changes_no_answer(
        law in laws(), land in lands(30), cpu in 0..12_i64, app in 0..3_u8,
    ) {
        let names = land.names();
        let names = refs(&names);
        let it = online(900, cpu, app);
        let (mut one, mut other) = (land.site(&law, false), land.site(&law, true));
        prop_assert_eq!(one.filter(&it, &names, 0), other.filter(&it, &names, 0));
        let (here, there) = (one.ords(&names), other.ords(&names));
        prop_assert_eq!(
            one.decider.prioritize(&one.view, &it, &here),
            other.decider.prioritize(&other.view, &it, &there)
        );
        // Nor does the order of the names in the question change more than positions.
        let mut turned = names.clone();
        turned.reverse();
        let sorted = |answer: Result<Vec<&str>, Reason>| answer.map(|mut names| {
            names.sort_unstable();
            names.join(" ")
        });
        let (mut one, mut other) = (land.site(&law, false), land.site(&law, true));
        prop_assert_eq!(sorted(one.filter(&it, &names, 0)), sorted(other.filter(&it, &turned, 0)));
    }

    #[test]
    fn scores_are_in_range_and_pools_of_an_ordered_class_in_disjoint_bands(
        law in laws(), land in lands(30), cpu in 0..12_i64, app in 0..3_u8,
    ) {
        let mut site = land.site(&law, false);
        let it = online(900, cpu, app);
        let ords = site.ords(&refs(&land.names()));
        let scores = site.decider.prioritize(&site.view, &it, &ords);
        prop_assert_eq!(scores.len(), ords.len());
        prop_assert!(scores.iter().all(|score| *score <= MAX_SCORE));
        let rank = |ord: &NodeOrd| {
            let pool = site.view.snapshot.pool(*ord);
            law.order.as_ref()?.iter().position(|at| PoolOrd(*at) == pool)
        };
        if law.order.as_ref().is_some_and(|order| order.len() > 1) {
            for (a, a_score) in ords.iter().zip(&scores) {
                for (b, b_score) in ords.iter().zip(&scores) {
                    if let Some((a, b)) = rank(a).zip(rank(b)).filter(|(a, b)| a < b) {
                        prop_assert!(a_score > b_score, "{a} {b}: {a_score} {b_score}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_refused_pod_is_told_one_text_while_the_policy_stays(
        law in laws(), land in lands(40), cpu in 6..12_i64,
        windows in prop::collection::vec(
            (prop::collection::vec(0..26_usize, 1..12), 0..20_000_u64), 2..12),
    ) {
        let mut site = land.site(&law, false);
        let it = online(900, cpu, 1);
        let mut told = None;
        let mut now = 0;
        for (window, wait) in windows {
            now += wait;
            let names: Vec<String> = window.into_iter().map(name_of).collect();
            match site.filter(&it, &refs(&names), now) {
                Ok(_) => told = None,
                Err(reason) => {
                    // That a node is not known gives way to the first decision.
                    told = told.filter(|it| *it != Reason::UnknownNode);
                    prop_assert_eq!(*told.get_or_insert(reason), reason);
                }
            }
        }
    }

    #[test]
    fn preempt_keeps_exactly_the_candidates_that_would_be_accepted_without_their_victims(
        law in laws(), land in lands(30), cpu in 0..10_i64, app in 0..3_u8,
        at in 0..24_usize, picked in prop::collection::vec(any::<bool>(), 30), unknown in
        prop::bool::weighted(0.1),
    ) {
        let mut site = land.site(&law, false);
        let here: Vec<usize> = (0..land.pods.len())
            .filter(|uid| land.pods[*uid].0 == at && picked[*uid])
            .collect();
        let mut victims: Vec<PodUid> = here.iter().map(|uid| PodUid(*uid as u128 + 1)).collect();
        victims.extend(unknown.then_some(PodUid(777)));
        let name = name_of(at);
        let it = online(900, cpu, app);
        let candidate = Candidate { node: site.ords(&[&name])[0], victims: victims.clone() };
        let stands = site.decider.preempt(&site.view, &it, &[candidate]);
        let allowed = !victims.is_empty() && !unknown && here.iter().all(|uid| uid % 5 != 4);
        let mut without = land.site(&law, false);
        without.see(victims.iter().map(|uid| Change::PodGone { uid: *uid }));
        let accepted = without.filter(&it, &[&name], 0).is_ok();
        prop_assert_eq!(stands, [allowed && accepted]);
    }
}
