//! What keeps the server from starting: an exit code and one clear word.

use std::net::TcpListener;
use std::process::{Command, Output};

use crate::site::Site;
use crate::support::process::{Sigma, command, run};

/// Runs to the end; everything that is said.
pub(crate) fn ends(mut command: Command, code: i32, parts: &[&str]) {
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&stderr).into_owned() + &String::from_utf8_lossy(&stdout);
    assert_eq!(status.code(), Some(code), "{said:.2000}");
    for part in parts {
        assert!(said.contains(part), "{part:?} in {said:.2000}");
    }
    assert!(!said.contains("panicked"), "{said:.2000}");
}

/// A policy that is none is no reason to end (`last_good.rs`), but to have no word where it is is one.
#[test]
fn no_word_where_the_policy_is() {
    ends(command(&["serve", "--listen", "127.0.0.1:0"]), 2, &["--policy <FILE|DIR>"]);
    ends(command(&["serve", "--policy", ""]), 2, &["--policy <FILE|DIR>"]);
}

/// A name of sigma 0.1 is not read in silence, nor left aside in silence.
#[test]
fn names_of_an_earlier_version() {
    ends(command(&["serve", "--doorbell=off"]), 2, &["error: --doorbell", "it is --requeue now"]);
    ends(command(&["serve", "--without", "memo"]), 2, &["error: --without", "gone: remove it"]);
    let mut by_variable = command(&["serve"]);
    by_variable.env("SIGMA_QPS", "5");
    ends(by_variable, 2, &["error: SIGMA_QPS", "it is SIGMA_NOMINATIONS_PER_SECOND now"]);
    let mut empty = command(&["serve"]);
    empty.env("SIGMA_QPS", "");
    ends(empty, 2, &["--policy <FILE|DIR>"]);
}

#[test]
fn a_port_that_is_taken() {
    let site = Site::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = taken.local_addr().expect("it is bound").to_string();
    for flag in ["--listen", "--admin-listen"] {
        let mut command = command(&["serve", flag, &addr]);
        let other = if flag == "--listen" { "--admin-listen" } else { "--listen" };
        command.args([other, "127.0.0.1:0"]).arg("--policy").arg(site.policy_file());
        let said = format!("error: cannot listen on {addr} ({flag}): ");
        ends(command, 1, &[&said, "in use"]);
    }
}

#[test]
fn a_kubeconfig_that_leads_nowhere() {
    let site = Site::new();
    let check = |file: &str, more: &[&str], parts: &[&str]| {
        let path = site.path(file).display().to_string();
        let mut command =
            command(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        command.arg("--policy").arg(site.policy_file()).args(["--kubeconfig", &path]).args(more);
        let said = format!("error: kubeconfig {path}: ");
        ends(command, 2, &[&[&*said], parts].concat());
    };
    check("none", &[], &["No such file"]);
    std::fs::write(site.path("malformed"), "clusters: [oops").expect("written");
    check("malformed", &[], &["parse"]);
    site.api.kubeconfig(site.dir.path());
    check("kubeconfig", &["--context", "prod"], &["prod", "(the file has: contexts test)"]);
    let mut outside =
        command(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    outside.arg("--policy").arg(site.policy_file());
    ends(outside, 2, &["in-cluster", "use --kubeconfig"]);

    // As kubectl finds it: by KUBECONFIG, in several files of which some may be missing.
    let kubeconfig = site.api.kubeconfig(site.dir.path());
    let text = std::fs::read_to_string(&kubeconfig).expect("written");
    let (users, rest) = ("users: [{name: far, user: {exec: {}}}]\n", text);
    std::fs::write(site.path("users"), users).expect("written");
    std::fs::write(site.path("rest"), rest).expect("written");
    let list = ["none", "users", "rest"].map(|it| site.path(it).display().to_string()).join(":");
    let by_variable = |variable: &str, value: &str| {
        let mut command =
            command(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        command.arg("--policy").arg(site.policy_file()).env(variable, value);
        command
    };
    Sigma::start(by_variable("KUBECONFIG", &list)).wait_ready();
    let mut other = by_variable("KUBECONFIG", "/none");
    other.env("SIGMA_KUBECONFIG", &kubeconfig);
    Sigma::start(other).wait_ready();
    ends(by_variable("KUBECONFIG", "/none"), 2, &["error: kubeconfig /none: No such file"]);
    ends(by_variable("KUBECONFIG", ""), 2, &["in-cluster", "use --kubeconfig"]);
    let mut proxied = by_variable("KUBECONFIG", &list);
    proxied.env("HTTP_PROXY", "ftp://jane:secret@proxy");
    // The server is on the loopback.
    Sigma::start(proxied).wait_ready();
}

#[test]
fn flags_that_are_not_understood() {
    for (flag, value) in [
        ("--deadline", "50"),
        ("--listen", "here"),
        ("--before-sync", "perhaps"),
        ("--requeue", "loud"),
        ("--audit-interval", "0s"),
        ("--other-extenders", "perhaps"),
    ] {
        ends(command(&["serve", "--policy", "x", flag, value]), 2, &[flag, value]);
    }
    ends(command(&["serve", "--policy", "x", "--log", "a=b=c"]), 2, &["--log"]);
    assert_eq!(run(&["nonsense"]).status.code(), Some(2));
}
