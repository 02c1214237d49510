//! The section `classes`: who a class is granted to, where its pods may go, how they spread.

use super::codes;
use super::diagnostic::{Faults, Place, did_you_mean, quoted};
use super::grant::{Grant, NamespaceSelector};
use super::grant_checks::{self, Checked, Relation, SYSTEM, relation};
use super::names::{self, Uses, nearly_reserved, role_of};
use super::objects;
use super::patterns::{Alphabet, labels, patterns};
use super::plan::{ClassSettings, Role, default_class};
use super::pools::{Pools, read_allocation};
use super::reader::{
    Fields, boolean, integer, list, listed, name, need_entries, percent, text, wrong_type,
};
use super::tree::{Value, YamlNode};
use crate::model::{DomainLevel, PoolOrd, Priority};
use crate::rules::{SpreadKey, SpreadParams};

/// The label that makes every node a domain of its own.
pub(super) const HOSTNAME: &str = "kubernetes.io/hostname";

/// The classes of a policy, with what the checks of other sections ask about them.
#[derive(Default)]
pub(super) struct Classes {
    /// In the order of grants; `default` and `exempt` are always among them.
    pub(super) settings: Vec<ClassSettings>,
    /// A class could not be read, so that a name which is not here may be that one's.
    pub(super) incomplete: bool,
}

/// A class that has been read.
struct ReadClass {
    class: ClassSettings,
    /// Where its name stands.
    at: Place,
    /// Where its `grant` stands, or else its name.
    grant_at: Place,
    /// Its grant was understood.
    understood: bool,
}

/// What a class is read with.
struct Context<'a> {
    pools: &'a Pools,
    uses: &'a Uses<'a>,
    /// The names of all classes.
    declared: Vec<&'a str>,
}

/// A share of the replicas below this needs more domains than a cluster has.
const FEW_PERMILLE: u32 = 100;

/// Reads the section; `default` and `exempt` are added where it does not name them.
pub(super) fn read(
    node: Option<&YamlNode>,
    pools: &Pools,
    uses: &Uses<'_>,
    faults: &mut Faults,
) -> Classes {
    let items = node.map(|it| list(it, "`classes`", faults));
    let mut incomplete = matches!(items, Some(None));
    let items = items.flatten().unwrap_or_default();
    let context = Context { pools, uses, declared: names::declared(items) };
    let mut found: Vec<ReadClass> = Vec::new();
    for item in items {
        match read_class(item, &context, faults) {
            Some(class) => {
                incomplete |= class.class.name.is_empty();
                check_earlier(&found, &class, faults);
                found.push(class);
            }
            None => incomplete = true,
        }
    }
    let exempt = found.iter().any(|it| it.class.role == Role::Exempt);
    if !exempt {
        check_system(&found, faults);
    }
    let mut classes: Vec<ClassSettings> = found.into_iter().map(|it| it.class).collect();
    if !exempt {
        // First, so that no wide grant of the site catches what keeps the cluster alive.
        classes.insert(0, exempt_class());
    }
    if !classes.iter().any(|class| class.role == Role::Default) {
        classes.push(default_class());
    }
    Classes { settings: classes, incomplete }
}

/// What a class has to do with those before it.
fn check_earlier(earlier: &[ReadClass], class: &ReadClass, faults: &mut Faults) {
    let name = &class.class.name;
    let same = |it: &&ReadClass| !name.is_empty() && it.class.name == *name;
    if earlier.iter().any(|it| same(&it)) {
        let message = format!("there is a class {} already", quoted(name));
        return faults.report(&codes::DUPLICATE_CLASS, class.at, message);
    }
    for other in earlier.iter().filter(|it| it.understood && class.understood) {
        let before = quoted(&other.class.name);
        match relation(&other.class.grant, &class.class.grant) {
            Some(Relation::Shadowed) => {
                let message = format!(
                    "no pod gets this class: the class {before} before it is granted to all of them"
                );
                let hint = "classes are asked in order; put the narrower grant first";
                return faults.report_hint(&codes::GRANT_SHADOWED, class.at, message, hint);
            }
            Some(Relation::Overlap(low, high)) => {
                let message = format!(
                    "priorities {low} to {high} are in this band and in that of {before}, which gets \
                     the pods that both admit"
                );
                let hint = "let one band end where the other begins";
                faults.report_hint(&codes::BANDS_OVERLAP, class.grant_at, message, hint);
            }
            None => {}
        }
    }
}

/// A class for the namespaces that are exempt without a word.
fn check_system(classes: &[ReadClass], faults: &mut Faults) {
    let exempt = exempt_class();
    for it in classes.iter().filter(|it| it.understood) {
        if let Some(Relation::Shadowed) = relation(&exempt.grant, &it.class.grant) {
            let message = "no pod gets this class: `kube-system` is exempt where no class `exempt` is \
                           declared";
            let hint = "declare `exempt` with the namespaces that are to be exempt";
            faults.report_hint(&codes::GRANT_SHADOWED, it.at, message, hint);
        }
    }
}

