//! DeviceClasses: for which extended resource each stands.

use super::decode::{DecodeError, required};
use super::slim::{SlimMeta, nullable};
use crate::model::Change;

/// A DeviceClass.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct SlimDeviceClass {
    /// `metadata`.
    #[serde(deserialize_with = "nullable")]
    pub(super) metadata: SlimMeta,
    /// `spec`.
    #[serde(deserialize_with = "nullable")]
    pub(super) spec: SlimDeviceClassSpec,
}

/// A DeviceClass's spec.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct SlimDeviceClassSpec {
    /// `extendedResourceName`.
    pub(super) extended_resource_name: Option<Box<str>>,
}

/// What a class says.
pub(super) fn device_class(slim: &SlimDeviceClass) -> Result<Change, DecodeError> {
    required(&slim.metadata.name, "metadata.name")?;
    let resource = slim.spec.extended_resource_name.clone().filter(|it| !it.is_empty());
    Ok(Change::DeviceClassSeen { name: slim.metadata.name.as_str().into(), resource })
}
