//! Steers of pods whose volumes are bound, and can be used in one zone: each gets to the node that may have
//! it there, and never to the one in the other zone, though hardly either is ever offered.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Facts;
use super::constraints::store;
use super::steer::{homes, plain_node, steers};
use crate::harness::api::{Api, node_of};
use crate::harness::control_plane::ControlPlane;
use crate::harness::objects::{PodShape, pod, priority_class};
use crate::harness::scheduler::{Scheduler, SchedulerOptions};
use crate::harness::sigma::{Sigma, SigmaOptions};
use crate::harness::until;

/// Half of them in each zone.
const NUM_NODES: usize = 600;
/// Of the 300 in a pod's zone kube-scheduler offers 100, which is the fewest it may be told to.
const PERCENTAGE: Option<u32> = Some(5);
const NUM_PODS: usize = 24;
const ZONE: &str = "topology.kubernetes.io/zone";
const ZONES: [&str; 2] = ["cn-hangzhou-h", "cn-hangzhou-i"];

pub(super) async fn into_its_zone() -> Result<Facts> {
    let control_plane = ControlPlane::start().await?;
    let api = control_plane.admin.clone();
    let nodes = (0..NUM_NODES).map(|at| {
        let mut node = plain_node(&node_name(at), ("home", (at < 2).then_some("00")));
        node["metadata"]["labels"][ZONE] = ZONES[at % 2].into();
        node
    });
    api.post_all(nodes.chain([priority_class("home-00", 2000)]).collect()).await?;
    for at in 0..NUM_PODS {
        let [volume, claim] = disk(at);
        store(&api, &volume).await?;
        store(&api, &claim).await?;
    }
    let options = SigmaOptions {
        knows_scheduler: true,
        ..SigmaOptions::new(&control_plane, "sigma", &homes(1, ""))
    };
    let mut sigma = Sigma::start(&control_plane, options).await?;
    steers(&sigma).await?;
    let options =
        SchedulerOptions { percentage: PERCENTAGE, ..SchedulerOptions::new("sigma", &sigma) };
    let mut scheduler = Scheduler::start(&control_plane, &options).await?;
    let mut most = Duration::ZERO;
    for at in 0..NUM_PODS {
        most = most.max(lands(&api, at).await?);
    }
    let count = async |label: &str| sigma.metric("sigma_steers_total", label).await;
    let look = async || {
        let honoured = count("outcome=\"honoured\"").await?;
        // Two of three are not offered their node.
        Ok((honoured >= NUM_PODS as u64 / 4).then_some(honoured))
    };
    let (honoured, _) = until("steers are honoured", Duration::from_secs(10), look).await?;
    // kube-scheduler does not want a target in the other zone.
    let unwanted = count("outcome=\"not_honoured\"").await?;
    ensure!(unwanted == 0, "{unwanted} steers were to a node that kube-scheduler did not want");
    let steered = count("").await?;
    sigma.process.check()?;
    scheduler.process.check()?;
    Ok(vec![format!(
        "{NUM_PODS} pods with a volume in one of two zones, {honoured} of {steered} steers honoured: all on the one node \
         in their zone after at most {:.2} s",
        most.as_secs_f64()
    )])
}

fn node_name(at: usize) -> String {
    if at < 2 { format!("home-{}", ZONES[at]) } else { format!("n-{at:03}") }
}

/// A pod with a disk, until it is where it must be.
async fn lands(api: &Api, at: usize) -> Result<Duration> {
    let (name, home) = (format!("p-{at:02}"), node_name(at % 2));
    let shape = PodShape {
        namespace: "online",
        priority_class: "home-00",
        cpu_milli: 100,
        ..PodShape::PLAIN
    };
    let mut subject = pod(&name, &shape);
    let claim = json!({"claimName": format!("data-{at}")});
    subject["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": claim}]);
    api.post_all(vec![subject]).await?;
    let look = async || Ok(node_of(&api.pod("online", &name).await?).map(str::to_owned));
    let (node, took) = until("the pod is bound", Duration::from_secs(30), look).await?;
    ensure!(node == home, "{name} is on {node}, not {home}");
    Ok(took)
}

/// A volume in a zone, and a claim that is bound to it.
fn disk(at: usize) -> [Value; 2] {
    let (volume, claim) = (format!("pv-{at}"), format!("data-{at}"));
    let zone = json!({"key": ZONE, "operator": "In", "values": [ZONES[at % 2]]});
    [
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume},
            "spec": {
                "capacity": {"storage": "20Gi"}, "accessModes": ["ReadWriteOnce"],
                "csi": {"driver": "disk", "volumeHandle": volume},
                "claimRef": {"namespace": "online", "name": claim},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [zone]}]}},
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": claim, "namespace": "online",
                "annotations": {"pv.kubernetes.io/bind-completed": "yes"},
            },
            "spec": {
                "volumeName": volume, "storageClassName": "", "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "20Gi"}},
            },
            "status": {"phase": "Bound"},
        }),
    ]
}
