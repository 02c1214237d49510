//! P01–P08: scores.

use std::time::Duration;

use http::StatusCode;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::Value;
use sigma::model::{Amounts, Node};
use sigma::policy::Plan;

use crate::site::{ONLINE, Site, args, node, node_seen, pod_json, request, settings};

/// Hosts and scores, having checked what kube-scheduler's decoder insists on.
fn scores(reply: &str) -> Vec<(String, u64)> {
    let list: Vec<Value> = serde_json::from_str(reply).expect("a bare array");
    let read = list.iter().map(|entry| {
        assert_eq!(entry.as_object().map(serde_json::Map::len), Some(2), "{entry}");
        let score = entry["Score"].as_u64().expect("an integer");
        assert!(score <= 10, "{entry}");
        (entry["Host"].as_str().expect("a name").to_owned(), score)
    });
    let read: Vec<(String, u64)> = read.collect();
    // The text itself must not say 5.0, 1e1 or -0.
    for part in reply.split("\"Score\":").skip(1) {
        let number = part.split('}').next().unwrap_or("");
        assert!(number.len() <= 2 && number.bytes().all(|byte| byte.is_ascii_digit()), "{number}");
    }
    read
}

async fn ask(site: &Site, request: &Value) -> Vec<(String, u64)> {
    let (status, body) = site.post("/prioritize", request.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    scores(&body)
}

#[tokio::test]
async fn p01_every_name_has_one_score_and_pools_come_in_order() {
    let site = Site::new().await;
    site.golden("p01").await;
    let scores = ask(&site, &request("p01")).await;
    let hosts: Vec<&str> = scores.iter().map(|it| it.0.as_str()).collect();
    assert_eq!(hosts, ["v1", "m1", "e1", "m2"]);
    let (v1, m1, e1, m2) = (scores[0].1, scores[1].1, scores[2].1, scores[3].1);
    assert!(m1.min(m2) > e1 && e1 > v1, "{scores:?}");
    assert_eq!(site.results("prioritize", "ok"), 2);
}

#[test]
fn p02_scores_are_small_integers_whatever_the_weights() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let site = runtime.block_on(Site::new());
    let extreme = || prop_oneof![0..64_i64, Just(i64::MAX), Just(0), Just(1 << 50)];
    let weight = || prop_oneof![0..200_u16, Just(u16::MAX)];
    let strategy = (
        proptest::collection::vec((extreme(), extreme()), 1..8),
        proptest::collection::vec(weight(), 5),
        prop_oneof![Just("1"), Just("0"), Just("1e30"), Just("100m")],
        0..4_u128,
    );
    let mut version = 1;
    let run = |(nodes, weights, cpu, uid): (Vec<(i64, i64)>, Vec<u16>, &str, u128)| {
        version += 1;
        let names: Vec<String> = (0..nodes.len()).map(|at| format!("x{at}")).collect();
        let changes = nodes.iter().zip(&names).enumerate().map(|(at, ((cpu, memory), name))| {
            let (cpu_milli, memory_bytes) = (*cpu, *memory);
            let allocatable = Amounts { cpu_milli, memory_bytes, ..Amounts::default() };
            let pool = ["metal", "ecs", "eci", "none"][at % 4];
            node_seen(Node { allocatable, resource_version: version, ..node(name, pool) })
        });
        let mut settings = settings();
        let scorers = ["poolOrder", "binPack", "topologySpread", "balancedAllocation", "none"];
        let weights: Vec<_> = scorers.iter().map(|it| (*it).to_owned()).zip(weights).collect();
        settings.classes[1].weights = weights;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        runtime.block_on(async {
            site.writer.set_plan(Plan::build(&settings, String::new())).await;
            site.see(changes).await;
            let scores = ask(&site, &args(&pod_json(uid, ONLINE, cpu), &names)).await;
            assert_eq!(scores.len(), names.len());
        });
        Ok(())
    };
    let run = std::cell::RefCell::new(run);
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() };
    let tested = TestRunner::new(config).run(&strategy, |input| (run.borrow_mut())(input));
    assert!(tested.is_ok(), "{tested:?}");
}

#[tokio::test]
async fn p03_equals_are_all_listed() {
    let site = Site::new().await;
    site.golden("p03").await;
    let scores = ask(&site, &request("p03")).await;
    assert_eq!(scores.len(), 3);
    assert!(scores.iter().all(|it| it.1 == scores[0].1), "{scores:?}");
}

#[tokio::test]
async fn p04_an_unknown_node_is_listed_last() {
    let site = Site::new().await;
    site.golden("p04").await;
    let scores = ask(&site, &request("p04")).await;
    assert_eq!(scores[1], ("ghost".to_owned(), 0));
    assert!(scores[0].1 > 0);
}

#[tokio::test]
async fn p05_late_or_early_scores_are_equal() {
    let late = Site::with(&settings(), |options| options.deadline = Duration::ZERO).await;
    let early = Site::new().await;
    early.ready.store(false, std::sync::atomic::Ordering::SeqCst);
    for site in [late, early] {
        let scores = ask(&site, &request("p01")).await;
        assert_eq!(scores.len(), 4);
        assert!(scores.iter().all(|it| it.1 == 0), "{scores:?}");
        assert_eq!(site.results("prioritize", "degraded"), 1);
    }
}

#[tokio::test]
async fn p06_no_filter_need_have_come_before() {
    let (site, other) = (Site::new().await, Site::new().await);
    other.ask("filter", &args(&request("p01")["Pod"], &["v1", "m1", "e1", "m2"])).await;
    assert_eq!(ask(&site, &request("p01")).await, ask(&other, &request("p01")).await);
}

#[tokio::test]
async fn p07_few_names_or_none() {
    let site = Site::new().await;
    let pod = pod_json(1, ONLINE, "1");
    assert_eq!(ask(&site, &args(&pod, &[])).await, []);
    assert_eq!(ask(&site, &args(&pod, &["m1"])).await.len(), 1);
    let null = serde_json::json!({"Pod": pod, "NodeNames": null}).to_string();
    let (status, text) = site.post("/prioritize", null).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("nodeCacheCapable"), "{text}");
}

#[tokio::test]
async fn p08_ten_thousand_names() {
    let site = Site::new().await;
    let names: Vec<String> =
        (0..10_000).map(|at| format!("node-{at:05}.cn-hangzhou-h-01")).collect();
    site.see(names.iter().map(|name| node_seen(node(name, "metal")))).await;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let body = args(&pod_json(1, ONLINE, "1"), &names).to_string();
    let (_, reply) = site.post("/prioritize", body).await;
    assert_eq!(scores(&reply).len(), 10_000);
    assert!(reply.len() <= 600_000, "{}", reply.len());
}
