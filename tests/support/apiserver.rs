//! An API server in memory, over plain HTTP: lists with pages, watches with bookmarks, and the few
//! writes that sigma makes. Every write is recorded; what a real server would refuse it refuses.

mod patch;
mod writes;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// Between two bookmarks of a quiet watch.
const BOOKMARKS: Duration = Duration::from_millis(500);

/// The server. It ends, and cuts every connection, when it is dropped.
pub(crate) struct ApiServer {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    store: Mutex<Store>,
    /// Sent whenever anything changes.
    moved: watch::Sender<()>,
}

#[derive(Default)]
struct Store {
    version: u64,
    /// What happened before is not told.
    first: u64,
    objects: BTreeMap<(String, String), Value>,
    log: Vec<Logged>,
    writes: Vec<Write>,
    asked: Vec<(String, String)>,
    streams_lists: bool,
    withheld: BTreeSet<String>,
    forbidden: BTreeSet<(String, String)>,
    unserved: BTreeSet<String>,
}

/// A copy of all objects, and of the version that they were at.
pub(crate) struct Backup {
    version: u64,
    objects: BTreeMap<(String, String), Value>,
}

struct Logged {
    version: u64,
    resource: String,
    line: String,
}

/// A write that came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Write {
    /// As RBAC names it: `patch`, `create`.
    pub(crate) verb: String,
    /// `pods/status`, `pods/binding`, `events`.
    pub(crate) resource: String,
    /// `namespace/name`, or the namespace of an event.
    pub(crate) key: String,
    pub(crate) content_type: String,
    pub(crate) body: Value,
    pub(crate) code: u16,
}

/// A request, understood.
struct Asked {
    verb: &'static str,
    resource: String,
    key: String,
    query: HashMap<String, String>,
}

impl ApiServer {
    pub(crate) fn start() -> Self {
        let shared = Arc::new(Shared { store: Mutex::default(), moved: watch::Sender::new(()) });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        listener.set_nonblocking(true).expect("a socket");
        let (stop, stopped) = oneshot::channel::<()>();
        let router = Router::new().fallback(handle).with_state(shared.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    served = axum::serve(listener, router) => served.expect("it serves"),
                    _ = stopped => {}
                }
            });
        });
        Self { port, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// A kubeconfig that leads here.
    pub(crate) fn kubeconfig(&self, dir: &Path) -> PathBuf {
        kubeconfig(dir, self.port)
    }

    /// Adds or replaces an object, and tells the watches.
    pub(crate) fn put(&self, resource: &str, object: Value) {
        self.change(|store| store.put(resource, object));
    }

    /// Deletes an object, and tells the watches.
    pub(crate) fn delete(&self, resource: &str, key: &str) {
        self.change(|store| {
            let object = store.objects.remove(&(resource.into(), key.into()));
            store.log("DELETED", resource, object.expect("what is deleted is there"));
        });
    }

    /// Deletes an object, and no watch will ever know.
    pub(crate) fn forget(&self, resource: &str, key: &str) {
        self.change(|store| {
            store.version += 1;
            store.objects.remove(&(resource.into(), key.into())).expect("it is there");
        });
    }

    /// What a backup of the store would have.
    pub(crate) fn backup(&self) -> Backup {
        let store = self.shared.lock();
        Backup { version: store.version, objects: store.objects.clone() }
    }

    /// Puts a backup back: versions go on where it was, or where it is told. Watches from versions that lie
    /// in the future hear nothing before these have come. Who is connected is for others to cut off.
    pub(crate) fn restore(&self, backup: &Backup, version: Option<u64>) {
        self.change(|store| {
            store.version = version.unwrap_or(backup.version);
            store.objects = backup.objects.clone();
            store.log.clear();
            store.first = store.version;
        });
    }

    /// The version of the last change.
    pub(crate) fn version(&self) -> u64 {
        self.shared.lock().version
    }

    /// Lists of this resource wait until it is no longer withheld.
    pub(crate) fn withhold(&self, resource: &str, on: bool) {
        self.change(|store| match on {
            true => store.withheld.insert(resource.into()),
            false => store.withheld.remove(resource),
        });
    }

    /// Answers 403 to a verb on a resource, and says so when it is asked.
    pub(crate) fn forbid(&self, verb: &str, resource: &str) {
        self.change(|store| store.forbidden.insert((verb.into(), resource.into())));
    }

    /// Whether a resource is served at all. The answer is a 404 otherwise.
    pub(crate) fn serve(&self, resource: &str, on: bool) {
        self.change(|store| match on {
            true => store.unserved.remove(resource),
            false => store.unserved.insert(resource.into()),
        });
    }

    /// Gives the right back.
    pub(crate) fn permit(&self, verb: &str, resource: &str) {
        self.change(|store| store.forbidden.remove(&(verb.into(), resource.into())));
    }

    /// Whether lists are streamed, as since Kubernetes 1.32, or refused with a 422.
    pub(crate) fn stream_lists(&self, on: bool) {
        self.change(|store| store.streams_lists = on);
    }

    /// An object as it is now.
    pub(crate) fn object(&self, resource: &str, key: &str) -> Option<Value> {
        self.shared.lock().objects.get(&(resource.into(), key.into())).cloned()
    }

    /// Writes to this resource, in order.
    pub(crate) fn writes(&self, resource: &str) -> Vec<Write> {
        let store = self.shared.lock();
        store.writes.iter().filter(|it| it.resource == resource).cloned().collect()
    }

    /// How often a verb was used on a resource.
    pub(crate) fn asked(&self, verb: &str, resource: &str) -> usize {
        let store = self.shared.lock();
        store.asked.iter().filter(|(v, r)| v == verb && r == resource).count()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let done = change(&mut self.shared.lock());
        self.shared.moved.send_replace(());
        done
    }
}

