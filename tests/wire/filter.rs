//! F01–F20: what filter answers.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use sigma::model::{Change, Conditions, Node, NodeOrd, PodUid, Reason, Tick};

use crate::site::{
    OFFLINE, ONLINE, Site, accepted, args, node, node_seen, placed, pod, pod_json, pod_seen,
    refused, request,
};

#[tokio::test]
async fn f01_all_are_accepted() {
    let site = Site::new().await;
    let reply = site.golden("f01").await;
    assert_eq!(accepted(&reply), ["m1", "m2", "m3"]);
    let keys: Vec<&String> = reply.as_object().expect("an object").keys().collect();
    let all = ["Error", "FailedAndUnresolvableNodes", "FailedNodes", "NodeNames", "Nodes"];
    assert_eq!(keys, all);
    assert_eq!(site.metrics.names_offered.with_label_values(&["filter"]).get(), 3);
    assert_eq!(site.metrics.names_returned.with_label_values(&["filter"]).get(), 3);
    assert_eq!(site.results("filter", "ok"), 1);
}

#[tokio::test]
async fn f02_a_refusal_names_one_node_with_one_text() {
    let site = Site::new().await;
    let reply = site.golden("f02").await;
    assert_eq!(reply["NodeNames"], json!([]));
    let told = refused(&reply).expect("one node is named");
    assert_eq!(told, ("m1".into(), Reason::PoolClosed.text().into()));
    // Another window, in which another reason is more common: the pod is told the same.
    let pod = &request("f02")["Pod"];
    let reply = site.ask("filter", &args(pod, &["ghost", "phantom", "m3"])).await;
    assert_eq!(accepted(&reply), Vec::<String>::new());
    assert_eq!(refused(&reply).map(|it| it.1), Some(told.1));
    assert_eq!(site.metrics.unschedulable.with_label_values(&["PoolClosed"]).get(), 2);
}

#[tokio::test]
async fn f03_some_are_accepted_and_the_rest_is_left_out() {
    let site = Site::new().await;
    let reply = site.golden("f03").await;
    let names = accepted(&reply);
    assert_eq!(names, ["m1", "m2"]);
    assert_eq!(refused(&reply), None);
    let offered: Vec<String> =
        serde_json::from_value(request("f03")["NodeNames"].clone()).expect("names");
    assert!(names.iter().all(|name| offered.contains(name)));
    for (reason, count) in [("PoolClosed", 1), ("NotReady", 1), ("UnknownNode", 1)] {
        assert_eq!(site.metrics.rejections.with_label_values(&[reason]).get(), count, "{reason}");
    }
}

#[tokio::test]
async fn f04_the_same_request_has_the_same_bytes() {
    let (one, other) = (Site::new().await, Site::new().await);
    for id in ["f01", "f02", "f03", "p01", "v05"] {
        let verb = match &id[..1] {
            "f" => "/filter",
            "p" => "/prioritize",
            _ => "/preempt",
        };
        let body = request(id).to_string();
        let first = one.post(verb, body.clone()).await;
        assert_eq!(first, one.post(verb, body.clone()).await, "{id}");
        // Neither does another replica answer anything else.
        assert_eq!(first, other.post(verb, body).await, "{id}");
    }
}

#[tokio::test]
async fn f05_a_text_does_not_change_with_time() {
    let site = Site::new().await;
    let first = site.golden("f02").await;
    let bystander = placed(&pod_json(7, ONLINE, "1"), "m1");
    site.see([pod_seen(&bystander)]).await;
    assert_eq!(site.golden("f02").await, first);
    let told: Vec<_> = [60_000, 290_000, 4_000_000]
        .map(|ms| {
            let pod = Arc::new(pod(&request("f02")["Pod"]));
            site.shared.decide(|decider, view, _| {
                let ords: Vec<NodeOrd> = view.snapshot.live_nodes().take(2).collect();
                decider.filter(view, &pod, &ords, Tick(ms)).refused.map(|it| it.1.text())
            })
        })
        .into();
    assert_eq!(told, [Some(Reason::PoolClosed.text()); 3]);
}

