//! The JSON Schema is up to date, and says yes and no where the readers do.
//!
//! The validator below knows the keywords that the schema uses and refuses to overlook one; it
//! takes `pattern` on trust.

use serde_json::Value;
use sigma::policy::{compile, schema};

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
    let accepted = fixtures().into_iter().filter(|(name, _, bytes)| compile(name, bytes).is_ok());
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

/// What a policy does not satisfy; an empty file is no document, so there is nothing to check.
fn faults_of(bytes: &[u8]) -> Vec<String> {
    // As the language and editors read it: `off` is a word, not YAML 1.1's `false`.
    let options = serde_saphyr::options! { strict_booleans: true };
    let documents: Vec<Value> = serde_saphyr::from_slice_multiple_with_options(bytes, options)
        .expect("the fixture is YAML");
    let document = documents.into_iter().next().unwrap_or_default();
    let schema: Value = serde_json::from_str(&schema()).expect("the schema is JSON");
    let mut faults = Vec::new();
    if !document.is_null() {
        validate(&schema, &schema, &document, "", &mut faults);
    }
    faults
}

fn validate(root: &Value, schema: &Value, it: &Value, path: &str, faults: &mut Vec<String>) {
    let keywords = schema.as_object().expect("a schema is an object");
    let number = |it: &Value| it.as_f64().expect("a limit is a number");
    for (keyword, want) in keywords {
        let holds = match keyword.as_str() {
            "$schema" | "title" | "description" | "$defs" | "pattern" | "format" | "default" => {
                true
            }
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
        Some("integer") => it.is_i64() || it.is_u64(),
        Some("number") => it.is_number(),
        _ => false,
    }
}
