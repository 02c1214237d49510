//! `deploy/` is read by people who paste it into production: every field must exist, every reference
//! must lead somewhere, and the rights are the documented ones and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sigma::k8s::{KindSpec, REGISTRY};

#[path = "manifests/bind.rs"]
mod bind;
#[path = "manifests/image.rs"]
mod image;
#[path = "manifests/kube_scheduler.rs"]
mod kube_scheduler;

/// The rights that `deploy/` grants beside those to watched kinds: role, group, resource, verbs. The table
/// in deploy/README.md says what each is for.
const OTHER_RIGHTS: &[(&str, &str, &str, &str)] = &[
    ("sigma", "", "pods/status", "patch"),
    ("sigma", "", "events", "create"),
    ("sigma-lease", "coordination.k8s.io", "leases", "create"),
    ("sigma-lease", "coordination.k8s.io", "leases", "get update"),
    ("sigma-bind", "", "pods/binding", "create"),
    ("sigma-leader-election", "coordination.k8s.io", "leases", "create"),
    ("sigma-leader-election", "coordination.k8s.io", "leases", "get update"),
];

/// Every right that `deploy/` grants by rules of its own. Each watched kind of the registry has one.
fn all_rights() -> Vec<[String; 4]> {
    let watched = REGISTRY.iter().filter_map(KindSpec::rights);
    let watched = watched.map(|(group, resource, verbs)| {
        ["sigma", group, resource, &verbs.join(" ")].map(str::to_owned)
    });
    let others = OTHER_RIGHTS.iter().map(|it| [it.0, it.1, it.2, it.3].map(str::to_owned));
    watched.chain(others).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// All YAML files under `deploy/`.
fn files() -> Result<Vec<PathBuf>> {
    let (mut folders, mut files) = (vec![root()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "yaml") {
                files.push(path);
            }
        }
    }
    files.sort();
    ensure!(files.len() > 10, "only {} files found", files.len());
    Ok(files)
}

/// The documents of a file.
fn documents(path: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let documents = text.split("\n---\n").map(serde_saphyr::from_str);
    documents.collect::<Result<_, _>>().with_context(|| path.display().to_string())
}

fn document(path: &str) -> Result<Value> {
    documents(&root().join(path))?.pop().context("no document")
}

fn kind(document: &Value) -> &str {
    document["kind"].as_str().unwrap_or_default()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// Reads a document as `T` and fails over whatever `T` does not know: that would be lost on the way
/// back.
fn strictly<T: DeserializeOwned + Serialize>(document: &Value) -> Result<()> {
    let typed: T = serde_json::from_value(document.clone())?;
    let back = serde_json::to_value(typed)?;
    lost(document, &back, &mut String::new())
}

fn lost(before: &Value, after: &Value, at: &mut String) -> Result<()> {
    let length = at.len();
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                at.push_str(&format!(".{key}"));
                let after = after.get(key).with_context(|| format!("unknown field {at}"))?;
                lost(value, after, at)?;
                at.truncate(length);
            }
            Ok(())
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (place, (before, after)) in before.iter().zip(after).enumerate() {
                at.push_str(&format!("[{place}]"));
                lost(before, after, at)?;
                at.truncate(length);
            }
            Ok(())
        }
        _ if before == after => Ok(()),
        _ => bail!("{at}: {before} is read as {after}"),
    }
}

/// `kustomization.yaml`, as far as we use it.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Kustomization {
    api_version: String,
    kind: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    config_map_generator: Vec<Generator>,
    #[serde(default)]
    patches: Vec<Value>,
    #[serde(default)]
    replacements: Vec<Value>,
    #[serde(default)]
    images: Vec<Map<String, Value>>,
    #[serde(default)]
    labels: Vec<Value>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Generator {
    name: String,
    namespace: String,
    files: Vec<String>,
    #[serde(default)]
    options: Map<String, Value>,
}

