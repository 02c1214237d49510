use super::*;
use crate::k8s::decode::{self, DecodeError};
use crate::model::Pod;

/// A pod of namespace `n` with the labels `app=cart` and `version=v1`, and this spec.
fn pod(spec: &str) -> Result<Pod, DecodeError> {
    let labels = r#"{"app":"cart","version":"v1","odd":null}"#;
    let text = format!(
        r#"{{"metadata":{{"uid":"u","name":"p","namespace":"n","labels":{labels}}},"spec":{spec}}}"#
    );
    decode::pod(&serde_json::from_str(&text)?)
}

fn constraints(spec: &str) -> Constraints {
    let pod = pod(spec);
    let read = pod.as_ref().ok().and_then(|pod| pod.constraints.as_deref().cloned());
    assert!(read.is_some(), "{spec}: {pod:?}");
    read.unwrap_or_default()
}

fn asks(key: &str, is: LabelOperator<HashedText>) -> Requirement<HashedText> {
    Requirement { key: HashedText::of(key), is }
}

fn hashed<const N: usize>(texts: [&str; N]) -> Box<[HashedText]> {
    texts.map(HashedText::of).into()
}

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

#[test]
fn who_asks_for_nothing_has_no_constraints() {
    for spec in [
        "{}",
        "null",
        r#"{"nodeSelector":null,"affinity":null,"topologySpreadConstraints":null,"volumes":null}"#,
        r#"{"nodeSelector":{},"affinity":{"podAffinity":{}},"resourceClaims":[]}"#,
        r#"{"volumes":[{"emptyDir":{}},{"persistentVolumeClaim":null}]}"#,
        r#"{"topologySpreadConstraints":[{"maxSkew":1,"whenUnsatisfiable":"ScheduleAnyway"}]}"#,
        // It has its node.
        r#"{"nodeName":"a","nodeSelector":{"disk":"ssd"},"resourceClaims":[{"name":"gpu"}]}"#,
    ] {
        let pod = pod(spec).expect("a pod");
        assert!(!pod.is_constrained(), "{spec}: {pod:?}");
    }
    for of in ["nodeAffinity", "podAffinity", "podAntiAffinity"] {
        let soft = r#""preferredDuringSchedulingIgnoredDuringExecution":[{"weight":1}]"#;
        let spec = format!(r#"{{"affinity":{{"{of}":{{"{REQUIRED}":null,{soft}}}}}}}"#);
        assert!(!pod(&spec).expect("a pod").is_constrained(), "{spec}");
    }
}

#[test]
fn node_affinity_is_read() {
    let spec = format!(
        r#"{{"nodeSelector":{{"disk":"ssd"}},"affinity":{{"nodeAffinity":{{"{REQUIRED}":
            {{"nodeSelectorTerms":[null,{{"matchExpressions":[
                {{"key":"size","operator":"Gt","values":["7"]}},
                {{"key":"zone","operator":"NotIn","values":["a",null]}},
                {{"key":"old","operator":"DoesNotExist"}}],
              "matchFields":[{{"key":"metadata.name","operator":"In","values":["n1"]}}]}}]}}}}}}}}"#
    );
    let text = |key: &str, is| Requirement { key: key.into(), is };
    let want = Constraints {
        node_selector: [text("disk", LabelOperator::In(["ssd".into()].into()))].into(),
        node_terms: Some(
            [
                NodeTerm::default(),
                NodeTerm {
                    labels: [
                        text("size", LabelOperator::Gt(7)),
                        text("zone", LabelOperator::NotIn(["a".into(), "".into()].into())),
                        text("old", LabelOperator::DoesNotExist),
                    ]
                    .into(),
                    names: [text("metadata.name", LabelOperator::In(["n1".into()].into()))].into(),
                },
            ]
            .into(),
        ),
        ..Constraints::default()
    };
    assert_eq!(constraints(&spec), want);
    // No term: nowhere.
    let none = format!(r#"{{"affinity":{{"nodeAffinity":{{"{REQUIRED}":{{}}}}}}}}"#);
    assert_eq!(constraints(&none).node_terms, Some(Box::default()));
}

