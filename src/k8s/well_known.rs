//! The labels and annotations of a pod that sigma looks for. None of the others is even copied; of labels
//! a hash is kept, for selectors.
//!
//! A nomination says nothing of who made it. So where one is written ahead, the annotation that wakes the
//! pod names the node, too: while the two agree, the nomination is ours, whichever replica wrote it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::slim::SlimPod;
use crate::model::HashedText;
use crate::retired;

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
    /// The value that requeued the pod last, of sigma's annotation; empty when absent.
    pub requeue: String,
    /// The same by the annotation of sigma 0.1.
    pub requeue_before: String,
    /// One that puts the pod into a group that is scheduled together.
    pub group: bool,
}

/// A pod's labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlimLabels {
    /// What is looked for among them.
    pub marks: SlimMarks,
    /// Key and value of each, hashed, in the order of the JSON text.
    pub hashed: Vec<(HashedText, HashedText)>,
}

/// A text that is borrowed where the JSON text has it as it is.
#[derive(Default, serde::Deserialize)]
struct LabelVisitor<'a>(#[serde(borrow)] Cow<'a, str>);

/// What a key puts a pod into a group by. Labels and annotations are told apart by nobody here: groups are
/// declared by either. The coscheduling plugin (its name now, and the one before), Koordinator, Volcano,
/// Kueue, YuniKorn.
const GROUPS: [&str; 7] = [
    "scheduling.x-k8s.io/pod-group",
    "pod-group.scheduling.sigs.k8s.io",
    "pod-group.scheduling.sigs.k8s.io/name",
    "gang.scheduling.koordinator.sh/name",
    "scheduling.k8s.io/group-name",
    "kueue.x-k8s.io/pod-group-name",
    "yunikorn.apache.org/task-group-name",
];

impl SlimMarks {
    fn looks_for(key: &str) -> bool {
        matches!(key, "sigma.io/requeue" | "koordinator.sh/qosClass" | "alibabacloud.com/qosClass")
            || key == retired::REQUEUE_ANNOTATION
            || GROUPS.contains(&key)
    }

    fn note(&mut self, key: &str, value: &str) {
        match key {
            "sigma.io/requeue" => self.requeue = value.into(),
            retired::REQUEUE_ANNOTATION => self.requeue_before = value.into(),
            "koordinator.sh/qosClass" => self.koordinator = value.into(),
            "alibabacloud.com/qosClass" => self.alibaba = value.into(),
            _ => self.group |= GROUPS.contains(&key) && !value.is_empty(),
        }
    }
}

impl<'de> Deserialize<'de> for SlimMarks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader { hashes: false }).map(|read| read.marks)
    }
}

impl<'de> Deserialize<'de> for SlimLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader { hashes: true })
    }
}

struct Reader {
    hashes: bool,
}

impl<'de> Visitor<'de> for Reader {
    type Value = SlimLabels;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a map from key to text")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SlimLabels, A::Error> {
        let mut read = SlimLabels::default();
        read.marks.present = true;
        while let Some(LabelVisitor(key)) = map.next_key()? {
            if !self.hashes && !SlimMarks::looks_for(&key) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value::<Option<LabelVisitor<'_>>>()?.unwrap_or_default().0;
            read.marks.note(&key, &value);
            if self.hashes {
                read.hashed.push((HashedText::of(&key), HashedText::of(&value)));
            }
        }
        Ok(read)
    }
}

/// The value that wakes a pod whose nomination to this node is written ahead; `unique` is not to have
/// been there before.
pub fn ahead(node: &str, unique: &str) -> String {
    format!("{AHEAD}/{node}/{unique}")
}

/// The pod's nomination was written ahead.
pub(super) fn is_nominated_ahead(pod: &SlimPod) -> bool {
    let nominated = &*pod.status.nominated_node_name;
    let names_it = |mark: &str| {
        let mut parts = mark.split('/');
        parts.next() == Some(AHEAD) && !nominated.is_empty() && parts.next() == Some(nominated)
    };
    let marks = &pod.metadata.annotations;
    names_it(&marks.requeue) || names_it(&marks.requeue_before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nomination_that_was_written_ahead_is_known_again() {
        let old = retired::REQUEUE_ANNOTATION;
        let before = |node: &str| format!(r#"{{"{old}":"ahead/{node}/0f-7"}}"#);
        let both = |then: &str, now: &str| {
            format!(r#"{{"{old}":"ahead/{then}/0f-7","sigma.io/requeue":"ahead/{now}/1a-1"}}"#)
        };
        let ours = format!("{{\"sigma.io/requeue\":\"{}\"}}", ahead("n1", "0f-7"));
        for (annotations, nominated, want) in [
            (&*ours, "n1", true),
            (&ours, "", false),
            // Somebody else has nominated it since, and does not know of our mark.
            (&ours, "n2", false),
            (&ours, "n", false),
            (r#"{"sigma.io/requeue":"0f-7"}"#, "n1", false),
            (r#"{"other":"ahead/n1/7"}"#, "n1", false),
            // A pod that sigma 0.1 left behind, and one that has been nominated by a replica of each version.
            (&*before("n1"), "n1", true),
            (&before("n1"), "n2", false),
            (&both("n1", "n2"), "n2", true),
            (&both("n2", "n1"), "n2", true),
            (r#"{"sigma.io/requeue":null}"#, "n1", false),
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
