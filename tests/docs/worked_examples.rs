//! The worked examples of `docs/adding-*.md`: each fits the sources, and costs no more files than it may.
//!
//! A page shows a new file as a fenced block after a line such as `` `src/rules/NAME.rs`: ``, and a change as a
//! `diff` block, either with the heads of a patch or after such a line. `just nightly` compiles each example.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Pages, and how many files of `src/` their example may touch: house.md, section 6.
const COSTS: [(&str, usize); 5] = [
    ("docs/adding-a-rule.md", 2),
    // Its decoder, its fact, and a line in each of three lists.
    ("docs/adding-a-watched-kind.md", 5),
    ("docs/adding-a-policy-field.md", 1),
    ("docs/adding-an-action.md", 2),
    ("docs/adding-small-things.md", 2),
];

/// Files with their new text, by path.
type Tree = BTreeMap<String, String>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The path of a line such as `` `src/a.rs`, whole: ``.
fn introduced(line: &str) -> Option<&str> {
    let (path, _) = line.strip_prefix('`')?.split_once('`')?;
    (line.ends_with(':') && path.contains(['/', '.']) && !path.contains(' ')).then_some(path)
}

/// The files that an example makes or changes. `read` gives the text of a file, if there is one.
fn applied(page: &str, read: impl Fn(&str) -> Option<String>) -> Result<Tree, String> {
    let mut tree = Tree::new();
    let (mut path, mut lines) = (None, page.lines());
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            if !line.is_empty() {
                path = introduced(line);
            }
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|it| !it.starts_with("```")).collect();
        if language == "diff" {
            change(&block, path, &mut tree, &read)?;
        } else if let Some(path) = path.take() {
            if read(path).is_some() {
                return Err(format!("{path} is there already"));
            }
            tree.insert(path.to_owned(), block.join("\n") + "\n");
        }
    }
    Ok(tree)
}

/// Applies the hunks of one block.
fn change(
    block: &[&str],
    path: Option<&str>,
    tree: &mut Tree,
    read: impl Fn(&str) -> Option<String>,
) -> Result<(), String> {
    let mut path = path;
    for hunk in block.split(|it| it.starts_with("@@")) {
        let is_head = |it: &&&str| it.starts_with("--- a/") || it.starts_with("+++ b/");
        let body: Vec<&str> = hunk.iter().filter(|it| !is_head(it)).copied().collect();
        path = hunk.iter().find_map(|it| it.strip_prefix("+++ b/")).or(path);
        if body.is_empty() {
            continue;
        }
        let file = path.ok_or("a diff without a path")?;
        let side = |marks: [char; 2]| -> String {
            let lines = body.iter().filter_map(|it| it.strip_prefix(marks));
            lines.map(|it| format!("{it}\n")).collect()
        };
        let (old, new) = (side([' ', '-']), side([' ', '+']));
        let text = tree.get(file).cloned().or_else(|| read(file));
        let text = text.ok_or_else(|| format!("{file} does not exist"))?;
        let at = text.match_indices(&old).map(|(at, _)| at);
        let mut at = at.filter(|at| *at == 0 || text.as_bytes()[at - 1] == b'\n');
        let at = at.next().ok_or_else(|| format!("{file} does not have\n{old}"))?;
        let changed = [&text[..at], &new, &text[at + old.len()..]].concat();
        tree.insert(file.to_owned(), changed);
    }
    Ok(())
}

/// The examples of a page: the whole page, or its sections if it is the page of small things.
fn examples(path: &str, page: &str) -> Vec<String> {
    match path.ends_with("small-things.md") {
        true => page.split("\n## ").skip(1).map(str::to_owned).collect(),
        false => vec![page.to_owned()],
    }
}

fn pages() -> Vec<(String, String)> {
    let entries = std::fs::read_dir(root().join("docs")).expect("the pages");
    let names = entries.flatten().map(|it| it.file_name().to_string_lossy().into_owned());
    let names = names.filter(|it| it.starts_with("adding-") && it.ends_with(".md"));
    let mut pages: Vec<_> = names.map(|it| format!("docs/{it}")).collect();
    pages.sort();
    pages.into_iter().map(|it| (it.clone(), super::read(&it))).collect()
}

