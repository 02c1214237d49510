//! `sigma-bench regret`: what a shortlist hides from kube-scheduler's own plugins.

mod site;

use std::sync::Arc;

use anyhow::Context;
use clap::Args;

use sigma::cli::table::{self, Align, Output};
use sigma::cli::{Failure, plans, print, stats};
use sigma::engine::{Answer, Decider, Naming};
use sigma::model::{Change, NodeOrd, Now, Pod};
use sigma::policy::{Plan, Role, Shortlist};
use sigma::replica::Replica;
use sigma::sim::{PodStream, Scheduler, SchedulerOptions, cluster};
use site::RegretSite;

const ABOUT: &str = "Measures what a shortlist hides from kube-scheduler's own plugins";

const LONG_ABOUT: &str = "\
Measures what a shortlist hides from kube-scheduler's own plugins.

Fills a cluster from a seed, pod by pod, with the model of kube-scheduler that `sigma demo` uses,
under the shipped policy without its limits. Templates differ in images, and some state preferences;
some nodes have soft taints. For each pod and each length of the list, in the same state: does the
list hold one of the nodes that kube-scheduler's plugins would like best of all that sigma keeps? By
soft taints, images, and the spread over nodes and zones that kube-scheduler applies by itself, with
default weights.

Regret is the share of pods, of those whose list is in force, for which it does not. It looks at the
pool that the policy prefers among those on offer: at the weight that deploy/ gives sigma,
kube-scheduler takes no node of a later one for its own points. `any pool` looks at all on offer,
`no images` at all but images. `in force` is the share of pods whose list is not off. Everything
depends on the seed alone.";

const EXAMPLES: &str = "\
Examples:
  sigma-bench regret                            10,000 nodes, 20,000 pods (half a minute)
  sigma-bench regret --nodes 1000 --pods 4000   a smaller cluster
  sigma-bench regret -o json | jq '.rows[] | select(.shortlist == \"policy\")'

Exit codes: 0 done, 1 failed, 2 bad flags.";

/// The policy in force.
const POLICY: &str = include_str!("regret/policy.yaml");
/// Lengths that are tried, beside what the policy's classes have.
const LENGTHS: [u16; 7] = [1, 2, 4, 8, 16, 32, 64];
/// The weight that `deploy/` gives us.
const EXTENDER_WEIGHT: i64 = 150;

/// Flags of `sigma-bench regret`.
#[derive(Debug, Args)]
#[command(about = ABOUT, long_about = LONG_ABOUT, after_help = EXAMPLES)]
pub(super) struct RegretArgs {
    /// Nodes of the cluster.
    #[arg(long, value_name = "N", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(10..=100_000))]
    nodes: u32,
    /// Pods that come, one after the other.
    #[arg(long, value_name = "N", default_value_t = 20_000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pods: u32,
    /// What all depends on.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// A table for a person, or one JSON object.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// What `-o json` prints.
#[derive(Debug, serde::Serialize)]
struct RegretReport {
    nodes: u32,
    pods: u32,
    seed: u64,
    rows: Vec<RegretRow>,
}

/// A length of the list.
#[derive(Debug, serde::Serialize)]
struct RegretRow {
    /// The length, or `policy`: what each class has.
    shortlist: String,
    class: String,
    /// Pods that some node may take, without `exempt`.
    pods: u64,
    in_force_percent: f64,
    regret_percent: f64,
    regret_any_pool_percent: f64,
    regret_without_images_percent: f64,
    mean_named: f64,
}

/// The nodes that may take a pod, by position, and what kube-scheduler prefers of all on offer.
struct KeptRun {
    all: Vec<u32>,
    /// Those of the pool that the policy prefers.
    of_first_pool: Vec<u32>,
    preferred: [Vec<i64>; 2],
}

/// A list under measurement.
struct Trial {
    shortlist: String,
    plan: Arc<Plan>,
    replica: Replica,
    /// By class, in the order of the policy.
    counts: Vec<Counts>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    pods: u64,
    in_force: u64,
    named: u64,
    regret: u64,
    regret_any_pool: u64,
    regret_without_images: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.pods += other.pods;
        self.in_force += other.in_force;
        self.named += other.named;
        self.regret += other.regret;
        self.regret_any_pool += other.regret_any_pool;
        self.regret_without_images += other.regret_without_images;
    }
}

