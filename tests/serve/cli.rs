//! The other verbs, help, and the environment.

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::site::{Site, placed, pod, policy};
use crate::support::process::{Sigma, command, run};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Runs a verb; its exit code, stdout and stderr.
fn ran(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = run(args);
    (status.code().expect("no signal"), text(&stdout), text(&stderr))
}

/// Runs a verb with a text on stdin; its exit code and stdout.
fn ran_with(args: &[&str], input: &str) -> (i32, String) {
    let mut command = command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let Output { status, stdout, .. } = child.wait_with_output().expect("it ends");
    (status.code().expect("no signal"), text(&stdout))
}

#[test]
fn help_tells_every_default_and_every_variable() {
    let (code, help, _) = ran(&["--help"]);
    assert_eq!(code, 0);
    for verb in ["demo", "serve", "why", "policy", "version"] {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb} in {help}");
    }
    assert!(!help.contains("bench"), "load generators are not part of the product: {help}");
    let (code, help, _) = ran(&["serve", "--help"]);
    assert_eq!(code, 0);
    let flags = [
        ("--kubeconfig", "in-cluster"),
        ("--context", ""),
        ("--policy", ""),
        ("--state-dir", ""),
        ("--listen", "127.0.0.1:9090"),
        ("--tls-cert", ""),
        ("--tls-key", ""),
        ("--tls-client-ca", ""),
        ("--tls-server-name", ""),
        ("--tls-client-names", ""),
        ("--admin-listen", "127.0.0.1:9091"),
        ("--before-sync", "degraded"),
        ("--requeue", "on"),
        ("--lease-namespace", ""),
        ("--lease-name", "sigma"),
        ("--scheduler-name", "default-scheduler"),
        ("--nominations-per-second", "1000"),
        ("--bind", "off"),
        ("--deadline", "50ms"),
        ("--scheduler-config", ""),
        ("--extender-url", ""),
        ("--other-extenders", "off"),
        ("--audit-interval", "10m"),
        ("--log", "info,kube_client=off"),
    ];
    for (flag, default) in flags {
        let variable = format!("SIGMA_{}", flag[2..].to_uppercase().replace('-', "_"));
        assert!(help.contains(&format!("\n      {flag} <")), "{flag} in {help}");
        assert!(help.contains(&format!("[env: {variable}=]")), "{variable} in {help}");
        let shown = format!("[default: {default}]");
        assert!(default.is_empty() || help.contains(&shown), "{shown} in {help}");
    }
    // No flag is forgotten above.
    let shown = help.lines().filter(|line| line.trim_start().starts_with("--"));
    assert_eq!(shown.count(), flags.len(), "{help}");
}

#[test]
fn the_version_is_the_crates() {
    let want = format!("sigma {}\n", env!("CARGO_PKG_VERSION"));
    for args in ["version", "--version", "-V"] {
        assert_eq!(ran(&[args]), (0, want.clone(), String::new()));
    }
}

#[test]
fn every_flag_is_a_variable_too() {
    let site = Site::new();
    site.api.withhold("pods", true);
    let mut command = command(&["serve"]);
    command.env("SIGMA_KUBECONFIG", site.api.kubeconfig(site.dir.path()));
    command.env("SIGMA_POLICY", site.policy_file());
    command.envs([
        ("SIGMA_CONTEXT", "test"),
        ("SIGMA_LISTEN", "127.0.0.1:0"),
        ("SIGMA_ADMIN_LISTEN", "127.0.0.1:0"),
        ("SIGMA_BEFORE_SYNC", "reject"),
        ("SIGMA_REQUEUE", "off"),
        ("SIGMA_BIND", "on"),
        ("SIGMA_DEADLINE", "1ms"),
        ("SIGMA_OTHER_EXTENDERS", "on"),
        ("SIGMA_AUDIT_INTERVAL", "1s"),
        ("SIGMA_LOG", "debug"),
    ]);
    let sigma = Sigma::start(command);
    let reply = sigma.filter(&pod("cart", "1"), &["n1"]);
    assert_eq!(reply["Error"], "sigma: cluster state not complete yet");
    site.api.withhold("pods", false);
    sigma.wait_ready();
    // It binds, so the binding is refused for what it says and not for being one.
    let bind = crate::support::http::post(sigma.verbs, "/bind", b"{}");
    assert!(!bind.body.contains("--bind=on"), "{bind:?}");
    crate::support::wait("it audits", || sigma.metric("sigma_audits_total") >= 1.0);
    assert!(sigma.logged("\"DEBUG\"") > 0);
    let mut wrong = crate::support::process::command(&["serve", "--policy", "x"]);
    let Output { status, stderr, .. } =
        wrong.env("SIGMA_DEADLINE", "soon").output().expect("it runs");
    assert_eq!(status.code(), Some(2));
    assert!(text(&stderr).contains("soon"));
}

