//! The JSON Schema is up to date, and says yes and no where the readers do.
//!
//! The validator below knows the keywords that the schema uses and refuses to overlook one.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;
use sigma::policy::{Severity, codes, compile, schema};

use crate::{check_file, fixtures, root};

#[test]
fn the_checked_in_schema_is_up_to_date() {
    check_file(&root().join("policies/policy.schema.json"), &schema());
}

#[test]
fn what_is_accepted_satisfies_the_schema() {
    let shipped = root().join("policies/default.yaml");
    let shipped = std::fs::read(shipped).expect("it is shipped");
    assert_eq!(faults_of(&shipped), [""; 0]);
    // `0755` is text to sigma alone, as its finding says.
    let accepted = fixtures().into_iter().filter(|(name, _, bytes)| {
        compile(name, bytes).is_ok() && !name.starts_with(codes::AMBIGUOUS_TEXT.id)
    });
    let mut count = 0;
    for (name, _, bytes) in accepted {
        assert_eq!(faults_of(&bytes), [""; 0], "{name}");
        count += 1;
    }
    assert!(count >= 40, "only {count} fixtures are accepted");
}

#[test]
fn what_is_malformed_does_not() {
    // Those faults that a schema can see; patterns and references between sections it cannot.
    let visible = ["P0101", "P0102", "P0103", "P0104", "P0105", "P0106", "P0108", "P0109", "P0404"];
    for (name, _, bytes) in fixtures() {
        if name.ends_with("bad") && visible.iter().any(|code| name.starts_with(code)) {
            assert!(!faults_of(&bytes).is_empty(), "the schema accepts {name}");
        }
    }
}

/// Errors that a schema sees: it knows one value at a time, and neither sizes written as text nor what
/// other sections say.
const VISIBLE: [&codes::Code; 15] = [
    &codes::API_VERSION,
    &codes::KIND,
    &codes::UNKNOWN_FIELD,
    &codes::NOT_SUPPORTED_YET,
    &codes::WRONG_TYPE,
    &codes::MISSING_FIELD,
    &codes::BAD_NAME,
    &codes::TOO_MANY,
    &codes::EMPTY,
    &codes::BAD_PERCENTAGE,
    &codes::BAD_QUANTITY,
    &codes::BAD_INTEGER,
    &codes::UNKNOWN_SCORER,
    &codes::FILTER_WEIGHED,
    &codes::BAD_WEIGHT,
];

/// Spellings of numbers that sigma refuses: a schema sees the values, which are in order.
const SPELT: [&str; 3] = ["0x7", "1e2", "1e+06"];

/// What an editor may take for another value than sigma, and which finding says so.
const READ_DIFFERENTLY: [&codes::Code; 1] = [&codes::AMBIGUOUS_TEXT];

#[test]
fn lint_and_schema_agree() {
    let mut wrong = Vec::new();
    let all = crate::mutants::all().into_iter().map(|it| (it.name, it.bytes));
    let fixtures = fixtures().into_iter().map(|(name, _, bytes)| (name, bytes));
    for (name, bytes) in all.chain(fixtures) {
        let found = crate::diagnostics(&name, &bytes);
        let Some(faults) = read(&bytes).map(|it| faults(&it)) else {
            let refused = found.iter().any(|it| it.severity == Severity::Error);
            if !refused {
                wrong.push(format!("{name}: only sigma can read it"));
            }
            continue;
        };
        let seen = |codes: &[&codes::Code]| {
            found.iter().find(|it| codes.iter().any(|code| code.id == it.code))
        };
        let refused = found.iter().find(|it| it.severity == Severity::Error);
        match (faults.first(), refused) {
            (Some(fault), None) if seen(&READ_DIFFERENTLY).is_none() => {
                wrong.push(format!("{name}: only the schema refuses it: {fault}"));
            }
            (None, Some(_)) if !SPELT.iter().any(|it| name.contains(it)) => {
                wrong.extend(seen(&VISIBLE).map(|it| format!("{name}: only lint: {it:?}")));
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn examples_and_defaults_satisfy_their_own_schema() {
    let definitions = SCHEMA["$defs"].as_object().expect("definitions").values();
    let mut count = 0;
    for definition in definitions.chain([&*SCHEMA]) {
        let fields = definition["properties"].as_object().expect("properties").iter();
        for (field, described) in fields.filter(|(_, it)| it["deprecated"] != true) {
            let examples = described["examples"].as_array().expect(field);
            for value in examples.iter().chain(described.get("default")) {
                let mut found = Vec::new();
                validate(&SCHEMA, described, value, field, &mut found);
                assert_eq!(found, [""; 0], "{field}: {value}");
                count += 1;
            }
        }
    }
    assert!(count > 60, "only {count}");
    assert!(SCHEMA["$id"].as_str().is_some_and(|it| it.starts_with("https://")));
}

#[test]
fn a_modeline_names_a_schema_that_is_there() {
    for path in ["policies/default.yaml", "deploy/base/policy/default.yaml"] {
        let path = root().join(path);
        let text = std::fs::read_to_string(&path).expect("it is shipped");
        let line = text.lines().next().expect("a line");
        let name = line.strip_prefix("# yaml-language-server: $schema=").expect("a modeline");
        let schema = path.parent().expect("a folder").join(name);
        let schema = schema.canonicalize().expect(line);
        let shipped =
            root().join("policies/policy.schema.json").canonicalize().expect("it is there");
        assert_eq!(schema, shipped);
    }
}

static SCHEMA: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(&schema()).expect("the schema is JSON"));

/// What a policy does not satisfy.
fn faults_of(bytes: &[u8]) -> Vec<String> {
    faults(&read(bytes).expect("the fixture is YAML"))
}

/// A document as an editor reads it (YAML 1.2): `off` is a word, not YAML 1.1's `false`, and `0755` a
/// number. `None`: it is no YAML.
fn read(bytes: &[u8]) -> Option<Value> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        underscored_numbers_as_strings: true,
        leading_zero_numbers_as_strings: false,
    };
    let mut documents: Vec<Value> =
        serde_saphyr::from_slice_multiple_with_options(bytes, options).ok()?;
    (documents.len() <= 1).then(|| documents.pop().unwrap_or_default())
}

fn faults(document: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    validate(&SCHEMA, &SCHEMA, document, "", &mut faults);
    faults
}

fn matches(pattern: &Value, text: &str) -> bool {
    static PATTERNS: LazyLock<BTreeMap<String, Regex>> = LazyLock::new(|| {
        let mut found = BTreeMap::new();
        collect_patterns(&SCHEMA, &mut found);
        found
    });
    let pattern = pattern.as_str().expect("a pattern is text");
    PATTERNS.get(pattern).expect("it is in the schema").is_match(text)
}

fn collect_patterns(schema: &Value, found: &mut BTreeMap<String, Regex>) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(pattern)) = fields.get("pattern") {
                found.insert(pattern.clone(), Regex::new(pattern).expect("a pattern"));
            }
            fields.values().for_each(|it| collect_patterns(it, found));
        }
        Value::Array(items) => items.iter().for_each(|it| collect_patterns(it, found)),
        _ => {}
    }
}

