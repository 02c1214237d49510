//! An independent bookkeeper: follows every pod of the cluster and keeps, at every moment of the
//! watch, the sums per node and pool. It shares no code with sigma's own counting.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{AsyncBufReadExt, TryStreamExt};
use http::Request;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::api::{Api, node_of};

/// CPU in milli and memory in MiB, which is all that the cases use; and pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) cpu: i64,
    pub(crate) memory: i64,
    pub(crate) pods: i64,
}

impl Sum {
    fn add(&mut self, other: Self, sign: i64) {
        self.cpu += sign * other.cpu;
        self.memory += sign * other.memory;
        self.pods += sign * other.pods;
    }

    /// Both fit into the limit together.
    pub(crate) fn fits(self, more: Self, limit: Self) -> bool {
        self.cpu + more.cpu <= limit.cpu
            && self.memory + more.memory <= limit.memory
            && self.pods + more.pods <= limit.pods
    }
}

/// What the case expects of a node.
#[derive(Clone, Debug)]
pub(crate) struct NodeLimit {
    pub(crate) pool: &'static str,
    /// What other pods than exempt ones may fill it to.
    pub(crate) allocation: Sum,
}

/// What the case expects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) nodes: BTreeMap<String, NodeLimit>,
    /// Over a whole pool.
    pub(crate) pools: BTreeMap<&'static str, Sum>,
    /// Class by namespace → pools in order.
    pub(crate) orders: BTreeMap<&'static str, Vec<&'static str>>,
}

/// A pod is bound.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    pub(crate) at: Instant,
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) node: String,
    /// Where sigma had nominated it ahead, by the mark that it leaves, if it had.
    pub(crate) planned: Option<String>,
    /// A pool that the pod's class prefers had a node with room for it at this moment; and how full
    /// that pool was, in percent.
    pub(crate) out_of_order: Option<f64>,
}

/// What `status.nominatedNodeName` of a pod that waits became, and by the field manager of the write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nomination {
    /// `None`: it was cleared.
    pub(crate) node: Option<String>,
    /// Whoever owns the field; empty where nobody does.
    pub(crate) by: String,
}

/// A binding that has filled a node beyond what may be allocated.
#[derive(Clone, Debug)]
pub(crate) struct Beyond {
    pub(crate) at: Instant,
    pub(crate) pod: String,
    pub(crate) node: String,
    /// CPU requested on the node, with the new pod.
    pub(crate) cores: f64,
    pub(crate) limit: f64,
}

/// Before a watch is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// What has been seen.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) bindings: Vec<Binding>,
    /// Whatever must never be.
    pub(crate) violations: Vec<String>,
    /// Those of them that are a node's.
    pub(crate) beyond: Vec<Beyond>,
    pub(crate) nodes: HashMap<String, Sum>,
    pub(crate) pools: HashMap<&'static str, Sum>,
    pub(crate) num_events: u64,
    pub(crate) num_lists: u64,
    pods: HashMap<String, (Option<String>, Sum)>,
    /// By UID, the last node that a pod was nominated to ahead.
    planned: HashMap<String, String>,
    /// By name, every change while the pod waits, in order; all that is left out is a pod that was never
    /// nominated.
    pub(crate) nominations: HashMap<String, Vec<Nomination>>,
}

/// Follows the pods until dropped.
pub(crate) struct Recorder {
    record: Arc<Mutex<Record>>,
    task: JoinHandle<()>,
}

impl Recorder {
    pub(crate) async fn start(api: &Api, limits: Limits) -> Result<Self> {
        let list = api.get("/api/v1/pods").await?;
        let record = Arc::new(Mutex::new(Record::default()));
        for pod in list["items"].as_array().into_iter().flatten() {
            lock(&record).see("ADDED", pod, &limits);
        }
        lock(&record).bindings.clear();
        let version = list["metadata"]["resourceVersion"].as_str().context("a version")?.to_owned();
        let (api, shared) = (api.clone(), record.clone());
        let task = tokio::spawn(async move {
            let mut version = version;
            loop {
                // Ends when the API server does. It goes on where it was, and where a new server no
                // longer knows that place, by a list.
                if follow(&api, &shared, &limits, &mut version).await == Ok(Next::List) {
                    while let Err(_lost) = catch_up(&api, &shared, &limits, &mut version).await {
                        sleep(PAUSE).await;
                    }
                }
                sleep(PAUSE).await;
            }
        });
        Ok(Self { record, task })
    }

    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a watch ended.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Watch,
    List,
}

