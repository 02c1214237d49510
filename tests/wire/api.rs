//! The part of an API server that a binding meets, with real state behind real HTTP.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::{Client, Config};
use serde_json::{Value, json};
use sigma::k8s::writes::ObjectWrites;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// A pod as the server stores it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) uid: String,
    pub(crate) node: String,
    pub(crate) terminating: bool,
    pub(crate) gated: bool,
}

/// What goes wrong with the next request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// This status, nothing done.
    Status(u16),
    /// The write is done, the answer is a 504.
    DoneButTimedOut,
}

/// Requests that may be answered at one time.
const PERMITS: u32 = 1000;

#[derive(Default)]
struct State {
    pods: HashMap<String, Stored>,
    faults: VecDeque<Fault>,
    posts: Vec<Value>,
    gets: usize,
}

/// The server; requests wait while it is held.
#[derive(Clone)]
pub(crate) struct Api {
    port: u16,
    state: Arc<Mutex<State>>,
    gate: Arc<Semaphore>,
}

impl Api {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let gate = Arc::new(Semaphore::new(PERMITS as usize));
        let api = Self { port, state: Arc::default(), gate };
        let accepting = api.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let api = accepting.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| async {
                        Ok::<_, Infallible>(api.answer(request).await)
                    });
                    // A client that hangs up is no concern of the server's.
                    let _ =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        api
    }

    pub(crate) fn writes(&self) -> Arc<ObjectWrites> {
        let url = format!("http://127.0.0.1:{}", self.port).parse().expect("a valid URL");
        let mut config = Config::new(url);
        config.default_retry = false;
        Arc::new(ObjectWrites::new(Client::try_from(config).expect("a plain client needs nothing")))
    }

    pub(crate) fn put(&self, name: &str, pod: Stored) {
        self.state().pods.insert(name.to_owned(), pod);
    }

    pub(crate) fn node_of(&self, name: &str) -> String {
        self.state().pods.get(name).map(|pod| pod.node.clone()).unwrap_or_default()
    }

    pub(crate) fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.extend(faults);
    }

    /// The bodies of all binding requests.
    pub(crate) fn posts(&self) -> Vec<Value> {
        self.state().posts.clone()
    }

    /// Requests wait from now on, until the guard is dropped.
    pub(crate) async fn hold(&self) -> tokio::sync::OwnedSemaphorePermit {
        self.gate.clone().acquire_many_owned(PERMITS).await.expect("it is never closed")
    }

    /// Waits until so many binding requests have come.
    pub(crate) async fn wait_for_posts(&self, count: usize) {
        while self.state().posts.len() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics in here")
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let path: Vec<&str> = parts.uri.path().split('/').collect();
        let name = path.get(6).copied().unwrap_or("").to_owned();
        if parts.method == Method::POST {
            let binding = serde_json::from_slice(&body).expect("bindings are JSON");
            self.state().posts.push(binding);
        }
        let open = self.gate.acquire().await.expect("it is never closed");
        drop(open);
        let mut state = self.state();
        if parts.method == Method::GET {
            state.gets += 1;
            return match state.pods.get(&name) {
                Some(pod) => respond(200, &pod_json(&name, pod)),
                None => status(404, "not found"),
            };
        }
        let binding: Value = serde_json::from_slice(&body).expect("bindings are JSON");
        let fault = state.faults.pop_front();
        if let Some(Fault::Status(code)) = fault {
            return status(code, "as the test wants it");
        }
        let done = bind(&mut state, &name, &binding);
        match fault {
            Some(_) => status(504, "the request timed out"),
            None => done,
        }
    }
}

/// As `pkg/registry/core/pod/storage.BindingREST` does it.
fn bind(state: &mut State, name: &str, binding: &Value) -> Response<Full<Bytes>> {
    let Some(pod) = state.pods.get_mut(name) else {
        return status(404, "pods not found");
    };
    if binding["metadata"]["uid"] != pod.uid.as_str() {
        return status(409, "Precondition failed: UID in precondition");
    }
    if pod.terminating {
        return status(409, "pod is being deleted, cannot be assigned to a host");
    }
    if pod.gated {
        return status(409, "pod has non-empty .spec.schedulingGates");
    }
    if !pod.node.is_empty() {
        return status(409, &format!("pod is already assigned to node {:?}", pod.node));
    }
    pod.node = binding["target"]["name"].as_str().unwrap_or("").to_owned();
    status(201, "")
}

fn pod_json(name: &str, pod: &Stored) -> Value {
    let mut json = json!({
        "metadata": {"name": name, "namespace": "shop", "uid": pod.uid},
        "spec": {"nodeName": pod.node}
    });
    if pod.terminating {
        json["metadata"]["deletionTimestamp"] = "2026-11-11T00:00:00Z".into();
    }
    if pod.gated {
        json["spec"]["schedulingGates"] = json!([{"name": "g"}]);
    }
    json
}

fn status(code: u16, message: &str) -> Response<Full<Bytes>> {
    respond(code, &json!({"kind": "Status", "message": message, "code": code}))
}

fn respond(code: u16, body: &Value) -> Response<Full<Bytes>> {
    let response = Response::builder().status(code).header("content-type", "application/json");
    response.body(Full::new(body.to_string().into())).expect("a valid response")
}
