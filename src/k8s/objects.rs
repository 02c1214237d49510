//! Raw objects of a watch, by kind, turned into changes.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::model::{Change, Kind, PodUid};

use super::decode::{self, DecodeError};
use super::slim::{SlimIdentity, SlimNamespace, SlimNode, SlimPod};

/// What an object says, and the resource version it carries.
#[derive(Debug)]
pub(super) struct Read {
    pub change: Change,
    pub version: String,
}

/// An object that was listed, added or modified.
pub(super) fn seen(kind: Kind, object: &RawValue) -> Result<Read, DecodeError> {
    Ok(match kind {
        Kind::Nodes => {
            let slim: SlimNode = read(object)?;
            let change = Change::NodeSeen(Box::new(decode::node(&slim)?));
            Read { change, version: slim.metadata.resource_version }
        }
        Kind::Namespaces => {
            let slim: SlimNamespace = read(object)?;
            let change = Change::NamespaceSeen(decode::namespace(&slim)?);
            Read { change, version: slim.metadata.resource_version }
        }
        Kind::Pods => {
            let slim: SlimPod = read(object)?;
            let change = Change::PodSeen(Box::new(decode::pod(&slim)?));
            Read { change, version: slim.metadata.resource_version }
        }
    })
}

/// An object that was deleted. Only its identity is read: what it was no longer matters, and so an
/// object that was never decodable can still go.
pub(super) fn gone(kind: Kind, object: &RawValue) -> Result<Read, DecodeError> {
    let meta = read::<SlimIdentity>(object)?.metadata;
    let name = || match meta.name.as_str() {
        "" => Err(DecodeError::Missing { field: "metadata.name" }),
        name => Ok(name.into()),
    };
    let change = match kind {
        Kind::Nodes => Change::NodeGone { name: name()? },
        Kind::Namespaces => Change::NamespaceGone { name: name()? },
        Kind::Pods => {
            let uid = PodUid::parse(&meta.uid);
            Change::PodGone { uid: uid.ok_or(DecodeError::Missing { field: "metadata.uid" })? }
        }
    };
    Ok(Read { change, version: meta.resource_version })
}

/// Who an object is, as far as that can be read.
pub(super) fn identity(object: &RawValue) -> SlimIdentity {
    read(object).unwrap_or_default()
}

fn read<T: DeserializeOwned>(object: &RawValue) -> Result<T, DecodeError> {
    Ok(serde_json::from_str(object.get())?)
}