async fn follow(
    api: &Api,
    record: &Mutex<Record>,
    limits: &Limits,
    version: &mut String,
) -> Result<Next, ()> {
    let path = format!("/api/v1/pods?watch=true&timeoutSeconds=600&resourceVersion={version}");
    let request = Request::get(path).body(Vec::new()).map_err(drop)?;
    let stream = match api.0.request_stream(request).await {
        Err(kube::Error::Api(status)) if status.code == 410 => return Ok(Next::List),
        other => other.map_err(drop)?,
    };
    let mut lines = stream.lines();
    while let Some(line) = lines.try_next().await.map_err(drop)? {
        let event: Value = serde_json::from_str(&line).map_err(drop)?;
        let object = &event["object"];
        match event["type"].as_str() {
            Some("ERROR") => return Ok(Next::List),
            Some(kind) => lock(record).see(kind, object, limits),
            None => {}
        }
        if let Some(seen) = object["metadata"]["resourceVersion"].as_str() {
            seen.clone_into(version);
        }
    }
    Ok(Next::Watch)
}

async fn catch_up(
    api: &Api,
    record: &Mutex<Record>,
    limits: &Limits,
    version: &mut String,
) -> Result<()> {
    let list = api.get("/api/v1/pods").await?;
    let pods = list["items"].as_array().context("no items")?;
    let uids = pods.iter().filter_map(|pod| pod["metadata"]["uid"].as_str());
    let alive: HashSet<&str> = uids.collect();
    let mut record = lock(record);
    record.num_lists += 1;
    let gone = record.pods.keys().filter(|uid| !alive.contains(&***uid)).cloned();
    for uid in gone.collect::<Vec<_>>() {
        record.see("DELETED", &json!({"metadata": {"uid": uid}}), limits);
    }
    for pod in pods {
        record.see("MODIFIED", pod, limits);
    }
    list["metadata"]["resourceVersion"].as_str().context("a version")?.clone_into(version);
    Ok(())
}

impl Record {
    fn see(&mut self, kind: &str, pod: &Value, limits: &Limits) {
        self.num_events += 1;
        let Some(uid) = pod["metadata"]["uid"].as_str() else { return };
        let terminal = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let node = node_of(pod).map(str::to_owned);
        let before = self.pods.remove(uid);
        if let Some((Some(on), sum)) = &before {
            self.count(on, *sum, -1, limits);
            if node.as_ref().is_some_and(|node| node != on) {
                self.violations.push(format!("{uid} moved from {on} to {node:?}"));
            }
        }
        if kind == "DELETED" || terminal {
            self.planned.remove(uid);
            return;
        }
        if let Some(target) = nominated_ahead(pod).filter(|_| node.is_none()) {
            self.planned.insert(uid.to_owned(), target.to_owned());
        }
        if node.is_none() {
            self.nominated(pod);
        }
        let sum = sum_of(pod);
        if let Some(node) = &node {
            if !matches!(&before, Some((Some(_), _))) {
                self.bound(pod, node, sum, limits);
            }
            self.count(node, sum, 1, limits);
        }
        self.pods.insert(uid.to_owned(), (node, sum));
    }

    fn nominated(&mut self, pod: &Value) {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let node = pod["status"]["nominatedNodeName"].as_str().filter(|it| !it.is_empty());
        let before = self.nominations.get(name).and_then(|it| it.last());
        let now = Nomination { node: node.map(str::to_owned), by: nominated_by(pod) };
        if before.map_or(node.is_some(), |before| *before != now) {
            self.nominations.entry(name.to_owned()).or_default().push(now);
        }
    }

    fn count(&mut self, node: &str, sum: Sum, sign: i64, limits: &Limits) {
        self.nodes.entry(node.to_owned()).or_default().add(sum, sign);
        if let Some(limit) = limits.nodes.get(node) {
            self.pools.entry(limit.pool).or_default().add(sum, sign);
        }
    }

