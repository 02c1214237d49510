//! From the first moment to ready, and what is answered until then.

use serde_json::{Value, json};

use crate::site::{Site, accepted, placed, pod, refused};
use crate::support::wait;

#[test]
fn a_server_is_alive_at_once_and_ready_when_every_list_is_in() {
    for streams in [false, true] {
        let site = Site::new();
        site.api.stream_lists(streams);
        site.api.withhold("pods", true);
        let sigma = site.start(&[]);
        assert_eq!(sigma.get("/livez").status, 200);
        let shown = |line: &str| sigma.get("/readyz?verbose").body.contains(line);
        wait("nodes are in", || shown("[+] watch nodes: list complete, heard "));
        wait("namespaces are in", || shown("[+] watch namespaces: list complete, heard "));
        let page = sigma.get("/readyz?verbose");
        assert_eq!(page.status, 503, "{page:?}");
        let missing = "[-] watch pods: list not complete, 0 objects so far, not heard of yet";
        assert!(page.body.contains(missing), "{page:?}");
        assert!(page.body.contains("[+] policy: first generation 1"), "{page:?}");
        assert!(page.body.ends_with("not ready\n"), "{page:?}");
        assert_eq!(sigma.json("/api/v1/status")["ready"], false);
        assert_eq!(sigma.get("/livez").status, 200);
        site.api.withhold("pods", false);
        sigma.wait_ready();
        assert_eq!(sigma.get("/readyz").body, "ok\n");
        let page = sigma.get("/readyz?verbose").body;
        assert!(page.contains("[+] watch pods: list complete, heard 0."), "{page}");
        assert!(!page.contains("[-]") && page.contains(" s ago, at "), "{page}");
    }
}

#[test]
fn a_cluster_of_several_pages_is_read_whole() {
    let site = Site::new();
    for at in 0..1201 {
        site.api.put("pods", placed(&format!("p{at:04}"), "1m", "n1"));
    }
    let sigma = site.serve(&[]);
    assert_eq!(sigma.json("/api/v1/status")["pods"], 1201);
    assert_eq!(site.api.asked("list", "pods"), 3);
    assert_eq!(sigma.json("/api/v1/pools")[0]["requested"]["cpu_milli"], 1201);
    // And the watch goes on from where the list was.
    site.api.put("pods", placed("late", "1m", "n2"));
    sigma.wait_status("pods", 1202);
    site.api.delete("pods", "shop/p0000");
    sigma.wait_status("pods", 1201);
    assert_eq!(site.api.asked("list", "pods"), 3);
}

#[test]
fn answers_go_before_watches_and_watches_before_pages() {
    let sigma = Site::new().serve(&[]);
    let mut nice = sigma.threads();
    nice.sort();
    nice.dedup();
    let nice: Vec<(&str, i32)> = nice.iter().map(|(name, nice)| (&**name, *nice)).collect();
    // The kernel keeps 15 letters of a name.
    for thread in [("sigma-verbs", 0), ("sigma-backgroun", 5), ("sigma-admin", 10)] {
        assert!(nice.contains(&thread), "{thread:?} in {nice:?}");
    }
}

fn batch_pod() -> Value {
    let mut pod = pod("batch", "1");
    pod["spec"]["priorityClassName"] = "batch".into();
    pod
}

#[test]
fn before_it_is_ready_verdicts_are_degraded() {
    let site = Site::new();
    site.api.withhold("pods", true);
    let sigma = site.start(&["--before-sync=degraded"]);
    let reply = sigma.filter(&pod("cart", "1000"), &["n1", "n2", "n9"]);
    assert_eq!(accepted(&reply), ["n1", "n2", "n9"]);
    assert_eq!(reply["Error"], "");
    let reply = sigma.filter(&batch_pod(), &["n1", "n2"]);
    assert_eq!(refused(&reply), "sigma: cluster state not complete yet");
    let degraded = "sigma_verb_results_total{result=\"degraded\",verb=\"filter\"}";
    assert_eq!(sigma.metric(degraded), 2.0);
    site.api.withhold("pods", false);
    sigma.wait_ready();
    assert_eq!(
        refused(&sigma.filter(&pod("cart", "1000"), &["n1"])),
        "sigma: insufficient resources"
    );
    assert_eq!(accepted(&sigma.filter(&batch_pod(), &["n1", "n2"])).len(), 1);
}

#[test]
fn before_it_is_ready_everything_can_be_rejected() {
    let site = Site::new();
    site.api.withhold("pods", true);
    let sigma = site.start(&["--before-sync=reject"]);
    let (one, two) = (sigma.filter(&pod("a", "1"), &["n1"]), sigma.filter(&batch_pod(), &["n2"]));
    assert_eq!(one["Error"], "sigma: cluster state not complete yet");
    assert_eq!(one, two);
    assert_ne!(one["NodeNames"], json!(["n1"]));
    site.api.withhold("pods", false);
    sigma.wait_ready();
    assert_eq!(accepted(&sigma.filter(&pod("a", "1"), &["n1"])), ["n1"]);
}
