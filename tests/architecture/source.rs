//! Sources as text: which are there, and what of them is code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A file.
pub(crate) struct Source {
    /// Relative to the folder that was read.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Declared behind `#[cfg(test)]`.
    pub(crate) test: bool,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), test: false }
    }

    /// The first folder or file name.
    pub(crate) fn room(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// True for the file that stands for its room: there `super` is the crate.
    pub(crate) fn is_front(&self) -> bool {
        !self.path.contains('/') || self.path == format!("{}/mod.rs", self.room())
    }

    /// The code, line by line as it stands, without comments, literals and test items.
    pub(crate) fn code(&self) -> String {
        if self.test { String::new() } else { without_tests(&blank(&self.text)) }
    }
}

/// All of a folder, in the order of paths.
pub(crate) fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).expect("a readable source");
        let path = path.strip_prefix(&root).expect("a path below it").to_string_lossy();
        Source::new(&path.replace('\\', "/"), &text)
    };
    mark_tests(paths.iter().map(read).collect())
}

fn walk(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            walk(&path, out);
        } else if path.extension().is_some_and(|it| it == "rs") {
            out.push(path);
        }
    }
}

/// Finds the files that are only declared behind `#[cfg(test)]`, and what is below them.
pub(crate) fn mark_tests(mut sources: Vec<Source>) -> Vec<Source> {
    let mut tests = BTreeSet::new();
    for source in &sources {
        let folder = match source.path.rsplit_once('/') {
            Some((folder, "mod.rs")) => format!("{folder}/"),
            None if matches!(source.path.as_str(), "lib.rs" | "main.rs") => String::new(),
            _ => format!("{}/", source.path.trim_end_matches(".rs")),
        };
        let text = blank(&source.text);
        for (at, _) in text.match_indices("#[cfg(test)]") {
            let rest = text[at + "#[cfg(test)]".len()..].trim_start();
            let rest = rest.trim_start_matches("pub(crate) ");
            if let Some((name, _)) = rest.strip_prefix("mod ").and_then(|it| it.split_once(';')) {
                tests.insert(format!("{folder}{}", name.trim()));
            }
        }
    }
    for source in &mut sources {
        let stem = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        source.test = tests.iter().any(|test| {
            stem == test || stem.strip_prefix(test).is_some_and(|it| it.starts_with('/'))
        });
    }
    sources
}

/// Replaces comments and literals by spaces, keeping lines and columns.
pub(crate) fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = end_of_blank(bytes, at);
        for byte in out.iter_mut().take(end).skip(at).filter(|byte| **byte != b'\n') {
            *byte = b' ';
        }
        at = end.max(at + 1);
    }
    String::from_utf8(out).expect("blanks replace whole characters")
}

/// The end of the comment or literal that starts at `at`; `at` itself when none does.
fn end_of_blank(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let named = at > 0 && is_name(bytes[at - 1]);
    let find = |from: usize, what: &[u8]| {
        let found = rest[from..].windows(what.len()).position(|window| window == what);
        found.map_or(bytes.len(), |it| at + from + it + what.len())
    };
    if rest.starts_with(b"//") {
        return rest.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |it| at + it);
    }
    if rest.starts_with(b"/*") {
        return find(2, b"*/");
    }
    let raw = rest.strip_prefix(b"b").unwrap_or(rest);
    if !named && let Some(hashes) = raw.strip_prefix(b"r") {
        let count = hashes.iter().take_while(|byte| **byte == b'#').count();
        if hashes.get(count) == Some(&b'"') {
            let close = [b"\"".as_slice(), &vec![b'#'; count]].concat();
            return find(rest.len() - hashes.len() + count + 1, &close);
        }
    }
    match rest {
        [b'"', ..] => end_of_quoted(bytes, at, b'"'),
        // A lifetime has no closing quote right after its first character.
        [b'\'', b'\\', ..] => end_of_quoted(bytes, at, b'\''),
        [b'\'', first, ..] if *first != b'\'' => {
            let width = match first {
                0..0x80 => 1,
                0x80..0xe0 => 2,
                0xe0..0xf0 => 3,
                _ => 4,
            };
            if rest.get(1 + width) == Some(&b'\'') { at + width + 2 } else { at }
        }
        _ => at,
    }
}

fn end_of_quoted(bytes: &[u8], at: usize, quote: u8) -> usize {
    let mut end = at + 1;
    while end < bytes.len() && bytes[end] != quote {
        end += 1 + usize::from(bytes[end] == b'\\');
    }
    (end + 1).min(bytes.len())
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Blanks every item behind `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(at) = out.find("#[cfg(test)]") {
        let end = end_of_item(&out, at + "#[cfg(test)]".len());
        let kept: String = out[at..end].chars().filter(|c| *c == '\n').collect();
        out.replace_range(at..end, &kept);
    }
    out
}

/// The end of the item that starts at `from`: its `;`, or the brace that closes its first one.
pub(crate) fn end_of_item(code: &str, from: usize) -> usize {
    let (mut braces, mut parens) = (0_i32, 0_i32);
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => parens += 1,
            b')' | b']' => parens -= 1,
            b';' if braces == 0 && parens == 0 => return at + 1,
            b'{' => braces += 1,
            b'}' if braces <= 1 => return at + 1,
            b'}' => braces -= 1,
            _ => {}
        }
    }
    code.len()
}

pub(crate) fn line_of(code: &str, at: usize) -> usize {
    1 + code[..at].matches('\n').count()
}

/// Where `word` stands in `code` as a whole word.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = code.as_bytes();
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).and_then(|it| bytes.get(it));
        let after = bytes.get(at + word.len());
        !before.is_some_and(|it| is_name(*it)) && !after.is_some_and(|it| is_name(*it))
    })
}

/// The names that follow `prefix` (`crate::`), one by one or in braces, with their places.
pub(crate) fn names_after<'a>(code: &'a str, prefix: &str) -> Vec<(usize, &'a str)> {
    let name = |from: usize| {
        let len = code[from..].bytes().take_while(|byte| is_name(*byte)).count();
        &code[from..from + len]
    };
    let mut out = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        if at > 0 && (is_name(code.as_bytes()[at - 1]) || code.as_bytes()[at - 1] == b':') {
            continue;
        }
        let from = at + prefix.len();
        if !code[from..].starts_with('{') {
            out.push((from, name(from)));
            continue;
        }
        let mut depth = 0;
        for (offset, byte) in code[from..].bytes().enumerate() {
            depth += i32::from(byte == b'{') - i32::from(byte == b'}');
            if depth == 0 {
                break;
            }
            if depth == 1 && matches!(byte, b'{' | b',') {
                let rest = &code[from + offset + 1..];
                let start = from + offset + 1 + (rest.len() - rest.trim_start().len());
                out.push((start, name(start)));
            }
        }
    }
    out
}
