//! What sigma writes to a pod beside a nomination, and how it is known again.
//!
//! A nomination says nothing of who made it. So where one is written ahead, the annotation that wakes the
//! pod names the node, too: while the two agree, the nomination is ours, whichever replica wrote it.

use super::slim::{SlimPod, nullable};

const AHEAD: &str = "ahead";

/// Of a pod's annotations, ours.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimPodMarks {
    /// What the pod was rung with last.
    #[serde(rename = "sigma.io/ring", deserialize_with = "nullable")]
    pub ring: String,
}

/// The value that wakes a pod whose nomination to this node is written ahead; `unique` is not to have
/// been there before.
pub fn ahead(node: &str, unique: &str) -> String {
    format!("{AHEAD}/{node}/{unique}")
}

/// The pod's nomination was written ahead.
pub(super) fn is_nominated_ahead(pod: &SlimPod) -> bool {
    let marks = pod.metadata.annotations.as_ref();
    let mut parts = marks.map_or("", |it| &it.ring).split('/');
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
            assert_eq!(pod.metadata.annotations.is_some(), annotations != "null");
        }
    }
}
