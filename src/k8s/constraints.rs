//! What a pod requires of its node by kube-scheduler's own rules, and what it takes there of ports.
//!
//! kube-scheduler judges what it offers; this is for nodes that it has not offered. So what is not
//! understood is no error: it makes the pod one that nobody here can judge.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::features;
use super::pod_volumes::SlimVolume;
use super::slim::{Pairs, SlimContainer, SlimPod, SlimPodSpec, count, list, nullable, pairs};
use crate::model::{
    CannotJudge, Constraints, HashedText, HostPort, LabelOperator, LabelSet, Namespaces, NodeTerm,
    PodAffinityTerm, Protocol, Requirement, Selector, SpreadTerm,
};

/// An affinity.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimAffinity {
    /// `nodeAffinity`.
    #[serde(deserialize_with = "nullable")]
    pub node_affinity: SlimNodeAffinity,
    /// `podAffinity`.
    #[serde(deserialize_with = "nullable")]
    pub pod_affinity: SlimPodAffinity,
    /// `podAntiAffinity`.
    #[serde(deserialize_with = "nullable")]
    pub pod_anti_affinity: SlimPodAffinity,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub others: Others,
}

/// A node affinity; of what it prefers, only whether there is any.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimNodeAffinity {
    /// How many terms `preferredDuringSchedulingIgnoredDuringExecution` has.
    #[serde(
        rename = "preferredDuringSchedulingIgnoredDuringExecution",
        deserialize_with = "count"
    )]
    pub num_preferred: usize,
    /// `requiredDuringSchedulingIgnoredDuringExecution`.
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Option<SlimNodeSelector>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub others: Others,
}

/// A node selector: terms of which one must hold.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimNodeSelector {
    /// `nodeSelectorTerms`.
    #[serde(deserialize_with = "list")]
    pub node_selector_terms: Vec<SlimNodeTerm>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub others: Others,
}

/// A term of a node selector.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimNodeTerm {
    /// `matchExpressions`.
    #[serde(deserialize_with = "list")]
    pub match_expressions: Vec<SlimExpression>,
    /// `matchFields`.
    #[serde(deserialize_with = "list")]
    pub match_fields: Vec<SlimExpression>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub others: Others,
}

/// What must hold of one label or field.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimExpression {
    /// `key`.
    #[serde(deserialize_with = "nullable")]
    pub key: Box<str>,
    /// `operator`.
    #[serde(deserialize_with = "nullable")]
    pub operator: String,
    /// `values`.
    #[serde(deserialize_with = "list")]
    pub values: Vec<Box<str>>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub others: Others,
}

/// Pod affinity or anti-affinity; of what it prefers, only whether there is any.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimPodAffinity {
    /// How many terms `preferredDuringSchedulingIgnoredDuringExecution` has.
    #[serde(
        rename = "preferredDuringSchedulingIgnoredDuringExecution",
        deserialize_with = "count"
    )]
    pub num_preferred: usize,
    /// `requiredDuringSchedulingIgnoredDuringExecution`.
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution", deserialize_with = "list")]
    pub required: Vec<SlimPodTerm>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub others: Others,
}

/// A term of pod affinity.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimPodTerm {
    /// `topologyKey`.
    #[serde(deserialize_with = "nullable")]
    pub topology_key: Box<str>,
    /// `labelSelector`.
    pub label_selector: Option<SlimSelector>,
    /// `namespaces`.
    #[serde(deserialize_with = "list")]
    pub namespaces: Vec<String>,
    /// `namespaceSelector`.
    pub namespace_selector: Option<SlimSelector>,
    /// `matchLabelKeys`.
    #[serde(deserialize_with = "list")]
    pub match_label_keys: Vec<String>,
    /// `mismatchLabelKeys`.
    #[serde(deserialize_with = "list")]
    pub mismatch_label_keys: Vec<String>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub others: Others,
}

/// A label selector.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimSelector {
    /// `matchLabels`.
    #[serde(deserialize_with = "pairs")]
    pub match_labels: Pairs,
    /// `matchExpressions`.
    #[serde(deserialize_with = "list")]
    pub match_expressions: Vec<SlimExpression>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub others: Others,
}

