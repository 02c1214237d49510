//! Ways around the order of the rooms and the purity of the core, each of them closed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::source::{Source, blank, line_of, sources, words};
use super::{CORE, ROOMS, assert_none, told};

/// Modules of `std` that the core does not name, however deep the braces of the import are.
const FOREIGN_MODULES: [&str; 7] =
    ["std::env", "std::fs", "std::io", "std::net", "std::os", "std::process", "std::thread"];
/// Types whose values change behind a shared reference: a `static` of them is a cache.
const CHANGING: [&str; 11] = [
    "Mutex",
    "RwLock",
    "Cell",
    "RefCell",
    "OnceCell",
    "OnceLock",
    "LazyLock",
    "LazyCell",
    "Once",
    "ArcSwap",
    "UnsafeCell",
];
/// Files below the live line that call themselves pure. They move to the room `control`; the list only shrinks.
const PURE_BELOW: [&str; 4] =
    ["actions/election.rs", "k8s/list_watch.rs", "k8s/mod.rs", "k8s/watch_freshness.rs"];

/// Every path below a crate (`std`, `crate`) with its place, braces written out: `std::{a::{B, C as D}}` is
/// `std::a::B`, `std::a::C as D`.
fn paths(code: &str, root: &str) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    for at in words(code, root) {
        let rest = code[at + root.len()..].trim_start();
        if let Some(below) = rest.strip_prefix("::") {
            expand(below, root, at, &mut out);
        } else if rest.starts_with("as ") {
            out.push((at, format!("{root} as")));
        }
    }
    out
}

/// Reads one tree of an import; returns its length.
fn expand(text: &str, before: &str, at: usize, out: &mut Vec<(usize, String)>) -> usize {
    let lead = text.len() - text.trim_start().len();
    let rest = &text[lead..];
    if let Some(inside) = rest.strip_prefix('{') {
        let mut read = 0;
        loop {
            read += expand(&inside[read..], before, at, out);
            match inside[read..].chars().next() {
                Some(',') => read += 1,
                Some(_) => return lead + 1 + read + 1,
                None => return text.len(),
            }
        }
    }
    let end = rest.find(|it: char| !it.is_alphanumeric() && !"_* ".contains(it));
    let end = end.unwrap_or(rest.len());
    let name = rest[..end].trim();
    let path = format!("{before}::{name}");
    if let Some(deeper) = rest[end..].strip_prefix("::") {
        return lead + end + 2 + expand(deeper, &path, at, out);
    }
    if !name.is_empty() {
        out.push((at, path));
    }
    lead + end
}

/// Imports of the core from `std` that bring in the outside world or an order that changes.
fn core_imports(sources: &[Source]) -> Vec<String> {
    let mut out = Vec::new();
    for source in sources.iter().filter(|it| CORE.contains(&it.room())) {
        let code = source.code();
        for (at, path) in paths(&code, "std") {
            let is_foreign = FOREIGN_MODULES
                .iter()
                .any(|it| path.strip_prefix(it).is_some_and(|it| it.is_empty() || !is_letter(it)));
            let names = path.split([':', ' ']);
            let is_unordered = names.into_iter().any(|it| it == "HashMap" || it == "HashSet");
            let is_hidden = path == "std as" || path.ends_with("::*") && !path.contains("prelude");
            if is_foreign || is_unordered || is_hidden {
                out.push(format!("{}:{}: imports {path}", source.path, line_of(&code, at)));
            }
        }
    }
    out
}

fn is_letter(rest: &str) -> bool {
    rest.starts_with(|it: char| it.is_alphanumeric() || it == '_')
}

/// Other names for the crate, under which a room could be named unseen.
fn aliases(sources: &[Source]) -> Vec<String> {
    let mut out = Vec::new();
    for source in sources {
        let code = source.code();
        for (at, path) in paths(&code, "crate") {
            let rest = path.strip_prefix("crate").unwrap_or_default().trim_start_matches("::");
            if rest == "*" || rest == " as" || rest == "self" || rest.starts_with("self as") {
                let line = line_of(&code, at);
                out.push(format!("{}:{line}: another name for the whole crate", source.path));
            }
        }
        for (at, _) in code.match_indices("extern crate self") {
            let line = line_of(&code, at);
            out.push(format!("{}:{line}: another name for the whole crate", source.path));
        }
    }
    out
}

/// Statics of the core that change: a cache in a rule.
fn caches(sources: &[Source]) -> Vec<String> {
    let mut out = Vec::new();
    for source in sources.iter().filter(|it| CORE.contains(&it.room())) {
        let code = source.code();
        let statics = words(&code, "static").filter(|at| !code[..*at].ends_with('\''));
        let locals =
            words(&code, "thread_local").filter(|at| code[*at..].starts_with("thread_local!"));
        for at in statics.chain(locals) {
            let item = &code[at..];
            let of = item.split(['=', ';']).next().unwrap_or_default();
            let changes = CHANGING.iter().any(|it| words(of, it).next().is_some())
                || of.contains("Atomic")
                || of.starts_with("static mut")
                || item.starts_with("thread_local!");
            if changes {
                out.push(format!("{}:{}: a static that changes", source.path, line_of(&code, at)));
            }
        }
    }
    out
}

