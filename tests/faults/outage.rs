//! The API server is away, late, or silent.

use std::time::Duration;

use sigma::cluster::{HoldLimits, Watch};
use sigma::k8s::WatchOptions;
use sigma::k8s::kinds::kinds;
use sigma::model::Kind;

use super::Spoiled;
use super::lists::Follower;
use crate::site::{FULL, accepted, placed, pod, refused};
use crate::support::wait;

const NOT_SYNCED: &str = "sigma: cluster state not complete yet";

/// Row 1, sigma cannot reach the API server at the start: the process is alive and not ready. Online pods keep
/// every node. Offline pods get no node until the first lists are complete. Then sigma becomes ready by itself.
#[test]
fn r01_down_at_the_start() {
    let mut it = Spoiled::new();
    it.proxy.down();
    let sigma = it.start(&["--before-sync=degraded"]);
    let mut batch = pod("batch", "1");
    batch["spec"]["priorityClassName"] = "batch".into();
    wait("it has tried", || sigma.logged("cannot watch pods") > 0);
    assert_eq!((sigma.get("/livez").status, sigma.get("/readyz").status), (200, 503));
    let page = sigma.get("/readyz?verbose").body;
    assert!(page.contains("cannot watch pods: ") && page.contains("onnection refused"), "{page}");
    assert!(page.contains("[-] watch pods: ") && page.contains("[+] policy: "), "{page}");
    // Where the server is, is not said.
    let address = format!("127.0.0.1:{}", it.proxy.port);
    assert!(!page.contains("127.0.0.1") && !page.contains("http"), "{page}");
    assert_eq!((sigma.logged(&address), sigma.logged("http:")), (0, 0));
    assert_eq!(accepted(&sigma.filter(&pod("cart", "1"), &["n1", "n9"])), ["n1", "n9"]);
    assert_eq!(refused(&sigma.filter(&batch, &["n1", "n2"])), NOT_SYNCED);
    it.proxy.up();
    sigma.wait_ready();
    assert_eq!(accepted(&sigma.filter(&batch, &["n1", "n2"])).len(), 1);
    assert_eq!(accepted(&sigma.filter(&pod("cart", "1"), &["n1", "n9"])), ["n1"]);
}

/// Row 2, the API server goes away: sigma answers every call, with the rules and the last snapshot. It stays ready:
/// otherwise every replica would be out of service. `/readyz?verbose` and `sigma_watch_failures_total` show the
/// error. When the server is back, each watch resumes within 3 s where it stopped. If its version is too old for
/// the server, sigma lists instead. Until then no hold ends by its time limit, because only the hold counts a pod
/// that is bound meanwhile.
#[test]
fn r02_down_while_running() {
    let mut it = Spoiled::new();
    it.site.api.put("pods", placed("full", "2", "n1"));
    let sigma = it.serve(&[]);
    it.proxy.down();
    for kind in kinds() {
        let failures = format!("sigma_watch_failures_total{{resource=\"{}\"}}", kind.name);
        wait(&failures, || sigma.metric(&failures) >= 1.0);
    }
    it.site.api.delete("pods", "shop/full");
    it.site.api.put("pods", placed("other", "2", "n2"));
    assert_eq!(sigma.get("/readyz").status, 200);
    assert!(sigma.get("/readyz?verbose").body.contains("cannot watch nodes: "));
    assert_eq!(accepted(&sigma.filter(&pod("cart", "1"), &["n1", "n2"])), ["n2"]);
    assert_eq!(refused(&sigma.filter(&pod("cart", "1"), &["n1"])), FULL);
    it.proxy.up();
    wait("it has caught up", || {
        accepted(&sigma.filter(&pod("cart", "1"), &["n1", "n2"])) == ["n1"]
    });
    assert_eq!(sigma.metric("sigma_watch_relists_total{resource=\"pods\"}"), 0.0);
    assert!(!sigma.get("/readyz?verbose").body.contains("cannot watch pods: "));
}

