//! The figures of a run: one JSON object a row, or a table for a person.

use std::fmt::Write as _;
use std::time::Duration;

use super::extender::ExtenderCounts;
use super::rounds::{Measured, PODS_PER_BLOCK};
use super::side::VERBS;
use crate::cpus::ReservedCpus;
use crate::stats::{interval, median};
use sigma::cli::stats::{nearest_rank, rounded};
use sigma::cli::table::{self, Align};

/// Rounds that a claim needs.
pub(super) const MIN_ROUNDS: usize = 200;
const SEED: u64 = 1;

/// What `-o json` prints of a verb at one number of names. Times are round trips in µs, ratios the
/// peer's time ÷ ours, `low` and `high` the ends of 95 % intervals.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct WireRow {
    pub(super) verb: &'static str,
    names: usize,
    p50_us: f64,
    p99_us: f64,
    p99_over_p50: f64,
    peer_p50_us: Option<f64>,
    ratio: Option<f64>,
    ratio_low: Option<f64>,
    ratio_high: Option<f64>,
    /// Of ours to a second process of ours: how far from 1 noise alone gets.
    aa_low: Option<f64>,
    aa_high: Option<f64>,
    /// Mean time of the handler, and the larger cluster's ÷ ours.
    handler_us: f64,
    handler_ratio: Option<f64>,
    /// Events that came by the watch and were applied meanwhile, and how many that were a second.
    events: u64,
    events_per_second: f64,
    #[serde(skip)]
    more: More,
}

/// What only the table shows.
#[derive(Clone, Debug)]
struct More {
    min_us: f64,
    p25_us: f64,
    peer_min_us: Option<f64>,
    rounds: usize,
}

/// What the processes counted themselves: ours, its twin, and the one in a larger cluster.
pub(super) struct Own {
    pub(super) before: Vec<ExtenderCounts>,
    pub(super) after: Vec<ExtenderCounts>,
    /// Between the two.
    pub(super) took: Duration,
}

impl Own {
    /// The mean of a process's handler.
    fn handler_us(&self, process: usize, verb: usize) -> Option<f64> {
        let (before, after) = (self.before.get(process)?, self.after.get(process)?);
        let calls = after.calls[verb] - before.calls[verb];
        Some((after.seconds[verb] - before.seconds[verb]) / calls.max(1) as f64 * 1e6)
    }

    fn events(&self) -> u64 {
        self.after[0].events - self.before[0].events
    }
}

impl WireRow {
    /// Both verbs' rows.
    pub(super) fn of(names: usize, measured: &Measured, own: &Own) -> Vec<Self> {
        (0..VERBS.len()).map(|verb| Self::new(verb, names, measured, own)).collect()
    }

    fn new(verb: usize, names: usize, measured: &Measured, own: &Own) -> Self {
        let (peer, same) = (&measured.peer, &measured.same);
        let beside_peer = !peer.ours[verb].is_empty();
        let ours = sorted_us(if beside_peer { &peer.ours[verb] } else { &same.ours[verb] });
        let peers = sorted_us(&peer.others[verb]);
        let peers_at = |permille| beside_peer.then(|| nearest_rank(&peers, permille));
        let (ratio_low, ratio_high) = ratios(&peer.logs[verb]);
        let (aa_low, aa_high) = ratios(&same.logs[verb]);
        let (p50_us, p99_us) = (nearest_rank(&ours, 500), nearest_rank(&ours, 990));
        let handler_us = own.handler_us(0, verb).unwrap_or_default();
        let handler_ratio = own.handler_us(2, verb).map(|larger| larger / handler_us);
        Self {
            verb: VERBS[verb],
            names,
            p50_us,
            p99_us,
            p99_over_p50: rounded(p99_us / p50_us, 100.0),
            peer_p50_us: peers_at(500),
            ratio: median(&mut peer.logs[verb].clone()).map(ratio),
            ratio_low,
            ratio_high,
            aa_low,
            aa_high,
            handler_us: rounded(handler_us, 10.0),
            handler_ratio: handler_ratio.map(|it| rounded(it, 100.0)),
            events: own.events(),
            events_per_second: rounded(own.events() as f64 / own.took.as_secs_f64(), 1.0),
            more: More {
                min_us: nearest_rank(&ours, 0),
                p25_us: nearest_rank(&ours, 250),
                peer_min_us: peers_at(0),
                rounds: if beside_peer { peer.logs[verb].len() } else { same.logs[verb].len() },
            },
        }
    }

    /// What may be said of the ratio: nothing, when its interval comes closer to 1 than twice as far
    /// as noise alone got.
    fn claim(&self) -> String {
        let (Some(ratio), Some(low), Some(high)) = (self.ratio, self.ratio_low, self.ratio_high)
        else {
            return String::new();
        };
        if self.more.rounds < MIN_ROUNDS {
            return format!("none: needs {MIN_ROUNDS} blocks");
        }
        let aa = [self.aa_low, self.aa_high].into_iter().flatten();
        let noise = aa.map(|it| it.ln().abs()).fold(0.0, f64::max) * 2.0;
        if low.ln() > noise {
            format!("sigma {ratio:.2} × as fast")
        } else if -high.ln() > noise {
            format!("peer {:.2} × as fast", 1.0 / ratio)
        } else {
            "none: within noise".to_owned()
        }
    }
}