fn validate(root: &Value, schema: &Value, it: &Value, path: &str, faults: &mut Vec<String>) {
    let keywords = schema.as_object().expect("a schema is an object");
    let number = |it: &Value| it.as_f64().expect("a limit is a number");
    for (keyword, want) in keywords {
        let holds = match keyword.as_str() {
            "$schema" | "$id" | "title" | "description" | "$defs" | "format" | "default"
            | "examples" | "deprecated" => true,
            "pattern" => it.as_str().is_none_or(|it| matches(want, it)),
            "exclusiveMaximum" => it.as_f64().is_none_or(|it| it < number(want)),
            "$ref" => {
                let pointer = want.as_str().and_then(|it| it.strip_prefix('#')).expect("local");
                let target = root.pointer(pointer).expect("a reference has a target");
                validate(root, target, it, path, faults);
                true
            }
            "anyOf" => {
                let mut any = want.as_array().expect("a list").iter();
                any.any(|schema| {
                    let mut faults = Vec::new();
                    validate(root, schema, it, path, &mut faults);
                    faults.is_empty()
                })
            }
            "type" => match want {
                Value::Array(any) => any.iter().any(|want| is_a(it, want)),
                one => is_a(it, one),
            },
            "const" => it == want,
            "enum" => want.as_array().is_some_and(|any| any.contains(it)),
            "minimum" => it.as_f64().is_none_or(|it| it >= number(want)),
            "maximum" => it.as_f64().is_none_or(|it| it <= number(want)),
            "maxLength" => it.as_str().is_none_or(|it| it.len() as f64 <= number(want)),
            "minItems" => it.as_array().is_none_or(|it| it.len() as f64 >= number(want)),
            "maxItems" => it.as_array().is_none_or(|it| it.len() as f64 <= number(want)),
            "minProperties" => it.as_object().is_none_or(|it| it.len() as f64 >= number(want)),
            "uniqueItems" => it.as_array().is_none_or(|it| {
                it.iter().enumerate().all(|(at, one)| !it.iter().skip(at + 1).any(|b| b == one))
            }),
            "required" => it.as_object().is_none_or(|it| {
                let mut fields = want.as_array().into_iter().flatten().filter_map(Value::as_str);
                fields.all(|field| it.contains_key(field))
            }),
            "items" | "properties" | "additionalProperties" => {
                descend(root, keywords, keyword, it, path, faults);
                true
            }
            other => {
                faults.push(format!("the validator does not know the keyword {other}"));
                true
            }
        };
        if !holds {
            faults.push(format!("{path}: {keyword} {want}"));
        }
    }
}

/// Validates what stands in `it`, as far as `keyword` speaks of it.
fn descend(
    root: &Value,
    keywords: &serde_json::Map<String, Value>,
    keyword: &str,
    it: &Value,
    path: &str,
    faults: &mut Vec<String>,
) {
    let want = &keywords[keyword];
    for (at, item) in it.as_array().into_iter().flatten().enumerate() {
        if keyword == "items" {
            validate(root, want, item, &format!("{path}/{at}"), faults);
        }
    }
    for (key, value) in it.as_object().into_iter().flatten() {
        let path = format!("{path}/{key}");
        let known = keywords.get("properties").and_then(|known| known.get(key));
        match (keyword, known, want) {
            ("properties", Some(schema), _) => validate(root, schema, value, &path, faults),
            ("additionalProperties", None, Value::Bool(allowed)) if !allowed => {
                faults.push(format!("{path} is unknown"));
            }
            ("additionalProperties", None, schema) => validate(root, schema, value, &path, faults),
            _ => {}
        }
    }
}

fn is_a(it: &Value, name: &Value) -> bool {
    match name.as_str() {
        Some("object") => it.is_object(),
        Some("array") => it.is_array(),
        Some("string") => it.is_string(),
        Some("boolean") => it.is_boolean(),
        Some("null") => it.is_null(),
        Some("integer") => it.as_f64().is_some_and(|it| it.fract() == 0.0),
        Some("number") => it.is_number(),
        _ => false,
    }
}