impl Trial {
    /// `None`: what the policy's classes have.
    fn new(shortlist: Option<Shortlist>) -> Result<Self, Failure> {
        let mut plan = plans::compiled("policy.yaml", POLICY.as_bytes())?;
        if let Some(shortlist) = shortlist {
            let own = Arc::get_mut(&mut plan).context("a new plan is shared with nobody")?;
            let classes = own.classes.iter_mut().filter(|class| class.role != Role::Exempt);
            classes.for_each(|class| class.shortlist = shortlist);
        }
        let counts = vec![Counts::default(); plan.classes.len()];
        let shortlist = shortlist.map_or("policy".to_owned(), |it| it.nodes.to_string());
        let replica = Replica::new(plan.clone(), Arc::default(), Decider::default());
        Ok(Self { shortlist, plan, replica, counts })
    }

    fn ask(&mut self, pod: &Arc<Pod>, nodes: &[NodeOrd]) -> Answer {
        self.replica
            .decide(Now::default(), |decider, view, now| decider.filter(view, pod, nodes, now))
    }

    /// Compares the best of what was named with the best of what is kept.
    fn count(&mut self, answer: &Answer, kept: &KeptRun) {
        let counts = &mut self.counts[answer.class.index()];
        counts.pods += 1;
        if answer.naming != Naming::Best {
            return;
        }
        counts.in_force += 1;
        counts.named += answer.accepted.len() as u64;
        let [without_images, preferred] = &kept.preferred;
        let loses = |of: &[u32], by: &[i64]| {
            let best = |of: &[u32]| of.iter().map(|at| by[*at as usize]).max();
            u64::from(best(of) > best(&answer.accepted))
        };
        counts.regret += loses(&kept.of_first_pool, preferred);
        counts.regret_any_pool += loses(&kept.all, preferred);
        counts.regret_without_images += loses(&kept.all, without_images);
    }

    fn row(&self, class: &str, counts: Counts) -> RegretRow {
        let percent =
            |part: u64, of: u64| stats::rounded(part as f64 / of.max(1) as f64 * 100.0, 100.0);
        let in_force = counts.in_force;
        RegretRow {
            shortlist: self.shortlist.clone(),
            class: class.to_owned(),
            pods: counts.pods,
            in_force_percent: percent(in_force, counts.pods),
            regret_percent: percent(counts.regret, in_force),
            regret_any_pool_percent: percent(counts.regret_any_pool, in_force),
            regret_without_images_percent: percent(counts.regret_without_images, in_force),
            mean_named: stats::rounded(counts.named as f64 / in_force.max(1) as f64, 10.0),
        }
    }

    fn rows(&self) -> Vec<RegretRow> {
        let listed = self.plan.classes.iter().zip(&self.counts);
        let listed = listed.filter(|(class, _)| class.role != Role::Exempt);
        let mut sum = Counts::default();
        listed.clone().for_each(|(_, counts)| sum += *counts);
        let mut rows = vec![self.row("all", sum)];
        if self.shortlist == "policy" {
            rows.extend(listed.map(|(class, counts)| self.row(&class.name, *counts)));
        }
        rows
    }
}

/// Runs the bench.
pub(super) fn run(args: &RegretArgs) -> Result<(), Failure> {
    let mut trials = vec![Trial::new(None)?];
    for length in LENGTHS {
        trials.push(Trial::new(Some(Shortlist::of(length)))?);
    }
    fill(args, &mut trials)?;
    let rows = trials.iter().flat_map(Trial::rows).collect();
    let report = RegretReport { nodes: args.nodes, pods: args.pods, seed: args.seed, rows };
    match args.output {
        Output::Json => {
            print(&(serde_json::to_string(&report).map_err(anyhow::Error::from)? + "\n"))
        }
        Output::Table => print(&shown(&report)),
    }
}

