//! The figures of a run: as one JSON object, and as tables for a person.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use comfy_table::Table;
use sha2::{Digest, Sha256};

use super::drive::{EXTENDER_WEIGHT, PodOutcome};
use crate::cli::stats::{nearest_rank, rounded};
use crate::cli::table::{self, Align};
use crate::engine::View;
use crate::model::{Node, Reason};

/// What `-o json` prints.
#[derive(Debug, serde::Serialize)]
pub(super) struct Summary {
    nodes: usize,
    pods: usize,
    bound: usize,
    unbound: usize,
    pools: Vec<PoolRow>,
    filter: VerbRow,
    prioritize: VerbRow,
    /// Filter calls per second of the whole run.
    decisions_per_second: f64,
    rejected: Vec<Rejected>,
    checksum: String,
}

#[derive(Debug, serde::Serialize)]
struct PoolRow {
    name: String,
    nodes: u32,
    pods: i64,
    /// Σ requests ÷ allocatable; `None` for an elastic pool, whose capacity is not real.
    cpu_allocated_pct: Option<f64>,
    memory_allocated_pct: Option<f64>,
}

#[derive(Debug, serde::Serialize)]
struct VerbRow {
    calls: usize,
    p50_us: u32,
    p99_us: u32,
}

/// Unbound pods with the same final reason.
#[derive(Debug, serde::Serialize)]
struct Rejected {
    reason: String,
    count: usize,
}

impl Summary {
    /// Counts what became of all pods; pool sums are those of the extender's own last view.
    pub(super) fn new(nodes: &[Node], outcome: &PodOutcome, view: &View) -> Self {
        let mut rejected: BTreeMap<&str, usize> = BTreeMap::new();
        for pod in &outcome.unbound {
            *rejected.entry(&pod.reason).or_default() += 1;
        }
        let mut rejected: Vec<Rejected> = rejected
            .into_iter()
            .map(|(reason, count)| Rejected { reason: reason.to_owned(), count })
            .collect();
        rejected.sort_by_key(|it| std::cmp::Reverse(it.count));
        let seconds = outcome.elapsed.as_secs_f64();
        let decisions = outcome.filter_us.len() as f64;
        Self {
            nodes: nodes.len(),
            pods: outcome.placements.len() + outcome.unbound.len(),
            bound: outcome.placements.len(),
            unbound: outcome.unbound.len(),
            pools: pool_rows(view),
            filter: VerbRow::new(&outcome.filter_us),
            prioritize: VerbRow::new(&outcome.prioritize_us),
            decisions_per_second: if decisions > 0.0 {
                rounded(decisions / seconds, 10.0)
            } else {
                0.0
            },
            rejected,
            checksum: checksum(nodes, outcome),
        }
    }

    /// One JSON object with a newline.
    pub(super) fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Tables for a person.
    pub(super) fn table(&self, seed: u64, outcome: &PodOutcome, view: &View) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{} nodes, {} pods, seed {seed}, policy {}: {} bound, {} unbound",
            self.nodes, self.pods, view.plan.name, self.bound, self.unbound
        );
        out.push_str(
            "The nodes were empty at the start: every pod below was decided in this run.\n\n",
        );
        let _ = writeln!(
            out,
            "How full the pools are (requests, of allocatable)\n{}\n",
            self.pool_table()
        );
        let _ = writeln!(
            out,
            "Where each class went (pools in the policy's order of preference)\n{}\n",
            class_table(outcome, view)
        );
        if !self.rejected.is_empty() {
            let _ = writeln!(
                out,
                "Pods without a node, by the last reason (retry passes made: {})\n{}\n",
                outcome.num_retry_passes,
                self.rejected_table()
            );
        }
        let _ = writeln!(out, "Calls over HTTP as the scheduler sees them\n{}", self.verb_table());
        let _ = writeln!(
            out,
            "{} decisions/s: filter calls ÷ the whole run of {:.1} s, which includes the model of \
             kube-scheduler\nextender weight {EXTENDER_WEIGHT}, checksum {}",
            self.decisions_per_second,
            outcome.elapsed.as_secs_f64(),
            self.checksum
        );
        out
    }

    fn pool_table(&self) -> Table {
        let mut table = table(&["pool", "nodes", "pods", "CPU", "memory"], 1);
        let percent = |pct: Option<f64>| {
            pct.map_or_else(|| "elastic".to_owned(), |pct| format!("{pct:.1} %"))
        };
        for pool in &self.pools {
            table.add_row(vec![
                pool.name.clone(),
                pool.nodes.to_string(),
                pool.pods.to_string(),
                percent(pool.cpu_allocated_pct),
                percent(pool.memory_allocated_pct),
            ]);
        }
        let (nodes, pods) = self.pools.iter().fold((0, 0), |(nodes, pods), pool| {
            (nodes + pool.nodes as usize, pods + pool.pods as usize)
        });
        if nodes < self.nodes {
            let rest =
                [self.nodes - nodes, self.bound.saturating_sub(pods)].map(|it| it.to_string());
            let [nodes, pods] = rest;
            table.add_row(vec!["(no pool)".to_owned(), nodes, pods, String::new(), String::new()]);
        }
        table
    }

    fn rejected_table(&self) -> Table {
        let mut table = table(&["reason", "pods", "what the pod's owner reads"], 1);
        for it in &self.rejected {
            let reason = Reason::ALL.into_iter().find(|reason| reason.name() == it.reason);
            let text = reason.map_or("refused by kube-scheduler itself", Reason::text);
            table.add_row(vec![it.reason.clone(), it.count.to_string(), text.to_owned()]);
        }
        if let Some(column) = table.column_mut(2) {
            column.set_cell_alignment(comfy_table::CellAlignment::Left);
        }
        table
    }

    fn verb_table(&self) -> Table {
        let mut table = table(&["verb", "calls", "p50 µs", "p99 µs"], 1);
        for (verb, row) in [("filter", &self.filter), ("prioritize", &self.prioritize)] {
            let figures = [row.calls.to_string(), row.p50_us.to_string(), row.p99_us.to_string()];
            table.add_row(std::iter::once(verb.to_owned()).chain(figures));
        }
        table
    }
}

