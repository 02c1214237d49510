//! Pages are written as the Kubernetes documentation is: a sentence has at most 30 words, and begins with its subject.
//! Tables, headings, code and output are not looked at.

use super::read;

const MAX_WORDS: usize = 30;

/// Pages that are not held to it yet. A page leaves this list when it is rewritten, and none comes in.
const NOT_YET: [&str; 2] = ["benches/README.md", "docs/benchmarks.md"];

/// Ends of words that are no ends of sentences.
const ABBREVIATIONS: [&str; 4] = ["e.g.", "i.e.", "vs.", "etc."];

/// The paragraphs and list items of a page, each with the number of its first line.
fn paragraphs(page: &str) -> Vec<(usize, String)> {
    let (mut found, mut is_code): (Vec<(usize, String)>, _) = (Vec::new(), false);
    let mut is_open = false;
    for (number, line) in (1..).zip(page.lines()) {
        let text = line.trim();
        if text.starts_with("```") {
            (is_code, is_open) = (!is_code, false);
            continue;
        }
        let is_indented = line.starts_with("    ") && !is_open;
        if is_code || is_indented || text.is_empty() || text.starts_with(['#', '|', '>', '<', '!'])
        {
            is_open = false;
            continue;
        }
        let item = text.strip_prefix("- ").or_else(|| {
            let (digits, rest) = text.split_once(". ")?;
            digits.bytes().all(|it| it.is_ascii_digit()).then_some(rest)
        });
        match (item, is_open) {
            (None, true) => {
                if let Some((_, open)) = found.last_mut() {
                    *open += " ";
                    *open += text;
                }
            }
            (item, _) => found.push((number, item.unwrap_or(text).to_owned())),
        }
        is_open = true;
    }
    found
}

/// The text as it is read: code is one word, a link is its text.
fn as_read(text: &str) -> String {
    let mut out = String::new();
    for (at, part) in text.split('`').enumerate() {
        out += if at % 2 == 0 { part } else { "code" };
    }
    while let Some((before, rest)) = out.split_once("](") {
        let target = rest.split_once(')').map_or("", |it| it.1);
        out = before.to_owned() + target;
    }
    out.replace(['[', '*', '_'], "")
}

fn sentences(text: &str) -> Vec<Vec<&str>> {
    let (mut found, mut words) = (Vec::new(), Vec::new());
    for word in text.split_whitespace() {
        words.push(word);
        let end = word.trim_end_matches([')', '"']);
        if end.ends_with(['.', '!', '?']) && !ABBREVIATIONS.contains(&end) {
            found.push(std::mem::take(&mut words));
        }
    }
    found.push(words);
    found
}

/// What a reader at three in the morning must read twice.
fn hard_to_read(name: &str, page: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (line, paragraph) in paragraphs(page) {
        for words in sentences(&as_read(&paragraph)) {
            let begin = words.iter().take(8).copied().collect::<Vec<_>>().join(" ");
            if words.len() > MAX_WORDS {
                complaints.push(format!("{name}:{line}: {} words: {begin} …", words.len()));
            }
            let first = words.first().map_or("", |it| it.trim_end_matches(','));
            let is_of = first == "Of" && words.iter().take(12).any(|it| it.ends_with(','));
            if ["Who", "Whoever", "What", "Whose", "Whom"].contains(&first) || is_of {
                complaints.push(format!("{name}:{line}: begins with {first}: {begin} …"));
            }
        }
    }
    complaints
}

#[test]
fn pages_are_plain() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).expect("a folder").flatten();
    let docs = docs.map(|it| format!("docs/{}", it.file_name().to_string_lossy()));
    let mut names: Vec<String> = docs.filter(|it| it.ends_with(".md")).collect();
    names.extend(
        ["README.md", "policies/README.md", "deploy/README.md", "benches/README.md"]
            .map(Into::into),
    );
    names.sort();
    let all = names.iter().map(|name| (name, hard_to_read(name, &read(name))));
    let (plain, others): (Vec<_>, Vec<_>) =
        all.partition(|(name, _)| !NOT_YET.contains(&name.as_str()));
    let complaints: Vec<String> = plain.into_iter().flat_map(|it| it.1).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    let done: Vec<_> = others.into_iter().filter(|it| it.1.is_empty()).map(|it| it.0).collect();
    assert!(done.is_empty(), "take out of NOT_YET: {done:?}");
}

#[test]
fn a_sentence_can_be_hard_to_read() {
    let long = format!("A short one. A {} end.\n", "word ".repeat(29));
    assert_eq!(
        hard_to_read("a.md", &long)[0],
        "a.md:1: 31 words: A word word word word word word word …"
    );
    for (text, first) in [
        ("Who asks gets it.", "Who"),
        ("- A.\n- What fails waits.", "What"),
        ("Of two, one wins.", "Of"),
    ] {
        assert!(
            hard_to_read("a.md", text)[0].contains(&format!("begins with {first}: ")),
            "{text}"
        );
    }
    let fine = format!(
        "# Who\n\nOf course it is. `a b c` is [one thing](b.md), e.g. this.\n\n| Who |\n\n```\n{long}\n```\n\n    {long}"
    );
    assert_eq!(hard_to_read("a.md", &fine), [""; 0]);
}
