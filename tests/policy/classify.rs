//! Who gets which class: claims × bindings, through the shipped policy and one with bands.

use std::collections::BTreeMap;

use sigma::model::{Namespace, QosClaim};
use sigma::policy::{Claimant, Compiled, Plan, Role, compile};

use crate::root;

const BANDS: &str = r#"
apiVersion: sigma.io/v1alpha1
kind: SchedulingPolicy
classes:
- name: gold
  grant:
    priority: {min: 9000, max: 9999}
    namespaces: {names: ["gold-*"], matchLabels: {tier: production}}
- name: online
  grant:
    priorityClasses: ["prod-*"]
    priority: {min: 1000}
    namespaces: {names: ["team-*", "gold-*"]}
- name: offline
  grant: {priority: {max: -1}}
- name: exempt
  grant: {priorityClasses: [system-*], namespaces: {names: [infra, "sys-*"]}}
"#;

/// The claimed namespace, PriorityClass, priority and QoS; the granted class; claimed more.
type Case = (&'static str, &'static str, i32, Option<QosClaim>, &'static str, bool);

fn plan(source: &[u8]) -> std::sync::Arc<Plan> {
    let Compiled { plan, .. } = compile("p.yaml", source).expect("the policy is accepted");
    plan
}

fn namespaces() -> BTreeMap<Box<str>, Namespace> {
    let labels = |labels: &[(&str, &str)]| Namespace {
        labels: labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        ..Namespace::default()
    };
    BTreeMap::from([
        ("shop".into(), labels(&[("tier", "production")])),
        ("gold-shop".into(), labels(&[("tier", "production")])),
        ("gold-lab".into(), labels(&[("tier", "lab")])),
        ("lab".into(), labels(&[])),
    ])
}

fn check(plan: &Plan, cases: &[Case]) {
    let namespaces = namespaces();
    for &(namespace, priority_class, priority, qos_claim, want, claimed_more) in cases {
        let pod = Claimant { namespace, priority_class, priority, qos_claim };
        let granted = plan.classify(&namespaces, &pod);
        let found = (plan.class(granted.class).name.as_str(), granted.claimed_more);
        assert_eq!(found, (want, claimed_more), "{pod:?}");
    }
}

#[test]
fn the_shipped_policy_raises_by_priority_class_and_namespace_label() {
    let source = std::fs::read(root().join("policies/default.yaml")).expect("it is shipped");
    let (online, offline) = (Some(QosClaim::Online), Some(QosClaim::Offline));
    check(
        &plan(&source),
        &[
            ("shop", "prod-high", 0, None, "online", false),
            // Either half alone raises nobody, and neither does the number of the priority …
            ("lab", "prod-high", 0, None, "default", false),
            ("shop", "", 0, None, "default", false),
            ("shop", "", 1_000_000, None, "default", false),
            // … nor a namespace that no watch has told us of, whatever it is called.
            ("production", "prod-high", 0, None, "default", false),
            // A label can only lower.
            ("shop", "prod-high", 0, offline, "offline", false),
            ("lab", "", 0, offline, "offline", false),
            ("lab", "", 0, online, "default", true),
            ("shop", "prod-high", 0, online, "online", false),
            ("lab", "batch-x", 0, None, "offline", false),
            ("lab", "batch-x", 0, online, "offline", true),
            // Patterns match whole names.
            ("shop", "my-prod-high", 0, None, "default", false),
            // Exempt goes by name, and no label lowers it.
            ("kube-system", "", 0, None, "exempt", false),
            ("kube-system", "prod-high", 0, offline, "exempt", false),
            ("kube-system-2", "", 0, None, "default", false),
        ],
    );
}

#[test]
fn bands_and_names_bind_and_the_first_class_wins() {
    check(
        &plan(BANDS.as_bytes()),
        &[
            ("gold-shop", "", 9000, None, "gold", false),
            ("gold-shop", "", 9999, None, "gold", false),
            // Out of the band, or in it without the namespace's label: the next class in order.
            ("gold-shop", "", 10_000, None, "online", false),
            ("gold-lab", "", 9000, None, "online", false),
            ("gold-lab", "", 999, None, "default", false),
            // A band is an alternative to the PriorityClass; the namespace is none.
            ("team-a", "prod-x", 0, None, "online", false),
            ("team-a", "other", 1000, None, "online", false),
            ("lab", "prod-x", 1000, None, "default", false),
            ("lab", "", -1, None, "offline", false),
            ("lab", "", i32::MIN, None, "offline", false),
            // Where the policy describes `exempt`, kube-system is what the policy says it is.
            ("kube-system", "system-node-critical", 0, None, "default", false),
            ("sys-net", "system-node-critical", 0, None, "exempt", false),
            ("sys-net", "", 0, None, "default", false),
        ],
    );
}

#[test]
fn an_empty_policy_knows_default_and_kube_system() {
    let plan = plan(b"");
    let offline = Some(QosClaim::Offline);
    check(
        &plan,
        &[
            ("kube-system", "", 0, None, "exempt", false),
            ("shop", "prod-high", 1_000_000, None, "default", false),
            // Without a class `offline` there is nothing to be lowered to.
            ("shop", "", 0, offline, "default", false),
        ],
    );
    assert_eq!(plan.class(plan.default_class).role, Role::Default);
}
