//! A whole sigma as one value, without threads, sockets or clocks.
//!
//! ```text
//!   changes, policies          Published               calls, at a moment
//!        │                ┌───────────────────┐                │
//!        ▼                │ newest View       │                ▼
//!   ┌─ Writing ─┐ publish │ confirmed facts   │ take      ┌─ Decider ─┐
//!   │ apply     ├────────▶│                   ├──────────▶│ decide    │──▶ answers, actions
//!   └───────────┘         └───────────────────┘           └───────────┘
//! ```
//!
//! The two halves share nothing but [`Published`]. So the writing half applies, publishes and audits without the
//! decider, and `runtime` may put each half behind a lock of its own.
//!
//! A decision needs the confirmed facts *before* the view that confirms them is used: a hold ends only when the view
//! counts its pod. [`Published::take`] and [`Handover::deliver`] keep that order, and nothing else does.

mod published;
mod writing;

use std::sync::Arc;

use crate::cluster::Difference;
use crate::engine::{Decider, View};
use crate::model::{Change, Now, Profiles, Tick};
use crate::policy::Plan;

pub use published::{Handover, Published};
pub use writing::{Publication, Writing};

/// One replica of sigma: what it knows, and what it has decided.
pub struct Replica {
    /// The half that learns.
    pub writing: Writing,
    /// The newest view, and what is confirmed by it.
    pub published: Published,
    /// The half that decides.
    pub decider: Decider,
}

impl Replica {
    /// A replica that knows a policy and the profiles of its kube-scheduler, and no cluster yet.
    pub fn new(plan: Arc<Plan>, profiles: Arc<Profiles>, decider: Decider) -> Self {
        let mut writing = Writing::new(plan, profiles);
        let published = Published::new(writing.publish());
        Self { writing, published, decider }
    }

    /// Takes a change. Nothing sees it before [`Replica::publish`].
    pub fn apply(&mut self, change: Change) {
        self.writing.apply(change);
    }

    /// Shows what was applied.
    pub fn publish(&mut self) {
        self.published.put(self.writing.publish());
    }

    /// Applies changes and shows them.
    pub fn see(&mut self, changes: impl IntoIterator<Item = Change>) {
        changes.into_iter().for_each(|change| self.apply(change));
        self.publish();
    }

    /// Puts a policy in force. Returns its generation.
    pub fn set_plan(&mut self, plan: Arc<Plan>) -> u64 {
        let generation = self.writing.set_plan(plan);
        self.publish();
        generation
    }

    /// Recounts everything, repairs the differences and returns them.
    pub fn audit(&mut self) -> Vec<Difference> {
        let differences = self.writing.audit();
        self.publish();
        differences
    }

    /// The newest view.
    pub fn view(&self) -> Arc<View> {
        self.published.view()
    }

    /// True if every kind that decisions need was listed.
    pub fn is_synced(&self) -> bool {
        self.published.is_synced()
    }

    /// Decides at this moment, on the newest view.
    pub fn decide<T>(&mut self, now: Now, call: impl FnOnce(&mut Decider, &View, Tick) -> T) -> T {
        let view = self.published.take().deliver(&mut self.decider, now);
        call(&mut self.decider, &view, now.tick)
    }
}

#[cfg(test)]
mod tests;
