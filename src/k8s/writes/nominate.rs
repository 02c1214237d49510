//! Nominating a node for a pending pod, and taking a nomination back.
//!
//! Both are JSON patches of `pods/status`, whose tests are the fences: the pod is the one that is
//! meant, it has no node, and it has no nomination, or the one that is taken back. So no nomination ever
//! replaces another one. A resource version would be no fence but a hurdle for a nomination, since
//! kube-scheduler writes the same status a few milliseconds after every refusal. What does not hold
//! changes nothing; the server then answers 422 without saying which test it was, so the pod is asked.
//!
//! A nomination is taken back only if sigma owns the field, by the API server's account of owners
//! (`metadata.managedFields`). That patch names the version that was read.

use http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::k8s::client::FIELD_MANAGER;
use crate::k8s::list_watch::WatchFailure;
use crate::k8s::slim::SlimPod;
use crate::model::REQUEUE_ANNOTATION;

use super::{
    ObjectWrites, PodRef, WRITE_TIMEOUT, WriteOutcome, WriteRequest, path, refused, unreadable,
};

/// Attempts to take a nomination back while others write to the same pod.
const MAX_LOOKS: u32 = 4;

/// The annotation that makes kube-scheduler try the pod again, beside a nomination.
#[derive(Clone, Copy, Debug)]
pub struct RequeueMark<'a> {
    /// A value that the requeue annotation has not had before.
    pub value: &'a str,
    /// The pod has annotations, as far as is known. A wrong guess costs two more requests.
    pub annotated: bool,
}

impl ObjectWrites {
    /// Nominates a node for the pod, which has no nomination, and requeues it, in one write. If the pod has this very
    /// nomination of sigma already, it is only requeued.
    pub async fn nominate(
        &self,
        pod: PodRef<'_>,
        node: &str,
        mark: RequeueMark<'_>,
    ) -> WriteOutcome {
        let set = async |annotated| {
            let mut change = requeue(mark.value, annotated);
            change.push(op("add", "/status/nominatedNodeName", node.into()));
            self.fenced(pod, None, change).await
        };
        let is_there = |it: &RefusedWrite| it.nominated.as_deref() == Some(node) && !it.is_foreign;
        in_time(async {
            match set(mark.annotated).await {
                // The guess about annotations was wrong.
                Err(it) if it.nominated.is_none() && it.annotated != mark.annotated => {
                    set(it.annotated).await
                }
                // An earlier attempt has done it, whose answer was lost: the mark is this action's.
                Err(it) if is_there(&it) && it.requeue == mark.value => Ok(WriteOutcome::Written),
                // An earlier action has, and kube-scheduler has not heard of it or has not cleared it yet.
                Err(it) if is_there(&it) => {
                    self.fenced(pod, Some(node), requeue(mark.value, it.annotated)).await
                }
                outcome => outcome,
            }
        })
        .await
    }

    /// Takes the nomination `previous` of the pod back, if sigma owns it.
    pub async fn clear_nomination(&self, pod: PodRef<'_>, previous: &str) -> WriteOutcome {
        let cleared = async {
            let mut why = String::new();
            for _ in 0..MAX_LOOKS {
                let seen = match self.owned(pod).await {
                    Ok(seen) => seen,
                    Err(failure) => return refused(failure),
                };
                if let Some(stands) = seen.standing(pod.uid, previous) {
                    return stands;
                }
                match self.remove_nomination(pod, previous, &seen.metadata.resource_version).await {
                    Ok(()) => return WriteOutcome::Written,
                    // Another component has written to the pod in between.
                    Err(failure) if failure.code == Some(422) => why = failure.text,
                    Err(failure) => return refused(failure),
                }
            }
            WriteOutcome::Failed(why)
        };
        let late = || WriteOutcome::Failed(format!("no answer within {WRITE_TIMEOUT:?}"));
        timeout(WRITE_TIMEOUT, cleared).await.unwrap_or_else(|_| late())
    }

    async fn owned(&self, pod: PodRef<'_>) -> Result<OwnedPod, WatchFailure> {
        read_as(&self.read_bytes(pod).await?)
    }

    async fn remove_nomination(
        &self,
        pod: PodRef<'_>,
        previous: &str,
        version: &str,
    ) -> Result<(), WatchFailure> {
        let patch = json!([
            op("test", "/metadata/uid", pod.uid.into()),
            op("test", "/metadata/resourceVersion", version.into()),
            op("test", "/status/nominatedNodeName", previous.into()),
            {"op": "remove", "path": "/status/nominatedNodeName"},
        ]);
        self.patch_status(pod, &patch).await
    }

    async fn patch_status(&self, pod: PodRef<'_>, patch: &Value) -> Result<(), WatchFailure> {
        let request = WriteRequest {
            method: Method::PATCH,
            uri: format!("{}/status", path(pod)),
            content_type: "application/json-patch+json",
            body: patch.clone(),
            what: "patch pods/status".to_owned(),
        };
        self.send(request).await.map(drop)
    }

