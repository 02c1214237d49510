//! The pods that wait: all alike, or as mixed as those of a cluster.

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::{Value, json};

use super::run::{HALF_LABEL, ZONES};
use crate::harness::api::{Api, path_of};
use crate::harness::objects::{PodShape, pod};
use crate::harness::volumes::bound_in_zone;

/// What the backlog is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backlog {
    /// Pods of one template that may go anywhere.
    Plain,
    /// Apps of 20 replicas. Half are plain; a tenth each has required anti-affinity between its own
    /// replicas on a host, hard spread over zones, a host port, required node affinity to half of the
    /// nodes, a bound volume in a zone.
    Mixed,
}

/// What an app requires of its nodes; its pods' names begin with it.
pub(super) const KINDS: [&str; 6] =
    [PLAIN, "anti-affinity", "spread", "host-port", "node-affinity", "zonal-volume"];
const PLAIN: &str = "plain";
const REPLICAS: u32 = 20;
/// Of ten apps.
const PLAIN_OF_TEN: u32 = 5;
const ZONE: &str = "topology.kubernetes.io/zone";
/// As a controller would have hashed a template.
const HASH: &str = "6d5f8c7b49";

/// Of which kind the pod of this name is.
pub(super) fn kind_of(pod: &str) -> &'static str {
    KINDS.into_iter().find(|kind| pod.starts_with(kind)).unwrap_or(PLAIN)
}

impl Backlog {
    /// The pods, to be posted for every run; makes what they refer to, which stays.
    pub(super) async fn furnish(self, api: &Api, num_pods: u32) -> Result<Vec<Value>> {
        if self == Self::Plain {
            let pods = (0..num_pods).map(|at| pod(&format!("{PLAIN}-{at:05}"), &shape()));
            return Ok(pods.collect());
        }
        let mut apps = Vec::new();
        for at in 0..num_pods.div_ceil(REPLICAS) {
            apps.push(App::make(api, at).await?);
        }
        // They come replica by replica, as several Deployments that are scaled at once.
        let pods = (0..REPLICAS).flat_map(|replica| apps.iter().map(move |app| app.pod(replica)));
        let pods: Vec<Value> = pods.take(num_pods as usize).collect();
        for it in pods.iter().filter(|it| !it["spec"]["volumes"].is_null()) {
            bound_volume(api, it).await.context("making a volume")?;
        }
        Ok(pods)
    }
}

fn shape() -> PodShape<'static> {
    PodShape { tolerates_virtual: false, ..PodShape::PLAIN }
}

/// A workload, whose replicas the bench makes in its stead.
struct App {
    kind: &'static str,
    name: String,
    labels: Value,
    /// What all replicas have.
    spec: Value,
    /// In `metadata.ownerReferences`.
    owner: Value,
}

impl App {
    async fn make(api: &Api, at: u32) -> Result<Self> {
        let kind = KINDS[(at % 10).saturating_sub(PLAIN_OF_TEN - 1) as usize];
        let name = format!("{kind}-{at:03}");
        let is_stateful = kind == "zonal-volume";
        let hash = if is_stateful { "controller-revision-hash" } else { "pod-template-hash" };
        let labels = json!({"app": name, hash: HASH});
        let spec = spec_of(kind, &name, at);
        let (owner, owner_name, selector) = match is_stateful {
            true => ("StatefulSet", name.clone(), json!({"app": name})),
            false => ("ReplicaSet", format!("{name}-{HASH}"), labels.clone()),
        };
        let mut object = json!({
            "apiVersion": "apps/v1", "kind": owner,
            "metadata": {"name": owner_name, "namespace": "default", "labels": labels},
            "spec": {
                "replicas": REPLICAS, "selector": {"matchLabels": selector},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        });
        if is_stateful {
            object["spec"]["serviceName"] = json!(name);
        }
        let made = api.post(&path_of(&object)?, &object).await?;
        let owner = json!({
            "apiVersion": "apps/v1", "kind": owner, "name": owner_name,
            "uid": made["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
        });
        Ok(Self { kind, name, labels, spec, owner })
    }

    fn pod(&self, replica: u32) -> Value {
        let is_stateful = self.kind == "zonal-volume";
        let name = match is_stateful {
            true => format!("{}-{replica}", self.name),
            false => format!("{}-{HASH}-r{replica:04}", self.name),
        };
        let (mut labels, mut spec) = (self.labels.clone(), self.spec.clone());
        if is_stateful {
            labels["statefulset.kubernetes.io/pod-name"] = json!(name);
            labels["apps.kubernetes.io/pod-index"] = json!(replica.to_string());
            spec["volumes"] = json!([{
                "name": "data", "persistentVolumeClaim": {"claimName": format!("data-{name}")},
            }]);
        }
        let metadata = json!({
            "name": name, "namespace": "default", "labels": labels, "ownerReferences": [self.owner],
        });
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    }
}

/// The template's spec of the app number `at`.
fn spec_of(kind: &str, app: &str, at: u32) -> Value {
    let mut spec = pod(app, &shape())["spec"].take();
    let own = json!({"matchLabels": {"app": app}});
    match kind {
        "anti-affinity" => {
            spec["affinity"] = json!({"podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {"labelSelector": own, "topologyKey": "kubernetes.io/hostname"},
                ],
            }});
        }
        "spread" => {
            spec["topologySpreadConstraints"] = json!([{
                "maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": own,
            }]);
        }
        "host-port" => {
            let port = 8000 + at;
            spec["containers"][0]["ports"] = json!([{"containerPort": 8080, "hostPort": port}]);
        }
        "node-affinity" => {
            let half = json!({"key": HALF_LABEL, "operator": "In", "values": ["yes"]});
            spec["affinity"] = json!({"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution":
                    {"nodeSelectorTerms": [{"matchExpressions": [half]}]},
            }});
        }
        _ => {}
    }
    spec
}

/// The pod's claim and its volume, replicas of one app by turns in each zone.
async fn bound_volume(api: &Api, pod: &Value) -> Result<()> {
    let claim = &pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"];
    let claim = claim.as_str().context("a claim's name")?;
    let replica = &pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"];
    let replica: usize = replica.as_str().context("an index")?.parse()?;
    bound_in_zone(api, claim, ZONES[replica % ZONES.len()]).await
}
