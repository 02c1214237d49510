//! One name, one thing: no type name is defined twice, and names that were retired do not come back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::Regex;

use super::source::{Source, blank, line_of, sources};
use super::{assert_none, told};

/// Words of sigma 0.1 that have another name now (docs/upgrade.md). The crate `ring` and a `lane` of a road are
/// other things, so only what cannot be mistaken is here.
const RETIRED: &[&str] = &[
    "--doorbell",
    "--not-ready",
    "--qps",
    "--siblings",
    "SIGMA_DOORBELL",
    "SIGMA_NOT_READY",
    "SIGMA_QPS",
    "SIGMA_SIBLINGS",
    "SIGMA_WITHOUT",
    "sigma.io/ring",
    "sigma_ahead_",
    "sigma_assumed_pods",
    "sigma_doorbells_total",
    "sigma_means_on",
    "sigma_refused_pods",
    "sigma_refusals_total",
    "sigma_rejections_total",
    "domainShare",
    "failureSpread",
    "headStartMs",
    "hostSpread",
    "shapeMatch",
    "chores",
    "comeback",
    "contenders",
    "desk",
    "doorbell",
    "doorbells",
    "fiction",
    "in_vain",
    "intree",
    "ledger",
    "repelled",
    "rung",
    "sibling",
    "siblings",
    "steerage",
];

/// Pages that speak of what was, or of what a user of 0.1 must change.
const MAY_NAME: [&str; 2] = ["docs/adr/", "docs/upgrade.md"];

fn type_names(sources: &[Source]) -> Vec<String> {
    let definition =
        Regex::new(r"(?m)^\s*(?:pub(?:\([^)]*\))? )?(?:struct|enum|trait|union) (\w+)");
    let definition = definition.expect("a pattern");
    let mut places: BTreeMap<String, BTreeMap<&str, usize>> = BTreeMap::new();
    for source in sources {
        let code = blank(&source.text);
        for found in definition.captures_iter(&code) {
            let (name, at) = (&found[1], found.get(1).map_or(0, |it| it.start()));
            let of_name = places.entry(name.to_owned()).or_default();
            of_name.entry(&source.path).or_insert(line_of(&code, at));
        }
    }
    let twice = places.into_iter().filter(|(_, places)| places.len() > 1);
    let text = |(path, line): (&str, usize)| format!("{path}:{line}");
    twice
        .map(|(name, places)| {
            let places: Vec<_> = places.into_iter().map(text).collect();
            format!("{name} is defined in {}", places.join(" and "))
        })
        .collect()
}

fn retired_words(sources: &[Source]) -> Vec<String> {
    let all: Vec<_> = RETIRED.iter().map(|it| regex::escape(it)).collect();
    let pattern = format!(r"(?i)(?:^|[^\w-])({})(?:$|[^\w-])", all.join("|"));
    let pattern = Regex::new(&pattern).expect("a pattern");
    let prefixes = Regex::new(r"sigma_ahead_\w+").expect("a pattern");
    let mut out = Vec::new();
    for source in sources.iter().filter(|it| it.path != "retired.rs") {
        let words = pattern.captures_iter(&source.text).filter_map(|it| it.get(1));
        for found in words.chain(prefixes.find_iter(&source.text)) {
            let line = line_of(&source.text, found.start());
            out.push(format!("{}:{line}: `{}` is retired", source.path, found.as_str()));
        }
    }
    out
}

/// The pages of a folder, by their paths in the repository.
fn pages() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders =
        vec![PathBuf::from("docs"), "deploy".into(), "policies".into(), "benches".into()];
    let mut paths = vec![PathBuf::from("README.md")];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(root.join(&folder)).expect("a folder");
        for entry in entries.flatten() {
            let path = folder.join(entry.file_name());
            match entry.file_type().is_ok_and(|it| it.is_dir()) {
                true => folders.push(path),
                false if path.extension().is_some_and(|it| it == "md" || it == "yaml") => {
                    paths.push(path)
                }
                false => {}
            }
        }
    }
    let named = paths.iter().map(|it| (it.to_string_lossy().into_owned(), it));
    let named = named.filter(|(name, _)| !MAY_NAME.iter().any(|it| name.starts_with(it)));
    let read = |path: &PathBuf| std::fs::read_to_string(root.join(path)).expect("a page");
    named.map(|(name, path)| Source::new(&name, &read(path))).collect()
}

#[test]
fn no_type_name_is_defined_twice() {
    assert_none(&type_names(&sources("src")));
}

#[test]
fn no_retired_word_comes_back() {
    let mut all = sources("src");
    all.extend(pages());
    assert_none(&retired_words(&all));
}

/// The glossary is short enough to be read, and each of its words is used in the code.
#[test]
fn the_glossary_has_few_words_and_each_is_used() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/glossary.md");
    let glossary = std::fs::read_to_string(path).expect("a page");
    let rows = glossary.lines().filter_map(|it| it.strip_prefix("| **")?.split_once("**"));
    let words: Vec<&str> = rows.map(|(word, _)| word).collect();
    assert!((30..=50).contains(&words.len()), "{} words", words.len());
    let code: String = sources("src").iter().map(|it| it.text.to_lowercase()).collect();
    let is_used = |word: &&str| {
        let mut forms = word.split(", ");
        forms.all(|it| code.contains(it) || code.contains(&it.replace(' ', "_")))
    };
    let unused: Vec<_> = words.into_iter().filter(|word| !is_used(word)).collect();
    assert_eq!(unused, [""; 0], "words that no file of src/ has");
}

#[test]
fn a_type_name_can_be_defined_twice() {
    let two = |text: &str| vec![Source::new("a.rs", "struct Pace;"), Source::new("b.rs", text)];
    assert_eq!(
        type_names(&two("fn f() {\n    enum Pace {}\n}")),
        ["Pace is defined in a.rs:1 and b.rs:2"]
    );
    assert_eq!(type_names(&two("type Pace = u8; // struct Pace")), [""; 0]);
    assert_eq!(told(type_names, "a.rs", "mod a { struct Pace; } mod b { struct Pace; }"), [""; 0]);
}

#[test]
fn a_retired_word_can_come_back() {
    for (text, want) in [
        ("/// The doorbell.", "a.rs:1: `doorbell` is retired"),
        ("\nlet desk = 1;", "a.rs:2: `desk` is retired"),
        ("`--qps 5`", "a.rs:1: `--qps` is retired"),
        ("\"sigma_ahead_targets_total\"", "a.rs:1: `sigma_ahead_targets_total` is retired"),
        ("hostSpread: 3", "a.rs:1: `hostSpread` is retired"),
    ] {
        assert_eq!(told(retired_words, "a.rs", text), [want], "{text}");
    }
    for text in ["a desktop", "--qps-limit", "rings", "sigma_aheads"] {
        assert_eq!(told(retired_words, "a.rs", text), [""; 0], "{text}");
    }
    assert_eq!(told(retired_words, "retired.rs", "hostSpread"), [""; 0]);
}
