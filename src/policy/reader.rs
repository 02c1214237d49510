//! Typed reading of single values. Each function returns what it understood, or notes why it did
//! not.

use super::codes;
use super::diagnostic::{Faults, Place, did_you_mean, quoted};
use super::objects::Object;
use super::tree::{Entry, Node, Value};
use crate::model::{QuantityError, parse_milli, parse_value};

/// The most entries of any list or mapping: pools, classes, patterns, labels, weights.
pub(super) const MAX_ENTRIES: usize = 64;

/// A mapping whose keys have been checked against what may stand in it.
pub(super) struct Fields<'t> {
    /// Where the mapping begins.
    pub(super) at: Place,
    what: &'static str,
    entries: Vec<&'t Entry>,
    /// Nothing stands in it, not even what was refused.
    empty: bool,
}

impl<'t> Fields<'t> {
    /// Reads `node` as `object`. `None`: it is no mapping.
    pub(super) fn of(node: &'t Node, object: &Object, faults: &mut Faults) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            wrong_type(node, &format!("{} is a mapping of fields", object.what), faults);
            return None;
        };
        let mut known = Vec::new();
        for entry in entries {
            if object.fields.contains(&entry.key.as_str()) {
                known.push(entry);
            } else if object.later.contains(&entry.key.as_str()) {
                not_supported_yet(&entry.key, entry.at, faults);
            } else {
                let name = quoted(&entry.key);
                let message = format!("{} has no field {name}", object.what);
                let hint = did_you_mean(&entry.key, object.fields.iter().copied());
                let hint = hint.unwrap_or_else(|| format!("it has {}", listed(object.fields)));
                faults.report_hint(&codes::UNKNOWN_FIELD, entry.at, message, hint);
            }
        }
        let empty = entries.is_empty();
        Some(Self { at: node.at, what: object.what, entries: known, empty })
    }

    /// The value of a field, if it is given.
    pub(super) fn get(&self, name: &str) -> Option<&'t Node> {
        self.entry(name).map(|entry| &entry.node)
    }

    /// The value of a field that must be given.
    pub(super) fn need(&self, name: &str, faults: &mut Faults) -> Option<&'t Node> {
        let found = self.get(name);
        if found.is_none() {
            let message = format!("{} needs the field `{name}`", self.what);
            faults.report(&codes::MISSING_FIELD, self.at, message);
        }
        found
    }

    /// Where the key of a field stands.
    pub(super) fn place(&self, name: &str) -> Place {
        self.entry(name).map_or(self.at, |entry| entry.at)
    }

    /// Notes a fault when no field is given.
    pub(super) fn need_any(&self, hint: &str, faults: &mut Faults) {
        if self.empty {
            let message = format!("{} says nothing", self.what);
            faults.report_hint(&codes::EMPTY, self.at, message, hint);
        }
    }

    fn entry(&self, name: &str) -> Option<&'t Entry> {
        self.entries.iter().copied().find(|entry| entry.key == name)
    }
}

/// Notes that something is planned and not in force.
pub(super) fn not_supported_yet(name: &str, at: Place, faults: &mut Faults) {
    let message = format!("this version does not support `{name}` yet");
    let hint = "leave it out: what it says would not be in force";
    faults.report_hint(&codes::NOT_SUPPORTED_YET, at, message, hint);
}

/// Notes a value of the wrong type.
pub(super) fn wrong_type(node: &Node, expected: &str, faults: &mut Faults) {
    let (found, hint) = match &node.value {
        Value::Null => ("nothing".to_owned(), "give it a value, or leave the field out"),
        Value::Bool(value) => (format!("`{value}`"), ""),
        Value::Number(text) => (format!("the number {}", quoted(text)), ""),
        Value::Text(text) => (quoted(text), ""),
        Value::List(_) => ("a list".to_owned(), ""),
        Value::Map(_) => ("a mapping".to_owned(), ""),
    };
    let message = format!("{expected}, found {found}");
    faults.report_hint(&codes::WRONG_TYPE, node.at, message, hint);
}

/// A list, with its length checked. What is beyond the limit is not read.
pub(super) fn list<'t>(node: &'t Node, what: &str, faults: &mut Faults) -> Option<&'t [Node]> {
    let Value::List(items) = &node.value else {
        wrong_type(node, &format!("{what} is a list"), faults);
        return None;
    };
    Some(within_limit(items, |item| item.at, what, faults))
}

/// A mapping with names of the user's own as keys, with its size checked.
pub(super) fn map<'t>(node: &'t Node, what: &str, faults: &mut Faults) -> Option<&'t [Entry]> {
    let Value::Map(entries) = &node.value else {
        wrong_type(node, &format!("{what} is a mapping"), faults);
        return None;
    };
    Some(within_limit(entries, |entry| entry.at, what, faults))
}