fn on_disk(path: &str) -> Option<String> {
    std::fs::read_to_string(root().join(path)).ok()
}

/// Each example of each page, applied.
fn all_applied() -> Vec<(String, Tree)> {
    let mut out = Vec::new();
    for (path, page) in pages() {
        for example in examples(&path, &page) {
            let tree = applied(&example, on_disk).map_err(|why| format!("{path}: {why}"));
            out.push((path.clone(), tree.expect("the example fits")));
        }
    }
    out
}

#[test]
fn every_example_fits_and_costs_few_files() {
    for (path, tree) in all_applied() {
        let limit = COSTS.iter().find(|(page, _)| *page == path).map(|(_, limit)| *limit);
        let limit = limit.ok_or_else(|| format!("{path} has no limit in COSTS"));
        let limit = limit.expect("each page has a limit");
        let touched: Vec<_> = tree.keys().filter(|it| it.starts_with("src/")).collect();
        assert!(!touched.is_empty(), "{path}: an example was not understood");
        assert!(touched.len() <= limit, "{path}: {touched:?} are more than {limit} files");
    }
}

/// Copies what a build needs.
fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).expect("a folder");
        for entry in std::fs::read_dir(from).expect("a folder").flatten() {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        std::fs::copy(from, to).expect("a copy");
    }
}

/// Takes minutes: `just nightly`.
#[test]
#[ignore = "compiles a copy of the tree for each example"]
fn every_example_compiles() {
    let target = root().join("target/worked-examples");
    for (page, tree) in all_applied() {
        let scratch = tempfile::tempdir().expect("a folder");
        let parts = "Cargo.toml Cargo.lock build.rs src tests benches policies deploy docs";
        for part in parts.split(' ') {
            copy(&root().join(part), &scratch.path().join(part));
        }
        for (path, text) in &tree {
            let path: PathBuf = scratch.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["check", "--locked", "--lib", "--bins", "--tests"]).current_dir(scratch.path());
        let out = cargo.env("CARGO_TARGET_DIR", &target).output().expect("cargo runs");
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{page} does not compile:\n{stderr}");
    }
}

#[test]
fn an_example_that_does_not_fit_is_noticed() {
    let read = |path: &str| (path == "src/a.rs").then(|| "one\ntwo\nthree\n".to_owned());
    let tree = |page: &str| applied(page, read);
    let file = "`src/b.rs`, whole:\n\n```rust\nx\n```\n";
    let bare = "`src/a.rs`:\n\n```diff\n two\n+new\n```\n```diff\n-three\n```\n";
    let heads = "```diff\n--- a/src/a.rs\n+++ b/src/a.rs\n@@ -1 +1 @@\n one\n+new\n@@ -3 +3 @@\n-three\n```\n";
    let want = |text: &str| Ok(Tree::from([("src/a.rs".to_owned(), text.to_owned())]));
    assert_eq!(tree(file), Ok(Tree::from([("src/b.rs".to_owned(), "x\n".to_owned())])));
    // Only the block that follows the line has its path.
    assert_eq!(tree(heads), want("one\nnew\ntwo\n"));
    assert_eq!(tree(bare), want("one\ntwo\nnew\n"));
    for (page, why) in [
        ("`src/a.rs`, whole:\n```rust\nx\n```\n", "src/a.rs is there already"),
        ("`src/a.rs`:\n```diff\n four\n+five\n```\n", "src/a.rs does not have\nfour\n"),
        ("`src/a.rs`:\n```diff\n wo\n+five\n```\n", "src/a.rs does not have\nwo\n"),
        ("`src/c.rs`:\n```diff\n one\n+two\n```\n", "src/c.rs does not exist"),
        ("Text.\n```diff\n one\n+two\n```\n", "a diff without a path"),
    ] {
        assert_eq!(tree(page), Err(why.to_owned()), "{page}");
    }
    assert_eq!(tree("Text:\n```rust\nx\n```\n"), Ok(Tree::new()));
    assert_eq!(examples("docs/adding-small-things.md", "# a\n## b\n1\n## c\n2").len(), 2);
}
