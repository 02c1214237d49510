//! Pages that name what the code has must name all of it, and nothing else: the fields of the admin
//! API in `docs/api.md`, the metrics and reasons in `docs/metrics.md`. What the registry knows of a metric
//! is written into that page, and what the tests promise into `docs/failure-modes.md`. The registry of watched kinds
//! is written into `docs/adding-a-watched-kind.md`. `UPDATE=1` does all of this.
//!
//! Checked on text. Each check is a function with a test that it can complain.

#[path = "docs/failure_modes.rs"]
mod failure_modes;
#[cfg(feature = "live")]
#[path = "docs/metrics.rs"]
mod metrics;
#[path = "docs/prose.rs"]
mod prose;
#[cfg(feature = "live")]
#[path = "docs/watched_kinds.rs"]
mod watched_kinds;
#[path = "docs/worked_examples.rs"]
mod worked_examples;

use std::collections::BTreeSet;
use std::path::Path;

use sigma::model::{ACTION_KINDS, Reason};

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

/// The sources of the admin listener.
fn admin_sources() -> impl Iterator<Item = String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/admin");
    let files = std::fs::read_dir(folder).expect("a folder").flatten();
    let files = files.map(|it| std::fs::read_to_string(it.path()).expect("a source"));
    files.chain([read("src/http/admin.rs")])
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
    let mut fields: BTreeSet<String> =
        admin_sources().flat_map(|it| serialized_fields(&it)).collect();
    fields.extend(serialized_fields(&read("src/policy/diagnostic.rs")));
    // The status code is no field of an error's JSON.
    fields.remove("status");
    assert!(fields.len() > 40, "the sources were not understood: {fields:?}");
    assert_eq!(not_named(&fields, &read("docs/api.md")), [""; 0]);
}

#[test]
fn every_path_of_the_admin_listener_is_documented() {
    let path = |rest: &str| rest.split('"').next().map(str::to_owned);
    let paths = |source: String| {
        let marks = [".route(\"", "const PATH: &'static str = \""];
        marks.map(|mark| source.split(mark).skip(1).filter_map(path).collect::<Vec<_>>()).concat()
    };
    let routes: BTreeSet<String> = admin_sources().flat_map(paths).collect();
    assert!(routes.len() > 8, "the source was not understood: {routes:?}");
    assert_eq!(not_named(&routes, &read("docs/api.md")), [""; 0]);
}

#[test]
fn every_kind_of_action_is_documented() {
    let page = read("docs/api.md");
    let (_, limits) = page.split_once("Each kind has its own limits").expect("the table of limits");
    let kinds = ACTION_KINDS.iter().map(|kind| kind.name.to_owned()).collect();
    assert_eq!(not_named(&kinds, limits), [""; 0]);
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
}
