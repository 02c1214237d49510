//! The bodies that kube-scheduler sends and what it makes of the answers, as Go does both: every
//! field of the envelope is written, a nil is `null`; an answer is read leniently.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::{Pod, QosClaim, TaintEffect, TaintValue, Toleration};
use crate::sim::IMAGE;

/// A filter answer. A key may be in any case to Go; ours is written by sigma, whose case is fixed.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct FilterReply<'a> {
    #[serde(rename = "NodeNames", borrow)]
    /// Nodes that may take the pod; `None` where the answer has none.
    pub node_names: Option<Vec<Cow<'a, str>>>,
    #[serde(rename = "FailedNodes", borrow)]
    /// Nodes that may not, with the reason.
    pub failed: Option<BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
    #[serde(rename = "FailedAndUnresolvableNodes", borrow)]
    /// Nodes that may not, whatever is preempted on them.
    pub unresolvable: Option<BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
    #[serde(rename = "Error", borrow)]
    /// The failure of the whole call; empty if there is none.
    pub error: Option<Cow<'a, str>>,
}

/// A row of a prioritize answer.
#[derive(Debug, serde::Deserialize)]
pub struct HostPriority<'a> {
    #[serde(rename = "Host", borrow)]
    /// The node.
    pub host: Cow<'a, str>,
    #[serde(rename = "Score")]
    /// From 0 to 10.
    pub score: i64,
}

