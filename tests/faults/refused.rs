//! The API server gives lists and refuses watches.

use std::time::Duration;

use sigma::k8s::WatchOptions;
use sigma::model::Kind;

use super::Spoiled;
use super::lists::Follower;
use super::proxy::Fault;
use crate::site::placed;
use crate::support::wait;

const REFUSED: &str = "sigma_watch_refused{resource=\"pods\"}";

/// Row 63, the API server refuses watches and accepts lists (500, 503, 504, or any other answer that does not ask
/// to wait): sigma lists after five refused watches in a row that last half a minute. Later lists follow after
/// pauses that double up to five minutes. The list of each audit does not depend on the watch. sigma stays ready.
/// `/readyz?verbose` and `sigma_watch_refused` show the refused watch. Three cases never cause a list: a server
/// that asks to wait (429, `Retry-After`), missing rights (401, 403), and lost connections.
#[test]
fn r63_watches_that_are_refused() {
    assert_eq!(WatchOptions::default().refused_patience, Duration::from_secs(30));
    let it = Spoiled::new();
    it.proxy.spoil("/pods?watch=true", usize::MAX, Fault::Refused(504, 0));
    let sigma = it.serve(&["--audit-interval=1s"]);
    it.site.api.put("pods", placed("unheard", "1", "n1"));
    wait("the audit has listed it", || sigma.json("/api/v1/status")["pods"] == 1);
    it.site.api.delete("pods", "shop/unheard");
    wait("and that it is gone", || sigma.json("/api/v1/status")["pods"] == 0);
    sigma.wait_metric(REFUSED, 1.0);
    let page = sigma.get("/readyz?verbose");
    let line = page.body.lines().find(|line| line.contains("watch pods")).expect("a line");
    assert!(line.starts_with("[-] watch pods: list complete, ") && page.status == 200, "{page:?}");
    assert!(
        line.contains("; refused ") && line.contains("cannot watch pods: 504: spoiled"),
        "{line}"
    );
    assert!(page.body.contains("[+] watch nodes: ") && page.body.ends_with("\nok\n"), "{page:?}");
    let checks = sigma.json("/api/v1/status")["checks"].take();
    let check = |name| checks.as_array().and_then(|all| all.iter().find(|it| it["name"] == name));
    let pods = check("watch pods").expect("it is there");
    assert_eq!((&pods["ok"], &pods["failing"]), (&true.into(), &true.into()), "{pods}");
}

#[test]
fn a_watch_that_is_refused_for_long_gives_way_to_lists() {
    let pause = Duration::from_millis(1);
    let quick = WatchOptions {
        refused_patience: Duration::from_millis(20),
        backoff_min: pause,
        backoff_max: pause,
        ..WatchOptions::default()
    };
    for (fault, lists) in [
        (Fault::Refused(500, 0), true),
        (Fault::Refused(503, 0), true),
        (Fault::Refused(404, 0), true),
        (Fault::Reset, false),
        (Fault::Refused(401, 0), false),
        (Fault::Refused(429, 0), false),
    ] {
        let it = Spoiled::new();
        let mut pods = Follower::start(&it, Kind::PODS, quick.clone());
        pods.until("the list is in", |it| it.health.kind(Kind::PODS).listed);
        it.proxy.spoil("/pods?watch=true", usize::MAX, fault);
        let end = it.proxy.asked("/pods?watch=true") + 40;
        // The open watch is cut off.
        it.proxy.cut();
        it.site.api.put("pods", placed("unheard", "1", "n1"));
        if lists {
            pods.until("it is listed", |it| it.snapshot().num_pods == 1);
            continue;
        }
        pods.until("it has tried often", |_| it.proxy.asked("/pods?watch=true") >= end);
        assert_eq!((pods.snapshot().num_pods, it.proxy.asked("/pods?limit=")), (0, 1), "{fault:?}");
    }
}
