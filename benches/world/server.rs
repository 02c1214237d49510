//! The real extender on the world, without a socket: request bytes in, reply bytes out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use sigma::engine::Decider;
use sigma::http::{BodyLimits, Extender, ExtenderOptions};
use sigma::metrics::Metrics;
use sigma::model::{Pod, TaintValue, Toleration};
use sigma::writer::{Clock, SharedState, WriterHandle, spawn};
use tokio::runtime::Runtime;

use crate::world::{Setting, plan};

/// A loaded extender and the runtime that it is asked on.
pub(crate) struct Server {
    /// Its world and its desk.
    pub(crate) board: Arc<SharedState>,
    metrics: Arc<Metrics>,
    pub(crate) extender: Arc<Extender>,
    runtime: Runtime,
    _writer: WriterHandle,
}

impl Server {
    /// An extender that has seen all of the setting.
    pub(crate) fn new(setting: &Setting) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime needs no rights");
        let metrics = Arc::new(Metrics::new().expect("names are unique"));
        let board = Arc::new(SharedState::new(plan(), Decider::default(), Clock::start()));
        let writer = runtime.block_on(async {
            let (writer, _) = spawn(board.clone(), metrics.clone());
            for change in &setting.changes {
                writer.changes().send(change.clone()).await.expect("the writer runs");
            }
            while !board.synced() {
                tokio::task::yield_now().await;
            }
            writer
        });
        // Under valgrind a request takes a hundred times as long, and is not late.
        let deadline = Duration::from_secs(600);
        let options = ExtenderOptions { deadline, ..ExtenderOptions::default() };
        let extender = Extender::new(board.clone(), metrics.clone(), options);
        Self { board, metrics, extender, runtime, _writer: writer }
    }

    /// Posts a body to a verb.
    pub(crate) fn ask(&self, verb: &str, body: &Bytes) -> Bytes {
        let request = Request::post(format!("/{verb}"))
            .body(Full::new(body.clone()))
            .expect("a valid request");
        self.runtime.block_on(async {
            let limits = BodyLimits::default();
            let response = self.extender.handle(request, Instant::now(), &limits).await;
            assert_eq!(response.status(), StatusCode::OK);
            response.into_body().collect().await.expect("it is in memory").to_bytes()
        })
    }

    /// How many names prioritize has scored from what the pod's filter had found.
    pub(crate) fn num_remembered(&self) -> u64 {
        self.metrics.fast_path_names.with_label_values(&["memo", "hit"]).get()
    }

    /// Panics unless every answer so far was decided by the rules; gives how many names `verb`
    /// returned on average.
    pub(crate) fn names_returned(&self, verb: &str) -> u64 {
        let results = |result| self.metrics.verb_results.with_label_values(&[verb, result]).get();
        assert_eq!((results("degraded"), results("error")), (0, 0), "{verb}");
        let returned = self.metrics.names_returned.with_label_values(&[verb]).get();
        returned / results("ok").max(1)
    }
}

/// The names that a filter returned.
pub(crate) fn names_in(reply: &Bytes) -> Vec<String> {
    let reply: Value = serde_json::from_slice(reply).expect("replies are JSON");
    serde_json::from_value(reply["NodeNames"].clone()).expect("names")
}

/// What kube-scheduler posts to filter and to prioritize: the pod, and names only.
pub(crate) fn args(pod: &Pod, names: &[String]) -> Bytes {
    let names = serde_json::to_string(names).expect("names are texts");
    format!(r#"{{"Pod":{},"Nodes":null,"NodeNames":{names}}}"#, pod_json(pod)).into()
}

/// A pending pod as the API server writes it, with what sigma does not read as well.
fn pod_json(pod: &Pod) -> Value {
    let ask = pod.requests.base;
    let (cpu, memory) = (format!("{}m", ask.cpu_milli), ask.memory_bytes.to_string());
    let requests = json!({"cpu": cpu, "memory": memory});
    let owner = pod.owner.as_ref().map(|owner| {
        let hex = format!("{:032x}", owner.app.0);
        let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        json!({"apiVersion": "apps/v1", "kind": owner.kind, "name": owner.name,
            "uid": parts.join("-"), "controller": true, "blockOwnerDeletion": true})
    });
    json!({
        "metadata": {
            "name": pod.name, "namespace": pod.namespace, "uid": pod.uid_text,
            "resourceVersion": pod.resource_version.to_string(),
            "creationTimestamp": "2026-11-11T00:00:00Z", "labels": {"app": "main"},
            "ownerReferences": owner.as_slice(),
        },
        "spec": {
            "containers": [{
                "name": "main", "image": "registry.local/main:1", "imagePullPolicy": "IfNotPresent",
                "resources": {"limits": requests, "requests": requests},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }],
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "securityContext": {},
            "schedulerName": pod.scheduler, "priority": pod.priority,
            "priorityClassName": pod.priority_class,
            "tolerations": pod.tolerations.iter().map(toleration).collect::<Vec<_>>(),
        },
        "status": {"phase": "Pending", "qosClass": "Burstable"},
    })
}

fn toleration(it: &Toleration) -> Value {
    let (operator, value) = match &it.value {
        TaintValue::Equal(value) => ("Equal", Some(value)),
        // The simulator makes no other operator.
        _ => ("Exists", None),
    };
    let effect = it.effect.map(|effect| format!("{effect:?}"));
    json!({"key": it.key, "operator": operator, "value": value, "effect": effect})
}
