//! The labels and annotations of a pod that sigma looks for. None of the others is even copied.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

/// What was found among a pod's labels, or among its annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlimMarks {
    /// There are any at all.
    pub present: bool,
    /// Koordinator's label for the QoS class, empty when absent.
    pub koordinator: String,
    /// Alibaba Cloud's label for the QoS class, empty when absent.
    pub alibaba: String,
    /// One that puts the pod into a group that is scheduled together.
    pub group: bool,
}

/// Labels and annotations are told apart by nobody here: groups are declared by either.
#[derive(serde::Deserialize)]
#[serde(field_identifier)]
enum Key {
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
