//! The section `steering`: how many nodes an answer names, and what pods are sent elsewhere for, by
//! class.

use super::causes::{Bounds, Cause, Steering};
use super::classes::Classes;
use super::codes;
use super::diagnostic::Faults;
use super::nominate_ahead;
use super::objects::{self, Object};
use super::plan::{ClassSettings, Shortlist};
use super::reader::{Fields, integer, map, percent, wrong_type};
use super::scoring::class_of;
use super::tree::{Value, YamlNode};

/// The word that stands in place of a mapping.
pub(super) const OFF: &str = "off";
/// The longest shortlist.
pub(super) const MAX_SHORTLIST: i64 = 1000;
/// The most steers of a class that begin within a second, and the most pods of an app under way.
pub(super) const MAX_STEERS: i64 = 1000;

/// Reads the section into the classes that it names; `off` is for all of them.
pub(super) fn read(node: &YamlNode, classes: &mut Classes, faults: &mut Faults) {
    if is_off(node) {
        return classes.settings.iter_mut().for_each(switch_off);
    }
    if !matches!(node.value, Value::Map(_)) {
        return wrong_type(node, "`steering` is a mapping of classes, or `off`", faults);
    }
    for entry in map(node, "`steering`", faults).unwrap_or_default() {
        if entry.key == nominate_ahead::KEY {
            continue;
        }
        let class = class_of(entry, classes, &codes::STEERED_UNKNOWN_CLASS, faults);
        if is_off(&entry.node) {
            class.into_iter().for_each(switch_off);
            continue;
        }
        let role = class.as_ref().map(|class| class.role);
        let usual = role.map_or(Shortlist::OFF, Shortlist::of_role);
        let usual = (usual, role.map_or(Steering::OFF, Steering::of_role));
        let found = read_class(&entry.node, usual, faults);
        if let (Some(class), Some((shortlist, steering))) = (class, found) {
            (class.shortlist, class.steering) = (Some(shortlist), Some(steering));
        }
    }
}

fn switch_off(class: &mut ClassSettings) {
    (class.shortlist, class.steering) = (Some(Shortlist::OFF), Some(Steering::OFF));
}

fn read_class(
    node: &YamlNode,
    (usual, steering): (Shortlist, Steering),
    faults: &mut Faults,
) -> Option<(Shortlist, Steering)> {
    if !matches!(node.value, Value::Map(_)) {
        let expected = "the steering of a class is a mapping such as `{shortlist: 16}`, or `off`";
        wrong_type(node, expected, faults);
        return None;
    }
    let fields = Fields::of(node, &objects::STEERING, faults)?;
    fields.need_any("shortlist: 16", faults);
    let shortlist = number(&fields, "shortlist", (0, MAX_SHORTLIST), faults);
    let shortlist = shortlist.map_or(usual, Shortlist::of);
    let per_domain = number(&fields, "shortlistPerDomain", (1, MAX_SHORTLIST), faults);
    if let Some(per_domain) = per_domain.filter(|it| *it > shortlist.nodes) {
        let nodes = match shortlist.nodes {
            0 => "names all nodes".to_owned(),
            nodes => format!("names {nodes} at most"),
        };
        let message = format!("{per_domain} nodes of one zone bound nothing: `shortlist` {nodes}");
        let at = fields.get("shortlistPerDomain").map_or(fields.at, |it| it.at);
        let hint = "it is below `shortlist`, or left out";
        faults.report_hint(&codes::PER_DOMAIN_ABOVE, at, message, hint);
    }
    let per_domain = per_domain.unwrap_or(shortlist.per_domain);
    let steer = fields.get("steer").and_then(|it| read_steer(it, steering, faults));
    Some((Shortlist { per_domain, ..shortlist }, steer.unwrap_or(steering)))
}

fn read_steer(node: &YamlNode, usual: Steering, faults: &mut Faults) -> Option<Steering> {
    if is_off(node) {
        return Some(Steering::OFF);
    }
    if !matches!(node.value, Value::Map(_)) {
        wrong_type(node, "`steer` is a mapping of causes, or `off`", faults);
        return None;
    }
    let fields = Fields::of(node, &objects::STEER, faults)?;
    fields.need_any("better: {margin: 10%}", faults);
    let causes = [(Cause::Elsewhere, &objects::ELSEWHERE), (Cause::Better, &objects::BETTER)];
    Some(causes.into_iter().fold(
        usual,
        |steering, (cause, object)| match fields.get(cause.name()) {
            Some(node) => steering.with(cause, read_bounds(node, cause, object, faults)),
            None => steering,
        },
    ))
}

