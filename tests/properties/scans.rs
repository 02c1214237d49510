//! What is kept about nodes is what a look at them finds, whatever has happened since.

use std::cell::Cell;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sigma::rules::{Share, SpreadKey, SpreadParams};

use crate::config;
use crate::engine::{Answer, Decider, Naming, Nominates, View};
use crate::model::{DomainLevel, NodeOrd, Pod, PodUid, PoolOrd, TaintValue, Tick, Toleration};
use crate::policy::{
    ClassSettings, Grant, Plan, PoolSettings, Role, Settings, Shortlist, default_class,
};
use crate::replica::Replica;
use crate::server::{Op, Server, ops, pod_like, pools};
use crate::testing::amounts;

/// How often each node is named in a request.
const NAMED: usize = 4;

/// Between two changes, kube-scheduler asks about a pod that looks like so; scores too, or not.
pub(crate) type RequestsBlock = (u8, bool);

/// Pools as the server's policy has them, with limits, and classes by priority.
fn settings(look: u8) -> Settings {
    let specs = if look == 0 { Vec::new() } else { pools(look - 1) };
    let pools: Vec<PoolSettings> = specs
        .into_iter()
        .enumerate()
        .map(|(at, spec)| PoolSettings {
            name: spec.name,
            matcher: spec.matcher,
            elastic: at == 1,
            allocation: Share { cpu_permille: 700 + 100 * at as u32, memory_permille: 1000 },
            limit: (at == 1).then(|| amounts(6, 64, 3)),
        })
        .collect();
    let class = |name: &str, role, priority| ClassSettings {
        name: name.to_owned(),
        role,
        grant: Grant { priority: Some((priority, priority)), ..Grant::default() },
        ..default_class()
    };
    let spread = |key, share| Some(SpreadParams { key, max_share_permille: share });
    let zone = SpreadKey::Level(DomainLevel::Zone);
    let order = (0..pools.len() as u8).rev().map(PoolOrd).collect();
    let online = ClassSettings {
        pools: Some(order),
        shortlist: Some(Shortlist { nodes: 6, per_domain: 2 }),
        spread: spread(zone, Some(600)),
        ..class("online", Role::Online, 3)
    };
    let exempt =
        ClassSettings { spread: spread(SpreadKey::Node, None), ..class("exempt", Role::Exempt, 2) };
    let default = ClassSettings {
        spread: spread(zone, None),
        shortlist: Some(Shortlist::of(3)),
        ..default_class()
    };
    Settings {
        name: "scans".into(),
        pools,
        classes: vec![online, exempt, default],
        ..Settings::default()
    }
}

/// A replica that keeps what it found, and one that looks at every node for every decision.
pub(crate) struct Twins {
    scanning: Replica,
    looking: Replica,
    next_uid: u128,
    num_scanned: u64,
    /// Of these, how many left nodes out by a shortlist.
    num_shortened: u64,
    /// How often there was a best node of all.
    num_best: u64,
    /// How often a pod was refused its only node.
    num_refused: u64,
}

impl Twins {
    pub(crate) fn new() -> Self {
        // With no pool, a class that names its pools may go nowhere.
        let plan = Plan::build(&settings(1), String::new());
        let replica = |decider| Replica::new(plan.clone(), Arc::default(), decider);
        Self {
            scanning: replica(Decider::default()),
            looking: replica(Decider::default().without_equivalence_cache()),
            next_uid: 1000,
            num_scanned: 0,
            num_shortened: 0,
            num_best: 0,
            num_refused: 0,
        }
    }

    /// What is known, and what is held.
    pub(crate) fn decider(&self) -> &Decider {
        &self.scanning.decider
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.scanning.view()
    }

    pub(crate) fn step(&mut self, server: &mut Server, op: &Op) {
        let plan = match op {
            Op::Pools(look) => Some(Plan::build(&settings(*look), String::new())),
            _ => None,
        };
        let changes = server.step(op);
        for twin in [&mut self.scanning, &mut self.looking] {
            if let Some(plan) = &plan {
                twin.set_plan(plan.clone());
            }
            twin.see(changes.iter().cloned());
        }
    }

