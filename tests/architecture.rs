//! The rules about the code itself, checked on its text: which room may name which, what the core
//! may not know, how long things may get, and that every rule has its cases and its paragraph.
//!
//! Each check is a function from sources to complaints, and each has a test that it can complain.

#[path = "architecture/blind_spots.rs"]
mod blind_spots;
#[path = "architecture/limits.rs"]
mod limits;
#[path = "architecture/names.rs"]
mod names;
#[path = "architecture/source.rs"]
mod source;

use std::path::Path;

use sigma::rules::CATALOGUE;

use source::{Source, line_of, mark_tests, names_after, sources, words};

/// The rooms in order: each may name only those before it.
const ROOMS: [&str; 17] = [
    "model",
    "cluster",
    "rules",
    "policy",
    "engine",
    "control",
    "replica",
    "sim",
    "metrics",
    "k8s",
    "runtime",
    "actions",
    "nominator",
    "http",
    "serve",
    "cli",
    "bench",
];
/// The rooms that know no clock, no socket, no file, no entropy.
const CORE: &[&str] =
    &["model", "cluster", "rules", "policy", "engine", "control", "replica", "sim"];
/// Files of `src/` that are in no room.
const OUTSIDE: [&str; 4] = ["lib", "main", "retired", "testing"];

/// Crates and types that the core does not name.
const FOREIGN_NAMES: [&str; 12] = [
    "tokio",
    "kube",
    "k8s_openapi",
    "axum",
    "prometheus",
    "hyper",
    "reqwest",
    "rand",
    "fastrand",
    "Instant",
    "SystemTime",
    "RandomState",
];
/// Paths that the core does not name. Hash maps of `std` iterate in another order in every process.
const FOREIGN_PATHS: [&str; 6] = [
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::collections::HashMap",
    "std::collections::HashSet",
];

fn rooms_in_order(sources: &[Source]) -> Vec<String> {
    let rank = |room: &str| ROOMS.iter().position(|it| *it == room);
    let mut out = Vec::new();
    for source in sources {
        let Some(own) = rank(source.room()) else {
            if !OUTSIDE.contains(&source.room()) {
                out.push(format!("{}: no such room", source.path));
            }
            continue;
        };
        let code = source.code();
        let mut named = names_after(&code, "crate::");
        if source.is_front() {
            named.extend(names_after(&code, "super::"));
        }
        for (at, name) in named {
            if rank(name).is_some_and(|other| other > own) {
                let line = line_of(&code, at);
                out.push(format!("{}:{line}: names {name}, which comes later", source.path));
            }
        }
        for at in words(&code, "super::super") {
            out.push(format!("{}:{}: super::super", source.path, line_of(&code, at)));
        }
    }
    out
}

fn core_knows_nothing_outside(sources: &[Source]) -> Vec<String> {
    let mut out = Vec::new();
    for source in sources.iter().filter(|source| CORE.contains(&source.room())) {
        let code = source.code();
        let mut found: Vec<(usize, &str)> = Vec::new();
        for name in FOREIGN_NAMES {
            found.extend(words(&code, name).map(|at| (at, name)));
        }
        for path in FOREIGN_PATHS {
            let (module, name) = path.rsplit_once("::").unwrap_or(("", path));
            let named = names_after(&code, &format!("{module}::")).into_iter();
            found.extend(named.filter(|(_, it)| *it == name).map(|(at, _)| (at, path)));
        }
        for (at, name) in found {
            out.push(format!("{}:{}: names {name}", source.path, line_of(&code, at)));
        }
    }
    out
}

fn nothing_panics(sources: &[Source]) -> Vec<String> {
    let mut out = Vec::new();
    for source in sources {
        let code = source.code();
        let code = code.as_str();
        let macros = ["panic", "todo", "unimplemented"].into_iter().flat_map(|name| {
            words(code, name).filter(move |at| code[at + name.len()..].starts_with('!'))
        });
        let unwraps = code.match_indices(".unwrap()").map(|(at, _)| at);
        for at in macros.chain(unwraps) {
            out.push(format!("{}:{}: may panic", source.path, line_of(code, at)));
        }
    }
    out
}