    /// Judges a new binding against the sums as they are just before it.
    fn bound(&mut self, pod: &Value, node: &str, sum: Sum, limits: &Limits) {
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let mut out_of_order = None;
        if let Some(limit) = limits.nodes.get(node) {
            let on_node = self.nodes.get(node).copied().unwrap_or_default();
            if namespace != "kube-system" && !on_node.fits(sum, limit.allocation) {
                let text = format!("{name} on {node}: {on_node:?} + {sum:?} > {limit:?}");
                self.violations.push(text);
                let cores = |milli: i64| milli as f64 / 1000.0;
                self.beyond.push(Beyond {
                    at: Instant::now(),
                    pod: name.to_owned(),
                    node: node.to_owned(),
                    cores: cores(on_node.cpu + sum.cpu),
                    limit: cores(limit.allocation.cpu),
                });
            }
            let in_pool = self.pools.get(limit.pool).copied().unwrap_or_default();
            if limits.pools.get(limit.pool).is_some_and(|limit| !in_pool.fits(sum, *limit)) {
                self.violations.push(format!("{name}: pool {}: {in_pool:?} + {sum:?}", limit.pool));
            }
            let order = limits.orders.get(namespace).map(Vec::as_slice).unwrap_or_default();
            let mut better = order.iter().take_while(|pool| **pool != limit.pool);
            let left = better.find(|pool| self.has_room(pool, sum, limits));
            out_of_order = left.map(|pool| self.percent_full(pool, limits));
            if !order.is_empty() && !order.contains(&limit.pool) {
                self.violations.push(format!("{name} is in {}, closed to it", limit.pool));
            }
        }
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
        self.bindings.push(Binding {
            at: Instant::now(),
            namespace: namespace.to_owned(),
            pod: name.to_owned(),
            node: node.to_owned(),
            planned: self.planned.remove(uid),
            out_of_order,
        });
    }

    /// Some node of the pool could take this much within every limit.
    pub(crate) fn has_room(&self, pool: &str, sum: Sum, limits: &Limits) -> bool {
        let in_pool = self.pools.get(pool).copied().unwrap_or_default();
        let pool_has = limits.pools.get(pool).is_none_or(|limit| in_pool.fits(sum, *limit));
        let mut nodes = limits.nodes.iter().filter(|(_, limit)| limit.pool == pool);
        pool_has
            && nodes.any(|(node, limit)| {
                let used = self.nodes.get(node).copied().unwrap_or_default();
                used.fits(sum, limit.allocation)
            })
    }
}

impl Record {
    /// Pods that wait, nominated ahead.
    pub(crate) fn num_planned(&self) -> usize {
        self.planned.len()
    }

    /// CPU requested in a pool, of what may be.
    pub(crate) fn percent_full(&self, pool: &str, limits: &Limits) -> f64 {
        let used = self.pools.get(pool).copied().unwrap_or_default().cpu;
        100.0 * used as f64 / limits.cpu_of(pool) as f64
    }
}

impl Limits {
    /// CPU that may be requested in a pool.
    pub(crate) fn cpu_of(&self, pool: &str) -> i64 {
        let of_nodes = self.nodes.values().filter(|it| it.pool == pool).map(|it| it.allocation.cpu);
        self.pools.get(pool).map_or_else(|| of_nodes.sum(), |it| it.cpu)
    }
}

/// The pod's nomination, where the annotation that sigma writes with one ahead names the same node.
fn nominated_ahead(pod: &Value) -> Option<&str> {
    let node = pod["status"]["nominatedNodeName"].as_str().filter(|it| !it.is_empty())?;
    let mark = pod["metadata"]["annotations"]["sigma.io/requeue"].as_str()?;
    mark.starts_with(&format!("ahead/{node}/")).then_some(node)
}

/// The field manager that owns the pod's nomination.
fn nominated_by(pod: &Value) -> String {
    let managers = pod["metadata"]["managedFields"].as_array();
    let owns = |it: &&Value| !it["fieldsV1"]["f:status"]["f:nominatedNodeName"].is_null();
    let owner = managers.into_iter().flatten().find(owns);
    owner.and_then(|it| it["manager"].as_str()).unwrap_or_default().to_owned()
}

/// What a pod of the cases requests: one container, `…m` and `…Mi`.
pub(crate) fn sum_of(pod: &Value) -> Sum {
    let requests = &pod["spec"]["containers"][0]["resources"]["requests"];
    let cpu = requests["cpu"].as_str().unwrap_or("0");
    let memory = requests["memory"].as_str().unwrap_or("0");
    Sum { cpu: milli(cpu), memory: mebi(memory), pods: 1 }
}

/// The API server writes quantities in their shortest form: `1500m` stays, `1000m` becomes `1`.
fn milli(text: &str) -> i64 {
    let parsed = match text.strip_suffix('m') {
        Some(milli) => milli.parse(),
        None => text.parse().map(|whole: i64| whole * 1000),
    };
    parsed.unwrap_or(i64::MAX / 4)
}

fn mebi(text: &str) -> i64 {
    let parsed = match text.strip_suffix("Mi") {
        Some(mebi) => mebi.parse(),
        None => text.strip_suffix("Gi").unwrap_or("?").parse().map(|gibi: i64| gibi * 1024),
    };
    parsed.unwrap_or(i64::MAX / 4)
}
