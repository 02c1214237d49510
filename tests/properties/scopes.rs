//! A rule's result on a node changes only if an input of its declared scopes changes.

use proptest::prelude::*;
use sigma::cluster::{PodRecord, Uncommitted};
use sigma::rules::{
    CATALOGUE, Candidates, ClassParams, Fill, Offer, PoolParams, Rule, RuleContext, Scopes, Scored,
    Scorer, Share, SpreadKey, SpreadParams, VictimNode, VictimPod,
};

use crate::cluster::{ClusterState, Snapshot};
use crate::config;
use crate::model::{
    Change, Conditions, DomainLevel, NodeMatcher, NodeOrd, Now, Pod, PodUid, PoolOrd, PoolSpec,
    Reason, Taint, TaintEffect, Tick, UtcSeconds,
};
use crate::testing::{amounts, image, node, placed, pod, replica, seen_node, seen_pod};

/// The app of the pod that is placed.
const APP: u128 = 7;

/// A node, as a case describes it.
#[derive(Clone, Debug)]
struct Row {
    pool: usize,
    zone: usize,
    cores: i64,
    conditions: Conditions,
    is_tainted: bool,
    has_image: bool,
}

/// All that rules may look at. Node 0 is the one that is observed.
#[derive(Clone, Debug)]
struct World {
    rows: Vec<Row>,
    /// Node, app (0: none) and cores of placed pods.
    pods: Vec<(usize, u128, i64)>,
    pod: Pod,
    /// Node and cores that other pods hold.
    held: Vec<(usize, i64)>,
    /// Nodes of replicas of the pod's app that are on their way.
    coming: Vec<usize>,
    now: Now,
}

fn pools() -> Vec<PoolSpec> {
    let pool = |name: &str, elastic| PoolSpec {
        name: name.into(),
        matcher: NodeMatcher { labels: vec![("pool".into(), name.into())], ..Default::default() },
        elastic,
        limit: elastic.then(|| amounts(12, 1000, 100)),
    };
    vec![pool("p0", false), pool("p1", true)]
}

fn class() -> ClassParams {
    let share = Share { cpu_permille: 900, memory_permille: 1000 };
    let pool = |it: PoolSpec| PoolParams {
        elastic: it.elastic,
        allocation: if it.elastic { Share::ALL } else { share },
        limit: it.limit,
    };
    let key = SpreadKey::Level(DomainLevel::Zone);
    ClassParams {
        pools: pools().into_iter().map(pool).collect(),
        order: Some(vec![PoolOrd(0), PoolOrd(1)]),
        is_ordered: true,
        spread: Some(SpreadParams { key, max_share_permille: Some(400) }),
        is_protected: false,
    }
}

impl World {
    fn snapshot(&self) -> std::sync::Arc<Snapshot> {
        let mut state = ClusterState::default();
        state.apply(Change::PoolsSet(pools()));
        for (at, row) in self.rows.iter().enumerate() {
            let (pool, zone) = (format!("p{}", row.pool), format!("z{}", row.zone));
            let labels = [("pool", &*pool), (DomainLevel::Zone.label(), &*zone)];
            let mut node = node(&format!("n{at}"), &labels);
            node.allocatable = amounts(row.cores, 100, 110);
            node.conditions = row.conditions;
            if row.is_tainted {
                let effect = TaintEffect::NoSchedule;
                node.taints = [Taint { key: "k".into(), value: "".into(), effect }].into();
            }
            if row.has_image {
                node.images = [image("web", 900 << 20)].into();
            }
            state.apply(seen_node(node));
        }
        for (uid, (at, app, cores)) in (1000..).zip(&self.pods) {
            let pod = if *app == 0 { pod(uid, *cores) } else { replica(uid, *cores, *app) };
            state.apply(seen_pod(&placed(&pod, &format!("n{at}"))));
        }
        state.publish().0
    }

    fn uncommitted(&self, snapshot: &Snapshot) -> Uncommitted {
        let mut uncommitted = Uncommitted::default();
        uncommitted.fit(snapshot);
        for (at, cores) in &self.held {
            let (ord, taken) = (NodeOrd(*at as u32), amounts(*cores, 0, 1));
            uncommitted.shift_node(ord, taken, 1);
            uncommitted.shift_pool(snapshot.pool(ord), taken, 1);
        }
        let coming = (0..).zip(&self.coming).map(|(group, at)| (group, NodeOrd(*at as u32)));
        uncommitted.replicas = coming.collect();
        uncommitted
    }