fn rules_have_cases(rules: &[&str], golden: &Path) -> Vec<String> {
    let has_case = |rule: &&&str| {
        let entries = std::fs::read_dir(golden.join(rule)).into_iter().flatten().flatten();
        entries.into_iter().any(|it| it.file_name().to_string_lossy().ends_with(".in.yaml"))
    };
    let bare = rules.iter().filter(|rule| !has_case(rule));
    bare.map(|rule| format!("tests/golden/{rule}: no case")).collect()
}

/// A rule's paragraph: a heading with the name in backticks, and text below it.
fn rules_have_paragraphs(rules: &[&str], readme: &str) -> Vec<String> {
    let described = |rule: &&&str| {
        let name = format!("`{rule}`");
        let mut lines = readme.lines().skip_while(|it| !it.starts_with('#') || !it.contains(&name));
        let heading = lines.next();
        let mut paragraph = lines.take_while(|line| !line.starts_with('#'));
        heading.is_some() && paragraph.any(|line| !line.trim().is_empty())
    };
    let missing = rules.iter().filter(|rule| !described(rule));
    missing.map(|rule| format!("policies/README.md: no paragraph `{rule}`")).collect()
}

/// Rooms that know rules by their kinds and scopes only.
fn rules_are_not_named(rules: &[&str], sources: &[Source]) -> Vec<String> {
    let mut out = Vec::new();
    let rooms = |it: &&Source| matches!(it.room(), "policy" | "engine") && !it.test;
    for source in sources.iter().filter(rooms) {
        for rule in rules {
            for at in words(&source.text, rule) {
                let line = line_of(&source.text, at);
                out.push(format!("{}:{line}: names the rule {rule}", source.path));
            }
        }
    }
    out
}

fn rule_names() -> Vec<&'static str> {
    CATALOGUE.iter().map(|spec| spec.name).collect()
}

fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn a_room_names_only_rooms_above_it() {
    assert_none(&rooms_in_order(&sources("src")));
}

#[test]
fn the_core_knows_no_cluster_no_clock_no_file_no_socket_and_no_entropy() {
    assert_none(&core_knows_nothing_outside(&sources("src")));
}

#[test]
fn nothing_unwraps_or_panics_outside_tests() {
    assert_none(&nothing_panics(&sources("src")));
}

#[test]
fn every_rule_has_a_golden_case() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    assert_none(&rules_have_cases(&rule_names(), &golden));
}

#[test]
fn every_rule_has_a_paragraph() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/README.md");
    let readme = std::fs::read_to_string(readme).unwrap_or_default();
    assert_none(&rules_have_paragraphs(&rule_names(), &readme));
}

#[test]
fn no_rule_is_named_where_policies_and_decisions_are_made() {
    assert_none(&rules_are_not_named(&rule_names(), &sources("src")));
}

/// What a check says of one file.
fn told(check: impl Fn(&[Source]) -> Vec<String>, path: &str, text: &str) -> Vec<String> {
    check(&mark_tests(vec![Source::new(path, text)]))
}

#[test]
fn the_order_of_rooms_can_be_violated() {
    let later = "model/a.rs:1: names cluster, which comes later";
    for (path, text, want) in [
        ("model/a.rs", "use crate::cluster::Snapshot;", later),
        ("model/a.rs", "use crate::{cluster::Snapshot, model::Pod};", later),
        ("model/a.rs", "fn f() { crate::cluster::f() }", later),
        ("metrics.rs", "\nuse super::runtime;", "metrics.rs:2: names runtime, which comes later"),
        (
            "rules/mod.rs",
            "use super::{engine::Decider};",
            "rules/mod.rs:1: names engine, which comes later",
        ),
        ("model/a.rs", "use super::super::x;", "model/a.rs:1: super::super"),
        ("attic/a.rs", "", "attic/a.rs: no such room"),
    ] {
        assert_eq!(told(rooms_in_order, path, text), [want], "{text}");
    }
    for (path, text) in [
        ("engine/a.rs", "use crate::{cluster::Snapshot, model::{Pod, runtime}};"),
        ("model/a.rs", "// use crate::cluster;\nconst A: &str = \"crate::cluster\";"),
        (
            "model/a.rs",
            "#[cfg(test)]\nmod tests { use crate::cluster::A; }\nuse super::cluster_like;",
        ),
        ("cli/mod.rs", "use crate::serve;"),
        ("main.rs", "use crate::cli;"),
    ] {
        assert_eq!(told(rooms_in_order, path, text), [""; 0], "{text}");
    }
}