/// `ExtenderArgs` with names only (`nodeCacheCapable: true`). `names` are already JSON strings.
pub fn extender_args<'a>(out: &mut String, pod_json: &str, names: impl Iterator<Item = &'a str>) {
    out.clear();
    out.push_str(r#"{"Pod":"#);
    out.push_str(pod_json);
    out.push_str(r#","Nodes":null,"NodeNames":["#);
    for (at, name) in names.enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str(name);
    }
    out.push_str("]}");
}

/// A JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A pod as the scheduler's informer holds it: no `managedFields`, no `kind`.
pub fn pod_json(pod: &Pod) -> String {
    let mut out = String::with_capacity(2048);
    out.push_str(r#"{"metadata":{"name":"#);
    out.push_str(&quoted(&pod.name));
    text_field(&mut out, "namespace", &pod.namespace);
    text_field(&mut out, "uid", &pod.uid_text);
    text_field(&mut out, "resourceVersion", &pod.resource_version.to_string());
    out.push_str(r#","generation":1,"creationTimestamp":"2026-11-11T00:00:00Z""#);
    labels(&mut out, pod);
    if let Some(owner) = &pod.owner {
        let api_version = if &*owner.kind == "Job" { "batch/v1" } else { "apps/v1" };
        out.push_str(r#","ownerReferences":[{"apiVersion":"#);
        out.push_str(&quoted(api_version));
        text_field(&mut out, "kind", &owner.kind);
        text_field(&mut out, "name", &owner.name);
        // The owner's UID is kept as a number; a UUID's text is that number.
        text_field(&mut out, "uid", &uuid_text(owner.app.0));
        out.push_str(r#","controller":true,"blockOwnerDeletion":true}]"#);
    }
    out.push_str("},");
    spec(&mut out, pod);
    let qos = if pod.is_best_effort() { "BestEffort" } else { "Guaranteed" };
    out.push_str(r#","status":{"phase":"Pending","qosClass":"#);
    out.push_str(&quoted(qos));
    out.push_str("}}");
    out
}

fn labels(out: &mut String, pod: &Pod) {
    out.push_str(r#","labels":{"app":"#);
    out.push_str(&quoted(pod.owner.as_ref().map_or("none", |owner| &owner.name)));
    if let Some(claim) = pod.qos_claim {
        let level = match claim {
            QosClaim::Offline => "BE",
            QosClaim::Online => "LS",
        };
        text_field(out, "koordinator.sh/qosClass", level);
    }
    out.push('}');
}

fn spec(out: &mut String, pod: &Pod) {
    // Writing to a String cannot fail.
    let _ = write!(out, r#""spec":{{"containers":[{{"name":"main","image":"{IMAGE}""#);
    let ask = pod.requests.base;
    let resources = format!(r#"{{"cpu":"{}m","memory":"{}"}}"#, ask.cpu_milli, ask.memory_bytes);
    let _ = write!(out, r#","resources":{{"limits":{resources},"requests":{resources}}}"#);
    out.push_str(
        r#","terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","#,
    );
    out.push_str(r#""imagePullPolicy":"IfNotPresent"}],"restartPolicy":"Always","#);
    out.push_str(r#""terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","#);
    out.push_str(r#""serviceAccountName":"default","securityContext":{},"schedulerName":"#);
    out.push_str(&quoted(&pod.scheduler));
    out.push_str(r#","tolerations":["#);
    for (at, it) in pod.tolerations.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        toleration(out, it);
    }
    out.push(']');
    if !pod.priority_class.is_empty() {
        text_field(out, "priorityClassName", &pod.priority_class);
    }
    if let Some(node) = &pod.node {
        text_field(out, "nodeName", node);
    }
    let _ = write!(out, r#","priority":{},"enableServiceLinks":true"#, pod.priority);
    out.push_str(r#","preemptionPolicy":"PreemptLowerPriority"}"#);
}

fn toleration(out: &mut String, it: &Toleration) {
    out.push_str(r#"{"key":"#);
    out.push_str(&quoted(&it.key));
    match &it.value {
        TaintValue::Equal(value) => {
            text_field(out, "operator", "Equal");
            text_field(out, "value", value);
        }
        TaintValue::Gt(value) => {
            text_field(out, "operator", "Gt");
            text_field(out, "value", &value.to_string());
        }
        TaintValue::Lt(value) => {
            text_field(out, "operator", "Lt");
            text_field(out, "value", &value.to_string());
        }
        TaintValue::Any | TaintValue::Unclear => text_field(out, "operator", "Exists"),
    }
    match it.effect {
        None | Some(TaintEffect::Unclear) => {}
        Some(TaintEffect::NoSchedule) => text_field(out, "effect", "NoSchedule"),
        Some(TaintEffect::PreferNoSchedule) => text_field(out, "effect", "PreferNoSchedule"),
        Some(TaintEffect::NoExecute) => {
            text_field(out, "effect", "NoExecute");
            out.push_str(r#","tolerationSeconds":300"#);
        }
    }
    out.push('}');
}

fn text_field(out: &mut String, key: &str, value: &str) {
    let _ = write!(out, r#",{}:{}"#, quoted(key), quoted(value));
}

/// A UUID, whose text is this number.
pub fn uuid_text(number: u128) -> String {
    let hex = format!("{number:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::{decode, slim::SlimPod};
    use crate::sim::PodStream;

    #[test]
    fn what_the_client_writes_is_the_pod_that_was_generated() {
        for (mut pod, node) in PodStream::new(3).take(2000).zip([None, Some("n-1")].iter().cycle())
        {
            pod.node = node.map(Into::into);
            let text = pod_json(&pod);
            let slim: SlimPod = serde_json::from_str(&text).expect("it is JSON");
            assert_eq!(decode::pod(&slim), Ok(pod), "{text}");
        }
    }

    #[test]
    fn the_envelope_has_every_field() {
        let mut body = String::from("left over");
        let names = [quoted("n-0"), quoted("n-\"1")];
        extender_args(&mut body, "{}", names.iter().map(String::as_str));
        assert_eq!(body, r#"{"Pod":{},"Nodes":null,"NodeNames":["n-0","n-\"1"]}"#);
        extender_args(&mut body, "{}", std::iter::empty());
        assert_eq!(body, r#"{"Pod":{},"Nodes":null,"NodeNames":[]}"#);
    }

    #[test]
    fn answers_are_read_as_go_reads_them() {
        let reply = r#"{"Nodes":null,"NodeNames":["a"],"FailedNodes":null,"Error":"","More":1}"#;
        let reply: FilterReply<'_> = serde_json::from_str(reply).expect("it is an answer");
        assert_eq!(reply.node_names.as_deref(), Some(&[Cow::from("a")][..]));
        assert!(reply.failed.is_none() && reply.unresolvable.is_none());
        assert!(serde_json::from_str::<FilterReply<'_>>("{}").is_ok());
        let scores: Vec<HostPriority<'_>> =
            serde_json::from_str(r#"[{"Host":"a","Score":7}]"#).expect("it is an answer");
        assert_eq!((&*scores[0].host, scores[0].score), ("a", 7));
        assert!(serde_json::from_str::<HostPriority<'_>>(r#"{"Host":"a","Score":7.0}"#).is_err());
    }
}
