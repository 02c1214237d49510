//! The whole way: bytes to a plan, or to everything that is wrong with them.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::classes::Classes;
use super::diagnostic::{Diagnostic, Faults, Place, Severity, closest, did_you_mean, quoted};
use super::names::Uses;
use super::objects::{self, Object};
use super::plan::{ClassSettings, Plan, Role, Settings};
use super::pools::Pools;
use super::reader::{Fields, text};
use super::tree::{Value, YamlNode};
use super::{actions, classes, codes, nominate_ahead, pools, scoring, steering, tree};

/// The version of the language.
pub const API_VERSION: &str = "sigma.io/v1alpha1";
/// The kind of the document.
pub const KIND: &str = "SchedulingPolicy";

/// An accepted policy.
pub struct Compiled {
    /// What decisions are made by.
    pub plan: Arc<Plan>,
    /// What is worth knowing about it: warnings and infos, in the order of the file.
    pub warnings: Vec<Diagnostic>,
}

/// Compiles a policy. `file` only names it in diagnostics. An empty file is a valid policy that
/// changes nothing. `Err` holds every diagnostic, warnings included, at least one being an error.
pub fn compile(file: &str, bytes: &[u8]) -> Result<Compiled, Vec<Diagnostic>> {
    let mut faults = Faults::new(file);
    let settings = read(bytes, &mut faults);
    finish(&settings, faults.into_sorted(), bytes)
}

/// Compiles a policy that an earlier sigma accepted, byte by byte the same, by the checks of generation
/// `accepted_by` (see [`codes::CHECKS`]). Errors of later checks are warnings: an upgrade and a restart must not
/// take a policy out of force.
pub fn compile_known(
    file: &str,
    bytes: &[u8],
    accepted_by: u32,
) -> Result<Compiled, Vec<Diagnostic>> {
    let mut faults = Faults::new(file);
    let settings = read(bytes, &mut faults);
    let mut diagnostics = faults.into_sorted();
    for it in &mut diagnostics {
        let is_later = || codes::find(it.code).is_some_and(|code| code.since > accepted_by);
        if it.severity == Severity::Error && is_later() {
            it.severity = Severity::Warning;
        }
    }
    finish(&settings, diagnostics, bytes)
}

fn finish(
    settings: &Settings,
    diagnostics: Vec<Diagnostic>,
    bytes: &[u8],
) -> Result<Compiled, Vec<Diagnostic>> {
    if diagnostics.iter().any(|it| it.severity == Severity::Error) {
        return Err(diagnostics);
    }
    let plan = Plan::build(settings, hash_of(bytes));
    Ok(Compiled { plan, warnings: diagnostics })
}

/// Everything that is to say about a policy, whether it is accepted or not.
pub fn diagnose(file: &str, bytes: &[u8]) -> Vec<Diagnostic> {
    compile(file, bytes).map_or_else(|found| found, |it| it.warnings)
}

/// SHA-256 in hex.
fn hash_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads what can be read; whether it may be used, the faults say.
fn read(bytes: &[u8], faults: &mut Faults) -> Settings {
    let mut settings = Settings { name: "unnamed".to_owned(), ..Settings::default() };
    let root = tree::parse(bytes, faults);
    let root = root.filter(|root| !matches!(root.value, Value::Null) && !is_foreign(root, faults));
    let fields = root.as_ref().and_then(|it| Fields::of(it, &objects::ROOT, faults));
    let Some(fields) = &fields else {
        settings.classes =
            classes::read(None, &Pools::default(), &Uses::default(), faults).settings;
        return settings;
    };
    read_header(fields, faults);
    let metadata = fields.get("metadata");
    if let Some(name) = metadata.and_then(|it| read_name(it, &objects::METADATA, faults)) {
        settings.name = name;
    }
    let pools = fields.get("pools").map(|it| pools::read(it, faults)).unwrap_or_default();
    let (scoring, steering) = (fields.get("scoring"), fields.get("steering"));
    let uses = Uses::of(scoring, steering);
    let mut classes = classes::read(fields.get("classes"), &pools, &uses, faults);
    check_opened(&pools, &classes, faults);
    if let Some(node) = scoring {
        scoring::read(node, &mut classes, faults);
    }
    if let Some(node) = steering {
        steering::read(node, &mut classes, faults);
        settings.nominate_ahead = nominate_ahead::read(node, faults);
    }
    settings.stopped_actions =
        fields.get("actions").map(|it| actions::read(it, faults)).unwrap_or_default();
    (settings.pools, settings.classes) = (pools.settings, classes.settings);
    settings
}

