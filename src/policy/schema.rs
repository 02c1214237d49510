//! The language as a JSON Schema, for editors. It describes; the readers judge.
//!
//! The structs below are never made: they mirror the language, their comments become the
//! descriptions that an editor shows, and a test holds their fields to those that the readers
//! accept.

#![expect(dead_code, reason = "the structs exist for what schemars derives from them")]

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::actions::ALL;
use super::classes::domain_labels;
use super::compile::{API_VERSION, KIND};
use super::nominate_ahead::{FILTER_DELAY_MS, MAX_PODS, TTL_SECONDS};
use super::quantities::{FAR_TOO_MANY, LEAST_MEMORY};
use super::schema_examples;
use super::steering::{MAX_SHORTLIST, MAX_STEERS, OFF};
use crate::model::ACTION_KINDS;
use crate::retired;
use crate::rules::{CATALOGUE, MAX_WEIGHT};

/// What the schema is called. Nothing is to be fetched from there: it has all of its definitions.
const ID: &str = "https://sigma.io/schemas/v1alpha1/policy.schema.json";

/// The JSON Schema of the language (draft 2020-12), as text that ends with a line break.
pub fn schema() -> String {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<SchedulingPolicy>();
    schema.insert("title".to_owned(), "sigma scheduling policy".into());
    schema.insert("$id".to_owned(), ID.into());
    let mut schema = schema.to_value();
    tidy(&mut schema);
    // A file without a word in it, or of comments alone, is a policy that changes nothing.
    schema["type"] = serde_json::json!(["object", "null"]);
    schema_examples::add(&mut schema);
    // The keys of a `Value` are text, so it always has a JSON form.
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

/// A scheduling policy of sigma: who goes where, in which order, up to which limit.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct SchedulingPolicy {
    /// The version of the language.
    api_version: ApiVersion,
    /// The kind of the document.
    kind: KindName,
    /// What the policy is called.
    metadata: Option<Metadata>,
    /// Pools of nodes. A node belongs to the first pool that matches it.
    #[schemars(length(max = 64))]
    pools: Option<Vec<Pool>>,
    /// Classes of pods. A pod gets the first class whose grant admits it, else `default`.
    #[schemars(length(max = 64))]
    classes: Option<Vec<ClassSection>>,
    /// Weights of the scorers by class; a scorer that is not named has its default weight.
    scoring: Option<BTreeMap<String, Weights>>,
    /// How many nodes an answer names, and what pods are sent elsewhere for, by class; and when pods are
    /// nominated ahead. `off`: all that may take the pod, nobody is sent anywhere, and never.
    steering: Option<OrOff<SteeringSection>>,
    /// What sigma may write by itself.
    actions: Option<ActionsSection>,
}

/// What sigma may write by itself.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, extend("minProperties" = 1))]
struct ActionsSection {
    /// The kinds of action that are stopped at once, or `all`. Default: none.
    stop: Option<AllOr<Vec<ActionName>>>,
}

// A value, or the word `all`.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum AllOr<T> {
    Some(T),
    All(AllWord),
}

/// What the policy is called.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Metadata {
    /// The name, a DNS label.
    name: DnsLabel,
}

/// A pool of nodes: bare metal, ECS, ECI, or whatever a site calls its own.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Pool {
    /// The pool's name, unique, a DNS label.
    name: DnsLabel,
    /// Which nodes belong; all conditions must hold. Without it every node does, which only the
    /// last pool may say.
    r#match: Option<Match>,
    /// Its nodes are virtual and their capacity is not real: only `limit` bounds it. Default: false.
    elastic: Option<bool>,
    /// Most that the requests on a node may take of its allocatable. Default: 100%.
    allocation: Option<PoolAllocation>,
    /// Most that all pods in an elastic pool may ask for together.
    limit: Option<Limit>,
}

/// Which nodes belong to a pool.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, extend("minProperties" = 1))]
struct Match {
    /// Patterns of the label `node.kubernetes.io/instance-type`, any of them; `*` stands for any
    /// run of characters.
    #[schemars(length(min = 1, max = 64))]
    instance_types: Option<Vec<String>>,
    /// Labels that the node must carry with exactly these values.
    #[schemars(extend("minProperties" = 1))]
    labels: Option<BTreeMap<String, String>>,
}

