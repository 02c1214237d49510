//! kube-scheduler with `tlsConfig` and sigma with `--tls-*`, both as `deploy/overlays/service-mtls` has
//! them. Certificates change while pods come; then a kube-scheduler without one gets nowhere.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Facts;
use super::fill::three_hundred_nodes;
use crate::harness::api::{Api, node_of, refusal_of};
use crate::harness::control_plane::ControlPlane;
use crate::harness::objects::{PodShape, pod};
use crate::harness::policy::THREE_POOLS;
use crate::harness::scheduler::{Scheduler, SchedulerOptions};
use crate::harness::sigma::{Sigma, SigmaOptions};
use crate::harness::until;
use crate::pki::{Authority, EXPIRED, Issued};

const HOST: &str = "sigma.sigma-system.svc";
const NAME: &str = "system:kube-scheduler";
const ROUND: usize = 20;

pub(super) async fn service() -> Result<Facts> {
    let control_plane = ControlPlane::start().await?;
    let api = &control_plane.admin;
    api.post_all(three_hundred_nodes().0.into_iter().take(40).collect()).await?;
    let (of_sigma, of_scheduler) =
        (control_plane.dir.path().join("sigma-tls"), control_plane.dir.path().join("client-tls"));
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    put(&of_sigma, ["tls.crt", "tls.key", "ca.crt"], &servers.issue("sigma", &[HOST]), &clients)?;
    let client_files = ["client.crt", "client.key", "server-ca.crt"];
    put(&of_scheduler, client_files, &clients.issue(NAME, &[]), &servers)?;

    let tls = Some(of_sigma.clone());
    let options = SigmaOptions { tls, ..SigmaOptions::new(&control_plane, "sigma", THREE_POOLS) };
    let sigma = Sigma::start(&control_plane, options).await?;
    let mut options = SchedulerOptions::new("sigma", &sigma);
    options.tls = Some(of_scheduler.clone());
    let scheduler = Scheduler::start(&control_plane, &options).await?;
    bound(api, "first").await?;
    let clients_seen = sigma.process.count_log("\"http2\":true")?;
    ensure!(clients_seen == 1, "{clients_seen} connections of HTTP/2 and not one");

    // Bad files change nothing; good ones, with another authority for clients beside the first, do.
    let expired = servers.issue_for("sigma", &[HOST], EXPIRED);
    put(&of_sigma, ["tls.crt", "tls.key", "ca.crt"], &expired, &clients)?;
    wait(&sigma, "sigma_tls_stale", 1).await?;
    bound(api, "stale").await?;
    let new_clients = Authority::new("new clients");
    let server = servers.issue("sigma", &[HOST]);
    put(&of_sigma, ["tls.crt", "tls.key", "ca.crt"], &server, &new_clients)?;
    wait(&sigma, "sigma_tls_stale", 0).await?;
    bound(api, "after").await?;
    // The former certificate is not believed on a new connection.
    drop(scheduler);
    let scheduler = Scheduler::start(&control_plane, &options).await?;
    api.post_all(vec![pod("refused-0", &SHAPE)]).await?;
    let look = async || Ok(refusal_of(&api.pod("online", "refused-0").await?).map(str::to_owned));
    let (text, _) = until("the pod is told", Duration::from_secs(20), look).await?;
    ensure!(sigma.metric("sigma_tls_handshake_failures_total", "untrusted").await? > 0, "{text}");
    // kube-scheduler reads its certificate for every new connection.
    put(&of_scheduler, client_files, &new_clients.issue(NAME, &[]), &servers)?;
    bound(api, "refused").await?;
    drop(scheduler);
    let answers = sigma.filter_calls().await?;
    let stale = sigma.metric("sigma_verb_results_total", "degraded").await?;
    Ok(vec![format!(
        "{} pods bound over TLS by {answers} filter calls ({stale} degraded), through an expired \
         certificate on disk, a new one, and a new authority; with the former certificate: {text}",
        4 * ROUND
    )])
}

const SHAPE: PodShape =
    PodShape { namespace: "online", priority_class: "prod-normal", ..PodShape::PLAIN };

/// Makes pods, and waits until each is bound.
async fn bound(api: &Api, round: &str) -> Result<()> {
    let first = if round == "refused" { 1 } else { 0 };
    let pods = (first..ROUND).map(|at| pod(&format!("{round}-{at}"), &SHAPE));
    api.post_all(pods.collect()).await?;
    let look = async || {
        let pods = api.pods(Some("online")).await?;
        Ok(pods.iter().all(|pod| node_of(pod).is_some()).then_some(()))
    };
    until(&format!("{round}: all pods are bound"), Duration::from_secs(30), look).await.map(drop)
}

async fn wait(sigma: &Sigma, metric: &str, value: u64) -> Result<()> {
    let look = async || Ok((sigma.metric(metric, "").await? == value).then_some(()));
    until(&format!("{metric} is {value}"), Duration::from_secs(5), look).await.map(drop)
}

/// Writes a certificate, its key, and the authority of the other side.
fn put(folder: &Path, names: [&str; 3], own: &Issued, others: &Authority) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for (name, text) in names.into_iter().zip([&own.cert, &own.key, &others.pem]) {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(())
}
