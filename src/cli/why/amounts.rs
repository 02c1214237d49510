//! Amounts as people read them, in a unit in which sums add up.

use crate::http::admin::{AmountsView, ExplainedNodeView, LimitScope, LimitView};

/// A unit: its name, how many of the amount's own units it is, and how many decimals are shown.
type Unit = (&'static str, i128, u32);

const CPU: &[Unit] = &[("", 1000, 1), ("", 1000, 2), ("", 1000, 3)];
const BYTES: &[Unit] = &[
    (" Gi", 1 << 30, 1),
    (" Gi", 1 << 30, 2),
    (" Gi", 1 << 30, 3),
    (" Mi", 1 << 20, 0),
    (" Mi", 1 << 20, 2),
    (" Ki", 1 << 10, 0),
    ("", 1, 0),
];
const COUNT: &[Unit] = &[("", 1, 0)];

/// A resource's name and its units, by its key in JSON.
fn resource(key: &str) -> (&str, &'static [Unit]) {
    match key {
        "cpu_milli" => ("cpu", CPU),
        "memory_bytes" => ("memory", BYTES),
        "ephemeral_storage_bytes" => ("ephemeral-storage", BYTES),
        other => (other, COUNT),
    }
}

/// An exceeded limit: the amounts, their sum, and the limit.
pub(super) fn limit(it: &LimitView) -> String {
    let (name, units) = resource(&it.resource);
    let parts = [
        ("asked", it.asked),
        ("requested", it.requested),
        ("held", it.held),
        ("nominated", it.nominated),
    ];
    let sum: i128 = parts.iter().map(|(_, part)| i128::from(*part)).sum();
    let limit = i128::from(it.limit);
    let adds_up = |unit: &&Unit| {
        let rounded: i128 = parts.iter().map(|(_, part)| rounded((*part).into(), **unit)).sum();
        // A share of a core is a number that somebody wrote, so it is shown as written.
        let is_exact = |amount: i128| amount * 10_i128.pow(unit.2) % unit.1 == 0;
        let is_written = name != "cpu"
            || parts.iter().all(|(_, part)| is_exact((*part).into())) && is_exact(limit);
        is_written
            && rounded == self::rounded(sum, **unit)
            && rounded > self::rounded(limit, **unit)
    };
    let unit = units.iter().find(adds_up).or(units.last()).copied().unwrap_or(COUNT[0]);
    let text = |amount: i128| decimal(rounded(amount, unit), unit.2);
    let shown = parts.iter().filter(|(key, part)| *part != 0 || *key == "asked");
    let shown: Vec<String> =
        shown.map(|(key, part)| format!("{} {key}", text((*part).into()))).collect();
    let mut out = match (it.scope, &it.of) {
        (LimitScope::Pool, Some(pool)) => format!("{name} in pool {pool}: "),
        (LimitScope::Domain, Some(domain)) => format!("{name} in {domain}: "),
        _ => format!("{name}: "),
    };
    let (sum, limit) = (text(sum), text(limit));
    out += &format!("{} = {sum}{} > limit {limit}", shown.join(" + "), unit.0);
    if let (Some(share), Some(whole)) = (it.share_pct, it.share_of) {
        out += &format!(" ({share} % of {})", text(whole.into()));
    }
    out
}

/// What is in use of a node: placed pods, holds and nominations.
pub(super) fn taken(
    key: &str,
    it: &ExplainedNodeView,
    amount: impl Fn(&AmountsView) -> i64,
) -> String {
    let (name, units) = resource(key);
    let unit = units.first().copied().unwrap_or(COUNT[0]);
    let text = |part: &AmountsView| decimal(rounded(amount(part).into(), unit), unit.2);
    let mut out = format!("{name} {}", text(&it.node.requested));
    for (part, of) in [("held", &it.held), ("nominated", &it.nominated)] {
        if amount(of) != 0 {
            out += &format!(" + {} {part}", text(of));
        }
    }
    out + &format!(" of {}{}", text(&it.node.allocatable), unit.0)
}

/// In the last shown decimal of the unit, to the nearest.
fn rounded(amount: i128, (_, size, decimals): Unit) -> i128 {
    (amount * 10_i128.pow(decimals) * 2 + size).div_euclid(size * 2)
}

fn decimal(amount: i128, decimals: u32) -> String {
    let scale = 10_i128.pow(decimals);
    let (sign, amount) = (if amount < 0 { "-" } else { "" }, amount.abs());
    match decimals {
        0 => format!("{sign}{amount}"),
        _ => format!(
            "{sign}{}.{:0width$}",
            amount / scale,
            amount % scale,
            width = decimals as usize
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::admin::NodeView;

    #[test]
    fn sums_add_up_in_the_coarsest_unit_in_which_they_do() {
        let gi = 1_i64 << 30;
        for (resource, [asked, requested, held, nominated, limit], want) in [
            (
                "cpu_milli",
                [6000, 24_000, 2000, 1000, 28_800],
                "cpu: 6.0 asked + 24.0 requested + 2.0 held + 1.0 nominated = 33.0 > limit 28.8",
            ),
            (
                "cpu_milli",
                [0, 3000, 0, 0, 2000],
                "cpu: 0.0 asked + 3.0 requested = 3.0 > limit 2.0",
            ),
            (
                "cpu_milli",
                [125, 250, 0, 0, 250],
                "cpu: 0.125 asked + 0.250 requested = 0.375 > limit 0.250",
            ),
            (
                "cpu_milli",
                [1, 2000, 0, 0, 2000],
                "cpu: 0.001 asked + 2.000 requested = 2.001 > limit 2.000",
            ),
            (
                "memory_bytes",
                [gi, 3 * gi, 0, gi / 2, 4 * gi],
                "memory: 1.0 asked + 3.0 requested + 0.5 nominated = 4.5 Gi > limit 4.0",
            ),
            (
                "memory_bytes",
                [1 << 20, 3 * gi, 0, 0, 3 * gi],
                "memory: 0.001 asked + 3.000 requested = 3.001 Gi > limit 3.000",
            ),
            (
                "memory_bytes",
                [1, 3 * gi, 0, 0, 3 * gi],
                "memory: 1 asked + 3221225472 requested = 3221225473 > limit 3221225472",
            ),
            (
                "example.com/gpu",
                [1, 8, 0, 0, 8],
                "example.com/gpu: 1 asked + 8 requested = 9 > limit 8",
            ),
            (
                "pods",
                [1, i64::MAX, i64::MAX, 0, 8],
                "pods: 1 asked + 9223372036854775807 requested + 9223372036854775807 held = \
                 18446744073709551615 > limit 8",
            ),
        ] {
            let it = LimitView {
                resource: resource.to_owned(),
                asked,
                requested,
                held,
                nominated,
                limit,
                ..none()
            };
            assert_eq!(super::limit(&it), want);
        }
    }

    /// A limit of a node, of nothing.
    fn none() -> LimitView {
        LimitView {
            resource: "pods".to_owned(),
            scope: LimitScope::Node,
            of: None,
            asked: 1,
            requested: 2,
            held: 0,
            nominated: 0,
            limit: 2,
            share_pct: None,
            share_of: None,
        }
    }

    #[test]
    fn a_limit_says_what_it_is_of() {
        let share = (Some(90.0), Some(32_000));
        let cpu = LimitView {
            resource: "cpu_milli".to_owned(),
            asked: 6000,
            requested: 24_000,
            limit: 28_800,
            share_pct: share.0,
            share_of: share.1,
            ..none()
        };
        assert!(limit(&cpu).ends_with("= 30.0 > limit 28.8 (90 % of 32.0)"), "{}", limit(&cpu));
        let pods = LimitView { scope: LimitScope::Pool, of: Some("eci".to_owned()), ..none() };
        assert_eq!(limit(&pods), "pods in pool eci: 1 asked + 2 requested = 3 > limit 2");
        let zone = LimitView {
            resource: "replicas".to_owned(),
            scope: LimitScope::Domain,
            of: Some("zone=a".to_owned()),
            held: 1,
            limit: 3,
            share_pct: Some(33.3),
            share_of: Some(7),
            ..none()
        };
        let want = "replicas in zone=a: 1 asked + 2 requested + 1 held = 4 > limit 3 (33.3 % of 7)";
        assert_eq!(limit(&zone), want);
    }

    #[test]
    fn what_is_held_and_nominated_is_shown_where_there_is_any() {
        let cpu = |cpu_milli| AmountsView { cpu_milli, ..AmountsView::default() };
        let node = |held, nominated| ExplainedNodeView {
            node: NodeView {
                name: "n".to_owned(),
                pool: None,
                zone: None,
                requested: cpu(1500),
                allocatable: cpu(4000),
            },
            held: cpu(held),
            nominated: cpu(nominated),
        };
        let shown = |node: &ExplainedNodeView| taken("cpu_milli", node, |it| it.cpu_milli);
        assert_eq!(shown(&node(0, 0)), "cpu 1.5 of 4.0");
        assert_eq!(shown(&node(500, 1000)), "cpu 1.5 + 0.5 held + 1.0 nominated of 4.0");
    }
}
