//! The targets of a batch are what its pods would get one by one.

use std::cell::Cell;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::config;
use crate::decisions::{Land, Law, lands, laws};
use crate::engine::{BestNode, Decider, NoTarget, View};
use crate::model::{
    AppKey, CannotJudge, Constraints, DomainLevel, NodeOrd, Pod, PodUid, Preferences, Taint,
    TaintEffect, TaintValue, Tick, Toleration,
};
use crate::scans::Twins;
use crate::server::{Server, apart_from, labels_of, ops, pod_like};
use crate::testing::{node, pod, replica, seen_node};

/// The slow way: each pod gets the best node of all, and holds it.
fn one_by_one(
    decider: &mut Decider,
    view: &View,
    pods: &[Arc<Pod>],
) -> Vec<Result<BestNode, NoTarget>> {
    let target = |pod: &Arc<Pod>| {
        if let Some(why) = decider.no_target(view, pod) {
            return Err(why);
        }
        let best = decider.best_anywhere(view, pod).ok_or(NoTarget::NoNode)?;
        let taints = view.snapshot.nodes.get(best.node.index()).cloned().flatten();
        let taints = taints.map_or_else(Box::default, |node| node.taints.clone());
        let minds = |it: &Taint| {
            it.effect == TaintEffect::PreferNoSchedule
                && !pod.tolerations.iter().any(|t| t.tolerates(it))
        };
        if taints.iter().any(minds) {
            return Err(NoTarget::ALL[NoTarget::ALL.len() - 1]);
        }
        assert!(
            decider.hold_for(view, pod, best.node, Tick(0)).is_some(),
            "it holds something already"
        );
        Ok(best)
    };
    pods.iter().map(target).collect()
}

/// What was found: targets, pods without a node, pods that nobody looked at a node for.
#[derive(Default)]
struct Found {
    targets: Cell<usize>,
    without: Cell<usize>,
    unjudged: Cell<usize>,
}

impl Found {
    fn note(&self, targets: &[Result<BestNode, NoTarget>]) {
        for target in targets {
            let count = match target {
                Ok(_) => &self.targets,
                Err(NoTarget::NoNode) => &self.without,
                Err(_) => &self.unjudged,
            };
            count.set(count.get() + 1);
        }
    }

    fn assert_enough(&self, tested: Result<(), impl std::fmt::Display>) {
        let failed = tested.err().map(|it| it.to_string());
        assert!(failed.is_none(), "{}", failed.unwrap_or_default());
        let found = [self.targets.get(), self.without.get(), self.unjudged.get()];
        assert!(found.iter().all(|count| *count > 300), "targets, without, unjudged: {found:?}");
    }
}

fn compare(
    decider: &Decider,
    view: &View,
    pods: &[Arc<Pod>],
) -> Result<Vec<Result<BestNode, NoTarget>>, TestCaseError> {
    let targets = decider.copy_of_holds().targets(view, pods);
    let mut slow = decider.copy_of_holds();
    prop_assert_eq!(&targets, &one_by_one(&mut slow, view, pods));
    // As somebody who does not know of templates would have it.
    let mut bare = decider.copy_of_holds().without_equivalence_cache();
    prop_assert_eq!(&targets, &one_by_one(&mut bare, view, pods));
    Ok(targets)
}

fn unclear() -> Arc<Constraints> {
    let cannot_judge = Some(CannotJudge::Unclear);
    Arc::new(Constraints { cannot_judge, ..Constraints::default() })
}

/// A pod, of an app or of none. Those of one app must be apart from another's, and those of one from each
/// other.
fn of_app(uid: u128, cpu: i64, app: u8) -> Pod {
    let it = if app == 0 { pod(uid, cpu) } else { replica(uid, cpu, app.into()) };
    let constraints = match app {
        2 => apart_from(&[(DomainLevel::Zone.label(), &["1"])]),
        3 => apart_from(&[("pool", &["3"])]),
        _ => None,
    };
    Pod { labels: labels_of(&it), constraints, ..it }
}

