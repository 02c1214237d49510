//! Names of classes that are nearly another name: a class's role hangs on its name alone.

use super::codes::{self, Code};
use super::diagnostic::{Faults, Place, closest, edits, quoted};
use super::nominate_ahead;
use super::plan::Role;
use super::tree::{Value, YamlNode};

/// The names that have a meaning of their own.
const RESERVED: [&str; 4] = ["online", "offline", "default", "exempt"];
/// So many slips of the keyboard are still the same word.
const SLIPS: usize = 2;

/// The role of a class of this name.
pub(super) fn role_of(name: &str) -> Role {
    match name {
        "offline" => Role::Offline,
        "default" => Role::Default,
        "exempt" => Role::Exempt,
        _ => Role::Online,
    }
}

/// True for a name that has a meaning of its own.
pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// The reserved name that is not raised and that this one nearly is or contains: `ofline`, `off-line`,
/// `offline2`, `batch-offline`.
pub(super) fn nearly_reserved(name: &str) -> Option<&'static str> {
    if RESERVED.contains(&name) {
        return None;
    }
    let bare = name.replace('-', "");
    let lowering = RESERVED.iter().copied().filter(|it| role_of(it) != Role::Online);
    let scored = lowering.map(|it| match bare.contains(it) {
        true => (0, it),
        false => (edits(&bare, it), it),
    });
    let (slips, role) = scored.min()?;
    (slips <= SLIPS && slips <= edits(&bare, "online")).then_some(role)
}

/// The names of classes that the sections beside `classes` use.
#[derive(Default)]
pub(super) struct Uses<'t> {
    scoring: Vec<&'t str>,
    steering: Vec<&'t str>,
}

impl<'t> Uses<'t> {
    /// Collects them; a section that is no mapping uses none.
    pub(super) fn of(scoring: Option<&'t YamlNode>, steering: Option<&'t YamlNode>) -> Self {
        let keys = |node: Option<&'t YamlNode>| match node.map(|it| &it.value) {
            Some(Value::Map(entries)) => entries.iter().map(|it| it.key.as_str()).collect(),
            _ => Vec::new(),
        };
        let mut steering: Vec<&str> = keys(steering);
        steering.retain(|it| *it != nominate_ahead::KEY);
        Self { scoring: keys(scoring), steering }
    }

    /// The name that other sections use and that a declared class of another name must mean: one with a
    /// meaning of its own, or one that both sections use. Otherwise the section is the one to doubt.
    pub(super) fn meant(&self, name: &str, declared: &[&str]) -> Option<&'t str> {
        let used = |it: &str| self.scoring.contains(&it) || self.steering.contains(&it);
        if RESERVED.contains(&name) || used(name) {
            return None;
        }
        let keys = self.scoring.iter().chain(&self.steering).copied();
        let trusted = |key: &str| match RESERVED.contains(&key) {
            true => role_of(key) != Role::Default && role_of(key) != Role::Exempt,
            false => self.scoring.contains(&key) && self.steering.contains(&key),
        };
        keys.filter(|key| !declared.contains(key) && trusted(key))
            .find(|key| nearly_reserved(name) == Some(*key) || closest(name, [*key]).is_some())
    }

    /// Notes that a class is not called as other sections call it.
    pub(super) fn report(&self, name: &str, meant: &str, at: Place, faults: &mut Faults) {
        let (section, code): (&str, &'static Code) = match self.scoring.contains(&meant) {
            true => ("scoring", &codes::UNKNOWN_CLASS),
            false => ("steering", &codes::STEERED_UNKNOWN_CLASS),
        };
        let (name, meant) = (quoted(name), quoted(meant));
        let message = format!("there is no class {meant}, which `{section}` names, only {name}");
        faults.report_hint(code, at, message, format!("did you mean {meant}?"));
    }
}

/// The names of the classes in a list, as far as they can be read.
pub(super) fn declared(items: &[YamlNode]) -> Vec<&str> {
    let entries = items.iter().filter_map(|item| match &item.value {
        Value::Map(entries) => entries.iter().find(|it| it.key == "name"),
        _ => None,
    });
    entries.filter_map(|it| it.node.value.as_text()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_reserved_names_are_seen() {
        let cases = [
            ("ofline", Some("offline")),
            ("offlne", Some("offline")),
            ("off-line", Some("offline")),
            ("oflin", Some("offline")),
            ("offline2", Some("offline")),
            ("offline-batch", Some("offline")),
            ("batch-offline", Some("offline")),
            ("defualt", Some("default")),
            ("defaults", Some("default")),
            ("exmpt", Some("exempt")),
            ("exempted", Some("exempt")),
            ("offline", None),
            ("default", None),
            ("exempt", None),
            ("online", None),
            ("onlien", None),
            ("online-gpu", None),
            ("gold", None),
            ("batch", None),
            ("web", None),
            ("x", None),
        ];
        for (name, want) in cases {
            assert_eq!(nearly_reserved(name), want, "{name}");
        }
    }
}