/// The specs of the pods that `deploy/` starts sigma in, and its container in each.
fn sigma_pods() -> Result<[(Value, Value); 3]> {
    let of = |path: &str, spec: &str, list: &str| {
        let spec = document(path)?.pointer(spec).context("no spec")?.clone();
        let found = items(&spec, list).find(|it| it["name"] == "sigma").cloned();
        Ok::<_, anyhow::Error>((spec, found.context("no container called sigma")?))
    };
    Ok([
        of("base/deployment.yaml", "/spec/template/spec", "/initContainers")?,
        of("overlays/kubeadm-static-pod/sigma.yaml", "/spec", "/containers")?,
        of("overlays/service-mtls/deployment.yaml", "/spec/template/spec", "/containers")?,
    ])
}

fn arguments(container: &Value) -> Vec<String> {
    let arguments = items(container, "/args").filter_map(Value::as_str);
    arguments.map(|it| it.replace("$(POD_IP)", "10.0.0.1")).collect()
}

fn flag<'a>(arguments: &'a [String], name: &str) -> &'a str {
    arguments.iter().find_map(|it| it.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
}

#[test]
fn every_field_of_every_file_exists() -> Result<()> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for path in files()? {
        for document in documents(&path)? {
            let read = match kind(&document) {
                "Namespace" => strictly::<Namespace>(&document),
                "Service" => strictly::<Service>(&document),
                "ServiceAccount" => strictly::<ServiceAccount>(&document),
                "ClusterRole" => strictly::<ClusterRole>(&document),
                "ClusterRoleBinding" => strictly::<ClusterRoleBinding>(&document),
                "Role" => strictly::<Role>(&document),
                "RoleBinding" => strictly::<RoleBinding>(&document),
                "Deployment" => strictly::<Deployment>(&document),
                "Pod" => strictly::<Pod>(&document),
                "PodDisruptionBudget" => strictly::<PodDisruptionBudget>(&document),
                "NetworkPolicy" => strictly::<NetworkPolicy>(&document),
                "Kustomization" | "Component" => strictly::<Kustomization>(&document),
                // Read by tests of their own.
                "KubeSchedulerConfiguration" | "SchedulingPolicy" => Ok(()),
                other => bail!("{}: kind {other:?} is not checked", path.display()),
            };
            read.with_context(|| format!("{}: {}", path.display(), kind(&document)))?;
            *seen.entry(kind(&document).to_owned()).or_default() += 1;
        }
    }
    for kind in ["Deployment", "Pod", "ClusterRole", "NetworkPolicy", "Kustomization", "Component"]
    {
        ensure!(seen.contains_key(kind), "no {kind} in deploy/");
    }
    Ok(())
}

#[test]
fn an_unknown_field_is_found_wherever_it_is() -> Result<()> {
    let mut deployment = document("base/deployment.yaml")?;
    strictly::<Deployment>(&deployment)?;
    deployment["spec"]["template"]["spec"]["containers"][0]["livenessProb"] = Value::from(1);
    let error = strictly::<Deployment>(&deployment).map_err(|it| it.to_string());
    let want = "unknown field .spec.template.spec.containers[0].livenessProb";
    ensure!(error == Err(want.to_owned()), "{error:?}");
    Ok(())
}

