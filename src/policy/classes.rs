//! The section `classes`: who a class is granted to, where its pods may go, how they spread.

use super::codes;
use super::diagnostic::{Faults, Place, did_you_mean, quoted};
use super::grant::{Grant, NamespaceSelector};
use super::objects;
use super::patterns::{Alphabet, cover, labels, labels_cover, patterns};
use super::plan::{ClassSettings, PoolSettings, Role, default_class};
use super::pools::read_allocation;
use super::reader::{
    Fields, boolean, integer, list, listed, name, need_entries, percent, text, wrong_type,
};
use super::tree::{Node, Value};
use crate::model::{DomainLevel, PoolOrd, Priority};
use crate::rules::{SpreadKey, SpreadParams};

/// The label that makes every node a domain of its own.
pub(super) const HOSTNAME: &str = "kubernetes.io/hostname";

/// Reads the section; `default` and `exempt` are added where it does not name them.
pub(super) fn read(
    node: Option<&Node>,
    pools: &[PoolSettings],
    faults: &mut Faults,
) -> Vec<ClassSettings> {
    let items = node.and_then(|it| list(it, "`classes`", faults)).unwrap_or_default();
    let mut classes: Vec<ClassSettings> = Vec::new();
    for item in items {
        let Some((class, at)) = read_class(item, pools, faults) else {
            continue;
        };
        if !class.name.is_empty() && classes.iter().any(|other| other.name == class.name) {
            let message = format!("there is a class {} already", quoted(&class.name));
            faults.report(&codes::DUPLICATE_CLASS, at, message);
        }
        if let Some(wide) = classes.iter().find(|wide| covers(&wide.grant, &class.grant)) {
            let message = format!(
                "no pod gets this class: the class `{}` before it is granted to all of them",
                wide.name
            );
            let hint = "classes are asked in order; put the narrower grant first";
            faults.report_hint(&codes::GRANT_SHADOWED, at, message, hint);
        }
        classes.push(class);
    }
    if !classes.iter().any(|class| class.role == Role::Exempt) {
        // First, so that no wide grant of the site catches what keeps the cluster alive.
        classes.insert(0, exempt_class());
    }
    if !classes.iter().any(|class| class.role == Role::Default) {
        classes.push(default_class());
    }
    classes
}

/// The class of what must run, where the policy does not describe it.
pub(super) fn exempt_class() -> ClassSettings {
    let names = vec!["kube-system".to_owned()];
    let namespaces = Some(NamespaceSelector { names, match_labels: Vec::new() });
    ClassSettings {
        name: "exempt".to_owned(),
        role: Role::Exempt,
        grant: Grant { namespaces, ..Grant::default() },
        ..default_class()
    }
}

fn role_of(name: &str) -> Role {
    match name {
        "offline" => Role::Offline,
        "default" => Role::Default,
        "exempt" => Role::Exempt,
        _ => Role::Online,
    }
}

fn read_class(
    node: &Node,
    pools: &[PoolSettings],
    faults: &mut Faults,
) -> Option<(ClassSettings, Place)> {
    let fields = Fields::of(node, &objects::CLASS, faults)?;
    let name_node = fields.need("name", faults);
    let name = name_node.and_then(|it| name(it, "a class", faults));
    let at = name_node.map_or(fields.at, |it| it.at);
    let role = role_of(name.unwrap_or_default());
    let grant_fields = fields.get("grant").map(|it| Fields::of(it, &objects::GRANT, faults));
    let grant = grant_fields.iter().flatten().next().map(|it| read_grant(it, faults));
    // Without a name its role is unknown, and a `grant` that is no mapping has been told about.
    if let (Some(name), false) = (name, matches!(grant_fields, Some(None))) {
        let grant_fields = grant_fields.flatten();
        check_grant(name, role, at, &fields, grant_fields.as_ref(), faults);
    }
    let order = fields.get("pools").and_then(|it| read_pools(it, role, pools, faults));
    let spread = fields.get("spread").and_then(|it| read_spread(it, faults));
    let protected = fields.get("protected").and_then(|it| boolean(it, "`protected`", faults));
    let allocation = fields.get("allocation").and_then(|it| read_allocation(it, true, faults));
    let class = ClassSettings {
        name: name.unwrap_or_default().to_owned(),
        role,
        grant: grant.unwrap_or_default(),
        pools: order,
        spread,
        protected: protected.unwrap_or(false),
        allocation,
        weights: Vec::new(),
        shortlist: None,
        steering: None,
    };
    Some((class, at))
}