    /// What each rule says of each node.
    fn results(&self, rules: &[(Scopes, Rule)]) -> Vec<Vec<Found>> {
        let snapshot = &*self.snapshot();
        let uncommitted = &self.uncommitted(snapshot);
        let cx =
            RuleContext { snapshot, uncommitted, pod: &self.pod, extended: &[], now: self.now };
        rules.iter().map(|(_, rule)| found(rule, &cx)).collect()
    }
}

/// A verdict or points. Better is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Verdict(Reason),
    Points(u16),
}

impl Found {
    fn worth(self) -> u16 {
        match self {
            Self::Verdict(verdict) => u16::from(verdict == Reason::Kept),
            Self::Points(points) => points,
        }
    }
}

fn found(rule: &Rule, cx: &RuleContext<'_>) -> Vec<Found> {
    let nodes: Vec<NodeOrd> = cx.snapshot.live_nodes().collect();
    match rule {
        Rule::Filter(filter) => {
            let mut verdicts = vec![Reason::Kept; nodes.len()];
            filter.judge(cx, &mut Offer { nodes: &nodes, verdicts: &mut verdicts });
            verdicts.into_iter().map(Found::Verdict).collect()
        }
        Rule::Scorer(scorer) => {
            let (mut points, mut fills) = (Vec::new(), Vec::new());
            Fill::of(cx, &nodes, &mut fills);
            let (nodes, fills, buffers) = (&*nodes, &*fills, &mut Default::default());
            scorer.score(cx, Scored { nodes, fills, points: &mut points, buffers });
            points.resize(nodes.len(), 0);
            points.into_iter().map(Found::Points).collect()
        }
        Rule::Candidates(rule) => {
            let classes = [false, true].map(|it| ClassParams { is_protected: it, ..class() });
            let candidate = |node| {
                let victims = cx.snapshot.pods_on(node).iter();
                let class = |pod: &PodRecord| &classes[usize::from(pod.requests.cpu_milli > 1000)];
                let victims = victims.map(|pod| VictimPod { pod, class: class(pod) }).collect();
                Some(VictimNode { node, victims })
            };
            let mut candidates = Candidates::new(nodes.into_iter().map(candidate));
            rule.drop_candidates(cx, &mut candidates);
            let left = candidates.are_left().into_iter();
            left.map(|it| Found::Points(it.into())).collect()
        }
    }
}

/// A change of one input for node 0, and the scopes that it belongs to. No scope: no rule may see it.
type Flip = (&'static str, &'static [Scopes], fn(&mut World));

const FLIPS: &[Flip] = &[
    ("the node is cordoned", &[Scopes::NODE], |it| it.rows[0].conditions = Conditions::CORDONED),
    ("the node is tainted", &[Scopes::NODE], |it| it.rows[0].is_tainted ^= true),
    ("the node grows", &[Scopes::NODE, Scopes::POOL], |it| it.rows[0].cores += 7),
    ("the node is used", &[Scopes::NODE, Scopes::POOL], |it| it.pods.push((0, 0, 5))),
    ("the node is held", &[Scopes::NODE, Scopes::POOL], |it| it.held.push((0, 4))),
    ("the node moves to another pool", &[Scopes::NODE, Scopes::POOL], |it| it.rows[0].pool ^= 1),
    ("its pool is used elsewhere", &[Scopes::POOL], |it| {
        let at = it.another_row(|first, row| row.pool = first.pool);
        it.pods.push((at, 0, 9));
    }),
    ("its pool is held elsewhere", &[Scopes::POOL], |it| {
        let at = it.another_row(|first, row| row.pool = first.pool);
        it.held.push((at, 9));
    }),
    ("its domain grows", &[Scopes::DOMAIN], |it| {
        it.another_row(|first, row| row.zone = first.zone);
    }),
    ("it moves to another domain", &[Scopes::DOMAIN], |it| it.rows[0].zone += 1),
    ("replicas of the app come to the node", &[Scopes::APP], |it| it.coming.extend([0, 0, 0])),
    ("replicas of the app come to another node", &[Scopes::APP], |it| {
        let last = it.rows.len() - 1;
        it.coming.extend([last, last, last]);
    }),
    ("the pod is of no app", &[Scopes::APP], |it| it.pod.owner = None),
    ("the pod has other images", &[Scopes::IMAGES], |it| {
        it.pod.images = match it.pod.images.is_empty() {
            true => image("web", 0).names,
            false => Box::default(),
        };
    }),
    ("the node has another image", &[Scopes::IMAGES], |it| it.rows[0].has_image ^= true),
    ("a day passes", &[Scopes::TIME], |it| {
        it.now.tick = it.now.tick.plus_ms(86_400_000);
        it.now.utc.0 += 86_400;
    }),
    ("the pod is another one", &[], |it| {
        it.pod.uid = PodUid(it.pod.uid.0 + 1);
        (it.pod.name, it.pod.priority) = ("another".into(), it.pod.priority + 1);
        it.pod.annotated ^= true;
    }),
];

