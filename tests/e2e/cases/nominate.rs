//! The write of a nomination, against a real API server and under the shipped rights: what its fences
//! let through, and that what they do not changes nothing. There is no kube-scheduler here.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sigma::k8s::client::{KubeconfigSource, connect};
use sigma::k8s::writes::{ObjectWrites, PodRef, RequeueMark, WriteOutcome};

use super::Facts;
use crate::harness::api::Api;
use crate::harness::control_plane::ControlPlane;
use crate::harness::objects::{PodShape, pod};

/// A pod of the API server's.
struct Subject {
    api: Api,
    writes: ObjectWrites,
    name: &'static str,
    uid: String,
    num_rings: usize,
}

impl Subject {
    async fn new(
        api: &Api,
        writes: &ObjectWrites,
        name: &'static str,
        notes: Value,
    ) -> Result<Self> {
        let mut subject = pod(name, &PodShape { namespace: "plain", ..PodShape::PLAIN });
        subject["metadata"]["annotations"] = notes;
        let made = api.post("/api/v1/namespaces/plain/pods", &subject).await?;
        let uid = made["metadata"]["uid"].as_str().context("a UID")?.to_owned();
        Ok(Self { api: api.clone(), writes: writes.clone(), name, uid, num_rings: 0 })
    }

    async fn seen(&self) -> Result<Value> {
        self.api.pod("plain", self.name).await
    }

    /// Nominates, and says what is expected. What is not written must change nothing.
    async fn nominate(&mut self, node: &str, annotated: bool, want: WriteOutcome) -> Result<()> {
        let before = self.seen().await?;
        self.num_rings += 1;
        let value = format!("ring-{}", self.num_rings);
        let pod = PodRef { namespace: "plain", name: self.name, uid: &self.uid };
        let wake = RequeueMark { value: &value, annotated };
        let got = self.writes.nominate(pod, node, wake).await;
        ensure!(got == want, "{}: {node}: {got:?}, not {want:?}", self.name);
        let after = self.seen().await?;
        if want != WriteOutcome::Written {
            ensure!(before == after, "{}: {want:?}, and still {before} became {after}", self.name);
            return Ok(());
        }
        ensure!(after["status"]["nominatedNodeName"] == node, "{after}");
        ensure!(after["metadata"]["annotations"]["sigma.io/requeue"] == value.as_str(), "{after}");
        Ok(())
    }

    /// Somebody else nominates a node, or clears the nomination.
    async fn foreign(&self, node: &str) -> Result<()> {
        let node = if node.is_empty() { Value::Null } else { json!(node) };
        let path = format!("/api/v1/namespaces/plain/pods/{}/status", self.name);
        self.api.merge(&path, &json!({"status": {"nominatedNodeName": node}})).await.map(drop)
    }

    async fn clear(&self, node: &str, want: WriteOutcome) -> Result<()> {
        let pod = PodRef { namespace: "plain", name: self.name, uid: &self.uid };
        let got = self.writes.clear_nomination(pod, node).await;
        ensure!(got == want, "{}: clear {node}: {got:?}, not {want:?}", self.name);
        Ok(())
    }
}

fn changed(to: Option<&str>) -> WriteOutcome {
    WriteOutcome::Changed(to.map(Into::into))
}

pub(super) async fn fences() -> Result<Facts> {
    let control_plane = ControlPlane::start().await?;
    let api = &control_plane.admin;
    let path = control_plane.kubeconfig("sigma");
    let client = connect(&KubeconfigSource::Kubeconfig { path, context: None }).await?;
    let writes = ObjectWrites::new(client);

    let mut bare = Subject::new(api, &writes, "bare", Value::Null).await?;
    bare.nominate("n1", false, WriteOutcome::Written).await?;
    // No nomination replaces another one. Whoever has this one from us is only woken.
    bare.nominate("n2", true, changed(Some("n1"))).await?;
    bare.nominate("n1", true, WriteOutcome::Written).await?;
    bare.clear("n2", changed(Some("n1"))).await?;
    bare.clear("n1", WriteOutcome::Written).await?;
    ensure!(bare.seen().await?["status"]["nominatedNodeName"].is_null(), "it is still nominated");
    bare.clear("n1", WriteOutcome::Written).await?;
    bare.foreign("n1").await?;
    bare.nominate("n1", true, changed(Some("n1"))).await?;
    bare.clear("n1", changed(Some("n1"))).await?;
    ensure!(bare.seen().await?["status"]["nominatedNodeName"] == "n1", "another's is taken back");
    bare.foreign("").await?;
    // Not a name: every fence holds, and the server refuses it all the same.
    let me = PodRef { namespace: "plain", name: "bare", uid: &bare.uid };
    let wake = RequeueMark { value: "x", annotated: true };
    let got = writes.nominate(me, "No Such Name", wake).await;
    ensure!(matches!(got, WriteOutcome::Failed(_)), "{got:?}");

    // Guesses that are wrong, both ways; no annotation of anybody's is lost.
    let mut bare = Subject::new(api, &writes, "bare-2", Value::Null).await?;
    bare.nominate("n1", true, WriteOutcome::Written).await?;
    let mut noted = Subject::new(api, &writes, "noted", json!({"note": "kept"})).await?;
    noted.nominate("n1", false, WriteOutcome::Written).await?;
    ensure!(noted.seen().await?["metadata"]["annotations"]["note"] == "kept", "a note is lost");

    // Another pod under the name, one that is bound, and none at all.
    api.delete_pod("plain", "noted").await?;
    let gone = WriteOutcome::Gone;
    let other = Subject::new(api, &writes, "noted", json!({"note": "kept"})).await?;
    noted.nominate("n2", true, gone.clone()).await?;
    let binding = json!({"apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": "noted"}, "target": {"kind": "Node", "name": "n1"}});
    api.post("/api/v1/namespaces/plain/pods/noted/binding", &binding).await?;
    let mut bound = other;
    bound.nominate("n2", true, WriteOutcome::AlreadyBound).await?;
    api.delete_pod("plain", "noted").await?;
    bound.clear("n2", gone).await?;
    Ok(vec![
        "of 9 nominations 3 are written, each where there was none, and one more wakes its pod; one is \
         taken back, and another's of the same node is neither written nor taken back"
            .to_owned(),
    ])
}
