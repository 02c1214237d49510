//! Golden cases: `tests/golden/<rule>/<case>.in.yaml` beside `<case>.out.yaml`.
//!
//! A rule is built through the catalogue from a class's parameters and judges over a snapshot that
//! a real `ClusterState` published. `filter/` and `prioritize/` are whole decisions of a decider.
//! `UPDATE=1 cargo test --test golden` rewrites the outputs; read the difference before committing.

#[path = "golden/input.rs"]
mod input;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sigma::cluster::{Holds, Snapshot};
use sigma::engine::{Answer, Decider, Naming, View};
use sigma::model::{NodeOrd, Now, Reason, Tick};
use sigma::policy::Plan;
use sigma::rules::{
    CATALOGUE, Candidates, Fill, Offer, Rule, RuleContext, RuleSpec, Scored, VictimNode, VictimPod,
};

use input::{Input, pods_of};

/// The reasons of rules that compare with a limit: each has the numbers.
const LIMITS: [Reason; 4] =
    [Reason::Insufficient, Reason::AllocationLimit, Reason::ElasticLimit, Reason::MaxReplicaShare];

fn ords(snapshot: &Snapshot, names: &[String]) -> Vec<NodeOrd> {
    names.iter().map(|name| snapshot.names.ord(name).unwrap_or(NodeOrd::UNKNOWN)).collect()
}

/// A node whose pods are all victims.
fn candidate(view: &View, node: NodeOrd) -> Option<VictimNode<'_>> {
    let victims = view.snapshot.pods_on(node).iter();
    let class = |pod| &view.class(view.classify_placed(pod)).params;
    let victims = victims.map(|pod| VictimPod { pod, class: class(pod) }).collect();
    Some(VictimNode { node, victims })
}

/// What one rule says of each node.
fn run_rule(spec: &RuleSpec, input: &Input) -> String {
    let Some(rule) = (spec.build)(&input.class_params()) else {
        return "nothing to do for this class\n".to_owned();
    };
    let plan = Plan::build(&input.settings(), String::new());
    let snapshot = input.snapshot(&plan);
    let view = View { snapshot: snapshot.clone(), plan, plan_generation: 1, now: Now::default() };
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
    let said: Vec<String> = holds.seen_by(&snapshot, &pod, |uncommitted| {
        let (snapshot, extended, now) = (&*snapshot, &*extended, Now::default());
        let cx = RuleContext { snapshot, uncommitted, pod: &pod, extended, now };
        match &rule {
            Rule::Filter(filter) => {
                let mut verdicts = vec![Reason::Kept; nodes.len()];
                filter.judge(&cx, &mut Offer { nodes: &nodes, verdicts: &mut verdicts });
                for (node, verdict) in nodes.iter().zip(&verdicts) {
                    let bounds = filter.bounds(&cx, *node);
                    let mut exceeded = bounds.iter().filter(|it| it.is_exceeded());
                    let is_behind = exceeded.any(|it| it.reason == *verdict);
                    assert_eq!(is_behind, LIMITS.contains(verdict), "{bounds:?}: {verdict:?}");
                    let is_kept = *verdict == Reason::Kept;
                    assert!(!is_kept || !bounds.iter().any(|it| it.is_exceeded()), "{bounds:?}");
                }
                verdicts.iter().map(|verdict| verdict.name().to_owned()).collect()
            }
            Rule::Scorer(scorer) => {
                let (mut points, mut fills) = (Vec::new(), Vec::new());
                Fill::of(&cx, &nodes, &mut fills);
                let (fills, points, buffers) = (&fills[..], &mut points, &mut Default::default());
                scorer.score(&cx, Scored { nodes: &nodes, fills, points, buffers });
                assert!(points.is_empty() || points.len() == nodes.len());
                points.resize(nodes.len(), 0);
                points.iter().map(u16::to_string).collect()
            }
            Rule::Candidates(rule) => {
                let mut candidates = Candidates::new(nodes.iter().map(|it| candidate(&view, *it)));
                rule.drop_candidates(&cx, &mut candidates);
                let are_left = candidates.are_left().into_iter();
                are_left.map(|it| if it { "left" } else { "dropped" }.to_owned()).collect()
            }
        }
    });
    names.iter().zip(said).map(|(name, said)| format!("{name}: {said}\n")).collect()
}

fn decider_of(input: &Input) -> (Decider, View) {
    let plan = Plan::build(&input.settings(), String::new());
    let snapshot = input.snapshot(&plan);
    let view = View { snapshot, plan, plan_generation: 1, now: Now::default() };
    let mut decider = Decider::default();
    // A held pod is one that was answered with just these nodes.
    for hold in &input.holds {
        for pod in pods_of(&hold.pod) {
            let nodes = ords(&view.snapshot, &hold.nodes);
            let answer = decider.filter(&view, &Arc::new(pod), &nodes, Tick(0));
            assert_eq!(answer.accepted.len(), nodes.len(), "a hold that is refused itself");
        }
    }
    (decider, view)
}

/// A whole answer.
fn run_filter(input: &Input) -> String {
    let (mut decider, view) = decider_of(input);
    let names = input.offered();
    let nodes = ords(&view.snapshot, &names);
    let pod = Arc::new(input.own_pod());
    let answer: Answer = decider.filter(&view, &pod, &nodes, Tick(0));
    let mut out = format!("class: {}\n", view.class(answer.class).name);
    if answer.claimed_more {
        out += "claimedMore: true\n";
    }
    if let Naming::Off(why) = answer.naming {
        let _ = writeln!(out, "shortlistOff: {}", why.name());
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
    let _ = writeln!(out, "held: {}", decider.is_held(pod.uid));
    out
}

/// Scores as kube-scheduler gets them.
fn run_prioritize(input: &Input) -> String {
    let (mut decider, view) = decider_of(input);
    let names = input.offered();
    let nodes = ords(&view.snapshot, &names);
    let scores = decider.prioritize(&view, &input.own_pod(), &nodes);
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
    let entries = std::fs::read_dir(&root).expect("the golden cases");
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    for folder in paths.filter(|it| it.is_dir()) {
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