fn within_limit<'t, T>(
    items: &'t [T],
    place: impl Fn(&T) -> Place,
    what: &str,
    faults: &mut Faults,
) -> &'t [T] {
    if let Some(first) = items.get(MAX_ENTRIES) {
        let message = format!("{what} has {} entries, at most {MAX_ENTRIES}", items.len());
        faults.report(&codes::TOO_MANY, place(first), message);
    }
    items.get(..MAX_ENTRIES).unwrap_or(items)
}

/// Notes an empty list or mapping that must not be empty.
pub(super) fn need_entries(count: usize, at: Place, what: &str, faults: &mut Faults) {
    if count == 0 {
        let hint = "give it an entry, or leave the field out";
        faults.report_hint(&codes::EMPTY, at, format!("{what} is empty"), hint);
    }
}

/// Text as such; a bare number or boolean is refused, because YAML readers differ on its spelling.
pub(super) fn text<'t>(node: &'t Node, what: &str, faults: &mut Faults) -> Option<&'t str> {
    let spelled = match &node.value {
        Value::Text(text) => return Some(text),
        Value::Number(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Null | Value::List(_) | Value::Map(_) => {
            wrong_type(node, &format!("{what} is text"), faults);
            return None;
        }
    };
    let message = format!("{what} is text, and {} without quotes is not", quoted(&spelled));
    let hint = format!("\"{}\"", spelled.chars().take(64).collect::<String>());
    faults.report_hint(&codes::WRONG_TYPE, node.at, message, hint);
    None
}

/// A name: what Kubernetes calls a DNS label.
pub(super) fn name<'t>(node: &'t Node, what: &str, faults: &mut Faults) -> Option<&'t str> {
    let name = text(node, what, faults)?;
    if is_dns_label(name) {
        return Some(name);
    }
    let message = format!("{} is no name for {what}", quoted(name));
    let hint = "a name has at most 63 of a-z, 0-9 and `-`, and begins and ends with none of `-`";
    faults.report_hint(&codes::BAD_NAME, node.at, message, hint);
    None
}

/// At most 63 of `a-z`, `0-9` and `-`, at neither end a `-`.
pub fn is_dns_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// `true` or `false`.
pub(super) fn boolean(node: &Node, what: &str, faults: &mut Faults) -> Option<bool> {
    match &node.value {
        Value::Bool(value) => return Some(*value),
        Value::Text(text) => {
            let message = format!("{what} is `true` or `false`, found {}", quoted(text));
            let hint = match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "y" => "true",
                "false" | "no" | "off" | "n" => "false",
                _ => "",
            };
            faults.report_hint(&codes::WRONG_TYPE, node.at, message, hint);
        }
        _ => wrong_type(node, &format!("{what} is `true` or `false`"), faults),
    }
    None
}

/// A percentage from 1% to 100% in steps of 0.1%, in thousandths.
pub(super) fn percent(node: &Node, what: &str, faults: &mut Faults) -> Option<u32> {
    let (spelled, bare) = match &node.value {
        Value::Number(text) => (text.as_str(), true),
        Value::Text(text) => (text.as_str(), false),
        _ => {
            wrong_type(node, &format!("{what} is a percentage such as `95%`"), faults);
            return None;
        }
    };
    let number = spelled.trim().strip_suffix('%').filter(|_| !bare);
    if let Some(permille) = number.and_then(permille)
        && number.is_some_and(|number| spelled.len() == number.len() + 1)
        && (10..=1000).contains(&permille)
    {
        return Some(permille);
    }
    let message = match number.and_then(permille) {
        None if bare => format!("{what} is a percentage, and {} has no unit", quoted(spelled)),
        Some(permille) if !(10..=1000).contains(&permille) => {
            format!("{what} is from 1% to 100%, found {}", quoted(spelled))
        }
        _ => format!("{what} is a percentage such as `95%` or `97.5%`, found {}", quoted(spelled)),
    };
    faults.report_hint(&codes::BAD_PERCENTAGE, node.at, message, percent_hint(spelled));
    None
}

/// What was probably meant: `90` is 90%, `0.9` is 90%, `90 %` is 90%.
fn percent_hint(spelled: &str) -> String {
    let number = spelled.trim().trim_end_matches('%').trim();
    let fraction = number.strip_prefix("0.").filter(|it| it.len() <= 3 && !spelled.contains('%'));
    let permille = match fraction {
        Some(digits) => format!("{digits:0<3}").parse().ok(),
        None => permille(number),
    };
    match permille.filter(|permille| (10..=1000).contains(permille)) {
        Some(permille) if permille % 10 == 0 => format!("{}%", permille / 10),
        Some(permille) => format!("{}.{}%", permille / 10, permille % 10),
        None => String::new(),
    }
}

