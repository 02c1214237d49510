//! Nodes, namespaces, pods, volumes and claims of the API: decoded or refused, and what is decoded can be counted.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sigma::cluster::ClusterState;
use sigma::k8s::decode::{self, DecodeError};
use sigma::k8s::kinds::claims::{self, SlimClaim};
use sigma::k8s::kinds::namespaces::{self, SlimNamespace};
use sigma::k8s::kinds::nodes::{self, SlimNode};
use sigma::k8s::kinds::volumes::{self, SlimPersistentVolume};
use sigma::k8s::slim::SlimPod;
use sigma::model::{Amounts, Change, ExtendedAmount, Kind, Node, NodeMatcher, PoolSpec};

use crate::harness::Target;

/// Applies what was decoded to a state that knows nothing else, twice, and takes it away again.
fn count(change: Change, gone: Change) {
    let mut state = ClusterState::default();
    state.apply(Change::PoolsSet(vec![PoolSpec {
        name: "all".to_owned(),
        matcher: NodeMatcher::default(),
        ..PoolSpec::default()
    }]));
    let node = Node { name: "n1".into(), ..Node::default() };
    state.apply(Change::NodeSeen(Box::new(node)));
    state.apply(change.clone());
    assert_eq!(state.audit(), []);
    state.apply(change);
    state.publish();
    state.apply(gone);
    assert_eq!(state.audit(), []);
    let (snapshot, _) = state.publish();
    assert_eq!((snapshot.num_pods, snapshot.pending.len()), (0, 0));
    assert_eq!((snapshot.tables.claims.len(), snapshot.tables.volumes.len()), (0, 0));
    for ord in snapshot.live_nodes() {
        assert!(snapshot.used(ord).is_zero(), "it left a trace");
    }
}

fn not_negative(base: &Amounts, extended: &[ExtendedAmount]) {
    let base = [base.cpu_milli, base.memory_bytes, base.ephemeral_bytes, base.pods];
    assert!(base.into_iter().chain(extended.iter().map(|it| it.amount)).all(|it| it >= 0));
    assert!(extended.is_sorted_by(|a, b| a.name < b.name), "names come once: {extended:?}");
}

fn pod(slim: &SlimPod) -> Result<(), DecodeError> {
    let pod = decode::pod(slim)?;
    not_negative(&pod.requests.base, &pod.requests.extended);
    assert_eq!(pod.requests.base.pods, 1);
    assert!(!pod.name.is_empty() && !pod.namespace.is_empty() && !pod.uid_text.is_empty());
    let gone = Change::PodGone { uid: pod.uid };
    count(Change::PodSeen(Box::new(pod)), gone);
    Ok(())
}

fn node(slim: &SlimNode) -> Result<(), DecodeError> {
    let node = nodes::node(slim)?;
    not_negative(&node.allocatable, &node.extended);
    assert!(node.labels.is_sorted_by(|a, b| a.0 < b.0));
    let gone = Change::NodeGone { name: node.name.clone() };
    count(Change::NodeSeen(Box::new(node)), gone);
    Ok(())
}

fn namespace(slim: &SlimNamespace) -> Result<(), DecodeError> {
    let namespace = namespaces::namespace(slim)?;
    assert!(namespace.labels.is_sorted_by(|a, b| a.0 < b.0));
    let gone = Change::NamespaceGone { name: namespace.name.clone() };
    count(Change::NamespaceSeen(namespace), gone);
    Ok(())
}

fn volume(slim: &SlimPersistentVolume) -> Result<(), DecodeError> {
    let (name, reach) = volumes::volume(slim)?;
    let zones = reach.iter().flat_map(|it| &it.zones);
    assert!(zones.flat_map(|it| &it.1).all(|value| !value.is_empty()));
    count(Change::seen(name, reach.map(Arc::new)), Change::Gone { kind: Kind::VOLUMES, name });
    Ok(())
}

