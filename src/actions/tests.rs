use std::sync::Arc;
use std::sync::mpsc::channel;

use kube::{Client, Config};

use super::*;
use crate::control::{ActionOutcome, Next, PendingAction, Submission, Submitted};
use crate::k8s::writes::ObjectWrites;
use crate::metrics::Metrics;
use crate::model::{Action, ActionKind, NOMINATE_AHEAD, STEER};
use crate::runtime::Clock;
use crate::testing;

/// An actor without a Lease, at whose API server no connection is accepted.
fn actor() -> Arc<Actor> {
    let config = Config::new("http://127.0.0.1:1".parse().expect("a URI"));
    let writes = ObjectWrites::new(Client::try_from(config).expect("a client"));
    let metrics = Metrics::new().and_then(|it| it.of()).expect("names are unique");
    Arc::new(Actor::new(writes, metrics, Clock::start(), None))
}

/// Carries out an action whose turn comes now; gives its outcome, once it has ended.
async fn outcome(actor: &Arc<Actor>, action: impl Into<PendingAction>) -> Option<ActionOutcome> {
    let (action, (tell, told)) = (action.into(), channel());
    let action = action.on_done(move |outcome| tell.send(outcome.clone()).expect("it is awaited"));
    let Action { kind, priority, .. } = action.action;
    let key = action.action.target.key();
    let wanted = Submission { action, key, priority, must_complete: false };
    let now = actor.clock.now();
    let job = {
        let queue = &mut actor.queue(kind).lock().queue;
        assert!(matches!(queue.submit(wanted, true, now), Submitted::No));
        if let Next::Start(job) = queue.next(now, true) { Some(job) } else { None }
    };
    actor.clone().carry_out(kind, job.expect("it begins"), false).await;
    told.try_recv().ok()
}

fn action(kind: &'static ActionKind) -> PendingAction {
    Action::nominate(kind, &testing::pod(1, 1000), "n1", "backlog").into()
}

#[tokio::test]
async fn whether_we_lead_is_asked_right_before_the_write() {
    // It was taken, and its turn has come, while we led.
    let outcome = outcome(&actor(), action(&NOMINATE_AHEAD)).await;
    assert_eq!(outcome, Some(ActionOutcome::Off), "one that was sent would be tried again");
}

#[tokio::test]
async fn whether_it_stands_is_asked_right_before_the_write() {
    let (actor, action) = (actor(), || action(&STEER));
    let overtaken = outcome(&actor, action().while_needed(|| false)).await;
    assert_eq!(overtaken, Some(ActionOutcome::Overtaken));
    // The write fails, so it is tried again.
    assert_eq!(outcome(&actor, action().while_needed(|| true)).await, None);
}
