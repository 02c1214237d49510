//! `sigma why`: asks a running server about a pod, and shows the answer to a person.

mod amounts;
mod nodes;

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::table::{Output, wrapped};
use super::{Failure, print};
use crate::control::SteeringPart;
use crate::http::admin::{AdminPage, ExplainView, NominatedBy, Problem};

/// Says why a pod is pending, or where it would go, with the numbers behind it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sigma why shop/cart-7d4b9                       # namespace/pod
  sigma why cart-7d4b9 -n shop --node n-00042     # may it go to this node?
  sigma why shop/cart-7d4b9 -o json | jq .rejections")]
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
    let (namespace, pod) = (escaped(namespace), escaped(pod));
    let mut path = format!("{}?namespace={namespace}&pod={pod}", ExplainView::PATH);
    if let Some(node) = &args.node {
        path += &format!("&node={}", escaped(node));
    }
    let (status, body) = get(&args.admin, &path)?;
    let unreadable = || format!("{} does not answer as sigma does", args.admin);
    if status != 200 {
        let problem: Problem = serde_json::from_str(&body).with_context(unreadable)?;
        return Err(anyhow::Error::msg(problem.error).into());
    }
    let page: ExplainView = serde_json::from_str(&body).with_context(unreadable)?;
    match args.output {
        Output::Json => print(&format!("{body}\n")),
        Output::Table => print(&shown(&page)),
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

fn shown(page: &ExplainView) -> String {
    wrapped(&(summary(page) + &nodes::rejections(page) + &nodes::best(page)), COLUMNS)
}

/// What is known of the pod, before what is known of nodes.
fn summary(page: &ExplainView) -> String {
    let ExplainView { namespace, pod, class, .. } = page;
    if let Some(node) = &page.node {
        return format!("{namespace}/{pod}: placed on {node}, class {class}\n") + &steer(page);
    }
    let mut out = format!("{namespace}/{pod}: pending, class {class}");
    if page.exceeds_grant {
        out += " (its label claims more than the policy grants)";
    }
    out += "\n";
    if let Some(text) = &page.reported {
        out += &format!("last condition: {text}\n");
    }
    if page.held {
        out += "answered; its place is held until sigma sees where the pod is bound\n";
    }
    out += &nominated(page);
    out += &steer(page);
    out += &steering_off(page);
    match page.nominate_ahead.as_ref().map(|it| (&it.target, &it.state)) {
        Some((Some(node), _)) => out += &format!("nominated ahead to {node}\n"),
        Some((None, why)) => out += &format!("not nominated ahead: {why}\n"),
        None => {}
    }
    out += &format!("{} of {} nodes would take it\n", page.nodes_kept, page.nodes_considered);
    out + &constraints(page)
}

/// The pod's nominated node, where the lines about steering and nominating ahead do not name it.
fn nominated(page: &ExplainView) -> String {
    let Some(it) = &page.nominated else { return String::new() };
    let (node, victims) = (&it.node, it.victims);
    let ahead = page.nominate_ahead.as_ref().and_then(|it| it.target.as_ref());
    let is_named = ahead == Some(node) || page.steer.as_ref().is_some_and(|it| it.target == *node);
    match it.by {
        NominatedBy::Preemption => {
            let pods = if victims == 1 { "pod" } else { "pods" };
            format!(
                "nominated by preemption to {node}, waiting for its victims: {victims} {pods} of \
                 lower priority\n"
            )
        }
        NominatedBy::Sigma if is_named => String::new(),
        NominatedBy::Sigma => format!("nominated to {node} by sigma\n"),
        NominatedBy::Other => {
            format!("nominated to {node}, not by sigma; no pod of lower priority is ending there\n")
        }
    }
}

/// How many of the nodes kube-scheduler's own required constraints leave.
fn constraints(page: &ExplainView) -> String {
    let Some(left) = page.nodes_left.filter(|_| page.nodes_kept != 0) else {
        return String::new();
    };
    let mut out = match &page.cannot_judge {
        Some(why) => format!(
            "required constraints leave at most {left} of these (only kube-scheduler judges {why})"
        ),
        None => format!("required constraints leave {left} of these"),
    };
    for (at, it) in page.constraints.iter().enumerate() {
        out += if at == 0 { ":" } else { "," };
        out += &format!(" {} rules out {}", it.constraint, it.nodes);
    }
    out + "\n"
}

/// What keeps the pod from being sent to a node that was not offered, and what turns it on.
fn steering_off(page: &ExplainView) -> String {
    let lines = page.steering_off.iter().map(|it| {
        let what = match it.part {
            SteeringPart::Better => "not sent to a better node that was not offered",
            SteeringPart::Requeue => "not requeued when a node has room",
            SteeringPart::Elsewhere => "not sent to a node that was not offered",
        };
        let remedy = it.turn_on.as_ref().map(|it| format!("\n  turn it on: {it}"));
        format!("{what}: {}{}\n", it.why, remedy.unwrap_or_default())
    });
    lines.collect()
}

/// How the pod was, or is being, sent to a node that was not offered.
fn steer(page: &ExplainView) -> String {
    let Some(steer) = &page.steer else { return String::new() };
    let lead = match steer.lead_pct {
        Some(lead) => format!("leads the best offered by {lead} %"),
        None => "no offered node would take it".to_owned(),
    };
    let outcome = steer.outcome.as_deref().unwrap_or("under way");
    let by = if steer.requeue { "requeued with a nomination to" } else { "steered to" };
    let mut out = format!("{by} {} ({}: {lead}): {outcome}", steer.target, steer.cause);
    for (step, at) in [
        ("nominated", steer.written_ms),
        ("accepted", steer.accepted_ms),
        ("bound", steer.bound_ms),
    ] {
        if let Some(ms) = at {
            out += &format!(", {step} after {ms} ms");
        }
    }
    let rounds = steer.rounds;
    out + &format!("; {rounds} write{}\n", if rounds == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