/// Modules whose file is elsewhere. Only tests may be, beside the file that they test.
fn elsewhere(sources: &[Source]) -> Vec<String> {
    // The revision is read by the code of `build.rs`.
    let of_build = |source: &Source| source.path == "cli/version.rs";
    let mut out = Vec::new();
    for source in sources.iter().filter(|it| !of_build(it)) {
        let code = blank(&source.text);
        for (at, _) in code.match_indices("#[path") {
            if !code[..at].trim_end().ends_with("#[cfg(test)]") {
                let line = line_of(&code, at);
                out.push(format!("{}:{line}: a module whose file is elsewhere", source.path));
            }
        }
    }
    out
}

/// Rooms of the list, or of the code map, that have no file, and rooms that the map leaves out.
fn missing_rooms(rooms: &[&str], sources: &[Source], map: &str) -> Vec<String> {
    let there: BTreeSet<&str> = sources.iter().map(Source::room).collect();
    let rows = map.lines().filter_map(|it| it.strip_prefix("| `")?.split_once("` |"));
    let drawn: Vec<&str> = rows.map(|(room, _)| room).collect();
    let mut out: Vec<String> = Vec::new();
    let gone = rooms.iter().chain(&drawn).filter(|it| !there.contains(**it));
    out.extend(gone.map(|it| format!("{it}: no such room in src/")));
    let undrawn = rooms.iter().filter(|it| !drawn.contains(it));
    out.extend(undrawn.map(|it| format!("{it}: not in the code map")));
    out
}

/// Files below the live line whose head says that they are pure.
fn pure_below(sources: &[Source]) -> Vec<&str> {
    let says = |source: &&Source| {
        let head = source.text.lines().take_while(|it| it.starts_with("//!"));
        let head = head.collect::<Vec<_>>().join(" ").to_lowercase();
        words(&head, "pure").next().is_some() || head.contains("without i/o")
    };
    let below = sources.iter().filter(|it| !CORE.contains(&it.room()) && !it.test);
    below.filter(says).map(|it| it.path.as_str()).collect()
}

/// The modules of each room that a module names: `(room, module)` to their names.
fn uses(sources: &[Source]) -> BTreeMap<(&str, &str), BTreeSet<String>> {
    let mut out: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
    for source in sources.iter().filter(|it| !it.is_front() && !it.test) {
        let mut parts = source.path.split('/').skip(1);
        let own = parts.next().unwrap_or_default().trim_end_matches(".rs");
        let code = source.code();
        let mut named = paths(&code, "crate");
        named.retain(|(_, it)| it.split("::").nth(1) == Some(source.room()));
        // Deeper down, `super` is a part of the same module.
        if parts.next().is_none() {
            named.extend(paths(&code, "super"));
        }
        let skipped = |path: &str| if path.starts_with("super") { 1 } else { 2 };
        let names = named.iter().filter_map(|(_, it)| it.split("::").nth(skipped(it)));
        let names = names.filter(|it| *it != own).map(str::to_owned);
        out.entry((source.room(), own)).or_default().extend(names);
    }
    out
}

/// Pairs of modules of one room that name each other, directly or through others: no order has both in place.
fn circles(sources: &[Source]) -> BTreeSet<String> {
    let uses = uses(sources);
    let reached = |room, from| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(module) = open.pop() {
            for next in uses.get(&(room, module)).into_iter().flatten() {
                if seen.insert(next.as_str()) {
                    open.push(next);
                }
            }
        }
        seen
    };
    let mut out = BTreeSet::new();
    for ((room, own), named) in &uses {
        let circular = named.iter().filter(|it| reached(room, it.as_str()).contains(own));
        out.extend(circular.map(|other| format!("{room} {own} {other}")));
    }
    out
}

#[test]
fn the_core_imports_nothing_foreign_by_any_spelling() {
    assert_none(&core_imports(&sources("src")));
    assert_none(&aliases(&sources("src")));
    assert_none(&caches(&sources("src")));
    assert_none(&elsewhere(&sources("src")));
}

#[test]
fn every_room_exists_and_is_in_the_code_map() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ARCHITECTURE.md");
    let page = std::fs::read_to_string(page).expect("a page");
    let map = page.split("## Code map").nth(1).and_then(|it| it.split("\n## ").next());
    assert_none(&missing_rooms(&ROOMS, &sources("src"), map.expect("a code map")));
}

#[test]
fn what_is_pure_is_above_the_live_line() {
    let all = sources("src");
    let found = pure_below(&all);
    let new: Vec<_> = found.iter().filter(|it| !PURE_BELOW.contains(it)).collect();
    assert!(new.is_empty(), "these belong to a room above the live line: {new:?}");
    let gone: Vec<_> = PURE_BELOW.iter().filter(|it| !found.contains(it)).collect();
    assert!(gone.is_empty(), "these can leave the list: {gone:?}");
}

