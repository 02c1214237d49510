//! What is kept about nodes is what a look at them finds, whatever has happened since.

use std::cell::Cell;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sigma::rules::{Share, SpreadKey, SpreadParams};

use crate::cluster::ClusterState;
use crate::config;
use crate::engine::{Answer, Decider, Naming, Nominates, View};
use crate::model::{
    Change, DomainLevel, NodeOrd, Pod, PodUid, PoolOrd, TaintValue, Tick, Toleration,
};
use crate::policy::{
    ClassSettings, Grant, Plan, PoolSettings, Role, Settings, Shortlist, default_class,
};
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

/// A decider that scans and one that does not, on the same views.
pub(crate) struct Twins {
    state: ClusterState,
    view: View,
    scanning: Decider,
    looking: Decider,
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
        let mut state = ClusterState::default();
        // With no pool, a class that names its pools may go nowhere.
        let plan = Plan::build(&settings(1), String::new());
        state.apply(Change::PoolsSet(plan.pools.clone()));
        let (snapshot, _) = state.publish();
        Self {
            state,
            view: View { snapshot, plan, plan_generation: 1 },
            scanning: Decider::default(),
            looking: Decider::default().without_equivalence_cache(),
            next_uid: 1000,
            num_scanned: 0,
            num_shortened: 0,
            num_best: 0,
            num_refused: 0,
        }
    }

    /// What is known, and what is held.
    pub(crate) fn decider(&self) -> &Decider {
        &self.scanning
    }

    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    pub(crate) fn step(&mut self, server: &mut Server, op: &Op) {
        for change in server.step(op) {
            self.state.apply(change);
        }
        if let Op::Pools(look) = op {
            self.view.plan = Plan::build(&settings(*look), String::new());
            self.view.plan_generation += 1;
        }
        let (snapshot, confirmed) = self.state.publish();
        self.view.snapshot = snapshot;
        for it in confirmed {
            self.scanning.confirm(it);
            self.looking.confirm(it);
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
        let rows = self.view.snapshot.capacity() as u32;
        let nodes = (0..NAMED).flat_map(|_| (0..rows).rev()).map(NodeOrd);
        let nodes: Vec<NodeOrd> = nodes.chain([NodeOrd::UNKNOWN]).collect();
        let pod = Arc::new(pod);
        let scanned = self.scanning.filter(&self.view, &pod, &nodes, now);
        let looked = self.looking.filter(&self.view, &pod, &nodes, now);
        self.num_scanned += u64::from(scanned.from_scan);
        let is_shortened = scanned.naming == Naming::Best
            && scanned.accepted.len() < scanned.tally.kept() as usize;
        self.num_shortened += u64::from(scanned.from_scan && is_shortened);
        prop_assert!(!looked.from_scan);
        prop_assert_eq!(Answer { from_scan: false, ..scanned }, looked);
        if scores {
            prop_assert_eq!(
                self.scanning.prioritize(&self.view, &pod, &nodes),
                self.looking.prioritize(&self.view, &pod, &nodes)
            );
        }
        let best = self.scanning.best_anywhere(&self.view, &pod);
        prop_assert_eq!(best, self.looking.best_anywhere(&self.view, &pod));
        self.num_best += u64::from(best.is_some());
        prop_assert_eq!(
            self.scanning.expire(&self.view, now),
            self.looking.expire(&self.view, now)
        );
        self.ask_about_one(&pod)?;
        let requeues = |decider: &mut Decider, view: &View| {
            decider.requeues(view, Nominates::NONE, now, 4, 100)
        };
        prop_assert_eq!(
            requeues(&mut self.scanning, &self.view),
            requeues(&mut self.looking, &self.view)
        );
        Ok(())
    }

    /// Offers a pod that was not asked about before one node alone: if that is refused, the reason is the
    /// closest to success of all nodes.
    fn ask_about_one(&mut self, like: &Pod) -> Result<(), TestCaseError> {
        self.next_uid += 1;
        let (uid, name) = (PodUid(self.next_uid), format!("asked-{}", self.next_uid).into());
        let pod = Arc::new(Pod { uid, name, node: None, terminating: false, ..like.clone() });
        let nodes: Vec<NodeOrd> = self.view.snapshot.live_nodes().collect();
        let Some(offered) = nodes.get(self.next_uid as usize % nodes.len().max(1)) else {
            return Ok(());
        };
        // `explain` knows more of nodes that were not offered than the rules do.
        let other = Arc::new(Pod { uid: PodUid(u128::MAX), ..Pod::clone(&pod) });
        let closest = self.looking.filter(&self.view, &other, &nodes, Tick(0)).tally.closest();
        self.looking.release(other.uid);
        for decider in [&mut self.scanning, &mut self.looking] {
            let answer = decider.filter(&self.view, &pod, &[*offered], Tick(0));
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