/// A topology spread constraint.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimSpreadConstraint {
    /// `whenUnsatisfiable`.
    #[serde(deserialize_with = "nullable")]
    pub when_unsatisfiable: String,
    /// `topologyKey`.
    #[serde(deserialize_with = "nullable")]
    pub topology_key: Box<str>,
    /// `maxSkew`.
    #[serde(deserialize_with = "nullable")]
    pub max_skew: i32,
    /// `minDomains`.
    pub min_domains: Option<i32>,
    /// `labelSelector`.
    pub label_selector: Option<SlimSelector>,
    /// `matchLabelKeys`.
    #[serde(deserialize_with = "list")]
    pub match_label_keys: Vec<String>,
    /// `nodeAffinityPolicy`.
    #[serde(deserialize_with = "nullable")]
    pub node_affinity_policy: String,
    /// `nodeTaintsPolicy`.
    #[serde(deserialize_with = "nullable")]
    pub node_taints_policy: String,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub others: Others,
}

/// A port of a container.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimPort {
    /// `hostPort`.
    #[serde(rename = "hostPort", deserialize_with = "nullable")]
    pub host_port: i32,
    /// `protocol`.
    #[serde(deserialize_with = "nullable")]
    pub protocol: String,
    /// `hostIP`.
    #[serde(rename = "hostIP", deserialize_with = "nullable")]
    pub host_ip: String,
}

/// Whether an object has fields that are not known here: what it means with them only kube-scheduler can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Others(pub bool);

impl Others {
    fn none(self) -> Result<(), Unclear> {
        if self.0 { Err(Unclear) } else { Ok(()) }
    }
}

impl<'de> Deserialize<'de> for Others {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OthersReader)
    }
}

struct OthersReader;

impl<'de> Visitor<'de> for OthersReader {
    type Value = Others;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("further fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Others, A::Error> {
        let mut others = Others(false);
        while let Some((_, value)) = map.next_entry::<IgnoredAny, Option<IgnoredAny>>()? {
            // To Go, `null` is as good as absent.
            others.0 |= value.is_some();
        }
        Ok(others)
    }
}

/// The node affinity that a profile of kube-scheduler adds to every pod's.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct AddedAffinity(SlimNodeAffinity);

impl AddedAffinity {
    /// What is required: the inner `None` where any node will do, the outer in words that are not known here.
    pub fn node_terms(&self) -> Option<Option<Box<[NodeTerm]>>> {
        self.0.others.none().ok()?;
        required(&self.0).ok()
    }
}

/// Not understood.
#[derive(Debug)]
pub(super) struct Unclear;

/// The pod's labels, for selectors.
pub(super) fn labels(slim: &SlimPod) -> LabelSet {
    let meta = &slim.metadata;
    LabelSet::new(&meta.namespace, meta.labels.hashed.iter().copied())
}

/// The ports that it takes of its node: of containers that run as long as it does.
pub(super) fn host_ports(spec: &SlimPodSpec) -> Box<[HostPort]> {
    let stays = |it: &&SlimContainer| it.restart_policy == "Always";
    let containers = spec.containers.iter().chain(spec.init_containers.iter().filter(stays));
    let ports = containers.flat_map(|it| &it.ports).filter_map(|it| {
        let port = u16::try_from(it.host_port).ok().filter(|port| *port > 0)?;
        let protocol = match it.protocol.as_str() {
            "UDP" => Protocol::Udp,
            "SCTP" => Protocol::Sctp,
            _ => Protocol::Tcp,
        };
        let ip =
            (!matches!(it.host_ip.as_str(), "" | "0.0.0.0")).then(|| HashedText::of(&it.host_ip));
        Some(HostPort { port, protocol, ip })
    });
    let mut ports: Vec<HostPort> = ports.collect();
    ports.sort_unstable();
    ports.dedup();
    ports.into()
}

