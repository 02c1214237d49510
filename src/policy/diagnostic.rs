//! What is wrong with a policy and where; collected, never thrown, so that all of it is told at
//! once.

use serde::Serialize;

use super::codes::{self, Code};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy is refused.
    Error,
    /// The policy is accepted and surely not what was meant.
    Warning,
    /// The policy is accepted; something worth knowing.
    Info,
}

impl Severity {
    /// As it is written in JSON and in text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// One fault. Its JSON has exactly these keys, `hint` being null when there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The file as the caller named it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// The code, see [`super::codes`].
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A file that nobody could read.
    pub fn unreadable(file: &str, message: &str) -> Self {
        Self::new(file, &codes::UNREADABLE, Place::START, message, None)
    }

    fn new(file: &str, code: &Code, at: Place, message: &str, hint: Option<&str>) -> Self {
        Self {
            file: file.to_owned(),
            line: at.line.max(1),
            column: at.column.max(1),
            code: code.id,
            severity: code.severity,
            message: visible(message),
            hint: hint.map(visible),
        }
    }
}

/// A place in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Place {
    /// Where a fault of the whole file is shown.
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

/// The faults found so far.
pub(super) struct Faults {
    file: String,
    found: Vec<Diagnostic>,
}

impl Faults {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), found: Vec::new() }
    }

    /// Notes a fault.
    pub(super) fn report(&mut self, code: &Code, at: Place, message: impl AsRef<str>) {
        self.push(code, at, message.as_ref(), None);
    }

    /// Notes a fault together with what to do about it; an empty hint is none.
    pub(super) fn report_hint(
        &mut self,
        code: &Code,
        at: Place,
        message: impl AsRef<str>,
        hint: impl AsRef<str>,
    ) {
        let hint = Some(hint.as_ref()).filter(|hint| !hint.is_empty());
        self.push(code, at, message.as_ref(), hint);
    }

    fn push(&mut self, code: &Code, at: Place, message: &str, hint: Option<&str>) {
        self.found.push(Diagnostic::new(&self.file, code, at, message, hint));
    }

    /// Number of errors so far.
    pub(super) fn errors(&self) -> usize {
        self.found.iter().filter(|it| it.severity == Severity::Error).count()
    }

    /// A fault of this code has been found.
    pub(super) fn has(&self, code: &Code) -> bool {
        self.found.iter().any(|it| it.code == code.id)
    }

    /// Everything found, sorted and without repetitions (an alias repeats its anchor's faults).
    pub(super) fn into_sorted(self) -> Vec<Diagnostic> {
        let mut found = self.found;
        found.sort_by(|a, b| {
            (a.line, a.column, a.code, &a.message).cmp(&(b.line, b.column, b.code, &b.message))
        });
        found.dedup();
        found
    }
}

/// The lines of a source as YAML counts them: LF, CR LF and CR end one.
pub(super) fn lines(source: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(source);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else {
            rest = None;
            return Some(text);
        };
        let (line, tail) = text.split_at(end);
        rest = tail.strip_prefix("\r\n").or_else(|| tail.get(1..));
        Some(line)
    })
}

/// `text` with everything that a terminal would act upon instead of showing it escaped.
pub(super) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_invisible(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Control characters, and those that turn or hide the text around them.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{61c}' | '\u{e0000}'..='\u{e007f}')
}

/// The most characters of foreign text that a message repeats.
const MAX_QUOTED: usize = 60;

/// Foreign text for a message: in backticks, cropped.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_QUOTED).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// "did you mean …?" for the closest of `known`, or nothing when none is close.
pub(super) fn did_you_mean<'a>(
    text: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    closest(text, known).map(|best| format!("did you mean `{best}`?"))
}

/// The closest of `known`, if one is close.
pub(super) fn closest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let close = (text.chars().count().min(MAX_QUOTED) / 3).max(1);
    let scored = known.into_iter().map(|it| (edits(text, it), it));
    scored.filter(|(edits, _)| *edits <= close).min().map(|(_, best)| best)
}

/// How many slips of the keyboard are between two texts; upper and lower case are the same.
pub(super) fn edits(a: &str, b: &str) -> usize {
    let lower = |it: &str| it.to_lowercase().chars().take(MAX_QUOTED).collect::<Vec<char>>();
    distance(&lower(a), &lower(b))
}

/// Number of insertions, deletions, replacements and swaps of neighbours from `a` to `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(x != y);
            let mut cost = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_name_is_meant() {
        let known = ["allocation", "limit", "match", "name", "elastic"];
        let cases = [
            ("alocation", Some("allocation")),
            ("allocaiton", Some("allocation")),
            ("Match", Some("match")),
            ("lim", None),
            ("nmae", Some("name")),
            ("weights", None),
            ("", None),
        ];
        for (typed, want) in cases {
            let want = want.map(|it| format!("did you mean `{it}`?"));
            assert_eq!(did_you_mean(typed, known), want, "{typed}");
        }
    }

    #[test]
    fn foreign_text_cannot_reach_the_terminal() {
        assert_eq!(visible("a\u{1b}[31m\u{202e}b神"), "a\\u{1b}[31m\\u{202e}b神");
        assert_eq!(quoted(&"x".repeat(61)), format!("`{}…`", "x".repeat(60)));
    }
}
