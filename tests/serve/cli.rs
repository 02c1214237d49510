//! The other verbs, help, and the environment.

use std::process::Output;

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

#[test]
fn help_tells_every_default_and_every_variable() {
    let (code, help, _) = ran(&["--help"]);
    assert_eq!(code, 0);
    for verb in ["demo", "serve", "why", "policy", "bench", "version"] {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb} in {help}");
    }
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
        ("--not-ready", "degraded"),
        ("--doorbell", "on"),
        ("--lease-namespace", ""),
        ("--lease-name", "sigma"),
        ("--scheduler-name", "default-scheduler"),
        ("--qps", "1000"),
        ("--bind", "off"),
        ("--deadline", "50ms"),
        ("--without", ""),
        ("--scheduler-config", ""),
        ("--siblings", "off"),
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
        ("SIGMA_NOT_READY", "reject"),
        ("SIGMA_DOORBELL", "off"),
        ("SIGMA_BIND", "on"),
        ("SIGMA_DEADLINE", "1ms"),
        ("SIGMA_SIBLINGS", "on"),
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
    assert_eq!(ran(&["policy", "lint", &good]), (0, String::new(), String::new()));
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
    assert_eq!(found[0]["file"], bad.as_str());
    let (code, out, _) = ran(&["policy", "lint", "-o", "json", &none]);
    assert_eq!((code, &*out), (2, "[]\n"));
    assert_eq!(ran(&["policy", "lint"]).0, 2);
    assert_eq!(ran(&["policy", "lint", &good, "-o", "xml"]).0, 2);
    assert_eq!(ran(&["policy", "lint", site.dir.path().to_str().expect("UTF-8")]).0, 2);
}

#[test]
fn lint_ends_with_0_for_what_is_only_worth_knowing() {
    let root = env!("CARGO_MANIFEST_DIR");
    let shipped = format!("{root}/policies/default.yaml");
    assert_eq!(ran(&["policy", "lint", &shipped]), (0, String::new(), String::new()));
    let mut levels = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(format!("{root}/tests/policy")).expect("fixtures") {
        let path = entry.expect("an entry").path().display().to_string();
        if !path.ends_with(".yaml") {
            continue;
        }
        let (code, out, _) = ran(&["policy", "lint", "-o", "json", &path]);
        let found: Vec<Value> = serde_json::from_str(&out).expect("an array");
        let worst = found.iter().any(|it| it["severity"] != "info");
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
        "n2",
    ] {
        assert!(out.contains(part), "{part:?} in {out}");
    }
    let (code, out, _) = ran(&["why", "cart", "-n", "shop", "--admin", &admin, "-o", "json"]);
    let answer: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &answer["pod"], &answer["nodes_kept"]), (0, &json!("cart"), &json!(1)));
    assert_eq!(answer["refused"][0]["reason"], "AllocationLimit");
    assert_eq!(answer["best"][0]["node"]["name"], "n2");
    let (_, out, _) = ran(&["why", "shop/cart", "--node", "n1", "--admin", &admin, "-o", "json"]);
    let answer: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&answer["nodes_considered"], &answer["nodes_kept"]), (&json!(1), &json!(0)));
    let (_, out, _) = ran(&["why", "shop/full", "--admin", &admin]);
    assert!(out.starts_with("shop/full: placed on n1, class default"), "{out}");

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
