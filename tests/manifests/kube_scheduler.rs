//! What kube-scheduler is told about sigma, and whether sigma listens to that.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::{arguments, document, flag, items, root, sigma_pods, text};

/// `KubeSchedulerConfiguration`, as far as we use it; kube-scheduler refuses unknown fields too.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SchedulerConfig {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    leader_election: LeaderElection,
    client_connection: ClientConnection,
    percentage_of_nodes_to_score: u32,
    #[serde(default)]
    profiles: Vec<Profile>,
    extenders: Vec<Extender>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct LeaderElection {
    leader_elect: bool,
    #[serde(default)]
    resource_namespace: String,
    #[serde(default)]
    resource_name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ClientConnection {
    #[serde(default, rename = "kubeconfig")]
    _kubeconfig: String,
    qps: u32,
    burst: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Profile {
    scheduler_name: String,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Extender {
    url_prefix: String,
    filter_verb: String,
    prioritize_verb: String,
    preempt_verb: String,
    weight: i64,
    http_timeout: String,
    node_cache_capable: bool,
    ignorable: bool,
    #[serde(default, rename = "enableHTTPS")]
    enable_https: bool,
    tls_config: Option<TlsConfig>,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TlsConfig {
    server_name: String,
    ca_file: String,
    cert_file: String,
    key_file: String,
}

fn scheduler_config(path: &str) -> Result<SchedulerConfig> {
    serde_json::from_value(document(path)?).with_context(|| path.to_owned())
}

#[test]
fn kube_scheduler_is_told_what_it_must_be_told() -> Result<()> {
    let [(_, sidecar), (_, container), _] = sigma_pods()?;
    let own = scheduler_config("base/kube-scheduler-config.yaml")?;
    let default = scheduler_config("overlays/kubeadm-static-pod/kube-scheduler-config.yaml")?;
    ensure!(own.extenders == default.extenders, "the two configurations differ");
    for (config, container) in [(&own, sidecar), (&default, container)] {
        let arguments = arguments(&container);
        let [extender] = config.extenders.as_slice() else { bail!("one extender, and no other") };
        ensure!(extender.node_cache_capable);
        // One point of ours is weight × 10, and in-tree plugins give 1,400 at most.
        ensure!(extender.weight >= 150);
        ensure!(extender.url_prefix == format!("http://{}", flag(&arguments, "--listen")));
        let verbs = [&extender.filter_verb, &extender.prioritize_verb, &extender.preempt_verb];
        ensure!(verbs == ["filter", "prioritize", "preempt"]);
        ensure!(extender.http_timeout == "1s" && flag(&arguments, "--deadline") == "50ms");
        ensure!(extender.ignorable);
        ensure!(flag(&arguments, "--scheduler-config").ends_with("/kube-scheduler-config.yaml"));
        ensure!(config.percentage_of_nodes_to_score == 100);
        ensure!(config.leader_election.leader_elect);
        ensure!(config.client_connection.qps >= 500 && config.client_connection.burst >= 1000);
    }
    let lease = (&*own.leader_election.resource_namespace, &*own.leader_election.resource_name);
    ensure!(lease == ("sigma-system", "sigma-scheduler"), "the Role grants another Lease");
    ensure!(own.profiles.iter().map(|it| &*it.scheduler_name).eq(["sigma"]));
    ensure!(default.profiles.is_empty());
    Ok(())
}

#[test]
fn over_tls_both_sides_are_told_the_same() -> Result<()> {
    let [_, _, (pod, container)] = sigma_pods()?;
    let arguments = arguments(&container);
    let mut over_tls = scheduler_config("overlays/service-mtls/kube-scheduler-config.yaml")?;
    let [extender] = over_tls.extenders.as_mut_slice() else { bail!("one extender, no other") };
    let service = document("overlays/service-mtls/service.yaml")?;
    let (name, space) = (text(&service, "/metadata/name"), text(&service, "/metadata/namespace"));
    let (host, port) = (format!("{name}.{space}.svc"), &service["spec"]["ports"][0]);
    let url = format!("https://{host}:{}", port["port"]);
    ensure!(std::mem::take(&mut extender.url_prefix) == url);
    // sigma reads the same file and finds itself in it.
    ensure!(flag(&arguments, "--extender-url") == url);
    let config = items(&container, "/volumeMounts").find(|it| it["name"] == "scheduler-config");
    let config = config.map(|it| text(it, "/mountPath").to_owned() + "/kube-scheduler-config.yaml");
    ensure!(config.as_deref() == Some(flag(&arguments, "--scheduler-config")));
    // Without a CA kube-scheduler believes anybody.
    ensure!(std::mem::take(&mut extender.enable_https));
    let tls = extender.tls_config.take().context("no tlsConfig")?;
    ensure!(tls.server_name == host && flag(&arguments, "--tls-server-name") == host);
    ensure!([&tls.ca_file, &tls.cert_file, &tls.key_file].iter().all(|it| it.starts_with('/')));
    ensure!(flag(&arguments, "--tls-client-names") == "system:kube-scheduler");
    ensure!(flag(&arguments, "--scheduler-config").ends_with("/kube-scheduler-config.yaml"));
    // Else the same as on loopback.
    let mut plain = scheduler_config("overlays/kubeadm-static-pod/kube-scheduler-config.yaml")?;
    plain.extenders[0].url_prefix.clear();
    ensure!(over_tls.extenders == plain.extenders);
    // Every way from the Service and the Secret to sigma.
    let ports: Vec<_> = items(&container, "/ports").collect();
    let verbs = ports.iter().find(|it| it["name"] == port["targetPort"]).context("no such port")?;
    ensure!(flag(&arguments, "--listen").ends_with(&format!(":{}", verbs["containerPort"])));
    let labels =
        &document("overlays/service-mtls/deployment.yaml")?["spec"]["template"]["metadata"];
    ensure!(service["spec"]["selector"] == labels["labels"]);
    let mount = items(&container, "/volumeMounts").find(|it| it["name"] == "tls");
    let mount = mount.context("no volume called tls")?;
    for (flag_name, file) in
        [("--tls-cert", "tls.crt"), ("--tls-key", "tls.key"), ("--tls-client-ca", "ca.crt")]
    {
        let path = format!("{}/{file}", text(mount, "/mountPath"));
        ensure!(flag(&arguments, flag_name) == path, "{flag_name}");
    }
    let secret = items(&pod, "/volumes").find(|it| it["name"] == "tls");
    ensure!(secret.is_some_and(|it| it["secret"]["secretName"] == "sigma-tls"));
    let readme = fs::read_to_string(root().join("README.md"))?;
    ensure!(readme.contains(&format!("subjectAltName=DNS:{host}")));
    Ok(())
}

#[test]
fn every_line_of_the_scheduler_configuration_is_explained() -> Result<()> {
    let text = fs::read_to_string(root().join("base/kube-scheduler-config.yaml"))?;
    let mut explained = false;
    for line in text.lines() {
        let is_comment = line.trim_start().starts_with('#');
        ensure!(is_comment || explained, "no comment above {line:?}");
        explained = is_comment;
    }
    Ok(())
}