/// True for an object of another API: nothing in it means anything here.
fn is_foreign(root: &YamlNode, faults: &mut Faults) -> bool {
    let Value::Map(entries) = &root.value else {
        return false;
    };
    let value = |key: &str| {
        let entry = entries.iter().find(|it| it.key == key)?;
        Some((entry.node.at, entry.node.value.as_text()?))
    };
    let (Some((_, version)), Some((at, kind))) = (value("apiVersion"), value("kind")) else {
        return false;
    };
    let ours = |text, want| closest(text, [want]).is_some();
    if ours(version, API_VERSION) || ours(kind, KIND) || version.starts_with("sigma.io/") {
        return false;
    }
    let message = format!("this is a {}, and `kind` is `{KIND}`", quoted(kind));
    let hint = match kind {
        "ConfigMap" => {
            "the policy is what stands in its `data`; `sigma policy lint` finds it there"
        }
        _ => "kind: SchedulingPolicy",
    };
    faults.report_hint(&codes::KIND, at, message, hint);
    true
}

/// Pools that no class but `exempt` may use.
fn check_opened(pools: &Pools, classes: &Classes, faults: &mut Faults) {
    // A pool that a class names in a way that could not be read may be this one.
    let unread =
        [&codes::UNKNOWN_POOL, &codes::WRONG_TYPE, &codes::TOO_MANY, &codes::MISSING_FIELD];
    if pools.incomplete || classes.incomplete || unread.iter().any(|code| faults.has(code)) {
        return;
    }
    for (at, pool) in pools.settings.iter().enumerate() {
        let opens = |class: &&ClassSettings| match &class.pools {
            Some(order) => order.iter().any(|it| it.index() == at),
            None => class.role != Role::Default || !pool.elastic,
        };
        let mut classes = classes.settings.iter().filter(|class| class.role != Role::Exempt);
        let Some((place, true)) = pools.placed.get(at) else {
            continue;
        };
        if classes.any(|class| opens(&class)) {
            continue;
        }
        let (name, hint) =
            (quoted(&pool.name), "add it to the `pools` of a class, or leave it out");
        let (code, message) = match pool.elastic {
            true => (&codes::ELASTIC_UNOPENED, format!("no class may use the elastic pool {name}")),
            false => (&codes::POOL_UNOPENED, format!("no class opens the pool {name}")),
        };
        faults.report_hint(code, *place, message, hint);
    }
}

fn read_header(fields: &Fields<'_>, faults: &mut Faults) {
    for (name, want, code) in
        [("apiVersion", API_VERSION, &codes::API_VERSION), ("kind", KIND, &codes::KIND)]
    {
        let Some(node) = fields.get(name) else {
            if fields.has(name) {
                continue;
            }
            let message = format!("a policy begins with `{name}`");
            faults.report_hint(code, Place::START, message, format!("{name}: {want}"));
            continue;
        };
        let Some(found) = text(node, &format!("`{name}`"), faults) else {
            continue;
        };
        if found != want {
            let message = format!("`{name}` is `{want}`, found {}", quoted(found));
            let hint = did_you_mean(found, [want]).unwrap_or_else(|| format!("{name}: {want}"));
            faults.report_hint(code, node.at, message, hint);
        }
    }
}

fn read_name(node: &YamlNode, object: &Object, faults: &mut Faults) -> Option<String> {
    let fields = Fields::of(node, object, faults)?;
    let name = super::reader::name(fields.need("name", faults)?, "a policy", faults)?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_changes_nothing() {
        for source in ["", "# nothing\n", "---\n", "\u{feff}"] {
            let compiled = compile("policy.yaml", source.as_bytes());
            let compiled = compiled.expect("an empty file is a valid policy");
            assert!(compiled.warnings.is_empty() && compiled.plan.pools.is_empty());
            let names: Vec<_> = compiled.plan.classes.iter().map(|it| it.name.as_str()).collect();
            assert_eq!(names, ["exempt", "default"]);
            assert!(compiled.plan.classes.iter().all(|class| !class.bears_limits));
        }
    }

    #[test]
    fn errors_that_are_newer_than_an_accepted_policy_are_warnings() {
        let source = b"apiVersion: sigma.io/v1alpha1\nkind: SchedulingPolicy\npols: []\n";
        let faults = compile("p.yaml", source).map(|_| ()).expect_err("an unknown field");
        let known_by = |generation| compile_known("p.yaml", source, generation);
        let same = known_by(codes::CHECKS).map(|_| ()).expect_err("it is refused");
        assert_eq!(same, faults);
        // Every code is newer than generation 0.
        let compiled = known_by(0).expect("it stays in force");
        let as_error = |it: &Diagnostic| Diagnostic { severity: Severity::Error, ..it.clone() };
        assert!(compiled.warnings.iter().all(|it| it.severity == Severity::Warning));
        assert_eq!(compiled.warnings.iter().map(as_error).collect::<Vec<_>>(), faults);
        assert_eq!(compiled.plan.hash, hash_of(source));
    }

    #[test]
    fn the_hash_is_the_files() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hash_of(b""), empty);
    }
}
