//! A table is what a plain map of the listed objects is.

use super::*;
use crate::cluster::ClusterState;
use crate::model::Change;
use test_kinds::{Gadget, Widget};

const KIND: Kind = Widget::KIND;

fn name(at: u64) -> ObjectName {
    ObjectName(at)
}

fn seen(at: u64, value: i64) -> Change {
    Change::seen(name(at), Some(Widget(value)))
}

fn gone(at: u64) -> Change {
    Change::Gone { kind: KIND, name: name(at) }
}

/// The table as a list, in the order of names.
fn facts(state: &ClusterState) -> Vec<(u64, i64)> {
    let mut facts: Vec<_> =
        state.now.tables.widgets.iter().map(|(name, it)| (name.0, it.0)).collect();
    facts.sort_unstable();
    facts
}

/// A change, whether it changes the state, the number of swept objects, and the table after it.
type Step = (Change, bool, usize, &'static [(u64, i64)]);

#[test]
fn lists_and_events_fill_a_table_and_a_complete_list_sweeps_it() {
    let mut state = ClusterState::default();
    let (begin, end) = (Change::RelistBegin(KIND), Change::RelistEnd(KIND));
    let steps: [Step; 14] = [
        (begin.clone(), false, 0, &[]),
        (seen(1, 10), true, 0, &[(1, 10)]),
        (seen(2, 20), true, 0, &[(1, 10), (2, 20)]),
        (end.clone(), true, 0, &[(1, 10), (2, 20)]),
        // The same fact again is no news.
        (seen(1, 10), false, 0, &[(1, 10), (2, 20)]),
        (seen(1, 11), true, 0, &[(1, 11), (2, 20)]),
        // An object that says nothing is as good as absent.
        (Change::seen(name(2), None::<Widget>), true, 0, &[(1, 11)]),
        (gone(2), false, 0, &[(1, 11)]),
        (seen(3, 30), true, 0, &[(1, 11), (3, 30)]),
        // A list that breaks off removes nothing.
        (begin.clone(), false, 0, &[(1, 11), (3, 30)]),
        (begin.clone(), false, 0, &[(1, 11), (3, 30)]),
        (seen(3, 30), false, 0, &[(1, 11), (3, 30)]),
        (end.clone(), true, 1, &[(3, 30)]),
        (gone(3), true, 0, &[]),
    ];
    for (change, changed, swept, want) in steps {
        let applied = state.apply(change.clone());
        assert_eq!((applied.changed, applied.swept), (changed, swept), "{change:?}");
        assert_eq!(facts(&state), want, "{change:?}");
        assert_eq!(state.audit(), []);
    }
}

#[test]
fn a_table_is_complete_after_a_list_and_while_the_watch_is_connected() {
    let mut state = ClusterState::default();
    let steps = [
        (Change::RelistBegin(KIND), false),
        (Change::RelistEnd(KIND), true),
        (Change::WatchSilent(KIND), true),
        (Change::WatchLost(KIND), false),
        (Change::WatchSilent(KIND), false),
        (Change::WatchBack(KIND), true),
        (Change::WatchLost(KIND), false),
        (Change::RelistEnd(KIND), true),
        (Change::WatchLost(Gadget::KIND), true),
    ];
    for (change, want) in steps {
        state.apply(change.clone());
        assert_eq!(state.now.tables.widgets.is_complete(), want, "{change:?}");
    }
    assert!(!state.now.tables.gadgets.is_complete());
}

#[test]
fn a_fact_of_another_kind_and_a_kind_without_a_table_change_nothing() {
    let mut state = ClusterState::default();
    state.apply(seen(1, 10));
    let other = Kind::of("test.sigma.io", "unknown");
    let wrong = |kind| Change::Seen { kind, name: name(2), fact: Some(AnyFact::new(Gadget(1))) };
    for change in [
        wrong(KIND),
        wrong(other),
        Change::RelistBegin(other),
        Change::Gone { kind: other, name: name(1) },
        Change::WatchLost(other),
        Change::Unread { kind: other, key: "a".into() },
    ] {
        assert!(!state.apply(change.clone()).changed, "{change:?}");
    }
    assert_eq!((facts(&state), state.audit()), (vec![(1, 10)], vec![]));
    assert!(state.now.tables.counts().ends_with(&[("widgets", 1), ("gadgets", 0)]));
}