    /// Writes behind the fences. An error: the write is refused although the pod is the right one and has no node.
    async fn fenced(
        &self,
        pod: PodRef<'_>,
        nominated: Option<&str>,
        change: Vec<Value>,
    ) -> Result<WriteOutcome, RefusedWrite> {
        let fences = [
            op("test", "/metadata/uid", pod.uid.into()),
            op("test", "/spec/nodeName", Value::Null),
            op("test", "/status/nominatedNodeName", nominated.into()),
        ];
        let patch: Value = fences.into_iter().chain(change).collect();
        let why = match self.patch_status(pod, &patch).await {
            Ok(()) => return Ok(WriteOutcome::Written),
            Err(failure) if failure.code == Some(422) => failure.text,
            Err(failure) => return Ok(refused(failure)),
        };
        let read = self.read_bytes(pod).await;
        let read = read.and_then(|body| Ok((read_as::<SlimPod>(&body)?, read_as(&body)?)));
        let (seen, owned): (_, OwnedPod) = match read {
            Ok(read) => read,
            Err(failure) => return Ok(refused(failure)),
        };
        let SlimPod { metadata, spec, status } = seen;
        if metadata.uid != pod.uid {
            return Ok(WriteOutcome::Gone);
        }
        if !spec.node_name.is_empty() {
            return Ok(WriteOutcome::AlreadyBound);
        }
        let nominated = Some(status.nominated_node_name).filter(|it| !it.is_empty());
        let (marks, is_foreign) = (metadata.annotations, owned.is_foreign());
        Err(RefusedWrite {
            why,
            nominated,
            is_foreign,
            annotated: marks.present,
            requeue: marks.requeue,
        })
    }
}

/// The state of a pod whose write was refused although it is the right pod and has no node.
struct RefusedWrite {
    why: String,
    nominated: Option<String>,
    /// Another component owns its nomination.
    is_foreign: bool,
    /// It has annotations.
    annotated: bool,
    /// The value that requeued the pod last.
    requeue: String,
}

/// A pod with the API server's account of the owners of its fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OwnedPod {
    metadata: OwnedMeta,
    spec: OwnedSpec,
    status: OwnedStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OwnedMeta {
    uid: String,
    resource_version: String,
    managed_fields: Vec<ManagedFields>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OwnedSpec {
    node_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OwnedStatus {
    nominated_node_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ManagedFields {
    manager: String,
    fields_v1: Value,
}

impl OwnedPod {
    /// Why the nomination `previous` is not taken back; `None`: sigma owns it.
    fn standing(&self, uid: &str, previous: &str) -> Option<WriteOutcome> {
        if self.metadata.uid != uid {
            return Some(WriteOutcome::Gone);
        }
        if !self.spec.node_name.is_empty() {
            return Some(WriteOutcome::AlreadyBound);
        }
        match &*self.status.nominated_node_name {
            // An earlier attempt, or another component, has done it.
            "" => Some(WriteOutcome::Written),
            node if node != previous || self.is_foreign() => {
                Some(WriteOutcome::Changed(Some(node.into())))
            }
            _ => None,
        }
    }

    /// Another component owns the nomination. If the server names no owner, the name of the node decides.
    fn is_foreign(&self) -> bool {
        let owns =
            |it: &&ManagedFields| it.fields_v1.pointer("/f:status/f:nominatedNodeName").is_some();
        let mut owners = self.metadata.managed_fields.iter().filter(owns).peekable();
        owners.peek().is_some() && owners.all(|it| it.manager != FIELD_MANAGER)
    }
}

fn read_as<T: DeserializeOwned>(body: &[u8]) -> Result<T, WatchFailure> {
    serde_json::from_slice(body).map_err(|error| unreadable(error.to_string()))
}

/// One operation of a patch. The test of a `null` passes where there is no such field.
fn op(op: &str, path: &str, value: Value) -> Value {
    json!({"op": op, "path": path, "value": value})
}

/// Adds to the annotations, or makes them: the server would replace those that there are.
fn requeue(value: &str, annotated: bool) -> Vec<Value> {
    let all = "/metadata/annotations";
    match annotated {
        true => {
            let pointer = REQUEUE_ANNOTATION.replace('/', "~1");
            vec![op("add", &format!("{all}/{pointer}"), value.into())]
        }
        false => {
            vec![op("test", all, Value::Null), op("add", all, json!({REQUEUE_ANNOTATION: value}))]
        }
    }
}

async fn in_time(
    written: impl Future<Output = Result<WriteOutcome, RefusedWrite>>,
) -> WriteOutcome {
    match timeout(WRITE_TIMEOUT, written).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(RefusedWrite { why, nominated: None, .. })) => WriteOutcome::Failed(why),
        Ok(Err(RefusedWrite { nominated, .. })) => WriteOutcome::Changed(nominated.map(Into::into)),
        Err(_) => WriteOutcome::Failed(format!("no answer within {WRITE_TIMEOUT:?}")),
    }
}

#[cfg(test)]
mod tests;
