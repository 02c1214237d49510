//! Patterns and labels: what Kubernetes allows in them, and which pattern covers which.

use super::codes;
use super::diagnostic::{Faults, Place, quoted};
use super::reader::{list, map, narrow_char, need_entries, text};
use super::tree::YamlNode;
use crate::model::glob;

/// What the texts that a pattern is held against look like; a pattern with anything else in it
/// could never match.
#[derive(Clone, Copy)]
pub(super) enum Alphabet {
    /// Label values: letters, digits, `-`, `_`, `.`.
    LabelValue,
    /// Names of objects: lower case, digits, `-`, `.`.
    ObjectName,
}

impl Alphabet {
    fn allows(self, c: char) -> bool {
        match self {
            Self::LabelValue => c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'),
            Self::ObjectName => {
                c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.')
            }
        }
    }

    fn longest(self) -> usize {
        match self {
            Self::LabelValue => 63,
            Self::ObjectName => 253,
        }
    }
}

/// A list of patterns in which `*` stands for any run of characters.
pub(super) fn patterns(
    node: &YamlNode,
    what: &str,
    alphabet: Alphabet,
    faults: &mut Faults,
) -> Option<Vec<String>> {
    let items = list(node, what, faults)?;
    need_entries(items.len(), node.at, what, faults);
    let mut found: Vec<String> = Vec::new();
    for item in items {
        let Some(pattern) = text(item, "a pattern", faults) else {
            continue;
        };
        let foreign = pattern.chars().find(|c| *c != '*' && !alphabet.allows(*c));
        let fixed = pattern.chars().filter(|c| *c != '*').count();
        if pattern.is_empty() || foreign.is_some() || fixed > alphabet.longest() {
            let message = format!("the pattern {} in {what} can match nothing", quoted(pattern));
            let hint = match foreign {
                Some('?' | '[' | ']' | '{' | '}' | '(' | ')' | '^' | '$' | '\\' | '|') => {
                    "`*` stands for any run of characters; there is no other wildcard".to_owned()
                }
                Some(c) => match narrow_char(c) {
                    Some(meant) => format!("`{c}` (U+{:04X}) is not `{meant}`", u32::from(c)),
                    None => format!("`{c}` cannot occur there"),
                },
                None => String::new(),
            };
            faults.report_hint(&codes::BAD_PATTERN, item.at, message, hint);
            continue;
        }
        check_edges(pattern, item.at, faults);
        check_redundant(pattern, &found, item.at, faults);
        found.push(pattern.to_owned());
    }
    Some(found)
}

/// Names begin and end with a letter or a digit.
fn check_edges(pattern: &str, at: Place, faults: &mut Faults) {
    let open = |c: char| c == '*' || c.is_ascii_alphanumeric();
    if pattern.ends_with(open) && pattern.starts_with(open) {
        return;
    }
    let message = format!("no name matches {}: it would begin or end with a sign", quoted(pattern));
    let hint = match pattern.ends_with(open) {
        true => format!("did you mean `*{pattern}`?"),
        false => format!("did you mean `{pattern}*`?"),
    };
    faults.report_hint(&codes::UNMATCHED_PATTERN, at, message, hint);
}

/// What one pattern of a list matches already, another one need not say.
fn check_redundant(pattern: &str, earlier: &[String], at: Place, faults: &mut Faults) {
    let Some(other) = earlier.iter().find(|it| glob(it, pattern) || glob(pattern, it)) else {
        return;
    };
    let message = match *other == pattern {
        true => format!("the pattern {} is in the list already", quoted(pattern)),
        false if glob(other, pattern) => {
            format!("{} matches whatever {} matches", quoted(other), quoted(pattern))
        }
        false => format!("{} matches whatever {} matches", quoted(pattern), quoted(other)),
    };
    faults.report_hint(&codes::COVERED_PATTERN, at, message, "keep the one that is meant");
}

