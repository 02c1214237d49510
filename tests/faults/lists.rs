//! Lists and watches that break off, expire, or are refused.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sigma::cluster::{ClusterState, Snapshot};
use sigma::k8s::client::{self, KubeconfigSource};
use sigma::k8s::kinds::spec_of;
use sigma::k8s::{WatchHealth, WatchOptions, spawn_with};
use sigma::model::{Change, Kind};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::Spoiled;
use super::proxy::Fault;
use crate::site::{accepted, placed, pod};
use crate::support::apiserver::kubeconfig;
use crate::support::wait;

/// The driver of one kind and a state that it fills, with times of the test's choice.
pub(super) struct Follower {
    pub(super) health: Arc<WatchHealth>,
    changes: mpsc::Receiver<Change>,
    state: ClusterState,
    runtime: Runtime,
}

impl Follower {
    pub(super) fn start(it: &Spoiled, kind: Kind, options: WatchOptions) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let health = Arc::new(WatchHealth::default());
        let (out, changes) = mpsc::channel(16);
        let path = kubeconfig(it.site.dir.path(), it.proxy.port);
        runtime.block_on(async {
            let client =
                client::connect(&KubeconfigSource::Kubeconfig { path, context: None }).await;
            let spec = spec_of(kind).expect("a kind of the registry");
            spawn_with(client.expect("a client"), spec, out, health.clone(), options);
        });
        Self { health, changes, state: ClusterState::default(), runtime }
    }

    pub(super) fn snapshot(&mut self) -> Arc<Snapshot> {
        self.state.publish().0
    }

    /// Applies what comes, one by one, until `check` holds.
    pub(super) fn until(&mut self, what: &str, mut check: impl FnMut(&mut Self) -> bool) {
        wait(what, || {
            while let Ok(change) = self.changes.try_recv() {
                self.state.apply(change);
                if check(self) {
                    return true;
                }
            }
            check(self)
        });
        assert_eq!(self.state.audit(), []);
    }

    /// Names of the nodes after each change until a list is said to be complete.
    fn nodes_until_listed(&mut self) -> BTreeSet<Vec<String>> {
        let mut seen = BTreeSet::new();
        loop {
            let change = self.runtime.block_on(self.changes.recv()).expect("it goes on");
            let ends = matches!(change, Change::RelistEnd(_));
            self.state.apply(change);
            let snapshot = self.snapshot();
            let names = snapshot.live_nodes().map(|ord| snapshot.names.name(ord).to_owned());
            seen.insert(names.collect());
            if ends {
                return seen;
            }
        }
    }
}

/// Row 5, the version of a watch or of a list in progress expires (410): the list begins again. If that happens a
/// second time within two minutes, sigma waits first. The whole last snapshot stays in use until the list is
/// complete.
#[test]
fn r05_expired_versions() {
    let mut it = Spoiled::new();
    // Three pages.
    for at in 0..1201 {
        it.site.api.put("pods", placed(&format!("p{at:04}"), "1m", "n1"));
    }
    it.proxy.spoil("/pods?limit=500&continue=", 2, Fault::Refused(410, 0));
    let sigma = it.serve(&[]);
    let pages = |it: &Spoiled| it.proxy.asked("/pods?limit=");
    assert_eq!(pages(&it), 2 + 2 + 3);
    it.proxy.spoil("/pods?watch=true", 2, Fault::Refused(410, 0));
    it.proxy.down();
    it.proxy.up();
    let cart = pod("cart", "1m");
    let relists = "sigma_watch_relists_total{resource=\"pods\"}";
    wait("it has listed twice", || {
        assert_eq!(sigma.json("/api/v1/status")["pods"], 1201);
        assert_eq!(accepted(&sigma.filter(&cart, &["n2"])), ["n2"]);
        sigma.metric(relists) == 2.0 && pages(&it) == 7 + 2 * 3
    });
    it.site.api.put("pods", placed("late", "1m", "n2"));
    sigma.wait_status("pods", 1202);
}

/// Row 6, an answer is cut off: sigma does not use a part of a list. Nothing leaves the last snapshot, and sigma
/// does not become ready. It requests the list again.
#[test]
fn r06_half_answers() {
    let pause = Duration::from_millis(1);
    let quick = WatchOptions { backoff_min: pause, backoff_max: pause, ..WatchOptions::default() };
    for streams in [false, true] {
        let it = Spoiled::new();
        it.site.api.stream_lists(streams);
        let part = if streams { "sendInitialEvents" } else { "?limit=" };
        let mut nodes = Follower::start(&it, Kind::NODES, quick.clone());
        nodes.nodes_until_listed();
        for bytes in (0..).step_by(3) {
            let asked = it.proxy.asked(part);
            it.proxy.spoil(part, 1, Fault::Half(bytes));
            nodes.health.request_relist(Kind::NODES);
            let seen = nodes.nodes_until_listed();
            assert_eq!(seen, [["n1", "n2"].map(str::to_owned).to_vec()].into(), "at {bytes}");
            if it.proxy.asked(part) == asked + 1 {
                // It was not cut any more.
                assert!(bytes > 700, "{bytes}");
                break;
            }
        }
    }
}