/// Shares of a node's allocatable that requests may take.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, extend("minProperties" = 1))]
struct PoolAllocation {
    /// Of CPU. Default: 100%.
    cpu: Option<Percentage>,
    /// Of memory. Default: 100%.
    memory: Option<Percentage>,
}

/// Shares of a node's allocatable that requests may take, in place of every pool's.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct ClassAllocation {
    /// Of CPU.
    cpu: Percentage,
    /// Of memory.
    memory: Percentage,
}

/// Most that all pods in an elastic pool may ask for together; what is not given is not bounded.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, extend("minProperties" = 1))]
struct Limit {
    /// Cores, as a quantity.
    cpu: Option<Cores>,
    /// Memory, as a quantity of bytes.
    memory: Option<Memory>,
    /// Number of pods.
    pods: Option<PodCount>,
}

/// A class of pods. `online`, `offline`, `default` and `exempt` have meanings of their own; any
/// other name is a class that is treated like `online`.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct ClassSection {
    /// The class's name, unique, a DNS label.
    name: DnsLabel,
    /// What a pod must show to get the class. A raised class needs a priority and a namespace,
    /// `exempt` needs namespaces by name, `default` has none.
    grant: Option<GrantSection>,
    /// The pools open to the class, in order of preference. Without it, every node is open
    /// (for `default`: every node that is not elastic).
    #[schemars(length(min = 1, max = 64), extend("uniqueItems" = true))]
    pools: Option<Vec<String>>,
    /// How replicas of one app spread.
    spread: Option<SpreadSection>,
    /// Its pods are never victims of preemption. Default: false; `exempt` always is.
    protected: Option<bool>,
    /// Its own share of each node, in place of the pools' `allocation`.
    allocation: Option<ClassAllocation>,
}

/// What a pod must show to get the class.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct GrantSection {
    /// Patterns of PriorityClass names, any of them.
    #[schemars(length(min = 1, max = 64))]
    priority_classes: Option<Vec<String>>,
    /// A band of `spec.priority`, as an alternative to `priorityClasses`.
    priority: Option<PrioritySection>,
    /// The namespaces that the class is bound to.
    namespaces: Option<NamespacesSection>,
}

/// A band of priorities, both ends included.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, extend("minProperties" = 1))]
struct PrioritySection {
    /// The lowest priority. Default: no bound.
    min: Option<PriorityValue>,
    /// The highest priority. Default: no bound.
    max: Option<PriorityValue>,
}

/// Namespaces by name, by label, or by both.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, extend("minProperties" = 1))]
struct NamespacesSection {
    /// Patterns of names, any of them.
    #[schemars(length(min = 1, max = 64))]
    names: Option<Vec<String>>,
    /// Labels that the namespace must carry with exactly these values.
    #[schemars(extend("minProperties" = 1))]
    match_labels: Option<BTreeMap<String, String>>,
}

/// How replicas of one app spread over failure domains.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct SpreadSection {
    /// The node label that names the domain.
    domain: Domain,
    /// Most of an app's replicas in one domain. Without it spreading is only preferred.
    max_share: Option<Percentage>,
}

// A mapping, or the word `off`; described by the field that it is the type of.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum OrOff<T> {
    Map(T),
    Off(OffWord),
}

/// How many nodes an answer names, and what pods are sent elsewhere for, by class; and when pods are
/// nominated ahead.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", inline)]
struct SteeringSection {
    /// When pods that wait are nominated before kube-scheduler comes to them. Default: `off`.
    nominate_ahead: Option<OrOff<NominateAheadSection>>,
    #[schemars(flatten)]
    classes: BTreeMap<String, OrOff<ClassSteeringSection>>,
}

/// When pods that wait are nominated before kube-scheduler comes to them, and how many.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, extend("minProperties" = 1))]
struct NominateAheadSection {
    /// So many pods must wait. Default: 200.
    min_backlog: Option<NumPods>,
    /// Most pods that get their targets together. Default: 1000.
    batch: Option<NumPods>,
    /// Most pods that have a target and are not bound yet. Default: 2000.
    window: Option<NumPods>,
    /// A nomination that is older is taken back. Default: 60.
    ttl_seconds: Option<TtlSeconds>,
    /// kube-scheduler may be kept waiting for so many milliseconds for each pod that is chosen; 0: never.
    /// Default: 1.
    filter_delay_ms: Option<FilterDelayMs>,
    /// The old name of `filterDelayMs`.
    #[schemars(extend("deprecated" = true))]
    head_start_ms: Option<FilterDelayMs>,
}

