//! The policy language from the outside. Each `tests/policy/NAME.yaml` has its diagnostics beside
//! it in `NAME.expect`, one `line:column code severity` a line; `UPDATE=1` rewrites them.
//!
//! `P0123-*bad.yaml` must show P0123, `P0123-good.yaml` is the same thing said right.

#[path = "policy/budgets.rs"]
mod budgets;
#[path = "policy/classify.rs"]
mod classify;
#[path = "policy/mutants.rs"]
mod mutants;
#[path = "policy/schema.rs"]
mod schema;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sigma::policy::{Compiled, Diagnostic, Severity, codes, compile, render};
use sigma::rules::CATALOGUE;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn updating() -> bool {
    std::env::var_os("UPDATE").is_some()
}

/// Everything that is said about a policy, accepted or not.
fn diagnostics(file: &str, bytes: &[u8]) -> Vec<Diagnostic> {
    match compile(file, bytes) {
        Ok(Compiled { warnings, .. }) => warnings,
        Err(diagnostics) => diagnostics,
    }
}

fn codes_of(diagnostics: &[Diagnostic]) -> BTreeSet<&str> {
    diagnostics.iter().map(|it| it.code).collect()
}

/// The fixtures by name, sorted.
fn fixtures() -> Vec<(String, PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(root().join("tests/policy")).expect("the fixtures are there");
    let paths = entries.map(|entry| entry.expect("a directory can be listed").path());
    let paths: BTreeSet<PathBuf> =
        paths.filter(|it| it.extension().is_some_and(|it| it == "yaml")).collect();
    let read = |path: PathBuf| {
        let name = path.file_stem().and_then(|it| it.to_str()).expect("a name").to_owned();
        let bytes = fs::read(&path).expect("a fixture can be read");
        (name, path, bytes)
    };
    paths.into_iter().map(read).collect()
}

/// Holds `found` to a file, or writes it there.
fn check_file(path: &Path, found: &str) {
    if updating() {
        fs::write(path, found).expect("an expectation can be written");
    }
    let want = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, want, "{} differs; UPDATE=1 rewrites it", path.display());
}

#[test]
fn fixtures_show_what_is_expected_of_them() {
    for (name, path, bytes) in fixtures() {
        let found = diagnostics(&name, &bytes);
        let lines = found
            .iter()
            .map(|it| format!("{}:{} {} {}\n", it.line, it.column, it.code, it.severity.name()));
        check_file(&path.with_extension("expect"), &lines.collect::<String>());
        assert!(found.iter().all(|it| it.file == name));
        let place = |it: &Diagnostic| (it.line, it.column, it.code);
        assert!(found.is_sorted_by_key(place), "{name} is not sorted");
        let accepted = compile(&name, &bytes).is_ok();
        if name.ends_with("-good") {
            assert!(accepted, "{name} is refused: {}", render(&found, &bytes));
            let code = name.get(..5).expect("a code");
            assert!(!codes_of(&found).contains(code), "{name} shows its code");
        }
    }
}

#[test]
fn every_code_has_a_failing_and_a_good_fixture() {
    let fixtures = fixtures();
    for code in codes::ALL {
        // A megabyte is made by the test of the budgets, not checked in; no fixture is unreadable.
        if [codes::FILE_TOO_LARGE.id, codes::UNREADABLE.id].contains(&code.id) {
            continue;
        }
        let of_code = fixtures.iter().filter(|(name, ..)| name.starts_with(code.id));
        let (bad, good): (Vec<_>, Vec<_>) = of_code.partition(|(name, ..)| name.ends_with("bad"));
        assert!(!bad.is_empty() && !good.is_empty(), "{} lacks a fixture", code.id);
        for (name, _, bytes) in bad {
            let found = diagnostics(name, bytes);
            let of_code: Vec<_> = found.iter().filter(|it| it.code == code.id).collect();
            assert!(!of_code.is_empty(), "{name} does not show its code");
            assert!(of_code.iter().all(|it| it.severity == code.severity), "{name}");
        }
    }
}

