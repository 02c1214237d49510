//! The labels and annotations of a pod that sigma looks for. None of the others is even copied.
//!
//! A nomination says nothing of who made it. So where one is written ahead, the annotation that wakes the
//! pod names the node, too: while the two agree, the nomination is ours, whichever replica wrote it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::slim::SlimPod;

const AHEAD: &str = "ahead";

/// What was found among a pod's labels, or among its annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlimMarks {
    /// There are any at all.
    pub present: bool,
    /// Koordinator's label for the QoS class, empty when absent.
    pub koordinator: String,
    /// Alibaba Cloud's label for the QoS class, empty when absent.
    pub alibaba: String,
    /// What the pod was rung with last, by an annotation of ours; empty when absent.
    pub ring: String,
    /// One that puts the pod into a group that is scheduled together.
    pub group: bool,
}

/// Labels and annotations are told apart by nobody here: groups are declared by either.
#[derive(serde::Deserialize)]
#[serde(field_identifier)]
enum Key {
    #[serde(rename = "sigma.io/ring")]
    Ring,
    #[serde(rename = "koordinator.sh/qosClass")]
    Koordinator,
    #[serde(rename = "alibabacloud.com/qosClass")]
    Alibaba,
    /// The coscheduling plugin (its name now, and the one before), Koordinator, Volcano, Kueue,
    /// YuniKorn.
    #[serde(
        rename = "scheduling.x-k8s.io/pod-group",
        alias = "pod-group.scheduling.sigs.k8s.io",
        alias = "pod-group.scheduling.sigs.k8s.io/name",
        alias = "gang.scheduling.koordinator.sh/name",
        alias = "scheduling.k8s.io/group-name",
        alias = "kueue.x-k8s.io/pod-group-name",
        alias = "yunikorn.apache.org/task-group-name"
    )]
    Group,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for SlimMarks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Marks;
        impl<'de> Visitor<'de> for Marks {
            type Value = SlimMarks;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a map from key to text")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SlimMarks, A::Error> {
                let mut marks = SlimMarks { present: true, ..SlimMarks::default() };
                while let Some(key) = map.next_key::<Key>()? {
                    let mut text = || Ok(map.next_value::<Option<String>>()?.unwrap_or_default());
                    match key {
                        Key::Ring => marks.ring = text()?,
                        Key::Koordinator => marks.koordinator = text()?,
                        Key::Alibaba => marks.alibaba = text()?,
                        Key::Group => marks.group |= !text()?.is_empty(),
                        Key::Other => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(marks)
            }
        }
        deserializer.deserialize_map(Marks)
    }
}

/// The value that wakes a pod whose nomination to this node is written ahead; `unique` is not to have
/// been there before.
pub fn ahead(node: &str, unique: &str) -> String {
    format!("{AHEAD}/{node}/{unique}")
}

/// The pod's nomination was written ahead.
pub(super) fn is_nominated_ahead(pod: &SlimPod) -> bool {
    let mut parts = pod.metadata.annotations.ring.split('/');
    let nominated = &*pod.status.nominated_node_name;
    parts.next() == Some(AHEAD) && !nominated.is_empty() && parts.next() == Some(nominated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nomination_that_was_written_ahead_is_known_again() {
        let ours = format!("{{\"sigma.io/ring\":\"{}\"}}", ahead("n1", "0f-7"));
        for (annotations, nominated, want) in [
            (&*ours, "n1", true),
            (&ours, "", false),
            // Somebody else has nominated it since, and does not know of our mark.
            (&ours, "n2", false),
            (&ours, "n", false),
            (r#"{"sigma.io/ring":"0f-7"}"#, "n1", false),
            (r#"{"other":"ahead/n1/7"}"#, "n1", false),
            (r#"{"sigma.io/ring":null}"#, "n1", false),
            ("null", "n1", false),
        ] {
            let text = format!(
                r#"{{"metadata":{{"annotations":{annotations}}},
                    "status":{{"nominatedNodeName":"{nominated}"}}}}"#
            );
            let pod: SlimPod = serde_json::from_str(&text).expect("a pod");
            assert_eq!(is_nominated_ahead(&pod), want, "{text}");
            assert_eq!(pod.metadata.annotations.present, annotations != "null");
        }
    }
}