/// Writes a kubeconfig that leads to a port.
pub(crate) fn kubeconfig(dir: &Path, port: u16) -> PathBuf {
    let path = dir.join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n\
         contexts: [{{name: test, context: {{cluster: c, user: u}}}}]\n\
         users: [{{name: u, user: {{token: secret}}}}]\n"
    );
    std::fs::write(&path, text).expect("the file is written");
    path
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic in there was printed; one more while dropping would abort.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().expect("no handler panics")
    }
}

impl Store {
    fn put(&mut self, resource: &str, object: Value) {
        let at = (resource.to_owned(), key_of(&object));
        let kind = if self.objects.contains_key(&at) { "MODIFIED" } else { "ADDED" };
        let object = self.log(kind, resource, object);
        self.objects.insert(at, object);
    }

    fn log(&mut self, kind: &str, resource: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let line = line(kind, &object);
        self.log.push(Logged { version: self.version, resource: resource.into(), line });
        object
    }

    /// What a watch that has got to `from` is sent.
    fn since(&self, resource: &str, from: u64) -> String {
        let fresh = self.log.iter().filter(|it| it.version > from && it.resource == resource);
        fresh.map(|it| &*it.line).collect()
    }

    fn all(&self, resource: &str) -> impl Iterator<Item = (&str, &Value)> {
        let of = self.objects.iter().filter(move |((it, _), _)| it == resource);
        of.map(|((_, key), object)| (&**key, object))
    }

    /// One page; the token is the version of the list and the last key given.
    fn page(&self, resource: &str, query: &HashMap<String, String>) -> Value {
        let (version, after) = match query.get("continue").and_then(|it| it.split_once('|')) {
            Some((version, after)) => (version.to_owned(), after),
            None => (self.version.to_string(), ""),
        };
        let limit = query.get("limit").and_then(|it| it.parse().ok()).unwrap_or(usize::MAX);
        let rest: Vec<_> = self.all(resource).filter(|(key, _)| *key > after).collect();
        let items: Vec<&Value> = rest.iter().take(limit).map(|(_, object)| *object).collect();
        let more = if rest.len() > limit {
            format!("{version}|{}", rest[limit - 1].0)
        } else {
            String::new()
        };
        json!({"kind": "List", "metadata": {"resourceVersion": version, "continue": more}, "items": items})
    }
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(asked) = understand(&method, &uri) else {
        return condition(404, "no such path");
    };
    let right = (asked.verb.to_owned(), asked.resource.clone());
    let (forbidden, unserved) = {
        let mut store = shared.lock();
        store.asked.push(right.clone());
        (store.forbidden.contains(&right), store.unserved.contains(&asked.resource))
    };
    if unserved {
        return condition(404, "the server could not find the requested resource");
    }
    if forbidden {
        let Asked { verb, resource, .. } = &asked;
        return condition(403, &format!("User \"sigma\" cannot {verb} resource \"{resource}\""));
    }
    match asked.verb {
        "list" => {
            released(&shared, &asked.resource).await;
            Json(shared.lock().page(&asked.resource, &asked.query)).into_response()
        }
        "watch" => watched(shared, asked).await,
        "get" => match shared.lock().objects.get(&(asked.resource, asked.key)) {
            Some(object) => Json(object.clone()).into_response(),
            None => condition(404, "not found"),
        },
        _ => written(&shared, &asked, &headers, &body),
    }
}

fn understand(method: &Method, uri: &Uri) -> Option<Asked> {
    let groups = [
        "/api/v1/",
        "/apis/authorization.k8s.io/v1/",
        "/apis/coordination.k8s.io/v1/",
        "/apis/resource.k8s.io/v1/",
    ];
    let path = groups.iter().find_map(|group| uri.path().strip_prefix(group))?;
    let parts: Vec<&str> = path.split('/').collect();
    let (resource, key) = match parts[..] {
        [resource] => (resource.to_owned(), String::new()),
        ["namespaces", namespace, resource] => (resource.to_owned(), namespace.to_owned()),
        ["namespaces", namespace, resource @ ("pods" | "leases" | "configmaps"), name] => {
            (resource.into(), format!("{namespace}/{name}"))
        }
        ["namespaces", namespace, "pods", name, sub] => {
            (format!("pods/{sub}"), format!("{namespace}/{name}"))
        }
        _ => return None,
    };
    let pairs = uri.query().unwrap_or("").split('&').filter_map(|pair| pair.split_once('='));
    let decoded = |text: &str| text.replace("%7C", "|").replace("%2F", "/");
    let query: HashMap<_, _> = pairs.map(|(name, it)| (name.to_owned(), decoded(it))).collect();
    let verb = match *method {
        Method::GET if query.contains_key("watch") => "watch",
        Method::GET if key.is_empty() => "list",
        Method::GET => "get",
        Method::PATCH => "patch",
        Method::PUT => "update",
        Method::POST => "create",
        _ => return None,
    };
    Some(Asked { verb, resource, key, query })
}