fn read_grant(fields: &Fields<'_>, faults: &mut Faults) -> Grant {
    let what = "`priorityClasses`";
    let classes = fields.get("priorityClasses");
    let classes = classes.and_then(|it| {
        warn_of_star(it, what, faults);
        patterns(it, what, Alphabet::ObjectName, faults)
    });
    let priority = fields.get("priority").and_then(|it| read_band(it, faults));
    let namespaces = fields.get("namespaces").and_then(|it| read_namespaces(it, faults));
    Grant { priority_classes: classes.unwrap_or_default(), priority, namespaces }
}

fn read_band(node: &Node, faults: &mut Faults) -> Option<(Priority, Priority)> {
    if !matches!(node.value, Value::Map(_)) {
        wrong_type(node, "`priority` is a band such as `{min: 1000, max: 1999}`", faults);
        return None;
    }
    let fields = Fields::of(node, &objects::PRIORITY, faults)?;
    fields.need_any("priority: {min: 1000, max: 1999}", faults);
    let mut end = |field: &str, otherwise: Priority| {
        let range = (i64::from(Priority::MIN), i64::from(Priority::MAX));
        let value = fields.get(field).map(|it| {
            integer(it, &format!("`{field}`"), range, &codes::BAD_INTEGER, faults)
                .and_then(|value| Priority::try_from(value).ok())
        });
        value.unwrap_or(Some(otherwise))
    };
    let ends = (end("min", Priority::MIN), end("max", Priority::MAX));
    let (min, max) = (ends.0?, ends.1?);
    if min > max {
        let message = format!("no priority is both at least {min} and at most {max}");
        faults.report_hint(&codes::PRIORITY_BAND, node.at, message, "swap `min` and `max`");
    }
    Some((min, max))
}

fn read_namespaces(node: &Node, faults: &mut Faults) -> Option<NamespaceSelector> {
    let fields = Fields::of(node, &objects::NAMESPACES, faults)?;
    fields.need_any("name the namespaces with `names`, `matchLabels` or both", faults);
    let names = fields.get("names").and_then(|it| {
        // With labels beside it, `*` is redundant and no hole.
        if fields.get("matchLabels").is_none() {
            warn_of_star(it, "`namespaces.names`", faults);
        }
        patterns(it, "`names`", Alphabet::ObjectName, faults)
    });
    let match_labels = fields.get("matchLabels").and_then(|it| labels(it, "`matchLabels`", faults));
    Some(NamespaceSelector {
        names: names.unwrap_or_default(),
        match_labels: match_labels.unwrap_or_default(),
    })
}

/// A pattern that everything matches looks like a condition and is none.
fn warn_of_star(node: &Node, what: &str, faults: &mut Faults) {
    let Value::List(items) = &node.value else {
        return;
    };
    for item in items {
        let Value::Text(pattern) = &item.value else {
            continue;
        };
        if !pattern.is_empty() && pattern.chars().all(|c| c == '*') {
            let message = format!("`*` in {what} binds nothing: everybody matches it");
            faults.report(&codes::BINDS_NOTHING, item.at, message);
        }
    }
}

/// What a class of this role must ask of its pods.
fn check_grant(
    name: &str,
    role: Role,
    at: Place,
    class: &Fields<'_>,
    grant: Option<&Fields<'_>>,
    faults: &mut Faults,
) {
    let asks = |field: &str| grant.is_some_and(|it| it.get(field).is_some());
    let grant_at = if grant.is_some() { class.place("grant") } else { at };
    let priority = asks("priorityClasses") || asks("priority");
    let names = grant.and_then(|it| it.get("namespaces")).is_some_and(|it| match &it.value {
        Value::Map(entries) => entries.iter().any(|entry| entry.key == "names"),
        // Something else has been told about.
        _ => true,
    });
    match role {
        Role::Online if !priority || !asks("namespaces") => {
            let lacks = match (priority, asks("namespaces")) {
                (false, false) => "`priorityClasses` or `priority`, and `namespaces`",
                (false, true) => "`priorityClasses` or `priority`",
                _ => "`namespaces`",
            };
            let message =
                format!("the class `{name}` raises its pods, so its `grant` needs {lacks}");
            let hint = "a tenant can write any priority class that its quota allows and any label, \
                        but not choose its namespace: raising needs both";
            faults.report_hint(&codes::RAISED_WITHOUT_PROOF, grant_at, message, hint);
        }
        Role::Exempt if !names => {
            let message = "`exempt` is granted only to namespaces by name";
            let hint = "grant: {namespaces: {names: [kube-system]}}";
            faults.report_hint(&codes::EXEMPT_WITHOUT_NAMES, grant_at, message, hint);
        }
        Role::Default if grant.is_some() => {
            let message = "`default` has no `grant`: it is the class of whoever matches nothing";
            let hint = "leave the grant out, or give the class another name";
            faults.report_hint(&codes::DEFAULT_WITH_GRANT, grant_at, message, hint);
        }
        Role::Offline if !priority && !asks("namespaces") => {
            let message = "no pod can get the class `offline`: its `grant` asks for nothing";
            let hint = "grant: {priorityClasses: [\"batch-*\"]}";
            faults.report_hint(&codes::GRANTS_TO_NOBODY, grant_at, message, hint);
        }
        _ => {}
    }
}

