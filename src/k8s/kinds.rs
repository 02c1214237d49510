//! The kinds that sigma watches or polls: one file a kind, and one line in [`REGISTRY`].
//!
//! Requests, readiness, metrics, supervision, the rights in `deploy/` and the table in
//! `docs/adding-a-watched-kind.md` follow from the registry.

pub mod claims;
pub mod device_classes;
pub mod namespaces;
pub mod nodes;
pub mod pods;
pub mod volumes;

use std::pin::Pin;
use std::time::Duration;

use kube::Client;

use super::objects::{ObjectReader, SlimObject};
use crate::model::{AnyFact, Kind, ObjectName};
use crate::policy::Plan;

/// Every kind, in the order in which lists are worth having.
#[rustfmt::skip]
pub const REGISTRY: &[KindSpec] = &[
    nodes::SPEC,
    namespaces::SPEC,
    pods::SPEC,
    volumes::SPEC,
    claims::SPEC,
    device_classes::SPEC,
];

/// The verbs that a watched kind needs.
pub const VERBS: [&str; 3] = ["get", "list", "watch"];

/// A kind and how sigma learns of its objects.
#[derive(Clone, Copy, Debug)]
pub struct KindSpec {
    /// The kind. It is required or optional by [`Kind::is_required`].
    pub kind: Kind,
    /// The source of its objects.
    pub source: KindSource,
    /// The fate of known objects when the API server no longer serves an optional kind.
    pub absent: Absent,
    /// False while the policy has no use for an optional kind. Once begun, a source does not end.
    pub wanted: fn(&Plan) -> bool,
    /// The consequence of a missing right to an optional kind, for the log.
    pub without: &'static str,
}

/// The source of a kind's objects.
#[derive(Clone, Copy, Debug)]
pub enum KindSource {
    /// A list and a watch of the API server.
    Watch(Version, ObjectReader),
    /// A call at an interval. Its answer is a complete list.
    Poll(Duration, PollCall),
}

/// Asks a polled source for all objects.
pub type PollCall = fn(Client) -> PollAnswer;

/// The facts of a polled source. An error is a text for the log, without addresses or secrets.
pub type PollAnswer = Pin<Box<dyn Future<Output = Result<Facts, String>> + Send>>;

/// The facts of all objects of a kind.
pub type Facts = Vec<(ObjectName, AnyFact)>;

/// The version of an API group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// This one.
    Fixed(&'static str),
    /// The newest one that serves the resource, by discovery.
    Newest,
}

/// The fate of objects whose kind is no longer served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// They are gone: the kind counts as listed and empty.
    Sweep,
    /// They stay as they are until the kind is listed again.
    Keep,
}

impl KindSpec {
    /// A kind that is watched. If it is optional, it is always wanted, and swept when it is absent.
    pub(super) const fn watched<T: SlimObject>(version: Version) -> Self {
        let source = KindSource::Watch(version, ObjectReader::of::<T>());
        Self { source, ..Self::polled(T::KIND, Duration::ZERO, |_| Box::pin(async { Ok(vec![]) })) }
    }

    /// A kind that is polled at an interval.
    pub const fn polled(kind: Kind, interval: Duration, call: PollCall) -> Self {
        Self {
            kind,
            source: KindSource::Poll(interval, call),
            absent: Absent::Sweep,
            wanted: |_| true,
            without: "sigma works without it",
        }
    }

    /// The rights that the source needs: group, resource and verbs. `None` for a polled source.
    pub fn rights(&self) -> Option<(&'static str, &'static str, [&'static str; 3])> {
        match self.source {
            KindSource::Watch(..) => Some((self.kind.group, self.kind.resource, VERBS)),
            KindSource::Poll(..) => None,
        }
    }
}

/// Every kind of the registry.
pub fn kinds() -> impl Iterator<Item = Kind> {
    REGISTRY.iter().map(|it| it.kind)
}

/// The entry of a kind.
pub fn spec_of(kind: Kind) -> Option<&'static KindSpec> {
    REGISTRY.iter().find(|it| it.kind == kind)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cluster::Tables;

    #[test]
    fn the_registry_has_every_required_kind_first_and_each_name_once() {
        let kinds: Vec<Kind> = kinds().collect();
        assert_eq!(kinds[..3], Kind::REQUIRED);
        let names: BTreeSet<_> = kinds.iter().map(|it| it.name).collect();
        assert_eq!(names.len(), kinds.len());
        assert!(kinds.into_iter().all(|kind| spec_of(kind).is_some_and(|it| it.kind == kind)));
        assert!(spec_of(Kind::of("", "secrets")).is_none());
    }

    #[test]
    fn every_optional_kind_has_a_table() {
        let mut tables = Tables::KINDS.to_vec();
        let mut optional: Vec<Kind> = kinds().filter(|it| !it.is_required()).collect();
        tables.retain(|it| it.group != "test.sigma.io");
        tables.sort();
        optional.sort();
        assert_eq!(tables, optional);
    }
}
