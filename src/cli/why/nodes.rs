//! What an explanation says of nodes: the rules that refuse them, and which are the best.

use super::amounts;
use crate::http::admin::{ExplainView, ExplainedNodeView};
use crate::model::Reason;

/// Each reason with an example and the numbers behind it.
pub(super) fn rejections(page: &ExplainView) -> String {
    if page.rejections.is_empty() {
        return String::new();
    }
    let mut out = "\nREFUSED FOR\n".to_owned();
    for row in &page.rejections {
        let (reason, num) = (&row.reason, row.nodes);
        let nodes = if num == 1 { "1 node," } else { &format!("{num} nodes, such as") };
        out += &format!("  {reason}: {nodes} {}\n", place(&row.example));
        for limit in &row.limits {
            out += &format!("    {}\n", amounts::limit(limit));
        }
        if let Some(taint) = &row.taint {
            out += &format!("    taint {taint}\n");
        }
        if let Some(names) = page.pools.as_ref().filter(|_| *reason == Reason::PoolClosed.name()) {
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            out += &format!("    pools open to the class: {names}\n");
        }
        out += &format!("    {}\n", in_use(&row.example));
    }
    out
}

/// The best nodes, best first, with their points.
pub(super) fn best(page: &ExplainView) -> String {
    if page.best.is_empty() {
        return String::new();
    }
    let mut out = "\nBEST NODES\n".to_owned();
    for row in &page.best {
        let points = row.points.iter();
        let points = points.map(|it| format!("{} {}x{}", it.rule, it.points, it.weight));
        let points = points.collect::<Vec<_>>().join(", ");
        out += &format!("  {}: score {}\n", place(&row.node), row.score);
        out += &format!("    {}\n", in_use(&row.node));
        if !points.is_empty() {
            out += &format!("    points x weight: {points}\n");
        }
    }
    out
}

fn place(it: &ExplainedNodeView) -> String {
    let node = &it.node;
    let pool = node.pool.as_ref().map_or("no pool".to_owned(), |it| format!("pool {it}"));
    let zone = node.zone.as_ref().map_or(String::new(), |it| format!(", zone {it}"));
    format!("{} ({pool}{zone})", node.name)
}

fn in_use(node: &ExplainedNodeView) -> String {
    let cpu = amounts::taken("cpu_milli", node, |it| it.cpu_milli);
    let memory = amounts::taken("memory_bytes", node, |it| it.memory_bytes);
    format!("requested: {cpu}, {memory}")
}
