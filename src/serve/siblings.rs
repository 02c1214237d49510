//! What kube-scheduler's own configuration says: which other extenders judge what we name, and what
//! it asks us.

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;

use super::BadConfig;
use crate::engine::{PreemptVerb, Siblings};

/// The version of the configuration that is understood.
const API_VERSION: &str = "kubescheduler.config.k8s.io/v1";
/// The kind of the configuration.
const KIND: &str = "KubeSchedulerConfiguration";
/// The largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Of a KubeSchedulerConfiguration, its extenders.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SchedulerConfig {
    api_version: String,
    kind: String,
    extenders: Option<Vec<Extender>>,
}

/// Of an extender, who it is and what it does. A verb that is absent or empty is not called.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Extender {
    url_prefix: String,
    filter_verb: Option<String>,
    prioritize_verb: Option<String>,
    preempt_verb: Option<String>,
    ignorable: Option<bool>,
    managed_resources: Option<Vec<Managed>>,
}

/// A resource that makes a pod the extender's business.
#[derive(Debug, Deserialize)]
struct Managed {
    name: String,
}

/// What is known of the kube-scheduler that asks us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scheduler {
    /// Who judges what we name.
    pub(super) siblings: Siblings,
    /// Whether it asks us before it preempts.
    pub(super) preempt_verb: PreemptVerb,
}

/// Reads the file; we are the extender whose URL has the port of `listen`.
pub(super) fn read(path: &Path, listen: SocketAddr) -> Result<Scheduler, BadConfig> {
    let mut text = String::new();
    let file = std::fs::File::open(path);
    let found = file.and_then(|it| it.take(MAX_BYTES).read_to_string(&mut text));
    let found = found.map_err(|error| error.to_string()).and_then(|_| scheduler(&text, listen));
    found.map_err(|why| BadConfig(format!("--scheduler-config {}: {why}", path.display())))
}

fn scheduler(text: &str, listen: SocketAddr) -> Result<Scheduler, String> {
    let config: SchedulerConfig =
        serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    if config.api_version != API_VERSION || config.kind != KIND {
        return Err(format!("not a {KIND} of {API_VERSION}"));
    }
    let mut extenders = config.extenders.unwrap_or_default();
    // kube-scheduler asks those that it cannot do without first.
    extenders.sort_by_key(|it| it.ignorable == Some(true));
    let is_set = |verb: &Option<String>| verb.as_ref().is_some_and(|it| !it.is_empty());
    let mut own = (0..).zip(&extenders).filter(|(_, it)| port(&it.url_prefix) == listen.port());
    let (at, preempt_verb) = match (own.next(), own.next()) {
        (Some((at, own)), None) => match is_set(&own.preempt_verb) {
            true => (at, PreemptVerb::Configured),
            false => (at, PreemptVerb::Absent),
        },
        (None, _) => {
            return Err(format!("none of its extenders has the port of --listen, {listen}"));
        }
        (Some(_), Some(_)) => {
            return Err(format!("several of its extenders have the port of --listen, {listen}"));
        }
    };
    let others = (0_usize..).zip(extenders).filter(|(other, _)| *other != at);
    // All score at the same time, after the last filter.
    let judging = others.filter(|(other, it)| {
        is_set(&it.prioritize_verb) || is_set(&it.filter_verb) && *other > at
    });
    let mut names: Vec<Box<str>> = Vec::new();
    for (_, extender) in judging {
        let managed = extender.managed_resources.unwrap_or_default();
        if managed.is_empty() {
            return Ok(Scheduler { siblings: Siblings::Judging, preempt_verb });
        }
        names.extend(managed.into_iter().map(|it| it.name.into()));
    }
    let siblings = if names.is_empty() { Siblings::None } else { Siblings::Managing(names) };
    Ok(Scheduler { siblings, preempt_verb })
}

