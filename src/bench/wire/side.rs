//! One of the two that are compared: a connection, what was asked over it, how long it took.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::setting::{OfferedPod, Setting};
use sigma::cli::loopback::client::Client;
use sigma::cli::loopback::wire::{self, FilterReply, HostPriority};

/// The verbs, in the order in which kube-scheduler calls them.
pub(super) const VERBS: [&str; 2] = ["filter", "prioritize"];

/// Round trips of a block, by verb.
pub(super) type Times = [Vec<Duration>; 2];

/// An extender that is asked.
pub(super) struct Side<'a> {
    setting: &'a Setting,
    client: Client,
    /// What comes before the verb: the path of kube-scheduler's `urlPrefix`.
    prefix: String,
    /// Whose fault an error is.
    name: String,
    /// It need not name all nodes that it accepts.
    names_few: bool,
    body: String,
}

impl<'a> Side<'a> {
    pub(super) fn new(setting: &'a Setting, client: Client, prefix: &str, name: &str) -> Self {
        let prefix = prefix.trim_end_matches('/').to_owned();
        let (name, body) = (name.to_owned(), String::new());
        Self { setting, client, prefix, name, names_few: false, body }
    }

    /// The same side, which names a few of the nodes that it accepts.
    pub(super) fn naming_few(self) -> Self {
        Self { names_few: true, ..self }
    }

    /// Takes each pod through filter and, with the names that filter accepted, prioritize. A round
    /// trip is from the first byte of the request to the last of the answer; that both are written
    /// and read as JSON is not in it.
    pub(super) fn ask(&mut self, asks: &[OfferedPod]) -> anyhow::Result<Times> {
        let mut times = Times::default();
        for ask in asks {
            self.ask_one(ask, &mut times).with_context(|| self.name.clone())?;
        }
        Ok(times)
    }

    fn ask_one(&mut self, ask: &OfferedPod, times: &mut Times) -> anyhow::Result<()> {
        let accepted = self.filter(ask, &mut times[0])?;
        if accepted.is_empty() {
            return Ok(());
        }
        self.prioritize(ask, &accepted, &mut times[1])
    }

    /// The accepted nodes, in the order of the answer.
    fn filter(&mut self, ask: &OfferedPod, times: &mut Vec<Duration>) -> anyhow::Result<Vec<u32>> {
        let (setting, few) = (self.setting, self.names_few);
        let reply = self.call(0, ask, &ask.offered, times)?;
        let reply: FilterReply<'_> =
            serde_json::from_slice(reply).context("its filter answer is not readable")?;
        if let Some(error) = reply.error.filter(|error| !error.is_empty()) {
            bail!("filter answered an error: {error}");
        }
        let names = reply.node_names.unwrap_or_default();
        accepted(setting, &ask.offered, &names, few)
    }

    fn prioritize(
        &mut self,
        ask: &OfferedPod,
        candidates: &[u32],
        times: &mut Vec<Duration>,
    ) -> anyhow::Result<()> {
        let reply = self.call(1, ask, candidates, times)?;
        let scored: Vec<HostPriority<'_>> =
            serde_json::from_slice(reply).context("its prioritize answer is not readable")?;
        let (asked, scored) = (candidates.len(), scored.len());
        ensure!(asked == scored, "prioritize was asked about {asked} nodes and scored {scored}");
        Ok(())
    }

    fn call(
        &mut self,
        verb: usize,
        ask: &OfferedPod,
        nodes: &[u32],
        times: &mut Vec<Duration>,
    ) -> anyhow::Result<&[u8]> {
        let names = nodes.iter().map(|at| self.setting.quoted(*at));
        wire::extender_args(&mut self.body, &ask.pod_json, names);
        let path = format!("{}/{}", self.prefix, VERBS[verb]);
        self.client.prepare(&path, &self.body)?;
        let started = Instant::now();
        let reply = self.client.send();
        let took = started.elapsed();
        let reply = reply.with_context(|| format!("a call of {path} failed"))?;
        times.push(took);
        Ok(reply)
    }
}

/// The answered names as nodes. They must be exactly those that every side is to accept: a figure is
/// worth nothing if the two did different work. Or `few` of them, but one at least.
fn accepted(
    setting: &Setting,
    offered: &[u32],
    names: &[Cow<'_, str>],
    few: bool,
) -> anyhow::Result<Vec<u32>> {
    let expected = setting.expected(offered);
    if expected.clone().map(|at| setting.name(at)).eq(names.iter().map(|it| &**it)) {
        return Ok(expected.collect());
    }
    // In another order, perhaps.
    let mut by_name: Vec<(&str, u32)> = expected.map(|at| (setting.name(at), at)).collect();
    let num_expected = by_name.len();
    by_name.sort_unstable();
    let at = |name: &Cow<'_, str>| {
        let found = by_name.binary_search_by(|(other, _)| (*other).cmp(name));
        found.ok().map(|it| by_name[it].1)
    };
    let nodes: Option<Vec<u32>> = names.iter().map(at).collect();
    let mut distinct = nodes.clone().unwrap_or_default();
    distinct.sort_unstable();
    distinct.dedup();
    match nodes {
        Some(nodes) if distinct.len() == num_expected && nodes.len() == num_expected => Ok(nodes),
        Some(nodes) if few && !nodes.is_empty() && distinct.len() == nodes.len() => Ok(nodes),
        _ => bail!(
            "filter accepted other nodes than the case says: {} of {}, not {num_expected}",
            names.len(),
            offered.len(),
        ),
    }
}