#[test]
fn every_fault_is_told_at_once() {
    let bytes = fs::read(root().join("tests/policy/many-faults.yaml")).expect("it is there");
    let found = diagnostics("many-faults.yaml", &bytes);
    assert!(codes_of(&found).len() >= 16, "{}", render(&found, &bytes));
    check_file(&root().join("tests/policy/many-faults.txt"), &render(&found, &bytes));
}

#[test]
fn a_diagnostic_is_these_keys_in_json() {
    let source =
        b"apiVersion: sigma.io/v1alpha1\nkind: SchedulingPolicy\nmetadata: {\"a\\x1b\": 1}\n";
    let found = diagnostics("p.yaml", source);
    let json = serde_json::to_value(&found).expect("diagnostics are JSON");
    let want = serde_json::json!([
        {
            "file": "p.yaml", "line": 3, "column": 11, "code": "P0106", "severity": "error",
            "message": "`metadata` needs the field `name`", "hint": null,
        },
        {
            "file": "p.yaml", "line": 3, "column": 12, "code": "P0103", "severity": "error",
            "message": "`metadata` has no field `a\\u{1b}`", "hint": "it has `name`",
        },
    ]);
    assert_eq!(json, want);
}

#[test]
fn the_shipped_policy_is_accepted_without_a_word() {
    let bytes = fs::read(root().join("policies/default.yaml")).expect("it is shipped");
    let source = String::from_utf8(bytes.clone()).expect("it is text");
    assert!(source.starts_with("# yaml-language-server: $schema=policy.schema.json\n"));
    let compiled = compile("default.yaml", &bytes);
    let compiled = compiled.map_err(|it| render(&it, &bytes)).expect("it is accepted");
    assert_eq!(compiled.warnings, []);
    let plan = compiled.plan;
    let names: Vec<_> = plan.classes.iter().map(|class| class.name.as_str()).collect();
    assert_eq!((plan.name.as_str(), plan.hash.len()), ("default", 64));
    assert_eq!(names, ["exempt", "online", "offline", "default"]);
    let limit = plan.pools.get(2).and_then(|pool| pool.limit).expect("eci has a limit");
    assert_eq!((limit.cpu_milli, limit.memory_bytes, limit.pods), (2_000_000, 8 << 40, 1000));
    assert_eq!(limit.ephemeral_bytes, i64::MAX);
}

#[test]
fn the_readme_names_every_code_and_every_rule() {
    let readme = fs::read_to_string(root().join("policies/README.md")).expect("it is shipped");
    for code in codes::ALL {
        let row = format!("| {} | {} | {} |", code.id, code.severity.name(), code.summary);
        assert!(readme.contains(&row), "policies/README.md lacks the row {row}");
    }
    let in_table = readme.lines().filter(|line| line.starts_with("| P0")).count();
    assert_eq!(in_table, codes::ALL.len(), "policies/README.md has a row too many");
    for spec in CATALOGUE {
        let heading = format!("### `{}`\n", spec.name);
        assert!(readme.contains(&heading), "policies/README.md lacks {heading}");
    }
    let weights = CATALOGUE.iter().filter(|spec| spec.kind.has_weight());
    for spec in weights {
        let row = format!("| `{}` | {} |", spec.name, spec.default_weight);
        assert!(readme.contains(&row), "policies/README.md lacks the row {row}");
    }
}

#[test]
fn the_readmes_policies_are_accepted() {
    let readme = fs::read_to_string(root().join("policies/README.md")).expect("it is shipped");
    let blocks = readme.split("```yaml\n").skip(1).filter_map(|it| it.split("```").next());
    let whole: Vec<&str> = blocks.filter(|it| it.contains("apiVersion")).collect();
    assert!(!whole.is_empty());
    for source in whole {
        let found = diagnostics("README.md", source.as_bytes());
        assert!(found.is_empty(), "{}", render(&found, source.as_bytes()));
    }
}

#[test]
fn warnings_alone_do_not_refuse() {
    for (name, _, bytes) in fixtures() {
        let found = diagnostics(&name, &bytes);
        let errors = found.iter().any(|it| it.severity == Severity::Error);
        assert_eq!(compile(&name, &bytes).is_ok(), !errors, "{name}");
    }
}