fn written(shared: &Shared, asked: &Asked, headers: &HeaderMap, body: &[u8]) -> Response {
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return condition(400, "not JSON");
    };
    let mut store = shared.lock();
    let answer = store.write(asked, &body);
    let content_type = headers.get("content-type").and_then(|it| it.to_str().ok());
    store.writes.push(Write {
        verb: asked.verb.to_owned(),
        resource: asked.resource.clone(),
        key: asked.key.clone(),
        content_type: content_type.unwrap_or("").to_owned(),
        body,
        code: answer.as_ref().map_or_else(|(code, _)| *code, |(code, _)| *code),
    });
    drop(store);
    shared.moved.send_replace(());
    match answer {
        Ok((code, body)) => {
            (StatusCode::from_u16(code).expect("a status"), Json(body)).into_response()
        }
        Err((code, why)) => condition(code, &why),
    }
}

async fn released(shared: &Shared, resource: &str) {
    let mut moved = shared.moved.subscribe();
    while shared.lock().withheld.contains(resource) {
        moved.changed().await.expect("the server holds the sender");
    }
}

/// A watch from a version, or a list that is streamed and becomes one.
async fn watched(shared: Arc<Shared>, asked: Asked) -> Response {
    let streamed = asked.query.contains_key("sendInitialEvents");
    if streamed {
        if !shared.lock().streams_lists {
            return condition(422, "sendInitialEvents is forbidden");
        }
        released(&shared, &asked.resource).await;
    }
    let seconds = asked.query.get("timeoutSeconds").and_then(|it| it.parse().ok()).unwrap_or(60);
    let ends = Instant::now() + Duration::from_secs(seconds);
    let (send, mut receive) = mpsc::channel(16);
    tokio::spawn(async move { follow(&shared, &asked, streamed, ends, send).await });
    let lines = futures_util::stream::poll_fn(move |cx| receive.poll_recv(cx));
    Response::new(Body::from_stream(lines))
}

/// Ends when the time is over or nobody listens any more.
async fn follow(
    shared: &Shared,
    asked: &Asked,
    streamed: bool,
    ends: Instant,
    send: mpsc::Sender<Result<String, Infallible>>,
) {
    let mut moved = shared.moved.subscribe();
    let from = asked.query.get("resourceVersion").and_then(|it| it.parse().ok());
    let mut seen: u64 = from.unwrap_or(0);
    if !streamed && seen < shared.lock().first {
        let status =
            json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"});
        // Whoever has gone away needs not know.
        let _ = send.send(Ok(line("ERROR", &status))).await;
        return;
    }
    if streamed {
        let first = {
            let store = shared.lock();
            seen = store.version;
            let all = store.all(&asked.resource).map(|(_, object)| line("ADDED", object));
            all.collect::<String>() + &bookmark(seen, true)
        };
        if send.send(Ok(first)).await.is_err() {
            return;
        }
    }
    loop {
        moved.mark_unchanged();
        let fresh = {
            let store = shared.lock();
            let fresh = store.since(&asked.resource, seen);
            seen = seen.max(store.version);
            fresh
        };
        let is_in_future = seen > shared.lock().version;
        if !fresh.is_empty() && send.send(Ok(fresh)).await.is_err() {
            return;
        }
        let over = tokio::select! {
            _ = moved.changed() => continue,
            () = send.closed() => return,
            () = sleep(BOOKMARKS) => false,
            () = sleep_until(ends) => true,
        };
        if is_in_future && !over {
            continue;
        }
        if !is_in_future && send.send(Ok(bookmark(seen, false))).await.is_err() || over {
            return;
        }
    }
}

fn line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

fn bookmark(version: u64, ends_list: bool) -> String {
    let mut object = json!({"metadata": {"resourceVersion": version.to_string()}});
    if ends_list {
        object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    line("BOOKMARK", &object)
}

fn condition(code: u16, message: &str) -> Response {
    let status = StatusCode::from_u16(code).expect("a status");
    let body = json!({"kind": "Status", "status": "Failure", "message": message, "code": code});
    (status, Json(body)).into_response()
}

/// `namespace/name`, or the name alone.
fn key_of(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or("").to_owned();
    match &*text("namespace") {
        "" => text("name"),
        namespace => format!("{namespace}/{}", text("name")),
    }
}
