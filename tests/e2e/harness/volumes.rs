//! Claims and volumes that are bound to each other, without a kube-controller-manager.

use anyhow::Result;
use serde_json::json;

use super::api::{Api, path_of};

const ZONE: &str = "topology.kubernetes.io/zone";

/// A claim in `default` and its volume in a zone, bound to each other as kube-controller-manager does it.
pub(crate) async fn bound_in_zone(api: &Api, claim: &str, zone: &str) -> Result<()> {
    let volume = format!("pv-{claim}");
    let made = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": claim, "namespace": "default",
            "annotations": {
                "pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes",
            },
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": volume,
            "resources": {"requests": {"storage": "20Gi"}},
        },
    });
    let made = api.post(&path_of(&made)?, &made).await?;
    let in_zone = json!({"key": ZONE, "operator": "In", "values": [zone]});
    let disk = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": volume, "labels": {ZONE: zone}},
        "spec": {
            "capacity": {"storage": "20Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain",
            "csi": {"driver": "diskplugin.csi.alibabacloud.com", "volumeHandle": volume},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [in_zone]}]}},
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "default",
                "name": claim, "uid": made["metadata"]["uid"],
            },
        },
    });
    api.post(&path_of(&disk)?, &disk).await?;
    let bound = json!({"status": {"phase": "Bound"}});
    api.merge(&format!("/api/v1/persistentvolumes/{volume}/status"), &bound).await?;
    let path = format!("/api/v1/namespaces/default/persistentvolumeclaims/{claim}/status");
    let bound = json!({"status": {
        "phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "20Gi"},
    }});
    api.merge(&path, &bound).await.map(drop)
}
