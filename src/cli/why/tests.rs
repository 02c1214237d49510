use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::engine::{ConstraintKind, SteerOutcome};
use crate::model::{CannotJudge, Reason};

fn args(pod: &str, namespace: Option<&str>) -> WhyArgs {
    WhyArgs {
        pod: pod.to_owned(),
        namespace: namespace.map(str::to_owned),
        node: None,
        admin: String::new(),
        output: Output::Table,
    }
}

#[test]
fn query_values_are_escaped() {
    assert_eq!(escaped("a-b.c_1"), "a-b.c_1");
    assert_eq!(escaped("a&b=c d/é"), "a%26b%3Dc%20d%2F%C3%A9");
}

#[test]
fn a_pod_has_one_namespace() {
    for (pod, namespace, want) in [
        ("cart", None, Ok(("default", "cart"))),
        ("cart", Some("shop"), Ok(("shop", "cart"))),
        ("shop/cart", None, Ok(("shop", "cart"))),
        ("shop/cart", Some("shop"), Ok(("shop", "cart"))),
        ("shop/cart", Some("default"), Err("-n says namespace default, and shop/cart says shop")),
        ("shop/cart", Some("bank"), Err("-n says namespace bank, and shop/cart says shop")),
        ("/cart", None, Err("is not POD or NAMESPACE/POD")),
        ("shop/", None, Err("is not POD or NAMESPACE/POD")),
        ("a/b/c", None, Err("is not POD or NAMESPACE/POD")),
    ] {
        match (named(&args(pod, namespace)), want) {
            (Ok(got), Ok(want)) => assert_eq!(got, want),
            (Err(failure), Err(want)) => {
                assert!(failure.code == 2 && failure.to_string().contains(want), "{failure}");
            }
            (got, want) => unreachable!("{pod} {namespace:?}: {:?}, {want:?}", got.is_ok()),
        }
    }
}

/// The page without anything, and these fields in place of its own.
fn with(fields: &Value) -> Value {
    let mut page = serde_json::to_value(ExplainView::default()).expect("a page");
    for (key, value) in fields.as_object().into_iter().flatten() {
        assert!(page.get(key).is_some(), "a page has no field {key}");
        page[key] = value.clone();
    }
    page
}

/// What a person reads of a page.
fn shown(page: &Value) -> String {
    super::shown(&serde_json::from_value(page.clone()).expect("a page"))
}

/// A pending pod with something of everything.
fn answer() -> Value {
    let gi = 1_i64 << 30;
    let node = json!({"name": "n-1", "pool": "ecs", "zone": null,
        "requested": {"cpu_milli": 1500, "memory_bytes": gi, "pods": 1},
        "held": {"cpu_milli": 500, "memory_bytes": 0, "pods": 0},
        "nominated": {"cpu_milli": 0, "memory_bytes": 0, "pods": 0},
        "allocatable": {"cpu_milli": 4000, "memory_bytes": 8 * gi, "pods": 110}});
    with(&json!({"namespace": "shop", "pod": "cart", "state": "pending", "node": null,
        "class": "online", "exceeds_grant": false, "reported": "sigma: x", "held": false,
        "nominated": {"node": "n-7", "by": "preemption", "victims": 2},
        "steer": {"cause": "better", "target": "n-9", "lead_pct": 12.5, "outcome": null,
            "requeue": false, "rounds": 1, "began_ms_ago": 9, "written_ms": 4, "accepted_ms": null,
            "bound_ms": null},
        "nominate_ahead": {"state": "volumes", "target": null},
        "nodes_kept": 3, "nodes_considered": 6, "nodes_left": 0, "cannot_judge": null,
        "constraints": [{"constraint": "nodeAffinity", "nodes": 2},
            {"constraint": "hostPort", "nodes": 1}],
        "pools": ["ecs", "eci"],
        "rejections": [
            {"reason": "PoolClosed", "text": "sigma: x", "nodes": 2, "example": node, "limits": [], "taint": null},
            {"reason": "Tainted", "text": "sigma: x", "nodes": 1, "example": node, "limits": [],
                "taint": "gpu=yes:NoSchedule"},
            {"reason": "AllocationLimit", "text": "sigma: x", "nodes": 1, "example": node, "taint": null,
                "limits": [{"resource": "cpu_milli", "scope": "node", "of": null, "asked": 2000,
                    "requested": 1500, "held": 500, "nominated": 0, "limit": 3600,
                    "share_pct": 90.0, "share_of": 4000}]}],
        "best": [{"node": node, "score": 10,
            "points": [{"rule": "binPack", "weight": 10, "points": 375}]}]}))
}

const SHOWN: &str = "\
shop/cart: pending, class online
last condition: sigma: x
nominated by preemption to n-7, waiting for its victims: 2 pods of lower priority
steered to n-9 (better: leads the best offered by 12.5 %): under way, nominated after 4 ms; 1 write
not nominated ahead: volumes
3 of 6 nodes would take it
required constraints leave 0 of these: nodeAffinity rules out 2, hostPort rules out 1

REFUSED FOR
  PoolClosed: 2 nodes, such as n-1 (pool ecs)
    pools open to the class: ecs, eci
    requested: cpu 1.5 + 0.5 held of 4.0, memory 1.0 of 8.0 Gi
  Tainted: 1 node, n-1 (pool ecs)
    taint gpu=yes:NoSchedule
    requested: cpu 1.5 + 0.5 held of 4.0, memory 1.0 of 8.0 Gi
  AllocationLimit: 1 node, n-1 (pool ecs)
    cpu: 2.0 asked + 1.5 requested + 0.5 held = 4.0 > limit 3.6 (90 % of 4.0)
    requested: cpu 1.5 + 0.5 held of 4.0, memory 1.0 of 8.0 Gi

