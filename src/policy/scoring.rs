//! The section `scoring`: weights by class and scorer.

use super::codes;
use super::diagnostic::{Faults, did_you_mean, quoted};
use super::objects::LATER_SCORERS;
use super::plan::ClassSettings;
use super::reader::{integer, map, not_supported_yet};
use super::tree::{Entry, Node};
use crate::rules::{CATALOGUE, MAX_WEIGHT};

/// Reads the section into the classes that it names.
pub(super) fn read(node: &Node, classes: &mut [ClassSettings], faults: &mut Faults) {
    for entry in map(node, "`scoring`", faults).unwrap_or_default() {
        let weights = map(&entry.node, "the weights of a class", faults).unwrap_or_default();
        let weights: Vec<_> = weights.iter().filter_map(|it| read_weight(it, faults)).collect();
        if let Some(class) = class_of(entry, classes, &codes::UNKNOWN_CLASS, faults) {
            class.weights = weights;
        }
    }
}

/// The class that an entry of a section is about; `code` is the section's fault where there is none.
pub(super) fn class_of<'c>(
    entry: &Entry,
    classes: &'c mut [ClassSettings],
    code: &'static codes::Code,
    faults: &mut Faults,
) -> Option<&'c mut ClassSettings> {
    let at = classes.iter().position(|class| class.name == entry.key);
    if at.is_none() {
        let message = format!("there is no class {}", quoted(&entry.key));
        let known = classes.iter().map(|class| class.name.as_str()).filter(|it| !it.is_empty());
        let hint = did_you_mean(&entry.key, known);
        let hint = hint.unwrap_or_else(|| "a class is declared in `classes`".to_owned());
        faults.report_hint(code, entry.at, message, hint);
    }
    classes.get_mut(at?)
}

fn read_weight(entry: &Entry, faults: &mut Faults) -> Option<(String, u16)> {
    let name = entry.key.as_str();
    let known = CATALOGUE.iter().find(|spec| spec.name == name);
    match known {
        Some(spec) if spec.scores => {}
        Some(_) => {
            let message = format!("`{name}` is a filter: it refuses nodes and has no weight");
            let hint = "a filter is always on; it goes by the settings of pools and classes";
            faults.report_hint(&codes::FILTER_WEIGHED, entry.at, message, hint);
        }
        None if LATER_SCORERS.contains(&name) => not_supported_yet(name, entry.at, faults),
        None => {
            let scorers = CATALOGUE.iter().filter(|spec| spec.scores).map(|spec| spec.name);
            let hint = did_you_mean(name, scorers.clone()).unwrap_or_else(|| {
                format!("the scorers are {}", super::reader::listed(&scorers.collect::<Vec<_>>()))
            });
            let message = format!("there is no scorer {}", quoted(name));
            faults.report_hint(&codes::UNKNOWN_SCORER, entry.at, message, hint);
        }
    }
    let range = (0, i64::from(MAX_WEIGHT));
    let weight = integer(&entry.node, "a weight", range, &codes::BAD_WEIGHT, faults)?;
    known.filter(|spec| spec.scores)?;
    Some((name.to_owned(), u16::try_from(weight).ok()?))
}