impl VerbRow {
    fn new(micros: &[u32]) -> Self {
        let mut sorted = micros.to_vec();
        sorted.sort_unstable();
        let at = |permille| nearest_rank(&sorted, permille);
        Self { calls: sorted.len(), p50_us: at(500), p99_us: at(990) }
    }
}

/// `pod,node,cpu_milli,memory_bytes` with a header, by pod: whoever doubts the figures can recount.
pub(super) fn bindings_csv(nodes: &[Node], outcome: &PodOutcome) -> String {
    let mut rows: Vec<String> = outcome
        .placements
        .iter()
        .map(|it| {
            let node = &nodes[it.node as usize].name;
            let (cpu, memory) = (it.requests.cpu_milli, it.requests.memory_bytes);
            format!("{},{node},{cpu},{memory}\n", it.pod)
        })
        .collect();
    rows.sort_unstable();
    std::iter::once("pod,node,cpu_milli,memory_bytes\n".to_owned()).chain(rows).collect()
}

/// SHA-256 over the sorted lines `pod node`.
fn checksum(nodes: &[Node], outcome: &PodOutcome) -> String {
    let lines = outcome.placements.iter();
    let lines = lines.map(|it| format!("{} {}\n", it.pod, nodes[it.node as usize].name));
    let mut lines: Vec<String> = lines.collect();
    lines.sort_unstable();
    let mut hash = Sha256::new();
    for line in &lines {
        hash.update(line.as_bytes());
    }
    hash.finalize().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn pool_rows(view: &View) -> Vec<PoolRow> {
    let snapshot = &view.snapshot;
    let rows = snapshot.pools.iter().zip(&*snapshot.pool_use);
    let rows = rows.map(|(pool, sums)| {
        let percent = |used: i64, has: i64| {
            let share = if has > 0 { used as f64 / has as f64 * 100.0 } else { 0.0 };
            (!pool.elastic).then(|| rounded(share, 100.0))
        };
        let (used, has) = (sums.used, sums.allocatable);
        PoolRow {
            name: pool.name.clone(),
            nodes: sums.nodes,
            pods: used.pods,
            cpu_allocated_pct: percent(used.cpu_milli, has.cpu_milli),
            memory_allocated_pct: percent(used.memory_bytes, has.memory_bytes),
        }
    });
    rows.collect()
}

fn class_table(outcome: &PodOutcome, view: &View) -> Table {
    let plan = &view.plan;
    let pools = plan.pools.iter().map(|pool| pool.name.as_str());
    let header: Vec<&str> =
        ["class", "may go to", "pods"].into_iter().chain(pools).chain(["unbound"]).collect();
    let mut table = table(&header, 2);
    let mut counts = vec![vec![0_usize; plan.pools.len() + 1]; plan.classes.len()];
    let mut unbound = vec![0_usize; plan.classes.len()];
    for it in &outcome.placements {
        counts[it.class.index()][it.pool.index().min(plan.pools.len())] += 1;
    }
    for it in &outcome.unbound {
        unbound[it.class.index()] += 1;
    }
    for ((class, counts), unbound) in plan.classes.iter().zip(&counts).zip(&unbound) {
        let order = class.params.order.as_ref().map_or_else(
            || "any node".to_owned(),
            |order| {
                let known = order.iter().filter_map(|pool| plan.pools.get(pool.index()));
                known.map(|pool| pool.name.as_str()).collect::<Vec<_>>().join(" > ")
            },
        );
        let pods = counts.iter().sum::<usize>() + unbound;
        let counted = counts.iter().take(plan.pools.len()).map(usize::to_string);
        let row = [class.name.clone(), order, pods.to_string()].into_iter();
        table.add_row(row.chain(counted).chain([unbound.to_string()]));
    }
    table
}

/// A table whose columns from `first_number` on are numbers.
fn table(header: &[&str], first_number: usize) -> Table {
    let align = |at| if at < first_number { Align::Left } else { Align::Right };
    let columns = header.iter().enumerate().map(|(at, name)| (*name, align(at)));
    table::new(&columns.collect::<Vec<_>>())
}
