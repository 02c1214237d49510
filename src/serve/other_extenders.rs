//! What kube-scheduler's own configuration says: which other extenders judge what we name, and what
//! it asks us.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::BadConfig;
use super::extender_url::ExtenderUrl;
use crate::engine::{OtherExtenders, PreemptVerb};

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
    extenders: Option<Vec<ExtenderEntry>>,
}

/// Of an extender, who it is and what it does. A verb that is absent or empty is not called.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ExtenderEntry {
    url_prefix: String,
    filter_verb: Option<String>,
    prioritize_verb: Option<String>,
    preempt_verb: Option<String>,
    ignorable: Option<bool>,
    managed_resources: Option<Vec<ManagedResource>>,
}

/// A resource that makes a pod the extender's business.
#[derive(Debug, Deserialize)]
struct ManagedResource {
    name: String,
}

/// What is known of the kube-scheduler that asks us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SchedulerFacts {
    /// Who judges what we name.
    pub(super) other_extenders: OtherExtenders,
    /// Whether it asks us before it preempts.
    pub(super) preempt_verb: PreemptVerb,
}

/// Which entries of the file are this sigma.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnEntries<'a> {
    /// The address where kube-scheduler finds this sigma, if it was told.
    pub(super) url: Option<&'a ExtenderUrl>,
    /// The address where this sigma listens. Without a URL an own entry has this address, or its port
    /// on the loopback.
    pub(super) listen: SocketAddr,
}

/// Reads the file.
pub(super) fn read(path: &Path, own: OwnEntries<'_>) -> Result<SchedulerFacts, BadConfig> {
    let mut text = String::new();
    let file = std::fs::File::open(path);
    let found = file.and_then(|it| it.take(MAX_BYTES + 1).read_to_string(&mut text));
    let found = found.map_err(|error| error.to_string()).and_then(|_| scheduler(&text, own));
    found.map_err(|why| BadConfig(format!("--scheduler-config {}: {why}", path.display())))
}

fn scheduler(text: &str, own: OwnEntries<'_>) -> Result<SchedulerFacts, String> {
    let mut extenders = parse(text)?.extenders.unwrap_or_default();
    // kube-scheduler asks the extenders that it cannot do without first.
    extenders.sort_by_key(|it| it.ignorable == Some(true));
    let ours = ours(&extenders, own)?;
    let preempt_verb = match is_asked_to_preempt(&ours) {
        true => PreemptVerb::Configured,
        false => PreemptVerb::Absent,
    };
    // Our first answer may be the one that leaves nodes out, so the first of our filters counts.
    let filters = |it: &&(usize, &ExtenderEntry)| is_set(&it.1.filter_verb);
    let first = ours.iter().find(filters).or(ours.first()).map_or(0, |(at, _)| *at);
    let others = (0_usize..).zip(&extenders).filter(|(at, _)| !ours.iter().any(|it| it.0 == *at));
    // All score at the same time, after the last filter.
    let judging = others
        .filter(|(at, it)| is_set(&it.prioritize_verb) || is_set(&it.filter_verb) && *at > first);
    let mut names: Vec<Box<str>> = Vec::new();
    for (_, extender) in judging {
        if extender.managed().is_empty() {
            return Ok(SchedulerFacts { other_extenders: OtherExtenders::Judging, preempt_verb });
        }
        names.extend(extender.managed().iter().map(|it| it.name.as_str().into()));
    }
    let other_extenders =
        if names.is_empty() { OtherExtenders::None } else { OtherExtenders::Managing(names) };
    Ok(SchedulerFacts { other_extenders, preempt_verb })
}

