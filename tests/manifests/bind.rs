//! The component `bind` does what it says wherever it is used, or is refused.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{arguments, document, items, root, text};

/// Where sigma's Deployment is, and the path of its container there.
const DEPLOYMENTS: [(&str, &str); 2] = [
    ("base/deployment.yaml", "/spec/template/spec/initContainers/0"),
    ("overlays/service-mtls/deployment.yaml", "/spec/template/spec/containers/0"),
];

#[test]
fn it_reaches_sigma_in_every_deployment() -> Result<()> {
    let component = document("components/bind/kustomization.yaml")?;
    let patches: Vec<&Value> = items(&component, "/patches").collect();
    ensure!(patches.len() == DEPLOYMENTS.len());
    for (path, container) in DEPLOYMENTS {
        let deployment = document(path)?;
        ensure!(deployment.pointer(container).context("no container")?["name"] == "sigma");
        let target = json!({"kind": "Deployment", "name": deployment["metadata"]["name"]});
        let patch = patches.iter().find(|it| it["target"] == target).context("no patch")?;
        let operations: Value = serde_saphyr::from_str(text(patch, "/patch"))?;
        // A container that is not sigma's is refused by the first one.
        let want = json!([
            {"op": "test", "path": format!("{container}/name"), "value": "sigma"},
            {"op": "add", "path": format!("{container}/args/-"), "value": "--bind=on"},
        ]);
        ensure!(operations == want, "{operations}");
    }
    // The right is for whoever sigma runs as. Without a Deployment nothing is selected, which is an error.
    let source = &component["replacements"][0]["source"];
    let account = "spec.template.spec.serviceAccountName";
    ensure!(*source == json!({"kind": "Deployment", "fieldPath": account}), "{source}");
    Ok(())
}

/// As kustomize builds it, where there is a kubectl.
#[test]
fn kustomize_builds_or_refuses_it() -> Result<()> {
    if Command::new("kubectl").args(["version", "--client"]).output().is_err() {
        println!("no kubectl here: not built");
        return Ok(());
    }
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let build = |base: &str| {
        let relative = |part: &str| {
            let up = "../".repeat(dir.path().components().count() - 1);
            let path = root().join(part);
            format!("{up}{}", path.display().to_string().trim_start_matches('/'))
        };
        let text = format!(
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [{}]\ncomponents: [{}]\n",
            relative(base),
            relative("components/bind")
        );
        fs::write(dir.path().join("kustomization.yaml"), text)?;
        Ok::<_, anyhow::Error>(Command::new("kubectl").arg("kustomize").arg(dir.path()).output()?)
    };
    for (base, account) in [("base", "sigma-scheduler"), ("overlays/service-mtls", "sigma")] {
        let output = build(base)?;
        ensure!(output.status.success(), "{base}: {}", String::from_utf8_lossy(&output.stderr));
        let built = String::from_utf8(output.stdout)?;
        let built = built.split("\n---\n").map(serde_saphyr::from_str::<Value>);
        let built = built.collect::<Result<Vec<_>, _>>()?;
        let find = |kind: &str, name: &str| {
            let mut all = built.iter();
            let found = all.find(|it| {
                it["kind"] == kind && (name.is_empty() || it["metadata"]["name"] == name)
            });
            found.with_context(|| format!("{base}: no {kind} {name}"))
        };
        let subject = &find("ClusterRoleBinding", "sigma-bind")?["subjects"][0];
        ensure!(subject["name"] == account, "{base}: {subject}");
        find("ServiceAccount", account)?;
        let spec = &find("Deployment", "")?["spec"]["template"]["spec"];
        ensure!(spec["serviceAccountName"] == account);
        let containers = items(spec, "/containers").chain(items(spec, "/initContainers"));
        for container in containers {
            let binds = arguments(container).iter().filter(|it| *it == "--bind=on").count();
            ensure!(binds == usize::from(container["name"] == "sigma"), "{base}: {container}");
        }
    }
    let output = build("overlays/kubeadm-static-pod")?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success() && error.contains("nothing selected"), "{error}");
    Ok(())
}