/// How many of the nodes that may take a pod are named to kube-scheduler, the best ones; and when a pod
/// is sent to a node that was not offered.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, extend("minProperties" = 1))]
struct ClassSteeringSection {
    /// At most this many; 0: all. Default: 1 for `offline`, 0 for `exempt`, 16 for all others.
    shortlist: Option<ShortlistLength>,
    /// At most this many of one zone, unless the other zones cannot fill the list. Default: a
    /// quarter of `shortlist`, rounded up.
    shortlist_per_domain: Option<PerDomain>,
    /// What its pods are sent to a node for that was not offered. Default: `elsewhere`; `off` for
    /// `exempt`.
    steer: Option<OrOff<SteerSection>>,
}

/// The causes for which pods are sent to a node that was not offered.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, extend("minProperties" = 1))]
struct SteerSection {
    /// No offered node may take the pod, and another node may.
    elsewhere: Option<OrOff<Elsewhere>>,
    /// The best node of all leads the best that was offered. Default: `off`.
    better: Option<OrOff<Better>>,
}

/// How many pods are sent elsewhere.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, extend("minProperties" = 1))]
struct Elsewhere {
    /// At most this many of the class begin within a second. Default: 50.
    per_second: Option<NumSteers>,
    /// At most this many of one app are under way. Default: 100.
    per_app: Option<NumSteers>,
}

/// How many pods are sent to a better node, and how much better it must be.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, extend("minProperties" = 1))]
struct Better {
    /// By how much it must lead, of the most points that a node can have. A node of a pool that the
    /// class prefers leads by 100%. Default: 10%.
    margin: Option<Percentage>,
    /// At most this many of the class begin within a second. Default: 5.
    per_second: Option<NumSteers>,
    /// At most this many of one app are under way. Default: 5.
    per_app: Option<NumSteers>,
}

/// Weights by scorer: the scorers of the catalogue are the properties.
struct Weights;

impl JsonSchema for Weights {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Weights".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let scorers = CATALOGUE.iter().filter(|spec| spec.kind.has_weight());
        let properties = scorers.map(|spec| {
            let description = format!("{}. Default: {}.", spec.summary, spec.default_weight);
            let schema = serde_json::json!({
                "type": "integer", "minimum": 0, "maximum": MAX_WEIGHT, "description": description,
            });
            (spec.name.to_owned(), schema)
        });
        let mut properties: serde_json::Map<_, _> = properties.collect();
        for (old, new) in retired::RULES {
            if let Some(schema) = properties.get(new) {
                let mut schema = schema.clone();
                schema["description"] = format!("The old name of `{new}`.").into();
                schema["deprecated"] = true.into();
                properties.insert(old.to_owned(), schema);
            }
        }
        json_schema!({
            "description": "Weights by scorer; 0 switches a scorer off.",
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
        })
    }
}

macro_rules! scalars {
    ($($name:ident = $schema:expr;)*) => {$(
        struct $name;

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )*};
}