/// Row 3, events come late: answers use the snapshot that sigma has, and are not delayed. `sigma_watch_age_seconds`
/// shows the age of the snapshot. sigma keeps holds for its answers, so no limit is exceeded. Late events count
/// when they come.
#[test]
fn r03_late_events() {
    let it = Spoiled::new();
    let sigma = it.serve(&[]);
    it.proxy.freeze(true);
    it.site.api.put("pods", placed("late", "2", "n2"));
    wait("the snapshot is old", || {
        sigma.metric("sigma_watch_age_seconds{resource=\"pods\"}") >= 2.0
    });
    assert_eq!(sigma.get("/readyz").status, 200);
    // Its allocation is two cores: the second of these pods is refused because of the first.
    assert_eq!(accepted(&sigma.filter(&pod("first", "2"), &["n1"])), ["n1"]);
    assert_eq!(refused(&sigma.filter(&pod("second", "2"), &["n1"])), FULL);
    assert_eq!(accepted(&sigma.filter(&pod("third", "1m"), &["n2"])), ["n2"]);
    it.proxy.freeze(false);
    wait("what was late is counted", || sigma.json("/api/v1/status")["pods"] == 1);
    assert_eq!(refused(&sigma.filter(&pod("fourth", "1"), &["n2"])), FULL);
    assert_eq!(sigma.metric("sigma_watch_failures_total{resource=\"pods\"}"), 0.0);
}

/// Pods that are bound while nobody hears it.
const UNHEARD: usize = 3;

/// Row 4, a watch stays open and is dead: after 15 s without an event or a bookmark the watch is stale. Then no
/// hold ends by its time limit, because only the hold counts a pod that is bound meanwhile. After 50 s sigma closes
/// the watch, and opens it again where it stopped. Holds end again when the watch has caught up.
#[test]
fn r04_a_silent_watch() {
    let options = WatchOptions::default();
    assert_eq!(options.silent_after, Duration::from_secs(15));
    assert_eq!(options.watch_timeout + options.silence_margin, Duration::from_secs(50));
    // The other half is for a binding that was answered before, and is told after.
    assert!(options.silent_after * 2 <= Duration::from_millis(HoldLimits::default().ttl_ms));
    let quick = WatchOptions {
        watch_timeout: Duration::from_secs(2),
        silence_margin: Duration::from_millis(100),
        // The server's bookmarks come every half.
        silent_after: Duration::from_secs(1),
        caught_up_pause: Duration::from_millis(100),
        ..options
    };
    let it = Spoiled::new();
    let mut pods = Follower::start(&it, Kind::PODS, quick);
    pods.until("the list is in", |it| it.health.kind(Kind::PODS).listed);
    it.site.api.put("pods", placed("heard", "1m", "n1"));
    pods.until("it is watched", |it| it.snapshot().num_pods == 1);
    it.proxy.freeze(true);
    for at in 0..UNHEARD {
        it.site.api.put("pods", placed(&format!("unheard-{at}"), "1m", "n1"));
    }
    pods.until("it is silent", |it| it.snapshot().pods_watch == Watch::Stale);
    pods.until("it is given up", |it| it.health.kind(Kind::PODS).num_failures > 0);
    let error = pods.health.kind(Kind::PODS).error.unwrap_or_default();
    assert!(error.contains("silent for ") || error.contains("no answer within "), "{error}");
    pods.until("it is lost", |it| it.snapshot().pods_watch == Watch::Disconnected);
    assert_eq!(pods.snapshot().num_pods, 1);
    it.proxy.freeze(false);
    let mut early = false;
    pods.until("it tells again", |it| {
        let snapshot = it.snapshot();
        early |= snapshot.pods_watch == Watch::Fresh && snapshot.num_pods <= UNHEARD;
        snapshot.pods_watch == Watch::Fresh
    });
    assert!(!early, "holds end before it is known what was bound");
    assert_eq!(pods.health.kind(Kind::PODS).num_relists, 0);
}