#[test]
fn the_modules_of_a_room_have_an_order() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/architecture/circles.txt");
    let listed = std::fs::read_to_string(&path).expect("the list");
    let listed: BTreeSet<String> = listed.lines().map(str::to_owned).collect();
    let found = circles(&sources("src"));
    let new: Vec<_> = found.difference(&listed).collect();
    assert!(new.is_empty(), "room and two modules that name each other: {new:?}");
    if std::env::var_os("UPDATE").is_some() {
        let kept: String = found.iter().map(|it| format!("{it}\n")).collect();
        std::fs::write(path, kept).expect("the list can be written");
    } else {
        assert_eq!(listed, found, "the list can shrink: UPDATE=1 writes it");
    }
}

#[test]
fn each_way_around_is_seen() {
    type Check = fn(&[Source]) -> Vec<String>;
    let crate_name = "rules/a.rs:1: another name for the whole crate";
    let cache = "rules/a.rs:1: a static that changes";
    let cases: [(Check, &str, &str); 21] = [
        (core_imports, "use std::{collections::{HashMap}};", "std::collections::HashMap"),
        (
            core_imports,
            "use std::{sync::Arc, collections::{self, HashSet as S}};",
            "std::collections::HashSet as S",
        ),
        (core_imports, "use std::thread;", "std::thread"),
        (core_imports, "use std::{fmt, {thread::spawn}};", "std::thread::spawn"),
        (core_imports, "fn f() { std::io::stdout(); }", "std::io::stdout"),
        (core_imports, "use std::{io::{self, Read}};", "std::io::self"),
        (core_imports, "use std as s;", "std as"),
        (core_imports, "use std::collections::*;", "std::collections::*"),
        (aliases, "use crate as c;", crate_name),
        (aliases, "use crate::*;", crate_name),
        (aliases, "use crate::{self as c, model::Pod};", crate_name),
        (aliases, "use crate::{model::Pod, *};", crate_name),
        (aliases, "extern crate self as c;", crate_name),
        (caches, "static SEEN: Mutex<u8> = Mutex::new(0);", cache),
        (caches, "pub(super) static SEEN: std::sync::OnceLock<u8> = OnceLock::new();", cache),
        (caches, "static COUNT: AtomicU64 = AtomicU64::new(0);", cache),
        (caches, "static mut COUNT: u64 = 0;", cache),
        (caches, "thread_local! { static A: u8 = 0; }", cache),
        (
            elsewhere,
            "#[path = \"../serve/a.rs\"]\nmod a;",
            "rules/a.rs:1: a module whose file is elsewhere",
        ),
        (
            elsewhere,
            "#[cfg(feature = \"live\")]\n#[path = \"b.rs\"]\nmod a;",
            "rules/a.rs:2: a module whose file is elsewhere",
        ),
        (aliases, "use crate :: { self };", crate_name),
    ];
    for (check, text, want) in cases {
        let found = told(check, "rules/a.rs", text);
        assert!(found.first().is_some_and(|it| it.ends_with(want)), "{text}: {found:?}");
    }
    for (check, text) in [
        (core_imports as Check, "use std::{fmt, sync::Arc, collections::{BTreeMap, btree_map}};"),
        (core_imports, "use std::iter; use std::ops::{Add, Sub}; fn f() -> std::fmt::Result {}"),
        (aliases, "use crate::{model::{self, Pod as P}, rules::*}; use crate::cluster as c;"),
        (caches, "static SPEC: RuleSpec = RuleSpec { a: b }; fn f(a: &'static Cell<u8>) {}"),
        (elsewhere, "#[cfg(test)]\n#[path = \"a_tests.rs\"]\nmod tests;"),
    ] {
        assert_eq!(told(check, "rules/a.rs", text), [""; 0], "{text}");
    }
}

#[test]
fn rooms_can_be_missing_purity_below_and_modules_in_circles() {
    let sources = [Source::new("model/a.rs", ""), Source::new("cli/mod.rs", "")];
    let map = "| `model` | a |\n| `record` | b |\n";
    let want = [
        "attic: no such room in src/",
        "record: no such room in src/",
        "attic: not in the code map",
    ];
    assert_eq!(missing_rooms(&["model", "attic"], &sources, map), want);
    let pure = [
        Source::new("serve/a.rs", "//! A queue.\n//! Pure: the caller tells the time."),
        Source::new("serve/b.rs", "//! A purer queue.\n// pure"),
        Source::new("engine/c.rs", "//! Pure."),
    ];
    assert_eq!(pure_below(&pure), ["serve/a.rs"]);
    let room = |third: &str| {
        [
            Source::new("engine/first.rs", "use super::{second::A};"),
            Source::new("engine/second/deep.rs", "use crate::engine::third::B; use super::first;"),
            Source::new("engine/third.rs", third),
        ]
    };
    assert_eq!(Vec::from_iter(circles(&room("use crate::model::first;"))), [""; 0]);
    let want = ["engine first second", "engine second third", "engine third first"];
    assert_eq!(Vec::from_iter(circles(&room("use crate::{engine::{first}};"))), want);
}
