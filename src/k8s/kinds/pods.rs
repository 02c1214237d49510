//! Pods of all namespaces. `decode` and `slim` read them, because kube-scheduler sends pods as well.

use super::{KindSpec, Version};
use crate::k8s::decode::{self, DecodeError};
use crate::k8s::objects::SlimObject;
use crate::k8s::slim::{SlimIdentityMeta, SlimPod};
use crate::model::{Change, Kind, PodUid};

/// Required: pods take the room of nodes.
pub const SPEC: KindSpec = KindSpec::watched::<SlimPod>(Version::Fixed("v1"));

impl SlimObject for SlimPod {
    const KIND: Kind = Kind::PODS;

    fn into_version(self) -> String {
        self.metadata.resource_version
    }

    fn change(&self) -> Result<Change, DecodeError> {
        Ok(Change::PodSeen(Box::new(decode::pod(self)?)))
    }

    fn gone(meta: &SlimIdentityMeta) -> Result<Change, DecodeError> {
        let uid = PodUid::parse(&meta.uid).ok_or(DecodeError::Missing { field: "metadata.uid" })?;
        Ok(Change::PodGone { uid })
    }

    fn key(meta: SlimIdentityMeta) -> Box<str> {
        meta.uid.into()
    }
}
