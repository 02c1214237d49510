use super::*;
use crate::model::{CannotJudge, ObjectName, PodClaim};

const META: &str = r#""metadata":{"uid":"u","name":"p","namespace":"n"}"#;

fn read_pod(json: &str) -> Result<Pod, DecodeError> {
    pod(&serde_json::from_str(json)?)
}

/// A pod with this spec and status.
fn shaped(spec: &str, status: &str) -> Result<Pod, DecodeError> {
    read_pod(&format!(r#"{{{META},"spec":{spec},"status":{status}}}"#))
}

fn check_cpu(spec: &str, status: &str, want_milli: i64) {
    let got = shaped(spec, status).map(|pod| pod.requests.base.cpu_milli);
    assert_eq!(got, Ok(want_milli), "spec {spec} status {status}");
}

#[test]
fn a_full_pod_is_read() {
    let got = read_pod(include_str!("../testdata/pod.json")).expect("a valid pod");
    assert_eq!((&*got.namespace, &*got.name), ("shop", "cart-7d9f-x2x9k"));
    assert_eq!(&*got.uid_text, "0f3a1c2e-9d3b-4f6a-8d57-2b1c0a9e8f77");
    assert_eq!(got.resource_version, 812_345);
    // 1000m + 250m (native sidecar), init container 500m + 250m beside it, overhead 10m.
    assert_eq!(got.requests.base.cpu_milli, 1260);
    assert_eq!(got.requests.base.memory_bytes, (2 << 30) + (64 << 20));
    assert_eq!(got.requests.base.ephemeral_bytes, 1 << 30);
    assert_eq!(got.requests.base.pods, 1);
    let names: Vec<_> = got.requests.extended.iter().map(|it| (&*it.name, it.amount)).collect();
    assert_eq!(names, [("hugepages-2Mi", 4 << 20), ("nvidia.com/gpu", 2)]);
    assert_eq!((got.priority, &*got.priority_class), (9000, "koord-prod"));
    assert_eq!(&*got.scheduler, "default-scheduler");
    assert_eq!(got.qos_claim, Some(QosClaim::Online));
    let owner = got.owner.as_ref().expect("it has a controller");
    assert_eq!((&*owner.kind, &*owner.name), ("ReplicaSet", "cart-7d9f"));
    assert_eq!(got.tolerations.len(), 2);
    let claims = [PodClaim { name: ObjectName::of("shop", "data"), ephemeral: false }];
    assert_eq!(*got.claims, claims);
    assert_eq!((got.node, got.nominated.as_deref()), (None, Some("bm-17")));
    assert_eq!(got.condition.map(|it| it.reason), Some(Some(Reason::PoolClosed)));
    assert!(!got.terminal && !got.terminating && !got.gated);
    assert!(got.annotated && !got.nominated_ahead);
}

#[test]
fn null_and_absence_are_the_same() {
    let bare = read_pod(&format!("{{{META}}}"));
    let nulls = [
        format!(r#"{{{META},"spec":null,"status":null}}"#),
        r#"{"metadata":{"uid":"u","name":"p","namespace":"n","labels":null,
            "ownerReferences":null,"deletionTimestamp":null,"creationTimestamp":null,
            "resourceVersion":null},
            "spec":{"containers":null,"initContainers":null,"overhead":null,"resources":null,
            "tolerations":null,"schedulingGates":null,"volumes":null,"nodeName":null,
            "priority":null,"schedulerName":null,"priorityClassName":null},
            "status":{"phase":null,"conditions":null,"containerStatuses":null,
            "initContainerStatuses":null,"resources":null,"allocatedResources":null,
            "resize":null,"nominatedNodeName":null}}"#
            .to_owned(),
        format!(
            r#"{{{META},"spec":{{"containers":[null,{{"resources":null}},
            {{"resources":{{"requests":null}}}},{{"resources":{{"requests":{{"cpu":null}}}}}}],
            "volumes":[null],"tolerations":[]}},"status":{{"conditions":[null]}}}}"#
        ),
    ];
    assert!(bare.is_ok());
    for text in nulls {
        // A container is one, whatever it leaves out.
        let (tolerations, images) = Default::default();
        let got = read_pod(&text).map(|pod| Pod { tolerations, images, ..pod });
        assert_eq!(got, bare, "{text}");
    }
}