/// What it requires; `None` where any node will do. Of a pod that has one, from whom it must be apart.
/// `is_unclear`: its tolerations are in words that are not known here.
pub(super) fn of(
    spec: &SlimPodSpec,
    labels: &LabelSet,
    is_unclear: bool,
) -> Option<Arc<Constraints>> {
    if !spec.node_name.is_empty() {
        // As kube-scheduler has it: terms of which one makes no sense keep nobody off.
        let pod_anti_affinity =
            pod_terms(&spec.affinity.pod_anti_affinity.required, labels).ok()?;
        let constraints = Constraints { pod_anti_affinity, ..Constraints::default() };
        return (!constraints.pod_anti_affinity.is_empty()).then(|| Arc::new(constraints));
    }
    let mut constraints = read(spec, labels).unwrap_or_else(|Unclear| Constraints {
        cannot_judge: Some(CannotJudge::Unclear),
        ..Constraints::default()
    });
    if is_unclear || containers_are_unclear(spec) || features::needs_some(spec) {
        constraints.cannot_judge = Some(CannotJudge::Unclear);
    }
    if spec.volumes.contains(&SlimVolume::Disk) {
        constraints.cannot_judge = Some(CannotJudge::Volumes);
    }
    if spec.num_resource_claims > 0 {
        constraints.cannot_judge = Some(CannotJudge::ResourceClaims);
    }
    (constraints != Constraints::default()).then(|| Arc::new(constraints))
}

/// A container says in words that are not known here whether it stays, or which ports it takes.
fn containers_are_unclear(spec: &SlimPodSpec) -> bool {
    let known = |it: &SlimContainer| {
        matches!(it.restart_policy.as_str(), "" | "Always" | "OnFailure" | "Never")
    };
    let containers = || spec.init_containers.iter().chain(&spec.containers);
    let mut ports = containers().flat_map(|it| &it.ports).filter(|it| it.host_port > 0);
    !spec.init_containers.iter().all(known)
        || ports.any(|it| !matches!(it.protocol.as_str(), "" | "TCP" | "UDP" | "SCTP"))
}

fn read(spec: &SlimPodSpec, labels: &LabelSet) -> Result<Constraints, Unclear> {
    let SlimAffinity { node_affinity, pod_affinity, pod_anti_affinity, others } = &spec.affinity;
    let all = [*others, node_affinity.others, pod_affinity.others, pod_anti_affinity.others];
    all.into_iter().try_for_each(Others::none)?;
    let spread = &spec.topology_spread_constraints;
    let hard = spread.iter().filter(|it| it.when_unsatisfiable != "ScheduleAnyway");
    Ok(Constraints {
        node_selector: are(&spec.node_selector).collect(),
        node_terms: required(node_affinity)?,
        pod_affinity: pod_terms(&pod_affinity.required, labels)?,
        pod_anti_affinity: pod_terms(&pod_anti_affinity.required, labels)?,
        spread: hard.map(|it| spread_term(it, labels)).collect::<Result<_, _>>()?,
        cannot_judge: None,
    })
}

fn required(affinity: &SlimNodeAffinity) -> Result<Option<Box<[NodeTerm]>>, Unclear> {
    let terms = affinity.required.as_ref().map(|it| {
        it.others.none()?;
        it.node_selector_terms.iter().map(node_term).collect::<Result<Box<[_]>, _>>()
    });
    terms.transpose()
}

/// That each label has this value.
fn are(pairs: &Pairs) -> impl Iterator<Item = Requirement<Box<str>>> + '_ {
    pairs.iter().map(|(key, value)| Requirement {
        key: key.clone(),
        is: LabelOperator::In([value.clone()].into()),
    })
}

/// A term of a node selector, of a pod's or a volume's.
pub(super) fn node_term(slim: &SlimNodeTerm) -> Result<NodeTerm, Unclear> {
    slim.others.none()?;
    let names = slim.match_fields.iter().map(|it| match &*it.key {
        "metadata.name" => expression(it),
        _ => Err(Unclear),
    });
    let labels = slim.match_expressions.iter().map(expression);
    Ok(NodeTerm {
        labels: labels.collect::<Result<_, _>>()?,
        names: names.collect::<Result<_, _>>()?,
    })
}

fn expression(slim: &SlimExpression) -> Result<Requirement<Box<str>>, Unclear> {
    slim.others.none()?;
    let values = || -> Box<[Box<str>]> { slim.values.clone().into() };
    let number = || match &*slim.values {
        [value] => value.parse().map_err(|_| Unclear),
        _ => Err(Unclear),
    };
    let is = match slim.operator.as_str() {
        "In" => LabelOperator::In(values()),
        "NotIn" => LabelOperator::NotIn(values()),
        "Exists" => LabelOperator::Exists,
        "DoesNotExist" => LabelOperator::DoesNotExist,
        "Gt" => LabelOperator::Gt(number()?),
        "Lt" => LabelOperator::Lt(number()?),
        _ => return Err(Unclear),
    };
    Ok(Requirement { key: slim.key.clone(), is })
}

