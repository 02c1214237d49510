//! Objects of the API, and what may be written to them. Plain values: `k8s` carries a write out.

use serde_json::Value;

use super::Pod;
use super::ids::digest128;

/// A kind of object, by the names that URLs, rights and references use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ObjectType {
    /// Empty for the core group.
    pub group: &'static str,
    /// `v1`, …
    pub version: &'static str,
    /// The plural: `pods`, …
    pub resource: &'static str,
    /// `Pod`, …
    pub kind: &'static str,
}

impl ObjectType {
    /// Pods.
    pub const POD: Self = Self { group: "", version: "v1", resource: "pods", kind: "Pod" };
    /// ConfigMaps.
    pub const CONFIG_MAP: Self =
        Self { group: "", version: "v1", resource: "configmaps", kind: "ConfigMap" };
    /// ClusterRoles.
    pub const CLUSTER_ROLE: Self = Self {
        group: "rbac.authorization.k8s.io",
        version: "v1",
        resource: "clusterroles",
        kind: "ClusterRole",
    };

    /// `v1`, `apps/v1`, …
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectRef {
    /// Its type.
    pub object_type: ObjectType,
    /// Empty for an object without a namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its UID as the API server wrote it. Every write is fenced by it; empty: whatever object has the name.
    pub uid: Box<str>,
}

/// Tells objects apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(pub u128);

impl ObjectRef {
    /// This pod.
    pub fn pod(pod: &Pod) -> Self {
        Self {
            object_type: ObjectType::POD,
            namespace: pod.namespace.as_ref().into(),
            name: pod.name.as_ref().into(),
            uid: pod.uid_text.as_ref().into(),
        }
    }

    /// The same for the same object, in every process. An object without a UID is told by its name.
    pub fn key(&self) -> ObjectKey {
        let ObjectType { group, resource, .. } = self.object_type;
        match &*self.uid {
            "" => ObjectKey(digest128(&[group, resource, &self.namespace, &self.name])),
            uid => ObjectKey(digest128(&[uid])),
        }
    }
}

/// What is written to an object. The writer adds the fence by UID to each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// A patch. To fence by version as well, the body names `metadata.resourceVersion`.
    Patch {
        /// `status`, …; empty for the object itself.
        subresource: &'static str,
        /// How the body is meant.
        format: PatchFormat,
        /// An object, or a list of operations for [`PatchFormat::Json`].
        body: Value,
        /// An annotation that gets a value which it did not have before. Not with [`PatchFormat::Json`].
        mark: Option<&'static str>,
    },
    /// Server-side apply of these fields: creates the object where there is none.
    Apply {
        /// `status`, …; empty for the object itself.
        subresource: &'static str,
        /// The fields. The writer adds the type and the name.
        body: Value,
        /// Takes fields over from other owners.
        force: bool,
    },
    /// Creates a subresource.
    Create {
        /// `eviction`, `binding`, …
        subresource: &'static str,
        /// The body. The writer adds the name.
        body: Value,
    },
    /// An Event about the object.
    Event {
        /// How serious it is.
        severity: EventSeverity,
        /// A word in CamelCase.
        reason: &'static str,
        /// For people.
        message: String,
    },
    /// Nominates a node for a pod and requeues it, in one patch of `pods/status`. If the pod has a nomination by the
    /// time of the write, nothing is written: no nomination ever replaces another one.
    Nominate {
        /// The node.
        node: Box<str>,
        /// The pod has annotations, as far as is known. A wrong guess costs two more requests.
        annotated: bool,
        /// The annotation names the node, so that every replica knows the nomination again.
        is_ahead: bool,
    },
    /// Takes the nomination of this node back, if the pod still has it and sigma owns the field.
    ClearNomination {
        /// The node.
        node: Box<str>,
    },
}

/// How the body of a patch is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchFormat {
    /// RFC 7386: lists are replaced.
    Merge,
    /// As the API's types say: lists may be merged by key.
    Strategic,
    /// RFC 6902: operations, all or none.
    Json,
}

/// How serious an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventSeverity {
    /// For information.
    Normal,
    /// Somebody should look.
    Warning,
}

impl Write {
    /// The node that it is about.
    pub fn node(&self) -> Option<&str> {
        match self {
            Self::Nominate { node, .. } | Self::ClearNomination { node } => Some(node),
            _ => None,
        }
    }
}

/// Something that sigma wants to be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// `patch`, `update`, …
    pub verb: &'static str,
    /// Empty for the core group.
    pub group: &'static str,
    /// `pods`, `leases`, …
    pub resource: &'static str,
    /// `status`, or empty.
    pub subresource: &'static str,
    /// Empty for all of them.
    pub namespace: String,
    /// The object's name; empty for all of them.
    pub name: String,
}

impl Right {
    /// To patch the status of every pod.
    pub const PATCH_POD_STATUS: Self = Self::of("patch", "", "pods", "status");

    /// A right in all namespaces, to objects of all names.
    pub const fn of(
        verb: &'static str,
        group: &'static str,
        resource: &'static str,
        subresource: &'static str,
    ) -> Self {
        Self { verb, group, resource, subresource, namespace: String::new(), name: String::new() }
    }

    /// For people: `patch pods/status`.
    pub fn text(&self) -> String {
        let Self { verb, resource, subresource, namespace, .. } = self;
        let slash = if subresource.is_empty() { "" } else { "/" };
        let within = if namespace.is_empty() { "" } else { " in namespace " };
        format!("{verb} {resource}{slash}{subresource}{within}{namespace}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(uid: &str, name: &str) -> ObjectRef {
        let (namespace, uid) = ("shop".into(), uid.into());
        ObjectRef { object_type: ObjectType::CONFIG_MAP, namespace, name: name.into(), uid }
    }

    #[test]
    fn objects_are_told_apart_by_uid_and_without_one_by_name() {
        assert_eq!(object("u1", "a").key(), object("u1", "b").key());
        assert_ne!(object("u1", "a").key(), object("u2", "a").key());
        assert_eq!(object("", "a").key(), object("", "a").key());
        assert_ne!(object("", "a").key(), object("", "b").key());
        let role = ObjectRef { object_type: ObjectType::CLUSTER_ROLE, ..object("", "a") };
        assert_ne!(role.key(), object("", "a").key());
        assert_eq!(role.object_type.api_version(), "rbac.authorization.k8s.io/v1");
        assert_eq!(ObjectType::POD.api_version(), "v1");
    }

    #[test]
    fn a_right_reads_as_kubectl_says_it() {
        assert_eq!(Right::PATCH_POD_STATUS.text(), "patch pods/status");
        let lease = Right::of("get", "coordination.k8s.io", "leases", "");
        let lease = Right { namespace: "a".to_owned(), ..lease };
        assert_eq!(lease.text(), "get leases in namespace a");
    }
}