impl World {
    /// Adds a node in a pool and a zone of its own, but for what `like` copies from node 0.
    fn another_row(&mut self, like: impl FnOnce(&Row, &mut Row)) -> usize {
        let first = self.rows[0].clone();
        let (pool, zone) = (1 - first.pool, first.zone + 9);
        let mut row = Row { pool, zone, cores: 40, has_image: false, ..first.clone() };
        like(&first, &mut row);
        self.rows.push(row);
        self.rows.len() - 1
    }
}

/// The flips outside of its scopes that change a rule's result on node 0.
fn seen_outside(world: &World, rules: &[(Scopes, Rule)]) -> Vec<(usize, &'static str)> {
    let mut seen = Vec::new();
    for (name, scopes, flip) in FLIPS {
        // The image's share of nodes is an input too, so both worlds have as many nodes.
        let (mut before, mut after) = (world.clone(), world.clone());
        flip(&mut after);
        before.rows.extend_from_slice(&after.rows[before.rows.len()..]);
        if *name == "its domain grows" {
            before.rows.last_mut().expect("a node").zone += 9;
        }
        let (before, after) = (before.results(rules), after.results(rules));
        for (at, (of, _)) in rules.iter().enumerate() {
            let is_inside = scopes.iter().any(|it| of.intersects(*it));
            if !is_inside && before[at][0] != after[at][0] {
                seen.push((at, *name));
            }
        }
    }
    seen
}

/// What rules with such scopes say of two nodes of one pool and one domain.
fn groups_seen(world: &World, rules: &[(Scopes, Rule)]) -> Vec<(usize, &'static str)> {
    let mut world = world.clone();
    let twin = world.another_row(|first, row| {
        (row.pool, row.zone, row.is_tainted) = (first.pool, first.zone, true);
    });
    world.pods.retain(|it| it.0 != 0 || it.1 != APP);
    world.coming.retain(|it| *it != 0);
    let alike = world.results(rules);
    world.coming.extend([0, 0]);
    let with_replicas = world.results(rules);
    let mut seen = Vec::new();
    for (at, _) in rules.iter().enumerate().filter(|(_, it)| it.0.is_alike_in_groups()) {
        if alike[at][0] != alike[at][twin] {
            seen.push((at, "nodes of a group differ"));
        }
        if with_replicas[at][0].worth() > with_replicas[at][twin].worth() {
            seen.push((at, "a replica makes its node better"));
        }
    }
    seen
}

fn catalogue() -> Vec<(Scopes, Rule)> {
    let class = class();
    let rules = CATALOGUE.iter().filter_map(|it| Some((it.scopes, (it.build)(&class)?)));
    rules.collect()
}

fn any_row() -> impl Strategy<Value = Row> {
    (0..2_usize, 0..3_usize, 6..14_i64, any::<bool>()).prop_map(|(pool, zone, cores, has_image)| {
        let conditions = Conditions::default();
        Row { pool, zone, cores, conditions, is_tainted: false, has_image }
    })
}

