//! Typed reading of single values. Each function returns what it understood, or notes why it did
//! not.

use super::codes;
use super::diagnostic::{Faults, Place, closest, quoted};
use super::objects::Object;
use super::tree::{Entry, Value, YamlNode};
use crate::retired::{self, Renamed};

/// The most entries of any list or mapping: pools, classes, patterns, labels, weights.
pub(super) const MAX_ENTRIES: usize = 64;

/// A mapping whose keys have been checked against what may stand in it.
///
/// An unknown key that is nearly a field is read as that field: its fault has been told, and nothing
/// that only follows from it is worth a second one.
pub(super) struct Fields<'t> {
    /// Where the mapping begins.
    pub(super) at: Place,
    what: &'static str,
    entries: Vec<(&'static str, &'t Entry)>,
    /// Fields that were meant and whose value cannot be told, as in `elastic:true`.
    garbled: Vec<&'static str>,
    /// Nothing stands in it, not even what was refused.
    empty: bool,
}

impl<'t> Fields<'t> {
    /// Reads `node` as `object`. `None`: it is no mapping.
    pub(super) fn of(node: &'t YamlNode, object: &Object, faults: &mut Faults) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            wrong_type(node, &format!("{} is a mapping of fields", object.what), faults);
            return None;
        };
        let field = |key: &str| {
            let key = retired::current(object.retired, key);
            object.fields.iter().copied().find(|field| *field == key)
        };
        warn_of_retired(entries, object.retired, faults);
        let known = entries.iter().filter_map(|it| Some((field(&it.key)?, it))).collect();
        let (what, garbled, empty) = (object.what, Vec::new(), entries.is_empty());
        let mut fields = Self { at: node.at, what, entries: known, garbled, empty };
        for entry in entries.iter().filter(|it| field(&it.key).is_none()) {
            match object.later.contains(&entry.key.as_str()) {
                true => not_supported_yet(&entry.key, entry.at, faults),
                false => fields.unknown(entry, object, faults),
            }
        }
        Some(fields)
    }

    /// Notes a key that the object does not have, and takes it for the field that it nearly is.
    fn unknown(&mut self, entry: &'t Entry, object: &Object, faults: &mut Faults) {
        let message = format!("{} has no field {}", self.what, quoted(&entry.key));
        let glued = glued_field(&entry.key, object.fields);
        let meant = glued.as_ref().map(|(field, _)| *field);
        let meant = meant.or_else(|| closest(&entry.key, object.fields.iter().copied()));
        let hint = match (&glued, meant) {
            (Some((_, hint)), _) => hint.clone(),
            (None, Some(field)) => format!("did you mean `{field}`?"),
            (None, None) => format!("it has {}", listed(object.fields)),
        };
        faults.report_hint(&codes::UNKNOWN_FIELD, entry.at, message, hint);
        match meant.filter(|field| !self.has(field)) {
            Some(field) if glued.is_some() => self.garbled.push(field),
            Some(field) => self.entries.push((field, entry)),
            None => {}
        }
    }

    /// The value of a field, if it is given.
    pub(super) fn get(&self, name: &str) -> Option<&'t YamlNode> {
        self.entry(name).map(|entry| &entry.node)
    }

    /// True when a field is given, or was meant to be.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entry(name).is_some() || self.garbled.contains(&name)
    }

    /// The value of a field that must be given.
    pub(super) fn need(&self, name: &str, faults: &mut Faults) -> Option<&'t YamlNode> {
        if !self.has(name) {
            let message = format!("{} needs the field `{name}`", self.what);
            faults.report(&codes::MISSING_FIELD, self.at, message);
        }
        self.get(name)
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
        self.entries.iter().find(|(field, _)| *field == name).map(|(_, entry)| *entry)
    }
}

/// Warns of each name of an earlier version. Refuses it beside its name of now: one of the two would be without
/// effect.
pub(super) fn warn_of_retired(entries: &[Entry], table: &[Renamed], faults: &mut Faults) {
    for entry in entries {
        let Some((old, new)) = table.iter().find(|(old, _)| *old == entry.key) else {
            continue;
        };
        match entries.iter().find(|it| it.key == *new) {
            Some(other) => {
                let Place { line, column } = other.at;
                let message = format!(
                    "`{old}` is an old name of `{new}`, which line {line}, column {column} has too"
                );
                faults.report_hint(
                    &codes::RETIRED_TWICE,
                    entry.at,
                    message,
                    format!("remove `{old}`"),
                );
            }
            None => {
                let message = format!("`{old}` is an old name of `{new}`");
                faults.report_hint(
                    &codes::RETIRED_NAME,
                    entry.at,
                    message,
                    format!("write `{new}`"),
                );
            }
        }
    }
}

