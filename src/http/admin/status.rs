//! `/api/v1/status`: the replica at a glance.

use serde::{Deserialize, Serialize};

use super::{Admin, AdminPage, NoQuery, Problem};

/// One line of `/readyz?verbose`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Check {
    /// What is checked.
    pub name: String,
    /// Whether requests are answered in full as far as this goes.
    pub ok: bool,
    /// Something fails, though what was there before may serve.
    pub failing: bool,
    /// How it stands.
    pub detail: String,
}

/// The page.
#[derive(Deserialize, Serialize)]
pub(crate) struct StatusView {
    version: String,
    uptime_seconds: u64,
    ready: bool,
    checks: Vec<Check>,
    snapshot_generation: u64,
    policy: PolicyRef,
    nodes: usize,
    pods: usize,
    pending_pods: usize,
    nominations: usize,
    held_pods: usize,
    unschedulable_pods: usize,
    lease: Option<LeaseView>,
}

/// The leader election.
#[derive(Deserialize, Serialize)]
struct LeaseView {
    lease: String,
    identity: String,
    holder: Option<String>,
    is_leader: bool,
}

#[derive(Deserialize, Serialize)]
struct PolicyRef {
    name: String,
    hash: String,
    generation: u64,
    /// The policy on disk is another one and cannot be loaded.
    stale: bool,
    /// `file`, `state_dir` or `none`.
    source: String,
    /// Since it was first accepted.
    age_seconds: Option<u64>,
}

impl AdminPage for StatusView {
    const PATH: &'static str = "/api/v1/status";
    type Query = NoQuery;

    fn of(admin: &Admin, _: NoQuery) -> Result<Self, Problem> {
        let (view, origin) = (admin.shared.view(), admin.process.policy_origin());
        let (snapshot, checks) = (&view.snapshot, admin.process.checks());
        let (held_pods, unschedulable_pods) = admin
            .shared
            .decide(|decider, _, _| (decider.holds().len(), decider.unschedulable().len()));
        let leadership = admin.acting.as_ref().and_then(|it| it.leadership.as_ref());
        let lease = leadership.map(|it| it.state()).map(|it| LeaseView {
            lease: it.lease,
            identity: it.identity,
            holder: it.holder,
            is_leader: it.is_leader,
        });
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: admin.shared.clock.now().0 / 1000,
            ready: checks.iter().all(|it| it.ok),
            checks,
            snapshot_generation: snapshot.generation.0,
            policy: PolicyRef {
                name: view.plan.name.clone(),
                hash: view.plan.hash.clone(),
                generation: view.plan_generation,
                stale: admin.process.policy_on_disk().why().is_some(),
                source: origin.source.name().to_owned(),
                age_seconds: origin.age_seconds(),
            },
            nodes: snapshot.num_nodes,
            pods: snapshot.num_pods,
            pending_pods: snapshot.pending.len(),
            nominations: snapshot.nominees.len(),
            held_pods,
            unschedulable_pods,
            lease,
        })
    }
}