fn claim(slim: &SlimClaim) -> Result<(), DecodeError> {
    let (name, bound) = claims::claim(slim)?;
    assert!(bound.is_none() || !slim.spec.volume_name.is_empty());
    count(Change::seen(name, bound), Change::Gone { kind: Kind::CLAIMS, name });
    Ok(())
}

/// Read as the watches read it; what became of it.
fn read<T: DeserializeOwned>(
    input: &[u8],
    decode: impl FnOnce(&T) -> Result<(), DecodeError>,
) -> String {
    match serde_json::from_slice::<T>(input) {
        Err(error) => error.to_string(),
        Ok(slim) => match decode(&slim) {
            Err(error) => error.to_string(),
            Ok(()) => "decoded".to_owned(),
        },
    }
}

fn bytes(all: &[Value]) -> Vec<Vec<u8>> {
    all.iter().map(|it| it.to_string().into_bytes()).collect()
}

pub(crate) fn pods() -> Vec<Value> {
    let meta = json!({"name": "cart-1", "namespace": "shop", "resourceVersion": "7",
        "uid": "00000000-0000-0000-0000-0000000000a1",
        "labels": {"koordinator.sh/qosClass": "BE", "app": "cart"},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart",
            "uid": "u", "controller": true}]});
    let requests = json!({"cpu": "100m", "memory": "1.5Gi", "nvidia.com/gpu": "1"});
    let container = json!({"name": "c", "resources": {"requests": requests}});
    let plain = json!({"metadata": meta, "spec": {"schedulerName": "default-scheduler",
        "priority": 9000, "priorityClassName": "prod-high", "containers": [container],
        "tolerations": [{"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"},
            {"operator": "Exists"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "x"}}]},
        "status": {"phase": "Pending", "nominatedNodeName": "n1", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
             "message": "0/2 nodes are available: 2 sigma: pool is not open to the pod's class."}]}});
    let mut running = plain.clone();
    running["metadata"]["uid"] = json!("00000000-0000-0000-0000-0000000000a2");
    running["metadata"]["deletionTimestamp"] = json!("2026-11-11T00:00:00Z");
    running["spec"]["nodeName"] = json!("n1");
    running["spec"]["overhead"] = json!({"cpu": "10m"});
    running["spec"]["resources"] = json!({"requests": {"cpu": "2"}});
    running["spec"]["initContainers"] = json!([
        {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": 1}}},
        {"name": "init", "resources": {"requests": {"memory": "8Ei"}}}]);
    running["status"] = json!({"phase": "Running", "resize": "Infeasible",
        "containerStatuses": [{"name": "c", "resources": {"requests": {"cpu": "3"}},
            "allocatedResources": {"cpu": "1", "memory": "1e3"}}],
        "resources": {"requests": {"cpu": "4"}}, "allocatedResources": {"cpu": "5"}});
    let mut constrained = plain.clone();
    constrained["metadata"]["uid"] = json!("00000000-0000-0000-0000-0000000000a3");
    let selector = json!({"matchLabels": {"app": "cart"}, "matchExpressions": [
        {"key": "version", "operator": "NotIn", "values": ["v1"]}]});
    let term = json!({"topologyKey": "topology.kubernetes.io/zone", "labelSelector": selector,
        "namespaces": ["shop"], "namespaceSelector": selector, "matchLabelKeys": ["app"],
        "mismatchLabelKeys": ["app"]});
    let node_term = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}],
        "matchExpressions": [{"key": "size", "operator": "Gt", "values": ["7"]}]});
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    constrained["spec"]["nodeSelector"] = json!({"disk": "ssd"});
    constrained["spec"]["affinity"] = json!({
        "nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [node_term]}},
        "podAffinity": {REQUIRED: [term]}, "podAntiAffinity": {REQUIRED: [term]}});
    constrained["spec"]["topologySpreadConstraints"] = json!([{"maxSkew": 1, "minDomains": 2,
        "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector,
        "matchLabelKeys": ["app"], "nodeAffinityPolicy": "Honor", "nodeTaintsPolicy": "Ignore"}]);
    constrained["spec"]["containers"][0]["ports"] =
        json!([{"containerPort": 80, "hostPort": 80, "protocol": "UDP", "hostIP": "10.0.0.1"}]);
    let bare = json!({"metadata": {"name": "b", "namespace": "n", "uid": "not-a-uuid"},
        "spec": {"containers": null, "schedulingGates": [{"name": "g"}]}, "status": null});
    vec![plain, running, constrained, bare]
}

