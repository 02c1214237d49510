//! The request of a write: its URL, its type, its body, and the fence in the body.

use http::Method;
use serde_json::{Value, json};

use crate::k8s::client::FIELD_MANAGER;
use crate::k8s::events;
use crate::k8s::wire::percent_encoded;
use crate::model::{ObjectRef, PatchFormat, Write};

/// A request that writes.
#[derive(Debug, PartialEq)]
pub(super) struct WriteRequest {
    pub(super) method: Method,
    pub(super) uri: String,
    pub(super) content_type: &'static str,
    pub(super) body: Value,
    /// For people: `patch pods/status`.
    pub(super) what: String,
}

/// The request of a write that takes one. `token` is the value of its mark.
pub(super) fn request_of(target: &ObjectRef, write: &Write, token: &str) -> WriteRequest {
    let resource = target.object_type.resource;
    let (verb, method, subresource, content_type, body) = match write {
        Write::Patch { subresource, format, body, mark } => {
            let content_type = match format {
                PatchFormat::Merge => "application/merge-patch+json",
                PatchFormat::Strategic => "application/strategic-merge-patch+json",
                PatchFormat::Json => "application/json-patch+json",
            };
            let body = match format {
                PatchFormat::Json => tested(target, body),
                _ => marked(fenced(target, body.clone()), *mark, token),
            };
            ("patch", Method::PATCH, *subresource, content_type, body)
        }
        Write::Apply { subresource, body, .. } => {
            let body = named(target, typed(target, fenced(target, body.clone())));
            ("patch", Method::PATCH, *subresource, "application/apply-patch+yaml", body)
        }
        Write::Create { subresource, body } => {
            let mut body = named(target, body.clone());
            match *subresource {
                // An eviction has no UID of its own: it deletes, and a deletion has preconditions.
                "eviction" if !target.uid.is_empty() => {
                    set(&mut body, &["deleteOptions", "preconditions", "uid"], &target.uid);
                }
                _ => body = fenced(target, body),
            }
            ("create", Method::POST, *subresource, "application/json", body)
        }
        Write::Event { severity, reason, message } => {
            let body = events::body(target, *severity, reason, message);
            let (method, uri) = (Method::POST, events::uri(target));
            let (content_type, what) = ("application/json", "create events".to_owned());
            return WriteRequest { method, uri, content_type, body, what };
        }
        // Both take several requests (`nominate`). One that came here would change nothing.
        Write::Nominate { .. } | Write::ClearNomination { .. } => {
            ("patch", Method::PATCH, "status", "application/json-patch+json", json!([]))
        }
    };
    let slash = if subresource.is_empty() { "" } else { "/" };
    let query = match write {
        Write::Apply { force, .. } => format!("?fieldManager={FIELD_MANAGER}&force={force}"),
        _ => String::new(),
    };
    WriteRequest {
        method,
        uri: format!("{}{slash}{subresource}{query}", uri_of(target)),
        content_type,
        body,
        what: format!("{verb} {resource}{slash}{subresource}"),
    }
}

/// The object's path.
fn uri_of(target: &ObjectRef) -> String {
    let of = &target.object_type;
    let root = if of.group.is_empty() { "/api" } else { "/apis/" };
    let within = match &*target.namespace {
        "" => String::new(),
        namespace => format!("/namespaces/{}", percent_encoded(namespace)),
    };
    let (group, version, resource) = (of.group, of.version, of.resource);
    format!("{root}{group}/{version}{within}/{resource}/{}", percent_encoded(&target.name))
}

/// The body with the UID. The server refuses a patch that would change it.
fn fenced(target: &ObjectRef, mut body: Value) -> Value {
    if !target.uid.is_empty() {
        set(&mut body, &["metadata", "uid"], &target.uid);
    }
    body
}

/// The operations behind a test of the UID.
fn tested(target: &ObjectRef, body: &Value) -> Value {
    let fence = json!({"op": "test", "path": "/metadata/uid", "value": target.uid});
    let fence = (!target.uid.is_empty()).then_some(fence);
    fence.into_iter().chain(body.as_array().into_iter().flatten().cloned()).collect()
}

fn marked(mut body: Value, mark: Option<&str>, token: &str) -> Value {
    if let Some(mark) = mark {
        set(&mut body, &["metadata", "annotations", mark], token);
    }
    body
}

fn named(target: &ObjectRef, mut body: Value) -> Value {
    set(&mut body, &["metadata", "name"], &target.name);
    if !target.namespace.is_empty() {
        set(&mut body, &["metadata", "namespace"], &target.namespace);
    }
    body
}

fn typed(target: &ObjectRef, mut body: Value) -> Value {
    set(&mut body, &["apiVersion"], &target.object_type.api_version());
    set(&mut body, &["kind"], target.object_type.kind);
    body
}

/// Sets a text at a path. What is not an object on the way becomes one.
fn set(body: &mut Value, path: &[&str], text: &str) {
    let mut at = body;
    for key in path {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[*key];
    }
    *at = text.into();
}

#[cfg(test)]
mod tests;
