//! `sigma why`: asks a running server about a pod, and shows the answer to a person.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use super::table::{self, Align, Output};
use super::{Failure, print};

/// Says why a pod is pending, or where it would go, with the numbers behind it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sigma why shop/cart-7d4b9                       # namespace/pod
  sigma why cart-7d4b9 -n shop --node n-00042     # may it go to this node?
  sigma why shop/cart-7d4b9 -o json | jq .refused")]
pub(super) struct WhyArgs {
    /// The pod, as POD or NAMESPACE/POD.
    #[arg(value_name = "POD")]
    pod: String,
    /// Its namespace.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Only this node.
    #[arg(long)]
    node: Option<String>,
    /// The admin listener of a running `sigma serve`.
    #[arg(long, env = "SIGMA_ADMIN", default_value = "127.0.0.1:9091", value_name = "ADDR")]
    admin: String,
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// How long the server may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer.
const MAX_ANSWER: u64 = 16 << 20;

pub(super) fn run(args: &WhyArgs) -> Result<(), Failure> {
    let (namespace, pod) =
        args.pod.split_once('/').unwrap_or((args.namespace.as_str(), args.pod.as_str()));
    let mut path = format!("/api/v1/explain?namespace={}&pod={}", escaped(namespace), escaped(pod));
    if let Some(node) = &args.node {
        path += &format!("&node={}", escaped(node));
    }
    let (status, body) = get(&args.admin, &path)?;
    let answer: Value = serde_json::from_str(&body)
        .with_context(|| format!("{} does not answer as sigma does", args.admin))?;
    if status != 200 {
        let why = answer["error"].as_str().unwrap_or("no reason given");
        return Err(anyhow::anyhow!("{why}").into());
    }
    match args.output {
        Output::Json => print(&format!("{body}\n")),
        Output::Table => print(&shown(&answer)),
    }
}

/// One GET; the answer's status and body.
pub(super) fn get(admin: &str, path: &str) -> Result<(u16, String)> {
    let cannot = || format!("cannot ask {admin}; is `sigma serve` running there (--admin)?");
    let mut stream = connect(admin).with_context(cannot)?;
    stream.set_read_timeout(Some(TIMEOUT)).with_context(cannot)?;
    stream.set_write_timeout(Some(TIMEOUT)).with_context(cannot)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).with_context(cannot)?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).with_context(cannot)?;
    let answer = String::from_utf8_lossy(&answer);
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        bail!("{admin} does not speak HTTP");
    };
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.with_context(|| format!("{admin} does not speak HTTP"))?, body.to_owned()))
}

