//! Requests of kube-scheduler: whatever comes, the reply is one that it can read, names nothing that
//! was not asked about, and is the same without any shortcut.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Map, Value, json};
use sigma::engine::Decider;
use sigma::http::ExtenderMetrics;
use sigma::http::{BodyLimits, Extender, ExtenderOptions, FastPaths};
use sigma::k8s::{decode, kinds::nodes, kinds::nodes::SlimNode, slim::SlimPod};
use sigma::metrics::Metrics;
use sigma::model::Change;
use sigma::policy::compile;
use sigma::replica::Replica;
use sigma::runtime::{Clock, SharedState, WriterHandle, spawn};
use tokio::runtime::Runtime;

use crate::harness::{Target, files};
use crate::objects::{nodes, pods};

const POLICY: &str = "\
apiVersion: sigma.io/v1alpha1
kind: SchedulingPolicy
pools:
- {name: fixed, match: {labels: {pool: fixed}}, allocation: {cpu: 50%}}
classes:
- {name: default, pools: [fixed]}
";

struct Site {
    extender: Arc<Extender>,
    metrics: Arc<ExtenderMetrics>,
    runtime: Runtime,
    _writer: WriterHandle,
}

impl Site {
    fn with(fast_paths: FastPaths) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let registry = Metrics::new().expect("names are unique");
        let metrics: Arc<ExtenderMetrics> = registry.of().expect("names are unique");
        let plan = compile("policy.yaml", POLICY.as_bytes()).map_err(|it| format!("{it:?}"));
        let plan = plan.expect("a valid policy").plan;
        let decider = fast_paths.on_decider(Decider::default());
        let replica = Replica::new(plan, Arc::default(), decider);
        let (shared, writing) = SharedState::of(replica, Clock::start());
        let writer = runtime.block_on(async {
            let (writer, _) =
                spawn(writing, shared.clone(), registry.of().expect("names are unique"));
            for change in cluster() {
                writer.changes().send(change).await.expect("the writer runs");
            }
            writer
        });
        while shared.view().snapshot.num_pods == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let deadline = Duration::from_secs(600);
        let options = ExtenderOptions { deadline, fast_paths, ..ExtenderOptions::default() };
        let extender = Extender::new(shared, metrics.clone(), options);
        Self { extender, metrics, runtime, _writer: writer }
    }

    fn post(&self, verb: &str, body: Vec<u8>) -> (StatusCode, Vec<u8>) {
        let request = Request::post(format!("/{verb}")).body(Full::new(Bytes::from(body)));
        let request = request.expect("a valid request");
        self.runtime.block_on(async {
            let limits = BodyLimits::default();
            let response = self.extender.handle(request, Instant::now(), &limits).await;
            let status = response.status();
            (status, response.into_body().collect().await.expect("in memory").to_bytes().to_vec())
        })
    }

    /// The answer, which is the same without shortcuts.
    fn ask(&self, slow: &Self, verb: &str, body: &[u8]) -> (StatusCode, Vec<u8>) {
        let (status, reply) = self.post(verb, body.to_vec());
        let (slow_status, slowly) = slow.post(verb, body.to_vec());
        let both = [&reply, &slowly].map(|it| String::from_utf8_lossy(it));
        assert_eq!((status, &both[0]), (slow_status, &both[1]), "with and without shortcuts");
        (status, reply)
    }

    fn check(&self, slow: &Self, verb: &str, body: &[u8]) -> String {
        let (status, reply) = self.ask(slow, verb, body);
        assert_eq!(self.metrics.panics.get(), 0, "a handler panicked");
        if status != StatusCode::OK {
            assert_eq!(status, StatusCode::BAD_REQUEST, "{}", String::from_utf8_lossy(&reply));
            return String::from_utf8_lossy(&reply).into_owned();
        }
        let reply: Value = serde_json::from_slice(&reply).expect("a reply is JSON");
        let asked = serde_json::from_slice::<Value>(body).ok().and_then(|it| members(&it));
        match verb {
            "filter" => {
                for next in next(body, &reply).into_iter().flatten() {
                    self.ask(slow, "prioritize", &next);
                }
                filter(&reply, asked.as_ref())
            }
            "prioritize" => prioritize(&reply, asked.as_ref()),
            "preempt" => preempt(&reply, asked.as_ref()),
            _ => {
                let error = reply["Error"].as_str().expect("an Error");
                assert!(!error.is_empty(), "nobody binds here");
                error.to_owned()
            }
        }
    }
}