/// Microseconds to a tenth, ascending.
fn sorted_us(times: &[Duration]) -> Vec<f64> {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.iter().map(|it| rounded(it.as_secs_f64() * 1e6, 10.0)).collect()
}

fn ratios(logs: &[f64]) -> (Option<f64>, Option<f64>) {
    interval(logs, SEED).map(|(low, high)| (ratio(low), ratio(high))).unzip()
}

fn ratio(log: f64) -> f64 {
    rounded(log.exp(), 1e4)
}

/// One object a line.
pub(super) fn json(rows: &[WireRow]) -> anyhow::Result<String> {
    let lines = rows.iter().map(|row| Ok(serde_json::to_string(row)? + "\n"));
    lines.collect()
}

/// What a run was like, for the table.
pub(super) struct RunConditions {
    pub(super) case: &'static str,
    pub(super) num_nodes: u32,
    pub(super) peer: Option<String>,
    pub(super) apart: Option<ReservedCpus>,
    /// `/proc/loadavg` before and after.
    pub(super) load: [String; 2],
    /// What shortcuts served.
    pub(super) hit_rates: String,
}

/// A table, and what must be known to read it.
pub(super) fn table(rows: &[WireRow], conditions: &RunConditions) -> String {
    let mut table = table::new(&[
        ("verb", Align::Left),
        ("names", Align::Right),
        ("min", Align::Right),
        ("p25", Align::Right),
        ("p50", Align::Right),
        ("p99 µs", Align::Right),
        ("p99 ÷ p50", Align::Right),
        ("peer min", Align::Right),
        ("p50 µs", Align::Right),
        ("peer ÷ sigma", Align::Right),
        ("sigma ÷ sigma", Align::Right),
        ("claim", Align::Left),
    ]);
    for row in rows {
        let us = |us: Option<f64>| us.map_or_else(String::new, |it| format!("{it:.1}"));
        let between = |low: Option<f64>, high: Option<f64>| {
            low.zip(high).map_or_else(String::new, |(low, high)| format!("{low:.3} – {high:.3}"))
        };
        table.add_row([
            row.verb.to_owned(),
            row.names.to_string(),
            us(Some(row.more.min_us)),
            us(Some(row.more.p25_us)),
            us(Some(row.p50_us)),
            us(Some(row.p99_us)),
            format!("{:.2}", row.p99_over_p50),
            us(row.more.peer_min_us),
            us(row.peer_p50_us),
            between(row.ratio_low, row.ratio_high),
            between(row.aa_low, row.aa_high),
            row.claim(),
        ]);
    }
    heading(conditions) + &table.to_string() + &footing(rows, conditions)
}

fn heading(conditions: &RunConditions) -> String {
    let RunConditions { case, num_nodes, peer, .. } = conditions;
    let peer = peer.as_deref().unwrap_or("none");
    format!(
        "Round trips on loopback, {num_nodes} nodes, case {case}, peer {peer}\n\
         Every rule is on. All names that no rule refuses come back; nothing is held.\n\n"
    )
}

fn footing(rows: &[WireRow], conditions: &RunConditions) -> String {
    let mut out = String::from("\n\n");
    let rounds = || rows.iter().map(|row| row.more.rounds);
    let (fewest, most) = (rounds().min().unwrap_or(0), rounds().max().unwrap_or(0));
    let rounds = if fewest == most { most.to_string() } else { format!("{fewest} to {most}") };
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "Ratios: 95 % intervals of the median of {rounds} blocks A B B A of {} requests each.\n\
         sigma ÷ sigma is two processes of the same program: a claim must be twice as far from 1.",
        PODS_PER_BLOCK * VERBS.len()
    );
    let _ = match conditions.apart {
        Some(ReservedCpus { client, servers }) => {
            writeln!(out, "The client is on CPU {client}, sigma on CPU {servers}.")
        }
        None => writeln!(out, "Client and sigma are not pinned (no taskset, or one CPU)."),
    };
    for row in rows {
        let WireRow { verb, names, handler_us, handler_ratio, .. } = row;
        let ratio = handler_ratio.map(|it| format!(", {it:.2} × as long in the larger cluster"));
        let ratio = ratio.unwrap_or_default();
        let _ = writeln!(out, "Handler of {verb}, {names} names: {handler_us:.1} µs{ratio}.");
    }
    for row in rows.iter().filter(|row| row.events > 0 && row.verb == VERBS[0]) {
        let WireRow { names, events, events_per_second, .. } = row;
        let _ = writeln!(
            out,
            "Pod events applied beside {names} names: {events}, {events_per_second:.0} a second."
        );
    }
    let _ = writeln!(out, "Names that shortcuts served: {}.", conditions.hit_rates);
    let [before, after] = &conditions.load;
    let _ = writeln!(out, "Load average before: {before}; after: {after}.");
    out
}
