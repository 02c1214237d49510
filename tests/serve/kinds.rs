//! Kinds of action beside each other: one of a test that writes ConfigMaps, rights of their own, and the policy's stop.

use std::sync::Arc;

use serde_json::json;
use sigma::control::{ActionOutcome, WhyOff};
use sigma::model::{Action, REQUEUE, STEER};

use crate::faults::Fault;
use crate::note::{NOTE, note};
use crate::site::{Site, pod, policy};
use crate::stage::Stage;
use crate::support::apiserver::ApiServer;
use crate::support::{PATIENCE, wait};

/// A stage whose kinds are those of the product and the test's own.
fn stage() -> Stage {
    Stage::of_kinds(Arc::new(ApiServer::start()), &[&REQUEUE, &STEER, &NOTE]).on()
}

#[test]
fn a_kind_of_a_test_writes_a_config_map() {
    let stage = stage();
    assert_eq!(stage.outcome(note("one", "hello")), ActionOutcome::Written);
    let map = stage.api.object("configmaps", "shop/one").expect("it was created");
    assert_eq!((&map["kind"], &map["data"]), (&json!("ConfigMap"), &json!({"note": "hello"})));
    let record = stage.last(&NOTE);
    assert_eq!((record.verb, &*record.target.name, record.attempts), ("note", "one", 1));
    // Another kind of the same actor is none of its business.
    let requeue = Action::requeue(&stage.pod("cart"), "AllocationLimit");
    assert_eq!(stage.outcome(requeue), ActionOutcome::Written);
    assert_eq!(stage.state(&NOTE).records.len(), 1);
}

#[test]
fn an_actor_takes_no_action_of_a_kind_that_it_was_not_made_for() {
    let stage = Stage::new();
    assert_eq!(stage.outcome(note("one", "hello")), ActionOutcome::Off);
    assert_eq!(stage.why_off(&NOTE), Some(WhyOff::Switch));
}

#[test]
fn each_kind_needs_its_own_rights() {
    let api = Arc::new(ApiServer::start());
    api.forbid("patch", "configmaps");
    let stage = Stage::of_kinds(api, &[&REQUEUE, &STEER, &NOTE]).on();
    let missing = Some(WhyOff::RightMissing("patch configmaps".to_owned()));
    wait("the right is missing", || stage.why_off(&NOTE) == missing);
    assert_eq!(stage.outcome(note("one", "hello")), ActionOutcome::Off);
    let steer = Action::nominate(&STEER, &stage.pod("cart"), "n1", "home");
    assert_eq!(stage.outcome(steer), ActionOutcome::Written, "steers have their right");
    stage.api.permit("patch", "configmaps");
    wait("it acts again", || stage.why_off(&NOTE).is_none());
    assert_eq!(stage.outcome(note("one", "hello")), ActionOutcome::Written);
}

#[test]
fn a_stopped_kind_ends_what_waits_and_takes_nothing_more() {
    let stage = stage();
    stage.proxy.spoil("PATCH ", 1, Fault::Refused(429, 60));
    let busy = stage.outcome(note("busy", "x"));
    assert!(matches!(busy, ActionOutcome::Failed(_)), "{busy:?}");
    // The server asked for a minute of silence, so these wait.
    let waiting = [note("one", "x"), note("two", "x").must_complete()].map(|it| stage.submit(it));
    stage.actor.stop(&["note"]);
    for it in waiting {
        assert_eq!(it.recv_timeout(PATIENCE), Ok(ActionOutcome::Stopped));
    }
    assert_eq!(stage.outcome(note("three", "x").must_complete()), ActionOutcome::Stopped);
    assert_eq!((stage.why_off(&NOTE), stage.actor.room(&NOTE)), (Some(WhyOff::Stopped), 0));
    assert_eq!(stage.actor.stopped(), ["note"]);
    let requeue = Action::requeue(&stage.pod("cart"), "AllocationLimit");
    assert_eq!(stage.outcome(requeue), ActionOutcome::Written, "no other kind is stopped");
    stage.actor.stop(&[]);
    assert_eq!((stage.actor.stopped(), stage.why_off(&NOTE)), (vec![], None));
}

/// Row 64, the policy stops actions (`actions.stop`): sigma ends the actions that wait and takes no new actions of these
/// kinds. Answers continue. `/readyz?verbose`, `sigma why`, the log and `sigma_action_enabled` show what is stopped. The
/// next policy without the stop starts the kinds again within 2 s.
#[test]
fn the_policy_stops_and_starts_kinds_of_action() {
    let site = Site::new();
    let sigma = site.serve(&[]);
    let checks = || sigma.get("/readyz?verbose").body;
    let enabled = |kind: &str| format!("sigma_action_enabled{{kind=\"{kind}\"}}");
    sigma.wait_metric(&enabled("requeue"), 1.0);
    assert!(checks().contains("[+] actions: no kind is stopped\n"), "{}", checks());
    site.api.put("pods", pod("big", "1"));
    let text = policy("second", 50);
    site.write_policy(format!("{text}actions: {{stop: [requeue, steer]}}\n"));
    let stopped = "[-] actions: stopped by the policy: requeue, steer\n";
    wait("it is stopped", || checks().contains(stopped));
    assert!(checks().ends_with("\nok\n"), "a stopped kind is no reason to be unready");
    sigma.wait_metric(&enabled("requeue"), 0.0);
    let actions = sigma.json("/api/v1/actions");
    let why = "the policy stops it (actions.stop)";
    assert_eq!((&actions[0]["on"], &actions[0]["why_off"]), (&json!(false), &json!(why)));
    assert_ne!(actions[2]["why_off"], json!(why), "nominating ahead is off for its own reason");
    let off = sigma.json("/api/v1/explain?namespace=shop&pod=big")["steering_off"].take();
    assert!(off.to_string().contains("actions.stop"), "{off}");
    site.write_policy(policy("third", 50));
    sigma.wait_metric(&enabled("requeue"), 1.0);
    assert_eq!(sigma.logged("the policy stops actions: requeue, steer"), 1);
    assert_eq!(sigma.logged("the policy stops no kind of action any more"), 1);
}
