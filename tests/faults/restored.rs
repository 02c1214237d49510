//! The API server's store is restored from a backup.

use std::time::Duration;

use serde_json::{Value, json};
use sigma::k8s::WatchOptions;
use sigma::model::Kind;

use super::Spoiled;
use super::lists::Follower;
use crate::site::{node, placed, pod};
use crate::support::process::Sigma;
use crate::support::wait;

/// What the versions of the restored server are like to whoever remembers those of before.
#[derive(Clone, Copy, Debug)]
enum Versions {
    Lower,
    /// As with `--bump-revision`.
    Higher,
    /// Lower at first, and higher by the time of the next request.
    Passed,
}

/// A cluster of which a backup is taken, that goes on, and is what it was at the backup.
fn go_back(it: &mut Spoiled, versions: Versions, meanwhile: impl FnOnce()) {
    let api = &it.site.api;
    let waiting = pod("bound-later", "1");
    for object in [placed("stays", "1", "n1"), placed("moved", "1", "n1"), waiting.clone()] {
        api.put("pods", object);
    }
    api.put("pods", placed("deleted-later", "1", "n1"));
    api.put("nodes", node("deleted-later", "8"));
    let backup = api.backup();
    let mut bound = waiting;
    bound["spec"]["nodeName"] = "n2".into();
    api.put("pods", bound);
    let mut ended = api.object("pods", "shop/stays").expect("it is there");
    ended["status"]["phase"] = "Succeeded".into();
    api.put("pods", ended);
    let mut moved = api.object("pods", "shop/moved").expect("it is there");
    moved["spec"]["nodeName"] = "n2".into();
    api.put("pods", moved);
    api.delete("pods", "shop/deleted-later");
    api.delete("nodes", "deleted-later");
    api.put("pods", placed("made-later", "1", "n2"));
    api.put("nodes", node("made-later", "2"));
    api.put("nodes", node("n1", "16"));
    meanwhile();
    let version = |lease: Value| lease["metadata"]["resourceVersion"].as_str()?.parse::<u64>().ok();
    if let Some(at_backup) = api.object("leases", "shop/sigma").and_then(version) {
        let now = || api.object("leases", "shop/sigma").and_then(version);
        wait("the lease is renewed", || now() > Some(at_backup));
    }
    let before = it.site.api.version();
    it.proxy.down();
    let bumped = matches!(versions, Versions::Higher).then_some(before + 1_000_000);
    it.site.api.restore(&backup, bumped);
    if let Versions::Passed = versions {
        while it.site.api.version() < before + 10 {
            it.site.api.put("nodes", node("n2", "4"));
        }
    }
    it.proxy.up();
}

/// Nodes, and what is requested of them; without what differs between two processes.
fn shown(sigma: &Sigma) -> Value {
    let status = sigma.json("/api/v1/status");
    json!([sigma.json("/api/v1/nodes"), status["pods"], status["pending_pods"], status["nodes"]])
}

/// Row 9, the store of the API server is restored from a backup: versions of the store are then lower than those
/// that sigma knows, higher (`--bump-revision`), or have passed them again. The server answers 410 to a version
/// that is too old, and sigma lists at once. A watch from a future version gets no events. sigma lists after a lost
/// connection and two such watches (90 s). sigma also lists every kind if the Lease is older than before, or if the
/// versions of a kind went back. The list of the next audit finds the remaining cases. Until then the last snapshot
/// stays in use, and no hold ends by its time limit.
#[test]
fn r09_a_restored_store() {
    for versions in [Versions::Lower, Versions::Higher, Versions::Passed] {
        let mut it = Spoiled::new();
        let sigma = it.serve(&["--audit-interval=1s"]);
        go_back(&mut it, versions, || {
            sigma.wait_status("pods", 3);
            wait("n1 has grown", || sigma.json("/api/v1/nodes").to_string().contains("16000"));
        });
        // Whoever knows nothing of the past.
        let fresh = it.serve(&[]);
        let want = shown(&fresh);
        wait("it is the truth", || shown(&sigma) == want);
        assert_eq!((&want[1], &want[2]), (&json!(3), &json!(1)), "{versions:?}: {want}");
        assert_eq!(sigma.get("/readyz").status, 200);
        // And so it stays, with what happens from here on.
        it.site.api.put("pods", placed("new", "1", "n2"));
        it.site.api.delete("pods", "shop/moved");
        fresh.wait_status("pods", 3);
        wait("it goes on", || shown(&sigma) == shown(&fresh));
    }
}

/// Without an audit, however the versions are by the time that a watch is resumed.
#[test]
fn the_lease_tells_of_a_restore() {
    for versions in [Versions::Lower, Versions::Higher, Versions::Passed] {
        let mut it = Spoiled::new();
        let sigma = it.serve(&["--lease-namespace=shop"]);
        wait("it leads", || sigma.json("/api/v1/status")["lease"]["is_leader"] == true);
        go_back(&mut it, versions, || sigma.wait_status("pods", 3));
        let fresh = it.serve(&[]);
        let want = shown(&fresh);
        wait("it is the truth", || shown(&sigma) == want);
        wait("it is said", || sigma.logged("store was restored") > 0);
    }
}

#[test]
fn a_server_that_says_nothing_after_it_was_away_is_listed() {
    let quick = WatchOptions {
        watch_timeout: Duration::from_secs(1),
        backoff_min: Duration::from_millis(1),
        resume_max: Duration::from_millis(50),
        ..WatchOptions::default()
    };
    let mut it = Spoiled::new();
    let mut pods = Follower::start(&it, Kind::PODS, quick);
    pods.until("the list is in", |it| it.health.kind(Kind::PODS).listed);
    go_back(&mut it, Versions::Lower, || {
        pods.until("it is watched", |it| it.snapshot().num_pods == 3);
    });
    pods.until("it has listed", |it| it.health.kind(Kind::PODS).num_relists == 1);
    pods.until("it is the truth", |it| {
        let snapshot = it.snapshot();
        let on = |name: &str| snapshot.names.ord(name).map_or(0, |ord| snapshot.pods_on(ord).len());
        (on("n1"), on("n2"), snapshot.pending.len()) == (3, 0, 1)
    });
}