    pub(crate) fn ask(
        &mut self,
        (look, scores): RequestsBlock,
        now: Tick,
    ) -> Result<(), TestCaseError> {
        // Some pods are asked about again, and some of these are known to hold or to claim something.
        self.next_uid += u128::from(!look.is_multiple_of(3));
        let uid = if look.is_multiple_of(4) { u128::from(look % 12) } else { self.next_uid };
        // Mostly a replica of a class with a share of each domain: other pods change what it may take.
        let like = pod_like(1, [7, 7, 7, 3, 2, 6, 5, 1, 0][usize::from(look % 9)], u64::from(look));
        let name = format!("asked-{uid}").into();
        // Nodes here are mostly cordoned, not ready or tainted: who minds sees nothing of other rules.
        let all = Toleration { key: "".into(), value: TaintValue::Any, effect: None };
        let tolerations = if look % 9 < 4 { [all].into() } else { Box::default() };
        let pod = Pod { uid: PodUid(uid), name, terminal: false, tolerations, ..like };
        // Named more than once, so that a few nodes are many names: else no template is scanned.
        let view = self.view();
        let rows = view.snapshot.capacity() as u32;
        let nodes = (0..NAMED).flat_map(|_| (0..rows).rev()).map(NodeOrd);
        let nodes: Vec<NodeOrd> = nodes.chain([NodeOrd::UNKNOWN]).collect();
        let pod = Arc::new(pod);
        let scanned = self.scanning.decider.filter(&view, &pod, &nodes, now);
        let looked = self.looking.decider.filter(&view, &pod, &nodes, now);
        self.num_scanned += u64::from(scanned.from_scan);
        let is_shortened = scanned.naming == Naming::Best
            && scanned.accepted.len() < scanned.tally.kept() as usize;
        self.num_shortened += u64::from(scanned.from_scan && is_shortened);
        prop_assert!(!looked.from_scan);
        prop_assert_eq!(Answer { from_scan: false, ..scanned }, looked);
        if scores {
            prop_assert_eq!(
                self.scanning.decider.prioritize(&view, &pod, &nodes),
                self.looking.decider.prioritize(&view, &pod, &nodes)
            );
        }
        let best = self.scanning.decider.best_anywhere(&view, &pod);
        prop_assert_eq!(best, self.looking.decider.best_anywhere(&view, &pod));
        self.num_best += u64::from(best.is_some());
        prop_assert_eq!(
            self.scanning.decider.expire(&view, now),
            self.looking.decider.expire(&view, now)
        );
        self.ask_about_one(&pod)?;
        let requeues = |decider: &mut Decider, view: &View| {
            decider.requeues(view, Nominates::NONE, now, 4, 100)
        };
        prop_assert_eq!(
            requeues(&mut self.scanning.decider, &view),
            requeues(&mut self.looking.decider, &view)
        );
        Ok(())
    }

    /// Offers a pod that was not asked about before one node alone: if that is refused, the reason is the
    /// closest to success of all nodes.
    fn ask_about_one(&mut self, like: &Pod) -> Result<(), TestCaseError> {
        self.next_uid += 1;
        let (uid, name) = (PodUid(self.next_uid), format!("asked-{}", self.next_uid).into());
        let pod = Arc::new(Pod { uid, name, node: None, terminating: false, ..like.clone() });
        let view = self.view();
        let nodes: Vec<NodeOrd> = view.snapshot.live_nodes().collect();
        let Some(offered) = nodes.get(self.next_uid as usize % nodes.len().max(1)) else {
            return Ok(());
        };
        // `explain` knows more of nodes that were not offered than the rules do.
        let other = Arc::new(Pod { uid: PodUid(u128::MAX), ..Pod::clone(&pod) });
        let closest = self.looking.decider.filter(&view, &other, &nodes, Tick(0)).tally.closest();
        self.looking.decider.release(other.uid);
        for decider in [&mut self.scanning.decider, &mut self.looking.decider] {
            let answer = decider.filter(&view, &pod, &[*offered], Tick(0));
            if let Some((_, reason)) = answer.refused {
                prop_assert_eq!(Some(reason), closest);
                self.num_refused += 1;
            }
            decider.release(pod.uid);
        }
        Ok(())
    }
}

#[test]
fn a_decider_that_scans_answers_as_one_that_looks() {
    let (num_scanned, num_shortened) = (Cell::new(0), Cell::new(0));
    let (num_best, num_refused) = (Cell::new(0), Cell::new(0));
    let asks = prop::collection::vec((any::<u8>(), any::<bool>()), 120);
    let tested = TestRunner::new(config(256)).run(&(ops(), asks), |(ops, asks)| {
        let (mut server, mut twins) = (Server::default(), Twins::new());
        for (at, (op, ask)) in ops.iter().zip(asks).enumerate() {
            twins.step(&mut server, op);
            twins.ask(ask, Tick(at as u64 * 997))?;
        }
        num_scanned.set(num_scanned.get() + twins.num_scanned);
        num_shortened.set(num_shortened.get() + twins.num_shortened);
        num_best.set(num_best.get() + twins.num_best);
        num_refused.set(num_refused.get() + twins.num_refused);
        Ok(())
    });
    let failed = tested.err().map(|it| it.to_string());
    assert!(failed.is_none(), "{}", failed.unwrap_or_default());
    assert!(num_scanned.get() > 1000, "only {} answers from a scan", num_scanned.get());
    assert!(num_shortened.get() > 100, "only {} lists from a scan", num_shortened.get());
    assert!(num_best.get() > 1000, "only {} best nodes", num_best.get());
    assert!(num_refused.get() > 1000, "only {} unschedulable", num_refused.get());
}
