use std::sync::mpsc::channel;

use kube::{Client, Config};

use super::*;
use crate::metrics::Metrics;
use crate::testing;

/// An actor without a Lease, for whose writes nobody listens.
fn actor() -> Arc<Actor> {
    let config = Config::new("http://127.0.0.1:1".parse().expect("a URI"));
    let writes = PodWrites::new(Client::try_from(config).expect("a client"));
    let metrics = Metrics::new().and_then(|it| it.of()).expect("names are unique");
    Arc::new(Actor::new(writes, metrics, Clock::start(), None))
}

/// Carries out an action whose turn comes now; gives its outcome, once it has ended.
async fn outcome(actor: &Arc<Actor>, action: Action) -> Option<ActionOutcome> {
    let (kind, (tell, told)) = (action.kind, channel());
    let action = action.telling(move |outcome| tell.send(outcome.clone()).expect("it is awaited"));
    let (uid, priority) = (action.pod.uid, action.pod.priority);
    let wanted = Submission { action, uid, priority, lasting: false };
    let now = actor.clock.now();
    let job = {
        let queue = &mut actor.queue(kind).lock().queue;
        assert!(matches!(queue.submit(wanted, true, now), Submitted::No));
        if let Next::Start(job) = queue.next(now, true) { Some(job) } else { None }
    };
    actor.clone().carry_out(kind, job.expect("it begins"), false).await;
    told.try_recv().ok()
}

fn action(kind: ActionKind) -> Action {
    Action::nominate(kind, Arc::new(testing::pod(1, 1000)), "n1", "backlog")
}

#[tokio::test]
async fn whether_we_lead_is_asked_right_before_the_write() {
    // It was taken, and its turn has come, while we led.
    let outcome = outcome(&actor(), action(ActionKind::NominateAhead)).await;
    assert_eq!(outcome, Some(ActionOutcome::Off), "one that was sent would be tried again");
}

#[tokio::test]
async fn whether_it_stands_is_asked_right_before_the_write() {
    let (actor, action) = (actor(), || action(ActionKind::Steer));
    let overtaken = outcome(&actor, action().while_it(|| false)).await;
    assert_eq!(overtaken, Some(ActionOutcome::Overtaken));
    // Nobody listens, so it is tried again.
    assert_eq!(outcome(&actor, action().while_it(|| true)).await, None);
}