#[test]
fn an_empty_variable_is_not_set() {
    let site = Site::new();
    let mut command = site.command(&[]);
    command.env("SIGMA_CONTEXT", "");
    Sigma::start(command).wait_ready();
}

#[test]
fn lint_tells_every_finding_of_every_file() {
    let site = Site::new();
    let write = |name: &str, text: &str| {
        let path = site.path(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let good = write("good.yaml", &policy("good", 50));
    let bad = write("bad.yaml", &policy("bad", 50).replace("allocation", "alocation"));
    let worse = write("worse.yaml", "pools: 7\nclasses: 8\n");
    let none = site.path("none.yaml").to_str().expect("UTF-8").to_owned();
    assert_eq!(ran(&["policy", "lint", &good]), (0, format!("{good}: ok\n"), String::new()));
    assert_eq!(ran(&["policy", "lint", &good, "-o", "json"]), (0, "[]\n".into(), String::new()));

    let (code, out, said) = ran(&["policy", "lint", &bad]);
    assert_eq!((code, &*said), (1, ""));
    assert!(out.contains("bad.yaml:7:3") && out.contains("allocation"), "{out}");

    let (code, out, said) = ran(&["policy", "lint", "--output=json", &good, &bad, &worse]);
    assert_eq!((code, &*said), (1, ""));
    let found: Vec<Value> = serde_json::from_str(&out).expect("an array");
    for it in &found {
        let keys: Vec<&String> = it.as_object().expect("an object").keys().collect();
        let mut want = ["file", "line", "column", "code", "severity", "message", "hint"];
        want.sort_unstable();
        assert_eq!(keys, want, "{it}");
        assert!(["error", "warning", "info"].map(Value::from).contains(&it["severity"]), "{it}");
        assert!(it["line"].as_u64() >= Some(1) && it["column"].as_u64() >= Some(1), "{it}");
        assert!(it["code"].as_str().is_some_and(|it| it.starts_with('P')), "{it}");
    }
    let files: Vec<&str> = found.iter().filter_map(|it| it["file"].as_str()).collect();
    assert!(files.contains(&&*bad) && files.iter().filter(|it| **it == worse).count() >= 2);
    assert!(!files.contains(&&*good));

    // A file that cannot be read does not hide what is wrong with the others.
    let (code, out, said) = ran(&["policy", "lint", "-o", "json", &none, &bad]);
    assert_eq!(code, 2);
    assert!(said.contains("cannot read") && said.contains("none.yaml"), "{said}");
    let found: Vec<Value> = serde_json::from_str(&out).expect("an array");
    assert_eq!(found[1]["file"], bad.as_str());
    let entry = |key: &str| found[0][key].clone();
    assert_eq!((entry("file"), entry("code")), (json!(none), json!("P0009")));
    assert_eq!((entry("severity"), entry("line")), (json!("error"), json!(1)));
    assert!(entry("message").as_str().is_some_and(|it| it.starts_with("cannot read")));
    assert_eq!(ran(&["policy", "lint"]).0, 2);
    assert_eq!(ran(&["policy", "lint", &good, "-o", "xml"]).0, 2);
}

/// A clean policy, one with a warning alone, and one with an error.
fn three_policies() -> [String; 3] {
    let head = "apiVersion: sigma.io/v1alpha1\nkind: SchedulingPolicy\n";
    let pools =
        |allocation: &str| format!("{head}pools:\n- name: ecs\n  allocation: {allocation}\n");
    [pools("{cpu: 90%}"), pools("{cpu: 9%}"), pools("{cpu: 900%}")]
}

#[test]
fn lint_ends_with_1_for_errors_and_strictly_for_warnings() {
    let site = Site::new();
    let paths = three_policies().map(|text| {
        let path = site.path(&format!("{}.yaml", text.len()));
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    });
    for (path, plain, strict, said) in
        [(&paths[0], 0, 0, ": ok"), (&paths[1], 0, 1, "P0117"), (&paths[2], 1, 1, "P0110")]
    {
        let (code, out, _) = ran(&["policy", "lint", path]);
        assert_eq!((code, out.contains(said)), (plain, true), "{out}");
        assert_eq!(out.ends_with(&format!("{path}: ok\n")), plain == 0, "{out}");
        let (code, out, _) = ran(&["policy", "lint", "--strict", path]);
        assert_eq!((code, out.ends_with(&format!("{path}: ok\n"))), (strict, strict == 0), "{out}");
        let (code, out, _) = ran(&["policy", "lint", "--strict", "-o", "json", path]);
        let found: Vec<Value> = serde_json::from_str(&out).expect("an array");
        assert_eq!((code, found.is_empty()), (strict, strict == 0), "{out}");
    }
}

#[test]
fn lint_reads_stdin_folders_and_manifests() {
    let site = Site::new();
    let folder = site.path("policies");
    let [good, doubtful, bad] = three_policies();
    let manifest = |text: &str| {
        let text: String = text.lines().map(|line| format!("    {line}\n")).collect();
        format!("apiVersion: v1\nkind: ConfigMap\ndata:\n  policy.yaml: |\n{text}")
    };
    let kustomization = "kind: Kustomization\napiVersion: kustomize.config.k8s.io/v1beta1\n";
    let files = [
        ("good.yaml", good.clone()),
        ("kustomization.yaml", kustomization.to_owned()),
        ("team/doubtful.yml", doubtful),
        ("team/map.yaml", manifest(&bad)),
        (".hidden/bad.yaml", bad.clone()),
        ("notes.txt", "no policy".to_owned()),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    let shown = folder.to_str().expect("UTF-8");
    let (code, out, said) = ran(&["policy", "lint", shown]);
    assert_eq!((code, &*said), (1, ""));
    assert!(out.contains(&format!("{shown}/good.yaml: ok\n")), "{out}");
    assert!(out.contains(&format!("{shown}/kustomization.yaml: skipped")), "{out}");
    assert!(out.contains(&format!("{shown}/team/map.yaml:9:25")), "{out}");
    assert!(!out.contains("hidden") && !out.contains("notes"), "{out}");
    let (_, out, _) = ran(&["policy", "lint", "-o", "json", shown]);
    let found: Vec<Value> = serde_json::from_str(&out).expect("an array");
    let codes: Vec<&Value> = found.iter().map(|it| &it["code"]).collect();
    assert_eq!(codes, ["P0117", "P0110"]);
    // By its name a file is checked whatever it is.
    let kustomization = format!("{shown}/kustomization.yaml");
    assert_eq!(ran(&["policy", "lint", &kustomization]).0, 1);
    let empty = site.path("empty");
    std::fs::create_dir(&empty).expect("made");
    let (code, _, said) = ran(&["policy", "lint", empty.to_str().expect("UTF-8")]);
    assert!(code == 2 && said.contains("no YAML or JSON file"), "{said}");

    for (text, code, part) in [
        (good.clone(), 0, "<stdin>: ok\n"),
        (bad.clone(), 1, "<stdin>:5:21"),
        (manifest(&good), 0, "<stdin>: ok\n"),
        (manifest(&bad), 1, "<stdin>:9:25"),
    ] {
        let (found, out) = ran_with(&["policy", "lint", "-"], &text);
        assert!(found == code && out.contains(part), "{found} {out}");
    }
}

#[test]
fn lint_ends_with_0_for_what_is_only_worth_knowing() {
    let root = env!("CARGO_MANIFEST_DIR");
    let shipped = format!("{root}/policies/default.yaml");
    assert_eq!(ran(&["policy", "lint", &shipped]), (0, format!("{shipped}: ok\n"), String::new()));
    let mut levels = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(format!("{root}/tests/policy")).expect("fixtures") {
        let path = entry.expect("an entry").path().display().to_string();
        if !path.ends_with(".yaml") {
            continue;
        }
        let (code, out, _) = ran(&["policy", "lint", "-o", "json", &path]);
        let found: Vec<Value> = serde_json::from_str(&out).expect("an array");
        let worst = found.iter().any(|it| it["severity"] == "error");
        assert_eq!(code, i32::from(worst), "{path}");
        levels.extend(found.iter().filter_map(|it| it["severity"].as_str().map(str::to_owned)));
    }
    println!("severities seen: {levels:?}");
    assert!(levels.contains("error") && levels.contains("warning"));
}

#[test]
fn the_schema_is_the_one_that_is_shipped() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/policy.schema.json");
    let shipped = std::fs::read_to_string(path).expect("it is shipped");
    assert_eq!(ran(&["policy", "schema"]), (0, shipped, String::new()));
}

#[test]
fn why_says_why() {
    let site = Site::new();
    site.api.put("pods", placed("full", "2", "n1"));
    site.api.put("pods", pod("cart", "1"));
    let sigma = site.serve(&[]);
    sigma.wait_status("pending_pods", 1);
    let admin = sigma.admin.to_string();
    let (code, out, said) = ran(&["why", "shop/cart", "--admin", &admin]);
    assert_eq!((code, &*said), (0, ""));
    for part in [
        "shop/cart: pending, class default",
        "1 of 2 nodes would take it",
        "AllocationLimit",
        "2.0 of 4.0",
        "cpu: 1.0 asked + 2.0 requested = 3.0 > limit 2.0 (50 % of 4.0)",
        "n2",
    ] {
        assert!(out.contains(part), "{part:?} in {out}");
    }
    let (code, out, _) = ran(&["why", "cart", "-n", "shop", "--admin", &admin, "-o", "json"]);
    let answer: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &answer["pod"], &answer["nodes_kept"]), (0, &json!("cart"), &json!(1)));
    assert_eq!(answer["rejections"][0]["reason"], "AllocationLimit");
    assert_eq!(answer["best"][0]["node"]["name"], "n2");
    let (_, out, _) = ran(&["why", "shop/cart", "--node", "n1", "--admin", &admin, "-o", "json"]);
    let answer: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&answer["nodes_considered"], &answer["nodes_kept"]), (&json!(1), &json!(0)));
    let (_, out, _) = ran(&["why", "shop/full", "--admin", &admin]);
    assert!(out.starts_with("shop/full: placed on n1, class default"), "{out}");

    let two = ran(&["why", "shop/cart", "-n", "bank", "--admin", &admin]);
    let said = "error: -n says namespace bank, and shop/cart says shop: give one of them\n";
    assert_eq!(two, (2, String::new(), said.into()));
    let one = ran(&["why", "shop/cart", "-n", "shop", "--admin", &admin]);
    assert_eq!(one.0, 0, "{}", one.2);

    let unknown = ran(&["why", "shop/nobody", "--admin", &admin]);
    assert_eq!(unknown, (1, String::new(), "error: no pod shop/nobody is known\n".into()));
    let (code, _, said) = ran(&["why", "shop/cart", "--node", "n9", "--admin", &admin]);
    assert_eq!((code, &*said), (1, "error: no node n9 is known\n"));
    // The verbs' listener is not the one to ask.
    let verbs = sigma.verbs.to_string();
    let (code, _, said) = ran(&["why", "shop/cart", "--admin", &verbs]);
    assert!(code == 1 && said.contains(&verbs), "{said}");
    drop(sigma);
    let (code, out, said) = ran(&["why", "shop/cart", "--admin", &admin]);
    assert_eq!((code, &*out), (1, ""));
    let want = format!("error: cannot ask {admin}; is `sigma serve` running there (--admin)?: ");
    assert!(said.starts_with(&want), "{said}");
}
