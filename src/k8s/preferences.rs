//! What a pod would rather have, and kube-scheduler's own plugins score: whether it says so at all.
//!
//! What exactly it prefers is dropped: sigma does not score it, it only leaves kube-scheduler a choice.
//! The same with what it requires, and with the group that it is one of: where a node is chosen ahead of
//! kube-scheduler, such a pod is left to it.

use super::slim::{SlimPodSpec, count, nullable, present};
use crate::model::Preferences;

/// Of a topology spread constraint, only how hard it is.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimSpreadConstraint {
    /// `whenUnsatisfiable`.
    #[serde(deserialize_with = "nullable")]
    pub when_unsatisfiable: String,
}

/// An affinity.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimAffinity {
    /// `nodeAffinity`.
    #[serde(deserialize_with = "nullable")]
    pub node_affinity: SlimPreferred,
    /// `podAffinity`.
    #[serde(deserialize_with = "nullable")]
    pub pod_affinity: SlimPreferred,
    /// `podAntiAffinity`.
    #[serde(deserialize_with = "nullable")]
    pub pod_anti_affinity: SlimPreferred,
}

/// Of one kind of affinity, only whether it has terms, by how hard they are.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimPreferred {
    /// How many terms `preferredDuringSchedulingIgnoredDuringExecution` has.
    #[serde(
        rename = "preferredDuringSchedulingIgnoredDuringExecution",
        deserialize_with = "count"
    )]
    pub num_terms: usize,
    /// Whether `requiredDuringSchedulingIgnoredDuringExecution` is set.
    #[serde(
        rename = "requiredDuringSchedulingIgnoredDuringExecution",
        deserialize_with = "present"
    )]
    pub required: bool,
}

/// A port of a container.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimPort {
    /// `hostPort`.
    #[serde(deserialize_with = "nullable")]
    pub host_port: i32,
}

/// What a pod would rather have.
pub(super) fn of(spec: &SlimPodSpec) -> Preferences {
    let SlimAffinity { node_affinity, pod_affinity, pod_anti_affinity } = &spec.affinity;
    let mut spread = spec.topology_spread_constraints.iter();
    let found = [
        (spread.any(|it| it.when_unsatisfiable == "ScheduleAnyway"), Preferences::SPREAD),
        (pod_affinity.num_terms > 0, Preferences::POD_AFFINITY),
        (pod_anti_affinity.num_terms > 0, Preferences::POD_AFFINITY),
        (node_affinity.num_terms > 0, Preferences::NODE_AFFINITY),
        (is_constrained(spec), Preferences::REQUIRED),
    ];
    let found = found.into_iter().filter(|(is_set, _)| *is_set);
    found.fold(Preferences::default(), |set, (_, bit)| set.with(bit))
}

/// Something must hold of the pod's node that only kube-scheduler judges; claims of volumes aside.
fn is_constrained(spec: &SlimPodSpec) -> bool {
    let SlimAffinity { node_affinity, pod_affinity, pod_anti_affinity } = &spec.affinity;
    let mut spread = spec.topology_spread_constraints.iter();
    let mut containers = spec.containers.iter().chain(&spec.init_containers);
    spec.node_selector
        || spec.num_resource_claims > 0
        || node_affinity.required
        || pod_affinity.required
        || pod_anti_affinity.required
        || spread.any(|it| it.when_unsatisfiable != "ScheduleAnyway")
        || containers.any(|it| it.ports.iter().any(|port| port.host_port != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUIRED: Preferences = Preferences::REQUIRED;

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
        check(&spread(r#""DoNotSchedule""#), &[REQUIRED]);
        check(&spread("null"), &[REQUIRED]);
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
    #[test]
    fn what_only_kube_scheduler_judges_is_found() {
        let affinity = |of: &str, terms: &str| {
            format!(
                r#"{{"affinity":{{"{of}":{{"requiredDuringSchedulingIgnoredDuringExecution":{terms}}}}}}}"#
            )
        };
        for of in ["nodeAffinity", "podAffinity", "podAntiAffinity"] {
            check(&affinity(of, "null"), &[]);
            check(&affinity(of, "[{}]"), &[REQUIRED]);
            check(&affinity(of, r#"{"nodeSelectorTerms":[]}"#), &[REQUIRED]);
        }
        check(r#"{"nodeSelector":{"disk":"ssd"}}"#, &[REQUIRED]);
        check(r#"{"nodeSelector":null,"resourceClaims":null}"#, &[]);
        check(r#"{"resourceClaims":[{"name":"gpu"}]}"#, &[REQUIRED]);
        let ports = |of: &str, ports: &str| format!(r#"{{"{of}":[{{"ports":{ports}}}]}}"#);
        for of in ["containers", "initContainers"] {
            check(&ports(of, "null"), &[]);
            check(&ports(of, r#"[{"containerPort":80},{"hostPort":null},null]"#), &[]);
            check(&ports(of, r#"[{"containerPort":80},{"hostPort":8080}]"#), &[REQUIRED]);
        }
    }
}
