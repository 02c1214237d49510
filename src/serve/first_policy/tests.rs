use std::time::{Duration, UNIX_EPOCH};

use super::super::state_dir::{Slot, StateDir};
use super::*;
use crate::metrics::Metrics;
use crate::policy::Severity;

const SLOT: Slot = Slot { name: "policy", version: 1, max_bytes: 4096 };

/// A directory with a policy and a state directory.
struct PolicySite(tempfile::TempDir);

impl PolicySite {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn source(&self) -> PolicySource {
        PolicySource(self.0.path().join("policy.yaml"))
    }

    fn write(&self, policy: &str) {
        std::fs::write(self.source().0, policy).expect("written");
    }

    fn store(&self) -> StateDir {
        StateDir::new(self.0.path().join("state"))
    }

    /// A sigma of these checks had this policy in force.
    fn keep(&self, checks: u32, policy: &str) {
        let payload = format!("checks {checks}\n{policy}");
        self.store().write(&SLOT, accepted(), payload.as_bytes()).expect("kept");
    }

    fn start(&self) -> (FirstPolicy, LastGood) {
        let last_good = LastGood::new(Some(self.store()));
        (FirstPolicy::choose(&self.source(), &last_good), last_good)
    }
}

fn accepted() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

fn policy(name: &str) -> String {
    format!("apiVersion: sigma.io/v1alpha1\nkind: SchedulingPolicy\nmetadata: {{name: {name}}}\n")
}

/// The present policy; the kept one, with the generation of its checks; what is in force, from where.
type Case<'a> = (&'a str, Option<&'a str>, Option<(u32, &'a str)>, &'a str, PolicySourceKind);

#[test]
fn the_present_policy_wins_and_the_kept_one_stands_in() {
    use PolicySourceKind::{File, None as Nowhere, StateDir};
    let now = crate::policy::codes::CHECKS;
    let (old, new) = (policy("old"), policy("new"));
    let odd = policy("odd") + "pols: []\n";
    let cases: [Case<'_>; 11] = [
        ("good, nothing kept", Some(&new), None, "new", File),
        ("good, another one kept", Some(&new), Some((now, &old)), "new", File),
        ("good, the same one kept", Some(&old), Some((now, &old)), "old", File),
        ("a fault, nothing kept", Some(&odd), None, "none", Nowhere),
        ("a fault, another one kept", Some(&odd), Some((now, &old)), "old", StateDir),
        ("missing, one kept", None, Some((now, &old)), "old", StateDir),
        ("blank, one kept", Some(" \n"), Some((now, &old)), "old", StateDir),
        ("blank, nothing kept", Some("\n"), None, "none", Nowhere),
        // An older sigma, without the check that finds the fault, had accepted the same bytes.
        ("a fault that is new", Some(&odd), Some((0, &odd)), "odd", File),
        ("a fault that is new, and the file is gone", None, Some((0, &odd)), "odd", StateDir),
        ("what was kept is not good enough any more", None, Some((now, &odd)), "none", Nowhere),
    ];
    for (what, present, kept, name, from) in cases {
        let site = PolicySite::new();
        if let Some(text) = present {
            site.write(text);
        }
        if let Some((checks, text)) = kept {
            site.keep(checks, text);
        }
        let (first, _) = site.start();
        assert_eq!((&*first.plan.name, first.origin.source), (name, from), "{what}");
        assert_eq!(first.plan.is_neutral, from == Nowhere, "{what}");
        assert_eq!(first.in_force.is_some(), from != Nowhere, "{what}");
        // What was in force before is as old as it was then.
        let same = from == StateDir || present == kept.map(|it| it.1);
        assert_eq!(first.origin.accepted == Some(accepted()), same && from != Nowhere, "{what}");
        assert_eq!(first.on_disk.why().is_none(), from == File, "{what}");
        let is_odd = name == "odd";
        assert_eq!(first.warnings.len(), usize::from(is_odd), "{what}");
        assert!(first.warnings.iter().all(|it| it.severity == Severity::Warning), "{what}");
    }
}

#[test]
fn what_is_in_force_is_kept_for_the_next_start_and_only_once() {
    let metrics = Metrics::new().and_then(|it| it.of()).expect("names are unique");
    let site = PolicySite::new();
    site.write(&policy("one"));
    let (first, last_good) = site.start();
    last_good.save(&metrics);
    let kept = last_good.read().expect("it was kept");
    assert_eq!(kept.bytes, policy("one").as_bytes());
    let file = site.store().path(&SLOT);
    let written = || std::fs::metadata(&file).expect("there").modified().expect("dated");
    let before = written();
    // The next start has nothing to write, and knows when it was accepted.
    let (second, last_good) = site.start();
    last_good.save(&metrics);
    assert_eq!((written(), second.origin.accepted), (before, Some(kept.accepted)));
    assert!(first.origin.accepted >= second.origin.accepted);
    // A directory that cannot be written is counted and told, and nothing more.
    let broken = LastGood::new(Some(StateDir::new(file.join("below"))));
    broken.keep(accepted(), b"x".to_vec());
    for _ in 0..3 {
        broken.save(&metrics);
    }
    assert!(broken.error().is_some_and(|it| it.contains("cannot write")));
    assert_eq!(metrics.state_write_errors.get(), 1, "it was tried again too soon");
}

#[test]
fn a_file_of_no_use_is_as_if_nothing_had_been_kept() {
    let site = PolicySite::new();
    site.keep(1, &policy("old"));
    for bad in ["", "checks 1", "checks one\nx", "\n", &policy("old")] {
        site.store().write(&SLOT, accepted(), bad.as_bytes()).expect("kept");
        let (first, last_good) = site.start();
        assert!(first.plan.is_neutral && last_good.read().is_none(), "{bad:?}");
    }
}