#[test]
fn strings_with_escapes_are_read() {
    let text = r#"{"metadata":{"uid":"u\u002d1","name":"a\"b","namespace":"\u6d4b"},
        "status":{"conditions":[{"type":"PodScheduled","status":"False",
        "message":"0\/3: 3 sigma: node is cordoned\n"}]}}"#;
    let got = read_pod(text).expect("escapes are legal JSON");
    assert_eq!((&*got.uid_text, &*got.name, &*got.namespace), ("u-1", "a\"b", "测"));
    assert_eq!(got.condition.map(|it| it.reason), Some(Some(Reason::Cordoned)));
}

#[test]
fn quantities_are_read_saturated_or_refused_by_name() {
    let cases = [
        (r#""1500m""#, Ok(1500)),
        ("2", Ok(2000)),
        ("0.5", Ok(500)),
        ("1e30", Ok(i64::MAX)),
        (r#""1e30""#, Ok(i64::MAX)),
        ("null", Ok(0)),
        (r#""-5""#, Err("a quantity below zero")),
        ("-5", Err("a quantity below zero")),
        (r#""abc""#, Err("not a Kubernetes quantity")),
        (r#""""#, Err("not a Kubernetes quantity")),
        ("true", Err("not a Kubernetes quantity")),
        ("[1]", Err("not a Kubernetes quantity")),
        (r#"{"a":1}"#, Err("not a Kubernetes quantity")),
    ];
    for (quantity, want) in cases {
        let spec =
            format!(r#"{{"containers":[{{"resources":{{"requests":{{"cpu":{quantity}}}}}}}]}}"#);
        let got = shaped(&spec, "null").map(|pod| pod.requests.base.cpu_milli);
        let want = want.map_err(|why| format!("spec.containers[0].resources.requests.cpu: {why}"));
        assert_eq!(got.map_err(|error| error.to_string()), want, "{quantity}");
    }
}

#[test]
fn every_place_of_a_quantity_is_named() {
    let bad = r#"{"a.com/x":"?"}"#;
    let cases = [
        (format!(r#"{{"overhead":{bad}}}"#), "null".to_owned(), "spec.overhead"),
        (
            format!(r#"{{"resources":{{"requests":{bad}}}}}"#),
            "null".to_owned(),
            "spec.resources.requests",
        ),
        (
            format!(r#"{{"initContainers":[{{}},{{"resources":{{"requests":{bad}}}}}]}}"#),
            "null".to_owned(),
            "spec.initContainers[1].resources.requests",
        ),
        (
            r#"{"containers":[{"name":"c"}]}"#.to_owned(),
            format!(
                r#"{{"containerStatuses":[
                {{"name":"c","resources":{{}},"allocatedResources":{bad}}}]}}"#
            ),
            "status.containerStatuses[c].allocatedResources",
        ),
    ];
    for (spec, status, path) in cases {
        let error = shaped(&spec, &status).expect_err("the quantity is none");
        assert_eq!(error.to_string(), format!("{path}.a.com/x: not a Kubernetes quantity"));
    }
}

#[test]
fn a_resize_in_place_counts_the_larger_figure() {
    let spec = r#"{"containers":[{"name":"c","resources":{"requests":{"cpu":"2"}}}]}"#;
    let status = |extra: &str, container: &str| {
        format!(r#"{{{extra}"containerStatuses":[{{"name":"c",{container}}}]}}"#)
    };
    let small = r#""resources":{"requests":{"cpu":"1"}},"allocatedResources":{"cpu":"1500m"}"#;
    let infeasible = r#""conditions":[{"type":"PodResizePending","reason":"Infeasible"}],"#;
    let deferred = r#""conditions":[{"type":"PodResizePending","reason":"Deferred"}],"#;
    let large = r#""resources":{"requests":{"cpu":"3"}}"#;
    check_cpu(spec, &status("", small), 2000);
    check_cpu(spec, &status("", large), 3000);
    check_cpu(spec, &status(deferred, small), 2000);
    check_cpu(spec, &status(infeasible, small), 1500);
    check_cpu(spec, &status(r#""resize":"Infeasible","#, small), 1500);
    // Without a report of what is in fact, the wish counts even if it is infeasible.
    check_cpu(spec, &status(infeasible, r#""allocatedResources":{"cpu":"1"}"#), 2000);
    let sidecar = r#"{"initContainers":[{"name":"s","restartPolicy":"Always",
        "resources":{"requests":{"cpu":"1"}}},
        {"name":"i","resources":{"requests":{"cpu":"1"}}}]}"#;
    let of_init = r#"{"initContainerStatuses":[
        {"name":"s","resources":{"requests":{"cpu":"4"}}},
        {"name":"i","resources":{"requests":{"cpu":"9"}}}]}"#;
    check_cpu(sidecar, of_init, 5000);
    let whole = r#"{"resources":{"requests":{"cpu":"2"}}}"#;
    check_cpu(whole, "null", 2000);
    check_cpu(whole, r#"{"resources":{"requests":{"cpu":"3"}}}"#, 3000);
    check_cpu(whole, r#"{"resources":{},"allocatedResources":{"cpu":"2500m"}}"#, 2500);
}

/// Whatever may be asked for on the pod level, of a pod that waits and of one that is placed.
#[test]
fn requests_on_the_pod_level_count_for_every_resource_that_is_allowed_there() {
    let spec = |node: &str, requests: &str| {
        format!(
            r#"{{{node}"overhead":{{"hugepages-2Mi":"2Mi"}},"resources":{{"requests":{{{requests}}}}},
            "containers":[{{"name":"c","resources":{{"requests":
                {{"cpu":"1","hugepages-2Mi":"4Mi","ephemeral-storage":"1Gi","a.com/x":"1"}}}}}}],
            "initContainers":[{{"name":"i","resources":{{"requests":{{"hugepages-2Mi":"6Mi"}}}}}}]}}"#
        )
    };
    let get = |node: &str, requests: &str, status: &str| -> Vec<(String, i64)> {
        let pod = shaped(&spec(node, requests), status).expect("a valid pod");
        let base =
            [("cpu", pod.requests.base.cpu_milli), ("disk", pod.requests.base.ephemeral_bytes)];
        let extended = pod.requests.extended.iter().map(|it| (&*it.name, it.amount));
        base.into_iter().chain(extended).map(|(name, amount)| (name.to_owned(), amount)).collect()
    };
    let (mib, gib) = (1 << 20, 1 << 30);
    let want = |cpu, big, small, x| {
        let all = [("cpu", cpu), ("disk", gib), ("a.com/x", x), ("hugepages-1Gi", big)];
        let all = all.into_iter().chain([("hugepages-2Mi", small)]).filter(|it| it.1 > 0);
        all.map(|(name, amount)| (name.to_owned(), amount)).collect::<Vec<_>>()
    };
    let pages = r#""cpu":"2","hugepages-2Mi":"10Mi","hugepages-1Gi":"3Gi""#;
    for node in ["", r#""nodeName":"n","#] {
        assert_eq!(get(node, "", "null"), want(1000, 0, 8 * mib, 1));
        assert_eq!(get(node, pages, "null"), want(2000, 3 * gib, 12 * mib, 1));
        // Names that are not supported there count for nothing.
        let odd = r#""ephemeral-storage":"9Gi","a.com/x":"9""#;
        assert_eq!(get(node, odd, "null"), want(1000, 0, 8 * mib, 1));
        assert_eq!(get(node, &format!("{pages},{odd}"), "null"), want(2000, 3 * gib, 12 * mib, 1));
    }
    // A resize under way, and one that the node has refused.
    let more =
        r#""resources":{"requests":{"cpu":"3","hugepages-2Mi":"14Mi","ephemeral-storage":"9Gi"}}"#;
    let placed = r#""nodeName":"n","#;
    let resizing = format!("{{{more}}}");
    assert_eq!(get(placed, pages, &resizing), want(3000, 3 * gib, 16 * mib, 1));
    let refused =
        format!(r#"{{{more},"conditions":[{{"type":"PodResizePending","reason":"Infeasible"}}]}}"#);
    assert_eq!(get(placed, pages, &refused), want(3000, 0, 16 * mib, 1));
    // What the kubelet reports of a pod without requests of its own on that level.
    let whole =
        r#"{"resources":{"requests":{"cpu":"5"}},"allocatedResources":{"cpu":"4","a.com/x":"2"}}"#;
    assert_eq!(get(placed, "", whole), want(5000, 0, 8 * mib, 2));
    let half = r#"{"resources":{"requests":{"cpu":"5"}}}"#;
    assert_eq!(get(placed, "", half), want(1000, 0, 8 * mib, 1));
}

#[test]
fn an_object_without_an_identity_is_refused() {
    let cases = [
        ("{}", "metadata.uid: missing"),
        (r#"{"metadata":{"uid":"","name":"p","namespace":"n"}}"#, "metadata.uid: missing"),
        (r#"{"metadata":{"uid":"u","namespace":"n"}}"#, "metadata.name: missing"),
        (r#"{"metadata":{"uid":"u","name":"p"}}"#, "metadata.namespace: missing"),
    ];
    for (text, want) in cases {
        assert_eq!(read_pod(text).map_err(|it| it.to_string()), Err(want.to_owned()));
    }
    for text in ["", "5", "null", "{", r#"{"spec":5}"#, r#"{"spec":{"nodeName":[]}}"#] {
        assert!(matches!(read_pod(text), Err(DecodeError::Json(_))), "{text}");
    }
}

#[test]
fn states_of_a_pod_are_told_apart() {
    let get = |spec: &str, status: &str| shaped(spec, status).expect("a valid pod");
    for (phase, want) in [("Succeeded", true), ("Failed", true), ("Running", false)] {
        assert_eq!(get("{}", &format!(r#"{{"phase":"{phase}"}}"#)).terminal, want);
    }
    assert!(get(r#"{"schedulingGates":[{"name":"g"}]}"#, "{}").gated);
    assert!(!get(r#"{"schedulingGates":[]}"#, "{}").gated);
    assert!(get(r#"{"volumes":[{"emptyDir":{}},{"ephemeral":{}}]}"#, "{}").claims_volumes());
    assert!(!get(r#"{"volumes":[{"emptyDir":{},"ephemeral":null}]}"#, "{}").claims_volumes());
    assert_eq!(get(r#"{"nodeName":"n1"}"#, "{}").node.as_deref(), Some("n1"));
    let text = r#"{"metadata":{"uid":"u","name":"p","namespace":"n","deletionTimestamp":"t"}}"#;
    assert!(read_pod(text).expect("a valid pod").terminating);
    let condition = |status: &str, reason: &str, message: &str| {
        let text = format!(
            r#"{{"conditions":[{{"type":"PodScheduled","status":"{status}","reason":"{reason}",
            "message":"{message}"}}]}}"#
        );
        get("{}", &text).condition
    };
    assert_eq!(condition("True", "", ""), None);
    let full = condition("False", "Unschedulable", "3 Insufficient cpu.");
    assert_eq!(full.map(|it| it.reason), Some(None));
    // What else it says is not kept: it is not known of which attempt it says so.
    assert_eq!(condition("False", "Unschedulable", "2 Insufficient cpu."), full);
    assert_eq!(condition("False", "SchedulerError", "3 Insufficient cpu."), full);
}

#[test]
fn a_kubelets_report_leaves_a_placed_pod_as_it_is_but_for_the_bits_that_pass() {
    let with = |conditions: &str, more: &str| {
        let status = format!(r#"{{"phase":"Running","conditions":[{conditions}]{more}}}"#);
        shaped(r#"{"nodeName":"n"}"#, &status).expect("a valid pod")
    };
    let condition = |kind: &str, status: &str| {
        format!(r#"{{"type":"{kind}","status":"{status}","lastTransitionTime":"t"}}"#)
    };
    let before = with(&condition("Ready", "True"), "");
    assert_eq!(before.status, PodStatusBits::default());
    let report = r#","podIP":"10.0.0.7","startTime":"t","containerStatuses":[{"restartCount":3}]"#;
    let ready = [condition("Ready", "False"), condition("ContainersReady", "False")].join(",");
    assert_eq!(with(&ready, report), before);
    for (kind, bit) in [
        ("DisruptionTarget", PodStatusBits::DISRUPTION_TARGET),
        ("InPlaceUpdateReady", PodStatusBits::IN_PLACE_UPDATE_READY),
    ] {
        assert_eq!(with(&condition(kind, "True"), report), Pod { status: bit, ..before.clone() });
        assert_eq!(with(&condition(kind, "False"), report), before);
    }
}

#[test]
fn labels_claim_a_class_and_only_a_controller_owns() {
    let get = |meta: &str| {
        let text = format!(r#"{{"metadata":{{"uid":"u","name":"p","namespace":"n",{meta}}}}}"#);
        read_pod(&text).expect("a valid pod")
    };
    let cases = [
        (r#"{"koordinator.sh/qosClass":"BE"}"#, Some(QosClaim::Offline)),
        (r#"{"alibabacloud.com/qosClass":"BE","app":"x"}"#, Some(QosClaim::Offline)),
        (r#"{"koordinator.sh/qosClass":"LSE"}"#, Some(QosClaim::Online)),
        (r#"{"alibabacloud.com/qosClass":"SYSTEM"}"#, Some(QosClaim::Online)),
        (r#"{"koordinator.sh/qosClass":"gold"}"#, None),
        (r#"{"app":"x"}"#, None),
    ];
    for (labels, want) in cases {
        assert_eq!(get(&format!(r#""labels":{labels}"#)).qos_claim, want, "{labels}");
    }
    let owners = r#""ownerReferences":[{"kind":"X","name":"x","uid":"1"},
        {"kind":"CloneSet","name":"cs","uid":"2","controller":true}]"#;
    assert_eq!(get(owners).owner.map(|it| it.kind), Some("CloneSet".into()));
    assert_eq!(get(r#""ownerReferences":[{"uid":"1","controller":false}]"#).owner, None);
}

#[test]
fn tolerations_are_read_and_what_is_not_understood_is_marked() {
    let equal = |value: &str| TaintValue::Equal(value.into());
    let (soft, hard) = (Some(TaintEffect::PreferNoSchedule), Some(TaintEffect::NoSchedule));
    let cases = [
        (r#"{"operator":"Exists"}"#, Some(("", TaintValue::Any, None))),
        (r#"{"key":"a","value":"b"}"#, Some(("a", equal("b"), None))),
        (
            r#"{"key":"a","operator":"Equal","value":"c","effect":"NoSchedule","tolerationSeconds":3}"#,
            Some(("a", equal("c"), hard)),
        ),
        (r#"{"key":"a","operator":"Gt","value":"5"}"#, Some(("a", TaintValue::Gt(5), None))),
        (
            r#"{"key":"a","operator":"Lt","value":"-5","effect":"PreferNoSchedule"}"#,
            Some(("a", TaintValue::Lt(-5), soft)),
        ),
        // Compared with what is no number, nothing is tolerated.
        (r#"{"key":"a","operator":"Gt","value":"much"}"#, None),
        (r#"{"key":"a","operator":"Lt"}"#, None),
        (
            r#"{"key":"a","operator":"Near","value":"5","effect":"NoSchedule"}"#,
            Some(("a", TaintValue::Unclear, hard)),
        ),
        (r#"{"key":"a","effect":"NoBreathing"}"#, Some(("a", TaintValue::Unclear, None))),
        (r#"{"key":"a","values":["b"]}"#, Some(("a", TaintValue::Unclear, None))),
        (r#"{"key":"a","value":"b","values":null}"#, Some(("a", equal("b"), None))),
    ];
    for (json, want) in cases {
        let pod = shaped(&format!(r#"{{"tolerations":[{json}]}}"#), "{}").expect("a valid pod");
        let want = want.map(|(key, value, effect)| Toleration { key: key.into(), value, effect });
        assert_eq!(pod.tolerations.first(), want.as_ref(), "{json}");
        let is_unclear = want.is_some_and(|it| it.value == TaintValue::Unclear);
        let judged = pod.constraints.as_ref().and_then(|it| it.cannot_judge);
        assert_eq!(judged, is_unclear.then_some(CannotJudge::Unclear), "{json}");
    }
    // Of a pod that has its node nobody asks.
    let placed = r#"{"nodeName":"n","tolerations":[{"key":"a","operator":"Near"}]}"#;
    assert_eq!(shaped(placed, "{}").expect("a valid pod").constraints, None);
}

#[test]
fn groups_are_known_by_any_of_their_marks_and_never_means_never() {
    let get = |meta: &str, spec: &str| {
        let text = format!(
            r#"{{"metadata":{{"uid":"u","name":"p","namespace":"n"{meta}}},"spec":{{{spec}}}}}"#
        );
        read_pod(&text).expect("a valid pod")
    };
    for (meta, spec, grouped) in [
        ("", "", false),
        (r#","labels":{"scheduling.x-k8s.io/pod-group":"g","app":"x"}"#, "", true),
        (r#","labels":{"pod-group.scheduling.sigs.k8s.io":"g"}"#, "", true),
        // Two of them: told apart by nobody, and no duplicate.
        (
            r#","labels":{"pod-group.scheduling.sigs.k8s.io/name":"g",
                "kueue.x-k8s.io/pod-group-name":"g"}"#,
            "",
            true,
        ),
        (r#","annotations":{"scheduling.k8s.io/group-name":"g"}"#, "", true),
        (r#","annotations":{"gang.scheduling.koordinator.sh/name":"g"}"#, "", true),
        (r#","annotations":{"scheduling.k8s.io/group-name":null,"a":null}"#, "", false),
        ("", r#""workloadRef":{"name":"w","podGroup":"g"}"#, true),
        ("", r#""schedulingGroup":{"podGroupName":"g"}"#, true),
        ("", r#""workloadRef":null,"schedulingGroup":null"#, false),
    ] {
        assert_eq!(get(meta, spec).grouped, grouped, "{meta} {spec}");
    }
    for mark in [
        "scheduling.x-k8s.io/pod-group",
        "pod-group.scheduling.sigs.k8s.io",
        "pod-group.scheduling.sigs.k8s.io/name",
        "gang.scheduling.koordinator.sh/name",
        "scheduling.k8s.io/group-name",
        "kueue.x-k8s.io/pod-group-name",
        "yunikorn.apache.org/task-group-name",
    ] {
        assert!(get(&format!(r#","labels":{{"{mark}":"g"}}"#), "").grouped, "{mark}");
    }
    assert!(get("", r#""preemptionPolicy":"Never""#).never_preempts);
    assert!(!get("", r#""preemptionPolicy":"PreemptLowerPriority""#).never_preempts);
    assert!(!get("", r#""preemptionPolicy":null"#).never_preempts);
    assert!(get(r#","annotations":{}"#, "").annotated && !get("", "").annotated);
}
