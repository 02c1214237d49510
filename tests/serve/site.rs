//! What most cases start from: a cluster, a policy, and a server that watches both.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::support::apiserver::ApiServer;
use crate::support::process::{Sigma, command};

/// A directory, and an API server with two nodes of four cores and one namespace.
pub(crate) struct Site {
    pub(crate) api: ApiServer,
    pub(crate) dir: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let api = ApiServer::start();
        api.put("namespaces", json!({"metadata": {"name": "shop"}}));
        api.put("nodes", node("n1", "4"));
        api.put("nodes", node("n2", "4"));
        let site = Self { api, dir: tempfile::tempdir().expect("a directory") };
        site.write_policy(policy("first", 50));
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn policy_file(&self) -> PathBuf {
        self.path("policy.yaml")
    }

    pub(crate) fn write_policy(&self, text: impl AsRef<[u8]>) {
        std::fs::write(self.policy_file(), text).expect("the policy is written");
    }

    /// `sigma serve` on free ports.
    pub(crate) fn command(&self, more: &[&str]) -> Command {
        let mut command = command(&["serve", "--admin-listen", "127.0.0.1:0"]);
        if !more.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.arg("--kubeconfig").arg(self.api.kubeconfig(self.dir.path()));
        if !more.contains(&"--policy") {
            command.arg("--policy").arg(self.policy_file());
        }
        if !more.iter().any(|it| it.starts_with("--deadline")) {
            // Debug builds on a busy machine are slow, and few cases are about that.
            command.args(["--deadline", "20s"]);
        }
        command.args(more);
        command
    }

    /// A server that may not be ready yet.
    pub(crate) fn start(&self, more: &[&str]) -> Sigma {
        Sigma::start(self.command(more))
    }

    /// A server that is ready.
    pub(crate) fn serve(&self, more: &[&str]) -> Sigma {
        let sigma = self.start(more);
        sigma.wait_ready();
        sigma
    }
}

/// One pool of which a share may be requested; `batch` pods are offline. The others are not steered: whom no
/// offered node takes is refused, whatever the other one would do.
pub(crate) fn policy(name: &str, allocation_pct: u32) -> String {
    format!(
        "apiVersion: sigma.io/v1alpha1\nkind: SchedulingPolicy\nmetadata: {{name: {name}}}\n\
         pools:\n- name: fixed\n  match: {{labels: {{pool: fixed}}}}\n  \
         allocation: {{cpu: {allocation_pct}%}}\n\
         classes:\n- name: offline\n  grant: {{priorityClasses: [batch]}}\n  pools: [fixed]\n\
         - name: default\n  pools: [fixed]\nsteering: {{default: {{steer: off}}}}\n"
    )
}

pub(crate) fn node(name: &str, cpu: &str) -> Value {
    json!({
        "metadata": {"name": name, "uid": format!("node-{name}"), "labels": {"pool": "fixed"}},
        "spec": {},
        "status": {
            "capacity": {"cpu": cpu, "memory": "16Gi", "pods": "110"},
            "allocatable": {"cpu": cpu, "memory": "16Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}]
        }
    })
}

/// A pending pod in `shop`.
pub(crate) fn pod(name: &str, cpu: &str) -> Value {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    json!({
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": "1",
            "uid": format!("00000000-0000-0000-0000-{count:012x}")},
        "spec": {"schedulerName": "default-scheduler",
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
        "status": {"phase": "Pending"}
    })
}

/// A pod on a node.
pub(crate) fn placed(name: &str, cpu: &str, node: &str) -> Value {
    let mut pod = pod(name, cpu);
    pod["spec"]["nodeName"] = node.into();
    pod["status"]["phase"] = "Running".into();
    pod
}

/// The accepted names of a filter reply.
pub(crate) fn accepted(reply: &Value) -> Vec<&str> {
    let names = reply["NodeNames"].as_array().expect("a list of names");
    names.iter().map(|it| it.as_str().expect("a name")).collect()
}

/// The text of a filter reply that accepts nothing.
pub(crate) fn refused(reply: &Value) -> String {
    let map = reply["FailedAndUnresolvableNodes"].as_object().expect("a map");
    assert_eq!((map.len(), accepted(reply).len()), (1, 0), "{reply}");
    map.values().next().and_then(Value::as_str).expect("a text").to_owned()
}

pub(crate) const FULL: &str = "sigma: allocation limit of the pool reached";
