//! `docs/failure-modes.md` is made of what stands above the tests: a comment that begins with
//! `Row 7, what happens: what sigma does.` becomes a row that names the test.

use std::path::Path;

use super::read;

const PAGE: &str = "docs/failure-modes.md";
const HEAD: &str = "\
# Failure modes

Each row is a failure around sigma, the behaviour of sigma, and the test that shows it. `UPDATE=1 cargo test --test docs` writes
this page from the comments above those tests. The numbers are those of a list of risks, so they have gaps. The alerts are in
[metrics.md](metrics.md).

For online pods sigma fails open: they keep their nodes. For offline pods it uses the last snapshot and the last policy, and
refuses rather than guesses. Where sigma writes, it fails closed.

| row | what happens | what sigma does | test |
|---|---|---|---|
";

/// A row of the page.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mode {
    row: u32,
    file: String,
    test: String,
    failure: String,
    promise: String,
}

/// The rows of a source.
fn modes(file: &str, source: &str) -> Vec<Mode> {
    let mut modes = Vec::new();
    let mut comment = String::new();
    for line in source.lines() {
        if let Some(text) = line.strip_prefix("///") {
            comment += text;
        } else if let Some((_, after)) = line.split_once("fn ") {
            let (name, _) = after.split_once('(').unwrap_or_default();
            modes.extend(mode(file, name, &comment));
            comment.clear();
        } else if !line.starts_with("#[") {
            comment.clear();
        }
    }
    modes
}

fn mode(file: &str, test: &str, comment: &str) -> Option<Mode> {
    let (row, text) = comment.trim().strip_prefix("Row ")?.split_once(", ")?;
    let (failure, promise) = text.split_once(": ")?;
    let mut promise = promise.chars();
    let first = promise.next()?.to_uppercase();
    Some(Mode {
        row: row.parse().ok()?,
        file: file.to_owned(),
        test: test.to_owned(),
        failure: failure.to_owned(),
        promise: first.chain(promise).collect(),
    })
}

fn page(modes: &[Mode]) -> String {
    let row = |it: &Mode| {
        let Mode { row, file, test, failure, promise } = it;
        format!("| {row} | {failure} | {promise} | [`{test}`](../{file}) |\n")
    };
    HEAD.to_owned() + &modes.iter().map(row).collect::<String>()
}

/// Every test below `tests/` and every one beside the code, in order of rows.
fn all() -> Vec<Mode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src"), root.join("tests")];
    let mut all = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let file = path.strip_prefix(root).expect("it is below").to_string_lossy();
                all.extend(modes(&file, &read(&file)));
            }
        }
    }
    all.sort();
    all
}

#[test]
fn the_page_is_what_the_tests_say() {
    let want = page(&all());
    if std::env::var_os("UPDATE").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
        std::fs::write(path, &want).expect("the page can be written");
    }
    assert!(read(PAGE) == want, "{PAGE} is not what the tests say; UPDATE=1 rewrites it:\n{want}");
}

#[test]
fn every_test_of_a_fault_is_named_by_its_row() {
    let faults = all().into_iter().filter(|it| it.file.starts_with("tests/faults/"));
    for it in faults {
        assert!(it.test.starts_with(&format!("r{:02}_", it.row)), "{it:?}");
    }
    for file in ["lists", "outage", "writes"].map(|it| format!("tests/faults/{it}.rs")) {
        let source = read(&file);
        assert_eq!(modes(&file, &source).len(), source.matches("#[test]").count(), "{file}");
    }
}

#[test]
fn rows_are_read_from_comments() {
    let source = "/// Row 7, it breaks: sigma\n/// lives on.\n#[test]\nfn it_breaks() {}\n\n/// Row 8, x: y.\n\nfn no_comment_of_mine() {}\n";
    let want = "| 7 | it breaks | Sigma lives on. | [`it_breaks`](../tests/a.rs) |\n";
    assert_eq!(page(&modes("tests/a.rs", source)), format!("{HEAD}{want}"));
}