/// Connects to the first address that answers.
fn connect(admin: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for addr in admin.to_socket_addrs()? {
        match TcpStream::connect_timeout(&addr, TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A query value: what is not plainly a name is percent-encoded.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

fn shown(answer: &Value) -> String {
    let text = |key: &str| answer[key].as_str().unwrap_or("-").to_owned();
    let mut out = format!("{}/{}: {}", text("namespace"), text("pod"), text("state"));
    if let Some(node) = answer["node"].as_str() {
        return out + &format!(" on {node}, class {}\n", text("class")) + &steer(answer);
    }
    out += &format!(", class {}", text("class"));
    if answer["claimed_more"] == true {
        out += " (its label claims more than the policy grants)";
    }
    out += "\n";
    if let Some(told) = answer["told"].as_str() {
        out += &format!("it was told: {told}\n");
    }
    if answer["held"] == true {
        out += "it was answered; its place is held until the watch tells who won\n";
    }
    out += &steer(answer);
    out += &steering_off(answer);
    if let Some(node) = answer["ahead"]["target"].as_str() {
        out += &format!("nominated ahead to {node}\n");
    } else if let Some(why) = answer["ahead"]["standing"].as_str() {
        out += &format!("not nominated ahead: {why}\n");
    }
    out += &format!(
        "{} of {} nodes would take it\n",
        answer["nodes_kept"], answer["nodes_considered"]
    );
    out += &constraints(answer);
    out + &refused_table(answer) + &best_table(answer)
}

/// What kube-scheduler's own required constraints make of the nodes that would take it.
fn constraints(answer: &Value) -> String {
    let Some(left) = answer["nodes_left"].as_u64() else {
        return String::new();
    };
    match answer["cannot_judge"].as_str() {
        Some(why) => {
            format!("at most {left} of them by required constraints ({why}: kube-scheduler's)\n")
        }
        None => {
            format!("{left} of them by required constraints, which kube-scheduler judges first\n")
        }
    }
}

/// What keeps the pod from being sent to a node that was not offered, and what turns it on.
fn steering_off(answer: &Value) -> String {
    let off = answer["steering_off"].as_array().map_or(&[][..], Vec::as_slice);
    let text = |it: &Value, key: &str| it[key].as_str().unwrap_or("-").to_owned();
    let lines = off.iter().map(|it| {
        let what = match it["part"].as_str() {
            Some("better") => "not sent to a better node that was not offered",
            Some("requeue") => "not requeued when a node has room",
            _ => "not sent to a node that was not offered",
        };
        let remedy = it["turn_on"].as_str().map(|it| format!("\n  turn it on: {it}"));
        format!("{what}: {}{}\n", text(it, "why"), remedy.unwrap_or_default())
    });
    lines.collect()
}

/// How the pod was, or is being, sent to a node that was not offered.
fn steer(answer: &Value) -> String {
    let steer = &answer["steer"];
    let Some(target) = steer["target"].as_str() else {
        return String::new();
    };
    let lead = match steer["lead_pct"].as_f64() {
        Some(lead) => format!("leads the best offered by {lead} %"),
        None => "no offered node would take it".to_owned(),
    };
    let cause = steer["cause"].as_str().unwrap_or("-");
    let outcome = steer["outcome"].as_str().unwrap_or("under way");
    let by = if steer["requeue"] == true { "requeued with a nomination of" } else { "sent to" };
    let mut out = format!("it was {by} {target} ({cause}: {lead}): {outcome}");
    for (step, key) in
        [("nominated", "written_ms"), ("accepted", "accepted_ms"), ("bound", "bound_ms")]
    {
        if let Some(ms) = steer[key].as_u64() {
            out += &format!(", {step} after {ms} ms");
        }
    }
    out + &format!("; writes: {}\n", steer["rounds"])
}

fn refused_table(answer: &Value) -> String {
    let rows = answer["refused"].as_array().map_or(&[][..], Vec::as_slice);
    if rows.is_empty() {
        return String::new();
    }
    let mut table = table::new(&[
        ("NODES", Align::Right),
        ("REFUSED FOR", Align::Left),
        ("EXAMPLE", Align::Left),
        ("POOL", Align::Left),
        ("CPU REQUESTED", Align::Right),
        ("MEMORY REQUESTED", Align::Right),
    ]);
    for row in rows {
        let node = &row["example"];
        table.add_row(vec![
            row["nodes"].to_string(),
            row["reason"].as_str().unwrap_or_default().to_owned(),
            node["name"].as_str().unwrap_or_default().to_owned(),
            node["pool"].as_str().unwrap_or("-").to_owned(),
            cores(node),
            memory(node),
        ]);
    }
    format!("\n{table}\n")
}

fn best_table(answer: &Value) -> String {
    let rows = answer["best"].as_array().map_or(&[][..], Vec::as_slice);
    if rows.is_empty() {
        return String::new();
    }
    let mut table = table::new(&[
        ("BEST NODES", Align::Left),
        ("POOL", Align::Left),
        ("ZONE", Align::Left),
        ("SCORE", Align::Right),
        ("CPU REQUESTED", Align::Right),
        ("MEMORY REQUESTED", Align::Right),
        ("POINTS x WEIGHT", Align::Left),
    ]);
    for row in rows {
        let node = &row["node"];
        let points = row["points"].as_array().map_or(&[][..], Vec::as_slice);
        let points = points.iter().map(|it| {
            format!("{} {}x{}", it["rule"].as_str().unwrap_or(""), it["points"], it["weight"])
        });
        table.add_row(vec![
            node["name"].as_str().unwrap_or_default().to_owned(),
            node["pool"].as_str().unwrap_or("-").to_owned(),
            node["zone"].as_str().unwrap_or("-").to_owned(),
            row["score"].to_string(),
            cores(node),
            memory(node),
            points.collect::<Vec<_>>().join(", "),
        ]);
    }
    format!("\n{table}\n")
}

fn cores(node: &Value) -> String {
    let of = |key: &str| node[key]["cpu_milli"].as_i64().unwrap_or(0) as f64 / 1000.0;
    format!("{:.1} of {:.1}", of("requested"), of("allocatable"))
}

fn memory(node: &Value) -> String {
    let of =
        |key: &str| node[key]["memory_bytes"].as_i64().unwrap_or(0) as f64 / f64::from(1 << 30);
    format!("{:.1} of {:.1} Gi", of("requested"), of("allocatable"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_escaped() {
        assert_eq!(escaped("a-b.c_1"), "a-b.c_1");
        assert_eq!(escaped("a&b=c d/é"), "a%26b%3Dc%20d%2F%C3%A9");
    }

    #[test]
    fn an_answer_is_shown_to_a_person() {
        let node = serde_json::json!({"name": "n-1", "pool": "ecs", "zone": null,
            "requested": {"cpu_milli": 1500, "memory_bytes": 1_073_741_824},
            "allocatable": {"cpu_milli": 4000, "memory_bytes": 8_589_934_592_i64}});
        let answer = serde_json::json!({"namespace": "shop", "pod": "cart", "state": "pending",
            "class": "online", "claimed_more": false, "told": "sigma: x", "held": false,
            "steer": {"cause": "better", "target": "n-9", "lead_pct": 12.5, "outcome": null,
                "rounds": 1, "written_ms": 4, "accepted_ms": null, "bound_ms": null},
            "steering_off": [
                {"part": "elsewhere", "cause": "flag", "why": "it is off", "turn_on": "--flag"},
                {"part": "requeue", "cause": "pod", "why": "so it is", "turn_on": null}],
            "ahead": {"standing": "volumes", "target": null},
            "nodes_kept": 1, "nodes_considered": 2, "nodes_left": 0, "cannot_judge": null,
            "refused": [{"reason": "PoolClosed", "nodes": 1, "example": node}],
            "best": [{"node": node, "score": 10, "points":
                [{"rule": "binPack", "weight": 10, "points": 375}]}]});
        let text = shown(&answer);
        for part in [
            "shop/cart: pending, class online",
            "it was told: sigma: x",
            "not nominated ahead: volumes",
            "1 of 2 nodes",
            "0 of them by required constraints, which",
            "PoolClosed",
            "1.5 of 4.0",
            "1.0 of 8.0 Gi",
            "binPack 375x10",
            "it was sent to n-9 (better: leads the best offered by 12.5 %): under way, nominated \
             after 4 ms; writes: 1\n",
            "not sent to a node that was not offered: it is off\n  turn it on: --flag\n",
            "not requeued when a node has room: so it is\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