BEST NODES
  n-1 (pool ecs): score 10
    requested: cpu 1.5 + 0.5 held of 4.0, memory 1.0 of 8.0 Gi
    points x weight: binPack 375x10
";

#[test]
fn an_answer_is_shown_to_a_person() {
    assert_eq!(shown(&answer()), SHOWN);
    let mut steered = answer();
    steered["steer"]["lead_pct"] = Value::Null;
    assert!(shown(&steered).contains("(better: no offered node would take it)"));
    let mut unknown = answer();
    unknown["cannot_judge"] = "volumes".into();
    assert!(shown(&unknown).contains(
        "required constraints leave at most 0 of these (only kube-scheduler judges volumes)"
    ));
    let placed = with(&json!({"namespace": "shop", "pod": "cart", "state": "placed",
        "node": "n-1", "class": "online"}));
    assert_eq!(shown(&placed), "shop/cart: placed on n-1, class online\n");
}

#[test]
fn what_is_off_is_told_with_what_turns_it_on() {
    let mut answer = answer();
    answer["steer"]["requeue"] = true.into();
    answer["steering_off"] = json!([
        {"part": "elsewhere", "cause": "flag", "why": "it is off", "turn_on": "--flag"},
        {"part": "requeue", "cause": "pod", "why": "so it is", "turn_on": null}]);
    let text = shown(&answer);
    for part in [
        "requeued with a nomination to n-9 (better: ",
        "\nnot sent to a node that was not offered: it is off\n  turn it on: --flag\n",
        "\nnot requeued when a node has room: so it is\n",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_nomination_says_whose_it_is_and_what_the_pod_waits_for() {
    for (by, victims, ahead, want) in [
        (
            "preemption",
            1,
            Value::Null,
            "nominated by preemption to n-7, waiting for its victims: 1 pod of",
        ),
        ("other", 0, Value::Null, "nominated to n-7, not by sigma; no pod of lower priority"),
        ("sigma", 0, Value::Null, "nominated to n-7 by sigma\n"),
        ("sigma", 0, json!("n-7"), "nominated ahead to n-7\n"),
    ] {
        let answer = with(&json!({"nominated": {"node": "n-7", "by": by, "victims": victims},
            "nominate_ahead": {"state": "target", "target": ahead}}));
        let text = shown(&answer);
        assert!(text.contains(want), "{want:?} in {text}");
        assert_eq!(text.matches("n-7").count(), 1, "{text}");
    }
}

/// Puts a text into every place of an answer that is for a text, and a number where one is.
fn fill(it: &mut Value, text: &str, number: i64) {
    match it {
        Value::Object(fields) => {
            for (key, value) in fields {
                match key.as_str() {
                    "reason" | "by" | "resource" | "scope" | "part" => {}
                    "state" if matches!(value.as_str(), Some("pending" | "placed")) => {}
                    "reported" | "cannot_judge" | "outcome" | "of" => *value = text.into(),
                    // Counts and times; every other number is an amount.
                    "nodes" | "score" | "weight" | "points" | "rounds" | "victims"
                    | "nodes_kept" | "nodes_considered" | "nodes_left" | "written_ms"
                    | "began_ms_ago"
                        if value.is_number() =>
                    {
                        *value =
                            u32::try_from(number.unsigned_abs() >> 32).expect("32 bits").into();
                    }
                    _ => fill(value, text, number),
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|it| fill(it, text, number)),
        Value::String(it) => text.clone_into(it),
        Value::Number(_) => *it = number.into(),
        Value::Null | Value::Bool(_) => {}
    }
}

fn is_narrow(answer: &Value) -> bool {
    shown(answer).lines().all(|line| line.chars().count() <= COLUMNS)
}

proptest! {
    #[test]
    fn no_line_is_wider_than_a_terminal(
        text in "([a-z0-9.-]{1,63}[ ./]?){1,6}",
        number in any::<i64>(),
    ) {
        let mut it = answer();
        fill(&mut it, &text, number);
        prop_assert!(is_narrow(&it), "{}", shown(&it));
        it["node"] = text.clone().into();
        prop_assert!(is_narrow(&it), "{}", shown(&it));
        // Nothing is lost by breaking lines.
        let letters = |text: &str| text.chars().filter(|it| !it.is_whitespace()).collect::<String>();
        prop_assert!(letters(&shown(&it)).contains(&letters(&text)));
    }
}

#[test]
fn every_text_there_is_fits() {
    let mut texts: Vec<&str> = Reason::ALL.into_iter().map(Reason::text).collect();
    texts.extend(Reason::ALL.into_iter().map(Reason::name));
    texts.extend(CannotJudge::ALL.into_iter().map(CannotJudge::name));
    texts.extend(ConstraintKind::ALL.into_iter().map(ConstraintKind::name));
    texts.extend(SteerOutcome::ALL.into_iter().map(SteerOutcome::name));
    for text in texts {
        for key in ["reported", "cannot_judge"] {
            let mut it = answer();
            it[key] = text.into();
            it["rejections"][0]["reason"] = text.into();
            it["constraints"][0]["constraint"] = text.into();
            it["steer"]["outcome"] = text.into();
            it["nominate_ahead"]["state"] = text.into();
            assert!(is_narrow(&it), "{}", shown(&it));
        }
    }
}
