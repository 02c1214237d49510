//! Namespaces.

use super::{KindSpec, Version};
use crate::k8s::decode::{self, DecodeError};
use crate::k8s::objects::{SlimObject, named};
use crate::k8s::slim::{SlimIdentityMeta, SlimMeta, nullable};
use crate::model::{Change, Kind, Namespace};

/// Required: selectors of pods and grants of the policy read the labels of namespaces.
pub const SPEC: KindSpec = KindSpec::watched::<SlimNamespace>(Version::Fixed("v1"));

impl SlimObject for SlimNamespace {
    const KIND: Kind = Kind::NAMESPACES;

    fn into_version(self) -> String {
        self.metadata.resource_version
    }

    fn change(&self) -> Result<Change, DecodeError> {
        Ok(Change::NamespaceSeen(namespace(self)?))
    }

    fn gone(meta: &SlimIdentityMeta) -> Result<Change, DecodeError> {
        Ok(Change::NamespaceGone { name: named(meta)?.into() })
    }
}

/// A namespace.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimNamespace {
    /// `metadata`.
    #[serde(deserialize_with = "nullable")]
    pub metadata: SlimMeta,
}

/// Makes a namespace.
pub fn namespace(slim: &SlimNamespace) -> Result<Namespace, DecodeError> {
    decode::required(&slim.metadata.name, "metadata.name")?;
    Ok(Namespace {
        name: slim.metadata.name.as_str().into(),
        labels: decode::labels(&slim.metadata),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_read() {
        let text = r#"{"metadata":{"name":"n","labels":{"b":"2","a":"1","c":null}}}"#;
        let got = namespace(&serde_json::from_str(text).expect("JSON")).expect("a namespace");
        assert_eq!((&*got.name, got.label("a"), got.label("c")), ("n", Some("1"), Some("")));
        let slim = serde_json::from_str(r#"{"metadata":null}"#).expect("JSON");
        assert_eq!(namespace(&slim), Err(DecodeError::Missing { field: "metadata.name" }));
    }
}