/// The port of an URL; 0 when it has none that can be read.
fn port(url: &str) -> u16 {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    match host.rsplit_once(':') {
        // The colon may belong to an IPv6 address.
        Some((_, port)) if !port.ends_with(']') => port.parse().unwrap_or(0),
        _ if scheme == "https" => 443,
        _ => 80,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "{urlPrefix: 'http://127.0.0.1:9090', filterVerb: filter, ignorable: true}";

    fn check(extenders: &[&str], want: Result<Siblings, &str>) {
        let list: String = extenders.iter().map(|it| format!("- {it}\n")).collect();
        let text = format!("apiVersion: {API_VERSION}\nkind: {KIND}\nextenders:\n{list}");
        let got = scheduler(&text, SocketAddr::from(([127, 0, 0, 1], 9090))).map(|it| it.siblings);
        match (&got, &want) {
            (Err(got), Err(want)) => assert!(got.contains(want), "{got}"),
            _ => assert_eq!(got, want.map_err(str::to_owned), "{text}"),
        }
    }

    #[test]
    fn who_judges_after_us_is_a_sibling() {
        let other = |rest: &str| format!("{{urlPrefix: 'http://gpu:80/x', {rest}}}");
        let filters = other("filterVerb: filter, ignorable: true");
        check(&[OURS], Ok(Siblings::None));
        check(&[OURS, &filters], Ok(Siblings::Judging));
        check(&[&filters, OURS], Ok(Siblings::None));
        // Asked before us wherever it stands, because kube-scheduler cannot do without it.
        check(&[OURS, &other("filterVerb: filter")], Ok(Siblings::None));
        // It scores what we leave.
        check(&[&other("prioritizeVerb: score, weight: 1"), OURS], Ok(Siblings::Judging));
        check(&[OURS, &other("bindVerb: bind, filterVerb: ''")], Ok(Siblings::None));
        let managing = other(
            "prioritizeVerb: p, weight: 1, managedResources: [{name: example.com/gpu}, \
             {name: example.com/fpga, ignoredByScheduler: true}]",
        );
        let names = vec!["example.com/gpu".into(), "example.com/fpga".into()];
        check(&[OURS, &managing], Ok(Siblings::Managing(names)));
        check(&[OURS, &managing, &filters], Ok(Siblings::Judging));
    }

    #[test]
    fn we_must_be_found_once() {
        check(&["{urlPrefix: 'http://127.0.0.1:9091'}"], Err("none of its extenders"));
        check(&[OURS, OURS], Err("several of its extenders"));
        let listen = SocketAddr::from(([127, 0, 0, 1], 9090));
        for text in ["", "[]", "kind: KubeSchedulerConfiguration", "a: b: c"] {
            assert!(scheduler(text, listen).is_err(), "{text}");
        }
        let error = read(Path::new("/no/such"), listen).expect_err("there is no such file");
        assert!(error.to_string().starts_with("--scheduler-config /no/such: "), "{error}");
    }

    #[test]
    fn ports_of_urls() {
        let cases = [
            ("http://127.0.0.1:9090", 9090),
            ("https://sigma.sigma-system.svc/x:1", 443),
            ("http://[::1]:9090/verbs", 9090),
            ("http://[::1]", 80),
            ("sigma:70000", 0),
        ];
        for (url, want) in cases {
            assert_eq!(port(url), want, "{url}");
        }
    }

    #[test]
    fn what_is_shipped_has_no_sibling_and_asks_before_it_preempts() -> Result<(), BadConfig> {
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
        // As `--listen` is in each of them.
        for (folder, port) in
            [("base", 9090), ("overlays/kubeadm-static-pod", 9090), ("overlays/service-mtls", 9443)]
        {
            let path = deploy.join(folder).join("kube-scheduler-config.yaml");
            let listen = SocketAddr::from(([127, 0, 0, 1], port));
            let want =
                Scheduler { siblings: Siblings::None, preempt_verb: PreemptVerb::Configured };
            assert_eq!(read(&path, listen)?, want, "{folder}");
        }
        Ok(())
    }
}
