//! Two replicas in one process, each with a clock that the test moves, and one API server in memory:
//! who leads, and what becomes of the writes of one that does no longer.

use serde_json::{Value, json};
use sigma::control::{ActionOutcome, WhyOff};
use sigma::model::{Action, ActionKind, NOMINATE_AHEAD};

use crate::site::pod;
use crate::stage::{Candidate, Stage};
use crate::support::wait;

const MEANS: &ActionKind = &NOMINATE_AHEAD;

/// Two replicas; the first leads, and the second knows.
struct Pair {
    first: Stage,
    second: Stage,
}

impl Pair {
    fn new() -> (Self, Candidate, Candidate) {
        let first = Stage::new();
        let second = first.beside();
        let leader = first.lead();
        let other = second.stand();
        let identity = first.leadership.state().identity;
        let known = Some(WhyOff::NotLeader(Some(identity)));
        wait("the second knows", || second.why_off(MEANS) == known);
        (Self { first, second }, leader, other)
    }

    fn both(&self) -> [&Stage; 2] {
        [&self.first, &self.second]
    }

    fn leaders(&self) -> [bool; 2] {
        self.both().map(|it| it.leadership.is_leader())
    }

    fn num_leaders(&self) -> usize {
        self.leaders().into_iter().filter(|leads| *leads).count()
    }

    fn advance(&self, ms: u64) {
        self.both().into_iter().for_each(|it| it.advance(ms));
    }

    /// Waits while time goes on for both.
    fn wait(&self, what: &str, mut check: impl FnMut() -> bool) {
        wait(what, || {
            self.advance(50);
            check()
        });
    }

    fn spec(&self) -> Value {
        self.first.api.object("leases", "shop/sigma").expect("a lease")["spec"].take()
    }

    /// How often the lease was read.
    fn looks(&self) -> usize {
        self.first.api.asked("get", "leases")
    }
}

#[test]
fn a_leader_that_dies_is_waited_out_by_the_other_s_clock() {
    let (pair, leader, _other) = Pair::new();
    assert_eq!(pair.leaders(), [true, false]);
    leader.die();
    let looks = pair.looks();
    pair.first.advance(9_999);
    assert_eq!(pair.leaders(), [true, false]);
    pair.first.advance(1);
    assert_eq!(pair.leaders(), [false, false], "it has not renewed for ten seconds");
    pair.second.advance(14_999);
    wait("the second has looked", || pair.looks() == looks + 1);
    assert_eq!(pair.leaders(), [false, false], "it has seen the lease for less than 15 seconds");
    pair.advance(2_000);
    wait("the second leads", || pair.leaders() == [false, true]);
    let (spec, identity) = (pair.spec(), pair.second.leadership.state().identity);
    assert_eq!((&spec["holderIdentity"], &spec["leaseTransitions"]), (&json!(identity), &json!(1)));
}

#[test]
fn a_leader_that_is_told_to_stop_is_followed_at_the_other_s_next_look() {
    let (pair, leader, _other) = Pair::new();
    let looks = pair.looks();
    leader.stop();
    wait("it is given back", || pair.spec()["holderIdentity"] == "");
    assert_eq!(pair.leaders(), [false, false]);
    pair.advance(2_000);
    wait("the second leads", || pair.leaders() == [false, true]);
    // The first has looked once to give it back.
    assert_eq!((pair.looks(), &pair.spec()["leaseTransitions"]), (looks + 2, &json!(1)));
}

#[test]
fn a_deposed_leader_does_no_harm() {
    let (pair, leader, _other) = Pair::new();
    let Pair { first, second } = &pair;
    // That a pod without annotations gets some would be a fence as well, but not the one that counts.
    let mut noted = pod("cart", "1");
    noted["metadata"]["annotations"] = json!({"note": "kept"});
    first.api.put("pods", noted);
    let cart = first.read("cart");
    leader.die();
    // The clock of the first stands still, against all that is presumed of clocks.
    second.advance(15_000);
    wait("the second leads", || second.leadership.is_leader());
    assert_eq!(pair.leaders(), [true, true]);
    let order = |node| Action::nominate(MEANS, &cart, node, "backlog");
    assert_eq!(second.outcome(order("n2")), ActionOutcome::Written);
    assert_eq!(first.outcome(order("n1")), ActionOutcome::Changed(Some("n2".into())));
    assert_eq!(first.object("cart")["status"]["nominatedNodeName"], "n2");
    // Once it looks at its clock, it sends nothing.
    let sent = first.proxy.asked("PATCH ");
    first.advance(10_000);
    assert_eq!(first.outcome(order("n1")), ActionOutcome::Off);
    assert_eq!(first.proxy.asked("PATCH "), sent);
}

/// Row 54, somebody deletes the Lease, or edits it to invalid values: the leader stops at its next renewal. If the
/// Lease names an unknown holder, the replicas wait for the end of the Lease, at most ten minutes. Then one replica
/// takes the Lease and repairs it. If the Lease names no holder, a replica takes it at once.
#[test]
fn a_lease_that_was_edited_to_nonsense_is_waited_out_and_taken() {
    let (pair, _leader, _other) = Pair::new();
    let put = |spec: Value| {
        let metadata = json!({"name": "sigma", "namespace": "shop"});
        pair.first.api.put("leases", json!({"metadata": metadata, "spec": spec}));
    };
    let worst = json!({"holderIdentity": "nobody", "leaseDurationSeconds": i32::MAX,
        "leaseTransitions": i32::MAX, "acquireTime": "9999-12-31T23:59:59.999999Z",
        "renewTime": "9999-12-31T23:59:59.999999Z"});
    let least = json!({"holderIdentity": "nobody", "leaseDurationSeconds": i32::MIN,
        "leaseTransitions": i32::MIN, "acquireTime": null, "renewTime": "0000-01-01T00:00:00Z"});
    let no_lease = json!({"holderIdentity": 7, "leaseDurationSeconds": "soon"});
    // How long it takes until anybody may have it: no time for what nobody has.
    for (spec, wait_ms) in [(worst, 600_000), (Value::Null, 0), (least, 15_000), (no_lease, 0)] {
        let said = spec.to_string();
        put(spec);
        let looks = pair.looks();
        pair.wait("both have looked", || pair.looks() >= looks + 2);
        if wait_ms > 0 {
            pair.wait("nobody leads", || pair.leaders() == [false, false]);
            pair.advance(wait_ms);
        }
        pair.wait(&said, || pair.num_leaders() == 1);
        assert!(pair.spec()["leaseTransitions"].as_i64() >= Some(0), "{}", pair.spec());
    }
    pair.first.api.delete("leases", "shop/sigma");
    pair.wait("it is made anew", || pair.first.api.object("leases", "shop/sigma").is_some());
    pair.wait("one leads", || pair.num_leaders() == 1);
}