fn any_world() -> impl Strategy<Value = World> {
    let rows = prop::collection::vec(any_row(), 2..7);
    let pods = prop::collection::vec((any::<prop::sample::Index>(), 0..3_u128, 0..3_i64), 0..9);
    let coming = prop::collection::vec(any::<prop::sample::Index>(), 0..3);
    (rows, pods, coming, 1..4_i64, any::<bool>()).prop_map(
        |(rows, pods, coming, cores, has_image)| {
            let app = |it| if it == 0 { 0 } else { APP + it - 1 };
            let pods = pods.iter().map(|(at, it, cores)| (at.index(rows.len()), app(*it), *cores));
            let images = if has_image { image("web", 0).names } else { Box::default() };
            World {
                pods: pods.collect(),
                pod: Pod { images, ..replica(1, cores, APP) },
                held: Vec::new(),
                coming: coming.iter().map(|it| it.index(rows.len())).collect(),
                now: Now { tick: Tick(5), utc: UtcSeconds(1_700_000_000) },
                rows,
            }
        },
    )
}

proptest! {
    #![proptest_config(config(128))]

    /// Every rule of the catalogue sees nothing but its scopes, and groups are what the candidate index takes them for.
    #[test]
    fn a_rule_sees_nothing_outside_of_its_scopes(world in any_world()) {
        let rules = catalogue();
        prop_assert_eq!(rules.len(), CATALOGUE.len());
        let name = |(at, what): (usize, &'static str)| (CATALOGUE[at].name, what);
        let seen = seen_outside(&world, &rules).into_iter().chain(groups_seen(&world, &rules));
        prop_assert_eq!(seen.map(name).collect::<Vec<_>>(), vec![]);
    }
}

/// The input that a rule of this test reads.
type Input = fn(&RuleContext<'_>, NodeOrd) -> i64;

/// A rule for this test: its points are what it reads.
struct Reads(Input);

impl Scorer for Reads {
    fn score(&self, cx: &RuleContext<'_>, scored: Scored<'_>) {
        let nodes = scored.nodes.iter();
        scored.points.extend(nodes.map(|ord| (self.0)(cx, *ord).rem_euclid(1000) as u16));
    }
}

/// One rule for each scope.
const READERS: &[(Scopes, Input)] = &[
    (Scopes::NODE, |cx, ord| {
        i64::from(cx.snapshot.columns.conditions[ord.index()].intersects(Conditions::CORDONED))
    }),
    (Scopes::POOL, |cx, ord| {
        cx.snapshot.pool_use.get(cx.snapshot.pool(ord).index()).map_or(0, |it| it.used.pods)
    }),
    (Scopes::DOMAIN, |cx, ord| {
        let level = DomainLevel::Zone;
        let name = cx.snapshot.topology.name(level, cx.snapshot.domain(level, ord));
        name.map_or(0, |name| name.bytes().map(i64::from).sum())
    }),
    (Scopes::APP, |cx, ord| {
        500 - cx.uncommitted.replicas.iter().filter(|it| it.1 == ord).count() as i64
    }),
    (Scopes::IMAGES, |cx, _| cx.pod.images.len() as i64),
    (Scopes::TIME, |cx, _| cx.now.utc.0 / 3600),
];

fn example() -> World {
    let row = |pool, zone| Row {
        pool,
        zone,
        cores: 10,
        conditions: Conditions::default(),
        is_tainted: false,
        has_image: false,
    };
    World {
        rows: vec![row(0, 0), row(0, 1), row(1, 0)],
        pods: Vec::new(),
        pod: replica(1, 1, APP),
        held: Vec::new(),
        coming: Vec::new(),
        now: Now::default(),
    }
}

/// The property finds a wrong scope: each input, declared as any other one, is seen.
#[test]
fn a_rule_with_a_wrong_scope_is_found() {
    for (declared, _) in READERS {
        for (read, reads) in READERS {
            let rule = [(*declared, Rule::Scorer(Box::new(Reads(*reads))))];
            let seen = seen_outside(&example(), &rule);
            assert_eq!(seen.is_empty(), declared == read, "{read:?} as {declared:?}: {seen:?}");
        }
    }
}

#[test]
fn a_rule_that_breaks_groups_is_found() {
    let broken: [(Input, _); 2] = [
        (
            |cx, ord| i64::from(cx.snapshot.columns.taint_set[ord.index()]),
            "nodes of a group differ",
        ),
        (
            |cx, ord| cx.uncommitted.replicas.iter().filter(|it| it.1 == ord).count() as i64,
            "a replica makes its node better",
        ),
    ];
    for (reads, want) in broken {
        let rule = [(Scopes::APP, Rule::Scorer(Box::new(Reads(reads))))];
        assert!(groups_seen(&example(), &rule).contains(&(0, want)), "{want}");
    }
}