fn read_pools(
    node: &Node,
    role: Role,
    pools: &[PoolSettings],
    faults: &mut Faults,
) -> Option<Vec<PoolOrd>> {
    let items = list(node, "`pools` of a class", faults)?;
    need_entries(items.len(), node.at, "`pools` of a class", faults);
    let mut order: Vec<PoolOrd> = Vec::new();
    for item in items {
        let Some(name) = text(item, "the name of a pool", faults) else {
            continue;
        };
        let Some(at) = pools.iter().position(|pool| pool.name == name) else {
            let known = pools.iter().map(|pool| pool.name.as_str()).filter(|it| !it.is_empty());
            let hint = did_you_mean(name, known).unwrap_or_default();
            let message = format!("there is no pool {}", quoted(name));
            faults.report_hint(&codes::UNKNOWN_POOL, item.at, message, hint);
            continue;
        };
        let ord = PoolOrd(u8::try_from(at).unwrap_or(u8::MAX));
        if order.contains(&ord) {
            let message = format!("the pool `{name}` is in the list already");
            faults.report(&codes::POOL_LISTED_TWICE, item.at, message);
            continue;
        }
        if role == Role::Default && pools.get(at).is_some_and(|pool| pool.elastic) {
            let message = format!("`default` never goes to an elastic pool, and `{name}` is one");
            let hint = "nobody who was granted nothing spends money; use a class with a grant";
            faults.report_hint(&codes::DEFAULT_ON_ELASTIC, item.at, message, hint);
        }
        order.push(ord);
    }
    Some(order)
}

fn read_spread(node: &Node, faults: &mut Faults) -> Option<SpreadParams> {
    let fields = Fields::of(node, &objects::SPREAD, faults)?;
    let key = fields.need("domain", faults).and_then(|it| read_domain(it, faults));
    let share_node = fields.get("maxShare");
    let share = share_node.and_then(|it| percent(it, "`maxShare`", faults));
    // Nodes are many; it is zones and regions of which a cluster may have two.
    if let (Some(node), Some(permille), Some(SpreadKey::Level(_))) = (share_node, share, key)
        && permille < 500
    {
        let message = format!(
            "this `maxShare` needs at least {} domains; with fewer, some replicas stay pending",
            1000_u32.div_ceil(permille)
        );
        faults.report(&codes::NEEDS_MANY_DOMAINS, node.at, message);
    }
    Some(SpreadParams { key: key?, max_share_permille: share })
}

fn read_domain(node: &Node, faults: &mut Faults) -> Option<SpreadKey> {
    let label = text(node, "`domain`", faults)?;
    if label == HOSTNAME {
        return Some(SpreadKey::Node);
    }
    if let Some(level) = DomainLevel::from_label(label) {
        return Some(SpreadKey::Level(level));
    }
    let known = domain_labels();
    // `zone` alone is what people write who think of the level and not of the label.
    let level = known.iter().find(|it| it.ends_with(&format!("/{label}")));
    let level = level.map(|it| format!("did you mean `{it}`?"));
    let hint = level.or_else(|| did_you_mean(label, known.iter().copied()));
    let hint = hint.unwrap_or_else(|| format!("it is one of {}", listed(&known)));
    let message = format!("nodes are not grouped by the label {}", quoted(label));
    faults.report_hint(&codes::UNKNOWN_DOMAIN, node.at, message, hint);
    None
}

/// The labels that `spread.domain` may name, wide to narrow.
pub(super) fn domain_labels() -> Vec<&'static str> {
    DomainLevel::ALL.into_iter().map(DomainLevel::label).chain([HOSTNAME]).collect()
}

/// True when `outer` admits every pod that `inner` admits, and there is such a pod.
fn covers(outer: &Grant, inner: &Grant) -> bool {
    if outer.is_empty() || inner.is_empty() {
        return false;
    }
    let asks = |grant: &Grant| !grant.priority_classes.is_empty() || grant.priority.is_some();
    let band_within = match (outer.priority, inner.priority) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(outer), Some(inner)) => outer.0 <= inner.0 && inner.1 <= outer.1,
    };
    let by_priority = !asks(outer)
        || (asks(inner) && band_within && cover(&outer.priority_classes, &inner.priority_classes));
    let by_namespace = match (&outer.namespaces, &inner.namespaces) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(outer), Some(inner)) => {
            let names = outer.names.is_empty()
                || (!inner.names.is_empty() && cover(&outer.names, &inner.names));
            names && labels_cover(&outer.match_labels, &inner.match_labels)
        }
    };
    by_priority && by_namespace
}
