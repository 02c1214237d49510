//! Claims and volumes that are bound to each other, without a kube-controller-manager.

use anyhow::Result;
use serde_json::json;

use super::api::{Api, path_of};

const ZONE: &str = "topology.kubernetes.io/zone";

/// The CSI driver of the volumes.
pub(crate) const DRIVER: &str = "diskplugin.csi.alibabacloud.com";

/// A claim in `default` and its volume in a zone.
pub(crate) async fn bound_in_zone(api: &Api, claim: &str, zone: &str) -> Result<()> {
    bound(api, "default", claim, Some(zone)).await
}

/// A claim and its volume, bound to each other as kube-controller-manager does it. Without a zone, the volume
/// can be used on every node.
pub(crate) async fn bound(
    api: &Api,
    namespace: &str,
    claim: &str,
    zone: Option<&str>,
) -> Result<()> {
    let volume = format!("pv-{claim}");
    let made = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": claim, "namespace": namespace,
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
    let mut disk = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": volume},
        "spec": {
            "capacity": {"storage": "20Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain",
            "csi": {"driver": DRIVER, "volumeHandle": volume},
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace,
                "name": claim, "uid": made["metadata"]["uid"],
            },
        },
    });
    if let Some(zone) = zone {
        disk["metadata"]["labels"] = json!({ZONE: zone});
        let in_zone = json!({"key": ZONE, "operator": "In", "values": [zone]});
        disk["spec"]["nodeAffinity"] =
            json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [in_zone]}]}});
    }
    api.post(&path_of(&disk)?, &disk).await?;
    let bound = json!({"status": {"phase": "Bound"}});
    api.merge(&format!("/api/v1/persistentvolumes/{volume}/status"), &bound).await?;
    let path = format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}/status");
    let bound = json!({"status": {
        "phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "20Gi"},
    }});
    api.merge(&path, &bound).await.map(drop)
}
