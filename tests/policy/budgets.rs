//! No file, whatever is in it, may panic, hang, overflow the stack, or fault without a place.

use std::fs;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use rustix::time::{ClockId, clock_gettime};
use sigma::policy::{Compiled, Diagnostic, MAX_BYTES, compile, render};

fn check(bytes: &[u8]) -> Vec<Diagnostic> {
    let found = match compile("p.yaml", bytes) {
        Ok(Compiled { warnings, .. }) => warnings,
        Err(found) => {
            assert!(!found.is_empty(), "a condition without a reason");
            found
        }
    };
    for it in &found {
        assert!(it.line >= 1 && it.column >= 1, "{it:?}");
        assert!(!it.message.is_empty() && !it.message.contains(char::is_control), "{it:?}");
    }
    let text = render(&found, bytes);
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    found
}

/// What this thread has used of a processor, whatever else the machine does.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn check_code(bytes: &[u8], code: &str) {
    let started = cpu_time();
    let found = check(bytes);
    let codes: Vec<_> = found.iter().map(|it| it.code).collect();
    assert_eq!(codes, [code]);
    // Generous: it catches what grows with the square of a megabyte, and no slow machine.
    let took = cpu_time() - started;
    assert!(took < Duration::from_secs(10), "{code}: {took:?}");
}

#[test]
fn a_file_over_a_megabyte_is_refused() {
    let comment = |len: usize| [b"#".repeat(len - 1).as_slice(), b"\n"].concat();
    check_code(&comment(MAX_BYTES + 1), "P0001");
    assert_eq!(check(&comment(MAX_BYTES)), []);
}

#[test]
fn depth_is_bounded_in_every_style() {
    let levels = 100_000;
    for style in ["[", "{a: ", "- ", "? "] {
        check_code(style.repeat(levels).as_bytes(), "P0006");
    }
    let indented: String = (0..1000).map(|at| format!("{}a:\n", " ".repeat(at))).collect();
    check_code(indented.as_bytes(), "P0006");
}

#[test]
fn nesting_within_the_budget_needs_little_stack() {
    let deep = format!("pools: {}{}\n", "[".repeat(11), "]".repeat(11));
    let thread = std::thread::Builder::new().stack_size(512 << 10);
    let thread = thread.spawn(move || check(deep.as_bytes()).len()).expect("a thread starts");
    assert!(thread.join().expect("the stack suffices") > 0);
}

#[test]
fn the_time_for_a_file_of_faults_grows_with_its_size() {
    // A file of four times the size takes four times as long; one that compares all with all takes sixteen times.
    for (name, file) in
        [("fields", fields as fn(usize) -> String), ("scorers", scorers), ("patterns", patterns)]
    {
        let took = [1, 4].map(|times| {
            let source = file(times * 2_500);
            let started = cpu_time();
            assert!(!check(source.as_bytes()).is_empty());
            cpu_time() - started
        });
        assert!(took[1] < 10 * took[0], "{name}: {took:?}");
    }
    let aliased: String = (0..500).map(|_| "- *p\n").collect();
    let aliased = format!("{HEADER}classes: [&p {{name: a, grnt: 1}}]\npools:\n{aliased}");
    check_code(aliased.as_bytes(), "P0006");
}

const HEADER: &str = "apiVersion: sigma.io/v1alpha1\nkind: SchedulingPolicy\n";

fn fields(num: usize) -> String {
    let fields: String = (0..num).map(|at| format!("alocation{at:040}: 1\n")).collect();
    format!("{HEADER}{fields}")
}

fn scorers(num: usize) -> String {
    let scorers: String = (0..num).map(|at| format!("  class{at:050}: {{a: 1}}\n")).collect();
    format!("{HEADER}scoring:\n{scorers}")
}

fn patterns(num: usize) -> String {
    let patterns = vec!["\"a*b*c*d*\""; num].join(", ");
    format!("{HEADER}pools:\n- name: a\n  match: {{instanceTypes: [{patterns}]}}\n")
}

fn default_policy() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/default.yaml");
    fs::read(path).expect("the default policy is shipped")
}

/// What the language and YAML are made of, to mutate with.
const WORDS: [&str; 34] = [
    "pools", "classes", "scoring", "name", "match", "elastic", "grant", "limit", "spread", "true",
    "null", "95%", "0.95", "8Ti", "-1", "1e999", "[", "]", "{", "}", ":", "- ", "\n", "  ", "&a ",
    "*a", "!x ", "\"", "'", "|\n", "---\n", "<<: ", "神龙", "\u{1b}",
];

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes);
    }

    #[test]
    fn arbitrary_words_never_panic(words in prop::collection::vec(0..WORDS.len(), 0..60)) {
        let source: String = words.into_iter().map(|at| WORDS[at]).collect();
        check(source.as_bytes());
    }

    #[test]
    fn a_mutated_policy_never_panics(
        edits in prop::collection::vec((any::<Index>(), 0..8usize, 0..WORDS.len()), 1..6)
    ) {
        let mut source = default_policy();
        for (at, removed, word) in edits {
            let at = at.index(source.len());
            let end = (at + removed).min(source.len());
            source.splice(at..end, WORDS[word].bytes());
        }
        check(&source);
    }
}
