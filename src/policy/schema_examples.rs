//! Defaults and examples of the fields, for editors.

use serde_json::Value;

use super::causes::{Bounds, Cause};
use super::compile::{API_VERSION, KIND};
use super::nominate_ahead::NominateAhead;
use crate::rules::{CATALOGUE, RuleKind};

/// A definition of the schema (empty: the document itself), a field of it, and an example as JSON.
const EXAMPLES: &[(&str, &str, &str)] = &[
    ("", "metadata", r#"{"name": "default"}"#),
    ("", "pools", r#"[{"name": "ecs", "match": {"instanceTypes": ["ecs.*"]}}]"#),
    ("", "classes", r#"[{"name": "offline", "grant": {"priorityClasses": ["batch-*"]}}]"#),
    ("", "steering", r#"{"online": {"shortlist": 32}}"#),
    ("", "actions", r#"{"stop": ["requeue"]}"#),
    ("ActionsSection", "stop", r#""all""#),
    ("Metadata", "name", r#""default""#),
    ("Pool", "name", r#""ecs""#),
    ("Pool", "match", r#"{"instanceTypes": ["ecs.*"]}"#),
    ("Pool", "elastic", "true"),
    ("Pool", "allocation", r#"{"cpu": "90%", "memory": "90%"}"#),
    ("Pool", "limit", r#"{"cpu": 2000, "memory": "8Ti", "pods": 1000}"#),
    ("Match", "instanceTypes", r#"["ecs.ebm*"]"#),
    ("Match", "labels", r#"{"type": "virtual-kubelet"}"#),
    ("PoolAllocation", "cpu", r#""95%""#),
    ("PoolAllocation", "memory", r#""97.5%""#),
    ("ClassAllocation", "cpu", r#""100%""#),
    ("ClassAllocation", "memory", r#""100%""#),
    ("Limit", "cpu", "2000"),
    ("Limit", "memory", r#""8Ti""#),
    ("Limit", "pods", "1000"),
    ("ClassSection", "name", r#""offline""#),
    ("ClassSection", "grant", r#"{"priorityClasses": ["batch-*"]}"#),
    ("ClassSection", "pools", r#"["ecs", "shenlong"]"#),
    ("ClassSection", "spread", r#"{"domain": "topology.kubernetes.io/zone", "maxShare": "50%"}"#),
    ("ClassSection", "protected", "true"),
    ("ClassSection", "allocation", r#"{"cpu": "100%", "memory": "100%"}"#),
    ("GrantSection", "priorityClasses", r#"["prod-*"]"#),
    ("GrantSection", "priority", r#"{"min": 1000, "max": 1999}"#),
    ("GrantSection", "namespaces", r#"{"matchLabels": {"tier": "production"}}"#),
    ("PrioritySection", "min", "1000"),
    ("PrioritySection", "max", "1999"),
    ("NamespacesSection", "names", r#"["kube-system"]"#),
    ("NamespacesSection", "matchLabels", r#"{"tier": "production"}"#),
    ("SpreadSection", "domain", r#""topology.kubernetes.io/zone""#),
    ("SpreadSection", "maxShare", r#""50%""#),
    ("ClassSteeringSection", "shortlist", "16"),
    ("ClassSteeringSection", "shortlistPerDomain", "4"),
    ("ClassSteeringSection", "steer", r#"{"better": {"margin": "25%"}}"#),
    ("SteerSection", "elsewhere", r#"{"perSecond": 20}"#),
    ("SteerSection", "better", r#"{"margin": "25%"}"#),
    ("Elsewhere", "perSecond", "20"),
    ("Elsewhere", "perApp", "50"),
    ("Better", "margin", r#""25%""#),
    ("Better", "perSecond", "10"),
    ("Better", "perApp", "10"),
    ("NominateAheadSection", "minBacklog", "100"),
    ("NominateAheadSection", "batch", "500"),
    ("NominateAheadSection", "window", "1000"),
    ("NominateAheadSection", "ttlSeconds", "120"),
    ("NominateAheadSection", "filterDelayMs", "2"),
];

/// Writes examples and defaults into a schema.
pub(super) fn add(schema: &mut Value) {
    for (definition, field, example) in EXAMPLES {
        // A test reads each of them.
        let example = serde_json::from_str(example).unwrap_or(Value::Null);
        set(schema, definition, field, "examples", Value::Array(vec![example]));
    }
    for (field, value) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        set(schema, "", field, "default", value.into());
        set(schema, "", field, "examples", Value::Array(vec![value.into()]));
    }
    let scorer = CATALOGUE.iter().find(|spec| spec.kind == RuleKind::Scorer).map(|it| it.name);
    let weights = scorer.map(|name| serde_json::json!({"offline": {name: 40}}));
    set(schema, "", "scoring", "examples", Value::Array(weights.into_iter().collect()));
    for spec in CATALOGUE.iter().filter(|spec| spec.kind.has_weight()) {
        set(schema, "Weights", spec.name, "default", spec.default_weight.into());
        set(schema, "Weights", spec.name, "examples", Value::Array(vec![40.into()]));
    }
    for (definition, field, value) in defaults() {
        set(schema, definition, field, "default", value);
    }
}

/// Values that a field has where a policy leaves it out, whatever else it says.
fn defaults() -> Vec<(&'static str, &'static str, Value)> {
    let percent = |permille: u32| Value::from(format!("{}%", permille / 10));
    let bounds = |definition, usual: Bounds| {
        [
            (definition, "perSecond", usual.per_second.into()),
            (definition, "perApp", usual.per_app.into()),
        ]
    };
    let (better, ahead) = (Cause::Better.usual(), NominateAhead::default());
    let mut all = vec![
        ("Pool", "elastic", false.into()),
        ("PoolAllocation", "cpu", percent(1000)),
        ("PoolAllocation", "memory", percent(1000)),
        ("ClassSection", "protected", false.into()),
        ("PrioritySection", "min", i32::MIN.into()),
        ("PrioritySection", "max", i32::MAX.into()),
        ("SteerSection", "better", "off".into()),
        ("Better", "margin", percent(better.margin_permille)),
        ("NominateAheadSection", "minBacklog", ahead.min_backlog.into()),
        ("NominateAheadSection", "batch", ahead.batch.into()),
        ("NominateAheadSection", "window", ahead.window.into()),
        ("NominateAheadSection", "ttlSeconds", (ahead.ttl_ms / 1000).into()),
        ("NominateAheadSection", "filterDelayMs", ahead.filter_delay_ms.into()),
    ];
    all.extend(bounds("Elsewhere", Cause::Elsewhere.usual()));
    all.extend(bounds("Better", better));
    all
}

fn set(schema: &mut Value, definition: &str, field: &str, keyword: &str, value: Value) {
    let pointer = match definition {
        "" => format!("/properties/{field}"),
        _ => format!("/$defs/{definition}/properties/{field}"),
    };
    if let Some(Value::Object(field)) = schema.pointer_mut(&pointer) {
        field.insert(keyword.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_an_example() {
        let schema: Value = serde_json::from_str(&super::super::schema()).expect("it is JSON");
        let definitions = schema["$defs"].as_object().expect("definitions");
        for (name, definition) in definitions.iter().chain([(&String::new(), &schema)]) {
            let fields = definition["properties"].as_object().expect(name);
            for (field, described) in fields.iter().filter(|it| it.1["deprecated"] != true) {
                let example = described["examples"].get(0).unwrap_or(&Value::Null);
                assert!(!example.is_null(), "{name}.{field} has no example");
            }
        }
        for (definition, field, _) in defaults() {
            let field = &schema["$defs"][definition]["properties"][field];
            assert!(!field["default"].is_null(), "{definition}");
        }
        let unread = EXAMPLES.iter().find(|it| serde_json::from_str::<Value>(it.2).is_err());
        assert!(unread.is_none(), "{unread:?}");
    }
}
