//! The figures of all runs: one row for each means.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;

use super::ActionKind;
use super::BenchArgs;
use super::run::{Nominator, Run};

/// What `-o json` prints of a means. Figures are medians over its runs.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Row {
    pub(super) means: String,
    nodes: u32,
    pods: u32,
    pub(super) pods_per_second: f64,
    /// Of each run, in order.
    pub(super) pods_per_second_runs: Vec<f64>,
    /// To the pods a second of the first means.
    ratio: Option<f64>,
    /// What the same means was in the second half of each round, to the first half: noise.
    aa: Option<f64>,
    algorithm_ms: f64,
    scheduler_cpu_ms_per_pod: f64,
    extender_cpu_ms_per_pod: f64,
    /// How many nodes were chosen ahead, all runs together.
    targets: u64,
    /// What became of the pods of all runs, by what they require.
    kinds: BTreeMap<&'static str, Nominator>,
}

/// A row for each means that has a run.
pub(super) fn rows(args: &BenchArgs, runs: &[(ActionKind, Run)]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for means in &args.means {
        let of: Vec<&Run> = runs.iter().filter(|(of, _)| of == means).map(|(_, run)| run).collect();
        let by = |figure: fn(&Run) -> f64| of.iter().map(|run| figure(run)).collect::<Vec<_>>();
        let speeds = by(|run| run.pods_per_second);
        let Some(pods_per_second) = median(&speeds) else { continue };
        let half = |first: usize| {
            median(&speeds.iter().skip(first).step_by(2).copied().collect::<Vec<_>>())
        };
        let middle = |figure| round(median(&by(figure)).unwrap_or_default(), 1000.0);
        let base = rows.first().map_or(pods_per_second, |row| row.pods_per_second);
        rows.push(Row {
            means: means.name(),
            nodes: args.nodes,
            pods: args.pods,
            pods_per_second,
            ratio: Some(round(pods_per_second / base, 1000.0)),
            aa: half(1).zip(half(0)).map(|(back, there)| round(back / there, 1000.0)),
            algorithm_ms: middle(|run| run.algorithm_ms),
            scheduler_cpu_ms_per_pod: middle(|run| run.scheduler_ms_per_pod),
            extender_cpu_ms_per_pod: middle(|run| run.extender_ms_per_pod),
            targets: of.iter().map(|run| run.targets).sum(),
            kinds: kinds(&of),
            pods_per_second_runs: speeds.iter().map(|it| round(*it, 10.0)).collect(),
        });
    }
    rows.iter_mut().for_each(|row| row.pods_per_second = round(row.pods_per_second, 10.0));
    rows
}

fn kinds(runs: &[&Run]) -> BTreeMap<&'static str, Nominator> {
    let mut kinds: BTreeMap<&'static str, Nominator> = BTreeMap::new();
    for (kind, more) in runs.iter().flat_map(|run| &run.kinds) {
        kinds.entry(kind).or_default().add(more);
    }
    kinds
}

/// One object a line.
pub(super) fn json(rows: &[Row]) -> Result<String> {
    rows.iter().map(|row| Ok(serde_json::to_string(row)? + "\n")).collect()
}

/// Columns that align.
pub(super) fn table(rows: &[Row]) -> String {
    let mut out = format!(
        "{:<16} {:>7} {:>15} {:>7} {:>7} {:>10} {:>13} {:>12}\n",
        "means", "pods/s", "least – most", "ratio", "A/A", "algo ms", "scheduler ms", "extender ms"
    );
    for row in rows {
        let (least, most) = row.range();
        let ratio = |it: Option<f64>| it.map_or_else(String::new, |it| format!("{it:.2}"));
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{:<16} {:>7.0} {:>15} {:>7} {:>7} {:>10.2} {:>13.2} {:>12.2}",
            row.means,
            row.pods_per_second,
            format!("{least:.0} – {most:.0}"),
            ratio(row.ratio),
            ratio(row.aa),
            row.algorithm_ms,
            row.scheduler_cpu_ms_per_pod,
            row.extender_cpu_ms_per_pod,
        );
    }
    if let Some(row) = rows.first() {
        let (nodes, pods, runs) = (row.nodes, row.pods, row.pods_per_second_runs.len());
        let _ = writeln!(
            out,
            "\n{nodes} nodes, {pods} pods a run, {runs} runs each; medians. ms are CPU time a pod; algo is \
             kube-scheduler's\nscheduling_algorithm_duration. Ratio: to the first row. A/A: the same means, \
             second run of a round to the first. ms of a kind:\nfrom the binding before to its own, on average."
        );
    }
    let of_interest = |row: &&Row| row.targets > 0 || row.kinds.len() > 1;
    rows.iter().filter(of_interest).for_each(|row| out += &shares(row));
    out
}

/// How many pods of each kind were nominated ahead, how many are where they were to go, and how long one
/// took.
fn shares(row: &Row) -> String {
    let (means, targets) = (&row.means, row.targets);
    let mut out = format!(
        "\n{means}, all runs; {targets} nodes chosen ahead\n{:<16} {:>7} {:>15} {:>7} {:>15} {:>7} {:>7}\n",
        "kind", "pods", "nominated ahead", "%", "on that node", "%", "ms"
    );
    let mut all = Nominator::default();
    let mut line = |kind: &str, it: Nominator| {
        let percent = |part: u64, of: u64| 100.0 * part as f64 / of.max(1) as f64;
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{kind:<16} {:>7} {:>15} {:>7.1} {:>15} {:>7.1} {:>7.1}",
            it.pods,
            it.planned,
            percent(it.planned, it.pods),
            it.landed,
            percent(it.landed, it.planned),
            it.ms / it.pods.max(1) as f64,
        );
    };
    for (kind, it) in &row.kinds {
        line(kind, *it);
        all.add(it);
    }
    line("all", all);
    out
}

impl Row {
    /// The slowest run and the fastest.
    pub(super) fn range(&self) -> (f64, f64) {
        let runs = || self.pods_per_second_runs.iter().copied();
        (runs().fold(f64::INFINITY, f64::min), runs().fold(0.0, f64::max))
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(f64::midpoint(sorted[(sorted.len() - 1) / 2], upper))
}

fn round(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}