/// The class of what must run, where the policy does not describe it.
pub(super) fn exempt_class() -> ClassSettings {
    let names = vec![SYSTEM.to_owned()];
    let namespaces = Some(NamespaceSelector { names, match_labels: Vec::new() });
    ClassSettings {
        name: "exempt".to_owned(),
        role: Role::Exempt,
        grant: Grant { namespaces, ..Grant::default() },
        ..default_class()
    }
}

fn read_class(node: &YamlNode, context: &Context<'_>, faults: &mut Faults) -> Option<ReadClass> {
    let fields = Fields::of(node, &objects::CLASS, faults)?;
    let name_node = fields.need("name", faults);
    let at = name_node.map_or(fields.at, |it| it.at);
    // Other sections may refer to it by a name that is none.
    let mut name = name_node.and_then(|it| name(it, "a class", faults).or(it.value.as_text()));
    if let Some((own, meant)) = name.and_then(|it| Some((it, context.meant(it)?))) {
        context.uses.report(own, meant, at, faults);
        name = Some(meant);
    }
    let role = role_of(name.unwrap_or_default());
    let before = faults.errors();
    let grant_fields = fields.get("grant").map(|it| Fields::of(it, &objects::GRANT, faults));
    let grant = grant_fields.iter().flatten().next().map(|it| read_grant(it, faults));
    let (grant, grant_fields) = (grant.unwrap_or_default(), grant_fields.flatten());
    let understood = faults.errors() == before;
    let grant_at = if grant_fields.is_some() { fields.place("grant") } else { at };
    // Without a name its role is unknown, and a `grant` that is no mapping has been told about.
    if let Some(name) = name
        && (grant_fields.is_some() || !fields.has("grant"))
    {
        let nearly = nearly_reserved(name);
        let (fields, grant) = (grant_fields.as_ref(), &grant);
        let checked = Checked { name, role, at, grant_at, fields, grant, understood, nearly };
        grant_checks::check(&checked, faults);
    }
    check_open(&fields, name, role, at, context.pools, faults);
    let pools = context.pools;
    let order = fields.get("pools").and_then(|it| read_pools(it, role, pools, faults));
    let allocation = fields.get("allocation").and_then(|it| read_allocation(it, true, faults));
    if allocation.is_some() {
        check_allocation(&fields, order.as_deref(), pools, faults);
    }
    let class = ClassSettings {
        name: name.unwrap_or_default().to_owned(),
        role,
        grant,
        pools: order,
        spread: fields.get("spread").and_then(|it| read_spread(it, faults)),
        protected: fields
            .get("protected")
            .and_then(|it| boolean(it, "`protected`", faults))
            .unwrap_or(false),
        allocation,
        ..default_class()
    };
    Some(ReadClass { class, at, grant_at, understood })
}

impl Context<'_> {
    fn meant(&self, name: &str) -> Option<&str> {
        self.uses.meant(name, &self.declared)
    }
}

/// A class goes wherever its pools let it, and without them everywhere: a raised one has no limit but
/// these, and an offline one is hardly worth the money of an elastic pool.
fn check_open(
    fields: &Fields<'_>,
    name: Option<&str>,
    role: Role,
    at: Place,
    pools: &Pools,
    faults: &mut Faults,
) {
    let elastic = pools.settings.iter().any(|pool| pool.elastic);
    let bound = match role {
        Role::Online => pools.settings.is_empty(),
        Role::Offline => !elastic,
        Role::Default | Role::Exempt => true,
    };
    let Some(name) = name.filter(|_| !bound && !fields.has("pools")) else {
        return;
    };
    let where_to = if elastic { "every node, elastic ones too" } else { "every node" };
    let message = format!("the class {} names no pools, so it may go to {where_to}", quoted(name));
    let known = pools.settings.iter().filter(|pool| role == Role::Online || !pool.elastic);
    let known: Vec<&str> = known.map(|pool| pool.name.as_str()).take(8).collect();
    let hint = format!("pools: [{}]", known.join(", "));
    faults.report_hint(&codes::OPEN_EVERYWHERE, at, message, hint);
}

/// An elastic node has no share that could be taken of it.
fn check_allocation(
    fields: &Fields<'_>,
    order: Option<&[PoolOrd]>,
    pools: &Pools,
    faults: &mut Faults,
) {
    let elastic = |it: &PoolOrd| pools.settings.get(it.index()).is_some_and(|pool| pool.elastic);
    if order.is_some_and(|order| !order.is_empty() && order.iter().all(elastic)) {
        let message = "this `allocation` bounds nothing: all pools of the class are elastic";
        let hint = "an elastic pool is bounded by its `limit`";
        faults.report_hint(&codes::BOUNDS_NOTHING, fields.place("allocation"), message, hint);
    }
}

