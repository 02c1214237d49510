//! Images: those that a node has, and those that a pod needs.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};

use super::kinds::nodes::SlimNodeStatus;
use super::slim::{SlimPodSpec, list, nullable};
use crate::model::{ImageName, NodeImage};

/// An image on a node.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimImage {
    /// `names`.
    #[serde(deserialize_with = "list")]
    pub names: Vec<SlimImageName>,
    /// `sizeBytes`.
    #[serde(deserialize_with = "nullable")]
    pub size_bytes: i64,
}

/// A name of an image. Its text is not even copied: a node's names are most of its JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlimImageName(pub ImageName);

impl<'de> Deserialize<'de> for SlimImageName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ImageVisitor;
        impl Visitor<'_> for ImageVisitor {
            type Value = SlimImageName;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the name of an image")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(SlimImageName(ImageName::of(text)))
            }
        }
        deserializer.deserialize_str(ImageVisitor)
    }
}

/// Those that a node has.
pub(super) fn of_node(status: &SlimNodeStatus) -> Box<[NodeImage]> {
    let image = |it: &SlimImage| NodeImage {
        names: it.names.iter().map(|SlimImageName(name)| *name).collect(),
        bytes: it.size_bytes,
    };
    status.images.iter().map(image).collect()
}

/// That of each of a pod's containers.
pub(super) fn of_pod(spec: &SlimPodSpec) -> Box<[ImageName]> {
    let containers = spec.init_containers.iter().chain(&spec.containers);
    containers.map(|it| it.image.unwrap_or_default().0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_nodes_and_of_pods() -> Result<(), serde_json::Error> {
        let status = r#"{"images":[null,
            {"names":["reg.example:5000/web@sha256:1","reg.example:5000/web:1"],"sizeBytes":7},
            {"names":null,"sizeBytes":8},{"names":["n\u0067inx:1"]}]}"#;
        let of = |names: &[&str], bytes| NodeImage {
            names: names.iter().map(|it| ImageName::of(it)).collect(),
            bytes,
        };
        let web = of(&["reg.example:5000/web@sha256:1", "reg.example:5000/web:1"], 7);
        let want = [of(&[], 0), web, of(&[], 8), of(&["nginx:1"], 0)];
        assert_eq!(*of_node(&serde_json::from_str(status)?), want);
        assert_eq!(*of_node(&serde_json::from_str(r#"{"images":null}"#)?), []);

        let spec = r#"{"initContainers":[{"image":"init"}],
            "containers":[{"image":"nginx"},{"image":null},{"image":"nginx:latest"}]}"#;
        let nginx = ImageName::of("nginx");
        let want = [ImageName::of("init"), nginx, ImageName::default(), nginx];
        assert_eq!(*of_pod(&serde_json::from_str(spec)?), want);
        Ok(())
    }
}
