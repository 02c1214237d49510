//! Raw objects of lists and watches, by kind, turned into changes.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Error;
use serde_json::value::RawValue;

use crate::model::{Change, Kind, ObjectName, PodUid};

use super::decode::{self, DecodeError};
use super::device_classes::{self, SlimDeviceClass};
use super::slim::{SlimIdentity, SlimIdentityMeta, SlimNamespace, SlimNode, SlimPod};
use super::volumes::{self, SlimClaim, SlimPersistentVolume};

/// What an object says, and the resource version it carries.
#[derive(Debug)]
pub(super) struct DecodedObject {
    pub change: Change,
    pub version: String,
}

/// The object that a text begins with.
#[derive(Debug)]
pub(super) enum First {
    /// It makes sense.
    Read(DecodedObject),
    /// It is JSON, and makes none; with its text.
    Unread(DecodeError, Box<[u8]>),
}

/// Reads the object that a text begins with, listed, added or modified; gives its length too. `None`
/// when the text ends before the object does, an error when it is no JSON.
///
/// Objects are most of what is ever read, so each is gone through once: its end is where reading it
/// ends, and is looked for only when it cannot be read.
pub(super) fn first(kind: Kind, text: &[u8]) -> Result<Option<(First, usize)>, Error> {
    let seen = match kind {
        Kind::Nodes => seen::<SlimNode>(text, |slim| {
            let change = Change::NodeSeen(Box::new(decode::node(&slim)?));
            Ok(DecodedObject { change, version: slim.metadata.resource_version })
        }),
        Kind::Namespaces => seen::<SlimNamespace>(text, |slim| {
            let change = Change::NamespaceSeen(decode::namespace(&slim)?);
            Ok(DecodedObject { change, version: slim.metadata.resource_version })
        }),
        Kind::Pods => seen::<SlimPod>(text, |slim| {
            let change = Change::PodSeen(Box::new(decode::pod(&slim)?));
            Ok(DecodedObject { change, version: slim.metadata.resource_version })
        }),
        Kind::Volumes => seen::<SlimPersistentVolume>(text, |slim| {
            let (name, reach) = volumes::volume(&slim)?;
            let change = Change::VolumeSeen { name, reach: reach.map(Box::new) };
            Ok(DecodedObject { change, version: slim.metadata.resource_version })
        }),
        Kind::Claims => seen::<SlimClaim>(text, |slim| {
            let (name, bound) = volumes::claim(&slim)?;
            let change = Change::ClaimSeen { name, bound };
            Ok(DecodedObject { change, version: slim.metadata.resource_version })
        }),
        Kind::DeviceClasses => seen::<SlimDeviceClass>(text, |slim| {
            let change = device_classes::device_class(&slim)?;
            Ok(DecodedObject { change, version: slim.metadata.resource_version })
        }),
    };
    let error = match seen {
        Ok(Some((Ok(read), length))) => return Ok(Some((First::Read(read), length))),
        Ok(Some((Err(error), _))) => error,
        Ok(None) => return Ok(None),
        Err(error) => error.into(),
    };
    let whole = value::<IgnoredAny>(text)?;
    Ok(whole.map(|(_, length)| (First::Unread(error, text[..length].into()), length)))
}

type Decoded = (Result<DecodedObject, DecodeError>, usize);

fn seen<T: DeserializeOwned>(
    text: &[u8],
    decode: impl FnOnce(T) -> Result<DecodedObject, DecodeError>,
) -> Result<Option<Decoded>, Error> {
    Ok(value(text)?.map(|(slim, length)| (decode(slim), length)))
}

/// The value that a text begins with, and its length; `None` when the text ends before it does.
pub(super) fn value<T: DeserializeOwned>(text: &[u8]) -> Result<Option<(T, usize)>, Error> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter();
    let value = values.next();
    // A number that ends where the text does may go on; half of one may not even be a number.
    let cut = matches!(text.last(), Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
    match (value, values.byte_offset()) {
        (Some(Ok(_)), length) if cut && length == text.len() => Ok(None),
        (Some(Ok(value)), length) => Ok(Some((value, length))),
        (Some(Err(error)), _) if !cut && !error.is_eof() => Err(error),
        _ => Ok(None),
    }
}

/// An object that was deleted. Only its identity is read: what it was no longer matters, and so an
/// object that was never decodable can still go.
pub(super) fn gone(kind: Kind, object: &RawValue) -> Result<DecodedObject, DecodeError> {
    let meta = serde_json::from_str::<SlimIdentity>(object.get())?.metadata;
    let name = || match meta.name.as_str() {
        "" => Err(DecodeError::Missing { field: "metadata.name" }),
        name => Ok(name),
    };
    let change = match kind {
        Kind::Nodes => Change::NodeGone { name: name()?.into() },
        Kind::Namespaces => Change::NamespaceGone { name: name()?.into() },
        Kind::Pods => {
            let uid = PodUid::parse(&meta.uid);
            Change::PodGone { uid: uid.ok_or(DecodeError::Missing { field: "metadata.uid" })? }
        }
        Kind::DeviceClasses => Change::DeviceClassGone { name: name()?.into() },
        Kind::Volumes => Change::VolumeGone { name: ObjectName::of("", name()?) },
        Kind::Claims => Change::ClaimGone { name: ObjectName::of(&meta.namespace, name()?) },
    };
    Ok(DecodedObject { change, version: meta.resource_version })
}

/// What [`Change::Unread`] calls an object.
pub(super) fn key_of(kind: Kind, meta: SlimIdentityMeta) -> Box<str> {
    match kind {
        Kind::Pods => meta.uid.into(),
        Kind::Claims => format!("{}/{}", meta.namespace, meta.name).into(),
        Kind::Nodes | Kind::Namespaces | Kind::Volumes | Kind::DeviceClasses => meta.name.into(),
    }
}

/// Who an object is, as far as that can be read.
pub(super) fn identity(object: &[u8]) -> SlimIdentity {
    serde_json::from_slice(object).unwrap_or_default()
}
