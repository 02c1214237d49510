//! The section `scoring`: weights by class and scorer.

use super::classes::Classes;
use super::codes;
use super::diagnostic::{Faults, Place, did_you_mean, quoted};
use super::names;
use super::objects::LATER_SCORERS;
use super::plan::ClassSettings;
use super::reader::{integer, map, not_supported_yet, warn_of_retired};
use super::tree::{Entry, YamlNode};
use crate::retired;
use crate::rules::{CATALOGUE, MAX_WEIGHT, OPPOSITES, RuleKind, RuleSpec};

/// Reads the section into the classes that it names.
pub(super) fn read(node: &YamlNode, classes: &mut Classes, faults: &mut Faults) {
    for entry in map(node, "`scoring`", faults).unwrap_or_default() {
        let before = faults.errors();
        let weights = map(&entry.node, "the weights of a class", faults).unwrap_or_default();
        warn_of_retired(weights, &retired::RULES, faults);
        let weights: Vec<_> = weights.iter().filter_map(|it| read_weight(it, faults)).collect();
        let understood = faults.errors() == before;
        if let Some(class) = class_of(entry, classes, &codes::UNKNOWN_CLASS, faults) {
            class.weights = weights;
            if understood {
                check_weights(class, entry.at, faults);
            }
        }
    }
}

/// Weights that leave the nodes without an order.
fn check_weights(class: &ClassSettings, at: Place, faults: &mut Faults) {
    // Without pools there are no bands that a rule could put in order.
    let counts = |kind: RuleKind| kind == RuleKind::Scorer || class.pools.is_some();
    let mut scorers = CATALOGUE.iter().filter(|spec| spec.kind.has_weight() && counts(spec.kind));
    let weight = |spec: &RuleSpec| {
        let named = class.weights.iter().find(|(name, _)| name == spec.name);
        named.map_or(spec.default_weight, |(_, weight)| *weight)
    };
    let name = quoted(&class.name);
    if scorers.all(|spec| weight(spec) == 0) {
        let message = format!("all weights of the class {name} are 0: to it all nodes are equal");
        let hint = "give a scorer a weight, or leave the class out for the defaults";
        faults.report_hint(&codes::ALL_WEIGHTS_ZERO, at, message, hint);
    }
    let cancel = |[one, other]: &&[&RuleSpec; 2]| weight(one) == weight(other) && weight(one) > 0;
    for [one, other] in OPPOSITES.iter().filter(cancel) {
        let (names, weight) = ((one.name, other.name), weight(one));
        let message =
            format!("`{}` and `{}` are both {weight} and cancel each other", names.0, names.1);
        let hint = "set the one that is not meant to 0";
        faults.report_hint(&codes::WEIGHTS_CANCEL, at, message, hint);
    }
}

/// The class that an entry of a section is about; `code` is the section's fault where there is none.
pub(super) fn class_of<'c>(
    entry: &Entry,
    classes: &'c mut Classes,
    code: &'static codes::Code,
    faults: &mut Faults,
) -> Option<&'c mut ClassSettings> {
    let known = || classes.settings.iter().map(|class| class.name.as_str());
    let at = known().position(|name| name == entry.key);
    // A name with a meaning of its own is meant as it stands.
    let own = names::is_reserved(&entry.key);
    let hint = did_you_mean(&entry.key, known().filter(|it| !it.is_empty() && !own));
    // It may be the name of a class that could not be read, which has been told about.
    if at.is_none() && (hint.is_some() || !classes.incomplete) {
        let message = format!("there is no class {}", quoted(&entry.key));
        let hint = hint.unwrap_or_else(|| "a class is declared in `classes`".to_owned());
        faults.report_hint(code, entry.at, message, hint);
    }
    classes.settings.get_mut(at?)
}

fn read_weight(entry: &Entry, faults: &mut Faults) -> Option<(String, u16)> {
    let name = retired::current(&retired::RULES, &entry.key);
    let known = CATALOGUE.iter().find(|spec| spec.name == name);
    match known {
        Some(spec) if spec.kind.has_weight() => {}
        Some(spec) => {
            let (what, does) = match spec.kind {
                RuleKind::Candidates => ("candidate rule", "drops candidates for preemption"),
                _ => ("filter", "refuses nodes"),
            };
            let message = format!("`{name}` is a {what}: it {does} and has no weight");
            let hint =
                format!("a {what} is always on; it goes by the settings of pools and classes");
            faults.report_hint(&codes::FILTER_WEIGHED, entry.at, message, hint);
        }
        None if LATER_SCORERS.contains(&name) => not_supported_yet(name, entry.at, faults),
        None => {
            let scorers =
                CATALOGUE.iter().filter(|spec| spec.kind.has_weight()).map(|spec| spec.name);
            let hint = did_you_mean(name, scorers.clone()).unwrap_or_else(|| {
                format!("the scorers are {}", super::reader::listed(&scorers.collect::<Vec<_>>()))
            });
            let message = format!("there is no scorer {}", quoted(name));
            faults.report_hint(&codes::UNKNOWN_SCORER, entry.at, message, hint);
        }
    }
    let range = (0, i64::from(MAX_WEIGHT));
    let weight = integer(&entry.node, "a weight", range, &codes::BAD_WEIGHT, faults)?;
    known.filter(|spec| spec.kind.has_weight())?;
    Some((name.to_owned(), u16::try_from(weight).ok()?))
}