#[test]
fn the_core_can_know_too_much() {
    for (text, name) in [
        ("use std::time::Instant;", "Instant"),
        ("fn f() { std::time::SystemTime::now(); }", "SystemTime"),
        ("use tokio::sync;", "tokio"),
        ("use {kube::Api};", "kube"),
        ("fn f() { std::env::var(); }", "std::env"),
        ("use std::{fs, io};", "std::fs"),
        ("use std::net::TcpStream;", "std::net"),
        ("use std::collections::{BTreeMap, HashMap};", "std::collections::HashMap"),
        ("fn f() -> u8 { fastrand::u8(..) }", "fastrand"),
    ] {
        let want = format!("engine/a.rs:1: names {name}");
        assert_eq!(told(core_knows_nothing_outside, "engine/a.rs", text), [want], "{text}");
        assert_eq!(told(core_knows_nothing_outside, "serve/a.rs", text), [""; 0], "{text}");
    }
    for text in
        ["use rustc_hash::FxHashMap;", "// tokio\nlet kubelet = \"kube\";", "fn operand() {}"]
    {
        assert_eq!(told(core_knows_nothing_outside, "engine/a.rs", text), [""; 0], "{text}");
    }
}

#[test]
fn code_can_panic() {
    for text in ["fn f() { g().unwrap() }", "fn f() { panic!(\"x\") }", "fn f() { todo!() }"] {
        assert_eq!(told(nothing_panics, "a.rs", text), ["a.rs:1: may panic"], "{text}");
    }
    for text in [
        "fn f() { g().unwrap_or(1) } // panic!",
        "#[cfg(test)]\nmod tests { fn f() { g().unwrap() } }",
        "#[cfg(test)]\nfn helper() { panic!() }",
        "const A: &str = r#\"a \" panic! .unwrap()\"#; const B: char = '\"'; const C: &[u8] = b\"panic!\";",
        "use std::panic::catch_unwind;",
    ] {
        assert_eq!(told(nothing_panics, "a.rs", text), [""; 0], "{text}");
    }
    let text = "#[cfg(test)]\nmod tests {}\nfn f<'a>() { g().unwrap() }";
    assert_eq!(told(nothing_panics, "a.rs", text), ["a.rs:3: may panic"]);
}

#[test]
fn a_file_declared_for_tests_is_test_code() {
    let sources = mark_tests(vec![
        Source::new("lib.rs", "#[cfg(test)]\nmod testing;"),
        Source::new("testing.rs", "panic!()"),
        Source::new("engine/decider.rs", "#[cfg(test)]\nmod tests;"),
        Source::new("engine/decider/tests.rs", "panic!()"),
        Source::new("engine/decider/tests/more.rs", "panic!()"),
        Source::new("k8s/mod.rs", "#[cfg(test)]\nmod fake;\nmod fake_not;"),
        Source::new("k8s/fake.rs", "panic!()"),
        Source::new("k8s/fake_not.rs", "panic!()"),
    ]);
    assert_eq!(nothing_panics(&sources), ["k8s/fake_not.rs:1: may panic"]);
}

#[test]
fn a_rule_can_be_named() {
    let check = |sources: &[Source]| rules_are_not_named(&["binPack"], sources);
    for text in ["rule.name == \"binPack\"", "/// Not `binPack`."] {
        assert_eq!(told(check, "engine/a.rs", text), ["engine/a.rs:1: names the rule binPack"]);
        assert_eq!(told(check, "policy/a.rs", text), ["policy/a.rs:1: names the rule binPack"]);
        assert_eq!(told(check, "rules/a.rs", text), [""; 0]);
    }
    assert_eq!(told(check, "engine/a.rs", "binPacking"), [""; 0]);
}

#[test]
fn a_rule_can_lack_its_cases_and_its_paragraph() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let missing = rules_have_cases(&["binPack", "phaseOfTheMoon"], &golden);
    assert_eq!(missing, ["tests/golden/phaseOfTheMoon: no case"]);
    let readme = "# Rules\n`c`\n## `a`\n\nText.\n### `b`\n\n## `d`\nText.\n";
    let missing = rules_have_paragraphs(&["a", "b", "c", "d"], readme);
    let want = ["b", "c"].map(|rule| format!("policies/README.md: no paragraph `{rule}`"));
    assert_eq!(missing, want);
    assert_eq!(rules_have_paragraphs(&["a"], "").len(), 1);
}
