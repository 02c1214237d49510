//! Policies of the cases, small enough to be read beside them.

/// Three pools in the order of the design, and every class; the figures are the case's.
pub(crate) const THREE_POOLS: &str = r#"
apiVersion: sigma.io/v1alpha1
kind: SchedulingPolicy
metadata: {name: three-pools}
pools:
- name: shenlong
  match: {instanceTypes: ["ecs.ebm*"]}
  allocation: {cpu: 95%, memory: 95%}
- name: ecs
  match: {instanceTypes: ["ecs.*"]}
  allocation: {cpu: 90%, memory: 90%}
- name: eci
  match: {labels: {type: virtual-kubelet}}
  elastic: true
  limit: {cpu: 150, memory: 2Ti, pods: 1000}
classes:
- name: exempt
  grant: {namespaces: {names: [kube-system]}}
- name: online
  grant: {priorityClasses: ["prod-*"], namespaces: {matchLabels: {tier: production}}}
  pools: [shenlong, ecs, eci]
- name: offline
  grant: {priorityClasses: ["batch-*"], namespaces: {matchLabels: {tier: batch}}}
  pools: [ecs, shenlong]
- name: default
  pools: [ecs, shenlong]
"#;

/// No node takes an online pod, for one reason in each zone: `h` may not be filled further, `i` is
/// closed, `j` and virtual nodes are at their limit. Each reason holds for about a third of the nodes,
/// so which of them is the most common moves with the window.
pub(crate) const THREE_REASONS: &str = r#"
apiVersion: sigma.io/v1alpha1
kind: SchedulingPolicy
metadata: {name: three-reasons}
pools:
- name: virtual
  match: {labels: {type: virtual-kubelet}}
  elastic: true
  limit: {pods: 1}
- name: full
  match: {labels: {topology.kubernetes.io/zone: cn-hangzhou-h}}
  allocation: {cpu: 1%}
- name: closed
  match: {labels: {topology.kubernetes.io/zone: cn-hangzhou-i}}
- name: limited
  match: {labels: {topology.kubernetes.io/zone: cn-hangzhou-j}}
  elastic: true
  limit: {pods: 1}
classes:
- name: online
  grant: {priorityClasses: ["prod-*"], namespaces: {matchLabels: {tier: production}}}
  pools: [full, limited, virtual]
"#;

/// Nodes of type `ecs.*` are one pool, filled to `allocation`; online pods are protected. A pod in
/// no other class goes where `pools` says.
pub(crate) fn one_pool(allocation: &str, pools: &str) -> String {
    format!(
        r#"
apiVersion: sigma.io/v1alpha1
kind: SchedulingPolicy
metadata: {{name: one-pool}}
pools:
- name: ecs
  match: {{instanceTypes: ["ecs.*"]}}
  allocation: {{cpu: {allocation}, memory: {allocation}}}
- name: closed
  match: {{instanceTypes: ["none.*"]}}
classes:
- name: exempt
  grant: {{namespaces: {{names: [kube-system]}}}}
- name: online
  grant: {{priorityClasses: ["prod-*"], namespaces: {{matchLabels: {{tier: production}}}}}}
  pools: [{pools}]
  protected: true
- name: offline
  grant: {{priorityClasses: ["batch-*"], namespaces: {{matchLabels: {{tier: batch}}}}}}
  pools: [{pools}]
- name: default
  pools: [{pools}]
"#
    )
}