/// Pods of a few templates, with what nobody judges now and then.
fn waiting(uid: u128, cpu: i64, app: u8, look: u8) -> Arc<Pod> {
    let it = of_app(uid, cpu, app);
    let unjudged = look.is_multiple_of(13);
    Arc::new(Pod {
        priority: [9, 9, 8, 10][usize::from(look % 4)],
        constraints: if unjudged && look.is_multiple_of(2) {
            Some(unclear())
        } else {
            it.constraints
        },
        preferences: Preferences(if unjudged { look % 32 } else { 0 }),
        nominated: look.is_multiple_of(17).then(|| "node-0".into()),
        gated: look.is_multiple_of(19),
        ..it
    })
}

#[test]
fn targets_on_equal_nodes_are_what_pods_get_one_by_one() {
    let found = Found::default();
    let asked = prop::collection::vec((0..4_i64, 0..4_u8, any::<u8>()), 1..40);
    let held = prop::collection::vec((0..4_i64, 0..4_u8), 0..6);
    let inputs = (laws(), lands(20), asked, held);
    let tested = TestRunner::new(config(400)).run(
        &inputs,
        |(law, land, asked, held): (Law, Land, Vec<_>, Vec<_>)| {
            let mut site = land.site(&law, false);
            let names: Vec<String> = land.names();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            for (at, (cpu, app)) in held.into_iter().enumerate() {
                let it = Pod { priority: 9, ..of_app(2000 + at as u128, cpu, app) };
                // Refused or not: those that are not hold several nodes.
                let _ = site.filter(&it, &names, 0);
            }
            let pods = asked.into_iter().zip(1000..);
            let mut pods: Vec<_> =
                pods.map(|((cpu, app, look), uid)| waiting(uid, cpu, app, look)).collect();
            // What others hold tells nothing of their labels: none of these comes after one that it must be
            // apart from. tests::in_tree has them in any order.
            pods.sort_by_key(|pod| pod.app() != Some(AppKey(2)));
            let targets = compare(&site.decider, &site.view, &pods)?;
            found.note(&targets);
            Ok(())
        },
    );
    found.assert_enough(tested);
}

#[test]
fn targets_among_everything_that_may_happen_are_what_pods_get_one_by_one() {
    let found = Found::default();
    let asked = prop::collection::vec(any::<u8>(), 1..30);
    let tested = TestRunner::new(config(256)).run(&(ops(), asked), |(ops, asked)| {
        let (mut server, mut twins) = (Server::default(), Twins::new());
        for (at, op) in ops.iter().enumerate() {
            twins.step(&mut server, op);
            twins.ask((at as u8, false), Tick(at as u64))?;
        }
        let pods = asked.iter().zip(100_u8..).map(|(look, uid)| {
            // Few are so absurd or so odd that no node has room.
            let it = pod_like(uid, if look % 4 == 0 { *look } else { look % 12 }, u64::from(*look));
            let all = Toleration { key: "".into(), value: TaintValue::Any, effect: None };
            let tolerations = if look % 9 < 6 { [all].into() } else { Box::default() };
            Arc::new(Pod {
                uid: PodUid(5000 + u128::from(uid)),
                terminal: false,
                tolerations,
                // What others hold tells nothing of their ports and labels; tests::in_tree is for these.
                host_ports: Box::default(),
                constraints: None,
                ..it
            })
        });
        let pods: Vec<_> = pods.collect();
        found.note(&compare(twins.decider(), &twins.view(), &pods)?);
        Ok(())
    });
    found.assert_enough(tested);
}

#[test]
fn a_batch_ends_where_looking_would_take_too_long() {
    let law = crate::policy::Settings::default();
    let mut site = crate::testing::TestReplica::new(&law);
    site.see((0..4).map(|at| seen_node(node(&format!("node-{at}"), &[]))));
    // Each asks for an amount of its own, and some come twice.
    let pods: Vec<_> = (0..600_u128)
        .map(|uid| {
            let mut it = pod(uid + 1, 0);
            it.requests.base.memory_bytes = (uid as i64 % 300) + 1;
            Arc::new(it)
        })
        .collect();
    let targets = site.decider.targets(&site.view, &pods);
    assert_eq!(targets.len(), 256);
    let order: Vec<NodeOrd> = targets.iter().flatten().map(|best| best.node).collect();
    assert_eq!(order.len(), 256, "there is room for all");
}