#[tokio::test]
async fn f06_no_refusal_invites_preemption() {
    let site = Site::new().await;
    site.see([pod_seen(&placed(&pod_json(9, ONLINE, "10"), "m1"))]).await;
    let cases = [
        (pod_json(1, OFFLINE, "1"), "m1", Reason::PoolClosed),
        (pod_json(2, ONLINE, "1"), "m1", Reason::Insufficient),
        (pod_json(3, ONLINE, "6"), "e1", Reason::AllocationLimit),
        (pod_json(4, ONLINE, "9"), "v1", Reason::ElasticLimit),
        // Other nodes are closer to success than these two.
        (pod_json(5, 0, "1"), "bad1", Reason::Insufficient),
        (pod_json(6, 0, "1"), "c1", Reason::Insufficient),
        (pod_json(7, 0, "1"), "ghost", Reason::UnknownNode),
    ];
    for (pod, name, reason) in cases {
        let reply = site.ask("filter", &args(&pod, &[name])).await;
        assert_eq!(refused(&reply), Some((name.into(), reason.text().into())));
    }
}

#[tokio::test]
async fn f07_whole_nodes_are_refused_with_the_remedy() {
    let site = Site::new().await;
    let reply = site.golden("f07").await;
    assert_eq!(reply["NodeNames"], Value::Null);
    assert!(reply["Error"].as_str().is_some_and(|text| text.contains("nodeCacheCapable: true")));
    assert_eq!(site.results("filter", "error"), 1);
}

#[tokio::test]
async fn f08_no_list_at_all_is_no_empty_list() {
    let reply = Site::new().await.golden("f08").await;
    assert!(reply["Error"].as_str().is_some_and(|text| text.contains("nodeCacheCapable")));
}

#[tokio::test]
async fn f09_an_empty_list_is_answered_with_one() {
    let reply = Site::new().await.golden("f09").await;
    assert_eq!((&reply["NodeNames"], &reply["Error"]), (&json!([]), &json!("")));
    assert_eq!(refused(&reply), None);
}

#[tokio::test]
async fn f10_duplicates_are_held_once() {
    let site = Site::new().await;
    let reply = site.golden("f10").await;
    assert_eq!((accepted(&reply).len(), &reply["Error"]), (4, &json!("")));
    assert_eq!(site.held(PodUid(1)), 2);
}

#[tokio::test]
async fn f11_a_name_unknown_yet_is_refused_and_requeued_for() {
    let site = Site::new().await;
    let told = refused(&site.golden("f11").await);
    assert_eq!(told, Some(("ghost".into(), Reason::UnknownNode.text().into())));
    assert_eq!(site.metrics.rejections.with_label_values(&["UnknownNode"]).get(), 1);
    let waits = &request("f11")["Pod"];
    site.see([pod_seen(waits), node_seen(node("ghost", "metal"))]).await;
    let requeued = site.shared.decide(|decider, view, now| {
        decider.requeues(view, sigma::engine::Nominates::NONE, now, 9, 99_999)
    });
    assert_eq!(requeued.len(), 1);
}

#[tokio::test]
async fn f12_a_node_that_went_away_is_out() {
    let site = Site::new().await;
    let pod = pod_json(1, 0, "1");
    let stays = placed(&pod_json(2, 0, "1"), "m1");
    // A pod still names m1, so its ordinal lives on; m2's is gone.
    site.see([pod_seen(&stays), Change::NodeGone { name: "m1".into() }]).await;
    site.see([Change::NodeGone { name: "m2".into() }]).await;
    let not_ready =
        Node { conditions: Conditions::NOT_READY, resource_version: 2, ..node("m3", "metal") };
    site.see([node_seen(not_ready)]).await;
    let reply = site.ask("filter", &args(&pod, &["m1", "m2", "m3", "e1"])).await;
    assert_eq!(accepted(&reply), ["e1"]);
}