fn read_bounds(
    node: &YamlNode,
    cause: Cause,
    object: &Object,
    faults: &mut Faults,
) -> Option<Bounds> {
    if is_off(node) {
        return None;
    }
    if !matches!(node.value, Value::Map(_)) {
        let name = object.what;
        let expected = format!("{name} is a mapping such as `{{perSecond: 20}}`, or `off`");
        wrong_type(node, &expected, faults);
        return None;
    }
    let fields = Fields::of(node, object, faults)?;
    fields.need_any("perSecond: 20", faults);
    let usual = cause.usual();
    let margin = fields.get("margin").and_then(|it| percent(it, "`margin`", faults));
    let mut number = |field| number(&fields, field, (1, MAX_STEERS), faults).map(u32::from);
    Some(Bounds {
        margin_permille: margin.unwrap_or(usual.margin_permille),
        per_second: number("perSecond").unwrap_or(usual.per_second),
        per_app: number("perApp").unwrap_or(usual.per_app),
    })
}

fn number(fields: &Fields<'_>, field: &str, range: (i64, i64), faults: &mut Faults) -> Option<u16> {
    let (node, what) = (fields.get(field)?, format!("`{field}`"));
    u16::try_from(integer(node, &what, range, &codes::BAD_INTEGER, faults)?).ok()
}

pub(super) fn is_off(node: &YamlNode) -> bool {
    matches!(&node.value, Value::Text(text) if text == OFF)
}

#[cfg(test)]
mod tests {
    use super::super::{Plan, compile};
    use super::*;

    fn plan(section: &str) -> std::sync::Arc<Plan> {
        let head = "apiVersion: sigma.io/v1alpha1\nkind: SchedulingPolicy\nclasses:\n- name: offline\n  \
                    grant: {priorityClasses: [batch]}\n- name: exempt\n  \
                    grant: {namespaces: {names: [kube-system]}}\n";
        let found = compile("policy.yaml", format!("{head}{section}").as_bytes());
        found.map(|it| it.plan).expect("a valid policy")
    }

    fn steering(section: &str, class: &str) -> Steering {
        let plan = plan(section);
        plan.classes.iter().find(|it| it.name == class).expect("it is there").steering
    }

    #[test]
    fn what_is_not_said_is_as_usual() {
        let usual = Steering::OFF.with(Cause::Elsewhere, Some(Cause::Elsewhere.usual()));
        for section in ["", "steering: {offline: {shortlist: 4}}", "steering: {exempt: off}"] {
            assert_eq!(steering(section, "offline"), usual, "{section}");
            assert!(steering(section, "exempt").is_off(), "{section}");
        }
        let few = Bounds { per_second: 2, ..Cause::Elsewhere.usual() };
        let section = "steering: {offline: {steer: {elsewhere: {perSecond: 2}}}}";
        assert_eq!(steering(section, "offline"), usual.with(Cause::Elsewhere, Some(few)));
        let better = Bounds { margin_permille: 255, per_second: 5, per_app: 1 };
        let section = "steering: {offline: {steer: {better: {margin: 25.5%, perApp: 1}}}}";
        assert_eq!(steering(section, "offline"), usual.with(Cause::Better, Some(better)));
        let section = "steering: {exempt: {steer: {elsewhere: {perSecond: 2}}}}";
        assert_eq!(steering(section, "exempt"), Steering::OFF.with(Cause::Elsewhere, Some(few)));
    }

    #[test]
    fn off_is_off_at_every_level() {
        for section in [
            "steering: off",
            "steering: {offline: off}",
            "steering: {offline: {steer: off}}",
            "steering: {offline: {steer: {elsewhere: off}}}",
        ] {
            assert!(steering(section, "offline").is_off(), "{section}");
        }
        // `default` is a class too.
        assert!(!plan("steering: off").steers() && plan("steering: {offline: off}").steers());
    }
}