pub(crate) fn nodes() -> Vec<Value> {
    let amounts = json!({"cpu": "8", "memory": "16Gi", "ephemeral-storage": "100Gi",
        "pods": "110", "nvidia.com/gpu": "8"});
    let plain = json!({"metadata": {"name": "n1", "uid": "node-1", "resourceVersion": "5", "labels": {
            "topology.kubernetes.io/zone": "z1", "topology.sigma.io/rack": "r1", "pool": "fixed"}},
        "spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]},
        "status": {"capacity": amounts, "allocatable": amounts, "conditions": [
            {"type": "Ready", "status": "True"}, {"type": "MemoryPressure", "status": "False"}]}});
    let bare = json!({"metadata": {"name": "n2"}, "spec": {"unschedulable": true},
        "status": {"capacity": {"cpu": 4}, "conditions": [null]}});
    vec![plain, bare]
}

pub(crate) fn namespaces() -> Vec<Value> {
    vec![json!({"metadata": {"name": "shop", "uid": "x", "resourceVersion": "3",
        "labels": {"team": "cart", "kubernetes.io/metadata.name": "shop"}}})]
}

pub(crate) fn persistent_volumes() -> Vec<Value> {
    let asked = json!({"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["z1"]});
    let zonal = json!({"metadata": {"name": "pv-1", "uid": "x", "resourceVersion": "3", "labels": {
            "topology.kubernetes.io/zone": "z1__z2", "failure-domain.beta.kubernetes.io/region": "r"}},
        "spec": {"csi": {"driver": "d"}, "nodeAffinity": {"required": {"nodeSelectorTerms": [
            {"matchExpressions": [asked]}, {"matchFields": null}]}}}});
    let old = json!({"metadata": {"name": "pv-2"}, "spec": {"cinder": {"volumeID": "v"}}});
    vec![zonal, old]
}

pub(crate) fn claims() -> Vec<Value> {
    let bound = json!({"metadata": {"name": "data", "namespace": "shop", "uid": "x",
            "resourceVersion": "3", "annotations": {"pv.kubernetes.io/bind-completed": "yes"},
            "ownerReferences": [{"kind": "Pod", "name": "p", "uid": "u", "controller": true}]},
        "spec": {"volumeName": "pv-1", "accessModes": ["ReadWriteOnce"]},
        "status": {"phase": "Bound"}});
    let open = json!({"metadata": {"name": "log", "namespace": "shop",
            "deletionTimestamp": "2026-11-11T00:00:00Z"}, "spec": {"accessModes": null}});
    vec![bound, open]
}

#[test]
fn volume_objects() {
    let check = |input: &[u8]| read(input, volume);
    let seeds = bytes(&persistent_volumes());
    Target { name: "volume", seeds, mutants: 8000, check: &check }.run();
}

#[test]
fn claim_objects() {
    let check = |input: &[u8]| read(input, claim);
    Target { name: "claim", seeds: bytes(&claims()), mutants: 8000, check: &check }.run();
}

#[test]
fn pod_objects() {
    let check = |input: &[u8]| read(input, pod);
    Target { name: "pod", seeds: bytes(&pods()), mutants: 8000, check: &check }.run();
}

#[test]
fn node_objects() {
    let check = |input: &[u8]| read(input, node);
    Target { name: "node", seeds: bytes(&nodes()), mutants: 8000, check: &check }.run();
}

#[test]
fn namespace_objects() {
    let check = |input: &[u8]| read(input, namespace);
    let seeds = bytes(&namespaces());
    Target { name: "namespace", seeds, mutants: 8000, check: &check }.run();
}
