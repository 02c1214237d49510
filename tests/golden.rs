//! Golden cases: `tests/golden/<rule>/<case>.in.yaml` beside `<case>.out.yaml`.
//!
//! A rule is built through the catalogue from a class's parameters and judges over a snapshot that
//! a real `ClusterState` published. `filter/` and `prioritize/` are whole decisions of a desk.
//! `UPDATE=1 cargo test --test golden` rewrites the outputs; read the difference before committing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use sigma::cluster::{ClusterState, Holds, Snapshot};
use sigma::engine::{Answer, Desk, World};
use sigma::model::{
    Amounts, AppKey, Change, Conditions, DomainLevel, Effect, ExtendedAmount, Node, NodeMatcher,
    NodeOrd, Owner, Pod, PodUid, PoolOrd, QosClaim, Reason, Requests, Taint, Tick, Toleration,
    parse_milli, parse_value,
};
use sigma::policy::{ClassSettings, Grant, Plan, PoolSettings, Role, Settings, default_class};
use sigma::rules::{
    CATALOGUE, ClassParams, Cx, Fill, Offer, PoolParams, Rule, RuleSpec, Scored, Share, SpreadKey,
    SpreadParams,
};

/// A case's input. `rule` cases read `class`, decisions read `classes`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Input {
    /// What the case shows.
    shows: String,
    #[serde(default)]
    pools: Vec<PoolInput>,
    #[serde(default)]
    class: ClassInput,
    #[serde(default)]
    classes: Vec<ClassInput>,
    #[serde(default)]
    nodes: Vec<NodeInput>,
    /// Placed (with `node`) and nominated (with `nominated`) pods.
    #[serde(default)]
    pods: Vec<PodInput>,
    /// Pods that were answered and are not seen on a node yet.
    #[serde(default)]
    holds: Vec<HoldInput>,
    pod: PodInput,
    /// The names in the request; all nodes when absent.
    offer: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PoolInput {
    name: String,
    #[serde(default, rename = "match")]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    elastic: bool,
    allocation: Option<ShareInput>,
    limit: Option<BTreeMap<String, String>>,
}

