//! The state under any sequence of changes that an API server and its watches may produce, beside a
//! model of it that keeps no sums.

use std::cell::Cell;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::cluster::{ClusterState, Confirmed, Snapshot};
use crate::config;
use crate::counterpart::{Facts, Model, facts};
use crate::model::Change;
use crate::server::{Op, Server, ops};

/// The state and its model, which hear the same.
#[derive(Default)]
struct Pair {
    state: ClusterState,
    model: Model,
}

impl Pair {
    fn apply(&mut self, change: Change) -> Result<(), TestCaseError> {
        self.model.apply(&change);
        let told = format!("{change:?}");
        self.state.apply(change);
        prop_assert_eq!(self.state.audit(), [], "after {}", told);
        Ok(())
    }

    /// What is published is what the model counts, and whoever holds a place hears what it hears.
    fn publish(&mut self) -> Result<(Arc<Snapshot>, Facts), TestCaseError> {
        let (snapshot, mut confirmed) = self.state.publish();
        confirmed.retain(|it| !matches!(it, Confirmed::Recycled(_)));
        prop_assert_eq!(confirmed, self.model.take_told());
        let (found, want) = (facts(&snapshot), self.model.facts());
        prop_assert_eq!(&found, &want);
        Ok((snapshot, found))
    }
}

/// Gives the number of changes.
fn run(ops: &[Op]) -> Result<u64, TestCaseError> {
    let (mut server, mut pair) = (Server::default(), Pair::default());
    let mut count = 0;
    let mut published = Vec::new();
    for op in ops {
        for change in server.step(op) {
            pair.apply(change)?;
            count += 1;
        }
        published.push(pair.publish()?);
    }
    // Whatever was lost, late or twice: one complete list of everything, and it is the truth.
    for change in server.list(None) {
        pair.apply(change)?;
    }
    let (_, found) = pair.publish()?;
    let mut truth = Model::default();
    server.list(None).iter().chain([&server.policy()]).for_each(|change| truth.apply(change));
    prop_assert_eq!(found, truth.facts());
    // What was published is what it was, whatever became of its ordinals.
    for (snapshot, then) in &published {
        prop_assert_eq!(&facts(snapshot), then);
    }
    Ok(count)
}

/// Row 9, events come twice, late, out of order or not at all: sigma compares versions and deletions since the
/// begin of the last list. An older version never replaces a newer one, and a deleted UID never returns. A complete
/// list always wins over earlier state. Its objects count, and all other objects are removed.
#[test]
fn any_sequence_of_changes_audits_and_equals_a_model_that_recounts() {
    let count = Cell::new(0);
    let tested = TestRunner::new(config(256)).run(&ops(), |ops| {
        count.set(count.get() + run(&ops)?);
        Ok(())
    });
    // `just nightly` makes more than a million.
    println!("{} changes", count.get());
    let failed = tested.err().map(|it| it.to_string());
    assert!(failed.is_none(), "{}", failed.unwrap_or_default());
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn a_change_delivered_twice_is_a_change_delivered_once(ops in ops()) {
        let mut server = Server::default();
        let (mut once, mut twice) = (ClusterState::default(), ClusterState::default());
        for op in &ops {
            for change in server.step(op) {
                once.apply(change.clone());
                twice.apply(change.clone());
                if !matches!(change, Change::RelistBegin(_)) {
                    twice.apply(change);
                }
            }
        }
        prop_assert_eq!(twice.audit(), []);
        prop_assert_eq!(facts(&once.publish().0), facts(&twice.publish().0));
    }
}
