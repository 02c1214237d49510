//! What a class must ask of its pods, and what two grants have to do with each other.

use super::codes;
use super::diagnostic::{Faults, Place};
use super::grant::{Grant, NamespaceSelector};
use super::patterns::{cover, is_everything, labels_cover};
use super::plan::Role;
use super::reader::Fields;
use super::tree::{Value, YamlNode};
use crate::model::{Priority, glob};

/// The priorities that a PriorityClass of a user may have end here; those above are Kubernetes' own.
const HIGHEST_OF_USERS: Priority = 1_000_000_000;
/// A band that begins here or below leaves nobody out at its lower end.
const LOWEST_IN_USE: Priority = -1_000_000_000;
/// The namespace of what keeps a cluster alive.
pub(super) const SYSTEM: &str = "kube-system";

/// A class whose grant is checked.
pub(super) struct Checked<'a> {
    pub(super) name: &'a str,
    pub(super) role: Role,
    /// Where the name stands.
    pub(super) at: Place,
    /// Where the grant stands, or the name where there is none.
    pub(super) grant_at: Place,
    pub(super) fields: Option<&'a Fields<'a>>,
    pub(super) grant: &'a Grant,
    /// Nothing is wrong with the grant as such.
    pub(super) understood: bool,
    /// The reserved name that this one nearly is.
    pub(super) nearly: Option<&'static str>,
}

/// What a class of this role must ask of its pods.
pub(super) fn check(class: &Checked<'_>, faults: &mut Faults) {
    let asks = |field: &str| class.fields.is_some_and(|it| it.has(field));
    let priority = asks("priorityClasses") || asks("priority");
    let namespaces = class.fields.and_then(|it| it.get("namespaces"));
    let names = namespaces.map(|it| match &it.value {
        Value::Map(entries) => entries.iter().any(|it| near(&it.key, "names")),
        // Something else has been told about.
        _ => true,
    });
    match class.role {
        Role::Online if !priority || !asks("namespaces") => {
            raised_without_proof(class, priority, asks("namespaces"), faults);
        }
        Role::Online => nearly_a_role(class, faults),
        Role::Exempt if names != Some(true) && !(names.is_none() && asks("namespaces")) => {
            let message = "`exempt` is granted only to namespaces by name";
            let hint = "grant: {namespaces: {names: [kube-system]}}";
            faults.report_hint(&codes::EXEMPT_WITHOUT_NAMES, class.grant_at, message, hint);
        }
        Role::Default if class.fields.is_some() => {
            let message = "`default` has no `grant`: it is the class of whoever matches nothing";
            let hint = "leave the grant out, or give the class another name";
            faults.report_hint(&codes::DEFAULT_WITH_GRANT, class.grant_at, message, hint);
        }
        Role::Offline if !priority && !asks("namespaces") => {
            let message = "no pod can get the class `offline`: its `grant` asks for nothing";
            let hint = "grant: {priorityClasses: [\"batch-*\"]}";
            faults.report_hint(&codes::GRANTS_TO_NOBODY, class.grant_at, message, hint);
        }
        _ => {}
    }
    if class.understood {
        check_width(class, namespaces, faults);
        check_band(class, faults);
    }
}

fn near(key: &str, field: &str) -> bool {
    super::diagnostic::closest(key, [field]).is_some()
}

fn raised_without_proof(class: &Checked<'_>, priority: bool, bound: bool, faults: &mut Faults) {
    let lacks = match (priority, bound) {
        (false, false) => "`priorityClasses` or `priority`, and `namespaces`",
        (false, true) => "`priorityClasses` or `priority`",
        _ => "`namespaces`",
    };
    let name = class.name;
    let message = format!("the class `{name}` raises its pods, so its `grant` needs {lacks}");
    let hint = match class.nearly {
        Some(role) => format!("did you mean `{role}`? every other name raises"),
        None => {
            "a tenant can write any priority class that its quota allows and any label, but not \
                 choose its namespace: raising needs both"
                .to_owned()
        }
    };
    let at = if class.nearly.is_some() { class.at } else { class.grant_at };
    faults.report_hint(&codes::RAISED_WITHOUT_PROOF, at, message, hint);
}

