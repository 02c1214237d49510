//! The section `steering`: how many nodes an answer names, by class.

use super::codes;
use super::diagnostic::Faults;
use super::nominate_ahead;
use super::objects;
use super::plan::{ClassSettings, Shortlist};
use super::reader::{Fields, integer, map, wrong_type};
use super::scoring::class_of;
use super::tree::{Node, Value};

/// The word that stands in place of a mapping.
pub(super) const OFF: &str = "off";
/// The longest shortlist.
pub(super) const MAX_SHORTLIST: i64 = 1000;

/// Reads the section into the classes that it names; `off` is for all of them.
pub(super) fn read(node: &Node, classes: &mut [ClassSettings], faults: &mut Faults) {
    if is_off(node) {
        classes.iter_mut().for_each(|class| class.shortlist = Some(Shortlist::OFF));
        return;
    }
    if !matches!(node.value, Value::Map(_)) {
        return wrong_type(node, "`steering` is a mapping of classes, or `off`", faults);
    }
    for entry in map(node, "`steering`", faults).unwrap_or_default() {
        if entry.key == nominate_ahead::KEY {
            continue;
        }
        let class = class_of(entry, classes, &codes::STEERED_UNKNOWN_CLASS, faults);
        let role = class.as_ref().map(|class| class.role);
        let usual = role.map_or(Shortlist::OFF, Shortlist::of_role);
        let shortlist = read_shortlist(&entry.node, usual, faults);
        if let Some(class) = class {
            class.shortlist = shortlist;
        }
    }
}

fn read_shortlist(node: &Node, usual: Shortlist, faults: &mut Faults) -> Option<Shortlist> {
    if is_off(node) {
        return Some(Shortlist::OFF);
    }
    if !matches!(node.value, Value::Map(_)) {
        let expected = "the steering of a class is a mapping such as `{shortlist: 16}`, or `off`";
        wrong_type(node, expected, faults);
        return None;
    }
    let fields = Fields::of(node, &objects::STEERING, faults)?;
    fields.need_any("shortlist: 16", faults);
    let mut number = |field: &str, min| {
        let (node, what) = (fields.get(field)?, format!("`{field}`"));
        let range = (min, MAX_SHORTLIST);
        let number = integer(node, &what, range, &codes::BAD_INTEGER, faults)?;
        u16::try_from(number).ok()
    };
    let shortlist = number("shortlist", 0).map_or(usual, Shortlist::of);
    let per_domain = number("shortlistPerDomain", 1).unwrap_or(shortlist.per_domain);
    Some(Shortlist { per_domain, ..shortlist })
}

pub(super) fn is_off(node: &Node) -> bool {
    matches!(&node.value, Value::Text(text) if text == OFF)
}
