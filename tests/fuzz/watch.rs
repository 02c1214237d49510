//! What an API server may send instead of lists and watches. The real driver reads it from a client
//! whose server is a function; what it makes of it goes into a state.
//!
//! An input is a script: the kind, then one answer after the other, each a status and a body. When it
//! is played, the server is a good one, and whatever came before, the state must be what that one has.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use sigma::cluster::{ClusterState, Tables};
use sigma::k8s::kinds::spec_of;
use sigma::k8s::{WatchHealth, WatchOptions, spawn_with};
use sigma::model::{Change, Kind, ObjectName};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::harness::Target;
use crate::objects::{claims, namespaces, nodes, persistent_volumes, pods};

const BETWEEN: &[u8] = b"\n====\n";
/// Nothing here takes this long.
const PATIENCE: Duration = Duration::from_secs(60);
/// The versions of the good server, beyond what a script says.
const VERSION: &str = "18446744073709551000";

struct Script {
    kind: Kind,
    answers: Mutex<VecDeque<(u16, Vec<u8>)>>,
    /// It is played, and the good server was asked.
    played: Notify,
}

impl Script {
    fn read(input: &[u8]) -> Self {
        let mut parts = split(input).into_iter();
        let kind = match parts.next() {
            Some(b"nodes") => Kind::NODES,
            Some(b"namespaces") => Kind::NAMESPACES,
            Some(b"persistentvolumes") => Kind::VOLUMES,
            Some(b"persistentvolumeclaims") => Kind::CLAIMS,
            Some(b"deviceclasses") => Kind::DEVICE_CLASSES,
            _ => Kind::PODS,
        };
        let answers = parts.take(8).map(|part| {
            let at = part.iter().position(|byte| *byte == b'\n').unwrap_or(part.len());
            let status = std::str::from_utf8(&part[..at]).ok().and_then(|it| it.parse().ok());
            let status = status.filter(|it| (200..600).contains(it)).unwrap_or(200);
            (status, part.get(at + 1..).unwrap_or_default().to_vec())
        });
        Self { kind, answers: Mutex::new(answers.collect()), played: Notify::new() }
    }

    fn answer(
        &self,
        query: &str,
    ) -> Response<impl hyper::body::Body<Data = Bytes, Error = Infallible> + use<>> {
        let next = self.answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let is_played = next.is_none();
        if is_played {
            self.played.notify_one();
        }
        let (status, body) = next.unwrap_or_else(|| self.good(query));
        // Pieces end wherever they end.
        let size = 1 + body.len() % 97;
        let pieces: Vec<_> =
            body.chunks(size).map(|it| Ok(Frame::data(Bytes::copy_from_slice(it)))).collect();
        // A good watch stays open.
        let stays_open = is_played && query.contains("&resourceVersion=");
        let more = stream::pending().take(usize::from(stays_open));
        let mut response = Response::new(StreamBody::new(stream::iter(pieces).chain(more)));
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
        response
    }

    fn good(&self, query: &str) -> (u16, Vec<u8>) {
        if query.contains("sendInitialEvents") {
            (422, Vec::new())
        } else if query.contains("watch=") {
            (200, Vec::new())
        } else if query.contains("continue=") {
            (410, Vec::new())
        } else {
            let items: Vec<Value> = ["true-1", "true-2"].map(|it| truth(self.kind, it)).to_vec();
            let page = json!({"metadata": {"resourceVersion": VERSION}, "items": items});
            (200, page.to_string().into_bytes())
        }
    }
}

fn truth(kind: Kind, name: &str) -> Value {
    let mut object = match kind {
        Kind::NODES => nodes().swap_remove(0),
        Kind::NAMESPACES => namespaces().swap_remove(0),
        Kind::PODS => pods().swap_remove(1),
        Kind::VOLUMES => persistent_volumes().swap_remove(0),
        Kind::CLAIMS => claims().swap_remove(0),
        _ => {
            json!({"metadata": {}, "spec": {"extendedResourceName": "example.com/gpu"}})
        }
    };
    object["metadata"]["name"] = json!(name);
    object["metadata"]["uid"] = json!(name);
    object["metadata"]["resourceVersion"] = json!(VERSION);
    object
}

fn split(input: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = input;
    while let Some(at) = rest.windows(BETWEEN.len()).position(|it| it == BETWEEN) {
        parts.push(&rest[..at]);
        rest = &rest[at + BETWEEN.len()..];
    }
    parts.push(rest);
    parts
}