/// `95` or `97.5` in thousandths of a whole, which is 100.
fn permille(number: &str) -> Option<u32> {
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str, max| {
        (1..=max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !digits(whole, 6) || !digits(tenth, 1) {
        return None;
    }
    Some(whole.parse::<u32>().ok()? * 10 + tenth.parse::<u32>().ok()?)
}

/// How a quantity is counted.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    /// In thousandths: CPU.
    Milli,
    /// In units: bytes, pods.
    One,
}

/// A Kubernetes quantity.
pub(super) fn quantity(node: &Node, what: &str, unit: Unit, faults: &mut Faults) -> Option<i64> {
    let (Value::Number(spelled) | Value::Text(spelled)) = &node.value else {
        wrong_type(node, &format!("{what} is a quantity such as `2000` or `8Ti`"), faults);
        return None;
    };
    let parsed = match unit {
        Unit::Milli => parse_milli(spelled),
        Unit::One => parse_value(spelled),
    };
    let message = match parsed {
        Ok(value) => return Some(value),
        Err(QuantityError::Negative) => format!("{what} cannot be {}: below zero", quoted(spelled)),
        Err(QuantityError::Malformed) => {
            format!("{what} is a Kubernetes quantity, and {} is none", quoted(spelled))
        }
    };
    faults.report_hint(&codes::BAD_QUANTITY, node.at, message, quantity_hint(spelled));
    None
}

/// `8TB`, `8 Ti`, `8ti`: the suffix that was probably meant.
fn quantity_hint(spelled: &str) -> String {
    let spelled = spelled.trim();
    let end = spelled.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(spelled.len());
    let (number, suffix) = spelled.split_at(end);
    let suffix = match suffix.trim().to_ascii_lowercase().as_str() {
        "k" | "kb" => "k",
        "m" | "mb" => "M",
        "g" | "gb" => "G",
        "t" | "tb" => "T",
        "ki" | "kib" => "Ki",
        "mi" | "mib" => "Mi",
        "gi" | "gib" => "Gi",
        "ti" | "tib" => "Ti",
        _ => return "2000, 500m, 64Gi and 8Ti are quantities".to_owned(),
    };
    if number.is_empty() { String::new() } else { format!("{number}{suffix}") }
}

/// A whole number from `min` to `max`; `code` tells which fault it is not to be one.
pub(super) fn integer(
    node: &Node,
    what: &str,
    (min, max): (i64, i64),
    code: &codes::Code,
    faults: &mut Faults,
) -> Option<i64> {
    let spelled = match &node.value {
        Value::Number(text) | Value::Text(text) => text,
        _ => {
            wrong_type(node, &format!("{what} is a whole number"), faults);
            return None;
        }
    };
    let value = spelled.parse::<i64>().ok().filter(|it| (min..=max).contains(it));
    if value.is_none() || matches!(node.value, Value::Text(_)) {
        let message =
            format!("{what} is a whole number from {min} to {max}, found {}", quoted(spelled));
        let hint = if value.is_some() { "without quotes" } else { "" };
        faults.report_hint(code, node.at, message, hint);
        return None;
    }
    value
}

/// `a, b and c`, each in backticks.
pub(super) fn listed(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match shown.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => shown.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_exact_to_a_tenth() {
        let cases = [("95", Some(950)), ("97.5", Some(975)), ("100.0", Some(1000)), ("1.25", None)];
        for (text, want) in cases {
            assert_eq!(permille(text), want, "{text}");
        }
        for text in ["", ".5", "5.", "-1", "1e2", "９", "1000000000000"] {
            assert_eq!(permille(text), None, "{text}");
        }
    }

    #[test]
    fn hints_say_what_was_meant() {
        let cases = [("90", "90%"), ("0.9", "90%"), ("0.975", "97.5%"), ("90 %", "90%")];
        for (text, want) in cases {
            assert_eq!(percent_hint(text), want, "{text}");
        }
        assert_eq!(percent_hint("much"), "");
        assert_eq!(quantity_hint("8TB"), "8T");
        assert_eq!(quantity_hint("8 ti"), "8Ti");
        assert_eq!(listed(&["a", "b", "c"]), "`a`, `b` and `c`");
    }

    #[test]
    fn names_are_dns_labels() {
        for (text, want) in [("a", true), ("a-1", true), ("-a", false), ("A", false), ("", false)] {
            assert_eq!(is_dns_label(text), want, "{text}");
        }
        assert!(!is_dns_label(&"a".repeat(64)));
    }
}
