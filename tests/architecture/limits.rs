//! How long files and functions may be, as a ratchet.
//!
//! A file has at most 300 lines and a function at most 50. `long.txt` lists what was longer when the ratchet came:
//! a file may grow to 400 lines, or keep the length that it has above that; a function keeps its length.
//! The list only shrinks. A file that moves takes its line of the list with it.

use std::collections::BTreeMap;
use std::path::Path;

use super::source::{Source, blank, end_of_item, line_of, sources, words};
use super::{assert_none, told};

const MAX_FUNCTION_LINES: usize = 50;
const MAX_FILE_LINES: usize = 300;
/// An old file may grow to this.
const MAX_OLD_FILE_LINES: usize = 400;
/// No function is longer, however old.
const MAX_OLD_FUNCTION_LINES: usize = 70;
const LIST: &str = "tests/architecture/long.txt";

/// The files and functions above the limit, each with its line and its length.
fn lengths(source: &Source) -> Vec<(String, usize, usize)> {
    let lines = source.text.lines().count();
    let mut out = Vec::new();
    if lines > MAX_FILE_LINES {
        out.push((source.path.clone(), lines, lines));
    }
    let code = blank(&source.text);
    for at in words(&code, "fn") {
        let (first, last) = (line_of(&code, at), line_of(&code, end_of_item(&code, at)));
        let name = code[at + 2..].trim_start();
        let name = name.split(|it: char| !it.is_alphanumeric() && it != '_').next();
        let lines = last - first + 1;
        // A type such as `fn(u8)` has no name.
        if let Some(name) = name.filter(|it| !it.is_empty() && lines > MAX_FUNCTION_LINES) {
            out.push((format!("{}:{name}", source.path), first, lines));
        }
    }
    out
}

/// What is longer than it may be by its limit of the list.
fn too_long(sources: &[Source], list: &BTreeMap<String, usize>) -> Vec<String> {
    let mut out = Vec::new();
    for (name, line, lines) in sources.iter().flat_map(lengths) {
        let file = name.split(':').next().unwrap_or_default();
        let is_function = name.contains(':');
        let limit = match list.get(&name) {
            Some(listed) if is_function => (*listed).min(MAX_OLD_FUNCTION_LINES),
            Some(listed) => (*listed).max(MAX_OLD_FILE_LINES),
            None if is_function => MAX_FUNCTION_LINES,
            None => MAX_FILE_LINES,
        };
        if lines > limit {
            let kind = if is_function { &name[file.len() + 1..] } else { "the file" };
            out.push(format!("{file}:{line}: {kind} has {lines} lines, {limit} are allowed"));
        }
    }
    out
}

/// The list with the entries that are still needed, at most as long as they are now. Nothing is added.
fn shrunk(sources: &[Source], list: &BTreeMap<String, usize>) -> BTreeMap<String, usize> {
    let now = sources.iter().flat_map(lengths).filter_map(|(name, _, lines)| {
        let floor = if name.contains(':') { 0 } else { MAX_OLD_FILE_LINES };
        let limit = (*list.get(&name)?).min(lines.max(floor));
        Some((name, limit))
    });
    now.collect()
}

fn read_list(text: &str) -> BTreeMap<String, usize> {
    let rows = text.lines().filter_map(|it| it.split_once(' '));
    rows.filter_map(|(name, limit)| Some((name.to_owned(), limit.parse().ok()?))).collect()
}

fn everything() -> Vec<Source> {
    let mut out = Vec::new();
    for folder in ["src", "tests", "benches"] {
        out.extend(sources(folder).into_iter().map(|mut source| {
            source.path = format!("{folder}/{}", source.path);
            source
        }));
    }
    out
}

#[test]
fn functions_and_files_are_short() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(LIST);
    let list = read_list(&std::fs::read_to_string(&path).expect("the list"));
    let all = everything();
    assert_none(&too_long(&all, &list));
    let shrunk = shrunk(&all, &list);
    if std::env::var_os("UPDATE").is_some() {
        let rows: String = shrunk.iter().map(|(name, limit)| format!("{name} {limit}\n")).collect();
        std::fs::write(path, rows).expect("the list can be written");
    } else {
        assert_eq!(list, shrunk, "{LIST} can shrink: UPDATE=1 writes it");
    }
}

#[test]
fn functions_and_files_can_be_too_long() {
    let list = read_list("old.rs 400\nlong.rs 450\nold.rs:f 60\nlong.rs:f 90\n");
    let function =
        |lines: usize| format!("\nfn f(a: [u8; 2]) {{\n{}}}\n", "let s = '}';\n".repeat(lines - 2));
    let file = |lines: usize| "\n".repeat(lines);
    for (path, text, want) in [
        ("a.rs", function(51), "a.rs:2: f has 51 lines, 50 are allowed"),
        ("old.rs", function(61), "old.rs:2: f has 61 lines, 60 are allowed"),
        ("long.rs", function(71), "long.rs:2: f has 71 lines, 70 are allowed"),
        ("a.rs", file(301), "a.rs:301: the file has 301 lines, 300 are allowed"),
        ("old.rs", file(401), "old.rs:401: the file has 401 lines, 400 are allowed"),
        ("long.rs", file(451), "long.rs:451: the file has 451 lines, 450 are allowed"),
    ] {
        assert_eq!(told(|it| too_long(it, &list), path, &text), [want]);
    }
    for (path, text) in [
        ("a.rs", function(50)),
        ("old.rs", function(60)),
        ("a.rs", file(300)),
        ("old.rs", file(400)),
        ("long.rs", file(450)),
    ] {
        assert_eq!(told(|it| too_long(it, &list), path, &text), [""; 0], "{path}");
    }
}

#[test]
fn the_list_only_shrinks() {
    let list = read_list("a.rs 450\nb.rs 400\ngone.rs 400\na.rs:f 60\n");
    let now = [Source::new("a.rs", &"\n".repeat(440)), Source::new("b.rs", &"\n".repeat(310))];
    assert_eq!(shrunk(&now, &list), read_list("a.rs 440\nb.rs 400\n"));
    let now = [Source::new("c.rs", &"\n".repeat(500))];
    assert_eq!(shrunk(&now, &list), read_list(""), "nothing is added");
}