/// The field that a key such as `elastic:true` or `elastic：true` begins with, and what is wrong.
fn glued_field(key: &str, fields: &[&'static str]) -> Option<(&'static str, String)> {
    let at = key.find([':', '：'])?;
    let (name, rest) = key.split_at(at);
    let field = fields.iter().copied().find(|field| *field == name.trim())?;
    let colon = rest.chars().next()?;
    let value = rest.get(colon.len_utf8()..).unwrap_or_default().trim();
    let value: String = value.chars().take(40).collect();
    let hint = match colon {
        ':' => format!("a blank is missing behind the colon: `{field}: {value}`"),
        wide => format!("`{wide}` is a wide colon (U+{:04X}): `{field}: {value}`", u32::from(wide)),
    };
    Some((field, hint))
}

/// Notes that something is planned and not in force.
pub(super) fn not_supported_yet(name: &str, at: Place, faults: &mut Faults) {
    let message = format!("this version does not support `{name}` yet");
    let hint = "leave it out: what it says would not be in force";
    faults.report_hint(&codes::NOT_SUPPORTED_YET, at, message, hint);
}

/// Notes a value of the wrong type.
pub(super) fn wrong_type(node: &YamlNode, expected: &str, faults: &mut Faults) {
    let (found, hint) = match &node.value {
        Value::Null => ("nothing".to_owned(), "give it a value, or leave the field out"),
        Value::Bool(value) => (format!("`{value}`"), ""),
        Value::Number(text) => (format!("the number {}", quoted(text)), ""),
        Value::Text(text) => (quoted(text), ""),
        Value::List(_) => ("a list".to_owned(), ""),
        Value::Map(_) => ("a mapping".to_owned(), ""),
        Value::Refused => return,
    };
    let message = format!("{expected}, found {found}");
    faults.report_hint(&codes::WRONG_TYPE, node.at, message, hint);
}

/// A list, with its length checked. What is beyond the limit is not read.
pub(super) fn list<'t>(
    node: &'t YamlNode,
    what: &str,
    faults: &mut Faults,
) -> Option<&'t [YamlNode]> {
    let Value::List(items) = &node.value else {
        wrong_type(node, &format!("{what} is a list"), faults);
        return None;
    };
    Some(within_limit(items, |item| item.at, what, faults))
}

/// A mapping with names of the user's own as keys, with its size checked.
pub(super) fn map<'t>(node: &'t YamlNode, what: &str, faults: &mut Faults) -> Option<&'t [Entry]> {
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
pub(super) fn text<'t>(node: &'t YamlNode, what: &str, faults: &mut Faults) -> Option<&'t str> {
    let spelled = match &node.value {
        Value::Text(text) => {
            warn_of_number(node, text, faults);
            return Some(text);
        }
        Value::Number(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Null | Value::List(_) | Value::Map(_) | Value::Refused => {
            wrong_type(node, &format!("{what} is text"), faults);
            return None;
        }
    };
    let message = format!("{what} is text, and {} without quotes is not", quoted(&spelled));
    let hint = format!("\"{}\"", spelled.chars().take(64).collect::<String>());
    faults.report_hint(&codes::WRONG_TYPE, node.at, message, hint);
    None
}

/// `0755` and `1_000` are text to this reader, and numbers to many others: kubectl's, an editor's.
fn warn_of_number(node: &YamlNode, text: &str, faults: &mut Faults) {
    let digits = text.trim_start_matches(['+', '-']);
    let number = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || c == '_');
    if node.plain && number {
        let shown = quoted(text);
        let message = format!("{shown} is text here, and a number to other readers of YAML");
        let hint = format!("\"{}\"", text.chars().take(64).collect::<String>());
        faults.report_hint(&codes::AMBIGUOUS_TEXT, node.at, message, hint);
    }
}

/// A name: what Kubernetes calls a DNS label.
pub(super) fn name<'t>(node: &'t YamlNode, what: &str, faults: &mut Faults) -> Option<&'t str> {
    let name = text(node, &format!("the name of {what}"), faults)?;
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
pub(super) fn boolean(node: &YamlNode, what: &str, faults: &mut Faults) -> Option<bool> {
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
pub(super) fn percent(node: &YamlNode, what: &str, faults: &mut Faults) -> Option<u32> {
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
    let spelled = narrow(spelled);
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

/// A whole number from `min` to `max`; `code` tells which fault it is not to be one.
pub(super) fn integer(
    node: &YamlNode,
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
        let hint = match value {
            Some(_) => "without quotes".to_owned(),
            None => integer_hint(spelled, (min, max)),
        };
        faults.report_hint(code, node.at, message, hint);
        return None;
    }
    value
}

/// `1e+06`, `1_000`, `1,000`, `1000.0` and `１０００`: the whole number that was probably meant.
fn integer_hint(spelled: &str, (min, max): (i64, i64)) -> String {
    let digits = narrow(spelled).replace(['_', ',', ' '], "");
    // Beyond 2^53 a float is no exact whole number any more.
    let value = digits.parse::<f64>().ok().filter(|it| it.fract() == 0.0 && it.abs() < 9e15);
    let value = value.map(|it| it as i64).filter(|it| (min..=max).contains(it));
    value.map(|it| it.to_string()).unwrap_or_default()
}

/// The text with full-width forms, wide blanks and curly quotes as the plain characters that they look
/// like.
pub(super) fn narrow(text: &str) -> String {
    text.chars().map(|c| narrow_char(c).unwrap_or(c)).collect()
}

/// The plain character that looks like this one, if it is another.
pub(super) fn narrow_char(c: char) -> Option<char> {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0),
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => Some(' '),
        '“' | '”' | '„' | '‟' | '«' | '»' => Some('"'),
        '‘' | '’' | '‚' | '‛' => Some('\''),
        '‐' | '‑' | '‒' | '–' | '—' | '−' => Some('-'),
        '、' => Some(','),
        '【' => Some('['),
        '】' => Some(']'),
        '∗' => Some('*'),
        _ => None,
    }
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
        assert_eq!(percent_hint("９５％"), "95%");
        for (text, want) in [("1e+06", "1000000"), ("1_000", "1000"), ("１０", "10"), ("5.0", "5")]
        {
            assert_eq!(integer_hint(text, (0, 1_000_000)), want, "{text}");
        }
        for text in ["1.5", "much", "1e30", "-1", "nan"] {
            assert_eq!(integer_hint(text, (0, 1_000_000)), "", "{text}");
        }
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
