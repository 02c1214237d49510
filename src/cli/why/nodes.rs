//! What an explanation says of nodes: by which rules they are refused, and which are the best.

use serde_json::Value;

use super::amounts;

/// Each reason with an example and the numbers behind it.
pub(super) fn refused(answer: &Value) -> String {
    let rows = answer["refused"].as_array().map_or(&[][..], Vec::as_slice);
    if rows.is_empty() {
        return String::new();
    }
    let mut out = "\nREFUSED FOR\n".to_owned();
    for row in rows {
        let num = row["nodes"].as_u64().unwrap_or(0);
        let nodes = if num == 1 { "1 node," } else { &format!("{num} nodes, such as") };
        let reason = row["reason"].as_str().unwrap_or("-");
        out += &format!("  {reason}: {nodes} {}\n", place(&row["example"]));
        for limit in row["limits"].as_array().into_iter().flatten() {
            out += &format!("    {}\n", amounts::limit(limit));
        }
        if let Some(taint) = row["taint"].as_str() {
            out += &format!("    taint {taint}\n");
        }
        if reason == "PoolClosed"
            && let Some(pools) = answer["pools"].as_array()
        {
            let names: Vec<&str> = pools.iter().filter_map(Value::as_str).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            out += &format!("    pools open to the class: {names}\n");
        }
        out += &format!("    {}\n", in_use(&row["example"]));
    }
    out
}

/// The best nodes, best first, with their points.
pub(super) fn best(answer: &Value) -> String {
    let rows = answer["best"].as_array().map_or(&[][..], Vec::as_slice);
    if rows.is_empty() {
        return String::new();
    }
    let mut out = "\nBEST NODES\n".to_owned();
    for row in rows {
        let points = row["points"].as_array().map_or(&[][..], Vec::as_slice);
        let points = points.iter().map(|it| {
            format!("{} {}x{}", it["rule"].as_str().unwrap_or("-"), it["points"], it["weight"])
        });
        let points = points.collect::<Vec<_>>().join(", ");
        out += &format!("  {}: score {}\n", place(&row["node"]), row["score"]);
        out += &format!("    {}\n", in_use(&row["node"]));
        if !points.is_empty() {
            out += &format!("    points x weight: {points}\n");
        }
    }
    out
}

fn place(node: &Value) -> String {
    let name = node["name"].as_str().unwrap_or("-");
    let pool = node["pool"].as_str().map_or("no pool".to_owned(), |it| format!("pool {it}"));
    let zone = node["zone"].as_str().map_or(String::new(), |it| format!(", zone {it}"));
    format!("{name} ({pool}{zone})")
}

fn in_use(node: &Value) -> String {
    let [cpu, memory] = ["cpu_milli", "memory_bytes"].map(|key| amounts::taken(node, key));
    format!("requested: {cpu}, {memory}")
}