fn read_grant(fields: &Fields<'_>, faults: &mut Faults) -> Grant {
    let what = "`priorityClasses`";
    let classes = fields.get("priorityClasses");
    let classes = classes.and_then(|it| patterns(it, what, Alphabet::ObjectName, faults));
    let priority = fields.get("priority").and_then(|it| read_band(it, faults));
    let namespaces = fields.get("namespaces").and_then(|it| read_namespaces(it, faults));
    Grant { priority_classes: classes.unwrap_or_default(), priority, namespaces }
}

fn read_band(node: &YamlNode, faults: &mut Faults) -> Option<(Priority, Priority)> {
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

fn read_namespaces(node: &YamlNode, faults: &mut Faults) -> Option<NamespaceSelector> {
    let fields = Fields::of(node, &objects::NAMESPACES, faults)?;
    fields.need_any("name the namespaces with `names`, `matchLabels` or both", faults);
    let names = fields.get("names");
    let names = names.and_then(|it| patterns(it, "`names`", Alphabet::ObjectName, faults));
    let match_labels = fields.get("matchLabels").and_then(|it| labels(it, "`matchLabels`", faults));
    Some(NamespaceSelector {
        names: names.unwrap_or_default(),
        match_labels: match_labels.unwrap_or_default(),
    })
}

fn read_pools(
    node: &YamlNode,
    role: Role,
    pools: &Pools,
    faults: &mut Faults,
) -> Option<Vec<PoolOrd>> {
    let items = list(node, "`pools` of a class", faults)?;
    need_entries(items.len(), node.at, "`pools` of a class", faults);
    let mut order: Vec<PoolOrd> = Vec::new();
    for item in items {
        let Some(name) = text(item, "the name of a pool", faults) else {
            continue;
        };
        let known = || pools.settings.iter().map(|pool| pool.name.as_str());
        let Some(at) = known().position(|it| it == name) else {
            let hint = did_you_mean(name, known().filter(|it| !it.is_empty()));
            // It may be the name of a pool that could not be read, which has been told about.
            if hint.is_some() || !pools.incomplete {
                let message = format!("there is no pool {}", quoted(name));
                let hint = hint.unwrap_or_default();
                faults.report_hint(&codes::UNKNOWN_POOL, item.at, message, hint);
            }
            continue;
        };
        let ord = PoolOrd(u8::try_from(at).unwrap_or(u8::MAX));
        if order.contains(&ord) {
            let message = format!("the pool `{name}` is in the list already");
            faults.report(&codes::POOL_LISTED_TWICE, item.at, message);
            continue;
        }
        if role == Role::Default && pools.settings.get(at).is_some_and(|pool| pool.elastic) {
            let message = format!("`default` never goes to an elastic pool, and `{name}` is one");
            let hint = "nobody who was granted nothing spends money; use a class with a grant";
            faults.report_hint(&codes::DEFAULT_ON_ELASTIC, item.at, message, hint);
        }
        order.push(ord);
    }
    Some(order)
}

fn read_spread(node: &YamlNode, faults: &mut Faults) -> Option<SpreadParams> {
    let fields = Fields::of(node, &objects::SPREAD, faults)?;
    let key = fields.need("domain", faults).and_then(|it| read_domain(it, faults));
    let share_node = fields.get("maxShare");
    let share = share_node.and_then(|it| percent(it, "`maxShare`", faults));
    if let (Some(node), Some(1000)) = (share_node, share) {
        let message = "a `maxShare` of 100% bounds nothing: all replicas may be in one domain";
        let hint = "leave it out if spreading is only preferred";
        faults.report_hint(&codes::BOUNDS_NOTHING, node.at, message, hint);
    }
    // Nodes are many; it is zones and regions of which a cluster may have two.
    if let (Some(node), Some(permille), Some(SpreadKey::Level(_))) = (share_node, share, key)
        && permille < 500
    {
        let message = format!(
            "this `maxShare` needs at least {} domains; with fewer, some replicas stay pending",
            1000_u32.div_ceil(permille)
        );
        let few = permille < FEW_PERMILLE;
        let code = if few { &codes::UNLIKELY_NUMBER } else { &codes::NEEDS_MANY_DOMAINS };
        faults.report(code, node.at, message);
    }
    Some(SpreadParams { key: key?, max_share_permille: share })
}

fn read_domain(node: &YamlNode, faults: &mut Faults) -> Option<SpreadKey> {
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
