//! `sigma why`: asks a running server about a pod, and shows the answer to a person.

mod amounts;
mod nodes;

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use super::table::{Output, wrapped};
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
    /// Its namespace [default: the one beside the name, else `default`].
    #[arg(short, long)]
    namespace: Option<String>,
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
    let (namespace, pod) = named(args)?;
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

/// The pod's namespace and name.
fn named(args: &WhyArgs) -> Result<(&str, &str), Failure> {
    let (namespace, pod) = match (args.pod.split_once('/'), args.namespace.as_deref()) {
        (Some((beside, _)), Some(given)) if beside != given => {
            let why = format!("-n says namespace {given}, and {} says {beside}", args.pod);
            return Err(Failure::usage(anyhow::anyhow!("{why}: give one of them")));
        }
        (Some(both), _) => both,
        (None, given) => (given.unwrap_or("default"), args.pod.as_str()),
    };
    if namespace.is_empty() || pod.is_empty() || pod.contains('/') {
        let why = format!("{} is not POD or NAMESPACE/POD", args.pod);
        return Err(Failure::usage(anyhow::anyhow!(why)));
    }
    Ok((namespace, pod))
}

/// One GET; the answer's status and body.
pub fn get(admin: &str, path: &str) -> Result<(u16, String)> {
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

/// Most columns of a line: a terminal beside a chat window.
const COLUMNS: usize = 100;

fn shown(answer: &Value) -> String {
    wrapped(&(summary(answer) + &nodes::refused(answer) + &nodes::best(answer)), COLUMNS)
}

/// What is known of the pod, before what is known of nodes.
fn summary(answer: &Value) -> String {
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
        out += &format!("last condition: {told}\n");
    }
    if answer["held"] == true {
        out += "answered; its place is held until sigma sees where the pod is bound\n";
    }
    out += &nominated(answer);
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
    out + &constraints(answer)
}

/// The pod's nominated node, where the lines about steering and nominating ahead do not name it.
fn nominated(answer: &Value) -> String {
    let it = &answer["nominated"];
    let Some(node) = it["node"].as_str() else {
        return String::new();
    };
    let victims = it["victims"].as_u64().unwrap_or(0);
    match it["by"].as_str() {
        Some("preemption") => {
            let pods = if victims == 1 { "pod" } else { "pods" };
            format!(
                "nominated by preemption to {node}, waiting for its victims: {victims} {pods} of \
                 lower priority\n"
            )
        }
        Some("sigma") if answer["ahead"]["target"] == node || answer["steer"]["target"] == node => {
            String::new()
        }
        Some("sigma") => format!("nominated to {node} by sigma\n"),
        _ => {
            format!("nominated to {node}, not by sigma; no pod of lower priority is ending there\n")
        }
    }
}

/// What kube-scheduler's own required constraints make of the nodes that would take it.
fn constraints(answer: &Value) -> String {
    let Some(left) = answer["nodes_left"].as_u64().filter(|_| answer["nodes_kept"] != 0) else {
        return String::new();
    };
    let mut out = match answer["cannot_judge"].as_str() {
        Some(why) => format!(
            "required constraints leave at most {left} of these (only kube-scheduler judges {why})"
        ),
        None => format!("required constraints leave {left} of these"),
    };
    let ruled_out = answer["constraints"].as_array().map_or(&[][..], Vec::as_slice);
    for (at, it) in ruled_out.iter().enumerate() {
        let name = it["constraint"].as_str().unwrap_or("-");
        out += if at == 0 { ":" } else { "," };
        out += &format!(" {name} rules out {}", it["nodes"]);
    }
    out + "\n"
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
    let by = if steer["requeue"] == true { "requeued with a nomination to" } else { "steered to" };
    let mut out = format!("{by} {target} ({cause}: {lead}): {outcome}");
    for (step, key) in
        [("nominated", "written_ms"), ("accepted", "accepted_ms"), ("bound", "bound_ms")]
    {
        if let Some(ms) = steer[key].as_u64() {
            out += &format!(", {step} after {ms} ms");
        }
    }
    let rounds = steer["rounds"].as_u64().unwrap_or(0);
    out + &format!("; {rounds} write{}\n", if rounds == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