fn nearly_a_role(class: &Checked<'_>, faults: &mut Faults) {
    let Some(role) = class.nearly else {
        return;
    };
    let message = format!(
        "the class `{}` raises its pods like `online`: only the name `{role}` itself does not",
        class.name
    );
    let hint = format!("did you mean `{role}`? if not, use a name that is less like it");
    faults.report_hint(&codes::NEARLY_A_ROLE, class.at, message, hint);
}

/// What of a grant everybody meets.
struct Width {
    /// Every name of a namespace, whatever its labels.
    name: bool,
    /// Every namespace.
    namespace: bool,
    /// Every PriorityClass.
    class: bool,
    /// Every priority.
    band: bool,
}

impl Width {
    fn of(grant: &Grant) -> Self {
        let selector = grant.namespaces.as_ref();
        let name = selector.is_some_and(|it| is_everything(&it.names));
        Self {
            name,
            namespace: name && selector.is_some_and(|it| it.match_labels.is_empty()),
            class: is_everything(&grant.priority_classes),
            band: grant.priority.is_some_and(is_every_priority),
        }
    }
}

/// A condition that everybody meets is none: at most a redundancy, at worst an open door.
fn check_width(class: &Checked<'_>, namespaces: Option<&YamlNode>, faults: &mut Faults) {
    let width = Width::of(class.grant);
    let selector = class.grant.namespaces.as_ref();
    let at = namespaces.map_or(class.at, |it| it.at);
    match class.role {
        Role::Exempt if width.name => {
            let message = "`exempt` is granted to namespaces by name, and this is every name";
            let hint = "grant: {namespaces: {names: [kube-system]}}";
            return faults.report_hint(&codes::EXEMPT_EVERYWHERE, at, message, hint);
        }
        Role::Exempt if selector.is_some_and(leaves_system_out) => {
            let message = "`exempt` leaves the namespace `kube-system` out, so what keeps the cluster \
                           alive is held up like other pods";
            let hint = "add `kube-system` to the names";
            faults.report_hint(&codes::EXEMPT_WITHOUT_SYSTEM, at, message, hint);
        }
        Role::Online if width.namespace && (width.class || width.band) => {
            let name = class.name;
            let message = format!("the class `{name}` raises every pod of every namespace");
            let hint = "bind it to the priorities and the namespaces that are to be raised";
            return faults.report_hint(&codes::RAISES_EVERYBODY, class.grant_at, message, hint);
        }
        _ => {}
    }
    warn_of_width(class, &width, namespaces, faults);
}

fn warn_of_width(
    class: &Checked<'_>,
    width: &Width,
    namespaces: Option<&YamlNode>,
    faults: &mut Faults,
) {
    let place = |field: &str| class.fields.map_or(class.at, |it| it.place(field));
    let mut binds_nothing = |what: &str, at: Place| {
        let message = format!("{what} binds nothing: everybody matches it");
        faults.report(&codes::BINDS_NOTHING, at, message);
    };
    if width.class {
        let at = class.fields.and_then(|it| it.get("priorityClasses")).and_then(star);
        binds_nothing("`*` in `priorityClasses`", at.unwrap_or(place("priorityClasses")));
    }
    if width.band {
        binds_nothing("this band of `priority`", place("priority"));
    }
    // With labels beside it, `*` is redundant and no hole.
    if width.namespace {
        let names = namespaces.and_then(|it| match &it.value {
            Value::Map(entries) => entries.iter().find(|it| near(&it.key, "names")),
            _ => None,
        });
        let at = names.and_then(|it| star(&it.node).or(Some(it.at)));
        binds_nothing("`*` in `namespaces.names`", at.unwrap_or(place("namespaces")));
    }
}

/// Where in a list of patterns the one stands that matches everything.
fn star(list: &YamlNode) -> Option<Place> {
    let Value::List(items) = &list.value else {
        return None;
    };
    let all = |it: &&YamlNode| it.value.as_text().is_some_and(|it| is_everything(&[it.to_owned()]));
    items.iter().find(all).map(|it| it.at)
}

