//! What a pod would rather have, and kube-scheduler's own plugins score: whether it says so at all.
//!
//! What exactly it prefers is dropped: sigma does not score it, it only leaves kube-scheduler a choice.

use super::constraints::SlimAffinity;
use super::slim::SlimPodSpec;
use crate::model::Preferences;

/// What a pod would rather have.
pub(super) fn of(spec: &SlimPodSpec) -> Preferences {
    let SlimAffinity { node_affinity, pod_affinity, pod_anti_affinity, .. } = &spec.affinity;
    let mut spread = spec.topology_spread_constraints.iter();
    let found = [
        (spread.any(|it| it.when_unsatisfiable == "ScheduleAnyway"), Preferences::SPREAD),
        (pod_affinity.num_preferred > 0, Preferences::POD_AFFINITY),
        (pod_anti_affinity.num_preferred > 0, Preferences::POD_AFFINITY),
        (node_affinity.num_preferred > 0, Preferences::NODE_AFFINITY),
    ];
    let found = found.into_iter().filter(|(is_set, _)| *is_set);
    found.fold(Preferences::default(), |set, (_, bit)| set.with(bit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: &str, want: &[Preferences]) {
        let got = serde_json::from_str(spec).map(|spec| of(&spec)).map_err(|it| it.to_string());
        assert_eq!(got, Ok(want.iter().fold(Preferences(0), |set, it| set.with(*it))), "{spec}");
    }

    #[test]
    fn only_what_is_soft_is_a_preference() {
        let spread = |how: &str| {
            format!(
                r#"{{"topologySpreadConstraints":[null,{{"maxSkew":1,"whenUnsatisfiable":{how}}}]}}"#
            )
        };
        check(
            r#"{"topologySpreadConstraints":[{"whenUnsatisfiable":"ScheduleAnyway"}]}"#,
            &[Preferences::SPREAD],
        );
        check(&spread(r#""DoNotSchedule""#), &[]);
        check(&spread("null"), &[]);
        let affinity = |of: &str, when: &str, terms: &str| {
            format!(
                r#"{{"affinity":{{"{of}":{{"{when}DuringSchedulingIgnoredDuringExecution":{terms}}}}}}}"#
            )
        };
        for (of, bit) in [
            ("nodeAffinity", Preferences::NODE_AFFINITY),
            ("podAffinity", Preferences::POD_AFFINITY),
            ("podAntiAffinity", Preferences::POD_AFFINITY),
        ] {
            check(&affinity(of, "preferred", r#"[{"weight":1}]"#), &[bit]);
            check(&affinity(of, "preferred", "[]"), &[]);
            check(&affinity(of, "preferred", "null"), &[]);
            check(&format!(r#"{{"affinity":{{"{of}":null}}}}"#), &[]);
        }
        check(r#"{"affinity":null,"topologySpreadConstraints":null}"#, &[]);
        let all = r#"{"affinity":{
            "nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{}]},
            "podAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{}]}},
            "topologySpreadConstraints":[{"whenUnsatisfiable":"ScheduleAnyway"}]}"#;
        let want = [Preferences::SPREAD, Preferences::POD_AFFINITY, Preferences::NODE_AFFINITY];
        check(all, &want);
    }
}
