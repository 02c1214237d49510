use std::sync::mpsc::channel;

use kube::{Client, Config};

use super::*;
use crate::testing;

/// An actor without a Lease, for whose writes nobody listens.
fn actor() -> Arc<Actor> {
    let config = Config::new("http://127.0.0.1:1".parse().expect("a URI"));
    let writes = PodWrites::new(Client::try_from(config).expect("a client"));
    let metrics = Arc::new(Metrics::new().expect("names are unique"));
    Arc::new(Actor::new(writes, metrics, Clock::start(), None))
}

#[tokio::test]
async fn whether_we_lead_is_asked_right_before_the_write() {
    let (actor, means) = (actor(), Means::NominateAhead);
    let (tell, told) = channel();
    let order = Order::nominate(means, Arc::new(testing::pod(1, 1000)), "n1", "backlog");
    let order = order.telling(move |outcome| tell.send(outcome.clone()).expect("it is awaited"));
    let (uid, priority) = (order.pod.uid, order.pod.priority);
    let wanted = Wanted { order, uid, priority, lasting: false };
    let now = actor.clock.now();
    // It was taken, and its turn has come, while we led.
    let job = {
        let lane = &mut actor.queue(means).lock().lane;
        assert!(matches!(lane.submit(wanted, true, now), Turned::No));
        if let Next::Start(job) = lane.next(now, true) { Some(job) } else { None }
    };
    let job = job.expect("it begins");
    actor.clone().carry_out(means, job, false).await;
    assert_eq!(told.try_recv(), Ok(Outcome::Off), "one that was sent would be tried again");
}
