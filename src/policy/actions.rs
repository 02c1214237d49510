//! The section `actions`: the kinds of action that are stopped, at once and until the policy says otherwise.

use super::codes;
use super::diagnostic::{Faults, did_you_mean, quoted};
use super::objects;
use super::reader::{Fields, list, text};
use super::tree::YamlNode;
use crate::model::{ACTION_KINDS, ActionKind};

/// The word for every kind.
pub(super) const ALL: &str = "all";

/// Reads the section: the names of the kinds that are stopped, in the order of the table.
pub(super) fn read(node: &YamlNode, faults: &mut Faults) -> Vec<&'static str> {
    let Some(fields) = Fields::of(node, &objects::ACTIONS, faults) else { return Vec::new() };
    fields.need_any("stop: all", faults);
    let Some(stop) = fields.get("stop") else { return Vec::new() };
    if stop.value.as_text() == Some(ALL) {
        return names().collect();
    }
    let what = "`stop` is `all` or a list of kinds of action: it";
    let items = list(stop, what, faults).unwrap_or_default();
    let named: Vec<_> = items.iter().filter_map(|it| read_kind(it, faults)).collect();
    names().filter(|name| named.contains(name)).collect()
}

fn names() -> impl Iterator<Item = &'static str> {
    ACTION_KINDS.iter().map(|kind| kind.name)
}

fn read_kind(node: &YamlNode, faults: &mut Faults) -> Option<&'static str> {
    let text = text(node, "a kind of action", faults)?;
    let found = ACTION_KINDS.iter().copied().find(|kind: &&ActionKind| kind.name == text);
    if found.is_none() {
        let message = format!("there is no kind of action {}", quoted(text));
        let known = names().collect::<Vec<_>>().join(", ");
        let hint = did_you_mean(text, names()).unwrap_or_else(|| match text {
            ALL => "write `stop: all`".to_owned(),
            _ => format!("the kinds are: {known}"),
        });
        faults.report_hint(&codes::UNKNOWN_ACTION, node.at, message, hint);
    }
    found.map(|kind| kind.name)
}

#[cfg(test)]
mod tests {
    use crate::model::ACTION_KINDS;
    use crate::policy::{compile, render};

    fn stopped(stop: &str) -> Result<Vec<&'static str>, String> {
        let text = format!(
            "apiVersion: sigma.io/v1alpha1\nkind: SchedulingPolicy\nactions: {{stop: {stop}}}\n"
        );
        let compiled = compile("p.yaml", text.as_bytes());
        let rendered = |faults: Vec<_>| render(&faults, text.as_bytes());
        compiled.map(|it| it.plan.stopped_actions.clone()).map_err(rendered)
    }

    #[test]
    fn kinds_are_stopped_by_name_or_all_at_once() {
        let all: Vec<&str> = ACTION_KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(stopped("all"), Ok(all.clone()));
        assert_eq!(stopped("[steer, requeue, steer]"), Ok(vec!["requeue", "steer"]));
        assert_eq!(stopped("[]"), Ok(vec![]), "nothing is stopped any more");
        for (stop, want) in [
            ("[nominate-ahead]", "did you mean `nominate_ahead`?"),
            ("[paint]", &format!("the kinds are: {}", all.join(", "))),
            ("[all]", "write `stop: all`"),
            ("everything", "`stop` is `all` or a list of kinds of action"),
            ("[5]", "a kind of action"),
        ] {
            let got = stopped(stop).expect_err(stop);
            assert!(got.contains(want), "{got}");
        }
    }
}