#[test]
fn kustomizations_refer_to_what_is_there_and_leave_nothing_out() -> Result<()> {
    let mut used: BTreeSet<PathBuf> = BTreeSet::new();
    let all = files()?;
    for path in all.iter().filter(|it| it.ends_with("kustomization.yaml")) {
        let folder = path.parent().context("a file is in a folder")?;
        used.insert(path.clone());
        for document in documents(path)? {
            let it: Kustomization = serde_json::from_value(document)?;
            let version = if it.kind == "Component" { "v1alpha1" } else { "v1beta1" };
            ensure!(it.api_version == format!("kustomize.config.k8s.io/{version}"));
            let generated = it.config_map_generator.iter().flat_map(|it| &it.files);
            for reference in it.resources.iter().chain(generated) {
                let target = folder.join(reference).canonicalize();
                let target = target.with_context(|| format!("{}: {reference}", path.display()))?;
                let is_base = target.is_dir() && target.join("kustomization.yaml").exists();
                ensure!(target.is_file() || is_base, "{}: {reference}", path.display());
                used.insert(target);
            }
        }
    }
    let unused: Vec<_> = all.iter().filter(|it| !used.contains(*it)).collect();
    let by_hand = |path: &&&PathBuf| path.starts_with(root().join("overlays"));
    ensure!(unused.iter().all(|it| by_hand(&it)), "referred to by nobody: {unused:?}");
    // Files that are copied to control plane nodes by hand are named in the instructions.
    let readme = fs::read_to_string(root().join("README.md"))?;
    for path in unused {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        ensure!(readme.contains(&*name), "deploy/README.md does not tell about {name}");
    }
    Ok(())
}

#[test]
fn rights_are_the_documented_ones() -> Result<()> {
    let mut granted = BTreeSet::new();
    let mut references = BTreeSet::new();
    for path in files()? {
        for document in documents(&path)? {
            let name = text(&document, "/metadata/name").to_owned();
            match kind(&document) {
                "Role" | "ClusterRole" => granted.extend(rights_of(&name, &document)),
                "RoleBinding" | "ClusterRoleBinding" => {
                    references.insert(text(&document, "/roleRef/name").to_owned());
                }
                _ => {}
            }
        }
    }
    let rights = all_rights();
    let documented: BTreeSet<_> = rights.iter().cloned().collect();
    ensure!(granted == documented, "granted: {granted:#?}\ndocumented: {documented:#?}");
    let mut bound: BTreeSet<String> = rights.iter().map(|it| it[0].clone()).collect();
    let of_kubernetes = [
        "system:kube-scheduler",
        "system:volume-scheduler",
        "extension-apiserver-authentication-reader",
    ];
    bound.extend(of_kubernetes.map(str::to_owned));
    ensure!(references == bound, "bound roles: {references:?}");
    // Where the right to the Lease is, there it is looked for.
    let binding = document("overlays/kubeadm-static-pod/rolebinding.yaml")?;
    let [_, (_, static_pod), _] = sigma_pods()?;
    let arguments = arguments(&static_pod);
    ensure!(text(&binding, "/metadata/namespace") == flag(&arguments, "--lease-namespace"));
    let readme = fs::read_to_string(root().join("README.md"))?;
    for [role, _, resource, verbs] in &rights {
        let verbs = verbs.replace(' ', ", ");
        let row = format!("| `{role}` | `{resource}` | {verbs} |");
        ensure!(readme.contains(&row), "deploy/README.md lacks the row {row}");
    }
    Ok(())
}

fn rights_of(role: &str, document: &Value) -> Vec<[String; 4]> {
    let mut rights = Vec::new();
    for rule in items(document, "/rules") {
        let verbs: Vec<&str> = items(rule, "/verbs").filter_map(Value::as_str).collect();
        for group in items(rule, "/apiGroups").filter_map(Value::as_str) {
            for resource in items(rule, "/resources").filter_map(Value::as_str) {
                rights.push([role, group, resource, &verbs.join(" ")].map(str::to_owned));
            }
        }
    }
    rights
}

#[test]
fn sigma_understands_its_arguments() -> Result<()> {
    for (_, container) in sigma_pods()? {
        let arguments = arguments(&container);
        let line = std::iter::once("sigma".to_owned()).chain(arguments.iter().cloned());
        sigma::cli::Cli::try_parse_from(line)?;
        // What the component adds.
        let line = std::iter::once("sigma".to_owned()).chain(arguments.clone());
        sigma::cli::Cli::try_parse_from(line.chain(["--bind=on".to_owned()]))?;
        let loopback = flag(&arguments, "--listen").starts_with("127.0.0.1:");
        ensure!(
            loopback != arguments.iter().any(|it| it.starts_with("--tls-cert=")),
            "TLS or loopback"
        );
    }
    Ok(())
}