#[tokio::test]
async fn f13_the_nominated_node_first_then_all_is_one_charge() {
    let site = Site::new().await;
    let mut pod = pod_json(1, ONLINE, "4");
    pod["status"]["nominatedNodeName"] = "e1".into();
    site.see([pod_seen(&pod)]).await;
    assert_eq!(accepted(&site.ask("filter", &args(&pod, &["e1"])).await), ["e1"]);
    assert_eq!(site.held(PodUid(1)), 1);
    let reply = site.ask("filter", &args(&pod, &["m1", "e1", "e2"])).await;
    assert_eq!(accepted(&reply), ["m1", "e1", "e2"]);
    assert_eq!((site.held(PodUid(1)), site.num_holds()), (3, 1));
}

#[tokio::test]
async fn f14_unknown_keys_are_ignored() {
    assert_eq!(accepted(&Site::new().await.golden("f14").await), ["m1"]);
}

#[tokio::test]
async fn f15_keys_come_in_any_case() {
    let site = Site::new().await;
    let want = site.golden("f01").await;
    for (pod, nodes, names) in [("pod", "nodes", "nodenames"), ("pod", "nodes", "nodeNames")] {
        let request = request("f01");
        let body = json!({pod: request["Pod"], nodes: null, names: request["NodeNames"]});
        assert_eq!(site.ask("filter", &body).await, want);
    }
}

#[tokio::test]
async fn f16_a_request_without_a_pod_is_an_error() {
    let site = Site::new().await;
    let reply = site.golden("f16").await;
    assert!(reply["Error"].as_str().is_some_and(|text| text.contains("Pod: missing")));
    let missing = site.ask("filter", &json!({"NodeNames": ["m1"]})).await;
    assert_eq!(missing, reply);
    for (verb, key) in [("prioritize", "NodeNames"), ("preempt", "NodeNameToMetaVictims")] {
        let body = json!({"Pod": null, key: null}).to_string();
        assert_eq!(site.post(&format!("/{verb}"), body).await.0, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn f17_a_pod_without_uid_is_an_error() {
    let reply = Site::new().await.golden("f17").await;
    assert!(reply["Error"].as_str().is_some_and(|text| text.contains("metadata.uid")));
}

#[tokio::test]
async fn f18_a_pod_of_nulls_is_a_pod() {
    assert_eq!(accepted(&Site::new().await.golden("f18").await), ["m1"]);
}

#[tokio::test]
async fn f19_who_cannot_be_placed_is_answered_but_holds_nothing() {
    let site = Site::new().await;
    let bound = placed(&pod_json(1, ONLINE, "1"), "m1");
    let mut leaves = pod_json(2, ONLINE, "1");
    leaves["metadata"]["deletionTimestamp"] = "2026-11-11T00:00:00Z".into();
    for pod in [bound, leaves] {
        assert_eq!(accepted(&site.ask("filter", &args(&pod, &["m1", "e1"])).await).len(), 2);
    }
    assert_eq!(site.num_holds(), 0);
    site.ask("filter", &args(&pod_json(3, ONLINE, "1"), &["m1", "e1"])).await;
    assert_eq!(site.num_holds(), 1);
}

#[tokio::test]
async fn f20_a_new_uid_takes_over_what_its_name_held() {
    let site = Site::new().await;
    let old = pod_json(1, ONLINE, "5");
    let mut new = old.clone();
    new["metadata"]["uid"] = crate::site::uid_text(2).into();
    assert_eq!(accepted(&site.ask("filter", &args(&old, &["e1"])).await), ["e1"]);
    // Half of e1 is held: there is no room beside it, but there is in its stead.
    let stranger = site.ask("filter", &args(&pod_json(3, ONLINE, "5"), &["e1"])).await;
    assert_eq!(refused(&stranger).map(|it| it.1), Some(Reason::AllocationLimit.text().into()));
    assert_eq!(accepted(&site.ask("filter", &args(&new, &["e1"])).await), ["e1"]);
    assert_eq!((site.held(PodUid(1)), site.held(PodUid(2))), (0, 1));
}
