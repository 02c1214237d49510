//! V01–V06: which candidates for preemption stand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use http::StatusCode;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

use crate::site::{ONLINE, Site, placed, pod_json, pod_seen, request, uid_text};

/// `m1` and `m2` are full of pods of low priority, `e1` has one that is protected.
async fn crowded() -> Site {
    let site = Site::new().await;
    let low = [(1, "m1", "9"), (2, "m2", "5"), (3, "m2", "4"), (4, "m3", "2")];
    let low = low.map(|(at, node, cpu)| placed(&pod_json(0x100 + at, 0, cpu), node));
    let protected = placed(&pod_json(0x109, ONLINE, "1"), "e1");
    site.see(low.iter().chain([&protected]).map(pod_seen)).await;
    site
}

fn victims(reply: &Value) -> BTreeMap<String, Vec<String>> {
    let map = reply["NodeNameToMetaVictims"].as_object().expect("a map");
    let uid = |pod: &Value| pod["UID"].as_str().expect("a UID").to_owned();
    map.iter()
        .map(|(node, victims)| {
            assert!(victims["NumPDBViolations"].is_i64(), "{victims}");
            let pods = victims["Pods"].as_array().expect("a list");
            (node.clone(), pods.iter().map(uid).collect())
        })
        .collect()
}

#[tokio::test]
async fn v01_what_stands_is_given_back_as_it_came() {
    let site = crowded().await;
    let reply = site.golden("v01").await;
    let want = [
        ("m1".to_owned(), vec![uid_text(0x101)]),
        ("m2".to_owned(), vec![uid_text(0x103), uid_text(0x102)]),
    ];
    // `ghost` is unknown, and so is the victim on `m3`.
    assert_eq!(victims(&reply), want.into());
    assert_eq!(reply["NodeNameToMetaVictims"]["m2"]["NumPDBViolations"], 1);
}

#[tokio::test]
async fn v02_whole_pods_come_back_as_uids() {
    let reply = crowded().await.golden("v02").await;
    let want = [("m2".to_owned(), vec![uid_text(0x103), uid_text(0x102)])];
    assert_eq!(victims(&reply), want.into());
}

#[tokio::test]
async fn v03_nothing_stands() {
    let site = crowded().await;
    assert_eq!(site.golden("v03").await, json!({"NodeNameToMetaVictims": {}}));
    // Before the lists are in nobody is evicted on our word.
    site.ready.store(false, Ordering::SeqCst);
    let reply = site.ask("preempt", &request("v01")).await;
    assert_eq!(reply, json!({"NodeNameToMetaVictims": {}}));
    assert_eq!(site.results("preempt", "degraded"), 1);
}

fn any_victims() -> impl Strategy<Value = Value> {
    let uid = || {
        prop_oneof![
            (0x100..0x106_u128).prop_map(|at| json!(uid_text(at))),
            Just(json!("")),
            Just(json!(null)),
            Just(json!("not-a-uuid"))
        ]
    };
    let pod = prop_oneof![
        4 => uid().prop_map(|uid| json!({"UID": uid})),
        2 => uid().prop_map(|uid| json!({"metadata": {"uid": uid, "name": "x"}, "spec": {}})),
        1 => Just(json!(null)),
        1 => Just(json!({})),
    ];
    let pods = prop_oneof![
        6 => proptest::collection::vec(pod, 0..4).prop_map(Value::from),
        1 => Just(json!(null)),
    ];
    let pdb = prop_oneof![(-1..3_i64).prop_map(Value::from), Just(json!(null))];
    prop_oneof![
        6 => (pods, pdb).prop_map(|(pods, pdb)| json!({"Pods": pods, "NumPDBViolations": pdb})),
        1 => Just(json!(null)),
        1 => Just(json!({})),
    ]
}

fn any_map() -> impl Strategy<Value = Value> {
    let node = prop_oneof![Just("m1"), Just("m2"), Just("m3"), Just("e1"), Just("bad1"), Just("?")];
    let sound = |node, uids: &[u128]| {
        let pods: Vec<Value> = uids.iter().map(|uid| json!({"UID": uid_text(*uid)})).collect();
        Just((node, json!({"Pods": pods, "NumPDBViolations": 1})))
    };
    let entry = prop_oneof![
        4 => (node, any_victims()),
        1 => sound("m1", &[0x101]),
        1 => sound("m2", &[0x103, 0x102]),
        1 => sound("m3", &[0x104]),
    ];
    let map = proptest::collection::vec(entry, 0..5);
    let map = map.prop_map(|list| {
        let list = list.into_iter().map(|(node, victims)| (node.to_owned(), victims));
        Value::Object(Map::from_iter(list))
    });
    prop_oneof![5 => map, 1 => Just(json!(null))]
}

/// Row 15, preemption candidates without victims, or with unknown victims: sigma drops such a candidate. The reply
/// contains only parts of the request. It never contains a `null` or an unknown UID, which would crash
/// kube-scheduler.
#[test]
fn v04_nothing_in_a_reply_can_end_the_scheduler() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let site = runtime.block_on(crowded());
    let strategy = (any_map(), any_map(), 0..3_u32);
    let stood = std::cell::Cell::new(0);
    let config = ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() };
    let tested = TestRunner::new(config).run(&strategy, |(meta, whole, cpu)| {
        let pod = pod_json(1, 9500, &cpu.to_string());
        let request =
            json!({"Pod": pod, "NodeNameToMetaVictims": meta, "NodeNameToVictims": whole});
        let reply = runtime.block_on(site.ask("preempt", &request));
        let known: BTreeSet<String> = (0x101..=0x104).map(uid_text).collect();
        for (node, uids) in victims(&reply) {
            stood.set(stood.get() + 1);
            let sent = [&meta[&node]["Pods"], &whole[&node]["Pods"]];
            let uid_of = |pod: &Value| pod.get("UID").unwrap_or(&pod["metadata"]["uid"]).clone();
            let sent = sent.map(|pods| pods.as_array().map(|it| it.iter().map(uid_of).collect()));
            // All victims of one form, in their order.
            let uids_json: Vec<Value> = uids.iter().map(|uid| json!(uid)).collect();
            prop_assert!(sent.contains(&Some(uids_json)), "{node}: {uids:?}");
            prop_assert!(!uids.is_empty() && uids.iter().all(|uid| known.contains(uid)));
            prop_assert!(["m1", "m2", "m3"].contains(&node.as_str()));
        }
        Ok(())
    });
    assert!(tested.is_ok(), "{tested:?}");
    assert!(stood.get() > 100, "the property is not tested by empty replies: {}", stood.get());
}

#[tokio::test]
async fn v05_no_map_is_an_empty_map() {
    let site = crowded().await;
    assert_eq!(site.golden("v05").await, json!({"NodeNameToMetaVictims": {}}));
    let (status, _) = site.post("/preempt", json!({"NodeNameToMetaVictims": {}}).to_string()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "no preemptor");
}

#[tokio::test]
async fn v06_a_protected_victim_saves_its_node_whole() {
    let reply = crowded().await.golden("v06").await;
    assert_eq!(victims(&reply).into_keys().collect::<Vec<_>>(), ["m1"]);
}