scalars! {
    ApiVersion = json_schema!({"type": "string", "const": API_VERSION});
    KindName = json_schema!({"type": "string", "const": KIND});
    DnsLabel = json_schema!({
        "type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
    });
    Percentage = json_schema!({
        "type": "string",
        "pattern": r"^(0{0,3}100(\.0)?|0{0,4}[1-9][0-9](\.[0-9])?|0{0,5}[1-9](\.[0-9])?)%$",
    });
    Cores = json_schema!({
        "anyOf": [
            {"type": "number", "minimum": 0, "exclusiveMaximum": FAR_TOO_MANY},
            {"type": "string", "maxLength": 64, "pattern": quantity("[mkMGTPE]")},
        ],
    });
    Memory = json_schema!({
        "anyOf": [
            {"type": "integer", "const": 0},
            {"type": "integer", "minimum": LEAST_MEMORY, "exclusiveMaximum": i64::MAX},
            {"type": "string", "maxLength": 64, "pattern": quantity("[kMGTPE]|[KMGTPE]i")},
        ],
    });
    PodCount = json_schema!({
        "anyOf": [
            {"type": "integer", "minimum": 0, "exclusiveMaximum": FAR_TOO_MANY},
            {"type": "string", "maxLength": 64, "pattern": quantity("[kMGTPE]|[KMGTPE]i")},
        ],
    });
    PriorityValue = json_schema!({"type": "integer", "minimum": i32::MIN, "maximum": i32::MAX});
    AllWord = json_schema!({"type": "string", "const": ALL});
    ActionName = json_schema!({
        "type": "string", "enum": ACTION_KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>()
    });
    OffWord = json_schema!({"type": "string", "const": OFF});
    ShortlistLength = json_schema!({"type": "integer", "minimum": 0, "maximum": MAX_SHORTLIST});
    PerDomain = json_schema!({"type": "integer", "minimum": 1, "maximum": MAX_SHORTLIST});
    NumSteers = json_schema!({"type": "integer", "minimum": 1, "maximum": MAX_STEERS});
    NumPods = json_schema!({"type": "integer", "minimum": 1, "maximum": MAX_PODS});
    TtlSeconds = json_schema!({
        "type": "integer", "minimum": TTL_SECONDS.0, "maximum": TTL_SECONDS.1
    });
    FilterDelayMs = json_schema!({
        "type": "integer", "minimum": FILTER_DELAY_MS.0, "maximum": FILTER_DELAY_MS.1
    });
    Domain = json_schema!({"type": "string", "enum": domain_labels()});
}

/// The quantities of these suffixes, and zero with any suffix or sign.
fn quantity(suffixes: &str) -> String {
    let zero = r"[+-]?(0+\.?0*|\.0+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,15})?";
    let number = r"([0-9]+\.?[0-9]*|\.[0-9]+)";
    format!(r"^({zero}|\+?{number}({suffixes}|[eE][+-]?[0-9]{{1,15}})?)$")
}

/// A field that may be left out may still not be `null`, which schemars allows for an `Option`. And
/// a description is a paragraph: where its comment breaks lines is nobody's business.
fn tidy(schema: &mut Value) {
    let null = Value::from("null");
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Array(any)) = fields.get_mut("anyOf") {
                any.retain(|it| it.get("type") != Some(&null));
                if let [Value::Object(only)] = any.as_slice() {
                    let only = only.clone();
                    fields.remove("anyOf");
                    fields.extend(only);
                }
            }
            if let Some(of_type) = fields.get_mut("type")
                && let Some([one, last]) = of_type.as_array().map(Vec::as_slice)
                && *last == null
            {
                *of_type = one.clone();
            }
            if let Some(Value::String(text)) = fields.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            fields.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::objects;
    use super::*;

    #[test]
    fn the_schema_has_the_fields_that_the_readers_accept() {
        let schema: serde_json::Value = serde_json::from_str(&schema()).expect("it is JSON");
        let objects = [
            ("", &objects::ROOT),
            ("Metadata", &objects::METADATA),
            ("Pool", &objects::POOL),
            ("Match", &objects::MATCH),
            ("PoolAllocation", &objects::ALLOCATION),
            ("ClassAllocation", &objects::ALLOCATION),
            ("Limit", &objects::LIMIT),
            ("ClassSection", &objects::CLASS),
            ("GrantSection", &objects::GRANT),
            ("PrioritySection", &objects::PRIORITY),
            ("NamespacesSection", &objects::NAMESPACES),
            ("SpreadSection", &objects::SPREAD),
            ("ClassSteeringSection", &objects::STEERING),
            ("SteerSection", &objects::STEER),
            ("Elsewhere", &objects::ELSEWHERE),
            ("Better", &objects::BETTER),
            ("NominateAheadSection", &objects::NOMINATE_AHEAD),
            ("ActionsSection", &objects::ACTIONS),
        ];
        for (name, object) in objects {
            let described = if name.is_empty() { &schema } else { &schema["$defs"][name] };
            let properties = described["properties"].as_object().expect(name);
            let properties: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
            let retired = object.retired.iter().map(|(old, _)| *old);
            let fields = object.fields.iter().copied().chain(retired).collect();
            assert_eq!(properties, fields, "{name}");
            assert_eq!(described["additionalProperties"], false, "{name}");
        }
        let defs = schema["$defs"].as_object().expect("definitions").len();
        // `Weights` has its properties from the catalogue, and the root is no definition.
        assert_eq!(defs, objects.len());
    }
}
