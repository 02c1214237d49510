//! Which replica carries out what must be done by one alone: the election, and the requests it needs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::sleep;

use super::election::{Election, ElectionStep, Terms};
use super::rights::{Inquiry, Rights};
use crate::control::WhyOff;
use crate::k8s::lease::{LeaseClient, LeaseError, SeenLease};
use crate::model::Tick;

/// Rights come and go without a word, and whether we lead is a matter of time: so often it is looked.
const LOOK: Duration = Duration::from_millis(250);
/// To give the lease back is tried so often: a renewal that was broken off may come in between.
const MAX_RELEASES: usize = 3;

/// A candidate for the lease.
pub struct Leadership {
    lease: LeaseClient,
    terms: Terms,
    election: Mutex<Election>,
    rights: Rights,
    now: Box<dyn Fn() -> Tick + Send + Sync>,
    /// As the server gave it last, and who is told when it gives an older one.
    last: Mutex<Option<SeenLease>>,
    on_restore: Box<dyn Fn() + Send + Sync>,
}

/// How the election stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leading {
    /// `namespace/name` of the lease.
    pub lease: String,
    /// How we are called in it.
    pub identity: String,
    /// Who had it when it was read or written last.
    pub holder: Option<String>,
    /// We lead.
    pub is_leader: bool,
}

impl Leadership {
    /// A candidate under this name, to which a lot is added: so no two candidates are taken for one,
    /// and none for its earlier life. `now` is its clock, which never goes back.
    pub fn new(
        lease: LeaseClient,
        name: &str,
        now: impl Fn() -> Tick + Send + Sync + 'static,
    ) -> Self {
        let me = format!("{name}_{:08x}", fastrand::u32(..));
        let terms = Terms::default();
        let election = Mutex::new(Election::new(me, terms, now()));
        let rights = Rights::new(lease.rights());
        let (now, on_restore) = (Box::new(now), Box::new(|| {}));
        Self { lease, terms, election, rights, now, last: Mutex::default(), on_restore }
    }

    /// The same, and `tell` is called when the lease is older than it was before: the API server's store was
    /// restored. Every replica asks for the lease every two seconds, so nobody knows it sooner.
    #[must_use]
    pub fn on_restore(self, tell: impl Fn() + Send + Sync + 'static) -> Self {
        Self { on_restore: Box::new(tell), ..self }
    }

    /// True while no other replica can be the leader. To be asked right before each write.
    pub fn is_leader(&self) -> bool {
        self.lock().is_leader((self.now)())
    }

    /// Why we are not the leader; `None` when we are.
    pub(super) fn why_not(&self) -> Option<WhyOff> {
        let election = self.lock();
        let leads = election.is_leader((self.now)());
        // That we have it and lead no longer kind that it could not be renewed.
        let other = || election.holder().filter(|it| *it != election.me()).map(str::to_owned);
        (!leads).then(|| WhyOff::NotLeader(other()))
    }

    /// How it stands.
    pub fn state(&self) -> Leading {
        let election = self.lock();
        Leading {
            lease: self.lease.key(),
            identity: election.me().to_owned(),
            holder: election.holder().map(str::to_owned),
            is_leader: election.is_leader((self.now)()),
        }
    }

    /// Looks for the rights to the lease, for as long as the process runs.
    pub async fn follow_rights(self: Arc<Self>, inquiry: Inquiry) {
        self.rights.follow(inquiry, || true).await;
    }

    /// Stands for election until `stop`, and then gives the lease back.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = stop => {}
            () = self.stand() => {}
        }
        self.lock().resign();
        let me = self.state().identity;
        for _ in 0..MAX_RELEASES {
            // What we know of it may be old: a request may have been broken off just now.
            let Ok(Some(lease)) = self.lease.get().await else { return };
            if lease.holder() != Some(&me) {
                return;
            }
            if self.lease.put(&lease.released(Timestamp::now())).await.is_ok() {
                return tracing::info!("gave the lease back");
            }
        }
    }

    async fn stand(&self) {
        let (mut led, mut failed) = (false, false);
        loop {
            let leads = self.is_leader();
            if leads != led {
                let state = self.state();
                tracing::info!(lease = state.lease, identity = state.identity, leads, "leader");
                led = leads;
            }
            // Asking about a lease without the right would be refused every time.
            if self.rights.why_off(true).is_some() {
                sleep(LOOK).await;
                continue;
            }
            let step = self.lock().step((self.now)());
            if let ElectionStep::Wait(at) = step {
                sleep(Duration::from_millis(at.since_ms((self.now)())).min(LOOK)).await;
                continue;
            }
            let done = self.take(step).await;
            match &done {
                Ok(()) => {}
                Err(LeaseError::Conflict) => self.lock().lost((self.now)()),
                Err(_) => self.lock().failed((self.now)()),
            }
            match &done {
                Ok(()) | Err(LeaseError::Conflict) => {}
                Err(LeaseError::Forbidden(_)) => self.rights.doubt(),
                Err(LeaseError::Failed(why)) if failed => tracing::debug!("again: {why}"),
                Err(LeaseError::Failed(why)) => tracing::warn!("the election is held up: {why}"),
            }
            failed = matches!(done, Err(LeaseError::Failed(_)));
        }
    }

    /// Reads the lease, or takes it, and takes it if it is to be had.
    async fn take(&self, mut step: ElectionStep) -> Result<(), LeaseError> {
        loop {
            step = match step {
                ElectionStep::Wait(_) => return Ok(()),
                ElectionStep::Read => {
                    let lease = self.lease.get().await?;
                    lease.as_ref().inspect(|lease| self.note(lease));
                    self.lock().read(lease, (self.now)())
                }
                ElectionStep::Take(seen) => {
                    let begun = (self.now)();
                    let me = self.state().identity;
                    let seconds = u32::try_from(self.terms.duration_ms / 1000).unwrap_or(u32::MAX);
                    let wanted = SeenLease::taken(seen.as_ref(), &me, seconds, Timestamp::now());
                    let lease = self.lease.put(&wanted).await?;
                    self.note(&lease);
                    self.lock().took(lease, begun, (self.now)());
                    return Ok(());
                }
            };
        }
    }

    fn note(&self, lease: &SeenLease) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.replace(lease.clone());
        drop(last);
        if before.is_some_and(|before| lease.is_before(&before)) {
            tracing::warn!("the lease is older than it was: the API server's store was restored");
            (self.on_restore)();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Election> {
        self.election.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