/// The file's one document.
fn parse(text: &str) -> Result<SchedulerConfig, String> {
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("the file has more than {MAX_BYTES} bytes"));
    }
    let options = serde_saphyr::options! { with_snippet: false };
    // Nothing before the first `---` and after the last is a document.
    let documents: Vec<Spanned<SchedulerConfig>> =
        serde_saphyr::from_multiple_with_options(text, options)
            .map_err(|error| error.to_string())?;
    if let Some(second) = documents.get(1) {
        let line = second.referenced.line();
        return Err(format!("a second YAML document begins in line {line}; it must be one"));
    }
    let config = documents.into_iter().next().map(|it| it.value).unwrap_or_default();
    if config.api_version == API_VERSION && config.kind == KIND {
        return Ok(config);
    }
    let said = |text: &str| if text.is_empty() { "none".to_owned() } else { quoted(text) };
    let (version, kind) = (said(&config.api_version), said(&config.kind));
    Err(format!("not a {KIND} of {API_VERSION}: its apiVersion is {version}, its kind {kind}"))
}

/// This sigma's entries with their places in kube-scheduler's order, at least one.
fn ours<'a>(
    extenders: &'a [ExtenderEntry],
    own: OwnEntries<'_>,
) -> Result<Vec<(usize, &'a ExtenderEntry)>, String> {
    let is_own = |it: &ExtenderUrl| match own.url {
        Some(url) => it.is_within(url),
        None => it.is_loopback(own.listen.port()) || it.is_at(own.listen),
    };
    let urls = || (0..).zip(extenders).filter_map(|(at, it)| Some((at, it, it.url()?)));
    let mut ours: Vec<(usize, &ExtenderEntry)> = Vec::new();
    let mut paths = BTreeSet::new();
    for (at, extender, url) in urls().filter(|(_, _, url)| is_own(url)) {
        if !paths.insert(url.path().to_owned()) {
            return Err(format!(
                "several of its extenders have the urlPrefix {url}; own ones differ by their path \
                 (--extender-url tells own ones from others)"
            ));
        }
        ours.push((at, extender));
    }
    if !ours.is_empty() {
        return Ok(ours);
    }
    let wanted = match own.url {
        Some(url) => format!("the urlPrefix of --extender-url, {url}"),
        None => format!("the port of --listen, {}, on the loopback", own.listen),
    };
    let shown: Vec<String> = urls().map(|(_, _, url)| url.to_string()).collect();
    let hint = match (shown.is_empty(), own.url) {
        (true, _) => "there is none with a URL".to_owned(),
        (false, Some(_)) => format!("there are {}", shown.join(", ")),
        (false, None) => format!("give one of {} as --extender-url", shown.join(", ")),
    };
    Err(format!("none of its extenders has {wanted}: {hint}"))
}

/// Whether kube-scheduler asks us before it preempts for any pod that we have filtered. It asks each
/// extender that has the verb and that the pod concerns.
fn is_asked_to_preempt(ours: &[(usize, &ExtenderEntry)]) -> bool {
    let preempts = |it: &&ExtenderEntry| is_set(&it.preempt_verb);
    let asked = |filter: &ExtenderEntry| {
        let concerns =
            |name: &str, it: &ExtenderEntry| it.managed().iter().any(|own| own.name == name);
        ours.iter().map(|(_, it)| *it).filter(preempts).any(|it| {
            let managed = filter.managed();
            it.managed().is_empty()
                || !managed.is_empty() && managed.iter().all(|own| concerns(&own.name, it))
        })
    };
    let filters = || ours.iter().map(|(_, it)| *it).filter(|it| is_set(&it.filter_verb));
    match filters().next() {
        Some(_) => filters().all(asked),
        None => ours.iter().map(|(_, it)| *it).any(|it| preempts(&it)),
    }
}

fn is_set(verb: &Option<String>) -> bool {
    verb.as_ref().is_some_and(|it| !it.is_empty())
}

impl ExtenderEntry {
    fn managed(&self) -> &[ManagedResource] {
        self.managed_resources.as_deref().unwrap_or_default()
    }

    /// `None`: kube-scheduler cannot call it either.
    fn url(&self) -> Option<ExtenderUrl> {
        self.url_prefix.parse().ok()
    }
}

/// Somebody else's text, cut and without control characters.
fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(80).collect::<String>())
}

#[cfg(test)]
mod tests;