#[test]
fn pod_terms_are_read_with_what_their_label_keys_add() {
    let spec = format!(
        r#"{{"affinity":{{"podAntiAffinity":{{"{REQUIRED}":[
            {{"topologyKey":"zone","labelSelector":{{"matchLabels":{{"app":"cart"}}}},
              "matchLabelKeys":["version","absent"],"mismatchLabelKeys":["odd"]}},
            {{"topologyKey":"host","namespaces":["x"],"namespaceSelector":{{}}}}]}},
          "podAffinity":{{"{REQUIRED}":[{{"topologyKey":"zone","labelSelector":{{"matchExpressions":[
            {{"key":"tier","operator":"Exists"}}]}},
            "namespaceSelector":{{"matchLabels":{{"rich":"yes"}}}}}}]}}}}}}"#
    );
    let read = constraints(&spec);
    let own = [
        asks("app", LabelOperator::In(hashed(["cart"]))),
        asks("version", LabelOperator::In(hashed(["v1"]))),
        asks("odd", LabelOperator::NotIn(hashed([""]))),
    ];
    let [one, other] = &*read.pod_anti_affinity else { unreachable!("{read:?}") };
    assert_eq!((&*one.key, one.selector.as_deref()), ("zone", Some(&own[..])));
    assert_eq!(one.namespaces, Namespaces { named: hashed(["n"]), selected: None });
    let everywhere = Namespaces { named: hashed(["x"]), selected: Some(Box::default()) };
    assert_eq!((&other.selector, &other.namespaces), (&None, &everywhere));
    let [with] = &*read.pod_affinity else { unreachable!("{read:?}") };
    assert_eq!(with.selector.as_deref(), Some(&[asks("tier", LabelOperator::Exists)][..]));
    let rich = Requirement { key: "rich".into(), is: LabelOperator::In(["yes".into()].into()) };
    assert_eq!(with.namespaces.selected.as_deref(), Some(&[rich][..]));
}

/// It keeps others off; where it may go itself is confirmed.
#[test]
fn of_a_pod_that_has_its_node_only_anti_affinity_is_of_weight() {
    let spec = |operator: &str| {
        let terms = format!(
            r#"[{{"topologyKey":"zone","labelSelector":{{"matchLabels":{{"app":"cart"}}}}}},
                {{"topologyKey":"host","labelSelector":{{"matchExpressions":[
                    {{"key":"tier","operator":"{operator}"}}]}}}}]"#
        );
        let affinity = format!(
            r#"{{"podAffinity":{{"{REQUIRED}":{terms}}},"podAntiAffinity":{{"{REQUIRED}":{terms}}}}}"#
        );
        format!(r#"{{"nodeName":"a","nodeSelector":{{"disk":"ssd"}},"affinity":{affinity}}}"#)
    };
    let term = |key: &str, asked| PodAffinityTerm {
        key: key.into(),
        selector: Some([asked].into()),
        namespaces: Namespaces { named: hashed(["n"]), selected: None },
    };
    let cart = term("zone", asks("app", LabelOperator::In(hashed(["cart"]))));
    let pod_anti_affinity = [cart, term("host", asks("tier", LabelOperator::Exists))].into();
    assert_eq!(
        constraints(&spec("Exists")),
        Constraints { pod_anti_affinity, ..Constraints::default() }
    );
    let unclear = pod(&spec("Near")).expect("a pod");
    assert_eq!(unclear.constraints, None);
}

#[test]
fn hard_spread_is_read_and_soft_spread_is_not() {
    let spec = r#"{"topologySpreadConstraints":[
        {"maxSkew":1,"topologyKey":"rack","whenUnsatisfiable":"ScheduleAnyway"},
        {"maxSkew":2,"topologyKey":"zone","whenUnsatisfiable":"DoNotSchedule","minDomains":3,
         "labelSelector":{"matchLabels":{"app":"cart"}},"matchLabelKeys":["version"],
         "nodeAffinityPolicy":"Ignore","nodeTaintsPolicy":"Honor"},
        {"maxSkew":1,"topologyKey":"host","whenUnsatisfiable":"DoNotSchedule"}]}"#;
    let selector = [
        asks("app", LabelOperator::In(hashed(["cart"]))),
        asks("version", LabelOperator::In(hashed(["v1"]))),
    ];
    let want = [
        SpreadTerm {
            key: "zone".into(),
            max_skew: 2,
            min_domains: 3,
            selector: Some(selector.into()),
            honors_affinity: false,
            honors_taints: true,
        },
        SpreadTerm {
            key: "host".into(),
            max_skew: 1,
            min_domains: 1,
            selector: None,
            honors_affinity: true,
            honors_taints: false,
        },
    ];
    assert_eq!(*constraints(spec).spread, want);
}

