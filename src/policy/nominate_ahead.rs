//! `steering.nominateAhead`: when pods that wait are nominated before kube-scheduler comes to them.

use super::codes;
use super::diagnostic::Faults;
use super::objects;
use super::reader::{Fields, integer};
use super::steering::is_off;
use super::tree::{Value, YamlNode};

/// The key that stands beside the classes; no class can be called so.
pub(super) const KEY: &str = "nominateAhead";
/// The most pods of any of the bounds.
pub(super) const MAX_PODS: i64 = 10_000;
/// A nomination may be so old, in seconds.
pub(super) const TTL_SECONDS: (i64, i64) = (5, 3600);
/// So long may kube-scheduler be kept waiting for each nomination, in milliseconds.
pub(super) const FILTER_DELAY_MS: (i64, i64) = (0, 20);

/// When pods that wait are nominated ahead, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NominateAhead {
    /// So many pods must wait; while fewer do, kube-scheduler is quick enough by itself.
    pub min_backlog: usize,
    /// Most pods that get their targets together.
    pub batch: usize,
    /// Most pods that have a target and are not bound yet.
    pub window: usize,
    /// A nomination that is older is taken back, in milliseconds.
    pub ttl_ms: u64,
    /// kube-scheduler may be kept waiting for so long for each pod that is chosen, in milliseconds; 0: never.
    pub filter_delay_ms: u64,
}

impl Default for NominateAhead {
    fn default() -> Self {
        Self { min_backlog: 200, batch: 1000, window: 2000, ttl_ms: 60_000, filter_delay_ms: 1 }
    }
}

/// Reads it out of the section `steering`; `None`: it is off.
pub(super) fn read(steering: &YamlNode, faults: &mut Faults) -> Option<NominateAhead> {
    let Value::Map(entries) = &steering.value else {
        return None;
    };
    let node = &entries.iter().find(|entry| entry.key == KEY)?.node;
    if is_off(node) {
        return None;
    }
    let fields = Fields::of(node, &objects::NOMINATE_AHEAD, faults)?;
    fields.need_any("minBacklog: 200", faults);
    let usual = NominateAhead::default();
    let mut pods = |field, usual| {
        let read =
            number(&fields, field, (1, MAX_PODS), faults).and_then(|it| usize::try_from(it).ok());
        read.unwrap_or(usual)
    };
    let (min_backlog, batch, window) = (
        pods("minBacklog", usual.min_backlog),
        pods("batch", usual.batch),
        pods("window", usual.window),
    );
    check_window(&fields, batch, window, faults);
    let mut number = |field: &str, range| number(&fields, field, range, faults);
    let ttl_ms = number("ttlSeconds", TTL_SECONDS).and_then(|it| u64::try_from(it).ok());
    let ttl_ms = ttl_ms.map_or(usual.ttl_ms, |seconds| seconds * 1000);
    let filter_delay_ms =
        number("filterDelayMs", FILTER_DELAY_MS).and_then(|it| u64::try_from(it).ok());
    let filter_delay_ms = filter_delay_ms.unwrap_or(usual.filter_delay_ms);
    Some(NominateAhead { min_backlog, batch, window, ttl_ms, filter_delay_ms })
}

fn number(fields: &Fields<'_>, field: &str, range: (i64, i64), faults: &mut Faults) -> Option<i64> {
    integer(fields.get(field)?, &format!("`{field}`"), range, &codes::BAD_INTEGER, faults)
}

/// No more pods can get their nodes together than may have one.
fn check_window(fields: &Fields<'_>, batch: usize, window: usize, faults: &mut Faults) {
    if window >= batch {
        return;
    }
    let usual = |field| if fields.has(field) { "" } else { ", the default," };
    let message = format!(
        "`window`: {window}{} is below `batch`: {batch}{}: no batch is ever full",
        usual("window"),
        usual("batch")
    );
    let field = if fields.has("window") { "window" } else { "batch" };
    let at = fields.get(field).map_or(fields.at, |it| it.at);
    faults.report_hint(&codes::WINDOW_BELOW_BATCH, at, message, "raise `window` or lower `batch`");
}