/// The request's members by their names in lower case; `None` when one is there twice, since it then
/// depends on their order which of them counts.
fn members(request: &Value) -> Option<BTreeMap<String, Value>> {
    let object = request.as_object()?;
    let all: BTreeMap<String, Value> =
        object.iter().map(|(key, value)| (key.to_ascii_lowercase(), value.clone())).collect();
    (all.len() == object.len()).then_some(all)
}

/// What kube-scheduler asks next: the same, with the names that it got. And what it does not ask: as
/// long, but with the names backwards.
fn next(filter: &[u8], reply: &Value) -> Option<[Vec<u8>; 2]> {
    let names = reply["NodeNames"].as_array()?;
    let at = filter.iter().rposition(|byte| *byte == b'[')?;
    let backwards = names.iter().rev().cloned().collect();
    let body = |names| [&filter[..at], Value::Array(names).to_string().as_bytes(), b"}"].concat();
    Some([names.clone(), backwards].map(body))
}

type Asked<'a> = Option<&'a BTreeMap<String, Value>>;

/// The names that were offered, as Go reads them: `null` is an empty text.
fn offered(asked: Asked<'_>) -> Option<Vec<&str>> {
    let names = asked?.get("nodenames")?.as_array()?;
    Some(names.iter().map(|it| it.as_str().unwrap_or("")).collect())
}

fn only_keys(object: &Map<String, Value>, keys: &[&str]) {
    let found: Vec<&str> = object.keys().map(String::as_str).collect();
    assert_eq!(found, keys);
}

fn filter(reply: &Value, asked: Asked<'_>) -> String {
    let object = reply.as_object().expect("an object");
    only_keys(
        object,
        &["Error", "FailedAndUnresolvableNodes", "FailedNodes", "NodeNames", "Nodes"],
    );
    let error = reply["Error"].as_str().expect("an Error");
    if !error.is_empty() {
        return error.to_owned();
    }
    let accepted = reply["NodeNames"].as_array().expect("a list, never null");
    let accepted: Vec<&str> = accepted.iter().map(|it| it.as_str().expect("a name")).collect();
    let failed = reply["FailedAndUnresolvableNodes"].as_object().expect("a map");
    assert_eq!(reply["FailedNodes"], json!({}), "no condition of ours invites preemption");
    let Some(offered) = offered(asked) else { return "unread".to_owned() };
    // What is accepted is what was offered, in its order.
    let mut rest = offered.iter();
    for name in &accepted {
        assert!(rest.any(|it| it == name), "{name:?} was not offered: {offered:?}");
    }
    assert!(
        failed.keys().all(|it| offered.contains(&it.as_str()) && !accepted.contains(&it.as_str()))
    );
    assert!(!accepted.is_empty() || offered.is_empty() || failed.len() == 1, "refused for nothing");
    let reasons: Vec<&str> = failed.values().map(|it| it.as_str().expect("a text")).collect();
    format!("{} {reasons:?}", if accepted.is_empty() { "none" } else { "some" })
}

fn prioritize(reply: &Value, asked: Asked<'_>) -> String {
    let scores = reply.as_array().expect("a list");
    let hosts: Vec<&str> = scores.iter().map(|it| it["Host"].as_str().expect("a host")).collect();
    for it in scores {
        only_keys(it.as_object().expect("an object"), &["Host", "Score"]);
        assert!(it["Score"].as_u64().is_some_and(|it| it <= 10), "{it}");
    }
    if let Some(offered) = offered(asked) {
        assert!(hosts.is_empty() || hosts == offered, "{hosts:?}, not {offered:?}");
    }
    format!("{} scores", if scores.is_empty() { "no" } else { "some" })
}