#[test]
fn what_is_not_understood_is_nothing_that_anybody_judges() {
    let expression = |body: &str| {
        format!(
            r#"{{"affinity":{{"nodeAffinity":{{"{REQUIRED}":{{"nodeSelectorTerms":[
                {{"matchExpressions":[{body}]}}]}}}}}}}}"#
        )
    };
    let unclear = [
        expression(r#"{"key":"a","operator":"Near","values":["1"]}"#),
        expression(r#"{"key":"a","operator":"Gt","values":["1","2"]}"#),
        expression(r#"{"key":"a","operator":"Lt","values":["much"]}"#),
        expression("null"),
        format!(
            r#"{{"affinity":{{"nodeAffinity":{{"{REQUIRED}":{{"nodeSelectorTerms":[
                {{"matchFields":[{{"key":"metadata.uid","operator":"Exists"}}]}}]}}}}}}}}"#
        ),
        r#"{"topologySpreadConstraints":[{"maxSkew":1,"whenUnsatisfiable":"Perhaps"}]}"#.into(),
        r#"{"topologySpreadConstraints":[{"maxSkew":-1,"whenUnsatisfiable":"DoNotSchedule"}]}"#
            .into(),
        r#"{"topologySpreadConstraints":[{"maxSkew":1,"whenUnsatisfiable":"DoNotSchedule",
            "nodeTaintsPolicy":"Sometimes"}]}"#
            .into(),
        // Selectors of pods compare no numbers.
        format!(
            r#"{{"affinity":{{"podAffinity":{{"{REQUIRED}":[{{"topologyKey":"zone","labelSelector":
                {{"matchExpressions":[{{"key":"a","operator":"Gt","values":["1"]}}]}}}}]}}}}}}"#
        ),
    ];
    for spec in unclear {
        assert_eq!(constraints(&spec).cannot_judge, Some(CannotJudge::Unclear), "{spec}");
    }
    let claims = r#"{"resourceClaims":[{"name":"gpu"}],"nodeSelector":{"a":"b"}}"#;
    assert_eq!(constraints(claims).cannot_judge, Some(CannotJudge::ResourceClaims));
    for disk in ["gcePersistentDisk", "awsElasticBlockStore", "iscsi", "rbd", "azureDisk", "cinder"]
    {
        let spec = format!(r#"{{"volumes":[{{"name":"v","{disk}":{{}}}}]}}"#);
        assert_eq!(constraints(&spec).cannot_judge, Some(CannotJudge::Volumes), "{spec}");
        let none = format!(r#"{{"volumes":[{{"name":"v","{disk}":null}}]}}"#);
        assert_eq!(pod(&none).expect("a pod").constraints, None, "{none}");
    }
    // Whether a claim can be judged is known when it is, and of what is beside it at once.
    let volumes = r#"{"resourceClaims":[{"name":"gpu"}],
        "volumes":[{"emptyDir":{}},{"persistentVolumeClaim":{"claimName":"c"}}]}"#;
    assert_eq!(constraints(volumes).cannot_judge, Some(CannotJudge::ResourceClaims));
}

