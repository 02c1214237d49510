//! DeviceClasses: each may stand for an extended resource.

use super::{Absent, KindSpec, Version};
use crate::cluster::DeviceClass;
use crate::k8s::decode::DecodeError;
use crate::k8s::objects::{SlimObject, named};
use crate::k8s::slim::{SlimIdentityMeta, nullable};
use crate::model::{Change, Kind, ObjectName};
use crate::policy::Plan;

/// An API server that does not serve DeviceClasses has none.
pub const SPEC: KindSpec = KindSpec {
    absent: Absent::Sweep,
    wanted: Plan::chooses_anywhere,
    without: "pods that request extended resources are left to kube-scheduler",
    ..KindSpec::watched::<SlimDeviceClass>(Version::Fixed("v1"))
};

impl SlimObject for SlimDeviceClass {
    const KIND: Kind = Kind::DEVICE_CLASSES;

    fn into_version(self) -> String {
        self.metadata.resource_version
    }

    fn change(&self) -> Result<Change, DecodeError> {
        let name = ObjectName::of("", named(&self.metadata)?);
        let resource = self.spec.extended_resource_name.clone().filter(|it| !it.is_empty());
        Ok(Change::seen(name, Some(DeviceClass { resource })))
    }
}

/// A DeviceClass.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
struct SlimDeviceClass {
    #[serde(deserialize_with = "nullable")]
    metadata: SlimIdentityMeta,
    #[serde(deserialize_with = "nullable")]
    spec: SlimDeviceClassSpec,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SlimDeviceClassSpec {
    extended_resource_name: Option<Box<str>>,
}