/// True when every name matches one of the patterns: `*`, `**`, or `a*` to `9*` together.
pub(super) fn is_everything(patterns: &[String]) -> bool {
    let one = |bare: &str| patterns.iter().any(|it| it == bare);
    let all = |form: fn(char) -> [String; 2]| {
        ('a'..='z').chain('0'..='9').all(|c| form(c).iter().any(|it| one(it)))
    };
    patterns.iter().any(|it| !it.is_empty() && it.chars().all(|c| c == '*'))
        || all(|c| [format!("{c}*"), format!("*{c}*")])
        || all(|c| [format!("*{c}"), format!("*{c}*")])
}

/// Labels that must have exactly these values, sorted by key.
pub(super) fn labels(
    node: &YamlNode,
    what: &str,
    faults: &mut Faults,
) -> Option<Vec<(String, String)>> {
    let entries = map(node, what, faults)?;
    need_entries(entries.len(), node.at, what, faults);
    let mut found = Vec::new();
    for entry in entries {
        if !is_label_key(&entry.key) {
            let message = format!("{} is no label key", quoted(&entry.key));
            let hint = "a label key is `name` or `prefix.example.com/name`";
            faults.report_hint(&codes::BAD_LABEL, entry.at, message, hint);
        }
        let Some(value) = text(&entry.node, "a label value", faults) else {
            continue;
        };
        if !value.is_empty() && !is_label_name(value) {
            let message = format!("{} is no label value", quoted(value));
            let hint = match value.contains('*') {
                true => "labels are compared whole; patterns stand in `instanceTypes` and `names`",
                false => "a label value has at most 63 letters, digits, `-`, `_` and `.`",
            };
            faults.report_hint(&codes::BAD_LABEL, entry.node.at, message, hint);
        }
        found.push((entry.key.clone(), value.to_owned()));
    }
    found.sort();
    Some(found)
}

fn is_label_key(key: &str) -> bool {
    let Some((prefix, name)) = key.split_once('/') else {
        return is_label_name(key);
    };
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let part = |part: &str| {
        !part.is_empty()
            && part.chars().all(inner)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    prefix.len() <= 253 && prefix.split('.').all(part) && is_label_name(name)
}

fn is_label_name(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && text.chars().all(|c| Alphabet::LabelValue.allows(c))
}

/// True when each pattern of `inner` matches only what some pattern of `outer` matches too.
pub(super) fn cover(outer: &[String], inner: &[String]) -> bool {
    // A `*` of the inner pattern is just a character to the outer one, whose fixed parts have none:
    // only an outer `*` can take it, and that takes whatever stands for it as well.
    inner.iter().all(|inner| outer.iter().any(|outer| glob(outer, inner)))
}

/// True when whoever carries all labels of `inner` carries all of `outer`.
pub(super) fn labels_cover(outer: &[(String, String)], inner: &[(String, String)]) -> bool {
    outer.iter().all(|label| inner.contains(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wider_pattern_covers_a_narrower_one() {
        let cases = [
            ("ecs.*", "ecs.ebm*", true),
            ("ecs.ebm*", "ecs.*", false),
            ("*", "a", true),
            ("a*c", "a*b*c", true),
            ("a", "a*", false),
            ("a*b", "a*", false),
        ];
        for (outer, inner, want) in cases {
            assert_eq!(cover(&[outer.into()], &[inner.into()]), want, "{outer} {inner}");
        }
    }

    #[test]
    fn everything_has_more_than_one_spelling() {
        let of = |patterns: &[&str]| {
            is_everything(&patterns.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
        };
        assert!(of(&["*"]) && of(&["**"]) && of(&["a", "***"]));
        assert!(!of(&[]) && !of(&["a*", "*a", "*-*"]));
        let letters: Vec<String> = ('a'..='z').map(|c| format!("{c}*")).collect();
        let digits: Vec<String> = ('0'..='9').map(|c| format!("*{c}*")).collect();
        assert!(!is_everything(&letters));
        assert!(is_everything(&[letters, digits].concat()));
    }

    #[test]
    fn label_keys_are_those_of_kubernetes() {
        for key in ["type", "a.b/c", "node.kubernetes.io/instance-type", "A_b.c"] {
            assert!(is_label_key(key), "{key}");
        }
        for key in ["", "/a", "a/", "a/b/c", "-a", "a b", "A.b/c", "神"] {
            assert!(!is_label_key(key), "{key}");
        }
    }
}