/// Fields that are not known, words about containers, and features that only some nodes declare.
#[test]
fn what_only_a_newer_kubernetes_knows_is_nothing_that_anybody_judges() {
    let in_term =
        |of: &str, term: &str| format!(r#"{{"affinity":{{"{of}":{{"{REQUIRED}":{term}}}}}}}"#);
    let fields = [
        r#"{"affinity":{"cloudAffinity":{}}}"#.into(),
        r#"{"affinity":{"nodeAffinity":{"requiredAlways":{}}}}"#.into(),
        r#"{"affinity":{"podAntiAffinity":{"requiredAlways":[]}}}"#.into(),
        in_term("nodeAffinity", r#"{"nodeSelectorTerms":[],"mode":"x"}"#),
        in_term("nodeAffinity", r#"{"nodeSelectorTerms":[{"matchZones":["z"]}]}"#),
        in_term("podAffinity", r#"[{"topologyKey":"zone","matchOwners":true}]"#),
        in_term("podAffinity", r#"[{"topologyKey":"z","labelSelector":{"matchAny":[]}}]"#),
        in_term("podAffinity", r#"[{"topologyKey":"z","namespaceSelector":{"matchAny":[]}}]"#),
        in_term(
            "nodeAffinity",
            r#"{"nodeSelectorTerms":[{"matchExpressions":[{"key":"a","operator":"Exists","fold":1}]}]}"#,
        ),
        r#"{"topologySpreadConstraints":[{"maxSkew":1,"whenUnsatisfiable":"DoNotSchedule",
            "minPods":2}]}"#
            .into(),
    ];
    let containers = [
        r#"{"initContainers":[{"restartPolicy":"Sometimes"}]}"#.into(),
        r#"{"containers":[{"ports":[{"hostPort":4,"protocol":"QUIC"}]}]}"#.into(),
        // Features that only some nodes declare.
        r#"{"hostNetwork":true,"hostUsers":false}"#.into(),
        r#"{"containers":[{"restartPolicyRules":[{"action":"RestartAllContainers"}]}]}"#.into(),
        r#"{"initContainers":[{"volumeMounts":[null,{"name":"v","bindMountOptions":["ro"]}]}]}"#
            .into(),
    ];
    for spec in fields.into_iter().chain(containers) {
        assert_eq!(constraints(&spec).cannot_judge, Some(CannotJudge::Unclear), "{spec}");
    }
    for spec in [
        // What is soft concerns no filter, nor does how a container of the pod itself ends.
        r#"{"topologySpreadConstraints":[{"whenUnsatisfiable":"ScheduleAnyway","minPods":2}]}"#,
        r#"{"containers":[{"restartPolicy":"Sometimes"}],"initContainers":[{"restartPolicy":"Never"}]}"#,
        r#"{"containers":[{"ports":[{"containerPort":4,"protocol":"QUIC"}]}]}"#,
        r#"{"affinity":{"cloudAffinity":null}}"#,
        r#"{"hostNetwork":true,"hostUsers":null,"containers":[{"restartPolicyRules":[{"action":"Restart"}],
            "volumeMounts":[{"name":"v","bindMountOptions":[]},{"bindMountOptions":null}]}]}"#,
    ] {
        assert_eq!(pod(spec).expect("a pod").constraints, None, "{spec}");
    }
}

#[test]
fn ports_are_those_of_containers_that_stay() {
    let ports = |spec: &str| pod(spec).expect("a pod").host_ports;
    let spec = r#"{"containers":[{"ports":[{"containerPort":80},{"hostPort":8080},
            {"hostPort":8080,"protocol":"TCP","hostIP":"0.0.0.0"},null]},
            {"ports":[{"hostPort":53,"protocol":"UDP","hostIP":"10.0.0.1"},{"hostPort":-4},
                {"hostPort":70000}]}],
        "initContainers":[{"ports":[{"hostPort":1}]},
            {"restartPolicy":"Always","ports":[{"hostPort":2,"protocol":"SCTP"}]}]}"#;
    let port = |port, protocol, ip| HostPort { port, protocol, ip };
    let want = [
        port(2, Protocol::Sctp, None),
        port(53, Protocol::Udp, Some(HashedText::of("10.0.0.1"))),
        port(8080, Protocol::Tcp, None),
    ];
    assert_eq!(*ports(spec), want);
    // A pod that has its node keeps them.
    let placed = r#"{"nodeName":"a","containers":[{"ports":[{"hostPort":8080}]}]}"#;
    assert_eq!(*ports(placed), [want[2]]);
    assert!(ports(r#"{"containers":[{"ports":null}],"initContainers":null}"#).is_empty());
}