/// A selector of pods.
fn selector(slim: &SlimSelector) -> Result<Vec<Requirement<HashedText>>, Unclear> {
    slim.others.none()?;
    let hashed = |values: Box<[Box<str>]>| values.iter().map(|it| HashedText::of(it)).collect();
    let mut asked: Vec<_> = are(&slim.match_labels).collect();
    for it in &slim.match_expressions {
        asked.push(expression(it)?);
    }
    let requirements = asked.into_iter().map(|it| {
        let is = match it.is {
            LabelOperator::In(values) => LabelOperator::In(hashed(values)),
            LabelOperator::NotIn(values) => LabelOperator::NotIn(hashed(values)),
            LabelOperator::Exists => LabelOperator::Exists,
            LabelOperator::DoesNotExist => LabelOperator::DoesNotExist,
            LabelOperator::Gt(_) | LabelOperator::Lt(_) => return Err(Unclear),
        };
        Ok(Requirement { key: HashedText::of(&it.key), is })
    });
    requirements.collect()
}

/// What `matchLabelKeys` add to a selector: that a label is as the pod has it, or is not. The API server
/// writes the same into the selector itself, where it is new enough.
fn own_labels<'a>(
    keys: &'a [String],
    labels: &'a LabelSet,
    is: impl Fn(Box<[HashedText]>) -> LabelOperator<HashedText> + 'a,
) -> impl Iterator<Item = Requirement<HashedText>> + 'a {
    keys.iter().filter_map(move |key| {
        let key = HashedText::of(key);
        let value = labels.value(key)?;
        Some(Requirement { key, is: is([value].into()) })
    })
}

fn pod_terms(slim: &[SlimPodTerm], labels: &LabelSet) -> Result<Box<[PodAffinityTerm]>, Unclear> {
    slim.iter().map(|it| pod_term(it, labels)).collect()
}

fn pod_term(slim: &SlimPodTerm, labels: &LabelSet) -> Result<PodAffinityTerm, Unclear> {
    slim.others.none()?;
    let mut asked = slim.label_selector.as_ref().map(selector).transpose()?;
    if let Some(asked) = &mut asked {
        asked.extend(own_labels(&slim.match_label_keys, labels, LabelOperator::In));
        asked.extend(own_labels(&slim.mismatch_label_keys, labels, LabelOperator::NotIn));
    }
    let selected = slim.namespace_selector.as_ref().map(|it| {
        it.others.none()?;
        let pairs = are(&it.match_labels).map(Ok);
        let expressions = it.match_expressions.iter().map(expression);
        pairs.chain(expressions).collect::<Result<Selector<Box<str>>, _>>()
    });
    let is_at_home = slim.namespaces.is_empty() && slim.namespace_selector.is_none();
    let home = labels.namespace().filter(|_| is_at_home);
    let named = slim.namespaces.iter().map(|name| HashedText::of(name)).chain(home).collect();
    Ok(PodAffinityTerm {
        key: slim.topology_key.clone(),
        selector: asked.map(Into::into),
        namespaces: Namespaces { named, selected: selected.transpose()? },
    })
}

fn spread_term(slim: &SlimSpreadConstraint, labels: &LabelSet) -> Result<SpreadTerm, Unclear> {
    slim.others.none()?;
    let mut asked = slim.label_selector.as_ref().map(selector).transpose()?;
    if let Some(asked) = &mut asked {
        asked.extend(own_labels(&slim.match_label_keys, labels, LabelOperator::In));
    }
    let honors = |policy: &str, default| match policy {
        "" => Ok(default),
        "Honor" => Ok(true),
        "Ignore" => Ok(false),
        _ => Err(Unclear),
    };
    if slim.when_unsatisfiable != "DoNotSchedule" {
        return Err(Unclear);
    }
    Ok(SpreadTerm {
        key: slim.topology_key.clone(),
        max_skew: u32::try_from(slim.max_skew).map_err(|_| Unclear)?,
        min_domains: u32::try_from(slim.min_domains.unwrap_or(1)).map_err(|_| Unclear)?,
        selector: asked.map(Into::into),
        honors_affinity: honors(&slim.node_affinity_policy, true)?,
        honors_taints: honors(&slim.node_taints_policy, false)?,
    })
}

#[cfg(test)]
mod tests;
