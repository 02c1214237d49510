//! Bytes to a tree of values that know where they stand, or the reason why not.
//!
//! A typed `Deserialize` stops at its first fault. So the YAML is read once into this tree, which
//! accepts whatever is YAML, and the readers walk it and collect every fault. Nothing here knows
//! the language, and no input may cost more than the budget below.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Location, Options, Spanned};

use super::diagnostic::{Faults, Place, lines, quoted};
use super::{codes, yaml_hints};

/// The largest file that is read.
pub const MAX_BYTES: usize = 1 << 20;
/// The deepest nesting; the language itself needs 6 levels.
const MAX_DEPTH: usize = 12;
/// Scalars, lists and mappings in a file.
const MAX_NODES: usize = 50_000;
/// Documents in a file, those without content among them.
const MAX_DOCUMENTS: usize = 16;
/// Aliases in a file, and the nodes that they may add.
const MAX_ALIASES: usize = 1000;
const MAX_REPLAYED: usize = 20_000;

/// A value and where it stands.
pub(super) struct YamlNode {
    pub(super) at: Place,
    pub(super) value: Value,
    /// It is written without quotes, or is no text.
    pub(super) plain: bool,
}

/// What YAML can say. Numbers keep their spelling: `1.50` is a quantity, not a float.
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<YamlNode>),
    Map(Vec<Entry>),
    /// It has been refused already.
    Refused,
}

impl Value {
    /// The text, if it is text.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// A key with its value; keys are unique within a mapping.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Place,
    pub(super) node: YamlNode,
}

/// Reads a file. `None`: it is refused and the reason is among the faults. An empty file is `Null`.
pub(super) fn parse(bytes: &[u8], faults: &mut Faults) -> Option<YamlNode> {
    let source = text_of(bytes, faults)?;
    match serde_saphyr::from_multiple_with_options::<Spanned<Raw>>(source, options()) {
        Ok(documents) => one_document(documents, source, faults),
        Err(error) => {
            report(&error, source, faults);
            None
        }
    }
}

/// The file's one document. A document without content is none: it is a `---` before, after or
/// between others, or a comment.
fn one_document(
    documents: Vec<Spanned<Raw>>,
    source: &str,
    faults: &mut Faults,
) -> Option<YamlNode> {
    let mut documents = documents.into_iter();
    let first = documents.next();
    if let Some(second) = documents.next() {
        let message = "a second YAML document begins here; a policy is one document";
        let hint = "keep one document in a file, without `---` between its parts";
        let at = place_of(second.referenced);
        faults.report_hint(&codes::SEVERAL_DOCUMENTS, at, message, hint);
        return None;
    }
    match first {
        Some(raw) => Some(node_of(raw, source, faults)),
        None => Some(YamlNode { at: Place::START, value: Value::Null, plain: true }),
    }
}

/// The file as text without a byte order mark.
fn text_of<'a>(bytes: &'a [u8], faults: &mut Faults) -> Option<&'a str> {
    if bytes.len() > MAX_BYTES {
        let message = format!("the file has {} bytes, at most {MAX_BYTES} are read", bytes.len());
        faults.report(&codes::FILE_TOO_LARGE, Place::START, message);
        return None;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let at = place_after(&String::from_utf8_lossy(valid));
            let message = "this is not UTF-8 text; is it a binary file?";
            faults.report_hint(&codes::NOT_UTF8, at, message, "save the policy as UTF-8");
            return None;
        }
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let foreign = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}');
    if let Some(at) = text.find(foreign) {
        let (before, rest) = text.split_at(at);
        let code = rest.chars().next().map_or(0, u32::from);
        let message = format!("control character U+{code:04X} in the file; is it a binary file?");
        faults.report(&codes::CONTROL_CHARACTER, place_after(before), message);
        return None;
    }
    Some(text)
}

/// The place of the character that follows `before`.
fn place_after(before: &str) -> Place {
    let (count, last) = lines(before).fold((0, ""), |(count, _), line| (count + 1, line));
    let number = |it: usize| u32::try_from(it).unwrap_or(u32::MAX);
    Place { line: number(count), column: number(last.chars().count() + 1) }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_aliases: MAX_ALIASES,
            max_documents: MAX_DOCUMENTS,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED,
            max_replay_stack_depth: MAX_DEPTH,
        },
        // Passed through to us, so that every duplicate is told and not only the first.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        // `on`, `yes`, `0755` and `1_000` mean different things to different readers of YAML.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        reject_unsupported_tags: true,
        emit_comments: false,
        with_snippet: false,
    }
}

