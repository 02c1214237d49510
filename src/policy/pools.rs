//! The section `pools`.

use super::codes;
use super::diagnostic::{Faults, Place, quoted};
use super::objects;
use super::patterns::{Alphabet, cover, labels, labels_cover, patterns};
use super::plan::PoolSettings;
use super::quantities::{self, QuantityKind};
use super::reader::{Fields, boolean, list, name, percent, wrong_type};
use super::tree::{Value, YamlNode};
use crate::model::{Amounts, NodeMatcher};
use crate::rules::Share;

/// A share of a node below this, in thousandths, is hardly meant.
const LITTLE_SHARE: u32 = 100;

/// The pools of a policy, with what the checks of other sections ask about them.
#[derive(Default)]
pub(super) struct Pools {
    /// In the order of the file.
    pub(super) settings: Vec<PoolSettings>,
    /// Where the name of each stands, and whether a node can get into it at all.
    pub(super) placed: Vec<(Place, bool)>,
    /// A pool could not be read, so that a name which is not here may be that one's.
    pub(super) incomplete: bool,
}

/// A pool and where it stands.
struct Placed {
    pool: PoolSettings,
    /// Its name.
    at: Place,
    /// It has a `match`, if perhaps a faulty one.
    matches: bool,
    /// Its `match`, where it has one, was understood.
    understood: bool,
    /// A pool before it has the same name.
    repeated: bool,
    /// A node can get into it.
    reachable: bool,
}

/// Reads the section. The order of the pools is the order of the file.
pub(super) fn read(node: &YamlNode, faults: &mut Faults) -> Pools {
    let items = list(node, "`pools`", faults);
    let mut incomplete = items.is_none();
    let mut pools: Vec<Placed> = Vec::new();
    for item in items.unwrap_or_default() {
        let Some(mut placed) = read_pool(item, faults) else {
            incomplete = true;
            continue;
        };
        let name = &placed.pool.name;
        incomplete |= name.is_empty();
        if !name.is_empty() && pools.iter().any(|other| other.pool.name == *name) {
            let message = format!("there is a pool {} already", quoted(name));
            faults.report(&codes::DUPLICATE_POOL, placed.at, message);
            placed.repeated = true;
        }
        pools.push(placed);
    }
    check_reach(&mut pools, faults);
    let placed = pools.iter().map(|it| (it.at, it.reachable)).collect();
    let settings = pools.into_iter().map(|placed| placed.pool).collect();
    Pools { settings, placed, incomplete }
}

fn read_pool(node: &YamlNode, faults: &mut Faults) -> Option<Placed> {
    let fields = Fields::of(node, &objects::POOL, faults)?;
    let name_node = fields.need("name", faults);
    let at = name_node.map_or(fields.at, |it| it.at);
    // Other sections may refer to it by a name that is none.
    let name = name_node.and_then(|it| name(it, "a pool", faults).or(it.value.as_text()));
    let before = faults.errors();
    let matcher = fields.get("match").and_then(|it| read_match(it, faults)).unwrap_or_default();
    let understood = faults.errors() == before;
    let elastic = fields.get("elastic").and_then(|it| boolean(it, "`elastic`", faults));
    let allocation = fields.get("allocation").and_then(|it| read_allocation(it, false, faults));
    let limit = fields.get("limit").and_then(|it| read_limit(it, faults));
    let pool = PoolSettings {
        name: name.unwrap_or_default().to_owned(),
        matcher,
        elastic: elastic.unwrap_or(false),
        allocation: allocation.unwrap_or(Share::ALL),
        limit,
    };
    // What `elastic` was meant to be is not known when it could not be read.
    if elastic.is_some() || !fields.has("elastic") {
        check_elastic(&fields, pool.elastic, at, faults);
    }
    let matches = fields.has("match");
    Some(Placed { pool, at, matches, understood, repeated: false, reachable: true })
}

fn check_elastic(fields: &Fields<'_>, elastic: bool, at: Place, faults: &mut Faults) {
    let has = |field| fields.has(field);
    if elastic && has("allocation") {
        let message = "an elastic pool has no `allocation`: the capacity of its nodes is not real";
        let hint = "bound the whole pool with `limit`";
        faults.report_hint(
            &codes::ALLOCATION_ON_ELASTIC,
            fields.place("allocation"),
            message,
            hint,
        );
    }
    if !elastic && has("limit") {
        let message = "only an elastic pool has a `limit`";
        let hint = "add `elastic: true`, or bound each node with `allocation`";
        faults.report_hint(&codes::LIMIT_ON_FIXED, fields.place("limit"), message, hint);
    }
    if elastic && !has("limit") {
        let message = "nothing bounds what this elastic pool may cost";
        let hint = "limit: {cpu: 2000, memory: 8Ti, pods: 1000}";
        faults.report_hint(&codes::ELASTIC_WITHOUT_LIMIT, at, message, hint);
    }
    if elastic && !has("match") {
        let message = "this elastic pool has no `match`: every node that no other pool takes counts \
                       as a virtual one";
        let hint = "match: {labels: {type: virtual-kubelet}}";
        faults.report_hint(&codes::ELASTIC_CATCH_ALL, at, message, hint);
    }
}

