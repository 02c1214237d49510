//! The election, and the rights of whatever acts, against a real API server: the shipped roles are what
//! it takes, and without them nothing is written, which is said and ends by itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::Client;
use serde_json::{Value, json};
use sigma::actions::{Actor, Inquiry, Leadership};
use sigma::control::{ActionOutcome, PendingAction};
use sigma::k8s::client::{KubeconfigSource, connect};
use sigma::k8s::decode;
use sigma::k8s::events::Events;
use sigma::k8s::lease::LeaseClient;
use sigma::k8s::writes::ObjectWrites;
use sigma::metrics::Metrics;
use sigma::model::{Action, STEER};
use sigma::runtime::Clock;
use tokio::sync::oneshot;

use super::Facts;
use crate::harness::api::Api;
use crate::harness::control_plane::ControlPlane;
use crate::harness::objects::{PodShape, pod};
use crate::harness::until;

const SOON: Duration = Duration::from_secs(40);
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/sigma";

/// A candidate that runs until `stop` is dropped.
struct Candidate {
    leadership: Arc<Leadership>,
    stop: oneshot::Sender<()>,
}

impl Candidate {
    fn start(inquiry: &Inquiry, name: &str) -> Self {
        let client = inquiry.client.clone();
        let lease = LeaseClient::new(client, "kube-system".to_owned(), "sigma".to_owned());
        let clock = Clock::start();
        let now = move || clock.now();
        let leadership = Arc::new(Leadership::new(lease, name, now));
        tokio::spawn(leadership.clone().follow_rights(inquiry.clone()));
        let (stop, stopped) = oneshot::channel();
        let candidate = leadership.clone();
        tokio::spawn(async move { candidate.run(async { drop(stopped.await) }).await });
        Self { leadership, stop }
    }

    async fn leads(&self) -> Result<Duration> {
        let look = async || Ok(self.leadership.is_leader().then_some(()));
        Ok(until("it leads", SOON, look).await?.1)
    }
}

fn inquiry(client: &Client) -> Result<Inquiry> {
    let (events, metrics) = (Arc::new(Events::new(client.clone())), Metrics::new()?.of()?);
    Ok(Inquiry { client: client.clone(), events, metrics, pause: Duration::from_millis(500) })
}

/// Takes a role away, and gives what puts it back.
async fn take_away(api: &Api, role: &str) -> Result<Value> {
    let path = format!("{ROLES}/{role}");
    let mut saved = api.get(&path).await?;
    api.delete(&path, &json!({})).await?;
    let metadata = saved["metadata"].as_object_mut().context("metadata")?;
    metadata.retain(|field, _| field == "name");
    Ok(saved)
}

/// Events of a reason so far.
async fn told(api: &Api, reason: &str) -> Result<usize> {
    let events = api.get("/api/v1/namespaces/default/events").await?;
    let events = events["items"].as_array().context("events")?;
    Ok(events.iter().filter(|it| it["reason"] == reason).count())
}

pub(super) async fn lease_and_rights() -> Result<Facts> {
    let control_plane = ControlPlane::start().await?;
    let api = &control_plane.admin;
    let path = control_plane.kubeconfig("sigma");
    let client = connect(&KubeconfigSource::Kubeconfig { path, context: None }).await?;
    Ok(vec![election(api, &client).await?, steer(api, &client).await?])
}

async fn election(api: &Api, client: &Client) -> Result<String> {
    let first = Candidate::start(&inquiry(client)?, "first");
    let began = first.leads().await?;
    let second = Candidate::start(&inquiry(client)?, "second");
    let look = async || Ok(second.leadership.state().holder);
    let (holder, _) = until("the second knows", SOON, look).await?;
    ensure!(holder == first.leadership.state().identity, "{holder}");
    let spec = api.get(LEASE).await?["spec"].take();
    ensure!(spec["holderIdentity"] == holder.as_str(), "{spec}");
    ensure!(spec["leaseDurationSeconds"] == 15 && spec["leaseTransitions"] == 0, "{spec}");
    drop(first.stop);
    let took_over = second.leads().await?;
    ensure!(!first.leadership.is_leader(), "two lead");
    let spec = api.get(LEASE).await?["spec"].take();
    ensure!(spec["leaseTransitions"] == 1, "{spec}");

    // A leader without its right stops, and says why; with it, it leads again.
    let role = take_away(api, "sigma-lease").await?;
    let look = async || Ok((told(api, "RightMissing").await? > 0).then_some(()));
    until("it is said", SOON, look).await?;
    let look = async || Ok((!second.leadership.is_leader()).then_some(()));
    let (_, deposed) = until("it leads no longer", SOON, look).await?;
    api.post(ROLES, &role).await?;
    let again = second.leads().await?;
    drop(second.stop);
    let look = async || {
        let holder = api.get(LEASE).await?["spec"]["holderIdentity"].take();
        Ok(holder.as_str().unwrap_or_default().is_empty().then_some(()))
    };
    until("the lease is given back", SOON, look).await?;
    Ok(format!(
        "leads after {:.1} s; the other {:.1} s after it stopped; without the right it leads no longer \
         after {:.1} s, and again {:.1} s after it is given",
        began.as_secs_f64(),
        took_over.as_secs_f64(),
        deposed.as_secs_f64(),
        again.as_secs_f64(),
    ))
}

async fn steer(api: &Api, client: &Client) -> Result<String> {
    let inquiry = inquiry(client)?;
    let writes = ObjectWrites::new(client.clone());
    let actor = Actor::new(writes, inquiry.metrics.clone(), Clock::start(), None);
    let actor = Arc::new(actor);
    actor.switch(&STEER, true);
    tokio::spawn(actor.clone().follow_rights(inquiry));
    tokio::spawn(actor.clone().run(&STEER));
    let look = async || Ok((actor.room(&STEER) > 0).then_some(()));
    let acts = async || until("it acts", SOON, look).await;
    acts().await?;
    let order = async |name: &str| {
        let shape = PodShape { namespace: "plain", ..PodShape::PLAIN };
        let made = api.post("/api/v1/namespaces/plain/pods", &pod(name, &shape)).await?;
        let subject = decode::pod(&serde_json::from_value(made)?)?;
        let (tell, told) = oneshot::channel();
        let order = PendingAction::from(Action::nominate(&STEER, &subject, "n1", "home"));
        actor.submit(order.on_done(move |outcome| drop(tell.send(outcome.clone()))));
        Ok::<_, anyhow::Error>(tokio::time::timeout(SOON, told).await??)
    };
    let outcome = order("before").await?;
    ensure!(outcome == ActionOutcome::Written, "{outcome:?}");
    let before = told(api, "RightMissing").await?;
    let role = take_away(api, "sigma").await?;
    // The server's authorizer may be a moment behind.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let outcome = order("without").await?;
    ensure!(matches!(outcome, ActionOutcome::Forbidden(_)), "{outcome:?}");
    let look = async || Ok((actor.room(&STEER) == 0).then_some(()));
    until("it is off", SOON, look).await?;
    let refused = order("refused").await?;
    ensure!(refused == ActionOutcome::Off, "{refused:?}");
    // The right to say so was taken away with it.
    ensure!(told(api, "RightMissing").await? == before, "an event without the right to");
    api.post(ROLES, &role).await?;
    let (_, again) = acts().await?;
    let outcome = order("after").await?;
    ensure!(outcome == ActionOutcome::Written, "{outcome:?}");
    Ok(format!(
        "steers are off without their right, and on {:.1} s after it is given",
        again.as_secs_f64()
    ))
}