/// In thousandths.
#[derive(Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
struct ShareInput {
    cpu: u32,
    memory: u32,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ClassInput {
    #[serde(default)]
    name: String,
    #[serde(default)]
    role: String,
    /// The one priority that it is granted to.
    priority: Option<i32>,
    /// `none` stands for nodes in no pool.
    pools: Option<Vec<String>>,
    /// `region`, `zone`, `rack`, `host` or `node`.
    spread: Option<String>,
    /// In thousandths.
    max_share: Option<u32>,
    allocation: Option<ShareInput>,
    #[serde(default)]
    weights: BTreeMap<String, u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NodeInput {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    allocatable: BTreeMap<String, String>,
    /// `key=value:Effect`.
    #[serde(default)]
    taints: Vec<String>,
    #[serde(default)]
    conditions: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PodInput {
    #[serde(default = "own_uid")]
    uid: u64,
    /// So many pods like this, with the UIDs that follow.
    count: Option<u64>,
    #[serde(default)]
    requests: BTreeMap<String, String>,
    #[serde(default)]
    priority: i32,
    app: Option<u64>,
    node: Option<String>,
    nominated: Option<String>,
    #[serde(default)]
    terminating: bool,
    qos: Option<String>,
    /// `key=value:Effect`, with `key` alone for `Exists`, nothing for all, no effect for all.
    #[serde(default)]
    tolerations: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldInput {
    nodes: Vec<String>,
    pod: PodInput,
}

fn own_uid() -> u64 {
    1000
}

fn amounts(text: &BTreeMap<String, String>) -> (Amounts, Box<[ExtendedAmount]>) {
    let mut base = Amounts::default();
    let mut extended = Vec::new();
    for (name, text) in text {
        let value = parse_value(text).expect("a quantity");
        match name.as_str() {
            "cpu" => base.cpu_milli = parse_milli(text).expect("a quantity"),
            "memory" => base.memory_bytes = value,
            "ephemeral-storage" => base.ephemeral_bytes = value,
            "pods" => base.pods = value,
            _ => extended.push(ExtendedAmount { name: name.as_str().into(), amount: value }),
        }
    }
    (base, extended.into())
}

/// Reads `key=value:Effect`.
fn parts(text: &str) -> (Box<str>, Option<Box<str>>, Option<Effect>) {
    let (rest, effect) = text.split_once(':').unwrap_or((text, ""));
    let effect = match effect {
        "" => None,
        "NoSchedule" => Some(Effect::NoSchedule),
        "PreferNoSchedule" => Some(Effect::PreferNoSchedule),
        "NoExecute" => Some(Effect::NoExecute),
        other => unreachable!("no such effect: {other}"),
    };
    match rest.split_once('=') {
        Some((key, value)) => (key.into(), Some(value.into()), effect),
        None => (rest.into(), None, effect),
    }
}

fn node_of(input: &NodeInput) -> Node {
    let (allocatable, extended) = amounts(&input.allocatable);
    let conditions = input.conditions.iter().map(|it| match it.as_str() {
        "cordoned" => Conditions::CORDONED,
        "notReady" => Conditions::NOT_READY,
        "memoryPressure" => Conditions::MEMORY_PRESSURE,
        "diskPressure" => Conditions::DISK_PRESSURE,
        "pidPressure" => Conditions::PID_PRESSURE,
        "networkUnavailable" => Conditions::NETWORK_UNAVAILABLE,
        other => unreachable!("no such condition: {other}"),
    });
    let taints = input.taints.iter().map(|text| {
        let (key, value, effect) = parts(text);
        let effect = effect.expect("a taint has an effect");
        Taint { key, value: value.unwrap_or_default(), effect }
    });
    let labels = input.labels.iter().map(|(key, value)| (label(key), value.as_str().into()));
    let mut labels: Vec<(Box<str>, Box<str>)> = labels.collect();
    labels.sort();
    Node {
        name: input.name.as_str().into(),
        uid: input.name.as_str().into(),
        resource_version: 1,
        allocatable,
        extended,
        conditions: conditions.fold(Conditions::default(), Conditions::with),
        taints: taints.collect(),
        labels: labels.into(),
    }
}

/// A label's key; levels of the topology go by their short names.
fn label(key: &str) -> Box<str> {
    match level(key) {
        Some(level) => level.label().into(),
        None => key.into(),
    }
}

fn level(name: &str) -> Option<DomainLevel> {
    Some(match name {
        "region" => DomainLevel::Region,
        "zone" => DomainLevel::Zone,
        "rack" => DomainLevel::Rack,
        "host" => DomainLevel::Host,
        _ => return None,
    })
}

fn pods_of(input: &PodInput) -> impl Iterator<Item = Pod> + '_ {
    let (mut base, extended) = amounts(&input.requests);
    base.pods = 1;
    let tolerations: Box<[Toleration]> = input
        .tolerations
        .iter()
        .map(|text| {
            let (key, value, effect) = parts(text);
            Toleration { key, value, effect }
        })
        .collect();
    let owner = input.app.map(|app| Owner {
        kind: "ReplicaSet".into(),
        name: format!("app-{app}").into(),
        app: AppKey(app.into()),
    });
    (input.uid..input.uid + input.count.unwrap_or(1)).map(move |uid| Pod {
        uid: PodUid(uid.into()),
        uid_text: uid.to_string().into(),
        namespace: "default".into(),
        name: format!("pod-{uid}").into(),
        resource_version: 1,
        requests: Requests { base, extended: extended.clone() },
        priority: input.priority,
        priority_class: "".into(),
        scheduler: "default-scheduler".into(),
        qos_claim: input.qos.as_deref().map(|claim| match claim {
            "offline" => QosClaim::Offline,
            _ => QosClaim::Online,
        }),
        owner: owner.clone(),
        tolerations: tolerations.clone(),
        node: input.node.as_deref().map(Into::into),
        nominated: input.nominated.as_deref().map(Into::into),
        refusal: None,
        terminal: false,
        terminating: input.terminating,
        gated: false,
        claims_volumes: false,
    })
}

impl Input {
    fn pool_ord(&self, name: &str) -> PoolOrd {
        let at = self.pools.iter().position(|pool| pool.name == name);
        assert!(at.is_some() || name == "none", "no such pool: {name}");
        at.map_or(PoolOrd::NONE, |at| PoolOrd(at as u8))
    }

    fn class_settings(&self, class: &ClassInput) -> ClassSettings {
        let order = class.pools.as_ref();
        ClassSettings {
            name: class.name.clone(),
            role: match class.role.as_str() {
                "online" => Role::Online,
                "offline" => Role::Offline,
                "exempt" => Role::Exempt,
                _ => Role::Default,
            },
            grant: Grant { priority: class.priority.map(|it| (it, it)), ..Grant::default() },
            pools: order.map(|names| names.iter().map(|name| self.pool_ord(name)).collect()),
            spread: class.spread.as_deref().map(|key| SpreadParams {
                key: level(key).map_or(SpreadKey::Node, SpreadKey::Level),
                max_share_permille: class.max_share,
            }),
            allocation: class.allocation.map(share),
            weights: class.weights.iter().map(|(name, it)| (name.clone(), *it)).collect(),
            ..default_class()
        }
    }

    fn settings(&self) -> Settings {
        let pools = self.pools.iter().map(|pool| PoolSettings {
            name: pool.name.clone(),
            matcher: NodeMatcher {
                labels: pool.labels.clone().into_iter().collect(),
                ..NodeMatcher::default()
            },
            elastic: pool.elastic,
            allocation: pool.allocation.map_or(Share::ALL, share),
            limit: pool.limit.as_ref().map(limit),
        });
        let classes = self.classes.iter().map(|class| self.class_settings(class));
        Settings { name: "golden".into(), pools: pools.collect(), classes: classes.collect() }
    }

    fn class_params(&self) -> ClassParams {
        let (settings, class) = (self.settings(), self.class_settings(&self.class));
        let pools = settings.pools.iter().map(|pool| PoolParams {
            elastic: pool.elastic,
            allocation: class.allocation.unwrap_or(pool.allocation),
            limit: pool.limit,
        });
        ClassParams { pools: pools.collect(), order: class.pools, spread: class.spread }
    }

    fn snapshot(&self, plan: &Plan) -> Arc<Snapshot> {
        let mut state = ClusterState::default();
        state.apply(Change::PoolsSet(plan.pools.clone()));
        for node in &self.nodes {
            state.apply(Change::NodeSeen(Box::new(node_of(node))));
        }
        for pod in self.pods.iter().flat_map(pods_of) {
            state.apply(Change::PodSeen(Box::new(pod)));
        }
        assert_eq!(state.audit(), []);
        state.publish().0
    }

    fn own_pod(&self) -> Pod {
        pods_of(&self.pod).next().expect("one pod")
    }

    fn offered(&self) -> Vec<String> {
        let all = || self.nodes.iter().map(|node| node.name.clone()).collect();
        self.offer.clone().unwrap_or_else(all)
    }
}

fn share(share: ShareInput) -> Share {
    Share { cpu_permille: share.cpu, memory_permille: share.memory }
}

fn limit(text: &BTreeMap<String, String>) -> Amounts {
    let (given, _) = amounts(text);
    let or_none = |name: &str, amount| if text.contains_key(name) { amount } else { i64::MAX };
    Amounts {
        cpu_milli: or_none("cpu", given.cpu_milli),
        memory_bytes: or_none("memory", given.memory_bytes),
        ephemeral_bytes: or_none("ephemeral-storage", given.ephemeral_bytes),
        pods: or_none("pods", given.pods),
    }
}

fn ords(snapshot: &Snapshot, names: &[String]) -> Vec<NodeOrd> {
    names.iter().map(|name| snapshot.names.ord(name).unwrap_or(NodeOrd::UNKNOWN)).collect()
}

/// What one rule says of each node.
fn run_rule(spec: &RuleSpec, input: &Input) -> String {
    let Some(rule) = (spec.build)(&input.class_params()) else {
        return "nothing to do for this class\n".to_owned();
    };
    let plan = Plan::build(&input.settings(), String::new());
    let snapshot = input.snapshot(&plan);
    let mut holds = Holds::default();
    for hold in &input.holds {
        for pod in pods_of(&hold.pod) {
            holds.place(&snapshot, &pod, &ords(&snapshot, &hold.nodes), Tick(0));
        }
    }
    let pod = input.own_pod();
    let names = input.offered();
    let nodes = ords(&snapshot, &names);
    let asked = pod.requests.extended.iter();
    let extended: Vec<_> =
        asked.filter_map(|it| Some((snapshot.resource(&it.name)?, it.amount))).collect();
    let said: Vec<String> = holds.seen_by(&snapshot, &pod, |extra| {
        let cx = Cx { snapshot: &snapshot, extra, pod: &pod, extended: &extended };
        match &rule {
            Rule::Filter(filter) => {
                let mut verdicts = vec![Reason::Kept; nodes.len()];
                filter.judge(&cx, &mut Offer { nodes: &nodes, verdicts: &mut verdicts });
                verdicts.iter().map(|verdict| verdict.name().to_owned()).collect()
            }
            Rule::Scorer(scorer) => {
                let (mut points, mut fills) = (vec![0; nodes.len()], Vec::new());
                Fill::of(&cx, &nodes, &mut fills);
                let scored = Scored { nodes: &nodes, fills: &fills, points: &mut points };
                scorer.score(&cx, scored);
                points.iter().map(u32::to_string).collect()
            }
        }
    });
    names.iter().zip(said).map(|(name, said)| format!("{name}: {said}\n")).collect()
}

fn desk_of(input: &Input) -> (Desk, World) {
    let plan = Plan::build(&input.settings(), String::new());
    let snapshot = input.snapshot(&plan);
    let world = World { snapshot, plan, plan_generation: 1 };
    let mut desk = Desk::default();
    // A held pod is one that was answered with just these nodes.
    for hold in &input.holds {
        for pod in pods_of(&hold.pod) {
            let nodes = ords(&world.snapshot, &hold.nodes);
            let answer = desk.filter(&world, &Arc::new(pod), &nodes, Tick(0));
            assert_eq!(answer.accepted.len(), nodes.len(), "a hold that is refused itself");
        }
    }
    (desk, world)
}

/// A whole answer.
fn run_filter(input: &Input) -> String {
    let (mut desk, world) = desk_of(input);
    let names = input.offered();
    let nodes = ords(&world.snapshot, &names);
    let pod = Arc::new(input.own_pod());
    let answer: Answer = desk.filter(&world, &pod, &nodes, Tick(0));
    let mut out = format!("class: {}\n", world.class(answer.class).name);
    if answer.claimed_more {
        out += "claimedMore: true\n";
    }
    let accepted: Vec<&str> =
        answer.accepted.iter().map(|at| names[*at as usize].as_str()).collect();
    let _ = writeln!(out, "accepted: [{}]", accepted.join(", "));
    if let Some((at, reason)) = answer.refused {
        let _ = writeln!(out, "refused: {{{}: \"{}\"}}", names[at as usize], reason.text());
    }
    let _ = writeln!(out, "tally:");
    for reason in [Reason::Kept].into_iter().chain(Reason::ALL) {
        let count = answer.tally.count(reason);
        if count > 0 {
            let _ = writeln!(out, "  {}: {count}", reason.name());
        }
    }
    let _ = writeln!(out, "held: {}", desk.is_held(pod.uid));
    out
}

/// Scores as kube-scheduler gets them.
fn run_prioritize(input: &Input) -> String {
    let (mut desk, world) = desk_of(input);
    let names = input.offered();
    let nodes = ords(&world.snapshot, &names);
    let scores = desk.prioritize(&world, &input.own_pod(), &nodes);
    names.iter().zip(scores).map(|(name, score)| format!("{name}: {score}\n")).collect()
}

fn cases(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    let mut cases: Vec<PathBuf> =
        paths.filter(|path| path.to_string_lossy().ends_with(".in.yaml")).collect();
    cases.sort();
    cases
}

fn check(folder: &str, run: impl Fn(&Input) -> String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let cases = cases(&folder);
    assert!(!cases.is_empty(), "no cases in {}", folder.display());
    let mut wrong = Vec::new();
    for case in cases {
        let text = std::fs::read_to_string(&case).expect("a readable case");
        let input: Input = serde_saphyr::from_str(&text)
            .unwrap_or_else(|fault| unreachable!("{}: {fault}", case.display()));
        let found = format!("# {}\n{}", input.shows, run(&input));
        let out = case.to_string_lossy().replace(".in.yaml", ".out.yaml");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&out, &found).expect("a writable case");
        }
        let want = std::fs::read_to_string(&out).unwrap_or_default();
        if want != found {
            wrong.push(format!("{out}\n--- want\n{want}--- found\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_says_what_its_cases_say() {
    for spec in CATALOGUE {
        check(spec.name, |input| run_rule(spec, input));
    }
}

#[test]
fn every_folder_of_cases_is_run_and_no_output_is_left_over() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let run: Vec<&str> =
        CATALOGUE.iter().map(|spec| spec.name).chain(["filter", "prioritize"]).collect();
    for entry in std::fs::read_dir(&root).expect("the golden cases") {
        let folder = entry.expect("a readable folder").path();
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        assert!(run.contains(&name), "{} belongs to nothing", folder.display());
        for entry in std::fs::read_dir(&folder).expect("a folder of cases") {
            let path = entry.expect("a readable folder").path().to_string_lossy().into_owned();
            let twin = match path.strip_suffix(".out.yaml") {
                Some(case) => format!("{case}.in.yaml"),
                None => path.replace(".in.yaml", ".out.yaml"),
            };
            assert!(path.ends_with(".yaml") && Path::new(&twin).exists(), "{path} is alone");
        }
    }
}

#[test]
fn filter_answers_as_its_cases_say() {
    check("filter", run_filter);
}

#[test]
fn prioritize_scores_as_its_cases_say() {
    check("prioritize", run_prioritize);
}