fn report(error: &Error, source: &str, faults: &mut Faults) {
    let at = error.location().map_or(Place::START, place_of);
    let mut error = error.without_snippet();
    while let Error::AliasError { error: inner, .. } = error {
        error = inner.without_snippet();
    }
    match error {
        Error::Budget { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::RecursiveReferencesRequireWeakTypes { .. } => over_budget(at, faults),
        Error::UnsupportedTag { tag, .. } => {
            let message = format!("the tag {} is not part of the language", quoted(tag));
            faults.report_hint(&codes::FOREIGN_YAML, at, message, "leave the tag out");
        }
        other => {
            let text = other.to_string();
            let text = text.split(" at line ").next().unwrap_or_default();
            // The scanner has a limit of its own for `[[[…`, and tells of it only by this text.
            if text.contains("recursion limit") {
                return over_budget(at, faults);
            }
            let text: String = text.chars().take(200).collect();
            let hint = yaml_hints::hint(&text, at, source);
            faults.report_hint(&codes::NOT_YAML, at, format!("not valid YAML: {text}"), hint);
        }
    }
}

fn over_budget(at: Place, faults: &mut Faults) {
    let message = format!(
        "too much YAML: at most {MAX_DEPTH} levels, {MAX_NODES} values, {MAX_ALIASES} aliases, \
         {MAX_REPLAYED} values out of aliases, and no alias within its anchor"
    );
    faults.report(&codes::OVER_BUDGET, at, message);
}

fn place_of(location: Location) -> Place {
    let number = |it: u64| u32::try_from(it).unwrap_or(u32::MAX).max(1);
    Place { line: number(location.line()), column: number(location.column()) }
}

fn node_of(raw: Spanned<Raw>, source: &str, faults: &mut Faults) -> YamlNode {
    // A value behind an alias is shown where the alias stands: that is what its reader wrote.
    let at = place_of(raw.referenced);
    let spelled = spelling(raw.defined, source);
    let plain = !spelled.starts_with(['"', '\'', '|', '>', '!']);
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Bool(value) => Value::Bool(value),
        Raw::Number => Value::Number(spelled.to_owned()),
        Raw::Text(text) => Value::Text(text),
        Raw::List(list) => {
            Value::List(list.into_iter().map(|it| node_of(it, source, faults)).collect())
        }
        Raw::Map(entries) => match entries_of(entries, source, faults) {
            Some(entries) => Value::Map(entries),
            None => Value::Refused,
        },
    };
    YamlNode { at, value, plain }
}

/// `None`: it is no mapping of the language at all.
fn entries_of(
    raw: Vec<(Spanned<Raw>, Spanned<Raw>)>,
    source: &str,
    faults: &mut Faults,
) -> Option<Vec<Entry>> {
    let mut seen = BTreeSet::new();
    let mut entries = Vec::with_capacity(raw.len());
    for (key, value) in raw {
        let at = place_of(key.referenced);
        let key = match key.value {
            Raw::Text(text) if text == "<<" => {
                let message = "the merge key `<<` is not part of the language";
                let hint = "write the fields out, or give the whole value an alias";
                faults.report_hint(&codes::FOREIGN_YAML, at, message, hint);
                continue;
            }
            Raw::Text(text) => text,
            Raw::Bool(value) => value.to_string(),
            Raw::Number => spelling(key.defined, source).to_owned(),
            Raw::Null | Raw::List(_) | Raw::Map(_) => {
                let hint = match &key.value {
                    Raw::Map(_) => "`{{ … }}` is a template that has not been rendered",
                    _ => "",
                };
                let message = "a key must be plain text";
                faults.report_hint(&codes::FOREIGN_YAML, at, message, hint);
                return None;
            }
        };
        let node = node_of(value, source, faults);
        if seen.insert(key.clone()) {
            entries.push(Entry { key, at, node });
        } else {
            let message = format!("the key {} stands twice in this mapping", quoted(&key));
            faults.report_hint(&codes::DUPLICATE_KEY, at, message, "keep one of the two");
        }
    }
    Some(entries)
}

/// A value as it was written.
fn spelling(location: Location, source: &str) -> &str {
    let span = location.span();
    let start = span.byte_offset().and_then(|it| usize::try_from(it).ok());
    let len = span.byte_len().and_then(|it| usize::try_from(it).ok());
    let range = start.zip(len).map(|(start, len)| start..start.saturating_add(len));
    range.and_then(|range| source.get(range)).unwrap_or_default()
}

/// A YAML node as the parser gives it.
enum Raw {
    Null,
    Bool(bool),
    Number,
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}
