//! Hundreds of slips of the hand in the shipped policy: those that must be refused are, and one that is
//! accepted has a finding, or a stated reason why there is nothing to find.
//!
//! The schema is held against the same mutants: see `schema.rs`.

#[path = "mutants/characters.rs"]
mod characters;
#[path = "mutants/values.rs"]
mod values;
#[path = "mutants/words.rs"]
mod words;

use std::collections::BTreeMap;

use sigma::policy::{Severity, compile, render};

use crate::{diagnostics, root};

/// What must come of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Must {
    /// An error.
    Refuse,
    /// At least a warning.
    Warn,
    /// It means the same: accepted without a word, and the same plan.
    Same,
    /// It is accepted, and there is nothing to find, because …
    Accept(&'static str),
}

use Must::{Accept, Refuse, Same, Warn};

/// Reasons why nothing can be found in a mutant.
const OPTIONAL: &str = "an optional field that is left out has the default of the documentation";
const OWN: &str = "patterns, labels and names of the site's own: no reader can know them";
const BEGINNING: &str = "the beginning of a policy that ends where a field ends is a policy";
const NOTHING: &str = "weights of a class that name no scorer leave all at their defaults";

pub(crate) struct Mutant {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    must: Must,
}

fn shipped() -> String {
    std::fs::read_to_string(root().join("policies/default.yaml")).expect("it is shipped")
}

/// The part of a line that is no comment.
fn content(line: &str) -> &str {
    line.split_once("#").map_or(line, |(content, _)| content)
}

fn is_comment(line: &str) -> bool {
    content(line).trim().is_empty()
}

#[derive(Default)]
struct Mutants(Vec<Mutant>);

impl Mutants {
    fn add(&mut self, name: String, text: impl Into<Vec<u8>>, must: Must) {
        self.0.push(Mutant { name, bytes: text.into(), must });
    }

    /// One line replaced by others.
    fn line(&mut self, kind: &str, at: usize, new: &[&str], must: Must) {
        let source = shipped();
        let mut lines: Vec<&str> = source.lines().collect();
        let name = format!("{kind} line {}: {}", at + 1, lines[at]);
        lines.splice(at..=at, new.iter().copied());
        self.add(name, lines.join("\n") + "\n", must);
    }

    /// A text, which is in the policy, by another; the first time that it occurs.
    fn swap(&mut self, from: &str, to: &str, must: Must) {
        let source = shipped();
        assert!(source.contains(from), "{from} is not in the policy");
        self.add(format!("{from} by {to}"), source.replacen(from, to, 1), must);
    }
}

pub(crate) fn all() -> Vec<Mutant> {
    let mut mutants = Mutants::default();
    words::lines(&mut mutants);
    words::misspelt_keys(&mut mutants);
    words::misspelt_values(&mut mutants);
    values::types(&mut mutants);
    values::numbers(&mut mutants);
    values::steering(&mut mutants);
    characters::characters(&mut mutants);
    characters::whole(&mut mutants);
    mutants.0
}

/// What came of a mutant, where it is not what must.
fn wrong(mutant: &Mutant) -> Option<String> {
    let found = diagnostics("mutant.yaml", &mutant.bytes);
    let errors = found.iter().filter(|it| it.severity == Severity::Error).count();
    let warned = found.iter().any(|it| it.severity == Severity::Warning);
    let held = match mutant.must {
        Refuse => errors > 0,
        Warn => errors > 0 || warned,
        Same => found.is_empty() && same(&mutant.bytes),
        Accept(BEGINNING) => true,
        Accept(_) => errors == 0,
    };
    let shown = || render(&found, &mutant.bytes);
    (!held).then(|| format!("{}\n  must: {:?}\n{}", mutant.name, mutant.must, shown()))
}

/// It is the plan of the shipped policy, as far as a plan can be seen from outside.
fn same(bytes: &[u8]) -> bool {
    let seen = |bytes: &[u8]| {
        let plan = compile("p.yaml", bytes).map_err(|_| "it is refused").expect("a plan").plan;
        let classes =
            plan.classes.iter().map(|it| format!("{} {:?} {:?}", it.name, it.grant, it.params));
        format!("{} {:?} {:?}", plan.name, plan.pools, classes.collect::<Vec<_>>())
    };
    seen(bytes) == seen(shipped().as_bytes())
}

#[test]
fn what_must_be_refused_is_and_what_is_accepted_has_a_reason() {
    let mutants = all();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for mutant in &mutants {
        *counts.entry(format!("{:?}", mutant.must)).or_default() += 1;
    }
    println!("{} mutants: {counts:#?}", mutants.len());
    assert!(mutants.len() > 1000, "only {} mutants", mutants.len());
    let wrong: Vec<String> = mutants.iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), mutants.len(), wrong.join("\n"));
}

#[test]
fn a_slip_is_told_once() {
    // What only follows from another fault is not shown.
    for mutant in all().iter().filter(|it| it.must == Refuse && it.name.contains(" as ")) {
        let found = diagnostics("mutant.yaml", &mutant.bytes);
        let shown = render(&found, &mutant.bytes);
        assert_eq!(found.len(), 1, "{}\n{shown}", mutant.name);
    }
}
