//! Nodes, pods and the rest, as JSON.

use serde_json::{Value, json};

/// How large a node is, and what it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeShape<'a> {
    pub(crate) instance_type: &'a str,
    pub(crate) zone: &'a str,
    pub(crate) cpu_milli: i64,
    pub(crate) memory_mib: i64,
    pub(crate) virtual_kubelet: bool,
}

/// The taint of a virtual node.
pub(crate) const VIRTUAL_TAINT: &str = "virtual-kubelet.io/provider";

pub(crate) fn node(name: &str, shape: NodeShape<'_>) -> Value {
    let amounts = json!({
        "cpu": format!("{}m", shape.cpu_milli),
        "memory": format!("{}Mi", shape.memory_mib),
        "ephemeral-storage": "500Gi",
        "pods": if shape.virtual_kubelet { "1000" } else { "110" },
    });
    let mut labels = json!({
        "kubernetes.io/hostname": name,
        "node.kubernetes.io/instance-type": shape.instance_type,
        "topology.kubernetes.io/region": "cn-hangzhou",
        "topology.kubernetes.io/zone": shape.zone,
    });
    let mut taints = json!([]);
    if shape.virtual_kubelet {
        labels["type"] = json!("virtual-kubelet");
        taints = json!([{"key": VIRTUAL_TAINT, "value": "alibabacloud", "effect": "NoSchedule"}]);
    }
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints},
        "status": {
            "capacity": amounts, "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        },
    })
}

/// What a pod is.
#[derive(Clone, Debug)]
pub(crate) struct PodShape<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) scheduler: &'a str,
    pub(crate) priority_class: &'a str,
    pub(crate) cpu_milli: i64,
    pub(crate) memory_mib: i64,
    /// Bound from the start.
    pub(crate) on: Option<&'a str>,
    /// Tolerates virtual nodes, as the templates of a site do whose policy decides.
    pub(crate) tolerates_virtual: bool,
}

impl PodShape<'_> {
    pub(crate) const PLAIN: PodShape<'static> = PodShape {
        namespace: "default",
        scheduler: "sigma",
        priority_class: "",
        cpu_milli: 1000,
        memory_mib: 256,
        on: None,
        tolerates_virtual: true,
    };
}

pub(crate) fn pod(name: &str, shape: &PodShape<'_>) -> Value {
    let mut spec = json!({
        "schedulerName": shape.scheduler,
        "containers": [{
            "name": "main", "image": "registry.example/app:1",
            "resources": {"requests": {
                "cpu": format!("{}m", shape.cpu_milli),
                "memory": format!("{}Mi", shape.memory_mib),
            }},
        }],
    });
    if !shape.priority_class.is_empty() {
        spec["priorityClassName"] = json!(shape.priority_class);
    }
    if let Some(node) = shape.on {
        spec["nodeName"] = json!(node);
    }
    if shape.tolerates_virtual {
        spec["tolerations"] =
            json!([{"key": VIRTUAL_TAINT, "operator": "Exists", "effect": "NoSchedule"}]);
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": shape.namespace},
        "spec": spec,
    })
}

pub(crate) fn namespace(name: &str, tier: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {"tier": tier}},
    })
}

pub(crate) fn priority_class(name: &str, value: i32) -> Value {
    json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": {"name": name}, "value": value,
    })
}