fn preempt(reply: &Value, asked: Asked<'_>) -> String {
    only_keys(reply.as_object().expect("an object"), &["NodeNameToMetaVictims"]);
    let kept = reply["NodeNameToMetaVictims"].as_object().expect("a map, never null");
    for (node, victims) in kept {
        only_keys(victims.as_object().expect("no null"), &["NumPDBViolations", "Pods"]);
        let pods = victims["Pods"].as_array().expect("no null");
        assert!(!pods.is_empty(), "the scheduler dies of a node without victims");
        assert!(
            pods.iter().all(|it| it["UID"].as_str().is_some_and(|it| !it.is_empty())),
            "{victims}"
        );
        if let Some(asked) = asked {
            let maps = ["nodenametometavictims", "nodenametovictims"].map(|it| asked.get(it));
            let known = maps.into_iter().flatten().any(|it| it.get(node).is_some());
            assert!(known, "{node:?} was no candidate");
        }
    }
    format!("{} candidates", kept.len().min(2))
}

/// A few nodes with a pod on one of them.
fn cluster() -> Vec<Change> {
    let named = |name: &str| {
        let mut node = nodes().swap_remove(0);
        node["metadata"]["name"] = json!(name);
        let slim: SlimNode = serde_json::from_value(node).expect("a node");
        Change::NodeSeen(Box::new(nodes::node(&slim).expect("a node")))
    };
    let slim: SlimPod = serde_json::from_value(pods().swap_remove(1)).expect("a pod");
    let placed = Change::PodSeen(Box::new(decode::pod(&slim).expect("a pod")));
    ["n1", "n2", "n3"].map(named).into_iter().chain([placed]).collect()
}

fn run(verb: &'static str, golden: &str, more: Vec<String>) {
    let [site, slow] = [FastPaths::ALL, FastPaths::NONE].map(Site::with);
    let check = |input: &[u8]| site.check(&slow, verb, input);
    let golden = files("tests/wire", golden, ".request.json").into_iter().map(as_go_writes);
    let seeds = golden.chain(more.into_iter().map(String::into_bytes)).collect();
    Target { name: verb, seeds, mutants: 12_000, check: &check }.run();
    let shortcuts: &[&str] = match verb {
        "filter" => &["cut", "guess", "scan", "memo"],
        "prioritize" => &["cut", "guess"],
        _ => &[],
    };
    for path in shortcuts {
        let hits = site.metrics.fast_path_names.with_label_values(&[path, "hit"]).get();
        assert!(hits > 100, "{path} is hardly tested: {hits}");
    }
}

/// Arguments of filter and prioritize, byte by byte as Go writes them.
fn args() -> Vec<String> {
    let names = [json!(["n1", "n2", "n9"]), json!(["n1"]), json!(["n3", "<&>", "n3", ""])];
    let args = |pod| names.each_ref().map(|names| go_args(&pod, names));
    pods().into_iter().flat_map(args).collect()
}

/// Files are written for people; what is no call of filter or prioritize stays as it is.
fn as_go_writes(file: Vec<u8>) -> Vec<u8> {
    match serde_json::from_slice::<Value>(&file) {
        Ok(it) if it["NodeNames"].is_array() => go_args(&it["Pod"], &it["NodeNames"]).into_bytes(),
        _ => file,
    }
}

fn go_args(pod: &Value, names: &Value) -> String {
    format!("{{\"Pod\":{pod},\"Nodes\":null,\"NodeNames\":{names}}}")
}

#[test]
fn filter_bodies() {
    run("filter", "f", args());
}

#[test]
fn prioritize_bodies() {
    run("prioritize", "p", args());
}

#[test]
fn preempt_bodies() {
    let victims = json!({"n1": {"Pods": [{"UID": "00000000-0000-0000-0000-0000000000a2"}],
        "NumPDBViolations": 1}, "n2": {"Pods": [], "NumPDBViolations": 0}});
    let whole = json!({"n1": {"Pods": pods()}});
    let forms = |pod| {
        let meta = json!({"Pod": pod, "NodeNameToMetaVictims": victims});
        let both = json!({"Pod": pod, "NodeNameToVictims": whole, "NodeNameToMetaVictims": null});
        [meta.to_string(), both.to_string()]
    };
    run("preempt", "v", pods().into_iter().flat_map(forms).collect());
}

#[test]
fn bind_bodies() {
    let args = json!({"PodName": "a", "PodNamespace": "b", "PodUID": "c", "Node": "n1"});
    run("bind", "b", vec![args.to_string()]);
}
