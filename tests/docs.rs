//! Pages that name what the code has must name all of it, and nothing else: the fields of the admin
//! API in `docs/api.md`, the metrics and reasons in `docs/metrics.md`.
//!
//! Checked on text. Each check is a function with a test that it can complain.

use std::collections::BTreeSet;
use std::path::Path;

use sigma::model::Reason;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(path).expect("a readable file")
}

/// The fields of all structs in a source that derive `Serialize`.
fn serialized_fields(source: &str) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    let (mut serialized, mut inside) = (false, false);
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[derive(") {
            serialized = line.contains("Serialize");
        } else if line.contains("struct ") && line.ends_with('{') {
            inside = serialized;
            serialized = false;
        } else if line == "}" {
            inside = false;
        } else if inside && let Some((name, _)) = line.split_once(": ") {
            let name = name.rsplit(' ').next().unwrap_or_default();
            if !line.starts_with("//") {
                fields.insert(name.to_owned());
            }
        }
    }
    fields
}

/// The first argument of every call that registers a metric.
fn registered_metrics(source: &str) -> BTreeSet<String> {
    let kinds = [".seconds(", ".counters(", ".counter(", ".gauges(", ".gauge("];
    let calls = kinds.iter().flat_map(|kind| {
        source.match_indices(kind).map(|(at, kind)| source[at + kind.len()..].trim_start())
    });
    let names = calls.filter_map(|rest| rest.strip_prefix('"')?.split('"').next());
    names.map(|name| format!("sigma_{name}")).collect()
}

/// Words of a page that begin with `sigma_`.
fn mentioned_metrics(page: &str) -> BTreeSet<String> {
    let words = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("sigma_")).map(str::to_owned).collect()
}

/// Names that a page does not have in code or as a JSON key.
fn not_named(names: &BTreeSet<String>, page: &str) -> Vec<String> {
    let named = |name: &&String| {
        page.contains(&format!("`{name}`")) || page.contains(&format!("\"{name}\""))
    };
    names.iter().filter(|name| !named(name)).cloned().collect()
}

#[test]
fn every_field_of_the_admin_api_is_documented() {
    let mut fields = serialized_fields(&read("src/http/admin/views.rs"));
    fields.extend(serialized_fields(&read("src/http/admin.rs")));
    fields.extend(serialized_fields(&read("src/policy/diagnostic.rs")));
    assert!(fields.len() > 40, "the sources were not understood: {fields:?}");
    assert_eq!(not_named(&fields, &read("docs/api.md")), [""; 0]);
}

#[test]
fn every_path_of_the_admin_listener_is_documented() {
    let source = read("src/http/admin.rs");
    let routes = source.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let routes: BTreeSet<String> = routes.map(str::to_owned).collect();
    assert!(routes.len() > 8, "the source was not understood: {routes:?}");
    assert_eq!(not_named(&routes, &read("docs/api.md")), [""; 0]);
}

#[test]
fn every_metric_is_documented_and_every_documented_one_exists() {
    let metrics = registered_metrics(&read("src/metrics.rs"));
    assert!(metrics.len() > 25, "the source was not understood: {metrics:?}");
    assert_eq!(not_named(&metrics, &read("docs/metrics.md")), [""; 0]);
    for page in ["docs/metrics.md", "docs/api.md", "docs/limits.md", "README.md"] {
        let unknown: Vec<String> =
            mentioned_metrics(&read(page)).difference(&metrics).cloned().collect();
        assert_eq!(unknown, [""; 0], "{page}");
    }
}

#[test]
fn every_reason_is_documented() {
    let reasons = Reason::ALL.into_iter().map(|reason| reason.name().to_owned()).collect();
    assert_eq!(not_named(&reasons, &read("docs/metrics.md")), [""; 0]);
}

#[test]
fn the_checks_can_complain() {
    let source = "#[derive(Clone, Serialize)]\npub(super) struct A {\n    /// A word: so.\n    \
                  pub cpu: i64,\n    name: String,\n}\n#[derive(Clone)]\nstruct B {\n    no: i64,\n}\n";
    let fields = serialized_fields(source);
    assert_eq!(fields.iter().map(String::as_str).collect::<Vec<_>>(), ["cpu", "name"]);
    assert_eq!(not_named(&fields, "the `name` of a cpu"), ["cpu"]);
    let source =
        "a: of.counter(\"a_total\", \"A.\")?, b: of\n  .gauges(\n  \"b\",\n \"B.\", &[\"x\"])?";
    let metrics = registered_metrics(source);
    assert_eq!(
        metrics.iter().map(String::as_str).collect::<Vec<_>>(),
        ["sigma_a_total", "sigma_b"]
    );
    assert_eq!(
        mentioned_metrics("`sigma_b{x=1}`, sigma").into_iter().collect::<Vec<_>>(),
        ["sigma_b"]
    );
}
