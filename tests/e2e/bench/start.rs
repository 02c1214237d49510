//! The moment at which a run starts. kube-scheduler and, where it acts for the whole cluster, sigma
//! stand by as the second replicas of a pair do: they have read everything, and somebody else leads. The
//! bench is this somebody, and gives both leases free.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use sigma::k8s::lease::{LeaseClient, LeaseError, SeenLease};
use tokio::time::Instant;

use crate::harness::until;

/// How the bench is called in the leases.
const BENCH: &str = "bench";
/// As long as a run takes at most, and as a candidate waits at most.
const DURATION_S: u32 = 600;
/// sigma asks every 2 s.
const LEADS_WITHIN: Duration = Duration::from_secs(10);

/// The leases of both.
pub(super) struct Start {
    scheduler: LeaseClient,
    sigma: LeaseClient,
}

impl Start {
    pub(super) fn new(client: &Client) -> Self {
        let lease = |name: &str| {
            LeaseClient::new(client.clone(), "kube-system".to_owned(), name.to_owned())
        };
        Self { scheduler: lease("kube-scheduler"), sigma: lease("sigma") }
    }

    /// Takes both, from whoever had them and is gone.
    pub(super) async fn hold(&self) -> Result<()> {
        for lease in [&self.scheduler, &self.sigma] {
            let seen = lease.get().await.map_err(told)?;
            let ours = SeenLease::taken(seen.as_ref(), BENCH, DURATION_S, Timestamp::now());
            lease.put(&ours).await.map_err(told)?;
        }
        Ok(())
    }

    /// Lets kube-scheduler begin, which asks for its lease ten times a second; gives the moment.
    pub(super) async fn scheduler(&self) -> Result<Instant> {
        release(&self.scheduler).await
    }

    /// Lets sigma begin, and waits until it leads; gives a moment at which it did not yet.
    pub(super) async fn sigma(&self) -> Result<Instant> {
        let mut before = release(&self.sigma).await?;
        let look = async || {
            let asked = Instant::now();
            let lease = self.sigma.get().await.map_err(told)?.context("sigma's lease is gone")?;
            if lease.holder().is_none() {
                before = asked;
            }
            Ok(lease.holder().map(drop))
        };
        until("sigma leads", LEADS_WITHIN, look).await?;
        Ok(before)
    }
}

async fn release(lease: &LeaseClient) -> Result<Instant> {
    let ours = lease.get().await.map_err(told)?.context("the lease is gone")?;
    let free = ours.released(Timestamp::now());
    let before = Instant::now();
    lease.put(&free).await.map_err(told)?;
    Ok(before)
}

fn told(error: LeaseError) -> anyhow::Error {
    anyhow!("{error:?}")
}