fn read_match(node: &YamlNode, faults: &mut Faults) -> Option<NodeMatcher> {
    let fields = Fields::of(node, &objects::MATCH, faults)?;
    fields.need_any("leave `match` out in the last pool, which then takes every node", faults);
    let types = fields.get("instanceTypes");
    let types = types.and_then(|it| patterns(it, "`instanceTypes`", Alphabet::LabelValue, faults));
    let labels = fields.get("labels").and_then(|it| labels(it, "`labels`", faults));
    Some(NodeMatcher {
        instance_types: types.unwrap_or_default(),
        labels: labels.unwrap_or_default(),
        is_virtual: false,
    })
}

/// Reads shares of a node. A pool's missing share is all of it; a class must give `both`, because a
/// share that it left out would silently lift the pool's.
pub(super) fn read_allocation(node: &YamlNode, both: bool, faults: &mut Faults) -> Option<Share> {
    if !matches!(node.value, Value::Map(_)) {
        wrong_type(node, "`allocation` is a mapping such as `{cpu: 95%, memory: 95%}`", faults);
        return None;
    }
    let fields = Fields::of(node, &objects::ALLOCATION, faults)?;
    let mut share = |field: &str| {
        let value = if both { fields.need(field, faults) } else { fields.get(field) };
        value.map_or(Some(1000), |it| percent(it, &format!("`{field}`"), faults))
    };
    let (cpu, memory) = (share("cpu"), share("memory"));
    for (field, share) in [("cpu", cpu), ("memory", memory)] {
        if let Some(share) = share.filter(|share| *share < LITTLE_SHARE) {
            let shown = format!("{}.{}%", share / 10, share % 10);
            let message = format!("hardly a pod fits into `{field}: {shown}` of a node");
            let at = fields.get(field).map_or(fields.at, |it| it.at);
            let hint = format!("most of a node may be used: {}%", share.min(100));
            faults.report_hint(&codes::UNLIKELY_NUMBER, at, message, hint);
        }
    }
    if !both {
        fields.need_any("allocation: {cpu: 95%, memory: 95%}", faults);
    }
    Some(Share { cpu_permille: cpu?, memory_permille: memory? })
}

fn read_limit(node: &YamlNode, faults: &mut Faults) -> Option<Amounts> {
    let fields = Fields::of(node, &objects::LIMIT, faults)?;
    fields.need_any("limit: {cpu: 2000, memory: 8Ti, pods: 1000}", faults);
    let mut amount = |field: &str, resource| {
        let value = fields.get(field).map(|it| quantities::limit(it, resource, faults));
        value.unwrap_or(Some(i64::MAX))
    };
    let cpu_milli = amount("cpu", QuantityKind::Cpu);
    let memory_bytes = amount("memory", QuantityKind::Memory);
    let pods = amount("pods", QuantityKind::Pods);
    Some(Amounts {
        cpu_milli: cpu_milli?,
        memory_bytes: memory_bytes?,
        ephemeral_bytes: i64::MAX,
        pods: pods?,
    })
}

/// A node belongs to the first pool that matches, so a wide pool starves the narrower ones behind
/// it.
fn check_reach(pools: &mut [Placed], faults: &mut Faults) {
    for at in 0..pools.len() {
        let (earlier, rest) = pools.split_at_mut(at);
        let Some((placed, later)) = rest.split_first_mut() else {
            return;
        };
        if !placed.matches && !later.is_empty() {
            let message = "a pool without `match` takes every node, so it must be the last";
            let hint = "move it to the end, or say with `match` which nodes belong to it";
            faults.report_hint(&codes::CATCH_ALL_NOT_LAST, placed.at, message, hint);
        }
        let Some(wide) = earlier.iter().find(|wide| covers(wide, placed)) else {
            continue;
        };
        placed.reachable = false;
        // Each of these has been told by a fault of its own.
        if !wide.matches || placed.repeated && wide.pool.name == placed.pool.name {
            continue;
        }
        let same = covers(placed, wide);
        let (what, hint) = match same {
            true => ("has the same `match`", "give them different nodes, or make them one pool"),
            false => ("matches all of them", "put the narrower pool first"),
        };
        let wide = quoted(&wide.pool.name);
        let message = format!("this pool never gets a node: the pool {wide} before it {what}");
        faults.report_hint(&codes::POOL_UNREACHABLE, placed.at, message, hint);
    }
}

/// True when `outer` matches every node that `inner` matches. A `match` that was not understood is
/// no ground for a second complaint.
fn covers(outer: &Placed, inner: &Placed) -> bool {
    if !outer.understood || !inner.understood {
        return false;
    }
    let (wide, narrow) = (&outer.pool.matcher, &inner.pool.matcher);
    let any = ["*".to_owned()];
    let narrow_types = match narrow.instance_types.as_slice() {
        [] => &any,
        types => types,
    };
    (wide.instance_types.is_empty() || cover(&wide.instance_types, narrow_types))
        && labels_cover(&wide.labels, &narrow.labels)
}
