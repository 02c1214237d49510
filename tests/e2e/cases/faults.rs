//! (f) Whatever goes between sigma and the real API server is spoiled, bindings included.
//!
//! ```text
//! sigma ── faults::Proxy ── harness::Proxy (TLS, sigma's token) ── kube-apiserver
//! ```

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::Facts;
use super::bind::right_to_bind;
use super::fill::{backlog, three_hundred_nodes};
use super::outage::agree;
use crate::faults::{self, Fault};
use crate::harness::api::{Api, node_of};
use crate::harness::control_plane::ControlPlane;
use crate::harness::policy::THREE_POOLS;
use crate::harness::proxy::Proxy;
use crate::harness::recorder::Recorder;
use crate::harness::scheduler::{Scheduler, SchedulerOptions};
use crate::harness::sigma::{Sigma, SigmaOptions};
use crate::harness::until;

const NUM_PODS: usize = 300;
/// Bindings that each kind of fault meets.
const EACH: usize = 5;
/// Longer than a binding may take.
const LATE: Duration = Duration::from_secs(1);
/// By the end a watch has failed five times since it was last healthy for long, and backs off: 0.8 s,
/// and twice as long each time. Bindings do not wait for it, what sigma knows of them does.
const BACK_OFF: Duration = Duration::from_secs(40);
/// What becomes of the first lists.
const LISTS: [(&str, Fault); 5] = [
    ("/nodes?", Fault::Half(3000)),
    ("/nodes?", Fault::Late(LATE)),
    ("/pods?", Fault::Refused(500, 0)),
    ("/namespaces?", Fault::Refused(429, 1)),
    ("/namespaces?", Fault::Reset),
];
/// What becomes of writes.
const WRITES: [Fault; 6] = [
    Fault::Refused(409, 0),
    Fault::Refused(429, 0),
    Fault::Refused(500, 0),
    Fault::Reset,
    Fault::Half(10),
    Fault::Late(LATE),
];

pub(super) async fn spoiled() -> Result<Facts> {
    let control_plane = ControlPlane::start().await?;
    let api = &control_plane.admin;
    let (nodes, limits) = three_hundred_nodes();
    api.post_all(nodes).await?;
    api.post_all(right_to_bind()?).await?;
    let upstream = Api::from_kubeconfig(&control_plane.kubeconfig("sigma")).await?;
    let secured = Proxy::start(upstream).await?;
    let mut proxy = faults::Proxy::start(secured.port);
    for (list, fault) in LISTS {
        proxy.spoil(list, 1, fault);
    }
    let options = SigmaOptions {
        kubeconfig: control_plane
            .kubeconfig_by("sigma", &format!("http://127.0.0.1:{}", proxy.port))?,
        bind: true,
        audit_interval: "6s",
        ..SigmaOptions::new(&control_plane, "sigma", THREE_POOLS)
    };
    let mut sigma = Sigma::start(&control_plane, options).await?;
    for fault in WRITES {
        proxy.spoil("/binding", EACH, fault);
        proxy.spoil("PATCH ", 1, fault);
    }
    let recorder = Recorder::start(api, limits).await?;
    let mut options = SchedulerOptions::new("sigma", &sigma);
    options.bind = true;
    let mut scheduler = Scheduler::start(&control_plane, &options).await?;

    let mut pods = backlog(NUM_PODS, "sigma");
    let (while_cut, while_frozen) =
        (pods.split_off(2 * NUM_PODS / 3), pods.split_off(NUM_PODS / 3));
    api.post_all(pods).await?;
    until_bound(api, NUM_PODS / 3).await?;
    proxy.freeze(true);
    api.post_all(while_frozen).await?;
    sleep(2 * LATE).await;
    proxy.freeze(false);
    until_bound(api, 2 * NUM_PODS / 3).await?;
    // Every watch breaks off, and where it stood is too old.
    proxy.spoil("watch=true", 3, Fault::Refused(410, 0));
    proxy.spoil("/pods?", 1, Fault::Half(20_000));
    proxy.down();
    api.post_all(while_cut).await?;
    proxy.up();
    let took = until_bound(api, NUM_PODS).await?;
    sigma.process.check()?;
    scheduler.process.check()?;

    let first = recorder.record().violations.first().cloned();
    ensure!(first.is_none(), "a limit passed, or a pod moved: {first:?}");
    let agreed = agree(&sigma, api, BACK_OFF).await?;
    audited(&sigma).await?;
    let asked = proxy.asked("/binding");
    ensure!(asked > NUM_PODS, "{asked} bindings were asked for, and some were spoiled");
    Ok(vec![format!(
        "{NUM_PODS} pods bound by {asked} requests, {} of them spoiled, the last {:.1} s after the watches \
         were cut; {} lists anew; {agreed}",
        WRITES.len() * EACH,
        took.as_secs_f64(),
        sigma.metric("sigma_watch_relists_total", "").await?,
    )])
}

/// Waits for an audit of what is left, and sees that none has ever found anything.
async fn audited(sigma: &Sigma) -> Result<()> {
    let audits = sigma.metric("sigma_audits_total", "").await?;
    let look =
        async || Ok((sigma.metric("sigma_audits_total", "").await? > audits + 1).then_some(()));
    until("an audit of what is left", Duration::from_secs(40), look).await?;
    for metric in ["sigma_audit_differences_total", "sigma_lost_deletes_total"] {
        let found = sigma.metric(metric, "").await?;
        ensure!(found == 0, "{metric} is {found}");
    }
    Ok(())
}

async fn until_bound(api: &Api, count: usize) -> Result<Duration> {
    let look = async || {
        let pods = api.pods(None).await?;
        let bound = pods.iter().filter(|pod| node_of(pod).is_some()).count();
        Ok((bound >= count).then_some(()))
    };
    let what = format!("{count} pods are bound");
    Ok(until(&what, Duration::from_secs(120), look).await?.1)
}