#[test]
fn containers_may_do_as_little_as_possible() -> Result<()> {
    for (spec, sigma) in sigma_pods()? {
        ensure!(spec["securityContext"]["runAsUser"] == 65532);
        ensure!(spec["securityContext"]["runAsNonRoot"] == true);
        ensure!(spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault");
        ensure!(spec["automountServiceAccountToken"] == false);
        ensure!(text(&spec, "/priorityClassName").starts_with("system-"));
        let containers = items(&spec, "/containers").chain(items(&spec, "/initContainers"));
        for container in containers {
            let context = &container["securityContext"];
            ensure!(context["allowPrivilegeEscalation"] == false);
            ensure!(context["readOnlyRootFilesystem"] == true);
            ensure!(context["capabilities"]["drop"] == serde_json::json!(["ALL"]));
            ensure!(container["resources"]["requests"].is_object());
            for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                ensure!(container[probe]["httpGet"].is_object(), "no {probe}");
            }
            // A subPath does not follow changes of its ConfigMap.
            let mounts: Vec<_> = items(container, "/volumeMounts").collect();
            let may_write = |it: &Value| container["name"] == "sigma" && it["name"] == "state";
            ensure!(mounts.iter().all(|it| (it["readOnly"] == true) != may_write(it)));
            ensure!(mounts.iter().all(|it| it["subPath"].is_null()));
        }
        ensure!(text(&sigma, "/readinessProbe/httpGet/path") == "/readyz");
        ensure!(text(&sigma, "/livenessProbe/httpGet/path") == "/livez");
    }
    Ok(())
}

#[test]
fn the_policy_is_the_shipped_one_and_clean() -> Result<()> {
    let ours = fs::read(root().join("base/policy/default.yaml"))?;
    let shipped = fs::read(root().join("../policies/default.yaml"))?;
    // The first line says where the schema is, which depends on the folder.
    let behind =
        |bytes: &[u8]| bytes.iter().position(|it| *it == b'\n').map(|at| bytes[at..].to_vec());
    ensure!(
        behind(&ours) == behind(&shipped),
        "copy policies/default.yaml to deploy/base/policy/: kustomize reads no \
                              file outside its folder"
    );
    match sigma::policy::compile("default.yaml", &ours) {
        Ok(compiled) if compiled.warnings.is_empty() => Ok(()),
        Ok(compiled) => bail!("{}", sigma::policy::render(&compiled.warnings, &ours)),
        Err(faults) => bail!("{}", sigma::policy::render(&faults, &ours)),
    }
}

/// The last good policy is kept where it survives what `deploy/` says it does.
#[test]
fn the_last_good_policy_is_kept_beside_the_container() -> Result<()> {
    for (spec, sigma) in sigma_pods()? {
        let arguments = arguments(&sigma);
        let folder = flag(&arguments, "--state-dir");
        let mount = items(&sigma, "/volumeMounts").find(|it| it["mountPath"] == folder);
        let name = &mount.context("nothing is mounted at --state-dir")?["name"];
        let volume = items(&spec, "/volumes").find(|it| it["name"] == *name);
        let volume = volume.context("no such volume")?;
        match text(&sigma, "/image") {
            // The Deployments.
            "sigma" => ensure!(volume["emptyDir"]["sizeLimit"].is_string(), "{volume}"),
            // A static pod is made anew with each change of its manifest.
            _ => {
                let path = text(volume, "/hostPath/path");
                ensure!(volume["hostPath"]["type"] == "DirectoryOrCreate", "{volume}");
                let readme = fs::read_to_string(root().join("README.md"))?;
                let made = format!("install -d -m 0700 -o 65532 -g 65532 {path}");
                ensure!(readme.contains(&made), "deploy/README.md lacks {made:?}");
            }
        }
    }
    Ok(())
}