async fn play(input: &[u8]) -> String {
    let script = Arc::new(Script::read(input));
    let kind = script.kind;
    let spec = spec_of(kind).expect("a kind of the registry");
    let shared = script.clone();
    let server = tower::service_fn(move |request: Request<Body>| {
        let script = shared.clone();
        async move {
            let query = request.uri().query().unwrap_or_default().to_owned();
            Ok::<_, Infallible>(script.answer(&query))
        }
    });
    let (out, mut changes) = mpsc::channel(4);
    let health = Arc::new(WatchHealth::default());
    let options = WatchOptions {
        backoff_min: Duration::ZERO,
        absent_pause: Duration::ZERO,
        max_object_bytes: 4096,
        ..WatchOptions::default()
    };
    let client = Client::new(server, "default");
    let driver = spawn_with(client, spec, out, health.clone(), options);
    let mut state = ClusterState::default();
    let mut asked_again = false;
    loop {
        tokio::select! {
            biased;
            change = timeout(PATIENCE, changes.recv()) => match change.expect("it goes on") {
                Some(change) => {
                    let ends = change == Change::RelistEnd(kind);
                    state.apply(change);
                    assert_eq!(state.audit(), []);
                    if ends && asked_again && is_true(&mut state, kind) {
                        break;
                    }
                }
                None => match driver.await {
                    Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
                    ended => unreachable!("the driver ended: {ended:?}"),
                },
            },
            // It may still watch from where the script left it.
            () = script.played.notified() => {
                asked_again = true;
                health.request_relist(kind);
            }
        }
    }
    driver.abort();
    let it = health.kind(kind);
    let fault = it.last_undecodable.unwrap_or_default();
    format!("{} {} {} {} {fault}", kind.name, it.num_relists, it.num_failures, it.num_reconnects)
        .replace(|c: char| c.is_ascii_digit(), "#")
}

/// The state has what the good server has, and nothing else.
fn is_true(state: &mut ClusterState, kind: Kind) -> bool {
    let (snapshot, _) = state.publish();
    let Tables { claims, volumes, .. } = &snapshot.tables;
    match kind {
        Kind::NODES => {
            let names: Vec<&str> =
                snapshot.live_nodes().map(|it| snapshot.names.name(it)).collect();
            names.len() == 2 && names.iter().all(|it| it.starts_with("true-"))
        }
        Kind::NAMESPACES => {
            snapshot.namespaces.len() == 2 && snapshot.namespaces.contains_key("true-1")
        }
        Kind::PODS => snapshot.num_pods == 2 && snapshot.pending.is_empty(),
        Kind::VOLUMES => {
            let reach = volumes.get(ObjectName::of("", "true-1"));
            reach.is_some() && (claims.len(), volumes.len()) == (0, 2)
        }
        Kind::CLAIMS => {
            let claim = claims.get(ObjectName::of("shop", "true-1"));
            claim.is_some() && (claims.len(), volumes.len()) == (2, 0)
        }
        _ => {
            let classes = &snapshot.tables.device_classes;
            classes.map("example.com/gpu") == Some(true) && classes.len() == 2
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let event =
        |kind: &str, object: &Value| format!("{}\n", json!({"type": kind, "object": object}));
    let bookmark = |version: &str, ends: bool| {
        let mark = if ends { json!({"k8s.io/initial-events-end": "true"}) } else { json!(null) };
        let meta = json!({"resourceVersion": version, "annotations": mark});
        event("BOOKMARK", &json!({"metadata": meta}))
    };
    let error = event("ERROR", &json!({"kind": "Status", "code": 410, "message": "too old"}));
    let mut seeds = Vec::new();
    for (name, objects) in [
        ("pods", pods()),
        ("nodes", nodes()),
        ("namespaces", namespaces()),
        ("persistentvolumes", persistent_volumes()),
        ("persistentvolumeclaims", claims()),
    ] {
        let added: String = objects.iter().map(|it| event("ADDED", it)).collect();
        let changed: String = objects.iter().map(|it| event("MODIFIED", it)).collect();
        let deleted: String = objects.iter().map(|it| event("DELETED", it)).collect();
        let page = |token: &str| json!({"metadata": {"resourceVersion": "9", "continue": token}, "items": objects});
        let scripts = [
            vec![format!(
                "200\n{added}{}{changed}{}{deleted}",
                bookmark("10", true),
                bookmark("12", false)
            )],
            vec![
                "422\n{}".to_owned(),
                format!("200\n{}", page("")),
                format!("200\n{added}{deleted}{error}"),
            ],
            vec![
                "422\n".to_owned(),
                format!("200\n{}", page("more")),
                "503\nbusy".to_owned(),
                format!("200\n{}", page("")),
                format!("200\n{changed}"),
            ],
            vec![format!("200\n{added}"), "403\n{\"message\":\"no\"}".to_owned()],
        ];
        let between = String::from_utf8_lossy(BETWEEN);
        let scripts = scripts.map(|parts| format!("{name}{between}{}", parts.join(&between)));
        seeds.extend(scripts.map(String::into_bytes));
    }
    seeds
}

#[test]
fn watch_streams() {
    let runtime = Runtime::new().expect("a runtime");
    let check = |input: &[u8]| runtime.block_on(play(input));
    Target { name: "watch", seeds: seeds(), mutants: 1500, check: &check }.run();
}
