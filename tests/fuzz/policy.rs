//! Policy files: a plan or faults, never both nor neither, and every fault somewhere in the file.

use sigma::model::Change;
use sigma::policy::{Diagnostic, Severity, compile, render};

use crate::harness::{Target, files};

fn check(input: &[u8]) -> String {
    let (diagnostics, verdict) = match compile("policy.yaml", input) {
        Ok(compiled) => {
            assert!(compiled.warnings.iter().all(|it| it.severity != Severity::Error));
            // Whoever accepts a plan must be able to count by it.
            let mut state = sigma::cluster::ClusterState::default();
            state.apply(Change::PoolsSet(compiled.plan.pools.clone()));
            assert_eq!(state.audit(), []);
            (compiled.warnings, "accepted")
        }
        Err(faults) => {
            assert!(faults.iter().any(|it| it.severity == Severity::Error), "refused for nothing");
            (faults, "refused")
        }
    };
    let text = String::from_utf8_lossy(input);
    diagnostics.iter().for_each(|it| is_inside(it, &text));
    let shown = render(&diagnostics, input);
    assert!(!shown.contains('\x1b'), "the terminal is the author's: {shown:?}");
    let codes: Vec<&str> = diagnostics.iter().map(|it| it.code).collect();
    let first = diagnostics.first().map_or("", |it| &it.message);
    // Codes in letters, since digits make no outcome.
    let codes: String =
        codes.concat().chars().map(|c| if c.is_ascii_digit() { letter(c) } else { c }).collect();
    format!("{verdict} {codes} {first}")
}

fn letter(digit: char) -> char {
    char::from(digit as u8 - b'0' + b'a')
}

/// A place that an editor can jump to: a line of the file, or the one after its last, and a column
/// of that line, or the one after its last.
fn is_inside(it: &Diagnostic, text: &str) {
    // YAML ends lines as classic Macs did, too.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = text.split('\n').collect();
    let (line, column) = (it.line as usize, it.column as usize);
    assert!((1..=lines.len() + 1).contains(&line), "line {line} of {}: {it:?}", lines.len());
    let len = lines.get(line - 1).map_or(0, |line| line.chars().count());
    assert!((1..=len + 1).contains(&column), "column {column} of {len}: {it:?}");
}

#[test]
fn policies() {
    let seeds = [files("policies", "", ".yaml"), files("tests/policy", "", ".yaml")].concat();
    Target { name: "policy", seeds, mutants: 3000, check: &check }.run();
}
