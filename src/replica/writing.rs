//! The half of a replica that learns: it applies changes and policies, audits, and publishes views.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cluster::{Applied, ClusterState, Confirmed, Difference};
use crate::engine::View;
use crate::model::{Change, Kind, Now, Profiles};
use crate::policy::Plan;

/// The state, and the policy that is in force.
pub struct Writing {
    state: ClusterState,
    plan: Arc<Plan>,
    plan_generation: u64,
    listed: ListedKinds,
    is_unpublished: bool,
}

/// What one publication shows.
pub struct Publication {
    /// The new view.
    pub view: Arc<View>,
    /// Facts that the view contains and the one before it does not.
    pub(super) confirmed: Vec<Confirmed>,
    pub(super) listed: ListedKinds,
}

/// The kinds of which a complete list was applied.
#[derive(Clone, Debug, Default)]
pub(super) struct ListedKinds {
    kinds: Arc<BTreeSet<Kind>>,
    has_required: bool,
}

impl ListedKinds {
    pub(super) fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    pub(super) fn has_required(&self) -> bool {
        self.has_required
    }

    /// Returns false if the kind was listed before.
    fn add(&mut self, kind: Kind) -> bool {
        if self.has(kind) {
            return false;
        }
        Arc::make_mut(&mut self.kinds).insert(kind);
        self.has_required = Kind::REQUIRED.iter().all(|kind| self.has(*kind));
        true
    }
}

impl Writing {
    /// An empty state under this policy, for a kube-scheduler with these profiles.
    pub fn new(plan: Arc<Plan>, profiles: Arc<Profiles>) -> Self {
        let mut state = ClusterState::default();
        state.apply(Change::PoolsSet(plan.pools.clone()));
        state.apply(Change::ProfilesSet(profiles));
        // Generations count accepted policies, and a neutral plan is none.
        let plan_generation = u64::from(!plan.is_neutral);
        let listed = ListedKinds::default();
        Self { state, plan, plan_generation, listed, is_unpublished: true }
    }

    /// Counts accepted policies.
    pub fn plan_generation(&self) -> u64 {
        self.plan_generation
    }

    /// Something was applied that no publication shows yet.
    pub fn is_unpublished(&self) -> bool {
        self.is_unpublished
    }

    /// Takes a change.
    pub fn apply(&mut self, change: Change) -> Applied {
        let listed = match change {
            Change::RelistEnd(kind) => Some(kind),
            _ => None,
        };
        let applied = self.state.apply(change);
        self.is_unpublished |= applied.changed;
        if let Some(kind) = listed {
            self.is_unpublished |= self.listed.add(kind);
        }
        applied
    }

    /// Puts a policy in force with the next publication. Returns its generation.
    pub fn set_plan(&mut self, plan: Arc<Plan>) -> u64 {
        self.state.apply(Change::PoolsSet(plan.pools.clone()));
        self.plan = plan;
        self.plan_generation += 1;
        self.is_unpublished = true;
        self.plan_generation
    }

    /// Recounts everything, repairs the differences and returns them. The repair shows with the next publication.
    pub fn audit(&mut self) -> Vec<Difference> {
        let differences = self.state.audit();
        if !differences.is_empty() {
            self.state.repair();
            self.is_unpublished = true;
        }
        differences
    }

    /// Everything that was applied, as a view.
    pub fn publish(&mut self) -> Publication {
        let (snapshot, confirmed) = self.state.publish();
        self.is_unpublished = false;
        let (plan, plan_generation) = (self.plan.clone(), self.plan_generation);
        let view = Arc::new(View { snapshot, plan, plan_generation, now: Now::default() });
        Publication { view, confirmed, listed: self.listed.clone() }
    }
}