fn leaves_system_out(selector: &NamespaceSelector) -> bool {
    !selector.names.is_empty() && !selector.names.iter().any(|it| glob(it, SYSTEM))
}

/// A band without the end that matters for the class: it takes what nobody wrote a priority for.
fn check_band(class: &Checked<'_>, faults: &mut Faults) {
    let Some((min, max)) = class.grant.priority.filter(|it| !is_every_priority(*it)) else {
        return;
    };
    let message = match class.role {
        Role::Online if min <= LOWEST_IN_USE => {
            "this band raises the pods of the lowest priorities"
        }
        Role::Offline if max >= HIGHEST_OF_USERS => {
            "this band lowers the pods of the highest priorities"
        }
        _ => return,
    };
    let end = if class.role == Role::Online { "min" } else { "max" };
    let at = class.fields.map_or(class.at, |it| it.place("priority"));
    let hint = format!("give the band a `{end}`");
    faults.report_hint(&codes::UNLIKELY_NUMBER, at, message, hint);
}

fn is_every_priority((min, max): (Priority, Priority)) -> bool {
    min <= LOWEST_IN_USE && max >= HIGHEST_OF_USERS
}

/// What the later of two grants has to do with the earlier one.
pub(super) enum Relation {
    /// The earlier one admits every pod that the later one admits.
    Shadowed,
    /// Their bands overlap in part, from one priority to another.
    Overlap(Priority, Priority),
}

/// Compares two grants, the first of which is asked first.
pub(super) fn relation(first: &Grant, second: &Grant) -> Option<Relation> {
    if covers(first, second) {
        return Some(Relation::Shadowed);
    }
    let (one, two) = (first.priority?, second.priority?);
    let (low, high) = (one.0.max(two.0), one.1.min(two.1));
    let nested = (low, high) == one || (low, high) == two;
    let overlap = low <= high && !nested && meet(&first.namespaces, &second.namespaces);
    overlap.then_some(Relation::Overlap(low, high))
}

/// True when `outer` admits every pod that `inner` admits, and there is such a pod.
fn covers(outer: &Grant, inner: &Grant) -> bool {
    if outer.is_empty() || inner.is_empty() {
        return false;
    }
    let asks = |grant: &Grant| !grant.priority_classes.is_empty() || grant.priority.is_some();
    let any =
        is_everything(&outer.priority_classes) || outer.priority.is_some_and(is_every_priority);
    let band_within = match (outer.priority, inner.priority) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(outer), Some(inner)) => outer.0 <= inner.0 && inner.1 <= outer.1,
    };
    let by_priority = any
        || !asks(outer)
        || (asks(inner) && band_within && cover(&outer.priority_classes, &inner.priority_classes));
    let by_namespace = match (&outer.namespaces, &inner.namespaces) {
        (None, _) => true,
        (Some(outer), _) if outer.match_labels.is_empty() && is_everything(&outer.names) => true,
        (Some(_), None) => false,
        (Some(outer), Some(inner)) => {
            let names = outer.names.is_empty()
                || is_everything(&outer.names)
                || (!inner.names.is_empty() && cover(&outer.names, &inner.names));
            names && labels_cover(&outer.match_labels, &inner.match_labels)
        }
    };
    by_priority && by_namespace
}

/// True when some namespace may be in both.
fn meet(one: &Option<NamespaceSelector>, two: &Option<NamespaceSelector>) -> bool {
    let (Some(one), Some(two)) = (one, two) else {
        return true;
    };
    let mut pairs = one.names.iter().flat_map(|a| two.names.iter().map(move |b| (a, b)));
    let names = one.names.is_empty()
        || two.names.is_empty()
        || pairs.any(|(a, b)| glob(a, b) || glob(b, a));
    let differ = |(key, value): &(String, String)| {
        two.match_labels.iter().any(|other| other.0 == *key && other.1 != *value)
    };
    names && !one.match_labels.iter().any(differ)
}
