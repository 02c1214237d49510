//! What is left to be seen after some traffic.

use serde_json::json;

use crate::site::{Site, placed, pod};
use crate::support::{http, wait};

#[test]
fn after_some_traffic_everything_is_counted_and_nothing_without_bound() {
    let site = Site::new();
    site.api.put("pods", placed("full", "2", "n1"));
    for at in 0..20 {
        let name = format!("ns-{at}");
        site.api.put("namespaces", json!({"metadata": {"name": name}}));
    }
    let sigma = site.serve(&["--audit-interval=1s"]);
    for at in 0..60 {
        let pod = pod(&format!("cart-{at}"), "1m");
        sigma.filter(&pod, &["n1", "n2", &format!("unknown-{at}")]);
        let args = json!({"Pod": pod, "Nodes": null, "NodeNames": ["n2"]}).to_string();
        assert_eq!(http::post(sigma.verbs, "/prioritize", args.as_bytes()).status, 200);
        let verb = format!("/verb-{at}");
        assert_eq!(http::post(sigma.verbs, &verb, args.as_bytes()).status, 404);
    }
    sigma.filter(&pod("large", "1"), &["n1"]);
    let args = json!({"Pod": pod("high", "1"), "NodeNameToMetaVictims": {}}).to_string();
    assert_eq!(http::post(sigma.verbs, "/preempt", args.as_bytes()).status, 200);
    assert_eq!(http::post(sigma.verbs, "/bind", b"{}").status, 200);
    assert_eq!(http::post(sigma.verbs, "/bind", b"{").status, 400);
    wait("an audit", || sigma.metric("sigma_audits_total") >= 1.0);
    wait("the gauges follow", || sigma.metric("sigma_unschedulable_pods") == 1.0);
    let all = sigma.metrics();
    for (series, at_least) in [
        ("sigma_verb_duration_seconds_count{verb=\"filter\"}", 61.0),
        ("sigma_verb_duration_seconds_bucket{verb=\"prioritize\",le=\"+Inf\"}", 60.0),
        ("sigma_verb_duration_seconds_count{verb=\"preempt\"}", 1.0),
        ("sigma_verb_duration_seconds_count{verb=\"bind\"}", 2.0),
        ("sigma_verb_results_total{result=\"ok\",verb=\"filter\"}", 61.0),
        ("sigma_verb_results_total{result=\"error\",verb=\"bind\"}", 2.0),
        ("sigma_bad_requests_total{verb=\"bind\"}", 1.0),
        ("sigma_names_offered_total{verb=\"filter\"}", 181.0),
        ("sigma_names_returned_total{verb=\"prioritize\"}", 60.0),
        ("sigma_node_rejections_total{reason=\"UnknownNode\"}", 60.0),
        ("sigma_node_rejections_total{reason=\"AllocationLimit\"}", 1.0),
        ("sigma_unschedulable_answers_total{reason=\"AllocationLimit\"}", 1.0),
        ("sigma_watch_age_seconds{resource=\"pods\"}", 0.0),
        ("sigma_watch_synced{resource=\"nodes\"}", 1.0),
        ("sigma_watch_relists_total{resource=\"pods\"}", 0.0),
        ("sigma_watch_reconnects_total{resource=\"pods\"}", 1.0),
        ("sigma_undecodable_objects_total{resource=\"pods\"}", 0.0),
        ("sigma_state_objects{kind=\"nodes\"}", 2.0),
        ("sigma_state_objects{kind=\"pods\"}", 1.0),
        ("sigma_state_objects{kind=\"pending_pods\"}", 0.0),
        ("sigma_state_objects{kind=\"namespaces\"}", 21.0),
        ("sigma_snapshot_generation", 1.0),
        ("sigma_policy_generation", 1.0),
        ("sigma_policy_load_errors_total", 0.0),
        ("sigma_policy_stale", 0.0),
        ("sigma_holds", 1.0),
        ("sigma_holds_expired_total", 0.0),
        ("sigma_audits_total", 1.0),
        ("sigma_audit_differences_total{sum=\"node\"}", 0.0),
        ("sigma_lost_deletes_total{resource=\"pods\"}", 0.0),
        ("sigma_requeues_total{outcome=\"requeued\"}", 0.0),
        ("sigma_panics_total", 0.0),
        ("process_resident_memory_bytes", 1.0),
    ] {
        let found = all.get(series);
        assert!(found.is_some_and(|it| *it >= at_least), "{series}: {found:?}");
    }
    println!("{} series", all.len());
    assert!(all.len() < 500, "{}", all.len());
    let kind = sigma.get("/metrics").head;
    assert!(kind.contains("content-type: text/plain; version=0.0.4"), "{kind}");
}
