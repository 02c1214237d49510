//! Raw objects of lists and watches, turned into changes.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Error;
use serde_json::value::RawValue;

use crate::model::{Change, Kind, ObjectName};

use super::decode::{DecodeError, required};
use super::slim::{SlimIdentity, SlimIdentityMeta};

/// An object of a kind, as the API server writes it. The type has only the fields that are read.
pub(super) trait SlimObject: DeserializeOwned {
    /// The kind.
    const KIND: Kind;
    /// True when the objects are in namespaces.
    const NAMESPACED: bool = false;

    /// `metadata.resourceVersion`.
    fn into_version(self) -> String;

    /// The change when an object is listed, added or modified. The error names the field that makes no sense.
    fn change(&self) -> Result<Change, DecodeError>;

    /// The change when an object is deleted.
    fn gone(meta: &SlimIdentityMeta) -> Result<Change, DecodeError> {
        let namespace = if Self::NAMESPACED { &*meta.namespace } else { "" };
        Ok(Change::Gone { kind: Self::KIND, name: ObjectName::of(namespace, named(meta)?) })
    }

    /// The key of an object in [`Change::Unread`].
    fn key(meta: SlimIdentityMeta) -> Box<str> {
        match Self::NAMESPACED {
            true => format!("{}/{}", meta.namespace, meta.name).into(),
            false => meta.name.into(),
        }
    }
}

/// The name of an object. An object without a name is an error.
pub(super) fn named(meta: &SlimIdentityMeta) -> Result<&str, DecodeError> {
    required(&meta.name, "metadata.name")?;
    Ok(&meta.name)
}

/// The functions that read objects of one kind.
#[derive(Clone, Copy, Debug)]
pub struct ObjectReader {
    pub(super) first: fn(&[u8]) -> FirstResult,
    pub(super) gone: fn(&RawValue) -> Result<DecodedObject, DecodeError>,
    pub(super) key: fn(SlimIdentityMeta) -> Box<str>,
}

impl ObjectReader {
    /// Reads objects of this type.
    pub(super) const fn of<T: SlimObject>() -> Self {
        Self { first: first::<T>, gone: gone::<T>, key: T::key }
    }
}

/// A change, and the resource version of its object.
#[derive(Debug)]
pub(super) struct DecodedObject {
    pub change: Change,
    pub version: String,
}

/// The object that a text begins with.
#[derive(Debug)]
pub(super) enum First {
    /// An object that makes sense.
    Read(DecodedObject),
    /// JSON that makes no sense, with its text.
    Unread(DecodeError, Box<[u8]>),
}

/// The first object and its length. `None` when the text ends before the object does.
type FirstResult = Result<Option<(First, usize)>, Error>;

/// Reads the object that a text begins with: listed, added or modified. The error says that the text is no JSON.
///
/// Objects are most of the bytes that sigma reads, so each is parsed once. The end of an object is where
/// parsing ends. A second pass looks for the end only when the object cannot be read.
fn first<T: SlimObject>(text: &[u8]) -> FirstResult {
    let error = match value::<T>(text) {
        Ok(Some((slim, length))) => match slim.change() {
            Ok(change) => {
                let read = DecodedObject { change, version: slim.into_version() };
                return Ok(Some((First::Read(read), length)));
            }
            Err(error) => error,
        },
        Ok(None) => return Ok(None),
        Err(error) => error.into(),
    };
    let whole = value::<IgnoredAny>(text)?;
    Ok(whole.map(|(_, length)| (First::Unread(error, text[..length].into()), length)))
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

/// Reads an object that was deleted. Only its identity is read, so an object that could never be decoded can go.
fn gone<T: SlimObject>(object: &RawValue) -> Result<DecodedObject, DecodeError> {
    let meta = serde_json::from_str::<SlimIdentity>(object.get())?.metadata;
    Ok(DecodedObject { change: T::gone(&meta)?, version: meta.resource_version })
}

/// The identity of an object, as far as it can be read.
pub(super) fn identity(object: &[u8]) -> SlimIdentity {
    serde_json::from_slice(object).unwrap_or_default()
}