/// The namespaces and nodes of the cluster, as the first lists tell them.
fn listed(site: &RegretSite, args: &RegretArgs) -> Vec<Change> {
    let namespaces = cluster(args.nodes, args.seed).namespaces.into_iter();
    let mut changes: Vec<Change> = namespaces.map(Change::NamespaceSeen).collect();
    changes.extend(site.nodes.iter().map(|it| Change::NodeSeen(Box::new(it.clone()))));
    changes
}

/// Places pod by pod as the first trial says, and counts for all of them.
fn fill(args: &RegretArgs, trials: &mut [Trial]) -> Result<(), Failure> {
    let mut site = RegretSite::new(args.nodes, args.seed);
    let mut all = Trial::new(Some(Shortlist::OFF))?;
    let mut changes = listed(&site, args);
    let options = SchedulerOptions {
        percentage_of_nodes_to_score: 0,
        extender_weight: EXTENDER_WEIGHT,
        seed: args.seed,
    };
    let mut scheduler = Scheduler::new(&site.nodes, options);
    for mut pod in PodStream::new(args.seed).take(args.pods as usize) {
        site.furnish(&mut pod);
        let pod = Arc::new(pod);
        for at in std::mem::take(&mut site.changed) {
            changes.push(Change::NodeSeen(Box::new(site.nodes[at as usize].clone())));
        }
        for trial in trials.iter_mut().chain([&mut all]) {
            trial.replica.see(changes.iter().cloned());
        }
        changes.clear();
        let view = all.replica.view();
        let snapshot = &view.snapshot;
        let offered = scheduler.find_feasible(&pod).feasible;
        let ord = |at: &u32| snapshot.names.ord(&site.nodes[*at as usize].name);
        let nodes: Vec<NodeOrd> =
            offered.iter().map(|at| ord(at).unwrap_or(NodeOrd::UNKNOWN)).collect();
        let answer = all.ask(&pod, &nodes);
        if answer.accepted.is_empty() {
            continue;
        }
        let class = all.plan.class(answer.class);
        let band = |at: &u32| class.band(snapshot.pool(nodes[*at as usize]));
        let first = answer.accepted.iter().map(band).min();
        let of_first_pool = answer.accepted.iter().copied().filter(|at| Some(band(at)) == first);
        let kept = KeptRun {
            of_first_pool: of_first_pool.collect(),
            preferred: site.preferred(&pod, &offered),
            all: answer.accepted,
        };
        let mut placed = None;
        for trial in &mut *trials {
            let answer = trial.ask(&pod, &nodes);
            trial.count(&answer, &kept);
            placed = placed.or(Some(answer));
        }
        let named = placed.map(|answer| answer.accepted).unwrap_or_default();
        let ords: Vec<NodeOrd> = named.iter().map(|at| nodes[*at as usize]).collect();
        let candidates: Vec<u32> = named.iter().map(|at| offered[*at as usize]).collect();
        let points = all
            .replica
            .decide(Now::default(), |decider, view, _| decider.prioritize(view, &pod, &ords));
        let points: Vec<i64> = points.into_iter().map(i64::from).collect();
        let Some(at) = scheduler.select(&pod, &candidates, &points) else {
            continue;
        };
        scheduler.assume(&pod, at);
        site.place(&pod, at);
        let node = Some(site.nodes[at as usize].name.clone());
        changes.push(Change::PodSeen(Box::new(Pod { node, ..(*pod).clone() })));
    }
    Ok(())
}

fn shown(report: &RegretReport) -> String {
    let mut table = table::new(&[
        ("shortlist", Align::Right),
        ("class", Align::Left),
        ("pods", Align::Right),
        ("in force", Align::Right),
        ("regret", Align::Right),
        ("any pool", Align::Right),
        ("no images", Align::Right),
        ("named", Align::Right),
    ]);
    for row in &report.rows {
        let percent = |value: f64| format!("{value:.2} %");
        table.add_row([
            row.shortlist.clone(),
            row.class.clone(),
            row.pods.to_string(),
            percent(row.in_force_percent),
            percent(row.regret_percent),
            percent(row.regret_any_pool_percent),
            percent(row.regret_without_images_percent),
            format!("{:.1}", row.mean_named),
        ]);
    }
    format!("{table}\n{} nodes, {} pods, seed {}\n", report.nodes, report.pods, report.seed)
}
