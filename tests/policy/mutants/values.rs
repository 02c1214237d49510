//! Mutants of types, numbers and the section `steering`.

use super::Must::{Accept, Refuse, Same, Warn};
use super::{Mutants, NOTHING, OPTIONAL, OWN, shipped};

pub(super) fn types(mutants: &mut Mutants) {
    let values = [
        "{name: default}",
        "[\"ecs.ebm*\"]",
        "{instanceTypes: [\"ecs.ebm*\"]}",
        "{cpu: 95%, memory: 95%}",
        "{type: virtual-kubelet}",
        "{labels: {type: virtual-kubelet}}",
        "{cpu: 2000, memory: 8Ti, pods: 1000}",
        "{namespaces: {names: [kube-system]}}",
        "{names: [kube-system]}",
        "[kube-system]",
        "[\"prod-*\"]",
        "{matchLabels: {tier: production}}",
        "{tier: production}",
        "[shenlong, ecs, eci]",
        "{cpu: 100%, memory: 100%}",
        "{domain: topology.kubernetes.io/zone, maxShare: 50%}",
        "topology.kubernetes.io/zone",
        "[\"batch-*\"]",
        "{poolOrder: 100, binPack: 40, nodeSpread: 0, topologySpread: 0}",
    ];
    let others =
        ["", "null", "~", "[]", "{}", "true", "7", "text", "[7]", "{a: b}", "[[a]]", "- a"];
    for value in values {
        for other in others {
            let must = match other {
                "{}" if value.starts_with("{poolOrder") => Accept(NOTHING),
                "{a: b}" if value.starts_with("{ti") || value.starts_with("{ty") => Accept(OWN),
                _ => Refuse,
            };
            mutants.swap(value, other, must);
        }
    }
    for other in ["", "null", "yes", "\"true\"", "1", "[]", "{}", "on", "!!str true"] {
        mutants.swap("elastic: true", &format!("elastic: {other}"), Refuse);
    }
    for same in ["True", "TRUE", "!!bool true"] {
        mutants.swap("elastic: true", &format!("elastic: {same}"), Same);
    }
    mutants.swap("{name: default}", "{name: !!str default}", Same);
    mutants.swap("{name: default}", "{name: !mine default}", Refuse);
    mutants.swap("- name: shenlong", "- name: 1", Refuse);
    mutants.swap("- name: offline", "- name: 1", Refuse);
    mutants.swap("- name: offline", "- name: True", Refuse);
    mutants.swap("elastic: true", "elastic: false", Refuse);
    mutants.swap("type: virtual-kubelet", "type: 0755", Warn);
    mutants.swap("type: virtual-kubelet", "type: 755", Refuse);
}

pub(super) fn numbers(mutants: &mut Mutants) {
    for (must, values) in [
        (
            Refuse,
            "0% 0.5% 0.9% 101% 100.1% 950% -5% 95 0.95 9 95.55% 1e2% ９５% 95％ % nan% +95% 95%%",
        ),
        (Same, "095% 95.0%"),
        (Warn, "9.5% 1%"),
        (Accept(OWN), "10% 94.9% 100%"),
    ] {
        for value in values.split(' ') {
            mutants.swap("cpu: 95%", &format!("cpu: {value}"), must);
        }
    }
    let quantities = [
        (
            "cpu: 2000",
            Refuse,
            "-1 1000Ei 1e30 9223372036854776 8Ti 5n 1e12 2_000 2,000 2000c ２０００ .inf 0x7",
        ),
        ("cpu: 2000", Warn, "0 0m 2000m 0.5 1e8 2M"),
        ("cpu: 2000", Same, "2k 2e3 2000.0 +2000 \"2000\""),
        (
            "memory: 8Ti",
            Refuse,
            "8 8192 8192m 8TB 8ti 8Zi 1000Ei 8Ei -8Ti 8k 1e-3 8589934592.5 [8Ti]",
        ),
        ("memory: 8Ti", Warn, "0 0Ti 8Mi 1Ei 8E"),
        ("memory: 8Ti", Same, "8192Gi 8796093022208 0.0078125Pi"),
        ("pods: 1000", Refuse, "1.5 500m 1000Ei 1e30 -1 ten 1Ti 5e9 1_000 0.5"),
        ("pods: 1000", Warn, "0 1Ki 2M"),
        ("pods: 1000", Same, "1k 1e3 1e+03 1000.0"),
        (
            "binPack: 40",
            Refuse,
            "-1 1001 40.5 1e2 \"40\" 40% 4_0 0x7 ４０ forty 1e+06 99999999999999999999",
        ),
        ("binPack: 40", Accept(OWN), "0 1000"),
        ("maxShare: 50%", Refuse, "0% 101% 50 0.5 half 50.25%"),
        ("maxShare: 50%", Warn, "100% 5%"),
    ];
    for (from, must, values) in quantities {
        for value in values.split(' ') {
            let field = from.split_once(' ').expect("a field").0;
            mutants.swap(from, &format!("{field} {value}"), must);
        }
    }
    for (band, must) in [
        ("{min: 1e+06}", Refuse),
        ("{min: 2147483648}", Refuse),
        ("{min: 2, max: 1}", Refuse),
        ("{max: 1000}", Warn),
        ("{min: -2147483648}", Warn),
        ("{min: 1000}", Accept(OWN)),
    ] {
        mutants.swap("priorityClasses: [\"prod-*\"]", &format!("priority: {band}"), must);
    }
}

/// Steering is not in the shipped policy, so it is put behind it.
pub(super) fn steering(mutants: &mut Mutants) {
    for (section, must) in [
        ("off", Accept(OPTIONAL)),
        ("\"off\"", Accept(OPTIONAL)),
        ("OFF", Refuse),
        ("false", Refuse),
        ("[]", Refuse),
        ("{ofline: {shortlist: 2}}", Refuse),
        ("{offline: {shortlist: 1001}}", Refuse),
        ("{offline: {shortlist: 1.5}}", Refuse),
        ("{offline: {shortlist: 2, shortlistPerDomain: 3}}", Warn),
        ("{offline: {shortlistPerDomain: 2}}", Warn),
        ("{offline: {steer: {better: {margin: 0%}}}}", Refuse),
        ("{offline: {steer: {elsewhere: {margin: 10%}}}}", Refuse),
        ("{offline: {steer: {elsewhere: {perSecond: 0}}}}", Refuse),
        ("{nominateAhead: {batch: 100, window: 50}}", Warn),
        ("{nominateAhead: {window: 100}}", Warn),
        ("{nominateAhead: {batch: 0}}", Refuse),
        ("{nominateAhead: {ttlSeconds: 4}}", Refuse),
        ("{nominateAhead: {filterDelayMs: 21}}", Refuse),
        ("{nominateAhed: {batch: 1}}", Refuse),
    ] {
        mutants.add(
            format!("steering {section}"),
            format!("{}steering: {section}\n", shipped()),
            must,
        );
    }
    let zero = "{poolOrder: 0, binPack: 0, nodeSpread: 0, topologySpread: 0, imageLocality: 0, \
                balancedAllocation: 0}";
    mutants.swap("{poolOrder: 100, binPack: 40, nodeSpread: 0, topologySpread: 0}", zero, Warn);
    mutants.swap("binPack: 40", "binPack: 40, leastAllocated: 40", Warn);
}
