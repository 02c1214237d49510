//! What `deploy/` holds is accepted by a real API server, which knows all rules and not only the
//! fields.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Facts;
use crate::harness::api::path_of;
use crate::harness::control_plane::ControlPlane;

pub(super) async fn accepted() -> Result<Facts> {
    let control_plane = ControlPlane::start().await?;
    let mut objects = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy"), &mut objects)?;
    // Namespaces first: nothing can be made in one that is not there, not even for a try.
    objects.sort_by_key(|(_, it)| it["kind"] != "Namespace");
    for (file, object) in &objects {
        let dry = if object["kind"] == "Namespace" { "" } else { "&dryRun=All" };
        let path = format!("{}?fieldValidation=Strict{dry}", path_of(object)?);
        match control_plane.admin.post(&path, object).await {
            // The rights of sigma are in force here. What is valid is asked before what exists.
            Err(error) if format!("{error:#}").contains("AlreadyExists") => {}
            posted => {
                posted.with_context(|| format!("{}: {}", file.display(), object["kind"]))?;
            }
        }
    }
    ensure!(objects.len() >= 14, "only {} objects", objects.len());
    Ok(vec![format!("{} objects pass the server's strict validation", objects.len())])
}

fn collect(folder: &Path, objects: &mut Vec<(PathBuf, Value)>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, objects)?;
            continue;
        }
        if path.extension().is_none_or(|it| it != "yaml") {
            continue;
        }
        for document in std::fs::read_to_string(&path)?.split("\n---\n") {
            let object: Value = serde_saphyr::from_str(document)?;
            // Read by kustomize, kube-scheduler, kubeadm and sigma, and not by the API server.
            let version = object["apiVersion"].as_str().unwrap_or_default();
            let foreign = ["kustomize.", "kubescheduler.", "sigma.io"];
            let patch = path.ends_with("kube-scheduler-patch.yaml");
            if !patch && !foreign.iter().any(|it| version.starts_with(it)) {
                objects.push((path.clone(), object));
            }
        }
    }
    Ok(())
}
